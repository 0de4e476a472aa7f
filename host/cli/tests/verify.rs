//! The verifier over a log in memory: an honest log holds, and whatever is changed in
//! it is named with its index and kind.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use auditchain_cli::{AuditOptions, Report, Rule, audit};
use auditchain_log::{
    Checkpoint, Entry, KeyState, Note, Payload, SealRecord, TileId, Timestamp, Verdict, sha256,
    sign_note,
};
use support::*;

fn options() -> AuditOptions {
    AuditOptions {
        keys: verifiers(&keys()),
        since: None,
        workers: 2,
    }
}

fn verify(log: &MemoryLog) -> Report {
    let mut last = 0;
    let report = audit(log, &options(), |done, of| {
        assert!(done >= last && done <= of);
        last = done;
    })
    .unwrap();
    // Whatever is found, it does not depend on how the work was split.
    let alone = audit(
        log,
        &AuditOptions {
            workers: 1,
            ..options()
        },
        |_, _| {},
    )
    .unwrap();
    assert_eq!(alone.findings.kept, report.findings.kept);
    assert_eq!(report.holds, report.findings.is_empty());
    report
}

/// Rule and range of each finding.
fn found(report: &Report) -> Vec<(Rule, Option<u64>, Option<u64>)> {
    report
        .findings
        .kept
        .iter()
        .map(|f| (f.rule, f.index, f.last_index.or(f.index)))
        .collect()
}

#[track_caller]
fn assert_found(report: &Report, rule: Rule, index: u64) {
    assert_range(report, rule, index, index);
}

#[track_caller]
fn assert_range(report: &Report, rule: Rule, first: u64, last: u64) {
    let found = found(report);
    assert!(
        !report.holds && found.contains(&(rule, Some(first), Some(last))),
        "{rule:?} {first} {last}: {:#?}",
        report.findings.kept
    );
}

#[track_caller]
fn assert_only(report: &Report, rules: &[Rule]) {
    assert!(
        report.findings.kept.iter().all(|f| rules.contains(&f.rule)),
        "{:#?}",
        report.findings.kept
    );
}

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
fn without_keys_the_report_says_what_that_proves() {
    let report = audit(&honest(), &AuditOptions::default(), |_, _| {}).unwrap();
    assert!(report.holds && report.keys.given.is_empty());
    assert_eq!(report.keys.in_force.len(), 2);
    assert!(
        report
            .not_checked
            .iter()
            .any(|line| line.starts_with("WHOSE LOG THIS IS"))
    );
    assert!(
        !verify(&honest())
            .not_checked
            .iter()
            .any(|line| line.starts_with("WHOSE"))
    );
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
fn a_forged_seal_is_named_even_if_all_else_follows_from_it() {
    let index = seal_index(7);
    type Forge<'f> = &'f dyn Fn(&mut Checkpoint) -> Vec<auditchain_log::SignerKey>;
    let forge = |change: Forge<'_>| {
        let mut hook = |at: u64, entry: &mut Entry| {
            let Payload::Seal { seal, .. } = &mut entry.payload else {
                return;
            };
            if at == index {
                let note = Note::parse(seal.note.as_bytes()).unwrap();
                let mut checkpoint = Checkpoint::parse(note.text()).unwrap();
                let signers = change(&mut checkpoint);
                *seal = SealRecord {
                    note: sign_note(&checkpoint.to_text(), &signers),
                };
            }
        };
        verify(&build(&mut hook))
    };
    let forgeries: [Forge<'_>; 6] = [
        &|_| stranger_keys(),
        &|_| keys().into_iter().take(1).collect(),
        &|_| keys().into_iter().skip(1).collect(),
        &|c| {
            c.root = sha256(&[b"another"]);
            keys()
        },
        &|c| {
            c.size.0 -= 1;
            keys()
        },
        &|c| {
            c.origin.push('x');
            keys()
        },
    ];
    for change in forgeries {
        let report = forge(change);
        assert_eq!(found(&report), [(Rule::Seal, Some(index), Some(index))]);
        assert_eq!(report.findings.kept[0].block, Some(6));
    }
    assert!(forge(&|_| keys()).holds);
}

#[test]
fn a_checkpoint_that_says_another_root_or_size_is_named() {
    let log = honest();
    let note = Note::parse(log.note.as_deref().unwrap()).unwrap();
    let good = Checkpoint::parse(note.text()).unwrap();
    let with = |checkpoint: &Checkpoint| MemoryLog {
        note: Some(sign_note(&checkpoint.to_text(), &keys()).into_bytes()),
        head: None,
        ..log.clone()
    };
    let mut bad = good.clone();
    bad.root = sha256(&[b"another"]);
    assert_eq!(
        found(&verify(&with(&bad))),
        [(Rule::Root, Some(seal_index(BLOCKS)), Some(SIZE - 1))]
    );
    let mut bad = good.clone();
    bad.size.0 += 3;
    let mut log = with(&bad);
    log.has_partial_tiles = false;
    assert_range(&verify(&log), Rule::Unreadable, SIZE, SIZE + 2);
    let mut bad = good;
    bad.origin = "example.com/other".into();
    assert!(!verify(&with(&bad)).holds);
}

