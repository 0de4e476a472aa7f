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

use crate::chain::ChainHash;
use crate::hash::Hash;
use crate::json::{EventView, TimeView};
use crate::time::Timestamp;

/// Version of the format.
pub const ENTRY_VERSION: u8 = 1;
/// What the u16 length of a tlog-tiles bundle can say.
pub const MAX_ENTRY_BYTES: usize = 65_535;
/// Longest string of an event that goes into the leaf; a longer one is left to the
/// body. Eight such fields of control characters, six bytes each once escaped, stay
/// under half of [`MAX_ENTRY_BYTES`].
pub const MAX_FIELD_BYTES: usize = 512;
/// Findings kept in one verdict, the most severe of them; all come again by
/// re-execution.
pub const MAX_FINDINGS: usize = 32;

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
        /// In the order in which they are asked.
        policies: Vec<PolicyRecord>,
    },
    /// The RBAC snapshot in force from here.
    Rbac(RbacRecord),
    /// A key that begins or ends.
    Key(KeyRecord),
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

/// Commitment to bytes that are kept beside the tree and can be erased.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BodyCommitment {
    /// `SHA-256(salt || bytes)`.
    pub hash: Hash,
    /// Bytes, without the salt.
    pub size: u64,
}

/// Fields of the event, without personal data. Absent: the event hasn't it, or it is
/// longer than [`MAX_FIELD_BYTES`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct EventRecord {
    /// auditID; chosen by the client, not unique.
    #[serde(rename = "auditID", skip_serializing_if = "Option::is_none")]
    pub audit_id: Option<String>,
    /// responseStatus.code
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<u32>,
    /// level
    #[serde(skip_serializing_if = "Option::is_none")]
    pub level: Option<String>,
    /// objectRef.namespace
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// With source and auditID, what tells one request from another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_received_timestamp: Option<String>,
    /// `group/resource` or `group/resource/subresource` of objectRef; the core
    /// group is empty: `/pods/exec`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// stage
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stage: Option<String>,
    /// stageTimestamp
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stage_timestamp: Option<String>,
    /// verb
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verb: Option<String>,
}

impl EventRecord {
    /// What of an event goes into its leaf.
    #[must_use]
    pub fn from_view(view: &EventView<'_>) -> Self {
        let short = |field: Option<&str>| {
            field
                .filter(|f| f.len() <= MAX_FIELD_BYTES)
                .map(String::from)
        };
        let time = |time: Option<&TimeView<'_>>| short(time.map(|time| &*time.text));
        let object = view.object_ref.as_ref();
        let resource = object.and_then(|object| {
            let mut path = String::from(object.api_group.as_deref().unwrap_or(""));
            path.push('/');
            path.push_str(object.resource.as_deref()?);
            if let Some(subresource) = object.subresource.as_deref() {
                path.push('/');
                path.push_str(subresource);
            }
            Some(path)
        });
        Self {
            audit_id: short(view.audit_id.as_deref()),
            code: view.code,
            level: short(view.level.as_deref()),
            namespace: short(object.and_then(|object| object.namespace.as_deref())),
            request_received_timestamp: time(view.request_received_timestamp.as_ref()),
            resource: short(resource.as_deref()),
            stage: short(view.stage.as_deref()),
            stage_timestamp: time(view.stage_timestamp.as_ref()),
            verb: short(view.verb.as_deref()),
        }
    }
}

/// The answer of all policies about one subject.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Verdict {
    /// Where there is something to say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
    /// False: a policy in mode enforce refused it.
    pub valid: bool,
}

/// What one policy said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Finding {
    /// Its name.
    pub policy: String,
    /// Id of the rule, declared by the module.
    pub rule: String,
    /// As the module declares it.
    pub severity: Severity,
    /// The signature that the verdict rests on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sig: Option<String>,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Severity {
    Info,
    Low,
    Medium,
    High,
    Critical,
}

impl Severity {
    /// As it stands in the log.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
}

/// A batch as its sender signed it: see [`crate::batch_message`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BatchRecord {
    /// `ecdsa-p256-sha256` or `sm2-sm3`.
    pub algorithm: String,
    /// Events in the batch, duplicates of earlier ones included.
    pub count: u32,
    /// See [`crate::batch_digest`].
    pub digest: Hash,
    /// Events of the batch that follow this entry; fewer than `count` if some were
    /// in the log already. Only a whole batch can be checked against the digest.
    pub events: u32,
    /// SubjectPublicKeyInfo, base64 of the DER.
    pub key: String,
    /// The sender's number of this batch.
    pub sequence: u64,
    /// Base64 of the DER.
    pub signature: String,
}

/// The checkpoint of the block before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SealRecord {
    /// The signed note, as it was published.
    pub note: String,
}

/// A policy in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyRecord {
    /// Bounds that a verdict can depend on.
    pub limits: LimitsRecord,
    /// Whether it can refuse.
    pub mode: Mode,
    /// SHA-256 of the component.
    pub module: Hash,
    /// Unique in the set.
    pub name: String,
    /// SHA-256 of the settings, canonical JSON, kept by this digest.
    pub settings: Hash,
}

