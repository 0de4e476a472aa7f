//! Guest rego in the sandbox: the example policy on recorded traffic, and policies that
//! are mistaken or hostile.

mod common;

use std::time::Instant;

use auditchain_sandbox::{
    BlockVerdict, FailureKind, Limits, LoadProblem, Mode, ModuleRef, PolicySet, PolicySpec,
    SourceInput, builtin_module,
};
use common::recorded::{RecordedBody, Seal, Window, block, inputs, recorded};
use serde_json::json;

fn example() -> PolicySpec {
    let yaml = include_str!("../../../policies/examples/rego.yaml");
    PolicySpec::from_yaml(yaml, builtin_module).expect("the example is a policy")
}

fn policy(text: &str) -> PolicySpec {
    PolicySpec {
        name: "rego".into(),
        module: builtin_module(&ModuleRef::Builtin("rego".into())).expect("built in"),
        mode: Mode::Enforce,
        settings: json!({"modules": {"a.rego": format!("package audit\n{text}")}}),
        limits: Limits::default(),
    }
}

fn load(spec: PolicySpec) -> PolicySet {
    common::load(&[spec]).expect("loads")
}

fn with_limits(limits: Limits) -> PolicySet {
    load(PolicySpec {
        limits,
        ..example()
    })
}

fn judge(set: &PolicySet, request: &RecordedBody) -> BlockVerdict {
    let views = request.views();
    let earlier = Window::default().take(request, &views);
    let events = inputs(request, &views, &earlier);
    let sources = [SourceInput {
        name: "a-cluster",
        watermark_us: None,
    }];
    set.judge(&block(
        &Seal::new(),
        &sources,
        &[],
        &events,
        1_800_000_000_000_000,
    ))
}

fn body(json: &str) -> RecordedBody {
    RecordedBody {
        bodies: vec![json.as_bytes().to_vec()],
        undecodable: vec![false],
    }
}

/// Rule and reason of each finding.
fn said(verdict: &BlockVerdict) -> Vec<(&str, bool, &str)> {
    verdict
        .events
        .iter()
        .map(|(_, finding)| (&*finding.rule, finding.valid, finding.reason.as_str()))
        .collect()
}

#[test]
fn recorded_traffic_is_within_the_limits_and_no_alarm_but_for_what_is_hostile() {
    let requests = recorded("bodies");
    for (name, set) in [
        ("example", load(example())),
        ("default limits", with_limits(Limits::default())),
    ] {
        let (mut events, mut fuel, mut most, mut unreadable) = (0, 0, 0, 0);
        let started = Instant::now();
        for request in &requests {
            let verdict = judge(&set, request);
            assert_eq!(verdict.failures, []);
            for (event, finding) in &verdict.events {
                // One has a name twice. (Seven more are undecodable for a large integer.)
                let twice = &*finding.rule == "rego-input";
                assert!(!twice || finding.reason.contains("twice"), "{finding:?}");
                assert_eq!(finding.valid, !twice, "event {event}: {finding:?}");
                unreadable += u32::from(twice);
            }
            events += request.bodies.len() as u64;
            fuel += verdict.costs[0].fuel;
            most = most.max(verdict.costs[0].fuel / request.bodies.len() as u64);
        }
        assert_eq!(unreadable, 1);
        // Within these, the example's comment about its limits holds.
        assert!(
            fuel / events < 2_000_000,
            "{name}: {} fuel an event",
            fuel / events
        );
        println!(
            "{name}: {} fuel an event, {most} in the dearest request, {:?} an event",
            fuel / events,
            started.elapsed() / u32::try_from(events).expect("some thousands"),
        );
    }
}

#[test]
fn what_a_slice_begins_with_is_affordable() {
    let verdict = judge(&load(example()), &body("{}"));
    println!("a slice of one empty event: {} fuel", verdict.costs[0].fuel);
    assert!(verdict.costs[0].fuel < Limits::default().fuel_base);
}

#[test]
fn verdicts_depend_neither_on_the_run_nor_on_the_cut() {
    let mut spec = example();
    spec.settings["data"]["production"] = json!(["team-*"]);
    let sets = [1_024, 256, 7].map(|slice_events| {
        let limits = Limits {
            slice_events,
            fuel_per_event: 2_000_000,
            ..spec.limits
        };
        load(PolicySpec {
            limits,
            ..spec.clone()
        })
    });
    let mut invalid = 0;
    for request in &recorded("bodies")[..8] {
        let first = judge(&sets[0], request);
        invalid += first
            .events
            .iter()
            .filter(|(_, finding)| !finding.valid)
            .count();
        for set in &sets {
            let again = judge(set, request);
            assert_eq!(again.failures, []);
            assert_eq!(again.events, first.events);
        }
        assert_eq!(judge(&sets[0], request).costs[0].fuel, first.costs[0].fuel);
    }
    assert!(invalid > 0, "there must be something to agree on");
}

