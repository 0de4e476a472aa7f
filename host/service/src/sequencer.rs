//! The one writer of the log. All that waits becomes one block: one verification,
//! one fsync, one signature for many requests. Reads top to bottom in [`Sequencer::block`].

use std::sync::Arc;
use std::time::Instant;

use auditchain_log::{
    EventRecord, Payload, RejectionRecord, SealRecord, SignerKey, Verdict, sign_note,
};
use auditchain_sandbox::{BlockVerdict, Finding, PolicySet};
use auditchain_store::{AppendError, Epoch, EventParts, SledStore, Store as _, StoreError};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use crate::alert::Alerts;
use crate::block::{Block, BlockError};
use crate::decode::{Batch, TagKey};
use crate::fresh::{self, NewBatch, NewRejection};
use crate::judge;
use crate::metrics::{EventLabels, Metrics, SourceLabels};
use crate::published::{Latest, Published};
use crate::state::LogState;
use crate::verdict;

/// Events after which no further request joins a block: bounds what a request at the
/// head of the queue waits for. One request is never split.
pub(crate) const BLOCK_EVENTS_MAX: usize = 8192;
/// Bytes after which no further request joins a block: with one more of the largest
/// size it still fits the store's bound on a block.
pub(crate) const BLOCK_BYTES_MAX: usize = 16 << 20;
/// Requests that may wait; their bytes are bounded before they get here.
pub(crate) const QUEUE_REQUESTS_MAX: usize = 1024;

/// A request that waits for its block. The permit stands for its bytes.
#[derive(Debug)]
pub(crate) struct Job {
    /// What to write.
    pub(crate) work: Work,
    /// When it arrived.
    pub(crate) arrived: Instant,
    /// Released when the job is done.
    pub(crate) permit: OwnedSemaphorePermit,
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
}

/// What became of a request. It is on disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Ack {
    /// Events written with a valid verdict.
    pub(crate) accepted: u64,
    /// Events written with an invalid one.
    pub(crate) rejected: u64,
    /// Events that were in the log already.
    pub(crate) duplicates: u64,
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
    pub(crate) state: LogState,
    pub(crate) policies: PolicySet,
    pub(crate) rbac_snapshot: Option<String>,
    pub(crate) keys: Vec<SignerKey>,
    /// Their public halves, as guests take them.
    pub(crate) vkeys: Vec<String>,
    pub(crate) tags: TagKey,
    pub(crate) latest: Latest,
    pub(crate) metrics: Arc<Metrics>,
}

impl Sequencer {
    /// Writes blocks until all senders are gone, then returns: nothing that was
    /// accepted into the queue is lost on shutdown.
    ///
    /// # Errors
    /// A write failed and the log can't be read back: only a restart can clear that up.
    /// Those who wait have been told to try again.
    pub(crate) fn run(mut self, mut queue: mpsc::Receiver<Job>) -> Result<(), StoreError> {
        while let Some(job) = queue.blocking_recv() {
            let (mut events, mut bytes) = job.weight();
            let mut jobs = vec![job];
            while events < BLOCK_EVENTS_MAX && bytes < BLOCK_BYTES_MAX {
                let Ok(job) = queue.try_recv() else { break };
                let weight = job.weight();
                (events, bytes) = (events + weight.0, bytes + weight.1);
                jobs.push(job);
            }
            self.block_and_answer(jobs)?;
        }
        Ok(())
    }

    fn block_and_answer(&mut self, jobs: Vec<Job>) -> Result<(), StoreError> {
        let error = match self.block(&jobs) {
            Ok(acks) => {
                self.answer(jobs, &Ok(acks));
                return Ok(());
            }
            Err(error) => error,
        };
        self.metrics.append_failures.inc();
        tracing::error!(%error, requests = jobs.len(), "the block was not written");
        // The state ran ahead of the store.
        let recovered = self.recover();
        match error {
            // The disk: it would say the same to each.
            BlockError::Append(AppendError::Unknown(_) | AppendError::Full { .. }) => {
                self.answer(jobs, &Err(Refusal::Unavailable(error.to_string())));
            }
            // One request can be the cause, too much for a block or the duplicate of a
            // damaged body: each alone, so that it doesn't cost the others.
            _ if recovered.is_ok() && jobs.len() > 1 => {
                for job in jobs {
                    self.block_and_answer(vec![job])?;
                }
            }
            BlockError::Append(AppendError::Invalid(error)) => {
                self.answer(jobs, &Err(Refusal::TooLarge(error.to_string())));
            }
            error => self.answer(jobs, &Err(Refusal::Unavailable(error.to_string()))),
        }
        recovered
    }