#[test]
fn a_checkpoint_of_other_keys_is_refused() {
    // A whole log of a stranger, with the same entries.
    let log = build_with(&mut |_, _| {}, 1, "get", stranger_keys());
    let report = verify(&log);
    assert_eq!(found(&report), [(Rule::Checkpoint, None, None)]);
    assert!(report.checkpoint.is_none());
    // Without keys the log's own entries contradict it.
    let report = audit(&log, &AuditOptions::default(), |_, _| {}).unwrap();
    assert!(found(&report).contains(&(Rule::Checkpoint, None, None)));
    assert_found(&report, Rule::Seal, seal_index(1));
    // No checkpoint at all, or none that can be read.
    for note in [None, Some(b"nonsense".to_vec())] {
        let log = MemoryLog { note, ..honest() };
        assert_eq!(found(&verify(&log)), [(Rule::Checkpoint, None, None)]);
    }
    // One signature is missing.
    let mut log = honest();
    let note = String::from_utf8(log.note.take().unwrap()).unwrap();
    let cut = note.trim_end().rfind('\n').unwrap() + 1;
    log.note = Some(note[..cut].into());
    assert_eq!(found(&verify(&log)), [(Rule::Checkpoint, None, None)]);
}

#[test]
fn a_swapped_key_entry_is_named() {
    let swap = |at: u64, entry: &mut Entry| {
        if at == 1 {
            entry.payload = log_key(&stranger_keys()[1], KeyState::Begin);
        }
    };
    // In an existing log.
    let mut log = honest();
    let mut entry = Entry::parse(&log.entries[1]).unwrap();
    swap(1, &mut entry);
    log.entries[1] = entry.encode().unwrap();
    let report = verify(&log);
    assert_found(&report, Rule::Tile, 1);
    assert_found(&report, Rule::Seal, seal_index(1));
    // In a log that follows from it: it is signed by a key that it does not name.
    let report = verify(&build(&mut swap.clone()));
    assert_found(&report, Rule::Seal, seal_index(1));
    assert!(found(&report).contains(&(Rule::Key, None, None)));
    // Served keys that are not the log's.
    let log = MemoryLog {
        vkeys: Some(stranger_keys()[0].verifier().to_string()),
        ..honest()
    };
    assert_eq!(found(&verify(&log)), [(Rule::Key, None, None)]);
}

#[test]
fn keys_can_be_rotated_by_entries() {
    let mut hook = |_: u64, _: &mut Entry| {};
    let mut builder = Builder::new(&mut hook);
    builder.genesis();
    builder.seal();
    builder.push(log_key(&keys()[1], KeyState::End), None);
    builder.push(log_key(&stranger_keys()[1], KeyState::Begin), None);
    let old = builder.signers.pop().unwrap();
    // The block that rotates may be sealed by the old keys or by the new ones.
    builder.signers.push(old);
    builder.seal();
    builder.signers[1] = stranger_keys().pop().unwrap();
    builder.seal();
    let mut log = builder.finish();
    let now = [
        keys()[0].verifier().to_string(),
        stranger_keys()[1].verifier().to_string(),
    ];
    log.vkeys = Some(now.join("\n"));
    let report = audit(&log, &AuditOptions::default(), |_, _| {}).unwrap();
    assert_eq!(found(&report), []);
    assert_eq!(report.keys.in_force, now);
}

#[test]
fn a_changed_body_or_salt_is_named() {
    let honest = honest();
    for index in [
        event_index(3, 1),
        batch_index(4) + 1,
        seal_index(6) - 2,
        seal_index(6) - 1,
    ] {
        let at = usize::try_from(index).unwrap();
        let mut log = honest.clone();
        log.bodies[at].as_mut().unwrap().1[10] ^= 1;
        assert_eq!(
            found(&verify(&log)),
            [(Rule::Body, Some(index), Some(index))]
        );
        let mut log = honest.clone();
        log.bodies[at].as_mut().unwrap().0[31] ^= 0x80;
        assert_eq!(
            found(&verify(&log)),
            [(Rule::Body, Some(index), Some(index))]
        );
        let mut log = honest.clone();
        log.bodies[at].as_mut().unwrap().1.push(b' ');
        assert_eq!(
            found(&verify(&log)),
            [(Rule::Body, Some(index), Some(index))]
        );
    }
    let mut log = honest;
    log.bodies[0] = Some(([0; 32], b"{}".to_vec()));
    assert_eq!(found(&verify(&log)), [(Rule::Body, Some(0), Some(0))]);
}

