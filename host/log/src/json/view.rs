//! The fields of an audit event that rules, the leaf and the search index ask for.
//!
//! A view is read from canonical bytes and, as far as it goes, from the raw bytes of an
//! event that has no canonical form. Where there is a canonical form, both give the
//! same fields. Bodies (`requestObject`, `responseObject`) are passed over unseen.

use alloc::borrow::Cow;
use alloc::vec::Vec;

use super::members::{Elements, Members, string_value};
use super::parse_micro_time;
use super::string::decode;

/// One audit event of `audit.k8s.io/v1`. Reading one cannot fail: a field that is not
/// there, is null, has another type or is no text (invalid UTF-8, half a surrogate
/// pair) is absent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventView<'a> {
    /// Of the request; chosen by the client if it likes.
    pub audit_id: Option<Cow<'a, str>>,
    /// `RequestReceived`, `ResponseStarted`, `ResponseComplete` or `Panic`.
    pub stage: Option<Cow<'a, str>>,
    /// `Metadata`, `Request` or `RequestResponse`.
    pub level: Option<Cow<'a, str>>,
    /// `get`, `create`, ...; of non-resource requests the HTTP method in lower case.
    pub verb: Option<Cow<'a, str>>,
    /// As the client sent it.
    pub request_uri: Option<Cow<'a, str>>,
    /// Who was authenticated; nothing in it where nobody was.
    pub user: UserView<'a>,
    /// On whose behalf the user acted.
    pub impersonated_user: Option<UserView<'a>>,
    /// Only the last one is not the client's claim.
    pub source_ips: Vec<Cow<'a, str>>,
    /// As the client sent it.
    pub user_agent: Option<Cow<'a, str>>,
    /// What the request is about.
    pub object_ref: Option<ObjectRefView<'a>>,
    /// `responseStatus.code`.
    pub code: Option<u32>,
    /// When the request arrived at the apiserver.
    pub request_received_timestamp: Option<TimeView<'a>>,
    /// When the stage was reached.
    pub stage_timestamp: Option<TimeView<'a>>,
    /// Annotation `authorization.k8s.io/decision`: `allow` or `forbid`.
    pub decision: Option<Cow<'a, str>>,
    /// Annotation `authorization.k8s.io/reason`.
    pub reason: Option<Cow<'a, str>>,
    /// Annotation `auditchain.io/signature`: a signature over this event alone.
    pub signature: Option<Cow<'a, str>>,
    /// Annotation `audit.k8s.io/truncated` is `true`: the bodies were cut off.
    pub truncated: bool,
    /// A field of this view occurs twice, which only an undecodable event can have.
    /// The first one is shown; other readers may take the last.
    pub ambiguous: bool,
}

/// A user: `user` or `impersonatedUser`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UserView<'a> {
    /// The name that authentication found.
    pub username: Option<Cow<'a, str>>,
    /// An id that survives a change of name, where there is one.
    pub uid: Option<Cow<'a, str>>,
    /// In the order of the event; those that are no text are left out.
    pub groups: Vec<Cow<'a, str>>,
}

/// `objectRef`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ObjectRefView<'a> {
    /// Absent for the core group.
    pub api_group: Option<Cow<'a, str>>,
    /// `v1`, ...
    pub api_version: Option<Cow<'a, str>>,
    /// `pods`, ...
    pub resource: Option<Cow<'a, str>>,
    /// `exec`, ...
    pub subresource: Option<Cow<'a, str>>,
    /// Absent for what is in none.
    pub namespace: Option<Cow<'a, str>>,
    /// Absent for collections, and for objects that get their name on creation.
    pub name: Option<Cow<'a, str>>,
}

/// A timestamp.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimeView<'a> {
    /// As it stands in the event.
    pub text: Cow<'a, str>,
    /// Microseconds since 1970; absent where the text is no RFC 3339.
    pub micros: Option<i64>,
}

