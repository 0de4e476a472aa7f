//! `check_files`: a healthy directory has nothing wrong in any state, and a changed byte
//! is found wherever it is.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod common;

use std::env;
use std::fs;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use auditchain_store::{
    FileDamage, FilesReport, SledStore, Store, check_files, compact, copy_data_dir,
};
use common::{Block, noise};
use tempfile::TempDir;

/// Set in the child: the directory it writes to.
const DIR: &str = "AUDITCHAIN_STORE_FSCK_DIR";
const SEGMENT: usize = 4 << 20;

fn check(dir: &Path) -> FilesReport {
    check_files(dir, 2, &|_, _| {}).unwrap()
}

/// A pseudo-random number.
fn next(random: &mut u64) -> usize {
    *random ^= *random << 13;
    *random ^= *random >> 7;
    *random ^= *random << 17;
    usize::try_from(*random >> 16).unwrap()
}

/// Appends a block. A head with that much state is rewritten with every block, which
/// makes sled free segments.
fn grow(store: &SledStore, entries: u64, state_bytes: usize) -> u64 {
    let (epoch, head) = store.acquire().unwrap();
    let mut block = Block::after(head.as_ref(), entries);
    block.head.state = noise(block.head.size, state_bytes).into_bytes();
    block
        .append(store, epoch, head.map_or(0, |head| head.size))
        .unwrap();
    block.head.size
}

/// Not a test by itself: the process that is killed.
#[test]
fn child() {
    let Some(dir) = env::var_os(DIR) else {
        return;
    };
    let store = SledStore::open(Path::new(&dir)).unwrap();
    let mut out = std::io::stderr().lock();
    for block in 0_u64.. {
        let size = grow(&store, 1 + block * 37 % 400, 60_000);
        out.write_all(format!("acknowledged {size}\n").as_bytes())
            .unwrap();
    }
}

/// Lets a writer run for so many blocks and some microseconds more, and kills it.
fn run_and_kill(dir: &Path, blocks: usize, pause: Duration) {
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["child", "--exact", "--nocapture", "--test-threads=1"])
        .env(DIR, dir)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    for line in lines.by_ref().take(blocks) {
        assert!(!line.unwrap().contains("panicked"));
    }
    let rest = thread::spawn(move || lines.count());
    thread::sleep(pause);
    child.kill().unwrap();
    child.wait().unwrap();
    rest.join().unwrap();
}

fn assert_healthy(dir: &Path, when: &str) -> FilesReport {
    let report = check(dir);
    assert!(report.damage.is_empty(), "{when}: {report:#?}");
    report
}

/// Rounds of the test below; more by hand, to look for false alarms.
fn rounds() -> usize {
    env::var("FSCK_ROUNDS").map_or(12, |rounds| rounds.parse().unwrap())
}

#[test]
fn a_store_that_is_killed_again_and_again_has_nothing_wrong() {
    let dir = tempfile::tempdir().unwrap();
    drop(SledStore::open(dir.path()).unwrap());
    let mut random = 0x5eed_u64 ^ u64::from(std::process::id());
    for round in 0..rounds() {
        let blocks = next(&mut random) % 120;
        let pause = Duration::from_micros((next(&mut random) % 20_000) as u64);
        run_and_kill(dir.path(), blocks, pause);
        assert_healthy(dir.path(), &format!("round {round}"));
    }
}

/// The states that a store is found in, each with the reason it is one.
fn states() -> Vec<(&'static str, TempDir)> {
    let fresh = tempfile::tempdir().unwrap();
    let store = SledStore::open(fresh.path()).unwrap();
    for _ in 0..40 {
        grow(&store, 150, 100);
    }
    drop(store);

    let reopened = tempfile::tempdir().unwrap();
    copy_data_dir(fresh.path(), reopened.path()).unwrap();
    for _ in 0..3 {
        let store = SledStore::open(reopened.path()).unwrap();
        for _ in 0..40 {
            grow(&store, 150, 100);
        }
    }

    // Segments are freed and begun anew: until one is under way that was another before.
    let reused = tempfile::tempdir().unwrap();
    drop(SledStore::open(reused.path()).unwrap());
    let store = SledStore::open(reused.path()).unwrap();
    for block in 0.. {
        grow(&store, 10, 60_000);
        let copy = tempfile::tempdir().unwrap();
        if block % 25 == 24 {
            // What a kill here would leave.
            fs::create_dir(copy.path().join("store")).unwrap();
            fs::create_dir(copy.path().join("store/blobs")).unwrap();
            for name in names(reused.path()) {
                fs::copy(reused.path().join(&name), copy.path().join(&name)).unwrap();
            }
            if !check(copy.path()).unknown.is_empty() {
                return vec![
                    ("never reopened", fresh),
                    ("reopened", reopened),
                    ("reused", copy),
                ];
            }
        }
        assert!(block < 5_000, "no segment was ever reused");
    }
    unreachable!("the loop ends above")
}

