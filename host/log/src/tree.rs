//! The Merkle tree of [RFC 6962](https://www.rfc-editor.org/rfc/rfc6962#section-2.1)
//! over leaf hashes: `MTH({}) = SHA-256()`, `MTH({d}) = SHA-256(0x00 || d)`,
//! `MTH(D[n]) = SHA-256(0x01 || MTH(D[0:k]) || MTH(D[k:n]))` with k the largest
//! power of two smaller than n.
//!
//! [`TreeEdge`] is what a log must hold to append (at most 255 hashes a level);
//! proofs are made from tiles through [`NodeReader`].

use alloc::vec::Vec;
use core::fmt;

use crate::hash::{Hash, sha256};
use crate::tile::{TILE_BYTES, TILE_HEIGHT, TILE_WIDTH, TileId, subtree_root};

/// The position of an entry in the log, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct LeafIndex(pub u64);

/// How many entries a tree covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TreeSize(pub u64);

impl fmt::Display for LeafIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for TreeSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// `SHA-256(0x00 || entry)`.
#[must_use]
pub fn leaf_hash(entry: &[u8]) -> Hash {
    sha256(&[&[0], entry])
}

/// `SHA-256(0x01 || left || right)`.
#[must_use]
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    sha256(&[&[1], &left.0, &right.0])
}

/// MTH over leaf hashes that are all at hand.
#[must_use]
pub fn tree_root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => sha256(&[]),
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
            node_hash(&tree_root(left), &tree_root(right))
        }
    }
}

/// The largest power of two smaller than `n`, for `n >= 2`.
fn split_point(n: u64) -> u64 {
    1 << (63 - (n - 1).leading_zeros())
}

/// The right edge of the tree: per tile level the hashes that don't fill a tile yet.
/// Owned by whoever appends; rebuilt from the store on open.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TreeEdge {
    size: u64,
    levels: Vec<Vec<Hash>>,
}

impl TreeEdge {
    /// Takes up a tree of `size` leaves: reads from `tiles` the last, partial tile
    /// of each level, whose hashes are leaf hashes at level 0 and roots of full
    /// tiles above.
    ///
    /// # Errors
    /// Those of the reader.
    pub fn load<R: NodeReader>(size: TreeSize, tiles: &R) -> Result<Self, R::Error> {
        let mut edge = Self {
            size: size.0,
            levels: Vec::new(),
        };
        let mut count = size.0;
        let mut level = 0;
        while count > 0 {
            let first = count - count % TILE_WIDTH as u64;
            let hashes = (first..count).map(|index| tiles.node(level * TILE_HEIGHT, index));
            edge.levels.push(hashes.collect::<Result<_, _>>()?);
            count /= TILE_WIDTH as u64;
            level += 1;
        }
        Ok(edge)
    }

    /// Leaves so far.
    #[must_use]
    pub fn size(&self) -> TreeSize {
        TreeSize(self.size)
    }

    /// Adds a leaf; tiles that it fills are put into `full`, each exactly once.
    pub fn push(&mut self, leaf: Hash, full: &mut Vec<(TileId, Vec<u8>)>) {
        let mut hash = leaf;
        let mut index = self.size;
        self.size += 1;
        for level in 0_u8.. {
            if usize::from(level) == self.levels.len() {
                self.levels.push(Vec::new());
            }
            let hashes = &mut self.levels[usize::from(level)];
            hashes.push(hash);
            if hashes.len() < TILE_WIDTH {
                return;
            }
            index /= TILE_WIDTH as u64;
            let mut bytes = Vec::with_capacity(TILE_BYTES);
            hashes.iter().for_each(|h| bytes.extend_from_slice(&h.0));
            full.push((TileId { level, index }, bytes));
            hash = subtree_root(hashes);
            hashes.clear();
        }
    }

    /// The root of the whole tree.
    #[must_use]
    pub fn root(&self) -> Hash {
        // From the right: the hashes of a level split by the binary digits of their
        // count, the smallest subtree last; what is right of it joins from below.
        let mut root = None;
        for hashes in &self.levels {
            let mut end = hashes.len();
            while end > 0 {
                let width = 1 << end.trailing_zeros();
                let left = subtree_root(&hashes[end - width..end]);
                root = Some(root.map_or(left, |right| node_hash(&left, &right)));
                end -= width;
            }
        }
        root.unwrap_or_else(|| sha256(&[]))
    }

    /// The partial tile of a level; empty if there is none.
    #[must_use]
    pub fn partial(&self, level: u8) -> &[Hash] {
        self.levels
            .get(usize::from(level))
            .map_or(&[], Vec::as_slice)
    }
}

