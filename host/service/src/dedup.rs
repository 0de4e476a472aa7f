//! Duplicates: a batch that comes again is acknowledged and adds nothing, at any age.
//!
//! A duplicate has the same stageTimestamp as the first, so only runs of the log
//! whose time range covers it can hold it. When the newest run has [`RUN_EVENTS`] it is
//! frozen into a sorted blob, written with the block that fills it, and stays in memory as
//! it is: six bytes an event, so that neither a start nor an event that is new costs more
//! than one read a run. Of a tag 32 bits are kept: where they match, the body in the log
//! decides, and for an event that is new they match by chance once in 400 events if all
//! of a log's ten million events are of its time.
//!
//! ```text
//! blob dedup/<run, 8 hex digits>   integers big-endian
//!   oldest i64, newest i64 (microseconds), untimed u8, first index u64,
//!   then the tags (u32), sorted, then for each its index (u16) less the first
//! ```

use std::collections::HashMap;

use auditchain_store::{Store, StoreError, What};

use crate::state::damaged;

/// Events of a run: 96 KiB a blob, and a small part of a second to read back at start.
pub(crate) const RUN_EVENTS: usize = 16_384;
/// Indexes that a run can reach over.
const RUN_SPAN: u64 = 1 << 16;
const RANGE_BYTES: usize = 17;

/// Finds what is in the log already. Owned by the sequencer.
#[derive(Debug, Default)]
pub(crate) struct Dedup {
    /// Index and stage time, by tag.
    recent: HashMap<u64, (u64, Option<i64>)>,
    recent_range: Range,
    runs: Vec<Run>,
}

/// A frozen run.
#[derive(Debug, PartialEq, Eq)]
struct Run {
    range: Range,
    first: u64,
    tags: Vec<u32>,
    /// Of each tag's index, less `first`.
    offsets: Vec<u16>,
}

impl Run {
    /// Of some tags and their indexes, which lie within [`RUN_SPAN`] from `first`.
    fn of(first: u64, range: Range, mut pairs: Vec<(u32, u16)>) -> Self {
        pairs.sort_unstable();
        Self {
            range,
            first,
            tags: pairs.iter().map(|(tag, _)| *tag).collect(),
            offsets: pairs.iter().map(|(_, offset)| *offset).collect(),
        }
    }

    /// Indexes that the tag's event may have.
    fn candidates(&self, tag: u64, time_us: Option<i64>) -> impl Iterator<Item = u64> {
        let tag = high_half(tag);
        let start = if self.range.covers(time_us) {
            self.tags.partition_point(|found| *found < tag)
        } else {
            self.tags.len()
        };
        let same = self.tags[start..].iter().take_while(move |f| **f == tag);
        same.zip(&self.offsets[start..])
            .map(|(_, offset)| self.first + u64::from(*offset))
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = self.range.encode().to_vec();
        bytes.extend(self.first.to_be_bytes());
        bytes.extend(self.tags.iter().flat_map(|tag| tag.to_be_bytes()));
        bytes.extend(self.offsets.iter().flat_map(|offset| offset.to_be_bytes()));
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (range, rest) = bytes.split_first_chunk::<RANGE_BYTES>()?;
        let (first, rest) = rest.split_first_chunk()?;
        let first = u64::from_be_bytes(*first);
        if rest.len() % 6 != 0 {
            return None;
        }
        let (tags, offsets) = rest.split_at(rest.len() / 6 * 4);
        let tags: Vec<u32> = tags
            .as_chunks()
            .0
            .iter()
            .map(|t| u32::from_be_bytes(*t))
            .collect();
        let offsets = offsets.as_chunks().0.iter().map(|o| u16::from_be_bytes(*o));
        first.checked_add(RUN_SPAN)?;
        tags.is_sorted().then_some(Self {
            range: Range::decode(range)?,
            first,
            tags,
            offsets: offsets.collect(),
        })
    }
}

fn high_half(tag: u64) -> u32 {
    // Shifted by 32 it fits.
    u32::try_from(tag >> 32).unwrap_or(u32::MAX)
}

/// The times that a run covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Range {
    oldest_us: i64,
    newest_us: i64,
    /// Holds something without a readable stageTimestamp.
    untimed: bool,
}

impl Default for Range {
    fn default() -> Self {
        Self {
            oldest_us: i64::MAX,
            newest_us: i64::MIN,
            untimed: false,
        }
    }
}

impl Range {
    fn add(&mut self, time_us: Option<i64>) {
        match time_us {
            Some(us) => {
                self.oldest_us = self.oldest_us.min(us);
                self.newest_us = self.newest_us.max(us);
            }
            None => self.untimed = true,
        }
    }

    fn covers(&self, time_us: Option<i64>) -> bool {
        time_us.map_or(self.untimed, |us| {
            (self.oldest_us..=self.newest_us).contains(&us)
        })
    }

    fn encode(&self) -> [u8; RANGE_BYTES] {
        let mut bytes = [0; RANGE_BYTES];
        bytes[..8].copy_from_slice(&self.oldest_us.to_be_bytes());
        bytes[8..16].copy_from_slice(&self.newest_us.to_be_bytes());
        bytes[16] = self.untimed.into();
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (oldest, rest) = bytes.split_first_chunk()?;
        let (newest, rest) = rest.split_first_chunk()?;
        let untimed = match rest {
            [0] => false,
            [1] => true,
            _ => return None,
        };
        Some(Self {
            oldest_us: i64::from_be_bytes(*oldest),
            newest_us: i64::from_be_bytes(*newest),
            untimed,
        })
    }
}

fn run_name(run: usize) -> String {
    format!("dedup/{run:08x}")
}

