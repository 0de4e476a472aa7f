//! One segment of sled's file, every byte of it accounted for.

use std::ops::Range;

use super::format::{
    PAGE_BYTES, RED_ZONE_BYTES, Record, SEGMENT_HEADER_BYTES, SegmentHeader, first_set, last_set,
    whole_record,
};
use super::value::{Value, damaged_values};
use crate::engine::SEGMENT_BYTES;

/// Damaged places of one segment that are kept: sled's records are some KiB, so more
/// than that is a segment of rubbish.
const BAD_MAX: usize = 64;
/// Values that are named of one damaged place.
const VALUES_MAX: usize = 16;

/// What a segment holds.
#[derive(Debug)]
pub(super) struct Segment {
    /// Where it begins in the file.
    pub(super) base: u64,
    /// Bytes of it in the file; less than a segment at the end only.
    pub(super) len: usize,
    pub(super) start: Start,
    /// Behind the last record that holds.
    pub(super) end: usize,
    pub(super) rest: Rest,
    pub(super) bad: Vec<Bad>,
    /// Damaged places that were not kept.
    pub(super) more_bad: u64,
    pub(super) records: u64,
}

/// How a segment begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    /// With zeros: cleared, free.
    Cleared,
    Header(SegmentHeader),
    Damaged,
}

/// What follows the last record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Rest {
    /// What ends a segment that is full.
    Closed,
    /// Nothing: the file ends.
    Nothing,
    /// Zeros.
    Zeros,
    /// Zeros but for the segment's last byte, which sled doesn't clear.
    ZerosButLast,
    /// Zeros up to the edge of a page, or what was there before, up to where the rest of
    /// the last batch begins; the bytes named can't be checked. A clearing that was broken
    /// off leaves this, and so do two writes of which only the second was done.
    PartlyCleared(Range<usize>),
    /// What the segment held before it was begun anew: part of a record that can't be
    /// checked, then records.
    Older { unknown: Range<usize>, torn: bool },
    /// A record of which only the first pages were written.
    Torn(Range<usize>),
    /// Damage; it is told as such.
    Damaged,
}

/// Bytes that are not what they should be.
#[derive(Debug)]
pub(super) struct Bad {
    pub(super) range: Range<usize>,
    pub(super) what: &'static str,
    pub(super) values: Vec<Value>,
}

/// Accounts for every byte of a segment.
pub(super) fn examine(base: u64, data: &[u8]) -> Segment {
    let mut walk = Walk {
        data,
        bad: Vec::new(),
        more_bad: 0,
        records: 0,
        batches: 0,
        in_gap: false,
    };
    let (start, (end, rest)) = walk.segment();
    Segment {
        base,
        len: data.len(),
        start,
        end,
        rest,
        bad: walk.bad,
        more_bad: walk.more_bad,
        records: walk.records,
    }
}

struct Walk<'d> {
    data: &'d [u8],
    bad: Vec<Bad>,
    more_bad: u64,
    records: u64,
    /// Marks of batches among the records.
    batches: u64,
    /// Behind a gap, see `resume`.
    in_gap: bool,
}

