//! Recorded traffic raises no alarm, however it is sliced and whenever it is
//! replayed; and the same traffic, tampered with, does.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;

use auditchain_guest_ordering::Ordering;
use auditchain_guest_ordering::rule::RULES;
use auditchain_guest_sdk::testing::Fixture;
use auditchain_guest_sdk::types::EarlierStage;
use auditchain_guest_sdk::{Guest as _, Stage, Subject};

#[path = "../../testdata.rs"]
mod testdata;

const YEAR_MICROS: i64 = 366 * 86_400 * 1_000_000;

/// What the host remembers of a source.
#[derive(Default)]
struct History {
    watermark: Option<i64>,
    stages: HashMap<(String, i64), Vec<KnownStage>>,
}

/// Stage, its time, and the event's bytes.
type KnownStage = (Stage, i64, Vec<u8>);

impl History {
    /// Judges a request in slices; returns (event of the request, rule).
    fn judge(
        &mut self,
        events: &[Vec<u8>],
        slice_events: usize,
        delay: i64,
    ) -> Vec<(usize, &'static str)> {
        self.judge_with("{}", events, slice_events, delay)
    }

    fn judge_with(
        &mut self,
        settings: &str,
        events: &[Vec<u8>],
        slice_events: usize,
        delay: i64,
    ) -> Vec<(usize, &'static str)> {
        let guest = Ordering::configure(settings.into()).unwrap();
        let mut whole = Fixture::new(0);
        for event in events {
            whole.push(event);
        }
        let newest = whole
            .call()
            .events()
            .filter_map(|event| event.stage_at())
            .max();
        let time = newest.unwrap() + delay;
        let mut found = Vec::new();
        for (slice, events) in events.chunks(slice_events).enumerate() {
            let mut fixture = Fixture::new(time);
            fixture.context.sources[0].watermark = self.watermark;
            for event in events {
                fixture.push(event);
            }
            fixture.context.earlier = self.earlier(&fixture, events);
            for verdict in fixture.run(&guest) {
                let Subject::Event(event) = verdict.subject else {
                    panic!("{verdict:?}")
                };
                let index = slice * slice_events + event as usize;
                found.push((index, RULES[verdict.rule as usize].id));
            }
        }
        self.watermark = self.watermark.max(newest);
        found
    }

    fn earlier(&mut self, fixture: &Fixture, bodies: &[Vec<u8>]) -> Vec<EarlierStage> {
        let mut earlier = Vec::new();
        for (event, body) in fixture.call().events().zip(bodies) {
            let (Some(id), Some(received), Some(staged)) =
                (event.audit_id(), event.received_at(), event.stage_at())
            else {
                continue;
            };
            let known = self.stages.entry((id.into(), received)).or_default();
            for (stage, at, other) in &*known {
                let same = *stage == event.stage() && *at == staged;
                if !same || other != body {
                    earlier.push(EarlierStage {
                        event: event.index(),
                        stage: *stage,
                        stage_timestamp: Some(*at),
                        conflicting: same,
                    });
                }
            }
            known.push((event.stage(), staged, body.clone()));
        }
        earlier
    }
}

#[test]
fn recorded_traffic_raises_no_alarm() {
    for run in testdata::RUNS {
        let requests = testdata::requests(run);
        assert!(requests.iter().map(Vec::len).sum::<usize>() > 250, "{run}");
        for (slice_events, delay) in [(256, 0), (7, 250_000_000), (1, 20 * YEAR_MICROS)] {
            let mut history = History::default();
            for (number, events) in requests.iter().enumerate() {
                let found = history.judge(events, slice_events, delay);
                assert!(found.is_empty(), "{run} request {number}: {found:?}");
            }
            let compared = history
                .stages
                .values()
                .filter(|stages| stages.len() > 1)
                .count();
            assert!(compared > 100, "{run}: stages must meet their partners");
        }
    }
}

#[test]
fn retried_and_swapped_batches_raise_no_alarm() {
    let mut requests = testdata::requests("bodies");
    for pair in requests.chunks_mut(2) {
        pair.reverse();
    }
    let again = requests[3].clone();
    requests.push(again);
    let mut history = History::default();
    for events in &requests {
        let found = history.judge(events, 64, 250_000_000);
        assert!(found.is_empty(), "{found:?}");
    }
}

