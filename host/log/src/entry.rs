//! The entry: one line of the log, the leaf of the tree.
//!
//! Canonical JSON (RFC 8785), at most [`MAX_ENTRY_BYTES`]. Common to all: `v`,
//! `kind`, `prev` (chain hash of the entry before), `block`, `time`. The rest by
//! kind; `docs/format.md` lists every member.
//!
//! Canonical form comes for free: the members of every struct here are declared in
//! the order of their names, serde_json escapes strings as RFC 8785 does, and all
//! numbers are integers below 2^53. [`Entry::parse`] refuses any other spelling, so
//! a leaf has exactly one.

use alloc::borrow::Cow;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::hash::Hash;
use crate::record::{
    BatchRecord, BodyCommitment, ErasureRecord, EventRecord, GapRecord, KeyRecord, PolicyRecord,
    RbacRecord, RejectionRecord, SealRecord, Verdict,
};
use crate::time::Timestamp;

/// Version of the format.
pub const ENTRY_VERSION: u8 = 1;
/// What the u16 length of a tlog-tiles bundle can say.
pub const MAX_ENTRY_BYTES: usize = 65_535;

/// An entry of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Number of the block that it was written in, from 0.
    pub block: u64,
    /// Time of that block: the host's clock, never decreasing in the log.
    pub time: Timestamp,
    /// Chain hash of the entry before.
    pub prev: Hash,
    /// What it says.
    pub payload: Payload,
}

/// What an entry says, by `kind`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload {
    /// An audit event.
    Event {
        /// Who sent it.
        source: String,
        /// What stays useful when the body is gone.
        event: EventRecord,
        /// Commitment to the body.
        body: BodyCommitment,
        /// Set if the body is no canonical JSON but the bytes that arrived: why, as
        /// [`crate::json::JsonError::code`] says.
        undecodable: Option<String>,
        /// What the policies in force said.
        verdict: Verdict,
    },
    /// A signed batch; its events follow.
    Batch {
        /// Who sent it.
        source: String,
        /// What was signed and by which key.
        batch: BatchRecord,
        /// What the policies in force said of the signature.
        verdict: Verdict,
    },
    /// The signed checkpoint of the block before.
    Seal {
        /// The note.
        seal: SealRecord,
        /// What the policies in force said of it.
        verdict: Verdict,
    },
    /// The whole policy set in force from here.
    Policy {
        /// What ran them, on which alone depends when fuel and memory are used up.
        engine: String,
        /// In the order in which they are asked.
        policies: Vec<PolicyRecord>,
    },
    /// The RBAC snapshot in force from here.
    Rbac(RbacRecord),
    /// A key that begins or ends.
    Key(KeyRecord),
    /// Bodies that are gone from here.
    Erasure(ErasureRecord),
    /// Batches that never came; the batch after them follows.
    Gap {
        /// Whose.
        source: String,
        /// Which.
        gap: GapRecord,
    },
    /// A refused batch.
    Rejection {
        /// Who sent it.
        source: String,
        /// What was refused and why.
        rejection: RejectionRecord,
        /// Commitment to the bytes that arrived.
        body: BodyCommitment,
    },
}

/// Why bytes are no entry, or an entry can't be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EntryError {
    /// Over [`MAX_ENTRY_BYTES`].
    #[error("an entry of {0} bytes is over the limit of {MAX_ENTRY_BYTES}")]
    TooLong(usize),
    /// Not JSON of this shape.
    #[error("the entry's JSON is not of version {ENTRY_VERSION}: {0}")]
    Json(String),
    /// Members that don't belong to the kind, or lack.
    #[error("the entry's members don't fit its kind {0:?}")]
    Shape(String),
    /// Another version of the format.
    #[error("entry version {0} is not supported, this program reads version {ENTRY_VERSION}")]
    Version(u8),
    /// Right content, other spelling.
    #[error("the entry is not in canonical form (RFC 8785)")]
    NotCanonical,
}

