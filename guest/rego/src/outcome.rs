//! What the value of a rule says about an event.
//!
//! As conftest and Gatekeeper have it: `deny`, `violation` and `warn` are sets whose
//! entries are messages or objects with `msg`. Whatever else such a rule yields is said
//! as its JSON: a policy that found something must not go unheard for the form of it.

use auditchain_guest_sdk::Severity;
use regorus::Value;
use serde::{Deserialize, Serialize};

/// What a rule's name makes of its entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// `deny`, `violation`: the event is not valid.
    Deny,
    /// `warn`: a finding on a valid event.
    Warn,
}

impl Kind {
    /// `deny`, `violation` and `warn`, also with a suffix: `deny_exec`.
    #[must_use]
    pub fn of_rule(name: &str) -> Option<Self> {
        let stem = name.split_once('_').map_or(name, |(stem, _)| stem);
        match stem {
            "deny" | "violation" => Some(Self::Deny),
            "warn" => Some(Self::Warn),
            _ => None,
        }
    }

    /// Of an entry that states none.
    #[must_use]
    pub fn severity(self) -> Severity {
        match self {
            Self::Deny => Severity::High,
            Self::Warn => Severity::Medium,
        }
    }
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// In words.
    pub text: String,
    /// As the entry states it.
    pub severity: Option<Severity>,
}

impl Entry {
    fn plain(text: String) -> Self {
        Self {
            text,
            severity: None,
        }
    }
}

/// The entries of a rule's value, in their order. Undefined and false say nothing.
#[must_use]
pub fn entries(path: &str, value: &Value) -> Vec<Entry> {
    match value {
        Value::Undefined | Value::Bool(false) => Vec::new(),
        Value::Bool(true) => vec![Entry::plain(format!("{path} is true"))],
        Value::Set(set) => set.iter_sorted().map(entry).collect(),
        Value::Array(array) => array.iter().map(entry).collect(),
        Value::Object(object) if object.get(&"msg".into()).is_none() => object
            .iter_sorted()
            .filter_map(|(key, value)| keyed_entry(&text(key), value))
            .collect(),
        value => vec![entry(value)],
    }
}

/// Since OPA 1.0 `deny[msg] if { ... }` is an object from the messages to `true`.
fn keyed_entry(key: &str, value: &Value) -> Option<Entry> {
    match value {
        Value::Undefined | Value::Bool(false) => None,
        Value::Bool(true) => Some(Entry::plain(key.to_owned())),
        value => {
            let Entry { text, severity } = entry(value);
            let text = format!("{key}: {text}");
            Some(Entry { text, severity })
        }
    }
}

fn entry(value: &Value) -> Entry {
    let member = |name: &str| value.as_object().ok()?.get(&name.into());
    let Some(msg) = member("msg") else {
        return Entry::plain(text(value));
    };
    let mut said = text(msg);
    let severity = member("severity").map(|stated| (stated, severity(stated)));
    if let Some((stated, None)) = severity {
        said.push_str(&format!(" (severity {} is none)", text(stated)));
    }
    if let Some(details) = member("details") {
        said.push_str(&format!(" {}", text(details)));
    }
    Entry {
        text: said,
        severity: severity.and_then(|(_, severity)| severity),
    }
}

fn severity(stated: &Value) -> Option<Severity> {
    const NAMES: [(&str, Severity); 5] = [
        ("info", Severity::Info),
        ("low", Severity::Low),
        ("medium", Severity::Medium),
        ("high", Severity::High),
        ("critical", Severity::Critical),
    ];
    let stated = stated.as_string().ok()?;
    let mut names = NAMES.into_iter();
    let (_, severity) = names.find(|(name, _)| stated.eq_ignore_ascii_case(name))?;
    Some(severity)
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.to_string(),
        value => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(json: &str) -> Vec<(String, Option<Severity>)> {
        let value = Value::from_json_str(json).unwrap();
        entries("data.audit.deny", &value)
            .into_iter()
            .map(|entry| (entry.text, entry.severity))
            .collect()
    }

    fn plain(texts: &[&str]) -> Vec<(String, Option<Severity>)> {
        texts.iter().map(|text| ((*text).into(), None)).collect()
    }

    #[test]
    fn names_with_a_suffix_count_and_others_do_not() {
        for name in ["deny", "violation", "deny_exec", "violation_2"] {
            assert_eq!(Kind::of_rule(name), Some(Kind::Deny), "{name}");
        }
        assert_eq!(Kind::of_rule("warn_latest"), Some(Kind::Warn));
        for name in ["denied", "allow", "warning", "_deny", "Deny", ""] {
            assert_eq!(Kind::of_rule(name), None, "{name}");
        }
    }

    #[test]
    fn every_form_is_heard() {
        assert_eq!(said("[]"), []);
        assert_eq!(said("{}"), []);
        assert_eq!(said("false"), []);
        assert_eq!(said("true"), plain(&["data.audit.deny is true"]));
        assert_eq!(said(r#"["a","b"]"#), plain(&["a", "b"]));
        assert_eq!(said(r#""a""#), plain(&["a"]));
        assert_eq!(
            said(r#"{"a":true,"b":false,"c":"d"}"#),
            plain(&["a", "c: d"])
        );
        assert_eq!(
            said("[null,7,{\"x\":1}]"),
            plain(&["null", "7", "{\"x\":1}"])
        );
        assert_eq!(said("null"), plain(&["null"]));
    }

    #[test]
    fn objects_state_severity_and_details() {
        assert_eq!(
            said(r#"[{"msg":"a","severity":"Critical","details":{"x":1}},{"msg":["b"]}]"#),
            [
                ("a {\"x\":1}".into(), Some(Severity::Critical)),
                ("[\"b\"]".into(), None)
            ]
        );
        // A complete rule that is one entry.
        assert_eq!(
            said(r#"{"msg":"a","severity":"low"}"#),
            [("a".into(), Some(Severity::Low))]
        );
        assert_eq!(
            said(r#"[{"msg":"a","severity":"urgent"}]"#),
            plain(&["a (severity urgent is none)"])
        );
    }
}
