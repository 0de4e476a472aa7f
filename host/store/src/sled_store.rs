//! The store on sled, for one machine.
//!
//! ```text
//! DIR/lock         held while the store is open
//! DIR/store/       sled: db, conf, snap.<lsn>, blobs/ (always empty)
//! DIR/store.new, store.old   left by a first start or a compaction that was broken off:
//!                  see `compact`
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
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError, RwLock};

use auditchain_log::TileId;
use sha2::{Digest, Sha256};
use sled::Batch;

use crate::block;
use crate::chunk::{self, Chunk, EraseFault};
use crate::compact;
use crate::contract::{BlockWrite, Epoch, Store};
use crate::dictionary;
use crate::engine::{Engine, Fault, Parsed, parts, put, remove_left_over};
use crate::error::{AppendError, Damage, InvalidBlock, StoreError, What};
use crate::frame::{self, Frame, Kind};
use crate::head::{self, Head};
use crate::keys;
use crate::limits::{BLOB_BYTES_MAX, BLOCK_ERASE_CHUNKS_MAX, FREE_BYTES_MIN, VALUE_BYTES_MAX};
use crate::lock::DirLock;
use crate::reserve::{self, Reserved};

/// sled's directory inside the data directory.
pub(crate) const STORE_DIR: &str = "store";
/// What `DIR/store` is made of. A store of another format is refused.
const FORMAT: u32 = 2;

/// A [`Store`] in a directory of this machine. One process has it open at a time.
pub struct SledStore {
    writer: Mutex<Writer>,
    /// The newest head that is on disk.
    published: RwLock<Option<Head>>,
    /// Held for writing while chunks are rewritten: sled's batches are atomic against
    /// crashes, not against a reader who fetches a value part by part.
    rewriting: RwLock<()>,
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
    /// Keys that are there before their values.
    reserved: Reserved,
}

