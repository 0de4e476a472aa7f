//! What is judged: the events of a block and what the log knew before it.
//!
//! All that a verdict may depend on is in here, in the policy, and in the module;
//! whoever has the log can fill it in again.

use crate::EventView;

/// A block to be judged.
#[derive(Debug, Clone, Copy)]
pub struct BlockInput<'a> {
    /// The log's origin.
    pub origin: &'a str,
    /// Number of the block.
    pub block: u64,
    /// The block's time, microseconds since 1970-01-01T00:00:00Z.
    pub time_us: i64,
    /// The signed checkpoint of the block before; none for the first block.
    pub previous_seal: Option<PreviousSeal<'a>>,
    /// Sources of the events and batches.
    pub sources: &'a [SourceInput<'a>],
    /// Signed batches.
    pub batches: &'a [BatchInput<'a>],
    /// Keys in force of the sources.
    pub sender_keys: &'a [SenderKeyInput],
    /// The events, in the order of the log.
    pub events: &'a [EventInput<'a>],
    /// Since when [`EventInput::earlier`] knows every event, microseconds; none: since
    /// the log began.
    pub window_start_us: Option<i64>,
}

/// The signed checkpoint of the block before, and what it must say.
#[derive(Debug, Clone, Copy)]
pub struct PreviousSeal<'a> {
    /// C2SP signed note.
    pub note: &'a str,
    /// The log's vkeys in force.
    pub keys: &'a [String],
    /// Tree size after the block before.
    pub size: u64,
    /// Root after the block before.
    pub root: [u8; 32],
}

/// A source, as the log knew it before the block.
#[derive(Debug, Clone, Copy)]
pub struct SourceInput<'a> {
    /// Its name.
    pub name: &'a str,
    /// The newest stageTimestamp accepted from it, microseconds.
    pub watermark_us: Option<i64>,
}

/// How a batch is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SignatureAlgorithm {
    /// ECDSA on P-256 with SHA-256, ASN.1 DER.
    EcdsaP256Sha256,
    /// SM2 with SM3, ASN.1 DER.
    Sm2Sm3,
}

impl SignatureAlgorithm {
    const NAMES: [(Self, &'static str); 2] = [
        (Self::EcdsaP256Sha256, "ecdsa-p256-sha256"),
        (Self::Sm2Sm3, "sm2-sm3"),
    ];

    /// By its name in headers and entries.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        let known = Self::NAMES.iter().find(|(_, known)| *known == name);
        known.map(|(algorithm, _)| *algorithm)
    }

    /// Its name in headers and entries.
    #[must_use]
    pub fn name(self) -> &'static str {
        let known = Self::NAMES.iter().find(|(known, _)| *known == self);
        known.map_or("", |(_, name)| name)
    }
}

/// A signed batch.
#[derive(Debug, Clone, Copy)]
pub struct BatchInput<'a> {
    /// Index into [`BlockInput::sources`].
    pub source: u32,
    /// Index into [`BlockInput::events`] of its first event in this block. Past the
    /// end: none of its events is in this block.
    pub first_event: u32,
    /// The sender's number.
    pub sequence: u64,
    /// How many events the sender signed.
    pub count: u32,
    /// SHA-256 over the events' digests.
    pub digest: [u8; 32],
    /// How it is signed.
    pub algorithm: SignatureAlgorithm,
    /// SubjectPublicKeyInfo, DER.
    pub public_key: &'a [u8],
    /// The signature.
    pub signature: &'a [u8],
    /// Largest number accepted from this source and key in earlier blocks.
    pub last_sequence: Option<u64>,
    /// True: an earlier batch of this block, of this source and key, has the number too.
    pub repeated: bool,
}

/// A key that a source may sign with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SenderKeyInput {
    /// Index into [`BlockInput::sources`].
    pub source: u32,
    /// SubjectPublicKeyInfo, DER.
    pub public_key: Vec<u8>,
    /// Microseconds since 1970; none: from its entry on.
    pub not_before_us: Option<i64>,
    /// Microseconds since 1970; none: until an entry ends it.
    pub not_after_us: Option<i64>,
}

/// An event.
#[derive(Debug, Clone, Copy)]
pub struct EventInput<'a> {
    /// Index into [`BlockInput::sources`].
    pub source: u32,
    /// Its fields.
    pub view: &'a EventView<'a>,
    /// Canonical JSON, or the bytes that arrived.
    pub body: &'a [u8],
    /// True: the body is the bytes that arrived.
    pub undecodable: bool,
    /// True: it came in a batch that its sender signed.
    pub in_signed_batch: bool,
    /// Other stages of the same request, seen before it.
    pub earlier: &'a [EarlierStage],
}

/// An RBAC snapshot that events are judged by.
#[derive(Debug, Clone, Copy)]
pub struct RbacSnapshot<'a> {
    /// Microseconds since 1970.
    pub in_force_from_us: i64,
    /// As `kubectl get -o json` writes it.
    pub json: &'a [u8],
}

/// Stage of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// RequestReceived
    RequestReceived,
    /// ResponseStarted
    ResponseStarted,
    /// ResponseComplete
    ResponseComplete,
    /// Panic
    Panic,
    /// Absent, or none that audit.k8s.io/v1 knows.
    Unknown,
}

impl Stage {
    /// By its name in an event.
    #[must_use]
    pub fn from_name(name: Option<&str>) -> Self {
        match name {
            Some("RequestReceived") => Self::RequestReceived,
            Some("ResponseStarted") => Self::ResponseStarted,
            Some("ResponseComplete") => Self::ResponseComplete,
            Some("Panic") => Self::Panic,
            _ => Self::Unknown,
        }
    }
}

/// Another stage of an event's request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EarlierStage {
    /// Which.
    pub stage: Stage,
    /// Its stageTimestamp, microseconds.
    pub stage_timestamp_us: Option<i64>,
    /// True: same stage and time, other content.
    pub conflicting: bool,
}
