//! Requests that wait for their block, fair between sources.
//!
//! Within a source the order is that of arrival. Between sources whoever was served the
//! fewest bytes comes next, so that a flood from one costs the others at most the one
//! request that is being taken. A source that was idle gets no credit for it.
//!
//! Invariants: never more than [`QUEUE_REQUESTS_MAX`] requests, never more than
//! [`SOURCE_REQUESTS_MAX`] of one source; after [`Queue::close`] nothing comes in, and
//! what is in comes out.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::sequencer::Job;

/// Requests that may wait; their bytes are bounded before they get here.
pub(crate) const QUEUE_REQUESTS_MAX: usize = 1024;
/// Requests of one source that may wait: there is always room for another.
pub(crate) const SOURCE_REQUESTS_MAX: usize = QUEUE_REQUESTS_MAX * 3 / 4;

/// Why a request was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum QueueError {
    /// As many wait as may.
    #[error("as many requests wait as the queue takes ({QUEUE_REQUESTS_MAX})")]
    Full,
    /// As many of this source wait as may.
    #[error(
        "as many requests of this source wait as one source may have waiting ({SOURCE_REQUESTS_MAX})"
    )]
    SourceFull,
    /// No more are taken.
    #[error("the service is stopping")]
    Closed,
}

/// The queue between the handlers and the sequencer.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    sources: BTreeMap<String, OfSource>,
    requests: usize,
    /// Bytes that the source served last had been served.
    served: u64,
    closed: bool,
}

/// Exists while something of the source waits.
#[derive(Debug)]
struct OfSource {
    jobs: VecDeque<Job>,
    served: u64,
}

/// When a block takes no further request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BlockBounds {
    /// Events.
    pub(crate) events: usize,
    /// Bytes.
    pub(crate) bytes: usize,
}

impl Queue {
    /// Puts a request in line.
    ///
    /// # Errors
    /// A bound is reached, or the service stops.
    pub(crate) fn push(&self, job: Job) -> Result<(), QueueError> {
        let mut waiting = self.lock();
        if waiting.closed {
            return Err(QueueError::Closed);
        }
        if waiting.requests >= QUEUE_REQUESTS_MAX {
            return Err(QueueError::Full);
        }
        let served = waiting.served;
        let source = job.work.source().to_owned();
        let of_source = waiting.sources.entry(source).or_insert_with(|| OfSource {
            jobs: VecDeque::new(),
            served,
        });
        if of_source.jobs.len() >= SOURCE_REQUESTS_MAX {
            return Err(QueueError::SourceFull);
        }
        of_source.jobs.push_back(job);
        waiting.requests += 1;
        drop(waiting);
        self.changed.notify_one();
        Ok(())
    }

    /// What waits, up to the bounds; nothing if nothing does.
    pub(crate) fn take(&self, bounds: BlockBounds) -> Vec<Job> {
        self.lock().take(bounds)
    }

    /// Waits until something does. None once the queue is closed and empty.
    pub(crate) fn wait(&self, bounds: BlockBounds) -> Option<Vec<Job>> {
        let waiting = self
            .changed
            .wait_while(self.lock(), |w| w.requests == 0 && !w.closed);
        let mut waiting = waiting.unwrap_or_else(PoisonError::into_inner);
        Some(waiting.take(bounds)).filter(|jobs| !jobs.is_empty())
    }

    /// Takes no more; what waits is still handed out.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// Whether requests are taken.
    pub(crate) fn is_open(&self) -> bool {
        !self.lock().closed
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // No code panics while it holds the lock.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn take(&mut self, bounds: BlockBounds) -> Vec<Job> {
        let (mut events, mut bytes) = (0, 0);
        let mut jobs = Vec::new();
        while events < bounds.events && bytes < bounds.bytes {
            let Some(job) = self.next() else { break };
            let weight = job.weight();
            (events, bytes) = (events + weight.0, bytes + weight.1);
            jobs.push(job);
        }
        jobs
    }

