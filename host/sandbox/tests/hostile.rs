//! Guests that misbehave while they judge: each ends in a clean finding with its
//! exact reason, within its limits, and the policy beside it still judges.

mod common;

use std::time::{Duration, Instant};

use auditchain_sandbox::{
    BatchInput, BlockVerdict, Engine, EngineOptions, EventView, FailureKind, Finding, Limits,
    MAX_LOG_LINES, MAX_TEXT_BYTES, Mode, PolicySet, PolicySpec, PreviousSeal, Severity,
    SignatureAlgorithm,
};
use common::{
    block, engine, events, hostile, load,
    raw::{Raw, VERDICT},
    view,
};

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
    assert_spec_fails(hostile("bad", behaviour), behaviour, kind, detail);
}

fn assert_raw_fails(raw: &Raw, kind: FailureKind, detail: &str) {
    let spec = PolicySpec {
        module: raw.component().into(),
        ..hostile("bad", "")
    };
    assert_spec_fails(spec, detail, kind, detail);
}

fn assert_spec_fails(spec: PolicySpec, behaviour: &str, kind: FailureKind, detail: &str) {
    let started = Instant::now();
    let verdict = judge_three(spec);
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

#[test]
fn endless_tables_meet_their_limit() {
    let raw = Raw {
        verify: |i| {
            i.loop_(wasm_encoder::BlockType::Empty);
            i.ref_null(wasm_encoder::HeapType::FUNC).i32_const(1_000);
            i.table_grow(0).drop().br(0).end();
        },
        ..Raw::default()
    };
    assert_raw_fails(&raw, FailureKind::MemoryLimit, "the limit is 20000");
}

#[test]
fn lying_pointers_and_lengths_are_refused() {
    let bad = FailureKind::BadOutput;
    let list = |at, len| Raw {
        list: [at, len],
        ..Raw::default()
    };
    assert_raw_fails(&list(u32::MAX - 15, 1), bad, "out of bounds");
    assert_raw_fails(&list(VERDICT as u32, u32::MAX), bad, "");
    assert_raw_fails(&list(VERDICT as u32 + 1, 1), bad, "aligned");
    let at = |list_at| Raw {
        list_at,
        ..Raw::default()
    };
    assert_raw_fails(&at(-8), bad, "out of bounds");
    assert_raw_fails(&at(3), bad, "aligned");
    let reason = |reason| Raw {
        reason,
        reason_bytes: b"\xff\xfe".to_vec(),
        ..Raw::default()
    };
    assert_raw_fails(&reason([u32::MAX, 1]), bad, "out of bounds");
    assert_raw_fails(&reason([2_048, 2]), bad, "utf-8");
    let realloc = Raw {
        realloc: Some(-4),
        ..Raw::default()
    };
    // The host's arguments would go past the end of the guest's memory.
    let module = realloc.component().into();
    let spec = PolicySpec {
        module,
        ..hostile("bad", "")
    };
    let error = load(&[spec]).expect_err("prepare gets its settings by it");
    assert!(
        error
            .to_string()
            .contains("realloc return: beyond end of memory"),
        "{error}"
    );
    let tag = Raw {
        subject_tag: 7,
        ..Raw::default()
    };
    assert_raw_fails(&tag, bad, "");
}

/// A guest that fails on each of many slices.
fn costs_of(behaviour: &str) -> BlockVerdict {
    let spec = PolicySpec {
        limits: Limits {
            fuel_base: 1_000_000,
            fuel_per_event: 1_000,
            slice_events: 16,
            ..Limits::default()
        },
        ..hostile("bad", behaviour)
    };
    let ids: Vec<_> = (0..320)
        .map(|n| {
            if n % 16 == 5 {
                "bad".into()
            } else {
                n.to_string()
            }
        })
        .collect();
    let views: Vec<EventView<'_>> = ids.iter().map(|id| view(id)).collect();
    let events = events(&views);
    let judge = |workers: usize| {
        let engine = Engine::new(&EngineOptions {
            workers: workers.try_into().expect("some"),
            ..EngineOptions::default()
        })
        .expect("an engine");
        let set = PolicySet::load(&engine, std::slice::from_ref(&spec), &[]).expect("loads");
        set.judge(&block(&events))
    };
    let (one, three) = (judge(1), judge(3));
    assert!(one.same_findings(&three));
    assert_eq!(one.failures, three.failures);
    assert_eq!(one.costs[0].fuel, three.costs[0].fuel);
    one
}

#[test]
fn reruns_have_one_budget_a_policy_and_block() {
    // All 20 slices fail, and all that is run again: 12 halvings.
    let spinning = costs_of("spin");
    assert_eq!(spinning.costs[0].instances, 20 + 2 * 12);
    assert_eq!(spinning.events.len(), 320);
    assert!(spinning.events.iter().all(|(_, finding)| !finding.valid));
    // One event of each slice: four halvings find it, for the first eight slices.
    let picky = costs_of("trap-on-bad");
    assert_eq!(picky.costs[0].instances, 20 + 2 * 32);
    let refused = picky.events.iter().filter(|(_, finding)| !finding.valid);
    assert_eq!(refused.count(), 8 + 12 * 16);
}

#[test]
fn a_suspended_policy_is_not_run() {
    for (mode, valid) in [(Mode::Enforce, false), (Mode::Observe, true)] {
        let bad = PolicySpec {
            mode,
            ..hostile("bad", "spin")
        };
        let set = load(&[bad, hostile("good", "")]).expect("load");
        let suspended = set.suspend(|name| name == "bad");
        let is_suspended = |set: &PolicySet| set.policies()[0].is_suspended();
        assert!(is_suspended(&suspended) && !is_suspended(&set));
        let views = ["a", "b"].map(view);
        let events = events(&views);
        let verdict = suspended.judge(&block(&events));
        assert_eq!((verdict.costs[0].instances, verdict.costs[0].fuel), (0, 0));
        let rules: Vec<_> = verdict
            .events
            .iter()
            .map(|(event, f)| (*event, &*f.rule, f.valid))
            .collect();
        let rule = "policy-error/suspended";
        let expected = [
            (0, rule, valid),
            (0, "seen", true),
            (1, rule, valid),
            (1, "seen", true),
        ];
        assert_eq!(rules, expected);
        assert!(verdict.is_reproducible());
        // Nothing but the block: it says so too.
        assert_eq!(&*suspended.judge(&block(&[])).block[0].rule, rule);
        // And back.
        let again = suspended.suspend(|_| false).judge(&block(&events));
        assert!(again.same_findings(&set.judge(&block(&events))));
    }
}
