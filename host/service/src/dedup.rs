//! Duplicates: a batch that comes again is acknowledged and adds nothing, at any age.
//!
//! A duplicate has the same stageTimestamp as the first, so only runs of the log
//! whose time range covers it can hold it. The newest run is in memory; when it has
//! [`RUN_EVENTS`] it is frozen into a sorted blob, written with the block that fills
//! it. Of a frozen run the high halves of its tags stay in memory, four bytes an event,
//! so that an event that is new does not cost a read even where the time ranges of all
//! runs cover it. A tag that matches is confirmed against the body in the log.
//!
//! ```text
//! blob dedup/<run, 8 hex digits>   (tag u64, index u64) big-endian, sorted
//! blob range/<run, 8 hex digits>   oldest i64, newest i64 (microseconds), untimed u8,
//!                                  then the high half (u32) of each tag, sorted
//! ```

use std::collections::HashMap;

use auditchain_store::{Store, StoreError, What};

use crate::state::damaged;

/// Events of a run: 256 KiB a blob, and a small part of a second to read back at start.
pub(crate) const RUN_EVENTS: usize = 16_384;
/// Frozen runs kept in memory: a sender that replays its backlog walks them in order.
const CACHED_RUNS: usize = 8;
const PAIR_BYTES: usize = 16;
const RANGE_BYTES: usize = 17;

/// Finds what is in the log already. Owned by the sequencer.
#[derive(Debug, Default)]
pub(crate) struct Dedup {
    recent: HashMap<u64, u64>,
    recent_range: Range,
    runs: Vec<Run>,
    cache: Vec<(usize, Vec<u8>)>,
}

/// What is known of a frozen run without reading it.
#[derive(Debug)]
struct Run {
    range: Range,
    high_halves: Vec<u32>,
}

