//! Tiles: the Merkle tree cut into files of 256 hashes, and entry bundles of 256
//! entries, as [c2sp.org/tlog-tiles](https://c2sp.org/tlog-tiles) lays them out.
//!
//! ```text
//! /tile/<L>/<N>[.p/<W>]        W hashes of level 8*L, each the root of 256^L leaves
//! /tile/entries/<N>[.p/<W>]    W entries, each with a big-endian u16 length before it
//! ```
//! `N` is written in groups of three digits, all but the last with an `x`:
//! 1234067 is `x001/x234/067`. A tile with fewer than 256 hashes is partial; it is
//! never empty.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use rs_merkle::{Hasher, MerkleTree};

use crate::hash::Hash;
use crate::tree::{node_hash, tree_root};

/// Levels of the tree that a tile covers.
pub const TILE_HEIGHT: u8 = 8;
/// Hashes in a full tile.
pub const TILE_WIDTH: usize = 1 << TILE_HEIGHT;
/// Bytes of a full tile.
pub const TILE_BYTES: usize = TILE_WIDTH * Hash::LEN;
/// tlog-tiles numbers levels 0 to 63; a tree of 2^64 leaves has 8 of them.
const MAX_LEVEL: u8 = 63;

/// A tile, whatever its width.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TileId {
    /// 0: leaf hashes; level L holds the roots of full tiles of level L-1.
    pub level: u8,
    /// Position among the tiles of its level.
    pub index: u64,
}

/// What a tile path asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TileRef {
    /// Hashes: the tile, and how many of its hashes.
    Hashes {
        /// Which tile.
        id: TileId,
        /// 1 to 256.
        width: usize,
    },
    /// An entry bundle, and how many of its entries.
    Entries {
        /// Position among the bundles.
        index: u64,
        /// 1 to 256.
        width: usize,
    },
}

/// The path is none that tlog-tiles knows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "no tile path: expected <level>/<index>[.p/<width>] or entries/<index>[.p/<width>] as in c2sp.org/tlog-tiles"
)]
pub struct TilePathError;

impl TileRef {
    /// Reads what follows `/tile/`.
    ///
    /// # Errors
    /// Any spelling but the canonical one.
    pub fn parse(path: &str) -> Result<Self, TilePathError> {
        let (kind, rest) = path.split_once('/').ok_or(TilePathError)?;
        let (number, width) = match rest.split_once(".p/") {
            Some((number, width)) => {
                let width: usize = width.parse().map_err(|_| TilePathError)?;
                (
                    number,
                    Some(width)
                        .filter(|w| (1..TILE_WIDTH).contains(w))
                        .ok_or(TilePathError)?,
                )
            }
            None => (rest, TILE_WIDTH),
        };
        let index = parse_index(number)?;
        let parsed = if kind == "entries" {
            Self::Entries { index, width }
        } else {
            let level = kind
                .parse()
                .ok()
                .filter(|l| *l <= MAX_LEVEL)
                .ok_or(TilePathError)?;
            Self::Hashes {
                id: TileId { level, index },
                width,
            }
        };
        // One spelling a tile: "+1", "01" or a missing "x" would be a second one.
        if parsed.to_string() == path {
            Ok(parsed)
        } else {
            Err(TilePathError)
        }
    }
}

impl fmt::Display for TileRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (index, width) = match *self {
            Self::Hashes { id, width } => {
                write!(f, "{}/", id.level)?;
                (id.index, width)
            }
            Self::Entries { index, width } => {
                f.write_str("entries/")?;
                (index, width)
            }
        };
        f.write_str(&index_path(index))?;
        if width < TILE_WIDTH {
            write!(f, ".p/{width}")
        } else {
            Ok(())
        }
    }
}

fn index_path(index: u64) -> String {
    let mut path = alloc::format!("{:03}", index % 1000);
    let mut rest = index / 1000;
    while rest > 0 {
        path = alloc::format!("x{:03}/{path}", rest % 1000);
        rest /= 1000;
    }
    path
}

fn parse_index(text: &str) -> Result<u64, TilePathError> {
    text.split('/').try_fold(0_u64, |index, group| {
        let group = group.strip_prefix('x').unwrap_or(group);
        let group: u64 = group.parse().map_err(|_| TilePathError)?;
        index
            .checked_mul(1000)
            .and_then(|i| i.checked_add(group))
            .ok_or(TilePathError)
    })
}

/// The RFC 6962 hasher over node hashes for rs_merkle. Its own `Sha256` has no
/// domain separation and must not be used for a log.
#[derive(Clone)]
struct Rfc6962;

impl Hasher for Rfc6962 {
    type Hash = [u8; 32];

    /// Leaves enter hashed; rs_merkle calls this only from its default
    /// `concat_and_hash`, which is replaced below.
    fn hash(data: &[u8]) -> Self::Hash {
        crate::hash::sha256(&[data]).0
    }

