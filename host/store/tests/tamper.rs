//! Values changed behind the store's back, through a raw sled handle: each is named.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod common;

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use auditchain_log::TileId;
use auditchain_store::{Damage, SledStore, Store, StoreError, What, copy_data_dir, find_damage};
use common::{Block, grow};
use tempfile::TempDir;

/// A log of a few chunks, a tile, a body of several parts and a blob of several parts.
fn sample() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let store = SledStore::open(dir.path()).unwrap();
    let (epoch, _) = store.acquire().unwrap();
    grow(&store, epoch, 300);
    let mut block = Block::after(store.head().unwrap().as_ref(), 4);
    block.bodies[1] = Some(([5; 32], common::noise(1, 90_000).into_bytes()));
    block.blobs = vec![(
        "sha256/aa".to_owned(),
        common::noise(2, 90_000).into_bytes(),
    )];
    block.append(&store, epoch, 300).unwrap();
    dir
}

/// sled, as the store opens it.
fn raw(dir: &Path) -> sled::Db {
    let config = sled::Config::new()
        .path(dir.join("store"))
        .segment_size(4 << 20)
        .flush_every_ms(None);
    for _ in 0..100 {
        match config.open() {
            Ok(db) => return db,
            Err(_) => thread::sleep(Duration::from_millis(20)),
        }
    }
    config.open().unwrap()
}

fn change(dir: &Path, work: impl FnOnce(&sled::Db)) {
    let db = raw(dir);
    work(&db);
    db.flush().unwrap();
}

fn read_all(dir: &Path) -> Result<(), StoreError> {
    let store = SledStore::open_existing(dir)?;
    let size = store.head()?.map_or(0, |head| head.size);
    assert_eq!(size, 304, "a head was accepted that nobody wrote");
    let mut index = 0;
    while index < size {
        let chunk = store.chunk_at(index)?.unwrap();
        assert_eq!(chunk.first(), index);
        for i in index..chunk.end() {
            assert!(common::is_right(i, chunk.entry(i).unwrap(), chunk.body(i)));
        }
        index = chunk.end();
    }
    let id = TileId { level: 0, index: 0 };
    store.tiles(&[id])?;
    store.blob_names("")?;
    store.blob("sha256/aa")?;
    store.blob("dictionary/1")?;
    Ok(())
}

/// What must be named when the value under this key is damaged.
fn expected(key: &[u8]) -> (What, Option<u64>) {
    let chunk = || {
        let last = u64::from_be_bytes(key[1..9].try_into().unwrap());
        // Blocks of 300 and 4 entries: chunks end at 63, 127, 191, 255, 299 and 303.
        let first = if last == 303 { 300 } else { last / 64 * 64 };
        (What::Entries, Some(first))
    };
    match key[0] {
        b'm' if key.starts_with(b"mopened") => (What::Format, None),
        b'm' => (What::Epoch, None),
        b'h' => (What::Head, None),
        b'c' => chunk(),
        b't' => (What::Tile(TileId { level: 0, index: 0 }), None),
        b'n' => (What::BlobNames, None),
        b'x' if key.starts_with(b"xdict") => (What::Blob("dictionary/1".to_owned()), None),
        b'x' => (What::Blob("sha256/aa".to_owned()), None),
        other => panic!("a key of an unknown kind: {other}"),
    }
}

fn named(result: Result<(), StoreError>) -> (What, Option<u64>, Damage) {
    match result {
        Err(StoreError::Corrupt {
            what,
            index,
            damage,
        }) => (what, index, damage),
        other => panic!("not named: {other:?}"),
    }
}

/// All values; keys that are put in ahead have none.
fn keys(dir: &Path) -> Vec<(sled::IVec, sled::IVec)> {
    let all = raw(dir).iter().map(Result::unwrap);
    all.filter(|(_, value)| !value.is_empty()).collect()
}

#[test]
fn a_flipped_byte_in_any_value_is_named() {
    let dir = sample();
    read_all(dir.path()).unwrap();
    for (round, (key, value)) in keys(dir.path()).into_iter().enumerate() {
        // Head, middle and end of the value in turn.
        let at = [0, 20, 40, value.len() / 2, value.len() - 1][round % 5].min(value.len() - 1);
        let mut bad = value.to_vec();
        bad[at] ^= 0x20;
        change(dir.path(), |db| drop(db.insert(&key, bad).unwrap()));
        let (what, index, _) = named(read_all(dir.path()));
        assert_eq!((what, index), expected(&key), "{key:?} byte {at}");
        // The opening counter has moved on if the store could be opened.
        change(dir.path(), |db| drop(db.insert(&key, value).unwrap()));
        read_all(dir.path()).unwrap();
    }
}

