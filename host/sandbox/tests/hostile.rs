//! Guests that misbehave while they judge: each ends in a clean finding with its
//! exact reason, within its limits, and the policy beside it still judges.

mod common;

use std::time::{Duration, Instant};

use auditchain_sandbox::{
    BatchInput, BlockVerdict, Engine, EngineOptions, EventView, FailureKind, Finding, Limits,
    MAX_LOG_LINES, MAX_TEXT_BYTES, Mode, PolicySet, PolicySpec, PreviousSeal, Severity,
    SignatureAlgorithm,
};
use common::{block, engine, events, hostile, load, view};

/// Judges three events with the policy and a well-behaved one beside it.
fn judge_three(spec: PolicySpec) -> BlockVerdict {
    let set = load(&[spec, hostile("good", "")]).expect("both load");
    let views = ["a", "b", "c"].map(view);
    let events = events(&views);
    let verdict = set.judge(&block(&events));
    let good: Vec<_> = of(&verdict, "good").collect();
    assert_eq!(good.len(), 3, "the neighbour judges every event");
    assert!(good.iter().all(|(_, f)| f.valid && &*f.rule == "seen"));
    verdict
}

fn of<'a>(verdict: &'a BlockVerdict, policy: &str) -> impl Iterator<Item = &'a (u32, Finding)> {
    verdict
        .events
        .iter()
        .filter(move |(_, finding)| &*finding.policy == policy)
}

/// The reason is the same for all events, on which it failed.
fn assert_fails(behaviour: &str, kind: FailureKind, detail: &str) {
    let started = Instant::now();
    let verdict = judge_three(hostile("bad", behaviour));
    let findings: Vec<_> = of(&verdict, "bad").collect();
    assert_eq!(findings.len(), 3, "{behaviour}: one finding an event");
    for (expected, (event, finding)) in (0..).zip(findings) {
        assert_eq!(*event, expected);
        assert_eq!(
            &*finding.rule,
            kind.rule(),
            "{behaviour}: {}",
            finding.reason
        );
        assert_eq!(finding.severity, Severity::High);
        assert!(!finding.valid);
        assert!(
            finding.reason.contains(detail),
            "{behaviour}: {:?} does not say {detail:?}",
            finding.reason
        );
        assert!(finding.reason.len() <= MAX_TEXT_BYTES);
    }
    assert!(
        verdict
            .failures
            .iter()
            .all(|failure| failure.failure.kind == kind)
    );
    assert_eq!(
        verdict
            .failures
            .iter()
            .map(|f| f.events.len())
            .sum::<usize>(),
        3
    );
    assert_eq!(verdict.is_reproducible(), kind.is_reproducible());
    assert!(
        started.elapsed() < Duration::from_secs(20),
        "{behaviour}: within its limits"
    );
}

#[test]
fn endless_loop_runs_out_of_fuel() {
    assert_fails("spin", FailureKind::OutOfFuel, "fuel");
}

#[test]
fn endless_memory_meets_its_limit() {
    assert_fails("grow", FailureKind::MemoryLimit, "the limit is 67108864");
}

#[test]
fn long_instructions_cost_fuel_too() {
    assert_fails("fill", FailureKind::OutOfFuel, "fuel");
}

#[test]
fn traps_are_findings() {
    assert_fails("trap", FailureKind::Trap, "unreachable");
    assert_fails("panic", FailureKind::Trap, "unreachable");
    assert_fails("out-of-bounds", FailureKind::Trap, "unreachable");
}

#[test]
fn recursion_ends() {
    assert_fails("recurse", FailureKind::StackOverflow, "stack");
    // The guest's own stack, in its memory, is used up first.
    assert_fails(
        "recurse-with-large-frames",
        FailureKind::Trap,
        "out of bounds memory access",
    );
}

#[test]
fn floods_of_output_are_refused() {
    assert_fails("flood", FailureKind::BadOutput, "too much data");
    assert_fails(
        "flood-one-event",
        FailureKind::BadOutput,
        "more than 8 verdicts about event 0",
    );
    assert_fails("huge-reason", FailureKind::BadOutput, "too much data");
    assert_fails("log-huge", FailureKind::BadOutput, "too much data");
}

#[test]
fn calls_of_the_host_cost_fuel() {
    assert_fails("log-spin", FailureKind::OutOfFuel, "fuel");
    assert_fails("body-spin", FailureKind::OutOfFuel, "fuel");
}

