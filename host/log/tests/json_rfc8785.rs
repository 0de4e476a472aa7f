//! RFC 8785: its own examples, an implementation we did not write, and what must hold
//! for any input at all.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use auditchain_log::json::{EventView, JsonError, MAX_DEPTH, canonicalize, split_event_list};
use proptest::prelude::*;
use serde_json::Value;

fn canonical(input: &[u8]) -> Result<String, JsonError> {
    let mut out = b"before".to_vec();
    let result = canonicalize(input, &mut out);
    assert!(out.starts_with(b"before"));
    let text = String::from_utf8(out.split_off("before".len())).unwrap();
    result
        .inspect_err(|_| assert_eq!(text, "", "nothing is left of what failed"))
        .map(|()| text)
}

#[test]
fn rfc_section_3_2_2() {
    let input = r#"{
        "numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
        "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
        "literals": [null, true, false]
    }"#;
    let expected = r#"{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],"string":"€$\u000f\nA'B\"\\\\\"/"}"#;
    assert_eq!(canonical(input.as_bytes()).as_deref(), Ok(expected));
}

#[test]
fn rfc_section_3_2_3_sorting() {
    let input = r#"{
        "\u20ac": "Euro Sign",
        "\r": "Carriage Return",
        "\ufb33": "Hebrew Letter Dalet With Dagesh",
        "1": "One",
        "\ud83d\ude00": "Emoji: Grinning Face",
        "\u0080": "Control",
        "\u00f6": "Latin Small Letter O With Diaeresis"
    }"#;
    let expected = "{\"\\r\":\"Carriage Return\",\"1\":\"One\",\"\u{80}\":\"Control\",\"\u{f6}\":\"Latin Small Letter O With Diaeresis\",\"\u{20ac}\":\"Euro Sign\",\"\u{1f600}\":\"Emoji: Grinning Face\",\"\u{fb33}\":\"Hebrew Letter Dalet With Dagesh\"}";
    assert_eq!(canonical(input.as_bytes()).as_deref(), Ok(expected));
}

/// The test data that goes with the RFC (github.com/cyberphone/json-canonicalization).
#[test]
fn companion_test_data() {
    for (input, expected) in [
        (
            r#"[56, {"d": true, "10": null, "1": [ ]}]"#,
            r#"[56,{"1":[],"10":null,"d":true}]"#,
        ),
        (
            r#"{"peach": "This sorting order", "péché": "is wrong according to French",
               "pêche": "but canonicalization MUST", "sin": "ignore locale"}"#,
            r#"{"peach":"This sorting order","péché":"is wrong according to French","pêche":"but canonicalization MUST","sin":"ignore locale"}"#,
        ),
        (
            r#"{"1": {"f": {"f": "hi","F": 5} ,"\n": 56.0},"10": { },"": "empty",
               "a": { },"111": [ {"e": "yes","E": "no" } ],"A": { }}"#,
            r#"{"":"empty","1":{"\n":56,"f":{"F":5,"f":"hi"}},"10":{},"111":[{"E":"no","e":"yes"}],"A":{},"a":{}}"#,
        ),
        (
            r#"{"Unnormalized Unicode":"A\u030a"}"#,
            "{\"Unnormalized Unicode\":\"A\u{30a}\"}",
        ),
    ] {
        assert_eq!(canonical(input.as_bytes()).as_deref(), Ok(expected));
    }
}

