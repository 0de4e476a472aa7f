//! One signed batch: signature, key, number.

use auditchain_guest_sdk::types::Batch;
use auditchain_guest_sdk::{Call, SignatureAlgorithm, Subject, Verdicts};
use auditchain_log::{Hash, SenderAlgorithm, batch_message};

use crate::keys::{KeyTable, Standing, evidence};
use crate::rule::{
    BATCH_KEY_EXPIRED, BATCH_KEY_UNBOUND, BATCH_KEY_UNKNOWN, BATCH_SEQUENCE_REPEATED,
    BATCH_SEQUENCE_REPLAYED, BATCH_SIGNATURE_INVALID, BATCH_SIGNATURE_VERIFIED,
};
use crate::settings::{Settings, UnboundKeys};

/// Judges the batch at `index` of the context.
pub(crate) fn judge(
    settings: &Settings,
    call: &Call<'_>,
    index: u32,
    batch: &Batch,
    keys: &mut KeyTable<'_>,
    verdicts: &mut Verdicts,
) {
    let subject = Subject::Batch(index);
    let Some(source) = call.source(batch.source).map(|source| &source.name) else {
        verdicts.invalid(subject, &BATCH_SIGNATURE_INVALID, "its source is unknown");
        return;
    };
    // Nobody's business: not worth the time that a verification takes.
    let standing = keys.standing(batch.source, &batch.public_key);
    if standing == Standing::Unknown {
        let reason = "it is signed with a key that the source has not in force";
        verdicts.invalid(subject, &BATCH_KEY_UNKNOWN, reason);
        return;
    }
    match check_signature(source, batch, keys) {
        Ok(sig) => verdicts.verified(subject, &BATCH_SIGNATURE_VERIFIED, "", sig),
        Err(reason) => {
            verdicts.invalid(subject, &BATCH_SIGNATURE_INVALID, reason);
            return;
        }
    }
    match standing {
        Standing::InForce | Standing::Unknown => {}
        Standing::Expired(reason) => verdicts.invalid(subject, &BATCH_KEY_EXPIRED, reason),
        Standing::Unbound => {
            let reason = "the source has no key in force: the signature proves no more than that one key signed";
            if settings.requires(source) || settings.unbound_keys == UnboundKeys::Refuse {
                verdicts.invalid(subject, &BATCH_KEY_UNBOUND, reason);
            } else {
                verdicts.finding(subject, &BATCH_KEY_UNBOUND, reason);
            }
        }
    }
    if let Some(last) = batch.last_sequence.filter(|last| batch.sequence <= *last) {
        let reason = format!(
            "its number is {}, and {last} was accepted from this key before",
            batch.sequence
        );
        verdicts.invalid(subject, &BATCH_SEQUENCE_REPLAYED, reason);
    }
    if batch.repeated {
        let reason = format!(
            "another batch of this block has the number {} too",
            batch.sequence
        );
        verdicts.finding(subject, &BATCH_SEQUENCE_REPEATED, reason);
    }
}

/// Verifies a batch's signature; returns what names the key.
fn check_signature(source: &str, batch: &Batch, keys: &mut KeyTable<'_>) -> Result<String, String> {
    let digest = Hash::from_slice(&batch.digest).map_err(|_| "its digest is no SHA-256 hash")?;
    let key = keys.key(&batch.public_key)?;
    let algorithm = match batch.algorithm {
        SignatureAlgorithm::EcdsaP256Sha256 => SenderAlgorithm::EcdsaP256Sha256,
        SignatureAlgorithm::Sm2Sm3 => SenderAlgorithm::Sm2Sm3,
    };
    if key.algorithm() != algorithm {
        return Err(format!("its key is one of {}", key.algorithm()));
    }
    let message = batch_message(source, batch.sequence, batch.count, &digest);
    key.verify(&message, &batch.signature)
        .map_err(|_| "its signature is not this key's over source, sequence, count and digest")?;
    Ok(evidence(key))
}
