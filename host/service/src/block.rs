//! One block under construction: entries are encoded, chained and hashed into the
//! tree in their order; what the store needs is collected on the way.

use std::collections::BTreeMap;
use std::sync::Arc;

use auditchain_log::{
    BodyCommitment, EntryError, Hash, Payload, SignerKey, TileId, Timestamp, leaf_hash, sign_note,
};
use auditchain_store::{
    AppendError, BlockWrite, ChunkError, Chunker, EncodedChunk, Epoch, EventParts, Head, Store,
    StoreError, encode_chunks,
};

use crate::fresh::FreshError;
use crate::in_force::{self, Changes};
use crate::keys::{self, KeysError};
use crate::published::Published;
use crate::state::LogState;
use crate::suspension;

/// Why a block was not written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BlockError {
    #[error(transparent)]
    Append(#[from] AppendError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Entry(#[from] EntryError),
    #[error(transparent)]
    Keys(#[from] KeysError),
    #[error(transparent)]
    Fresh(#[from] FreshError),
}

impl From<ChunkError> for BlockError {
    fn from(error: ChunkError) -> Self {
        match error {
            ChunkError::Entry(error) => Self::Entry(error),
            ChunkError::Invalid(error) => Self::Append(error.into()),
            // Of a newer store; it says itself what it is.
            error => Self::Entry(EntryError::Json(error.to_string())),
        }
    }
}

/// A block under construction. `state` runs ahead of the store until the block is
/// written; if it can't be, the state must be loaded again.
pub(crate) struct Block<'a> {
    state: &'a mut LogState,
    number: u64,
    time: Timestamp,
    size_before: u64,
    chunker: Chunker<'a>,
    tiles: Vec<(TileId, Vec<u8>)>,
    blobs: Vec<(String, Vec<u8>)>,
    erase: Vec<u64>,
}

/// A block that is complete and signed, and not in the store yet.
pub(crate) struct SealedBlock {
    size_before: u64,
    head: Head,
    chunks: Vec<EncodedChunk>,
    tiles: Vec<(TileId, Vec<u8>)>,
    blobs: Vec<(String, Vec<u8>)>,
    erase: Vec<u64>,
    /// What readers see once it is written.
    pub(crate) published: Arc<Published>,
}

impl<'a> Block<'a> {
    /// Starts the next block at the host's time, or at the time of the block before
    /// if the host's clock went back.
    ///
    /// # Errors
    /// The system gives no randomness, of which a block's salts are made.
    pub(crate) fn start(state: &'a mut LogState, now_us: i64) -> Result<Self, KeysError> {
        let number = state.blocks;
        let time = Timestamp::from_micros(now_us.max(state.time_us));
        let size_before = state.size;
        let chunker = Chunker::new(size_before, number, time, state.chain, keys::random()?);
        state.blocks += 1;
        state.time_us = time.as_micros();
        Ok(Self {
            state,
            number,
            time,
            size_before,
            chunker,
            tiles: vec![],
            blobs: vec![],
            erase: vec![],
        })
    }

    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    pub(crate) fn time_us(&self) -> i64 {
        self.time.as_micros()
    }

    pub(crate) fn state(&mut self) -> &mut LogState {
        self.state
    }

    /// Adds an entry without a body and returns its index.
    pub(crate) fn push(&mut self, payload: Payload) -> Result<u64, ChunkError> {
        let entry = self.chunker.push(payload)?;
        Ok(self.add(&entry))
    }

    /// Adds an event, with a salt made for it.
    pub(crate) fn push_event(
        &mut self,
        parts: EventParts<'_>,
        body: &'a [u8],
    ) -> Result<u64, ChunkError> {
        let entry = self.chunker.push_event(parts, body)?;
        Ok(self.add(&entry))
    }

    /// Adds another entry that commits to a body, with a salt made for it.
    pub(crate) fn push_with_body(
        &mut self,
        body: &'a [u8],
        payload: impl FnOnce(BodyCommitment) -> Payload,
    ) -> Result<u64, ChunkError> {
        let entry = self.chunker.push_with_body(body, payload)?;
        Ok(self.add(&entry))
    }

    fn add(&mut self, entry: &[u8]) -> u64 {
        let index = self.state.size;
        self.state.chain = self.chunker.chain();
        self.state.edge.push(leaf_hash(entry), &mut self.tiles);
        self.state.size += 1;
        index
    }

    /// Takes up what this block puts in force: for its own seal and events already.
    pub(crate) fn take_up(&mut self, changes: &Changes) {
        for payload in &changes.entries {
            self.state.history.put_in_force(payload);
        }
        if let Some(policies) = self.state.history.policies() {
            self.state.in_force = Some(in_force::digest(policies));
            self.state.suspended = suspension::suspended(policies);
        }
    }

    /// Adds the entries that say so, and keeps the values that they name.
    pub(crate) fn write_changes(&mut self, changes: Changes) -> Result<(), ChunkError> {
        for payload in changes.entries {
            self.push(payload)?;
        }
        // The same module twice, or settings that were in force before: kept once.
        let kept: BTreeMap<Hash, Vec<u8>> = changes.kept.into_iter().collect();
        for (digest, bytes) in kept {
            self.keep(format!("sha256/{digest}"), bytes);
        }
        Ok(())
    }

    /// Notes an event that this block writes.
    pub(crate) fn accept(&mut self, index: u64, tag: u64, stage_time_us: Option<i64>) {
        self.state.dedup.add(tag, stage_time_us, index);
    }

    /// Notes a refused request that this block writes.
    pub(crate) fn note_rejection(&mut self, index: u64, tag: u64) {
        self.state.dedup.add(tag, None, index);
    }

    /// Keeps a value by the digest that an entry of this block names.
    pub(crate) fn keep(&mut self, name: String, bytes: Vec<u8>) {
        self.blobs.push((name, bytes));
    }

    /// Erases bodies of earlier blocks with this one; an entry of it says so.
    pub(crate) fn erase(&mut self, bodies: Vec<u64>) {
        self.erase.extend(bodies);
    }

    /// Completes the block, compressed, and signs the checkpoint over it. Nothing is in
    /// the store that is not signed; nothing signed is shown before it is in the store.
    pub(crate) fn seal<'k>(mut self, keys: impl IntoIterator<Item = &'k SignerKey>) -> SealedBlock {
        self.blobs.extend(self.state.freeze_run());
        let checkpoint = self.state.checkpoint();
        let note = sign_note(&checkpoint.to_text(), keys);
        SealedBlock {
            size_before: self.size_before,
            head: self.state.head(&checkpoint, &note),
            chunks: encode_chunks(&self.chunker.finish()),
            tiles: self.tiles,
            blobs: self.blobs,
            erase: self.erase,
            published: Arc::new(Published::of(self.state, checkpoint, note)),
        }
    }
}

impl SealedBlock {
    /// Writes the block: one atomic write, one fsync.
    ///
    /// A crash before this returns leaves the log as it was before the block, or with
    /// the whole block, whose senders were not answered and will send again: they
    /// find duplicates.
    ///
    /// # Errors
    /// See [`Store::append`].
    pub(crate) fn append(&self, epoch: Epoch, store: &impl Store) -> Result<(), AppendError> {
        let blobs: Vec<(&str, &[u8])> = self
            .blobs
            .iter()
            .map(|(name, bytes)| (name.as_str(), bytes.as_slice()))
            .collect();
        let write = BlockWrite {
            head: &self.head,
            chunks: &self.chunks,
            erase: &self.erase,
            tiles: &self.tiles,
            blobs: &blobs,
        };
        store.append(epoch, self.size_before, &write)
    }
}
