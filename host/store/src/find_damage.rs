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
use std::io::Read;
use std::path::Path;

use auditchain_log::TileId;

use crate::block;
use crate::chunk;
use crate::compact;
use crate::error::{StoreError, What};
use crate::frame::{self, HEADER_BYTES, Header, Kind};
use crate::limits::VALUE_BYTES_MAX;
use crate::lock::DirLock;
use crate::sled_store::io_error;

/// Bytes read at a time.
const WINDOW_BYTES: usize = 4 << 20;

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
    let _lock = DirLock::take_if_there(dir)?;
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

/// Which value: its kind, id and count as its header says.
type Key = (u8, u64, u32);

#[derive(Default)]
struct Found {
    intact: BTreeSet<Key>,
    damaged: BTreeSet<(Key, u64)>,
}

impl Found {
    fn scan(&mut self, mut file: impl Read) -> std::io::Result<()> {
        let mut window = Vec::with_capacity(WINDOW_BYTES + VALUE_BYTES_MAX);
        let mut window_offset = 0_u64;
        loop {
            let read = (&mut file)
                .take(WINDOW_BYTES as u64)
                .read_to_end(&mut window)?;
            // A value that begins in the last part of a window is looked at with the
            // next one, when it is there whole; at the end of the file there is none.
            let done = if read == 0 {
                window.len()
            } else {
                window.len().saturating_sub(VALUE_BYTES_MAX)
            };
            for at in 0..done {
                self.look_at(&window[at..], window_offset + at as u64);
            }
            if read == 0 {
                return Ok(());
            }
            window.drain(..done);
            window_offset += done as u64;
        }
    }

    fn look_at(&mut self, bytes: &[u8], offset: u64) {
        // Version, kind, codec, zero, dictionary: see `frame`.
        let [1, kind, 0 | 1, 0, 0, 0, 0, 0 | 1, ..] = bytes else {
            return;
        };
        let (kind, limit) = match kind {
            b'c' => (Kind::Chunk, chunk::BYTES_MAX),
            b't' => (Kind::Tile, block::TILE_BYTES),
            _ => return,
        };
        let Ok(header) = Header::parse(bytes, kind, limit) else {
            return; // what is missing shows as a gap
        };
        let key = (kind as u8, header.id(), header.count());
        let length = header.value_bytes();
        let intact = length > VALUE_BYTES_MAX // its first part; taken on trust
            || bytes.get(..length).is_some_and(|value| frame::decode(value, kind, limit).is_ok());
        if intact {
            self.intact.insert(key);
        } else {
            self.damaged.insert((key, offset));
        }
    }

    fn report(self) -> Vec<DamagedValue> {
        let mut report = self.gaps();
        let size = self.size();
        for (key, offset) in &self.damaged {
            let Some((what, index, count)) = describe(*key) else {
                continue;
            };
            // Garbage in the header itself: the real one is found as a gap.
            if index.checked_add(count).is_none_or(|end| end > size) {
                continue;
            }
            let has_intact_copy = self.intact.contains(key);
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

    /// Entries that are there in some intact chunk.
    fn size(&self) -> u64 {
        let chunks = self.intact.iter().filter(|key| key.0 != Kind::Tile as u8);
        chunks
            .map(|key| key.1.saturating_add(key.2.into()))
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
        let kind = Kind::Chunk as u8;
        let mut covered = 0;
        let mut gaps = Vec::new();
        for (_, first, count) in self.intact.range((kind, 0, 0)..(kind + 1, 0, 0)) {
            if *first > covered {
                gaps.push(gap(covered, *first));
            }
            covered = covered.max(first.saturating_add((*count).into()));
        }
        if self.size() > covered {
            gaps.push(gap(covered, self.size()));
        }
        gaps
    }
}

/// What it is, the first index and how many.
fn describe((kind, id, count): Key) -> Option<(What, u64, u64)> {
    match kind {
        b'c' => Some((What::Entries, id, count.into())),
        _ => {
            let level = u8::try_from(count).ok()?;
            let leaves = 1_u64.checked_shl(8 * (u32::from(level) + 1))?;
            let what = What::Tile(TileId { level, index: id });
            Some((what, id.checked_mul(leaves)?, leaves))
        }
    }
}

const _: () = assert!(HEADER_BYTES < VALUE_BYTES_MAX && VALUE_BYTES_MAX < WINDOW_BYTES);
