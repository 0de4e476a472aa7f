//! Cuts a block into slices and writes a slice down in the contract's types.
//!
//! Strings cross the boundary once a slice: `strings` holds each distinct one, the
//! records hold indexes. Index 0 is "absent". Everything is borrowed from the
//! block, so a string is copied once, into the guest.

use std::{
    borrow::Cow,
    collections::HashMap,
    ops::Range,
    sync::{Arc, OnceLock},
};

use foldhash::fast::RandomState;

use crate::{
    BatchInput, BlockInput, EventInput, EventView, Limits, ObjectRefView, SignatureAlgorithm,
    Stage, UserView, bindings::auditchain::verifier::types, limits::SLICE_MEMORY_PART,
    state::Bodies,
};

/// Index of "absent".
const ABSENT: u32 = 0;

/// How a block is cut; policies with the same share their slices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cut {
    events_max: usize,
    bytes_max: usize,
}

impl Cut {
    pub(crate) fn of(limits: &Limits) -> Self {
        let to_usize = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
        Self {
            events_max: to_usize(limits.slice_events),
            bytes_max: to_usize(limits.memory_bytes / SLICE_MEMORY_PART),
        }
    }

    /// The slices: at least one, since a block has more to judge than its events.
    pub(crate) fn slices(&self, events: &[EventInput<'_>]) -> Vec<Range<usize>> {
        let mut slices = Vec::new();
        let (mut start, mut bytes) = (0, 0_usize);
        for (index, event) in events.iter().enumerate() {
            let more = string_bytes(event.view);
            let is_full =
                index - start == self.events_max || bytes.saturating_add(more) > self.bytes_max;
            if is_full && index > start {
                slices.push(start..index);
                (start, bytes) = (index, 0);
            }
            bytes = bytes.saturating_add(more);
        }
        slices.push(start..events.len());
        slices
    }
}

/// A slice, ready to be given to any number of guests.
pub(crate) struct SliceTables<'a> {
    pub(crate) range: Range<usize>,
    /// Indexes of its batches in the block.
    pub(crate) batches: Vec<u32>,
    /// Whether the previous seal belongs to it.
    pub(crate) has_seal: bool,
    strings: Vec<&'a str>,
    lists: Vec<u32>,
    events: Vec<types::Event>,
    earlier: Vec<types::EarlierStage>,
    wit_batches: Vec<types::Batch<'a>>,
    sources: Vec<types::Source<'a>>,
    sender_keys: Vec<types::SenderKey<'a>>,
    seal_keys: Vec<&'a str>,
    bodies: OnceLock<Bodies>,
}

impl<'a> SliceTables<'a> {
    pub(crate) fn new(block: &BlockInput<'a>, range: Range<usize>) -> Self {
        let events = &block.events[range.clone()];
        let mut table = Table::with_capacity(events.len());
        let wit_events = events.iter().map(|event| table.event(event)).collect();
        let earlier = (0..)
            .zip(events)
            .flat_map(|(index, event)| event.earlier.iter().map(move |stage| (index, stage)))
            .map(|(event, earlier)| types::EarlierStage {
                event,
                stage: stage(earlier.stage),
                stage_timestamp: earlier.stage_timestamp_us,
                conflicting: earlier.conflicting,
            })
            .collect();
        let is_last = range.end == block.events.len();
        let (batches, wit_batches) = (0..)
            .zip(block.batches)
            .filter(|(_, batch)| {
                let first = usize::try_from(batch.first_event).unwrap_or(usize::MAX);
                range.contains(&first) || is_last && first >= range.end
            })
            .map(|(index, batch)| (index, wit_batch(batch)))
            .unzip();
        let seal = block.previous_seal.filter(|_| range.start == 0);
        Self {
            batches,
            has_seal: seal.is_some(),
            strings: table.strings,
            lists: table.lists,
            events: wit_events,
            earlier,
            wit_batches,
            sources: block
                .sources
                .iter()
                .map(|source| types::Source {
                    name: source.name,
                    watermark: source.watermark_us,
                })
                .collect(),
            sender_keys: block
                .sender_keys
                .iter()
                .map(|key| types::SenderKey {
                    source: key.source,
                    public_key: &key.public_key,
                    not_before: key.not_before_us,
                    not_after: key.not_after_us,
                })
                .collect(),
            seal_keys: seal.map_or_else(Vec::new, |seal| {
                seal.keys.iter().map(String::as_str).collect()
            }),
            bodies: OnceLock::new(),
            range,
        }
    }

