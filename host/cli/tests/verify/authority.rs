//! Who says so: checkpoints, seals, keys, earlier checkpoints, the store's head.

use auditchain_cli::{AuditOptions, Report, Rule, audit};
use auditchain_log::{
    Checkpoint, CosignerKey, Entry, KeyState, Note, Payload, SealRecord, SignerKey, VerifierKey,
    WitnessPolicy, sha256, sign_note,
};

use crate::support::*;
use crate::{assert_found, assert_only, assert_range, found, options, verify};

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
    assert_only(&report, &[Rule::Checkpoint, Rule::Seal]);
    assert!(found(&report).contains(&(Rule::Checkpoint, None, None)));
    assert!(report.checkpoint.is_none());
    // One that names its own keys: nothing else is wrong with it.
    let mut own = |at: u64, entry: &mut Entry| {
        if let Some(key) = stranger_keys().get(usize::try_from(at).unwrap()) {
            entry.payload = log_key(key, KeyState::Begin);
        }
    };
    let own = build_with(&mut own, 1, "get", stranger_keys());
    let report = verify(&MemoryLog { vkeys: None, ..own });
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

/// A log whose second block changes keys by `entries` and is signed by `handover`; the
/// third is signed by `after`.
fn rotated(
    entries: &[(&SignerKey, KeyState)],
    handover: Vec<SignerKey>,
    after: Vec<SignerKey>,
) -> MemoryLog {
    let mut hook = |_: u64, _: &mut Entry| {};
    let mut builder = Builder::new(&mut hook);
    builder.genesis();
    builder.seal();
    for (key, state) in entries {
        builder.push(log_key(key, *state), None);
    }
    builder.signers = handover;
    builder.seal();
    builder.signers = after;
    builder.seal();
    MemoryLog {
        vkeys: None,
        ..builder.finish()
    }
}

fn verify_with(log: &MemoryLog, keys: Vec<VerifierKey>) -> Report {
    let options = AuditOptions { keys, ..options() };
    audit(log, &options, |_, _| {}).unwrap()
}

fn both() -> Vec<SignerKey> {
    keys().into_iter().chain(stranger_keys()).collect()
}

#[test]
fn a_rotation_leads_from_the_old_keys_to_the_new_ones() {
    let (old, new) = (keys(), stranger_keys());
    let change = [
        (&new[0], KeyState::Begin),
        (&new[1], KeyState::Begin),
        (&old[0], KeyState::End),
        (&old[1], KeyState::End),
    ];
    let log = rotated(&change, both(), stranger_keys());
    let (old, new) = (verifiers(&old), verifiers(&new));
    let given = [
        vec![],
        old.clone(),
        new.clone(),
        old[1..].to_vec(),
        new[..1].to_vec(),
        vec![old[0].clone(), new[1].clone()],
    ];
    for keys in given {
        let report = verify_with(&log, keys.clone());
        assert_eq!(found(&report), [], "{keys:?}");
        assert_eq!(report.checkpoint.unwrap().signed_by.len(), 2);
        let now: Vec<String> = new.iter().map(ToString::to_string).collect();
        assert_eq!(report.keys.in_force, now);
    }
    // One key alone is changed.
    let (keys, new) = (keys(), stranger_keys());
    let change = [(&new[1], KeyState::Begin), (&keys[1], KeyState::End)];
    let mut three = both();
    three.remove(2);
    let mut after = both();
    after.drain(1..3);
    let log = rotated(&change, three, after);
    assert_eq!(found(&verify_with(&log, verifiers(&keys))), []);
}

#[test]
fn a_forged_rotation_is_refused() {
    let (old, new) = (keys(), stranger_keys());
    let change = [
        (&new[0], KeyState::Begin),
        (&new[1], KeyState::Begin),
        (&old[0], KeyState::End),
        (&old[1], KeyState::End),
    ];
    let one_short = |without: usize| {
        let mut signers = both();
        signers.remove(without);
        signers
    };
    // By the new keys alone, by the old ones alone, and with any one missing.
    let mut handovers = vec![stranger_keys(), keys()];
    handovers.extend((0..4).map(one_short));
    for handover in handovers {
        let log = rotated(&change, handover, stranger_keys());
        for keys in [verifiers(&old), verifiers(&new), vec![]] {
            let report = verify_with(&log, keys);
            // The seal of the block that changes the keys.
            assert_found(&report, Rule::Seal, GENESIS_ENTRIES + 5);
        }
    }
    // The old keys go on after they have ended; the new ones sign before they begin.
    for (handover, after) in [(both(), keys()), (keys(), stranger_keys())] {
        let entries: &[_] = if handover.len() == 4 { &change } else { &[] };
        let report = verify_with(&rotated(entries, handover, after), verifiers(&old));
        assert!(found(&report).contains(&(Rule::Checkpoint, None, None)));
    }
    // They end and none begins; one ends that never began; one begins twice.
    let log = rotated(&change[2..], keys(), keys());
    assert!(!verify_with(&log, verifiers(&old)).holds);
    for change in [(&new[0], KeyState::End), (&old[0], KeyState::Begin)] {
        let report = verify_with(&rotated(&[change], keys(), keys()), verifiers(&old));
        assert_eq!(
            found(&report),
            [(
                Rule::Key,
                Some(GENESIS_ENTRIES + 1),
                Some(GENESIS_ENTRIES + 1)
            )]
        );
    }
}

