//! Native stand-ins, for the tests of a guest: a [`Fixture`] makes a slice of
//! recorded audit events, as the host would, and answers the imports.
//!
//! Not in the WebAssembly build. It reads what rules ask for and is lenient about the
//! rest; the host's decoder is the authority on hostile bytes.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashMap;

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::bindings::auditchain::verifier::types;
use crate::{Call, Guest, LogLevel, timestamp};

thread_local! {
    static BODIES: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
    static LINES: RefCell<Vec<(LogLevel, String)>> = const { RefCell::new(Vec::new()) };
}

/// What the imports are natively.
pub(crate) mod imports {
    use super::{BODIES, LINES, LogLevel};

    pub(crate) fn log(level: LogLevel, message: &str) {
        LINES.with_borrow_mut(|lines| lines.push((level, message.into())));
    }

    pub(crate) fn body(event: u32) -> Option<Vec<u8>> {
        BODIES.with_borrow(|bodies| bodies.get(event as usize).cloned())
    }
}

/// The lines that this thread's guests have logged, and forgets them.
#[must_use]
pub fn take_log() -> Vec<(LogLevel, String)> {
    LINES.with_borrow_mut(std::mem::take)
}

/// The one RBAC snapshot, in force at all times.
#[must_use]
pub fn snapshot(json: impl Into<Vec<u8>>) -> types::RbacSnapshot {
    types::RbacSnapshot {
        in_force_from: 0,
        json: json.into(),
    }
}

/// A call of `verify` in the making. Its parts are public: change what you test.
#[derive(Debug, Clone)]
pub struct Fixture {
    /// Everything besides the events.
    pub context: types::Context,
    /// The events and their strings.
    pub slice: types::Slice,
    bodies: Vec<Vec<u8>>,
    interned: HashMap<String, u32>,
}

impl Fixture {
    /// An empty slice in block 1 of one source, "test", without a watermark.
    #[must_use]
    pub fn new(time: types::Timestamp) -> Self {
        Self {
            context: types::Context {
                origin: "log.example/test".into(),
                block: 1,
                time,
                previous_seal: None,
                sources: vec![types::Source {
                    name: "test".into(),
                    watermark: None,
                }],
                batches: Vec::new(),
                sender_keys: Vec::new(),
                earlier: Vec::new(),
                window_start: None,
            },
            slice: types::Slice {
                strings: vec![String::new()],
                lists: Vec::new(),
                events: Vec::new(),
            },
            bodies: Vec::new(),
            interned: HashMap::new(),
        }
    }

