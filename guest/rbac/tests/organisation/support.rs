//! Events as an apiserver writes them, and what the guest says of them.

use auditchain_guest_rbac::Rbac;
use auditchain_guest_rbac::rule::RULES;
use auditchain_guest_sdk::Guest as _;
use auditchain_guest_sdk::testing::Fixture;
use serde_json::{Value, json};

/// A Friday at noon, UTC.
pub(crate) const FRIDAY_NOON: &str = "2026-11-20T12:00:00.000000Z";

/// An event in the making: allowed to alice and answered, at level RequestResponse.
#[derive(Clone)]
pub(crate) struct Event(Value);

impl Event {
    pub(crate) fn new(verb: &str, uri: &str) -> Self {
        let code = if verb == "create" { 201 } else { 200 };
        Self(json!({
            "kind": "Event",
            "apiVersion": "audit.k8s.io/v1",
            "level": "RequestResponse",
            "auditID": "5b2e1f0a-5a5e-4f57-9a0e-3f0c5a1f8f10",
            "stage": "ResponseComplete",
            "requestURI": uri,
            "verb": verb,
            "user": {"username": "alice", "groups": ["team-red", "system:authenticated"]},
            "sourceIPs": ["198.51.100.7", "192.0.2.10"],
            "userAgent": "kubectl/v1.36.2 (linux/amd64) kubernetes/1234567",
            "responseStatus": {"metadata": {}, "code": code},
            "requestReceivedTimestamp": FRIDAY_NOON,
            "stageTimestamp": FRIDAY_NOON,
            "annotations": {
                "authorization.k8s.io/decision": "allow",
                "authorization.k8s.io/reason": "",
            },
        }))
    }

    fn with(mut self, pointer: &str, value: Value) -> Self {
        let (parent, member) = pointer.rsplit_once('/').unwrap();
        self.0.pointer_mut(parent).unwrap()[member.replace("~1", "/")] = value;
        self
    }

    pub(crate) fn by(self, user: &str) -> Self {
        self.with("/user", json!({"username": user, "groups": []}))
    }

    pub(crate) fn in_groups(self, groups: &[&str]) -> Self {
        self.with("/user/groups", json!(groups))
    }

    pub(crate) fn impersonating(self, user: &str) -> Self {
        self.with("/impersonatedUser", json!({"username": user}))
    }

    pub(crate) fn decided(mut self, decision: Option<&str>) -> Self {
        let annotations = self.0["annotations"].as_object_mut().unwrap();
        annotations.remove("authorization.k8s.io/decision");
        if let Some(decision) = decision {
            annotations.insert("authorization.k8s.io/decision".into(), decision.into());
        }
        self
    }

    pub(crate) fn because(self, reason: &str) -> Self {
        self.with("/annotations/authorization.k8s.io~1reason", reason.into())
    }

    pub(crate) fn forbidden(self) -> Self {
        self.decided(Some("forbid")).code(403)
    }

    pub(crate) fn code(self, code: u16) -> Self {
        self.with("/responseStatus/code", code.into())
    }

    pub(crate) fn at(self, time: &str) -> Self {
        self.with("/requestReceivedTimestamp", time.into())
    }

    pub(crate) fn from(self, address: &str) -> Self {
        self.with("/sourceIPs", json!([address]))
    }

    pub(crate) fn agent(self, agent: &str) -> Self {
        self.with("/userAgent", agent.into())
    }

    /// As objectRef has it of a create.
    pub(crate) fn named(self, name: &str) -> Self {
        self.with("/objectRef", json!({"name": name}))
    }

    pub(crate) fn request(self, object: Value) -> Self {
        self.with("/requestObject", object)
    }

    pub(crate) fn response(self, object: Value) -> Self {
        self.with("/responseObject", object)
    }

    pub(crate) fn level(self, level: &str) -> Self {
        self.with("/level", level.into())
    }

    pub(crate) fn truncated(self) -> Self {
        self.with("/annotations/audit.k8s.io~1truncated", "true".into())
    }

    /// A body that is larger than is looked into.
    pub(crate) fn padded(self) -> Self {
        self.with("/padding", "x".repeat(70_000).into())
    }

    pub(crate) fn stage(self, stage: &str) -> Self {
        self.with("/stage", stage.into())
    }

    pub(crate) fn json(&self) -> String {
        self.0.to_string()
    }
}

/// A verdict as the tests look at it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Given {
    pub(crate) rule: &'static str,
    pub(crate) valid: bool,
    pub(crate) reason: String,
}

/// What the guest says of an event with these settings under `organisation`.
pub(crate) fn judge(organisation: &str, event: &Event) -> Vec<Given> {
    let settings = format!(r#"{{"organisation":{organisation}}}"#);
    let prepared = Rbac::prepare(&settings, &[]).unwrap_or_else(|error| panic!("{error}"));
    let guest = Rbac::configure(prepared).unwrap();
    let mut fixture = Fixture::new(0);
    fixture.push(event.json().as_bytes());
    let verdicts = fixture.run(&guest).into_iter();
    verdicts
        .map(|verdict| Given {
            rule: RULES[verdict.rule as usize].id,
            valid: verdict.valid,
            reason: verdict.reason,
        })
        .collect()
}

/// Why these settings are refused.
pub(crate) fn refused(organisation: &str) -> String {
    let settings = format!(r#"{{"organisation":{organisation}}}"#);
    match Rbac::prepare(&settings, &[]) {
        Ok(_) => panic!("accepted: {organisation}"),
        Err(error) => error,
    }
}
