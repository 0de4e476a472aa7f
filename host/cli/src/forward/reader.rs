//! The reading half: from the log file into the spool. It only waits while the spool is
//! full; the log file itself is the buffer then.

use std::io;
use std::time::{Duration, Instant};

use super::batch::{Batch, Batcher, Packing};
use super::files::Files;
use super::follow::{Followed, Follower, LinePlace, Lost};
use super::quarantine::Quarantine;
use super::shared::{ERROR_PAUSE, Shared};
use super::spool;
use super::state::StateDir;
use super::tell::Tell;

/// How often a file is looked at for more.
const POLL: Duration = Duration::from_millis(100);
/// How often the directory is looked at for rotated files.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// See the module.
pub(super) struct Reader<'a> {
    pub(super) shared: &'a Shared,
    pub(super) state: &'a StateDir,
    pub(super) follower: Follower,
    pub(super) batcher: Batcher,
    pub(super) files: Files,
    pub(super) quarantine: Quarantine,
    pub(super) source: String,
    pub(super) packing: Packing,
    pub(super) once: bool,
    pub(super) tell: Tell,
    /// Another file is read since the last batch; a mark must say so.
    pub(super) switched: bool,
    pub(super) looked: Option<Instant>,
}

impl Reader<'_> {
    /// Reads until told to stop, or with `once` to the end. What was read last is in the
    /// spool then, if there is room.
    pub(super) fn run(&mut self) {
        while !self.shared.is_stopping() {
            let now = Instant::now();
            self.look(now);
            let followed = self.follower.next(now).unwrap_or_else(|error| {
                self.tell
                    .error(&format!("can't read the log file: {error}; trying again"));
                self.shared.pause(ERROR_PAUSE);
                Followed::Idle
            });
            let is_idle = followed == Followed::Idle;
            self.take(followed, now);
            let due_in = self.batcher.due_in(now);
            if self.batcher.is_full() || due_in.is_some_and(|due| due.is_zero()) {
                self.spool();
            } else if is_idle && self.once {
                break;
            } else if is_idle {
                if self.switched && self.batcher.is_empty() {
                    self.spool();
                }
                self.shared.pause(due_in.unwrap_or(POLL).min(POLL));
            }
        }
        if !self.batcher.is_empty() || self.switched {
            self.spool();
        }
        self.shared.reader_is_done();
    }

    fn take(&mut self, followed: Followed, now: Instant) {
        match followed {
            Followed::Line { bytes, place } => {
                if !self.batcher.push(&bytes, now) {
                    self.set_aside(&bytes, place, "no JSON object, or cut off");
                }
            }
            Followed::TooLong { start, place } => {
                self.set_aside(&start, place, "longer than a request may be");
            }
            Followed::Switched { path, offset } => {
                self.switched = true;
                let text = format!("reading {} from byte {offset}", path.display());
                self.tell.info(&text);
            }
            Followed::Lost(lost) => {
                self.switched = true;
                self.lose(&lost);
            }
            Followed::Idle => {}
        }
    }

    /// The line is no event.
    fn set_aside(&mut self, line: &[u8], place: LinePlace, why: &str) {
        let LinePlace { inode, offset } = place;
        let kept = self.until_done("keep a line in quarantine", |reader| {
            reader.quarantine.keep(reader.state, line, place)
        });
        let kept = match kept {
            Some(true) => "kept in quarantine",
            _ => "NOT KEPT: quarantine is full",
        };
        self.tell.warn(&format!(
            "a line of {} bytes was not sent ({why}), at byte {offset} of inode {inode}: {kept}",
            line.len()
        ));
        self.shared.update(|status| status.quarantined += 1);
    }

    fn lose(&mut self, lost: &Lost) {
        self.tell.error(&told(lost));
        self.until_done("note what was lost", |reader| {
            reader.files.lose(reader.state, lost.clone())
        });
        let total = self.files.lost_total;
        self.shared.update(|status| status.lost = total);
    }

    /// Looks for files that rotation removed before they were read.
    fn look(&mut self, now: Instant) {
        let is_due = self
            .looked
            .is_none_or(|at| now.saturating_duration_since(at) >= LOOK_INTERVAL);
        if !is_due {
            return;
        }
        self.looked = Some(now);
        match self.files.look(self.state, &self.follower) {
            Ok(lost) => {
                for lost in &lost {
                    self.tell.error(&told(lost));
                }
            }
            Err(error) => {
                let text = format!("can't look for rotated files: {error}");
                self.tell.error(&text);
            }
        }
        let (total, reading) = (self.files.lost_total, self.follower.reading());
        self.shared.update(|status| {
            status.lost = total;
            status.reading = reading;
        });
    }

    /// Writes what was read into the spool, once there is room. If it has to stop before
    /// that, it is read again at the next start.
    fn spool(&mut self) {
        let cursor = self.follower.cursor();
        let packed = self.batcher.take(&self.source, self.packing, cursor);
        let batch = match packed {
            Ok(batch) => batch,
            Err(error) => {
                // Only for want of memory. What was read must not be passed over.
                self.tell
                    .error(&format!("can't pack a batch: {error}; stopping"));
                self.shared.fail(error.to_string());
                return;
            }
        };
        self.switched = false;
        if !self.wait_for_room(&batch) {
            return;
        }
        let (name, path) = self.shared.reserve();
        let written = self.until_done("write into the spool", |_| spool::write(&path, &batch));
        if let Some(bytes) = written {
            self.shared.spooled(name, bytes);
        }
    }

    /// False: it stops.
    fn wait_for_room(&mut self, batch: &Batch) -> bool {
        let bytes = batch.packed.len() as u64;
        if self.shared.has_room(bytes) {
            return true;
        }
        self.tell.warn(
            "the spool is full: reading stops until the service takes batches again; the log file must keep the rest",
        );
        self.shared.update(|status| status.stalled = true);
        while !self.shared.has_room(bytes) {
            if self.shared.is_stopping() {
                return false;
            }
            self.look(Instant::now());
            self.shared.pause(POLL);
        }
        self.shared.update(|status| status.stalled = false);
        self.tell.info("the spool has room: reading goes on");
        true
    }

    /// Tries until it works, or until it has to stop. A full disk must not end it.
    fn until_done<T>(
        &mut self,
        what: &str,
        mut work: impl FnMut(&mut Self) -> io::Result<T>,
    ) -> Option<T> {
        let (shared, tell) = (self.shared, self.tell);
        shared.until_done(tell, what, || work(self))
    }
}

fn told(lost: &Lost) -> String {
    let Lost {
        what,
        inode,
        offset,
        bytes,
        ..
    } = lost;
    format!("LOST: {what} (inode {inode}, from byte {offset}, {bytes} bytes known of)")
}
