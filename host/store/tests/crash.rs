//! `kill -9` at any time: everything acknowledged is there, and nothing half.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod common;

use std::env;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use auditchain_store::{SledStore, Store};
use common::{check_all, grow};

/// Set in the child: the directory it writes to.
const DIR: &str = "AUDITCHAIN_STORE_CRASH_DIR";
const ROUNDS: u32 = 12;

/// Not a test by itself: the process that is killed.
#[test]
fn child() {
    let Some(dir) = env::var_os(DIR) else {
        return;
    };
    let store = SledStore::open(Path::new(&dir)).unwrap();
    let (epoch, _) = store.acquire().unwrap();
    let mut out = std::io::stderr().lock();
    for block in 0_u64.. {
        let head = grow(&store, epoch, 1 + block * 37 % 400);
        // One write: a pipe takes it whole or not at all.
        let line = format!("acknowledged {}\n", head.size);
        out.write_all(line.as_bytes()).unwrap();
    }
}

#[test]
fn nothing_acknowledged_is_lost_to_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = 0;
    for round in 0..ROUNDS {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["child", "--exact", "--nocapture", "--test-threads=1"])
            .env(DIR, dir.path())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        // Also while it opens, in some rounds.
        let pause = Duration::from_micros(u64::from(clock_noise()) % 400_000);
        let killer = thread::spawn(move || {
            thread::sleep(pause);
            child.kill().unwrap();
            child.wait().unwrap()
        });
        for line in lines {
            let line = line.unwrap();
            match line.strip_prefix("acknowledged ") {
                Some(size) => acknowledged = size.parse::<u64>().unwrap(),
                None => assert!(!line.contains("panicked"), "round {round}: {line}"),
            }
        }
        let status = killer.join().unwrap();
        assert!(
            status.code().is_none(),
            "round {round}: ended by itself, {status}"
        );

        let store = SledStore::open(dir.path()).unwrap();
        let size = check_all(&store);
        assert!(
            size >= acknowledged,
            "round {round}: {size} entries left of {acknowledged} acknowledged"
        );
        // The head and what it describes were written together.
        if let Some(head) = store.head().unwrap() {
            assert_eq!(head.state, format!("state at {size}").into_bytes());
        }
        acknowledged = size;
    }
    assert!(acknowledged > 0, "the child never got to append");
}

/// Enough randomness to kill at another point each time.
fn clock_noise() -> u32 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .subsec_nanos()
}
