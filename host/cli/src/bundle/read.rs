//! Reads a bundle as a log. Entries are read one after the other, as a verification asks
//! for them; going back begins anew.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use auditchain_log::{Hash, TileId};

use super::{
    BODY, COSIGNED, END, ENTRY, MAGIC, MANIFEST, Manifest, NOTE, RECORD_BYTES_MAX, VALUE,
    VALUES_BYTES_MAX,
};
use crate::source::{BodyRef, HeadClaim, LogSource, Run, SourceError};

/// Entries of a run.
const RUN_ENTRIES: u64 = 64;
/// Bytes of a salt.
const SALT_BYTES: usize = 32;

/// A bundle that is read as a log.
#[derive(Debug)]
pub struct BundleLog {
    path: PathBuf,
    name: String,
    manifest: Manifest,
    note: Vec<u8>,
    cosigned: Option<Vec<u8>>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    records: Option<Records>,
    /// Index of the entry that is read next.
    next: u64,
    /// Read, and not part of the entry before.
    ahead: Option<(u8, Vec<u8>)>,
    values: HashMap<Hash, Arc<[u8]>>,
    values_bytes: usize,
}

impl BundleLog {
    /// Whether a file begins as a bundle does.
    #[must_use]
    pub fn is_bundle(path: &Path) -> bool {
        let mut magic = [0; MAGIC.len()];
        File::open(path).is_ok_and(|mut file| file.read_exact(&mut magic).is_ok()) && magic == MAGIC
    }

