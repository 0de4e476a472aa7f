//! A request body of the audit webhook into its events.
//!
//! ```text
//! {"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":[E,E,...]}
//! ```
//!
//! A user's request body stands raw inside an event, so events hold whatever a user
//! sends: invalid UTF-8, numbers beyond a double, keys twice, nesting without end.
//! Such an event must not cost its neighbours. So only its end is looked for here;
//! what it is worth, [`canonicalize`](super::canonicalize) says for each event alone.

use alloc::string::String;
use alloc::vec::Vec;

use super::SplitError;
use super::members::string_value;
use super::scan::{ScanError, skip_space, string_end, value_end};
use super::string::decode;

/// The most events in one list. An apiserver sends 400 at most unless told otherwise;
/// this leaves room for a replayed log file, and keeps a body full of `0,0,0,` from
/// costing eight times its size in slices.
pub const MAX_ITEMS: usize = 50_000;

/// The longest excerpt of a wrong value in an error, in bytes.
const MAX_EXCERPT_BYTES: usize = 64;

const KIND: &str = "EventList";
const API_VERSION: &str = "audit.k8s.io/v1";

/// A list of events, split.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventList<'a> {
    /// The events in their order: the exact bytes of each, without the white space
    /// around it. Not validated.
    pub items: Vec<&'a [u8]>,
}

/// Splits the `EventList` that `body` is into its events.
///
/// # Errors
/// The body is no `EventList` of `audit.k8s.io/v1`: what was due, what came, and where.
/// Never because of what is inside an event, as long as its brackets and quotes close.
pub fn split_event_list(body: &[u8]) -> Result<EventList<'_>, SplitError> {
    let mut splitter = Splitter { body, at: 0 };
    let items = splitter.list()?;
    splitter.skip_space();
    if splitter.at < body.len() {
        return Err(SplitError::TrailingData {
            offset: splitter.at,
        });
    }
    Ok(EventList { items })
}

struct Splitter<'a> {
    body: &'a [u8],
    at: usize,
}

