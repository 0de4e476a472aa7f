//! The example policy on recorded traffic: what it should find it finds, nothing is
//! called invalid for no reason, and no event is too much for it.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::time::Instant;

use auditchain_guest_rego::Rego;
use auditchain_guest_rego::rule::RULES;
use auditchain_guest_sdk::testing::Fixture;
use auditchain_guest_sdk::types::Verdict;
use auditchain_guest_sdk::{Guest as _, Subject};
use serde_json::Value;

#[path = "../../testdata.rs"]
mod testdata;

fn settings() -> Value {
    let example = include_str!("../../../policies/examples/rego.yaml");
    let mut policy: Value = serde_saphyr::from_str(example).unwrap();
    policy["spec"]["settings"].take()
}

fn guest(settings: &Value) -> Rego {
    Rego::configure(Rego::prepare(&settings.to_string(), &[]).unwrap()).unwrap()
}

fn judge(guest: &Rego, events: &[Vec<u8>]) -> Vec<Verdict> {
    let mut fixture = Fixture::new(1_800_000_000_000_000);
    for event in events {
        fixture.push(event);
    }
    fixture.run(guest)
}

/// How often each rule spoke, over a whole run.
fn counts(guest: &Rego, run: &str) -> BTreeMap<&'static str, usize> {
    let mut counts = BTreeMap::new();
    for events in testdata::requests(run) {
        for verdict in judge(guest, &events) {
            *counts.entry(RULES[verdict.rule as usize].id).or_default() += 1;
        }
    }
    counts
}

#[test]
fn the_example_calls_no_recorded_event_invalid() {
    let guest = guest(&settings());
    for run in testdata::RUNS.into_iter().filter(|run| *run != "edge") {
        let counts = counts(&guest, run);
        assert!(
            counts.keys().all(|rule| rule.starts_with("rego-warn-")),
            "{run}: {counts:?}"
        );
        if run == "bodies" {
            assert_eq!(counts["rego-warn-low"], 4, "images without a tag");
            assert_eq!(counts["rego-warn-medium"], 44, "secrets read by people");
        }
    }
}

#[test]
fn exec_and_images_are_denied_where_it_is_production() {
    let mut settings = settings();
    settings["data"]["production"] = serde_json::json!(["team-*"]);
    let counts_without = counts(&guest(&settings), "bodies");
    assert_eq!(counts_without["rego-deny-critical"], 38);
    assert_eq!(counts_without["rego-deny-high"], 4);
    // On call, as is everybody who is authenticated.
    settings["data"]["onCall"] = serde_json::json!(["system:authenticated"]);
    let counts_with = counts(&guest(&settings), "bodies");
    assert_eq!(counts_with.get("rego-deny-critical"), None);
    assert_eq!(
        counts_with["rego-deny-high"],
        counts_without["rego-deny-high"]
    );
}

#[test]
fn hostile_bodies_are_invalid_and_cost_no_neighbour() {
    let guest = guest(&settings());
    let mut unreadable = 0;
    for events in testdata::requests("edge") {
        let verdicts = judge(&guest, &events);
        for verdict in &verdicts {
            let Subject::Event(event) = verdict.subject else {
                panic!("{verdict:?}")
            };
            let rule = RULES[verdict.rule as usize].id;
            if rule == "rego-input" {
                assert!(!verdict.valid);
                unreadable += 1;
            } else {
                assert!(rule.starts_with("rego-warn-"), "{event}: {verdict:?}");
            }
        }
    }
    // Of the cases of cases.json, those that nest too deep or are no JSON to serde.
    assert_eq!(unreadable, 7);
}

/// Not a benchmark; it shows the order of magnitude with `--nocapture`.
#[test]
fn setting_up_costs_little_beside_judging() {
    let prepared = Rego::prepare(&settings().to_string(), &[]).unwrap();
    let started = Instant::now();
    let guest = Rego::configure(prepared).unwrap();
    let configured = started.elapsed();
    let requests = testdata::requests("bodies");
    let events: usize = requests.iter().map(Vec::len).sum();
    let started = Instant::now();
    for events in &requests {
        judge(&guest, events);
    }
    println!(
        "configure {configured:?}, judge {:?} an event",
        started.elapsed() / u32::try_from(events).unwrap()
    );
}
