//! The guest over all recorded traffic, against the snapshot of the run in `bodies`.
//!
//! No event is called invalid. What is found instead, and why, is listed below: the
//! snapshot was taken 35 s into that run (06:31:36), so that what was granted and
//! taken away before is unknown to it, and what was granted for it is newer than the
//! requests. The other runs had a cluster each, with fewer bindings.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use auditchain_guest_rbac::request::Request;
use auditchain_guest_rbac::rule::RULES;
use auditchain_guest_rbac::{Rbac, organisation};
use auditchain_guest_sdk::testing::{Fixture, snapshot};
use auditchain_guest_sdk::{Guest as _, Rule, Subject};

#[path = "../../testdata.rs"]
mod testdata;

fn guest(settings: &str) -> Rbac {
    let snapshot = snapshot(testdata::read("rbac-dump.json.gz"));
    Rbac::configure(Rbac::prepare(settings, &[snapshot]).unwrap()).unwrap()
}

/// Every verdict of a run: rule, validity, the reason in words, user and URI.
fn judge(guest: &Rbac, run: &str) -> Vec<(&'static str, bool, String, String)> {
    let mut found = Vec::new();
    for events in testdata::requests(run) {
        let mut fixture = Fixture::new(0);
        for event in &events {
            fixture.push(event);
        }
        for verdict in fixture.run(guest) {
            let Subject::Event(index) = verdict.subject else {
                panic!("{verdict:?}")
            };
            let event = fixture.call().event(index).unwrap();
            let user = event.impersonated_user().unwrap_or(event.user());
            let what = format!(
                "{} {} {}",
                user.name().unwrap_or("-"),
                event.verb().unwrap_or("-"),
                event.request_uri().unwrap_or("-"),
            );
            let rule = RULES[verdict.rule as usize].id;
            found.push((rule, verdict.valid, verdict.reason, what));
        }
    }
    found
}

