//! Chunks: up to 64 entries with their bodies, in one frame.
//!
//! ```text
//! frame of kind `c`, id = first index, count = slots
//!   plain:   salts u8: 0 from a seed, 1 each by itself; chain hash before the first
//!            entry, 32 bytes; then the seed, or the salt of each body that is there
//!   content: recipe u8, block, time (microseconds, zigzag), sources: how many, and each
//!            by length and bytes
//!            a slot each: flags u8, then
//!              event: number of the source, length of the code `undecodable` and of the
//!                     verdict, where flagged
//!              else:  length of the entry
//!              body:  length of the body, where flagged
//!            of all slots: code and verdict, or the entry
//!            of all slots: the body
//! ```
//! Numbers are LEB128. What follows from a body is not stored: an event's entry is made
//! again from its body when it is asked for ([`EventEntry`]). Entries that don't follow
//! from a body stand as they are: those of other kinds, and events whose body was erased.
//! Lengths stand together, apart from the text, so that both compress well; hashes and
//! salts are random and are not compressed. A chunk never spans two blocks, so an append
//! never rewrites one; an erasure does.

use std::ops::Range;
use std::sync::OnceLock;

use auditchain_log::{ChainHash, EventEntry, Hash, RECIPE_VERSION, Timestamp, Verdict, body_salt};

use crate::chunker::{ChunkWrite, Said, Slot};
use crate::contract::Body;
use crate::error::Damage;
use crate::frame::{Frame, Kind, compressed_with_dictionary};
use crate::limits::{BODY_BYTES_MAX, CHUNK_ENTRIES_MAX, CHUNK_RAW_BYTES_MAX, ENTRY_BYTES_MAX};

pub(crate) const SALT_BYTES: usize = 32;
const SALTS_SEED: u8 = 0;
const SALTS_EACH: u8 = 1;

const EVENT: u8 = 1;
const BODY: u8 = 2;
const UNDECODABLE: u8 = 4;
const VERDICT: u8 = 8;

/// Bytes that a section of a chunk may have: one body that is too large to share, or many
/// that together reach the raw bound; the slot that goes over it with what belongs to it;
/// and the numbers.
pub(crate) const BYTES_MAX: usize = CHUNK_RAW_BYTES_MAX
    + BODY_BYTES_MAX
    + 2 * ENTRY_BYTES_MAX
    + CHUNK_ENTRIES_MAX * NUMBERS_BYTES_MAX;
/// Flags, four lengths, and the length of a source's name.
const NUMBERS_BYTES_MAX: usize = 64;

/// Consecutive entries of the log with their bodies.
#[derive(Debug)]
pub struct Chunk {
    first: u64,
    block: u64,
    time: Timestamp,
    /// Before the first entry.
    chain: Hash,
    slots: Vec<ReadSlot>,
    content: Vec<u8>,
    /// Made when the first entry is asked for: who wants a body only doesn't pay for it.
    entries: OnceLock<Option<Vec<Vec<u8>>>>,
}

#[derive(Debug)]
struct ReadSlot {
    said: ReadSaid,
    body: Option<(Range<usize>, [u8; SALT_BYTES])>,
}

#[derive(Debug)]
enum ReadSaid {
    Event {
        source: Range<usize>,
        undecodable: Option<Range<usize>>,
        verdict: Option<Verdict>,
    },
    Entry(Range<usize>),
}

impl Chunk {
    /// Index of the first entry.
    #[must_use]
    pub const fn first(&self) -> u64 {
        self.first
    }

    /// How many entries; at least one.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a chunk is never empty")]
    pub const fn len(&self) -> usize {
        self.slots.len()
    }

    /// Index after the last entry.
    #[must_use]
    pub const fn end(&self) -> u64 {
        self.first + self.slots.len() as u64
    }

    /// The entry with this index in the log. `None` if it is not in the chunk, or if
    /// the chunk was changed so that it can't be made again, which is damage.
    #[must_use]
    pub fn entry(&self, index: u64) -> Option<&[u8]> {
        let at = self.at(index)?;
        if let ReadSaid::Entry(range) = &self.slots[at].said {
            return self.content.get(range.clone());
        }
        let entries = self.entries.get_or_init(|| self.rebuild());
        entries.as_ref()?.get(at).map(Vec::as_slice)
    }