    /// Opens a bundle and reads what comes before its entries.
    ///
    /// # Errors
    /// It can't be read, or is none.
    pub fn open(path: &Path) -> Result<Self, SourceError> {
        let mut records = Records::open(path)?;
        let mut expect = |wanted: u8, what: &str| match records.next()? {
            Some((kind, content)) if kind == wanted => Ok(content),
            _ => Err(damaged(&format!("the bundle's {what} is missing"), 0)),
        };
        let manifest = expect(MANIFEST, "manifest")?;
        let manifest: Manifest = serde_json::from_slice(&manifest)
            .map_err(|error| damaged(&format!("the bundle's manifest: {error}"), 0))?;
        let note = expect(NOTE, "checkpoint")?;
        let mut ahead = records.next()?;
        let cosigned = ahead
            .take_if(|(kind, _)| *kind == COSIGNED)
            .map(|(_, content)| content);
        Ok(Self {
            path: path.into(),
            name: path.display().to_string(),
            manifest,
            note,
            cosigned,
            state: Mutex::new(State {
                records: Some(records),
                next: 0,
                ahead,
                values: HashMap::new(),
                values_bytes: 0,
            }),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic can't leave it worse than an error does: what follows is read or refused.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins anew where entries before are asked for.
    fn rewind(&self, state: &mut State) -> Result<(), SourceError> {
        let mut records = Records::open(&self.path)?;
        loop {
            match records.next()? {
                Some((MANIFEST | NOTE | COSIGNED, _)) => {}
                ahead => {
                    state.ahead = ahead;
                    break;
                }
            }
        }
        state.records = Some(records);
        state.next = 0;
        Ok(())
    }
}

impl State {
    /// The next record, unless it is of an entry that comes after.
    fn record(&mut self) -> Result<Option<(u8, Vec<u8>)>, SourceError> {
        if let Some(ahead) = self.ahead.take() {
            return Ok(Some(ahead));
        }
        match &mut self.records {
            Some(records) => records.next(),
            None => Ok(None),
        }
    }

    /// The next entry with its body.
    fn entry(&mut self) -> Result<(Vec<u8>, Option<Vec<u8>>), SourceError> {
        let entry = loop {
            match self.record()? {
                Some((ENTRY, entry)) => break entry,
                Some((VALUE, value)) => self.keep(&value)?,
                Some((END, _)) | None => {
                    return Err(damaged("the bundle ends before its checkpoint", self.next));
                }
                Some((kind, _)) => {
                    let text = format!("a record of kind {kind} where an entry is due");
                    return Err(damaged(&text, self.next));
                }
            }
        };
        let ahead = self.record()?;
        let mut body = None;
        match ahead {
            Some((BODY, content)) => body = Some(content),
            ahead => self.ahead = ahead,
        }
        self.next += 1;
        Ok((entry, body))
    }

    fn keep(&mut self, value: &[u8]) -> Result<(), SourceError> {
        let Some((digest, bytes)) = value.split_first_chunk::<{ Hash::LEN }>() else {
            return Err(damaged("a value without a digest", self.next));
        };
        if self.values.contains_key(&Hash(*digest)) {
            return Ok(());
        }
        self.values_bytes += bytes.len();
        if self.values_bytes > VALUES_BYTES_MAX {
            let text = format!("its values have more than {VALUES_BYTES_MAX} bytes");
            return Err(SourceError::Unavailable(text));
        }
        self.values.insert(Hash(*digest), bytes.into());
        Ok(())
    }
}

impl LogSource for BundleLog {
    fn name(&self) -> &str {
        &self.name
    }

    fn note(&self) -> Result<Option<Vec<u8>>, SourceError> {
        Ok(Some(self.note.clone()))
    }

    fn cosigned_note(&self) -> Result<Option<Vec<u8>>, SourceError> {
        Ok(self.cosigned.clone())
    }

    fn vkeys(&self) -> Result<Option<String>, SourceError> {
        Ok(None)
    }

    fn head(&self) -> Result<Option<HeadClaim>, SourceError> {
        Ok(None)
    }

    fn run(&self, from: u64, to: u64) -> Result<Run, SourceError> {
        let mut state = self.state();
        if from < state.next {
            self.rewind(&mut state)?;
        }
        while state.next < from {
            state.entry()?;
        }
        let mut run = Run::new(from);
        while state.next < to.min(from.saturating_add(RUN_ENTRIES)) {
            let (entry, body) = state.entry()?;
            let body = match &body {
                Some(body) => Some(
                    body.split_first_chunk::<SALT_BYTES>()
                        .ok_or_else(|| damaged("a body without a salt", state.next - 1))?,
                ),
                None => None,
            };
            run.push(&entry, body.map(|(salt, bytes)| BodyRef { salt, bytes }));
        }
        Ok(run)
    }

    fn tile(&self, _id: TileId, _width: usize) -> Result<Option<Vec<u8>>, SourceError> {
        Ok(None)
    }

    fn has_tiles(&self) -> bool {
        false
    }

    fn has_partial_tiles(&self) -> bool {
        false
    }

    fn bodies_given(&self) -> Option<Option<[u64; 2]>> {
        Some(self.manifest.bodies)
    }

    fn blob(&self, digest: &Hash) -> Result<Option<Vec<u8>>, SourceError> {
        // Entries are read before they are judged, and a value comes before its entry.
        Ok(self.state().values.get(digest).map(|bytes| bytes.to_vec()))
    }
}

/// The records of a bundle.
struct Records(zstd::Decoder<'static, BufReader<File>>);

impl std::fmt::Debug for Records {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Records")
    }
}

impl Records {
    fn open(path: &Path) -> Result<Self, SourceError> {
        let io =
            |error: io::Error| SourceError::Unavailable(format!("{}: {error}", path.display()));
        let mut file = File::open(path).map_err(io)?;
        let mut magic = [0; MAGIC.len()];
        file.read_exact(&mut magic).map_err(io)?;
        if magic != MAGIC {
            return Err(damaged("this file is no bundle of version 1", 0));
        }
        Ok(Self(zstd::Decoder::new(file).map_err(io)?))
    }

    /// None: the stream has ended.
    fn next(&mut self) -> Result<Option<(u8, Vec<u8>)>, SourceError> {
        let broken = |error: io::Error| damaged(&format!("the bundle is damaged: {error}"), 0);
        let mut kind = [0];
        if self.0.read(&mut kind).map_err(broken)? == 0 {
            return Ok(None);
        }
        let mut length = [0; 4];
        self.0.read_exact(&mut length).map_err(broken)?;
        let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        if length > RECORD_BYTES_MAX {
            return Err(damaged("the bundle has a record over the limit", 0));
        }
        let mut content = Vec::new();
        // What a length claims is not believed before it is there.
        let mut part = (&mut self.0).take(length as u64);
        part.read_to_end(&mut content).map_err(broken)?;
        if content.len() < length {
            return Err(damaged("the bundle ends in a record", 0));
        }
        Ok(Some((kind[0], content)))
    }
}

/// What can't be read of a bundle is lost, and all after it.
fn damaged(reason: &str, index: u64) -> SourceError {
    SourceError::Damaged {
        what: format!("entry {index} and those after it"),
        reason: reason.into(),
        next: u64::MAX,
    }
}
