//! What the reading and the sending half share: the spool's index, when to stop, and
//! what is told of both.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::breaker::BreakerState;
use super::spool::Spool;
use super::tell::Tell;

/// Pause after an error of a file or of the disk, before it is tried again.
pub(super) const ERROR_PAUSE: Duration = Duration::from_secs(2);
/// How long a wait goes without a look whether to stop.
const TICK: Duration = Duration::from_millis(100);

/// What a running forwarder says of itself: the file `status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Status {
    pub(super) pid: u32,
    pub(super) started: String,
    pub(super) file: PathBuf,
    pub(super) to: String,
    /// The key's id.
    pub(super) key: String,
    pub(super) breaker: BreakerState,
    /// Failures in a row.
    pub(super) failures: u32,
    /// Why the last attempt failed, if it did.
    pub(super) last_error: Option<String>,
    pub(super) last_acknowledged: Option<String>,
    /// Reading has stopped: the spool is full.
    pub(super) stalled: bool,
    /// Inode and offset of what is read now.
    pub(super) reading: Option<(u64, u64)>,
    /// Lines of this run that were not sent.
    pub(super) quarantined: u64,
    /// Batches of this run that were refused for good.
    pub(super) refused: u64,
    /// Losses, over the directory's life.
    pub(super) lost: u64,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Shared {
    inner: Mutex<Inner>,
    changed: Condvar,
    stop: AtomicBool,
}

#[derive(Debug)]
struct Inner {
    spool: Spool,
    bytes_max: u64,
    /// Of batches that were refused and lie there still: they take of the spool's room,
    /// so that the directory stays within its bound.
    refused_bytes: u64,
    reader_done: bool,
    failed: Option<String>,
    status: Status,
}

impl Shared {
    /// The directory holds at most `bytes_max` of batches, but always one.
    pub(super) fn new(spool: Spool, bytes_max: u64, refused_bytes: u64, status: Status) -> Self {
        Self {
            inner: Mutex::new(Inner {
                spool,
                bytes_max,
                refused_bytes,
                reader_done: false,
                failed: None,
                status,
            }),
            changed: Condvar::new(),
            stop: AtomicBool::new(false),
        }
    }

    /// Both halves end as soon as they can.
    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
        self.changed.notify_all();
    }

    /// Tries until it works, or until it has to stop. A full disk must not end it.
    pub(super) fn until_done<T>(
        &self,
        tell: Tell,
        what: &str,
        mut work: impl FnMut() -> io::Result<T>,
    ) -> Option<T> {
        loop {
            match work() {
                Ok(done) => return Some(done),
                Err(error) => tell.error(&format!("can't {what}: {error}; trying again")),
            }
            if self.is_stopping() {
                return None;
            }
            self.pause(ERROR_PAUSE);
        }
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    /// Something can't be gone on with.
    pub(super) fn fail(&self, why: String) {
        self.lock().failed.get_or_insert(why);
        self.stop();
    }

    pub(super) fn failed(&self) -> Option<String> {
        self.lock().failed.clone()
    }

    /// Waits so long, or until it stops.
    pub(super) fn pause(&self, duration: Duration) {
        let until = Instant::now() + duration;
        let mut inner = self.lock();
        while !self.is_stopping() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            inner = self.wait(inner, left);
        }
    }

    /// Whether a batch of so many bytes fits.
    pub(super) fn has_room(&self, bytes: u64) -> bool {
        let inner = self.lock();
        let held = inner.spool.bytes() + inner.refused_bytes;
        inner.spool.len() == 0 && inner.refused_bytes == 0
            || held.saturating_add(bytes) <= inner.bytes_max
    }

    /// See [`Spool::reserve`].
    pub(super) fn reserve(&self) -> (String, PathBuf) {
        self.lock().spool.reserve()
    }

    /// A batch was written.
    pub(super) fn spooled(&self, name: String, bytes: u64) {
        self.lock().spool.add(name, bytes);
        self.changed.notify_all();
    }

    /// The next batch to send; waits for one. None: it stops, or with the reader done
    /// there are no more.
    pub(super) fn next(&self) -> Option<(String, PathBuf)> {
        let mut inner = self.lock();
        loop {
            if self.is_stopping() {
                return None;
            }
            let next = inner.spool.next();
            if next.is_some() || inner.reader_done {
                return next;
            }
            inner = self.wait(inner, TICK);
        }
    }

    /// Works on the spool's first batch. The lock is held: nobody reads in the meantime
    /// what half changed.
    pub(super) fn with_spool<T>(&self, work: impl FnOnce(&mut Spool) -> T) -> T {
        let done = work(&mut self.lock().spool);
        self.changed.notify_all();
        done
    }

    /// A batch of so many bytes is kept as refused.
    pub(super) fn refused(&self, bytes: u64) {
        let mut inner = self.lock();
        inner.refused_bytes += bytes;
        inner.status.refused += 1;
    }

    pub(super) fn reader_is_done(&self) {
        self.lock().reader_done = true;
        self.changed.notify_all();
    }

    pub(super) fn update(&self, change: impl FnOnce(&mut Status)) {
        change(&mut self.lock().status);
    }

    pub(super) fn status(&self) -> Status {
        self.lock().status.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // No code panics while it holds the lock.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, inner: MutexGuard<'a, Inner>, most: Duration) -> MutexGuard<'a, Inner> {
        let waited = self.changed.wait_timeout(inner, most.min(TICK));
        waited.unwrap_or_else(PoisonError::into_inner).0
    }
}
