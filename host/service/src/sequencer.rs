//! The one sequencer of the log. All that waits becomes one block: one verification,
//! one fsync, one signature for many requests. Reads top to bottom in
//! [`Sequencer::build`].
//!
//! A block is built while the one before is being written (`storer`). Nothing is built
//! ahead of a block under way unless requests wait: an idle log answers at once, a busy
//! one batches. If a block can't be written, what was built on it is thrown away, the
//! state is read back from the store, and the requests are built again.

use std::sync::Arc;
use std::time::Instant;

use auditchain_log::{
    ErasureRecord, EventRecord, Payload, RejectionRecord, SealRecord, SignerKey, sign_note,
};
use auditchain_sandbox::{BlockVerdict, Finding, InOrder, record};
use auditchain_store::{AppendError, Epoch, EventParts, SledStore, Store as _, StoreError, What};
use tokio::sync::oneshot;

use crate::alert::Alerts;
use crate::block::{Block, BlockError, SealedBlock};
use crate::decode::{Batch, TagKey};
use crate::erase::{self, Erasure};
use crate::fresh::{self, FreshError, New, NewBatch, NewRejection};
use crate::in_force::{self, Changes, InForce, PolicySets};
use crate::judge::Judge;
use crate::memory::Held;
use crate::open::signed_head;
use crate::published::Published;
use crate::queue::{BlockBounds, Queue};
use crate::state::{LogState, damaged};
use crate::storer::{Gone, Lost, Pending, Publisher, Storer};
use crate::suspension::Suspension;

/// When a block takes no further request. Events: bounds what a request at the head of
/// the queue waits for; one request is never split. Bytes: with one more of the largest
/// size it still fits the store's bound on a block.
const BOUNDS: BlockBounds = BlockBounds {
    events: 8192,
    bytes: 16 << 20,
};

/// A request that waits for its block.
#[derive(Debug)]
pub(crate) struct Job {
    /// What to write.
    pub(crate) work: Work,
    /// When it arrived.
    pub(crate) arrived: Instant,
    /// Its memory; given back when the job is done.
    #[expect(dead_code, reason = "held, not read")]
    pub(crate) held: Held,
    /// Where the sender waits.
    pub(crate) reply: oneshot::Sender<Result<Ack, Refusal>>,
}

/// What to write.
#[derive(Debug)]
pub(crate) enum Work {
    /// Events.
    Batch(Batch),
    /// A request that was refused, with the bytes that arrived.
    Rejection {
        /// Who sent it.
        source: String,
        /// What was wrong.
        record: RejectionRecord,
        /// The request's body.
        body: Vec<u8>,
    },
    /// Bodies to erase; the ranges lie in the published log.
    Erasure(ErasureRecord),
    /// What verdicts are made with from the next block on.
    InForce(Box<InForce>),
}

/// What became of a request. It is on disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Ack {
    /// Events written with a valid verdict; of an erasure, bodies erased; of a change of
    /// what is in force, entries that say so.
    pub(crate) accepted: u64,
    /// Events written with an invalid one.
    pub(crate) rejected: u64,
    /// Events that were in the log already.
    pub(crate) duplicates: u64,
    /// Of those written, the ones without canonical form.
    pub(crate) undecodable: u64,
    /// Nothing was changed: it was compiled for another state of the log.
    pub(crate) outdated: bool,
    /// Size of the log that holds them.
    pub(crate) size: u64,
}

/// Nothing was written.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum Refusal {
    /// The sender should try again.
    #[error("{0}")]
    Unavailable(String),
    /// The request is too much for a block, even alone.
    #[error("{0}")]
    TooLarge(String),
}

/// Owns the log's state. Runs on a thread of its own.
pub(crate) struct Sequencer {
    pub(crate) store: Arc<SledStore>,
    pub(crate) epoch: Epoch,
    /// Ahead of the store by the block under way.
    pub(crate) state: LogState,
    /// The last block, as it was or will be published.
    pub(crate) last: Arc<Published>,
    /// What judges the next block: what `state` has in force.
    pub(crate) policies: PolicySets,
    pub(crate) suspension: Suspension,
    pub(crate) keys: Vec<SignerKey>,
    /// Their public halves, as guests take them.
    pub(crate) vkeys: Vec<String>,
    pub(crate) tags: TagKey,
    pub(crate) storer: Storer,
    pub(crate) publisher: Publisher,
}

/// What requests become.
enum Built {
    Block {
        block: Box<SealedBlock>,
        acks: Vec<Ack>,
        alerts: Alerts,
    },
    /// All of it is in the log already, or will be with the block under way.
    Nothing(Vec<Ack>),
}