    /// Appends an event, given as its JSON; returns its index. JSON that can't be
    /// read makes an undecodable event.
    pub fn push(&mut self, json: &[u8]) -> u32 {
        let event = match serde_json::from_slice::<EventView<'_>>(json) {
            Ok(view) => self.event(view),
            Err(_) => {
                let mut event = self.event(EventView::default());
                event.flags |= types::EventFlags::UNDECODABLE;
                event
            }
        };
        let event = types::Event {
            body_size: index(json.len()),
            ..event
        };
        self.bodies.push(json.to_vec());
        self.slice.events.push(event);
        index(self.slice.events.len() - 1)
    }

    /// The call, for a guest's inner functions.
    #[must_use]
    pub fn call(&self) -> Call<'_> {
        Call::new(&self.context, &self.slice)
    }

    /// Judges the slice. Sets the bodies that this thread's guests are given.
    #[must_use]
    pub fn run<G: Guest>(&self, guest: &G) -> Vec<types::Verdict> {
        BODIES.set(self.bodies.clone());
        crate::run(guest, &self.context, &self.slice)
    }

    /// The index of a string of the slice, put there where it wasn't.
    pub fn intern(&mut self, text: &str) -> types::Str {
        if let Some(known) = self.interned.get(text) {
            return *known;
        }
        let next = index(self.slice.strings.len());
        self.slice.strings.push(text.into());
        self.interned.insert(text.into(), next);
        next
    }

    fn optional(&mut self, text: Option<&Cow<'_, str>>) -> types::Str {
        text.map_or(0, |text| self.intern(text))
    }

    fn list(&mut self, texts: &[Cow<'_, str>]) -> types::Span {
        let start = index(self.slice.lists.len());
        for text in texts {
            let interned = self.intern(text);
            self.slice.lists.push(interned);
        }
        types::Span {
            start,
            len: index(texts.len()),
        }
    }

    fn user(&mut self, user: &UserView<'_>) -> types::UserInfo {
        types::UserInfo {
            username: self.optional(user.username.as_ref()),
            uid: self.optional(user.uid.as_ref()),
            groups: self.list(&user.groups),
        }
    }

    fn event(&mut self, view: EventView<'_>) -> types::Event {
        let mut flags = types::EventFlags::empty();
        flags.set(
            types::EventFlags::TRUNCATED,
            view.annotations.truncated.is_some(),
        );
        flags.set(types::EventFlags::OBJECT_REF, view.object_ref.is_some());
        flags.set(
            types::EventFlags::IMPERSONATED,
            view.impersonated_user.is_some(),
        );
        let object = view.object_ref.unwrap_or_default();
        types::Event {
            source: 0,
            audit_id: self.optional(view.audit_id.as_ref()),
            stage: match view.stage.as_deref() {
                Some("RequestReceived") => types::Stage::RequestReceived,
                Some("ResponseStarted") => types::Stage::ResponseStarted,
                Some("ResponseComplete") => types::Stage::ResponseComplete,
                Some("Panic") => types::Stage::Panic,
                _ => types::Stage::Unknown,
            },
            level: match view.level.as_deref() {
                Some("None") => types::Level::None,
                Some("Metadata") => types::Level::Metadata,
                Some("Request") => types::Level::Request,
                Some("RequestResponse") => types::Level::RequestResponse,
                _ => types::Level::Unknown,
            },
            request_received_timestamp: view.received.as_deref().and_then(timestamp),
            stage_timestamp: view.staged.as_deref().and_then(timestamp),
            verb: self.optional(view.verb.as_ref()),
            request_uri: self.optional(view.request_uri.as_ref()),
            user: self.user(&view.user),
            impersonated_user: self.user(&view.impersonated_user.unwrap_or_default()),
            source_ips: self.list(&view.source_ips),
            user_agent: self.optional(view.user_agent.as_ref()),
            api_group: self.optional(object.api_group.as_ref()),
            api_version: self.optional(object.api_version.as_ref()),
            resource: self.optional(object.resource.as_ref()),
            subresource: self.optional(object.subresource.as_ref()),
            namespace: self.optional(object.namespace.as_ref()),
            name: self.optional(object.name.as_ref()),
            code: view
                .response_status
                .and_then(|status| status.code)
                .unwrap_or(0),
            decision: self.optional(view.annotations.decision.as_ref()),
            reason: self.optional(view.annotations.reason.as_ref()),
            signature: self.optional(view.annotations.signature.as_ref()),
            body_size: 0,
            flags,
        }
    }
}

/// The events of an `EventList`, byte by byte as they stand in it. Finds them by
/// their brackets, so that one event's hostile bytes don't hide its neighbours.
#[must_use]
pub fn split_event_list(list: &[u8]) -> Vec<&[u8]> {
    /// Depth of an event: inside the list's object and its `items` array.
    const EVENT_DEPTH: usize = 3;
    let (mut depth, mut in_string, mut escaped, mut start) = (0, false, false, 0);
    let mut events = Vec::new();
    for (at, byte) in list.iter().enumerate() {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'{' | b'[' => {
                depth += 1;
                if depth == EVENT_DEPTH {
                    start = at;
                }
            }
            b'}' | b']' => {
                if depth == EVENT_DEPTH {
                    events.push(&list[start..=at]);
                }
                depth -= 1;
            }
            _ => {}
        }
    }
    events
}

