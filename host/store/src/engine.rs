//! sled, held at arm's length: opened with the settings that were measured, every call
//! guarded against its panics, every commit checked to have reached the disk.
//!
//! # What a damaged directory does to sled 0.34.7
//! It answers with an error, with a panic (its own assertions), or, where its log is
//! damaged after the last open, by quietly cutting the log off there and zeroing the
//! rest. The first two become [`Damage`] here; the last shows as missing values below
//! the head or as a head older than the `checkpoint` file.

use std::fs;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use sled::{Batch, Db, IVec};

use crate::durable;
use crate::error::{Damage, StoreError, What};
use crate::frame::{self, Frame, Header, Kind};
use crate::keys;
use crate::limits::VALUE_BYTES_MAX;
use crate::wake::Waker;

/// Few large segments: 0.86 of an append-only file, against 0.57 and less otherwise.
const SEGMENT_BYTES: usize = 4 << 20;
/// Pages are small and read once; more cache bought nothing.
const CACHE_BYTES: u64 = 64 << 20;

/// sled lets go of its lock a moment after the last handle is dropped. Only a handle
/// of this very process can be in the way: our own lock keeps others out.
const LOCK_TRIES: u32 = 100;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// Why the engine did not do what was asked.
#[derive(Debug)]
pub(crate) enum Fault {
    Damage(Damage),
    Io(io::Error),
    Locked,
    Refused(String),
    NotDurable,
    Spilled { dir: PathBuf, count: usize },
}

impl Fault {
    /// Says what was being read or written.
    pub(crate) fn on(self, what: What, index: Option<u64>) -> StoreError {
        match self {
            Self::Damage(damage) => StoreError::Corrupt {
                what,
                index,
                damage,
            },
            Self::Io(source) => StoreError::Io {
                context: what.to_string(),
                source,
            },
            Self::Locked => StoreError::Engine("its database is locked".to_owned()),
            Self::Refused(why) => StoreError::Engine(why),
            Self::NotDurable => StoreError::NotDurable,
            Self::Spilled { dir, count } => StoreError::Spilled { dir, count },
        }
    }
}

impl From<Damage> for Fault {
    fn from(damage: Damage) -> Self {
        Self::Damage(damage)
    }
}

impl From<sled::Error> for Fault {
    fn from(error: sled::Error) -> Self {
        match error {
            sled::Error::Io(source) if source.kind() == io::ErrorKind::UnexpectedEof => {
                Self::Damage(Damage::Truncated)
            }
            // sled has no kind of its own for it.
            sled::Error::Io(source) if source.to_string().starts_with("could not acquire lock") => {
                Self::Locked
            }
            sled::Error::Io(source) => Self::Io(source),
            sled::Error::Corruption { .. } | sled::Error::CollectionNotFound(_) => {
                Self::Damage(Damage::Engine(error.to_string()))
            }
            sled::Error::Unsupported(why) | sled::Error::ReportableBug(why) => Self::Refused(why),
        }
    }
}

pub(crate) type Parsed = Frame<Vec<u8>, Vec<u8>>;

/// An open sled database.
pub(crate) struct Engine {
    /// `None` only while dropping.
    db: Option<Db>,
    waker: Option<Waker>,
    blobs_dir: PathBuf,
}

impl Engine {
    /// Opens or makes the database. The caller holds the directory's lock.
    ///
    /// A crash in here leaves a directory that opens again: sled's own files are
    /// written before they are named, and left-overs are removed first.
    pub(crate) fn open(dir: &Path) -> Result<Self, Fault> {
        remove_unfinished_snapshots(dir).map_err(Fault::Io)?;
        let blobs_dir = dir.join("blobs");
        // Before sled opens: it would remove some of them.
        refuse_spilled(&blobs_dir)?;

        let mut tries = 1;
        let db = loop {
            let config = sled::Config::new()
                .path(dir)
                .segment_size(SEGMENT_BYTES)
                .cache_capacity(CACHE_BYTES)
                .flush_every_ms(None);
            match guarded(|| Ok(config.open()?)) {
                Err(Fault::Locked) if tries < LOCK_TRIES => {
                    tries += 1;
                    thread::sleep(LOCK_PAUSE);
                }
                result => break result?,
            }
        };
        let waker = Waker::start(&db).map_err(Fault::Io)?;
        Ok(Self {
            db: Some(db),
            waker: Some(waker),
            blobs_dir,
        })
    }

    fn db(&self) -> &Db {
        match &self.db {
            Some(db) => db,
            None => unreachable!("the database is taken out by drop alone"),
        }
    }

    /// True if nothing was ever stored.
    pub(crate) fn is_empty(&self) -> Result<bool, Fault> {
        guarded(|| Ok(self.db().iter().next().transpose()?.is_none()))
    }