#[test]
fn a_value_that_is_gone_or_cut_is_named() {
    let dir = sample();
    for (key, value) in keys(dir.path()) {
        // A tile that is gone reads as none (the contract), a name as not listed.
        let unnoticed = matches!(key[0], b't' | b'n');
        change(dir.path(), |db| drop(db.remove(&key).unwrap()));
        let result = read_all(dir.path());
        if unnoticed {
            result.unwrap();
        } else {
            let (what, index, damage) = named(result);
            assert_eq!((what, index), expected(&key), "{key:?}");
            assert!(
                matches!(damage, Damage::Missing | Damage::Truncated),
                "{damage}"
            );
        }
        change(dir.path(), |db| {
            drop(db.insert(&key, &value[..value.len() - 1]).unwrap());
        });
        let (what, index, damage) = named(read_all(dir.path()));
        assert_eq!((what, index, damage), {
            let (what, index) = expected(&key);
            (what, index, Damage::Truncated)
        });
        change(dir.path(), |db| drop(db.insert(&key, value).unwrap()));
        read_all(dir.path()).unwrap();
    }
}

#[test]
fn values_put_in_each_others_place_are_named() {
    let dir = sample();
    let all = keys(dir.path());
    let chunk = |kind: u8, last: u64| {
        let key = [&[kind][..], &last.to_be_bytes(), &[0, 0]].concat();
        all.iter()
            .find(|(found, _)| **found == *key)
            .unwrap()
            .clone()
    };
    for (one, other) in [
        (chunk(b'c', 63), chunk(b'c', 127)),
        (chunk(b'c', 299), chunk(b'c', 255)),
    ] {
        change(dir.path(), |db| {
            db.insert(&one.0, &other.1).unwrap();
            db.insert(&other.0, &one.1).unwrap();
        });
        let (what, index, damage) = named(read_all(dir.path()));
        assert_eq!(damage, Damage::Misplaced);
        assert!(what == What::Entries && index < Some(300));
        change(dir.path(), |db| {
            db.insert(&one.0, &one.1).unwrap();
            db.insert(&other.0, &other.1).unwrap();
        });
        read_all(dir.path()).unwrap();
    }
}

#[test]
fn damage_is_found_in_the_file_without_sled() {
    let dir = sample();
    assert!(
        find_damage(dir.path())
            .unwrap()
            .iter()
            .all(|value| value.has_intact_copy)
    );
    let values: Vec<_> = keys(dir.path())
        .into_iter()
        .filter(|(key, value)| matches!(key[0], b'c' | b't') && value.len() < 32 << 10)
        .filter(|(key, _)| key[key.len() - 2..] == [0, 0])
        .collect();
    let file = dir.path().join("store/db");
    let intact = fs::read(&file).unwrap();
    for (round, (key, value)) in values.into_iter().enumerate() {
        // Every copy of the value: its header's start, its id, its end.
        let at = [0, 9, value.len() - 1][round % 3];
        let mut bytes = intact.clone();
        let mut from = 0;
        while let Some(found) = find(&bytes[from..], &value) {
            bytes[from + found + at] ^= 0x10;
            from += found + 1;
        }
        assert!(from > 0);
        fs::write(&file, &bytes).unwrap();
        let (what, _) = expected(&key);
        let index = match what {
            What::Tile(_) => 0,
            _ => u64::from_be_bytes(value[8..16].try_into().unwrap()),
        };
        let found = find_damage(dir.path()).unwrap();
        let named = found
            .iter()
            .filter(|value| !value.has_intact_copy)
            .map(|value| (value.what.clone(), value.index));
        // A tile whose header is unreadable leaves no gap to be noticed.
        if !matches!(what, What::Tile(_)) || at > 9 {
            assert_eq!(named.collect::<Vec<_>>(), [(what, index)], "byte {at}");
        }
    }
    fs::write(&file, &intact).unwrap();
    read_all(dir.path()).unwrap();
}

#[test]
fn finding_damage_changes_nothing_and_wants_the_store_to_itself() {
    let dir = sample();
    let copy = tempfile::tempdir().unwrap();
    copy_data_dir(dir.path(), copy.path()).unwrap();
    find_damage(copy.path()).unwrap();
    assert!(!copy.path().join("lock").exists());
    let _store = SledStore::open(dir.path()).unwrap();
    assert!(matches!(
        find_damage(dir.path()),
        Err(StoreError::Locked { .. })
    ));
    assert!(matches!(
        find_damage(&dir.path().join("none")),
        Err(StoreError::NotFound { .. })
    ));
}

fn find(bytes: &[u8], value: &[u8]) -> Option<usize> {
    bytes
        .windows(value.len())
        .position(|window| window == value)
}
