//! Which stages of a request the log holds already: context for the ordering policy.
//!
//! A request is (source, auditID, requestReceivedTimestamp), all of it in the leaf, so
//! the window can be rebuilt from the log alone even where bodies are erased. It holds
//! whole blocks: the newest one that was judged, and before it as many as have together
//! no more than [`WINDOW_EVENTS_MAX`] events and began no longer than
//! [`WINDOW_SECONDS_MAX`] before it.
//!
//! A request is known by 64 bits of SHA-256. Who finds two requests that share them
//! (2^32 tries, by choosing auditIDs) makes its own two requests look like one, which is
//! a false alarm about itself.

use std::collections::{HashMap, VecDeque};

use auditchain_log::{EventRecord, json::parse_micro_time, sha256};
use foldhash::fast::RandomState;

use crate::{EarlierStage, Stage};

/// Events that the window holds beside the newest block: some 12 MB of memory, and what
/// is read again at a start. Twenty seconds at 12,000 events a second, five minutes at
/// 870.
pub const WINDOW_EVENTS_MAX: usize = 262_144;
/// Time that the window reaches back: more than a batch is retried (250 s), and than the
/// ordering policy's window.
pub const WINDOW_SECONDS_MAX: i64 = 900;
/// Stages of one request that are handed out, the newest first; a request has three.
const STAGES_MAX: usize = 8;

const MICROS_PER_SECOND: i64 = 1_000_000;
/// In place of a time that is missing.
const NO_TIME: i64 = i64::MIN;

/// The window.
#[derive(Debug, Clone, Default)]
pub(super) struct StageWindow {
    blocks: VecDeque<Block>,
    events: VecDeque<Seen>,
    /// Number of `events[0]`; numbers count all events that ever were in the window.
    first: u64,
    /// Number of the newest event of each request.
    newest: HashMap<u64, u64, RandomState>,
    /// Blocks were forgotten, so that an older event may have been there.
    truncated: bool,
}

#[derive(Debug, Clone, Copy)]
struct Block {
    first_index: u64,
    time_us: i64,
    events: usize,
}

/// An event of the window.
#[derive(Debug, Clone, Copy)]
struct Seen {
    /// None: its request can't be told.
    request: Option<std::num::NonZeroU64>,
    stage_timestamp_us: i64,
    /// Distance to the event of the same request before it; 0: there is none.
    back: u32,
    stage: Stage,
}

impl StageWindow {
    /// Begins a block whose first entry is at the index, and forgets what is too old.
    pub(super) fn begin(&mut self, first_index: u64, time_us: i64) {
        while let Some(oldest) = self.blocks.front() {
            let age = time_us.saturating_sub(oldest.time_us);
            if self.events.len() <= WINDOW_EVENTS_MAX
                && age <= WINDOW_SECONDS_MAX * MICROS_PER_SECOND
            {
                break;
            }
            self.forget_block();
        }
        self.blocks.push_back(Block {
            first_index,
            time_us,
            events: 0,
        });
    }

    /// Notes the next event of the block that was begun and returns the other stages of
    /// its request in the window before it, the newest first.
    pub(super) fn note(&mut self, source: &str, event: &EventRecord) -> Vec<EarlierStage> {
        let number = self.first + self.events.len() as u64;
        let request = request(source, event);
        let stage = Stage::from_name(event.stage.as_deref());
        let time = event.stage_timestamp.as_deref().and_then(parse_micro_time);
        let newest = request.and_then(|request| self.newest.insert(request.get(), number));
        let earlier = newest.map_or_else(Vec::new, |newest| self.stages(newest, stage, time));
        self.events.push_back(Seen {
            request,
            stage_timestamp_us: time.unwrap_or(NO_TIME),
            // Further back than 2^32 events is nothing: see the bounds.
            back: newest.map_or(0, |newest| u32::try_from(number - newest).unwrap_or(0)),
            stage,
        });
        if let Some(block) = self.blocks.back_mut() {
            block.events += 1;
        }
        earlier
    }

    /// Index of the entry from which the window can be rebuilt; none: it is empty.
    pub(super) fn first_index(&self) -> Option<u64> {
        self.blocks.front().map(|block| block.first_index)
    }

    /// Since when the window has every event; none: since the log began.
    pub(super) fn start_us(&self) -> Option<i64> {
        let oldest = self.blocks.front().filter(|_| self.truncated)?;
        Some(oldest.time_us)
    }

    /// What is rebuilt from the entry at an index on has forgotten what was before it.
    pub(super) fn rebuilt_from(first_index: u64) -> Self {
        Self {
            truncated: first_index > 0,
            ..Self::default()
        }
    }

    fn stages(&self, newest: u64, stage: Stage, time: Option<i64>) -> Vec<EarlierStage> {
        let mut stages = Vec::new();
        let mut number = newest;
        while let Some(seen) = self.get(number).filter(|_| stages.len() < STAGES_MAX) {
            let stage_timestamp_us = Some(seen.stage_timestamp_us).filter(|us| *us != NO_TIME);
            stages.push(EarlierStage {
                stage: seen.stage,
                stage_timestamp_us,
                conflicting: (seen.stage, stage_timestamp_us) == (stage, time),
            });
            match u64::from(seen.back) {
                0 => break,
                back => number -= back,
            }
        }
        stages
    }

