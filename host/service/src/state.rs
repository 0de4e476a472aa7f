//! What the sequencer knows of the log between two blocks, and how it comes by it:
//! at start, and after a failed write, everything is read back from the store.

use std::cell::RefCell;

use auditchain_log::json::EventView;
use auditchain_log::{
    ChainHash, Checkpoint, Entry, Hash, NodeReader, Payload, PolicyRecord, TILE_WIDTH, TileId,
    TreeEdge, TreeSize, leaf_hash, subtree_root,
};
use auditchain_sandbox::History;
use auditchain_store::{Chunk, Damage, Head, Store, StoreError, What};
use serde::{Deserialize, Serialize};

use crate::decode::{Kind, TagKey};
use crate::dedup::Dedup;

/// The log as of its last block.
#[derive(Debug)]
pub(crate) struct LogState {
    /// The log's name.
    pub(crate) origin: String,
    /// Entries.
    pub(crate) size: u64,
    /// Blocks.
    pub(crate) blocks: u64,
    /// Time of the last block.
    pub(crate) time_us: i64,
    /// After the last entry.
    pub(crate) chain: ChainHash,
    /// Right edge of the tree.
    pub(crate) edge: TreeEdge,
    /// What verdicts depend on.
    pub(crate) history: History,
    /// The log's public keys, as its `key` entries name them.
    pub(crate) keys: Vec<String>,
    /// Names the policy set in force: see [`crate::in_force::digest`].
    pub(crate) in_force: Option<Hash>,
    /// Policies in force that are suspended.
    pub(crate) suspended: Vec<PolicyRecord>,
    /// What is in the log already.
    pub(crate) dedup: Dedup,
    /// First entry that is in no frozen run.
    pub(crate) run_start: u64,
}

/// The window of stages while it is rebuilt: where it starts, and the block at hand.
struct Window {
    start: u64,
    block: Option<u64>,
}

/// What of the state is kept in the store's head: what can't be had cheaply from the
/// entries. JSON.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Kept {
    origin: String,
    history: History,
    keys: Vec<String>,
    in_force: Option<Hash>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    suspended: Vec<PolicyRecord>,
    runs: usize,
    run_start: u64,
}

impl LogState {
    /// An empty log.
    #[must_use]
    pub(crate) fn new(origin: &str) -> Self {
        Self {
            origin: origin.into(),
            size: 0,
            blocks: 0,
            time_us: i64::MIN,
            chain: ChainHash::genesis(origin),
            edge: TreeEdge::default(),
            history: History::default(),
            keys: Vec::new(),
            in_force: None,
            suspended: Vec::new(),
            dedup: Dedup::default(),
            run_start: 0,
        }
    }

    /// Reads the state back: the tree's edge from full tiles and the last entries,
    /// the windows from the entries that they cover.
    ///
    /// # Errors
    /// The store fails, or what it holds contradicts its head.
    pub(crate) fn load(head: &Head, tags: &TagKey, store: &impl Store) -> Result<Self, StoreError> {
        let kept: Kept =
            serde_json::from_slice(&head.state).map_err(|_| damaged(What::Head, None))?;
        let edge = TreeEdge::load(
            TreeSize(head.size),
            &StoredNodes {
                store,
                chunk: RefCell::default(),
            },
        )?;
        if edge.root() != head.root {
            return Err(damaged(What::Head, None));
        }
        let mut state = Self {
            origin: kept.origin,
            size: head.size,
            blocks: head.blocks,
            time_us: head.time_us,
            chain: ChainHash::resume(head.chain),
            edge,
            history: kept.history,
            keys: kept.keys,
            in_force: kept.in_force,
            suspended: kept.suspended,
            dedup: Dedup::load(kept.runs, store)?,
            run_start: kept.run_start,
        };
        let window_start = state.history.window_start().unwrap_or(head.size);
        state.history.begin_rebuild();
        let mut window = Window {
            start: window_start,
            block: None,
        };
        let mut index = kept.run_start.min(window_start);
        while index < head.size {
            let missing = || damaged(What::Entries, Some(index));
            let chunk = store.chunk_at(index)?.ok_or_else(missing)?;
            for i in index..chunk.end() {
                let damaged = || damaged(What::Entries, Some(i));
                let entry = Entry::parse(chunk.entry(i).ok_or_else(damaged)?);
                let entry = entry.map_err(|_| damaged())?;
                let body = chunk.body(i).map(|body| body.bytes);
                state.take_up(i, &entry, body, &mut window, tags);
            }
            index = chunk.end();
        }
        Ok(state)
    }