    /// The body of the entry with this index in the log; `None` if it never had one, if
    /// it was erased, or if it is not in the chunk.
    #[must_use]
    pub fn body(&self, index: u64) -> Option<Body<'_>> {
        let (range, salt) = self.slots[self.at(index)?].body.as_ref()?;
        Some(Body {
            salt: *salt,
            bytes: self.content.get(range.clone())?,
        })
    }

    fn at(&self, index: u64) -> Option<usize> {
        let at = usize::try_from(index.checked_sub(self.first)?).ok()?;
        (at < self.slots.len()).then_some(at)
    }

    /// Empty where the entry stands in the content.
    fn rebuild(&self) -> Option<Vec<Vec<u8>>> {
        let mut chain = ChainHash::resume(self.chain);
        let mut entries = Vec::with_capacity(self.slots.len());
        for slot in &self.slots {
            let entry = match &slot.said {
                ReadSaid::Entry(range) => {
                    chain = chain.next(self.content.get(range.clone())?);
                    Vec::new()
                }
                ReadSaid::Event {
                    source,
                    undecodable,
                    verdict,
                } => {
                    let (body, salt) = slot.body.as_ref()?;
                    let text = |range: &Range<usize>| {
                        std::str::from_utf8(self.content.get(range.clone())?).ok()
                    };
                    let plain = Verdict {
                        findings: Vec::new(),
                        valid: true,
                    };
                    let parts = EventEntry {
                        block: self.block,
                        time: self.time,
                        prev: chain.hash(),
                        source: text(source)?,
                        undecodable: match undecodable {
                            Some(code) => Some(text(code)?),
                            None => None,
                        },
                        verdict: verdict.as_ref().unwrap_or(&plain),
                    };
                    let entry = parts.derive(salt, self.content.get(body.clone())?).ok()?;
                    chain = chain.next(&entry);
                    entry
                }
            };
            entries.push(entry);
        }
        Some(entries)
    }

    /// The chunk as it is to be written once these bodies are gone, each salt by itself.
    ///
    /// # Errors
    /// The index that has no body.
    pub(crate) fn without(&self, erased: &[u64]) -> Result<ChunkWrite<'_>, EraseFault> {
        let mut rest = ChunkWrite::new(self.first, self.block, self.time, self.chain);
        for (index, slot) in (self.first..).zip(&self.slots) {
            let erase = erased.contains(&index);
            if erase && slot.body.is_none() {
                return Err(EraseFault::NoBody(index));
            }
            let entry = || self.entry(index).map(<[u8]>::to_vec);
            let said = match &slot.said {
                ReadSaid::Event {
                    source,
                    undecodable,
                    verdict,
                } if !erase => {
                    let text = |range: &Range<usize>| {
                        let text = std::str::from_utf8(&self.content[range.clone()]);
                        text.map_err(|_| EraseFault::Damaged(index))
                    };
                    Said::Event {
                        source: rest.source(text(source)?),
                        undecodable: match undecodable {
                            Some(code) => Some(text(code)?.to_owned()),
                            None => None,
                        },
                        verdict: verdict.as_ref().map(Verdict::encode),
                    }
                }
                _ => Said::Entry(entry().ok_or(EraseFault::Damaged(index))?),
            };
            let body = self.body(index).filter(|_| !erase);
            rest.slots.push(Slot { said, body });
        }
        Ok(rest)
    }

    pub(crate) fn from_frame(frame: Frame<Vec<u8>, Vec<u8>>) -> Result<Self, Damage> {
        let count = usize::try_from(frame.count)
            .ok()
            .filter(|count| (1..=CHUNK_ENTRIES_MAX).contains(count))
            .ok_or(Damage::OverLimit)?;
        let first = frame.id;
        first
            .checked_add(count as u64)
            .ok_or(Damage::Inconsistent)?;
        let (chain, mut salts) = Salts::read(&frame.plain)?;
        let mut reader = Reader {
            bytes: &frame.content,
            at: 0,
        };
        match reader.byte()? {
            RECIPE_VERSION => {}
            other => return Err(Damage::UnknownFormat(other.into())),
        }
        let block = reader.number()?;
        let time = Timestamp::from_micros(from_zigzag(reader.number()?));
        let sources = reader.length(CHUNK_ENTRIES_MAX)?;
        let sources: Vec<Range<usize>> = (0..sources)
            .map(|_| {
                let bytes = reader.length(ENTRY_BYTES_MAX)?;
                reader.text(bytes)
            })
            .collect::<Result<_, _>>()?;
        let shapes: Vec<Shape> = (0..count)
            .map(|_| reader.shape(sources.len()))
            .collect::<Result<_, _>>()?;
        let mut slots = Vec::with_capacity(count);
        for (index, shape) in (first..).zip(&shapes) {
            let said = match shape.said {
                ShapeSaid::Entry(bytes) => ReadSaid::Entry(reader.take(bytes)?),
                ShapeSaid::Event {
                    source,
                    undecodable,
                    verdict,
                } => ReadSaid::Event {
                    source: sources[source].clone(),
                    undecodable: undecodable.map(|bytes| reader.text(bytes)).transpose()?,
                    verdict: verdict.map(|bytes| reader.verdict(bytes)).transpose()?,
                },
            };
            let body = match shape.body {
                Some(_) => Some((0..0, salts.next(index)?)),
                None => None,
            };
            slots.push(ReadSlot { said, body });
        }
        for (slot, shape) in slots.iter_mut().zip(&shapes) {
            if let (Some((range, _)), Some(bytes)) = (&mut slot.body, shape.body) {
                *range = reader.take(bytes)?;
            }
        }
        if reader.at != frame.content.len() || !salts.is_used_up() {
            return Err(Damage::Inconsistent);
        }
        Ok(Self {
            first,
            block,
            time,
            chain,
            slots,
            content: frame.content,
            entries: OnceLock::new(),
        })
    }
}

