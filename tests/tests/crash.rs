//! `kill -9` at any time: what was acknowledged is there after the restart, once, and
//! verifies. And a store that is put back is noticed.

#![allow(clippy::unwrap_used, reason = "test code")]

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use auditchain_test_disk::Rng;
use auditchain_tests::{Programs, blocking_bodies, bodies, events_of, programs, renamed, try_post};

const PROGRAMS: Programs = programs!();
/// Kills; each at another moment. `AUDITCHAIN_CRASH_ROUNDS` makes a long run of it,
/// `AUDITCHAIN_CRASH_SEED` another one.
const ROUNDS: u64 = 8;
/// An apiserver in blocking mode has several.
const SENDERS: usize = 4;
/// How long a service lives before it is killed, at most.
const LIFE_MS_MAX: u64 = 900;
/// Those killed while they start live no longer than this.
const START_MS_MAX: u64 = 250;
/// Between two attempts, as long as nobody serves.
const RETRY_PAUSE: Duration = Duration::from_millis(5);

fn from_environment(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap())
}

/// Senders that try again until they have an answer, like the apiserver, while the
/// service is killed and started again and again.
struct Senders {
    recorded: Vec<Vec<u8>>,
    next: AtomicU32,
    stop: AtomicBool,
    /// Where the service of this round is.
    url: Mutex<Option<String>>,
}

impl Senders {
    fn serve_at(&self, url: Option<&str>) {
        *self.url.lock().unwrap_or_else(PoisonError::into_inner) = url.map(str::to_owned);
    }

    /// Every request is of other events than all others.
    fn request(&self, number: u32) -> Vec<u8> {
        renamed(
            &self.recorded[number as usize % self.recorded.len()],
            number,
        )
    }

    /// Sends until told to stop: how many attempts had no answer.
    fn send(&self) -> u64 {
        let mut failed = 0;
        while !self.stop.load(Ordering::Relaxed) {
            let request = self.request(self.next.fetch_add(1, Ordering::Relaxed));
            while !self.attempt(&request) {
                failed += 1;
                thread::sleep(RETRY_PAUSE);
            }
        }
        failed
    }

    fn attempt(&self, request: &[u8]) -> bool {
        let url = self
            .url
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let Some(url) = url else { return false };
        let json = [("content-type", "application/json")];
        match try_post(&format!("{url}/audit/eu"), &json, request) {
            Ok(answer) => {
                assert_eq!(answer.status, 200, "{}", answer.text());
                true
            }
            Err(_) => false,
        }
    }
}

#[test]
fn every_event_is_there_once_whenever_the_service_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let rounds = from_environment("AUDITCHAIN_CRASH_ROUNDS", ROUNDS);
    let mut rng = Rng::new(from_environment("AUDITCHAIN_CRASH_SEED", 1));
    let senders = Senders {
        recorded: blocking_bodies()
            .into_iter()
            .chain(bodies("bodies"))
            .collect(),
        next: AtomicU32::new(0),
        stop: AtomicBool::new(false),
        url: Mutex::new(None),
    };
    let (service, failed) = thread::scope(|scope| {
        let threads: Vec<_> = (0..SENDERS)
            .map(|_| scope.spawn(|| senders.send()))
            .collect();
        for _ in 0..rounds {
            if rng.chance(25) {
                let after = Duration::from_millis(rng.below(START_MS_MAX));
                PROGRAMS.start_and_kill(&log, after);
                continue;
            }
            let service = PROGRAMS.start(&log, &[]);
            senders.serve_at(Some(&service.url));
            thread::sleep(Duration::from_millis(rng.below(LIFE_MS_MAX)));
            service.kill();
            senders.serve_at(None);
        }
        // Those under way end well.
        let service = PROGRAMS.start(&log, &[]);
        senders.stop.store(true, Ordering::Relaxed);
        senders.serve_at(Some(&service.url));
        let failed: u64 = threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .sum();
        (service, failed)
    });
    let requests = senders.next.load(Ordering::Relaxed);
    // None is lost: sending all of them again adds nothing.
    let size = service.size();
    let mut events = 0;
    for number in 0..requests {
        let request = senders.request(number);
        let ack = service.send("eu", &request).json();
        assert_eq!(ack["duplicates"], events_of(&request), "{number}: {ack}");
        events += events_of(&request);
    }
    assert_eq!(service.size(), size);
    let keys = service.keys.clone();
    assert!(service.stop().success());
    let (code, report) = PROGRAMS.verify(log.to_str().unwrap(), &keys);
    assert_eq!(code, 0, "{report:#}");
    // And none is doubled.
    assert_eq!(report["kinds"]["event"], events);
    println!(
        "{rounds} kills, {requests} requests, {events} events, {failed} attempts without answer"
    );
    assert!(
        u64::from(requests) > rounds,
        "too few requests to mean something"
    );
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