#[test]
fn what_has_no_canonical_form() {
    use JsonError::*;
    for (input, expected) in [
        (&b""[..], Syntax { offset: 0 }),
        (b" ", Syntax { offset: 1 }),
        (b"\xef\xbb\xbf{}", Syntax { offset: 0 }),
        (b"{} {}", Syntax { offset: 3 }),
        (b"[1,]", Syntax { offset: 3 }),
        (b"[,1]", Syntax { offset: 1 }),
        (b"[1 2]", Syntax { offset: 3 }),
        (b"[1}", Syntax { offset: 2 }),
        (b"[", Syntax { offset: 1 }),
        (b"]", Syntax { offset: 0 }),
        (b"{\"a\"}", Syntax { offset: 4 }),
        (b"{\"a\":}", Syntax { offset: 5 }),
        (b"{\"a\":1,}", Syntax { offset: 7 }),
        (b"{\"a\":1]", Syntax { offset: 6 }),
        (b"{,}", Syntax { offset: 1 }),
        (b"{a:1}", Syntax { offset: 1 }),
        (b"{1:1}", Syntax { offset: 1 }),
        (b"tru", Syntax { offset: 3 }),
        (b"trux", Syntax { offset: 3 }),
        (b"truee", Syntax { offset: 4 }),
        (b"nul", Syntax { offset: 3 }),
        (b"NaN", Syntax { offset: 0 }),
        (b"Infinity", Syntax { offset: 0 }),
        (b"+1", Syntax { offset: 0 }),
        (b".5", Syntax { offset: 0 }),
        (b"0x1", Syntax { offset: 1 }),
        (b"\"a", Syntax { offset: 2 }),
        (b"\"a\nb\"", Syntax { offset: 2 }),
        (b"\"\\x\"", Syntax { offset: 2 }),
        (b"\"\\u12g4\"", Syntax { offset: 5 }),
        (b"\"\x00\"", Syntax { offset: 1 }),
        (b"[\x0c1]", Syntax { offset: 1 }),
        (b"'a'", Syntax { offset: 0 }),
        (b"[1]//", Syntax { offset: 3 }),
        (b"\"a\xff\"", InvalidUtf8 { offset: 2 }),
        (b"\"\xed\xa0\x80\"", InvalidUtf8 { offset: 1 }),
        (b"\"\xc0\xaf\"", InvalidUtf8 { offset: 1 }),
        (b"}}\xff", InvalidUtf8 { offset: 2 }),
        (b"[\"\\ud800\"]", LoneSurrogate { offset: 2 }),
        (b"[\"\\udc00\\ud800\"]", LoneSurrogate { offset: 2 }),
        (b"{\"a\\ud800b\":1}", LoneSurrogate { offset: 3 }),
        (b"{\"a\":1,\"a\":1}", DuplicateKey { offset: 7 }),
        (b"{\"a\":1,\"\\u0061\":2}", DuplicateKey { offset: 7 }),
        (
            b"{\"\\n\":1,\"b\":2,\"\\u000a\":3}",
            DuplicateKey { offset: 14 },
        ),
        (
            b"{\"b\":1,\"a\":1,\"b\":2,\"b\":3}",
            DuplicateKey { offset: 13 },
        ),
        (
            b"{\"x\":[{\"b\":1,\"a\":1,\"b\":2}]}",
            DuplicateKey { offset: 19 },
        ),
        (b"[1e400]", NumberRange { offset: 1 }),
        (b"[9007199254740993]", NumberPrecision { offset: 1 }),
    ] {
        assert_eq!(
            canonical(input),
            Err(expected),
            "{}",
            String::from_utf8_lossy(input)
        );
    }
}

#[test]
fn codes_are_frozen() {
    let offset = 7;
    for (error, code) in [
        (JsonError::Syntax { offset }, "syntax"),
        (JsonError::InvalidUtf8 { offset }, "invalid-utf8"),
        (JsonError::LoneSurrogate { offset }, "lone-surrogate"),
        (JsonError::DuplicateKey { offset }, "duplicate-key"),
        (JsonError::NumberRange { offset }, "number-range"),
        (JsonError::NumberPrecision { offset }, "number-precision"),
        (JsonError::TooDeep { offset }, "too-deep"),
    ] {
        assert_eq!((error.code(), error.offset()), (code, offset));
        assert!(error.to_string().contains("byte 7"), "{error}");
    }
}

#[test]
fn as_deep_as_an_apiserver_can_write() {
    let arrays = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    // Every level out of order.
    let objects = |depth: usize| "{\"b\":".repeat(depth) + "0" + &",\"a\":0}".repeat(depth);
    let sorted = |depth: usize| "{\"a\":0,\"b\":".repeat(depth) + "0" + &"}".repeat(depth);
    assert_eq!(
        canonical(arrays(MAX_DEPTH).as_bytes()),
        Ok(arrays(MAX_DEPTH))
    );
    assert_eq!(
        canonical(objects(MAX_DEPTH).as_bytes()),
        Ok(sorted(MAX_DEPTH))
    );
    let offset = MAX_DEPTH;
    assert_eq!(
        canonical(arrays(MAX_DEPTH + 1).as_bytes()),
        Err(JsonError::TooDeep { offset })
    );
    let offset = 5 * MAX_DEPTH;
    assert_eq!(
        canonical(objects(MAX_DEPTH + 1).as_bytes()),
        Err(JsonError::TooDeep { offset })
    );
    assert_eq!(
        canonical("[".repeat(10_000_000).as_bytes()),
        Err(JsonError::TooDeep { offset: MAX_DEPTH })
    );
}