/// Why a body can't be erased.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum EraseFault {
    NoBody(u64),
    Damaged(u64),
}

/// The stored form of a chunk.
pub(crate) fn encode(chunk: &ChunkWrite<'_>) -> Vec<u8> {
    let slots = &chunk.slots;
    let bodies = || slots.iter().filter_map(|slot| slot.body);
    let mut plain = Vec::with_capacity(1 + 2 * SALT_BYTES);
    match chunk.seed.filter(|_| bodies().next().is_some()) {
        Some(seed) => {
            plain.push(SALTS_SEED);
            plain.extend(chunk.chain.0);
            plain.extend(seed);
        }
        None => {
            plain.push(SALTS_EACH);
            plain.extend(chunk.chain.0);
            plain.extend(bodies().flat_map(|body| body.salt));
        }
    }
    let mut content = Vec::with_capacity(chunk.raw_bytes + 1024);
    content.push(RECIPE_VERSION);
    number(&mut content, chunk.block);
    number(&mut content, zigzag(chunk.time.as_micros()));
    number(&mut content, chunk.sources.len() as u64);
    for source in &chunk.sources {
        number(&mut content, source.len() as u64);
        content.extend(source.as_bytes());
    }
    for slot in slots {
        write_shape(&mut content, slot);
    }
    for slot in slots {
        match &slot.said {
            Said::Entry(entry) => content.extend(entry),
            Said::Event {
                undecodable,
                verdict,
                ..
            } => {
                content.extend(undecodable.iter().flat_map(|code| code.as_bytes()));
                content.extend(verdict.iter().flatten());
            }
        }
    }
    for body in bodies() {
        content.extend(body.bytes);
    }
    compressed_with_dictionary(&Frame {
        kind: Kind::Chunk,
        id: chunk.first,
        // A chunk holds at most 64 slots.
        count: u32::try_from(slots.len()).unwrap_or(u32::MAX),
        plain: &plain,
        content: &content,
    })
}

fn write_shape(content: &mut Vec<u8>, slot: &Slot<'_>) {
    let body = slot.body.map(|body| body.bytes.len() as u64);
    let flag = |set: bool, flag: u8| if set { flag } else { 0 };
    let with_body = flag(body.is_some(), BODY);
    match &slot.said {
        Said::Entry(entry) => {
            content.push(with_body);
            number(content, entry.len() as u64);
        }
        Said::Event {
            source,
            undecodable,
            verdict,
        } => {
            let undecodable = undecodable.as_ref().map(|code| code.len() as u64);
            let verdict = verdict.as_ref().map(|json| json.len() as u64);
            content.push(
                EVENT
                    | with_body
                    | flag(undecodable.is_some(), UNDECODABLE)
                    | flag(verdict.is_some(), VERDICT),
            );
            number(content, *source as u64);
            for bytes in [undecodable, verdict].into_iter().flatten() {
                number(content, bytes);
            }
        }
    }
    if let Some(bytes) = body {
        number(content, bytes);
    }
}

/// The lengths of what belongs to a slot.
struct Shape {
    said: ShapeSaid,
    body: Option<usize>,
}

#[derive(Clone, Copy)]
enum ShapeSaid {
    Event {
        source: usize,
        undecodable: Option<usize>,
        verdict: Option<usize>,
    },
    Entry(usize),
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn byte(&mut self) -> Result<u8, Damage> {
        let byte = *self.bytes.get(self.at).ok_or(Damage::Truncated)?;
        self.at += 1;
        Ok(byte)
    }

