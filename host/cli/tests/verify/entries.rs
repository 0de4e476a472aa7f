//! Entries: changed, moved, lost, and what an honest log looks like.

use auditchain_cli::Rule;
use auditchain_log::{
    Checkpoint, Entry, KeyState, Payload, SealRecord, TileId, Timestamp, sha256, sign_note,
};

use crate::support::*;
use crate::{assert_found, assert_only, assert_range, found, verify};

#[test]
fn an_honest_log_holds_and_is_counted() {
    let log = honest();
    for (has_partial_tiles, head) in [(true, None), (false, log.head.clone())] {
        let log = MemoryLog {
            has_partial_tiles,
            head,
            ..log.clone()
        };
        let report = verify(&log);
        assert_eq!(found(&report), []);
        assert_eq!((report.entries, report.blocks), (SIZE, BLOCKS + 1));
        let kinds = [
            "batch",
            "event",
            "key",
            "policy",
            "rbac",
            "rejection",
            "seal",
        ];
        let counts = [BLOCKS, BLOCKS * 43, 2, 1, 1, BLOCKS, BLOCKS];
        assert!(
            report
                .kinds
                .clone()
                .into_iter()
                .eq(kinds.into_iter().zip(counts)),
            "{:?}",
            report.kinds
        );
        assert_eq!(report.sources["eu"].events, BLOCKS * 41);
        assert_eq!(report.sources["eu"].undecodable, BLOCKS);
        assert_eq!(report.sources["eu"].rejections, BLOCKS);
        assert_eq!(report.sources["signed"].valid, BLOCKS * 2);
        assert_eq!(
            (report.bodies_verified, report.bodies_missing),
            (BLOCKS * 44, 0)
        );
        assert_eq!(
            (report.seals_verified, report.batch_signatures_verified),
            (BLOCKS, BLOCKS)
        );
        assert_eq!(report.tiles_verified, if has_partial_tiles { 4 } else { 2 });
        assert_eq!(report.values_verified, 3);
        let checkpoint = report.checkpoint.unwrap();
        assert_eq!(checkpoint.note.as_bytes(), log.note.as_deref().unwrap());
        assert_eq!(checkpoint.signed_by.len(), 2);
    }
}

#[test]
fn a_log_that_grows_is_verified_up_to_its_checkpoint() {
    let mut log = honest();
    log.head = None;
    log.entries.push(b"newer than the checkpoint".to_vec());
    log.bodies.push(None);
    assert_eq!(verify(&log).entries, SIZE);
}

#[test]
fn every_changed_byte_of_an_entry_is_named() {
    // In a full tile and in the partial one; from the store and over HTTP.
    for index in [
        event_index(2, 5),
        event_index(BLOCKS, 3),
        SIZE - 1,
        0,
        2,
        batch_index(3),
        seal_index(4),
    ] {
        let honest = honest();
        let at = usize::try_from(index).unwrap();
        let length = honest.entries[at].len();
        for byte in (0..length).step_by(113).chain([length - 1]) {
            for from_store in [true, false] {
                let mut log = honest.clone();
                log.has_partial_tiles = !from_store;
                log.head = log.head.filter(|_| from_store);
                log.entries[at][byte] ^= 1;
                let report = verify(&log);
                assert!(!report.holds);
                let named = report.findings.kept.iter().any(|f| {
                    f.index == Some(index)
                        && matches!(f.rule, Rule::Entry | Rule::Chain | Rule::Tile)
                });
                assert!(named, "byte {byte} of {index}: {:#?}", report.findings.kept);
                assert!(found(&report).iter().any(|(rule, ..)| *rule == Rule::Root));
                let innocent = report.findings.kept.iter().find(|f| {
                    let (first, last) = (
                        f.index.unwrap_or(index),
                        f.last_index.or(f.index).unwrap_or(index),
                    );
                    // The bracket of roots and seals holds it; a link may blame a neighbour too.
                    !(first.saturating_sub(2)..=last + 1).contains(&index)
                        && !matches!(f.rule, Rule::Seal | Rule::Root | Rule::Head | Rule::Batch)
                });
                // A changed key entry makes every seal fail, a changed first entry the genesis.
                assert!(
                    innocent.is_none() || index < GENESIS_ENTRIES,
                    "byte {byte} of {index}: {innocent:?}"
                );
            }
        }
    }
}

