//! Random histories against a model that keeps everything in memory.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod common;

use auditchain_log::TileId;
use auditchain_store::{AppendError, SledStore, Store};
use common::Block;
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Step {
    /// Entries with and without bodies, by their sizes.
    Append(Vec<(usize, Option<usize>)>),
    /// On the wrong size.
    Stale(u64),
    /// With the epoch of a former writer.
    Fenced,
    Acquire,
    /// Bodies, by their place among those that are left.
    Erase(Vec<prop::sample::Index>),
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let body = prop_oneof![
        3 => (0..3000_usize).boxed(),
        1 => (0..200_000_usize).boxed(),
    ];
    let item = (1..800_usize, prop::option::weighted(0.8, body));
    prop_oneof![
        8 => prop::collection::vec(item, 1..180).prop_map(Step::Append),
        1 => any::<u64>().prop_map(Step::Stale),
        1 => Just(Step::Fenced),
        2 => prop::collection::vec(any::<prop::sample::Index>(), 1..40).prop_map(Step::Erase),
        1 => Just(Step::Acquire),
        2 => Just(Step::Reopen),
    ]
}

#[derive(Default)]
struct Model {
    entries: Vec<Vec<u8>>,
    bodies: Vec<Option<Vec<u8>>>,
    tiles: Vec<(TileId, Vec<u8>)>,
}

impl Model {
    fn check(&self, store: &SledStore) {
        let mut at = 0;
        while at < self.entries.len() {
            let chunk = store.chunk_at(at as u64).unwrap().unwrap();
            assert_eq!(chunk.first(), at as u64);
            for index in chunk.first()..chunk.end() {
                let entry = chunk.entry(index).unwrap();
                let body = chunk.body(index);
                let is_event = auditchain_log::Entry::parse(entry).is_ok();
                assert!(is_event || entry == self.entries[at]);
                assert_eq!(
                    body.map(|body| body.bytes),
                    self.bodies[at].as_deref(),
                    "{index}"
                );
                at += 1;
            }
        }
        assert!(store.chunk_at(at as u64).unwrap().is_none());
        let ids: Vec<_> = self.tiles.iter().map(|(id, _)| *id).collect();
        let tiles = store.tiles(&ids).unwrap();
        assert!(
            tiles
                .iter()
                .flatten()
                .eq(self.tiles.iter().map(|(_, tile)| tile))
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, max_shrink_iters: 40, ..Default::default() })]

    #[test]
    fn any_history_reads_back_as_the_model_says(steps in prop::collection::vec(step(), 1..14)) {
        let dir = tempfile::tempdir().unwrap();
        let mut store = SledStore::open(dir.path()).unwrap();
        let (mut epoch, _) = store.acquire().unwrap();
        let mut model = Model::default();
        let mut head = None;
        for step in steps {
            let size = model.entries.len() as u64;
            match step {
                Step::Append(items) => {
                    let mut block = Block::after(head.as_ref(), items.len() as u64);
                    for (at, (entry, body)) in items.into_iter().enumerate() {
                        let seed = size + at as u64;
                        block.entries[at] = common::noise(seed, entry).into_bytes();
                        block.bodies[at] =
                            body.map(|bytes| ([7; 32], common::noise(seed, bytes).into_bytes()));
                    }
                    block.append(&store, epoch, size).unwrap();
                    model.entries.extend(block.entries);
                    let bodies = block.bodies.into_iter();
                    model.bodies.extend(bodies.map(|body| body.map(|(_, bytes)| bytes)));
                    model.tiles.extend(block.tiles);
                    head = Some(block.head);
                }
                Step::Stale(wrong) if wrong != size => {
                    let result = Block::after(head.as_ref(), 1).append(&store, epoch, wrong);
                    let stale = matches!(result, Err(AppendError::Stale { .. }));
                    prop_assert!(stale);
                }
                Step::Stale(_) => {}
                Step::Fenced => {
                    let former = epoch;
                    epoch = store.acquire().unwrap().0;
                    let result = Block::after(head.as_ref(), 1).append(&store, former, size);
                    let fenced = matches!(result, Err(AppendError::Fenced { .. }));
                    prop_assert!(fenced);
                }
                Step::Erase(which) => {
                    let left: Vec<usize> =
                        (0..model.bodies.len()).filter(|at| model.bodies[*at].is_some()).collect();
                    if left.is_empty() {
                        continue;
                    }
                    let mut block = Block::after(head.as_ref(), 1);
                    for place in which {
                        let at = *place.get(&left);
                        block.erase.push(at as u64);
                        model.bodies[at] = None;
                    }
                    block.append(&store, epoch, size).unwrap();
                    model.entries.extend(block.entries);
                    let bodies = block.bodies.into_iter();
                    model.bodies.extend(bodies.map(|body| body.map(|(_, bytes)| bytes)));
                    model.tiles.extend(block.tiles);
                    head = Some(block.head);
                }
                Step::Acquire => {
                    let (next, found) = store.acquire().unwrap();
                    prop_assert!(next > epoch);
                    prop_assert_eq!(&found, &head);
                    epoch = next;
                }
                Step::Reopen => {
                    drop(store);
                    store = SledStore::open(dir.path()).unwrap();
                    epoch = store.acquire().unwrap().0;
                }
            }
            prop_assert_eq!(&store.head().unwrap(), &head);
        }
        model.check(&store);
        drop(store);
        model.check(&SledStore::open(dir.path()).unwrap());
        let spilled = std::fs::read_dir(dir.path().join("store/blobs")).unwrap().count();
        prop_assert_eq!(spilled, 0);
    }
}
