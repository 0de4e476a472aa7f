use super::*;
use crate::hash::sha256;
use crate::json::canonicalize;
use crate::record::{
    Finding, KeyRole, KeyState, LimitsRecord, MAX_FIELD_BYTES, MAX_FINDINGS, Mode, Severity,
};
use std::{format, vec};

fn entry(payload: Payload) -> Entry {
    Entry {
        block: 3,
        time: Timestamp::from_micros(1_795_243_861_724_580),
        prev: sha256(&[b"prev"]),
        payload,
    }
}

fn one_of_each_kind() -> Vec<Entry> {
    let body = BodyCommitment {
        hash: sha256(&[b"body"]),
        size: 1607,
    };
    let verdict = Verdict {
        findings: vec![Finding {
            policy: "rbac".into(),
            rule: "decision-mismatch".into(),
            severity: Severity::Critical,
            sig: Some("ecdsa-p256-sha256:00".into()),
        }],
        valid: false,
    };
    let event = EventRecord {
        audit_id: Some("e\u{301}\u{1}\"\\ \u{1f600}".into()),
        code: Some(403),
        verb: Some("get".into()),
        ..EventRecord::default()
    };
    [
        Payload::Event {
            source: "eu".into(),
            event,
            body: body.clone(),
            undecodable: Some("duplicate-key".into()),
            verdict: verdict.clone(),
        },
        Payload::Batch {
            source: "eu".into(),
            batch: BatchRecord {
                algorithm: "ecdsa-p256-sha256".into(),
                count: 2,
                digest: sha256(&[]),
                events: 2,
                key: "AA==".into(),
                sequence: 1,
                signature: "AA==".into(),
            },
            verdict,
        },
        Payload::Seal {
            seal: SealRecord {
                note: "o\n1\nr\n\n\u{2014} o AAAA\n".into(),
            },
            verdict: Verdict {
                findings: vec![],
                valid: true,
            },
        },
        Payload::Policy {
            engine: "wasmtime".into(),
            policies: vec![PolicyRecord {
                limits: LimitsRecord {
                    fuel_base: 1,
                    fuel_per_event: 2,
                    memory_bytes: 3,
                    output_bytes: 4,
                    slice_events: 5,
                },
                mode: Mode::Enforce,
                module: sha256(&[]),
                name: "a".into(),
                settings: sha256(&[]),
                signer: Some(sha256(&[])),
                suspended: true,
            }],
        },
        Payload::Rbac(RbacRecord {
            digest: sha256(&[]),
            from: Timestamp::from_micros(1),
            size: 2,
        }),
        Payload::Key(KeyRecord {
            key: "k".into(),
            not_after: Some(Timestamp::from_micros(2)),
            not_before: Some(Timestamp::from_micros(1)),
            role: KeyRole::Sender,
            source: Some("eu".into()),
            state: KeyState::End,
        }),
        Payload::Gap {
            source: "eu".into(),
            gap: GapRecord {
                first: 2,
                key: sha256(&[]),
                last: 3,
            },
        },
        Payload::Rejection {
            source: "eu".into(),
            rejection: RejectionRecord {
                reason: "no JSON".into(),
                status: 400,
            },
            body,
        },
    ]
    .map(entry)
    .into()
}

#[test]
fn every_kind_is_written_canonically_and_read_back() {
    for entry in one_of_each_kind() {
        let bytes = entry.encode().unwrap();
        let mut canonical = vec![];
        canonicalize(&bytes, &mut canonical).unwrap();
        assert_eq!(
            String::from_utf8_lossy(&bytes),
            String::from_utf8_lossy(&canonical)
        );
        assert_eq!(Entry::parse(&bytes).as_ref(), Ok(&entry));
    }
}

#[test]
fn other_spellings_of_an_entry_are_refused() {
    for entry in one_of_each_kind() {
        let bytes = entry.encode().unwrap();
        let text = String::from_utf8(bytes).unwrap();
        for (from, to) in [
            ("\"v\":1", "\"v\":2"),
            ("\"v\":1", "\"v\":1.0"),
            ("\"v\":1", "\"v\":1,\"x\":0"),
            ("\"v\":1", "\"v\":1,\"v\":1"),
            ("\"block\":3", "\"block\": 3"),
            ("\"block\":3", "\"block\":3,\"batch\":null"),
            ("\"block\":3,", ""),
            ("724580Z", "72458Z"),
            ("\"kind\":\"", "\"kind\":\"un"),
        ] {
            assert!(
                Entry::parse(text.replacen(from, to, 1).as_bytes()).is_err(),
                "{from} {to}"
            );
        }
        // A member of another kind.
        if entry.kind() != "rbac" {
            let foreign = format!(
                "\"rbac\":{{\"digest\":\"{}\",\"from\":\"1970-01-01T00:00:00.000000Z\",\"size\":2}},\"",
                sha256(&[])
            );
            let at = text.find("\"prev\"").unwrap() + "\"prev\":\"\",".len() + 64;
            let mixed = format!("{}{}{}", &text[..at], foreign, &text[at + 1..]);
            assert_eq!(
                Entry::parse(mixed.as_bytes()),
                Err(EntryError::NotCanonical),
                "{mixed}"
            );
        }
    }
    assert_eq!(
        Entry::parse(&[b' '; MAX_ENTRY_BYTES + 1]),
        Err(EntryError::TooLong(MAX_ENTRY_BYTES + 1))
    );
}

#[test]
fn an_entry_too_long_is_not_written() {
    let long = entry(Payload::Seal {
        seal: SealRecord {
            note: "n".repeat(MAX_ENTRY_BYTES),
        },
        verdict: Verdict {
            findings: vec![],
            valid: true,
        },
    });
    assert!(matches!(long.encode(), Err(EntryError::TooLong(n)) if n > MAX_ENTRY_BYTES));
}

#[test]
fn the_largest_event_fits_a_leaf() {
    let worst = "\u{1}".repeat(MAX_FIELD_BYTES);
    let field = || Some(worst.clone());
    let event = EventRecord {
        audit_id: field(),
        code: Some(u32::MAX),
        level: field(),
        namespace: field(),
        request_received_timestamp: field(),
        resource: field(),
        stage: field(),
        stage_timestamp: field(),
        verb: field(),
    };
    let finding = Finding {
        policy: "p".repeat(63),
        rule: "r".repeat(64),
        severity: Severity::Critical,
        sig: Some("s".repeat(128)),
    };
    let verdict = Verdict {
        findings: vec![finding; MAX_FINDINGS],
        valid: false,
    };
    let body = BodyCommitment {
        hash: sha256(&[]),
        size: u64::from(u32::MAX),
    };
    entry(Payload::Event {
        source: "s".repeat(63),
        event,
        body,
        undecodable: Some("number-precision".to_string()),
        verdict,
    })
    .encode()
    .unwrap();
}
