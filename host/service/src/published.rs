//! What readers see: the last committed checkpoint and a reader over its tree.

use std::sync::Arc;

use arc_swap::ArcSwap;
use auditchain_log::{
    Checkpoint, EntryBundle, Hash, PolicyRecord, RbacRecord, TILE_WIDTH, TileId, TileReader,
    TileRef, TreeEdge, TreeSize,
};
use auditchain_store::{Store, StoreError, What};

use crate::state::{LogState, damaged, tile_hashes};

/// One committed state of the log. Never changes; the next one takes its place.
#[derive(Debug)]
pub(crate) struct Published {
    /// What is signed.
    pub(crate) checkpoint: Checkpoint,
    /// The signed note.
    pub(crate) note: String,
    /// Right edge of the tree.
    pub(crate) edge: TreeEdge,
    /// Blocks so far.
    pub(crate) blocks: u64,
    /// Time of the last block.
    pub(crate) time_us: i64,
    /// Newest stageTimestamp accepted, by source.
    pub(crate) watermarks: Vec<(String, i64)>,
    /// The policies in force.
    pub(crate) policies: Vec<PolicyRecord>,
    /// The RBAC snapshots that events are judged by, the oldest first.
    pub(crate) snapshots: Vec<RbacRecord>,
}

/// Where the newest [`Published`] is found.
pub(crate) type Latest = Arc<ArcSwap<Published>>;

impl Published {
    /// Before the first block: nothing, signed by nobody.
    #[must_use]
    pub(crate) fn empty(origin: &str) -> Self {
        let edge = TreeEdge::default();
        let checkpoint = Checkpoint {
            origin: origin.into(),
            size: TreeSize(0),
            root: edge.root(),
        };
        Self {
            checkpoint,
            note: String::new(),
            edge,
            blocks: 0,
            time_us: 0,
            watermarks: Vec::new(),
            policies: Vec::new(),
            snapshots: Vec::new(),
        }
    }

    /// The state as of a commit, under its signed checkpoint.
    pub(crate) fn of(state: &LogState, checkpoint: Checkpoint, note: String) -> Self {
        Self {
            checkpoint,
            note,
            edge: state.edge.clone(),
            blocks: state.blocks,
            time_us: state.time_us,
            watermarks: state
                .history
                .watermarks()
                .map(|(source, us)| (source.to_owned(), us))
                .collect(),
            policies: state
                .history
                .policies()
                .map(|in_force| in_force.policies.clone())
                .unwrap_or_default(),
            snapshots: state.history.snapshots().to_vec(),
        }
    }

    /// Entries covered.
    #[must_use]
    pub(crate) fn size(&self) -> u64 {
        self.checkpoint.size.0
    }

    /// The bytes of a tile or an entry bundle; none if the tree hasn't that many.
    ///
    /// # Errors
    /// The store fails or is damaged.
    pub(crate) fn tile_bytes(
        &self,
        tile: TileRef,
        store: &impl Store,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let (level, index, width) = match tile {
            TileRef::Hashes { id, width } => (id.level, id.index, width),
            TileRef::Entries { index, width } => (0, index, width),
        };
        let count = u32::from(level)
            .checked_mul(8)
            .and_then(|bits| self.size().checked_shr(bits))
            .unwrap_or(0);
        let first = index.checked_mul(TILE_WIDTH as u64);
        let end = first
            .and_then(|first| first.checked_add(width as u64))
            .filter(|end| *end <= count);
        let (Some(first), Some(end)) = (first, end) else {
            return Ok(None);
        };
        if let TileRef::Hashes { id, width } = tile {
            let reader = PublishedTiles {
                published: self,
                store,
            };
            let hashes = reader.tile(id, width)?;
            return Ok(Some(
                hashes[..width].iter().flat_map(|hash| hash.0).collect(),
            ));
        }
        let mut bundle = EntryBundle::default();
        for_entries(first, end, store, |index, entry| {
            bundle
                .push(entry)
                .map_err(|_| damaged(What::Entries, Some(index)))
        })?;
        Ok(Some(bundle.into_bytes()))
    }
}

/// Calls `each` with the entries `first` to `end`.
///
/// # Errors
/// Those of `each` and of the store; an entry that is missing is damage.
pub(crate) fn for_entries(
    first: u64,
    end: u64,
    store: &impl Store,
    mut each: impl FnMut(u64, &[u8]) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let mut index = first;
    while index < end {
        let chunk = store
            .chunk_at(index)?
            .ok_or_else(|| damaged(What::Entries, Some(index)))?;
        for i in index..chunk.end().min(end) {
            let entry = chunk.entry(i);
            each(i, entry.ok_or_else(|| damaged(What::Entries, Some(i)))?)?;
        }
        index = chunk.end();
    }
    Ok(())
}

/// The tree of a [`Published`]: full tiles from the store, partial ones from its edge.
pub(crate) struct PublishedTiles<'a, S> {
    /// Which tree.
    pub(crate) published: &'a Published,
    /// Where its full tiles are.
    pub(crate) store: &'a S,
}

impl<S: Store> TileReader for PublishedTiles<'_, S> {
    type Error = StoreError;

    fn tile(&self, id: TileId, width: usize) -> Result<Vec<Hash>, StoreError> {
        let hashes_at_level = self.published.size() >> (8 * u32::from(id.level)).min(63);
        let hashes = if id.index < hashes_at_level / TILE_WIDTH as u64 {
            let tile = self.store.tiles(&[id])?.pop().flatten();
            tile.as_deref().map(tile_hashes).unwrap_or_default()
        } else {
            self.published.edge.partial(id.level).to_vec()
        };
        if hashes.len() < width {
            Err(damaged(What::Tile(id), None))
        } else {
            Ok(hashes)
        }
    }
}
