//! Blocks for tests: what an entry, a body, a tile holds follows from its index alone,
//! so that a reader can tell whether it got the right one.
#![allow(dead_code, reason = "each test file uses its part")]

use auditchain_log::json::EventView;
use auditchain_log::{ChainHash, Entry, EventRecord, Hash, TileId, Timestamp, Verdict, body_hash};
use auditchain_store::{
    AppendError, BlockWrite, Body, Chunker, Epoch, EventParts, Head, Store, encode_chunks,
};

/// A block that owns what a `BlockWrite` borrows.
#[derive(Debug, Clone)]
pub(crate) struct Block {
    pub(crate) head: Head,
    pub(crate) entries: Vec<Vec<u8>>,
    pub(crate) bodies: Vec<Option<([u8; 32], Vec<u8>)>>,
    pub(crate) tiles: Vec<(TileId, Vec<u8>)>,
    pub(crate) blobs: Vec<(String, Vec<u8>)>,
    /// Entries with a body are events, made from it; else they stand as they are.
    pub(crate) events: bool,
    pub(crate) erase: Vec<u64>,
}

impl Block {
    /// The block that follows `before` with `count` entries.
    pub(crate) fn after(before: Option<&Head>, count: u64) -> Self {
        let (size, blocks) = before.map_or((0, 0), |head| (head.size, head.blocks));
        let new_size = size + count;
        Self {
            head: Head {
                size: new_size,
                blocks: blocks + 1,
                time_us: i64::try_from(blocks).unwrap(),
                root: Hash([1; 32]),
                chain: Hash([2; 32]),
                note: format!("note over {new_size}").into_bytes(),
                state: format!("state at {new_size}").into_bytes(),
            },
            entries: (size..new_size).map(entry).collect(),
            bodies: (size..new_size).map(body).collect(),
            tiles: (size / 256..new_size / 256)
                .map(|index| TileId { level: 0, index })
                .map(|id| (id, tile(id)))
                .collect(),
            blobs: Vec::new(),
            events: blocks % 2 == 1,
            erase: Vec::new(),
        }
    }

    pub(crate) fn append(
        &self,
        store: &dyn Store,
        epoch: Epoch,
        expected_size: u64,
    ) -> Result<(), AppendError> {
        let first = self.head.size.saturating_sub(self.entries.len() as u64);
        let time = Timestamp::from_micros(self.head.time_us);
        let random = [u8::try_from(first % 251).unwrap(); 32];
        let chain = ChainHash::genesis("tests");
        let mut chunker = Chunker::new(first, self.head.blocks, time, chain, random);
        let verdict = Verdict {
            findings: vec![],
            valid: true,
        };
        for (entry, slot) in self.entries.iter().zip(&self.bodies) {
            let body = slot
                .as_ref()
                .map(|(salt, bytes)| Body { salt: *salt, bytes });
            match body.filter(|_| self.events) {
                Some(body) => {
                    let parts = EventParts {
                        source: "tests",
                        undecodable: None,
                        verdict: &verdict,
                        record: &EventRecord::from_view(&EventView::read(body.bytes)),
                    };
                    chunker.push_event(parts, body.bytes).unwrap();
                }
                None => chunker.push_bytes(entry, body).unwrap(),
            }
        }
        let chunks = encode_chunks(&chunker.finish());
        let blobs: Vec<_> = self
            .blobs
            .iter()
            .map(|(name, bytes)| (name.as_str(), bytes.as_slice()))
            .collect();
        store.append(
            epoch,
            expected_size,
            &BlockWrite {
                head: &self.head,
                chunks: &chunks,
                erase: &self.erase,
                tiles: &self.tiles,
                blobs: &blobs,
            },
        )
    }
}

/// Appends a block of `count` entries and returns the new head.
pub(crate) fn grow(store: &dyn Store, epoch: Epoch, count: u64) -> Head {
    let head = store.head().unwrap();
    let block = Block::after(head.as_ref(), count);
    block
        .append(store, epoch, head.map_or(0, |head| head.size))
        .unwrap();
    block.head
}

pub(crate) fn entry(index: u64) -> Vec<u8> {
    format!("{{\"index\":{index},\"text\":\"{}\"}}", noise(index, 40)).into_bytes()
}

/// Every third entry has no body; every fifth body is empty.
pub(crate) fn body(index: u64) -> Option<([u8; 32], Vec<u8>)> {
    let bytes = match index {
        i if i % 3 == 0 => return None,
        i if i % 5 == 0 => Vec::new(),
        i => noise(i, usize::try_from(i % 200).unwrap()).into_bytes(),
    };
    Some(([u8::try_from(index % 251).unwrap(); 32], bytes))
}

pub(crate) fn tile(id: TileId) -> Vec<u8> {
    let mut bytes = noise(id.index ^ u64::from(id.level), 4096).into_bytes();
    bytes.resize(8192, id.level);
    bytes
}

/// Text that does not compress well.
pub(crate) fn noise(seed: u64, bytes: usize) -> String {
    let mut state = seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (0..bytes)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            char::from(b'a' + u8::try_from(state % 26).unwrap())
        })
        .collect()
}

/// Whether an entry is the one that its index says, or the event of its body.
pub(crate) fn is_right(index: u64, got: &[u8], body: Option<Body<'_>>) -> bool {
    match (Entry::parse(got), body) {
        (Ok(event), Some(body)) => event.body().unwrap().hash == body_hash(&body.salt, body.bytes),
        _ => got == entry(index),
    }
}

/// Reads everything below the head and compares it with what the index says; the
/// chunks must cover the log without gap or overlap.
pub(crate) fn check_all(store: &dyn Store) -> u64 {
    let size = store.head().unwrap().map_or(0, |head| head.size);
    let mut index = 0;
    while index < size {
        let chunk = store.chunk_at(index).unwrap().expect("below the head");
        assert_eq!(chunk.first(), index);
        for i in index..chunk.end() {
            let got = chunk.body(i);
            assert!(is_right(i, chunk.entry(i).unwrap(), got), "entry {i}");
            assert_eq!(
                got.map(|body| body.bytes.to_vec()),
                body(i).map(|body| body.1)
            );
        }
        index = chunk.end();
    }
    let ids: Vec<_> = (0..size / 256)
        .map(|index| TileId { level: 0, index })
        .collect();
    for (id, got) in ids.iter().zip(store.tiles(&ids).unwrap()) {
        assert_eq!(got, Some(tile(*id)));
    }
    let past = store.chunk_at(size).unwrap();
    let grew = store.head().unwrap().map_or(0, |head| head.size) > size;
    assert!(grew || past.is_none(), "something is past the head");
    size
}