impl<'a> EventView<'a> {
    /// Reads one event, keys in any order.
    #[must_use]
    pub fn read(bytes: &'a [u8]) -> Self {
        let mut view = Self::default();
        let mut first = Firsts::default();
        for (name, value) in members(bytes) {
            match &*name {
                b"auditID" if first.is(0) => view.audit_id = string_value(value),
                b"stage" if first.is(1) => view.stage = string_value(value),
                b"level" if first.is(2) => view.level = string_value(value),
                b"verb" if first.is(3) => view.verb = string_value(value),
                b"requestURI" if first.is(4) => view.request_uri = string_value(value),
                b"user" if first.is(5) => {
                    view.user = UserView::read(value, &mut view.ambiguous).unwrap_or_default();
                }
                b"impersonatedUser" if first.is(6) => {
                    view.impersonated_user = UserView::read(value, &mut view.ambiguous);
                }
                b"sourceIPs" if first.is(7) => view.source_ips = strings(value),
                b"userAgent" if first.is(8) => view.user_agent = string_value(value),
                b"objectRef" if first.is(9) => {
                    view.object_ref = ObjectRefView::read(value, &mut view.ambiguous);
                }
                b"responseStatus" if first.is(10) => view.read_status(value),
                b"requestReceivedTimestamp" if first.is(11) => {
                    view.request_received_timestamp = TimeView::read(value);
                }
                b"stageTimestamp" if first.is(12) => view.stage_timestamp = TimeView::read(value),
                b"annotations" if first.is(13) => view.read_annotations(value),
                _ => {}
            }
        }
        view.ambiguous |= first.repeated;
        view
    }

    /// `stage_timestamp` in microseconds since 1970.
    #[must_use]
    pub fn stage_timestamp_us(&self) -> Option<i64> {
        self.stage_timestamp.as_ref()?.micros
    }

    /// `request_received_timestamp` in microseconds since 1970.
    #[must_use]
    pub fn request_received_timestamp_us(&self) -> Option<i64> {
        self.request_received_timestamp.as_ref()?.micros
    }

    fn read_status(&mut self, value: &'a [u8]) {
        let mut first = Firsts::default();
        for (name, value) in members(value) {
            if &*name == b"code" && first.is(0) {
                self.code = status_code(value);
            }
        }
        self.ambiguous |= first.repeated;
    }

    fn read_annotations(&mut self, value: &'a [u8]) {
        let mut first = Firsts::default();
        for (name, value) in members(value) {
            match &*name {
                b"authorization.k8s.io/decision" if first.is(0) => {
                    self.decision = string_value(value);
                }
                b"authorization.k8s.io/reason" if first.is(1) => self.reason = string_value(value),
                b"audit.k8s.io/truncated" if first.is(2) => {
                    self.truncated = string_value(value).as_deref() == Some("true");
                }
                b"auditchain.io/signature" if first.is(3) => {
                    self.signature = string_value(value);
                }
                _ => {}
            }
        }
        self.ambiguous |= first.repeated;
    }
}

impl<'a> UserView<'a> {
    fn read(value: &'a [u8], ambiguous: &mut bool) -> Option<Self> {
        Members::of(value)?;
        let mut user = Self::default();
        let mut first = Firsts::default();
        for (name, value) in members(value) {
            match &*name {
                b"username" if first.is(0) => user.username = string_value(value),
                b"uid" if first.is(1) => user.uid = string_value(value),
                b"groups" if first.is(2) => user.groups = strings(value),
                _ => {}
            }
        }
        *ambiguous |= first.repeated;
        Some(user)
    }
}

impl<'a> ObjectRefView<'a> {
    fn read(value: &'a [u8], ambiguous: &mut bool) -> Option<Self> {
        Members::of(value)?;
        let mut object = Self::default();
        let mut first = Firsts::default();
        for (name, value) in members(value) {
            match &*name {
                b"apiGroup" if first.is(0) => object.api_group = string_value(value),
                b"apiVersion" if first.is(1) => object.api_version = string_value(value),
                b"resource" if first.is(2) => object.resource = string_value(value),
                b"subresource" if first.is(3) => object.subresource = string_value(value),
                b"namespace" if first.is(4) => object.namespace = string_value(value),
                b"name" if first.is(5) => object.name = string_value(value),
                _ => {}
            }
        }
        *ambiguous |= first.repeated;
        Some(object)
    }
}

