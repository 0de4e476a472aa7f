//! The contract between the sequencer and whatever keeps the log.
//!
//! It asks only for what sled, PostgreSQL and an object store can all keep, so that
//! another engine can take sled's place without the service noticing.
//!
//! Terms: an *entry* is a leaf of the log; its *body* is the event that the entry
//! commits to, kept beside the tree with a salt so that it can be erased; a *block* is
//! what one append adds; the *head* says where the log ends. **The head is the only
//! truth**: whatever else lies in the store past it is garbage and is never shown.

use std::fmt;

use auditchain_log::TileId;

use crate::chunk::Chunk;
use crate::chunker::EncodedChunk;
use crate::error::{AppendError, StoreError};
use crate::head::Head;

/// A writer's claim on the log. A later [`Store::acquire`] makes it void.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(u64);

impl Epoch {
    /// For engines: the number that was made durable by `acquire`.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What an entry commits to: `SHA-256(salt || bytes)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Body<'a> {
    /// Unguessable, one a body, so that an erased body can't be guessed from its hash.
    pub salt: [u8; 32],
    /// The event.
    pub bytes: &'a [u8],
}

/// One block, as it is appended.
#[derive(Debug, Clone, Copy)]
pub struct BlockWrite<'a> {
    /// The head after this block.
    pub head: &'a Head,
    /// The entries with their bodies, in order; at least one entry. Made by
    /// [`encode_chunks`](crate::encode_chunks), which may run before the append and on
    /// other threads.
    pub chunks: &'a [EncodedChunk],
    /// Entries of earlier blocks whose body and salt go with this block, in the same
    /// atomic write; each must have one. At most
    /// [`BLOCK_ERASE_MAX`](crate::limits::BLOCK_ERASE_MAX). Their entries stay.
    pub erase: &'a [u64],
    /// The tiles that became full with this block. A full tile is written once.
    pub tiles: &'a [(TileId, Vec<u8>)],
    /// Named values: modules, snapshots, runs of the duplicate index. Written once: a
    /// name that exists keeps its bytes, and giving it others is an error.
    pub blobs: &'a [(&'a str, &'a [u8])],
}

/// Where a log is kept.
///
/// # Durability
/// When [`acquire`](Self::acquire) or [`append`](Self::append) returns `Ok`, what it
/// wrote survives a crash of the process and the loss of power.
///
/// # Atomicity
/// A block is there whole or not at all, after any crash.
///
/// # Concurrency
/// All methods may be called from any thread at any time. There is one writer: appends
/// are serialised, and only the newest [`Epoch`] may append. Readers don't wait for a
/// writer's disk, unless they read a chunk at the moment in which a body of it is erased.
/// They see durable blocks only: an entry, body or tile past [`head`](Self::head) does
/// not exist for them, even while it is being written. An erasure may be seen before it
/// is durable.
///
/// # Damage
/// No stored byte makes a method panic or allocate more than the limits named in
/// [`limits`](crate::limits). What can't be read, or is missing below the head, is
/// [`StoreError::Corrupt`] with the index it concerns. The store's checksums find
/// accidents; against intent there are the hash chain and the tree, which the caller
/// verifies.
pub trait Store: Send + Sync + 'static {
    /// Takes the log over: a durable write that makes every former epoch void, so that
    /// a writer that was thought dead can't append any more.
    ///
    /// # Errors
    /// The write failed; no epoch has been given out.
    fn acquire(&self) -> Result<(Epoch, Option<Head>), StoreError>;

    /// Appends one block: one atomic write, one flush. On `Ok` it is on disk.
    ///
    /// `expected_size` is the size the caller built the block on; 0 for the first.
    ///
    /// # Errors
    /// See [`AppendError`]; every variant but `Unknown` promises that nothing was
    /// written. After `Unknown` the block is there or not: call `acquire` and compare
    /// the head it returns. If its size is the one intended, the block landed.
    fn append(
        &self,
        epoch: Epoch,
        expected_size: u64,
        block: &BlockWrite<'_>,
    ) -> Result<(), AppendError>;

    /// The durable end of the log; `None` before the first block.
    ///
    /// # Errors
    /// Damage or I/O.
    fn head(&self) -> Result<Option<Head>, StoreError>;

    /// The chunk that holds `index`, entries with their bodies; `None` past the head. A
    /// body that was erased is not there.
    ///
    /// # Errors
    /// Damage or I/O. A chunk missing below the head is damage.
    fn chunk_at(&self, index: u64) -> Result<Option<Chunk>, StoreError>;

    /// Full tiles in the order asked for; `None` for one that is not full at the head
    /// or was never written.
    ///
    /// # Errors
    /// Damage or I/O.
    fn tiles(&self, ids: &[TileId]) -> Result<Vec<Option<Vec<u8>>>, StoreError>;

    /// A named value.
    ///
    /// # Errors
    /// Damage or I/O.
    fn blob(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError>;

    /// The names that begin with `prefix`, in order.
    ///
    /// # Errors
    /// Damage or I/O.
    fn blob_names(&self, prefix: &str) -> Result<Vec<String>, StoreError>;
}
