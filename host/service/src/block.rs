//! One block under construction: entries are encoded, chained and hashed into the
//! tree in their order; what the store needs is collected on the way.

use auditchain_log::{
    BodyCommitment, Entry, EntryError, Payload, SignerKey, TileId, Timestamp, body_hash, leaf_hash,
    sign_note,
};
use auditchain_store::{AppendError, BlockWrite, Body, Epoch, Store, StoreError};

use crate::keys::{self, KeysError};
use crate::published::Published;
use crate::state::LogState;

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
}

/// A block that is not in the store yet. `state` runs ahead of the store until
/// [`Self::append`] succeeds; if it fails, the state must be loaded again.
pub(crate) struct Block<'a> {
    state: &'a mut LogState,
    number: u64,
    time: Timestamp,
    size_before: u64,
    entries: Vec<Vec<u8>>,
    bodies: Vec<Option<Body<'a>>>,
    tiles: Vec<(TileId, Vec<u8>)>,
    blobs: Vec<(String, Vec<u8>)>,
}

impl<'a> Block<'a> {
    /// Starts the next block at the host's time, or at the time of the block before
    /// if the host's clock went back.
    pub(crate) fn start(state: &'a mut LogState, now_us: i64) -> Self {
        let number = state.blocks;
        let time = Timestamp::from_micros(now_us.max(state.time_us));
        let size_before = state.size;
        state.blocks += 1;
        state.time_us = time.as_micros();
        Self {
            state,
            number,
            time,
            size_before,
            entries: vec![],
            bodies: vec![],
            tiles: vec![],
            blobs: vec![],
        }
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

    /// Adds an entry and returns its index.
    pub(crate) fn push(
        &mut self,
        payload: Payload,
        body: Option<Body<'a>>,
    ) -> Result<u64, EntryError> {
        let prev = self.state.chain.hash();
        let entry = Entry {
            block: self.number,
            time: self.time,
            prev,
            payload,
        };
        let bytes = entry.encode()?;
        let index = self.state.size;
        self.state.chain = self.state.chain.next(&bytes);
        self.state.edge.push(leaf_hash(&bytes), &mut self.tiles);
        self.state.size += 1;
        self.entries.push(bytes);
        self.bodies.push(body);
        Ok(index)
    }

    /// Adds an entry that commits to a body, with a salt drawn for it.
    pub(crate) fn push_with_body(
        &mut self,
        bytes: &'a [u8],
        payload: impl FnOnce(BodyCommitment) -> Payload,
    ) -> Result<u64, BlockError> {
        let salt = keys::random()?;
        let commitment = BodyCommitment {
            hash: body_hash(&salt, bytes),
            size: bytes.len() as u64,
        };
        Ok(self.push(payload(commitment), Some(Body { salt, bytes }))?)
    }

    /// Notes an event that this block writes. Only what was accepted moves the
    /// source's watermark, and never past the block's time: a sender whose clock runs
    /// ahead must not make its later events look backdated.
    pub(crate) fn accept(
        &mut self,
        source: &str,
        index: u64,
        tag: u64,
        stage_time_us: Option<i64>,
        valid: bool,
    ) {
        self.state.dedup.add(tag, stage_time_us, index);
        if let Some(us) = stage_time_us.filter(|_| valid) {
            let us = us.min(self.time.as_micros());
            let watermark = self.state.watermarks.entry(source.into()).or_insert(us);
            *watermark = us.max(*watermark);
        }
    }

    /// Notes a refused request that this block writes.
    pub(crate) fn note_rejection(&mut self, index: u64, tag: u64) {
        self.state.dedup.add(tag, None, index);
    }

    /// Keeps a value by the digest that an entry of this block names.
    pub(crate) fn keep(&mut self, name: String, bytes: Vec<u8>) {
        self.blobs.push((name, bytes));
    }

    /// Signs the checkpoint and writes the block under it: one atomic write, one fsync.
    /// Nothing is in the store that is not signed; nothing signed is shown before it is
    /// in the store.
    ///
    /// A crash before this returns leaves the log as it was before the block, or with
    /// the whole block, whose senders were not answered and will send again: they
    /// find duplicates.
    pub(crate) fn append(
        mut self,
        keys: &[SignerKey],
        epoch: Epoch,
        store: &impl Store,
    ) -> Result<Published, AppendError> {
        self.blobs.extend(self.state.freeze_run());
        let checkpoint = self.state.checkpoint();
        let note = sign_note(&checkpoint.to_text(), keys);
        let head = self.state.head(&checkpoint, &note);
        let entries: Vec<&[u8]> = self.entries.iter().map(Vec::as_slice).collect();
        let blobs: Vec<(&str, &[u8])> = self
            .blobs
            .iter()
            .map(|(name, bytes)| (name.as_str(), bytes.as_slice()))
            .collect();
        let write = BlockWrite {
            head: &head,
            entries: &entries,
            bodies: &self.bodies,
            tiles: &self.tiles,
            blobs: &blobs,
        };
        store.append(epoch, self.size_before, &write)?;
        Ok(Published::of(self.state, checkpoint, note))
    }
}
