//! The contract of `Store`, kept by `SledStore`.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod common;

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use auditchain_log::{Hash, TileId};
use auditchain_store::limits::{
    BLOCK_ENTRIES_MAX, BLOCK_ERASE_MAX, NOTE_BYTES_MAX, STATE_BYTES_MAX,
};
use auditchain_store::{
    AppendError, Epoch, InvalidBlock, SledStore, Store, StoreError, copy_data_dir,
};
use common::{Block, check_all, grow};
use tempfile::TempDir;

fn new_store() -> (TempDir, SledStore, Epoch) {
    let dir = tempfile::tempdir().unwrap();
    let store = SledStore::open(dir.path()).unwrap();
    let (epoch, head) = store.acquire().unwrap();
    assert_eq!(head, None);
    (dir, store, epoch)
}

#[test]
fn what_is_appended_is_read_back_also_after_a_reopen() {
    let (dir, store, epoch) = new_store();
    for count in [1, 63, 64, 65, 400, 2] {
        grow(&store, epoch, count);
    }
    assert_eq!(check_all(&store), 595);
    let head = store.head().unwrap();
    drop(store);
    let store = SledStore::open_existing(dir.path()).unwrap();
    assert_eq!(store.head().unwrap(), head);
    assert_eq!(check_all(&store), 595);
}

#[test]
fn an_index_in_the_middle_finds_its_chunk() {
    let (_dir, store, epoch) = new_store();
    grow(&store, epoch, 100);
    for index in 0..100 {
        let chunk = store.chunk_at(index).unwrap().unwrap();
        assert_eq!(chunk.entry(index), Some(&common::entry(index)[..]));
        assert_eq!(chunk.first(), index / 64 * 64);
        assert_eq!(chunk.body(index).is_some(), common::body(index).is_some());
    }
}

#[test]
fn large_bodies_and_states_come_back_and_nothing_spills() {
    let (dir, store, epoch) = new_store();
    let mut block = Block::after(None, 30);
    // Incompressible, so that its parts are many.
    let large = common::noise(1, 10_000_000).into_bytes();
    block.bodies[7] = Some(([9; 32], large.clone()));
    block.bodies[8] = Some(([8; 32], Vec::new()));
    block.head.state = common::noise(2, STATE_BYTES_MAX).into_bytes();
    block.append(&store, epoch, 0).unwrap();
    drop(store);

    let store = SledStore::open(dir.path()).unwrap();
    assert_eq!(store.head().unwrap(), Some(block.head));
    let chunk = store.chunk_at(7).unwrap().unwrap();
    assert_eq!(chunk.body(7).unwrap().bytes, large);
    let chunk = store.chunk_at(8).unwrap().unwrap();
    assert_eq!(chunk.body(8).unwrap().bytes, b"");
    assert_eq!(
        fs::read_dir(dir.path().join("store/blobs"))
            .unwrap()
            .count(),
        0
    );
}

#[test]
fn a_growing_and_shrinking_state_is_never_mixed_up() {
    let (dir, store, epoch) = new_store();
    let mut head = None;
    for bytes in [100_000, 10, 200_000, 0, 70_000] {
        let mut block = Block::after(head.as_ref(), 1);
        block.head.state = vec![7; bytes];
        let size = head.map_or(0, |head| head.size);
        block.append(&store, epoch, size).unwrap();
        head = Some(block.head);
    }
    drop(store);
    assert_eq!(SledStore::open(dir.path()).unwrap().head().unwrap(), head);
}

#[test]
fn a_later_acquire_fences_the_earlier_writer() {
    let (dir, store, first) = new_store();
    grow(&store, first, 3);
    let (second, head) = store.acquire().unwrap();
    assert!(second > first);
    assert_eq!(head.as_ref().map(|head| head.size), Some(3));
    let block = Block::after(head.as_ref(), 1);
    assert!(matches!(
        block.append(&store, first, 3),
        Err(AppendError::Fenced { held }) if held == first
    ));
    grow(&store, second, 1);

    // Epochs go on over a reopen, and none is valid before acquire.
    drop(store);
    let store = SledStore::open(dir.path()).unwrap();
    let head = store.head().unwrap();
    for epoch in [second, Epoch::new(0), Epoch::new(second.get() + 1)] {
        let block = Block::after(head.as_ref(), 1);
        assert!(matches!(
            block.append(&store, epoch, 4),
            Err(AppendError::Fenced { .. })
        ));
    }
    assert!(store.acquire().unwrap().0 > second);
    assert_eq!(check_all(&store), 4);
}

#[test]
fn a_block_built_on_another_size_is_stale() {
    let (_dir, store, epoch) = new_store();
    let head = grow(&store, epoch, 3);
    let block = Block::after(Some(&head), 1);
    for expected in [0, 2, 4] {
        assert!(matches!(
            block.append(&store, epoch, expected),
            Err(AppendError::Stale { actual: 3, .. })
        ));
    }
    assert_eq!(check_all(&store), 3);
}

