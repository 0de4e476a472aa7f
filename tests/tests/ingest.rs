//! All recorded traffic goes in exactly once, comes out whole, and verifies.

#![allow(clippy::unwrap_used, reason = "test code")]

use auditchain_tests::{Programs, Service, blocking_bodies, bodies, events_of, programs};

const PROGRAMS: Programs = programs!();

/// Sends bodies and returns (accepted, rejected, duplicates).
fn send_all(service: &Service, source: &str, bodies: &[Vec<u8>]) -> [u64; 3] {
    let mut sums = [0; 3];
    for body in bodies {
        let answer = service.send(source, body);
        assert_eq!(answer.status, 200, "{}", answer.text());
        let ack = answer.json();
        let count = |name: &str| ack[name].as_u64().unwrap();
        let counts = [count("accepted"), count("rejected"), count("duplicates")];
        assert_eq!(counts.iter().sum::<u64>(), events_of(body));
        for (sum, count) in sums.iter_mut().zip(counts) {
            *sum += count;
        }
    }
    sums
}

#[test]
fn every_recorded_event_is_in_the_log_exactly_once() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("log");
    let snapshot = dir.path().join("rbac.json");
    std::fs::write(
        &snapshot,
        auditchain_tests::read(&auditchain_tests::data("rbac-dump.json.gz")),
    )
    .unwrap();
    let service = PROGRAMS.start(&data, &["--rbac-snapshot", snapshot.to_str().unwrap()]);
    let sets = [
        ("batch", bodies("bodies"), 6353),
        ("blocking", blocking_bodies(), BLOCKING_EVENTS),
        ("truncated", bodies("truncated"), TRUNCATED_EVENTS),
        ("edge", bodies("edge"), EDGE_EVENTS),
    ];
    let mut total = 0;
    for (source, bodies, events) in &sets {
        // No alarm on legitimate traffic, replayed on a later day.
        assert_eq!(
            send_all(&service, source, bodies),
            [*events, 0, 0],
            "{source}"
        );
        total += events;
    }
    let size = service.size();
    for (source, bodies, events) in &sets {
        assert_eq!(
            send_all(&service, source, bodies),
            [0, 0, *events],
            "{source}"
        );
    }
    assert_eq!(service.size(), size, "a retry adds nothing");

    let (code, report) = PROGRAMS.verify(&service.url, &service.keys);
    assert_eq!(code, 0, "{report:#}");
    assert_eq!(report["kinds"]["event"], total, "{report:#}");
    assert!(service.stop().success());

    // A retry of everything after a restart.
    let service = PROGRAMS.start(&data, &["--rbac-snapshot", snapshot.to_str().unwrap()]);
    assert_eq!(service.size(), size);
    for (source, bodies, events) in &sets {
        assert_eq!(
            send_all(&service, source, bodies),
            [0, 0, *events],
            "{source}"
        );
    }
    assert_eq!(service.size(), size);
    let keys = service.keys.clone();
    assert!(service.stop().success());
    let (code, report) = PROGRAMS.verify(data.to_str().unwrap(), &keys);
    assert_eq!(code, 0, "{report:#}");
    assert_eq!(report["kinds"]["event"], total, "{report:#}");
}

/// Events of the recordings, as their README counts them.
const BLOCKING_EVENTS: u64 = 1277;
const TRUNCATED_EVENTS: u64 = 1614;
const EDGE_EVENTS: u64 = 272;

#[test]
fn duplicates_are_found_across_frozen_runs_and_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("log");
    // Two and a half runs of the duplicate index, half of it without times.
    let lists: Vec<Vec<u8>> = (0..5)
        .map(|part| {
            let event = |i: u64| match i % 2 {
                0 => format!("{{\"a\":{}}}", part * 10_000 + i),
                _ => format!(
                    "{{\"auditID\":\"{}\",\"stageTimestamp\":\"2026-11-21T06:{:02}:00.000000Z\"}}",
                    part * 10_000 + i,
                    i % 60
                ),
            };
            let items: Vec<String> = (0..8_000).map(event).collect();
            format!(
                "{{\"kind\":\"EventList\",\"apiVersion\":\"audit.k8s.io/v1\",\"items\":[{}]}}",
                items.join(",")
            )
            .into_bytes()
        })
        .collect();
    let service = PROGRAMS.start(&data, &[]);
    for list in &lists {
        assert_eq!(service.send("eu", list).json()["rejected"], 8_000);
    }
    let size = service.size();
    assert_eq!(send_all(&service, "eu", &lists), [0, 0, 40_000]);
    // The same bytes from another source are other events.
    assert_eq!(service.send("us", &lists[0]).json()["rejected"], 8_000);
    assert!(service.stop().success());
    let service = PROGRAMS.start(&data, &[]);
    assert_eq!(send_all(&service, "eu", &lists), [0, 0, 40_000]);
    assert_eq!(service.size(), size + 8_001);
}
