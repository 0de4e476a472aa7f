//! Makes what is derived from the log anew, beside the damaged store.
//!
//! ```text
//! step                                          a crash leaves
//! 1 copy the files into store.copy              store, store.copy
//! 2 all values but tiles into store.new         store, store.copy, store.new
//! 3 tiles, made from the entries, into it       the same
//! 4 rename store to store.damaged-<suffix>      store.damaged-..., store.new, which counts
//! 5 rename store.new to store                   the repaired store
//! ```
//! The damaged files are never opened: sled would cut them off. Up to step 4 the next open
//! removes what was made; step 4 is for the caller, once it has verified the copy.
//!
//! Only tiles are made anew. Everything else is copied as it is or, where sled can't read
//! it, not at all: then the repair fails and nothing has changed. That the entries are
//! those of the head is seen by their root.

use std::fs;
use std::ops::Bound;
use std::path::{Path, PathBuf};

use auditchain_log::{TileId, TreeEdge, leaf_hash};
use sled::Batch;

use crate::chunk::{self, Chunk};
use crate::compact::{self, BATCH_BYTES, COPY_DIR, NEW_DIR, rename};
use crate::copy::copy_files;
use crate::engine::{Engine, Fault, put, remove_unfinished_snapshots};
use crate::error::{Damage, StoreError, What};
use crate::frame::{self, Kind};
use crate::head::{self, Head};
use crate::head_file::{self, HeadFile};
use crate::keys;
use crate::lock::DirLock;
use crate::sled_store::{self, STORE_DIR, io_error, make_private_dir, sync};

/// A data directory under repair; nobody else has it open meanwhile.
#[derive(Debug)]
pub struct Repair {
    dir: PathBuf,
    suffix: String,
    _lock: DirLock,
}

impl Repair {
    /// Takes the directory. What is replaced is kept as `<name>.damaged-<suffix>`.
    ///
    /// # Errors
    /// No store, a running service on it, or I/O.
    pub fn begin(dir: &Path, suffix: &str) -> Result<Self, StoreError> {
        let not_found = || StoreError::NotFound {
            dir: dir.to_owned(),
        };
        compact::current(dir).ok_or_else(not_found)?;
        let lock = DirLock::take(dir)?;
        compact::settle(dir)?;
        Ok(Self {
            dir: dir.to_owned(),
            suffix: suffix.to_owned(),
            _lock: lock,
        })
    }

    /// Steps 1 to 3: makes the store anew beside the damaged one, and returns its head.
    ///
    /// # Errors
    /// More than tiles is damaged, or I/O. Nothing has changed then.
    pub fn rebuild(&self) -> Result<Head, StoreError> {
        let (copy, new) = (self.dir.join(COPY_DIR), self.dir.join(NEW_DIR));
        let store = self.dir.join(STORE_DIR);
        let head = copy_files(&store, &copy)
            .and_then(|()| copy_files(&store.join("blobs"), &copy.join("blobs")))
            .and_then(|()| copy_values(&self.dir, &copy, &new))
            .and_then(|()| make_tiles(&new));
        // Best effort: the next open removes them otherwise.
        let _ = fs::remove_dir_all(&copy);
        if head.is_err() {
            let _ = fs::remove_dir_all(&new);
        }
        head
    }

    /// A data directory at `to` with the store that was made anew, to be verified.
    ///
    /// # Errors
    /// I/O, or none was made.
    pub fn copy_rebuilt(&self, to: &Path) -> Result<(), StoreError> {
        copy_files(&self.dir.join(NEW_DIR), &to.join(STORE_DIR))?;
        make_private_dir(&to.join(STORE_DIR).join("blobs")).map_err(io_error("can't make", to))
    }

    /// Takes the store that was made anew away again.
    ///
    /// # Errors
    /// I/O.
    pub fn discard(&self) -> Result<(), StoreError> {
        compact::settle(&self.dir)
    }

    /// Steps 4 and 5: puts the new store in the damaged one's place, and says where that
    /// is kept.
    ///
    /// # Errors
    /// I/O, or none was made.
    pub fn swap(&self) -> Result<PathBuf, StoreError> {
        let kept = self.set_aside(STORE_DIR)?;
        // A crash here leaves no `store`: the next open goes on with this.
        compact::settle(&self.dir)?;
        Ok(kept)
    }

    /// Writes the file `checkpoint`; one that is there is kept beside it.
    ///
    /// # Errors
    /// I/O.
    pub fn write_checkpoint(&self, note: &[u8]) -> Result<Option<PathBuf>, StoreError> {
        let kept = match self.dir.join(head_file::FILE).exists() {
            true => Some(self.set_aside(head_file::FILE)?),
            false => None,
        };
        // A crash here leaves none, as if it had been missing.
        HeadFile::new(&self.dir).write(note)?;
        Ok(kept)
    }