#[test]
fn hostile_bodies_are_invalid_and_cost_no_neighbour() {
    let set = load(example());
    let mut unreadable = 0;
    for request in recorded("edge") {
        let verdict = judge(&set, &request);
        assert_eq!(verdict.failures, []);
        for (event, finding) in &verdict.events {
            if &*finding.rule == "rego-input" {
                assert!(!finding.valid);
                unreadable += 1;
            } else {
                assert!(finding.valid, "event {event}: {finding:?}");
            }
        }
    }
    // Invalid UTF-8, lone surrogates, nesting, duplicate names, numbers past a double.
    println!("{unreadable} events can't be given to a policy");
    assert!(unreadable > 0);
}

/// The interpreter recurses over values; its stack must do for the deepest it is given.
#[test]
fn the_deepest_input_overflows_no_stack() {
    let set = load(policy(
        "deny contains 1 if { input.a == input.b; count([p | walk(input.a, [p, _])]) == 99 }\n\
         warn contains json.marshal(input.a)\n\
         warn contains sprintf(\"%v\", [input.b])\n\
         warn contains {\"msg\": \"m\", \"details\": input.a}",
    ));
    let nested = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
    let event = |depth| format!(r#"{{"a":{},"b":{}}}"#, nested(depth), nested(depth));
    let verdict = judge(&set, &body(&event(98)));
    assert_eq!(verdict.failures, []);
    assert_eq!(said(&verdict)[0], ("rego-deny-high", false, "1"));
    // Two of them have one text, and are one.
    assert_eq!(verdict.events.len(), 3);
    for depth in [100, 9_990] {
        let verdict = judge(&set, &body(&event(depth)));
        assert_eq!(verdict.failures, []);
        assert_eq!(said(&verdict)[0].0, "rego-input");
        assert!(!verdict.events[0].1.valid);
    }
}

/// Nor may what a policy makes of it.
#[test]
fn a_policy_that_takes_too_much_is_a_finding() {
    let cases = [
        (
            "deny contains 1 if { input.dear; some a in numbers.range(1, 10000); \
             some b in numbers.range(1, 10000); a + b == 0 }",
            FailureKind::OutOfFuel,
        ),
        (
            "deny contains 1 if { input.dear; count([x | some x in numbers.range(1, 30000000)]) == 0 }",
            FailureKind::MemoryLimit,
        ),
    ];
    for (text, kind) in cases {
        let mut spec = policy(text);
        if kind == FailureKind::MemoryLimit {
            spec.limits = Limits {
                fuel_base: 5_000_000_000,
                ..spec.limits
            };
        }
        let set = load(spec);
        let request = RecordedBody {
            bodies: [r#"{"a":1}"#, r#"{"dear":true}"#, r#"{"a":2}"#]
                .map(|json| json.as_bytes().to_vec())
                .into(),
            undecodable: vec![false; 3],
        };
        let started = Instant::now();
        let verdict = judge(&set, &request);
        println!("{kind}: {:?}", started.elapsed());
        assert_eq!(verdict.failures.len(), 1, "{text}");
        assert_eq!(
            verdict.failures[0].failure.kind, kind,
            "{:?}",
            verdict.failures
        );
        assert_eq!(verdict.failures[0].events, 1..2, "it alone");
        assert!(!verdict.events[0].1.valid && verdict.is_reproducible());
    }
}

#[test]
fn mistaken_policies_are_refused_with_their_place() {
    let cases = [
        ("deny contains {", "a.rego:2:"),
        (
            "deny contains time.now_ns()",
            "a.rego:2:15: time.now_ns reads the clock",
        ),
        ("deny contains http.send({})", "reaches the network"),
        (
            "f(x) := f(x)\ndeny contains f(1)",
            "a.rego:2:9: audit.f calls itself",
        ),
        ("a if b\nb if a\ndeny contains 1 if a", "recursion"),
        ("allow if true", "nothing would be asked"),
        (
            "deny contains 1 if to_number(\"a\")",
            "asked about an empty event: a.rego:2:",
        ),
    ];
    for (text, named) in cases {
        let error = common::load(&[policy(text)]).expect_err(text);
        let LoadProblem::PrepareRefused(reason) = &error.problem else {
            panic!("{text}: {error}")
        };
        assert!(reason.contains(named), "{text}: {reason}");
    }
    // Endless work at load time.
    let text = "deny contains 1 if { some a in numbers.range(1, 100000); \
                some b in numbers.range(1, 100000); a + b == 0 }";
    let error = common::load(&[policy(text)]).expect_err("too dear");
    assert!(matches!(error.problem, LoadProblem::Prepare(_)), "{error}");
}

#[test]
fn observing_never_refuses() {
    let set = load(PolicySpec {
        mode: Mode::Observe,
        ..policy("deny contains input.verb")
    });
    let verdict = judge(&set, &body(r#"{"verb":"get"}"#));
    assert_eq!(said(&verdict), [("rego-deny-high", true, "get")]);
}
