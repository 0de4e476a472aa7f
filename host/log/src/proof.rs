//! Checking proofs, by the algorithms of
//! [RFC 9162, 2.1.3.2 and 2.1.4.2](https://www.rfc-editor.org/rfc/rfc9162#section-2.1.3).
//! They accept the proofs of RFC 6962 and refuse every other length and order;
//! rs_merkle's own `verify` accepts malformed ones and isn't used.

use crate::hash::Hash;
use crate::tree::{LeafIndex, TreeSize, node_hash};

/// Why a proof proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProofError {
    /// The leaf is past the end.
    #[error("index {index} is not in a tree of size {size}")]
    Index {
        /// Asked for.
        index: LeafIndex,
        /// Of the tree.
        size: TreeSize,
    },
    /// The first tree is no possible prefix of the second.
    #[error("a tree of size {from} can't be proven to be a prefix of one of size {to}")]
    Sizes {
        /// Of the earlier tree.
        from: TreeSize,
        /// Of the later tree.
        to: TreeSize,
    },
    /// Too few or too many hashes.
    #[error("the proof has {0} hashes, which these sizes don't need")]
    Length(usize),
    /// The hashes don't lead to the root.
    #[error("the proof leads to another root")]
    Root,
}

/// That the leaf is entry `index` of the tree with this size and root.
///
/// # Errors
/// The proof doesn't show it.
pub fn verify_inclusion(
    leaf: &Hash,
    index: LeafIndex,
    size: TreeSize,
    proof: &[Hash],
    root: &Hash,
) -> Result<(), ProofError> {
    // 1. Compare leaf_index with tree_size.
    if index.0 >= size.0 {
        return Err(ProofError::Index { index, size });
    }
    // 2. Set fn to leaf_index and sn to tree_size - 1.
    let (mut f, mut s) = (index.0, size.0 - 1);
    // 3. Set r to hash.
    let mut r = *leaf;
    // 4. For each value p in the inclusion_path array:
    for p in proof {
        if s == 0 {
            return Err(ProofError::Length(proof.len()));
        }
        if f & 1 == 1 || f == s {
            r = node_hash(p, &r);
            while f & 1 == 0 && f != 0 {
                f >>= 1;
                s >>= 1;
            }
        } else {
            r = node_hash(&r, p);
        }
        f >>= 1;
        s >>= 1;
    }
    // 5. Compare sn to 0 and r to the root hash.
    if s != 0 {
        return Err(ProofError::Length(proof.len()));
    }
    if r == *root {
        Ok(())
    } else {
        Err(ProofError::Root)
    }
}

/// That the tree with `from` leaves and root `from_root` is a prefix of the tree
/// with `to` leaves and root `to_root`.
///
/// # Errors
/// The proof doesn't show it.
pub fn verify_consistency(
    from: TreeSize,
    to: TreeSize,
    proof: &[Hash],
    from_root: &Hash,
    to_root: &Hash,
) -> Result<(), ProofError> {
    if from.0 == 0 || from > to {
        return Err(ProofError::Sizes { from, to });
    }
    if from == to {
        return match (proof, from_root == to_root) {
            ([], true) => Ok(()),
            ([], false) => Err(ProofError::Root),
            _ => Err(ProofError::Length(proof.len())),
        };
    }
    // 1. An empty consistency_path fails. 2. If first is a power of two, prepend
    // first_hash to it.
    let (mut fr, rest) = if from.0.is_power_of_two() {
        if proof.is_empty() {
            return Err(ProofError::Length(0));
        }
        (*from_root, proof)
    } else {
        let (first, rest) = proof.split_first().ok_or(ProofError::Length(0))?;
        (*first, rest)
    };
    // 3. Set fn to first - 1 and sn to second - 1.
    let (mut f, mut s) = (from.0 - 1, to.0 - 1);
    // 4. While the least significant bit of fn is set, right-shift both.
    while f & 1 == 1 {
        f >>= 1;
        s >>= 1;
    }
    // 5. Set both fr and sr to the first value.
    let mut sr = fr;
    // 6. For each subsequent value c:
    for c in rest {
        if s == 0 {
            return Err(ProofError::Length(proof.len()));
        }
        if f & 1 == 1 || f == s {
            fr = node_hash(c, &fr);
            sr = node_hash(c, &sr);
            while f & 1 == 0 && f != 0 {
                f >>= 1;
                s >>= 1;
            }
        } else {
            sr = node_hash(&sr, c);
        }
        f >>= 1;
        s >>= 1;
    }
    // 7. fr is first_hash, sr is second_hash, sn is 0.
    if s != 0 {
        return Err(ProofError::Length(proof.len()));
    }
    if fr == *from_root && sr == *to_root {
        Ok(())
    } else {
        Err(ProofError::Root)
    }
}
