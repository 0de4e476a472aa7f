//! The tree against the published vectors, against the recursive definition of
//! RFC 6962, and its proofs at every size to 300.

#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "test code"
)]

use auditchain_log::{
    Hash, LeafIndex, NodeReader, TILE_WIDTH, TileId, TileReader, TreeEdge, TreeSize,
    consistency_proof, inclusion_proof, leaf_hash, tree_root, verify_consistency, verify_inclusion,
};
use serde_json::Value;

/// A log in memory: full tiles as they were handed out, and the edge.
#[derive(Default)]
struct Tiles {
    full: Vec<(TileId, Vec<u8>)>,
    edge: TreeEdge,
}

impl Tiles {
    fn of_size(size: u64) -> (Self, Vec<Hash>) {
        let mut tiles = Self::default();
        let leaves: Vec<Hash> = (0..size).map(|i| leaf_hash(&i.to_be_bytes())).collect();
        for leaf in &leaves {
            tiles.edge.push(*leaf, &mut tiles.full);
        }
        (tiles, leaves)
    }
}

impl TileReader for Tiles {
    type Error = TileId;

    fn tile(&self, id: TileId, width: usize) -> Result<Vec<Hash>, TileId> {
        let full = self.full.iter().find(|(full, _)| *full == id);
        let hashes: Vec<Hash> = match full {
            Some((_, bytes)) => bytes
                .chunks(32)
                .map(|h| Hash::from_slice(h).unwrap())
                .collect(),
            None => self.edge.partial(id.level).to_vec(),
        };
        if hashes.len() < width {
            Err(id)
        } else {
            Ok(hashes)
        }
    }
}

const SIZES: u64 = 300;

#[test]
fn roots_equal_the_recursive_definition_and_tiles_are_handed_out_once() {
    let mut tiles = Tiles::default();
    let mut leaves = vec![];
    for size in 0..=70_000_u64 {
        if size <= SIZES || size % 9_973 == 0 || size.is_power_of_two() {
            assert_eq!(tiles.edge.root(), tree_root(&leaves), "{size}");
            let loaded = TreeEdge::load(TreeSize(size), &tiles).unwrap();
            assert_eq!(loaded.root(), tiles.edge.root(), "{size}");
            assert_eq!(loaded.size(), tiles.edge.size());
        }
        let leaf = leaf_hash(&size.to_be_bytes());
        leaves.push(leaf);
        tiles.edge.push(leaf, &mut tiles.full);
    }
    let level = |l| {
        tiles
            .full
            .iter()
            .filter(move |(id, _)| id.level == l)
            .map(|(id, _)| id.index)
    };
    assert!(level(0).eq(0..70_001 / TILE_WIDTH as u64));
    assert!(level(1).eq(0..1));
}

#[test]
fn inclusion_proofs_of_all_sizes_verify_and_nothing_else_does() {
    for size in 1..=SIZES {
        let (tiles, leaves) = Tiles::of_size(size);
        let root = tiles.edge.root();
        let size = TreeSize(size);
        for (i, leaf) in leaves.iter().enumerate() {
            let index = LeafIndex(i as u64);
            let proof = inclusion_proof(index, size, &tiles).unwrap().unwrap();
            verify_inclusion(leaf, index, size, &proof, &root).unwrap();
            if i % 37 != 0 {
                continue;
            }
            let refused = |leaf: &Hash, index, size, proof: &[Hash], root: &Hash| {
                assert!(verify_inclusion(leaf, index, size, proof, root).is_err());
            };
            for at in 0..proof.len() {
                let mut bad = proof.clone();
                bad[at].0[at % 32] ^= 1;
                refused(leaf, index, size, &bad, &root);
                bad.remove(at);
                refused(leaf, index, size, &bad, &root);
            }
            let mut longer = proof.clone();
            longer.push(root);
            refused(leaf, index, size, &longer, &root);
            refused(&root, index, TreeSize(size.0 + 1), &proof, &leaf_hash(b""));
            refused(&leaf_hash(b"other"), index, size, &proof, &root);
            refused(leaf, LeafIndex(index.0 + 1), size, &proof, &root);
            refused(leaf, LeafIndex(size.0), size, &proof, &root);
        }
        assert_eq!(
            inclusion_proof(LeafIndex(size.0), size, &tiles).unwrap(),
            None
        );
    }
}

