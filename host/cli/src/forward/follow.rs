//! Follows a log file through its rotations.
//!
//! The file is read until nothing more comes. If another file lies under its name by
//! then, it was rotated: it is read on for a moment, until its writer has surely let go
//! of it, and then comes the next one: the oldest rotated file that was not read, or
//! else the one under the name. Rotated files are those that lie beside it under the
//! names that an apiserver (`audit-2026-11-21T06-31-01.724.log`) or logrotate
//! (`audit.log.1`, `audit.log-20261121`) gives them.
//!
//! A file that was truncated in place (`copytruncate`) is noticed by its first bytes:
//! reading goes on in the copy, if there is one, and then from its start. What was
//! written between copy and truncation is lost; nobody can say how much. It is told.
//!
//! A line without its newline waits, until the file is done: then it is a line.
//!
//! Out of scope: compressed rotated files (`auditchain ingest` reads them), and a file
//! that was made, rotated and removed while nobody looked.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::cursor::{Cursor, FINGERPRINT_BYTES_MAX, FINISHED_MAX, FileMark, Fingerprint};
use super::rotated::{Candidate, Family, read_head};
use crate::limits::LINE_BYTES_MAX;

/// What is read at once.
const CHUNK_BYTES: usize = 256 << 10;
/// Of a line that is too long, kept to tell what it was.
const START_BYTES: usize = 4 << 10;

/// A place in a file, for people and names of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LinePlace {
    pub(super) inode: u64,
    pub(super) offset: u64,
}

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Followed {
    /// A line, without its newline and never blank.
    Line { bytes: Vec<u8>, place: LinePlace },
    /// A line over the limit was passed over; its beginning.
    TooLong { start: Vec<u8>, place: LinePlace },
    /// Another file is read from here.
    Switched { path: PathBuf, offset: u64 },
    /// What was not read of a file is lost.
    Lost(Lost),
    /// Nothing more for now.
    Idle,
}

/// What was lost.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Lost {
    /// Why, for people.
    pub(super) what: String,
    pub(super) inode: u64,
    /// From here.
    pub(super) offset: u64,
    /// At least so much, as far as is known.
    pub(super) bytes: u64,
    /// When it was noticed.
    pub(super) time: String,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Follower {
    family: Family,
    /// A rotated file is read on for so long.
    grace: Duration,
    current: Option<Open>,
    finished: Vec<FileMark>,
    /// Told before anything else.
    tell: Option<Followed>,
}

#[derive(Debug)]
struct Open {
    file: File,
    path: PathBuf,
    device: u64,
    inode: u64,
    /// All before it was given out.
    offset: u64,
    /// The file's first bytes, as far as they were given out.
    head: Vec<u8>,
    /// What was read behind `offset`.
    ahead: Vec<u8>,
    /// So much of `ahead` was given out, and so much of it searched for a newline.
    given: usize,
    searched: usize,
    /// Passing over the rest of a line that is too long.
    skipping: bool,
    /// Another file has its name, since then.
    rotated_at: Option<Instant>,
}

impl Follower {
    /// Where the first start begins: with the file under the name, or with all rotated
    /// ones too.
    ///
    /// # Errors
    /// The directory can't be read.
    pub(super) fn first_cursor(family: &Family, with_rotated: bool) -> io::Result<Cursor> {
        let mut finished = Vec::new();
        if !with_rotated {
            let all = family.candidates()?.into_iter();
            let rotated = all.filter(|file| file.path != family.path());
            finished.extend(rotated.map(|file| file.as_finished()));
        }
        Ok(Cursor {
            file: None,
            finished,
        })
    }

    /// Goes on at `cursor`.
    ///
    /// # Errors
    /// The directory can't be read.
    pub(super) fn new(family: Family, cursor: Cursor, grace: Duration) -> io::Result<Self> {
        let mut follower = Self {
            family,
            grace,
            current: None,
            finished: cursor.finished,
            tell: None,
        };
        if let Some(mark) = cursor.file {
            follower.resume(mark, "the file that was being read is gone")?;
        }
        Ok(follower)
    }

    /// All that was given out is before this.
    pub(super) fn cursor(&self) -> Cursor {
        Cursor {
            file: self.current.as_ref().map(Open::mark),
            finished: self.finished.clone(),
        }
    }

    /// The inode of the file that is read, and the bytes of it that were given out.
    pub(super) fn reading(&self) -> Option<(u64, u64)> {
        self.current.as_ref().map(|open| (open.inode, open.offset))
    }

    /// Files that are still to be read, but for the one that is.
    pub(super) fn unread(&self) -> io::Result<Vec<Candidate>> {
        let reading = self.current.as_ref().map(|open| open.inode);
        let all = self.family.candidates()?.into_iter();
        Ok(all
            .filter(|candidate| Some(candidate.inode) != reading)
            .filter_map(|candidate| candidate.unread(&self.finished))
            .collect())
    }

