use serde_json::{Value, json};

use super::*;

fn refusal(settings: &Value) -> String {
    prepare(&settings.to_string()).expect_err(&settings.to_string())
}

fn module(text: &str) -> Value {
    json!({"modules": {"a.rego": text}})
}

fn accepted(settings: &Value) -> Vec<String> {
    let prepared = prepare(&settings.to_string()).unwrap();
    let policy = Policy::read(&prepared).unwrap();
    policy
        .entry_points
        .into_iter()
        .map(|entry| entry.path)
        .collect()
}

#[test]
fn mistakes_are_named_by_file_line_and_column() {
    let cases = [
        ("package audit\ndeny contains { x", "a.rego:2:18: expecting"),
        ("package audit\n\ndeny contains x if y > 1", "a.rego:3:"),
        ("deny contains 1", "a.rego:1:"),
        (
            "package audit\ndeny[msg] { msg := 1 }",
            "a.rego:2:11: `if` keyword",
        ),
        (
            "package audit\ndeny contains f(1)",
            "a.rego:2:15: there is no function f here",
        ),
        (
            "package audit\ndeny contains 1 if { input.x; yaml.marshal(1) }",
            "a.rego:2:31: there is no function yaml.marshal here",
        ),
        (
            "package audit\nimport data.lib\ndeny contains 1 if lib.f(1)",
            "there is no function data.lib.f here",
        ),
    ];
    for (text, named) in cases {
        let error = refusal(&module(text));
        assert!(error.contains(named), "{text}: {error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}

#[test]
fn what_is_no_function_of_the_event_is_refused_and_named() {
    for call in [
        "time.now_ns()",
        "rand.intn(\"a\", 7)",
        "uuid.rfc4122(\"a\")",
        "http.send({\"method\": \"get\", \"url\": \"http://192.0.2.1\"})",
        "opa.runtime()",
        "net.lookup_ip_addr(\"example.com\")",
    ] {
        let (name, _) = call.split_once('(').unwrap();
        // Also where no event would ever lead to it, and in whatever it is wrapped.
        for body in [
            format!("x := {call}"),
            format!("input.never; not {call}"),
            format!("every y in [1] {{ y == {{z | z := {call}}} }}"),
            format!("count([1 | {call}]) > 0"),
        ] {
            let error = refusal(&module(&format!(
                "package audit\ndeny contains 1 if {{ {body} }}"
            )));
            assert!(error.starts_with("a.rego:2:"), "{error}");
            assert!(
                error.contains(name) && error.contains("event alone"),
                "{error}"
            );
        }
    }
}

/// The engine itself must not have them: the list above is for the message only.
#[test]
fn the_engine_has_nothing_impure() {
    for name in [
        "time.now_ns",
        "time.parse_ns",
        "rand.intn",
        "uuid.rfc4122",
        "http.send",
        "opa.runtime",
        "net.lookup_ip_addr",
    ] {
        assert!(!is_builtin(name), "{name}");
    }
    for name in [
        "count",
        "sprintf",
        "glob.match",
        "regex.match",
        "time.clock",
        "walk",
        "print",
    ] {
        assert!(is_builtin(name), "{name}");
    }
    assert!(!is_builtin("count() == 1; count"));
}

#[test]
fn recursion_is_refused() {
    for text in [
        "f(x) := f(x + 1)\ndeny contains 1 if f(1)",
        "f(x) := g(x)\ng(x) := data.audit.h(x)\nh(x) := f(x)\ndeny contains 1 if input.never",
        "a if b\nb if a\ndeny contains 1 if a",
    ] {
        let error = refusal(&module(&format!("package audit\n{text}")));
        assert!(error.contains("recursion"), "{error}");
    }
    // A diamond is none.
    let text = "package audit\nf(x) := x\ng(x) := f(x)\nh(x) := f(x) + g(x)\ndeny contains h(1)";
    assert_eq!(accepted(&module(text)), ["data.audit.deny"]);
}

#[test]
fn a_policy_that_would_ask_nothing_is_refused() {
    let text = "package audit\nallow if true\ndenied contains 1\ndeny(x) := x";
    assert!(refusal(&module(text)).contains("nothing would be asked"));
    let with_query = |query: &str| {
        let mut settings = module(text);
        settings["query"] = query.into();
        settings
    };
    assert_eq!(accepted(&with_query("data.audit.allow")), [""; 0]);
    assert!(refusal(&with_query("data.audit.alow")).contains("data.audit.alow"));
    assert!(refusal(&with_query("1 + 1")).contains("1 + 1"));
}

#[test]
fn packages_choose_what_is_asked() {
    let modules = json!({
        "b.rego": "package team.audit\nimport data.lib.helpers as h\nviolation_x contains 1 if h.f(2)",
        "a.rego": "package lib.helpers\nf(x) := x\nwarn contains 1",
        "c.rego": "package team.audit\ndeny contains 3\nviolation_x contains 4",
        "d.rego": "package other[\"a-b\"]\nwarn_of[k] := v if { some k, v in {\"a\": 1} }",
    });
    let asked = |packages: &[&str]| {
        let settings = json!({"modules": modules, "packages": packages});
        prepare(&settings.to_string()).map(|prepared| {
            let policy = Policy::read(&prepared).unwrap();
            policy
                .entry_points
                .into_iter()
                .map(|entry| entry.path)
                .collect::<Vec<_>>()
        })
    };
    let all = [
        "data.lib.helpers.warn",
        "data.other[\"a-b\"].warn_of",
        "data.team.audit.deny",
        "data.team.audit.violation_x",
    ];
    assert_eq!(asked(&[]).unwrap(), all);
    assert_eq!(asked(&["team.audit"]).unwrap(), all[2..]);
    assert_eq!(asked(&["data.team.audit", "lib.helpers"]).unwrap().len(), 3);
    assert!(asked(&["audit"]).unwrap_err().contains("package audit"));
}

#[test]
fn settings_are_checked() {
    assert!(refusal(&json!({})).contains("modules is empty"));
    assert!(refusal(&json!({"module": {}})).contains("module"));
    let with = |name: &str, value: Value| {
        let mut settings = module("package audit\ndeny contains 1");
        settings[name] = value;
        settings
    };
    assert!(refusal(&with("data", json!([]))).contains("data must be an object"));
    assert!(refusal(&with("regoVersion", json!("v2"))).contains("v2"));
    assert!(refusal(&with("onUnreadable", json!("allow"))).contains("allow"));
    let conflict = refusal(&with("data", json!({"audit": {"deny": []}})));
    assert!(conflict.contains("audit.deny"), "{conflict}");
    assert_eq!(
        accepted(&with("data", json!({"audit": {"teams": []}}))).len(),
        1
    );
    let long = "#".repeat(200 << 10);
    assert!(refusal(&json!({"modules": {"long.rego": long}})).contains("long.rego"));
    let many: serde_json::Map<_, _> = (0..65)
        .map(|number| (number.to_string(), json!("package a")))
        .collect();
    assert!(refusal(&json!({"modules": many})).contains("at most 64"));
    assert!(refusal(&json!({"modules": {"a\nb": ""}})).contains("control"));
    assert!(Policy::read(b"{}").is_err());
}

#[test]
fn the_older_language_is_read_where_it_is_asked_for() {
    let mut settings = module(
        "package audit\nis_exec { input.objectRef.subresource == \"exec\" }\n\
         violation[{\"msg\": msg}] { is_exec; msg := \"exec\" }",
    );
    assert!(refusal(&settings).contains("`if` keyword"));
    settings["regoVersion"] = "v0".into();
    assert_eq!(accepted(&settings), ["data.audit.violation"]);
}

#[test]
fn what_fails_on_every_event_fails_at_once() {
    let text = "package audit\ndeny contains 1 if to_number(object.get(input, \"x\", \"-\")) > 1";
    let mut settings = module(text);
    let error = refusal(&settings);
    assert!(
        error.contains("empty event") && error.contains("a.rego:2:"),
        "{error}"
    );
    settings["builtinErrors"] = "undefined".into();
    assert_eq!(accepted(&settings).len(), 1);
}