#[test]
fn consistency_proofs_of_all_sizes_verify_and_nothing_else_does() {
    let (tiles, leaves) = Tiles::of_size(SIZES);
    for to in 1..=SIZES {
        let to_root = tree_root(&leaves[..to as usize]);
        for from in 1..=to {
            let from_root = tree_root(&leaves[..from as usize]);
            let (from, to) = (TreeSize(from), TreeSize(to));
            let proof = consistency_proof(from, to, &tiles).unwrap().unwrap();
            verify_consistency(from, to, &proof, &from_root, &to_root).unwrap();
            if (from.0 + to.0) % 41 != 0 {
                continue;
            }
            for at in 0..proof.len() {
                let mut bad = proof.clone();
                bad[at].0[at % 32] ^= 1;
                assert!(verify_consistency(from, to, &bad, &from_root, &to_root).is_err());
                bad.remove(at);
                assert!(verify_consistency(from, to, &bad, &from_root, &to_root).is_err());
            }
            let mut longer = proof.clone();
            longer.push(from_root);
            assert!(verify_consistency(from, to, &longer, &from_root, &to_root).is_err());
            if from != to {
                assert!(verify_consistency(from, to, &proof, &to_root, &to_root).is_err());
                assert!(verify_consistency(from, to, &proof, &from_root, &from_root).is_err());
                assert!(verify_consistency(to, from, &proof, &from_root, &to_root).is_err());
            }
        }
    }
    assert_eq!(
        consistency_proof(TreeSize(0), TreeSize(1), &tiles).unwrap(),
        None
    );
    assert_eq!(
        consistency_proof(TreeSize(2), TreeSize(1), &tiles).unwrap(),
        None
    );
}

#[test]
fn proofs_reach_over_tile_levels() {
    let (tiles, leaves) = Tiles::of_size(70_001);
    let (size, root) = (TreeSize(70_001), tiles.edge.root());
    for i in [0, 1, 255, 256, 65_535, 65_536, 69_999, 70_000] {
        let proof = inclusion_proof(LeafIndex(i), size, &tiles)
            .unwrap()
            .unwrap();
        verify_inclusion(&leaves[i as usize], LeafIndex(i), size, &proof, &root).unwrap();
    }
    for from in [1, 2, 255, 256, 257, 65_536, 65_537, 70_000, 70_001] {
        let proof = consistency_proof(TreeSize(from), size, &tiles)
            .unwrap()
            .unwrap();
        let from_root = tree_root(&leaves[..from as usize]);
        verify_consistency(TreeSize(from), size, &proof, &from_root, &root).unwrap();
    }
    assert_eq!(
        tiles.node(0, 70_001),
        Err(TileId {
            level: 0,
            index: 273
        })
    );
}

fn vectors(text: &str) -> impl Iterator<Item = Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap())
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap()
}

/// Vectors may hold hashes of the wrong length: those can't even be read, which
/// refuses them too.
fn hash(value: &Value) -> Option<Hash> {
    Hash::from_base64(value.as_str()?).ok()
}

fn hashes(value: &Value) -> Option<Vec<Hash>> {
    value
        .as_array()
        .map_or(Some(vec![]), |list| list.iter().map(hash).collect())
}

#[test]
fn published_inclusion_vectors() {
    let text = include_str!("../../../tests/vectors/merkle/inclusion.jsonl");
    let mut counts = [0; 2];
    for v in vectors(text) {
        let checked = (|| {
            let (leaf, root, proof) = (
                hash(&v["leafHash"])?,
                hash(&v["root"])?,
                hashes(&v["proof"])?,
            );
            let (index, size) = (
                LeafIndex(number(&v["leafIdx"])),
                TreeSize(number(&v["treeSize"])),
            );
            verify_inclusion(&leaf, index, size, &proof, &root).ok()
        })();
        let refused = v["wantErr"].as_bool().unwrap();
        assert_eq!(checked.is_none(), refused, "{v}");
        counts[usize::from(refused)] += 1;
    }
    assert_eq!(counts, INCLUSION_COUNTS);
}

#[test]
fn published_consistency_vectors() {
    let text = include_str!("../../../tests/vectors/merkle/consistency.jsonl");
    let mut counts = [0; 2];
    for v in vectors(text) {
        let checked = (|| {
            let (from, to) = (TreeSize(number(&v["size1"])), TreeSize(number(&v["size2"])));
            let (from_root, to_root) = (hash(&v["root1"])?, hash(&v["root2"])?);
            verify_consistency(from, to, &hashes(&v["proof"])?, &from_root, &to_root).ok()
        })();
        let refused = v["wantErr"].as_bool().unwrap();
        assert_eq!(checked.is_none(), refused, "{v}");
        counts[usize::from(refused)] += 1;
    }
    assert_eq!(counts, CONSISTENCY_COUNTS);
}

/// Honest and mutated inclusion proofs in the file.
const INCLUSION_COUNTS: [usize; 2] = [5, 66];
/// Honest and mutated consistency proofs in the file.
const CONSISTENCY_COUNTS: [usize; 2] = [4, 60];
