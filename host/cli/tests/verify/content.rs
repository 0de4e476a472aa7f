//! What entries commit to: bodies, values, tiles, batches.

use auditchain_cli::{AuditOptions, Rule, audit};
use auditchain_log::{Entry, Payload, RbacRecord, TileId, Timestamp, Verdict, sha256};

use crate::support::*;
use crate::{assert_found, assert_only, assert_range, found, options, verify};

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
fn missing_and_unreadable_bodies_are_named() {
    let mut log = honest();
    for index in [event_index(3, 1), batch_index(4) + 1] {
        log.bodies[usize::try_from(index).unwrap()] = None;
    }
    let report = verify(&log);
    let missing = [event_index(3, 1), batch_index(4) + 1];
    let missing = missing.map(|index| (Rule::Body, Some(index), Some(index)));
    assert_eq!(found(&report), missing);
    // Unless the auditor expects it.
    let options = AuditOptions {
        bodies_may_be_missing: true,
        ..options()
    };
    let report = audit(&log, &options, |_, _| {}).unwrap();
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
fn values_that_no_entry_names_are_read() {
    let mut log = honest();
    let digest = sha256(&[b"left over"]);
    log.named = [
        ("dedup/000001".to_string(), Some(b"run".to_vec())),
        (format!("sha256/{digest}"), Some(b"left over".to_vec())),
    ]
    .into();
    let report = verify(&log);
    assert!(report.holds);
    assert!(
        report
            .checked
            .iter()
            .any(|line| line.starts_with("2 kept values"))
    );
    for (name, value, expected) in [
        ("tag-key", None, "tag-key can't be read"),
        (
            &format!("sha256/{digest}"),
            Some(b"right over".to_vec()),
            "is not what its digest names",
        ),
    ] {
        let mut log = log.clone();
        log.named.insert(name.into(), value);
        let report = verify(&log);
        assert_eq!(found(&report), [(Rule::Value, None, None)]);
        assert!(report.findings.kept[0].detail.contains(expected));
    }
}

#[test]
fn every_entry_that_names_a_value_is_checked() {
    let build = |push: &dyn Fn(&mut Builder<'_>)| {
        let mut hook = |_: u64, _: &mut Entry| {};
        let mut builder = Builder::new(&mut hook);
        builder.genesis();
        builder.seal();
        push(&mut builder);
        verify(&builder.finish())
    };
    let digest = sha256(&[b"{\"items\":[]}"]);
    let from = Timestamp::from_micros(0);
    let snapshot = |size: u64| Payload::Rbac(RbacRecord { digest, from, size });
    assert!(build(&|builder| builder.push(snapshot(12), None)).holds);
    // The same snapshot again, of another size.
    let report = build(&|builder| builder.push(snapshot(13), None));
    let index = GENESIS_ENTRIES + 1;
    assert_eq!(found(&report), [(Rule::Value, Some(index), Some(index))]);
    // What was a module becomes the settings, which must be canonical.
    let report = build(&|builder| {
        let Ok(Payload::Policy {
            engine,
            mut policies,
        }) = builder.entry(2).map(|entry| entry.payload)
        else {
            panic!()
        };
        policies[0].settings = policies[0].module;
        builder.push(Payload::Policy { engine, policies }, None);
    });
    assert_eq!(found(&report), [(Rule::Value, Some(index), Some(index))]);
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
    assert_found(&report, Rule::Batch, index);
    assert_only(&report, &[Rule::Batch]);
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