#[test]
fn a_leaf_that_says_other_things_than_its_body_is_named() {
    let index = event_index(3, 1);
    let forge = |change: &dyn Fn(&mut Payload)| {
        let mut hook = |at: u64, entry: &mut Entry| {
            if at == index {
                change(&mut entry.payload);
            }
        };
        verify(&build(&mut hook))
    };
    let report = forge(&|payload| {
        let Payload::Event { event, .. } = payload else {
            panic!()
        };
        event.verb = Some("list".into());
    });
    assert_eq!(found(&report), [(Rule::Fields, Some(index), Some(index))]);
    assert!(report.findings.kept[0].detail.contains("verb"));
    let report = forge(&|payload| {
        let Payload::Event { undecodable, .. } = payload else {
            panic!()
        };
        *undecodable = Some("syntax".into());
    });
    assert_eq!(found(&report), [(Rule::Body, Some(index), Some(index))]);
    // A commitment to a body that is not canonical.
    let spaced = raw_event(3001).into_bytes();
    let mut hook = |at: u64, entry: &mut Entry| {
        if let (true, Payload::Event { body, .. }) = (at == index, &mut entry.payload) {
            *body = commitment(&[1; 32], &spaced);
        }
    };
    let mut log = build(&mut hook);
    log.bodies[usize::try_from(index).unwrap()] = Some(([1; 32], spaced.clone()));
    assert_eq!(
        found(&verify(&log)),
        [(Rule::Body, Some(index), Some(index))]
    );
}

#[test]
fn missing_bodies_are_counted_and_unreadable_ones_named() {
    let mut log = honest();
    for index in [event_index(3, 1), batch_index(4) + 1] {
        log.bodies[usize::try_from(index).unwrap()] = None;
    }
    let report = verify(&log);
    assert!(report.holds);
    assert_eq!(report.bodies_missing, 2);
    assert!(
        report
            .not_checked
            .iter()
            .any(|line| line.contains("2 bodies that are not there"))
    );
    assert!(
        report
            .not_checked
            .iter()
            .any(|line| line.contains("1 signed batches"))
    );
    let mut log = honest();
    log.damaged_bodies = vec![event_index(3, 1)];
    let report = verify(&log);
    assert_only(&report, &[Rule::Body]);
    assert_eq!(
        (
            report.findings.total,
            report.bodies_unreadable,
            report.bodies_missing
        ),
        (1, 1, 0)
    );
    assert_eq!(report.findings.kept[0].index, Some(event_index(3, 1)));
}

#[test]
fn changed_and_missing_values_are_named() {
    let honest = honest();
    for (content, index) in [
        (&b"\0asm component"[..], 2),
        (b"{\"a\":1}", 2),
        (b"{\"items\":[]}", 3),
    ] {
        let digest = sha256(&[content]);
        let mut log = honest.clone();
        log.blobs.get_mut(&digest).unwrap()[1] ^= 1;
        assert_eq!(
            found(&verify(&log)),
            [(Rule::Value, Some(index), Some(index))]
        );
        let mut log = honest.clone();
        log.blobs.remove(&digest).unwrap();
        assert_eq!(
            found(&verify(&log)),
            [(Rule::Value, Some(index), Some(index))]
        );
    }
}

