//! Gives back the room of what is no longer there, and makes erased bytes really go.
//!
//! sled never overwrites in place: what was erased stays in its file until the room is
//! reused. So all that is alive is copied into a new database, which takes the place of
//! the old one.
//!
//! ```text
//! step                                      a crash leaves        the next open
//! 1 copy into store.new, sync               store, store.new      removes store.new
//! 2 rename store to store.old, sync         store.old, store.new  goes on with step 3
//! 3 rename store.new to store, sync         store, store.old      goes on with step 4
//! 4 remove store.old, sync                  store                 -
//! ```
//! Step 2 comes only after the copy was compared with the original and is on disk, so
//! where `store` is missing but `store.old` is there, `store.new` is whole.
//!
//! A first start goes the same way, since sled doesn't open what it leaves of a database
//! that it was making when it was cut off: made as `store.new`, synced, renamed. Until
//! then there is neither `store` nor `store.old`, and the next start removes it.
//!
//! Removing a file does not overwrite its blocks: whoever must exclude that they are read
//! back from the raw disk needs a disk that is encrypted.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use sled::Batch;

use crate::engine::{Engine, Fault};
use crate::error::{Damage, StoreError, What};
use crate::lock::DirLock;
use crate::sled_store::{self, STORE_DIR, io_error, make_private_dir, sync};

const NEW_DIR: &str = "store.new";
const OLD_DIR: &str = "store.old";
/// Bytes copied by one batch: as much as a large block.
const BATCH_BYTES: usize = 4 << 20;

/// What a compaction did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compaction {
    /// Bytes of the database before.
    pub bytes_before: u64,
    /// And after.
    pub bytes_after: u64,
}

/// Copies all that is alive of the store in `dir` into a new database and puts it in the
/// place of the old one. Nobody may have the store open; the disk needs room for both.
/// If it fails, the old store is as it was.
///
/// # Errors
/// No store, a running service on it, damage, or I/O.
pub fn compact(dir: &Path) -> Result<Compaction, StoreError> {
    if current(dir).is_none() {
        return Err(StoreError::NotFound {
            dir: dir.to_owned(),
        });
    }
    let _lock = DirLock::take(dir)?;
    settle(dir)?;
    let (store, new) = (dir.join(STORE_DIR), dir.join(NEW_DIR));
    let bytes_before = database_bytes(&store)?;
    if let Err(error) = copy(dir, &store, &new) {
        // Best effort: the next open removes it otherwise.
        let _ = fs::remove_dir_all(&new);
        return Err(error);
    }
    let bytes_after = database_bytes(&new)?;
    rename(dir, STORE_DIR, OLD_DIR)?;
    settle(dir)?;
    Ok(Compaction {
        bytes_before,
        bytes_after,
    })
}

/// Makes an empty database. The caller holds the lock, and has settled the directory.
pub(crate) fn make_first(dir: &Path) -> Result<(), StoreError> {
    let new = dir.join(NEW_DIR);
    make_private_dir(&new).map_err(io_error("can't make", &new))?;
    let engine = Engine::open(&new).map_err(|fault| fault.on(What::Database, None))?;
    sled_store::count_opening(&engine, dir)?;
    drop(engine);
    sync(new.join("conf"))?;
    sync(&new)?;
    rename(dir, NEW_DIR, STORE_DIR)
}

/// Ends what a first start or a compaction that was broken off left. The caller holds the lock.
pub(crate) fn settle(dir: &Path) -> Result<(), StoreError> {
    let (store, new, old) = (dir.join(STORE_DIR), dir.join(NEW_DIR), dir.join(OLD_DIR));
    if !store.exists() && old.exists() {
        // Without a new one, the old one is all there is.
        rename(dir, if new.exists() { NEW_DIR } else { OLD_DIR }, STORE_DIR)?;
    }
    for left_over in [new, old] {
        if left_over.exists() {
            tracing::info!(dir = %left_over.display(), "removing what was left half-made");
            fs::remove_dir_all(&left_over).map_err(io_error("can't remove", &left_over))?;
            sync(dir)?;
        }
    }
    Ok(())
}

/// The directory that the store is read from, changing nothing; `None` if there is no
/// store.
pub(crate) fn current(dir: &Path) -> Option<PathBuf> {
    let store = dir.join(STORE_DIR);
    let swapping = !store.exists() && dir.join(OLD_DIR).exists();
    let current = match swapping {
        false => store,
        true => [NEW_DIR, OLD_DIR]
            .map(|name| dir.join(name))
            .into_iter()
            .find(|path| path.exists())?,
    };
    current.join("db").is_file().then_some(current)
}

fn copy(dir: &Path, from: &Path, to: &Path) -> Result<(), StoreError> {
    let database = |fault: Fault| fault.on(What::Database, None);
    let old = Engine::open(from).map_err(database)?;
    // Only what this release understands is copied.
    sled_store::check_format(&old, dir)?;
    make_private_dir(to).map_err(io_error("can't make", to))?;
    let new = Engine::open(to).map_err(database)?;
    // Keys first, so that each value is written once: see `reserve`.
    old.each(|key, _| new.reserve([key.to_vec()]))
        .map_err(database)?;
    let (mut batch, mut bytes, mut values) = (Batch::default(), 0, 0_u64);
    old.each(|key, value| {
        bytes += key.len() + value.len();
        values += 1;
        if value.is_empty() {
            return Ok(()); // reserved
        }
        batch.insert(key, value);
        if bytes >= BATCH_BYTES {
            bytes = 0;
            new.commit(std::mem::take(&mut batch))?;
        }
        Ok(())
    })
    .and_then(|()| new.commit(batch))
    .map_err(database)?;
    drop(new);

    // Read back from the file, not from sled's cache.
    let new = Engine::open(to).map_err(database)?;
    let mut same = 0;
    new.each(|key, value| {
        same += u64::from(old.get(key)?.as_ref() == Some(value));
        Ok(())
    })
    .map_err(database)?;
    if same != values {
        return Err(Fault::from(Damage::Inconsistent).on(What::Database, None));
    }
    drop(new);
    sync(to.join("conf"))?;
    sync(to)?;
    sync(dir)
}

fn rename(dir: &Path, from: &str, to: &str) -> Result<(), StoreError> {
    let from = dir.join(from);
    fs::rename(&from, dir.join(to)).map_err(io_error("can't rename", &from))?;
    sync(dir)
}

/// sled makes its file in whole segments; only what was written takes room.
fn database_bytes(store: &Path) -> Result<u64, StoreError> {
    let path = store.join("db");
    let bytes = |path: &Path| -> io::Result<u64> {
        use std::os::unix::fs::MetadataExt;
        Ok(fs::metadata(path)?.blocks() * 512)
    };
    bytes(&path).map_err(io_error("can't tell the size of", &path))
}
