//! What a policy sees of an event: its body, and what the log knows beside it.

use std::str;

use auditchain_guest_sdk::Event;
use auditchain_guest_sdk::types::Context;
use regorus::Value;

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
    if event.is_undecodable() {
        return Err("its body is no valid JSON with unique names".into());
    }
    // Before it is copied.
    let size = usize::try_from(event.raw().body_size).unwrap_or(usize::MAX);
    if size > MAX_INPUT_BYTES {
        return Err(format!(
            "its body has {size} bytes; a policy is given at most {MAX_INPUT_BYTES}"
        ));
    }
    let body = event.body().ok_or("it has no body")?;
    let mut input = parse(&body)?;
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

fn parse(body: &[u8]) -> Result<Value, String> {
    if is_deeper(body, MAX_INPUT_DEPTH) {
        return Err(format!(
            "its body nests deeper than {MAX_INPUT_DEPTH} levels"
        ));
    }
    let body = str::from_utf8(body).map_err(|_| "its body is no UTF-8")?;
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
        assert!(parse(nested(MAX_INPUT_DEPTH).as_bytes()).is_ok());
        for depth in [MAX_INPUT_DEPTH + 1, 5_000, 1_000_000] {
            let error = parse(nested(depth).as_bytes()).unwrap_err();
            assert!(error.contains("100 levels"), "{error}");
        }
    }

    #[test]
    fn what_is_no_json_is_refused() {
        for body in [&b"\xff"[..], b"", b"{", b"{\"a\":\"\xff\"}", b"[1e999]"] {
            assert!(parse(body).is_err(), "{body:?}");
        }
    }
}