    fn answer(&self, jobs: Vec<Job>, result: &Result<Vec<Ack>, Refusal>) {
        for (i, job) in jobs.into_iter().enumerate() {
            self.metrics
                .ack
                .observe(job.arrived.elapsed().as_secs_f64());
            let answer = result.as_ref().map(|acks| acks[i]).map_err(Clone::clone);
            // A sender that hung up will send again and find duplicates.
            let _ = job.reply.send(answer);
            drop(job.permit);
        }
    }

    /// Reads the state back after a failed write: the outcome may be either.
    fn recover(&mut self) -> Result<(), StoreError> {
        let (epoch, head) = self.store.acquire()?;
        self.epoch = epoch;
        self.state = match head {
            Some(head) => LogState::load(&head, &self.tags, &*self.store)?,
            None => LogState::new(&self.state.origin),
        };
        if self.state.size != self.latest.load().size() {
            self.publish(self.signed());
        }
        Ok(())
    }

    /// Writes one block with all that is new in `jobs`; an answer for each.
    fn block(&mut self, jobs: &[Job]) -> Result<Vec<Ack>, BlockError> {
        // 1. What is in the log already adds nothing.
        let new = fresh::find(jobs, &self.state.dedup, &self.tags, &*self.store)?;
        let mut acks = new
            .duplicates
            .iter()
            .map(|n| Ack::of_duplicates(*n))
            .collect::<Vec<_>>();
        if new.batches.is_empty() && new.rejections.is_empty() {
            self.count(jobs, &acks, &[]);
            acks.iter_mut().for_each(|ack| ack.size = self.state.size);
            return Ok(acks);
        }
        // 2. The policies judge the new events together with the last block's seal.
        let seal = self.latest.load_full();
        let mut block = Block::start(&mut self.state, jiff::Timestamp::now().as_microsecond())?;
        let started = Instant::now();
        let context = judge::Context {
            policies: &self.policies,
            seal: &seal,
            vkeys: &self.vkeys,
            rbac_snapshot: self.rbac_snapshot.as_deref(),
        };
        let (judged, records) = context.judge(&mut block, &new.batches);
        self.metrics.verify.observe(started.elapsed().as_secs_f64());
        // 3. The last block's seal first, then the entries in the order of arrival.
        let mut alerts = Alerts::default();
        write_seal(&mut block, &seal, &judged.block, &mut alerts)?;
        write_batches(
            &mut block,
            &new.batches,
            &judged,
            records,
            &mut acks,
            &mut alerts,
        )?;
        write_rejections(&mut block, &new.rejections, &mut alerts)?;
        // 4. Sign; one atomic write, one fsync. A crash before it leaves the log as it was,
        //    a crash after it the whole block; either way the senders, who have no
        //    answer yet, send again and lose nothing.
        let started = Instant::now();
        let published = block.append(&self.keys, self.epoch, &*self.store)?;
        self.metrics.append.observe(started.elapsed().as_secs_f64());
        // 5. Only now: publish, tell. A crash here loses nothing: the next start
        //    publishes the same.
        self.publish(published);
        self.metrics.blocks.inc();
        self.count(jobs, &acks, &new.batches);
        alerts.send(&self.metrics);
        acks.iter_mut().for_each(|ack| ack.size = self.state.size);
        Ok(acks)
    }

