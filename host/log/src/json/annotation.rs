//! An event without one of its annotations: what was there before it was added.

use alloc::vec::Vec;

use super::members::Members;

/// An event, given in canonical form, without the annotation of this name; without
/// `annotations` at all if none is left in it. Canonical again: the order of members
/// stays. The name must be one that JSON writes without escapes.
#[must_use]
pub fn without_annotation(canonical: &[u8], name: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(canonical.len());
    let Some(members) = Members::of(canonical) else {
        out.extend_from_slice(canonical);
        return out;
    };
    out.push(b'{');
    for (member, value) in members {
        let Some(annotations) = Members::of(value).filter(|_| member == b"annotations") else {
            push_member(&mut out, member, value);
            continue;
        };
        let before = out.len();
        push_name(&mut out, member);
        out.push(b'{');
        let empty = out.len();
        for (annotation, text) in annotations.filter(|(found, _)| *found != name.as_bytes()) {
            push_member(&mut out, annotation, text);
        }
        if out.len() == empty {
            out.truncate(before);
        } else {
            out.push(b'}');
        }
    }
    out.push(b'}');
    out
}

fn push_member(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    push_name(out, name);
    out.extend_from_slice(value);
}

fn push_name(out: &mut Vec<u8>, name: &[u8]) {
    if out.last() != Some(&b'{') {
        out.push(b',');
    }
    out.push(b'"');
    out.extend_from_slice(name);
    out.extend_from_slice(b"\":");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::canonicalize;
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use std::string::String;

    fn without(event: &str) -> String {
        let given = without_annotation(event.as_bytes(), "x/signature");
        String::from_utf8(given).unwrap()
    }

    #[test]
    fn the_annotation_goes_and_nothing_else_does() {
        for (event, rest) in [
            (
                r#"{"annotations":{"a":"1","x/signature":"s","y":"2"},"verb":"get"}"#,
                r#"{"annotations":{"a":"1","y":"2"},"verb":"get"}"#,
            ),
            (
                r#"{"annotations":{"x/signature":"s","y":"2"}}"#,
                r#"{"annotations":{"y":"2"}}"#,
            ),
            (
                r#"{"annotations":{"x/signature":"s"},"verb":"get"}"#,
                r#"{"verb":"get"}"#,
            ),
            (
                r#"{"a":1,"annotations":{"x/signature":{"b":[1]}},"verb":"get"}"#,
                r#"{"a":1,"verb":"get"}"#,
            ),
            (r#"{"annotations":{},"verb":"get"}"#, r#"{"verb":"get"}"#),
            (r#"{"annotations":{"x/signature":"s"}}"#, "{}"),
            ("{}", "{}"),
            // Of that name, but elsewhere.
            (
                r#"{"o":{"annotations":{"x/signature":"s"}},"x/signature":"s"}"#,
                r#"{"o":{"annotations":{"x/signature":"s"}},"x/signature":"s"}"#,
            ),
            (
                r#"{"annotations":"x/signature"}"#,
                r#"{"annotations":"x/signature"}"#,
            ),
            (
                r#"{"annotations":{"b":"\"x/signature\":","x/signature2":""}}"#,
                r#"{"annotations":{"b":"\"x/signature\":","x/signature2":""}}"#,
            ),
            ("[1]", "[1]"),
        ] {
            assert_eq!(without(event), rest);
        }
    }

    proptest! {
        /// Whoever adds the annotation and puts the event into canonical form has it taken
        /// out again.
        #[test]
        fn what_was_added_is_taken_out(
            annotations in prop::collection::btree_map(".{0,8}", ".{0,8}", 0..4),
            members in prop::collection::btree_map("[a-z]{1,12}", ".{0,8}", 0..4),
            signature in ".{0,20}",
        ) {
            let event = |annotations: &BTreeMap<String, String>| {
                let mut event = serde_json::json!(members);
                if !annotations.is_empty() {
                    event["annotations"] = serde_json::json!(annotations);
                }
                let mut out = Vec::new();
                canonicalize(&serde_json::to_vec(&event).unwrap(), &mut out).unwrap();
                out
            };
            prop_assume!(!members.contains_key("annotations"));
            let mut signed = annotations.clone();
            signed.insert("x/signature".into(), signature);
            let bare: BTreeMap<_, _> = annotations
                .into_iter()
                .filter(|(name, _)| name != "x/signature")
                .collect();
            prop_assert_eq!(without_annotation(&event(&signed), "x/signature"), event(&bare));
        }
    }
}
