//! The last stage of the pipeline: a sealed block goes to disk, then its checkpoint is
//! published and its senders are answered, while the sequencer is at work on the next.
//!
//! One block at a time, in order. A block that could not be written comes back with its
//! requests; the sequencer knows what to do with them.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Instant;

use auditchain_store::{AppendError, Epoch, SledStore};

use crate::alert::Alerts;
use crate::block::SealedBlock;
use crate::metrics::{EventLabels, Metrics, SourceLabels};
use crate::published::{Latest, Published};
use crate::sequencer::{Ack, Job, Refusal, Work};

/// A block on its way to disk, with those who wait for it.
pub(crate) struct Pending {
    pub(crate) block: Box<SealedBlock>,
    pub(crate) epoch: Epoch,
    pub(crate) jobs: Vec<Job>,
    /// An answer for each job, to be given once the block is on disk.
    pub(crate) acks: Vec<Ack>,
    pub(crate) alerts: Alerts,
}

/// A block that was not written.
pub(crate) struct Lost {
    pub(crate) jobs: Vec<Job>,
    pub(crate) error: AppendError,
}

/// The sequencer's end of the storer's thread, which ends when this is dropped.
pub(crate) struct Storer {
    // A rendezvous: the storer has at most the one block that it writes.
    pending: SyncSender<Pending>,
    outcomes: Receiver<Result<(), Lost>>,
    under_way: bool,
}

/// The thread is gone: it panicked.
#[derive(Debug)]
pub(crate) struct Gone;

impl Storer {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system gives none.
    pub(crate) fn start(store: Arc<SledStore>, publisher: Publisher) -> std::io::Result<Self> {
        let (pending, blocks) = sync_channel::<Pending>(0);
        let (outcome, outcomes) = sync_channel(1);
        let run = move || {
            for pending in blocks {
                if outcome.send(write(pending, &store, &publisher)).is_err() {
                    return;
                }
            }
        };
        thread::Builder::new().name("storer".into()).spawn(run)?;
        Ok(Self {
            pending,
            outcomes,
            under_way: false,
        })
    }

    /// Hands a block over. The one before must be settled.
    pub(crate) fn write(&mut self, pending: Pending) -> Result<(), Gone> {
        self.under_way = true;
        self.pending.send(pending).map_err(|_| Gone)
    }

    /// Waits for the block under way, if there is one, and says what became of it.
    pub(crate) fn settle(&mut self) -> Result<Option<Lost>, Gone> {
        if !std::mem::take(&mut self.under_way) {
            return Ok(None);
        }
        Ok(self.outcomes.recv().map_err(|_| Gone)?.err())
    }
}

fn write(pending: Pending, store: &SledStore, publisher: &Publisher) -> Result<(), Lost> {
    let Pending {
        block,
        epoch,
        jobs,
        mut acks,
        alerts,
    } = pending;
    let metrics = &publisher.metrics;
    let started = Instant::now();
    // One atomic write, one fsync. A crash before it leaves the log as it was, a crash
    // after it the whole block; either way the senders, who have no answer yet, send
    // again and lose nothing.
    if let Err(error) = block.append(epoch, store) {
        return Err(Lost { jobs, error });
    }
    metrics.append.observe(started.elapsed().as_secs_f64());
    // Only now: publish, tell. A crash here loses nothing: the next start publishes the
    // same.
    let size = block.published.size();
    publisher.publish(block.published);
    metrics.blocks.inc();
    acks.iter_mut().for_each(|ack| ack.size = size);
    publisher.acknowledge(jobs, acks);
    alerts.send(metrics);
    Ok(())
}

/// Shows committed states to readers, and tells senders what became of their requests.
#[derive(Clone)]
pub(crate) struct Publisher {
    pub(crate) latest: Latest,
    pub(crate) metrics: Arc<Metrics>,
}

impl Publisher {
    /// Shows a committed state to readers.
    pub(crate) fn publish(&self, published: Arc<Published>) {
        self.metrics
            .size
            .set(i64::try_from(published.size()).unwrap_or(i64::MAX));
        let suspended = published.policies.iter().filter(|policy| policy.suspended);
        let suspended = i64::try_from(suspended.count()).unwrap_or(i64::MAX);
        self.metrics.policies_suspended.set(suspended);
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
        self.latest.store(published);
    }

    /// Answers requests that are on disk.
    pub(crate) fn acknowledge(&self, jobs: Vec<Job>, acks: Vec<Ack>) {
        for (job, ack) in jobs.into_iter().zip(acks) {
            self.count(&job.work, &ack);
            self.answer(job, Ok(ack));
        }
    }

    /// Answers requests of which nothing was written.
    pub(crate) fn refuse(&self, jobs: Vec<Job>, refusal: &Refusal) {
        for job in jobs {
            self.answer(job, Err(refusal.clone()));
        }
    }

    fn answer(&self, job: Job, answer: Result<Ack, Refusal>) {
        self.metrics
            .ack
            .observe(job.arrived.elapsed().as_secs_f64());
        // A sender that hung up will send again and find duplicates.
        let _ = job.reply.send(answer);
    }

    fn count(&self, work: &Work, ack: &Ack) {
        let Work::Batch(batch) = work else { return };
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
        if ack.undecodable > 0 {
            let labels = SourceLabels {
                source: batch.source.clone(),
            };
            let undecodable = self.metrics.undecodable.get_or_create(&labels);
            undecodable.inc_by(ack.undecodable);
        }
    }
}
