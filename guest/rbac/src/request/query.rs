//! Queries and percent-encoding, as Go's net/url and Kubernetes' field selectors
//! read them.

use std::borrow::Cow;

/// What a query says of `metadata.name`.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Selected {
    /// Nothing.
    Nothing,
    /// One name.
    Name {
        /// The name.
        name: String,
        /// False where another parameter decides whether the selector counts.
        certain: bool,
    },
}

/// Undoes percent-encoding. None for an encoding that is broken or no UTF-8.
pub(super) fn decode_path(text: &str) -> Option<Cow<'_, str>> {
    decode(text, false)
}

/// The name that a list or a watch is restricted to.
///
/// The apiserver decodes all options at once: one that can't be read makes it ignore
/// the selector.
pub(super) fn selected_name(query: &str) -> Selected {
    let mut selector = None;
    let mut certain = true;
    for pair in query.split('&') {
        // As Go: a pair with a semicolon or a broken encoding is dropped.
        if pair.is_empty() || pair.contains(';') {
            continue;
        }
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (Some(key), Some(value)) = (decode(key, true), decode(value, true)) else {
            continue;
        };
        match key.as_ref() {
            "fieldSelector" if selector.is_none() => selector = Some(value),
            "limit" | "timeoutSeconds" if value.parse::<i64>().is_err() => certain = false,
            "labelSelector" if !value.is_empty() => certain = false,
            _ => {}
        }
    }
    let name = selector.and_then(|selector| exact_name(&selector));
    match name {
        // Names that can't be a path segment are not taken over.
        Some(name) if name == "." || name == ".." || name.contains(['/', '%']) => Selected::Nothing,
        Some(name) if !name.is_empty() => Selected::Name { name, certain },
        _ => Selected::Nothing,
    }
}

/// The value that a field selector demands of `metadata.name`. None where there is
/// none, or where the selector can't be read.
fn exact_name(selector: &str) -> Option<String> {
    let mut name = None;
    for term in split_terms(selector) {
        if term.is_empty() {
            continue;
        }
        let (field, equal, value) = split_term(term)?;
        let value = unescape(value)?;
        if field == "metadata.name" && equal && name.is_none() {
            name = Some(value);
        }
    }
    name
}

/// Splits at commas that no backslash stands before.
fn split_terms(selector: &str) -> Vec<&str> {
    let (mut terms, mut start, mut escaped) = (Vec::new(), 0, false);
    for (at, byte) in selector.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b',' => {
                terms.push(&selector[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    terms.push(&selector[start..]);
    terms
}

/// Field, whether the operator is equality, and value, at the first operator.
fn split_term(term: &str) -> Option<(&str, bool, &str)> {
    let (at, operator) = (0..term.len()).find_map(|at| {
        let rest = term.as_bytes().get(at..)?;
        ["!=", "==", "="]
            .into_iter()
            .find(|operator| rest.starts_with(operator.as_bytes()))
            .map(|operator| (at, operator))
    })?;
    Some((&term[..at], operator != "!=", &term[at + operator.len()..]))
}

/// Undoes `\\`, `\,` and `\=`; any other backslash, and a bare `,` or `=`, is an error.
fn unescape(value: &str) -> Option<String> {
    let mut text = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(char) = chars.next() {
        match char {
            '\\' => match chars.next()? {
                escaped @ ('\\' | ',' | '=') => text.push(escaped),
                _ => return None,
            },
            ',' | '=' => return None,
            other => text.push(other),
        }
    }
    Some(text)
}

fn decode(text: &str, plus_is_space: bool) -> Option<Cow<'_, str>> {
    if !text.contains(['%', '+']) || (!plus_is_space && !text.contains('%')) {
        return Some(text.into());
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let high = char::from(rest.next()?).to_digit(16)?;
                let low = char::from(rest.next()?).to_digit(16)?;
                u8::try_from(16 * high + low).ok()?
            }
            b'+' if plus_is_space => b' ',
            other => other,
        });
    }
    String::from_utf8(bytes).ok().map(Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors() {
        let certain = |name: &str| Selected::Name {
            name: name.into(),
            certain: true,
        };
        for (query, expected) in [
            ("", Selected::Nothing),
            ("fieldSelector=metadata.name%3Da", certain("a")),
            ("fieldSelector=metadata.name=a", certain("a")),
            ("fieldSelector=metadata.name%3D%3Da", certain("a")),
            ("fieldSelector=metadata.name!%3Da", Selected::Nothing),
            ("fieldSelector=spec.x%3D1,metadata.name%3Da", certain("a")),
            ("fieldSelector=metadata.name%3Da%5C,b", certain("a,b")),
            ("fieldSelector=metadata.name%3Da%5Cb", Selected::Nothing),
            ("fieldSelector=metadata.name%3Da,rubbish", Selected::Nothing),
            ("fieldSelector=metadata.name%3D", Selected::Nothing),
            ("fieldSelector=metadata.name%3D..", Selected::Nothing),
            ("fieldSelector=metadata.name%3Da%2Fb", Selected::Nothing),
            (
                "fieldSelector=x%3D1&fieldSelector=metadata.name%3Da",
                Selected::Nothing,
            ),
            ("fieldselector=metadata.name%3Da", Selected::Nothing),
            ("a;fieldSelector=metadata.name%3Da", Selected::Nothing),
            (
                "limit=500&watch=1&fieldSelector=metadata.name%3Da+b",
                certain("a b"),
            ),
        ] {
            assert_eq!(selected_name(query), expected, "{query}");
        }
        let doubtful = selected_name("limit=0x1&fieldSelector=metadata.name%3Da");
        assert!(matches!(doubtful, Selected::Name { certain: false, .. }));
    }

    #[test]
    fn encodings() {
        assert_eq!(decode_path("/a+b%20c").as_deref(), Some("/a+b c"));
        assert_eq!(decode_path("/%C3%A9").as_deref(), Some("/é"));
        for broken in ["/%", "/%2", "/%+1", "/%zz", "/%ff"] {
            assert_eq!(decode_path(broken), None, "{broken}");
        }
    }
}