/// Sorting each object as it closes would move these 8 MB 10,000 times.
#[test]
fn disorder_at_every_level_is_paid_once() {
    let depth = MAX_DEPTH;
    let blob = "x".repeat(8 << 20);
    let input = "{\"b\":".repeat(depth) + "\"" + &blob + "\"" + &",\"a\":0}".repeat(depth);
    let expected = "{\"a\":0,\"b\":".repeat(depth) + "\"" + &blob + "\"" + &"}".repeat(depth);
    assert!(canonical(input.as_bytes()).unwrap() == expected);
}

/// JSON with members in any order, which serde_json's own values cannot keep.
#[derive(Debug, Clone)]
enum Tree {
    Scalar(Value),
    Array(Vec<Tree>),
    Object(Vec<(String, Tree)>),
}

impl Tree {
    fn value(&self) -> Value {
        match self {
            Tree::Scalar(value) => value.clone(),
            Tree::Array(items) => items.iter().map(Tree::value).collect(),
            Tree::Object(members) => members
                .iter()
                .map(|(name, tree)| (name.clone(), tree.value()))
                .collect(),
        }
    }

    /// Writes it with white space and needless escapes, chosen by `style`.
    fn write(&self, style: &mut impl Iterator<Item = u8>, out: &mut String) {
        let mut space = |out: &mut String| {
            let n = usize::from(style.next().unwrap_or(0)).saturating_sub(250);
            out.push_str(&" \n\r\t\n"[..n]);
        };
        space(out);
        match self {
            Tree::Scalar(Value::String(text)) => write_messy(text, style, out),
            Tree::Scalar(value) => out.push_str(&value.to_string()),
            Tree::Array(items) => {
                out.push('[');
                for (i, item) in items.iter().enumerate() {
                    if i > 0 {
                        out.push(',');
                    }
                    item.write(style, out);
                }
                out.push(']');
            }
            Tree::Object(members) => {
                out.push('{');
                for (i, (name, tree)) in members.iter().enumerate() {
                    if i > 0 {
                        out.push_str(", ");
                    }
                    write_messy(name, style, out);
                    out.push(':');
                    tree.write(style, out);
                }
                out.push('}');
            }
        }
    }

    fn text(&self, style: &[u8]) -> String {
        let mut out = String::new();
        self.write(&mut style.iter().copied().cycle(), &mut out);
        out
    }
}

fn write_messy(text: &str, style: &mut impl Iterator<Item = u8>, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        let must = c < ' ' || c == '"' || c == '\\';
        if must || style.next().is_some_and(|style| style % 8 == 0) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                out.push_str(&format!("\\u{unit:04X}"));
            }
        } else {
            out.push(c);
        }
    }
    out.push('"');
}

/// Names that are often close to each other, and those that a view looks for.
fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-c]{0,2}",
        "[ab\u{1}\n\"\\\\é\u{e000}\u{ffff}\u{10000}]{0,3}",
        "aaaaaaa[a-cé\u{0}\u{ff00}\u{1f600}]{0,3}",
        any::<String>(),
        proptest::sample::select(vec![
            "auditID",
            "stage",
            "level",
            "verb",
            "requestURI",
            "user",
            "username",
            "uid",
            "groups",
            "impersonatedUser",
            "sourceIPs",
            "userAgent",
            "objectRef",
            "name",
            "namespace",
            "resource",
            "responseStatus",
            "code",
            "stageTimestamp",
            "annotations",
            "requestReceivedTimestamp",
            "authorization.k8s.io/decision",
            "audit.k8s.io/truncated",
        ])
        .prop_map(String::from),
    ]
}

fn tree() -> impl Strategy<Value = Tree> {
    let scalar = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-(1_i64 << 53)..=1 << 53).prop_map(Value::from),
        (-10_i64..1000).prop_map(Value::from),
        (proptest::num::f64::NORMAL | proptest::num::f64::SUBNORMAL | proptest::num::f64::ZERO)
            .prop_map(Value::from),
        (-1e6_f64..1e6).prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        "[a-z\"\\\\ ]{0,20}".prop_map(Value::from),
        Just(Value::from("2026-11-21T06:31:02.800164Z")),
        Just(Value::from("true")),
    ];
    scalar
        .prop_map(Tree::Scalar)
        .prop_recursive(6, 80, 8, |inner| {
            prop_oneof![
                1 => proptest::collection::vec(inner.clone(), 0..8).prop_map(Tree::Array),
                3 => proptest::collection::hash_map(name(), inner, 0..8)
                    .prop_map(|members| Tree::Object(members.into_iter().collect())),
            ]
        })
}

