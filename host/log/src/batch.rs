//! What a sender signs over a batch of events.

use alloc::format;
use alloc::vec::Vec;

use sha2::{Digest, Sha256};

use crate::hash::{Hash, sha256};

/// First line of the signed message: it separates these signatures from any other
/// use of the sender's key.
pub const BATCH_MESSAGE_HEADER: &str = "auditchain-batch/v1";

/// SHA-256 over the SHA-256 digests of the events' canonical bytes, in their order.
#[must_use]
pub fn batch_digest<'a>(events: impl IntoIterator<Item = &'a [u8]>) -> Hash {
    let mut hasher = Sha256::new();
    for event in events {
        hasher.update(sha256(&[event]).0);
    }
    Hash(hasher.finalize().into())
}

/// The bytes that the sender signs: header, source, sequence number, count and
/// digest, a line each. A source's name has no newline (it is checked where it
/// enters), so the lines can't be shifted.
#[must_use]
pub fn batch_message(source: &str, sequence: u64, count: u32, digest: &Hash) -> Vec<u8> {
    format!("{BATCH_MESSAGE_HEADER}\n{source}\n{sequence}\n{count}\n{digest}\n").into_bytes()
}
