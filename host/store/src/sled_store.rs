//! The store on sled, for one machine.
//!
//! ```text
//! DIR/lock         held while the store is open
//! DIR/store/       sled: db, conf, snap.<lsn>, blobs/ (always empty)
//! DIR/checkpoint   see `HeadFile`
//! ```
//! # Opening changes files
//! sled can't open read-only. An open always writes: sled zeroes what follows the last
//! readable record of its log and makes a new `snap.<lsn>`, and we count the opening as
//! a proof of durability. On a damaged log sled thereby **destroys what lies behind the
//! damage**. An auditor therefore opens a copy ([`copy_data_dir`](crate::copy_data_dir)).
//!
//! Invariants: `published` is on disk; only `append` moves it, after the flush. After a
//! failed write nothing is written until the store is opened anew, since a second
//! `fdatasync` may succeed although the first one lost the data.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError, RwLock};

use auditchain_log::TileId;
use sha2::{Digest, Sha256};
use sled::Batch;

use crate::block;
use crate::chunk::{self, BodyChunk, EntryChunk};
use crate::contract::{BlockWrite, Epoch, Store};
use crate::engine::{Engine, Fault, Parsed, put};
use crate::error::{AppendError, Damage, InvalidBlock, StoreError, What};
use crate::frame::{self, Encoder, Frame, Kind};
use crate::head::{self, Head};
use crate::keys::{self, ChunkKind};
use crate::limits::{BLOB_BYTES_MAX, FREE_BYTES_MIN};
use crate::lock::DirLock;

/// sled's directory inside the data directory.
pub(crate) const STORE_DIR: &str = "store";
/// What becomes it, at the first start.
const NEW_STORE_DIR: &str = "store.new";
/// What `DIR/store` is made of. A store of another format is refused.
const FORMAT: u32 = 1;

/// A [`Store`] in a directory of this machine. One process has it open at a time.
pub struct SledStore {
    writer: Mutex<Writer>,
    /// The newest head that is on disk.
    published: RwLock<Option<Head>>,
    // Declared before the lock, so that sled is closed before the directory is free.
    engine: Engine,
    store_dir: PathBuf,
    _lock: DirLock,
}

/// What only the writer touches.
struct Writer {
    /// The last epoch given out, by this or a former process.
    epoch: u64,
    /// The epoch of this process's writer: 0 before its first `acquire`.
    held: u64,
    /// A write failed: see the module's doc.
    failed: bool,
    encoder: Encoder,
}