#[test]
fn lies_are_refused() {
    assert_fails("wrong-event", FailureKind::BadOutput, "is not there");
    assert_fails(
        "wrong-batch",
        FailureKind::BadOutput,
        "batch 0 of the slice, which is not there",
    );
    assert_fails(
        "wrong-rule",
        FailureKind::BadOutput,
        "by rule 2, which is not there",
    );
    assert_fails("bad-sig", FailureKind::BadOutput, "sig");
    assert_fails("long-sig", FailureKind::BadOutput, "sig");
}

#[test]
fn observing_policies_never_refuse() {
    let observe = |behaviour| PolicySpec {
        mode: Mode::Observe,
        ..hostile("bad", behaviour)
    };
    for behaviour in ["spin", "every-subject"] {
        let verdict = judge_three(observe(behaviour));
        assert_eq!(of(&verdict, "bad").count(), 3);
        assert!(
            of(&verdict, "bad").all(|(_, finding)| finding.valid),
            "{behaviour}"
        );
    }
}

#[test]
fn the_backstop_ends_what_fuel_does_not_and_says_so() {
    let engine = Engine::new(&EngineOptions {
        backstop: Duration::from_millis(100),
        ..EngineOptions::default()
    })
    .expect("an engine");
    let spec = PolicySpec {
        limits: Limits {
            fuel_base: auditchain_sandbox::MAX_FUEL,
            fuel_per_event: 0,
            ..Limits::default()
        },
        ..hostile("bad", "spin")
    };
    let set = PolicySet::load(&engine, &[spec], &[]).expect("loads");
    let views = ["a", "b"].map(view);
    let events = events(&views);
    let started = Instant::now();
    let verdict = set.judge(&block(&events));
    assert!(started.elapsed() < Duration::from_secs(2));
    assert_eq!(verdict.events.len(), 2);
    assert_eq!(&*verdict.events[0].1.rule, "policy-error/timeout");
    // Not tried again on halves: it would not come out the same.
    assert_eq!(verdict.failures.len(), 1);
    assert!(!verdict.is_reproducible());
}

#[test]
fn log_lines_are_bounded_and_cost_no_verdict() {
    let verdict = judge_three(hostile("bad", "log-flood"));
    assert_eq!(verdict.failures, []);
    assert_eq!(
        verdict.costs[0].log_lines_dropped,
        10_000 - u64::from(MAX_LOG_LINES)
    );
    assert_eq!(judge_three(hostile("bad", "log-long")).failures, []);
}

#[test]
fn long_reasons_are_cut_at_a_character() {
    let verdict = judge_three(hostile("bad", "long-reason"));
    let (_, finding) = of(&verdict, "bad").next().expect("a finding");
    assert_eq!(finding.reason.len(), MAX_TEXT_BYTES - 1);
    assert!(finding.reason.ends_with('é'));
}

#[test]
fn bodies_are_those_of_the_slice_and_none_past_it() {
    assert_eq!(
        judge_three(hostile("bad", "body-past-the-end")).failures,
        []
    );
    let spec = PolicySpec {
        limits: Limits {
            slice_events: 2,
            ..hostile("bad", "").limits
        },
        ..hostile("bad", "bodies")
    };
    let set = load(&[spec]).expect("loads");
    let views = ["a", "b", "c"].map(view);
    let mut events = events(&views);
    events[1].body = b"second";
    events[2].body = b"\xff third";
    let verdict = set.judge(&block(&events));
    let reasons: Vec<_> = verdict
        .events
        .iter()
        .map(|(event, f)| (*event, f.reason.as_str()))
        .collect();
    assert_eq!(
        reasons,
        [(0, "{\"a\":1}"), (1, "second"), (2, "\u{fffd} third")]
    );
}

#[test]
fn every_slice_gets_a_fresh_instance() {
    let spec = PolicySpec {
        limits: Limits {
            slice_events: 1,
            ..Limits::default()
        },
        ..hostile("bad", "state")
    };
    let verdict = judge_three(spec);
    assert_eq!(verdict.failures, []);
    assert_eq!(verdict.costs[0].instances, 3);
}

#[test]
fn one_bad_event_does_not_cost_its_neighbours() {
    let set = load(&[hostile("picky", "trap-on-bad")]).expect("loads");
    let ids: Vec<String> = (0..400)
        .map(|index| {
            if index == 137 {
                "bad".into()
            } else {
                index.to_string()
            }
        })
        .collect();
    let views: Vec<EventView<'_>> = ids.iter().map(|id| view(id)).collect();
    let events = events(&views);
    let verdict = set.judge(&block(&events));
    assert_eq!(verdict.failures.len(), 1);
    assert_eq!(verdict.failures[0].events, 137..138);
    assert_eq!(verdict.events.len(), 400);
    for (expected, (event, finding)) in (0..).zip(&verdict.events) {
        assert_eq!((*event, finding.valid), (expected, expected != 137));
    }
}