/// The store's files, from the data directory on.
fn names(dir: &Path) -> Vec<String> {
    fs::read_dir(dir.join("store"))
        .unwrap()
        .map(|file| file.unwrap())
        .filter(|file| file.path().is_file())
        .map(|file| format!("store/{}", file.file_name().to_str().unwrap()))
        .collect()
}

/// Changes one byte for as long as it takes to check.
fn with_byte(path: &Path, at: u64, change: u8, check: impl FnOnce(u8)) {
    let file = File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ change], at).unwrap();
    check(byte[0]);
    file.write_all_at(&byte, at).unwrap();
}

/// Some place of the damage that was found is this one.
fn names_place(damage: &FileDamage, file: &str, at: u64) -> bool {
    let from = damage.offset.unwrap_or(0);
    damage.file == file
        && damage
            .offset
            .is_none_or(|_| (from..from + damage.bytes.max(1)).contains(&at))
}

/// Offsets of every kind: of each segment the header, the first records, the middle and
/// the end; the last bytes that are set; and some that are drawn.
fn places(path: &Path, random: &mut u64) -> Vec<u64> {
    let bytes = fs::read(path).unwrap();
    let mut places: Vec<usize> = (0..60).map(|_| next(random) % bytes.len()).collect();
    for base in (0..bytes.len()).step_by(SEGMENT) {
        let segment = &bytes[base..(base + SEGMENT).min(bytes.len())];
        let set = segment.iter().rposition(|byte| *byte != 0).unwrap_or(0);
        let ends = [
            set,
            set.saturating_sub(1),
            set / 2,
            set + 1,
            segment.len() - 1,
        ];
        let header = (0..40).step_by(3);
        places.extend(header.chain(ends).map(|at| base + at));
    }
    places.retain(|at| *at < bytes.len());
    places.into_iter().map(|at| at as u64).collect()
}

#[test]
fn a_changed_byte_is_found_wherever_it_is() {
    let mut random = 0x5eed_0001_u64;
    for (state, dir) in states() {
        let healthy = assert_healthy(dir.path(), state);
        for file in names(dir.path()) {
            let path = dir.path().join(&file);
            for at in places(&path, &mut random) {
                let unknown = |(from, bytes): &(u64, u64)| (*from..from + bytes).contains(&at);
                if file == "store/db" && healthy.unknown.iter().any(unknown) {
                    continue;
                }
                with_byte(&path, at, 1 << (at % 8), |was| {
                    let report = check(dir.path());
                    let found = report
                        .damage
                        .iter()
                        .any(|damage| names_place(damage, &file, at));
                    // A header in the last batch: said, not found. That it is nothing
                    // else, `fsck/tests.rs` shows.
                    let covers = |(from, bytes): &(u64, u64)| (*from..from + bytes).contains(&at);
                    let said = report.unknown.iter().chain(&report.torn).any(covers);
                    assert!(
                        found || said,
                        "{state}: byte {at} ({was:#x}) of {file}: {report:#?}"
                    );
                });
            }
        }
        assert_healthy(dir.path(), state);
    }
}

/// What is done to a directory, and the file that must be named.
type Change = fn(&Path) -> &'static str;