/// Reads nodes of the tree: complete subtrees only.
pub trait NodeReader {
    /// Why a node can't be read.
    type Error;

    /// The root of the leaves `index << level` to `(index + 1) << level`.
    ///
    /// # Errors
    /// The node isn't there, or can't be read.
    fn node(&self, level: u8, index: u64) -> Result<Hash, Self::Error>;
}

/// Reads the hashes of tiles; a [`NodeReader`] by way of them.
pub trait TileReader {
    /// Why a tile can't be read.
    type Error;

    /// At least the first `width` hashes of the tile.
    ///
    /// # Errors
    /// The tile isn't there, is shorter, or can't be read.
    fn tile(&self, id: TileId, width: usize) -> Result<Vec<Hash>, Self::Error>;
}

impl<T: TileReader> NodeReader for T {
    type Error = T::Error;

    fn node(&self, level: u8, index: u64) -> Result<Hash, Self::Error> {
        let (tile_level, height) = (level / TILE_HEIGHT, level % TILE_HEIGHT);
        let first = index << height;
        let id = TileId {
            level: tile_level,
            index: first / TILE_WIDTH as u64,
        };
        let [offset, ..] = first.to_le_bytes();
        let offset = usize::from(offset);
        let hashes = self.tile(id, offset + (1 << height))?;
        Ok(subtree_root(&hashes[offset..offset + (1 << height)]))
    }
}

/// `PATH(m, D[n])` of RFC 6962, 2.1.1: the audit path of leaf `index` in the tree of
/// `size` leaves, from the leaf's sibling up.
///
/// # Errors
/// Those of the reader. `None` if the index is not in the tree.
pub fn inclusion_proof<R: NodeReader>(
    index: LeafIndex,
    size: TreeSize,
    nodes: &R,
) -> Result<Option<Vec<Hash>>, R::Error> {
    if index.0 >= size.0 {
        return Ok(None);
    }
    let mut path = Vec::new();
    let (mut lo, mut hi) = (0, size.0);
    while hi - lo > 1 {
        let middle = lo + split_point(hi - lo);
        if index.0 < middle {
            path.push(range_root(middle, hi, nodes)?);
            hi = middle;
        } else {
            path.push(range_root(lo, middle, nodes)?);
            lo = middle;
        }
    }
    path.reverse();
    Ok(Some(path))
}

/// `PROOF(m, D[n])` of RFC 6962, 2.1.2: that the tree of `from` leaves is a prefix of
/// the tree of `to` leaves.
///
/// # Errors
/// Those of the reader. `None` unless `0 < from <= to`.
pub fn consistency_proof<R: NodeReader>(
    from: TreeSize,
    to: TreeSize,
    nodes: &R,
) -> Result<Option<Vec<Hash>>, R::Error> {
    if from.0 == 0 || from > to {
        return Ok(None);
    }
    let mut proof = Vec::new();
    let (mut lo, mut hi) = (0, to.0);
    // SUBPROOF(m, D[n], b): b stays true while we go left only.
    while from.0 != hi {
        let middle = lo + split_point(hi - lo);
        if from.0 <= middle {
            proof.push(range_root(middle, hi, nodes)?);
            hi = middle;
        } else {
            proof.push(range_root(lo, middle, nodes)?);
            lo = middle;
        }
    }
    if lo > 0 {
        proof.push(range_root(lo, hi, nodes)?);
    }
    proof.reverse();
    Ok(Some(proof))
}

/// The root that the tree had at `size`.
///
/// # Errors
/// Those of the reader.
pub fn root_at<R: NodeReader>(size: TreeSize, nodes: &R) -> Result<Hash, R::Error> {
    range_root(0, size.0, nodes)
}

/// `MTH(D[lo:hi])` for a range that RFC 6962's splitting yields: `lo` is a multiple
/// of the largest power of two in it.
fn range_root<R: NodeReader>(lo: u64, hi: u64, nodes: &R) -> Result<Hash, R::Error> {
    let mut root = None;
    let mut end = hi;
    while end > lo {
        // The smallest complete subtree at the right end.
        let level = (end - lo).trailing_zeros().min(end.trailing_zeros());
        // At most 63: neither number is zero.
        let left = nodes.node(u8::try_from(level).unwrap_or(63), (end >> level) - 1)?;
        root = Some(match root {
            None => left,
            Some(right) => node_hash(&left, &right),
        });
        end -= 1 << level;
    }
    Ok(root.unwrap_or_else(|| sha256(&[])))
}