#[test]
fn naming_a_key_for_the_length_of_a_block_is_no_signature_of_it() {
    // A stranger's log claims keys that it doesn't have, and ends them at once.
    let mut own = |at: u64, entry: &mut Entry| {
        if let Some(key) = stranger_keys().get(usize::try_from(at).unwrap()) {
            entry.payload = log_key(key, KeyState::Begin);
        }
    };
    let mut builder = Builder::new(&mut own);
    builder.signers = stranger_keys();
    builder.genesis();
    builder.seal();
    for state in [KeyState::Begin, KeyState::End] {
        for key in keys() {
            builder.push(log_key(&key, state), None);
        }
    }
    builder.seal();
    let log = MemoryLog {
        vkeys: None,
        ..builder.finish()
    };
    assert!(verify_with(&log, vec![]).holds);
    let report = verify_with(&log, verifiers(&keys()));
    assert_eq!(found(&report), [(Rule::Checkpoint, None, None)]);
    assert!(report.checkpoint.is_none());
}

#[test]
fn a_witness_key_is_no_log_key() {
    let witness = CosignerKey::from_seed(ORIGIN, &[3; 32]).unwrap();
    let mut hook = |at: u64, entry: &mut Entry| {
        if let (5, Payload::Key(record)) = (at, &mut entry.payload) {
            record.key = witness.verifier().to_string();
        }
    };
    let mut builder = Builder::new(&mut hook);
    builder.genesis();
    builder.seal();
    builder.push(log_key(&keys()[0], KeyState::Begin), None);
    let report = verify_with(&builder.finish(), verifiers(&keys()));
    assert_eq!(found(&report), [(Rule::Key, Some(5), Some(5))]);
}