#[test]
fn a_changed_or_missing_tile_is_named_by_what_it_covers() {
    let honest = honest();
    for (level, tile, byte, first, last) in [
        (0, 0, 32 * 17 + 3, 17, 17),
        (0, 1, 0, 256, 256),
        (0, 2, 33, 513, 513),
        (1, 0, 40, 256, 511),
    ] {
        let id = TileId { level, index: tile };
        let mut log = honest.clone();
        log.tiles.get_mut(&id).unwrap()[byte] ^= 1;
        assert_eq!(
            found(&verify(&log)),
            [(Rule::Tile, Some(first), Some(last))]
        );
        let mut log = honest.clone();
        log.tiles.remove(&id);
        assert_only(&verify(&log), &[Rule::Tile]);
        let mut log = honest.clone();
        log.tiles.get_mut(&id).unwrap().pop();
        let report = verify(&log);
        assert_only(&report, &[Rule::Tile]);
        assert!(!report.holds);
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
fn rewritten_history_is_told_from_growth() {
    let old = honest();
    let since = AuditOptions {
        since: old.note.clone(),
        ..options()
    };
    let check = |log: &MemoryLog, since: &AuditOptions| audit(log, since, |_, _| {}).unwrap();
    assert!(check(&old, &since).holds);
    // The log's own keys have signed another history.
    let rewritten = build_with(&mut |_, _| {}, 9, "list", keys());
    assert!(verify(&rewritten).holds);
    let report = check(&rewritten, &since);
    assert_only(&report, &[Rule::History]);
    assert!(
        report.findings.kept[0]
            .detail
            .contains("HISTORY WAS REWRITTEN")
    );
    // An earlier checkpoint, as the seal of a block: before and after the change.
    let seal = |block: u64| {
        let bytes = &old.entries[usize::try_from(seal_index(block)).unwrap()];
        let Payload::Seal { seal, .. } = Entry::parse(bytes).unwrap().payload else {
            panic!()
        };
        AuditOptions {
            since: Some(seal.note.into_bytes()),
            ..options()
        }
    };
    assert!(check(&old, &seal(5)).holds);
    assert!(check(&rewritten, &seal(9)).holds);
    let report = check(&rewritten, &seal(10));
    assert_eq!(found(&report), [(Rule::History, None, None)]);
    // Entries are gone.
    let mut hook = |_: u64, _: &mut Entry| {};
    let mut builder = Builder::new(&mut hook);
    builder.genesis();
    let report = check(&builder.finish(), &since);
    assert_eq!(
        found(&report),
        [(Rule::History, Some(GENESIS_ENTRIES), Some(GENESIS_ENTRIES))]
    );
    // Not a checkpoint of this log.
    for bad in [
        b"nonsense".to_vec(),
        sign_note(
            "example.com/log\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n",
            &stranger_keys(),
        )
        .into_bytes(),
    ] {
        let report = check(
            &old,
            &AuditOptions {
                since: Some(bad),
                ..options()
            },
        );
        assert_only(&report, &[Rule::History]);
        assert!(!report.holds);
    }
}

#[test]
fn a_store_that_ends_elsewhere_than_its_head_or_checkpoint_is_named() {
    type Change<'c> = &'c dyn Fn(&mut MemoryLog);
    let changes: [(Change<'_>, Rule); 4] = [
        (&|log| log.head.as_mut().unwrap().root.0[0] ^= 1, Rule::Head),
        (
            &|log| log.head.as_mut().unwrap().chain.0[0] ^= 1,
            Rule::Chain,
        ),
        (&|log| log.head.as_mut().unwrap().blocks += 1, Rule::Head),
        (&|log| log.head.as_mut().unwrap().time_us += 1, Rule::Head),
    ];
    for (change, rule) in changes {
        let mut log = honest();
        change(&mut log);
        let report = verify(&log);
        assert_only(&report, &[rule]);
        assert!(!report.holds);
    }
    // Rolled back: the store ends before the checkpoint beside it.
    let mut hook = |_: u64, _: &mut Entry| {};
    let mut builder = Builder::new(&mut hook);
    builder.genesis();
    builder.seal();
    let mut log = builder.finish();
    log.note = honest().note;
    assert_found(&verify(&log), Rule::Head, GENESIS_ENTRIES + 1);
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
fn signed_batches_are_checked_again() {
    let index = batch_index(3);
    let forge = |change: &dyn Fn(&mut Payload)| {
        let mut hook = |at: u64, entry: &mut Entry| {
            if at == index {
                change(&mut entry.payload);
            }
        };
        verify(&build(&mut hook))
    };
    let batch = |payload: &mut Payload, change: &dyn Fn(&mut auditchain_log::BatchRecord)| {
        let Payload::Batch { batch, .. } = payload else {
            panic!()
        };
        change(batch);
    };
    // Signature, then digest, each alone.
    let report = forge(&|payload| batch(payload, &|batch| batch.sequence += 1));
    assert_eq!(found(&report), [(Rule::Batch, Some(index), Some(index))]);
    let report = forge(&|payload| batch(payload, &|batch| batch.digest = sha256(&[b"another"])));
    assert_eq!(found(&report), [(Rule::Batch, Some(index), Some(index)); 2]);
    // More events are said to follow than do.
    let report = forge(&|payload| batch(payload, &|batch| batch.events = 50));
    assert_range(&report, Rule::Batch, index, index + 3);
    // A bad signature that the log itself calls bad is what the log is for.
    let mut hook = |_: u64, _: &mut Entry| {};
    let mut builder = Builder::new(&mut hook);
    builder.genesis();
    builder.seal();
    builder.batch(
        "eu",
        &[raw_event(1)],
        1,
        false,
        Verdict {
            findings: vec![],
            valid: false,
        },
    );
    let report = verify(&builder.finish());
    assert!(report.holds);
    assert_eq!(
        (
            report.batch_signatures_verified,
            report.batch_signatures_invalid
        ),
        (0, 1)
    );
    let mut hook = |_: u64, _: &mut Entry| {};
    let mut builder = Builder::new(&mut hook);
    builder.genesis();
    builder.seal();
    builder.batch("eu", &[raw_event(1)], 1, false, valid());
    assert_only(&verify(&builder.finish()), &[Rule::Batch]);
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
}
