//! The numbers that senders give their batches: none may be used twice, and where some are
//! left out a `gap` entry must say so, right before the batch that follows.

use std::collections::{BTreeMap, BTreeSet};

use auditchain_log::{GapRecord, Hash, Payload, Senders, sha256};

use super::finding::{Findings, Place, Rule};
use crate::limits::SENDERS_MAX;

/// Numbers accepted so far.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    pub(super) senders: Senders,
    /// Number of batches that are missing, as `gap` entries say.
    pub(super) missing: u64,
    /// A gap entry that waits for its batch.
    gap: Option<(Place, String, GapRecord)>,
    /// The block that is being read, and of its senders the last number before it.
    block: Option<u64>,
    before_block: BTreeMap<(String, Hash), Option<u64>>,
    /// Senders that are followed.
    known: BTreeSet<(String, Hash)>,
    /// Entries are lost: the numbers of all others could be any.
    lost: bool,
}

impl Numbers {
    /// Takes up an entry; a batch is taken up by [`accept`](Self::accept) thereafter.
    pub(super) fn entry(
        &mut self,
        block: u64,
        payload: &Payload,
        place: Place,
        findings: &mut Findings,
    ) {
        if self.block.replace(block) != Some(block) {
            self.before_block.clear();
        }
        if !matches!(payload, Payload::Batch { .. }) {
            self.end(findings);
        }
        if let Payload::Gap { source, gap } = payload {
            let missing = gap.last.checked_sub(gap.first);
            match missing.and_then(|more| more.checked_add(1)) {
                Some(missing) => self.missing = self.missing.saturating_add(missing),
                None => findings.add(Rule::Batch, place, "a gap that ends before it begins"),
            }
            self.gap = Some((place, source.clone(), gap.clone()));
        }
    }

    /// Takes up a batch that the log calls valid.
    pub(super) fn accept(
        &mut self,
        source: &str,
        spki: &[u8],
        sequence: u64,
        noted: bool,
        place: Place,
        findings: &mut Findings,
    ) {
        let said = self.gap.take();
        let sender = (source.to_owned(), sha256(&[spki]));
        let last = self.senders.last_sequence(source, spki);
        let before = *self.before_block.entry(sender.clone()).or_insert(last);
        if before.is_some_and(|before| sequence <= before) && !noted {
            let detail =
                format!("its number {sequence} was used before, and no policy has noted it");
            findings.add(Rule::Batch, place, detail);
        }
        let is_known = self.known.contains(&sender);
        if !is_known && self.known.len() == SENDERS_MAX {
            return;
        }
        let due = self.senders.gap(source, spki, sequence);
        let said = said.map(|(at, of, gap)| (at, (of == source).then_some(gap)));
        match (due, said) {
            _ if self.lost && !is_known => {}
            (None, None) => {}
            (Some(due), Some((_, Some(gap)))) if due == gap => {}
            (Some(due), None) => {
                let detail = format!(
                    "the sender's batches {} to {} are missing, and no gap entry says so: they were cut out, or never sealed",
                    due.first, due.last
                );
                findings.add(Rule::Batch, place, detail);
            }
            (_, Some((at, _))) => {
                let detail = "a gap entry says of the batch after it what its number does not";
                findings.add(Rule::Batch, at, detail);
            }
        }
        self.known.insert(sender);
        self.senders.accept(source, spki, sequence);
    }

    /// A batch must follow a gap entry.
    pub(super) fn end(&mut self, findings: &mut Findings) {
        if let Some((place, ..)) = self.gap.take() {
            let detail = "a gap entry is not followed by the valid batch that shows it";
            findings.add(Rule::Batch, place, detail);
        }
    }

    /// What comes next is not known.
    pub(super) fn lose(&mut self) {
        self.gap = None;
        self.block = None;
        self.before_block.clear();
        self.known.clear();
        self.senders.forget_sequences();
        self.lost = true;
    }
}