/// Bytes that are nearly JSON.
fn nearly_json() -> impl Strategy<Value = Vec<u8>> {
    let token = proptest::sample::select(vec![
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"",
        "\"a\"",
        "\"b\":",
        "\\",
        "\\u",
        "\\ud83d",
        "\\ude00",
        "0",
        "-",
        "1.5",
        "e9",
        "E+",
        "999",
        "true",
        "null",
        "fals",
        " ",
        "\n",
        "é",
        "\u{0}",
        "\"items\":",
        "\"kind\":\"EventList\"",
        "\"apiVersion\":\"audit.k8s.io/v1\"",
        "\"user\":{",
        "\"code\":",
    ]);
    prop_oneof![
        proptest::collection::vec(token, 0..40).prop_map(|tokens| tokens.concat().into_bytes()),
        (
            tree(),
            any::<Vec<u8>>(),
            any::<prop::sample::Index>(),
            any::<u8>()
        )
            .prop_map(|(tree, style, index, byte)| {
                let mut text = tree.text(&style).into_bytes();
                let at = index.index(text.len());
                text[at] = byte;
                text
            }),
        proptest::collection::vec(any::<u8>(), 0..60),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn as_the_oracle_says(tree in tree(), style in any::<Vec<u8>>()) {
        let text = tree.text(&style);
        let written = canonical(text.as_bytes()).unwrap();
        let oracle = serde_json_canonicalizer::to_vec(&tree.value()).unwrap();
        prop_assert_eq!(&written, &String::from_utf8(oracle).unwrap());
        prop_assert_eq!(&canonical(written.as_bytes()).unwrap(), &written, "idempotent");
        prop_assert_eq!(EventView::read(text.as_bytes()), EventView::read(written.as_bytes()));
    }

    #[test]
    fn splitting_hands_over_each_item_untouched(
        trees in proptest::collection::vec((tree(), any::<Vec<u8>>()), 0..6),
        style in any::<Vec<u8>>(),
    ) {
        let items: Vec<String> = trees.iter().map(|(tree, style)| tree.text(style)).collect();
        let pad = " \n".repeat(style.len() % 3);
        let body = format!(
            "{{\"apiVersion\":\"audit.k8s.io/v1\",\"items\":[{pad}{}{pad}],\"kind\":\"EventList\"}}\n",
            items.join(&format!("{pad},{pad}"))
        );
        let split = split_event_list(body.as_bytes()).unwrap().items;
        let trimmed: Vec<&[u8]> = items.iter().map(|item| item.trim().as_bytes()).collect();
        prop_assert_eq!(split, trimmed);
    }

    #[test]
    fn any_bytes_are_answered(bytes in nearly_json()) {
        let result = canonical(&bytes);
        let view = EventView::read(&bytes);
        let _ = split_event_list(&bytes);
        // serde_json reads the same language, but for what is refused on purpose.
        let oracle = serde_json::from_slice::<Value>(&bytes);
        match (&result, &oracle) {
            (Ok(text), Ok(_)) => {
                prop_assert_eq!(&canonical(text.as_bytes()).unwrap(), text);
                prop_assert_eq!(view, EventView::read(text.as_bytes()));
                // What has a canonical form survives being split out of a list.
                let body = [br#"{"kind":"EventList","apiVersion":"audit.k8s.io/v1","items":[1,"#, &*bytes, b",2]}"].concat();
                let items = split_event_list(&body).unwrap().items;
                prop_assert_eq!(items.len(), 3);
                prop_assert_eq!(items[1], bytes.trim_ascii());
            }
            (Err(error), Ok(_)) => {
                prop_assert!(["duplicate-key", "number-precision"].contains(&error.code()), "{}", error);
            }
            (Ok(text), Err(error)) => prop_assert!(false, "{} though {}", text, error),
            (Err(error), Err(_)) => {
                prop_assert!(error.offset() <= bytes.len());
            }
        }
    }

    #[test]
    fn half_a_list_is_answered(tree in tree(), style in any::<Vec<u8>>(), cut in any::<prop::sample::Index>()) {
        let text = tree.text(&style);
        let cut = &text.as_bytes()[..cut.index(text.len())];
        let _ = EventView::read(cut);
        if matches!(tree, Tree::Array(_) | Tree::Object(_)) {
            let code = canonical(cut).unwrap_err().code();
            prop_assert!(code == "syntax" || code == "invalid-utf8" || code == "lone-surrogate");
        }
    }
}
