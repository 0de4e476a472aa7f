//! Bytes changed on the disk of a real log: `auditchain verify DIR` says so and where.

#![allow(clippy::unwrap_used, reason = "test code")]

use std::fs;
use std::path::Path;

use auditchain_tests::{Programs, bodies, programs};

const PROGRAMS: Programs = programs!();

/// A log with recorded events over two starts, so that sled has both a snapshot and a
/// log behind it; and its keys.
fn recorded(log: &Path) -> Vec<String> {
    let requests = bodies("bodies");
    let mut keys = vec![];
    for half in requests[..6].chunks(3) {
        let service = PROGRAMS.start(log, &[]);
        for body in half {
            assert_eq!(service.send("eu", body).status, 200);
        }
        keys.clone_from(&service.keys);
        assert!(service.stop().success());
    }
    keys
}

#[test]
fn changed_bytes_of_the_database_are_found_and_placed() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let keys = recorded(&log);
    let (code, honest) = PROGRAMS.verify(log.to_str().unwrap(), &keys);
    assert_eq!(code, 0, "{honest:#}");
    let db = log.join("store/db");
    let good = fs::read(&db).unwrap();
    let used: Vec<usize> = (0..good.len()).filter(|at| good[*at] != 0).collect();
    let (mut refused, mut placed) = (0, 0);
    for at in used.iter().step_by(used.len() / 24) {
        let mut bad = good.clone();
        bad[*at] ^= 0x40;
        fs::write(&db, &bad).unwrap();
        let output = PROGRAMS.cli(&["verify", log.to_str().unwrap(), "--key", &keys[0]]);
        let said =
            String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        match output.status.code() {
            // A byte that nothing refers to any more: the log is what it was.
            Some(0) => assert!(said.contains(honest["checkpoint"]["root"].as_str().unwrap())),
            Some(1) => {
                refused += 1;
                let named = said.contains("  entry ") || said.contains("  entries ");
                placed += u32::from(named);
                // Or what it is, where it is no entry: a module, a page of sled's.
                let what = [
                    "the database",
                    "the head",
                    "the epoch",
                    "marker",
                    "blob",
                    "[value]",
                    "[file]",
                ];
                let told = named || what.iter().any(|what| said.contains(what));
                assert!(told, "byte {at}: {said}");
            }
            code => panic!("byte {at}: {code:?}: {said}"),
        }
        assert_eq!(
            fs::read(&db).unwrap(),
            bad,
            "verify leaves the evidence as it is"
        );
    }
    assert!(
        refused > 4 && placed > 2,
        "{refused} refused, {placed} placed"
    );
}

#[test]
fn changed_neighbours_of_the_database_are_found() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let keys = recorded(&log);
    let target = log.to_str().unwrap();
    let checkpoint = log.join("checkpoint");
    let note = fs::read(&checkpoint).unwrap();
    // Origin, size, root and signatures: every line of the note.
    for at in [
        2,
        note.iter().position(|b| *b == b'\n').unwrap() + 1,
        note.len() - 20,
    ] {
        let mut bad = note.clone();
        bad[at] ^= 1;
        fs::write(&checkpoint, bad).unwrap();
        assert_eq!(PROGRAMS.verify(target, &keys).0, 1, "byte {at}");
    }
    fs::write(&checkpoint, &note).unwrap();
    assert_eq!(PROGRAMS.verify(target, &keys).0, 0);
    // Another log's key.
    let other = PROGRAMS.start(&dir.path().join("other"), &[]);
    assert_eq!(PROGRAMS.verify(target, &other.keys).0, 1);
}

#[test]
fn rewritten_history_contradicts_a_checkpoint_kept_elsewhere() {
    let dir = tempfile::tempdir().unwrap();
    let (log, kept) = (dir.path().join("log"), dir.path().join("kept"));
    let requests = bodies("bodies");
    let service = PROGRAMS.start(&log, &["--origin", "example.com/log"]);
    assert_eq!(service.send("eu", &requests[0]).status, 200);
    fs::write(&kept, service.get("/checkpoint").bytes).unwrap();
    assert_eq!(service.send("eu", &requests[1]).status, 200);
    let since = [
        "verify",
        &service.url,
        "--key",
        &service.keys[0],
        "--since",
        kept.to_str().unwrap(),
    ];
    assert_eq!(PROGRAMS.cli(&since).status.code(), Some(0));
    assert!(service.stop().success());

    // Someone with the keys makes the log anew, without the first request.
    fs::remove_dir_all(log.join("store")).unwrap();
    fs::remove_file(log.join("checkpoint")).unwrap();
    let origin = ["--origin", "example.com/log"];
    let (_, said) = PROGRAMS.try_start(&log, &origin).unwrap_err();
    assert!(said.contains("there are keys, but no log"), "{said}");
    let forced = [&origin[..], &["--accept-store-as-it-is"]].concat();
    let service = PROGRAMS.start(&log, &forced);
    for request in &requests[1..4] {
        assert_eq!(service.send("eu", request).status, 200);
    }
    let keys = service.keys.clone();
    assert_eq!(
        PROGRAMS.verify(&service.url, &keys).0,
        0,
        "by itself it is consistent"
    );
    let since = [
        "verify",
        &service.url,
        "--key",
        &keys[0],
        "--since",
        kept.to_str().unwrap(),
    ];
    let output = PROGRAMS.cli(&since);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stdout).contains("history"));
}