impl<'a> TimeView<'a> {
    fn read(value: &'a [u8]) -> Option<Self> {
        let text = string_value(value)?;
        let micros = parse_micro_time(&text);
        Some(Self { text, micros })
    }
}

/// Which fields of an object have been seen.
#[derive(Default)]
struct Firsts {
    seen: u32,
    repeated: bool,
}

impl Firsts {
    /// True the first time a field is asked about.
    fn is(&mut self, field: u32) -> bool {
        let is_first = self.seen & (1 << field) == 0;
        self.seen |= 1 << field;
        self.repeated |= !is_first;
        is_first
    }
}

/// The members of an object by their unescaped names; none where it is no object.
fn members(value: &[u8]) -> impl Iterator<Item = (Cow<'_, [u8]>, &[u8])> {
    Members::of(value)
        .into_iter()
        .flatten()
        .map(|(name, value)| {
            let name = if memchr::memchr(b'\\', name).is_none() {
                Cow::Borrowed(name)
            } else {
                // A name that is no text is none of ours.
                Cow::Owned(decode(name).map_or(Vec::new(), |name| name.into_owned().into_bytes()))
            };
            (name, value)
        })
}

fn strings(value: &[u8]) -> Vec<Cow<'_, str>> {
    Elements::of(value)
        .into_iter()
        .flatten()
        .filter_map(string_value)
        .collect()
}

/// A status code, however the number is written: canonical form must not change it.
fn status_code(value: &[u8]) -> Option<u32> {
    let text = core::str::from_utf8(value).ok()?;
    if !matches!(value.first(), Some(b'-' | b'0'..=b'9')) {
        return None;
    }
    text.parse().ok().or_else(|| {
        let number = text.parse::<f64>().ok()?;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let code = number as u32; // saturates; the next line catches that
        (f64::from(code) == number).then_some(code)
    })
}

#[cfg(test)]
mod tests {
    use std::{format, vec};

    use super::*;

