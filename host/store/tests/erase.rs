//! Erased bodies: gone from what is read at once, and from the disk after a compaction.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod common;

use std::fs;
use std::path::Path;

use auditchain_store::{SledStore, Store, StoreError, compact};
use common::{Block, check_all, grow};
use tempfile::TempDir;

const ERASED: [u64; 3] = [5, 70, 71];

/// Bodies that no compressor shrinks into something else.
fn secret(index: u64) -> Vec<u8> {
    common::noise(index + 1000, 40_000).into_bytes()
}

/// A log of 140 entries whose bodies at [`ERASED`] are secret.
fn sample() -> (TempDir, SledStore) {
    let dir = tempfile::tempdir().unwrap();
    let store = SledStore::open(dir.path()).unwrap();
    let (epoch, _) = store.acquire().unwrap();
    grow(&store, epoch, 10);
    let mut block = Block::after(store.head().unwrap().as_ref(), 130);
    block.bodies[60] = Some(([1; 32], secret(70)));
    block.bodies[61] = Some(([2; 32], secret(71)));
    block.append(&store, epoch, 10).unwrap();
    (dir, store)
}

fn erase(store: &SledStore, erase: &[u64]) {
    let (epoch, head) = store.acquire().unwrap();
    let mut block = Block::after(head.as_ref(), 1);
    block.erase = erase.to_vec();
    block.append(store, epoch, head.unwrap().size).unwrap();
}

fn entries(store: &SledStore) -> Vec<Vec<u8>> {
    let chunk = |index| store.chunk_at(index).unwrap().unwrap();
    (0..140)
        .map(|i| chunk(i).entry(i).unwrap().to_vec())
        .collect()
}

fn is_on_disk(dir: &Path, bytes: &[u8]) -> bool {
    fs::read_dir(dir).unwrap().any(|file| {
        let path = file.unwrap().path();
        if path.is_dir() {
            return is_on_disk(&path, bytes);
        }
        let file = fs::read(path).unwrap();
        file.windows(bytes.len()).any(|window| window == bytes)
    })
}

#[test]
fn erased_bodies_are_gone_and_everything_else_stays() {
    let (dir, store) = sample();
    let before = entries(&store);
    erase(&store, &ERASED);
    for _ in 0..2 {
        let store = SledStore::open(dir.path());
        assert!(matches!(store, Err(StoreError::Locked { .. })));
    }
    drop(store);
    let store = SledStore::open(dir.path()).unwrap();
    assert_eq!(entries(&store), before);
    for index in 0..140 {
        let chunk = store.chunk_at(index).unwrap().unwrap();
        let gone = ERASED.contains(&index) || common::body(index).is_none();
        let is_there = chunk.body(index).is_some();
        assert!(is_there != gone || index == 71 || index == 70, "{index}");
        assert!(!ERASED.contains(&index) || !is_there);
    }
}

#[test]
fn a_compaction_takes_erased_bytes_off_the_disk() {
    let (dir, store) = sample();
    let before = entries(&store);
    drop(store);
    // What of the bodies is on the disk as it is, and the chunk that holds them.
    let parts: Vec<Vec<u8>> = {
        let db = sled::Config::new()
            .path(dir.path().join("store"))
            .segment_size(4 << 20)
            .open()
            .unwrap();
        let prefix = |last: u64| [&b"c"[..], &last.to_be_bytes()].concat();
        let values = db.scan_prefix(prefix(127)).values();
        let values = values.map(|value| value.unwrap());
        // The last key of a chunk is a companion without a value.
        let whole = values.filter(|value| value.len() >= 200);
        whole.map(|value| value[..200].to_vec()).collect()
    };
    assert!(!parts.is_empty());
    let store = SledStore::open(dir.path()).unwrap();
    erase(&store, &ERASED);
    assert!(matches!(
        compact(dir.path()),
        Err(StoreError::Locked { .. })
    ));
    let head = store.head().unwrap();
    drop(store);
    assert!(parts.iter().any(|part| is_on_disk(dir.path(), part)));
    compact(dir.path()).unwrap();
    for part in &parts {
        assert!(!is_on_disk(dir.path(), part));
    }
    for index in [70, 71] {
        assert!(!is_on_disk(dir.path(), &secret(index)[..64]));
    }
    let store = SledStore::open(dir.path()).unwrap();
    assert_eq!(store.head().unwrap(), head);
    assert_eq!(entries(&store), before);
}

/// Each state that a crash within a compaction can leave.
#[test]
fn a_compaction_that_was_broken_off_leaves_a_store_that_opens() {
    for (moves, left_over) in [
        (&[][..], Some("store.new")),
        (&[("store", "store.old"), ("copy", "store.new")], None),
        (&[("store", "store.old")], None),
        (&[], Some("store.old")),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let store = SledStore::open(dir.path()).unwrap();
        let (epoch, _) = store.acquire().unwrap();
        grow(&store, epoch, 100);
        drop(store);
        let copy = dir.path().join("copy");
        fs::create_dir(&copy).unwrap();
        for file in fs::read_dir(dir.path().join("store")).unwrap() {
            let path = file.unwrap().path();
            if path.is_file() {
                fs::copy(&path, copy.join(path.file_name().unwrap())).unwrap();
            }
        }
        for (from, to) in moves {
            fs::rename(dir.path().join(from), dir.path().join(to)).unwrap();
        }
        if let Some(name) = left_over {
            fs::create_dir(dir.path().join(name)).unwrap();
            fs::write(dir.path().join(name).join("db"), b"half").unwrap();
        }
        let store = SledStore::open_existing(dir.path()).unwrap();
        assert_eq!(check_all(&store), 100);
        for name in ["store.new", "store.old"] {
            assert!(!dir.path().join(name).exists());
        }
    }
}