fn edit(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

fn snapshot(dir: &Path) -> String {
    let name = names(dir).into_iter().find(|name| name.contains("snap."));
    name.unwrap()
}

#[test]
fn files_that_are_cut_swapped_added_or_gone_are_found() {
    let changes: [(&str, Change); 17] = [
        ("a byte more", |dir| {
            edit(&dir.join("store/db"), |bytes| bytes.push(1));
            "store/db"
        }),
        ("a zero more", |dir| {
            edit(&dir.join("store/db"), |bytes| bytes.push(0));
            "store/db"
        }),
        ("a byte less", |dir| {
            edit(&dir.join("store/db"), |bytes| {
                bytes.truncate(bytes.len() - 1);
            });
            "store/db"
        }),
        ("half of it", |dir| {
            edit(&dir.join("store/db"), |bytes| {
                bytes.truncate(bytes.len() / 2 + 7);
            });
            "store/db"
        }),
        ("two pages swapped", |dir| {
            edit(&dir.join("store/db"), |bytes| {
                let (a, b) = bytes.split_at_mut(4096 * 9);
                a[4096..8192].swap_with_slice(&mut b[..4096]);
            });
            "store/db"
        }),
        ("two segments swapped", |dir| {
            edit(&dir.join("store/db"), |bytes| {
                let (a, b) = bytes.split_at_mut(SEGMENT);
                a.swap_with_slice(&mut b[..SEGMENT]);
            });
            "store/db"
        }),
        ("a segment twice", |dir| {
            edit(&dir.join("store/db"), |bytes| {
                bytes.copy_within(..SEGMENT, SEGMENT);
            });
            "store/db"
        }),
        ("a segment of zeros", |dir| {
            edit(&dir.join("store/db"), |bytes| bytes[..SEGMENT].fill(0));
            "store/db"
        }),
        ("the settings cut", |dir| {
            edit(&dir.join("store/conf"), |bytes| bytes.truncate(20));
            "store/conf"
        }),
        ("the settings gone", |dir| {
            fs::remove_file(dir.join("store/conf")).unwrap();
            "store/conf"
        }),
        ("the snapshot gone", |dir| {
            fs::remove_file(dir.join(snapshot(dir))).unwrap();
            "store"
        }),
        ("the snapshot under another name", |dir| {
            fs::copy(
                dir.join(snapshot(dir)),
                dir.join("store/snap.0000000000000001"),
            )
            .unwrap();
            "store/snap.0000000000000001"
        }),
        ("the snapshot with a byte more", |dir| {
            edit(&dir.join(snapshot(dir)), |bytes| bytes.push(0));
            "store/snap."
        }),
        ("a copy of the database", |dir| {
            fs::copy(dir.join("store/db"), dir.join("store/db.old")).unwrap();
            "store/db.old"
        }),
        ("a file in blobs", |dir| {
            fs::write(dir.join("store/blobs/1"), "x").unwrap();
            "store/blobs/1"
        }),
        ("a lock with something in it", |dir| {
            fs::write(dir.join("lock"), "x").unwrap();
            "lock"
        }),
        ("a file more", |dir| {
            fs::write(dir.join("notes.txt"), "").unwrap();
            "notes.txt"
        }),
    ];
    let dir = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        let store = SledStore::open(dir.path()).unwrap();
        // Without room that is used again: two segments that both are newer than the
        // snapshot make the same log in either order.
        for _ in 0..400 {
            grow(&store, 250, 100);
        }
    }
    assert_healthy(dir.path(), "at first");
    for (what, change) in changes {
        let copy = tempfile::tempdir().unwrap();
        copy_data_dir(dir.path(), copy.path()).unwrap();
        let file = change(copy.path());
        let report = check(copy.path());
        let named = report
            .damage
            .iter()
            .any(|damage| damage.file.starts_with(file));
        assert!(named, "{what}: {report:#?}");
    }
}

#[test]
fn what_lay_in_a_damaged_place_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let store = SledStore::open(dir.path()).unwrap();
    grow(&store, 600, 100);
    drop(store);
    let path = dir.path().join("store/db");
    // Inside the first chunk: behind the header that says entries 0 to 63.
    let bytes = fs::read(&path).unwrap();
    let header = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 64];
    let at = (0..bytes.len())
        .find(|at| bytes[*at..].starts_with(&[1, b'c']) && bytes[at + 8..].starts_with(&header));
    with_byte(&path, at.unwrap() as u64 + 100, 1, |_| {
        let report = check(dir.path());
        assert_eq!(report.damage.len(), 1, "{report:#?}");
        assert_eq!(report.damage[0].entries, Some((0, 64)));
        assert_eq!(report.damage[0].values, ["entries 0 to 63"]);
    });
}

#[test]
fn a_compaction_leaves_nothing_wrong_wherever_it_is_broken_off() {
    let dir = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        let store = SledStore::open(dir.path()).unwrap();
        for _ in 0..40 {
            grow(&store, 50, 60_000);
        }
    }
    let before = tempfile::tempdir().unwrap();
    copy_data_dir(dir.path(), before.path()).unwrap();
    compact(dir.path()).unwrap();
    assert!(
        assert_healthy(dir.path(), "compacted")
            .not_checked
            .is_empty()
    );
    grow(&SledStore::open(dir.path()).unwrap(), 50, 100);
    assert_healthy(dir.path(), "compacted and reopened");

    let there = |name: &str| dir.path().join(name);
    // Step 1: the copy is not whole yet.
    fs::create_dir(there("store.new")).unwrap();
    fs::write(there("store.new/db"), "a part").unwrap();
    let said = assert_healthy(dir.path(), "step 1").not_checked;
    assert!(said.len() == 1 && said[0].contains("store.new"), "{said:?}");
    fs::remove_dir_all(there("store.new")).unwrap();
    // Step 2: the copy is what counts.
    fs::rename(there("store"), there("store.new")).unwrap();
    fs::rename(before.path().join("store"), there("store.old")).unwrap();
    let said = assert_healthy(dir.path(), "step 2").not_checked;
    assert!(said.len() == 1 && said[0].contains("store.old"), "{said:?}");
    with_byte(&there("store.new/db"), 5000, 1, |_| {
        let report = check(dir.path());
        assert!(
            names_place(&report.damage[0], "store.new/db", 5000),
            "{report:#?}"
        );
    });
}
