//! Checks what a guest answered and turns it into findings.
//!
//! An answer that breaks the contract anywhere is refused as a whole: a guest that
//! points at a rule or an event that is not there cannot be trusted about the rest.

use std::{ops::Range, sync::Arc};

use crate::{
    BlockInput, Failure, FailureKind, Finding, LoadedPolicy, Mode, Severity,
    bindings::auditchain::verifier::types::{Subject, Verdict},
    instance::cut,
    slice::{SliceTables, index},
};

/// Verdicts of one guest about one subject. A leaf has room for 32 findings, of
/// all policies together.
pub const MAX_VERDICTS_PER_SUBJECT: u8 = 8;
/// Length of a verdict's `sig`: an algorithm's name and a SHA-256 in hex, twice over.
pub const MAX_SIG_BYTES: usize = 128;

/// Findings of one policy, by subject. Indexes are the block's.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) block: Vec<Finding>,
    pub(crate) batches: Vec<(u32, Finding)>,
    pub(crate) events: Vec<(u32, Finding)>,
}

impl Answer {
    /// What the guest said about the slice.
    pub(crate) fn check(
        policy: &LoadedPolicy,
        slice: &SliceTables<'_>,
        verdicts: Vec<Verdict>,
    ) -> Result<Self, Failure> {
        let mut answer = Self::default();
        let mut counts = Counts::new(slice);
        for verdict in verdicts {
            let subject = verdict.subject;
            counts.add(subject)?;
            let finding = finding(policy, verdict)?;
            match subject {
                Subject::Block => answer.block.push(finding),
                // `counts` has found both indexes in range.
                Subject::Batch(batch) => answer
                    .batches
                    .extend(get(&slice.batches, batch).map(|batch| (*batch, finding))),
                Subject::Event(event) => {
                    answer.events.push((slice.first_event() + event, finding));
                }
            }
        }
        Ok(answer)
    }

    /// What is said in place of a guest that did not answer: a finding about each
    /// subject that it should have judged.
    pub(crate) fn of_failure(
        policy: &LoadedPolicy,
        subjects: &Subjects<'_>,
        failure: &Failure,
    ) -> Self {
        let finding = Finding {
            policy: policy.name.clone(),
            rule: Arc::from(failure.kind.rule()),
            severity: match failure.kind {
                // Told once, when it was suspended.
                FailureKind::Suspended => Severity::Medium,
                _ => Severity::High,
            },
            valid: policy.mode == Mode::Observe,
            reason: failure.to_string(),
            sig: None,
        };
        let of = |subject: u32| (subject, finding.clone());
        let events: Vec<_> = subjects.events.clone().map(of).collect();
        let batches: Vec<_> = subjects.batches.iter().copied().map(of).collect();
        // Something must say it, even where there is nothing but the block.
        let about_block = subjects.has_seal || events.is_empty() && batches.is_empty();
        Self {
            block: Vec::from_iter(about_block.then_some(finding)),
            batches,
            events,
        }
    }

    /// Adds what came of a later part of the same block.
    pub(crate) fn append(&mut self, mut later: Self) {
        self.block.append(&mut later.block);
        self.batches.append(&mut later.batches);
        self.events.append(&mut later.events);
    }
}

/// What a guest is asked about. Indexes are the block's.
pub(crate) struct Subjects<'s> {
    pub(crate) events: Range<u32>,
    pub(crate) batches: std::borrow::Cow<'s, [u32]>,
    pub(crate) has_seal: bool,
}

impl<'s> Subjects<'s> {
    pub(crate) fn of_slice(slice: &'s SliceTables<'_>) -> Self {
        Self {
            events: slice.event_indexes(),
            batches: (&slice.batches).into(),
            has_seal: slice.has_seal,
        }
    }

    pub(crate) fn of_block(block: &BlockInput<'_>) -> Self {
        Self {
            events: 0..index(block.events.len()),
            batches: (0..index(block.batches.len())).collect(),
            has_seal: block.previous_seal.is_some(),
        }
    }
}

/// Verdicts so far, by subject.
struct Counts {
    block: u8,
    batches: Vec<u8>,
    events: Vec<u8>,
}

impl Counts {
    fn new(slice: &SliceTables<'_>) -> Self {
        Self {
            block: 0,
            batches: vec![0; slice.batches.len()],
            events: vec![0; slice.range.len()],
        }
    }

    fn add(&mut self, subject: Subject) -> Result<(), Failure> {
        let count = match subject {
            Subject::Block => Some(&mut self.block),
            Subject::Batch(batch) => get_mut(&mut self.batches, batch),
            Subject::Event(event) => get_mut(&mut self.events, event),
        };
        let count = count.ok_or_else(|| {
            Failure::bad_output(format!(
                "a verdict about {}, which is not there",
                name(subject)
            ))
        })?;
        *count += 1;
        if *count > MAX_VERDICTS_PER_SUBJECT {
            return Err(Failure::bad_output(format!(
                "more than {MAX_VERDICTS_PER_SUBJECT} verdicts about {}",
                name(subject)
            )));
        }
        Ok(())
    }
}

fn finding(policy: &LoadedPolicy, verdict: Verdict) -> Result<Finding, Failure> {
    let rule = get(&policy.description.rules, verdict.rule).ok_or_else(|| {
        Failure::bad_output(format!(
            "a verdict by rule {}, which is not there",
            verdict.rule
        ))
    })?;
    if verdict.sig.as_deref().is_some_and(|sig| !is_sig(sig)) {
        return Err(Failure::bad_output(
            "a verdict with a sig that is not <algorithm>:<key id in hex>",
        ));
    }
    Ok(Finding {
        policy: policy.name.clone(),
        rule: rule.id.clone(),
        severity: rule.severity,
        valid: verdict.valid || policy.mode == Mode::Observe,
        reason: cut(verdict.reason),
        sig: verdict.sig,
    })
}

fn is_sig(sig: &str) -> bool {
    let is_lower = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    sig.len() <= MAX_SIG_BYTES
        && sig.split_once(':').is_some_and(|(algorithm, key_id)| {
            !algorithm.is_empty()
                && algorithm.bytes().all(|byte| is_lower(byte) || byte == b'-')
                && !key_id.is_empty()
                && key_id.bytes().all(is_hex)
        })
}

fn name(subject: Subject) -> String {
    match subject {
        Subject::Block => "the block".into(),
        Subject::Batch(batch) => format!("batch {batch} of the slice"),
        Subject::Event(event) => format!("event {event} of the slice"),
    }
}

fn get<T>(all: &[T], index: u32) -> Option<&T> {
    all.get(usize::try_from(index).ok()?)
}

fn get_mut<T>(all: &mut [T], index: u32) -> Option<&mut T> {
    all.get_mut(usize::try_from(index).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sig_names_an_algorithm_and_a_key_id_in_hex() {
        for good in ["p256:00", "ecdsa-p256-sha256:0123456789abcdef"] {
            assert!(is_sig(good), "{good}");
        }
        let long = format!("p256:{}", "0".repeat(MAX_SIG_BYTES));
        for bad in [
            "", ":", "p256", "p256:", ":00", "p256:0G", "p256:AB", "P256:00", "p:0 ", "p:0:0",
            &long,
        ] {
            assert!(!is_sig(bad), "{bad}");
        }
    }
}
