//! Bodies that are not there, and the erasures that say why.

use auditchain_log::ErasureRecord;

use super::finding::{Findings, Place, Rule};
use crate::ranges::joined;

/// First and last entry, and their block.
type Missing = (u64, u64, Option<u64>);

/// What is missing and what was erased, in the order of the log.
#[derive(Debug, Default)]
pub(super) struct Erasures {
    missing: Vec<Missing>,
    erased: Vec<[u64; 2]>,
}

impl Erasures {
    /// The body of this entry is not there.
    pub(super) fn missing(&mut self, index: u64, block: Option<u64>) {
        match self.missing.last_mut() {
            Some((_, last, same)) if *last + 1 == index && *same == block => *last = index,
            _ => self.missing.push((index, index, block)),
        }
    }

    /// Takes up an erasure.
    pub(super) fn entry(
        &mut self,
        index: u64,
        record: &ErasureRecord,
        place: Place,
        findings: &mut Findings,
    ) {
        if record.is_well_formed(index) {
            self.erased.extend(&record.entries);
        } else {
            let detail = "the erasure's ranges don't ascend, or name entries that come after it";
            findings.add(Rule::Entry, place, detail);
        }
    }

    /// How many missing bodies were erased, and what is missing besides.
    pub(super) fn settle(self) -> (u64, Vec<Missing>) {
        let erased = joined(self.erased);
        let (mut count, mut rest) = (0, Vec::new());
        for (first, last, block) in self.missing {
            let mut at = first;
            let from = erased.partition_point(|[_, end]| *end < at);
            for [begin, end] in &erased[from..] {
                if *begin > last {
                    break;
                }
                if *begin > at {
                    rest.push((at, begin - 1, block));
                    at = *begin;
                }
                let through = last.min(*end);
                count += through - at + 1;
                at = through + 1;
            }
            if at <= last {
                rest.push((at, last, block));
            }
        }
        (count, rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_erasure_covers_is_missing() {
        let mut erasures = Erasures::default();
        for index in [1, 2, 3, 7, 8, 9, 20] {
            erasures.missing(index, Some(0));
        }
        let mut findings = Findings::default();
        let record = |entries: &[[u64; 2]]| ErasureRecord {
            by: "dpo".into(),
            entries: entries.to_vec(),
            reason: "asked".into(),
        };
        let mut take = |index, entries: &[[u64; 2]]| {
            erasures.entry(index, &record(entries), Place::entry(index), &mut findings);
        };
        take(30, &[[2, 2], [8, 12]]);
        take(31, &[[1, 2], [20, 20]]);
        take(32, &[[7, 32]]);
        assert!(!findings.is_empty(), "it names itself");
        let (erased, missing) = erasures.settle();
        assert_eq!(erased, 5);
        assert_eq!(missing, [(3, 3, Some(0)), (7, 7, Some(0))]);
    }
}