fn index(length: usize) -> u32 {
    u32::try_from(length).expect("a fixture is smaller than 4 GiB")
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct EventView<'a> {
    #[serde(borrow, rename = "auditID")]
    audit_id: Option<Cow<'a, str>>,
    stage: Option<Cow<'a, str>>,
    level: Option<Cow<'a, str>>,
    #[serde(rename = "requestReceivedTimestamp")]
    received: Option<Cow<'a, str>>,
    #[serde(rename = "stageTimestamp")]
    staged: Option<Cow<'a, str>>,
    verb: Option<Cow<'a, str>>,
    #[serde(rename = "requestURI")]
    request_uri: Option<Cow<'a, str>>,
    user: UserView<'a>,
    impersonated_user: Option<UserView<'a>>,
    #[serde(rename = "sourceIPs")]
    source_ips: Vec<Cow<'a, str>>,
    user_agent: Option<Cow<'a, str>>,
    object_ref: Option<ObjectView<'a>>,
    response_status: Option<StatusView>,
    annotations: AnnotationsView<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct UserView<'a> {
    #[serde(borrow)]
    username: Option<Cow<'a, str>>,
    uid: Option<Cow<'a, str>>,
    groups: Vec<Cow<'a, str>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ObjectView<'a> {
    #[serde(borrow)]
    api_group: Option<Cow<'a, str>>,
    api_version: Option<Cow<'a, str>>,
    resource: Option<Cow<'a, str>>,
    subresource: Option<Cow<'a, str>>,
    namespace: Option<Cow<'a, str>>,
    name: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct StatusView {
    code: Option<u32>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct AnnotationsView<'a> {
    #[serde(borrow, rename = "authorization.k8s.io/decision")]
    decision: Option<Cow<'a, str>>,
    #[serde(rename = "authorization.k8s.io/reason")]
    reason: Option<Cow<'a, str>>,
    #[serde(rename = "auditchain.io/signature")]
    signature: Option<Cow<'a, str>>,
    #[serde(rename = "audit.k8s.io/truncated")]
    truncated: Option<IgnoredAny>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENT: &str = r#"{"auditID":"a","stage":"ResponseComplete","level":"Metadata",
        "requestReceivedTimestamp":"2026-11-21T06:31:01.724580Z",
        "stageTimestamp":"2026-11-21T06:31:02.000000Z","verb":"get","requestURI":"/api/v1/pods",
        "user":{"username":"u","groups":["g","h"]},"impersonatedUser":{"username":""},
        "objectRef":{"resource":"pods"},"responseStatus":{"metadata":{},"code":200},
        "annotations":{"authorization.k8s.io/decision":"allow","authorization.k8s.io/reason":""}}"#;

    #[test]
    fn accessors_tell_absent_from_empty() {
        let mut fixture = Fixture::new(0);
        fixture.push(EVENT.as_bytes());
        fixture.push(b"{\"stage\":");
        let call = fixture.call();
        let [event, broken]: [_; 2] = call.events().collect::<Vec<_>>().try_into().unwrap();
        assert_eq!(event.audit_id(), Some("a"));
        assert_eq!(event.code(), Some(200));
        assert_eq!(event.decision(), Some("allow"));
        assert_eq!(event.reason(), Some(""));
        assert_eq!(event.user_agent(), None);
        assert_eq!(event.user().groups().collect::<Vec<_>>(), ["g", "h"]);
        assert_eq!(event.impersonated_user().unwrap().name(), Some(""));
        assert_eq!(
            event.stage_at().unwrap() - event.received_at().unwrap(),
            275_420
        );
        assert!(event.has_object_ref() && !event.is_truncated());
        assert!(broken.is_undecodable() && broken.stage_at().is_none());
        assert_eq!(broken.source().unwrap().name, "test");
    }

    #[test]
    fn indexes_that_point_nowhere_read_as_absent() {
        let mut fixture = Fixture::new(0);
        fixture.push(EVENT.as_bytes());
        let event = &mut fixture.slice.events[0];
        (event.verb, event.source) = (u32::MAX, 7);
        event.user.groups = types::Span {
            start: u32::MAX,
            len: u32::MAX,
        };
        let call = fixture.call();
        let event = call.event(0).unwrap();
        assert!(event.verb().is_none() && event.source().is_none());
        assert_eq!(event.user().groups().count(), 0);
        assert!(call.event(1).is_none());
    }

    #[test]
    fn a_list_is_split_at_its_events() {
        let list = br#"{"kind":"EventList","metadata":{},"items":[{"a":"}\"]"},{"b":[{}]}]}"#;
        // `metadata` is an object at depth 2, an event one at depth 3.
        assert_eq!(
            split_event_list(list),
            [&br#"{"a":"}\"]"}"#[..], br#"{"b":[{}]}"#]
        );
    }

    struct Echo;

    impl Guest for Echo {
        const DESCRIPTION: crate::Description = crate::Description::new("echo", "0.0.0", &[ECHO]);

        fn configure(prepared: Vec<u8>) -> Result<Self, String> {
            crate::settings::<std::collections::BTreeMap<String, u8>>(&prepared).map(|_| Self)
        }

        fn verify(&self, call: &Call<'_>, verdicts: &mut crate::Verdicts) {
            for event in call.events() {
                let size = event.body().map_or(0, |body| body.len());
                crate::host::log(LogLevel::Info, "echo");
                verdicts.finding(event.subject(), &ECHO, size.to_string());
            }
        }
    }

    const ECHO: crate::Rule = crate::Rule::new("echo", crate::Severity::Info, "Says a size");

    #[test]
    fn a_guest_runs_natively_with_its_imports() {
        let mut fixture = Fixture::new(0);
        fixture.push(EVENT.as_bytes());
        let prepared = Echo::prepare("{}", &[]).unwrap();
        assert!(Echo::prepare("[", &[]).is_err());
        let verdicts = fixture.run(&Echo::configure(prepared).unwrap());
        assert_eq!(verdicts[0].reason, EVENT.len().to_string());
        assert_eq!(take_log().len(), 1);
        assert!(take_log().is_empty());
    }
}