impl SledStore {
    /// Opens the store in `dir`, and makes it if there is none. Files are changed: see
    /// above.
    ///
    /// Writes and flushes once, to prove that a flush reaches the disk; that also makes
    /// durable whatever a killed predecessor had written.
    ///
    /// # Errors
    /// Another process has it open, flushes don't reach the disk, damage, or I/O.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        let store_dir = dir.join(STORE_DIR);
        make_private_dir(dir).map_err(io_error("can't make", dir))?;
        let lock = DirLock::take(dir)?;
        if !store_dir.join("db").exists() {
            make_first(dir, &store_dir)?;
        }
        let store = Self::open_made(dir, store_dir, lock)?;
        // The data directory may be new as well, and what holds it, up to the first that
        // was there before: all are synced, since only now can an epoch be given out.
        sync_above(dir)?;
        Ok(store)
    }

    /// As [`open`](Self::open), but makes nothing where there is no store.
    ///
    /// # Errors
    /// As `open`, and [`StoreError::NotFound`].
    pub fn open_existing(dir: &Path) -> Result<Self, StoreError> {
        let store_dir = dir.join(STORE_DIR);
        if !store_dir.join("db").is_file() {
            return Err(StoreError::NotFound {
                dir: dir.to_owned(),
            });
        }
        Self::open_made(dir, store_dir, DirLock::take(dir)?)
    }

    fn open_made(dir: &Path, store_dir: PathBuf, lock: DirLock) -> Result<Self, StoreError> {
        let database = |fault: Fault| match fault {
            Fault::Locked => StoreError::Locked {
                dir: dir.to_owned(),
            },
            fault => fault.on(What::Database, None),
        };
        let engine = Engine::open(&store_dir).map_err(database)?;
        count_opening(&engine)?;
        // Only now is the store on disk for certain: sled syncs no directory, nor conf.
        sync_each(&[&store_dir.join("conf"), &store_dir, dir])?;
        let head: Option<Head> = engine
            .bytes(keys::HEAD, Kind::Head, head::CONTENT_BYTES_MAX)
            .and_then(|bytes| Ok(bytes.map(|bytes| Head::decode(&bytes)).transpose()?))
            .map_err(|fault| fault.on(What::Head, None))?;
        let epoch = engine
            .value(keys::EPOCH, Kind::Epoch, 0)
            .map_err(|fault| fault.on(What::Epoch, None))?
            .map(|frame| frame.id);
        check_together(&engine, head.as_ref(), epoch)?;
        let encoder = Encoder::new().map_err(io_error("can't set up zstd for", &store_dir))?;
        Ok(Self {
            writer: Mutex::new(Writer {
                epoch: epoch.unwrap_or(0),
                held: 0,
                failed: false,
                encoder,
            }),
            published: RwLock::new(head),
            engine,
            store_dir,
            _lock: lock,
        })
    }

    fn published_size(&self) -> u64 {
        let head = self
            .published
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        head.as_ref().map_or(0, |head| head.size)
    }

    /// Stage 2 of an append: the block as keys and values, and how many bytes.
    fn encode(
        &self,
        encoder: &mut Encoder,
        first: u64,
        block: &BlockWrite<'_>,
    ) -> Result<(Batch, u64), AppendError> {
        let mut batch = Batch::default();
        let mut bytes = 0;
        let mut add = |key: &[u8], value: &[u8]| {
            bytes += value.len() as u64;
            put(&mut batch, key, value);
        };
        for run in chunk::runs(block.entries, block.bodies) {
            let first = first + run.start as u64;
            let last = first + run.len() as u64 - 1; // a run is never empty
            let entries = chunk::encode_entries(encoder, first, &block.entries[run.clone()]);
            add(&ChunkKind::Entries.key(last), &entries);
            let bodies = chunk::encode_bodies(encoder, first, &block.bodies[run]);
            add(&ChunkKind::Bodies.key(last), &bodies);
        }
        for (id, hashes) in block.tiles {
            add(&keys::tile(*id), &frame::stored(&tile_frame(*id, hashes)));
        }
        for (name, content) in block.blobs {
            match self.blob(name).map_err(AppendError::Store)? {
                Some(there) if there == *content => {}
                Some(_) => return Err(InvalidBlock::BlobExists((*name).to_owned()).into()),
                None => {
                    let id = name_id(name);
                    let value = encoder.compressed(&plain_frame(Kind::Blob, id, content));
                    add(&keys::blob(name), &value);
                    let value = frame::stored(&plain_frame(Kind::Name, id, &[]));
                    add(&keys::name(name), &value);
                }
            }
        }
        add(keys::HEAD, &block.head.encode());
        Ok((batch, bytes))
    }

    /// Stage 3: refuses while nothing is written yet, rather than fail half-way.
    fn check_room(&self, bytes: u64) -> Result<(), AppendError> {
        let disk = rustix::fs::statvfs(&self.store_dir).map_err(|error| {
            AppendError::Store(io_error("can't tell the free space of", &self.store_dir)(
                error.into(),
            ))
        })?;
        let available = disk.f_bavail.saturating_mul(disk.f_frsize);
        // Twice: sled rewrites pages beside what is new.
        let needed = bytes.saturating_mul(2).saturating_add(FREE_BYTES_MIN);
        if available < needed {
            return Err(AppendError::Full { needed, available });
        }
        Ok(())
    }

    fn chunk_at<T>(
        &self,
        index: u64,
        what: &What,
        read: impl FnOnce(u64) -> Result<Option<(u64, T)>, Fault>,
        bounds: impl FnOnce(&T) -> (u64, u64),
    ) -> Result<Option<T>, StoreError> {
        let size = self.published_size();
        if index >= size {
            return Ok(None);
        }
        let damaged = |damage: Damage| Fault::from(damage).on(what.clone(), Some(index));
        let found = read(index).map_err(|fault| fault.on(what.clone(), Some(index)))?;
        let (last, chunk) = found.ok_or_else(|| damaged(Damage::Missing))?;
        let (first, end) = bounds(&chunk);
        if end - 1 != last || end > size {
            return Err(damaged(Damage::Misplaced));
        }
        if first > index {
            return Err(damaged(Damage::Missing));
        }
        Ok(Some(chunk))
    }
}

impl Store for SledStore {
    fn acquire(&self) -> Result<(Epoch, Option<Head>), StoreError> {
        let mut writer = self.writer.lock().map_err(|_| StoreError::Failed)?;
        if writer.failed {
            return Err(StoreError::Failed);
        }
        let epoch = writer.epoch.checked_add(1).ok_or(StoreError::Corrupt {
            what: What::Epoch,
            index: None,
            damage: Damage::OverLimit,
        })?;
        let mut batch = Batch::default();
        put(
            &mut batch,
            keys::EPOCH,
            &frame::stored(&plain_frame(Kind::Epoch, epoch, &[])),
        );
        // A crash here burns a number; nobody holds it.
        if let Err(fault) = self.engine.commit(batch) {
            writer.failed = true;
            return Err(fault.on(What::Epoch, None));
        }
        writer.epoch = epoch;
        writer.held = epoch;
        Ok((Epoch::new(epoch), self.head()?))
    }

