//! Finds what is damaged in sled's file without sled.
//!
//! sled names no place when it refuses a damaged database, and cuts a damaged log off.
//! An auditor wants to know which entries are concerned. Our values lie in sled's file
//! byte for byte, so they can be found by the beginning of their header and checked by
//! their checksum, whatever sled thinks of the pages around them.
//!
//! sled keeps several copies of a value (it rewrites pages) and reuses room, so an old
//! copy may be damaged or half overwritten in a healthy store: what is found explains a
//! failure, it does not establish one. Values of several parts are not checked, since
//! their parts lie apart.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;

use crate::error::StoreError;
use crate::fsck::scan;
use crate::fsck::value::{Found as FoundValue, Value};
use crate::lock::DirLock;
use crate::sled_store::{STORE_DIR, io_error};

/// Kinds that cover the log without gaps, each by itself: a chunk of entries and bodies,
/// or of one of them.
const CHUNKS: [u8; 3] = *b"bce";
const TILE: u8 = b't';

/// A value that was found damaged, or not found at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DamagedValue {
    /// What it is, in words: entries, bodies or a tile.
    pub what: String,
    /// Index of the first entry it holds; for a tile, of the first leaf under it.
    pub index: u64,
    /// How many entries it holds, or leaves under it.
    pub count: u64,
    /// Where it begins in `store/db`; `None` if no trace of it was found.
    pub offset: Option<u64>,
    /// An intact copy is in the file too.
    pub has_intact_copy: bool,
}

/// Looks through the database of a data directory; changes nothing. What has no intact
/// copy comes first, then by index.
///
/// # Errors
/// No store, a running service on it, or I/O.
pub fn find_damage(dir: &Path) -> Result<Vec<DamagedValue>, StoreError> {
    let path = dir.join(STORE_DIR).join("db");
    if !path.is_file() {
        return Err(StoreError::NotFound {
            dir: dir.to_owned(),
        });
    }
    let _lock = DirLock::share_if_there(dir)?;
    let mut found = Found::default();
    File::open(&path)
        .and_then(|file| found.scan(file))
        .map_err(io_error("can't read", &path))?;
    Ok(found.report())
}

#[derive(Default)]
struct Found {
    intact: BTreeSet<Value>,
    damaged: BTreeSet<(Value, u64)>,
}

impl Found {
    fn scan(&mut self, file: File) -> std::io::Result<()> {
        scan(file, |bytes, offset| self.look_at(bytes, offset))
    }

    fn look_at(&mut self, bytes: &[u8], offset: u64) {
        let Some(found) = FoundValue::parse(bytes) else {
            return; // what is missing shows as a gap
        };
        let value = found.value;
        if !CHUNKS.contains(&value.kind) && value.kind != TILE {
            return;
        }
        // Of several parts only the first is here; it is taken on trust.
        if !found.is_whole() || found.holds(bytes) {
            self.intact.insert(value);
        } else {
            self.damaged.insert((value, offset));
        }
    }

    fn report(self) -> Vec<DamagedValue> {
        let mut report = Vec::new();
        for kind in CHUNKS {
            report.extend(self.gaps(kind));
        }
        let size = self.size();
        for (value, offset) in &self.damaged {
            let (what, Some((index, count))) = value.describe() else {
                continue;
            };
            // Garbage in the header itself: the real one is found as a gap.
            if index.checked_add(count).is_none_or(|end| end > size) {
                continue;
            }
            let has_intact_copy = self.intact.contains(value);
            let in_gap = |gap: &DamagedValue| gap.what == what && gap.index == index;
            if let Some(gap) = report.iter_mut().find(|gap| in_gap(gap)) {
                gap.offset = Some(*offset);
                continue;
            }
            report.push(DamagedValue {
                what,
                index,
                count,
                offset: Some(*offset),
                has_intact_copy,
            });
        }
        report.sort_by_key(|value| (value.has_intact_copy, value.index, value.offset));
        report
    }

    /// Entries that are there in some intact chunk, of entries or of bodies.
    fn size(&self) -> u64 {
        let chunks = self.intact.iter().filter(|value| value.kind != TILE);
        chunks
            .map(|value| value.id.saturating_add(value.count.into()))
            .max()
            .unwrap_or(0)
    }

    /// What no intact chunk of this kind covers, if the store has such chunks.
    fn gaps(&self, kind: u8) -> Vec<DamagedValue> {
        let gap = |index: u64, end: u64| DamagedValue {
            what: Value {
                kind,
                id: index,
                count: 0,
            }
            .describe()
            .0,
            index,
            count: end - index,
            offset: None,
            has_intact_copy: false,
        };
        let damaged = self.damaged.iter().map(|(value, _)| value);
        if !self
            .intact
            .iter()
            .chain(damaged)
            .any(|value| value.kind == kind)
        {
            return Vec::new();
        }
        let mut covered = 0;
        let mut gaps = Vec::new();
        for chunk in self.intact.iter().filter(|value| value.kind == kind) {
            if chunk.id > covered {
                gaps.push(gap(covered, chunk.id));
            }
            covered = covered.max(chunk.id.saturating_add(chunk.count.into()));
        }
        if self.size() > covered {
            gaps.push(gap(covered, self.size()));
        }
        gaps
    }
}