    fn concat_and_hash(left: &Self::Hash, right: Option<&Self::Hash>) -> Self::Hash {
        match right {
            Some(right) => node_hash(&Hash(*left), &Hash(*right)).0,
            None => *left,
        }
    }
}

/// The root over at most a tile's hashes: rs_merkle within a bound where its memory
/// and its O(n) commit don't matter.
///
/// The RFC 6962 root of no hashes is that of the empty tree.
#[must_use]
pub fn subtree_root(hashes: &[Hash]) -> Hash {
    let leaves: Vec<[u8; 32]> = hashes.iter().map(|h| h.0).collect();
    MerkleTree::<Rfc6962>::from_leaves(&leaves)
        .root()
        .map_or_else(|| tree_root(&[]), Hash)
}

/// An entry bundle: up to 256 entries, each after its length as a big-endian u16.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EntryBundle {
    bytes: Vec<u8>,
}

impl EntryBundle {
    /// Adds an entry.
    ///
    /// # Errors
    /// The entry is longer than 65,535 bytes.
    pub fn push(&mut self, entry: &[u8]) -> Result<(), BundleError> {
        let length = u16::try_from(entry.len()).map_err(|_| BundleError::TooLong(entry.len()))?;
        self.bytes.extend_from_slice(&length.to_be_bytes());
        self.bytes.extend_from_slice(entry);
        Ok(())
    }

    /// The bytes to serve.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Splits a bundle of exactly `width` entries.
    ///
    /// # Errors
    /// The bytes are not exactly that many entries.
    pub fn split(bytes: &[u8], width: usize) -> Result<Vec<&[u8]>, BundleError> {
        let mut entries = Vec::with_capacity(width.min(TILE_WIDTH));
        let mut rest = bytes;
        while let Some((length, tail)) = rest.split_first_chunk::<2>() {
            let length = usize::from(u16::from_be_bytes(*length));
            let (entry, tail) = tail.split_at_checked(length).ok_or(BundleError::CutOff)?;
            entries.push(entry);
            rest = tail;
        }
        if !rest.is_empty() {
            return Err(BundleError::CutOff);
        }
        if entries.len() != width {
            return Err(BundleError::Width {
                expected: width,
                found: entries.len(),
            });
        }
        Ok(entries)
    }
}

/// Why bytes are no entry bundle.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    /// A length reaches past the end.
    #[error("the entry bundle ends inside an entry")]
    CutOff,
    /// Another number of entries than asked for.
    #[error("the entry bundle holds {found} entries, expected {expected}")]
    Width {
        /// Asked for.
        expected: usize,
        /// Found.
        found: usize,
    },
    /// An entry that tlog-tiles can't carry.
    #[error("an entry of {0} bytes is over the 65,535 of a tlog-tiles bundle")]
    TooLong(usize),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::leaf_hash;
    use std::vec;

    #[test]
    fn paths_are_spelt_one_way() {
        for path in [
            "0/000",
            "0/x001/x234/067",
            "3/001.p/7",
            "entries/x001/000.p/255",
            "63/999",
            "0/x018/x446/x744/x073/x709/x551/615",
        ] {
            assert_eq!(TileRef::parse(path).map(|t| t.to_string()), Ok(path.into()));
        }
        for path in [
            "",
            "0",
            "0/1",
            "0/x001",
            "0/1000",
            "64/000",
            "0/000.p/0",
            "0/000.p/256",
            "0/000.p/01",
            "0/000.p/",
            "-1/000",
            "0/+00",
            "0/x000/001",
            "entries/",
            "data/000",
            "0/x018/x446/x744/x073/x709/x551/616",
            "0/000/",
            "0/000.p/1/",
        ] {
            assert_eq!(TileRef::parse(path), Err(TilePathError), "{path}");
        }
    }

    #[test]
    fn bundles_round_trip_and_refuse_damage() {
        let mut bundle = EntryBundle::default();
        let entries = [vec![], vec![7; 300], vec![0xff; 65_535]];
        for entry in &entries {
            bundle.push(entry).unwrap();
        }
        let mut rejected = bundle.clone();
        assert_eq!(
            rejected.push(&vec![0; 65_536]),
            Err(BundleError::TooLong(65_536))
        );
        let bytes = bundle.into_bytes();
        assert_eq!(EntryBundle::split(&bytes, 3).unwrap(), entries);
        assert_eq!(
            EntryBundle::split(&bytes, 2),
            Err(BundleError::Width {
                expected: 2,
                found: 3
            })
        );
        for cut in [1, 2, 3, 303, bytes.len() - 1] {
            assert!(EntryBundle::split(&bytes[..cut], 3).is_err(), "{cut}");
        }
    }

    #[test]
    fn rs_merkle_gives_rfc_6962_roots_within_a_tile() {
        let leaves: Vec<Hash> = (0..=TILE_WIDTH as u64)
            .map(|i| leaf_hash(&i.to_be_bytes()))
            .collect();
        for n in 0..=TILE_WIDTH {
            assert_eq!(subtree_root(&leaves[..n]), tree_root(&leaves[..n]), "{n}");
        }
    }
}
