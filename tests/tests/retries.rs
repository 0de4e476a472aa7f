//! Retries, as an apiserver makes them: every byte-identical event is in the log once,
//! however often, however late and from however many connections it comes; and nothing
//! but the same bytes from the same source counts as the same.

#![allow(clippy::unwrap_used, reason = "test code")]

use std::io::Write as _;
use std::net::TcpStream;
use std::path::Path;
use std::thread;

use auditchain_tests::{Programs, Service, bodies, events_of, programs, renamed};
use serde_json::Value;

const PROGRAMS: Programs = programs!();
/// Events of a run of the duplicate index (`dedup.rs`): one more run is frozen for each.
const RUN_EVENTS: u64 = 16_384;

/// Accepted, rejected, duplicates.
fn send(service: &Service, source: &str, body: &[u8]) -> [u64; 3] {
    let answer = service.send(source, body);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let ack = answer.json();
    ["accepted", "rejected", "duplicates"].map(|name| ack[name].as_u64().unwrap())
}

/// Stops the service, verifies, and returns how many events the log has.
fn events_in_the_end(service: Service, log: &Path) -> u64 {
    let keys = service.keys.clone();
    assert!(service.stop().success());
    let (code, report) = PROGRAMS.verify(log.to_str().unwrap(), &keys);
    assert_eq!(code, 0, "{report:#}");
    report["kinds"]["event"].as_u64().unwrap()
}

/// The recorded bodies as other events: with a round's number in every audit ID.
fn round(bodies: &[Vec<u8>], number: u32) -> Vec<Vec<u8>> {
    bodies.iter().map(|body| renamed(body, number)).collect()
}

fn one_event(id: &str, user: &str) -> Vec<u8> {
    format!(
        r#"{{"kind":"EventList","apiVersion":"audit.k8s.io/v1","items":[{{"level":"Metadata","auditID":"{id}","stage":"ResponseComplete","requestURI":"/api/v1/pods","verb":"list","user":{{"username":"{user}"}},"requestReceivedTimestamp":"2026-11-21T06:31:01.000000Z","stageTimestamp":"2026-11-21T06:31:01.000000Z"}}]}}"#
    )
    .into_bytes()
}

#[test]
fn identical_requests_at_once_are_written_once() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let service = PROGRAMS.start(&log, &[]);
    let requests = bodies("bodies");
    let (mut accepted, mut duplicates, mut expected) = (0, 0, 0);
    for body in &requests[..6] {
        // Some meet in one block, others in the next: neither may write it again.
        let answers: Vec<_> = thread::scope(|scope| {
            let senders: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| send(&service, "eu", body)))
                .collect();
            senders.into_iter().map(|s| s.join().unwrap()).collect()
        });
        for [a, r, d] in answers {
            assert_eq!(a + r + d, events_of(body));
            accepted += a + r;
            duplicates += d;
        }
        expected += events_of(body);
    }
    assert_eq!((accepted, duplicates), (expected, 7 * expected));
    assert_eq!(events_in_the_end(service, &log), expected);
}

