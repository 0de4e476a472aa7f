//! What can go wrong, by what the caller can do about it.

use std::fmt;
use std::io;
use std::path::PathBuf;

use auditchain_log::TileId;

use crate::contract::Epoch;
use crate::limits;

/// A stored thing that damage is reported of.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum What {
    /// The database as a whole.
    Database,
    /// The marker of the store's format.
    Format,
    /// The epoch.
    Epoch,
    /// The head.
    Head,
    /// A chunk: entries with their bodies.
    Entries,
    /// A tile.
    Tile(TileId),
    /// A named value.
    Blob(String),
    /// The list of named values.
    BlobNames,
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Database => f.write_str("the database"),
            Self::Format => f.write_str("the format marker"),
            Self::Epoch => f.write_str("the epoch"),
            Self::Head => f.write_str("the head"),
            Self::Entries => f.write_str("entries"),
            Self::Tile(id) => write!(f, "tile {}/{}", id.level, id.index),
            Self::Blob(name) => write!(f, "blob {name}"),
            Self::BlobNames => f.write_str("the list of blobs"),
        }
    }
}

/// What is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Damage {
    /// It should be there and is not.
    Missing,
    /// It is cut off, or a part of it is missing.
    Truncated,
    /// Its checksum does not match.
    Checksum,
    /// It says it is something else, or belongs elsewhere.
    Misplaced,
    /// It claims a size beyond the named limits.
    OverLimit,
    /// Its fields contradict each other.
    Inconsistent,
    /// A format, codec or dictionary that this version doesn't know.
    UnknownFormat(u32),
    /// It does not decompress to the size it states.
    Compression,
    /// The engine under the store reports damage.
    Engine(String),
    /// The engine under the store panicked, which damaged files make it do.
    Panicked(String),
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("missing"),
            Self::Truncated => f.write_str("cut off"),
            Self::Checksum => f.write_str("checksum mismatch"),
            Self::Misplaced => f.write_str("not what belongs there"),
            Self::OverLimit => f.write_str("claims a size beyond the limit"),
            Self::Inconsistent => f.write_str("contradicts itself"),
            Self::UnknownFormat(code) => write!(f, "unknown format {code}"),
            Self::Compression => f.write_str("does not decompress"),
            Self::Engine(why) => write!(f, "sled: {why}"),
            Self::Panicked(why) => write!(f, "sled panicked: {why}"),
        }
    }
}

/// The store can't answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Another process has the directory open.
    #[error(
        "{dir} is in use by another process: stop the auditchaind that runs on it, or work on a copy of the directory"
    )]
    Locked {
        /// The data directory.
        dir: PathBuf,
    },
    /// There is no store, and it was not to be made.
    #[error("{dir} holds no store: expected a directory `store` that auditchaind made")]
    NotFound {
        /// The data directory.
        dir: PathBuf,
    },
    /// The store was made by another release.
    #[error(
        "{dir} holds a store of format {found}, and this release reads format {known} only: read it with the release that wrote it, and start this one on an empty directory"
    )]
    OtherFormat {
        /// The data directory.
        dir: PathBuf,
        /// What the store says.
        found: u32,
        /// What this release writes.
        known: u32,
    },
    /// A flush did not reach the disk.
    #[error(
        "refusing to run without durable writes: sled's flush did not end in fdatasync, so an acknowledged event could be lost with the power. The program was linked in a way that lets libc's sync_file_range win over auditchain's; build it as the README says"
    )]
    NotDurable,
    /// sled put values into files that it never syncs.
    #[error(
        "{dir} holds {count} file(s), which sled never syncs: their loss with the power can't be excluded. Restore the store from a copy, and report this as a bug"
    )]
    Spilled {
        /// sled's blobs directory.
        dir: PathBuf,
        /// Files in it.
        count: usize,
    },
    /// Something stored is damaged.
    #[error("{what}{}: {damage}", at(.index))]
    Corrupt {
        /// What is damaged.
        what: What,
        /// The entry it concerns, where it concerns one.
        index: Option<u64>,
        /// What is wrong with it.
        damage: Damage,
    },
    /// A write failed earlier; what is on disk is only known after a reopen.
    #[error(
        "an earlier write failed, and what reached the disk is unknown: restart the service to reopen the store"
    )]
    Failed,
    /// The operating system refused something.
    #[error("{context}: {source}")]
    Io {
        /// What was being done, to which path.
        context: String,
        /// Why it failed.
        source: io::Error,
    },
    /// The engine refused something that isn't damage.
    #[error("sled: {0}")]
    Engine(String),
}

