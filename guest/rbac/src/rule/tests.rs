use auditchain_guest_sdk::testing::{Fixture, snapshot};
use auditchain_guest_sdk::{Guest as _, RbacSnapshot, Verdict, timestamp};

use super::*;
use crate::Rbac;

/// Everything was made at 06:00; "late" changed at 06:30:55.
const SNAPSHOT: &str = r#"{"kind":"List","items":[
    {"kind":"ClusterRole","metadata":{"name":"view","creationTimestamp":"2026-11-21T06:00:00Z"},
     "rules":[{"verbs":["get","list"],"apiGroups":["","apps"],"resources":["pods","*/scale"]},
              {"verbs":["get"],"nonResourceURLs":["/metrics/*"]},
              {"verbs":["get","list","deletecollection"],"apiGroups":[""],"resources":["secrets"],"resourceNames":["a"]}]},
    {"kind":"ClusterRole","metadata":{"name":"imp","creationTimestamp":"2026-11-21T06:00:00Z"},
     "rules":[{"verbs":["impersonate"],"apiGroups":[""],"resources":["users"],"resourceNames":["ann"]},
              {"verbs":["impersonate"],"apiGroups":["authentication.k8s.io"],"resources":["userextras/scopes"]}]},
    {"kind":"ClusterRoleBinding","metadata":{"name":"all","creationTimestamp":"2026-11-21T06:00:00Z"},
     "roleRef":{"kind":"ClusterRole","name":"view"},"subjects":[{"kind":"Group","name":"staff"}]},
    {"kind":"ClusterRoleBinding","metadata":{"name":"imp","creationTimestamp":"2026-11-21T06:00:00Z"},
     "roleRef":{"kind":"ClusterRole","name":"imp"},"subjects":[{"kind":"User","name":"bob"}]},
    {"kind":"RoleBinding","metadata":{"name":"ns","namespace":"n1","creationTimestamp":"2026-11-21T06:00:00Z"},
     "roleRef":{"kind":"ClusterRole","name":"view"},
     "subjects":[{"kind":"User","name":"ann"},{"kind":"ServiceAccount","name":"bot"}]},
    {"kind":"RoleBinding","metadata":{"name":"late","namespace":"n1","creationTimestamp":"2026-11-21T06:00:00Z",
      "managedFields":[{"time":"2026-11-21T06:10:00Z"},{"time":"2026-11-21T06:30:55Z"}]},
     "roleRef":{"kind":"ClusterRole","name":"view"},"subjects":[{"kind":"User","name":"lea"}]}
]}"#;

struct Case {
    user: &'static str,
    groups: &'static str,
    verb: &'static str,
    uri: &'static str,
    decision: &'static str,
    reason: String,
    code: u32,
    more: &'static str,
}

impl Case {
    fn new(user: &'static str, verb: &'static str, uri: &'static str) -> Self {
        Self {
            user,
            groups: "",
            verb,
            uri,
            decision: "allow",
            reason: String::new(),
            code: 200,
            more: "",
        }
    }

