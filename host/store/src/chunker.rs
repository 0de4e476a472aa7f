//! Cuts a block into chunks while it is built, and makes its entries' bytes.
//!
//! A body's salt comes from the seed of its chunk, and the entry commits to it: so it must
//! be known which chunk an entry will lie in before the entry can be written.

use auditchain_log::{
    BodyCommitment, ChainHash, Entry, EntryError, EventEntry, EventRecord, Hash, Payload,
    Timestamp, Verdict, body_hash, body_salt, chunk_seed,
};
use rayon::prelude::*;

use crate::chunk;
use crate::contract::Body;
use crate::error::InvalidBlock;
use crate::limits::{BODY_BYTES_MAX, CHUNK_ENTRIES_MAX, CHUNK_RAW_BYTES_MAX, ENTRY_BYTES_MAX};

/// Chunks of a block from which on it is worth the threads to encode them.
const PARALLEL_CHUNKS_MIN: usize = 3;

/// Builds the chunks of one block. Pure: no I/O, no clock, no randomness of its own.
#[derive(Debug)]
pub struct Chunker<'a> {
    block: u64,
    time: Timestamp,
    /// After the last entry so far.
    chain: ChainHash,
    random: [u8; 32],
    next: u64,
    done: Vec<ChunkWrite<'a>>,
    open: Option<ChunkWrite<'a>>,
}

/// What an event's entry says that does not follow from its body.
#[derive(Debug, Clone, Copy)]
pub struct EventParts<'p> {
    /// Who sent it.
    pub source: &'p str,
    /// Why the body is no canonical JSON, if it is none.
    pub undecodable: Option<&'p str>,
    /// What the policies in force said.
    pub verdict: &'p Verdict,
    /// What [`EventRecord::from_view`] says of the body: it is not stored.
    pub record: &'p EventRecord,
}

/// A chunk to be encoded.
#[derive(Debug)]
pub struct ChunkWrite<'a> {
    pub(crate) first: u64,
    pub(crate) block: u64,
    pub(crate) time: Timestamp,
    /// Before the first entry.
    pub(crate) chain: Hash,
    /// `None`: each salt stands by itself.
    pub(crate) seed: Option<[u8; 32]>,
    pub(crate) sources: Vec<String>,
    pub(crate) slots: Vec<Slot<'a>>,
    pub(crate) raw_bytes: usize,
}

#[derive(Debug)]
pub(crate) struct Slot<'a> {
    pub(crate) said: Said,
    pub(crate) body: Option<Body<'a>>,
}

#[derive(Debug)]
pub(crate) enum Said {
    /// Made again from the body.
    Event {
        source: usize,
        undecodable: Option<String>,
        /// As JSON; `None` for the plain one.
        verdict: Option<Vec<u8>>,
    },
    /// As it is.
    Entry(Vec<u8>),
}

/// A chunk as it is stored.
#[derive(Debug, Clone)]
pub struct EncodedChunk {
    pub(crate) first: u64,
    pub(crate) entries: usize,
    /// Bytes of entries and bodies that it stands for.
    pub(crate) raw_bytes: usize,
    pub(crate) value: Vec<u8>,
}