impl Entry {
    /// The canonical form: the bytes of the leaf.
    ///
    /// # Errors
    /// It would be longer than [`MAX_ENTRY_BYTES`].
    pub fn encode(&self) -> Result<Vec<u8>, EntryError> {
        encode_wire(&Wire::from_entry(self))
    }

    /// Reads a leaf and insists on its canonical form.
    ///
    /// # Errors
    /// The bytes are no entry of this version, or are spelt another way.
    pub fn parse(bytes: &[u8]) -> Result<Self, EntryError> {
        if bytes.len() > MAX_ENTRY_BYTES {
            return Err(EntryError::TooLong(bytes.len()));
        }
        let wire: Wire<'_> =
            serde_json::from_slice(bytes).map_err(|error| EntryError::Json(error.to_string()))?;
        let entry = wire.into_entry()?;
        if entry.encode()? == bytes {
            Ok(entry)
        } else {
            Err(EntryError::NotCanonical)
        }
    }

    /// `kind` as it stands in the leaf.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self.payload {
            Payload::Event { .. } => "event",
            Payload::Batch { .. } => "batch",
            Payload::Seal { .. } => "seal",
            Payload::Policy { .. } => "policy",
            Payload::Rbac(_) => "rbac",
            Payload::Key(_) => "key",
            Payload::Erasure(_) => "erasure",
            Payload::Gap { .. } => "gap",
            Payload::Rejection { .. } => "rejection",
        }
    }

    /// The commitment to the bytes kept beside the tree, of the kinds that have them.
    #[must_use]
    pub fn body(&self) -> Option<&BodyCommitment> {
        match &self.payload {
            Payload::Event { body, .. } | Payload::Rejection { body, .. } => Some(body),
            _ => None,
        }
    }

    /// Whether the body is bytes as they arrived, not canonical JSON.
    #[must_use]
    pub fn body_is_raw(&self) -> bool {
        matches!(
            &self.payload,
            Payload::Event {
                undecodable: Some(_),
                ..
            } | Payload::Rejection { .. }
        )
    }

    /// The verdict, of the kinds that are judged.
    #[must_use]
    pub fn verdict(&self) -> Option<&Verdict> {
        match &self.payload {
            Payload::Event { verdict, .. }
            | Payload::Batch { verdict, .. }
            | Payload::Seal { verdict, .. } => Some(verdict),
            _ => None,
        }
    }
}

pub(crate) fn encode_wire(wire: &Wire<'_>) -> Result<Vec<u8>, EntryError> {
    let bytes = serde_json::to_vec(wire).map_err(|error| EntryError::Json(error.to_string()))?;
    if bytes.len() > MAX_ENTRY_BYTES {
        return Err(EntryError::TooLong(bytes.len()));
    }
    Ok(bytes)
}

/// The members of all kinds, in the order of their names.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wire<'a> {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) batch: Option<Cow<'a, BatchRecord>>,
    pub(crate) block: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) body: Option<Cow<'a, BodyCommitment>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) engine: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) erasure: Option<Cow<'a, ErasureRecord>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) event: Option<Cow<'a, EventRecord>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) gap: Option<Cow<'a, GapRecord>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<Cow<'a, KeyRecord>>,
    pub(crate) kind: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) policies: Option<Cow<'a, [PolicyRecord]>>,
    pub(crate) prev: Hash,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) rbac: Option<Cow<'a, RbacRecord>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) rejection: Option<Cow<'a, RejectionRecord>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) seal: Option<Cow<'a, SealRecord>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) source: Option<Cow<'a, str>>,
    pub(crate) time: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) undecodable: Option<Cow<'a, str>>,
    pub(crate) v: u8,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) verdict: Option<Cow<'a, Verdict>>,
}

