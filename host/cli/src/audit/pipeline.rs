//! Reading, examining and auditing at the same time, in bounded memory.
//!
//! ```text
//! reader --run k--> worker k mod W (examines) --> auditor, in the order of the log
//! ```
//! Runs are dealt to the workers in turn and taken from them in turn, so they come
//! out in order without being sorted. Every pipe holds [`PIPE_RUNS_MAX`] runs.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use super::examine::{ExaminedRun, examine_run};
use crate::limits::{PIPE_RUNS_MAX, UNREADABLE_MAX};
use crate::source::{LogSource, Run, SourceError};

/// What the auditor is handed.
pub(super) enum Piece {
    /// Entries.
    Run(ExaminedRun),
    /// Entries `from` to before `to` can't be read.
    Gap { from: u64, to: u64, reason: String },
    /// The source can't be asked any more.
    Failed(SourceError),
}

enum Raw {
    Run(Run),
    Gap { from: u64, to: u64, reason: String },
    Failed(SourceError),
}

/// Feeds the entries 0 to before `size` to `audit`, until it returns an error.
///
/// # Errors
/// That of `audit`.
pub(super) fn feed<E>(
    source: &dyn LogSource,
    size: u64,
    workers: usize,
    mut audit: impl FnMut(Piece) -> Result<(), E>,
) -> Result<(), E> {
    thread::scope(|scope| {
        let (mut to_workers, mut from_workers) = (Vec::new(), Vec::new());
        for _ in 0..workers.max(1) {
            let (to_worker, inbox) = sync_channel(PIPE_RUNS_MAX);
            let (outbox, from_worker) = sync_channel(PIPE_RUNS_MAX);
            scope.spawn(move || examine(&inbox, &outbox));
            to_workers.push(to_worker);
            from_workers.push(from_worker);
        }
        scope.spawn(move || read(source, size, &to_workers));
        // Dealt in turn: the first worker that has no more is the end. On an error the
        // pipes are dropped, and all threads end at their next send.
        for from_worker in from_workers.iter().cycle() {
            let Ok(piece) = from_worker.recv() else { break };
            audit(piece)?;
        }
        Ok(())
    })
}

fn examine(inbox: &Receiver<Raw>, outbox: &SyncSender<Piece>) {
    for raw in inbox {
        let piece = match raw {
            Raw::Run(run) => Piece::Run(examine_run(run)),
            Raw::Gap { from, to, reason } => Piece::Gap { from, to, reason },
            Raw::Failed(error) => Piece::Failed(error),
        };
        if outbox.send(piece).is_err() {
            return;
        }
    }
}

fn read(source: &dyn LogSource, size: u64, to_workers: &[SyncSender<Raw>]) {
    let mut at = 0;
    let mut unreadable = 0;
    for to_worker in to_workers.iter().cycle() {
        if at >= size {
            return;
        }
        let (raw, next) = match source.run(at, size) {
            Ok(run) if run.first() == at && !run.is_empty() && run.end() <= size => {
                let end = run.end();
                (Raw::Run(run), end)
            }
            Ok(_) => gap(
                at,
                at + 1,
                "other entries were returned than asked for".into(),
            ),
            Err(SourceError::Damaged { what, reason, next }) => {
                gap(at, next.clamp(at + 1, size), format!("{what}: {reason}"))
            }
            Err(error) => (Raw::Failed(error), size),
        };
        let (raw, next) = match raw {
            Raw::Gap { from, to, reason } => {
                unreadable += to - from;
                if unreadable > UNREADABLE_MAX {
                    gap(
                        from,
                        size,
                        format!(
                            "{reason}; more than {UNREADABLE_MAX} entries can't be read, the rest was not tried"
                        ),
                    )
                } else {
                    (Raw::Gap { from, to, reason }, next)
                }
            }
            raw => (raw, next),
        };
        if to_worker.send(raw).is_err() {
            return;
        }
        at = next;
    }
}

fn gap(from: u64, to: u64, reason: String) -> (Raw, u64) {
    (Raw::Gap { from, to, reason }, to)
}