/// Why an entry can't be added.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChunkError {
    /// It can't be written.
    #[error(transparent)]
    Entry(#[from] EntryError),
    /// It is over a limit of the store.
    #[error(transparent)]
    Invalid(#[from] InvalidBlock),
}

impl<'a> Chunker<'a> {
    /// For the block with this number and time, whose first entry is `first`. `random`
    /// is drawn for this block and used for nothing else.
    #[must_use]
    pub fn new(
        first: u64,
        block: u64,
        time: Timestamp,
        chain: ChainHash,
        random: [u8; 32],
    ) -> Self {
        Self {
            block,
            time,
            chain,
            random,
            next: first,
            done: Vec::new(),
            open: None,
        }
    }

    /// Index of the next entry.
    #[must_use]
    pub fn next_index(&self) -> u64 {
        self.next
    }

    /// The chain hash after the last entry.
    #[must_use]
    pub fn chain(&self) -> ChainHash {
        self.chain
    }

    /// Adds an event and returns its entry's bytes.
    ///
    /// # Errors
    /// Entry or body are too large; nothing was added.
    pub fn push_event(
        &mut self,
        parts: EventParts<'_>,
        body: &'a [u8],
    ) -> Result<Vec<u8>, ChunkError> {
        self.check_body(body)?;
        let verdict = (!parts.verdict.is_plain()).then(|| parts.verdict.encode());
        let weight = body.len()
            + parts.source.len()
            + parts.undecodable.map_or(0, str::len)
            + verdict.as_ref().map_or(0, Vec::len);
        let salt = self.salt_of_next(weight);
        let entry = EventEntry {
            block: self.block,
            time: self.time,
            prev: self.chain.hash(),
            source: parts.source,
            undecodable: parts.undecodable,
            verdict: parts.verdict,
        }
        .encode(parts.record, &salt, body)?;
        let chunk = self.open_chunk();
        let said = Said::Event {
            source: chunk.source(parts.source),
            undecodable: parts.undecodable.map(str::to_owned),
            verdict,
        };
        let body = Some(Body { salt, bytes: body });
        self.add(Slot { said, body }, weight, &entry);
        Ok(entry)
    }

    /// Adds an entry without a body and returns its bytes.
    ///
    /// # Errors
    /// The entry is too large; nothing was added.
    pub fn push(&mut self, payload: Payload) -> Result<Vec<u8>, ChunkError> {
        let entry = self.entry(payload)?;
        self.push_bytes(&entry, None)?;
        Ok(entry)
    }

    /// Adds an entry of another kind that commits to a body, and returns its bytes.
    ///
    /// # Errors
    /// Entry or body are too large; nothing was added.
    pub fn push_with_body(
        &mut self,
        body: &'a [u8],
        payload: impl FnOnce(BodyCommitment) -> Payload,
    ) -> Result<Vec<u8>, ChunkError> {
        self.check_body(body)?;
        let salt = self.salt_of_next(body.len());
        let entry = self.entry(payload(BodyCommitment {
            hash: body_hash(&salt, body),
            size: body.len() as u64,
        }))?;
        let slot = Slot {
            said: Said::Entry(entry.clone()),
            body: Some(Body { salt, bytes: body }),
        };
        self.add(slot, body.len() + entry.len(), &entry);
        Ok(entry)
    }

    /// Adds an entry as it is, with a body under a salt that was drawn elsewhere: for
    /// whoever copies a log. Takes more room than [`push_event`](Self::push_event).
    ///
    /// # Errors
    /// Entry or body are too large; nothing was added.
    pub fn push_bytes(&mut self, entry: &[u8], body: Option<Body<'a>>) -> Result<(), ChunkError> {
        if !(1..=ENTRY_BYTES_MAX).contains(&entry.len()) {
            return Err(ChunkError::Invalid(InvalidBlock::Entry {
                index: self.next,
                bytes: entry.len(),
            }));
        }
        if let Some(body) = body {
            self.check_body(body.bytes)?;
        }
        let weight = entry.len() + body.map_or(0, |body| body.bytes.len());
        self.make_room(weight);
        if body.is_some() {
            self.open_chunk().seed = None;
        }
        let slot = Slot {
            said: Said::Entry(entry.to_vec()),
            body,
        };
        self.add(slot, weight, entry);
        Ok(())
    }

    /// The chunks of the block.
    #[must_use]
    pub fn finish(mut self) -> Vec<ChunkWrite<'a>> {
        self.close();
        self.done
    }

    fn entry(&self, payload: Payload) -> Result<Vec<u8>, EntryError> {
        Entry {
            block: self.block,
            time: self.time,
            prev: self.chain.hash(),
            payload,
        }
        .encode()
    }

    fn check_body(&self, body: &[u8]) -> Result<(), InvalidBlock> {
        if body.len() > BODY_BYTES_MAX {
            return Err(InvalidBlock::Body {
                index: self.next,
                bytes: body.len(),
            });
        }
        Ok(())
    }

    /// Of the body at the next index, which weighs this much with its entry. Once this
    /// was asked, the next entry lies in the open chunk.
    fn salt_of_next(&mut self, weight: usize) -> [u8; 32] {
        self.make_room(weight);
        // Also where the chunk's seed was dropped: another of its salts stands by itself.
        let first = self.open_chunk().first;
        body_salt(&chunk_seed(&self.random, first), self.next)
    }

    /// Closes the open chunk if it is full.
    fn make_room(&mut self, weight: usize) {
        let is_full = self.open.as_ref().is_some_and(|chunk| {
            // At multiples of 64, so that the keys of chunks to come are known.
            let at_boundary = self.next.is_multiple_of(CHUNK_ENTRIES_MAX as u64);
            !chunk.slots.is_empty()
                && (at_boundary || chunk.raw_bytes.saturating_add(weight) > CHUNK_RAW_BYTES_MAX)
        });
        if is_full {
            self.close();
        }
    }

    fn open_chunk(&mut self) -> &mut ChunkWrite<'a> {
        let (first, block, time, chain) = (self.next, self.block, self.time, self.chain);
        let random = &self.random;
        self.open.get_or_insert_with(|| ChunkWrite {
            seed: Some(chunk_seed(random, first)),
            ..ChunkWrite::new(first, block, time, chain.hash())
        })
    }

    fn add(&mut self, slot: Slot<'a>, weight: usize, entry: &[u8]) {
        let chunk = self.open_chunk();
        chunk.slots.push(slot);
        chunk.raw_bytes += weight;
        self.chain = self.chain.next(entry);
        self.next += 1;
    }

    fn close(&mut self) {
        // One that was opened for an entry that then could not be written is empty.
        self.done
            .extend(self.open.take().filter(|chunk| !chunk.slots.is_empty()));
    }
}

