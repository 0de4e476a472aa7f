//! Bodies that expire: by source, so many days after they were written. Expiry is an
//! erasure like any other, an entry with the rule as its reason.
//!
//! A thread of its own looks every [`INTERVAL`] for what is due, oldest first, and asks
//! the sequencer for one erasure at a time, so that events don't wait behind it. How far
//! it came is not kept: after a start it reads the expired part of the log again, and
//! finds the bodies gone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use auditchain_log::{Entry, ErasureRecord, Payload};
use auditchain_store::{SledStore, Store as _, StoreError, What};
use tokio::sync::oneshot;

use crate::config::RetentionConfig;
use crate::erase::ERASURE_ENTRIES_MAX;
use crate::memory::Memory;
use crate::published::Latest;
use crate::queue::Queue;
use crate::sequencer::{Job, Work};
use crate::state::damaged;

/// How often it looks: what expires does so by the day.
const INTERVAL: Duration = Duration::from_secs(600);
/// After an erasure that was refused.
const RETRY: Duration = Duration::from_secs(10);
const DAY_US: i64 = 86_400_000_000;

/// The rules at work.
pub(crate) struct Retention {
    days: BTreeMap<String, u32>,
    store: Arc<SledStore>,
    latest: Latest,
    queue: Arc<Queue>,
    memory: Memory,
    /// Below this, all that the rules say is done, by source.
    done: BTreeMap<String, u64>,
}

impl Retention {
    pub(crate) fn new(
        rules: &[RetentionConfig],
        store: Arc<SledStore>,
        latest: Latest,
        queue: Arc<Queue>,
    ) -> Self {
        Self {
            days: rules
                .iter()
                .map(|rule| (rule.source.clone(), rule.body_days))
                .collect(),
            store,
            latest,
            queue,
            // One small request at a time.
            memory: Memory::new(1 << 20, 1 << 20),
            done: BTreeMap::new(),
        }
    }

    /// Runs until `stop` is closed.
    pub(crate) fn run(mut self, stop: &Receiver<()>) {
        let mut pause = Duration::ZERO;
        while let Err(RecvTimeoutError::Timeout) = stop.recv_timeout(pause) {
            let now_us = jiff::Timestamp::now().as_microsecond();
            pause = match self.step(now_us) {
                // There may be more.
                Ok(true) => Duration::ZERO,
                Ok(false) => INTERVAL,
                Err(error) => {
                    tracing::warn!(%error, "expired bodies could not be erased; it is tried again");
                    RETRY
                }
            };
        }
    }

    /// One erasure of what is due; false if nothing is.
    fn step(&mut self, now_us: i64) -> Result<bool, String> {
        for (source, days) in self.days.clone() {
            let cutoff_us = now_us.saturating_sub(i64::from(days).saturating_mul(DAY_US));
            let from = self.done.get(&source).copied().unwrap_or(0);
            let due = self.due(&source, from, cutoff_us);
            let (ranges, end) = due.map_err(|error| error.to_string())?;
            if !ranges.is_empty() {
                self.erase(ErasureRecord {
                    by: "retention".into(),
                    entries: ranges,
                    reason: format!("bodies of source {source} are kept for {days} days"),
                })?;
                self.done.insert(source, end);
                return Ok(true);
            }
            self.done.insert(source, end);
        }
        Ok(false)
    }

    /// Entries of the source from `from` on that are older and have a body, as many as
    /// one erasure takes; and where to go on.
    fn due(
        &self,
        source: &str,
        from: u64,
        cutoff_us: i64,
    ) -> Result<(Vec<[u64; 2]>, u64), StoreError> {
        let size = self.latest.load().size();
        let (mut ranges, mut count) = (Vec::<[u64; 2]>::new(), 0);
        let mut index = from;
        while index < size {
            let broken = |index| damaged(What::Entries, Some(index));
            let chunk = self.store.chunk_at(index)?.ok_or_else(|| broken(index))?;
            for i in index..chunk.end() {
                let bytes = chunk.entry(i).ok_or_else(|| broken(i))?;
                let entry = Entry::parse(bytes).map_err(|_| broken(i))?;
                if entry.time.as_micros() >= cutoff_us || count == ERASURE_ENTRIES_MAX {
                    return Ok((ranges, i));
                }
                let of_source = match &entry.payload {
                    Payload::Event { source: of, .. } | Payload::Rejection { source: of, .. } => {
                        of == source
                    }
                    _ => false,
                };
                if of_source && chunk.body(i).is_some() {
                    count += 1;
                    match ranges.last_mut() {
                        Some([_, last]) if *last + 1 == i => *last = i,
                        _ => ranges.push([i, i]),
                    }
                }
            }
            index = chunk.end();
        }
        Ok((ranges, index))
    }

    fn erase(&self, record: ErasureRecord) -> Result<(), String> {
        let (reply, done) = oneshot::channel();
        let held = self.memory.set_aside("", 1).map_err(|e| e.to_string())?;
        let job = Job {
            work: Work::Erasure(record),
            arrived: Instant::now(),
            held,
            reply,
        };
        self.queue.push(job).map_err(|error| error.to_string())?;
        let answer = done.blocking_recv();
        let ack = answer.map_err(|_| "the service is stopping".to_owned())?;
        let ack = ack.map_err(|refusal| refusal.to_string())?;
        tracing::info!(bodies = ack.accepted, "expired bodies were erased");
        Ok(())
    }
}