#[test]
fn an_event_of_extreme_length_gets_a_slice_of_its_own() {
    let spec = PolicySpec {
        limits: Limits {
            memory_bytes: 16 << 20,
            ..Limits::default()
        },
        ..hostile("good-with-little-memory", "")
    };
    let set = load(&[spec]).expect("loads");
    let long = "x".repeat(40 << 20);
    let views = ["a", &long, "c"].map(view);
    let events = events(&views);
    let verdict = set.judge(&block(&events));
    assert_eq!(verdict.failures.len(), 1);
    assert_eq!(verdict.failures[0].events, 1..2);
    assert_eq!(verdict.failures[0].failure.kind, FailureKind::MemoryLimit);
    let valid: Vec<_> = verdict
        .events
        .iter()
        .map(|(_, finding)| finding.valid)
        .collect();
    assert_eq!(valid, [true, false, true]);
}

#[test]
fn a_block_without_events_is_judged_once_for_its_seal_and_batches() {
    let keys = ["vkey".to_owned()];
    let batches = [BatchInput {
        source: 0,
        first_event: 0,
        sequence: 3,
        count: 2,
        digest: [1; 32],
        algorithm: SignatureAlgorithm::Sm2Sm3,
        public_key: b"key",
        signature: b"signature",
        last_sequence: None,
        repeated: false,
    }];
    let mut input = block(&[]);
    input.previous_seal = Some(PreviousSeal {
        note: "note",
        keys: &keys,
        size: 9,
        root: [2; 32],
    });
    input.batches = &batches;

    let set = load(&[hostile("every", "every-subject"), hostile("bad", "spin")]).expect("load");
    let verdict = set.judge(&input);
    let rules = |findings: Vec<&Finding>| {
        findings
            .iter()
            .map(|f| f.rule.to_string())
            .collect::<Vec<_>>()
    };
    let expected = ["bad", "policy-error/out-of-fuel"];
    assert_eq!(rules(verdict.block.iter().collect()), expected);
    assert_eq!(
        rules(verdict.batches.iter().map(|(_, f)| f).collect()),
        expected
    );
    assert_eq!(verdict.events, []);

    // Nothing but the block itself: a failure must still show.
    let verdict = set.judge(&block(&[]));
    assert_eq!(rules(verdict.block.iter().collect()), expected);
}

#[test]
fn batches_and_the_seal_go_with_their_slice() {
    let keys = ["vkey".to_owned()];
    let batch = |first_event, sequence| BatchInput {
        source: 0,
        first_event,
        sequence,
        count: 2,
        digest: [1; 32],
        algorithm: SignatureAlgorithm::EcdsaP256Sha256,
        public_key: b"key",
        signature: b"signature",
        last_sequence: None,
        repeated: false,
    };
    // The last one is past the end: none of its events is new.
    let batches = [batch(0, 10), batch(2, 11), batch(4, 12)];
    let views = ["a", "b", "c", "d"].map(view);
    let events = events(&views);
    let mut input = block(&events);
    input.previous_seal = Some(PreviousSeal {
        note: "note",
        keys: &keys,
        size: 9,
        root: [2; 32],
    });
    input.batches = &batches;
    let echo = PolicySpec {
        limits: Limits {
            slice_events: 2,
            ..Limits::default()
        },
        ..hostile("echo", "echo-context")
    };
    let every = PolicySpec {
        settings: serde_json::json!({"do": "every-subject"}),
        name: "every".into(),
        ..echo.clone()
    };
    let verdict = load(&[echo, every]).expect("load").judge(&input);
    let echoes: Vec<_> = of(&verdict, "echo")
        .map(|(_, f)| f.reason.as_str())
        .collect();
    assert_eq!(
        echoes,
        [
            "example.com/log 7 1700000000000000 seal=note,vkey,9 sources=a-cluster batches=10",
            "example.com/log 7 1700000000000000 seal=none sources=a-cluster batches=11,12",
        ]
    );
    let batches: Vec<_> = verdict.batches.iter().map(|(batch, _)| *batch).collect();
    assert_eq!(batches, [0, 1, 2]);
    let events: Vec<_> = of(&verdict, "every").map(|(event, _)| *event).collect();
    assert_eq!(events, [0, 1, 2, 3]);
    let _ = engine();
}