impl Dedup {
    /// Takes up `runs` frozen runs; the caller adds what came after them.
    ///
    /// # Errors
    /// A run is missing or damaged, or the store fails.
    pub(crate) fn load(runs: usize, store: &impl Store) -> Result<Self, StoreError> {
        let mut dedup = Self::default();
        for run in 0..runs {
            let name = run_name(run);
            let run = store.blob(&name)?.as_deref().and_then(Run::decode);
            dedup
                .runs
                .push(run.ok_or_else(|| damaged(What::Blob(name.clone()), None))?);
        }
        Ok(dedup)
    }

    /// Frozen runs.
    #[must_use]
    pub(crate) fn runs(&self) -> usize {
        self.runs.len()
    }

    /// Notes what was written at `index`.
    pub(crate) fn add(&mut self, tag: u64, time_us: Option<i64>, index: u64) {
        self.recent.insert(tag, (index, time_us));
        self.recent_range.add(time_us);
    }

    /// Where the log may hold the same, the newest first: indexes to confirm.
    pub(crate) fn candidates(&self, tag: u64, time_us: Option<i64>) -> Vec<u64> {
        let mut found = Vec::new();
        if self.recent_range.covers(time_us) {
            found.extend(self.recent.get(&tag).map(|(index, _)| *index));
        }
        let runs = self.runs.iter().rev();
        found.extend(runs.flat_map(|run| run.candidates(tag, time_us)));
        found
    }

    /// If the newest run is full: freezes it and returns the blobs to write with the
    /// block; several where its indexes reach too far for one.
    pub(crate) fn freeze_if_full(&mut self) -> Vec<(String, Vec<u8>)> {
        if self.recent.len() < RUN_EVENTS {
            return Vec::new();
        }
        let mut recent: Vec<(u64, u64, Option<i64>)> = self
            .recent
            .drain()
            .map(|(tag, (index, time_us))| (index, tag, time_us))
            .collect();
        recent.sort_unstable();
        self.recent_range = Range::default();
        let mut blobs = Vec::new();
        let mut rest = &recent[..];
        while let Some((first, ..)) = rest.first().copied() {
            let offset = |index: u64| u16::try_from(index - first);
            let (run, after) = rest.split_at(rest.partition_point(|r| offset(r.0).is_ok()));
            rest = after;
            let mut range = Range::default();
            run.iter().for_each(|(.., time_us)| range.add(*time_us));
            let pairs = run
                .iter()
                .filter_map(|(index, tag, _)| Some((high_half(*tag), offset(*index).ok()?)));
            let run = Run::of(first, range, pairs.collect());
            blobs.push((run_name(self.runs.len()), run.encode()));
            self.runs.push(run);
        }
        blobs
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use auditchain_store::SledStore;

    /// Spread over both halves.
    fn tag(i: u64) -> u64 {
        i.wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    #[test]
    fn candidates_are_found_in_memory_and_in_frozen_runs() {
        let mut dedup = Dedup::default();
        for i in 0..RUN_EVENTS as u64 {
            dedup.add(tag(i), Some(i as i64), 1000 + i);
        }
        dedup.add(3, None, 50_000);
        let check = |dedup: &Dedup| {
            assert_eq!(dedup.candidates(tag(2), Some(2)), [1002]);
            assert_eq!(
                dedup.candidates(tag(RUN_EVENTS as u64 - 1), Some(5)),
                [17_383]
            );
            assert_eq!(dedup.candidates(3, None), [50_000]);
            assert!(dedup.candidates(tag(1 << 20), Some(2)).is_empty());
            assert!(dedup.candidates(tag(2), Some(RUN_EVENTS as i64)).is_empty());
        };
        check(&dedup);
        let blobs = dedup.freeze_if_full();
        assert_eq!(blobs.len(), 1);
        assert_eq!(blobs[0].1.len(), RANGE_BYTES + 8 + 6 * (RUN_EVENTS + 1));
        assert!(dedup.recent.is_empty() && dedup.freeze_if_full().is_empty());
        check(&dedup);
        assert_eq!(Run::decode(&blobs[0].1).as_ref(), Some(&dedup.runs[0]));
        assert!(Run::decode(&blobs[0].1[..blobs[0].1.len() - 1]).is_none());
        assert!(Run::decode(&blobs[0].1[..24]).is_none());
    }

    #[test]
    fn tags_that_share_their_half_are_all_candidates() {
        let mut dedup = Dedup::default();
        for i in 0..RUN_EVENTS as u64 {
            dedup.add((7 << 32) | i, None, i);
        }
        dedup.freeze_if_full();
        assert_eq!(dedup.candidates(7 << 32, None).len(), RUN_EVENTS);
        assert!(dedup.candidates(8 << 32, None).is_empty());
    }

    #[test]
    fn a_run_whose_indexes_reach_far_becomes_several() {
        let mut dedup = Dedup::default();
        let index = |i: u64| i * 10;
        for i in 0..RUN_EVENTS as u64 {
            dedup.add(tag(i), Some(i as i64), index(i));
        }
        let blobs = dedup.freeze_if_full();
        assert_eq!((blobs.len(), dedup.runs()), (3, 3));
        for i in (0..RUN_EVENTS as u64).step_by(100) {
            assert_eq!(dedup.candidates(tag(i), Some(i as i64)), [index(i)]);
        }
    }

    // A run that the store has lost is damage, not "no duplicate".
    #[test]
    fn a_run_that_is_missing_is_damage() {
        let dir = tempfile::tempdir().unwrap();
        let store = SledStore::open(dir.path()).unwrap();
        assert!(Dedup::load(0, &store).is_ok());
        assert!(Dedup::load(1, &store).is_err());
    }
}
