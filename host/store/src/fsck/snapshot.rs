//! sled's small files: its settings and its snapshot.
//!
//! ```text
//! conf        three lines of text, CRC-32 over them
//! snap.<LSN>  LSN up to which it goes (0: none, else one more), 8 bytes
//!             offset of the segment being written (0: none, else one more)
//!             for each page: 0, LSN, place: a free page; or n, LSN, place, bytes, and
//!               n - 1 times the same: where the page and its changes lie
//!             bytes of the above, 8; CRC-32 over the above
//! ```
//! LSNs have 8 bytes; a place is 0 and an offset in the file, or 1, an offset and the
//! LSN that names a file in `blobs`. Other integers are of variable length.

use std::collections::BTreeMap;

use super::format::{SEGMENT, integer, varint};

/// What a snapshot says.
#[derive(Debug)]
pub(super) struct Snapshot {
    /// Up to where in the log it goes.
    pub(super) end: u64,
    /// The segment that was being written.
    pub(super) active: Option<u64>,
    /// Segments that held pages then, by offset in the file, with the LSN they began at.
    pub(super) segments: BTreeMap<u64, u64>,
}

impl Snapshot {
    /// Reads the file of this name.
    ///
    /// # Errors
    /// In words, what is wrong with it.
    pub(super) fn parse(name: &str, bytes: &[u8]) -> Result<Self, &'static str> {
        let (rest, sum) = bytes.split_last_chunk::<4>().ok_or("it is cut off")?;
        let (mut body, length) = rest.split_last_chunk::<8>().ok_or("it is cut off")?;
        if u32::from_le_bytes(*sum) != crc32fast::hash(body) {
            return Err("checksum mismatch");
        }
        if u64::from_le_bytes(*length) != body.len() as u64 {
            return Err("it states another length than it has");
        }
        let snapshot = Self::read(&mut body).ok_or("it contradicts itself")?;
        if name != format!("snap.{:016X}", snapshot.end) {
            return Err("it has another's name: it was copied or renamed");
        }
        Ok(snapshot)
    }

    fn read(body: &mut &[u8]) -> Option<Self> {
        let end = integer(body)?.checked_sub(1)?;
        let active = varint(body)?.checked_sub(1);
        let mut segments = BTreeMap::new();
        while !body.is_empty() {
            let pieces = *body.split_off_first()?;
            for _ in 0..pieces.max(1) {
                let (lsn, at) = (integer(body)?, place(body)?);
                if pieces > 0 {
                    varint(body)?; // bytes
                }
                let (lsn_there, base) = (lsn - lsn % SEGMENT, at - at % SEGMENT);
                let same = *segments.entry(base).or_insert(lsn_there) == lsn_there;
                if lsn >= end || lsn % SEGMENT != at % SEGMENT || !same {
                    return None;
                }
            }
        }
        Some(Self {
            end,
            active,
            segments,
        })
    }
}

fn place(body: &mut &[u8]) -> Option<u64> {
    let spilled = *body.split_off_first()?;
    let at = varint(body)?;
    if spilled == 1 {
        integer(body)?;
    }
    (spilled <= 1).then_some(at)
}

/// Checks sled's settings.
///
/// # Errors
/// In words, what is wrong with them.
pub(super) fn check_conf(bytes: &[u8]) -> Result<(), &'static str> {
    let (text, sum) = bytes.split_last_chunk::<4>().ok_or("it is cut off")?;
    if u32::from_le_bytes(*sum) != crc32fast::hash(text) {
        return Err("checksum mismatch");
    }
    let expected = format!("segment_size: {SEGMENT}\nuse_compression: false\nversion: 0.34\n");
    if text != expected.as_bytes() {
        return Err("it has other settings than the store makes");
    }
    Ok(())
}