    /// Removes snapshots of sled that were not written to their end.
    ///
    /// # Errors
    /// I/O.
    pub fn remove_unfinished_snapshots(&self) -> Result<(), StoreError> {
        let store = self.dir.join(STORE_DIR);
        remove_unfinished_snapshots(&store).map_err(io_error("can't clear", &store))
    }

    fn set_aside(&self, name: &str) -> Result<PathBuf, StoreError> {
        let kept = format!("{name}{}{}", compact::SET_ASIDE, self.suffix);
        rename(&self.dir, name, &kept)?;
        Ok(self.dir.join(kept))
    }
}

/// Step 2. Keys are put in before values: see `reserve`.
fn copy_values(dir: &Path, from: &Path, to: &Path) -> Result<(), StoreError> {
    let database = |fault: Fault| fault.on(What::Database, None);
    let old = Engine::open(from).map_err(database)?;
    sled_store::check_format(&old, dir)?;
    make_private_dir(to).map_err(io_error("can't make", to))?;
    let new = Engine::open(to).map_err(database)?;
    let (tiles, after) = keys::tiles();
    let others = [
        (Bound::Unbounded, Bound::Excluded(tiles.clone())),
        (Bound::Included(after.clone()), Bound::Unbounded),
    ];
    for range in &others {
        old.each_in(range.clone(), |key, _| new.reserve([key.to_vec()]))
            .map_err(database)?;
    }
    // Tiles to come; of a page that can't be read they are not missed.
    let ahead = (Bound::Included(tiles), Bound::Excluded(after));
    let _ = old.each_in(ahead, |key, _| new.reserve([key.to_vec()]));
    for range in others {
        let (mut batch, mut bytes) = (Batch::default(), 0);
        old.each_in(range, |key, value| {
            if value.is_empty() {
                return Ok(());
            }
            bytes += key.len() + value.len();
            batch.insert(key, value);
            if bytes >= BATCH_BYTES {
                bytes = 0;
                new.commit(std::mem::take(&mut batch))?;
            }
            Ok(())
        })
        .and_then(|()| new.commit(batch))
        .map_err(database)?;
    }
    Ok(())
}

/// Step 3, from what was copied, as it is read back from the file.
fn make_tiles(new: &Path) -> Result<Head, StoreError> {
    let engine = Engine::open(new).map_err(|fault| fault.on(What::Database, None))?;
    let head = engine
        .bytes(keys::HEAD, Kind::Head, head::CONTENT_BYTES_MAX)
        .and_then(|bytes| Ok(Head::decode(&bytes.ok_or(Damage::Missing)?)?))
        .map_err(|fault| fault.on(What::Head, None))?;
    let mut edge = TreeEdge::default();
    let mut tiles: Vec<(TileId, Vec<u8>)> = Vec::new();
    let mut index = 0;
    while index < head.size {
        let on_entries = |fault: Fault| fault.on(What::Entries, Some(index));
        let chunk = read_chunk(&engine, index).map_err(on_entries)?;
        let end = chunk.end().min(head.size);
        for at in index..end {
            let entry = chunk.entry(at).ok_or(Damage::Inconsistent);
            let entry = entry.map_err(|damage| on_entries(damage.into()))?;
            edge.push(leaf_hash(entry), &mut tiles);
        }
        index = end;
        if tiles.len() * crate::block::TILE_BYTES >= BATCH_BYTES || index == head.size {
            let mut batch = Batch::default();
            for (id, hashes) in tiles.drain(..) {
                let value = frame::stored(&sled_store::tile_frame(id, &hashes));
                put(&mut batch, &keys::tile(id), &value);
            }
            engine
                .commit(batch)
                .map_err(|fault| fault.on(What::Database, None))?;
        }
    }
    if edge.root() != head.root {
        return Err(Fault::from(Damage::Inconsistent).on(What::Entries, None));
    }
    drop(engine);
    sync(new.join("conf"))?;
    sync(new)?;
    Ok(head)
}

/// The chunk that begins at `index`.
fn read_chunk(engine: &Engine, index: u64) -> Result<Chunk, Fault> {
    let limit = chunk::BYTES_MAX;
    let (last, bytes) = engine
        .chunk(index, Kind::Chunk, limit)?
        .ok_or(Damage::Missing)?;
    let chunk = Chunk::from_frame(frame::decode(&bytes, Kind::Chunk, limit)?)?;
    if chunk.first() != index || chunk.end().checked_sub(1) != Some(last) {
        return Err(Damage::Misplaced.into());
    }
    Ok(chunk)
}