#[test]
fn a_witness_policy_is_asked_for() {
    let witness = CosignerKey::from_seed("witness.example/w1", &[3; 32]).unwrap();
    let log_key = keys()[0].verifier().to_string();
    let policy = format!(
        "log {log_key}\nwitness w {}\nquorum w\n",
        witness.verifier()
    );
    let options = AuditOptions {
        witness_policy: Some(WitnessPolicy::parse(policy.as_bytes()).unwrap()),
        keys: vec![],
        ..options()
    };
    let check = |log: &MemoryLog| audit(log, &options, |_, _| {}).unwrap();
    let by_url = MemoryLog {
        head: None,
        ..honest()
    };
    let report = check(&by_url);
    assert_eq!(found(&report), [(Rule::Witness, None, None)]);
    assert!(report.findings.kept[0].detail.contains("quorum is not met"));
    let mut note = Note::parse(by_url.note.as_deref().unwrap()).unwrap();
    let line = witness.cosign(note.text(), 1_700_000_000);
    note.merge([line.clone()]);
    let cosigned = MemoryLog {
        note: Some(note.to_string().into_bytes()),
        ..by_url.clone()
    };
    let report = check(&cosigned);
    assert_eq!(found(&report), []);
    // The policy's log was trusted.
    assert_eq!(report.keys.given, [log_key]);
    let mut bad = line;
    bad.signature[20] ^= 1;
    note.merge([bad]);
    let report = check(&MemoryLog {
        note: Some(note.to_string().into_bytes()),
        ..by_url
    });
    assert_eq!(found(&report), [(Rule::Witness, None, None)]);
    // In a directory the cosigned checkpoint is a file of its own.
    assert_eq!(found(&check(&honest())), [(Rule::Witness, None, None)]);
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
    let changes: [(Change<'_>, &[Rule]); 4] = [
        (
            &|log| log.head.as_mut().unwrap().root.0[0] ^= 1,
            &[Rule::Head, Rule::Checkpoint],
        ),
        (
            &|log| log.head.as_mut().unwrap().chain.0[0] ^= 1,
            &[Rule::Chain],
        ),
        (&|log| log.head.as_mut().unwrap().blocks += 1, &[Rule::Head]),
        (
            &|log| log.head.as_mut().unwrap().time_us += 1,
            &[Rule::Head],
        ),
    ];
    for (change, rules) in changes {
        let mut log = honest();
        change(&mut log);
        let report = verify(&log);
        assert_only(&report, rules);
        assert!(
            rules
                .iter()
                .all(|rule| found(&report).iter().any(|(found, ..)| found == rule))
        );
    }
    // Rolled back: the store ends before the checkpoint beside it.
    let mut hook = |_: u64, _: &mut Entry| {};
    let mut builder = Builder::new(&mut hook);
    builder.genesis();
    builder.seal();
    let mut log = builder.finish();
    log.kept = honest().note;
    let report = verify(&log);
    assert_eq!(
        found(&report),
        [(
            Rule::Head,
            Some(GENESIS_ENTRIES + 1),
            Some(GENESIS_ENTRIES + 1)
        )]
    );
    assert!(report.findings.kept[0].detail.contains("ROLLBACK"));
    // And with the file gone.
    for log in [log, honest()] {
        let report = verify(&MemoryLog { kept: None, ..log });
        assert_eq!(found(&report), [(Rule::Head, None, None)]);
        assert!(report.findings.kept[0].detail.contains("is missing"));
    }
}

/// The note that seals the block before `block`.
fn sealed(log: &MemoryLog, block: u64) -> Vec<u8> {
    let bytes = &log.entries[usize::try_from(seal_index(block)).unwrap()];
    let Payload::Seal { seal, .. } = Entry::parse(bytes).unwrap().payload else {
        panic!()
    };
    seal.note.into_bytes()
}

#[test]
fn entries_that_no_signature_covers_are_named() {
    // Everything but a signature is in place: chain, tree, tiles, head, the seals.
    let mut log = honest();
    log.note = Some(sealed(&log, BLOCKS));
    log.kept = log.note.clone();
    let report = verify(&log);
    assert_eq!(
        found(&report),
        [(Rule::Checkpoint, Some(seal_index(BLOCKS)), Some(SIZE - 1))]
    );
    let root = "Merkle root over all of them";
    let says = |report: &auditchain_cli::Report| report.checked.iter().any(|l| l.contains(root));
    assert!(!says(&report) && says(&verify(&honest())));
    // One over more than there is, and none.
    let mut log = honest();
    let longer = Checkpoint {
        origin: ORIGIN.into(),
        size: auditchain_log::TreeSize(SIZE + 1),
        root: sha256(&[]),
    };
    log.note = Some(sign_note(&longer.to_text(), &keys()).into_bytes());
    let report = verify(&log);
    assert_eq!(found(&report), [(Rule::Checkpoint, None, None)]);
    assert!(!says(&report));
    log.note = None;
    let report = verify(&log);
    assert_eq!(found(&report), [(Rule::Checkpoint, None, None)]);
    assert!(!says(&report));
}

#[test]
fn the_checkpoint_beside_the_store_may_lag_but_not_differ() {
    let honest = honest();
    let with = |kept: Vec<u8>| {
        verify(&MemoryLog {
            kept: Some(kept),
            ..honest.clone()
        })
    };
    for block in [1, 7, BLOCKS] {
        assert_eq!(found(&with(sealed(&honest, block))), []);
    }
    // Another history, and the right one signed by others, by one key only, of another log.
    let rewritten = build_with(&mut |_, _| {}, 5, "list", keys());
    let report = with(sealed(&rewritten, 9));
    assert_range(&report, Rule::Root, seal_index(8), seal_index(9) - 1);
    assert_only(&report, &[Rule::Root]);
    let note = Note::parse(&sealed(&honest, 9)).unwrap();
    let other = note.text().replace(ORIGIN, "example.com/other");
    for bad in [
        sign_note(note.text(), &stranger_keys()),
        sign_note(note.text(), &keys()[..1]),
        sign_note(&other, &keys()),
        "nonsense".into(),
    ] {
        let report = with(bad.into_bytes());
        assert_eq!(found(&report), [(Rule::Checkpoint, None, None)]);
    }
}

#[test]
fn the_checkpoint_beside_the_store_is_verified_with_the_keys_of_its_time() {
    let mut hook = |_: u64, _: &mut Entry| {};
    let mut builder = Builder::new(&mut hook);
    builder.genesis();
    let old = builder.note().into_bytes();
    builder.seal();
    builder.push(log_key(&keys()[1], KeyState::End), None);
    builder.push(log_key(&stranger_keys()[1], KeyState::Begin), None);
    // The block that changes the key is signed by the old one too.
    builder.signers.push(stranger_keys().pop().unwrap());
    builder.seal();
    builder.signers.remove(1);
    let mut log = builder.finish();
    (log.vkeys, log.kept) = (None, Some(old));
    let report = audit(&log, &AuditOptions::default(), |_, _| {}).unwrap();
    assert_eq!(found(&report), []);
}