/// Settings with every rule of the organisation off.
fn quiet() -> String {
    let off = |rule: &Rule| format!(r#""{}":{{"enabled":false}}"#, rule.id);
    let families = organisation::RULES
        .iter()
        .filter(|rule| !rule.id.starts_with("organisation-"));
    let rules: Vec<_> = families.map(off).collect();
    format!(r#"{{"organisation":{{"rules":{{{}}}}}}}"#, rules.join(","))
}

/// How often each rule and reason was found, with the organisation's rules off.
fn comparisons(run: &str, settings: &str) -> BTreeMap<(&'static str, bool, String), usize> {
    let mut counts = BTreeMap::new();
    for (rule, valid, reason, _) in judge(&guest(settings), run) {
        *counts.entry((rule, valid, reason)).or_default() += 1;
    }
    counts
}

#[test]
fn no_recorded_event_is_called_invalid() {
    let finding = |rule, reason: &str, count| ((rule, true, reason.to_owned()), count);
    let unknown = "the snapshot has no such binding of such a role";
    let newer = "forbidden, what grants it may have changed since";
    let granted = "forbidden, though the snapshot grants it";
    for (run, expected) in [
        (
            "bodies",
            vec![
                // 4 by "temp-grant" to mallory and 1 by "backdoor" to everybody: made,
                // used and deleted before the snapshot was taken.
                finding("binding-unknown", unknown, 5),
                // Granted by bindings made for the oracle in the second of the
                // snapshot, or by roles into which CRDs were aggregated after.
                finding("decision-inconclusive", newer, 46),
            ],
        ),
        // A later run: bindings like "viewers/team-red" did not exist in it.
        (
            "blocking",
            vec![finding("decision-inconclusive", granted, 16)],
        ),
        ("truncated", vec![]),
        ("edge", vec![]),
    ] {
        let found = comparisons(run, &quiet());
        assert_eq!(found, expected.into_iter().collect(), "{run}");
    }
}

#[test]
fn with_a_snapshot_that_is_always_fresh_a_refused_grant_is_invalid() {
    let strict = quiet().replacen('{', r#"{"forbidMismatch":"invalid","#, 1);
    // What the snapshot of "bodies" grants to its forbidden requests is newer than
    // they are: no alarm even so.
    assert!(
        comparisons("bodies", &strict)
            .keys()
            .all(|(_, valid, _)| *valid)
    );
    // The snapshot is not that of "blocking": every false alarm is that.
    let found = comparisons("blocking", &strict);
    let invalid: Vec<_> = found.iter().filter(|((_, valid, _), _)| !valid).collect();
    let [((rule, ..), 16)] = invalid.as_slice() else {
        panic!("{invalid:?}")
    };
    assert_eq!(*rule, "decision-mismatch");
}

#[test]
fn the_attack_in_the_recording_is_told_by_the_organisations_rules() {
    let found = judge(&guest("{}"), "bodies");
    let told = |rule: &str| -> Vec<&str> {
        let of_rule = found.iter().filter(|(of, ..)| *of == rule);
        of_rule.map(|(.., what)| what.as_str()).collect()
    };
    let create = "create /apis/rbac.authorization.k8s.io/v1/clusterrolebindings";
    assert_eq!(
        told("cluster-admin-binding"),
        ["system:apiserver", "root-op", "alice", "mallory", "alice"]
            .map(|user| format!("{user} {create}"))
    );
    assert_eq!(
        told("anonymous-allowed"),
        ["system:anonymous list /api/v1/secrets"]
    );
    // A role of mallory's own, made and then widened by a patch.
    let of_mallory = |rule| {
        let mut uris = told(rule);
        uris.retain(|what| what.starts_with("mallory "));
        uris
    };
    let roles = "/apis/rbac.authorization.k8s.io/v1/namespaces/team-red/roles";
    assert_eq!(
        of_mallory("wildcard-role"),
        [
            format!("mallory create {roles}?fieldManager=kubectl-create&fieldValidation=Strict"),
            format!("mallory create {roles}"),
            format!("mallory patch {roles}/modest"),
        ]
    );
    assert_eq!(
        told("ephemeral-container"),
        ["alice patch /api/v1/namespaces/team-red/pods/shell/ephemeralcontainers"]
    );
    assert!(found.iter().all(|(_, valid, ..)| *valid));
}

/// How often each of the organisation's rules was found, without a snapshot.
fn told(settings: &str, run: &str) -> BTreeMap<&'static str, usize> {
    let guest = Rbac::configure(Rbac::prepare(settings, &[]).unwrap()).unwrap();
    let mut counts = BTreeMap::new();
    for (rule, valid, ..) in judge(&guest, run) {
        assert!(valid, "{rule}");
        *counts.entry(rule).or_default() += 1;
    }
    counts
}

#[test]
fn the_rules_that_are_on_are_rarely_noise() {
    for (run, expected) in [
        (
            "bodies",
            &[
                ("anonymous-allowed", 1),
                // ConfigMaps of 155 and 283 KB.
                ("body-not-examined", 2),
                ("cluster-admin-binding", 5),
                ("ephemeral-container", 1),
                ("exec-into-pod", 14),
                ("exec-role", 2),
                ("impersonation", 24),
                ("port-forward", 4),
                ("secret-read", 16),
                ("secret-read-refused", 30),
                ("wildcard-role", 14),
            ][..],
        ),
        (
            "blocking",
            &[
                ("cluster-admin-binding", 2),
                ("impersonation", 20),
                ("wildcard-role", 1),
            ],
        ),
        (
            "truncated",
            &[
                ("body-not-examined", 4),
                ("cluster-admin-binding", 2),
                ("secret-read", 1),
                ("wildcard-role", 1),
            ],
        ),
        ("edge", &[("body-not-examined", 1)]),
    ] {
        assert_eq!(told("{}", run), expected.iter().copied().collect(), "{run}");
    }
}

#[test]
fn every_family_can_be_on_and_denies_nobody() {
    let on = |rule: &Rule| match rule.id {
        "disallowed-user" => {
            r#""disallowed-user":{"except":[{"users":["system:*","alice","bob"]}]}"#.into()
        }
        "disallowed-image" => r#""disallowed-image":{"except":[{"images":["none"]}]}"#.into(),
        id if id.starts_with("untrusted-node") => {
            format!(r#""{id}":{{"except":[{{"names":["none"]}}]}}"#)
        }
        id => format!(r#""{id}":{{}}"#),
    };
    let families = organisation::RULES
        .iter()
        .filter(|rule| !rule.id.starts_with("organisation-"));
    let rules: Vec<String> = families.map(on).collect();
    // The recording is of a Saturday.
    let settings = format!(
        r#"{{"organisation":{{"workingHours":{{"from":"08:00","to":"18:00"}},"rules":{{{}}}}}}}"#,
        rules.join(",")
    );
    let found = told(&settings, "bodies");
    for (rule, count) in [
        ("cluster-role-binding-created", 34),
        ("cluster-role-binding-deleted", 2),
        ("cluster-role-created", 35),
        ("configmap-created", 33),
        ("configmap-deleted", 13),
        ("deployment-created", 2),
        ("deployment-deleted", 1),
        // 19 pods, and a container put into one.
        ("disallowed-image", 20),
        ("namespace-created", 3),
        ("role-binding-created", 44),
        ("role-created", 9),
        ("secret-created", 21),
        ("service-account-created", 15),
        ("service-created", 14),
        ("service-deleted", 1),
        ("untrusted-node", 1),
        ("write-role", 21),
    ] {
        assert_eq!(found.get(rule), Some(&count), "{rule}: {found:#?}");
    }
    assert!(found["outside-working-hours"] > 1_000 && found["disallowed-user"] > 1_000);
}

#[test]
fn without_a_snapshot_nothing_is_compared() {
    let guest = Rbac::configure(Rbac::prepare(&quiet(), &[]).unwrap()).unwrap();
    for run in testdata::RUNS {
        assert!(judge(&guest, run).is_empty(), "{run}");
    }
}

#[test]
fn uris_are_read_as_the_apiserver_read_them() {
    let mut compared = 0;
    for run in testdata::RUNS {
        for events in testdata::requests(run) {
            let mut fixture = Fixture::new(0);
            for event in &events {
                fixture.push(event);
            }
            for event in fixture
                .call()
                .events()
                .filter(|event| event.has_object_ref())
            {
                let uri = event.request_uri().unwrap();
                let request = Request::parse(uri, event.verb().unwrap_or_default());
                let of = request.resource().unwrap_or_else(|| panic!("{uri}"));
                let noted = [
                    (&of.group, event.api_group()),
                    (&of.resource, event.resource()),
                    (&of.subresource, event.subresource()),
                    (&of.namespace, event.namespace()),
                ];
                for (parsed, noted) in noted {
                    assert_eq!(parsed, noted.unwrap_or_default(), "{uri}");
                }
                // Where the request names no object, objectRef has the body's name.
                if !of.name.is_empty() {
                    assert_eq!(Some(of.name.as_str()), event.name(), "{uri}");
                }
                compared += 1;
            }
        }
    }
    assert!(compared > 5000, "{compared}");
}