    fn number(&mut self) -> Result<u64, Damage> {
        let mut value = 0_u64;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if (bits << shift) >> shift != bits {
                return Err(Damage::OverLimit);
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Damage::OverLimit)
    }

    fn length(&mut self, max: usize) -> Result<usize, Damage> {
        usize::try_from(self.number()?)
            .ok()
            .filter(|bytes| *bytes <= max)
            .ok_or(Damage::OverLimit)
    }

    fn take(&mut self, bytes: usize) -> Result<Range<usize>, Damage> {
        // Lengths are at most 64 MiB: no overflow.
        let range = self.at..self.at + bytes;
        if range.end > self.bytes.len() {
            return Err(Damage::Truncated);
        }
        self.at = range.end;
        Ok(range)
    }

    fn text(&mut self, bytes: usize) -> Result<Range<usize>, Damage> {
        let range = self.take(bytes)?;
        match std::str::from_utf8(&self.bytes[range.clone()]) {
            Ok(_) => Ok(range),
            Err(_) => Err(Damage::Inconsistent),
        }
    }

    fn verdict(&mut self, bytes: usize) -> Result<Verdict, Damage> {
        let range = self.take(bytes)?;
        Verdict::parse(&self.bytes[range]).ok_or(Damage::Inconsistent)
    }

    fn shape(&mut self, sources: usize) -> Result<Shape, Damage> {
        let flags = self.byte()?;
        let allowed = if flags & EVENT == 0 {
            BODY
        } else {
            EVENT | BODY | UNDECODABLE | VERDICT
        };
        if flags & !allowed != 0 {
            return Err(Damage::UnknownFormat(flags.into()));
        }
        let said = if flags & EVENT == 0 {
            let bytes = self.length(ENTRY_BYTES_MAX)?;
            if bytes == 0 {
                return Err(Damage::Inconsistent);
            }
            ShapeSaid::Entry(bytes)
        } else {
            let source = self.length(sources.saturating_sub(1))?;
            // Without its body there is nothing to make the entry of.
            if sources == 0 || flags & BODY == 0 {
                return Err(Damage::Inconsistent);
            }
            ShapeSaid::Event {
                source,
                undecodable: self.flagged(flags & UNDECODABLE, ENTRY_BYTES_MAX)?,
                verdict: self.flagged(flags & VERDICT, ENTRY_BYTES_MAX)?,
            }
        };
        let body = self.flagged(flags & BODY, BODY_BYTES_MAX)?;
        Ok(Shape { said, body })
    }

    /// A length that is there where the flag is set.
    fn flagged(&mut self, flag: u8, max: usize) -> Result<Option<usize>, Damage> {
        (flag != 0).then(|| self.length(max)).transpose()
    }
}

/// Where the salts of a chunk come from.
enum Salts<'a> {
    Seed([u8; SALT_BYTES]),
    Each(&'a [u8]),
}

impl<'a> Salts<'a> {
    /// The chain hash and the salts of a plain section.
    fn read(plain: &'a [u8]) -> Result<(Hash, Self), Damage> {
        let (kind, rest) = plain.split_first().ok_or(Damage::Truncated)?;
        let (chain, rest) = rest.split_first_chunk().ok_or(Damage::Truncated)?;
        let salts = match (*kind, rest.as_array()) {
            (SALTS_SEED, Some(seed)) => Self::Seed(*seed),
            (SALTS_SEED, None) => return Err(Damage::Inconsistent),
            (SALTS_EACH, _) => Self::Each(rest),
            (other, _) => return Err(Damage::UnknownFormat(other.into())),
        };
        Ok((Hash(*chain), salts))
    }

    fn next(&mut self, index: u64) -> Result<[u8; SALT_BYTES], Damage> {
        match self {
            Self::Seed(seed) => Ok(body_salt(seed, index)),
            Self::Each(rest) => {
                let (salt, after) = rest.split_first_chunk().ok_or(Damage::Inconsistent)?;
                *rest = after;
                Ok(*salt)
            }
        }
    }

    fn is_used_up(&self) -> bool {
        !matches!(self, Self::Each(rest) if !rest.is_empty())
    }
}

fn number(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(low_byte(value) | 0x80);
        value >>= 7;
    }
    out.push(low_byte(value));
}

const fn low_byte(value: u64) -> u8 {
    value.to_le_bytes()[0]
}

const fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

const fn from_zigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -((value & 1).cast_signed())
}

#[cfg(test)]
mod tests;
