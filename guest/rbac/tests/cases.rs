//! RBAC case by case, as Kubernetes documents and implements it: what a role grants,
//! to whom, where, and how that shows in an audit event.
#![allow(clippy::unwrap_used)]

use auditchain_guest_rbac::Rbac;
use auditchain_guest_rbac::compile::{Prepared, prepare};
use auditchain_guest_rbac::evaluate::{Action, Who};
use auditchain_guest_rbac::request::Request;
use auditchain_guest_rbac::rule::RULES;
use auditchain_guest_sdk::Guest as _;
use auditchain_guest_sdk::testing::{self, Fixture};

const READ_PODS: &str = r#"[{"verbs":["get","list"],"apiGroups":[""],"resources":["pods"]}]"#;

/// A snapshot of some objects; every cluster has more than these.
fn snapshot(objects: &[String]) -> String {
    let born_with = r#"{"kind":"ClusterRole","metadata":{"name":"born"}},
        {"kind":"ClusterRoleBinding","metadata":{"name":"born"},"roleRef":{"kind":"ClusterRole","name":"born"}}"#;
    let objects: String = objects.iter().map(|object| format!(",{object}")).collect();
    format!(r#"{{"items":[{born_with}{objects}]}}"#)
}

fn object(kind: &str, namespace: &str, name: &str, more: &str) -> String {
    format!(
        r#"{{"kind":"{kind}","metadata":{{"name":"{name}","namespace":"{namespace}",
            "creationTimestamp":"2026-01-01T00:00:00Z"}},{more}}}"#
    )
}

fn binding(kind: &str, namespace: &str, role_kind: &str, subject: &str) -> String {
    let more = format!(
        r#""roleRef":{{"apiGroup":"rbac.authorization.k8s.io","kind":"{role_kind}","name":"r"}},"subjects":[{subject}]"#
    );
    object(kind, namespace, "b", &more)
}

const USER: &str = r#"{"kind":"User","name":"u"}"#;