impl<'a> Splitter<'a> {
    fn list(&mut self) -> Result<Vec<&'a [u8]>, SplitError> {
        let (mut kind_seen, mut api_version_seen, mut items) = (false, false, None);
        self.skip_space();
        self.expect(b'{', "`{`, the start of an EventList")?;
        self.skip_space();
        let mut is_open = self.peek() != Some(b'}');
        while is_open {
            self.skip_space();
            let name_at = self.at;
            let name = self.name()?;
            let twice = |key| SplitError::DuplicateKey {
                key,
                offset: name_at,
            };
            match name.as_deref() {
                Some("kind") if kind_seen => return Err(twice("kind")),
                Some("apiVersion") if api_version_seen => return Err(twice("apiVersion")),
                Some("items") if items.is_some() => return Err(twice("items")),
                Some("kind") => {
                    self.constant(KIND, |found, offset| SplitError::WrongKind {
                        found,
                        offset,
                    })?;
                    kind_seen = true;
                }
                Some("apiVersion") => {
                    self.constant(API_VERSION, |found, offset| SplitError::WrongApiVersion {
                        found,
                        offset,
                    })?;
                    api_version_seen = true;
                }
                Some("items") => items = Some(self.items()?),
                _ => {
                    self.value()?;
                }
            }
            self.skip_space();
            is_open = self.peek() == Some(b',');
            if is_open {
                self.at += 1;
            }
        }
        let offset = self.at;
        self.expect(b'}', "`,` or `}` after a member of the list")?;
        match (kind_seen, api_version_seen) {
            (false, _) => Err(SplitError::MissingKind { offset }),
            (_, false) => Err(SplitError::MissingApiVersion { offset }),
            _ => Ok(items.unwrap_or_default()),
        }
    }

    fn items(&mut self) -> Result<Vec<&'a [u8]>, SplitError> {
        let offset = self.at;
        if self.peek() != Some(b'[') {
            let value = self.value()?;
            return if value == b"null" {
                Ok(Vec::new())
            } else {
                Err(SplitError::ItemsNotArray { offset })
            };
        }
        self.at += 1;
        let mut items = Vec::new();
        self.skip_space();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(items);
        }
        loop {
            self.skip_space();
            if items.len() == MAX_ITEMS {
                return Err(SplitError::TooManyItems {
                    max: MAX_ITEMS,
                    offset: self.at,
                });
            }
            items.push(self.value()?);
            self.skip_space();
            if self.peek() == Some(b']') {
                self.at += 1;
                return Ok(items);
            }
            self.expect(b',', "`,` or `]` after an event")?;
        }
    }

    /// Reads a member's name and the colon. None: the name is no text, hence none of
    /// those that matter.
    fn name(&mut self) -> Result<Option<String>, SplitError> {
        self.expect(b'"', "the name of a member of the list, in quotes")?;
        let start = self.at;
        let Some(end) = string_end(self.body, start) else {
            return Err(self.cut_off("the closing quote of a name"));
        };
        self.at = end;
        self.skip_space();
        self.expect(b':', "`:` after a name")?;
        self.skip_space();
        Ok(decode(&self.body[start..end - 1]).map(alloc::borrow::Cow::into_owned))
    }

    fn constant(
        &mut self,
        expected: &str,
        wrong: impl FnOnce(String, usize) -> SplitError,
    ) -> Result<(), SplitError> {
        let offset = self.at;
        let value = self.value()?;
        if string_value(value).as_deref() == Some(expected) {
            return Ok(());
        }
        let shown = &value[..value.len().min(MAX_EXCERPT_BYTES)];
        let mut found = String::from_utf8_lossy(shown).into_owned();
        if shown.len() < value.len() {
            found.push_str("...");
        }
        Err(wrong(found, offset))
    }

    fn value(&mut self) -> Result<&'a [u8], SplitError> {
        let start = self.at;
        match value_end(self.body, start) {
            Ok(end) => {
                self.at = end;
                Ok(&self.body[start..end])
            }
            Err(ScanError::End) => Err(self.cut_off("the end of a value")),
            Err(ScanError::Mismatch(offset)) => Err(SplitError::MismatchedBracket { offset }),
            Err(ScanError::NoValue(offset)) => Err(SplitError::Unexpected {
                expected: "a value",
                offset,
            }),
        }
    }

    fn peek(&self) -> Option<u8> {
        self.body.get(self.at).copied()
    }

    fn skip_space(&mut self) {
        self.at = skip_space(self.body, self.at);
    }

    fn expect(&mut self, byte: u8, expected: &'static str) -> Result<(), SplitError> {
        match self.peek() {
            Some(found) if found == byte => {
                self.at += 1;
                Ok(())
            }
            Some(_) => Err(SplitError::Unexpected {
                expected,
                offset: self.at,
            }),
            None => Err(self.cut_off(expected)),
        }
    }

    fn cut_off(&self, expected: &'static str) -> SplitError {
        SplitError::UnexpectedEnd {
            expected,
            offset: self.body.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::string::ToString;
    use std::{format, vec};

    use super::*;

    fn list(items: &str) -> String {
        format!(
            r#"{{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{{}},"items":{items}}}"#
        )
    }

    fn items(body: &str) -> Vec<&str> {
        let list = split_event_list(body.as_bytes()).unwrap();
        list.items
            .iter()
            .map(|item| str::from_utf8(item).unwrap())
            .collect()
    }

    #[test]
    fn items_in_any_dress() {
        assert_eq!(items(&list("[]")), Vec::<&str>::new());
        assert_eq!(items(&list(" [ ] ")), Vec::<&str>::new());
        assert_eq!(items(&list("null")), Vec::<&str>::new());
        assert_eq!(
            items(r#"{"kind":"EventList","apiVersion":"audit.k8s.io/v1"}"#),
            Vec::<&str>::new()
        );
        assert_eq!(items(&list("[{}]")), ["{}"]);
        assert_eq!(
            items(&list(" [ {\"a\" : 1}\n,\t[ 2 ] , 3,\"x\" ] ")),
            ["{\"a\" : 1}", "[ 2 ]", "3", "\"x\""]
        );
        assert_eq!(
            items(
                "\n{ \"items\" : [ {} ] , \"k\\u0069nd\" : \"Event\\u004cist\" , \"apiVersion\":\"audit.k8s.io/v1\" , \"x\" : [] }\n"
            ),
            ["{}"],
            "any order, escapes, unknown members"
        );
    }

    #[test]
    fn hostile_items_do_not_cost_their_neighbours() {
        let depth = 300_000;
        let deep = "[".repeat(depth) + &"]".repeat(depth);
        for hostile in [
            "{\"a\":1,\"a\":2}",
            "{\"a\":1e999}",
            "{\"a\":\"\\ud800\"}",
            "{\"a\":\"]}{[\\\"]\"}",
            "{not json at all}",
            "{\"kind\":\"x\",\"items\":[]}",
            "nul",
            &deep,
        ] {
            assert_eq!(
                items(&list(&format!("[{{\"b\":1}},{hostile},{{\"c\":2}}]"))),
                ["{\"b\":1}", hostile, "{\"c\":2}"]
            );
        }
        let mut body = list("[{},{\"a\":\"").into_bytes();
        body.pop();
        body.extend_from_slice(b"\xff\xfe\x80\x00\"},{}]}");
        assert_eq!(
            split_event_list(&body).unwrap().items,
            [&b"{}"[..], b"{\"a\":\"\xff\xfe\x80\x00\"}", b"{}"]
        );
    }

    #[test]
    fn each_error_says_what_was_due_and_where() {
        let wrong_kind = |found: &str, offset| SplitError::WrongKind {
            found: found.into(),
            offset,
        };
        for (body, expected) in [
            (
                "",
                SplitError::UnexpectedEnd {
                    expected: "`{`, the start of an EventList",
                    offset: 0,
                },
            ),
            (
                "[]",
                SplitError::Unexpected {
                    expected: "`{`, the start of an EventList",
                    offset: 0,
                },
            ),
            (
                "\u{feff}{}",
                SplitError::Unexpected {
                    expected: "`{`, the start of an EventList",
                    offset: 0,
                },
            ),
            ("{}", SplitError::MissingKind { offset: 1 }),
            (
                r#"{"kind":"EventList"}"#,
                SplitError::MissingApiVersion { offset: 19 },
            ),
            (r#"{"kind":"Event"}"#, wrong_kind("\"Event\"", 8)),
            (r#"{"kind":null}"#, wrong_kind("null", 8)),
            (
                r#"{"apiVersion":"audit.k8s.io/v1beta1"}"#,
                SplitError::WrongApiVersion {
                    found: "\"audit.k8s.io/v1beta1\"".into(),
                    offset: 14,
                },
            ),
            (
                r#"{"kind":"EventList","kind":"EventList"}"#,
                SplitError::DuplicateKey {
                    key: "kind",
                    offset: 20,
                },
            ),
            (
                r#"{"items":[],"it\u0065ms":[]}"#,
                SplitError::DuplicateKey {
                    key: "items",
                    offset: 12,
                },
            ),
            (
                r#"{"items":null,"items":[]}"#,
                SplitError::DuplicateKey {
                    key: "items",
                    offset: 14,
                },
            ),
            (
                r#"{"apiVersion":"audit.k8s.io/v1","apiVersion":1}"#,
                SplitError::DuplicateKey {
                    key: "apiVersion",
                    offset: 32,
                },
            ),
            (r#"{"items":{}}"#, SplitError::ItemsNotArray { offset: 9 }),
            (r#"{"items":"x"}"#, SplitError::ItemsNotArray { offset: 9 }),
            (
                r#"{"items":[{]}]}"#,
                SplitError::MismatchedBracket { offset: 11 },
            ),
            (
                r#"{"items":[{}{}]}"#,
                SplitError::Unexpected {
                    expected: "`,` or `]` after an event",
                    offset: 12,
                },
            ),
            (
                r#"{"items":[{},]}"#,
                SplitError::Unexpected {
                    expected: "a value",
                    offset: 13,
                },
            ),
            (
                r#"{"items":[,]}"#,
                SplitError::Unexpected {
                    expected: "a value",
                    offset: 10,
                },
            ),
            (
                r#"{"items":[{}"#,
                SplitError::UnexpectedEnd {
                    expected: "`,` or `]` after an event",
                    offset: 12,
                },
            ),
            (
                r#"{"items":[{"a":"x"#,
                SplitError::UnexpectedEnd {
                    expected: "the end of a value",
                    offset: 17,
                },
            ),
            (
                r#"{"items"#,
                SplitError::UnexpectedEnd {
                    expected: "the closing quote of a name",
                    offset: 7,
                },
            ),
            (
                r#"{"x":1,}"#,
                SplitError::Unexpected {
                    expected: "the name of a member of the list, in quotes",
                    offset: 7,
                },
            ),
            (
                r#"{"x" 1}"#,
                SplitError::Unexpected {
                    expected: "`:` after a name",
                    offset: 5,
                },
            ),
            (
                r#"{"x":1 2}"#,
                SplitError::Unexpected {
                    expected: "`,` or `}` after a member of the list",
                    offset: 7,
                },
            ),
        ] {
            assert_eq!(split_event_list(body.as_bytes()), Err(expected), "{body}");
        }
        let body = list("[]") + "\n {}";
        let offset = body.len() - 2;
        assert_eq!(
            split_event_list(body.as_bytes()),
            Err(SplitError::TrailingData { offset })
        );
        let long = format!(r#"{{"kind":"{}"}}"#, "x".repeat(1000));
        let message = split_event_list(long.as_bytes()).unwrap_err().to_string();
        assert!(
            message.len() < 150 && message.contains("xxx..."),
            "{message}"
        );
    }

    #[test]
    fn every_cut_is_an_error() {
        let body = list(r#"[{"a":["x\"",{"b":1}]},{"c":"d"}]"#);
        for end in 0..body.len() {
            let error = split_event_list(&body.as_bytes()[..end]).unwrap_err();
            assert!(
                matches!(error, SplitError::UnexpectedEnd { offset, .. } if offset == end),
                "{end}: {error}"
            );
        }
    }

    #[test]
    fn as_many_items_as_the_limit() {
        let zeros = vec!["0"; MAX_ITEMS].join(",");
        assert_eq!(items(&list(&format!("[{zeros}]"))).len(), MAX_ITEMS);
        let body = list(&format!("[{zeros},0]"));
        assert!(matches!(
            split_event_list(body.as_bytes()),
            Err(SplitError::TooManyItems { max: MAX_ITEMS, .. })
        ));
    }
}