fn at(index: &Option<u64>) -> String {
    index.map_or_else(String::new, |index| format!(" at index {index}"))
}

/// An append did not succeed. All variants but [`Unknown`](Self::Unknown) promise that
/// nothing was written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// Another writer took over. Fatal for this one.
    #[error("epoch {held} is void: another writer acquired the log")]
    Fenced {
        /// The caller's epoch.
        held: Epoch,
    },
    /// The log is not where the caller believes. Build the block anew.
    #[error("the block was built on size {expected}, but the log has {actual} entries")]
    Stale {
        /// What the caller expected.
        expected: u64,
        /// What the log has.
        actual: u64,
    },
    /// The block may or may not have landed: `acquire` tells.
    #[error("the outcome of the append is unknown: {0}")]
    Unknown(#[source] StoreError),
    /// No room. The same append may succeed later.
    #[error("the disk is full: {needed} bytes are needed, {available} are free")]
    Full {
        /// What the append asks for.
        needed: u64,
        /// What there is.
        available: u64,
    },
    /// The block breaks the contract. A bug of the caller.
    #[error("the block is invalid: {0}")]
    Invalid(#[from] InvalidBlock),
    /// Reading what the append needs to know failed.
    #[error("nothing appended: {0}")]
    Store(#[source] StoreError),
}

/// How a block breaks the contract.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidBlock {
    /// No entries.
    #[error("it has no entries")]
    Empty,
    /// Too many entries.
    #[error("it has {0} entries, over {max}", max = limits::BLOCK_ENTRIES_MAX)]
    Entries(usize),
    /// Too many bytes.
    #[error("it has {0} bytes, over {max}", max = limits::BLOCK_BYTES_MAX)]
    Bytes(usize),
    /// The head does not follow from the one before and the entries.
    #[error("its head's {0} does not follow from the head before")]
    Head(&'static str),
    /// The head's note is too large.
    #[error("the head's note has {0} bytes, over {max}", max = limits::NOTE_BYTES_MAX)]
    Note(usize),
    /// The head's state is too large.
    #[error("the head's state has {0} bytes, over {max}", max = limits::STATE_BYTES_MAX)]
    State(usize),
    /// An entry is empty or too large.
    #[error("entry {index} has {bytes} bytes, not 1 to {max}", max = limits::ENTRY_BYTES_MAX)]
    Entry {
        /// Index of the entry.
        index: u64,
        /// Its bytes.
        bytes: usize,
    },
    /// The chunks don't follow each other, or not the log.
    #[error("a chunk begins at {first}, where {expected} is expected")]
    Chunk {
        /// Where it begins.
        first: u64,
        /// Where it should.
        expected: u64,
    },
    /// Too much to erase at once.
    #[error("it erases {bodies} bodies in {chunks} chunks, over {max} in {chunks_max}: erase the rest with the next blocks", max = limits::BLOCK_ERASE_MAX, chunks_max = limits::BLOCK_ERASE_CHUNKS_MAX)]
    EraseMany {
        /// Bodies.
        bodies: usize,
        /// Chunks that would be rewritten.
        chunks: usize,
    },
    /// There is no body to erase: it never had one, it was erased, or it is not in the
    /// log yet.
    #[error("entry {0} has no body to erase")]
    EraseNothing(u64),
    /// A body is too large.
    #[error("the body of entry {index} has {bytes} bytes, over {max}", max = limits::BODY_BYTES_MAX)]
    Body {
        /// Index of the entry.
        index: u64,
        /// Its bytes.
        bytes: usize,
    },
    /// A tile is not 8,192 bytes, or is not full at the new head, or was full before.
    #[error("tile {}/{} is not one that this block completes", .0.level, .0.index)]
    Tile(TileId),
    /// A blob's name is not 1 to 128 of `a-z 0-9 . _ - /`.
    #[error("{0:?} is no name for a blob")]
    BlobName(String),
    /// A blob is too large.
    #[error("blob {name} has {bytes} bytes, over {max}", max = limits::BLOB_BYTES_MAX)]
    Blob {
        /// Its name.
        name: String,
        /// Its bytes.
        bytes: usize,
    },
    /// The name is taken by other bytes.
    #[error("blob {0} exists with other bytes, and blobs are written once")]
    BlobExists(String),
}
