//! A log to read: by URL, or from a data directory.

mod dir;
mod http;

use std::ops::Range;
use std::path::Path;

use auditchain_log::{Hash, TileId};

pub use dir::DirLog;
pub(crate) use dir::from_store;
pub use http::HttpLog;

use crate::connect::ConnectArgs;
use crate::error::CliError;
use crate::http::{Client, HttpError};

/// Where a log is read from. Nothing that it returns is to be believed before it is
/// checked against a signed checkpoint.
///
/// # Concurrency
/// Called from several threads at once: one reads runs, another tiles and values.
pub trait LogSource: Sync {
    /// For people: the URL or the directory.
    fn name(&self) -> &str;

    /// The newest signed checkpoint; `None` where there is none. Where the source also
    /// has a [`head`](Self::head), this is the note over exactly that.
    ///
    /// # Errors
    /// See [`SourceError`].
    fn note(&self) -> Result<Option<Vec<u8>>, SourceError>;

    /// The signed checkpoint that is kept beside the store, so that a store which was cut
    /// back is noticed. Asked for only where there is a [`head`](Self::head).
    ///
    /// # Errors
    /// See [`SourceError`].
    fn kept_note(&self) -> Result<Option<Vec<u8>>, SourceError> {
        Ok(None)
    }

    /// The checkpoint that witnesses cosigned, where it is kept apart from the newest one.
    ///
    /// # Errors
    /// See [`SourceError`].
    fn cosigned_note(&self) -> Result<Option<Vec<u8>>, SourceError> {
        Ok(None)
    }

    /// The vkeys that it names beside the log itself, one a line; `None` if it has no
    /// such thing.
    ///
    /// # Errors
    /// See [`SourceError`].
    fn vkeys(&self) -> Result<Option<String>, SourceError>;

    /// Where the log ends by its own account, if that is another than the checkpoint's.
    ///
    /// # Errors
    /// See [`SourceError`].
    fn head(&self) -> Result<Option<HeadClaim>, SourceError>;

    /// Entries and bodies from `from` on: at least one entry, none from `to` on.
    ///
    /// # Errors
    /// See [`SourceError`].
    fn run(&self, from: u64, to: u64) -> Result<Run, SourceError>;

    /// The same without bodies, which may cost more or be for readers alone.
    ///
    /// # Errors
    /// See [`SourceError`].
    fn entries(&self, from: u64, to: u64) -> Result<Run, SourceError> {
        self.run(from, to)
    }

    /// The first `width` hashes of a tile.
    ///
    /// # Errors
    /// See [`SourceError`].
    fn tile(&self, id: TileId, width: usize) -> Result<Option<Vec<u8>>, SourceError>;

    /// Whether it also has the tiles that are not full.
    fn has_partial_tiles(&self) -> bool;

    /// A value by its digest.
    ///
    /// # Errors
    /// See [`SourceError`].
    fn blob(&self, digest: &Hash) -> Result<Option<Vec<u8>>, SourceError>;

    /// The names of all values that it keeps, whether an entry names them or not; empty
    /// where they can't be listed.
    ///
    /// # Errors
    /// See [`SourceError`].
    fn value_names(&self) -> Result<Vec<String>, SourceError> {
        Ok(Vec::new())
    }

    /// A value by one of the [`value_names`](Self::value_names).
    ///
    /// # Errors
    /// See [`SourceError`].
    fn named_value(&self, _name: &str) -> Result<Option<Vec<u8>>, SourceError> {
        Ok(None)
    }

    /// Where the medium itself is damaged, asked for once something was found wrong: it
    /// names the entries that damage can no longer be read at. Empty where the source
    /// can't tell.
    fn damage(&self) -> Vec<Damage> {
        Vec::new()
    }
}

/// The end of a log as its store has it: signed by nobody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeadClaim {
    /// Entries.
    pub size: u64,
    /// Blocks.
    pub blocks: u64,
    /// Time of the last block, microseconds since 1970.
    pub time_us: i64,
    /// Root over all entries.
    pub root: Hash,
    /// Chain hash after the last entry.
    pub chain: Hash,
}

/// Why a source gives nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// It answers, and what should be there is damaged or missing.
    #[error("{what}: {reason}")]
    Damaged {
        /// What was asked for.
        what: String,
        /// What is wrong with it.
        reason: String,
        /// Where entries were asked for: the first index that may be readable again.
        next: u64,
    },
    /// It can't be asked: this says nothing about the log.
    #[error("{0}")]
    Unavailable(String),
}

impl From<HttpError> for SourceError {
    fn from(error: HttpError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

/// A damaged place of the medium.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// What is damaged there.
    pub what: String,
    /// The first entry it concerns.
    pub first: u64,
    /// The last.
    pub last: u64,
}

/// Consecutive entries with their bodies.
#[derive(Debug, Default)]
pub struct Run {
    first: u64,
    data: Vec<u8>,
    slots: Vec<Slot>,
    /// Why no body of this run can be read, if so.
    pub bodies_damage: Option<String>,
}

#[derive(Debug)]
struct Slot {
    entry: Range<usize>,
    body: Option<([u8; 32], Range<usize>)>,
}

/// A body and its salt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BodyRef<'a> {
    /// See [`auditchain_log::body_hash`].
    pub salt: &'a [u8; 32],
    /// What the entry commits to.
    pub bytes: &'a [u8],
}

impl Run {
    /// An empty run.
    #[must_use]
    pub fn new(first: u64) -> Self {
        Self {
            first,
            ..Self::default()
        }
    }

    /// Adds the next entry.
    pub fn push(&mut self, entry: &[u8], body: Option<BodyRef<'_>>) {
        let entry = self.keep(entry);
        let body = body.map(|body| (*body.salt, self.keep(body.bytes)));
        self.slots.push(Slot { entry, body });
    }

    fn keep(&mut self, bytes: &[u8]) -> Range<usize> {
        let start = self.data.len();
        self.data.extend_from_slice(bytes);
        start..self.data.len()
    }

    /// Index of the first entry.
    #[must_use]
    pub fn first(&self) -> u64 {
        self.first
    }

    /// Index after the last entry.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.first.saturating_add(self.slots.len() as u64)
    }

    /// Whether it has no entries.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// The entries with their bodies, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], Option<BodyRef<'_>>)> {
        self.slots.iter().map(|slot| {
            let body = slot.body.as_ref();
            let body = body.map(|(salt, range)| BodyRef {
                salt,
                bytes: &self.data[range.clone()],
            });
            (&self.data[slot.entry.clone()], body)
        })
    }
}

/// Opens what an argument `URL|DIR` names.
///
/// # Errors
/// It is neither, or the directory can't be opened.
pub fn open_source(target: &str, connect: &ConnectArgs) -> Result<Box<dyn LogSource>, CliError> {
    if target.contains("://") {
        return Ok(Box::new(HttpLog::new(Client::connect(target, connect)?)));
    }
    let dir = Path::new(target);
    if !dir.is_dir() {
        return Err(CliError::Usage(format!(
            "{target}: neither a URL (https://host:port) nor a data directory of auditchaind"
        )));
    }
    Ok(Box::new(DirLog::open(dir)?))
}