#[test]
fn an_entry_changed_into_another_good_one_is_named() {
    let mut log = honest();
    let index = event_index(3, 7);
    let at = usize::try_from(index).unwrap();
    let mut entry = Entry::parse(&log.entries[at]).unwrap();
    let Payload::Event { verdict, .. } = &mut entry.payload else {
        panic!()
    };
    verdict.valid = false;
    log.entries[at] = entry.encode().unwrap();
    let report = verify(&log);
    assert_found(&report, Rule::Tile, index);
    assert_range(&report, Rule::Chain, index, index + 1);
    assert_found(&report, Rule::Seal, seal_index(4));
    // The seal before still held: the change is between the two.
    assert_range(&report, Rule::Root, seal_index(3), SIZE - 1);
    assert_only(
        &report,
        &[Rule::Tile, Rule::Chain, Rule::Seal, Rule::Root, Rule::Head],
    );
}

#[test]
fn swapped_entries_are_named() {
    let mut log = honest();
    let index = event_index(5, 9);
    let at = usize::try_from(index).unwrap();
    log.entries.swap(at, at + 1);
    log.bodies.swap(at, at + 1);
    let report = verify(&log);
    assert_range(&report, Rule::Chain, index, index + 1);
    assert_range(&report, Rule::Tile, index, index + 1);
}

#[test]
fn a_dropped_entry_is_named() {
    let mut log = honest();
    let index = event_index(5, 9);
    let at = usize::try_from(index).unwrap();
    log.entries.remove(at);
    log.bodies.remove(at);
    let report = verify(&log);
    assert_range(&report, Rule::Chain, index - 1, index);
    assert_found(&report, Rule::Seal, seal_index(6) - 1);
    assert_found(&report, Rule::Unreadable, SIZE - 1);
    // A whole block dropped.
    let mut log = honest();
    let (from, to) = (
        usize::try_from(seal_index(5)).unwrap(),
        usize::try_from(seal_index(6)).unwrap(),
    );
    log.entries.drain(from..to);
    log.bodies.drain(from..to);
    assert_found(&verify(&log), Rule::Block, seal_index(5));
}

#[test]
fn a_doubled_entry_is_named() {
    let mut log = honest();
    let index = event_index(5, 9);
    let at = usize::try_from(index).unwrap();
    log.entries.insert(at, log.entries[at].clone());
    log.bodies.insert(at, log.bodies[at].clone());
    let report = verify(&log);
    assert_range(&report, Rule::Chain, index, index + 1);
    assert_found(&report, Rule::Seal, seal_index(6) + 1);
}

#[test]
fn blocks_and_times_out_of_order_are_named() {
    let forge = |index: u64, change: &dyn Fn(&mut Entry)| {
        let mut hook = |at: u64, entry: &mut Entry| {
            if at == index {
                change(entry);
            }
        };
        let mut log = build(&mut hook);
        log.head = None;
        verify(&log)
    };
    let index = event_index(3, 4);
    let later = |entry: &mut Entry| entry.time = Timestamp::from_micros(entry.time.as_micros() + 1);
    assert_eq!(
        found(&forge(index, &later)),
        [index, index + 1].map(|i| (Rule::Block, Some(i), Some(i)))
    );
    let report = forge(index, &|entry| entry.block += 2);
    assert_found(&report, Rule::Block, index);
    let report = forge(seal_index(4), &|entry| {
        entry.time = Timestamp::from_micros(0);
    });
    assert_found(&report, Rule::Block, seal_index(4));
    // A block without a seal, and a seal inside a block.
    let report = forge(seal_index(4), &|entry| {
        entry.payload = log_key(&stranger_keys()[0], KeyState::End);
    });
    assert_found(&report, Rule::Block, seal_index(4));
    let report = forge(index, &|entry| {
        let note = sign_note("x\n", &keys());
        entry.payload = Payload::Seal {
            seal: SealRecord { note },
            verdict: valid(),
        };
    });
    assert_found(&report, Rule::Block, index);
    assert_found(&report, Rule::Seal, index);
    // A first block without a policy.
    let report = forge(2, &|entry| {
        entry.payload = log_key(&stranger_keys()[0], KeyState::End);
    });
    assert_range(&report, Rule::Block, 0, GENESIS_ENTRIES - 1);
    let report = forge(0, &|entry| entry.block = 1);
    assert_found(&report, Rule::Block, 0);
}

