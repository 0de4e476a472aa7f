//! Who changed something in a namespace that only few may change?
//!
//! An example to start from. A policy is a pure function of the events that it is given:
//! no clock, no network, nothing kept from call to call. `docs/plugins.md` of auditchain
//! says what an event has and how a verdict counts.
#![cfg_attr(test, allow(clippy::unwrap_used))]

use auditchain_guest_sdk::{
    Call, Description, Event, Guest, Rule, Severity, Stage, Verdicts, export_guest, settings,
};
use serde::Deserialize;

/// The log names rules by their id: it stays, even if the title changes.
const FOREIGN_WRITE: Rule = Rule::new(
    "foreign-write",
    Severity::High,
    "A protected namespace was changed by someone who is not on the list",
);

/// Verbs that change something.
const WRITES: [&str; 5] = ["create", "update", "patch", "delete", "deletecollection"];

/// What the policy's file says under `settings`. A key that is misspelt refuses the policy.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
struct Settings {
    /// Namespaces that only `users` may change.
    namespaces: Vec<String>,
    /// Names as they stand in the events, `system:serviceaccount:NAMESPACE:NAME` of a
    /// service account.
    users: Vec<String>,
}

/// The policy, with its settings.
#[derive(Debug)]
pub struct ProtectedNamespaces(Settings);

impl Guest for ProtectedNamespaces {
    const DESCRIPTION: Description = Description::new(
        env!("CARGO_PKG_NAME"),
        env!("CARGO_PKG_VERSION"),
        &[FOREIGN_WRITE],
    );

    fn configure(prepared: Vec<u8>) -> Result<Self, String> {
        let read: Settings = settings(&prepared)?;
        if read.namespaces.is_empty() {
            return Err("settings: namespaces: name at least one".into());
        }
        Ok(Self(read))
    }

    fn verify(&self, call: &Call<'_>, verdicts: &mut Verdicts) {
        for event in call.events() {
            if let Some(reason) = self.foreign_write(&event) {
                // Refused where the policy's mode is enforce, noted where it is observe.
                verdicts.invalid(event.subject(), &FOREIGN_WRITE, reason);
            }
        }
    }
}

impl ProtectedNamespaces {
    /// The rule: why this event breaks it, in words for people.
    fn foreign_write(&self, event: &Event<'_>) -> Option<String> {
        let Settings { namespaces, users } = &self.0;
        // A request has an event for each of its stages; the last one says how it ended.
        let done = event.stage() == Stage::ResponseComplete && event.code() < Some(400);
        let (verb, namespace) = (event.verb()?, event.namespace()?);
        let protected = namespaces.iter().any(|name| name == namespace);
        if !done || !protected || !WRITES.contains(&verb) {
            return None;
        }
        let user = event.user().name().unwrap_or("nobody");
        let allowed = users.iter().any(|name| name == user);
        (!allowed).then(|| format!("{user} may not {verb} in namespace {namespace}"))
    }
}

export_guest!(ProtectedNamespaces);

#[cfg(test)]
mod tests {
    use auditchain_guest_sdk::testing::Fixture;

    use super::*;

    fn findings(user: &str, verb: &str, namespace: &str) -> Vec<String> {
        let settings = br#"{"namespaces": ["kube-system"], "users": ["admin"]}"#;
        let policy = ProtectedNamespaces::configure(settings.to_vec()).unwrap();
        let mut events = Fixture::new(0);
        events.push(
            format!(
                r#"{{"auditID": "a", "stage": "ResponseComplete", "verb": "{verb}",
                "user": {{"username": "{user}"}}, "responseStatus": {{"code": 200}},
                "objectRef": {{"resource": "pods", "namespace": "{namespace}"}}}}"#
            )
            .as_bytes(),
        );
        let verdicts = events.run(&policy);
        verdicts.into_iter().map(|verdict| verdict.reason).collect()
    }

    #[test]
    fn a_foreign_write_is_found() {
        let found = findings("mallory", "delete", "kube-system");
        assert_eq!(found, ["mallory may not delete in namespace kube-system"]);
    }

    #[test]
    fn what_is_allowed_is_not() {
        assert!(findings("admin", "delete", "kube-system").is_empty());
        assert!(findings("mallory", "get", "kube-system").is_empty());
        assert!(findings("mallory", "delete", "default").is_empty());
    }

    #[test]
    fn a_mistake_in_the_settings_refuses_the_policy() {
        for settings in ["{}", r#"{"namespace": ["kube-system"]}"#] {
            assert!(ProtectedNamespaces::configure(settings.into()).is_err());
        }
    }
}