    /// Index in the block of the slice's first event.
    pub(crate) fn first_event(&self) -> u32 {
        index(self.range.start)
    }

    /// Indexes in the block of the slice's events.
    pub(crate) fn event_indexes(&self) -> Range<u32> {
        index(self.range.start)..index(self.range.end)
    }

    pub(crate) fn slice(&self) -> types::Slice<'_> {
        types::Slice {
            strings: &self.strings,
            lists: &self.lists,
            events: &self.events,
        }
    }

    pub(crate) fn context<'s>(&'s self, block: &'s BlockInput<'_>) -> types::Context<'s> {
        let seal = block.previous_seal.as_ref().filter(|_| self.has_seal);
        types::Context {
            origin: block.origin,
            block: block.block,
            time: block.time_us,
            previous_seal: seal.map(|seal| types::Seal {
                note: seal.note,
                keys: &self.seal_keys,
                size: seal.size,
                root: &seal.root,
            }),
            sources: &self.sources,
            batches: &self.wit_batches,
            sender_keys: &self.sender_keys,
            earlier: &self.earlier,
            window_start: block.window_start_us,
        }
    }

    /// Copies the slice's bodies, once, when the first guest that can ask for them
    /// runs: a store cannot borrow.
    pub(crate) fn bodies(&self, block: &BlockInput<'_>) -> Bodies {
        self.bodies
            .get_or_init(|| {
                block.events[self.range.clone()]
                    .iter()
                    .map(|event| Arc::from(event.body))
                    .collect()
            })
            .clone()
    }
}

/// The interned strings of a slice.
struct Table<'a> {
    strings: Vec<&'a str>,
    // Seeded at random, which the indexes do not depend on; and a slice bounds what
    // colliding strings could cost.
    index_of: HashMap<&'a str, u32, RandomState>,
    lists: Vec<u32>,
}

impl<'a> Table<'a> {
    fn with_capacity(events: usize) -> Self {
        // Recorded traffic has some six strings an event that no other event has.
        let mut strings = Vec::with_capacity(1 + events * 8);
        strings.push("");
        Self {
            strings,
            index_of: HashMap::with_capacity_and_hasher(events * 8, RandomState::default()),
            lists: Vec::with_capacity(events * 4),
        }
    }

    fn string(&mut self, string: &'a str) -> u32 {
        let next = index(self.strings.len());
        let index = *self.index_of.entry(string).or_insert(next);
        if index == next {
            self.strings.push(string);
        }
        index
    }

    fn optional(&mut self, string: Option<&'a Cow<'_, str>>) -> u32 {
        string.map_or(ABSENT, |string| self.string(string))
    }

    fn span(&mut self, list: &'a [Cow<'_, str>]) -> types::Span {
        let start = index(self.lists.len());
        for string in list {
            let string = self.string(string);
            self.lists.push(string);
        }
        types::Span {
            start,
            len: index(list.len()),
        }
    }
}

impl<'a> Table<'a> {
    fn event(&mut self, event: &EventInput<'a>) -> types::Event {
        let view = event.view;
        let object = view.object_ref.as_ref();
        types::Event {
            source: event.source,
            audit_id: self.optional(view.audit_id.as_ref()),
            stage: stage(Stage::from_name(view.stage.as_deref())),
            level: level(view.level.as_deref()),
            request_received_timestamp: view.request_received_timestamp_us(),
            stage_timestamp: view.stage_timestamp_us(),
            verb: self.optional(view.verb.as_ref()),
            request_uri: self.optional(view.request_uri.as_ref()),
            user: self.user(Some(&view.user)),
            impersonated_user: self.user(view.impersonated_user.as_ref()),
            source_ips: self.span(&view.source_ips),
            user_agent: self.optional(view.user_agent.as_ref()),
            api_group: self.optional(object.and_then(|object| object.api_group.as_ref())),
            api_version: self.optional(object.and_then(|object| object.api_version.as_ref())),
            resource: self.optional(object.and_then(|object| object.resource.as_ref())),
            subresource: self.optional(object.and_then(|object| object.subresource.as_ref())),
            namespace: self.optional(object.and_then(|object| object.namespace.as_ref())),
            name: self.optional(object.and_then(|object| object.name.as_ref())),
            code: view.code.unwrap_or(0),
            decision: self.optional(view.decision.as_ref()),
            reason: self.optional(view.reason.as_ref()),
            signature: self.optional(view.signature.as_ref()),
            body_size: index(event.body.len()),
            flags: flags(event),
        }
    }

