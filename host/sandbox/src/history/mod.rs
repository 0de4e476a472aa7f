//! What verdicts depend on besides a block itself: what the log knew before it.
//!
//! The service keeps a [`History`] while it writes the log; whoever re-executes the log
//! builds the same one from its entries, block by block. So there is one way from
//! entries to the context that policies see:
//!
//! ```text
//! for each block:  put_in_force (policy, rbac and key entries of the block)
//!                  judge        (its seal, batches and events)
//!                  accept       (each batch and event, with its verdict)
//! ```
//! A block is judged with what its own `policy`, `rbac` and sender `key` entries put in
//! force, which stand before its events; the seal in it, by the log keys from before it.
//! All else is of the blocks before: watermarks, sequence numbers, the window of stages.

mod input;
mod stages;

use std::collections::BTreeMap;

use auditchain_log::{
    EventRecord, GapRecord, KeyRecord, KeyRole, Payload, PolicyRecord, RbacRecord, Senders,
};
use serde::{Deserialize, Serialize};

pub use input::{BlockHeader, EventContent, SignedBatch, SubmittedBatch, SubmittedEvent};
pub use stages::{WINDOW_EVENTS_MAX, WINDOW_SECONDS_MAX};

use crate::{BlockVerdict, MAX_RBAC_SNAPSHOT_BYTES, PolicySet};
use stages::StageWindow;

/// RBAC snapshots that events are judged by: the one in force, and those before it that
/// a late event may need. Together they have at most [`MAX_RBAC_SNAPSHOT_BYTES`].
pub const MAX_RBAC_SNAPSHOTS: usize = 8;

/// What the log knew before the block that comes next.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct History {
    /// Newest stageTimestamp accepted, by source.
    watermarks: BTreeMap<String, i64>,
    senders: Senders,
    /// The policies in force. Not kept: the log has them, and a head stays small.
    #[serde(skip)]
    policies: Option<PoliciesInForce>,
    /// The oldest first.
    snapshots: Vec<RbacRecord>,
    /// First entry of the window; the window itself is rebuilt from the entries.
    window_start: Option<u64>,
    #[serde(skip)]
    stages: StageWindow,
}

/// A `policy` entry's content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoliciesInForce {
    /// What runs them: see [`ENGINE_ID`](crate::ENGINE_ID).
    pub engine: String,
    /// In the order in which they are asked.
    pub policies: Vec<PolicyRecord>,
}

impl History {
    /// Takes up an entry that puts something in force; others change nothing here.
    pub fn put_in_force(&mut self, payload: &Payload) {
        match payload {
            Payload::Policy { engine, policies } => {
                self.policies = Some(PoliciesInForce {
                    engine: engine.clone(),
                    policies: policies.clone(),
                });
            }
            Payload::Rbac(snapshot) => {
                self.snapshots.push(snapshot.clone());
                self.forget_old_snapshots();
            }
            Payload::Key(record) if record.role == KeyRole::Sender => self.senders.change(record),
            _ => {}
        }
    }