    /// The policies' verdict on the last block's seal, where no event is judged along.
    pub(crate) fn judge_seal(&self, seal: &Published, time_us: i64) -> Verdict {
        let context = judge::Context {
            policies: &self.policies,
            seal,
            vkeys: &self.vkeys,
            rbac_snapshot: self.rbac_snapshot.as_deref(),
        };
        verdict::of(&context.judge_seal(self.state.blocks, time_us).block)
    }

    /// The state under its checkpoint, signed again: the same bytes as when it was
    /// written.
    pub(crate) fn signed(&self) -> Published {
        let checkpoint = self.state.checkpoint();
        let note = sign_note(&checkpoint.to_text(), &self.keys);
        Published::of(&self.state, checkpoint, note)
    }

    /// Shows a committed state to readers.
    pub(crate) fn publish(&self, published: Published) {
        self.metrics
            .size
            .set(i64::try_from(published.size()).unwrap_or(i64::MAX));
        for (source, us) in &published.watermarks {
            let lag_us = published.time_us.saturating_sub(*us);
            let labels = SourceLabels {
                source: source.clone(),
            };
            self.metrics
                .lag
                .get_or_create(&labels)
                .set(lag_us as f64 / 1e6);
        }
        self.latest.store(Arc::new(published));
    }

    fn count(&self, jobs: &[Job], acks: &[Ack], new: &[NewBatch<'_>]) {
        for (job, ack) in jobs.iter().zip(acks) {
            let Work::Batch(batch) = &job.work else {
                continue;
            };
            for (outcome, n) in [
                ("accepted", ack.accepted),
                ("rejected", ack.rejected),
                ("duplicate", ack.duplicates),
            ] {
                let labels = EventLabels {
                    source: batch.source.clone(),
                    outcome,
                };
                self.metrics.events.get_or_create(&labels).inc_by(n);
            }
        }
        for batch in new {
            let undecodable = batch
                .events
                .iter()
                .filter(|new| new.event.undecodable.is_some())
                .count();
            let labels = SourceLabels {
                source: batch.batch.source.clone(),
            };
            self.metrics
                .undecodable
                .get_or_create(&labels)
                .inc_by(undecodable as u64);
        }
    }
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
        verdict: verdict::of(found),
    })?;
    alerts.note(index, None, found);
    Ok(())
}

/// Each batch's new events, after a `batch` entry where the batch is signed.
fn write_batches<'j>(
    block: &mut Block<'j>,
    new: &[NewBatch<'j>],
    judged: &BlockVerdict,
    records: Vec<EventRecord>,
    acks: &mut [Ack],
    alerts: &mut Alerts,
) -> Result<(), BlockError> {
    let mut of_batches = verdict::InOrder::new(&judged.batches);
    let mut of_events = verdict::InOrder::new(&judged.events);
    let mut records = records.into_iter();
    for NewBatch { job, batch, events } in new {
        let source = &batch.source;
        if let Some(record) = batch.record(events.len()) {
            let found = of_batches.next_subject();
            let verdict = verdict::of(found.clone());
            let payload = Payload::Batch {
                source: source.clone(),
                batch: record,
                verdict,
            };
            let index = block.push(payload)?;
            alerts.note(index, Some(source), found);
        }
        for (new, record) in events.iter().zip(&mut records) {
            let found = of_events.next_subject();
            let verdict = verdict::of(found.clone());
            let valid = verdict.valid;
            let parts = EventParts {
                source,
                undecodable: new.event.undecodable,
                verdict: &verdict,
                record: &record,
            };
            let index = block.push_event(parts, new.event.bytes)?;
            alerts.note(index, Some(source), found);
            block.accept(
                source,
                index,
                new.event.tag,
                new.view.stage_timestamp_us(),
                valid,
            );
            let ack = &mut acks[*job];
            *(if valid {
                &mut ack.accepted
            } else {
                &mut ack.rejected
            }) += 1;
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
    fn weight(&self) -> (usize, usize) {
        match &self.work {
            Work::Batch(batch) => (batch.len().max(1), batch.size().max(1)),
            Work::Rejection { body, .. } => (1, body.len().max(1)),
        }
    }
}
