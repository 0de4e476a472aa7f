//! Our values inside sled's bytes, found by how their header begins.

use sha2::{Digest, Sha256};

use crate::frame::{HEADER_BYTES, Kind};
use crate::limits::VALUE_BYTES_MAX;

/// Bytes under the checksum at the front of a value.
const CHECKED_BYTES: usize = 32;

/// A stored value, as its header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Value {
    /// The kind's letter, see `frame`.
    pub(crate) kind: u8,
    /// What binds it to its key.
    pub(crate) id: u64,
    /// Entries, bodies; the level of a tile.
    pub(crate) count: u32,
}

/// A value's header, wherever it was found.
pub(crate) struct Found {
    pub(crate) value: Value,
    /// As stored, header and all.
    bytes: usize,
}

impl Found {
    /// Reads a header, if one is there. What follows may be anything.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        // Version, kind, codec, zero, the dictionary's number: see `frame`.
        let [1, kind, 0 | 1, 0, 0, 0, 0, 0 | 1, ..] = bytes else {
            return None;
        };
        if !Kind::ALL.iter().any(|known| *known as u8 == *kind) {
            return None;
        }
        let header: &[u8; HEADER_BYTES] = bytes.first_chunk()?;
        let number = |at: usize| {
            let bytes: Option<&[u8; 4]> = header[at..].first_chunk();
            bytes.map(|bytes| u32::from_be_bytes(*bytes))
        };
        let (_, id) = header.split_first_chunk::<8>()?;
        let section = |at| number(at).and_then(|bytes| usize::try_from(bytes).ok());
        let sections = section(20)?.checked_add(section(24)?)?;
        Some(Self {
            value: Value {
                kind: *kind,
                id: u64::from_be_bytes(*id.first_chunk()?),
                count: number(16)?,
            },
            bytes: HEADER_BYTES.checked_add(sections)?,
        })
    }

    /// Whether it lies in one piece.
    pub(crate) fn is_whole(&self) -> bool {
        self.bytes <= VALUE_BYTES_MAX
    }

    /// Whether its checksum holds; `bytes` begins with it.
    pub(crate) fn holds(&self, bytes: &[u8]) -> bool {
        let Some(value) = bytes.get(..self.bytes) else {
            return false;
        };
        let (header, sections) = value.split_at(HEADER_BYTES);
        let (checked, sum) = header.split_at(CHECKED_BYTES);
        let digest = Sha256::new()
            .chain_update(checked)
            .chain_update(sections)
            .finalize();
        digest.starts_with(sum)
    }
}

impl Value {
    /// The first entry that it is about and how many; `None` if it is about none.
    pub(crate) fn entries(self) -> Option<(u64, u64)> {
        if self.kind == Kind::Chunk as u8 {
            return Some((self.id, self.count.into()));
        }
        if self.kind != Kind::Tile as u8 {
            return None;
        }
        let level = self.count.checked_add(1)?;
        let leaves = 1_u64.checked_shl(level.checked_mul(8)?)?;
        Some((self.id.checked_mul(leaves)?, leaves))
    }

    /// As it is told.
    pub(super) fn name(self) -> String {
        match self.kind {
            b'c' => {
                let last = self.id.saturating_add(u64::from(self.count.max(1)) - 1);
                format!("entries {} to {last}", self.id)
            }
            b't' => format!("tile {}/{}", self.count, self.id),
            b'h' => "the head".to_owned(),
            b'a' => "the epoch".to_owned(),
            b'o' => "the format marker".to_owned(),
            b'n' => "the name of a value".to_owned(),
            _ => "a named value".to_owned(),
        }
    }
}

/// Values in a damaged piece of sled's file that don't hold, or might not: those of
/// several parts.
pub(super) fn damaged_values(bytes: &[u8]) -> Vec<Value> {
    let mut values: Vec<Value> = (0..bytes.len())
        .filter_map(|at| {
            let bytes = &bytes[at..];
            Found::parse(bytes)
                .filter(|found| !found.holds(bytes))
                .map(|found| found.value)
        })
        .collect();
    values.dedup();
    values
}