#[test]
fn a_duplicate_is_known_at_any_age_after_restart_and_between_new_batches() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let recorded = bodies("bodies");
    let of_round: u64 = recorded.iter().map(|body| events_of(body)).sum();
    // Two frozen runs and a part of a third.
    let rounds = u32::try_from(2 * RUN_EVENTS / of_round + 2).unwrap();
    let service = PROGRAMS.start(&log, &[]);
    let mut written = 0;
    for number in 0..rounds {
        for body in round(&recorded, number) {
            let [accepted, rejected, duplicates] = send(&service, "eu", &body);
            assert_eq!(duplicates, 0, "round {number}");
            written += accepted + rejected;
        }
    }
    assert_eq!(written, of_round * u64::from(rounds));
    assert!(written > 2 * RUN_EVENTS);
    // Late retries between new batches: of the oldest, a middle and the newest round.
    let check = |service: &Service, new: u32, written: &mut u64| {
        let fresh = round(&recorded[..9], new);
        let olds = [0, rounds / 2, rounds - 1].map(|number| round(&recorded, number));
        for (i, fresh) in fresh.iter().enumerate() {
            let old = &olds[i % 3][i];
            assert_eq!(send(service, "eu", old), [0, 0, events_of(old)]);
            let [accepted, rejected, duplicates] = send(service, "eu", fresh);
            assert_eq!(
                (accepted + rejected, duplicates),
                (events_of(fresh), 0),
                "{i}"
            );
            *written += events_of(fresh);
            assert_eq!(send(service, "eu", fresh), [0, 0, events_of(fresh)]);
        }
    };
    check(&service, 1000, &mut written);
    // The same after a clean restart, and after none.
    assert!(service.stop().success());
    let service = PROGRAMS.start(&log, &[]);
    check(&service, 1001, &mut written);
    service.kill();
    let service = PROGRAMS.start(&log, &[]);
    check(&service, 1002, &mut written);
    // And every single event of all rounds: not one is taken for new.
    let size = service.size();
    for number in 0..rounds {
        for body in round(&recorded, number) {
            assert_eq!(send(&service, "eu", &body), [0, 0, events_of(&body)]);
        }
    }
    assert_eq!(service.size(), size);
    assert_eq!(events_in_the_end(service, &log), written);
}

#[test]
fn a_retry_with_some_new_events_adds_only_those() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let service = PROGRAMS.start(&log, &[]);
    let (old, new) = (one_event("a", "ann"), one_event("b", "ben"));
    assert_eq!(send(&service, "eu", &old)[2], 0);
    let item = |body: &[u8]| {
        let list: Value = serde_json::from_slice(body).unwrap();
        list["items"][0].to_string()
    };
    // The same event twice in one request, too, and in another spelling.
    let both = format!(
        r#"{{"kind":"EventList","apiVersion":"audit.k8s.io/v1","items":[{},{}, {}]}}"#,
        item(&old),
        item(&new),
        item(&new)
    );
    let [accepted, rejected, duplicates] = send(&service, "eu", both.as_bytes());
    assert_eq!((accepted + rejected, duplicates), (1, 2));
    assert_eq!(events_in_the_end(service, &log), 2);
}

#[test]
fn an_answer_that_nobody_read_is_no_loss_and_no_double() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let service = PROGRAMS.start(&log, &[]);
    let requests = bodies("bodies");
    let requests = &requests[..8];
    for body in requests {
        let address = service.url.strip_prefix("http://").unwrap();
        let mut connection = TcpStream::connect(address).unwrap();
        let head = format!(
            "POST /audit/eu HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        connection.write_all(head.as_bytes()).unwrap();
        connection.write_all(body).unwrap();
        drop(connection); // gone before the answer
    }
    // Whether each was written or not, the retry makes it so, once.
    let mut expected = 0;
    for body in requests {
        let [accepted, rejected, duplicates] = send(&service, "eu", body);
        assert_eq!(accepted + rejected + duplicates, events_of(body));
        assert_eq!(send(&service, "eu", body), [0, 0, events_of(body)]);
        expected += events_of(body);
    }
    assert_eq!(events_in_the_end(service, &log), expected);
}

#[test]
fn only_the_same_bytes_from_the_same_source_are_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let service = PROGRAMS.start(&log, &[]);
    let (first, other) = (one_event("same", "ann"), one_event("same", "mallory"));
    assert_eq!(send(&service, "eu", &first), [1, 0, 0]);
    assert_eq!(send(&service, "us", &first), [1, 0, 0], "another source");
    // An audit ID is the client's choice: it suppresses nothing.
    let [accepted, rejected, duplicates] = send(&service, "eu", &other);
    assert_eq!((accepted + rejected, duplicates), (1, 0));
    let last = service.size() - 1;
    let answer = service.get(&format!("/api/v1/entries/{last}?body=1"));
    let text = answer.text();
    assert!(
        text.contains("mallory") && text.contains("findings"),
        "kept, and a finding says so: {text}"
    );
    assert_eq!(send(&service, "eu", &other), [0, 0, 1]);
    assert_eq!(events_in_the_end(service, &log), 3);
}
