//! The hash chain: `chain(i) = SHA-256(chain(i-1) || "|" || entry(i))`, with
//! `chain(-1) = SHA-256(origin)`.
//!
//! Every entry carries the chain hash before it (`prev`), inside the bytes that are
//! its leaf: chain and tree are bound to each other, and an entry can't be swapped
//! in one without breaking the other. The tree is the authority; the chain lets a
//! reader with a plain file check it line by line.

use crate::hash::{Hash, sha256};

/// The chain hash of the newest entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChainHash(Hash);

impl ChainHash {
    /// The value before the first entry.
    #[must_use]
    pub fn genesis(origin: &str) -> Self {
        Self(sha256(&[origin.as_bytes()]))
    }

    /// Continues a chain whose newest value is known.
    #[must_use]
    pub fn resume(hash: Hash) -> Self {
        Self(hash)
    }

    /// The value, which the next entry carries as `prev`.
    #[must_use]
    pub fn hash(self) -> Hash {
        self.0
    }

    /// The chain after `entry`.
    #[must_use]
    pub fn next(self, entry: &[u8]) -> Self {
        Self(sha256(&[&self.0.0, b"|", entry]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn chain_follows_the_formula() {
        // printf example.com/log | sha256sum
        let genesis = ChainHash::genesis("example.com/log");
        let by_hand = sha256(&[b"example.com/log"]);
        assert_eq!(genesis.hash(), by_hand);
        let mut bytes = by_hand.0.to_vec();
        bytes.extend_from_slice(b"|{\"v\":1}");
        assert_eq!(genesis.next(b"{\"v\":1}").hash(), sha256(&[&bytes]));
        assert_eq!(
            sha256(&[b"abc"]).to_string(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }
}
