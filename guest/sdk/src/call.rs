//! What a guest is asked to judge: accessors over the interned string table, so that
//! a rule reads as plain Rust.
//!
//! No index that the host hands over can make an accessor panic: one that points
//! nowhere reads as absent.

use crate::bindings::auditchain::verifier::types;
use crate::bindings::auditchain::verifier::types::{
    EarlierStage, EventFlags, Level, Source, Span, Stage, Str, Subject,
};
use crate::user::User;

/// One call of `verify`: a slice of a block's events and their context.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    context: &'a types::Context,
    slice: &'a types::Slice,
}

impl<'a> Call<'a> {
    /// Wraps what crossed the boundary.
    #[must_use]
    pub fn new(context: &'a types::Context, slice: &'a types::Slice) -> Self {
        Self { context, slice }
    }

    /// Everything besides the events that a verdict may depend on.
    #[must_use]
    pub fn context(&self) -> &'a types::Context {
        self.context
    }

    /// The slice as it crossed the boundary.
    #[must_use]
    pub fn slice(&self) -> &'a types::Slice {
        self.slice
    }

    /// The events of the slice.
    pub fn events(self) -> impl Iterator<Item = Event<'a>> + use<'a> {
        // The canonical ABI counts with 32 bits: an index of a list fits.
        (0u32..)
            .zip(&self.slice.events)
            .map(move |(index, raw)| Event {
                call: self,
                raw,
                index,
            })
    }

    /// The event at an index of the slice.
    #[must_use]
    pub fn event(self, index: u32) -> Option<Event<'a>> {
        let raw = self.slice.events.get(index as usize)?;
        Some(Event {
            call: self,
            raw,
            index,
        })
    }

    /// A string of the slice; index 0 is "absent".
    #[must_use]
    pub fn str(self, index: Str) -> Option<&'a str> {
        if index == 0 {
            return None;
        }
        self.slice.strings.get(index as usize).map(String::as_str)
    }

    /// A list of strings of the slice.
    pub fn list(self, span: Span) -> impl Iterator<Item = &'a str> + use<'a> {
        let start = span.start as usize;
        let end = start.saturating_add(span.len as usize);
        self.slice
            .lists
            .get(start..end)
            .unwrap_or_default()
            .iter()
            .filter_map(move |index| self.str(*index))
    }

    /// A source of the context.
    #[must_use]
    pub fn source(self, index: u32) -> Option<&'a Source> {
        self.context.sources.get(index as usize)
    }

    /// The other stages of the requests of this slice, each with its event.
    pub fn earlier(self) -> impl Iterator<Item = (Event<'a>, &'a EarlierStage)> + use<'a> {
        self.context
            .earlier
            .iter()
            .filter_map(move |earlier| Some((self.event(earlier.event)?, earlier)))
    }
}

/// One audit event.
#[derive(Debug, Clone, Copy)]
pub struct Event<'a> {
    call: Call<'a>,
    raw: &'a types::Event,
    index: u32,
}