    fn append(
        &self,
        epoch: Epoch,
        expected_size: u64,
        block: &BlockWrite<'_>,
    ) -> Result<(), AppendError> {
        let failed = |_| AppendError::Unknown(StoreError::Failed);
        let mut writer = self.writer.lock().map_err(failed)?;
        if writer.failed {
            return Err(AppendError::Unknown(StoreError::Failed));
        }
        // Epochs begin at 1, so the number of no epoch matches before an acquire.
        if epoch.get() == 0 || writer.held != epoch.get() {
            return Err(AppendError::Fenced { held: epoch });
        }
        let before = self.head().map_err(AppendError::Store)?;
        let actual = before.as_ref().map_or(0, |head| head.size);
        if actual != expected_size {
            return Err(AppendError::Stale {
                expected: expected_size,
                actual,
            });
        }
        block::check(block, before.as_ref())?;
        let (batch, bytes) = self.encode(&mut writer.encoder, expected_size, block)?;
        self.check_room(bytes)?;

        // A crash in commit leaves the whole block or nothing of it, and readers go on
        // seeing the head before until it returns.
        if let Err(fault) = self.engine.commit(batch) {
            writer.failed = true;
            return Err(AppendError::Unknown(
                fault.on(What::Head, Some(expected_size)),
            ));
        }
        // A crash from here on loses nothing: the block is on disk.
        *self
            .published
            .write()
            .unwrap_or_else(PoisonError::into_inner) = Some(block.head.clone());
        Ok(())
    }

    fn head(&self) -> Result<Option<Head>, StoreError> {
        let head = self
            .published
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        Ok(head.clone())
    }

    fn entries_at(&self, index: u64) -> Result<Option<EntryChunk>, StoreError> {
        let read = |index| {
            let limit = chunk::ENTRIES_BYTES_MAX;
            let found = self
                .engine
                .chunk(ChunkKind::Entries, index, Kind::Entries, limit)?;
            with_last(found, EntryChunk::from_frame)
        };
        self.chunk_at(index, &What::Entries, read, |chunk| {
            (chunk.first(), chunk.end())
        })
    }

    fn bodies_at(&self, index: u64) -> Result<Option<BodyChunk>, StoreError> {
        let read = |index| {
            let limit = chunk::BODIES_BYTES_MAX;
            let found = self
                .engine
                .chunk(ChunkKind::Bodies, index, Kind::Bodies, limit)?;
            with_last(found, BodyChunk::from_frame)
        };
        self.chunk_at(index, &What::Bodies, read, |chunk| {
            (chunk.first(), chunk.end())
        })
    }

    fn tiles(&self, ids: &[TileId]) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        let size = self.published_size();
        ids.iter()
            .map(|id| {
                if !block::is_full(*id, size) {
                    return Ok(None);
                }
                self.engine
                    .value(&keys::tile(*id), Kind::Tile, block::TILE_BYTES)
                    .and_then(|tile| Ok(tile.map(|tile| checked_tile(*id, tile)).transpose()?))
                    .map_err(|fault| fault.on(What::Tile(*id), None))
            })
            .collect()
    }

    fn blob(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        if !block::is_blob_name(name) {
            return Ok(None);
        }
        let read = || {
            let limit = BLOB_BYTES_MAX;
            match self.engine.value(&keys::blob(name), Kind::Blob, limit)? {
                Some(frame) if frame.id == name_id(name) => Ok(Some(frame.content)),
                Some(_) => Err(Damage::Misplaced.into()),
                None => match self.engine.value(&keys::name(name), Kind::Name, 0)? {
                    Some(_) => Err(Damage::Missing.into()),
                    None => Ok(None),
                },
            }
        };
        read().map_err(|fault: Fault| fault.on(What::Blob(name.to_owned()), None))
    }

    fn blob_names(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        let names = |(key, value): (sled::IVec, sled::IVec)| {
            let name = keys::parse_name(&key).ok_or(Damage::Misplaced)?;
            if frame::decode(&value, Kind::Name, 0)?.id != name_id(name) {
                return Err(Damage::Misplaced.into());
            }
            Ok(name.to_owned())
        };
        self.engine
            .scan(&keys::names(prefix))
            .and_then(|found| found.into_iter().map(names).collect())
            .map_err(|fault| fault.on(What::BlobNames, None))
    }
}

