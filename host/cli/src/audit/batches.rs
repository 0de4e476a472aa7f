//! Signed batches: the sender's signature and key, the events that it covers, and by way
//! of `numbers` the batches that are missing.

use auditchain_log::{
    BatchRecord, Entry, Hash, KeyRecord, KeyRole, KeyState, Payload, SenderPublicKey, Severity,
    Timestamp, Verdict, batch_message, sha256,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use super::finding::{Findings, Place, Rule};
use super::numbers::Numbers;
use crate::limits::SENDER_KEYS_MAX;

/// The batch that is being read, what senders may sign with and did, and counts of all.
#[derive(Debug, Default)]
pub(super) struct Batches {
    open: Option<Open>,
    numbers: Numbers,
    pub(super) signatures_verified: u64,
    pub(super) signatures_invalid_and_sealed_so: u64,
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

/// Where and when an entry stands.
#[derive(Debug, Clone, Copy)]
struct At {
    place: Place,
    time: Timestamp,
}

impl Batches {
    /// Takes up the entry at `index`; `body` is its body where that holds.
    pub(super) fn entry(
        &mut self,
        index: u64,
        entry: &Entry,
        body: Option<&[u8]>,
        findings: &mut Findings,
    ) {
        let (block, payload) = (entry.block, &entry.payload);
        let place = Place::entry(index).in_block(block);
        self.numbers.entry(block, payload, place, findings);
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
            let at = At {
                place,
                time: entry.time,
            };
            self.check_batch(source, batch, verdict, at, findings);
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
        self.numbers.lose();
        if self.open.take().is_some() {
            self.digests_not_checked += 1;
        }
    }

    /// The log has ended.
    pub(super) fn end(&mut self, findings: &mut Findings) {
        self.numbers.end(findings);
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

    /// The sender's signature, key and number against what the log's entries say of them.
    fn check_batch(
        &mut self,
        source: &str,
        batch: &BatchRecord,
        verdict: &Verdict,
        at: At,
        findings: &mut Findings,
    ) {
        let place = at.place;
        // The log says so itself: that is what it is for.
        let noted = !verdict.valid || verdict.findings.iter().any(is_objection);
        let spki = self.check_signature(source, batch, noted, place, findings);
        if let Some(wrong) = self.wrong_key(source, batch, at.time)
            && !noted
        {
            let detail = format!("{wrong}, and no policy has noted it");
            findings.add(Rule::Batch, place, detail);
        }
        match spki.filter(|_| verdict.valid) {
            Some(spki) => {
                self.numbers
                    .accept(source, &spki, batch.sequence, noted, place, findings);
            }
            None => self.numbers.end(findings),
        }
    }

    /// The key's SubjectPublicKeyInfo, if it is base64 at all.
    fn check_signature(
        &mut self,
        source: &str,
        batch: &BatchRecord,
        noted: bool,
        place: Place,
        findings: &mut Findings,
    ) -> Option<Vec<u8>> {
        let spki = STANDARD.decode(&batch.key).ok();
        if signature_holds(source, batch, spki.as_deref()) {
            self.signatures_verified += 1;
        } else if noted {
            self.signatures_invalid_and_sealed_so += 1;
        } else {
            findings.add(
                Rule::Batch,
                place,
                "the sender's signature does not verify, and no policy has noted it",
            );
        }
        spki
    }

    /// Why the key may not sign for the source, if it may not. Where no key is in force,
    /// any may.
    fn wrong_key(
        &self,
        source: &str,
        batch: &BatchRecord,
        time: Timestamp,
    ) -> Option<&'static str> {
        let mut in_force = self.numbers.senders.keys_of(source).peekable();
        in_force.peek()?;
        let Some(record) = in_force.find(|record| record.key == batch.key) else {
            return Some("it is signed with a key that its source has not in force");
        };
        if record.not_before.is_some_and(|from| time < from) {
            return Some("it is signed with a key that is not valid yet");
        }
        if record.not_after.is_some_and(|until| time > until) {
            return Some("it is signed with a key that is no longer valid");
        }
        None
    }

    /// Takes up a sender's key entry.
    pub(super) fn key(&mut self, record: &KeyRecord, place: Place, findings: &mut Findings) {
        if record.role != KeyRole::Sender {
            return;
        }
        let senders = &mut self.numbers.senders;
        let spki = STANDARD.decode(&record.key).ok();
        let wrong = match &record.source {
            None => Some("a sender's key without a source"),
            Some(_) if spki.is_none_or(|spki| SenderPublicKey::from_spki(&spki).is_err()) => {
                Some("a sender's key that is no P-256 or SM2 key")
            }
            Some(source) if record.state == KeyState::End => {
                let known = senders.keys_of(source).any(|known| known.key == record.key);
                (!known).then_some("a sender's key ends that is not in force")
            }
            Some(_) => None,
        };
        if let Some(wrong) = wrong {
            findings.add(Rule::Key, place, wrong);
        }
        senders.change(record);
        if senders.keys().len() > SENDER_KEYS_MAX {
            let detail = format!("more than {SENDER_KEYS_MAX} sender keys; this one is not kept");
            findings.add(Rule::Key, place, detail);
            senders.change(&KeyRecord {
                state: KeyState::End,
                ..record.clone()
            });
        }
    }

    /// Keys that senders may sign with at the log's end.
    pub(super) fn keys_in_force(&self) -> usize {
        self.numbers.senders.keys().len()
    }

    /// Batches that are missing, as `gap` entries say.
    pub(super) fn missing(&self) -> u64 {
        self.numbers.missing
    }
}

/// Whether a finding can be what a policy says of a batch that must not be taken: what
/// rules there are is the module's affair.
fn is_objection(finding: &auditchain_log::Finding) -> bool {
    finding.severity >= Severity::High
}

fn signature_holds(source: &str, batch: &BatchRecord, spki: Option<&[u8]>) -> bool {
    let (Some(Ok(key)), Ok(signature)) = (
        spki.map(SenderPublicKey::from_spki),
        STANDARD.decode(&batch.signature),
    ) else {
        return false;
    };
    let message = batch_message(source, batch.sequence, batch.count, &batch.digest);
    key.algorithm().name() == batch.algorithm && key.verify(&message, &signature).is_ok()
}
