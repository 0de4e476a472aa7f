use auditchain_guest_sdk::testing::Fixture;
use auditchain_guest_sdk::types::{Batch, Seal, SenderKey};
use auditchain_guest_sdk::{Guest as _, SignatureAlgorithm, Verdict};
use auditchain_log::{
    Checkpoint, EventSignature, SM2_DEFAULT_ID, SenderAlgorithm, SignerKey, SignerRef, TreeSize,
    batch_message, event_message, sha256, sign_note,
};
use p256::ecdsa::signature::Signer as _;
use p256::pkcs8::EncodePublicKey as _;

use super::*;
use crate::Signature as SignatureGuest;

const ORIGIN: &str = "log.example/test";
const NOW: i64 = 1_000_000;
const ALGORITHMS: [SenderAlgorithm; 2] =
    [SenderAlgorithm::EcdsaP256Sha256, SenderAlgorithm::Sm2Sm3];

fn seal() -> Seal {
    let root = sha256(&[b"root"]);
    let checkpoint = Checkpoint {
        origin: ORIGIN.into(),
        size: TreeSize(7),
        root,
    };
    let keys = [
        SignerKey::ed25519(ORIGIN, &[1; 32]).unwrap(),
        SignerKey::ecdsa_p256(ORIGIN, &[2; 32]).unwrap(),
    ];
    Seal {
        note: sign_note(&checkpoint.to_text(), &keys),
        keys: keys.iter().map(|key| key.verifier().to_string()).collect(),
        size: 7,
        root: root.0.to_vec(),
    }
}

/// A sender: signs, and tells its SubjectPublicKeyInfo.
struct Sender {
    algorithm: SenderAlgorithm,
    secret: [u8; 32],
}

impl Sender {
    fn spki(&self) -> Vec<u8> {
        let spki = match self.algorithm {
            SenderAlgorithm::Sm2Sm3 => {
                let key = sm2::SecretKey::from_slice(&self.secret).unwrap();
                key.public_key().to_public_key_der()
            }
            _ => {
                let key = p256::SecretKey::from_slice(&self.secret).unwrap();
                key.public_key().to_public_key_der()
            }
        };
        spki.unwrap().into_vec()
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        match self.algorithm {
            SenderAlgorithm::Sm2Sm3 => {
                let key = sm2::SecretKey::from_slice(&self.secret).unwrap();
                let key = sm2::dsa::SigningKey::new(SM2_DEFAULT_ID, &key).unwrap();
                let signature: sm2::dsa::Signature = key.sign(message);
                signature.to_der().to_vec()
            }
            _ => {
                let key = p256::ecdsa::SigningKey::from_slice(&self.secret).unwrap();
                let signature: p256::ecdsa::Signature = key.sign(message);
                signature.to_der().as_bytes().to_vec()
            }
        }
    }

    fn batch(&self) -> Batch {
        let digest = sha256(&[b"events"]);
        Batch {
            source: 0,
            sequence: 41,
            count: 2,
            digest: digest.0.to_vec(),
            algorithm: match self.algorithm {
                SenderAlgorithm::Sm2Sm3 => SignatureAlgorithm::Sm2Sm3,
                _ => SignatureAlgorithm::EcdsaP256Sha256,
            },
            public_key: self.spki(),
            signature: self.sign(&batch_message("test", 41, 2, &digest)),
            last_sequence: None,
            repeated: false,
        }
    }

    fn key(&self, validity: (Option<i64>, Option<i64>)) -> SenderKey {
        SenderKey {
            source: 0,
            public_key: self.spki(),
            not_before: validity.0,
            not_after: validity.1,
        }
    }
}

fn sender(algorithm: SenderAlgorithm) -> Sender {
    Sender {
        algorithm,
        secret: [3; 32],
    }
}

fn other() -> Sender {
    Sender {
        algorithm: SenderAlgorithm::EcdsaP256Sha256,
        secret: [4; 32],
    }
}

fn batch() -> Batch {
    sender(SenderAlgorithm::EcdsaP256Sha256).batch()
}

fn run(settings: &str, fixture: &Fixture) -> Vec<(&'static str, Verdict)> {
    let guest = SignatureGuest::configure(settings.into()).unwrap();
    let verdicts = fixture.run(&guest);
    verdicts
        .into_iter()
        .map(|verdict| (RULES[verdict.rule as usize].id, verdict))
        .collect()
}

fn fixture(batches: Vec<Batch>, keys: Vec<SenderKey>) -> Fixture {
    let mut fixture = Fixture::new(NOW);
    fixture.context.batches = batches;
    fixture.context.sender_keys = keys;
    fixture
}