    /// Notes an entry that is in the log in the windows that cover it.
    fn take_up(
        &mut self,
        index: u64,
        entry: &Entry,
        body: Option<&[u8]>,
        window: &mut Window,
        tags: &TagKey,
    ) {
        let in_window = index >= window.start;
        if in_window && window.block.replace(entry.block) != Some(entry.block) {
            self.history.rebuild_block(index, entry.time.as_micros());
        }
        let (kind, source) = match &entry.payload {
            Payload::Event { source, event, .. } => {
                if in_window {
                    self.history.rebuild_event(source, event);
                }
                (Kind::Event, source)
            }
            Payload::Rejection { source, .. } => (Kind::Rejection, source),
            _ => return,
        };
        // An erased body has no tag: what was erased may be sent again.
        if let Some(body) = body.filter(|_| index >= self.run_start) {
            let time_us = match kind {
                Kind::Event => EventView::read(body).stage_timestamp_us(),
                Kind::Rejection => None,
            };
            self.dedup.add(tags.tag(kind, source, body), time_us, index);
        }
    }

    /// Freezes the newest run of the duplicate index if it is full; the blobs go into
    /// the block at hand.
    pub(crate) fn freeze_run(&mut self) -> Vec<(String, Vec<u8>)> {
        let blobs = self.dedup.freeze_if_full();
        if !blobs.is_empty() {
            self.run_start = self.size;
        }
        blobs
    }

    /// What is signed of this state.
    #[must_use]
    pub(crate) fn checkpoint(&self) -> Checkpoint {
        Checkpoint {
            origin: self.origin.clone(),
            size: TreeSize(self.size),
            root: self.edge.root(),
        }
    }

    /// The head to write with the block that led here, under its signed checkpoint.
    #[must_use]
    pub(crate) fn head(&self, checkpoint: &Checkpoint, note: &str) -> Head {
        let kept = Kept {
            origin: self.origin.clone(),
            history: self.history.clone(),
            keys: self.keys.clone(),
            in_force: self.in_force,
            suspended: self.suspended.clone(),
            runs: self.dedup.runs(),
            run_start: self.run_start,
        };
        Head {
            size: self.size,
            blocks: self.blocks,
            time_us: self.time_us,
            root: checkpoint.root,
            chain: self.chain.hash(),
            note: note.as_bytes().to_vec(),
            // A struct of strings and numbers: serialising it can't fail.
            state: serde_json::to_vec(&kept).unwrap_or_default(),
        }
    }
}

/// The nodes that the edge is rebuilt from: leaf hashes of entries, and above them
/// the roots of full tiles.
struct StoredNodes<'a, S> {
    store: &'a S,
    /// The chunk read last: up to 64 leaves in a row lie in one.
    chunk: RefCell<Option<Chunk>>,
}

impl<S: Store> StoredNodes<'_, S> {
    fn leaf(&self, index: u64) -> Result<Hash, StoreError> {
        let mut chunk = self.chunk.borrow_mut();
        if chunk
            .as_ref()
            .is_none_or(|chunk| !(chunk.first()..chunk.end()).contains(&index))
        {
            *chunk = self.store.chunk_at(index)?;
        }
        let entry = chunk.as_ref().and_then(|chunk| chunk.entry(index));
        let missing = || damaged(What::Entries, Some(index));
        entry.map(leaf_hash).ok_or_else(missing)
    }
}

impl<S: Store> NodeReader for StoredNodes<'_, S> {
    type Error = StoreError;

    fn node(&self, level: u8, index: u64) -> Result<Hash, StoreError> {
        if level == 0 {
            return self.leaf(index);
        }
        let id = TileId {
            level: level / 8 - 1,
            index,
        };
        let tile = self.store.tiles(&[id])?.pop().flatten();
        let hashes = tile
            .as_deref()
            .map(tile_hashes)
            .filter(|hashes| hashes.len() == TILE_WIDTH);
        Ok(subtree_root(
            &hashes.ok_or_else(|| damaged(What::Tile(id), None))?,
        ))
    }
}

/// The hashes of a stored tile; what doesn't fill a hash is left out.
#[must_use]
pub(crate) fn tile_hashes(bytes: &[u8]) -> Vec<Hash> {
    bytes
        .as_chunks::<{ Hash::LEN }>()
        .0
        .iter()
        .map(|hash| Hash(*hash))
        .collect()
}

/// What the store holds contradicts its head.
pub(crate) fn damaged(what: What, index: Option<u64>) -> StoreError {
    StoreError::Corrupt {
        what,
        index,
        damage: Damage::Inconsistent,
    }
}
