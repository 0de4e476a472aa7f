//! What stands inside an entry, by kind. The members of every struct are declared in
//! the order of their names: that makes serde_json's output canonical.

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::hash::Hash;
use crate::json::{EventView, TimeView};
use crate::time::Timestamp;

/// Longest string of an event that goes into the leaf; a longer one is left to the
/// body. Eight such fields of control characters, six bytes each once escaped, stay
/// under half of [`crate::MAX_ENTRY_BYTES`].
pub const MAX_FIELD_BYTES: usize = 512;
/// Ranges of one erasure: with its texts far below what an entry may have.
pub const MAX_ERASURE_RANGES: usize = 1024;
/// Findings kept in one verdict, the most severe of them; all come again by
/// re-execution.
pub const MAX_FINDINGS: usize = 32;

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

impl Verdict {
    /// True for the usual one: valid, and nothing to say.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.valid && self.findings.is_empty()
    }

    /// Its canonical JSON, as it stands in an entry.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        // A struct of strings: serialising it can't fail.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads what [`encode`](Self::encode) wrote; `None` for anything else.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }
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
    /// Who signed it, where signatures are asked for: SHA-256 of the key's
    /// SubjectPublicKeyInfo.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signer: Option<Hash>,
    /// Its guest is not run: it failed on everything for long. Each subject gets the
    /// finding `policy-error/suspended`.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub suspended: bool,
}

impl PolicyRecord {
    /// Whether both are the same policy, suspended or not.
    #[must_use]
    pub fn is_same_policy(&self, other: &Self) -> bool {
        let suspended = self.suspended;
        *self
            == Self {
                suspended,
                ..other.clone()
            }
    }
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
    /// Requests received from here on are judged by it, until the next one's.
    pub from: Timestamp,
    /// Bytes.
    pub size: u64,
}

/// A key's life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct KeyRecord {
    /// A vkey (log), or base64 of the DER SubjectPublicKeyInfo (sender).
    pub key: String,
    /// A sender's: what is signed later is not taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_after: Option<Timestamp>,
    /// A sender's: what is signed earlier is not taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
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

/// Bodies that were erased: who had it done, why, which.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ErasureRecord {
    /// Who had it done; at most [`MAX_FIELD_BYTES`].
    pub by: String,
    /// Entries whose body and salt are gone from here, `[first, last]` each, ascending;
    /// at most [`MAX_ERASURE_RANGES`]. What among them never had a body is unaffected.
    pub entries: Vec<[u64; 2]>,
    /// Why; at most [`MAX_FIELD_BYTES`].
    pub reason: String,
}

impl ErasureRecord {
    /// Whether the ranges ascend, don't touch and end before `index`, the entry's own.
    #[must_use]
    pub fn is_well_formed(&self, index: u64) -> bool {
        let ranges = &self.entries;
        let apart = ranges.windows(2).all(|two| two[0][1] < two[1][0]);
        let ordered = ranges
            .iter()
            .all(|[first, last]| first <= last && *last < index);
        (1..=MAX_ERASURE_RANGES).contains(&ranges.len()) && apart && ordered
    }
}

/// Batches of a sender that never came: the numbers between the largest one that was
/// accepted from it and the batch that follows this entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GapRecord {
    /// The first number that is missing.
    pub first: u64,
    /// SHA-256 of the sender's SubjectPublicKeyInfo.
    pub key: Hash,
    /// The last number that is missing.
    pub last: u64,
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
