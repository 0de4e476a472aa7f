//! Is the block before sealed by a key in force, and did each sender sign its batch?
//!
//! A seal is a C2SP signed note over a checkpoint; a batch is signed over
//! [`auditchain_log::batch_message`]. Judged here: signatures and what they state.
//! Out of scope: whether a key may speak for a source (the host binds keys to
//! sources before it accepts a batch), and the digest itself (the host computes it
//! from the events, an auditor does so again).

use auditchain_guest_sdk::types::{Batch, Seal};
use auditchain_guest_sdk::{Call, Rule, Severity, SignatureAlgorithm, Subject, Verdicts};
use auditchain_log::{Checkpoint, Hash, Note, VerifierKey, batch_message, sha256};
use p256::ecdsa::signature::Verifier as _;
use p256::ecdsa::{Signature, VerifyingKey};
use p256::pkcs8::DecodePublicKey as _;
use serde::Deserialize;

/// The previous seal is not what the log's keys sign, or states something else than
/// the log holds.
pub const SEAL_INVALID: Rule = Rule::new(
    "seal-invalid",
    Severity::Critical,
    "The seal of the previous block does not hold",
);
/// A batch that its sender did not sign like this.
pub const BATCH_SIGNATURE_INVALID: Rule = Rule::new(
    "batch-signature-invalid",
    Severity::Critical,
    "A batch's signature does not verify",
);
/// A batch signed with an algorithm that this version can't check.
pub const ALGORITHM_UNSUPPORTED: Rule = Rule::new(
    "signature-algorithm-unsupported",
    Severity::High,
    "A batch is signed with an algorithm that can't be verified",
);
/// Evidence: the key a batch's signature verified with.
pub const BATCH_SIGNATURE_VERIFIED: Rule = Rule::new(
    "batch-signature-verified",
    Severity::Info,
    "A batch's signature verifies",
);

/// Every rule of this guest.
pub const RULES: &[Rule] = &[
    SEAL_INVALID,
    BATCH_SIGNATURE_INVALID,
    ALGORITHM_UNSUPPORTED,
    BATCH_SIGNATURE_VERIFIED,
];

/// How many bytes of SHA-256(SPKI) name a key in the evidence.
const KEY_ID_BYTES: usize = 8;

/// There is nothing to set.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {}

/// Judges the seal, if it comes with this slice, and the batches that begin in it.
pub fn verify(call: &Call<'_>, verdicts: &mut Verdicts) {
    let context = call.context();
    if let Some(seal) = &context.previous_seal
        && let Err(reason) = check_seal(&context.origin, seal)
    {
        verdicts.invalid(Subject::Block, &SEAL_INVALID, reason);
    }
    for (index, batch) in (0u32..).zip(&context.batches) {
        let subject = Subject::Batch(index);
        let source = call.source(batch.source).map(|source| source.name.as_str());
        match check_batch(source, batch) {
            Ok(sig) => {
                verdicts.verified(subject, &BATCH_SIGNATURE_VERIFIED, "", sig);
            }
            Err(refusal) => verdicts.invalid(subject, refusal.rule, refusal.reason),
        }
    }
}

/// Checks the note against what the host computed, then one P-256 signature.
fn check_seal(origin: &str, seal: &Seal) -> Result<(), String> {
    let note = Note::parse(seal.note.as_bytes()).map_err(|error| error.to_string())?;
    let checkpoint = Checkpoint::parse(note.text()).map_err(|error| error.to_string())?;
    if checkpoint.origin != origin {
        return Err(format!(
            "it is a seal of {:?}, this log is {origin:?}",
            checkpoint.origin
        ));
    }
    if checkpoint.size.0 != seal.size {
        return Err(format!(
            "it states {} entries, the log holds {}",
            checkpoint.size, seal.size
        ));
    }
    if checkpoint.root.0.as_slice() != seal.root {
        return Err(format!(
            "it states the root {}, the log's is another",
            checkpoint.root
        ));
    }
    // Keys of other types may be in force too; they are for others to check.
    let keys: Vec<VerifierKey> = seal
        .keys
        .iter()
        .filter_map(|vkey| vkey.parse().ok())
        .filter(VerifierKey::is_ecdsa_p256)
        .filter(|key| key.name() == origin)
        .collect();
    if keys.is_empty() {
        return Err("no ECDSA P-256 key of this log is in force".into());
    }
    note.verify(&keys)
        .map(|_| ())
        .map_err(|error| error.to_string())
}

/// Why a batch is refused.
struct Refusal {
    rule: &'static Rule,
    reason: String,
}