    /// The value under a key, checked to be of its kind and within its limit.
    pub(crate) fn value(
        &self,
        key: &[u8],
        kind: Kind,
        limit: usize,
    ) -> Result<Option<Parsed>, Fault> {
        self.bytes(key, kind, limit)?
            .map(|bytes| Ok(frame::decode(&bytes, kind, limit)?))
            .transpose()
    }

    /// The same, still encoded.
    pub(crate) fn bytes(
        &self,
        key: &[u8],
        kind: Kind,
        limit: usize,
    ) -> Result<Option<Vec<u8>>, Fault> {
        self.get(&keys::part(key, 0))?
            .filter(|first| !first.is_empty())
            .map(|first| self.join(key, &first, kind, limit))
            .transpose()
    }

    /// The first chunk that ends at `index` or later, still encoded, with the last index
    /// its key states.
    pub(crate) fn chunk(
        &self,
        index: u64,
        kind: Kind,
        limit: usize,
    ) -> Result<Option<(u64, Vec<u8>)>, Fault> {
        let range = keys::chunks_from(index);
        let found = guarded(|| Ok(self.db().range(range).next().transpose()?))?;
        let Some((key, first)) = found else {
            return Ok(None);
        };
        let Some((last, 0)) = keys::parse_chunk(&key) else {
            return Err(Damage::Truncated.into()); // its first part is gone
        };
        if first.is_empty() {
            return Ok(None); // reserved
        }
        let bytes = self.join(&keys::chunk(last), &first, kind, limit)?;
        Ok(Some((last, bytes)))
    }

    /// Hands out all keys and values, in order.
    pub(crate) fn each(
        &self,
        mut work: impl FnMut(&IVec, &IVec) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        guarded(|| {
            for item in self.db().iter() {
                let (key, value) = item?;
                work(&key, &value)?;
            }
            Ok(())
        })
    }

    /// Keys and values that begin with `prefix`, in order.
    pub(crate) fn scan(&self, prefix: &[u8]) -> Result<Vec<(IVec, IVec)>, Fault> {
        guarded(|| Ok(self.db().scan_prefix(prefix).collect::<Result<_, _>>()?))
    }

    /// Puts keys in ahead of their values; see `reserve`. A key that is there keeps its
    /// value. On disk with the next commit.
    pub(crate) fn reserve(&self, keys: impl IntoIterator<Item = Vec<u8>>) -> Result<(), Fault> {
        guarded(|| {
            for key in keys {
                // That there is one already is no failure.
                let _ = self
                    .db()
                    .compare_and_swap(key, None::<&[u8]>, Some(&[][..]))?;
            }
            Ok(())
        })
    }

    /// The last key before `end`, of those that begin with the same byte.
    pub(crate) fn last_key_before(&self, end: &[u8]) -> Result<Option<IVec>, Fault> {
        let first = &end[..end.len().min(1)];
        let last = guarded(|| Ok(self.db().range(first..end).next_back().transpose()?))?;
        Ok(last.map(|(key, _)| key))
    }

    /// Writes a batch: all of it or nothing, on disk when this returns.
    ///
    /// sled marks the batch in its log; a crash before the mark's end is on disk makes
    /// recovery cut the log off before the batch.
    pub(crate) fn commit(&self, batch: Batch) -> Result<(), Fault> {
        let before = durable::flushes();
        let write = || {
            guarded(|| {
                self.db().apply_batch(batch)?;
                self.db().flush()?;
                Ok(())
            })
        };
        match &self.waker {
            Some(waker) => waker.during(write)?,
            None => unreachable!("the waker is taken out by drop alone"),
        }
        if durable::flushes() == before {
            return Err(Fault::NotDurable);
        }
        refuse_spilled(&self.blobs_dir)
    }

    /// A value as sled has it.
    pub(crate) fn get(&self, key: &[u8]) -> Result<Option<IVec>, Fault> {
        guarded(|| Ok(self.db().get(key)?))
    }

    /// Puts a value together again from its parts.
    fn join(&self, key: &[u8], first: &[u8], kind: Kind, limit: usize) -> Result<Vec<u8>, Fault> {
        let value_bytes = Header::parse(first, kind, limit)?.value_bytes();
        if first.len() != value_bytes.min(VALUE_BYTES_MAX) {
            return Err(Damage::Truncated.into());
        }
        let mut value = Vec::with_capacity(value_bytes);
        value.extend(first);
        for part in 1..=u16::MAX {
            let left = value_bytes - value.len();
            if left == 0 {
                break;
            }
            let bytes = self.get(&keys::part(key, part))?.ok_or(Damage::Truncated)?;
            // A leaf of the wrong size would also overrun `left`.
            if bytes.len() != left.min(VALUE_BYTES_MAX) {
                return Err(Damage::Truncated.into());
            }
            value.extend(&*bytes);
        }
        Ok(value)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        drop(self.waker.take());
        let db = self.db.take();
        // sled syncs on drop and asserts that it worked; everything acknowledged is on
        // disk already, so there is nothing to be lost by ignoring it.
        let closed = guarded(|| {
            drop(db);
            Ok(())
        });
        if closed.is_err() {
            tracing::warn!("sled failed while closing; nothing acknowledged is affected");
        }
    }
}