    /// Judges a block and notes its events' stages. What is given without content, since
    /// it was erased, is noted and not judged: its place among the events of the verdict
    /// has no findings.
    ///
    /// Events of a batch that a policy refuses are refused with it.
    pub fn judge(
        &mut self,
        policies: &PolicySet,
        header: &BlockHeader<'_>,
        batches: &[SubmittedBatch<'_>],
    ) -> BlockVerdict {
        self.stages.begin(header.first_index, header.time_us);
        self.window_start = self.stages.first_index();
        let window_start_us = self.stages.start_us();
        let earlier: Vec<_> = batches
            .iter()
            .flat_map(|batch| {
                let source = batch.source;
                batch.events.iter().map(move |event| (source, event.record))
            })
            .map(|(source, record)| self.stages.note(source, record))
            .collect();
        input::judge(
            policies,
            header,
            batches,
            &earlier,
            &input::Known {
                watermarks: &self.watermarks,
                senders: &self.senders,
                window_start_us,
            },
        )
    }

    /// The batches that are missing before this one: of a valid batch whose number is
    /// not the next of its sender. Its entry stands before the batch's.
    #[must_use]
    pub fn gap(&self, source: &str, public_key: &[u8], sequence: u64) -> Option<GapRecord> {
        self.senders.gap(source, public_key, sequence)
    }

    /// Whether a batch of this number would be the newest of its sender. One that isn't
    /// adds nothing where its events are known; a new one is evidence even then.
    #[must_use]
    pub fn is_new_batch(&self, source: &str, public_key: &[u8], sequence: u64) -> bool {
        let last = self.senders.last_sequence(source, public_key);
        last.is_none_or(|last| sequence > last)
    }

    /// Notes a batch that was written. Only what was accepted moves the sender's number.
    pub fn accept_batch(&mut self, source: &str, public_key: &[u8], sequence: u64, valid: bool) {
        if valid {
            self.senders.accept(source, public_key, sequence);
        }
    }

    /// Notes an event that was written in a block of that time. Only what was accepted
    /// moves the source's watermark, and never past the block's time: a sender whose
    /// clock runs ahead must not make its later events look backdated.
    pub fn accept_event(
        &mut self,
        source: &str,
        stage_time_us: Option<i64>,
        block_time_us: i64,
        valid: bool,
    ) {
        let Some(us) = stage_time_us.filter(|_| valid) else {
            return;
        };
        let us = us.min(block_time_us);
        match self.watermarks.get_mut(source) {
            Some(watermark) => *watermark = us.max(*watermark),
            None => {
                self.watermarks.insert(source.into(), us);
            }
        }
    }

    /// The first entry that [`begin_rebuild`](Self::begin_rebuild) needs; none: no entry is needed.
    #[must_use]
    pub fn window_start(&self) -> Option<u64> {
        self.window_start
    }

    /// Makes the window of a history that was read back empty, to be filled with the
    /// entries from [`window_start`](Self::window_start) on.
    pub fn begin_rebuild(&mut self) {
        self.stages = StageWindow::rebuilt_from(self.window_start.unwrap_or_default());
    }

    /// A block that is in the log begins: its first entry and its time.
    pub fn rebuild_block(&mut self, first_index: u64, time_us: i64) {
        self.stages.begin(first_index, time_us);
    }

    /// The next event of that block.
    pub fn rebuild_event(&mut self, source: &str, event: &EventRecord) {
        self.stages.note(source, event);
    }

    /// The newest stageTimestamp accepted from each source.
    pub fn watermarks(&self) -> impl Iterator<Item = (&str, i64)> {
        let watermarks = self.watermarks.iter();
        watermarks.map(|(source, us)| (source.as_str(), *us))
    }

    /// The policies in force, as their last entry that was taken up says.
    #[must_use]
    pub fn policies(&self) -> Option<&PoliciesInForce> {
        self.policies.as_ref()
    }

    /// The RBAC snapshots that events are judged by, the oldest first.
    #[must_use]
    pub fn snapshots(&self) -> &[RbacRecord] {
        &self.snapshots
    }

    /// The sender keys in force, as the entries say that began them.
    #[must_use]
    pub fn sender_keys(&self) -> &[KeyRecord] {
        self.senders.keys()
    }

    fn forget_old_snapshots(&mut self) {
        let size = |snapshots: &[RbacRecord]| -> u64 {
            snapshots
                .iter()
                .fold(0, |sum, snapshot| sum.saturating_add(snapshot.size))
        };
        while self.snapshots.len() > MAX_RBAC_SNAPSHOTS
            || self.snapshots.len() > 1 && size(&self.snapshots) > MAX_RBAC_SNAPSHOT_BYTES as u64
        {
            self.snapshots.remove(0);
        }
    }
}

#[cfg(test)]
mod tests;