    fn user(&mut self, user: Option<&'a UserView<'_>>) -> types::UserInfo {
        let (username, uid, groups) = user.map_or((ABSENT, ABSENT, &[][..]), |user| {
            (
                self.optional(user.username.as_ref()),
                self.optional(user.uid.as_ref()),
                user.groups.as_slice(),
            )
        });
        types::UserInfo {
            username,
            uid,
            groups: self.span(groups),
        }
    }
}

fn flags(event: &EventInput<'_>) -> types::EventFlags {
    let mut flags = types::EventFlags::empty();
    for (is_set, flag) in [
        (event.undecodable, types::EventFlags::UNDECODABLE),
        (event.view.truncated, types::EventFlags::TRUNCATED),
        (
            event.view.object_ref.is_some(),
            types::EventFlags::OBJECT_REF,
        ),
        (
            event.view.impersonated_user.is_some(),
            types::EventFlags::IMPERSONATED,
        ),
        (event.in_signed_batch, types::EventFlags::SIGNED_BATCH),
    ] {
        if is_set {
            flags |= flag;
        }
    }
    flags
}

fn stage(stage: Stage) -> types::Stage {
    match stage {
        Stage::RequestReceived => types::Stage::RequestReceived,
        Stage::ResponseStarted => types::Stage::ResponseStarted,
        Stage::ResponseComplete => types::Stage::ResponseComplete,
        Stage::Panic => types::Stage::Panic,
        Stage::Unknown => types::Stage::Unknown,
    }
}

fn level(name: Option<&str>) -> types::Level {
    match name {
        Some("None") => types::Level::None,
        Some("Metadata") => types::Level::Metadata,
        Some("Request") => types::Level::Request,
        Some("RequestResponse") => types::Level::RequestResponse,
        _ => types::Level::Unknown,
    }
}

fn wit_batch<'a>(batch: &'a BatchInput<'_>) -> types::Batch<'a> {
    types::Batch {
        source: batch.source,
        sequence: batch.sequence,
        count: batch.count,
        digest: &batch.digest,
        algorithm: match batch.algorithm {
            SignatureAlgorithm::EcdsaP256Sha256 => types::SignatureAlgorithm::EcdsaP256Sha256,
            SignatureAlgorithm::Sm2Sm3 => types::SignatureAlgorithm::Sm2Sm3,
        },
        public_key: batch.public_key,
        signature: batch.signature,
        last_sequence: batch.last_sequence,
        repeated: batch.repeated,
    }
}

/// Bytes of an event's strings, each counted as often as it occurs: what it can
/// cost the guest at most.
fn string_bytes(view: &EventView<'_>) -> usize {
    let of = |string: &Option<Cow<'_, str>>| string.as_ref().map_or(0, |string| string.len());
    let of_list = |list: &[Cow<'_, str>]| list.iter().map(|string| string.len()).sum::<usize>();
    let of_user = |user: &UserView<'_>| of(&user.username) + of(&user.uid) + of_list(&user.groups);
    let of_object = |object: &ObjectRefView<'_>| {
        of(&object.api_group)
            + of(&object.api_version)
            + of(&object.resource)
            + of(&object.subresource)
            + of(&object.namespace)
            + of(&object.name)
    };
    of(&view.audit_id)
        + of(&view.verb)
        + of(&view.request_uri)
        + of_user(&view.user)
        + view.impersonated_user.as_ref().map_or(0, of_user)
        + of_list(&view.source_ips)
        + of(&view.user_agent)
        + view.object_ref.as_ref().map_or(0, of_object)
        + of(&view.decision)
        + of(&view.reason)
        + of(&view.signature)
}

/// A count of things in memory that each take several bytes; 2^32 of them would
/// be refused by the guest's memory limit long before.
pub(crate) fn index(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}
