//! 851 real SubjectAccessReviews, asked of an apiserver in the state of the snapshot:
//! the evaluator gives the same answer to each.
#![allow(clippy::unwrap_used)]

use auditchain_guest_rbac::compile::{Prepared, prepare};
use auditchain_guest_rbac::evaluate::{Action, Who};
use auditchain_guest_rbac::reason::Grant;
use auditchain_guest_rbac::request::{Request, Resource, Target};
use auditchain_guest_rbac::rule::MASTERS;
use auditchain_guest_sdk::testing::snapshot;
use serde::Deserialize;

#[path = "../../testdata.rs"]
#[expect(dead_code, reason = "only the files, not the traffic")]
mod testdata;

#[derive(Deserialize)]
struct Review {
    spec: Spec,
    status: Status,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    #[serde(default)]
    user: String,
    #[serde(default)]
    groups: Vec<String>,
    resource_attributes: Option<ResourceAttributes>,
    non_resource_attributes: Option<NonResourceAttributes>,
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct ResourceAttributes {
    verb: String,
    group: String,
    resource: String,
    subresource: String,
    namespace: String,
    name: String,
}

#[derive(Deserialize)]
struct NonResourceAttributes {
    #[serde(default)]
    verb: String,
    #[serde(default)]
    path: String,
}

#[derive(Deserialize)]
struct Status {
    allowed: bool,
    #[serde(default)]
    reason: String,
}

#[test]
fn every_review_is_answered_alike() {
    let prepared = prepare("{}", &[snapshot(testdata::read("rbac-dump.json.gz"))]).unwrap();
    let tables = Prepared::read(&prepared).unwrap().snapshots[0].tables;
    let reviews = testdata::read("sar-oracle.jsonl.gz");
    let (mut allowed, mut denied, mut named) = (0, 0, 0);
    for line in reviews
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
    {
        let Review { spec, status } = serde_json::from_slice(line).unwrap();
        let shown = String::from_utf8_lossy(line);
        let who = Who {
            name: &spec.user,
            groups: spec.groups.iter().map(String::as_str).collect(),
        };
        let (verb, target) = match (spec.resource_attributes, spec.non_resource_attributes) {
            (Some(of), None) => (
                of.verb,
                Target::Resource(Resource {
                    group: of.group,
                    resource: of.resource,
                    subresource: of.subresource,
                    namespace: of.namespace,
                    name: of.name,
                }),
            ),
            (None, Some(of)) => (of.verb, Target::Path(of.path)),
            _ => panic!("{shown}"),
        };
        let request = Request {
            target,
            uncertain: false,
        };
        let action = Action::new(tables, &verb, &request);
        let granting: Vec<_> = action.granted_to(&who).collect();
        let answer = who.in_group(MASTERS) || !granting.is_empty();
        assert_eq!(answer, status.allowed, "{shown}");
        if !answer {
            denied += 1;
            continue;
        }
        allowed += 1;
        let Some(grant) = Grant::parse(&status.reason) else {
            assert!(who.in_group(MASTERS) && status.reason.is_empty(), "{shown}");
            continue;
        };
        named += 1;
        let namespace = grant.namespace.unwrap_or_default();
        let binding = tables.find_binding(
            tables.find(namespace.as_bytes()),
            tables.find(grant.binding.as_bytes()),
        );
        assert!(granting.contains(&binding.unwrap()), "{shown}");
    }
    assert_eq!((allowed, denied), (349, 502));
    assert!(named > 300, "{named}");
}