    const FULL: &str = r#"{
        "kind": "Event", "x": {"auditID": "not this one"},
        "stageTimestamp": "2026-11-21T06:31:02.800164Z",
        "annotations": {
            "authorization.k8s.io/reason": "RBAC: allowed by \"b\"",
            "audit.k8s.io/truncated": "true", "authorization.k8s.io/decision": "allow"
        },
        "requestReceivedTimestamp": "yesterday",
        "responseStatus": {"metadata": {"code": 1}, "status": "Failure", "code": 403},
        "requestObject": {"user": {"username": "eve"}, "}]": "\"}]"},
        "objectRef": {"resource": "pods", "namespace": "n", "name": "p", "apiGroup": "g",
                      "apiVersion": "v1", "subresource": "exec", "uid": "u"},
        "userAgent": "kubectl/\u00e9", "sourceIPs": ["192.0.2.1", 7, null, "2001:db8::1"],
        "impersonatedUser": {"username": "bob", "groups": []},
        "user": {"username": "alice", "uid": "42", "groups": ["a", "b"], "extra": {"uid": ["x"]}},
        "verb": "create", "requestURI": "/api?x=1", "le\u0076el": "Metadata",
        "stage": "ResponseComplete", "auditID": "id"
    }"#;

    #[test]
    fn all_fields_in_any_order() {
        let text = |s| Some(Cow::Borrowed(s));
        let expected = EventView {
            audit_id: text("id"),
            stage: text("ResponseComplete"),
            level: text("Metadata"),
            verb: text("create"),
            request_uri: text("/api?x=1"),
            user: UserView {
                username: text("alice"),
                uid: text("42"),
                groups: vec!["a".into(), "b".into()],
            },
            impersonated_user: Some(UserView {
                username: text("bob"),
                ..UserView::default()
            }),
            source_ips: vec!["192.0.2.1".into(), "2001:db8::1".into()],
            user_agent: text("kubectl/\u{e9}"),
            object_ref: Some(ObjectRefView {
                api_group: text("g"),
                api_version: text("v1"),
                resource: text("pods"),
                subresource: text("exec"),
                namespace: text("n"),
                name: text("p"),
            }),
            code: Some(403),
            request_received_timestamp: Some(TimeView {
                text: "yesterday".into(),
                micros: None,
            }),
            stage_timestamp: Some(TimeView {
                text: "2026-11-21T06:31:02.800164Z".into(),
                micros: Some(1_795_242_662_800_164),
            }),
            decision: text("allow"),
            reason: text("RBAC: allowed by \"b\""),
            signature: None,
            truncated: true,
            ambiguous: false,
        };
        assert_eq!(EventView::read(FULL.as_bytes()), expected);
        assert_eq!(expected.stage_timestamp_us(), Some(1_795_242_662_800_164));
        assert_eq!(expected.request_received_timestamp_us(), None);
    }

    #[test]
    fn strings_are_borrowed_unless_escaped() {
        let view = EventView::read(FULL.as_bytes());
        assert!(matches!(view.verb, Some(Cow::Borrowed(_))));
        assert!(matches!(view.user.username, Some(Cow::Borrowed(_))));
        assert!(matches!(view.user_agent, Some(Cow::Owned(_))));
    }

    #[test]
    fn what_cannot_be_read_is_absent() {
        for bytes in [
            &b""[..],
            b"null",
            b"7",
            b"[]",
            b"\"auditID\"",
            b"{",
            b"{}",
            b"{\"auditID\"",
            b"\xff",
        ] {
            assert_eq!(EventView::read(bytes), EventView::default(), "{bytes:?}");
        }
        let other_types =
            br#"{"auditID":1,"user":"x","impersonatedUser":null,"sourceIPs":"x","objectRef":[],
            "responseStatus":{"code":"200"},"annotations":null,"stageTimestamp":5}"#;
        assert_eq!(EventView::read(other_types), EventView::default());
        let no_text = b"{\"auditID\":\"\xff\",\"userAgent\":\"\\ud800\",\"verb\":\"get\",\"sourceIPs\":[\"\xff\",\"::1\"],\"n\":1e999}";
        let view = EventView::read(no_text);
        assert_eq!((view.audit_id, view.user_agent), (None, None));
        assert_eq!(
            (view.verb.as_deref(), view.source_ips),
            (Some("get"), vec![Cow::from("::1")])
        );
    }

    #[test]
    fn the_first_of_a_repeated_field_counts_and_is_marked() {
        for (event, ambiguous) in [
            (r#"{"verb":"get","verb":"delete"}"#, true),
            (r#"{"verb":"get","v\u0065rb":"delete"}"#, true),
            (r#"{"verb":"get","user":{"uid":"1","uid":"2"}}"#, true),
            (
                r#"{"verb":"get","objectRef":{"name":"1","name":"2"}}"#,
                true,
            ),
            (
                r#"{"verb":"get","responseStatus":{"code":1,"code":2}}"#,
                true,
            ),
            (
                r#"{"verb":"get","annotations":{"audit.k8s.io/truncated":"","audit.k8s.io/truncated":"true"}}"#,
                true,
            ),
            (
                r#"{"verb":"get","requestObject":{"a":1,"a":2},"x":1,"x":2}"#,
                false,
            ),
        ] {
            let view = EventView::read(event.as_bytes());
            assert_eq!(view.verb.as_deref(), Some("get"));
            assert_eq!(view.ambiguous, ambiguous, "{event}");
            assert!(!view.truncated);
        }
        assert_eq!(EventView::read(br#"{"verb":7,"verb":"get"}"#).verb, None);
    }

    #[test]
    fn a_code_is_the_number_however_it_is_written() {
        for (number, expected) in [
            ("200", Some(200)),
            ("2e2", Some(200)),
            ("200.0", Some(200)),
            ("-0", Some(0)),
            ("4294967295", Some(u32::MAX)),
            ("4294967296", None),
            ("-1", None),
            ("200.5", None),
            ("1e999", None),
            ("-1e999", None),
            ("true", None),
            ("inf", None),
        ] {
            let event = format!(r#"{{"responseStatus":{{"code":{number}}}}}"#);
            assert_eq!(EventView::read(event.as_bytes()).code, expected, "{number}");
        }
    }
}