    fn get(&self, number: u64) -> Option<&Seen> {
        let at = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.events.get(at)
    }

    fn forget_block(&mut self) {
        let Some(block) = self.blocks.pop_front() else {
            return;
        };
        self.truncated = true;
        for seen in self.events.drain(..block.events.min(self.events.len())) {
            if let Some(request) = seen.request
                && self.newest.get(&request.get()) == Some(&self.first)
            {
                self.newest.remove(&request.get());
            }
            self.first += 1;
        }
    }
}

/// None where a part is missing: such events belong to no request.
fn request(source: &str, event: &EventRecord) -> Option<std::num::NonZeroU64> {
    let received = event.request_received_timestamp.as_deref()?;
    let id = event.audit_id.as_deref()?;
    let hash = sha256(&[
        source.as_bytes(),
        &[0],
        received.as_bytes(),
        &[0],
        id.as_bytes(),
    ]);
    let mut bits = [0; 8];
    bits.copy_from_slice(&hash.0[..8]);
    std::num::NonZeroU64::new(u64::from_be_bytes(bits))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(id: &str, stage: &str, second: u8) -> EventRecord {
        EventRecord {
            audit_id: Some(id.into()),
            stage: Some(stage.into()),
            stage_timestamp: Some(format!("2026-11-21T06:31:{second:02}.000000Z")),
            request_received_timestamp: Some("2026-11-21T06:31:00.000000Z".into()),
            ..EventRecord::default()
        }
    }

    fn names(earlier: &[EarlierStage]) -> Vec<(Stage, bool)> {
        earlier
            .iter()
            .map(|earlier| (earlier.stage, earlier.conflicting))
            .collect()
    }

    #[test]
    fn stages_of_the_same_request_are_found_the_newest_first() {
        let mut window = StageWindow::default();
        window.begin(0, 0);
        let received = event("a", "RequestReceived", 0);
        assert!(window.note("eu", &received).is_empty());
        assert!(window.note("us", &received).is_empty());
        assert!(window.note("eu", &EventRecord::default()).is_empty());
        window.begin(10, 1);
        let started = event("a", "ResponseStarted", 1);
        let earlier = window.note("eu", &started);
        assert_eq!(names(&earlier), [(Stage::RequestReceived, false)]);
        let earlier = window.note("eu", &started);
        assert_eq!(
            names(&earlier),
            [
                (Stage::ResponseStarted, true),
                (Stage::RequestReceived, false)
            ]
        );
        assert_eq!((window.first_index(), window.start_us()), (Some(0), None));
    }

    #[test]
    fn whole_blocks_are_forgotten_by_time() {
        let mut window = StageWindow::default();
        let end = WINDOW_SECONDS_MAX * MICROS_PER_SECOND;
        window.begin(0, 0);
        window.note("eu", &event("a", "RequestReceived", 0));
        window.begin(5, 1);
        window.note("eu", &event("b", "RequestReceived", 0));
        window.begin(7, end);
        assert_eq!(window.first_index(), Some(0));
        window.begin(9, end + 1);
        assert_eq!(
            (window.first_index(), window.start_us()),
            (Some(5), Some(1))
        );
        assert!(
            window
                .note("eu", &event("a", "ResponseComplete", 1))
                .is_empty()
        );
        assert_eq!(
            window.note("eu", &event("b", "ResponseComplete", 1)).len(),
            1
        );
        window.begin(20, 10 * end);
        assert_eq!(window.events.len(), 0);
        assert!(window.newest.is_empty());
        assert_eq!(window.first_index(), Some(20));
    }

    #[test]
    fn whole_blocks_are_forgotten_by_number_and_a_rebuilt_window_is_the_same() {
        const BLOCK: u64 = 8192;
        let blocks = WINDOW_EVENTS_MAX as u64 / BLOCK + 3;
        let of = |n: u64| event(&(n / 3).to_string(), "RequestReceived", (n % 3) as u8);
        let mut window = StageWindow::default();
        let fill = |window: &mut StageWindow, from: u64| {
            for block in from..blocks {
                window.begin(block * BLOCK, block as i64);
                for n in block * BLOCK..(block + 1) * BLOCK {
                    window.note("eu", &of(n));
                }
            }
        };
        fill(&mut window, 0);
        let bound = WINDOW_EVENTS_MAX as u64 + BLOCK;
        assert!(window.events.len() as u64 <= bound);
        let first = window.first_index().unwrap();
        assert_eq!(first, 2 * BLOCK);
        let mut rebuilt = StageWindow::rebuilt_from(first);
        fill(&mut rebuilt, first / BLOCK);
        assert_eq!(window.start_us(), rebuilt.start_us());
        for window in [&mut window, &mut rebuilt] {
            window.begin(blocks * BLOCK, blocks as i64);
        }
        for n in (0..blocks * BLOCK).step_by(997) {
            let event = event(&(n / 3).to_string(), "Panic", 9);
            assert_eq!(window.note("eu", &event), rebuilt.note("eu", &event));
        }
    }
}