impl<'a> Wire<'a> {
    /// What all kinds have.
    pub(crate) fn common(block: u64, time: Timestamp, prev: Hash, kind: &'a str) -> Self {
        Self {
            batch: None,
            block,
            body: None,
            engine: None,
            erasure: None,
            event: None,
            gap: None,
            key: None,
            kind: kind.into(),
            policies: None,
            prev,
            rbac: None,
            rejection: None,
            seal: None,
            source: None,
            time,
            undecodable: None,
            v: ENTRY_VERSION,
            verdict: None,
        }
    }

    fn from_entry(entry: &'a Entry) -> Self {
        let mut wire = Self {
            body: entry.body().map(Cow::Borrowed),
            verdict: entry.verdict().map(Cow::Borrowed),
            ..Self::common(entry.block, entry.time, entry.prev, entry.kind())
        };
        match &entry.payload {
            Payload::Event {
                source,
                event,
                undecodable,
                ..
            } => {
                wire.source = Some(source.into());
                wire.event = Some(Cow::Borrowed(event));
                wire.undecodable = undecodable.as_ref().map(Cow::from);
            }
            Payload::Batch { source, batch, .. } => {
                wire.source = Some(source.into());
                wire.batch = Some(Cow::Borrowed(batch));
            }
            Payload::Seal { seal, .. } => wire.seal = Some(Cow::Borrowed(seal)),
            Payload::Policy { engine, policies } => {
                wire.engine = Some(engine.into());
                wire.policies = Some(policies.into());
            }
            Payload::Rbac(rbac) => wire.rbac = Some(Cow::Borrowed(rbac)),
            Payload::Key(key) => wire.key = Some(Cow::Borrowed(key)),
            Payload::Erasure(erasure) => wire.erasure = Some(Cow::Borrowed(erasure)),
            Payload::Gap { source, gap } => {
                wire.source = Some(source.into());
                wire.gap = Some(Cow::Borrowed(gap));
            }
            Payload::Rejection {
                source, rejection, ..
            } => {
                wire.source = Some(source.into());
                wire.rejection = Some(Cow::Borrowed(rejection));
            }
        }
        wire
    }

    /// Members of another kind need no check here: the entry wouldn't write them, so
    /// the comparison with the canonical form refuses them.
    fn into_entry(self) -> Result<Entry, EntryError> {
        if self.v != ENTRY_VERSION {
            return Err(EntryError::Version(self.v));
        }
        let kind = self.kind.into_owned();
        let payload = (|| {
            Some(match kind.as_str() {
                "event" => Payload::Event {
                    source: self.source?.into_owned(),
                    event: self.event?.into_owned(),
                    body: self.body?.into_owned(),
                    undecodable: self.undecodable.map(Cow::into_owned),
                    verdict: self.verdict?.into_owned(),
                },
                "batch" => Payload::Batch {
                    source: self.source?.into_owned(),
                    batch: self.batch?.into_owned(),
                    verdict: self.verdict?.into_owned(),
                },
                "seal" => Payload::Seal {
                    seal: self.seal?.into_owned(),
                    verdict: self.verdict?.into_owned(),
                },
                "policy" => Payload::Policy {
                    engine: self.engine?.into_owned(),
                    policies: self.policies?.into_owned(),
                },
                "rbac" => Payload::Rbac(self.rbac?.into_owned()),
                "key" => Payload::Key(self.key?.into_owned()),
                "erasure" => Payload::Erasure(self.erasure?.into_owned()),
                "gap" => Payload::Gap {
                    source: self.source?.into_owned(),
                    gap: self.gap?.into_owned(),
                },
                "rejection" => Payload::Rejection {
                    source: self.source?.into_owned(),
                    rejection: self.rejection?.into_owned(),
                    body: self.body?.into_owned(),
                },
                _ => return None,
            })
        })();
        let payload = payload.ok_or(EntryError::Shape(kind))?;
        Ok(Entry {
            block: self.block,
            time: self.time,
            prev: self.prev,
            payload,
        })
    }
}

#[cfg(test)]
mod tests;