/// Into how many parts a value is cut.
pub(crate) fn parts(value: &[u8]) -> u16 {
    // The largest value is two sections of 65 MiB: 4,160 parts.
    u16::try_from(value.len().div_ceil(VALUE_BYTES_MAX)).unwrap_or(u16::MAX)
}

/// Adds a value to a batch, cut into parts.
pub(crate) fn put(batch: &mut Batch, key: &[u8], value: &[u8]) {
    for (part, bytes) in (0..=u16::MAX).zip(value.chunks(VALUE_BYTES_MAX)) {
        batch.insert(keys::part(key, part), bytes);
    }
}

/// Adds to a batch the removal of the parts that a value of `old_bytes` has beyond those
/// of the one that takes its place.
pub(crate) fn remove_left_over(batch: &mut Batch, key: &[u8], old_bytes: usize, bytes: usize) {
    let parts = |bytes: usize| bytes.div_ceil(VALUE_BYTES_MAX);
    for part in (0..=u16::MAX).take(parts(old_bytes)).skip(parts(bytes)) {
        batch.remove(keys::part(key, part));
    }
}

/// Runs a piece of sled and turns its panic into damage. sled's locks are released on
/// unwind and not poisoned, and a writer is stopped after any fault, so nothing acts on
/// a half-changed state.
fn guarded<T>(work: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let why = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("no message");
        Err(Damage::Panicked(why.to_owned()).into())
    })
}

/// A crash while sled wrote a snapshot leaves `snap.<lsn>.generating`, which sled then
/// takes for a damaged snapshot and refuses to open. The snapshot before is still there.
fn remove_unfinished_snapshots(dir: &Path) -> io::Result<()> {
    for file in fs::read_dir(dir)? {
        let file = file?;
        let name = file.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("snap.") && name.ends_with(".generating") {
            tracing::warn!(file = %name, "removing an unfinished snapshot of sled");
            fs::remove_file(file.path())?;
        }
    }
    Ok(())
}

/// sled moves large pages into files it never syncs; our values are cut so that it has
/// no reason to.
fn refuse_spilled(dir: &Path) -> Result<(), Fault> {
    let count = match fs::read_dir(dir) {
        Ok(files) => files.count(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(error) => return Err(Fault::Io(error)),
    };
    if count == 0 {
        return Ok(());
    }
    Err(Fault::Spilled {
        dir: dir.to_owned(),
        count,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_reaches_the_disk_in_few_flushes() {
        let dir = tempfile::tempdir().unwrap();
        let engine = Engine::open(dir.path()).unwrap();
        let before = durable::flushes();
        let rounds = 20;
        for round in 0..rounds {
            let mut batch = Batch::default();
            put(&mut batch, b"key", &[round; 100_000]);
            engine.commit(batch).unwrap();
        }
        // sled writes a batch's mark and the batch apart. Other tests of this process
        // may flush meanwhile, hence the room.
        let flushes = durable::flushes() - before;
        assert!((u64::from(rounds)..200).contains(&flushes), "{flushes}");
    }

    #[test]
    fn a_panic_becomes_damage() {
        let fault = guarded::<()>(|| panic!("at {}", 7)).unwrap_err();
        assert!(matches!(fault, Fault::Damage(Damage::Panicked(why)) if why == "at 7"));
    }

    #[test]
    fn a_value_with_a_part_missing_is_truncated() {
        let dir = tempfile::tempdir().unwrap();
        let engine = Engine::open(dir.path()).unwrap();
        let value = frame::stored(&Frame {
            kind: Kind::Blob,
            id: 0,
            count: 0,
            plain: &[],
            content: &[7; 100_000],
        });
        let mut batch = Batch::default();
        put(&mut batch, b"key", &value);
        batch.remove(keys::part(b"key", 2));
        engine.commit(batch).unwrap();
        let read = |limit| engine.bytes(b"key", Kind::Blob, limit);
        assert!(matches!(
            read(100_000),
            Err(Fault::Damage(Damage::Truncated))
        ));
        // More than the limit is refused before the parts are fetched.
        assert!(matches!(
            read(99_999),
            Err(Fault::Damage(Damage::OverLimit))
        ));
    }
}
