//! Bytes changed in sled's files: an error, or values that differ; never a panic that
//! escapes, an abort or a hang. Each case runs in a process of its own.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod common;

use std::env;
use std::fs;
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use auditchain_log::TileId;
use auditchain_store::{SledStore, Store, StoreError, copy_data_dir};
use common::{Block, grow};
use tempfile::TempDir;

const DIR: &str = "AUDITCHAIN_STORE_TAMPER_DIR";
const DEADLINE: Duration = Duration::from_secs(120);

/// Everything there is to read, in words.
fn read_all(dir: &Path) -> Result<Vec<String>, StoreError> {
    let store = SledStore::open_existing(dir)?;
    let head = store.head()?;
    let size = head.as_ref().map_or(0, |head| head.size);
    let mut seen = vec![format!("head {head:?}")];
    let mut index = 0;
    while index < size {
        let chunk = store.chunk_at(index)?.unwrap();
        for i in index..chunk.end() {
            seen.push(format!("{:?} {:?}", chunk.entry(i), chunk.body(i)));
        }
        index = chunk.end();
    }
    let ids: Vec<_> = (0..size / 256)
        .map(|index| TileId { level: 0, index })
        .collect();
    seen.push(format!("tiles {:?}", store.tiles(&ids)?));
    for name in store.blob_names("")? {
        seen.push(format!("blob {name} {:?}", store.blob(&name)?));
    }
    Ok(seen)
}

/// Not a test by itself: the process that reads what was tampered with.
#[test]
fn child() {
    let Some(dir) = env::var_os(DIR) else {
        return;
    };
    match read_all(Path::new(&dir)) {
        Ok(seen) => eprintln!("\nvalues {:x}", fnv(seen.join("\n").as_bytes())),
        Err(error) => eprintln!("\nerror {error}"),
    }
}

fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// What the child said: "values <digest>" or "error <what>".
fn outcome(dir: &Path) -> String {
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["child", "--exact", "--nocapture", "--test-threads=1"])
        .env(DIR, dir)
        .env("RUST_BACKTRACE", "0")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let begin = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if begin.elapsed() > DEADLINE {
            child.kill().unwrap();
            return "HANG".to_owned();
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    let mut said = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    if let Some(signal) = status.signal() {
        return format!("SIGNAL {signal} {said}");
    }
    if !status.success() {
        return format!("PANIC {said}");
    }
    said.lines()
        .rfind(|line| line.starts_with("values ") || line.starts_with("error "))
        .unwrap_or("NOTHING")
        .to_owned()
}

/// Several openings, so that there is a snapshot, a part of the log before it and a
/// part after it.
fn make(dir: &Path) {
    for round in 0..3 {
        let store = SledStore::open(dir).unwrap();
        let (epoch, _) = store.acquire().unwrap();
        for _ in 0..30 {
            grow(&store, epoch, 100);
        }
        let head = store.head().unwrap();
        let mut block = Block::after(head.as_ref(), 1);
        block.blobs = vec![(
            format!("blob/{round}"),
            common::noise(round, 50_000).into_bytes(),
        )];
        block.append(&store, epoch, head.unwrap().size).unwrap();
    }
}

fn copy_of(dir: &Path) -> TempDir {
    let to = tempfile::tempdir().unwrap();
    copy_data_dir(dir, to.path()).unwrap();
    to
}

/// The file of sled whose name begins so.
fn file_of(dir: &Path, name: &str) -> PathBuf {
    fs::read_dir(dir.join("store"))
        .unwrap()
        .map(|file| file.unwrap().path())
        .find(|path| {
            path.file_name()
                .unwrap()
                .to_string_lossy()
                .starts_with(name)
        })
        .unwrap()
}

/// Changes some bytes, the kind and place of the change by the numbers given.
fn spoil(path: &Path, kind: u64, place: u64) {
    let mut bytes = fs::read(path).unwrap();
    // sled makes its file in whole segments: what follows the last record is zero.
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    let at = usize::try_from(place).unwrap() % used;
    match kind % 4 {
        0 => bytes.truncate(at),
        1 => {
            let end = (at + 50_000).min(bytes.len());
            bytes[at..end].fill(0);
        }
        _ => bytes[at] ^= 1 << (place % 8),
    }
    fs::write(path, bytes).unwrap();
}

#[test]
fn spoilt_files_end_in_errors_or_other_values() {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path());
    let intact = outcome(copy_of(dir.path()).path());
    assert!(intact.starts_with("values "), "{intact}");

    let mut random = 0x0005_eed0_fbad_u64;
    let mut errors = 0;
    for (name, cases) in [("db", 40), ("snap", 6), ("conf", 6)] {
        for case in 0..cases {
            random = fnv(&random.to_be_bytes());
            let copy = copy_of(dir.path());
            spoil(&file_of(copy.path(), name), case, random >> 8);
            let outcome = outcome(copy.path());
            let clean = outcome.starts_with("values ") || outcome.starts_with("error ");
            assert!(clean, "{name}, case {case}, place {random:x}: {outcome}");
            errors += u32::from(outcome.starts_with("error "));
        }
    }
    assert!(
        errors > 20,
        "only {errors} of 52 spoilt stores gave an error"
    );
}

#[test]
fn missing_files_do_not_pass_for_an_intact_store() {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path());
    let intact = outcome(copy_of(dir.path()).path());
    for name in ["db", "snap"] {
        let copy = copy_of(dir.path());
        fs::remove_file(file_of(copy.path(), name)).unwrap();
        let outcome = outcome(copy.path());
        let clean = outcome.starts_with("values ") || outcome.starts_with("error ");
        assert!(clean, "without {name}: {outcome}");
        if name == "db" {
            assert_ne!(outcome, intact);
        }
    }
}