#[test]
fn invalid_blocks_change_nothing() {
    let (_dir, store, epoch) = new_store();
    let head = grow(&store, epoch, 200);
    let good = || Block::after(Some(&head), 60);
    let tile = |level, index| TileId { level, index };

    let mut cases: Vec<(Block, InvalidBlock)> = vec![
        (
            Block {
                entries: vec![],
                bodies: vec![],
                ..good()
            },
            InvalidBlock::Empty,
        ),
        (
            Block {
                entries: vec![b"x".to_vec(); BLOCK_ENTRIES_MAX + 1],
                bodies: vec![None; BLOCK_ENTRIES_MAX + 1],
                ..good()
            },
            InvalidBlock::Entries(BLOCK_ENTRIES_MAX + 1),
        ),
        (
            Block {
                tiles: vec![(tile(0, 0), vec![0; 8191])],
                ..good()
            },
            InvalidBlock::Tile(tile(0, 0)),
        ),
        // Not full yet.
        (
            Block {
                tiles: vec![(tile(0, 1), vec![0; 8192])],
                ..good()
            },
            InvalidBlock::Tile(tile(0, 1)),
        ),
        (
            Block {
                tiles: vec![(tile(9, 0), vec![0; 8192])],
                ..good()
            },
            InvalidBlock::Tile(tile(9, 0)),
        ),
        (
            Block {
                blobs: vec![("No".to_owned(), vec![])],
                ..good()
            },
            InvalidBlock::BlobName("No".to_owned()),
        ),
    ];
    for erase in [200, 260, u64::MAX] {
        let block = Block {
            erase: vec![erase],
            ..good()
        };
        cases.push((block, InvalidBlock::EraseNothing(erase)));
    }
    // Every third entry has no body.
    let block = Block {
        erase: vec![4, 3],
        ..good()
    };
    cases.push((block, InvalidBlock::EraseNothing(3)));
    let block = Block {
        erase: vec![1; BLOCK_ERASE_MAX + 1],
        ..good()
    };
    let many = InvalidBlock::EraseMany {
        bodies: BLOCK_ERASE_MAX + 1,
        chunks: 0,
    };
    cases.push((block, many));
    type Change = fn(&mut Block);
    let heads: [(Change, InvalidBlock); 5] = [
        (
            |b| b.head.size += 1,
            InvalidBlock::Chunk {
                first: 201,
                expected: 200,
            },
        ),
        (
            |b| b.head.blocks += 1,
            InvalidBlock::Head("number of blocks"),
        ),
        (|b| b.head.time_us = -1, InvalidBlock::Head("time")),
        (
            |b| b.head.note = vec![0; NOTE_BYTES_MAX + 1],
            InvalidBlock::Note(NOTE_BYTES_MAX + 1),
        ),
        (
            |b| b.head.state = vec![0; STATE_BYTES_MAX + 1],
            InvalidBlock::State(STATE_BYTES_MAX + 1),
        ),
    ];
    for (change, why) in heads {
        let mut block = good();
        change(&mut block);
        cases.push((block, why));
    }

    for (block, why) in cases {
        match block.append(&store, epoch, 200) {
            Err(AppendError::Invalid(got)) => assert_eq!(got, why),
            other => panic!("{why}: {other:?}"),
        }
        assert_eq!(check_all(&store), 200);
    }
    good().append(&store, epoch, 200).unwrap();
    assert_eq!(check_all(&store), 260);

    // A tile is written once.
    let head = store.head().unwrap();
    let mut block = Block::after(head.as_ref(), 1);
    block.tiles = vec![(tile(0, 0), vec![0; 8192])];
    assert!(matches!(
        block.append(&store, epoch, 260),
        Err(AppendError::Invalid(InvalidBlock::Tile(_)))
    ));
}

#[test]
fn blobs_are_written_once_and_listed() {
    let (dir, store, epoch) = new_store();
    let blob = |name: &str, bytes: &[u8]| (name.to_owned(), bytes.to_vec());
    let large = common::noise(3, 300_000).into_bytes();
    let mut block = Block::after(None, 1);
    block.blobs = vec![
        blob("sha256/b", &large),
        blob("sha256/a", b""),
        blob("sha256", b"x"),
    ];
    block.append(&store, epoch, 0).unwrap();

    let mut again = Block::after(Some(&block.head), 1);
    again.blobs = vec![blob("sha256/b", &large), blob("dedup/1", b"y")];
    again.append(&store, epoch, 1).unwrap();

    let mut other = Block::after(Some(&again.head), 1);
    other.blobs = vec![blob("dedup/2", b"z"), blob("sha256/a", b"not empty")];
    assert!(matches!(
        other.append(&store, epoch, 2),
        Err(AppendError::Invalid(InvalidBlock::BlobExists(name))) if name == "sha256/a"
    ));

    drop(store);
    let store = SledStore::open(dir.path()).unwrap();
    assert_eq!(store.blob("sha256/b").unwrap(), Some(large));
    assert_eq!(store.blob("sha256/a").unwrap().as_deref(), Some(&b""[..]));
    for absent in ["dedup/2", "sha256/", "", "No such name"] {
        assert_eq!(store.blob(absent).unwrap(), None);
    }
    assert_eq!(
        store.blob_names("sha256/").unwrap(),
        ["sha256/a", "sha256/b"]
    );
    assert_eq!(
        store.blob_names("").unwrap(),
        ["dedup/1", "dictionary/1", "sha256", "sha256/a", "sha256/b"]
    );
    assert!(store.blob_names("x").unwrap().is_empty());
}

