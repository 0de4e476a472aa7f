//! What a policy sees of an event: its body, and what the log knows beside it.

use std::collections::BTreeSet;
use std::{fmt, str};

use auditchain_guest_sdk::Event;
use auditchain_guest_sdk::types::Context;
use regorus::Value;
use serde::de::{Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// Bytes of a body: twice what two objects of the largest size that etcd takes by
/// default make, request and response. As values they take some ten times as much.
pub const MAX_INPUT_BYTES: usize = 6 << 20;
/// Levels of nesting. Recorded traffic has 11, schemas of custom resources some forty;
/// every level is a call in the interpreter, whose stack is bounded.
pub const MAX_INPUT_DEPTH: usize = 100;
/// The member of `input` that is ours. An event of the API audit.k8s.io has none of
/// this name; one that is given is replaced.
const OURS: &str = "auditchain";
const NANOSECONDS: i128 = 1_000;

/// The event as `input`, or why no policy can be asked about it.
///
/// # Errors
/// In words.
pub fn read(event: Event<'_>, context: &Context) -> Result<Value, String> {
    // Before it is copied.
    let size = usize::try_from(event.raw().body_size).unwrap_or(usize::MAX);
    if size > MAX_INPUT_BYTES {
        return Err(format!(
            "its body has {size} bytes; a policy is given at most {MAX_INPUT_BYTES}"
        ));
    }
    let body = event.body().ok_or("it has no body")?;
    let mut input = parse(&body, event.is_undecodable())?;
    let object = input.as_object_mut().map_err(|_| "its body is no object")?;
    let source = event
        .source()
        .map(|source| Value::from(source.name.as_str()));
    let time = i128::from(context.time) * NANOSECONDS;
    let mut ours = Value::new_object();
    if let Ok(ours) = ours.as_object_mut() {
        ours.insert("blockTimeNs".into(), Value::from(time));
        ours.insert("source".into(), source.unwrap_or(Value::Null));
    }
    object.insert(OURS.into(), ours);
    Ok(input)
}

/// An undecodable body has no canonical form, which may be for no more than an integer
/// that no double holds: such a one is read all the same. What has a name twice isn't:
/// who reads which of the two is anyone's guess.
fn parse(body: &[u8], undecodable: bool) -> Result<Value, String> {
    if is_deeper(body, MAX_INPUT_DEPTH) {
        return Err(format!(
            "its body nests deeper than {MAX_INPUT_DEPTH} levels"
        ));
    }
    let body = str::from_utf8(body).map_err(|_| "its body is no UTF-8")?;
    if undecodable {
        serde_json::from_str::<UniqueNames>(body).map_err(|error| format!("its body: {error}"))?;
    }
    Value::from_json_str(body).map_err(|_| "its body is no JSON".into())
}

/// Counts brackets outside of strings, so that no parser has to be trusted with them.
fn is_deeper(json: &[u8], max: usize) -> bool {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                depth += 1;
                if depth > max {
                    return true;
                }
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

/// Any JSON in whose objects each name is there once.
struct UniqueNames;

impl<'de> Deserialize<'de> for UniqueNames {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for UniqueNames {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self, A::Error> {
        while items.next_element::<Self>()?.is_some() {}
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self, A::Error> {
        let mut names = BTreeSet::new();
        while let Some(name) = members.next_key::<String>()? {
            if !names.insert(name) {
                return Err(A::Error::custom("a name is there twice"));
            }
            members.next_value::<Self>()?;
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_is_counted_outside_of_strings() {
        for (json, depth) in [
            ("1", 0),
            ("[]", 1),
            (r#"{"a":[1,{"b":[]}]}"#, 4),
            (r#"["[[[[","\"[[[","\\",[]]"#, 2),
            ("[[]],[[]]", 2),
        ] {
            assert!(!is_deeper(json.as_bytes(), depth), "{json}");
            assert!(
                depth == 0 || is_deeper(json.as_bytes(), depth - 1),
                "{json}"
            );
        }
    }

    #[test]
    fn the_deepest_that_is_taken_can_be_parsed() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(parse(nested(MAX_INPUT_DEPTH).as_bytes(), true).is_ok());
        for depth in [MAX_INPUT_DEPTH + 1, 5_000, 1_000_000] {
            let error = parse(nested(depth).as_bytes(), true).unwrap_err();
            assert!(error.contains("100 levels"), "{error}");
        }
    }

    #[test]
    fn what_is_no_json_is_refused() {
        let lone_surrogate = br#"{"a":"\ud800"}"#;
        for body in [
            &b"\xff"[..],
            b"",
            b"{",
            b"{\"a\":\"\xff\"}",
            b"[1e999]",
            lone_surrogate,
        ] {
            for undecodable in [false, true] {
                assert!(parse(body, undecodable).is_err(), "{body:?}");
            }
        }
    }

    #[test]
    fn an_undecodable_body_is_read_if_it_has_one_meaning() {
        let large =
            br#"{"n":[9223372036854775807,{"m":-9007199254740993}],"x":[true,null,"s",0.5]}"#;
        let read = parse(large, true).unwrap();
        assert_eq!(read["n"][0].as_i64().unwrap(), i64::MAX);
        assert_eq!(read["n"][1]["m"].as_i64().unwrap(), -9_007_199_254_740_993);
        for twice in [
            r#"{"a":1,"a":1}"#,
            r#"{"b":[{"a":1,"c":{},"a":2}]}"#,
            // An escape doesn't hide it.
            r#"{"a":1,"\u0061":2}"#,
        ] {
            let error = parse(twice.as_bytes(), true).unwrap_err();
            assert!(error.contains("twice"), "{error}");
        }
    }
}