impl Walk<'_> {
    fn segment(&mut self) -> (Start, (usize, Rest)) {
        if let Some(header) = SegmentHeader::parse(self.data) {
            let walked = self.walk(header.number(), SEGMENT_HEADER_BYTES);
            return (Start::Header(header), walked);
        }
        let Some(set) = first_set(self.data) else {
            return (Start::Cleared, (0, Rest::Zeros));
        };
        let first = self.data.get(SEGMENT_HEADER_BYTES..).and_then(whole_record);
        if let Some(record) = first {
            self.add(0..SEGMENT_HEADER_BYTES, "a segment's header");
            return (
                Start::Damaged,
                self.walk(record.segment, SEGMENT_HEADER_BYTES),
            );
        }
        let cleared = set / PAGE_BYTES * PAGE_BYTES;
        match self.next_record(SEGMENT_HEADER_BYTES, |_| true) {
            Some((at, number)) if cleared > 0 && cleared <= at => {
                self.older(at, number);
                (Start::Cleared, (0, Rest::PartlyCleared(cleared..at)))
            }
            Some((at, number)) => {
                self.add(0..at, "a segment's header and first records");
                (Start::Damaged, self.walk(number, at))
            }
            None if set >= SEGMENT_HEADER_BYTES => {
                self.add(set..self.last_set(), "bytes in cleared space");
                (Start::Cleared, (0, Rest::Damaged))
            }
            None => {
                self.add(0..self.last_set(), "a segment of which nothing can be read");
                (Start::Damaged, (0, Rest::Damaged))
            }
        }
    }

    /// Goes along the records of the segment's number.
    fn walk(&mut self, number: u64, from: usize) -> (usize, Rest) {
        let mut at = from;
        while at <= SEGMENT_BYTES - RED_ZONE_BYTES {
            let record = whole_record(&self.data[at..]);
            if let Some(record) = record.filter(|record| record.segment == number) {
                self.records += 1;
                self.batches += u64::from(record.is_batch());
                at += record.bytes();
                if record.is_cap() {
                    break;
                }
                continue;
            }
            match self.stop(number, at) {
                Ok(next) => at = next,
                Err(rest) => return (at, rest),
            }
        }
        self.close(at);
        (at, Rest::Closed)
    }

    /// No record of this number at `at`: why, or where the next one is.
    fn stop(&mut self, number: u64, at: usize) -> Result<usize, Rest> {
        let rest = &self.data[at..];
        if rest.is_empty() {
            return Err(Rest::Nothing);
        }
        let Some(set) = first_set(rest) else {
            return Err(Rest::Zeros);
        };
        let begun = Record::parse(rest)
            .filter(|record| record.segment == number && at + record.bytes() <= SEGMENT_BYTES);
        // The length that it states is right, as a rule.
        if let Some(record) = begun {
            let next = at + record.bytes();
            let after = self.data.get(next..).and_then(whole_record);
            if after.is_some_and(|after| after.segment == number) {
                self.add(at..next, "a record");
                return Ok(next);
            }
        }
        match self.next_record(at + 1, |found| found <= number) {
            Some((next, found)) if found == number => self.resume(begun, number, at..next),
            Some((next, found)) => Err(self.older_rest(begun, at, set, next, found)),
            None => Err(self.tail(begun, at, set)),
        }
    }

    /// Records of the same number go on behind a gap: damage, or a write that was not
    /// done while the one after it was. sled writes the mark of a batch and the batch at
    /// the same time, so there is at most the rest of one batch behind such a gap.
    fn resume(
        &mut self,
        begun: Option<Record>,
        number: u64,
        gap: Range<usize>,
    ) -> Result<usize, Rest> {
        let set = first_set(&self.data[gap.clone()]).map_or(gap.end, |set| gap.start + set);
        let cleared = set / PAGE_BYTES * PAGE_BYTES;
        let unknown = if set > gap.start && cleared > gap.start {
            cleared.min(gap.end)..gap.end
        } else if begun.is_none() {
            set..gap.end
        } else {
            gap.end..gap.end
        };
        // There is one such gap at most.
        if (begun.is_some() && unknown.is_empty()) || self.in_gap {
            self.add(gap.clone(), "a record");
            return Ok(gap.end);
        }
        self.in_gap = true;
        let (known, batches) = (self.bad.len(), self.batches);
        match self.walk(number, gap.end) {
            (_, Rest::Closed) => {
                self.add(gap, "records");
                Err(Rest::Closed)
            }
            (_, rest) if self.batches > batches => {
                self.add(gap, "records");
                Err(rest)
            }
            _ if self.bad.len() == known => Err(Rest::PartlyCleared(unknown)),
            _ => Err(Rest::Damaged),
        }
    }

    /// What the segment held before begins at `next`.
    fn older_rest(
        &mut self,
        begun: Option<Record>,
        at: usize,
        set: usize,
        next: usize,
        number: u64,
    ) -> Rest {
        let cleared = (at + set) / PAGE_BYTES * PAGE_BYTES;
        self.older(next, number);
        if set > 0 && cleared > at {
            return Rest::PartlyCleared(cleared.min(next)..next);
        }
        match begun {
            Some(record) if at + record.bytes() <= next => {
                self.add(at..at + record.bytes(), "a record");
                Rest::Damaged
            }
            begun => Rest::Older {
                unknown: at..next,
                torn: begun.is_some(),
            },
        }
    }

    /// Nothing that can be read follows.
    fn tail(&mut self, begun: Option<Record>, at: usize, set: usize) -> Rest {
        let len = self.data.len();
        if at + set == SEGMENT_BYTES - 1 {
            return Rest::ZerosButLast;
        }
        let last = self.last_set();
        // Pages that were written end here: at the file's end, or in cleared space.
        let written = last.next_multiple_of(PAGE_BYTES);
        let at_edge = written == len || (written < len && len >= SEGMENT_BYTES - 1);
        let whole = begun.map_or(at + RED_ZONE_BYTES, |record| at + record.bytes());
        // A cap is zeros but for its header: cut off at a page it would hold.
        let is_cap = begun.is_some_and(|record| record.is_cap());
        if set == 0 && at_edge && written < whole && !is_cap {
            return Rest::Torn(at..written);
        }
        let what = match begun {
            Some(_) if whole > len => "a record that is cut off",
            Some(_) => "a record",
            None if set > 0 => "bytes in cleared space",
            None => "bytes after the last record",
        };
        let from = if set > 0 { at + set } else { at };
        self.add(
            from..last.max(whole.min(len) * usize::from(begun.is_some())),
            what,
        );
        Rest::Damaged
    }

    /// Goes along the records of an earlier use, to the end of the segment.
    fn older(&mut self, from: usize, number: u64) {
        let mut at = from;
        while at <= SEGMENT_BYTES - RED_ZONE_BYTES {
            let record = whole_record(&self.data[at..]);
            if let Some(record) = record.filter(|record| record.segment == number) {
                self.records += 1;
                at += record.bytes();
                if record.is_cap() {
                    break;
                }
                continue;
            }
            let next = self.next_record(at + 1, |found| found == number);
            let next = next.map(|(next, _)| next);
            self.add(at..next.unwrap_or(self.data.len()), "an older record");
            let Some(next) = next else { return };
            at = next;
        }
        self.close(at);
    }

    /// The end of a full segment.
    fn close(&mut self, at: usize) {
        let rest = &self.data[at..];
        match first_set(rest) {
            Some(set) => self.add(at + set..self.last_set(), "the end of a segment"),
            None if self.data.len() < SEGMENT_BYTES => {
                self.add(
                    self.data.len()..SEGMENT_BYTES,
                    "the end of a segment, which is cut off",
                );
            }
            None => {}
        }
    }

    /// The next place from `from` on where a record holds, and its segment's number.
    fn next_record(&self, from: usize, wanted: impl Fn(u64) -> bool) -> Option<(usize, u64)> {
        (from..self.data.len()).find_map(|at| {
            let bytes = &self.data[at..];
            // Said here, since this is asked for millions of places.
            if matches!(bytes.get(4), None | Some(0 | 12..)) {
                return None;
            }
            let record = Record::parse(bytes)?;
            (wanted(record.segment) && record.holds(bytes)).then_some((at, record.segment))
        })
    }

    /// Behind the last byte that isn't zero.
    fn last_set(&self) -> usize {
        last_set(self.data).map_or(0, |last| last + 1)
    }

    fn add(&mut self, range: Range<usize>, what: &'static str) {
        if self.bad.len() == BAD_MAX {
            self.more_bad += 1;
            return;
        }
        let bytes = self.data.get(range.clone()).unwrap_or_default();
        let mut values = damaged_values(bytes);
        values.truncate(VALUES_MAX);
        self.bad.push(Bad {
            range,
            what,
            values,
        });
    }
}