#[test]
fn a_second_opener_is_told_what_to_do() {
    let (dir, store, _) = new_store();
    let error = SledStore::open(dir.path()).err().unwrap();
    assert!(matches!(error, StoreError::Locked { .. }));
    assert!(
        error.to_string().contains("stop the auditchaind"),
        "{error}"
    );
    assert!(matches!(
        copy_data_dir(dir.path(), &dir.path().join("copy")),
        Err(StoreError::Locked { .. })
    ));
    drop(store);
    SledStore::open(dir.path()).unwrap();
}

#[test]
fn open_existing_makes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let error = SledStore::open_existing(dir.path()).err().unwrap();
    assert!(matches!(error, StoreError::NotFound { .. }));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn a_copy_leaves_the_original_as_it_was() {
    let (dir, store, epoch) = new_store();
    grow(&store, epoch, 300);
    drop(store);
    fs::write(dir.path().join("checkpoint"), b"note").unwrap();
    let files = || {
        let mut files: Vec<_> = ["store", "."]
            .iter()
            .flat_map(|sub| fs::read_dir(dir.path().join(sub)).unwrap())
            .map(|file| file.unwrap().path())
            .filter(|path| path.is_file())
            .map(|path| (path.clone(), fs::read(path).unwrap()))
            .collect();
        files.sort();
        files
    };
    let before = files();
    let to = tempfile::tempdir().unwrap();
    copy_data_dir(dir.path(), to.path()).unwrap();
    assert_eq!(
        check_all(&SledStore::open_existing(to.path()).unwrap()),
        300
    );
    assert_eq!(fs::read(to.path().join("checkpoint")).unwrap(), b"note");
    assert_eq!(files(), before);
}

// One flush a block is what the speed rests on, and at least one what the promise does.
#[test]
fn left_over_snapshots_do_not_hinder_opening() {
    let (dir, store, epoch) = new_store();
    grow(&store, epoch, 10);
    drop(store);
    let left_over = dir.path().join("store/snap.00000000000FFFFF.generating");
    fs::write(&left_over, b"half").unwrap();
    assert_eq!(check_all(&SledStore::open(dir.path()).unwrap()), 10);
    assert!(!left_over.exists());
}

#[test]
fn a_spilled_value_raises_the_alarm() {
    let (dir, store, epoch) = new_store();
    let head = grow(&store, epoch, 10);
    let spilled = dir.path().join("store/blobs/123");
    fs::write(&spilled, b"spilled").unwrap();
    let block = Block::after(Some(&head), 1);
    assert!(matches!(
        block.append(&store, epoch, 10),
        Err(AppendError::Unknown(StoreError::Spilled { count: 1, .. }))
    ));
    // After a failed write nothing goes on until the store is reopened ...
    assert!(matches!(
        block.append(&store, epoch, 10),
        Err(AppendError::Unknown(StoreError::Failed))
    ));
    assert!(matches!(store.acquire(), Err(StoreError::Failed)));
    assert_eq!(check_all(&store), 10);
    drop(store);
    assert!(matches!(
        SledStore::open(dir.path()),
        Err(StoreError::Spilled { .. })
    ));
    // ... and then the head tells that the block of unknown outcome had landed.
    fs::remove_file(spilled).unwrap();
    let store = SledStore::open(dir.path()).unwrap();
    let (_, head) = store.acquire().unwrap();
    assert_eq!(head, Some(block.head));
    assert_eq!(check_all(&store), 11);
}

#[test]
fn readers_see_whole_blocks_while_a_writer_appends() {
    let (_dir, store, epoch) = new_store();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let mut seen = 0;
                while !done.load(Ordering::Relaxed) {
                    let size = check_all(&store);
                    assert!(size >= seen, "the log shrank");
                    seen = size;
                }
            });
        }
        for block in 0..40 {
            let head = grow(&store, epoch, 1 + block * 7 % 150);
            assert_eq!(head.root, Hash([1; 32]));
        }
        done.store(true, Ordering::Relaxed);
    });
}
