//! `auditchain repair` and `compact` on real directories, whole and damaged.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use auditchain_store::{HeadFile, SledStore};
use support::data_dir::{files, write};
use support::*;
use tempfile::TempDir;

fn auditchain(verb: &str, dir: &Path, more: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_auditchain"))
        .arg(verb)
        .arg(dir)
        .args(more)
        .output()
        .unwrap()
}

/// What a verb says; it must end with this code.
fn said(verb: &str, dir: &Path, more: &[&str], code: i32) -> String {
    let output = auditchain(verb, dir, more);
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{verb}: {said}");
    said.into_owned()
}

/// A log that was opened again, so that sled has a snapshot too.
fn sample() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &honest());
    drop(SledStore::open(dir.path()).unwrap());
    said("verify", dir.path(), &[], 0);
    dir
}

/// sled, as the store opens it.
fn sled(dir: &Path) -> sled::Db {
    let config = sled::Config::new()
        .path(dir.join("store"))
        .segment_size(4 << 20);
    config.open().unwrap()
}

/// Changes the first value whose key begins with `prefix`.
fn change(dir: &Path, prefix: u8, change: impl FnOnce(Vec<u8>) -> Option<Vec<u8>>) {
    let db = sled(dir);
    let mut values = db.scan_prefix([prefix]).map(Result::unwrap);
    let (key, value) = values.find(|(_, value)| !value.is_empty()).unwrap();
    match change(value.to_vec()) {
        Some(value) => db.insert(key, value).unwrap(),
        None => db.remove(key).unwrap(),
    };
    db.flush().unwrap();
}

/// What the repair has kept of the damaged state.
fn kept(dir: &Path, of: &str) -> Vec<PathBuf> {
    let names = fs::read_dir(dir).unwrap().map(|file| file.unwrap().path());
    let start = format!("{of}.damaged-");
    let is_kept = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        name.starts_with(&start)
    };
    names.filter(is_kept).collect()
}

/// Repairs what can be repaired: not a byte changes in a dry run, and afterwards the log
/// holds and the damaged files are still there.
fn repairs(dir: &Path, action: &str) {
    said("verify", dir, &[], 1);
    let damaged = files(dir);
    let dry = said("repair", dir, &["--dry-run"], 0);
    assert!(
        dry.contains("would be done") && dry.contains(action),
        "{dry}"
    );
    assert!(files(dir) == damaged, "a dry run changed something");
    let done = said("repair", dir, &[], 0);
    assert!(done.contains("repaired") && done.contains(action), "{done}");
    said("verify", dir, &[], 0);
    for path in kept(dir, "store") {
        for (file, bytes) in files(&path) {
            let was = dir.join("store").join(file.strip_prefix(&path).unwrap());
            assert!(damaged[&was] == bytes, "{} was changed", was.display());
        }
    }
    let again = said("repair", dir, &[], 0);
    assert!(again.contains("nothing to repair"), "{again}");
    // And the service goes on with it.
    drop(SledStore::open(dir).unwrap());
    said("verify", dir, &[], 0);
}

/// Refuses, and changes nothing.
fn refuses(dir: &Path, why: &str) {
    let damaged = files(dir);
    let refused = said("repair", dir, &[], 1);
    assert!(
        refused.contains(why) && refused.contains("nothing was changed"),
        "{refused}"
    );
    assert!(files(dir) == damaged, "something was changed");
}

#[test]
fn tiles_that_are_gone_or_changed_are_made_anew() {
    for flipped in [None, Some(0), Some(20), Some(5000)] {
        let dir = sample();
        change(dir.path(), b't', |mut value| {
            value[flipped?] ^= 1;
            Some(value)
        });
        repairs(dir.path(), "tiles anew");
        assert_eq!(kept(dir.path(), "store").len(), 1);
    }
}

#[test]
fn a_tile_in_a_page_that_sled_can_not_open_is_refused() {
    let dir = sample();
    let db = sled(dir.path());
    let mut tiles = db.scan_prefix(b"t").map(Result::unwrap);
    let tile = tiles.find(|(_, value)| !value.is_empty()).unwrap().1;
    drop((tiles, db));
    let path = dir.path().join("store/db");
    let bytes = fs::read(&path).unwrap();
    let file = fs::File::options().write(true).open(&path).unwrap();
    for at in 0..bytes.len() - tile.len() {
        if bytes[at..].starts_with(&tile) {
            let at = at + 1000;
            file.write_all_at(&[bytes[at] ^ 1], at as u64).unwrap();
        }
    }
    // The page also has what is needed to open the store.
    refuses(dir.path(), "damaged tile 0/0");
}

