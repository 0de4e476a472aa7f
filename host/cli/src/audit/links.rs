//! The hash chain, link by link: whether each entry carries the chain hash of the one
//! before as it stands.
//!
//! An entry's own `prev` is taken for the chain before it, so one change breaks the
//! links around it and no others, and the break tells where it is:
//! - the links before and after an entry broken: that entry was changed in its `prev`,
//!   or stands where it was not written;
//! - one link alone: the entry before it was changed, or between the two an entry is
//!   missing or too many.

use auditchain_log::{ChainHash, Hash};

use super::finding::{Findings, Place, Rule};

/// The chain up to some entry.
#[derive(Debug)]
pub(super) struct Links {
    /// After the last entry; none if that is not known.
    after: Option<ChainHash>,
    /// First and last of the broken links that end here. Link i is that between the
    /// entries i-1 and i.
    broken: Option<(u64, u64)>,
}

impl Links {
    /// At the beginning of the log; without its origin the first link can't be checked.
    pub(super) fn new(origin: Option<&str>) -> Self {
        Self {
            after: origin.map(ChainHash::genesis),
            broken: None,
        }
    }

    /// Takes up entry `index`, which carries `prev` and leads to `after`.
    pub(super) fn link(
        &mut self,
        index: u64,
        prev: Hash,
        after: ChainHash,
        findings: &mut Findings,
    ) {
        self.check(index, prev, findings);
        self.after = Some(after);
    }

    /// Takes up bytes that are no entry: it is assumed that their `prev` was right.
    pub(super) fn skip(&mut self, bytes: &[u8]) {
        self.after = self.after.map(|after| after.next(bytes));
    }

    /// What comes next is not known.
    pub(super) fn lose(&mut self, findings: &mut Findings) {
        self.tell(true, findings);
        self.after = None;
    }

    /// The log has `size` entries; `chain` is its end by the store's account.
    pub(super) fn end(&mut self, size: u64, chain: Option<Hash>, findings: &mut Findings) {
        if let Some(chain) = chain {
            self.check(size, chain, findings);
            if size > 0 && self.broken == Some((size, size)) {
                self.broken = None;
                let detail = "the store's head was not written after this entry: it was changed, or entries at the end are missing or added";
                findings.add(Rule::Chain, Place::entry(size - 1), detail);
            }
            self.tell(false, findings);
        }
        self.tell(true, findings);
    }

    fn check(&mut self, index: u64, prev: Hash, findings: &mut Findings) {
        let holds = self.after.is_none_or(|after| after.hash() == prev);
        if holds {
            self.tell(false, findings);
        } else {
            let first = self.broken.map_or(index, |(first, _)| first);
            self.broken = Some((first, index));
        }
    }

    /// Tells of the broken links that end here; `open`: what follows them is not known.
    fn tell(&mut self, open: bool, findings: &mut Findings) {
        let Some((first, last)) = self.broken.take() else {
            return;
        };
        if first == 0 {
            let detail = "the chain does not begin with the hash of the origin: entry 0 is another log's, was changed, or what came before it is missing";
            findings.add(
                Rule::Chain,
                Place::entries(0, last.saturating_sub(1)),
                detail,
            );
        } else if first == last {
            let before = first - 1;
            let which = if open {
                "one of the two was changed"
            } else {
                "the former was changed"
            };
            let detail = format!(
                "entry {before} is not the one that entry {first} was written after: {which}, or an entry between them is missing or added"
            );
            findings.add(Rule::Chain, Place::entries(before, first), detail);
        } else {
            let detail = if open {
                "from here on the entries don't follow one another"
            } else {
                "fits neither the entry before nor the one after: changed, moved or added"
            };
            findings.add(
                Rule::Chain,
                Place::entries(first, if open { last } else { last - 1 }),
                detail,
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The places told for a log of which link `i` is broken where `broken` has `i`.
    fn told(size: u64, broken: &[u64], head: Option<bool>) -> Vec<(Option<u64>, Option<u64>)> {
        let mut links = Links::new(Some("origin"));
        let mut findings = Findings::default();
        let mut chain = ChainHash::genesis("origin");
        let wrong = Hash([0; 32]);
        for index in 0..size {
            let prev = if broken.contains(&index) {
                wrong
            } else {
                chain.hash()
            };
            let bytes = index.to_be_bytes();
            chain = ChainHash::resume(prev).next(&bytes);
            links.link(index, prev, chain, &mut findings);
        }
        let head = head.map(|right| if right { chain.hash() } else { wrong });
        links.end(size, head, &mut findings);
        findings
            .kept
            .iter()
            .map(|f| (f.index, f.last_index))
            .collect()
    }

    #[test]
    fn breaks_are_told_by_where_they_are() {
        assert!(told(9, &[], Some(true)).is_empty());
        // Alone: the entry before, or between.
        assert_eq!(told(9, &[5], None), [(Some(4), Some(5))]);
        // Around one entry; around two.
        assert_eq!(told(9, &[5, 6], None), [(Some(5), None)]);
        assert_eq!(told(9, &[5, 6, 7], None), [(Some(5), Some(6))]);
        assert_eq!(
            told(9, &[2, 5, 6], None),
            [(Some(1), Some(2)), (Some(5), None)]
        );
        // At the ends.
        assert_eq!(told(9, &[0], None), [(Some(0), None)]);
        assert_eq!(told(9, &[0, 1], None), [(Some(0), None)]);
        assert_eq!(told(9, &[8], None), [(Some(7), Some(8))]);
        assert_eq!(told(9, &[7, 8], None), [(Some(7), Some(8))]);
        assert_eq!(told(9, &[], Some(false)), [(Some(8), None)]);
        assert_eq!(told(9, &[8], Some(false)), [(Some(8), None)]);
        assert_eq!(told(9, &[8], Some(true)), [(Some(7), Some(8))]);
    }

    #[test]
    fn what_follows_a_gap_is_not_blamed() {
        let mut links = Links::new(Some("origin"));
        let mut findings = Findings::default();
        links.lose(&mut findings);
        let chain = ChainHash::resume(Hash([9; 32]));
        links.link(7, chain.hash(), chain.next(b"7"), &mut findings);
        links.end(8, None, &mut findings);
        assert!(findings.is_empty());
    }
}
