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

use auditchain_log::TileId;

use crate::compact;
use crate::error::{StoreError, What};
use crate::frame::Kind;
use crate::fsck::scan;
use crate::fsck::value::{Found as FoundValue, Value};
use crate::lock::DirLock;
use crate::sled_store::io_error;

/// A value that was found damaged, or not found at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DamagedValue {
    /// What it is: entries with their bodies, or a tile.
    pub what: What,
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
    let _lock = DirLock::share_if_there(dir)?;
    let Some(store) = compact::current(dir) else {
        return Err(StoreError::NotFound {
            dir: dir.to_owned(),
        });
    };
    let path = store.join("db");
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
        if describe(value).is_none() {
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
        let mut report = self.gaps();
        let size = self.size();
        for (value, offset) in &self.damaged {
            let Some((what, index, count)) = describe(*value) else {
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

    fn chunks(&self) -> impl Iterator<Item = &Value> {
        let chunk = |value: &&Value| value.kind == Kind::Chunk as u8;
        self.intact.iter().filter(chunk)
    }

    /// Entries that are there in some intact chunk.
    fn size(&self) -> u64 {
        self.chunks()
            .map(|value| value.id.saturating_add(value.count.into()))
            .max()
            .unwrap_or(0)
    }

    /// What no intact chunk covers.
    fn gaps(&self) -> Vec<DamagedValue> {
        let gap = |index: u64, end: u64| DamagedValue {
            what: What::Entries,
            index,
            count: end - index,
            offset: None,
            has_intact_copy: false,
        };
        let mut covered = 0;
        let mut gaps = Vec::new();
        for chunk in self.chunks() {
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

/// What it is, the first entry it is about and how many; `None` if it is about none.
fn describe(value: Value) -> Option<(What, u64, u64)> {
    let (first, count) = value.entries()?;
    let what = if value.kind == Kind::Chunk as u8 {
        What::Entries
    } else {
        let level = u8::try_from(value.count).ok()?;
        What::Tile(TileId {
            level,
            index: value.id,
        })
    };
    Some((what, first, count))
}