    /// The next line, or what else there is to know.
    ///
    /// # Errors
    /// A file can't be read. It can be tried again.
    pub(super) fn next(&mut self, now: Instant) -> io::Result<Followed> {
        loop {
            if let Some(told) = self.tell.take() {
                return Ok(told);
            }
            let Some(open) = &mut self.current else {
                if self.open_next()? {
                    continue;
                }
                return Ok(Followed::Idle);
            };
            if let Some(line) = open.line() {
                if is_blank(&line) {
                    continue;
                }
                return Ok(line);
            }
            let read = open.read()?;
            if !open.is_unchanged()? {
                self.replaced()?;
                continue;
            }
            if read > 0 {
                continue;
            }
            if !self.is_finished(now)? {
                return Ok(Followed::Idle);
            }
            if let Some(rest) = self.finish()
                && !is_blank(&rest)
            {
                return Ok(rest);
            }
        }
    }

    /// At the end of the file: whether it was rotated, and long enough ago.
    fn is_finished(&mut self, now: Instant) -> io::Result<bool> {
        let Some(open) = &mut self.current else {
            return Ok(false);
        };
        let is_live = match fs::metadata(self.family.path()) {
            Ok(live) => live.ino() == open.inode && live.dev() == open.device,
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(error),
        };
        if is_live {
            open.rotated_at = None;
            return Ok(false);
        }
        let rotated_at = *open.rotated_at.get_or_insert(now);
        let waited = now.saturating_duration_since(rotated_at);
        // Whoever starts now needn't wait for a writer that has long let go. One that comes
        // back even so is noticed: see `Candidate::unread`.
        let quiet = open.file.metadata()?.modified()?.elapsed();
        if waited.max(quiet.unwrap_or_default()) < self.grace {
            return Ok(false);
        }
        // Between rename and creation there may be no next one yet.
        Ok(!self.unread()?.is_empty())
    }

    /// The file is done: its last line, if that has no newline.
    fn finish(&mut self) -> Option<Followed> {
        let mut open = self.current.take()?;
        let rest = open.rest();
        self.finished.push(open.mark());
        self.forget_old();
        rest
    }

    /// Opens the next file; false if there is none.
    fn open_next(&mut self) -> io::Result<bool> {
        let Some(candidate) = self.unread()?.into_iter().next() else {
            return Ok(false);
        };
        self.take_up(&candidate)
    }

    /// Opens a file and goes on where reading it stopped; false if it has been renamed
    /// or removed by now: the next look sees what became of it.
    fn take_up(&mut self, candidate: &Candidate) -> io::Result<bool> {
        let file = match File::open(&candidate.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            file => file?,
        };
        let metadata = file.metadata()?;
        if metadata.ino() != candidate.inode || metadata.dev() != candidate.device {
            return Ok(false);
        }
        let mut head = read_head(&file)?;
        head.truncate(usize::try_from(candidate.offset).unwrap_or(usize::MAX));
        if let Some(mark) = candidate.mark {
            self.finished.remove(mark);
        }
        self.tell = Some(Followed::Switched {
            path: candidate.path.clone(),
            offset: candidate.offset,
        });
        self.current = Some(Open {
            file,
            path: candidate.path.clone(),
            device: candidate.device,
            inode: candidate.inode,
            offset: candidate.offset,
            head,
            ahead: Vec::new(),
            given: 0,
            searched: 0,
            skipping: false,
            rotated_at: None,
        });
        Ok(true)
    }

    /// Goes on in the file of this mark, under whatever name it lies now.
    fn resume(&mut self, mark: FileMark, gone: &str) -> io::Result<()> {
        let (inode, offset) = (mark.inode, mark.offset);
        let is_new = offset == 0;
        let candidates = self.family.candidates()?;
        let found = candidates.into_iter().find(|candidate| {
            !is_new && mark.is_of(candidate.inode, candidate.size, &candidate.head)
        });
        // Kept as finished: then what it had is known, and more in it is new.
        self.finished.push(mark);
        self.forget_old();
        let Some(mut found) = found else {
            if !is_new {
                self.tell = Some(Followed::Lost(Lost {
                    what: gone.into(),
                    inode,
                    offset,
                    bytes: 0,
                    time: super::tell::now(),
                }));
            }
            return Ok(());
        };
        found.offset = offset;
        found.mark = Some(self.finished.len() - 1);
        self.take_up(&found)?;
        Ok(())
    }

