use auditchain_guest_sdk::Guest as _;
use auditchain_guest_sdk::testing::Fixture;
use auditchain_guest_sdk::types::Verdict;
use serde_json::{Value, json};

use super::*;
use crate::Rego;

fn guest(settings: &Value) -> Rego {
    Rego::configure(Rego::prepare(&settings.to_string(), &[]).unwrap()).unwrap()
}

fn said(verdicts: &[Verdict]) -> Vec<(bool, &'static str, &str)> {
    verdicts
        .iter()
        .map(|verdict| {
            let rule = RULES[verdict.rule as usize].id;
            (verdict.valid, rule, verdict.reason.as_str())
        })
        .collect()
}

fn judge(settings: &Value, event: &[u8]) -> Vec<Verdict> {
    let mut fixture = Fixture::new(1_700_000_000_000_000);
    fixture.push(event);
    fixture.run(&guest(settings))
}

fn audit(text: &str) -> Value {
    json!({"modules": {"a.rego": format!("package audit\n{text}")}})
}

#[test]
fn deny_makes_invalid_and_warn_does_not() {
    let settings = audit(
        "deny contains {\"msg\": \"d\", \"severity\": \"low\"} if input.verb == \"get\"\n\
         violation contains {\"msg\": \"v\", \"details\": {\"a\": 1}} if input.verb == \"get\"\n\
         warn contains \"w\" if input.verb == \"get\"\n\
         warn contains \"x\" if input.verb == \"list\"",
    );
    assert_eq!(
        said(&judge(&settings, br#"{"verb":"get"}"#)),
        [
            (false, "rego-deny-high", "v {\"a\":1}"),
            (false, "rego-deny-low", "d"),
            (true, "rego-warn-medium", "w"),
        ]
    );
    assert_eq!(
        said(&judge(&settings, br#"{"verb":"list"}"#)),
        [(true, "rego-warn-medium", "x")]
    );
    assert_eq!(said(&judge(&settings, br#"{"verb":"watch"}"#)), []);
}

#[test]
fn every_severity_has_its_rule() {
    let names = ["info", "low", "medium", "high", "critical"];
    for (index, name) in names.iter().enumerate() {
        for kind in ["deny", "warn"] {
            let settings = audit(&format!(
                "{kind} contains {{\"msg\": \"m\", \"severity\": \"{name}\"}}"
            ));
            let verdicts = judge(&settings, b"{}");
            let rule = RULES[verdicts[0].rule as usize];
            assert_eq!(rule.id, format!("rego-{kind}-{name}"));
            assert_eq!(rule.severity as usize, index);
        }
    }
}

#[test]
fn a_query_must_be_true() {
    let mut settings = audit("default allow := false\nallow if input.verb == \"get\"");
    settings["query"] = "data.audit.allow".into();
    assert_eq!(said(&judge(&settings, br#"{"verb":"get"}"#)), []);
    assert_eq!(
        said(&judge(&settings, br#"{"verb":"list"}"#)),
        [(false, "rego-not-allowed", "data.audit.allow is false")]
    );
    let mut settings = audit("allow := input.verb");
    settings["query"] = "data.audit.allow".into();
    for (event, reason) in [
        (&b"{}"[..], "data.audit.allow is undefined"),
        (br#"{"verb":"true"}"#, "data.audit.allow is \"true\""),
    ] {
        assert_eq!(
            said(&judge(&settings, event)),
            [(false, "rego-not-allowed", reason)]
        );
    }
}

#[test]
fn an_error_makes_invalid_and_costs_no_other_rule() {
    let settings = audit(
        "deny contains 1 if to_number(input.verb) > 1\n\
         deny_other contains \"other\"\n\
         conflicting := 1 if input.verb\nconflicting := 2 if input.verb\n\
         warn contains conflicting",
    );
    let verdicts = judge(&settings, br#"{"verb":"get"}"#);
    let said = said(&verdicts);
    assert_eq!(said.len(), 3);
    for (valid, rule, _) in &said {
        assert!(!valid, "{rule}");
    }
    assert_eq!(
        said.iter()
            .filter(|(_, rule, _)| *rule == "rego-error")
            .count(),
        2
    );
    assert!(
        said.iter()
            .any(|(.., reason)| reason.starts_with("a.rego:2:"))
    );
    assert!(said.contains(&(false, "rego-deny-high", "other")));
}

#[test]
fn a_builtin_error_is_undefined_where_it_is_asked_for() {
    let mut settings = audit("deny contains 1 if to_number(input.verb) > 1\ndeny contains 2");
    settings["builtinErrors"] = "undefined".into();
    assert_eq!(
        said(&judge(&settings, br#"{"verb":"get"}"#)),
        [(false, "rego-deny-high", "2")]
    );
}

#[test]
fn what_no_policy_can_be_asked_about_is_invalid_unless_set_otherwise() {
    let mut settings = audit("deny contains 1 if input.verb == \"delete\"");
    let deep = format!(
        r#"{{"verb":"get","requestObject":{}{}}}"#,
        "[".repeat(120),
        "]".repeat(120)
    );
    let long = format!(
        r#"{{"verb":"get","x":"{}"}}"#,
        "x".repeat(crate::input::MAX_INPUT_BYTES)
    );
    for event in [
        deep.as_bytes(),
        long.as_bytes(),
        b"{\"verb\":\"\xff\"}",
        b"{",
    ] {
        let verdicts = judge(&settings, event);
        assert_eq!(verdicts.len(), 1);
        assert!(!verdicts[0].valid);
        assert_eq!(RULES[verdicts[0].rule as usize], INPUT);
    }
    settings["onUnreadable"] = "warn".into();
    let verdicts = judge(&settings, deep.as_bytes());
    assert!(verdicts[0].valid && verdicts[0].reason.contains("100 levels"));
}

#[test]
fn the_host_takes_what_is_said_however_much_it_is() {
    let settings = audit(
        "warn contains msg if { some n in numbers.range(1, 50); msg := sprintf(\"w%d\", [n]) }\n\
         deny contains {\"msg\": msg, \"severity\": \"critical\"} if { some n in [1, 2]; msg := sprintf(\"d%d\", [n]) }\n\
         violation contains concat(\"\", [\"\u{e9}\" | some _ in numbers.range(1, 2000)])",
    );
    let verdicts = judge(&settings, b"{}");
    assert_eq!(verdicts.len(), MAX_FINDINGS);
    let said = said(&verdicts);
    assert_eq!(said[0], (false, "rego-deny-critical", "d1"));
    assert_eq!(said[1], (false, "rego-deny-critical", "d2"));
    assert_eq!(said[2].2.len(), MAX_REASON_BYTES);
    assert!(said[3..].iter().all(|(valid, ..)| *valid));
    assert!(said[7].2.ends_with(" (and 45 more)"), "{}", said[7].2);
}

#[test]
fn the_input_is_the_event_and_what_the_log_knows() {
    let settings = audit("warn contains input");
    // A member of our name is replaced: an event can't pose as of another source.
    let event = br#"{"auditchain":{"source":"other"},"n":1.5,"user":{"groups":["b","a"]}}"#;
    let verdicts = judge(&settings, event);
    let input: Value = serde_json::from_str(&verdicts[0].reason).unwrap();
    assert_eq!(
        input,
        json!({
            "auditchain": {"source": "test", "blockTimeNs": 1_700_000_000_000_000_000_i64},
            "n": 1.5,
            "user": {"groups": ["b", "a"]},
        })
    );
}

#[test]
fn an_event_leaves_nothing_behind_for_the_next() {
    let settings = audit(
        "known contains input.user.username\nwarn contains known\n\
         deny contains \"two\" if count(known) > 1",
    );
    let guest = guest(&settings);
    let events: Vec<_> = ["a", "b", "c", "a"]
        .map(|name| json!({"user": {"username": name}}).to_string())
        .into();
    let run = |events: &[String]| {
        let mut fixture = Fixture::new(0);
        for event in events {
            fixture.push(event.as_bytes());
        }
        fixture
            .run(&guest)
            .into_iter()
            .map(|verdict| verdict.reason)
            .collect::<Vec<_>>()
    };
    let whole = run(&events);
    assert_eq!(whole, ["[\"a\"]", "[\"b\"]", "[\"c\"]", "[\"a\"]"]);
    let alone: Vec<_> = events.chunks(1).flat_map(run).collect();
    assert_eq!(whole, alone);
}
