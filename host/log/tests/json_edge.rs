//! Hostile patch bodies inside recorded events: what has a canonical form, what has
//! none and why, and that no neighbour pays for it.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod recorded;

use auditchain_log::json::{EventView, canonicalize, split_event_list};

/// The one event of a body that has no canonical form: its index, why, and what stands
/// at the error's offset.
type Refused = Option<(usize, &'static str, &'static [u8])>;

/// The recorded body, how many events it holds, and the one that is refused. Each case
/// of `cases.json` that arrived is one body: a hostile patch among harmless requests.
#[rustfmt::skip]
const EXPECTED: [(&str, usize, Refused); 21] = [
    ("000001.json", 16, None), // requests before the first case
    ("000002.json", 14, Some((7, "invalid-utf8", b"\xff\xfe\x80\"}"))), // invalid-utf8
    ("000003.json", 14, Some((7, "lone-surrogate", br#"\ud800","y":"\udc00z""#))), // lone-surrogate
    ("000004.json", 14, None), // depth-100
    ("000005.json", 14, None), // depth-300
    ("000006.json", 7, None), // depth-5000: RequestReceived
    ("000007.json", 7, None), // depth-5000: ResponseComplete
    ("000008.json", 14, Some((7, "number-range", b"1e999}}"))), // number-1e999
    ("000009.json", 14, Some((7, "number-precision", b"123456789012345678901234567890,"))), // numbers
    ("000010.json", 14, Some((7, "duplicate-key", br#""a":"2"}"#))), // duplicate-keys
    ("000011.json", 14, None), // null-body
    ("000012.json", 14, None), // array-body
    ("000013.json", 14, None), // string-body
    ("000014.json", 14, None), // number-body
    ("000015.json", 14, None), // true-body
    ("000016.json", 14, None), // nul-escape-key
    ("000017.json", 14, None), // html
    ("000018.json", 14, None), // whitespace
    ("000019.json", 14, None), // long-string
    ("000020.json", 14, Some((7, "lone-surrogate", br#"\ud800","value":"x""#))), // json-patch-raw
    ("000021.json", 4, None), // requests after the last case
];

#[test]
fn exactly_these_events_are_undecodable() {
    let bodies = recorded::bodies("edge");
    assert_eq!(bodies.len(), EXPECTED.len());
    for ((name, body), (expected_name, events, refused)) in bodies.iter().zip(EXPECTED) {
        assert_eq!(name, expected_name);
        let items = split_event_list(body)
            .unwrap_or_else(|error| panic!("{name}: {error}"))
            .items;
        assert_eq!(items.len(), events, "{name}");
        for (i, raw) in items.iter().enumerate() {
            let mut out = b"before".to_vec();
            match (canonicalize(raw, &mut out), refused) {
                (Err(error), Some((index, code, found))) if i == index => {
                    assert_eq!(error.code(), code, "{name}");
                    assert!(raw[error.offset()..].starts_with(found), "{name}: {error}");
                    assert_eq!(out, b"before");
                }
                (result, _) => {
                    assert_eq!(result, Ok(()), "{name}, event {i}");
                    let canonical = &out["before".len()..];
                    assert_eq!(
                        EventView::read(canonical),
                        EventView::read(raw),
                        "{name}, event {i}"
                    );
                    let mut again = Vec::new();
                    canonicalize(canonical, &mut again).unwrap();
                    assert!(again == canonical, "{name}, event {i}");
                }
            }
        }
    }
}

#[test]
fn undecodable_events_still_show_who_did_what() {
    for (name, body) in recorded::bodies("edge") {
        let Some((_, _, Some((index, _, _)))) = EXPECTED.iter().find(|row| row.0 == name) else {
            continue;
        };
        let items = split_event_list(&body).unwrap().items;
        let view = EventView::read(items[*index]);
        assert_eq!(view.verb.as_deref(), Some("patch"), "{name}");
        assert_eq!(view.stage.as_deref(), Some("ResponseComplete"), "{name}");
        assert_eq!(view.level.as_deref(), Some("Request"), "{name}");
        assert!(view.user.username.is_some(), "{name}");
        assert_eq!(
            view.object_ref.as_ref().unwrap().resource.as_deref(),
            Some("configmaps"),
            "{name}"
        );
        assert!(
            view.code.is_some() && view.stage_timestamp_us().is_some(),
            "{name}"
        );
        assert_eq!(view.decision.as_deref(), Some("allow"), "{name}");
        assert!(
            !view.ambiguous,
            "{name}: the repeated names are inside the request's body"
        );
    }
}

#[test]
fn no_neighbour_is_lost() {
    // cases.json counts 12 neighbours and 2 of the patch for each case that arrived.
    let events: usize = EXPECTED.iter().map(|row| row.1).sum();
    assert_eq!(events, 16 + 18 * 14 + 4);
}
