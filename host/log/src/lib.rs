//! The formats of the audit log and the mathematics that makes them evidence.
//!
//! This crate has no I/O, no clock, no randomness and needs no std: callers hand
//! everything in, so the service, the auditor's CLI and a guest in WebAssembly run
//! the same code over the same bytes. `docs/format.md` draws the formats.
//!
//! Reading order: [`struct@Hash`], [`Entry`] (the leaf), [`ChainHash`] (what ties a leaf
//! to the one before), [`TreeEdge`] and [`inclusion_proof`] (the Merkle tree of
//! RFC 6962), [`TileRef`] (how the tree is served, c2sp.org/tlog-tiles),
//! [`Checkpoint`] and [`Note`] (what is signed), [`AddCheckpoint`], [`CosignerKey`] and
//! [`WitnessPolicy`] (who else signs), [`json`] (how a received event
//! becomes canonical bytes).
//!
//! Out of scope: storage, transport, and deciding whether an event is good.
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod batch;
mod chain;
mod checkpoint;
mod cosignature;
mod derive;
mod entry;
mod hash;
pub mod json;
mod key;
mod note;
mod policy_signature;
mod proof;
mod record;
mod source;
mod tile;
mod time;
mod tree;
mod witness;
mod witness_policy;

pub use batch::{BATCH_MESSAGE_HEADER, batch_digest, batch_message};
pub use chain::ChainHash;
pub use checkpoint::{Checkpoint, CheckpointError, MAX_ORIGIN_BYTES};
pub use cosignature::{CosignerKey, cosignature_time};
pub use derive::{EventEntry, RECIPE_VERSION, body_salt, chunk_seed};
pub use entry::{ENTRY_VERSION, Entry, EntryError, MAX_ENTRY_BYTES, Payload};
pub use hash::{Hash, HashParseError, body_hash, sha256};
pub use key::{KeyError, SignerKey, VerifierKey};
pub use note::{MAX_NOTE_BYTES, MAX_SIGNATURES, Note, NoteError, NoteSignature, sign_note};
pub use policy_signature::{
    MAX_POLICY_SIGNATURE_BYTES, POLICY_SIGNATURE_HEADER, PolicySignature, PolicySignatureError,
    PolicySigner, policy_message,
};
pub use proof::{ProofError, verify_consistency, verify_inclusion};
pub use record::{
    BatchRecord, BodyCommitment, ErasureRecord, EventRecord, Finding, GapRecord, KeyRecord,
    KeyRole, KeyState, LimitsRecord, MAX_ERASURE_RANGES, MAX_FIELD_BYTES, MAX_FINDINGS, Mode,
    PolicyRecord, RbacRecord, RejectionRecord, SealRecord, Severity, Verdict,
};
pub use source::{MAX_SOURCE_NAME_BYTES, check_source_name};
pub use tile::{
    BundleError, EntryBundle, TILE_BYTES, TILE_HEIGHT, TILE_WIDTH, TileId, TilePathError, TileRef,
    subtree_root,
};
pub use time::{Timestamp, TimestampError};
pub use tree::{
    LeafIndex, NodeReader, TileReader, TreeEdge, TreeSize, consistency_proof, inclusion_proof,
    leaf_hash, node_hash, root_at, tree_root,
};
pub use witness::{
    AddCheckpoint, AddCheckpointError, MAX_ADD_CHECKPOINT_BYTES, MAX_CONSISTENCY_HASHES, Refusal,
};
pub use witness_policy::{
    MAX_POLICY_BYTES, MAX_POLICY_GROUPS, MAX_POLICY_LOGS, MAX_POLICY_WITNESSES, PolicyError,
    PolicyLog, PolicyWitness, Problem as PolicyProblem, QuorumError, WitnessPolicy,
};