impl ChunkWrite<'_> {
    pub(crate) fn new(first: u64, block: u64, time: Timestamp, chain: Hash) -> Self {
        Self {
            first,
            block,
            time,
            chain,
            seed: None,
            sources: Vec::new(),
            slots: Vec::new(),
            raw_bytes: 0,
        }
    }

    /// The number of a source's name, which is added if it is new.
    pub(crate) fn source(&mut self, name: &str) -> usize {
        let known = self.sources.iter().position(|known| known == name);
        known.unwrap_or_else(|| {
            self.sources.push(name.to_owned());
            self.sources.len() - 1
        })
    }

    /// The chunk as it is stored. Pure, and free to run on any thread.
    #[must_use]
    pub fn encode(&self) -> EncodedChunk {
        EncodedChunk {
            first: self.first,
            entries: self.slots.len(),
            raw_bytes: self.raw_bytes,
            value: chunk::encode(self),
        }
    }
}

impl EncodedChunk {
    /// Index of the first entry.
    #[must_use]
    pub const fn first(&self) -> u64 {
        self.first
    }

    /// Bytes that are written.
    #[must_use]
    pub fn stored_bytes(&self) -> usize {
        self.value.len()
    }
}

/// Encodes the chunks of a block, on several threads if they are many.
#[must_use]
pub fn encode_chunks(chunks: &[ChunkWrite<'_>]) -> Vec<EncodedChunk> {
    if chunks.len() < PARALLEL_CHUNKS_MIN {
        return chunks.iter().map(ChunkWrite::encode).collect();
    }
    chunks.par_iter().map(ChunkWrite::encode).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunker<'a>() -> Chunker<'a> {
        let time = Timestamp::from_micros(1);
        Chunker::new(10, 3, time, ChainHash::genesis("o"), [7; 32])
    }

    fn shape(chunker: Chunker<'_>) -> Vec<(u64, usize)> {
        let chunks = chunker.finish();
        let shape = |chunk: &ChunkWrite<'_>| (chunk.first, chunk.slots.len());
        chunks.iter().map(shape).collect()
    }

    #[test]
    fn chunks_end_at_multiples_of_64() {
        let mut chunker = chunker();
        for _ in 0..130 {
            chunker.push_bytes(b"e", None).unwrap();
        }
        assert_eq!(chunker.next_index(), 140);
        assert_eq!(shape(chunker), [(10, 54), (64, 64), (128, 12)]);
        assert!(shape(self::chunker()).is_empty());
    }

    #[test]
    fn a_large_body_stands_alone() {
        let large = vec![0; CHUNK_RAW_BYTES_MAX + 1];
        let mut chunker = chunker();
        for bytes in [b"a", &large[..], b"", b"b"] {
            let body = Body {
                salt: [0; 32],
                bytes,
            };
            chunker.push_bytes(b"e", Some(body)).unwrap();
        }
        assert_eq!(shape(chunker), [(10, 1), (11, 1), (12, 2)]);
    }

    #[test]
    fn what_is_too_large_changes_nothing() {
        let large = vec![b'x'; ENTRY_BYTES_MAX + 1];
        let mut chunker = chunker();
        let before = chunker.chain();
        for entry in [&[][..], &large] {
            assert!(matches!(
                chunker.push_bytes(entry, None),
                Err(ChunkError::Invalid(InvalidBlock::Entry { index: 10, .. }))
            ));
        }
        let verdict = Verdict {
            findings: vec![],
            valid: true,
        };
        let parts = EventParts {
            source: std::str::from_utf8(&large).unwrap(),
            undecodable: None,
            verdict: &verdict,
            record: &EventRecord::default(),
        };
        assert!(matches!(
            chunker.push_event(parts, b"{}"),
            Err(ChunkError::Entry(EntryError::TooLong(_)))
        ));
        assert_eq!((chunker.chain(), chunker.next_index()), (before, 10));
        assert!(shape(chunker).is_empty());
    }

    #[test]
    fn salts_follow_from_the_chunk_that_an_entry_lies_in() {
        let verdict = Verdict {
            findings: vec![],
            valid: true,
        };
        let record = EventRecord::default();
        let parts = EventParts {
            source: "s",
            undecodable: None,
            verdict: &verdict,
            record: &record,
        };
        let mut chunker = chunker();
        for _ in 0..65 {
            chunker.push_event(parts, b"{}").unwrap();
        }
        let chunks = chunker.finish();
        for chunk in &chunks {
            assert_eq!(chunk.seed, Some(chunk_seed(&[7; 32], chunk.first)));
            for (index, slot) in (chunk.first..).zip(&chunk.slots) {
                let salt = body_salt(&chunk.seed.unwrap(), index);
                assert_eq!(slot.body.unwrap().salt, salt);
            }
        }
        assert_eq!(chunks.len(), 2);
    }
}
