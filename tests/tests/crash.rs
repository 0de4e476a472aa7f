//! `kill -9` at any time: what was acknowledged is there after the restart, once, and
//! verifies. And a store that is put back is noticed.

#![allow(clippy::unwrap_used, reason = "test code")]

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use auditchain_tests::{Programs, blocking_bodies, bodies, events_of, programs};

const PROGRAMS: Programs = programs!();
/// Kills; each at another moment of the stream.
const ROUNDS: u64 = 8;

#[test]
fn nothing_acknowledged_is_lost_or_doubled_by_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let requests: Vec<Vec<u8>> = blocking_bodies()
        .into_iter()
        .chain(bodies("bodies"))
        .collect();
    let next = AtomicUsize::new(0);
    let mut acknowledged = vec![];
    for round in 0..ROUNDS {
        let service = PROGRAMS.start(&log, &[]);
        let stop = AtomicBool::new(false);
        acknowledged.extend(thread::scope(|scope| {
            // Several senders, as an apiserver in blocking mode has.
            let senders: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        let mut acknowledged = vec![];
                        while !stop.load(Ordering::Relaxed) {
                            let i = next.fetch_add(1, Ordering::Relaxed) % requests.len();
                            let json = [("content-type", "application/json")];
                            match service.try_post("/audit/eu", &json, &requests[i]) {
                                Ok(answer) => {
                                    assert_eq!(answer.status, 200, "{}", answer.text());
                                    acknowledged.push(i);
                                }
                                Err(_) => break,
                            }
                        }
                        acknowledged
                    })
                })
                .collect();
            thread::sleep(Duration::from_millis(150 + 97 * round));
            service.signal("KILL");
            stop.store(true, Ordering::Relaxed);
            senders
                .into_iter()
                .flat_map(|sender| sender.join().unwrap())
                .collect::<Vec<_>>()
        }));
    }
    assert!(
        acknowledged.len() > 20,
        "the rounds are long enough to mean something"
    );
    let service = PROGRAMS.start(&log, &[]);
    // All that was acknowledged is known: sending it again adds nothing.
    let size = service.size();
    acknowledged.sort_unstable();
    acknowledged.dedup();
    for i in acknowledged {
        let ack = service.send("eu", &requests[i]).json();
        assert_eq!(
            ack["duplicates"],
            events_of(&requests[i]),
            "request {i}: {ack}"
        );
    }
    assert_eq!(service.size(), size);
    let keys = service.keys.clone();
    assert!(service.stop().success());
    let (code, report) = PROGRAMS.verify(log.to_str().unwrap(), &keys);
    assert_eq!(code, 0, "{report:#}");
}

#[test]
fn sigterm_answers_those_who_wait_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let service = PROGRAMS.start(&log, &[]);
    let requests = bodies("bodies");
    let sent: u64 = thread::scope(|scope| {
        let senders: Vec<_> = requests
            .iter()
            .map(|body| {
                let service = &service;
                scope.spawn(move || {
                    let json = [("content-type", "application/json")];
                    // Past the signal: refused with 503, or no connection. Never lost.
                    match service.try_post("/audit/eu", &json, body) {
                        Ok(answer) if answer.status == 200 => events_of(body),
                        Ok(answer) => {
                            answer.problem(503);
                            assert_eq!(answer.retry_after.as_deref(), Some("1"));
                            0
                        }
                        Err(_) => 0,
                    }
                })
            })
            .collect();
        thread::sleep(Duration::from_millis(120));
        service.signal("TERM");
        senders
            .into_iter()
            .map(|sender| sender.join().unwrap())
            .sum()
    });
    let keys = service.keys.clone();
    assert!(service.stop().success());
    let (code, report) = PROGRAMS.verify(log.to_str().unwrap(), &keys);
    assert_eq!(code, 0, "{report:#}");
    let events = report["kinds"]["event"].as_u64().unwrap_or(0);
    assert!(events >= sent, "{events} in the log, {sent} acknowledged");
}

#[test]
fn a_store_that_was_put_back_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (log, copy) = (dir.path().join("log"), dir.path().join("copy"));
    let requests = bodies("bodies");
    let service = PROGRAMS.start(&log, &[]);
    assert_eq!(service.send("eu", &requests[0]).status, 200);
    assert!(service.stop().success());
    copy_dir(&log.join("store"), &copy);
    let service = PROGRAMS.start(&log, &[]);
    assert_eq!(service.send("eu", &requests[1]).status, 200);
    assert!(service.stop().success());

    std::fs::remove_dir_all(log.join("store")).unwrap();
    copy_dir(&copy, &log.join("store"));
    let (status, said) = PROGRAMS.try_start(&log, &[]).unwrap_err();
    assert_eq!(status.code(), Some(1));
    assert!(said.contains("ROLLBACK"), "{said}");
    // And so is one whose neighbour file is gone.
    std::fs::rename(log.join("checkpoint"), dir.path().join("checkpoint")).unwrap();
    let (_, said) = PROGRAMS.try_start(&log, &[]).unwrap_err();
    assert!(said.contains("checkpoint is missing"), "{said}");
    // The operator may accept the loss.
    let service = PROGRAMS.start(&log, &["--accept-store-as-it-is"]);
    assert_eq!(service.send("eu", &requests[2]).status, 200);
    // An empty store beside a checkpoint is a rollback too.
    assert!(service.stop().success());
    std::fs::remove_dir_all(log.join("store")).unwrap();
    let (_, said) = PROGRAMS.try_start(&log, &[]).unwrap_err();
    assert!(said.contains("the store is empty"), "{said}");
}

fn copy_dir(from: &std::path::Path, to: &std::path::Path) {
    let status = std::process::Command::new("cp")
        .arg("-r")
        .args([from, to])
        .status()
        .unwrap();
    assert!(status.success());
}