impl<'a> Event<'a> {
    /// The event as it crossed the boundary.
    #[must_use]
    pub fn raw(&self) -> &'a types::Event {
        self.raw
    }

    /// Index in the slice.
    #[must_use]
    pub fn index(&self) -> u32 {
        self.index
    }

    /// The event as the subject of a verdict.
    #[must_use]
    pub fn subject(&self) -> Subject {
        Subject::Event(self.index)
    }

    /// The source it came from.
    #[must_use]
    pub fn source(&self) -> Option<&'a Source> {
        self.call.source(self.raw.source)
    }

    /// `auditID`. The client chooses it: not unique, any characters.
    #[must_use]
    pub fn audit_id(&self) -> Option<&'a str> {
        self.call.str(self.raw.audit_id)
    }

    /// `stage`.
    #[must_use]
    pub fn stage(&self) -> Stage {
        self.raw.stage
    }

    /// `level`.
    #[must_use]
    pub fn level(&self) -> Level {
        self.raw.level
    }

    /// `requestReceivedTimestamp`, microseconds since 1970.
    #[must_use]
    pub fn received_at(&self) -> Option<i64> {
        self.raw.request_received_timestamp
    }

    /// `stageTimestamp`, microseconds since 1970.
    #[must_use]
    pub fn stage_at(&self) -> Option<i64> {
        self.raw.stage_timestamp
    }

    /// `verb`.
    #[must_use]
    pub fn verb(&self) -> Option<&'a str> {
        self.call.str(self.raw.verb)
    }

    /// `requestURI`.
    #[must_use]
    pub fn request_uri(&self) -> Option<&'a str> {
        self.call.str(self.raw.request_uri)
    }

    /// `user`: who was authenticated. Empty on a failed authentication.
    #[must_use]
    pub fn user(&self) -> User<'a> {
        User::new(self.call, &self.raw.user)
    }

    /// `impersonatedUser`: as whom the request was carried out.
    #[must_use]
    pub fn impersonated_user(&self) -> Option<User<'a>> {
        self.raw
            .flags
            .contains(EventFlags::IMPERSONATED)
            .then(|| User::new(self.call, &self.raw.impersonated_user))
    }

    /// `sourceIPs`. Only the last is trustworthy.
    pub fn source_ips(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.call.list(self.raw.source_ips)
    }

    /// `userAgent`.
    #[must_use]
    pub fn user_agent(&self) -> Option<&'a str> {
        self.call.str(self.raw.user_agent)
    }

    /// `objectRef.apiGroup`; absent for the core group.
    #[must_use]
    pub fn api_group(&self) -> Option<&'a str> {
        self.call.str(self.raw.api_group)
    }

    /// `objectRef.apiVersion`.
    #[must_use]
    pub fn api_version(&self) -> Option<&'a str> {
        self.call.str(self.raw.api_version)
    }

    /// `objectRef.resource`.
    #[must_use]
    pub fn resource(&self) -> Option<&'a str> {
        self.call.str(self.raw.resource)
    }

    /// `objectRef.subresource`.
    #[must_use]
    pub fn subresource(&self) -> Option<&'a str> {
        self.call.str(self.raw.subresource)
    }

    /// `objectRef.namespace`.
    #[must_use]
    pub fn namespace(&self) -> Option<&'a str> {
        self.call.str(self.raw.namespace)
    }

    /// `objectRef.name`. Filled from the body where the request names none.
    #[must_use]
    pub fn name(&self) -> Option<&'a str> {
        self.call.str(self.raw.name)
    }

    /// `responseStatus.code`.
    #[must_use]
    pub fn code(&self) -> Option<u32> {
        (self.raw.code != 0).then_some(self.raw.code)
    }

    /// Annotation `authorization.k8s.io/decision`: "allow" or "forbid".
    #[must_use]
    pub fn decision(&self) -> Option<&'a str> {
        self.call.str(self.raw.decision)
    }

    /// Annotation `authorization.k8s.io/reason`.
    #[must_use]
    pub fn reason(&self) -> Option<&'a str> {
        self.call.str(self.raw.reason)
    }

    /// Annotation `auditchain.io/signature`: a signature over this event alone.
    #[must_use]
    pub fn signature(&self) -> Option<&'a str> {
        self.call.str(self.raw.signature)
    }

    /// The event came in a batch that its sender signed.
    #[must_use]
    pub fn in_signed_batch(&self) -> bool {
        self.raw.flags.contains(EventFlags::SIGNED_BATCH)
    }

    /// The body is kept as the bytes that arrived; fields that could not be read are
    /// absent.
    #[must_use]
    pub fn is_undecodable(&self) -> bool {
        self.raw.flags.contains(EventFlags::UNDECODABLE)
    }

    /// The apiserver cut the bodies off.
    #[must_use]
    pub fn is_truncated(&self) -> bool {
        self.raw.flags.contains(EventFlags::TRUNCATED)
    }

    /// The event has an objectRef.
    #[must_use]
    pub fn has_object_ref(&self) -> bool {
        self.raw.flags.contains(EventFlags::OBJECT_REF)
    }

    /// The whole event, asked of the host: see [`host::body`](crate::host::body).
    #[must_use]
    pub fn body(&self) -> Option<Vec<u8>> {
        crate::host::body(self.index)
    }
}