/// Key and value.
type Pair = (Vec<u8>, Vec<u8>);

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
        let made = not_there_yet(dir)?;
        make_private_dir(dir).map_err(io_error("can't make", dir))?;
        let lock = DirLock::take(dir)?;
        compact::settle(dir)?;
        if is_missing_or_empty(&dir.join(STORE_DIR))? {
            compact::make_first(dir)?;
        }
        let store = Self::open_made(dir, lock)?;
        // Only now can an epoch be given out.
        sync_above(dir, &made)?;
        Ok(store)
    }

    /// As [`open`](Self::open), but makes nothing where there is no store.
    ///
    /// # Errors
    /// As `open`, and [`StoreError::NotFound`].
    pub fn open_existing(dir: &Path) -> Result<Self, StoreError> {
        if compact::current(dir).is_none() {
            return Err(StoreError::NotFound {
                dir: dir.to_owned(),
            });
        }
        let lock = DirLock::take(dir)?;
        compact::settle(dir)?;
        Self::open_made(dir, lock)
    }

    /// The directory is settled, and a store in it.
    fn open_made(dir: &Path, lock: DirLock) -> Result<Self, StoreError> {
        let store_dir = dir.join(STORE_DIR);
        let database = |fault: Fault| match fault {
            Fault::Locked => StoreError::Locked {
                dir: dir.to_owned(),
            },
            fault => fault.on(What::Database, None),
        };
        let engine = Engine::open(&store_dir).map_err(database)?;
        count_opening(&engine, dir)?;
        // Only now is the store on disk for certain: sled syncs no directory, nor conf.
        [&store_dir.join("conf"), &store_dir, dir]
            .into_iter()
            .try_for_each(sync)?;
        let head: Option<Head> = engine
            .bytes(keys::HEAD, Kind::Head, head::CONTENT_BYTES_MAX)
            .and_then(|bytes| Ok(bytes.map(|bytes| Head::decode(&bytes)).transpose()?))
            .map_err(|fault| fault.on(What::Head, None))?;
        let epoch = engine
            .value(keys::EPOCH, Kind::Epoch, 0)
            .map_err(|fault| fault.on(What::Epoch, None))?
            .map(|frame| frame.id);
        check_together(&engine, head.as_ref(), epoch)?;
        let last = engine
            .last_key_before(&reserve::chunks_end())
            .map_err(database)?;
        let reserved = Reserved::of_last_chunk_key(last.as_deref());
        Ok(Self {
            writer: Mutex::new(Writer {
                epoch: epoch.unwrap_or(0),
                held: 0,
                failed: false,
                reserved,
            }),
            published: RwLock::new(head),
            rewriting: RwLock::new(()),
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

    /// Stage 2 of an append: the block as keys and values, how many bytes, and keys to
    /// put in before.
    fn encode(
        &self,
        before: Option<&Head>,
        block: &BlockWrite<'_>,
    ) -> Result<(Batch, u64, Vec<Vec<u8>>), AppendError> {
        let mut batch = Batch::default();
        let mut ahead = Vec::new();
        let mut bytes = 0;
        let mut add = |batch: &mut Batch, key: &[u8], value: &[u8]| {
            bytes += value.len() as u64;
            put(batch, key, value);
        };
        for chunk in block.chunks {
            let last = chunk.first + chunk.entries as u64 - 1; // none is empty: checked
            add(&mut batch, &keys::chunk(last), &chunk.value);
        }
        for (key, value) in self.erased(&mut batch, block.erase)? {
            add(&mut batch, &key, &value);
        }
        for (id, hashes) in block.tiles {
            let value = frame::stored(&tile_frame(*id, hashes));
            add(&mut batch, &keys::tile(*id), &value);
        }
        // What chunks are compressed with belongs to the store.
        let dictionary = (dictionary::BLOB_NAME, dictionary::BYTES);
        let own = before.is_none().then_some(&dictionary);
        for (name, content) in block.blobs.iter().chain(own) {
            match self.blob(name).map_err(AppendError::Store)? {
                Some(there) if there == *content => {}
                Some(_) => return Err(InvalidBlock::BlobExists((*name).to_owned()).into()),
                None => {
                    let id = name_id(name);
                    let value = frame::compressed(&plain_frame(Kind::Blob, id, content));
                    let key = keys::blob(name);
                    if value.len() > VALUE_BYTES_MAX {
                        ahead.extend(reserve::keys_for_blob(&key, parts(&value)));
                    }
                    add(&mut batch, &key, &value);
                    let value = frame::stored(&plain_frame(Kind::Name, id, &[]));
                    add(&mut batch, &keys::name(name), &value);
                }
            }
        }
        add(&mut batch, keys::HEAD, &block.head.encode());
        Ok((batch, bytes, ahead))
    }

    /// The chunks that lose bodies, as they are without them. What their values no
    /// longer need of the old ones is removed by the batch.
    fn erased(&self, batch: &mut Batch, erase: &[u64]) -> Result<Vec<Pair>, AppendError> {
        let mut erase = erase.to_vec();
        erase.sort_unstable();
        erase.dedup();
        let mut rewritten = Vec::new();
        let mut rest = &erase[..];
        while let Some(index) = rest.first().copied() {
            if rewritten.len() == BLOCK_ERASE_CHUNKS_MAX {
                return Err(InvalidBlock::EraseMany {
                    bodies: erase.len(),
                    chunks: rewritten.len() + 1,
                }
                .into());
            }
            let damaged = |index, damage: Damage| {
                AppendError::Store(Fault::from(damage).on(What::Entries, Some(index)))
            };
            let found = self.stored_chunk(index).map_err(AppendError::Store)?;
            let (chunk, old_bytes) = found.ok_or(InvalidBlock::EraseNothing(index))?;
            let (here, after) = rest.split_at(rest.partition_point(|i| *i < chunk.end()));
            let chunk = chunk.without(here).map_err(|fault| match fault {
                EraseFault::NoBody(index) => InvalidBlock::EraseNothing(index).into(),
                EraseFault::Damaged(index) => damaged(index, Damage::Inconsistent),
            })?;
            let key = keys::chunk(chunk.first + chunk.slots.len() as u64 - 1);
            let value = chunk.encode().value;
            remove_left_over(batch, &key, old_bytes, value.len());
            rewritten.push((key, value));
            rest = after;
        }
        Ok(rewritten)
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

    /// The chunk that holds an index below the head, and the bytes of its value.
    fn stored_chunk(&self, index: u64) -> Result<Option<(Chunk, usize)>, StoreError> {
        let size = self.published_size();
        if index >= size {
            return Ok(None);
        }
        let read = || -> Result<_, Fault> {
            let limit = chunk::BYTES_MAX;
            let found = self.engine.chunk(index, Kind::Chunk, limit)?;
            let (last, bytes) = found.ok_or(Damage::Missing)?;
            let chunk = Chunk::from_frame(frame::decode(&bytes, Kind::Chunk, limit)?)?;
            if chunk.end() - 1 != last || chunk.end() > size {
                return Err(Damage::Misplaced.into());
            }
            if chunk.first() > index {
                return Err(Damage::Missing.into());
            }
            Ok((chunk, bytes.len()))
        };
        let result = read().or_else(|fault| match fault {
            // Or parts of it were fetched before an erasure and others after it.
            Fault::Damage(_) => {
                let rewriting = self.rewriting.read();
                let _rewriting = rewriting.unwrap_or_else(PoisonError::into_inner);
                read()
            }
            fault => Err(fault),
        });
        result
            .map(Some)
            .map_err(|fault| fault.on(What::Entries, Some(index)))
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
        let (batch, bytes, mut ahead) = self.encode(before.as_ref(), block)?;
        self.check_room(bytes)?;
        ahead.extend(writer.reserved.keys_for(block.head.size));

        let rewriting = (!block.erase.is_empty()).then(|| {
            let rewriting = self.rewriting.write();
            rewriting.unwrap_or_else(PoisonError::into_inner)
        });
        // A crash in commit leaves the whole block or nothing of it, and readers go on
        // seeing the head before until it returns. Of the keys put in ahead it may leave
        // any: they have no values.
        let ahead = self.engine.reserve(ahead);
        if let Err(fault) = ahead.and_then(|()| self.engine.commit(batch)) {
            writer.failed = true;
            return Err(AppendError::Unknown(
                fault.on(What::Head, Some(expected_size)),
            ));
        }
        drop(rewriting);
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

    fn chunk_at(&self, index: u64) -> Result<Option<Chunk>, StoreError> {
        Ok(self.stored_chunk(index)?.map(|(chunk, _)| chunk))
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

/// How often the store was opened, if it is one of this format; 0 for a new one.
pub(crate) fn check_format(engine: &Engine, dir: &Path) -> Result<u64, StoreError> {
    let on_format = |fault: Fault| fault.on(What::Format, None);
    match engine
        .value(keys::OPENED, Kind::Opened, 0)
        .map_err(on_format)?
    {
        Some(frame) if frame.count == FORMAT => Ok(frame.id),
        Some(frame) => Err(StoreError::OtherFormat {
            dir: dir.to_owned(),
            found: frame.count,
            known: FORMAT,
        }),
        None if engine.is_empty().map_err(on_format)? => Ok(0),
        None => Err(on_format(Damage::Missing.into())),
    }
}

/// Counts the opening, and by that proves that a flush is a flush.
pub(crate) fn count_opening(engine: &Engine, dir: &Path) -> Result<(), StoreError> {
    let openings = check_format(engine, dir)?;
    let value = frame::stored(&Frame {
        count: FORMAT,
        ..plain_frame(Kind::Opened, openings.wrapping_add(1), &[])
    });
    let mut batch = Batch::default();
    put(&mut batch, keys::OPENED, &value);
    engine
        .commit(batch)
        .map_err(|fault| fault.on(What::Format, None))
}

/// A block is written with its head, by a writer with an epoch: where one is there, so
/// are the others.
fn check_together(
    engine: &Engine,
    head: Option<&Head>,
    epoch: Option<u64>,
) -> Result<(), StoreError> {
    let missing = |what: What| Fault::from(Damage::Missing).on(what, None);
    match head {
        Some(_) if epoch.is_none() => Err(missing(What::Epoch)),
        Some(_) => Ok(()),
        None => match engine.chunk(0, Kind::Chunk, chunk::BYTES_MAX) {
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

/// Audit events are nobody else's business.
pub(crate) fn make_private_dir(dir: &Path) -> io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
}

pub(crate) fn sync(path: impl AsRef<Path>) -> Result<(), StoreError> {
    let path = path.as_ref();
    File::open(path)
        .and_then(|file| file.sync_all())
        .map_err(io_error("can't sync", path))
}

/// A first start, or one on a directory that was made for us.
fn is_missing_or_empty(store_dir: &Path) -> Result<bool, StoreError> {
    match fs::read_dir(store_dir) {
        Ok(mut files) => Ok(files.next().is_none()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(io_error("can't read", store_dir)(error)),
    }
}

/// Which of the directory and those above it are to be made.
fn not_there_yet(dir: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let absolute = std::path::absolute(dir).map_err(io_error("can't locate", dir))?;
    let missing = absolute.ancestors().take_while(|dir| !dir.exists());
    Ok(missing.map(Path::to_owned).collect())
}

/// Makes the data directory's own name durable, and those above that were made with it: a
/// directory's name lies in the one above.
fn sync_above(dir: &Path, made: &[PathBuf]) -> Result<(), StoreError> {
    for above in made.iter().filter_map(|dir| dir.parent()) {
        sync(above)?;
    }
    let absolute = std::path::absolute(dir).map_err(io_error("can't locate", dir))?;
    let (true, Some(above)) = (made.is_empty(), absolute.parent()) else {
        return Ok(());
    };
    // A start that was killed may have made it. Not one that may not open what is above,
    // nor one on a mounted volume.
    let device = |path: &Path| fs::metadata(path).map(|found| found.dev());
    let same_volume = device(dir).map_err(io_error("can't read", dir))?
        == device(above).map_err(io_error("can't read", above))?;
    match File::open(above) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        _ if !same_volume => Ok(()),
        _ => sync(above),
    }
}

pub(crate) fn io_error(doing: &str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let context = format!("{doing} {}", path.display());
    move |source| StoreError::Io { context, source }
}