/// Limits of a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct LimitsRecord {
    /// wasmtime fuel for a call.
    pub fuel_base: u64,
    /// wasmtime fuel more for each event of the slice.
    pub fuel_per_event: u64,
    /// Linear memory.
    pub memory_bytes: u64,
    /// What a call may hand back.
    pub output_bytes: u64,
    /// Events judged by one call.
    pub slice_events: u64,
}

/// What a policy's refusal does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// It makes the event invalid.
    Enforce,
    /// It is noted.
    Observe,
}

/// An RBAC snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RbacRecord {
    /// SHA-256 of the snapshot, kept by this digest.
    pub digest: Hash,
    /// Bytes.
    pub size: u64,
}

/// A key's life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyRecord {
    /// A vkey (log), or base64 of the DER SubjectPublicKeyInfo (sender).
    pub key: String,
    /// What it signs.
    pub role: KeyRole,
    /// The sender's source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// From here on.
    pub state: KeyState,
}

/// What a key signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyRole {
    /// Checkpoints of this log.
    Log,
    /// Batches of a source.
    Sender,
}

/// Whether a key counts from here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyState {
    /// It counts.
    Begin,
    /// It no longer counts.
    End,
}

/// A refused request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RejectionRecord {
    /// Why, for people; at most [`MAX_FIELD_BYTES`].
    pub reason: String,
    /// HTTP status that the sender got.
    pub status: u16,
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
        let bytes = serde_json::to_vec(&Wire::from_entry(self))
            .map_err(|error| EntryError::Json(error.to_string()))?;
        if bytes.len() > MAX_ENTRY_BYTES {
            return Err(EntryError::TooLong(bytes.len()));
        }
        Ok(bytes)
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

    /// The chain hash that an entry right after `chain` must carry.
    #[must_use]
    pub fn follows(&self, chain: ChainHash) -> bool {
        self.prev == chain.hash()
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

/// The members of all kinds, in the order of their names.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire<'a> {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    batch: Option<Cow<'a, BatchRecord>>,
    block: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    body: Option<Cow<'a, BodyCommitment>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    event: Option<Cow<'a, EventRecord>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<Cow<'a, KeyRecord>>,
    kind: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    policies: Option<Cow<'a, [PolicyRecord]>>,
    prev: Hash,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rbac: Option<Cow<'a, RbacRecord>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rejection: Option<Cow<'a, RejectionRecord>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    seal: Option<Cow<'a, SealRecord>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    source: Option<Cow<'a, str>>,
    time: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    undecodable: Option<Cow<'a, str>>,
    v: u8,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    verdict: Option<Cow<'a, Verdict>>,
}