impl Sequencer {
    /// Writes blocks until the queue is closed and empty: nothing that was accepted into
    /// it is lost on shutdown.
    ///
    /// # Errors
    /// A write failed and the log can't be read back: only a restart can clear that up.
    /// Those who wait are told to try again.
    pub(crate) fn run(mut self, queue: &Queue) -> Result<(), StoreError> {
        let result = self.write_blocks(queue);
        queue.close();
        while !queue.take(BOUNDS).is_empty() {}
        result
    }

    fn write_blocks(&mut self, queue: &Queue) -> Result<(), StoreError> {
        loop {
            let mut jobs = queue.take(BOUNDS);
            if jobs.is_empty() {
                self.settle()?;
                self.policies.forget_earlier();
                match queue.wait(BOUNDS) {
                    Some(waiting) => jobs = waiting,
                    None => return Ok(()),
                }
            }
            self.sequence(jobs)?;
        }
    }

    /// Builds a block of the requests and hands it to the storer.
    fn sequence(&mut self, jobs: Vec<Job>) -> Result<(), StoreError> {
        // The second round at the latest finds no block under way.
        loop {
            let started = Instant::now();
            let built = self.build(&jobs);
            self.publisher
                .metrics
                .build
                .observe(started.elapsed().as_secs_f64());
            // What was built on a block that was lost is void.
            if !self.settle()? {
                continue;
            }
            match built {
                Ok(Built::Block {
                    block,
                    acks,
                    alerts,
                }) => {
                    self.last = Arc::clone(&block.published);
                    let pending = Pending {
                        block,
                        epoch: self.epoch,
                        jobs,
                        acks,
                        alerts,
                    };
                    return self.storer.write(pending).map_err(gone);
                }
                Ok(Built::Nothing(mut acks)) => {
                    acks.iter_mut().for_each(|ack| ack.size = self.state.size);
                    self.publisher.acknowledge(jobs, acks);
                    return Ok(());
                }
                Err(BlockError::Fresh(FreshError::UnderWay)) => {}
                Err(error) => return self.not_written(jobs, error),
            }
        }
    }

    /// Waits for the block under way. False: it was lost, with all that was built on
    /// it; its requests have been taken care of.
    fn settle(&mut self) -> Result<bool, StoreError> {
        let Some(Lost { jobs, error }) = self.storer.settle().map_err(gone)? else {
            return Ok(true);
        };
        self.not_written(jobs, error.into())?;
        Ok(false)
    }

    /// A block was not built or not written: reads the state back, which ran ahead of
    /// the store, and answers the requests or tries them again.
    fn not_written(&mut self, jobs: Vec<Job>, error: BlockError) -> Result<(), StoreError> {
        self.publisher.metrics.append_failures.inc();
        tracing::error!(%error, requests = jobs.len(), "the block was not written");
        let recovered = self.recover();
        match error {
            // The disk: it would say the same to each.
            BlockError::Append(AppendError::Unknown(_) | AppendError::Full { .. }) => {
                let refusal = Refusal::Unavailable(error.to_string());
                self.publisher.refuse(jobs, &refusal);
            }
            // One request can be the cause, too much for a block or the duplicate of a
            // damaged body: each alone, so that it doesn't cost the others.
            _ if recovered.is_ok() && jobs.len() > 1 => {
                for job in jobs {
                    self.sequence(vec![job])?;
                    self.settle()?;
                }
            }
            BlockError::Append(AppendError::Invalid(error)) => {
                let refusal = Refusal::TooLarge(error.to_string());
                self.publisher.refuse(jobs, &refusal);
            }
            error => {
                let refusal = Refusal::Unavailable(error.to_string());
                self.publisher.refuse(jobs, &refusal);
            }
        }
        recovered
    }

    /// Reads the state back after a failed write: the outcome may be either.
    fn recover(&mut self) -> Result<(), StoreError> {
        let (epoch, head) = self.store.acquire()?;
        self.epoch = epoch;
        self.suspension.begin_anew();
        let published = match head {
            Some(head) => {
                self.state = LogState::load(&head, &self.tags, &*self.store)?;
                // A change of what is in force is void with its block. None of the sets
                // fits: a restart loads what the log says.
                if !self.policies.return_to(&mut self.state) {
                    return Err(damaged(What::Head, None));
                }
                // As it was signed then: a block that changed keys is signed by the old
                // ones too.
                signed_head(&head, self).ok_or_else(|| damaged(What::Head, None))?
            }
            None => {
                self.state = LogState::new(&self.state.origin);
                Published::empty(&self.state.origin)
            }
        };
        self.last = Arc::new(published);
        if self.state.size != self.publisher.latest.load().size() {
            self.publisher.publish(Arc::clone(&self.last));
        }
        Ok(())
    }