fn judge(seal: Option<Seal>, batches: Vec<Batch>) -> Vec<(&'static str, Verdict)> {
    let mut fixture = fixture(batches, Vec::new());
    fixture.context.previous_seal = seal;
    run("{}", &fixture)
}

/// Rules, and whether each leaves its subject valid.
fn rules(settings: &str, fixture: &Fixture) -> Vec<(&'static str, bool)> {
    let given = run(settings, fixture);
    given.iter().map(|(rule, v)| (*rule, v.valid)).collect()
}

const VERIFIED: (&str, bool) = ("batch-signature-verified", true);

#[test]
fn what_holds_leaves_evidence_only() {
    for algorithm in ALGORITHMS {
        let sender = sender(algorithm);
        let keys = vec![other().key((None, None)), sender.key((None, None))];
        let mut fixture = fixture(vec![sender.batch()], keys);
        fixture.context.previous_seal = Some(seal());
        let given = run(r#"{"required":["*"]}"#, &fixture);
        let [(rule, verdict)] = given.as_slice() else {
            panic!("{given:?}")
        };
        assert_eq!((*rule, verdict.valid), VERIFIED);
        let key_id = &sha256(&[&sender.spki()]).to_string()[..16];
        let evidence = format!("{}:{key_id}", algorithm.name());
        assert_eq!(verdict.sig.as_deref(), Some(evidence.as_str()));
    }
    assert!(judge(None, Vec::new()).is_empty());
}

#[track_caller]
fn assert_seal_invalid(what: &str, change: impl FnOnce(&mut Seal)) {
    let mut seal = seal();
    change(&mut seal);
    let given = judge(Some(seal), Vec::new());
    assert_eq!(given.len(), 1, "{what}");
    let (rule, verdict) = &given[0];
    assert_eq!(*rule, "seal-invalid", "{what}");
    assert!(!verdict.valid && matches!(verdict.subject, Subject::Block));
}

#[test]
fn a_seal_that_does_not_hold_is_invalid() {
    assert_seal_invalid("size", |seal| seal.size = 8);
    assert_seal_invalid("root", |seal| seal.root[0] ^= 1);
    assert_seal_invalid("short root", |seal| seal.root.truncate(31));
    assert_seal_invalid("no keys", |seal| seal.keys.clear());
    assert_seal_invalid("only an Ed25519 key", |seal| seal.keys.truncate(1));
    assert_seal_invalid("another key", |seal| {
        let other = SignerKey::ecdsa_p256(ORIGIN, &[9; 32]).unwrap();
        seal.keys = vec![other.verifier().to_string()];
    });
    assert_seal_invalid("the key of another name", |seal| {
        let other = SignerKey::ecdsa_p256("log.example/other", &[2; 32]).unwrap();
        seal.keys = vec![other.verifier().to_string()];
    });
    assert_seal_invalid("another log's seal", |seal| {
        seal.note = seal.note.replacen(ORIGIN, "log.example/other", 1);
    });
    assert_seal_invalid("no note", |seal| seal.note.clear());
    assert_seal_invalid("a signature cut off", |seal| {
        let lines: Vec<&str> = seal.note.lines().collect();
        seal.note = lines[..lines.len() - 1].join("\n") + "\n";
    });
    // The log could have agreed to a larger tree had the text not been signed.
    assert_seal_invalid("a text altered together with the log", |seal| {
        seal.note = seal.note.replacen("\n7\n", "\n8\n", 1);
        seal.size = 8;
    });
}

#[test]
fn every_flipped_bit_of_a_batch_is_invalid() {
    let fields: [fn(&mut Batch) -> &mut Vec<u8>; 3] = [
        |batch| &mut batch.digest,
        |batch| &mut batch.public_key,
        |batch| &mut batch.signature,
    ];
    for algorithm in ALGORITHMS {
        let good = sender(algorithm).batch();
        for field in fields {
            for byte in 0..field(&mut good.clone()).len() {
                let mut batch = good.clone();
                field(&mut batch)[byte] ^= 1 << (byte % 8);
                let given = judge(None, vec![batch]);
                assert_eq!(given[0].0, "batch-signature-invalid", "byte {byte}");
                assert!(!given[0].1.valid && given[0].1.sig.is_none());
            }
        }
    }
}

#[test]
fn every_signed_number_counts_and_the_others_stay_valid() {
    let changes: [fn(&mut Batch); 6] = [
        |batch| batch.sequence += 1,
        |batch| batch.count += 1,
        |batch| batch.count = 0,
        |batch| batch.source = 1,
        |batch| batch.digest.clear(),
        |batch| batch.algorithm = SignatureAlgorithm::Sm2Sm3,
    ];
    for change in changes {
        let mut altered = batch();
        change(&mut altered);
        let given = judge(None, vec![batch(), altered]);
        assert_eq!((given[0].0, given[0].1.valid), VERIFIED);
        let last = given.last().unwrap();
        assert_eq!((last.0, last.1.valid), ("batch-signature-invalid", false));
        assert!(matches!(last.1.subject, Subject::Batch(1)));
    }
    // The signature of another batch of the same sender.
    let mut swapped = batch();
    let message = batch_message("test", 42, 2, &sha256(&[b"events"]));
    swapped.signature = sender(SenderAlgorithm::EcdsaP256Sha256).sign(&message);
    assert_eq!(judge(None, vec![swapped])[0].0, "batch-signature-invalid");
}

#[test]
fn a_key_counts_for_its_source_within_its_validity() {
    for algorithm in ALGORITHMS {
        let sender = sender(algorithm);
        let with = |key| rules("{}", &fixture(vec![sender.batch()], vec![key]));
        for validity in [
            (None, None),
            (Some(NOW), Some(NOW)),
            (Some(NOW - 1), None),
            (None, Some(NOW + 1)),
        ] {
            assert_eq!(with(sender.key(validity)), [VERIFIED], "{validity:?}");
        }
        for validity in [(Some(NOW + 1), None), (None, Some(NOW - 1))] {
            let given = with(sender.key(validity));
            assert_eq!(given, [VERIFIED, ("batch-key-expired", false)]);
        }
        assert_eq!(
            with(other().key((None, None))),
            [("batch-key-unknown", false)]
        );
        // In force for another source only: nothing is, for this one.
        let elsewhere = SenderKey {
            source: 1,
            ..sender.key((None, None))
        };
        assert_eq!(with(elsewhere), [VERIFIED, ("batch-key-unbound", true)]);
    }
}

#[test]
fn a_signature_without_a_key_in_force_is_worth_what_the_settings_say() {
    let fixture = fixture(vec![batch()], Vec::new());
    for (settings, valid) in [
        ("{}", true),
        (r#"{"unboundKeys":"accept"}"#, true),
        (r#"{"unboundKeys":"refuse"}"#, false),
        // Anybody can make a key.
        (r#"{"required":["test"]}"#, false),
        (r#"{"required":["other"]}"#, true),
    ] {
        let given = rules(settings, &fixture);
        assert_eq!(
            given,
            [VERIFIED, ("batch-key-unbound", valid)],
            "{settings}"
        );
    }
}

#[test]
fn numbers_that_come_again_are_found() {
    let sender = sender(SenderAlgorithm::Sm2Sm3);
    let with = |last_sequence, repeated| {
        let batch = Batch {
            last_sequence,
            repeated,
            ..sender.batch()
        };
        rules("{}", &fixture(vec![batch], vec![sender.key((None, None))]))
    };
    assert_eq!(with(Some(40), false), [VERIFIED]);
    assert_eq!(with(Some(7), false), [VERIFIED], "the host seals a gap");
    for last in [41, 42] {
        let given = with(Some(last), false);
        assert_eq!(given, [VERIFIED, ("batch-sequence-replayed", false)]);
    }
    assert_eq!(
        with(Some(40), true),
        [VERIFIED, ("batch-sequence-repeated", true)]
    );
}

const EVENT: &[u8] = br#"{"annotations":{"a":"1"},"auditID":"a","verb":"get"}"#;

/// The event with its signature, in canonical form.
fn signed(sender: &Sender, signer: SignerRef, message: &[u8]) -> Vec<u8> {
    let signature = EventSignature {
        algorithm: sender.algorithm,
        signer,
        signature: sender.sign(message),
    };
    annotated(&signature.to_string())
}

fn annotated(text: &str) -> Vec<u8> {
    format!(
        r#"{{"annotations":{{"a":"1","auditchain.io/signature":"{text}"}},"auditID":"a","verb":"get"}}"#
    )
    .into_bytes()
}

const EVENT_VERIFIED: (&str, bool) = ("event-signature-verified", true);

#[test]
fn an_event_is_verified_by_itself() {
    for algorithm in ALGORITHMS {
        let sender = sender(algorithm);
        let by_id = SignerRef::Id(sha256(&[&sender.spki()]));
        for signer in [SignerRef::Key(sender.spki()), by_id] {
            let event = signed(&sender, signer, &event_message(EVENT));
            let keys = vec![other().key((None, None)), sender.key((None, None))];
            let mut fixture = fixture(Vec::new(), keys);
            fixture.push(&event);
            let given = run(r#"{"required":["test"]}"#, &fixture);
            assert_eq!((given[0].0, given[0].1.valid), EVENT_VERIFIED);
            assert_eq!(given.len(), 1);
            let sig = given[0].1.sig.as_deref().unwrap();
            assert!(sig.starts_with(algorithm.name()), "{sig}");
        }
    }
}

#[test]
fn an_event_that_was_changed_or_signed_otherwise_is_invalid() {
    let sender = sender(SenderAlgorithm::Sm2Sm3);
    let key = || SignerRef::Key(sender.spki());
    let good = signed(&sender, key(), &event_message(EVENT));
    let text = String::from_utf8(good.clone()).unwrap();
    let with = |event: &[u8]| {
        let mut fixture = fixture(Vec::new(), vec![sender.key((None, None))]);
        fixture.push(event);
        rules("{}", &fixture)
    };
    assert_eq!(with(&good), [EVENT_VERIFIED]);
    for bad in [
        text.replace(r#""verb":"get""#, r#""verb":"delete""#)
            .into_bytes(),
        text.replace(r#""a":"1","#, "").into_bytes(),
        // Not an event's message: a batch's, or that of another event.
        signed(
            &sender,
            key(),
            &batch_message("test", 1, 1, &sha256(&[EVENT])),
        ),
        signed(&sender, key(), &event_message(b"{}")),
        annotated("no signature"),
        text.replace("sm2-sm3", "ecdsa-p256-sha256").into_bytes(),
    ] {
        let given = with(&bad);
        let shown = String::from_utf8_lossy(&bad);
        assert_eq!(given, [("event-signature-invalid", false)], "{shown}");
    }
    let id = SignerRef::Id(sha256(&[b"nobody's"]));
    for unknown in [
        signed(&sender, id, &event_message(EVENT)),
        signed(
            &other(),
            SignerRef::Key(other().spki()),
            &event_message(EVENT),
        ),
    ] {
        assert_eq!(with(&unknown), [("event-key-unknown", false)]);
    }
}

#[test]
fn an_events_key_counts_as_a_batchs_does() {
    let sender = sender(SenderAlgorithm::EcdsaP256Sha256);
    let event = signed(
        &sender,
        SignerRef::Key(sender.spki()),
        &event_message(EVENT),
    );
    let with = |settings, keys| {
        let mut fixture = fixture(Vec::new(), keys);
        fixture.push(&event);
        rules(settings, &fixture)
    };
    let expired = with("{}", vec![sender.key((None, Some(NOW - 1)))]);
    assert_eq!(expired, [EVENT_VERIFIED, ("event-key-expired", false)]);
    for (settings, valid) in [
        ("{}", true),
        (r#"{"unboundKeys":"refuse"}"#, false),
        (r#"{"required":["test"]}"#, false),
    ] {
        let unbound = with(settings, Vec::new());
        assert_eq!(unbound, [EVENT_VERIFIED, ("event-key-unbound", valid)]);
    }
}

#[test]
fn an_event_that_must_be_signed_and_is_not_is_invalid() {
    use auditchain_guest_sdk::types::EventFlags;
    let missing = [("signature-missing", false)];
    for (settings, in_batch, expected) in [
        ("{}", false, &[][..]),
        (r#"{"required":["other"]}"#, false, &[]),
        (r#"{"required":["te*"]}"#, false, &missing),
        (r#"{"required":["te*"]}"#, true, &[]),
    ] {
        // The second one can't be read.
        for json in [EVENT, b"{\"verb\":"] {
            let mut fixture = fixture(Vec::new(), Vec::new());
            fixture.push(json);
            let event = &mut fixture.slice.events[0];
            event.flags.set(EventFlags::SIGNED_BATCH, in_batch);
            assert_eq!(rules(settings, &fixture), expected, "{settings} {in_batch}");
        }
    }
    // An undecodable event whose annotation could be read all the same.
    let mut fixture = fixture(Vec::new(), Vec::new());
    fixture.push(&annotated("sm2-sm3:AA:AA"));
    fixture.slice.events[0].flags |= EventFlags::UNDECODABLE;
    assert_eq!(rules("{}", &fixture), [("event-signature-invalid", false)]);
}

#[test]
fn settings_are_checked_when_the_policy_is_loaded() {
    assert!(SignatureGuest::prepare("{}", &[]).is_ok());
    let error = SignatureGuest::prepare(r#"{"curve":"P-256"}"#, &[]).unwrap_err();
    assert!(error.contains("curve"), "{error}");
}
