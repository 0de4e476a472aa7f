//! Signed batches: the sender's signature, and the events that it covers.

use auditchain_log::{BatchRecord, Hash, Payload, Verdict, batch_message, sha256};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use p256::ecdsa::signature::Verifier as _;
use p256::pkcs8::DecodePublicKey as _;
use sha2::{Digest as _, Sha256};

use super::finding::{Findings, Place, Rule};

const ECDSA_P256: &str = "ecdsa-p256-sha256";
const SM2: &str = "sm2-sm3";

/// The batch that is being read, and counts of all.
#[derive(Debug, Default)]
pub(super) struct Batches {
    open: Option<Open>,
    pub(super) signatures_verified: u64,
    pub(super) signatures_invalid_and_sealed_so: u64,
    pub(super) signatures_not_checked: u64,
    pub(super) digests_verified: u64,
    pub(super) digests_not_checked: u64,
}

#[derive(Debug)]
struct Open {
    place: Place,
    index: u64,
    source: String,
    left: u32,
    digest: Hash,
    /// Over the events so far; none if it can't be made, for want of events or bodies.
    hasher: Option<Sha256>,
}

impl Batches {
    /// Takes up the entry at `index`; `body` is its body where that holds.
    pub(super) fn entry(
        &mut self,
        index: u64,
        block: u64,
        payload: &Payload,
        body: Option<&[u8]>,
        findings: &mut Findings,
    ) {
        if let Some(mut open) = self.open.take() {
            match payload {
                Payload::Event { source, .. }
                    if *source == open.source && open.place.block == Some(block) =>
                {
                    match (&mut open.hasher, body) {
                        (Some(hasher), Some(body)) => hasher.update(sha256(&[body]).0),
                        _ => open.hasher = None,
                    }
                    open.left -= 1;
                    self.open = Some(open);
                    self.close_if_complete(findings);
                    return;
                }
                _ => {
                    let detail = format!(
                        "{} events are due after the batch entry {}, here stands another entry",
                        open.left, open.index
                    );
                    findings.add(
                        Rule::Batch,
                        Place::entries(open.index, index).in_block(block),
                        detail,
                    );
                }
            }
        }
        if let Payload::Batch {
            source,
            batch,
            verdict,
        } = payload
        {
            let place = Place::entry(index).in_block(block);
            self.check_signature(source, batch, verdict, place, findings);
            if batch.events > batch.count {
                let detail = format!(
                    "{} events are said to follow, of a batch of {}",
                    batch.events, batch.count
                );
                findings.add(Rule::Batch, place, detail);
            }
            self.open = Some(Open {
                place,
                index,
                source: source.clone(),
                left: batch.events,
                digest: batch.digest,
                hasher: (batch.events == batch.count).then(Sha256::new),
            });
            self.close_if_complete(findings);
        }
    }

    /// What comes next is not known.
    pub(super) fn lose(&mut self) {
        if self.open.take().is_some() {
            self.digests_not_checked += 1;
        }
    }

    /// The log has ended.
    pub(super) fn end(&mut self, findings: &mut Findings) {
        if let Some(open) = self.open.take() {
            findings.add(
                Rule::Batch,
                open.place,
                format!(
                    "the log ends before the last {} events of this batch",
                    open.left
                ),
            );
        }
    }

    fn close_if_complete(&mut self, findings: &mut Findings) {
        let Some(open) = self.open.take_if(|open| open.left == 0) else {
            return;
        };
        match open.hasher {
            None => self.digests_not_checked += 1,
            Some(hasher) => {
                if Hash(hasher.finalize().into()) == open.digest {
                    self.digests_verified += 1;
                } else {
                    let detail =
                        "the events are not those that the sender signed: their digest is another";
                    findings.add(Rule::Batch, open.place, detail);
                }
            }
        }
    }

    fn check_signature(
        &mut self,
        source: &str,
        batch: &BatchRecord,
        verdict: &Verdict,
        place: Place,
        findings: &mut Findings,
    ) {
        if batch.algorithm == SM2 {
            self.signatures_not_checked += 1;
            return;
        }
        let sealed_as_bad = !verdict.valid || !verdict.findings.is_empty();
        if batch.algorithm == ECDSA_P256 && signature_holds(source, batch) {
            self.signatures_verified += 1;
        } else if sealed_as_bad {
            // The log says so itself: that is what it is for.
            self.signatures_invalid_and_sealed_so += 1;
        } else {
            findings.add(
                Rule::Batch,
                place,
                "the sender's signature does not verify, and no policy has noted it",
            );
        }
    }
}

fn signature_holds(source: &str, batch: &BatchRecord) -> bool {
    let (Ok(key), Ok(signature)) = (
        STANDARD.decode(&batch.key),
        STANDARD.decode(&batch.signature),
    ) else {
        return false;
    };
    let message = batch_message(source, batch.sequence, batch.count, &batch.digest);
    match (
        p256::ecdsa::VerifyingKey::from_public_key_der(&key),
        p256::ecdsa::Signature::from_der(&signature),
    ) {
        (Ok(key), Ok(signature)) => key.verify(&message, &signature).is_ok(),
        _ => false,
    }
}
