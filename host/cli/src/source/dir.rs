//! A log in a data directory, read from a copy: sled changes what it opens, and cuts
//! off what it finds damaged, so the original is never opened.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use auditchain_log::{Hash, TileId};
use auditchain_store::{HeadFile, SledStore, Store as _, StoreError, copy_data_dir, find_damage};
use tempfile::TempDir;

use crate::limits::FINDINGS_MAX;

use super::{BodyRef, Damage, HeadClaim, LogSource, Run, SourceError};

/// A log in a directory.
pub struct DirLog {
    name: String,
    dir: PathBuf,
    store: SledStore,
    kept_note: HeadFile,
    // Last, so that the store is closed before its copy is removed.
    _copy: TempDir,
}

impl DirLog {
    /// Copies the directory to where temporary files go and opens the copy.
    ///
    /// # Errors
    /// No store, a service that runs on it, no room for the copy, or damage.
    pub fn open(dir: &Path) -> Result<Self, SourceError> {
        let temporary = |error| {
            SourceError::Unavailable(format!(
                "can't make a copy of {} in {}: {error}; set TMPDIR to a directory with room for it",
                dir.display(),
                std::env::temp_dir().display(),
            ))
        };
        let copy = tempfile::Builder::new()
            .prefix("auditchain-")
            .tempdir()
            .map_err(temporary)?;
        copy_data_dir(dir, copy.path()).map_err(|error| match error {
            StoreError::Io { context, source } => SourceError::Unavailable(format!(
                "{context}: {source}; a copy of {} is made in {}, set TMPDIR to a directory with room for it",
                dir.display(),
                std::env::temp_dir().display(),
            )),
            error => from_store(error, 0),
        })?;
        let store = SledStore::open_existing(copy.path())
            .map_err(|error| with_places(from_store(error, 0), dir))?;
        Ok(Self {
            name: dir.display().to_string(),
            dir: dir.to_owned(),
            store,
            kept_note: HeadFile::new(copy.path()),
            _copy: copy,
        })
    }
}

impl LogSource for DirLog {
    fn name(&self) -> &str {
        &self.name
    }

    fn note(&self) -> Result<Option<Vec<u8>>, SourceError> {
        let head = self.store.head().map_err(|error| from_store(error, 0))?;
        Ok(head.map(|head| head.note).filter(|note| !note.is_empty()))
    }

    fn kept_note(&self) -> Result<Option<Vec<u8>>, SourceError> {
        self.kept_note.read().map_err(|error| from_store(error, 0))
    }

    fn cosigned_note(&self) -> Result<Option<Vec<u8>>, SourceError> {
        let path = self.dir.join("checkpoint.cosigned");
        let mut bytes = Vec::new();
        let read = File::open(&path).and_then(|file| {
            file.take(auditchain_log::MAX_NOTE_BYTES as u64 + 1)
                .read_to_end(&mut bytes)
        });
        match read {
            Ok(_) => Ok(Some(bytes)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(SourceError::Unavailable(format!(
                "can't read {}: {error}",
                path.display()
            ))),
        }
    }

    fn vkeys(&self) -> Result<Option<String>, SourceError> {
        Ok(None)
    }

    fn damage(&self) -> Vec<Damage> {
        damage(&self.dir)
    }

    fn head(&self) -> Result<Option<HeadClaim>, SourceError> {
        let head = self.store.head().map_err(|error| from_store(error, 0))?;
        // An empty store is a claim too: that there is no log.
        let nothing = HeadClaim {
            size: 0,
            blocks: 0,
            time_us: i64::MIN,
            root: auditchain_log::tree_root(&[]),
            chain: auditchain_log::sha256(&[]),
        };
        Ok(Some(head.map_or(nothing, |head| HeadClaim {
            size: head.size,
            blocks: head.blocks,
            time_us: head.time_us,
            root: head.root,
            chain: head.chain,
        })))
    }

    fn run(&self, from: u64, to: u64) -> Result<Run, SourceError> {
        let next = from.saturating_add(1);
        let missing = || SourceError::Damaged {
            what: format!("entry {from}"),
            reason: "missing".into(),
            next,
        };
        let chunk = self
            .store
            .chunk_at(from)
            .map_err(|error| from_store(error, next))?;
        let chunk = chunk.ok_or_else(missing)?;
        let mut run = Run::new(from);
        for index in from..chunk.end().min(to) {
            let entry = chunk.entry(index).ok_or_else(missing)?;
            let body = chunk.body(index);
            let body = body.as_ref().map(|body| BodyRef {
                salt: &body.salt,
                bytes: body.bytes,
            });
            run.push(entry, body);
        }
        Ok(run)
    }

    fn tile(&self, id: TileId, width: usize) -> Result<Option<Vec<u8>>, SourceError> {
        let tile = self
            .store
            .tiles(&[id])
            .map_err(|error| from_store(error, 0))?
            .pop()
            .flatten();
        Ok(tile.map(|mut tile| {
            tile.truncate(width * Hash::LEN);
            tile
        }))
    }

    /// The partial tiles of a store are made from its entries.
    fn has_partial_tiles(&self) -> bool {
        false
    }

    fn blob(&self, digest: &Hash) -> Result<Option<Vec<u8>>, SourceError> {
        self.store
            .blob(&format!("sha256/{digest}"))
            .map_err(|error| from_store(error, 0))
    }

    fn value_names(&self) -> Result<Vec<String>, SourceError> {
        self.store
            .blob_names("")
            .map_err(|error| from_store(error, 0))
    }

    fn named_value(&self, name: &str) -> Result<Option<Vec<u8>>, SourceError> {
        self.store.blob(name).map_err(|error| from_store(error, 0))
    }
}

/// The damaged places of the original: found without sled, which would cut them off.
fn damage(dir: &Path) -> Vec<Damage> {
    // Best effort: that something is wrong is known already.
    let found = find_damage(dir).unwrap_or_default();
    let gone = found.into_iter().filter(|value| !value.has_intact_copy);
    gone.map(|value| Damage {
        what: match value.offset {
            Some(offset) => format!("{} at byte {offset} of store/db", value.what),
            None => format!("{} in store/db", value.what),
        },
        first: value.index,
        last: value.index.saturating_add(value.count.saturating_sub(1)),
    })
    .collect()
}

/// Adds which entries are concerned to an error that says only that there is damage.
fn with_places(error: SourceError, dir: &Path) -> SourceError {
    let SourceError::Damaged { what, reason, next } = error else {
        return error;
    };
    let places = damage(dir);
    if places.is_empty() {
        let reason = format!(
            "{reason}; no entries or bodies are damaged by themselves: it is a named value (module, snapshot) or a page of sled's"
        );
        return SourceError::Damaged { what, reason, next };
    }
    let places = places.into_iter().take(FINDINGS_MAX);
    let reason = places.fold(reason, |reason, Damage { what, first, last }| {
        format!("{reason}\n  entries {first} to {last}: damaged {what}")
    });
    SourceError::Damaged { what, reason, next }
}

fn from_store(error: StoreError, next: u64) -> SourceError {
    match error {
        StoreError::Corrupt { what, damage, .. } => SourceError::Damaged {
            what: what.to_string(),
            reason: damage.to_string(),
            next,
        },
        error => SourceError::Unavailable(error.to_string()),
    }
}
