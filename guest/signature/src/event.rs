//! One event: its own signature, and whether it has to be signed.

use auditchain_guest_sdk::{Event, Verdicts};
use auditchain_log::{EventSignature, SignerRef, event_message};

use crate::keys::{KeyTable, Standing, evidence};
use crate::rule::{
    EVENT_KEY_EXPIRED, EVENT_KEY_UNBOUND, EVENT_KEY_UNKNOWN, EVENT_SIGNATURE_INVALID,
    EVENT_SIGNATURE_VERIFIED, SIGNATURE_MISSING,
};
use crate::settings::UnboundKeys;

/// Judges an event. `required`: it must be signed, by itself or with its batch.
pub(crate) fn judge(
    event: &Event<'_>,
    required: bool,
    unbound: UnboundKeys,
    keys: &mut KeyTable<'_>,
    verdicts: &mut Verdicts,
) {
    let subject = event.subject();
    let Some(annotation) = event.signature() else {
        if required && !event.in_signed_batch() {
            let reason = if event.is_undecodable() {
                "it must be signed, and without canonical form only a signed batch can do that"
            } else {
                "it must be signed, and neither it nor its batch is"
            };
            verdicts.invalid(subject, &SIGNATURE_MISSING, reason);
        }
        return;
    };
    if event.is_undecodable() {
        let reason = "an event without canonical form can't be signed by itself";
        verdicts.invalid(subject, &EVENT_SIGNATURE_INVALID, reason);
        return;
    }
    let signature: EventSignature = match annotation.parse() {
        Ok(signature) => signature,
        Err(error) => {
            let reason = format!("the annotation: {error}");
            verdicts.invalid(subject, &EVENT_SIGNATURE_INVALID, reason);
            return;
        }
    };
    let source = event.raw().source;
    let unknown = "it is signed with a key that the source has not in force";
    let spki = match &signature.signer {
        SignerRef::Key(spki) => spki.as_slice(),
        SignerRef::Id(id) => match keys.by_id(source, id) {
            Some(spki) => spki,
            None => return verdicts.invalid(subject, &EVENT_KEY_UNKNOWN, unknown),
        },
    };
    let standing = keys.standing(source, spki);
    if standing == Standing::Unknown {
        return verdicts.invalid(subject, &EVENT_KEY_UNKNOWN, unknown);
    }
    match check(event, &signature, spki, keys) {
        Ok(sig) => verdicts.verified(subject, &EVENT_SIGNATURE_VERIFIED, "", sig),
        Err(reason) => return verdicts.invalid(subject, &EVENT_SIGNATURE_INVALID, reason),
    }
    match standing {
        Standing::InForce | Standing::Unknown => {}
        Standing::Expired(reason) => verdicts.invalid(subject, &EVENT_KEY_EXPIRED, reason),
        Standing::Unbound => {
            let reason = "the source has no key in force: the signature proves no more than that one key signed";
            // What a batch proves of it is judged there.
            let needed = required && !event.in_signed_batch();
            if needed || unbound == UnboundKeys::Refuse {
                verdicts.invalid(subject, &EVENT_KEY_UNBOUND, reason);
            } else {
                verdicts.finding(subject, &EVENT_KEY_UNBOUND, reason);
            }
        }
    }
}

/// Verifies the signature over the event's body; returns what names the key.
fn check(
    event: &Event<'_>,
    signature: &EventSignature,
    spki: &[u8],
    keys: &mut KeyTable<'_>,
) -> Result<String, String> {
    let key = keys.key(spki)?;
    if key.algorithm() != signature.algorithm {
        return Err(format!("its key is one of {}", key.algorithm()));
    }
    let body = event.body().ok_or("its body is not there")?;
    key.verify(&event_message(&body), &signature.signature)
        .map_err(|_| "its signature is not this key's over the event without it")?;
    Ok(evidence(key))
}
