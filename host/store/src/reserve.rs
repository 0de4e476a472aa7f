//! Keys before their values, so that sled writes a value once.
//!
//! sled 0.34 keeps up to 16 keys in a leaf page. A new value is written as a delta to its
//! page; with the tenth delta the page is written anew, whole, and with the 17th key it is
//! split and both halves are written. Appending at the right edge of the tree therefore
//! writes each value about three times, and the file is more than twice what is alive.
//!
//! Splits happen when keys come, not when values do. So the keys of chunks and tiles to
//! come are put in ahead, with empty values: pages are split while they weigh nothing, and
//! later each value is one delta to a page that is never written again.
//!
//! - **Chunks** end at every multiple of 64 entries (`chunker`), so the keys of those to
//!   come are known. Each gets a companion that stays empty, so that a page has four
//!   values and room for the chunks that end elsewhere, at the end of a block.
//! - **Tiles** of level 0 come one after the other; higher ones are rare.
//! - **Moats**: empty keys between the regions and around what is written often (the
//!   head) or is large (named values), so that none shares a page with others' values.
//!
//! An empty value is no value, and keys past the head are garbage like all else there.

use std::ops::RangeInclusive;

use auditchain_log::{TILE_WIDTH, TileId};

use crate::keys;
use crate::limits::CHUNK_ENTRIES_MAX;

/// Entries for whose chunks and tiles there are keys ahead of the head, at least; twice
/// as many once new ones are put in.
const ENTRIES_AHEAD: u64 = 1 << 14;
/// Keys of a moat: more than a page takes.
const MOAT: u16 = 17;
/// The part number of companions: no value has as many parts.
const COMPANION: u16 = u16::MAX;

/// How far keys have been put in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Reserved {
    /// Entries below this have keys for their chunks and tiles.
    entries: u64,
}

impl Reserved {
    /// What a store has whose last key before the end of the chunks' region is this.
    pub(crate) fn of_last_chunk_key(key: Option<&[u8]>) -> Self {
        let last = key.and_then(keys::parse_chunk).map(|(last, _)| last);
        Self {
            entries: last.map_or(0, |last| last.saturating_add(1)),
        }
    }

    /// The keys to put in before a block that makes the log this long.
    pub(crate) fn keys_for(&mut self, size: u64) -> Vec<Vec<u8>> {
        let mut keys = Vec::new();
        if self.entries >= size.saturating_add(ENTRIES_AHEAD) {
            return keys;
        }
        if self.entries == 0 {
            keys.extend(moats());
        }
        let (chunk, tile) = (CHUNK_ENTRIES_MAX as u64, TILE_WIDTH as u64);
        let end = size.saturating_add(2 * ENTRIES_AHEAD) / tile * tile;
        for n in self.entries / chunk..end / chunk {
            let key = keys::chunk(n * chunk + (chunk - 1));
            keys.push(keys::part(&key, 0));
            keys.push(keys::part(&key, COMPANION));
        }
        for index in self.entries / tile..end / tile {
            keys.push(keys::part(&keys::tile(TileId { level: 0, index }), 0));
        }
        self.entries = end;
        keys
    }
}

/// The keys to put in before a named value of so many parts.
pub(crate) fn keys_for_blob(key: &[u8], parts: u16) -> impl Iterator<Item = Vec<u8>> {
    let all: RangeInclusive<u16> = 0..=parts.saturating_add(MOAT);
    all.map(|part| keys::part(key, part))
}

/// Between the keys of chunks and their moat.
pub(crate) fn chunks_end() -> Vec<u8> {
    keys::chunk(u64::MAX)
}

/// After the chunks, around the head, and after the tiles of level 0.
fn moats() -> impl Iterator<Item = Vec<u8>> {
    let last_tile = keys::tile(TileId {
        level: 0,
        index: u64::MAX,
    });
    let moat = |key: Vec<u8>| (1..=MOAT).map(move |part| keys::part(&key, part));
    moat(chunks_end())
        .chain(moat(keys::HEAD.to_vec()))
        .chain(moat(last_tile))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_put_in_once_and_ahead() {
        let mut reserved = Reserved::default();
        let first = reserved.keys_for(5);
        assert!(first.contains(&keys::part(&keys::chunk(63), 0)));
        assert!(reserved.keys_for(5).is_empty());
        assert!(reserved.keys_for(ENTRIES_AHEAD - 256).is_empty());
        let more = reserved.keys_for(3 * ENTRIES_AHEAD);
        assert!(!more.is_empty() && more.iter().all(|key| !first.contains(key)));
        // As when the store is opened again.
        let last = more.iter().filter(|key| key[0] == b'c').max();
        let again = Reserved::of_last_chunk_key(last.map(Vec::as_slice));
        assert_eq!(again, reserved);
        assert_eq!(Reserved::of_last_chunk_key(None), Reserved::default());
    }

    #[test]
    fn a_log_of_any_size_is_no_problem() {
        let mut reserved = Reserved {
            entries: u64::MAX - 1000,
        };
        assert!(reserved.keys_for(u64::MAX - 10).len() < 100);
    }
}