/// Rules of a ClusterRole that a ClusterRoleBinding gives to user "u".
fn everywhere(rules: &str) -> String {
    snapshot(&[
        object("ClusterRole", "", "r", &format!(r#""rules":{rules}"#)),
        binding("ClusterRoleBinding", "", "ClusterRole", USER),
    ])
}

fn granted_to(snapshot: &str, user: &str, groups: &[&str], verb: &str, uri: &str) -> bool {
    let prepared = prepare("{}", &[testing::snapshot(snapshot)]).unwrap();
    let tables = Prepared::read(&prepared).unwrap().snapshots[0].tables;
    let request = Request::parse(uri, verb);
    assert!(!request.uncertain, "{uri}");
    let who = Who {
        name: user,
        groups: groups.to_vec(),
    };
    let action = Action::new(tables, verb, &request);
    action.granted_to(&who).next().is_some()
}

fn granted(snapshot: &str, verb: &str, uri: &str) -> bool {
    granted_to(snapshot, "u", &[], verb, uri)
}

/// Asserts which of some requests a snapshot grants to "u".
fn check(snapshot: &str, cases: &[(&str, &str, bool)]) {
    for (verb, uri, expected) in cases {
        assert_eq!(granted(snapshot, verb, uri), *expected, "{verb} {uri}");
    }
}

#[test]
fn nothing_is_granted_that_no_rule_allows() {
    check(
        &everywhere(READ_PODS),
        &[
            ("get", "/api/v1/namespaces/n/pods/p", true),
            ("list", "/api/v1/pods", true),
            ("delete", "/api/v1/namespaces/n/pods/p", false),
            ("get", "/api/v1/namespaces/n/secrets/p", false),
            ("get", "/apis/metrics.k8s.io/v1/namespaces/n/pods/p", false),
            ("get", "/api/v1/pods/p/log", false),
        ],
    );
    assert!(!granted_to(
        &everywhere(READ_PODS),
        "x",
        &[],
        "list",
        "/api/v1/pods"
    ));
}

#[test]
fn list_does_not_cover_watch() {
    check(
        &everywhere(READ_PODS),
        &[
            ("list", "/api/v1/pods", true),
            ("watch", "/api/v1/pods?watch=true", false),
        ],
    );
}

#[test]
fn everything_is_case_sensitive() {
    check(
        &everywhere(
            r#"[{"verbs":["Get"],"apiGroups":["Apps"],"resources":["Pods"],"resourceNames":["A"]}]"#,
        ),
        &[
            ("Get", "/apis/Apps/v1/namespaces/n/Pods/A", true),
            ("get", "/apis/Apps/v1/namespaces/n/Pods/A", false),
            ("Get", "/apis/apps/v1/namespaces/n/Pods/A", false),
            ("Get", "/apis/Apps/v1/namespaces/n/pods/A", false),
            ("Get", "/apis/Apps/v1/namespaces/n/Pods/a", false),
        ],
    );
    assert!(!granted_to(
        &everywhere(READ_PODS),
        "U",
        &[],
        "list",
        "/api/v1/pods"
    ));
}

#[test]
fn a_star_stands_for_verb_group_and_resource_with_subresources() {
    let log = "/api/v1/namespaces/n/pods/p/log";
    let scale = "/apis/apps/v1/namespaces/n/deployments/d/scale";
    let star = r#"[{"verbs":["*"],"apiGroups":["*"],"resources":["*"]}]"#;
    check(
        &everywhere(star),
        &[
            ("patch", scale, true),
            ("get", log, true),
            ("get", "/metrics", false),
        ],
    );
    let resources = r#"[{"verbs":["get"],"apiGroups":[""],"resources":["*"]}]"#;
    check(
        &everywhere(resources),
        &[
            ("get", log, true),
            ("get", scale, false),
            ("list", "/api/v1/pods", false),
        ],
    );
}

#[test]
fn a_subresource_is_not_covered_by_its_resource_nor_by_resource_star() {
    let log = "/api/v1/namespaces/n/pods/p/log";
    let pod = "/api/v1/namespaces/n/pods/p";
    let of = |resource: &str| {
        everywhere(&format!(
            r#"[{{"verbs":["get"],"apiGroups":[""],"resources":["{resource}"]}}]"#
        ))
    };
    check(&of("pods"), &[("get", pod, true), ("get", log, false)]);
    check(&of("pods/log"), &[("get", pod, false), ("get", log, true)]);
    check(&of("pods/*"), &[("get", pod, false), ("get", log, false)]);
}

#[test]
fn star_scale_covers_the_subresource_of_every_resource_and_nothing_else() {
    let rules = r#"[{"verbs":["update"],"apiGroups":["apps"],"resources":["*/scale"]}]"#;
    check(
        &everywhere(rules),
        &[
            (
                "update",
                "/apis/apps/v1/namespaces/n/deployments/d/scale",
                true,
            ),
            (
                "update",
                "/apis/apps/v1/namespaces/n/statefulsets/d/scale",
                true,
            ),
            ("update", "/apis/apps/v1/namespaces/n/deployments/d", false),
            (
                "update",
                "/apis/apps/v1/namespaces/n/deployments/d/status",
                false,
            ),
            (
                "update",
                "/api/v1/namespaces/n/replicationcontrollers/d/scale",
                false,
            ),
        ],
    );
}

#[test]
fn names_allow_a_list_only_with_a_field_selector() {
    let rules =
        r#"[{"verbs":["*"],"apiGroups":[""],"resources":["secrets"],"resourceNames":["a"]}]"#;
    let secrets = "/api/v1/namespaces/n/secrets";
    let selected = "/api/v1/namespaces/n/secrets?fieldSelector=metadata.name%3Da";
    check(
        &everywhere(rules),
        &[
            ("get", "/api/v1/namespaces/n/secrets/a", true),
            ("get", "/api/v1/namespaces/n/secrets/b", false),
            ("list", selected, true),
            ("watch", selected, true),
            (
                "list",
                "/api/v1/secrets?fieldSelector=metadata.name%3Da",
                true,
            ),
            ("list", secrets, false),
            (
                "list",
                "/api/v1/namespaces/n/secrets?fieldSelector=metadata.name%3Db",
                false,
            ),
            (
                "list",
                "/api/v1/namespaces/n/secrets?fieldSelector=metadata.namespace%3Da",
                false,
            ),
            // Never, whatever is selected.
            ("deletecollection", selected, false),
            // A create has its name in the body, which nobody has read yet.
            ("create", secrets, false),
            ("create", selected, false),
        ],
    );
}

#[test]
fn a_star_among_names_is_a_name() {
    let rules = r#"[{"verbs":["get","list"],"apiGroups":[""],"resources":["secrets"],"resourceNames":["*"]}]"#;
    check(
        &everywhere(rules),
        &[
            ("get", "/api/v1/namespaces/n/secrets/a", false),
            ("list", "/api/v1/namespaces/n/secrets", false),
        ],
    );
    let none = r#"[{"verbs":["get"],"apiGroups":[""],"resources":["secrets"],"resourceNames":[]}]"#;
    check(
        &everywhere(none),
        &[("get", "/api/v1/namespaces/n/secrets/a", true)],
    );
}

#[test]
fn paths_are_exact_or_prefixes_and_apart_from_resources() {
    let rules = r#"[{"verbs":["get"],"nonResourceURLs":["/foo/*","/bar"]}]"#;
    check(
        &everywhere(rules),
        &[
            ("get", "/foo/bar", true),
            ("get", "/foo/", true),
            ("get", "/foo", false),
            ("get", "/bar?x=/baz", true),
            ("get", "/bar/", false),
            ("post", "/foo/bar", false),
            ("get", "/api/v1/pods", false),
        ],
    );
    let star = r#"[{"verbs":["*"],"nonResourceURLs":["*"]}]"#;
    check(
        &everywhere(star),
        &[
            ("put", "/anything", true),
            ("get", "/", true),
            ("get", "/api/v1/pods/p", false),
        ],
    );
}

#[test]
fn a_cluster_role_by_a_role_binding_grants_in_that_namespace_alone() {
    let rules = r#""rules":[{"verbs":["*"],"apiGroups":["*"],"resources":["*"]},{"verbs":["*"],"nonResourceURLs":["*"]}]"#;
    let snapshot = snapshot(&[
        object("ClusterRole", "", "r", rules),
        binding("RoleBinding", "ns1", "ClusterRole", USER),
    ]);
    check(
        &snapshot,
        &[
            ("get", "/api/v1/namespaces/ns1/pods/p", true),
            ("get", "/api/v1/namespaces/ns1", true),
            ("get", "/api/v1/namespaces/ns2/pods/p", false),
            ("list", "/api/v1/pods", false),
            ("get", "/api/v1/nodes/w", false),
            ("get", "/metrics", false),
        ],
    );
}

#[test]
fn a_role_is_found_in_its_namespace_alone_and_a_dangling_one_is_skipped() {
    let rules = format!(r#""rules":{READ_PODS}"#);
    let role = |namespace| object("Role", namespace, "r", &rules);
    let of = |kind, namespace, role_kind| binding(kind, namespace, role_kind, USER);
    let uri = "/api/v1/namespaces/n/pods/p";
    for (objects, expected) in [
        (vec![role("n"), of("RoleBinding", "n", "Role")], true),
        (vec![role("m"), of("RoleBinding", "n", "Role")], false),
        (vec![of("RoleBinding", "n", "Role")], false),
        (vec![of("ClusterRoleBinding", "", "ClusterRole")], false),
        // A ClusterRoleBinding can't give a Role, a Role is no ClusterRole.
        (vec![role("n"), of("ClusterRoleBinding", "", "Role")], false),
        (
            vec![role("n"), of("RoleBinding", "n", "ClusterRole")],
            false,
        ),
    ] {
        let shown = format!("{objects:?}");
        assert_eq!(
            granted(&snapshot(&objects), "get", uri),
            expected,
            "{shown}"
        );
    }
}

#[test]
fn subjects() {
    let role = || object("ClusterRole", "", "r", &format!(r#""rules":{READ_PODS}"#));
    let with = |kind: &str, namespace: &str, subject: &str| {
        snapshot(&[role(), binding(kind, namespace, "ClusterRole", subject)])
    };
    let uri = "/api/v1/namespaces/n/pods/p";
    let by_group = with("ClusterRoleBinding", "", r#"{"kind":"Group","name":"g"}"#);
    assert!(granted_to(&by_group, "x", &["f", "g"], "get", uri));
    assert!(!granted_to(&by_group, "g", &["f"], "get", uri));
    // An apiGroup is not compared; an unknown kind matches nobody.
    let odd = with(
        "ClusterRoleBinding",
        "",
        r#"{"kind":"User","apiGroup":"odd","name":"u"}"#,
    );
    assert!(granted(&odd, "get", uri));
    let unknown = with("ClusterRoleBinding", "", r#"{"kind":"Robot","name":"u"}"#);
    assert!(!granted_to(&unknown, "u", &["u"], "get", uri));

    let bot = "system:serviceaccount:n:bot";
    let account =
        |namespace: &str| format!(r#"{{"kind":"ServiceAccount","name":"bot"{namespace}}}"#);
    let own = account("");
    let stated = account(r#","namespace":"n""#);
    let empty = account(r#","namespace":"""#);
    for (kind, namespace, subject, expected) in [
        // The binding's namespace stands in for one that is missing or empty.
        ("RoleBinding", "n", &own, true),
        ("RoleBinding", "n", &empty, true),
        ("RoleBinding", "n", &stated, true),
        ("ClusterRoleBinding", "", &stated, true),
        // Where there is none to stand in, nobody is meant.
        ("ClusterRoleBinding", "", &own, false),
        ("ClusterRoleBinding", "", &empty, false),
    ] {
        let snapshot = with(kind, namespace, subject);
        assert_eq!(
            granted_to(&snapshot, bot, &[], "get", uri),
            expected,
            "{kind} {subject}"
        );
        assert!(!granted_to(&snapshot, "bot", &[], "get", uri));
        assert!(!granted_to(
            &snapshot,
            "system:serviceaccount:m:bot",
            &[],
            "get",
            uri
        ));
        assert!(!granted_to(
            &snapshot,
            "system:serviceaccount::bot",
            &[],
            "get",
            uri
        ));
    }
    // A user may be bound by the user name of a service account.
    let by_name = format!(r#"{{"kind":"User","name":"{bot}"}}"#);
    assert!(granted_to(
        &with("RoleBinding", "n", &by_name),
        bot,
        &[],
        "get",
        uri
    ));
}

#[test]
fn of_an_aggregated_role_the_rules_as_they_stand_count() {
    let selector = r#""aggregationRule":{"clusterRoleSelectors":[{"matchLabels":{"to":"r"}}]}"#;
    let part = r#"{"kind":"ClusterRole","metadata":{"name":"part","labels":{"to":"r"}},
        "rules":[{"verbs":["get"],"apiGroups":[""],"resources":["secrets"]}]}"#;
    let snapshot = snapshot(&[
        object(
            "ClusterRole",
            "",
            "r",
            &format!(r#"{selector},"rules":{READ_PODS}"#),
        ),
        part.into(),
        binding("ClusterRoleBinding", "", "ClusterRole", USER),
    ]);
    check(
        &snapshot,
        &[
            ("list", "/api/v1/pods", true),
            ("get", "/api/v1/namespaces/n/secrets/s", false),
        ],
    );
}

/// What is said of an event of "u" that names binding "b"; `more` is put into it.
fn judge(snapshot: &str, verb: &str, uri: &str, more: &str) -> Vec<(&'static str, bool)> {
    let event = format!(
        r#"{{"stage":"ResponseComplete","level":"Metadata","verb":"{verb}","requestURI":"{uri}",
        "requestReceivedTimestamp":"2026-11-20T12:00:00.000000Z","user":{{"username":"u"}},{more}}}"#
    );
    let mut fixture = Fixture::new(0);
    fixture.push(event.as_bytes());
    let prepared = Rbac::prepare("{}", &[testing::snapshot(snapshot)]).unwrap();
    let verdicts = fixture.run(&Rbac::configure(prepared).unwrap()).into_iter();
    let comparing = verdicts.map(|verdict| (RULES[verdict.rule as usize].id, verdict.valid));
    comparing
        .filter(|(rule, _)| rule.starts_with("binding") || rule.starts_with("decision"))
        .collect()
}

const ALLOWED: &str = r#""annotations":{"authorization.k8s.io/decision":"allow",
    "authorization.k8s.io/reason":"RBAC: allowed by ClusterRoleBinding \"b\" of ClusterRole \"r\" to User \"u\""}"#;
const NO_GRANT: (&str, bool) = ("binding-does-not-grant", false);

#[test]
fn the_name_that_object_ref_has_from_the_body_grants_nothing() {
    let rules = r#"[{"verbs":["create","update"],"apiGroups":[""],"resources":["secrets"],"resourceNames":["a"]}]"#;
    let named = format!(
        r#"{ALLOWED},"objectRef":{{"resource":"secrets","namespace":"n","name":"a","apiVersion":"v1"}},"responseStatus":{{"code":200}}"#
    );
    let snapshot = everywhere(rules);
    let one = "/api/v1/namespaces/n/secrets/a";
    assert_eq!(judge(&snapshot, "update", one, &named), []);
    assert_eq!(
        judge(&snapshot, "create", "/api/v1/namespaces/n/secrets", &named),
        [NO_GRANT]
    );
}

#[test]
fn the_binding_that_is_named_must_grant_whatever_others_do() {
    let uri = "/api/v1/namespaces/n/pods/p";
    let code = format!(r#"{ALLOWED},"responseStatus":{{"code":200}}"#);
    let rules = |rules: &str| format!(r#""rules":{rules}"#);
    let other = |rules_of_other: &str, rules_of_named: &str| {
        snapshot(&[
            object("ClusterRole", "", "r", &rules(rules_of_named)),
            object("ClusterRole", "", "other", &rules(rules_of_other)),
            binding("ClusterRoleBinding", "", "ClusterRole", USER),
            object(
                "ClusterRoleBinding",
                "",
                "a",
                &format!(
                    r#""roleRef":{{"kind":"ClusterRole","name":"other"}},"subjects":[{USER}]"#
                ),
            ),
        ])
    };
    assert_eq!(judge(&other(READ_PODS, READ_PODS), "get", uri, &code), []);
    assert_eq!(judge(&other("[]", READ_PODS), "get", uri, &code), []);
    assert_eq!(
        judge(&other(READ_PODS, "[]"), "get", uri, &code),
        [NO_GRANT]
    );
}

#[test]
fn an_allowed_request_may_be_answered_403_by_admission() {
    let answered = format!(r#"{ALLOWED},"responseStatus":{{"code":403}}"#);
    let snapshot = everywhere(READ_PODS);
    assert_eq!(
        judge(&snapshot, "get", "/api/v1/namespaces/n/pods/p", &answered),
        []
    );
}

#[test]
fn where_nothing_was_decided_nothing_is_compared() {
    let snapshot = everywhere(READ_PODS);
    for code in [401, 429] {
        let more = format!(r#""responseStatus":{{"code":{code}}}"#);
        assert_eq!(
            judge(&snapshot, "delete", "/api/v1/nodes/w", &more),
            [],
            "{code}"
        );
    }
}

#[test]
fn a_decision_is_about_the_impersonated_user() {
    let more = format!(
        r#"{},"impersonatedUser":{{"username":"v"}},"responseStatus":{{"code":200}}"#,
        ALLOWED.replace(r#"User \"u\""#, r#"User \"v\""#)
    );
    let of_v = |user: &str| {
        snapshot(&[
            object("ClusterRole", "", "r", &format!(r#""rules":{READ_PODS}"#)),
            binding(
                "ClusterRoleBinding",
                "",
                "ClusterRole",
                &USER.replace("\"u\"", user),
            ),
        ])
    };
    let uri = "/api/v1/namespaces/n/pods/p";
    assert_eq!(judge(&of_v("\"v\""), "get", uri, &more), []);
    assert_eq!(judge(&of_v("\"u\""), "get", uri, &more), [NO_GRANT]);
}