/// Every request's first stages are there, in all recordings that lost nothing; and what
/// is taken out is missed.
#[test]
fn an_event_that_is_taken_out_is_missed() {
    const ALL: &str =
        r#"{"expectedStages":["RequestReceived","ResponseStarted"],"missingAfterSeconds":0}"#;
    for run in ["bodies", "blocking", "truncated"] {
        let mut history = History::default();
        for (number, events) in testdata::requests(run).iter().enumerate() {
            let found = history.judge_with(ALL, events, 64, 0);
            assert!(found.is_empty(), "{run} request {number}: {found:?}");
        }
    }
    let requests = testdata::requests("bodies");
    // Whether the recording has the request's end.
    let ends = |event: &[u8]| {
        let text = String::from_utf8_lossy(event);
        let id = text.split("\"auditID\":").nth(1).unwrap();
        let id = id.split(',').next().unwrap().as_bytes();
        let all = requests.iter().flatten();
        all.into_iter()
            .any(|other| contains(other, id) && contains(other, b"\"stage\":\"ResponseComplete\""))
    };
    for (stage, verb) in [("RequestReceived", "get"), ("ResponseStarted", "watch")] {
        let is_of = |event: &Vec<u8>| {
            contains(event, format!("\"stage\":\"{stage}\"").as_bytes())
                && contains(event, format!("\"verb\":\"{verb}\"").as_bytes())
                && (stage == "RequestReceived" || contains(event, b"\"code\":200"))
                && ends(event)
        };
        let mut requests = requests.clone();
        let places = requests.iter().enumerate().find_map(|(number, events)| {
            let at = events.iter().position(is_of)?;
            Some((number, at))
        });
        let (number, at) = places.unwrap();
        requests[number].remove(at);
        let (mut history, mut quiet) = (History::default(), History::default());
        let mut found = Vec::new();
        for events in &requests {
            found.extend(history.judge_with(ALL, events, 64, 0));
            // While it may still come, nothing is said.
            let may_come = r#"{"expectedStages":["RequestReceived","ResponseStarted"]}"#;
            assert!(quiet.judge_with(may_come, events, 64, 0).is_empty());
        }
        assert!((1..=2).contains(&found.len()), "{stage}: {found:?}");
        assert!(found.iter().all(|(_, rule)| *rule == "stage-missing"));
    }
}

#[test]
fn tampered_traffic_raises_the_alarm_meant_for_it() {
    let requests = testdata::requests("bodies");
    // The first ResponseComplete of the second request, and edits of its bytes.
    let events = &requests[1];
    let at = events
        .iter()
        .position(|event| contains(event, b"\"stage\":\"ResponseComplete\""))
        .unwrap();
    let year = |from: &'static str, to: &'static str| {
        let text = String::from_utf8(events[at].clone()).unwrap();
        text.replacen(
            &format!("\"{from}\":\"2026"),
            &format!("\"{from}\":\"{to}"),
            1,
        )
    };
    for (edited, expected) in [
        (
            year("stageTimestamp", "2025"),
            ["stage-before-received", "backdated"].as_slice(),
        ),
        (year("stageTimestamp", "2027"), &["future"]),
        (
            year("requestReceivedTimestamp", "2027"),
            &["stage-before-received"],
        ),
    ] {
        let mut history = History::default();
        let mut request = requests[1].clone();
        request[at] = edited.into_bytes();
        assert!(history.judge(&requests[0], 256, 0).is_empty());
        // As the host: the block's time is its receipt, not what an event claims.
        let found = judge_at_receipt(&mut history, &requests[1], &request);
        let rules: Vec<_> = found
            .iter()
            .filter(|(event, _)| *event == at)
            .map(|(_, rule)| *rule)
            .filter(|rule| *rule != "stage-order")
            .collect();
        assert_eq!(rules, expected);
        assert!(found.iter().all(|(event, _)| *event == at), "{found:?}");
    }
    // The same stage again, with another user.
    let mut history = History::default();
    let mut request = events.clone();
    let text = String::from_utf8(events[at].clone()).unwrap();
    request.push(
        text.replacen("\"verb\":", "\"forged\":1,\"verb\":", 1)
            .into_bytes(),
    );
    let found = history.judge(&request, 256, 0);
    assert_eq!(found, [(request.len() - 1, "stage-conflict")]);
}

/// Judges `tampered` in a block of the time at which `honest` was received.
fn judge_at_receipt(
    history: &mut History,
    honest: &[Vec<u8>],
    tampered: &[Vec<u8>],
) -> Vec<(usize, &'static str)> {
    let newest = |events: &[Vec<u8>]| {
        let mut fixture = Fixture::new(0);
        for event in events {
            fixture.push(event);
        }
        fixture
            .call()
            .events()
            .filter_map(|event| event.stage_at())
            .max()
            .unwrap()
    };
    history.judge(tampered, 256, newest(honest) - newest(tampered))
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack
        .windows(needle.len())
        .any(|window| window == needle)
}