/// Makes the database under another name and renames it once it is whole and on disk:
/// what sled leaves of a first start that was cut off half-way it doesn't open again.
fn make_first(dir: &Path, store_dir: &Path) -> Result<(), StoreError> {
    let new = dir.join(NEW_STORE_DIR);
    if new.exists() {
        fs::remove_dir_all(&new).map_err(io_error("can't remove", &new))?;
    }
    make_private_dir(&new).map_err(io_error("can't make", &new))?;
    let engine = Engine::open(&new).map_err(|fault| fault.on(What::Database, None))?;
    count_opening(&engine)?;
    drop(engine);
    sync_each(&[&new.join("conf"), &new.join("blobs"), &new])?;
    // A crash up to here leaves no store, and something to remove.
    fs::rename(&new, store_dir).map_err(io_error("can't rename", &new))?;
    sync_each(&[dir])
}

fn sync_each(paths: &[&Path]) -> Result<(), StoreError> {
    paths.iter().try_for_each(|path| {
        File::open(path)
            .and_then(|file| file.sync_all())
            .map_err(io_error("can't sync", path))
    })
}

/// Checks the format, counts the opening, and by that proves that a flush is a flush.
fn count_opening(engine: &Engine) -> Result<(), StoreError> {
    let on_format = |fault: Fault| fault.on(What::Format, None);
    let openings = match engine
        .value(keys::OPENED, Kind::Opened, 0)
        .map_err(on_format)?
    {
        Some(frame) if frame.count == FORMAT => frame.id,
        Some(frame) => return Err(on_format(Damage::UnknownFormat(frame.count).into())),
        None if engine.is_empty().map_err(on_format)? => 0,
        None => return Err(on_format(Damage::Missing.into())),
    };
    let value = frame::stored(&Frame {
        count: FORMAT,
        ..plain_frame(Kind::Opened, openings.wrapping_add(1), &[])
    });
    let mut batch = Batch::default();
    put(&mut batch, keys::OPENED, &value);
    engine.commit(batch).map_err(on_format)
}

/// A block is written with its head, by a writer with an epoch: where one is there, so
/// are the others.
fn check_together(
    engine: &Engine,
    head: Option<&Head>,
    epoch: Option<u64>,
) -> Result<(), StoreError> {
    let (kind, limit) = (Kind::Entries, chunk::ENTRIES_BYTES_MAX);
    let missing = |what: What| Fault::from(Damage::Missing).on(what, None);
    match head {
        Some(_) if epoch.is_none() => Err(missing(What::Epoch)),
        Some(_) => Ok(()),
        None => match engine.chunk(ChunkKind::Entries, 0, kind, limit) {
            Ok(None) => Ok(()),
            Ok(Some(_)) | Err(Fault::Damage(_)) => Err(missing(What::Head)),
            Err(fault) => Err(fault.on(What::Entries, Some(0))),
        },
    }
}

/// Binds a blob to its name.
fn name_id(name: &str) -> u64 {
    let digest: [u8; 32] = Sha256::digest(name).into();
    let [a, b, c, d, e, f, g, h, ..] = digest;
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

fn plain_frame(kind: Kind, id: u64, content: &[u8]) -> Frame<&[u8], &[u8]> {
    Frame {
        kind,
        id,
        count: 0,
        plain: &[],
        content,
    }
}

fn tile_frame(id: TileId, hashes: &[u8]) -> Frame<&[u8], &[u8]> {
    Frame {
        count: id.level.into(),
        ..plain_frame(Kind::Tile, id.index, hashes)
    }
}

fn checked_tile(id: TileId, frame: Parsed) -> Result<Vec<u8>, Damage> {
    if frame.id != id.index || frame.count != u32::from(id.level) {
        return Err(Damage::Misplaced);
    }
    if frame.content.len() != block::TILE_BYTES {
        return Err(Damage::Inconsistent);
    }
    Ok(frame.content)
}

fn with_last<T>(
    found: Option<(u64, Parsed)>,
    read: impl FnOnce(Parsed) -> Result<T, Damage>,
) -> Result<Option<(u64, T)>, Fault> {
    Ok(found
        .map(|(last, frame)| Ok::<_, Damage>((last, read(frame)?)))
        .transpose()?)
}

/// Audit events are nobody else's business.
pub(crate) fn make_private_dir(dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
}

/// Syncs the directories above `dir`, so that its name survives a power cut. Those that
/// may not be opened were made by somebody else, long ago.
fn sync_above(dir: &Path) -> Result<(), StoreError> {
    let absolute = std::path::absolute(dir).map_err(io_error("can't locate", dir))?;
    for above in absolute.ancestors().skip(1) {
        match File::open(above).and_then(|above| above.sync_all()) {
            Ok(()) => {}
            // Also a file system that can't be written to, or can't sync a directory.
            Err(error) => {
                tracing::debug!(%error, dir = %above.display(), "not synced");
                break;
            }
        }
    }
    Ok(())
}

pub(crate) fn io_error(doing: &str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let context = format!("{doing} {}", path.display());
    move |source| StoreError::Io { context, source }
}
