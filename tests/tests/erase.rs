//! Bodies that are erased: they are gone, an entry says so, and every proof still holds.

#![allow(clippy::unwrap_used, reason = "test code")]

use auditchain_tests::{Programs, Service, bodies, events_of, programs};
use serde_json::{Value, json};

const PROGRAMS: Programs = programs!();

fn erase(service: &Service, request: &Value) -> (u16, Value) {
    let answer = service.post(
        "/api/v1/erasures",
        &[("content-type", "application/json")],
        request.to_string().as_bytes(),
    );
    (answer.status, answer.json())
}

fn has_body(service: &Service, index: u64) -> bool {
    let entry = service.get(&format!("/api/v1/entries/{index}?body=1"));
    let entry = entry.json();
    entry.get("salt").is_some() && entry.get("body").is_some()
}

/// The first and last index of a run of events.
fn events(service: &Service) -> (u64, u64) {
    let is_event = |index: u64| {
        let entry = service.get(&format!("/api/v1/entries/{index}")).json();
        entry["entry"]["kind"] == "event"
    };
    let first = (0..service.size()).find(|index| is_event(*index)).unwrap();
    (first, first + 20)
}

#[test]
fn erased_bodies_are_gone_and_every_proof_still_holds() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let log_name = log.to_str().unwrap();
    let service = PROGRAMS.start(&log, &[]);
    let requests = bodies("bodies");
    assert_eq!(service.send("eu", &requests[2]).status, 200);
    let (first, last) = events(&service);
    let before = service.get(&format!("/api/v1/entries/{first}")).json();
    assert!(has_body(&service, first));

    let list = format!("{first},{}-{last}", first + 10);
    let args = [
        "erase",
        &service.url,
        "--entries",
        &list,
        "--by",
        "dpo@example.com",
        "--reason",
        "request 17",
        "--output",
        "json",
    ];
    let output = PROGRAMS.cli(&args);
    assert!(output.status.success(), "{output:?}");
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(said["erased"], 12);
    // Again: nothing is there to be erased, and nothing is written.
    let size = service.size();
    let output = PROGRAMS.cli(&args);
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&said["erased"], &said["size"]), (&json!(0), &json!(size)));

    assert!(!has_body(&service, first) && !has_body(&service, last));
    assert!(has_body(&service, first + 1) && has_body(&service, last + 1));
    let after = service.get(&format!("/api/v1/entries/{first}")).json();
    assert_eq!(before, after, "the entry is what it was");
    let erasure = service.get(&format!("/api/v1/entries/{}", size - 1)).json();
    assert_eq!(erasure["entry"]["kind"], "erasure");
    assert_eq!(
        erasure["entry"]["erasure"],
        json!({ "by": "dpo@example.com", "entries": [[first, first], [first + 10, last]], "reason": "request 17" })
    );

    // What was erased and is sent again is kept again: evidence is never turned away.
    let again = service.send("eu", &requests[2]).json();
    assert_eq!(
        again["accepted"].as_u64().unwrap() + again["rejected"].as_u64().unwrap(),
        12
    );
    assert_eq!(
        again["duplicates"].as_u64().unwrap(),
        events_of(&requests[2]) - 12
    );

    let (code, report) = PROGRAMS.verify(&service.url, &service.keys);
    assert_eq!(code, 0, "{report:#}");
    assert_eq!(
        (&report["bodiesErased"], &report["bodiesMissing"]),
        (&json!(12), &json!(0))
    );
    let keys = service.keys.clone();
    assert!(service.stop().success());
    let (code, report) = PROGRAMS.verify(log_name, &keys);
    assert_eq!(
        (code, &report["bodiesErased"]),
        (0, &json!(12)),
        "{report:#}"
    );

    // The bytes leave the disk with a compaction, and the log is still the same.
    let output = PROGRAMS.cli(&["compact", log_name]);
    assert!(output.status.success(), "{output:?}");
    let (code, report) = PROGRAMS.verify(log_name, &keys);
    assert_eq!(
        (code, &report["bodiesErased"]),
        (0, &json!(12)),
        "{report:#}"
    );
    let service = PROGRAMS.start(&log, &[]);
    assert!(!has_body(&service, first) && has_body(&service, first + 1));
    assert!(service.stop().success());
}

#[test]
fn what_is_no_erasure_is_refused_and_writes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let service = PROGRAMS.start(&dir.path().join("log"), &[]);
    assert_eq!(service.send("eu", &bodies("bodies")[0]).status, 200);
    let size = service.size();
    let good = json!({ "by": "dpo", "entries": [[0, 1]], "reason": "r" });
    for (member, value) in [
        ("by", json!("")),
        ("by", json!("x".repeat(513))),
        ("reason", json!(" ")),
        ("entries", json!([])),
        ("entries", json!([[2, 1]])),
        ("entries", json!([[0, 1], [1, 2]])),
        ("entries", json!([[0, size]])),
        ("entries", json!([[-1, 0]])),
        ("more", json!(1)),
    ] {
        let mut request = good.clone();
        request[member] = value.clone();
        let (status, problem) = erase(&service, &request);
        assert_eq!(status, 400, "{member} {value}: {problem}");
    }
    // Keys and policies have no body: nothing to erase, and no entry that claims so.
    let (status, answer) = erase(&service, &good);
    assert_eq!((status, &answer["erased"]), (200, &json!(0)));
    assert_eq!(service.size(), size);
    assert!(service.stop().success());
}
