//! One block under construction: entries are encoded, chained and hashed into the
//! tree in their order; what the store needs is collected on the way.

use std::sync::Arc;

use auditchain_log::{
    BodyCommitment, Entry, EntryError, Payload, SignerKey, TileId, Timestamp, body_hash, leaf_hash,
    sign_note,
};
use auditchain_store::{AppendError, BlockWrite, Body, Epoch, Head, Store, StoreError};

use crate::fresh::FreshError;
use crate::keys::{self, KeysError};
use crate::published::Published;
use crate::sequencer::Job;
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
    #[error(transparent)]
    Fresh(#[from] FreshError),
}

/// A block under construction. `state` runs ahead of the store until the block is
/// written; if it can't be, the state must be loaded again.
pub(crate) struct Block<'s> {
    state: &'s mut LogState,
    number: u64,
    time: Timestamp,
    size_before: u64,
    entries: Vec<Vec<u8>>,
    bodies: Vec<Option<BodyAt>>,
    tiles: Vec<(TileId, Vec<u8>)>,
    blobs: Vec<(String, Vec<u8>)>,
}

/// Where an entry's body is: in which of the requests that became the block, and which
/// event of it. The block owns no body, so none is copied on the way to the store.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BodyAt {
    pub(crate) job: usize,
    pub(crate) event: usize,
    pub(crate) salt: [u8; 32],
}

/// A block that is complete and signed, and not in the store yet.
pub(crate) struct SealedBlock {
    size_before: u64,
    head: Head,
    entries: Vec<Vec<u8>>,
    bodies: Vec<Option<BodyAt>>,
    tiles: Vec<(TileId, Vec<u8>)>,
    blobs: Vec<(String, Vec<u8>)>,
    /// What readers see once it is written.
    pub(crate) published: Arc<Published>,
}

impl<'s> Block<'s> {
    /// Starts the next block at the host's time, or at the time of the block before
    /// if the host's clock went back.
    pub(crate) fn start(state: &'s mut LogState, now_us: i64) -> Self {
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

    /// Adds an entry without body and returns its index.
    pub(crate) fn push(&mut self, payload: Payload) -> Result<u64, EntryError> {
        self.add(payload, None)
    }

    /// Adds an entry that commits to a body, with a salt drawn for it.
    pub(crate) fn push_with_body(
        &mut self,
        bytes: &[u8],
        (job, event): (usize, usize),
        payload: impl FnOnce(BodyCommitment) -> Payload,
    ) -> Result<u64, BlockError> {
        let salt = keys::random()?;
        let commitment = BodyCommitment {
            hash: body_hash(&salt, bytes),
            size: bytes.len() as u64,
        };
        let at = BodyAt { job, event, salt };
        Ok(self.add(payload(commitment), Some(at))?)
    }

    fn add(&mut self, payload: Payload, body: Option<BodyAt>) -> Result<u64, EntryError> {
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
            match self.state.watermarks.get_mut(source) {
                Some(watermark) => *watermark = us.max(*watermark),
                None => {
                    self.state.watermarks.insert(source.into(), us);
                }
            }
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

    /// Completes the block and signs the checkpoint over it. Nothing is in the store
    /// that is not signed; nothing signed is shown before it is in the store.
    pub(crate) fn seal(mut self, keys: &[SignerKey]) -> SealedBlock {
        self.blobs.extend(self.state.freeze_run());
        let checkpoint = self.state.checkpoint();
        let note = sign_note(&checkpoint.to_text(), keys);
        SealedBlock {
            size_before: self.size_before,
            head: self.state.head(&checkpoint, &note),
            entries: self.entries,
            bodies: self.bodies,
            tiles: self.tiles,
            blobs: self.blobs,
            published: Arc::new(Published::of(self.state, checkpoint, note)),
        }
    }
}

impl SealedBlock {
    /// Writes the block: one atomic write, one fsync. `jobs` are the requests that
    /// became it.
    ///
    /// A crash before this returns leaves the log as it was before the block, or with
    /// the whole block, whose senders were not answered and will send again: they
    /// find duplicates.
    ///
    /// # Errors
    /// See [`Store::append`].
    pub(crate) fn append(
        &self,
        jobs: &[Job],
        epoch: Epoch,
        store: &impl Store,
    ) -> Result<(), AppendError> {
        let entries: Vec<&[u8]> = self.entries.iter().map(Vec::as_slice).collect();
        let body = |at: &BodyAt| Body {
            salt: at.salt,
            // The places were taken from these very requests.
            bytes: jobs
                .get(at.job)
                .and_then(|job| job.work.body(at.event))
                .unwrap_or_default(),
        };
        let bodies: Vec<Option<Body<'_>>> =
            self.bodies.iter().map(|at| at.as_ref().map(body)).collect();
        let blobs: Vec<(&str, &[u8])> = self
            .blobs
            .iter()
            .map(|(name, bytes)| (name.as_str(), bytes.as_slice()))
            .collect();
        let write = BlockWrite {
            head: &self.head,
            entries: &entries,
            bodies: &bodies,
            tiles: &self.tiles,
            blobs: &blobs,
        };
        store.append(epoch, self.size_before, &write)
    }
}