    /// The file under its name is no longer the one that was read.
    fn replaced(&mut self) -> io::Result<()> {
        let Some(open) = self.current.take() else {
            return Ok(());
        };
        let mark = open.mark();
        let path = open.path.display().to_string();
        let unread = (open.ahead.len() - open.given) as u64;
        let what =
            format!("{path} was truncated or overwritten in place, and no copy of it is there");
        self.resume(mark.clone(), &what)?;
        if let Some(Followed::Lost(lost)) = &mut self.tell {
            lost.bytes = unread;
        } else if let Some(Followed::Switched { path: copy, .. }) = &self.tell {
            // The copy holds all but what was written since it was made.
            self.tell = Some(Followed::Lost(Lost {
                what: format!(
                    "{path} was truncated in place; reading goes on in its copy {}. What was written between copy and truncation is lost, if anything",
                    copy.display()
                ),
                inode: mark.inode,
                offset: mark.offset,
                bytes: 0,
                time: super::tell::now(),
            }));
        }
        Ok(())
    }

    /// Forgets files that are gone, and the oldest where there are too many.
    fn forget_old(&mut self) {
        if let Ok(there) = self.family.candidates()
            && self.finished.len() > there.len()
        {
            let last = self.finished.len() - 1;
            let mut index = 0;
            self.finished.retain(|mark| {
                let is_there = there
                    .iter()
                    .any(|file| mark.is_of(file.inode, file.size, &file.head));
                index += 1;
                is_there || index > last
            });
        }
        let over = self.finished.len().saturating_sub(FINISHED_MAX);
        self.finished.drain(..over);
    }
}

impl Open {
    fn mark(&self) -> FileMark {
        FileMark {
            device: self.device,
            inode: self.inode,
            offset: self.offset,
            fingerprint: Fingerprint::of(&self.head),
        }
    }

    fn place(&self) -> LinePlace {
        LinePlace {
            inode: self.inode,
            offset: self.offset,
        }
    }

    /// Reads on behind what was read.
    fn read(&mut self) -> io::Result<usize> {
        self.ahead.drain(..self.given);
        self.searched -= self.given;
        self.given = 0;
        let before = self.ahead.len();
        self.ahead.resize(before + CHUNK_BYTES, 0);
        let read = self
            .file
            .read_at(&mut self.ahead[before..], self.offset + before as u64);
        self.ahead.truncate(before + *read.as_ref().unwrap_or(&0));
        read
    }

    /// Whether it still begins as it did and has what was read. Asked after a read: then
    /// what was read is of the file that it was.
    fn is_unchanged(&self) -> io::Result<bool> {
        let read_to = self.offset + (self.ahead.len() - self.given) as u64;
        if self.file.metadata()?.len() < read_to {
            return Ok(false);
        }
        Ok(read_head(&self.file)?.starts_with(&self.head))
    }

    /// The next whole line.
    fn line(&mut self) -> Option<Followed> {
        let from = self.searched.max(self.given);
        let end = memchr::memchr(b'\n', &self.ahead[from..]).map(|at| from + at + 1);
        self.searched = end.unwrap_or(self.ahead.len());
        match end {
            Some(end) => Some(self.give(end)),
            None if self.ahead.len() - self.given > LINE_BYTES_MAX => {
                let told = self.too_long();
                self.skipping = true;
                told
            }
            None => None,
        }
    }

    /// What stands behind the last newline.
    fn rest(&mut self) -> Option<Followed> {
        (self.given < self.ahead.len()).then(|| self.give(self.ahead.len()))
    }

    /// Gives out the line up to `end`.
    fn give(&mut self, end: usize) -> Followed {
        let place = self.place();
        let line = &self.ahead[self.given..end];
        let bytes = if self.skipping {
            // The rest of what was told already.
            Vec::new()
        } else {
            trim(line).to_vec()
        };
        self.skipping = false;
        self.advance(end);
        Followed::Line { bytes, place }
    }

    /// Passes over all that was read; the first time it is told.
    fn too_long(&mut self) -> Option<Followed> {
        let (place, told) = (self.place(), self.skipping);
        let line = &self.ahead[self.given..];
        let start = line[..line.len().min(START_BYTES)].to_vec();
        self.advance(self.ahead.len());
        (!told).then_some(Followed::TooLong { start, place })
    }

    fn advance(&mut self, end: usize) {
        let given = &self.ahead[self.given..end];
        let room = FINGERPRINT_BYTES_MAX.saturating_sub(self.head.len());
        self.head.extend_from_slice(&given[..given.len().min(room)]);
        self.offset += given.len() as u64;
        self.given = end;
        self.searched = self.searched.max(end);
    }
}

fn is_blank(followed: &Followed) -> bool {
    matches!(followed, Followed::Line { bytes, .. } if bytes.is_empty())
}

/// Without white space around it, and without the zeros of a hole: a writer that goes on
/// at its old offset in a file that was truncated leaves one.
fn trim(line: &[u8]) -> &[u8] {
    let holes = line.iter().take_while(|byte| **byte == 0).count();
    line[holes..].trim_ascii()
}

#[cfg(test)]
#[path = "follow_tests.rs"]
mod tests;