    /// The oldest request of the source that was served least.
    fn next(&mut self) -> Option<Job> {
        let next = self.sources.iter_mut().min_by_key(|(_, of)| of.served);
        let (name, of_source) = next?;
        let job = of_source.jobs.pop_front();
        self.served = of_source.served;
        let bytes = job.as_ref().map_or(0, |job| job.weight().1);
        of_source.served = of_source.served.saturating_add(bytes as u64);
        if of_source.jobs.is_empty() {
            let name = name.clone();
            self.sources.remove(&name);
        }
        self.requests -= usize::from(job.is_some());
        job
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use auditchain_log::RejectionRecord;
    use tokio::sync::oneshot;

    use super::*;
    use crate::memory::Memory;
    use crate::sequencer::Work;

    const ALL: BlockBounds = BlockBounds {
        events: usize::MAX,
        bytes: usize::MAX,
    };

    fn job(source: &str, bytes: usize) -> Job {
        let record = RejectionRecord {
            reason: String::new(),
            status: 400,
        };
        Job {
            work: Work::Rejection {
                source: source.into(),
                record,
                body: vec![0; bytes],
            },
            arrived: Instant::now(),
            held: Memory::new(1024, 1024).set_aside(source, 1).unwrap(),
            reply: oneshot::channel().0,
        }
    }

    fn sources(jobs: &[Job]) -> Vec<&str> {
        jobs.iter().map(|job| job.work.source()).collect()
    }

    #[test]
    fn a_flood_costs_the_others_one_request() {
        let queue = Queue::default();
        for _ in 0..10 {
            queue.push(job("flood", 1000)).unwrap();
        }
        queue.push(job("quiet", 10)).unwrap();
        queue.push(job("quiet", 10)).unwrap();
        let two = BlockBounds {
            events: 2,
            bytes: usize::MAX,
        };
        assert_eq!(sources(&queue.take(two)), ["flood", "quiet"]);
        assert_eq!(sources(&queue.take(two)), ["quiet", "flood"]);
        assert_eq!(queue.take(ALL).len(), 8);
        assert!(queue.take(ALL).is_empty());
    }

    #[test]
    fn equal_sources_take_turns_by_bytes_and_idleness_is_no_credit() {
        let queue = Queue::default();
        for _ in 0..4 {
            queue.push(job("a", 100)).unwrap();
        }
        assert_eq!(queue.take(ALL).len(), 4);
        for _ in 0..4 {
            queue.push(job("a", 100)).unwrap();
            queue.push(job("b", 200)).unwrap();
        }
        assert_eq!(
            sources(&queue.take(ALL)),
            ["a", "b", "a", "a", "b", "a", "b", "b"]
        );
    }

    #[test]
    fn bounds_hold_for_all_and_for_each() {
        let queue = Queue::default();
        for _ in 0..SOURCE_REQUESTS_MAX {
            queue.push(job("a", 1)).unwrap();
        }
        assert_eq!(queue.push(job("a", 1)), Err(QueueError::SourceFull));
        for _ in SOURCE_REQUESTS_MAX..QUEUE_REQUESTS_MAX {
            queue.push(job("b", 1)).unwrap();
        }
        assert_eq!(queue.push(job("c", 1)), Err(QueueError::Full));
        let some = BlockBounds {
            events: 7,
            bytes: 5,
        };
        assert_eq!(queue.take(some).len(), 5);
        queue.push(job("c", 1)).unwrap();
    }

    #[test]
    fn a_closed_queue_is_emptied_first() {
        let queue = Queue::default();
        queue.push(job("a", 1)).unwrap();
        queue.close();
        assert_eq!(queue.push(job("a", 1)), Err(QueueError::Closed));
        assert!(!queue.is_open());
        assert_eq!(queue.wait(ALL).map(|jobs| jobs.len()), Some(1));
        assert!(queue.wait(ALL).is_none());
    }
}