    /// Builds one block of all that is new in `jobs`, with an answer for each.
    fn build(&mut self, jobs: &[Job]) -> Result<Built, BlockError> {
        // 1. What is in the log already adds nothing.
        let stored = self.publisher.latest.load().size();
        let New {
            batches,
            rejections,
            duplicates,
        } = fresh::find(
            jobs,
            &self.state.history,
            &self.state.dedup,
            &self.tags,
            &*self.store,
            stored,
        )?;
        let mut acks: Vec<Ack> = duplicates.into_iter().map(Ack::of_duplicates).collect();
        let erasures = erase::find(jobs, &*self.store)?;
        let change = in_force::find(jobs, &self.state, &mut acks);
        let nothing_new = batches.is_empty() && rejections.is_empty();
        if nothing_new && erasures.is_empty() && change.is_none() {
            return Ok(Built::Nothing(acks));
        }
        // 2. The policies judge the new events together with the last block's seal. What
        //    this block puts in force judges it already.
        let mut block = Block::start(&mut self.state, jiff::Timestamp::now().as_microsecond())?;
        let mut alerts = Alerts::default();
        let mut changes = Changes::default();
        let due = self.suspension.take_due();
        due.iter().for_each(|policy| alerts.suspended(policy));
        if let Some((loaded, entries)) = in_force::with_suspensions(change, due, &self.policies) {
            changes = entries;
            block.take_up(&changes);
            self.policies.adopt(loaded);
        }
        let started = Instant::now();
        let records: Vec<EventRecord> = batches
            .iter()
            .flat_map(|new| &new.events)
            .map(|new| EventRecord::from_view(&new.view))
            .collect();
        let judge = Judge {
            policies: self.policies.current(),
            seal: &self.last,
            vkeys: &self.vkeys,
        };
        let judged = judge.judge(&mut block, &batches, &records);
        let events = records.len() as u64;
        self.suspension
            .note(self.policies.records(), &judged, events);
        let verify = &self.publisher.metrics.verify;
        verify.observe(started.elapsed().as_secs_f64());
        // 3. The last block's seal first, then what is put in force, then the entries in
        //    the order of arrival.
        write_seal(&mut block, &self.last, &judged.block, &mut alerts)?;
        block.write_changes(changes)?;
        write_batches(
            &mut block,
            &batches,
            &judged,
            &records,
            &mut acks,
            &mut alerts,
        )?;
        write_rejections(&mut block, &rejections, &mut alerts)?;
        for Erasure {
            job,
            record,
            bodies,
        } in erasures
        {
            acks[job].accepted = bodies.len() as u64;
            block.push(Payload::Erasure(record.clone()))?;
            block.erase(bodies);
        }
        // 4. Sign. The storer writes it, and publishes and answers once it is on disk. A
        //    crash before that leaves the log as it was.
        let block = Box::new(block.seal(&self.keys));
        Ok(Built::Block {
            block,
            acks,
            alerts,
        })
    }

