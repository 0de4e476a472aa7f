//! What a real apiserver sent: every event splits off, has a canonical form that means
//! the same to another reader, and shows the same fields.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod recorded;

use auditchain_log::json::{EventView, UserView, canonicalize, split_event_list};
use serde_json::Value;

/// An event without a canonical form: its body, its index there, and why.
type Refused = (String, usize, &'static str);

/// Checks all events of a body against serde_json; returns how many there are.
fn check(name: &str, body: &[u8], refused: &mut Vec<Refused>) -> usize {
    let list: Value = serde_json::from_slice(body).unwrap();
    let expected = list["items"].as_array().unwrap();
    let split = split_event_list(body).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!(split.items.len(), expected.len(), "{name}");
    for (i, (raw, value)) in split.items.iter().zip(expected).enumerate() {
        let what = format!("{name}, event {i}");
        assert_view(&EventView::read(raw), value, &what);
        let mut canonical = Vec::new();
        if let Err(error) = canonicalize(raw, &mut canonical) {
            refused.push((name.to_owned(), i, error.code()));
            continue;
        }
        assert_eq!(
            &serde_json::from_slice::<Value>(&canonical).unwrap(),
            value,
            "{what}"
        );
        let oracle = serde_json_canonicalizer::to_vec(value).unwrap();
        assert!(
            canonical == oracle,
            "{what}: another canonical form than the oracle's"
        );
        assert_eq!(EventView::read(&canonical), EventView::read(raw), "{what}");
    }
    expected.len()
}

fn assert_view(view: &EventView<'_>, event: &Value, what: &str) {
    for (field, pointer) in [
        (&view.audit_id, "/auditID"),
        (&view.stage, "/stage"),
        (&view.level, "/level"),
        (&view.verb, "/verb"),
        (&view.request_uri, "/requestURI"),
        (&view.user_agent, "/userAgent"),
        (
            &view.decision,
            "/annotations/authorization.k8s.io~1decision",
        ),
        (&view.reason, "/annotations/authorization.k8s.io~1reason"),
    ] {
        assert_eq!(field.as_deref(), text(event, pointer), "{what}: {pointer}");
    }
    assert_user(&view.user, &event["user"], what);
    assert_eq!(
        view.impersonated_user.is_some(),
        event["impersonatedUser"].is_object(),
        "{what}"
    );
    if let Some(user) = &view.impersonated_user {
        assert_user(user, &event["impersonatedUser"], what);
    }
    assert_eq!(view.source_ips, texts(&event["sourceIPs"]), "{what}");
    assert_eq!(
        view.object_ref.is_some(),
        event["objectRef"].is_object(),
        "{what}"
    );
    if let Some(object) = &view.object_ref {
        for (field, name) in [
            (&object.api_group, "/apiGroup"),
            (&object.api_version, "/apiVersion"),
            (&object.resource, "/resource"),
            (&object.subresource, "/subresource"),
            (&object.namespace, "/namespace"),
            (&object.name, "/name"),
        ] {
            assert_eq!(
                field.as_deref(),
                text(&event["objectRef"], name),
                "{what}: {name}"
            );
        }
    }
    let code = event
        .pointer("/responseStatus/code")
        .and_then(Value::as_u64);
    assert_eq!(view.code.map(u64::from), code, "{what}");
    let truncated = event.pointer("/annotations/audit.k8s.io~1truncated");
    assert_eq!(
        view.truncated,
        truncated.and_then(Value::as_str) == Some("true"),
        "{what}"
    );
    for (time, pointer) in [
        (&view.stage_timestamp, "/stageTimestamp"),
        (
            &view.request_received_timestamp,
            "/requestReceivedTimestamp",
        ),
    ] {
        let time = time.as_ref().unwrap();
        assert_eq!(Some(&*time.text), text(event, pointer), "{what}");
        let micros = time.micros.unwrap();
        // All recordings were made on one day.
        assert!(
            (1_795_219_200_000_000..1_795_305_600_000_000).contains(&micros),
            "{what}: {micros}"
        );
    }
    if view.stage.as_deref() == Some("RequestReceived") {
        assert_eq!(
            view.stage_timestamp_us(),
            view.request_received_timestamp_us(),
            "{what}"
        );
    }
    assert!(!view.ambiguous, "{what}");
}

fn assert_user(user: &UserView<'_>, expected: &Value, what: &str) {
    assert_eq!(
        user.username.as_deref(),
        text(expected, "/username"),
        "{what}"
    );
    assert_eq!(user.uid.as_deref(), text(expected, "/uid"), "{what}");
    assert_eq!(user.groups, texts(&expected["groups"]), "{what}");
}

fn text<'v>(value: &'v Value, pointer: &str) -> Option<&'v str> {
    value.pointer(pointer).and_then(Value::as_str)
}

fn texts(value: &Value) -> Vec<&str> {
    value
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect()
}

fn check_all(bodies: &[(String, Vec<u8>)]) -> (usize, Vec<Refused>) {
    let mut refused = Vec::new();
    let events = bodies
        .iter()
        .map(|(name, body)| check(name, body, &mut refused))
        .sum();
    (events, refused)
}

#[test]
fn bodies() {
    let (events, refused) = check_all(&recorded::bodies("bodies"));
    assert_eq!(events, 6353);
    // All about one custom resource, whose fields hold 2^53 + 1 and the ends of int64,
    // which RFC 8785 would change; and one request with a member twice.
    assert!(refused.iter().all(|(name, _, _)| name == "000006.json"));
    let refused: Vec<_> = refused.iter().map(|(_, i, code)| (*i, *code)).collect();
    let (precision, duplicate) = ("number-precision", "duplicate-key");
    assert_eq!(
        refused,
        [
            (201, precision),
            (203, precision),
            (205, precision),
            (207, precision),
            (211, duplicate),
            (215, precision),
            (227, precision),
            (247, precision),
        ]
    );
}

#[test]
fn truncated() {
    let bodies = recorded::bodies("truncated");
    assert_eq!(check_all(&bodies), (1614, vec![]));
    let events = bodies
        .iter()
        .flat_map(|(_, body)| split_event_list(body).unwrap().items);
    assert_eq!(
        events
            .filter(|event| EventView::read(event).truncated)
            .count(),
        9
    );
}

#[test]
fn blocking() {
    assert_eq!(check_all(&recorded::blocking_bodies()), (1277, vec![]));
}
