//! Each family on events that it catches and on such that differ in what counts.

mod objects;
mod people;
mod pods;
mod rights;

use std::collections::BTreeMap;

use auditchain_guest_rbac::organisation::RULES;
use serde_json::json;

use super::support::{Event, judge};

/// A rule with its settings, events that it catches, and such that it lets pass.
struct Cases {
    rule: &'static str,
    settings: &'static str,
    caught: Vec<Event>,
    passed: Vec<Event>,
}

fn of<const C: usize, const P: usize>(
    rule: &'static str,
    settings: &'static str,
    caught: [Event; C],
    passed: [Event; P],
) -> Cases {
    Cases {
        rule,
        settings,
        caught: caught.into(),
        passed: passed.into(),
    }
}

/// Settings that don't mention the rule.
const AS_IT_COMES: &str = "";
/// Settings that mention it and say nothing else.
const ON: &str = "{}";
const HOURS: &str = r#""workingHours":{"from":"08:00","to":"18:00"}"#;
const NODE: &str = "system:node:worker-1";
const BOT: &str = "system:serviceaccount:n:bot";
const CONTROLLER: &str = "system:serviceaccount:kube-system:replicaset-controller";

#[test]
fn every_family_catches_what_it_should_and_nothing_beside() {
    let cases = [
        people::who(),
        people::into_pods(),
        pods::pods(),
        people::kube_namespaces(),
        objects::secrets(),
        rights::rights(),
        objects::outside(),
        objects::lifecycle(),
        pods::not_examined(),
    ];
    let mut seen: BTreeMap<&str, [usize; 2]> = BTreeMap::new();
    for cases in cases.into_iter().flatten() {
        let Cases { rule, settings, .. } = cases;
        let seen = seen.entry(rule).or_default();
        seen[0] += cases.caught.len();
        seen[1] += cases.passed.len();
        let settings = match settings {
            AS_IT_COMES => "{}".into(),
            settings => format!(r#"{{{HOURS},"rules":{{"{rule}":{settings}}}}}"#),
        };
        let events = cases.caught.iter().map(|event| (event, 1));
        for (event, expected) in events.chain(cases.passed.iter().map(|event| (event, 0))) {
            let given = judge(&settings, event);
            let caught = given.iter().filter(|given| given.rule == rule).count();
            assert_eq!(caught, expected, "{rule} {}: {given:?}", event.json());
            assert!(given.iter().all(|given| given.valid), "{given:?}");
        }
    }
    for rule in RULES {
        if rule.id.starts_with("organisation-") {
            continue;
        }
        let [caught, passed] = seen.get(rule.id).copied().unwrap_or_default();
        assert!(caught > 0 && passed > 0, "{} has no test", rule.id);
    }
}

#[test]
fn a_finding_says_who_did_what() {
    let reason = |event: &Event| judge("{}", event).remove(0).reason;
    let exec = Event::new("create", "/api/v1/namespaces/n/pods/p/exec");
    assert_eq!(reason(&exec), "alice: create pods/exec n/p");
    let privileged = pods::create_pod(
        &json!({"initContainers": [{"name": "i", "securityContext": {"privileged": true}}]}),
    );
    assert_eq!(
        reason(&privileged),
        r#"alice: create pods n/p: container "i""#
    );
    let anonymous = Event::new("get", "/metrics?x").impersonating("system:anonymous");
    assert_eq!(
        reason(&anonymous),
        "alice as system:anonymous: get /metrics"
    );
    let padded = pods::create_pod(&json!({})).padded();
    let reason = reason(&padded);
    assert!(
        reason.contains("too many to look into: privileged-pod, host-network-pod"),
        "{reason}"
    );
}