    /// Writes a block without events, by itself: before requests come. Besides the log's
    /// own keys it is signed by `also`.
    ///
    /// A crash before the write leaves the log as it was, and the next start does it
    /// again; a crash after it leaves the block, by which the next start knows.
    pub(crate) fn write_alone(
        &mut self,
        also: &[SignerKey],
        fill: impl FnOnce(&mut Block<'_>) -> Result<(), BlockError>,
    ) -> Result<(), BlockError> {
        let mut alerts = Alerts::default();
        let mut block = Block::start(&mut self.state, jiff::Timestamp::now().as_microsecond())?;
        let judge = Judge {
            policies: self.policies.current(),
            seal: &self.last,
            vkeys: &self.vkeys,
        };
        let judged = judge.judge(&mut block, &[], &[]);
        if self.last.size() > 0 {
            write_seal(&mut block, &self.last, &judged.block, &mut alerts)?;
        }
        fill(&mut block)?;
        let block = block.seal(self.keys.iter().chain(also));
        block.append(self.epoch, &*self.store)?;
        alerts.send(&self.publisher.metrics);
        self.last = Arc::clone(&block.published);
        self.publisher.publish(block.published);
        Ok(())
    }

    /// The state under its checkpoint, signed again: the same bytes as when it was
    /// written.
    pub(crate) fn signed(&self) -> Published {
        let checkpoint = self.state.checkpoint();
        let note = sign_note(&checkpoint.to_text(), &self.keys);
        Published::of(&self.state, checkpoint, note)
    }
}

/// A storer that is gone panicked while it wrote: what it left is known after a restart.
fn gone(_: Gone) -> StoreError {
    StoreError::Failed
}

fn write_seal(
    block: &mut Block<'_>,
    seal: &Published,
    found: &[Finding],
    alerts: &mut Alerts,
) -> Result<(), BlockError> {
    let seal = SealRecord {
        note: seal.note.clone(),
    };
    let index = block.push(Payload::Seal {
        seal,
        verdict: record(found),
    })?;
    alerts.note(index, None, found);
    Ok(())
}

/// Each batch's new events, after a `batch` entry where the batch is signed.
fn write_batches<'j>(
    block: &mut Block<'j>,
    new: &[NewBatch<'j>],
    judged: &BlockVerdict,
    records: &[EventRecord],
    acks: &mut [Ack],
    alerts: &mut Alerts,
) -> Result<(), BlockError> {
    let mut of_batches = InOrder::new(&judged.batches);
    let mut of_events = InOrder::new(&judged.events);
    let mut records = records.iter();
    for NewBatch { job, batch, events } in new {
        let source = &batch.source;
        if let Some((signature, _)) = &batch.signed
            && let Some(signed) = batch.record(events.len())
        {
            let found = of_batches.next_subject();
            let verdict = record(found.clone());
            let (key, sequence, valid) = (&signature.public_key, signed.sequence, verdict.valid);
            if let Some(gap) = block.state().history.gap(source, key, sequence)
                && valid
            {
                alerts.gap(source, &gap);
                let source = source.clone();
                block.push(Payload::Gap { source, gap })?;
            }
            let payload = Payload::Batch {
                source: source.clone(),
                batch: signed,
                verdict,
            };
            let index = block.push(payload)?;
            alerts.note(index, Some(source), found);
            let history = &mut block.state().history;
            history.accept_batch(source, key, sequence, valid);
        }
        for (new, leaf) in events.iter().zip(&mut records) {
            let found = of_events.next_subject();
            let verdict = record(found.clone());
            let valid = verdict.valid;
            let parts = EventParts {
                source,
                undecodable: new.event.undecodable,
                verdict: &verdict,
                record: leaf,
            };
            let index = block.push_event(parts, new.event.bytes)?;
            alerts.note(index, Some(source), found);
            let time_us = new.view.stage_timestamp_us();
            block.accept(index, new.event.tag, time_us);
            // By what the leaf says: a time too long for it is unknown to an auditor.
            let time_us = time_us.filter(|_| leaf.stage_timestamp.is_some());
            let block_time_us = block.time_us();
            let history = &mut block.state().history;
            history.accept_event(source, time_us, block_time_us, valid);
            let ack = &mut acks[*job];
            *(if valid {
                &mut ack.accepted
            } else {
                &mut ack.rejected
            }) += 1;
            ack.undecodable += u64::from(new.event.undecodable.is_some());
        }
    }
    Ok(())
}

fn write_rejections<'j>(
    block: &mut Block<'j>,
    new: &[NewRejection<'j>],
    alerts: &mut Alerts,
) -> Result<(), BlockError> {
    for rejection in new {
        let index = block.push_with_body(rejection.body, |body| Payload::Rejection {
            source: rejection.source.into(),
            rejection: rejection.record.clone(),
            body,
        })?;
        alerts.refused(index, rejection.source, rejection.record);
        block.note_rejection(index, rejection.tag);
    }
    Ok(())
}

impl Ack {
    fn of_duplicates(duplicates: u64) -> Self {
        Self {
            duplicates,
            ..Self::default()
        }
    }
}

impl Job {
    /// Events and bytes; at least one each, so that any number of requests is bounded.
    pub(crate) fn weight(&self) -> (usize, usize) {
        match &self.work {
            Work::Batch(batch) => (batch.len().max(1), batch.size().max(1)),
            Work::Rejection { body, .. } => (1, body.len().max(1)),
            Work::Erasure(_) | Work::InForce(_) => (1, 1),
        }
    }
}

impl Work {
    /// Who sent it.
    pub(crate) fn source(&self) -> &str {
        match self {
            Self::Batch(batch) => &batch.source,
            Self::Rejection { source, .. } => source,
            // No source has this name.
            Self::Erasure(_) | Self::InForce(_) => "",
        }
    }
}

#[cfg(test)]
mod tests;
