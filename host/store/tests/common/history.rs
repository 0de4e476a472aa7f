//! A history of blocks for crash tests: what block n holds follows from n alone, so
//! whatever a crash leaves can be checked against it, whoever wrote it. The chain and the
//! tree are real.

use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use auditchain_log::json::EventView;
use auditchain_log::{ChainHash, EventRecord, Hash, TileId, Timestamp, TreeEdge, Verdict};
use auditchain_log::{body_hash, leaf_hash};
use auditchain_store::{
    AppendError, BlockWrite, Body, Chunker, EncodedChunk, Epoch, EventParts, Head, HeadFile,
    SledStore, Store, StoreError, encode_chunks,
};

use super::{body, entry, noise};

/// Every so many blocks one has a named value, which fills several parts.
const BLOB_EVERY: u64 = 5;
/// Every so many blocks the checkpoint file follows.
const HEAD_FILE_EVERY: u64 = 4;
/// Every so many blocks one erases bodies of an earlier one.
const ERASE_EVERY: u64 = 3;
/// How far back it reaches.
const ERASE_BACK: u64 = 2;

/// What was acknowledged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Acknowledged {
    /// Entries in the store.
    pub(crate) size: u64,
    /// Entries under the checkpoint file; none if it was never written.
    pub(crate) in_head_file: Option<u64>,
}

/// The data directory inside of `root`, made by the store.
pub(crate) fn data_dir(root: &Path) -> PathBuf {
    root.join("data")
}

/// A block as it must be.
struct Step {
    head: Head,
    entries: Vec<Vec<u8>>,
    chunks: Vec<EncodedChunk>,
    tiles: Vec<(TileId, Vec<u8>)>,
    blob: Option<(String, Vec<u8>)>,
    erase: Vec<u64>,
}

/// All blocks so far, and the edge of the tree after the last.
#[derive(Default)]
struct Steps(Vec<Arc<Step>>, TreeEdge);

/// Made once a process: what a block holds doesn't depend on who asks.
static STEPS: LazyLock<Mutex<Steps>> = LazyLock::new(Mutex::default);

fn step(block: u64) -> Arc<Step> {
    let mut steps = STEPS.lock().unwrap_or_else(PoisonError::into_inner);
    let block = usize::try_from(block).unwrap();
    while steps.0.len() <= block {
        steps.grow();
    }
    Arc::clone(&steps.0[block])
}

impl Steps {
    fn grow(&mut self) {
        let block = self.0.len() as u64;
        let before = self.0.last().map(|step| &step.head);
        let (first, chain) = before.map_or((0, ChainHash::genesis("tests")), |head| {
            (head.size, ChainHash::resume(head.chain))
        });
        let size = first + 1 + block * 37 % 150;
        let time_us = i64::try_from(block).unwrap();
        let bodies: Vec<_> = (first..size).map(body).collect();
        let random = [u8::try_from(block % 251).unwrap(); 32];
        let time = Timestamp::from_micros(time_us);
        let mut chunker = Chunker::new(first, block + 1, time, chain, random);
        let entries: Vec<_> = (first..size)
            .zip(&bodies)
            .map(|(index, body)| push(&mut chunker, block, index, body.as_ref()))
            .collect();
        let chain = chunker.chain().hash();
        let chunks = encode_chunks(&chunker.finish());
        let mut tiles = vec![];
        for entry in &entries {
            self.1.push(leaf_hash(entry), &mut tiles);
        }
        let erases = block.is_multiple_of(ERASE_EVERY) && block >= ERASE_BACK;
        let from = block.saturating_sub(ERASE_BACK);
        let erased = self.0.get(usize::try_from(from).unwrap());
        let erase = erased.filter(|_| erases).map_or(vec![], |step| {
            let first = step.head.size - step.entries.len() as u64;
            let with_body = (first..step.head.size).filter(|index| body(*index).is_some());
            with_body.step_by(3).collect()
        });
        let blob = block.is_multiple_of(BLOB_EVERY).then(|| {
            let name = format!("dedup/{block:08x}");
            (name, noise(block, 150_000).into_bytes())
        });
        self.0.push(Arc::new(Step {
            head: Head {
                size,
                blocks: block + 1,
                time_us,
                root: self.1.root(),
                chain,
                note: format!("note over {size}").into_bytes(),
                state: format!("state at {size}").into_bytes(),
            },
            entries,
            chunks,
            tiles,
            blob,
            erase,
        }));
    }
}