#[test]
fn the_file_checkpoint_comes_back_unless_it_is_evidence() {
    let dir = sample();
    let path = dir.path().join("checkpoint");
    let note = fs::read(&path).unwrap();
    fs::remove_file(&path).unwrap();
    repairs(dir.path(), "it is missing");
    assert_eq!(fs::read(&path).unwrap(), note);
    assert!(kept(dir.path(), "checkpoint").is_empty());

    let mut bad = note.clone();
    let last = bad.len() - 20;
    bad[last] ^= 1;
    fs::write(&path, &bad).unwrap();
    repairs(dir.path(), "no checkpoint that this log has signed");
    assert_eq!(fs::read(&path).unwrap(), note);
    let kept = kept(dir.path(), "checkpoint");
    assert_eq!(fs::read(&kept[0]).unwrap(), bad);
}

#[test]
fn a_rollback_is_not_repaired_away() {
    let dir = tempfile::tempdir().unwrap();
    let whole = honest();
    let mut genesis = whole.clone();
    genesis
        .entries
        .truncate(usize::try_from(GENESIS_ENTRIES).unwrap());
    genesis.bodies.truncate(genesis.entries.len());
    let seal = usize::try_from(seal_index(1)).unwrap();
    let entry = auditchain_log::Entry::parse(&whole.entries[seal]).unwrap();
    let auditchain_log::Payload::Seal { seal, .. } = entry.payload else {
        panic!()
    };
    genesis.note = Some(seal.note.into_bytes());
    write(dir.path(), &genesis);
    let note = whole.note.unwrap();
    HeadFile::new(dir.path()).write(&note).unwrap();
    refuses(dir.path(), "ROLLBACK");
    // Its signature doesn't hold any more, but what it says is still there.
    let mut bad = note;
    let last = bad.len() - 20;
    bad[last] ^= 1;
    HeadFile::new(dir.path()).write(&bad).unwrap();
    refuses(dir.path(), "ROLLBACK");
}

#[test]
fn damage_to_entries_and_values_is_refused() {
    for prefix in [b'c', b'x'] {
        let dir = sample();
        change(dir.path(), prefix, |mut value| {
            let last = value.len() - 1;
            value[last] ^= 1;
            Some(value)
        });
        refuses(
            dir.path(),
            "restore the directory from a backup or a mirror",
        );
        // Also where tiles are gone too.
        change(dir.path(), b't', |_| None);
        refuses(
            dir.path(),
            "restore the directory from a backup or a mirror",
        );
    }
}

#[test]
fn unfinished_snapshots_go_and_what_is_not_ours_stays() {
    let dir = sample();
    let unfinished = dir.path().join("store/snap.0000000000001234.generating");
    fs::write(&unfinished, "half").unwrap();
    fs::write(dir.path().join("notes.txt"), "").unwrap();
    let done = said("repair", dir.path(), &[], 0);
    assert!(
        done.contains("unfinished snapshot") && done.contains("notes.txt"),
        "{done}"
    );
    assert!(!unfinished.exists() && dir.path().join("notes.txt").exists());
    fs::remove_file(dir.path().join("notes.txt")).unwrap();
    said("verify", dir.path(), &[], 0);
}

#[test]
fn a_repair_that_is_broken_off_is_gone_on_with() {
    let dir = sample();
    change(dir.path(), b't', |_| None);
    repairs(dir.path(), "tiles anew");
    // As between the two renames.
    fs::rename(dir.path().join("store"), dir.path().join("store.new")).unwrap();
    said("verify", dir.path(), &[], 0);
    drop(SledStore::open(dir.path()).unwrap());
    assert!(dir.path().join("store/db").exists());
    said("verify", dir.path(), &[], 0);
}

#[test]
fn a_directory_in_use_is_neither_repaired_nor_compacted() {
    let dir = sample();
    let store = SledStore::open(dir.path()).unwrap();
    for verb in ["repair", "compact"] {
        let why = said(verb, dir.path(), &[], 2);
        assert!(why.contains("stop the auditchaind"), "{why}");
    }
    drop(store);
    let done = said("compact", dir.path(), &["--output", "json"], 0);
    assert!(
        done.contains("bytesBefore") && done.contains("bytesAfter"),
        "{done}"
    );
    said("verify", dir.path(), &[], 0);
}
