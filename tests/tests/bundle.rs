//! A log in one file: verified and re-executed from it alone, with bodies withheld, and
//! refused when it was tampered with.

#![allow(clippy::unwrap_used, reason = "test code")]

use std::path::Path;

use auditchain_tests::{Programs, bodies, data, programs, read};
use serde_json::{Value, json};

const PROGRAMS: Programs = programs!();

fn bundle(target: &str, out: &Path, more: &[&str]) -> Value {
    let out = out.to_str().unwrap();
    let mut args = vec!["bundle", target, "-o", out, "--output", "json"];
    args.extend(more);
    let output = PROGRAMS.cli(&args);
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice::<Value>(&output.stdout).unwrap()["written"].clone()
}

#[test]
fn a_bundle_is_verified_and_re_executed_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let snapshot = at("rbac.json");
    std::fs::write(&snapshot, read(&data("rbac-dump.json.gz"))).unwrap();
    let log = at("log");
    let service = PROGRAMS.start(&log, &["--rbac-snapshot", snapshot.to_str().unwrap()]);
    for body in bodies("bodies").iter().take(3) {
        assert_eq!(service.send("eu", body).status, 200);
    }
    let request = json!({ "entries": [[50, 59]], "by": "dpo", "reason": "17" });
    let headers = [("content-type", "application/json")];
    let answer = service.post("/api/v1/erasures", &headers, request.to_string().as_bytes());
    assert_eq!(answer.status, 200);
    let erased = answer.json()["erased"].as_u64().unwrap();
    let keys = service.keys.clone();

    // All of it, over HTTP.
    let whole = at("whole.bundle");
    let written = bundle(&service.url, &whole, &[]);
    assert_eq!(written["entries"], service.size());
    let (code, report) = PROGRAMS.verify_with(&["--re-execute"], whole.to_str().unwrap(), &keys);
    assert_eq!(code, 0, "{report:#}");
    assert_eq!(report["reexecuted"]["different"], 0);
    assert_eq!(report["reexecuted"]["withoutBody"], erased);
    assert_eq!(
        (&report["bodiesErased"], &report["bodiesWithheld"]),
        (&json!(erased), &json!(0))
    );
    assert_eq!(report["bodiesVerified"], written["bodies"]);
    let events = report["kinds"]["event"].as_u64().unwrap();
    assert!(service.stop().success());

    // A range of bodies, from the directory.
    let some = at("some.bundle");
    let range = ["--bodies-from", "300", "--bodies-to", "309"];
    let written = bundle(log.to_str().unwrap(), &some, &range);
    assert_eq!(written["bodies"], 10);
    let (code, report) = PROGRAMS.verify_with(&["--re-execute"], some.to_str().unwrap(), &keys);
    assert_eq!(code, 0, "{report:#}");
    assert_eq!(report["bodiesVerified"], 10);
    assert_eq!(report["bodiesWithheld"], events - 10 - erased);
    assert_eq!(report["reexecuted"]["withoutBody"], events - 10);
    assert_eq!(report["reexecuted"]["different"], 0);
    let none = at("none.bundle");
    assert_eq!(
        bundle(log.to_str().unwrap(), &none, &["--without-bodies"])["bodies"],
        0
    );
    assert_eq!(PROGRAMS.verify(none.to_str().unwrap(), &keys).0, 0);
    assert!(std::fs::metadata(&some).unwrap().len() < std::fs::metadata(&whole).unwrap().len());

    // Another log's keys.
    let other = PROGRAMS.start(&at("other"), &[]);
    assert_eq!(PROGRAMS.verify(whole.to_str().unwrap(), &other.keys).0, 1);
    drop(other);

    // Cut, and flipped at many places: never taken for good.
    let good = std::fs::read(&some).unwrap();
    let bad = at("bad.bundle");
    let refused = |bytes: &[u8], what: &str| {
        std::fs::write(&bad, bytes).unwrap();
        let (code, report) = PROGRAMS.verify(bad.to_str().unwrap(), &keys);
        assert_ne!(code, 0, "{what}: {report:#}");
    };
    for keep in [0, 10, 30, good.len() / 2, good.len() - 20] {
        refused(&good[..keep], &format!("cut to {keep}"));
    }
    for n in 0..12 {
        let mut bytes = good.clone();
        let at = n * (bytes.len() - 1) / 12 + 3;
        bytes[at] ^= 1 << (n % 8);
        refused(&bytes, &format!("flipped at {at}"));
    }
}