    fn by(mut self, binding: &str, to: &str) -> Self {
        let kind = if binding.contains('/') {
            "RoleBinding"
        } else {
            "ClusterRoleBinding"
        };
        self.reason =
            format!(r#"RBAC: allowed by {kind} "{binding}" of ClusterRole "view" to {to}"#);
        self
    }

    fn forbidden(mut self) -> Self {
        (self.decision, self.code) = ("forbid", 403);
        self
    }

    fn judge_with(&self, settings: &str) -> Vec<(&'static str, Verdict)> {
        self.judge_by(settings, &[snapshot(SNAPSHOT)])
    }

    fn judge_by(&self, settings: &str, snapshots: &[RbacSnapshot]) -> Vec<(&'static str, Verdict)> {
        let event = serde_json::json!({
            "stage": "ResponseComplete",
            "requestReceivedTimestamp": "2026-11-21T06:31:00.000000Z",
            "verb": self.verb,
            "requestURI": self.uri,
            "user": {"username": self.user, "groups": self.groups.split_terminator(',').collect::<Vec<_>>()},
            "responseStatus": {"code": self.code},
            "annotations": {
                "authorization.k8s.io/decision": self.decision,
                "authorization.k8s.io/reason": self.reason,
            },
        });
        let event = event
            .to_string()
            .replacen('{', &format!("{{{}", self.more), 1);
        let mut fixture = Fixture::new(0);
        fixture.push(event.as_bytes());
        let prepared = Rbac::prepare(settings, snapshots).unwrap();
        let verdicts = fixture.run(&Rbac::configure(prepared).unwrap());
        verdicts
            .into_iter()
            .map(|verdict| (RULES[verdict.rule as usize].id, verdict))
            .collect()
    }

    fn judge(&self) -> Vec<(&'static str, bool)> {
        let given = self.judge_with("{}");
        given
            .into_iter()
            .map(|(rule, verdict)| (rule, verdict.valid))
            .collect()
    }
}

const PODS: &str = "/api/v1/namespaces/n1/pods";
const MISMATCH: (&str, bool) = ("decision-mismatch", false);
const NO_GRANT: (&str, bool) = ("binding-does-not-grant", false);
const INCONCLUSIVE: (&str, bool) = ("decision-inconclusive", true);

#[test]
fn what_the_snapshot_grants_agrees() {
    let ann = r#"User "ann""#;
    assert_eq!(Case::new("ann", "list", PODS).by("ns/n1", ann).judge(), []);
    let mut group = Case::new("zoe", "get", "/metrics/slis").by("all", r#"Group "staff""#);
    group.groups = "other,staff";
    assert_eq!(group.judge(), []);
    let bot = "system:serviceaccount:n1:bot";
    let account = Case::new(
        bot,
        "get",
        "/apis/apps/v1/namespaces/n1/deployments/d/scale",
    );
    assert_eq!(
        account.by("ns/n1", r#"ServiceAccount "bot/n1""#).judge(),
        []
    );
    // By name only with that name, and by selector as by path.
    let selected = "/api/v1/namespaces/n1/secrets?fieldSelector=metadata.name%3Da";
    let case = Case::new("ann", "list", selected).by("ns/n1", ann);
    assert_eq!(case.judge(), [("secret-read", true)]);
}

#[test]
fn a_binding_that_does_not_grant_is_invalid() {
    let ann = r#"User "ann""#;
    for (verb, uri) in [
        ("watch", PODS),
        ("get", "/api/v1/namespaces/n1/pods/p/log"),
        ("get", "/apis/batch/v1/namespaces/n1/pods"),
        (
            "deletecollection",
            "/api/v1/namespaces/n1/secrets?fieldSelector=metadata.name%3Da",
        ),
        ("get", "/api/v1/namespaces/n1/secrets/b"),
    ] {
        let given = Case::new("ann", verb, uri).by("ns/n1", ann).judge();
        assert_eq!(given[0], NO_GRANT, "{verb} {uri}");
    }
    // A RoleBinding gives nothing elsewhere.
    for uri in [
        "/api/v1/namespaces/n2/pods",
        "/api/v1/pods",
        "/metrics/slis",
    ] {
        let given = Case::new("ann", "list", uri).by("ns/n1", ann).judge();
        assert_eq!(given, [NO_GRANT], "{uri}");
    }
}

#[test]
fn a_reason_about_somebody_else_is_invalid_even_if_its_binding_is_unknown() {
    for (binding, to) in [
        ("ns/n1", r#"User "ann""#),
        ("gone", r#"Group "staff""#),
        ("gone/n1", r#"ServiceAccount "mallory/n1""#),
    ] {
        let given = Case::new("mallory", "list", PODS).by(binding, to).judge();
        assert_eq!(given, [NO_GRANT], "{to}");
    }
    // The named subject is the user, but the binding isn't for him.
    let given = Case::new("mallory", "list", PODS)
        .by("ns/n1", r#"User "mallory""#)
        .judge();
    assert_eq!(given, [NO_GRANT]);
}

#[test]
fn what_the_snapshot_does_not_know_is_inconclusive() {
    let unknown = Case::new("ann", "list", PODS).by("gone/n1", r#"User "ann""#);
    assert_eq!(unknown.judge(), [("binding-unknown", true)]);
    let mut other_role = Case::new("ann", "list", PODS).by("ns/n1", r#"User "ann""#);
    other_role.reason = other_role.reason.replace("view", "edit");
    assert_eq!(other_role.judge(), [("binding-unknown", true)]);
    // Changed 5 s before the request; the lag is 10 s.
    let late = Case::new("lea", "watch", PODS).by("late/n1", r#"User "lea""#);
    assert_eq!(late.judge(), [INCONCLUSIVE]);
    let sure = late.judge_with(r#"{"lagSeconds":4}"#);
    assert_eq!(sure[0].0, NO_GRANT.0);
}

#[test]
fn an_allow_without_a_reason_needs_one() {
    let case = Case::new("mallory", "list", PODS);
    assert_eq!(case.judge(), [MISMATCH]);
    assert_eq!(
        case.judge_with(r#"{"otherAuthorizers":true}"#)[0].0,
        INCONCLUSIVE.0
    );
    assert_eq!(Case::new("mallory", "get", "/healthz").judge(), []);
    assert_eq!(
        Case::new("mallory", "get", "/healthz/etcd").judge(),
        [MISMATCH]
    );
    for groups in ["system:masters", "system:nodes"] {
        let mut case = Case::new("system:node:a", "list", PODS);
        case.groups = groups;
        assert_eq!(case.judge(), [], "{groups}");
    }
    let mut iam = Case::new("mallory", "list", PODS);
    iam.reason = "access granted by IAM permissions.".into();
    assert_eq!(iam.judge(), [INCONCLUSIVE]);
}

#[test]
fn a_forbidden_request() {
    assert_eq!(Case::new("mallory", "list", PODS).forbidden().judge(), []);
    let mut answered = Case::new("mallory", "list", PODS).forbidden();
    answered.code = 200;
    assert_eq!(answered.judge(), [MISMATCH]);
    // Granted: the snapshot may be older than a revocation, unless told otherwise.
    let strict = r#"{"forbidMismatch":"invalid"}"#;
    let granted = Case::new("ann", "list", PODS).forbidden();
    assert_eq!(granted.judge(), [INCONCLUSIVE]);
    let given = granted.judge_with(strict);
    assert_eq!((given[0].0, given[0].1.valid), MISMATCH);
    let late = Case::new("lea", "list", PODS).forbidden();
    assert_eq!(late.judge_with(strict)[0].0, INCONCLUSIVE.0);
    let mut elsewhere = Case::new("ann", "list", PODS).forbidden();
    elsewhere.reason = "denied by policy webhook".into();
    assert!(elsewhere.judge_with(strict).is_empty());
}

#[test]
fn the_decision_is_about_the_impersonated_user() {
    let judge = |user, more| {
        let mut case = Case::new(user, "list", PODS).by("ns/n1", r#"User "ann""#);
        case.more = more;
        case.judge()
    };
    let observed = ("impersonation", true);
    let unexplained = ("impersonation-not-granted", true);
    let ann = r#""impersonatedUser":{"username":"ann","groups":["system:authenticated"]},"#;
    assert_eq!(judge("bob", ann), [observed]);
    assert_eq!(judge("mallory", ann), [unexplained, observed]);
    for (more, granted) in [
        (
            r#""impersonatedUser":{"username":"ann","extra":{"scopes":["x"]}},"#,
            true,
        ),
        (
            r#""impersonatedUser":{"username":"ann","extra":{"other":["x"]}},"#,
            false,
        ),
        (r#""impersonatedUser":{"username":"ann","uid":"7"},"#, false),
        (
            r#""impersonatedUser":{"username":"ann","groups":["staff"]},"#,
            false,
        ),
        (
            r#""impersonatedUser":{"username":"ann","uid":"7"},
               "authenticationMetadata":{"impersonationConstraint":"impersonate:user-info"},"#,
            true,
        ),
    ] {
        let expected: &[_] = if granted {
            &[observed]
        } else {
            &[unexplained, observed]
        };
        assert_eq!(judge("bob", more), expected, "{more}");
    }
}

#[test]
fn events_before_or_without_a_decision_are_skipped() {
    let case = Case::new("mallory", "list", PODS);
    for (from, to) in [
        ("ResponseComplete", "RequestReceived"),
        ("authorization.k8s.io/decision", "other"),
        ("requestURI", "other"),
    ] {
        let given = {
            let mut fixture = Fixture::new(0);
            let event = r#"{"stage":"ResponseComplete","verb":"list","requestURI":"/api/v1/pods",
                "annotations":{"authorization.k8s.io/decision":"allow"}}"#;
            fixture.push(event.replace(from, to).as_bytes());
            let prepared = Rbac::prepare("{}", &[snapshot(SNAPSHOT)]).unwrap();
            fixture.run(&Rbac::configure(prepared).unwrap())
        };
        assert!(given.is_empty(), "{to}");
    }
    assert_eq!(
        case.judge(),
        [MISMATCH],
        "the same event is judged otherwise"
    );
}

#[test]
fn a_binding_to_cluster_admin_is_found_in_request_or_response_whatever_its_size() {
    let judge = |more: &str| {
        let uri = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/b";
        let mut case = Case::new("root", "patch", uri);
        (case.groups, case.more) = ("system:masters", String::from(more).leak());
        case.judge()
    };
    let found = [("cluster-admin-binding", true)];
    let of = |role: &str| format!(r#"{{"roleRef":{{"kind":"ClusterRole","name":"{role}"}}}}"#);
    let admin = of("cluster-admin");
    assert_eq!(judge(&format!(r#""requestObject":{admin},"#)), found);
    let patched = format!(r#""requestObject":[7,"\ud800"],"responseObject":{admin},"#);
    assert_eq!(judge(&patched), found);
    assert_eq!(judge(&format!(r#""requestObject":{},"#, of("view"))), []);
    let padded = format!(
        r#""requestObject":{admin},"padding":"{}","#,
        "x".repeat(70_000)
    );
    assert_eq!(judge(&padded), found);
}

/// A request is judged by the snapshot of its time; what another one that may have counted
/// says takes away the certainty, never adds some.
#[test]
fn each_request_is_judged_by_the_snapshot_of_its_time() {
    const MINUTE: i64 = 60_000_000;
    // 2026-11-21T06:31:00Z, when the cases' requests are received.
    let at = timestamp("2026-11-21T06:31:00.000000Z").unwrap();
    let without = SNAPSHOT.replace(r#""name":"staff""#, r#""name":"others""#);
    let with = |from: i64| RbacSnapshot {
        in_force_from: at + from,
        json: SNAPSHOT.into(),
    };
    let without = |from: i64| RbacSnapshot {
        in_force_from: at + from,
        json: without.clone().into(),
    };
    let judge = |snapshots: &[RbacSnapshot]| {
        let case = Case {
            groups: "staff",
            ..Case::new("ann", "get", "/api/v1/namespaces/n2/pods/p").by("all", "Group \"staff\"")
        };
        let given = case.judge_by("{}", snapshots);
        given
            .into_iter()
            .map(|(rule, verdict)| (rule, verdict.valid))
            .collect::<Vec<_>>()
    };
    let invalid = [("binding-does-not-grant", false)];
    let inconclusive = [("decision-inconclusive", true)];
    // One alone holds for all times.
    assert!(judge(&[with(5 * MINUTE)]).is_empty());
    assert_eq!(judge(&[without(5 * MINUTE)]), invalid);
    // The one in force grants: whatever others say.
    assert!(judge(&[without(-9 * MINUTE), with(-5 * MINUTE), without(5 * MINUTE)]).is_empty());
    // It doesn't, and neither does the next.
    let both = [with(-9 * MINUTE), without(-5 * MINUTE), without(5 * MINUTE)];
    assert_eq!(judge(&both), invalid);
    // It doesn't, but the next one does: it changed in between.
    assert_eq!(
        judge(&[without(-5 * MINUTE), with(5 * MINUTE)]),
        inconclusive
    );
    // It doesn't, but the one before it did, within the time that caches lag.
    assert_eq!(
        judge(&[with(-5 * MINUTE), without(-MINUTE / 10)]),
        inconclusive
    );
    assert_eq!(judge(&[with(-5 * MINUTE), without(-MINUTE)]), invalid);
}
