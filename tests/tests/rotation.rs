//! The log changes its keys: what old and new keys verify, at each place where a start
//! may be broken off.

#![allow(clippy::unwrap_used, reason = "test code")]

use std::path::Path;

use auditchain_log::Note;
use auditchain_tests::{Programs, Service, bodies, programs};

const PROGRAMS: Programs = programs!();

fn send(service: &Service, n: usize) {
    assert_eq!(service.send("eu", &bodies("bodies")[n]).status, 200);
}

fn rotate(data: &Path) {
    let output = PROGRAMS.cli(&["key", "rotate", data.to_str().unwrap()]);
    assert!(output.status.success(), "{output:?}");
}

fn lines(service: &Service) -> usize {
    let note = Note::parse(&service.get("/checkpoint").bytes).unwrap();
    note.signatures().len()
}

#[test]
fn old_keys_lead_to_new_ones_and_both_verify_the_whole_log() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("log");
    let service = PROGRAMS.start(&data, &[]);
    send(&service, 0);
    let first = service.keys.clone();
    // The service runs on; a second pair isn't made over the first.
    rotate(&data);
    let twice = PROGRAMS.cli(&["key", "rotate", data.to_str().unwrap()]);
    assert_eq!(twice.status.code(), Some(2));
    send(&service, 1);
    assert_eq!(PROGRAMS.verify(&service.url, &first).0, 0);
    assert!(service.stop().success());

    let service = PROGRAMS.start(&data, &[]);
    let second = service.keys.clone();
    assert!(second.iter().all(|key| !first.contains(key)));
    // The block that changes the keys is the last: all four signed it.
    assert_eq!(lines(&service), 4);
    for keys in [&first, &second, &first[..1].to_vec(), &second[1..].to_vec()] {
        let (code, report) = PROGRAMS.verify(&service.url, keys);
        assert_eq!(code, 0, "{report:#}");
    }
    send(&service, 2);
    assert_eq!(lines(&service), 2);
    let (code, report) = PROGRAMS.verify(&service.url, &first);
    assert_eq!(code, 0, "{report:#}");
    let learned = report["keys"]["inForce"].as_array().unwrap();
    assert!(second.iter().all(|key| learned.iter().any(|k| k == key)));
    assert!(
        report["checked"]
            .to_string()
            .contains("signed the hand-over")
    );
    let (code, report) = PROGRAMS.verify(&service.url, &second);
    assert_eq!(code, 0, "{report:#}");
    assert!(report["notChecked"].to_string().contains("earlier keys"));
    assert!(service.stop().success());
    assert!(data.join("keys").is_dir() && !data.join("keys.next").exists());

    // And again: the first keys still lead to the third.
    rotate(&data);
    let service = PROGRAMS.start(&data, &[]);
    send(&service, 3);
    for keys in [&first, &second, &service.keys] {
        assert_eq!(PROGRAMS.verify(&service.url, keys).0, 0);
    }
    assert!(service.stop().success());
    let (code, report) = PROGRAMS.verify(data.to_str().unwrap(), &first);
    assert_eq!(code, 0, "{report:#}");
}

#[test]
fn a_start_that_was_broken_off_is_completed() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("log");
    let service = PROGRAMS.start(&data, &[]);
    send(&service, 0);
    let first = service.keys.clone();
    assert!(service.stop().success());
    let checkpoint = std::fs::read(data.join("checkpoint")).unwrap();
    rotate(&data);
    // Before the write: the next start does it all.
    let service = PROGRAMS.start(&data, &[]);
    let second = service.keys.clone();
    service.kill();
    let retired: Vec<_> = std::fs::read_dir(&data)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_string_lossy().contains("keys.retired-"))
        .collect();
    assert_eq!(retired.len(), 1);
    let (keys, next) = (data.join("keys"), data.join("keys.next"));
    // After the write, before the file checkpoint and the moves.
    std::fs::rename(&keys, &next).unwrap();
    std::fs::rename(&retired[0], &keys).unwrap();
    std::fs::write(data.join("checkpoint"), &checkpoint).unwrap();
    let service = PROGRAMS.start(&data, &[]);
    assert_eq!((service.keys.clone(), lines(&service)), (second.clone(), 4));
    service.kill();
    // Between the two moves.
    std::fs::rename(&keys, &next).unwrap();
    let service = PROGRAMS.start(&data, &[]);
    assert_eq!(service.keys, second);
    send(&service, 1);
    assert_eq!(PROGRAMS.verify(&service.url, &first).0, 0);
    assert!(service.stop().success());
    // The old keys put back are not the log's any more.
    std::fs::rename(&keys, data.join("away")).unwrap();
    std::fs::rename(&retired[0], &keys).unwrap();
    let (status, said) = PROGRAMS.try_start(&data, &[]).unwrap_err();
    assert!(
        !status.success() && said.contains("not the log's keys"),
        "{said}"
    );
}
