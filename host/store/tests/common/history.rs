//! A history of blocks for crash tests: what block n holds follows from n alone, so
//! whatever a crash leaves can be checked against it, whoever wrote it.

use std::path::{Path, PathBuf};

use auditchain_store::{AppendError, Epoch, Head, HeadFile, SledStore, Store, StoreError};

use super::{Block, check_all, noise};

/// Every so many blocks one has a named value, which fills several parts.
const BLOB_EVERY: u64 = 5;
/// Every so many blocks the checkpoint file follows.
const HEAD_FILE_EVERY: u64 = 4;

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

/// The block after `before`.
pub(crate) fn next_block(before: Option<&Head>) -> Block {
    let blocks = before.map_or(0, |head| head.blocks);
    let mut block = Block::after(before, 1 + blocks * 37 % 150);
    if blocks.is_multiple_of(BLOB_EVERY) {
        block.blobs.push((blob_name(blocks), blob(blocks)));
    }
    block
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
    let mut before = head;
    for _ in 0..blocks {
        let block = next_block(before.as_ref());
        let size = before.as_ref().map_or(0, |head| head.size);
        if let Err(error) = block.append(&store, epoch, size) {
            refuses_from_now_on(&store, epoch, size, &block, &error);
            return Err(error);
        }
        acknowledged.size = block.head.size;
        note(*acknowledged);
        if block.head.blocks.is_multiple_of(HEAD_FILE_EVERY) {
            HeadFile::new(&dir)
                .write(&block.head.note)
                .map_err(AppendError::Store)?;
            acknowledged.in_head_file = Some(block.head.size);
            note(*acknowledged);
        }
        before = Some(block.head);
    }
    Ok(())
}

/// After a write whose outcome is unknown nothing is written, and readers see what they
/// saw before.
fn refuses_from_now_on(
    store: &SledStore,
    epoch: Epoch,
    size: u64,
    block: &Block,
    error: &AppendError,
) {
    if !matches!(error, AppendError::Unknown(_)) {
        return;
    }
    assert_eq!(store.head().unwrap().map_or(0, |head| head.size), size);
    assert!(matches!(
        block.append(store, epoch, size),
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
    let size = {
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
        let block = next_block(head.as_ref());
        block.append(&store, epoch, size).unwrap();
        size
    };
    let store = SledStore::open(&dir).unwrap();
    let after = check_store(&store);
    assert_eq!(after, next_size(&store, size));
    size
}

fn next_size(store: &SledStore, size: u64) -> u64 {
    let blocks = store.head().unwrap().unwrap().blocks - 1;
    size + 1 + blocks * 37 % 150
}

/// Reads all of it; the head is the very one that was written with the last block.
fn check_store(store: &SledStore) -> u64 {
    let size = check_all(store);
    let mut expected: Option<Head> = None;
    while expected.as_ref().map_or(0, |head| head.size) < size {
        let block = next_block(expected.as_ref());
        for (name, bytes) in &block.blobs {
            assert_eq!(store.blob(name).unwrap().as_ref(), Some(bytes), "{name}");
        }
        expected = Some(block.head);
    }
    assert_eq!(store.head().unwrap(), expected);
    size
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

fn blob_name(block: u64) -> String {
    format!("dedup/{block:08x}")
}

fn blob(block: u64) -> Vec<u8> {
    noise(block, 150_000).into_bytes()
}