/// Verifies a batch's signature; returns what names the key.
fn check_batch(source: Option<&str>, batch: &Batch) -> Result<String, Refusal> {
    let invalid = |reason: &str| Refusal {
        rule: &BATCH_SIGNATURE_INVALID,
        reason: reason.into(),
    };
    match batch.algorithm {
        SignatureAlgorithm::EcdsaP256Sha256 => {}
        SignatureAlgorithm::Sm2Sm3 => {
            return Err(Refusal {
                rule: &ALGORITHM_UNSUPPORTED,
                reason: "SM2 with SM3 can't be verified by this version".into(),
            });
        }
    }
    let source = source.ok_or_else(|| invalid("its source is unknown"))?;
    if batch.count == 0 {
        return Err(invalid("it claims no events"));
    }
    let digest =
        Hash::from_slice(&batch.digest).map_err(|_| invalid("its digest is no SHA-256 hash"))?;
    let key = VerifyingKey::from_public_key_der(&batch.public_key)
        .map_err(|_| invalid("its public key is no P-256 key (SubjectPublicKeyInfo, DER)"))?;
    let signature = Signature::from_der(&batch.signature)
        .map_err(|_| invalid("its signature is no ECDSA signature (ASN.1 DER)"))?;
    let message = batch_message(source, batch.sequence, batch.count, &digest);
    key.verify(&message, &signature).map_err(|_| {
        invalid("its signature is not this key's over source, sequence, count and digest")
    })?;
    let id = sha256(&[&batch.public_key]).to_string();
    // Two hex digits a byte; a hash has 64 of them.
    Ok(format!("ecdsa-p256-sha256:{}", &id[..2 * KEY_ID_BYTES]))
}

#[cfg(test)]
mod tests {
    use auditchain_guest_sdk::testing::Fixture;
    use auditchain_guest_sdk::{Guest as _, Verdict};
    use auditchain_log::{SignerKey, TreeSize, sign_note};
    use p256::ecdsa::SigningKey;
    use p256::ecdsa::signature::Signer as _;
    use p256::pkcs8::EncodePublicKey as _;

    use super::*;
    use crate::Signature as SignatureGuest;

    const ORIGIN: &str = "log.example/test";

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

    fn batch() -> Batch {
        let key = SigningKey::from_slice(&[3; 32]).unwrap();
        let digest = sha256(&[b"events"]);
        let signature: Signature = key.sign(&batch_message("test", 41, 2, &digest));
        Batch {
            source: 0,
            sequence: 41,
            count: 2,
            digest: digest.0.to_vec(),
            algorithm: SignatureAlgorithm::EcdsaP256Sha256,
            public_key: key.verifying_key().to_public_key_der().unwrap().into_vec(),
            signature: signature.to_der().as_bytes().to_vec(),
            last_sequence: None,
            repeated: false,
        }
    }

    fn judge(seal: Option<Seal>, batches: Vec<Batch>) -> Vec<(&'static str, Verdict)> {
        let mut fixture = Fixture::new(0);
        fixture.context.previous_seal = seal;
        fixture.context.batches = batches;
        let guest = SignatureGuest::configure(b"{}".to_vec()).unwrap();
        let verdicts = fixture.run(&guest);
        verdicts
            .into_iter()
            .map(|verdict| (RULES[verdict.rule as usize].id, verdict))
            .collect()
    }

    #[test]
    fn what_holds_leaves_evidence_only() {
        let given = judge(Some(seal()), vec![batch()]);
        let [(rule, verdict)] = given.as_slice() else {
            panic!("{given:?}")
        };
        assert_eq!(*rule, "batch-signature-verified");
        assert!(verdict.valid);
        let key_id = &sha256(&[&batch().public_key]).to_string()[..16];
        assert_eq!(
            verdict.sig.as_deref(),
            Some(format!("ecdsa-p256-sha256:{key_id}").as_str())
        );
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
        for field in fields {
            for byte in 0..field(&mut batch()).len() {
                let mut batch = batch();
                field(&mut batch)[byte] ^= 1 << (byte % 8);
                let given = judge(None, vec![batch]);
                assert_eq!(given[0].0, "batch-signature-invalid", "byte {byte}");
                assert!(!given[0].1.valid && given[0].1.sig.is_none());
            }
        }
    }

    #[test]
    fn every_signed_number_counts_and_the_others_stay_valid() {
        let changes: [fn(&mut Batch); 5] = [
            |batch| batch.sequence += 1,
            |batch| batch.count += 1,
            |batch| batch.count = 0,
            |batch| batch.source = 1,
            |batch| batch.digest.clear(),
        ];
        for change in changes {
            let mut altered = batch();
            change(&mut altered);
            let given = judge(None, vec![batch(), altered]);
            assert_eq!(given[0].0, "batch-signature-verified");
            assert_eq!(given[1].0, "batch-signature-invalid");
            assert!(matches!(given[1].1.subject, Subject::Batch(1)));
        }
    }

    #[test]
    fn an_unsupported_algorithm_is_said_to_be_one() {
        let mut altered = batch();
        altered.algorithm = SignatureAlgorithm::Sm2Sm3;
        let given = judge(None, vec![altered]);
        assert_eq!(given[0].0, "signature-algorithm-unsupported");
        assert!(!given[0].1.valid);
    }

    #[test]
    fn settings_are_none() {
        assert!(SignatureGuest::prepare("{}", &[]).is_ok());
        let error = SignatureGuest::prepare(r#"{"curve":"P-256"}"#, &[]).unwrap_err();
        assert!(error.contains("curve"), "{error}");
    }
}