/// Every other block holds events, made from their bodies.
fn push<'b>(
    chunker: &mut Chunker<'b>,
    block: u64,
    index: u64,
    body: Option<&'b ([u8; 32], Vec<u8>)>,
) -> Vec<u8> {
    match body {
        Some((_, bytes)) if block % 2 == 1 => {
            let verdict = Verdict {
                findings: vec![],
                valid: true,
            };
            let parts = EventParts {
                source: "tests",
                undecodable: None,
                verdict: &verdict,
                record: &EventRecord::from_view(&EventView::read(bytes)),
            };
            chunker.push_event(parts, bytes).unwrap()
        }
        _ => {
            let body = body.map(|(salt, bytes)| Body { salt: *salt, bytes });
            chunker.push_bytes(&entry(index), body).unwrap();
            entry(index)
        }
    }
}

impl Step {
    fn append(&self, store: &SledStore, epoch: Epoch) -> Result<(), AppendError> {
        let blob = self.blob.as_ref();
        let blobs: Vec<_> = blob
            .map(|(name, bytes)| (&**name, &**bytes))
            .into_iter()
            .collect();
        let block = BlockWrite {
            head: &self.head,
            chunks: &self.chunks,
            erase: &self.erase,
            tiles: &self.tiles,
            blobs: &blobs,
        };
        store.append(epoch, self.first(), &block)
    }

    fn first(&self) -> u64 {
        self.head.size - self.entries.len() as u64
    }
}

/// Opens the store, appends `blocks` blocks and keeps the checkpoint file; `note` hears
/// of each thing that was acknowledged.
pub(crate) fn write(
    root: &Path,
    blocks: u64,
    acknowledged: &mut Acknowledged,
    mut note: impl FnMut(Acknowledged),
) -> Result<(), AppendError> {
    let dir = data_dir(root);
    let store = SledStore::open(&dir).map_err(AppendError::Store)?;
    let (epoch, head) = store.acquire().map_err(AppendError::Store)?;
    let first = head.map_or(0, |head| head.blocks);
    for block in first..first + blocks {
        let step = step(block);
        if let Err(error) = step.append(&store, epoch) {
            refuses_from_now_on(&store, epoch, &step, &error);
            return Err(error);
        }
        acknowledged.size = step.head.size;
        note(*acknowledged);
        if step.head.blocks.is_multiple_of(HEAD_FILE_EVERY) {
            HeadFile::new(&dir)
                .write(&step.head.note)
                .map_err(AppendError::Store)?;
            acknowledged.in_head_file = Some(step.head.size);
            note(*acknowledged);
        }
    }
    Ok(())
}

/// After a write whose outcome is unknown nothing is written, and readers see what they
/// saw before.
fn refuses_from_now_on(store: &SledStore, epoch: Epoch, step: &Step, error: &AppendError) {
    if !matches!(error, AppendError::Unknown(_)) {
        return;
    }
    let size = store.head().unwrap().map_or(0, |head| head.size);
    assert_eq!(size, step.first());
    assert!(matches!(
        step.append(store, epoch),
        Err(AppendError::Unknown(StoreError::Failed))
    ));
    assert!(matches!(store.acquire(), Err(StoreError::Failed)));
}

