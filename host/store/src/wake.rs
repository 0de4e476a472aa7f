//! Wakes a commit that sled has forgotten.
//!
//! Where one of sled 0.34.7's I/O threads fails to write, it stores the error but does
//! not always wake who waits for that write (`exit_reservation` in its `logger.rs`), so
//! that `flush` waits for ever: the service would hang instead of ending, and its
//! senders would learn nothing. A second flush finds the stored error, and wakes all who
//! wait. So a thread starts one whenever a commit takes long. On a disk that is only
//! slow it waits like the first and adds no write.

use std::future::Future as _;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{self, Context};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use sled::Db;

/// How often a commit under way is looked at. The flushes started for one commit come at
/// doubling distances: an hour on a stuck disk is 15 of them.
const TICK: Duration = Duration::from_millis(200);

/// Watches one database for as long as it lives.
pub(crate) struct Waker {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    /// Odd while a commit is under way. Commits don't overlap: the writer has a lock.
    commits: AtomicU64,
    stop: AtomicBool,
}

impl Waker {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(crate) fn start(db: &Db) -> std::io::Result<Self> {
        let shared = Arc::<Shared>::default();
        let (watched, db) = (Arc::clone(&shared), db.clone());
        let thread = thread::Builder::new()
            .name("store-waker".into())
            .spawn(move || watched.watch(&db))?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Runs a commit under its eyes. It must not unwind.
    pub(crate) fn during<T>(&self, commit: impl FnOnce() -> T) -> T {
        self.shared.commits.fetch_add(1, Ordering::SeqCst);
        let result = commit();
        self.shared.commits.fetch_add(1, Ordering::SeqCst);
        result
    }
}

impl Shared {
    fn watch(&self, db: &Db) {
        let (mut seen, mut ticks) = (0, 0_u64);
        while !self.stop.load(Ordering::SeqCst) {
            thread::park_timeout(TICK);
            let now = self.commits.load(Ordering::SeqCst);
            if now.is_multiple_of(2) || now != seen {
                (seen, ticks) = (now, 0);
                continue;
            }
            ticks += 1;
            if ticks.is_power_of_two() {
                // Polled once, it runs on a thread of sled's. Its result is the commit's
                // to report.
                let mut flush = pin!(db.flush_async());
                let _ = flush
                    .as_mut()
                    .poll(&mut Context::from_waker(task::Waker::noop()));
            }
        }
    }
}

impl Drop for Waker {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // Joined, so that its handle of the database is gone. It can't have panicked.
            let _ = thread.join();
        }
    }
}
