//! Senders: keys, numbers, and batches that are missing. Every log here is one that whoever
//! holds the log's keys could have written.

use auditchain_cli::{Report, Rule};
use auditchain_log::{
    BatchRecord, Finding, GapRecord, KeyRecord, KeyRole, KeyState, Payload, SM2_DEFAULT_ID,
    Severity, Timestamp, Verdict, batch_digest, batch_message, sha256,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use p256::ecdsa::signature::Signer as _;
use p256::pkcs8::EncodePublicKey as _;

use crate::support::*;
use crate::{assert_found, assert_only, found, verify};

/// Secrets of two P-256 keys and one SM2 key.
#[derive(Clone, Copy, PartialEq)]
enum Sender {
    One,
    Other,
    Sm2,
}

impl Sender {
    fn spki(self) -> Vec<u8> {
        let spki = match self {
            Self::Sm2 => sm2::SecretKey::from_slice(&[3; 32])
                .unwrap()
                .public_key()
                .to_public_key_der(),
            other => other.p256().verifying_key().to_public_key_der(),
        };
        spki.unwrap().into_vec()
    }

    fn p256(self) -> p256::ecdsa::SigningKey {
        let secret = if self == Self::One {
            [42; 32]
        } else {
            [43; 32]
        };
        p256::ecdsa::SigningKey::from_slice(&secret).unwrap()
    }

    fn sign(self, message: &[u8]) -> (&'static str, Vec<u8>) {
        if self == Self::Sm2 {
            let key = sm2::SecretKey::from_slice(&[3; 32]).unwrap();
            let key = sm2::dsa::SigningKey::new(SM2_DEFAULT_ID, &key).unwrap();
            let signature: sm2::dsa::Signature = key.sign(message);
            return ("sm2-sm3", signature.to_der().to_vec());
        }
        let signature: p256::ecdsa::Signature = self.p256().sign(message);
        ("ecdsa-p256-sha256", signature.to_der().as_bytes().to_vec())
    }
}

/// What a log holds after its first block, a block each.
#[derive(Clone)]
enum Step {
    Batch(Sender, u64),
    /// Sealed as the policy found it.
    Noted(Sender, u64, Verdict),
    Gap(Sender, u64, u64),
    Key(Sender, KeyState, Option<i64>),
    /// Signed by another than it says.
    Forged(Sender, u64),
}

use Step::{Batch, Forged, Gap, Key, Noted};

fn refused() -> Verdict {
    Verdict {
        findings: vec![],
        valid: false,
    }
}

fn observed(severity: Severity) -> Verdict {
    Verdict {
        findings: vec![Finding {
            policy: "signature".into(),
            rule: "batch-something".into(),
            severity,
            sig: None,
        }],
        valid: true,
    }
}

fn batch(builder: &mut Builder<'_>, sender: Sender, sequence: u64, forged: bool, verdict: Verdict) {
    let digest = batch_digest([]);
    let message = batch_message(if forged { "us" } else { "eu" }, sequence, 0, &digest);
    let (algorithm, signature) = sender.sign(&message);
    let batch = BatchRecord {
        algorithm: algorithm.into(),
        count: 0,
        digest,
        events: 0,
        key: STANDARD.encode(sender.spki()),
        sequence,
        signature: STANDARD.encode(signature),
    };
    let source = "eu".into();
    builder.push(
        Payload::Batch {
            source,
            batch,
            verdict,
        },
        None,
    );
}

/// Writes the steps, a block each but for gaps, which stand before their batch.
fn log(steps: &[Step]) -> Report {
    let mut hook = |_: u64, _: &mut auditchain_log::Entry| {};
    let mut builder = Builder::new(&mut hook);
    builder.genesis();
    let mut after_gap = false;
    for step in steps {
        if !std::mem::replace(&mut after_gap, matches!(step, Gap(..))) {
            builder.seal();
        }
        match step {
            Batch(sender, sequence) => batch(&mut builder, *sender, *sequence, false, valid()),
            Forged(sender, sequence) => batch(&mut builder, *sender, *sequence, true, valid()),
            Noted(sender, sequence, verdict) => {
                batch(&mut builder, *sender, *sequence, false, verdict.clone());
            }
            Gap(sender, first, last) => builder.push(
                Payload::Gap {
                    source: "eu".into(),
                    gap: GapRecord {
                        first: *first,
                        key: sha256(&[&sender.spki()]),
                        last: *last,
                    },
                },
                None,
            ),
            Key(sender, state, not_after) => builder.push(
                Payload::Key(KeyRecord {
                    key: STANDARD.encode(sender.spki()),
                    not_after: not_after.map(Timestamp::from_micros),
                    not_before: None,
                    role: KeyRole::Sender,
                    source: Some("eu".into()),
                    state: *state,
                }),
                None,
            ),
        }
    }
    verify(&builder.finish())
}

#[track_caller]
fn assert_holds(steps: &[Step]) -> Report {
    let report = log(steps);
    assert_eq!(found(&report), [], "{:#?}", report.findings.kept);
    report
}

/// One finding, of this rule, at the step: each is a seal and an entry.
#[track_caller]
fn assert_wrong(steps: &[Step], rule: Rule, step: u64) {
    let report = log(steps);
    let before = &steps[..usize::try_from(step).unwrap()];
    let gaps = before.iter().filter(|step| matches!(step, Gap(..))).count() as u64;
    assert_found(&report, rule, GENESIS_ENTRIES + 2 * step + 1 - gaps);
    assert_only(&report, &[rule]);
    assert_eq!(report.findings.total, 1, "{:#?}", report.findings.kept);
}

#[test]
fn batches_of_both_algorithms_hold_and_their_numbers_go_by_key() {
    let report = assert_holds(&[
        Batch(Sender::One, 1),
        Batch(Sender::Sm2, 1),
        Batch(Sender::One, 2),
        Batch(Sender::Sm2, 2),
    ]);
    assert_eq!(report.batch_signatures_verified, 4);
    assert_wrong(
        &[Batch(Sender::Sm2, 1), Forged(Sender::Sm2, 2)],
        Rule::Batch,
        1,
    );
    assert_wrong(&[Forged(Sender::One, 1)], Rule::Batch, 0);
}

#[test]
fn a_batch_that_was_cut_out_is_missed() {
    let one = Sender::One;
    assert_wrong(&[Batch(one, 1), Batch(one, 3)], Rule::Batch, 1);
    // The first of all, too.
    assert_wrong(&[Batch(one, 2)], Rule::Batch, 0);
    let report = assert_holds(&[Batch(one, 1), Gap(one, 2, 4), Batch(one, 5), Batch(one, 6)]);
    assert_eq!((report.batches_missing, report.kinds["gap"]), (3, 1));
    assert!(
        report
            .not_checked
            .iter()
            .any(|line| line.starts_with("3 batches"))
    );
}

#[test]
fn a_gap_entry_must_say_what_is_missing() {
    let (one, other) = (Sender::One, Sender::Other);
    for gap in [
        Gap(one, 2, 3),
        Gap(one, 3, 4),
        Gap(other, 2, 4),
        Gap(one, 1, 4),
    ] {
        assert_wrong(&[Batch(one, 1), gap, Batch(one, 5)], Rule::Batch, 1);
    }
    // Nothing is missing, or nothing follows, or nothing valid.
    assert_wrong(
        &[Batch(one, 1), Gap(one, 2, 2), Batch(one, 2)],
        Rule::Batch,
        1,
    );
    assert_wrong(&[Batch(one, 1), Gap(one, 2, 2)], Rule::Batch, 1);
    let not_valid = [Batch(one, 1), Gap(one, 2, 2), Noted(one, 3, refused())];
    assert_wrong(&not_valid, Rule::Batch, 1);
    assert!(!log(&[Batch(one, 1), Gap(one, 4, 2), Batch(one, 5)]).holds);
}

#[test]
fn a_number_that_comes_again_must_have_been_noted() {
    let one = Sender::One;
    assert_wrong(
        &[Batch(one, 1), Batch(one, 2), Batch(one, 1)],
        Rule::Batch,
        2,
    );
    assert_holds(&[Batch(one, 1), Noted(one, 1, refused()), Batch(one, 2)]);
    assert_holds(&[
        Batch(one, 1),
        Noted(one, 1, observed(Severity::Critical)),
        Batch(one, 2),
    ]);
    // What says that all is well is no objection.
    let praised = [Batch(one, 1), Noted(one, 1, observed(Severity::Info))];
    assert_wrong(&praised, Rule::Batch, 1);
    // What was refused moves no number.
    assert_wrong(&[Noted(one, 1, refused()), Batch(one, 2)], Rule::Batch, 1);
}

#[test]
fn a_batch_must_be_signed_with_a_key_in_force() {
    let (one, other) = (Sender::One, Sender::Other);
    let begin = |sender| Key(sender, KeyState::Begin, None);
    assert_eq!(assert_holds(&[begin(one), Batch(one, 1)]).sender_keys, 1);
    assert_wrong(&[begin(one), Batch(other, 1)], Rule::Batch, 1);
    assert_holds(&[begin(one), Noted(other, 1, refused())]);
    let until = |time| [Key(one, KeyState::Begin, Some(time)), Batch(one, 1)];
    assert_wrong(&until(0), Rule::Batch, 1);
    assert_holds(&until(i64::MAX));
    // Times that were changed, and a key that ended while another one did not.
    assert_holds(&[
        Key(one, KeyState::Begin, Some(0)),
        begin(one),
        Batch(one, 1),
    ]);
    let end = Key(one, KeyState::End, None);
    assert_wrong(
        &[begin(one), begin(other), end.clone(), Batch(one, 1)],
        Rule::Batch,
        3,
    );
    // No key is in force any more: whose signature it is, is not known.
    assert_holds(&[begin(one), end.clone(), Batch(other, 1)]);
    assert_wrong(&[end], Rule::Key, 0);
}