/// Opens what a crash left: everything acknowledged is there, nothing half, and the log
/// goes on from there. Returns its size as it was found.
pub(crate) fn check(root: &Path, acknowledged: Acknowledged) -> u64 {
    let dir = data_dir(root);
    // Before the store is opened: a reader may come first.
    let note = HeadFile::new(&dir).read().unwrap();
    let (size, next) = {
        let store = SledStore::open(&dir).unwrap();
        let size = check_store(&store);
        assert!(
            size >= acknowledged.size,
            "{size} entries are left of {} acknowledged",
            acknowledged.size
        );
        check_head_file(note.as_deref(), acknowledged.in_head_file, size);
        // What was not acknowledged is sent again: it is there once.
        let (epoch, head) = store.acquire().unwrap();
        let step = step(head.map_or(0, |head| head.blocks));
        step.append(&store, epoch).unwrap();
        (size, step.head.size)
    };
    let store = SledStore::open(&dir).unwrap();
    assert_eq!(check_store(&store), next);
    size
}

/// Reads all of it: each entry is the one that was written, bodies are there or erased,
/// chain and tree come out as the head says, and it is the head of the last block.
fn check_store(store: &SledStore) -> u64 {
    let Some(head) = store.head().unwrap() else {
        return 0;
    };
    let steps: Vec<_> = (0..head.blocks).map(step).collect();
    assert_eq!(head, steps.last().unwrap().head);
    let erased: Vec<u64> = steps.iter().flat_map(|step| step.erase.clone()).collect();
    let mut read = Read::default();
    for step in &steps {
        let mut index = step.first();
        while index < step.head.size {
            let chunk = store.chunk_at(index).unwrap().expect("below the head");
            assert_eq!(chunk.first(), index);
            for i in index..chunk.end() {
                let at = usize::try_from(i - step.first()).unwrap();
                let entry = chunk.entry(i).unwrap();
                assert_eq!(entry, step.entries[at], "entry {i}");
                let expected = body(i).filter(|_| !erased.contains(&i));
                let found = chunk.body(i);
                assert_eq!(
                    found.map(|body| body.bytes),
                    expected.as_ref().map(|(_, bytes)| &**bytes),
                    "body {i}"
                );
                read.take(entry, found);
            }
            index = chunk.end();
        }
        if let Some((name, bytes)) = &step.blob {
            assert_eq!(store.blob(name).unwrap().as_ref(), Some(bytes), "{name}");
        }
        let (ids, tiles): (Vec<_>, Vec<_>) = step.tiles.iter().cloned().unzip();
        let found = store.tiles(&ids).unwrap();
        assert!(found.into_iter().eq(tiles.into_iter().map(Some)));
    }
    assert!(store.chunk_at(head.size).unwrap().is_none());
    assert_eq!(read.chain(), head.chain);
    assert_eq!(read.edge.root(), head.root);
    head.size
}

/// The proof over what was read, made anew.
#[derive(Default)]
struct Read {
    chain: Option<ChainHash>,
    edge: TreeEdge,
}

impl Read {
    fn take(&mut self, entry: &[u8], body: Option<Body<'_>>) {
        let chain = self.chain.unwrap_or_else(|| ChainHash::genesis("tests"));
        self.chain = Some(chain.next(entry));
        self.edge.push(leaf_hash(entry), &mut vec![]);
        if let (Ok(event), Some(body)) = (auditchain_log::Entry::parse(entry), body) {
            let committed = event.body().expect("an event has a body");
            assert_eq!(committed.hash, body_hash(&body.salt, body.bytes));
        }
    }

    fn chain(&self) -> Hash {
        self.chain.unwrap().hash()
    }
}

/// The checkpoint file is whole, not older than acknowledged, and never ahead of the
/// store, or the service would take the crash for a rollback.
fn check_head_file(note: Option<&[u8]>, acknowledged: Option<u64>, store_size: u64) {
    let size = note.map(|note| {
        let text = std::str::from_utf8(note).unwrap();
        text.strip_prefix("note over ").unwrap().parse().unwrap()
    });
    assert!(
        size >= acknowledged,
        "the checkpoint file has {size:?}, acknowledged was {acknowledged:?}"
    );
    assert!(
        size.is_none_or(|size: u64| size <= store_size),
        "the checkpoint file has {size:?}, the store {store_size}: a false rollback"
    );
}
