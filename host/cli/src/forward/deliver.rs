//! The sending half: one batch in flight, in order, until the service has taken it or
//! refuses it for good.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Instant;

use super::batch::Batch;
use super::breaker::{Breaker, BreakerState};
use super::position::Position;
use super::send::{Ack, Outcome, Sender};
use super::shared::Shared;
use super::spool;
use super::state::{StateDir, sync_dir, write_file};
use super::tell::{Tell, now};
use crate::error::CliError;
use crate::limits::SEND_ATTEMPTS_MAX;

/// See the module.
pub(super) struct Deliverer<'a> {
    pub(super) shared: &'a Shared,
    pub(super) state: &'a StateDir,
    pub(super) sender: Sender,
    pub(super) position: Position,
    pub(super) breaker: Breaker,
    /// Gives up after [`SEND_ATTEMPTS_MAX`].
    pub(super) once: bool,
    pub(super) started: Instant,
    pub(super) tell: Tell,
}

/// What became of a batch.
enum Delivered {
    Taken(Ack),
    TooLarge(String),
    Refused(String),
    Stopped,
}

impl Deliverer<'_> {
    /// Sends until told to stop, or until there is nothing more.
    ///
    /// # Errors
    /// A batch can't be read, or with `once` the service can't be reached.
    pub(super) fn run(&mut self) -> Result<(), CliError> {
        while let Some((name, path)) = self.shared.next() {
            let Some(read) = self.until_done("read the spool", |_| spool::read(&path)) else {
                return Ok(());
            };
            let batch = read.ok_or_else(|| {
                CliError::Refused(format!(
                    "{}: the disk has damaged this batch; start again: it is set aside and its events are read again from the log file",
                    path.display()
                ))
            })?;
            let delivered = if batch.header.count == 0 {
                Delivered::Taken(Ack {
                    rejected: 0,
                    duplicates: 0,
                })
            } else {
                self.deliver(&batch)?
            };
            let going_on = match delivered {
                Delivered::Taken(ack) => self.acknowledged(&name, &batch, ack),
                Delivered::TooLarge(why) => self.too_large(&name, &path, &batch, &why),
                Delivered::Refused(why) => self.refused(&name, &path, &batch, &why),
                Delivered::Stopped => None,
            };
            if going_on.is_none() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Sends one batch, the same bytes under the same number each time.
    fn deliver(&mut self, batch: &Batch) -> Result<Delivered, CliError> {
        let sequence = self.position.sequence(&self.sender.key().id());
        let mut attempts = 0;
        loop {
            loop {
                let wait = self.breaker.wait(self.started.elapsed());
                if self.shared.is_stopping() {
                    return Ok(Delivered::Stopped);
                }
                if wait.is_zero() {
                    break;
                }
                self.shared.pause(wait);
            }
            self.show_breaker();
            attempts += 1;
            let outcome = self.sender.send(batch, sequence);
            let now = self.started.elapsed();
            let why = match outcome {
                Outcome::Failed { why, retry_after } => {
                    self.breaker.failed(now, retry_after, random());
                    why
                }
                Outcome::NotUs(why) => {
                    self.breaker.refused(now, random());
                    if self.once {
                        return Err(CliError::Refused(format!("the service refuses us: {why}")));
                    }
                    self.tell.error(&format!(
                        "THE SERVICE REFUSES US, nothing is taken until that is put right: {why}"
                    ));
                    why
                }
                answered => {
                    self.breaker.succeeded();
                    self.shared.update(|status| status.last_error = None);
                    self.show_breaker();
                    return Ok(match answered {
                        Outcome::Taken(ack) => Delivered::Taken(ack),
                        Outcome::TooLarge(why) => Delivered::TooLarge(why),
                        Outcome::Refused(why) => Delivered::Refused(why),
                        Outcome::Failed { .. } | Outcome::NotUs(_) => Delivered::Stopped,
                    });
                }
            };
            self.show_breaker();
            self.shared
                .update(|status| status.last_error = Some(why.clone()));
            if self.once && attempts >= SEND_ATTEMPTS_MAX {
                return Err(CliError::Refused(format!(
                    "given up after {attempts} attempts: {why}"
                )));
            }
            let wait = self.breaker.wait(self.started.elapsed());
            let open = match self.breaker.state() {
                BreakerState::Open => ", the circuit breaker is open",
                _ => "",
            };
            self.tell.warn(&format!(
                "batch {sequence} was not taken: {why}; again in {:.1} s{open}",
                wait.as_secs_f64()
            ));
            if let Err(error) = self.sender.reconnect() {
                self.tell
                    .error(&format!("{error}; going on with what was read before"));
            }
        }
    }

    /// The batch is in the log. `position` first: from here on it is not sent again. A
    /// crash before leaves it as it was: the same bytes go again under the same number,
    /// and the service finds them there. A crash before the removal leaves a file that
    /// the next start removes.
    fn acknowledged(&mut self, name: &str, batch: &Batch, ack: Ack) -> Option<()> {
        if batch.header.count > 0 {
            let id = self.sender.key().id();
            self.position.count_batch(&id);
            let totals = &mut self.position.totals;
            totals.batches += 1;
            totals.events += u64::from(batch.header.count);
            totals.duplicates += ack.duplicates;
            totals.rejected += ack.rejected;
            self.shared
                .update(|status| status.last_acknowledged = Some(now()));
        }
        if ack.rejected > 0 {
            self.tell.warn(&format!(
                "{} events were sealed as invalid by a policy",
                ack.rejected
            ));
        }
        self.advance(name, batch)
    }

    /// Halves it, down to single events. It was not taken, so its number is the first
    /// half's.
    fn too_large(&mut self, name: &str, path: &Path, batch: &Batch, why: &str) -> Option<()> {
        // The first half must not move the cursor past the second one.
        let before = self.position.cursor.clone();
        let Some(halves) = batch.split(&before) else {
            return self.refused(name, path, batch, why);
        };
        self.tell.warn(&format!(
            "a batch of {} events is too large for the service, sending halves: {why}",
            batch.header.count
        ));
        self.until_done("split a batch", |deliverer| {
            deliverer
                .shared
                .with_spool(|spool| spool.replace_first(&halves))
        })
    }

    /// Keeps it in `refused/` and goes on. Its number is used up: the service will see
    /// the gap. A crash before `position` is written: it is sent, refused and kept again.
    fn refused(&mut self, name: &str, path: &Path, batch: &Batch, why: &str) -> Option<()> {
        let id = self.sender.key().id();
        let sequence = self.position.sequence(&id);
        self.tell.error(&format!(
            "BATCH {sequence} IS REFUSED FOR GOOD ({} events): {why}; it is kept in refused/",
            batch.header.count
        ));
        let dir = self.state.join("refused");
        // An id is 64 hex digits.
        let kept = format!("{sequence:016}-{}", id.get(..8).unwrap_or_default());
        let bytes = self.until_done("keep a refused batch", |_| {
            write_file(
                &dir.join(format!("{kept}.reason")),
                &[why.as_bytes(), b"\n"],
            )?;
            match fs::hard_link(path, dir.join(format!("{kept}.batch"))) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
            sync_dir(&dir)?;
            Ok(fs::metadata(path)?.len())
        })?;
        self.shared.refused(bytes);
        self.position.count_batch(&id);
        self.position.totals.refused += 1;
        self.advance(name, batch)
    }

    fn advance(&mut self, name: &str, batch: &Batch) -> Option<()> {
        self.position.acknowledged = Some(name.to_owned());
        self.position.cursor = batch.header.cursor.clone();
        self.until_done("write the position", |deliverer| {
            deliverer.position.store(deliverer.state)
        })?;
        self.until_done("remove a batch that was taken", |deliverer| {
            deliverer.shared.with_spool(spool::Spool::remove_first)
        })
    }

    fn show_breaker(&self) {
        let (state, failures) = (self.breaker.state(), self.breaker.failures());
        self.shared.update(|status| {
            status.breaker = state;
            status.failures = failures;
        });
    }

    /// Tries until it works, or until it has to stop.
    fn until_done<T>(
        &mut self,
        what: &str,
        mut work: impl FnMut(&mut Self) -> io::Result<T>,
    ) -> Option<T> {
        let (shared, tell) = (self.shared, self.tell);
        shared.until_done(tell, what, || work(self))
    }
}

/// For jitter. Without randomness there is none, which is no reason to stop.
fn random() -> u64 {
    getrandom::u64().unwrap_or_default()
}