impl<'a> Wire<'a> {
    fn from_entry(entry: &'a Entry) -> Self {
        let mut wire = Self {
            batch: None,
            block: entry.block,
            body: entry.body().map(Cow::Borrowed),
            event: None,
            key: None,
            kind: entry.kind().into(),
            policies: None,
            prev: entry.prev,
            rbac: None,
            rejection: None,
            seal: None,
            source: None,
            time: entry.time,
            undecodable: None,
            v: ENTRY_VERSION,
            verdict: entry.verdict().map(Cow::Borrowed),
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
            Payload::Policy { policies } => wire.policies = Some(policies.into()),
            Payload::Rbac(rbac) => wire.rbac = Some(Cow::Borrowed(rbac)),
            Payload::Key(key) => wire.key = Some(Cow::Borrowed(key)),
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
                    policies: self.policies?.into_owned(),
                },
                "rbac" => Payload::Rbac(self.rbac?.into_owned()),
                "key" => Payload::Key(self.key?.into_owned()),
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
mod tests {
    use super::*;
    use crate::hash::sha256;
    use crate::json::canonicalize;
    use std::{format, vec};

    fn entry(payload: Payload) -> Entry {
        Entry {
            block: 3,
            time: Timestamp::from_micros(1_795_243_861_724_580),
            prev: sha256(&[b"prev"]),
            payload,
        }
    }

    fn one_of_each_kind() -> Vec<Entry> {
        let body = BodyCommitment {
            hash: sha256(&[b"body"]),
            size: 1607,
        };
        let verdict = Verdict {
            findings: vec![Finding {
                policy: "rbac".into(),
                rule: "decision-mismatch".into(),
                severity: Severity::Critical,
                sig: Some("ecdsa-p256-sha256:00".into()),
            }],
            valid: false,
        };
        let event = EventRecord {
            audit_id: Some("e\u{301}\u{1}\"\\ \u{1f600}".into()),
            code: Some(403),
            verb: Some("get".into()),
            ..EventRecord::default()
        };
        [
            Payload::Event {
                source: "eu".into(),
                event,
                body: body.clone(),
                undecodable: Some("duplicate-key".into()),
                verdict: verdict.clone(),
            },
            Payload::Batch {
                source: "eu".into(),
                batch: BatchRecord {
                    algorithm: "ecdsa-p256-sha256".into(),
                    count: 2,
                    digest: sha256(&[]),
                    events: 2,
                    key: "AA==".into(),
                    sequence: 1,
                    signature: "AA==".into(),
                },
                verdict,
            },
            Payload::Seal {
                seal: SealRecord {
                    note: "o\n1\nr\n\n\u{2014} o AAAA\n".into(),
                },
                verdict: Verdict {
                    findings: vec![],
                    valid: true,
                },
            },
            Payload::Policy {
                policies: vec![PolicyRecord {
                    limits: LimitsRecord {
                        fuel_base: 1,
                        fuel_per_event: 2,
                        memory_bytes: 3,
                        output_bytes: 4,
                        slice_events: 5,
                    },
                    mode: Mode::Enforce,
                    module: sha256(&[]),
                    name: "a".into(),
                    settings: sha256(&[]),
                }],
            },
            Payload::Rbac(RbacRecord {
                digest: sha256(&[]),
                size: 2,
            }),
            Payload::Key(KeyRecord {
                key: "k".into(),
                role: KeyRole::Sender,
                source: Some("eu".into()),
                state: KeyState::End,
            }),
            Payload::Rejection {
                source: "eu".into(),
                rejection: RejectionRecord {
                    reason: "no JSON".into(),
                    status: 400,
                },
                body,
            },
        ]
        .map(entry)
        .into()
    }

    #[test]
    fn every_kind_is_written_canonically_and_read_back() {
        for entry in one_of_each_kind() {
            let bytes = entry.encode().unwrap();
            let mut canonical = vec![];
            canonicalize(&bytes, &mut canonical).unwrap();
            assert_eq!(
                String::from_utf8_lossy(&bytes),
                String::from_utf8_lossy(&canonical)
            );
            assert_eq!(Entry::parse(&bytes).as_ref(), Ok(&entry));
        }
    }

    #[test]
    fn other_spellings_of_an_entry_are_refused() {
        for entry in one_of_each_kind() {
            let bytes = entry.encode().unwrap();
            let text = String::from_utf8(bytes).unwrap();
            for (from, to) in [
                ("\"v\":1", "\"v\":2"),
                ("\"v\":1", "\"v\":1.0"),
                ("\"v\":1", "\"v\":1,\"x\":0"),
                ("\"v\":1", "\"v\":1,\"v\":1"),
                ("\"block\":3", "\"block\": 3"),
                ("\"block\":3", "\"block\":3,\"batch\":null"),
                ("\"block\":3,", ""),
                ("724580Z", "72458Z"),
                ("\"kind\":\"", "\"kind\":\"un"),
            ] {
                assert!(
                    Entry::parse(text.replacen(from, to, 1).as_bytes()).is_err(),
                    "{from} {to}"
                );
            }
            // A member of another kind.
            if entry.kind() != "rbac" {
                let foreign = format!("\"rbac\":{{\"digest\":\"{}\",\"size\":2}},\"", sha256(&[]));
                let at = text.find("\"prev\"").unwrap() + "\"prev\":\"\",".len() + 64;
                let mixed = format!("{}{}{}", &text[..at], foreign, &text[at + 1..]);
                assert_eq!(
                    Entry::parse(mixed.as_bytes()),
                    Err(EntryError::NotCanonical),
                    "{mixed}"
                );
            }
        }
        assert_eq!(
            Entry::parse(&[b' '; MAX_ENTRY_BYTES + 1]),
            Err(EntryError::TooLong(MAX_ENTRY_BYTES + 1))
        );
    }

    #[test]
    fn an_entry_too_long_is_not_written() {
        let long = entry(Payload::Seal {
            seal: SealRecord {
                note: "n".repeat(MAX_ENTRY_BYTES),
            },
            verdict: Verdict {
                findings: vec![],
                valid: true,
            },
        });
        assert!(matches!(long.encode(), Err(EntryError::TooLong(n)) if n > MAX_ENTRY_BYTES));
    }

    #[test]
    fn the_largest_event_fits_a_leaf() {
        let worst = "\u{1}".repeat(MAX_FIELD_BYTES);
        let field = || Some(worst.clone());
        let event = EventRecord {
            audit_id: field(),
            code: Some(u32::MAX),
            level: field(),
            namespace: field(),
            request_received_timestamp: field(),
            resource: field(),
            stage: field(),
            stage_timestamp: field(),
            verb: field(),
        };
        let finding = Finding {
            policy: "p".repeat(63),
            rule: "r".repeat(64),
            severity: Severity::Critical,
            sig: Some("s".repeat(128)),
        };
        let verdict = Verdict {
            findings: vec![finding; MAX_FINDINGS],
            valid: false,
        };
        let body = BodyCommitment {
            hash: sha256(&[]),
            size: u64::from(u32::MAX),
        };
        entry(Payload::Event {
            source: "s".repeat(63),
            event,
            body,
            undecodable: Some("number-precision".to_string()),
            verdict,
        })
        .encode()
        .unwrap();
    }
}