#[test]
fn a_first_block_in_another_order_is_named() {
    let forge = |order: &[usize]| {
        let genesis = honest().entries;
        let payload = |at: usize| Entry::parse(&genesis[at]).unwrap().payload;
        let mut hook = |_: u64, _: &mut Entry| {};
        let mut builder = Builder::new(&mut hook);
        for at in order {
            builder.push(payload(*at), None);
        }
        let mut log = builder.finish();
        log.blobs = honest().blobs;
        verify(&log)
    };
    // Keys are 0 and 1, 2 the policies, 3 the snapshot.
    for holds in [&[0, 1, 2, 3][..], &[1, 0, 2]] {
        assert_eq!(found(&forge(holds)), []);
    }
    for (order, index) in [
        (&[0, 2, 1, 3][..], 2),
        (&[0, 1, 3, 2], 2),
        (&[0, 1, 2, 3, 3], 4),
    ] {
        let report = forge(order);
        assert_found(&report, Rule::Block, index);
        assert_only(&report, &[Rule::Block]);
    }
}

#[test]
fn unreadable_entries_are_named_and_the_rest_is_verified() {
    // In a full tile: its hashes carry the tree across the hole.
    let mut log = honest();
    log.has_partial_tiles = false;
    log.damaged = vec![100, 101, 102];
    let report = verify(&log);
    assert_range(&report, Rule::Unreadable, 100, 102);
    assert_only(&report, &[Rule::Unreadable]);
    assert_eq!(report.unreadable_entries, 3);
    // A lie in the tile is found by the next seal all the same.
    log.tiles.get_mut(&TileId { level: 0, index: 0 }).unwrap()[32 * 101] ^= 1;
    assert!(
        found(&verify(&log))
            .iter()
            .any(|(rule, ..)| *rule == Rule::Seal)
    );
    // At the end: what can't be compared is not called good.
    let mut log = honest();
    log.has_partial_tiles = false;
    log.damaged = vec![SIZE - 1];
    let report = verify(&log);
    assert_found(&report, Rule::Unreadable, SIZE - 1);
    let over_http = MemoryLog {
        has_partial_tiles: true,
        head: None,
        ..log.clone()
    };
    assert_only(&verify(&over_http), &[Rule::Unreadable]);
    assert!(
        report
            .not_checked
            .iter()
            .any(|line| line.contains("signed checkpoint was not compared"))
    );
}

#[test]
fn findings_and_memory_are_bounded_whatever_the_log_is() {
    let mut log = honest();
    for entry in &mut log.entries {
        entry[3] ^= 1;
    }
    let report = verify(&log);
    assert_eq!(
        report.findings.kept.len(),
        auditchain_cli::limits::FINDINGS_MAX
    );
    assert!(report.findings.total >= SIZE);
    // A checkpoint that promises more than there is.
    let huge = Checkpoint {
        origin: ORIGIN.into(),
        size: auditchain_log::TreeSize(1 << 60),
        root: sha256(&[]),
    };
    let mut log = honest();
    log.note = Some(sign_note(&huge.to_text(), &keys()).into_bytes());
    (log.head, log.has_partial_tiles) = (None, false);
    let report = verify(&log);
    assert_range(&report, Rule::Unreadable, SIZE, (1 << 60) - 1);
    assert_eq!(report.entries, SIZE);
}