impl Run {
    fn may_hold(&self, tag: u64, time_us: Option<i64>) -> bool {
        self.range.covers(time_us) && self.high_halves.binary_search(&high_half(tag)).is_ok()
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = self.range.encode().to_vec();
        bytes.extend(self.high_halves.iter().flat_map(|half| half.to_be_bytes()));
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (range, rest) = bytes.split_first_chunk::<RANGE_BYTES>()?;
        let (halves, rest) = rest.as_chunks::<4>();
        let high_halves: Vec<u32> = halves
            .iter()
            .map(|half| u32::from_be_bytes(*half))
            .collect();
        let whole = rest.is_empty() && high_halves.is_sorted();
        whole.then_some(Self {
            range: Range::decode(range)?,
            high_halves,
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

fn range_name(run: usize) -> String {
    format!("range/{run:08x}")
}

impl Dedup {
    /// Takes up `runs` frozen runs; the caller adds what came after them.
    ///
    /// # Errors
    /// A range is missing or damaged, or the store fails.
    pub(crate) fn load(runs: usize, store: &impl Store) -> Result<Self, StoreError> {
        let mut dedup = Self::default();
        for run in 0..runs {
            let name = range_name(run);
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
        self.recent.insert(tag, index);
        self.recent_range.add(time_us);
    }

    /// Where the log may hold the same: indexes to confirm.
    ///
    /// # Errors
    /// A run is missing or damaged, or the store fails.
    pub(crate) fn candidates(
        &mut self,
        tag: u64,
        time_us: Option<i64>,
        store: &impl Store,
    ) -> Result<Vec<u64>, StoreError> {
        let mut found = Vec::new();
        if self.recent_range.covers(time_us) {
            found.extend(self.recent.get(&tag));
        }
        for run in (0..self.runs.len()).rev() {
            if self.runs[run].may_hold(tag, time_us) {
                found.extend(find(self.run(run, store)?, tag));
            }
        }
        Ok(found)
    }

    /// If the newest run is full: freezes it and returns the blobs to write with the
    /// block.
    pub(crate) fn freeze_if_full(&mut self) -> Vec<(String, Vec<u8>)> {
        if self.recent.len() < RUN_EVENTS {
            return Vec::new();
        }
        let mut pairs: Vec<(u64, u64)> = self.recent.drain().collect();
        pairs.sort_unstable();
        let mut bytes = Vec::with_capacity(pairs.len() * PAIR_BYTES);
        for (tag, index) in &pairs {
            bytes.extend_from_slice(&tag.to_be_bytes());
            bytes.extend_from_slice(&index.to_be_bytes());
        }
        let name = self.runs.len();
        let run = Run {
            range: std::mem::take(&mut self.recent_range),
            high_halves: pairs.iter().map(|(tag, _)| high_half(*tag)).collect(),
        };
        let blobs = vec![(run_name(name), bytes), (range_name(name), run.encode())];
        self.runs.push(run);
        blobs
    }

    fn run(&mut self, run: usize, store: &impl Store) -> Result<&[u8], StoreError> {
        let at = match self.cache.iter().position(|(cached, _)| *cached == run) {
            Some(at) => at,
            None => {
                let name = run_name(run);
                let bytes = store.blob(&name)?.filter(|b| b.len() % PAIR_BYTES == 0);
                let bytes = bytes.ok_or_else(|| damaged(What::Blob(name.clone()), None))?;
                if self.cache.len() == CACHED_RUNS {
                    self.cache.remove(0);
                }
                self.cache.push((run, bytes));
                self.cache.len() - 1
            }
        };
        Ok(&self.cache[at].1)
    }
}

/// Binary search for a tag in a frozen run; all its indexes.
fn find(run: &[u8], tag: u64) -> Vec<u64> {
    let (pairs, _) = run.as_chunks::<PAIR_BYTES>();
    let key = tag.to_be_bytes();
    let first = pairs.partition_point(|pair| pair[..8] < key[..]);
    let same = pairs[first..]
        .iter()
        .take_while(|pair| pair[..8] == key[..]);
    same.filter_map(|pair| pair[8..].try_into().ok().map(u64::from_be_bytes))
        .collect()
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
        let dir = tempfile::tempdir().unwrap();
        let store = SledStore::open(dir.path()).unwrap();
        let mut dedup = Dedup::default();
        for i in 0..RUN_EVENTS as u64 {
            dedup.add(tag(i), Some(i as i64), i);
        }
        dedup.add(3, None, 99_999);
        let absent = tag(2) + 1;
        assert_eq!(dedup.candidates(tag(2), Some(2), &store).unwrap(), [2]);
        let blobs = dedup.freeze_if_full();
        assert_eq!(blobs.len(), 2);
        assert!(dedup.freeze_if_full().is_empty());
        // The blob, as the store would hand it back.
        dedup.cache.push((0, blobs[0].1.clone()));
        assert_eq!(dedup.candidates(tag(2), Some(2), &store).unwrap(), [2]);
        assert_eq!(dedup.candidates(3, None, &store).unwrap(), [99_999]);
        assert!(
            dedup
                .candidates(absent, Some(2), &store)
                .unwrap()
                .is_empty()
        );
        assert!(
            dedup
                .candidates(14, Some(RUN_EVENTS as i64), &store)
                .unwrap()
                .is_empty()
        );
        let run = Run::decode(&blobs[1].1).unwrap();
        assert_eq!(
            (run.range, &run.high_halves),
            (dedup.runs[0].range, &dedup.runs[0].high_halves)
        );
        assert!(Run::decode(&blobs[1].1[..19]).is_none());
        // What is new is not looked for in the run, whatever times it covers.
        dedup.cache.clear();
        assert!(
            dedup
                .candidates(tag(1 << 20), Some(2), &store)
                .unwrap()
                .is_empty()
        );
        // A run that the store has lost is damage, not "no duplicate".
        dedup.cache.clear();
        assert!(dedup.candidates(tag(2), Some(2), &store).is_err());
    }
}
