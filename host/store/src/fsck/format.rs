//! sled 0.34.7's bytes, as far as they say whether they are whole.
//!
//! ```text
//! segment  4 MiB: header, records, and at its end a cap or fewer than 32 zeros
//!   header 20: CRC-32 over the 16 bytes that follow, inverted
//!              its number in the log (LSN), XOR 2^63-1
//!              the LSN up to which all was on disk when it was begun, XOR 2^63-1
//!   record     CRC-32 over body, then over the header behind this field, inverted
//!              kind, 1 byte
//!              bytes of the body, segment's number, page: variable-length integers
//!              body
//!   cap        a record of kind 2 whose body is zeros; what is left behind it is zero
//! ```
//! Integers are little-endian. No record begins in the last 32 bytes of a segment. A
//! record's LSN is its segment's plus its offset there; the segment's number is its LSN
//! divided by 4 MiB. Where a segment lies in the file has no meaning; it is never before
//! the place that its LSN, read as an offset, names.

use crate::engine::SEGMENT_BYTES;

pub(super) const SEGMENT: u64 = SEGMENT_BYTES as u64;
pub(super) const SEGMENT_HEADER_BYTES: usize = 20;
/// No record begins in so many bytes at the end of a segment.
pub(super) const RED_ZONE_BYTES: usize = 32;
/// The kernel writes whole pages: a write that was broken off ends at such a boundary.
pub(super) const PAGE_BYTES: usize = 4096;

const KIND_CAP: u8 = 2;
/// The mark before a batch: the LSN of its last record.
const KIND_BATCH: u8 = 3;
/// The highest kind there is. 0 is none: cleared space.
const KIND_MAX: u8 = 11;
const LSN_MASK: u64 = i64::MAX as u64;

/// The head of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    /// Where in the log it begins.
    pub(super) lsn: u64,
    /// Up to where the log was on disk then: the last LSN and one more.
    pub(super) stable_end: u64,
}

impl SegmentHeader {
    /// Reads it; `None` if its checksum doesn't hold.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let (header, _) = bytes.split_first_chunk::<SEGMENT_HEADER_BYTES>()?;
        let (sum, rest) = header.split_first_chunk::<4>()?;
        if u32::from_le_bytes(*sum) != !crc32fast::hash(rest) {
            return None;
        }
        let (lsn, stable) = rest.split_first_chunk::<8>()?;
        let lsn = u64::from_le_bytes(*lsn) ^ LSN_MASK;
        // -1 before anything was on disk.
        let stable = u64::from_le_bytes(*stable.first_chunk()?) ^ LSN_MASK;
        Some(Self {
            lsn,
            stable_end: stable.wrapping_add(1),
        })
    }

    /// As it stands in each record's header.
    pub(super) fn number(&self) -> u64 {
        self.lsn / SEGMENT
    }
}

/// A record's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Record {
    sum: u32,
    kind: u8,
    pub(super) segment: u64,
    pub(super) header_bytes: usize,
    body_bytes: u64,
}

impl Record {
    /// Reads a header; `None` if it can't be one. Its record may end behind `bytes`.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let (sum, mut rest) = bytes.split_first_chunk::<4>()?;
        let kind = *rest.split_off_first()?;
        if kind == 0 || kind > KIND_MAX {
            return None;
        }
        let body_bytes = varint(&mut rest)?;
        let segment = varint(&mut rest)?;
        varint(&mut rest)?; // the page
        (body_bytes <= SEGMENT).then_some(Self {
            sum: u32::from_le_bytes(*sum),
            kind,
            segment,
            header_bytes: bytes.len() - rest.len(),
            body_bytes,
        })
    }

    /// Header and body.
    pub(super) fn bytes(&self) -> usize {
        // Bounded by `parse`.
        self.header_bytes + usize::try_from(self.body_bytes).unwrap_or(SEGMENT_BYTES)
    }

    pub(super) fn is_cap(&self) -> bool {
        self.kind == KIND_CAP
    }

    pub(super) fn is_batch(&self) -> bool {
        self.kind == KIND_BATCH
    }

    /// Whether it is there whole and its checksum holds; `bytes` begins with its header.
    pub(super) fn holds(&self, bytes: &[u8]) -> bool {
        let Some(record) = bytes.get(..self.bytes()) else {
            return false;
        };
        let (header, body) = record.split_at(self.header_bytes);
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(body);
        hasher.update(&header[4..]);
        self.sum == !hasher.finalize()
    }
}

/// A record at the beginning of `bytes` that holds.
pub(super) fn whole_record(bytes: &[u8]) -> Option<Record> {
    Record::parse(bytes).filter(|record| record.holds(bytes))
}

/// Takes an integer of variable length off the front.
pub(super) fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let first = *bytes.split_off_first()?;
    Some(match first {
        0..=240 => first.into(),
        241..=248 => 240 + 256 * (u64::from(first) - 241) + u64::from(*bytes.split_off_first()?),
        249 => {
            let (high, low) = (*bytes.split_off_first()?, *bytes.split_off_first()?);
            2288 + 256 * u64::from(high) + u64::from(low)
        }
        first => {
            let taken = bytes.split_off(..usize::from(first) - 247)?;
            let mut integer = [0; 8];
            integer[..taken.len()].copy_from_slice(taken);
            u64::from_le_bytes(integer)
        }
    })
}

/// Takes an integer of 8 bytes off the front.
pub(super) fn integer(bytes: &mut &[u8]) -> Option<u64> {
    let (integer, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(u64::from_le_bytes(*integer))
}

/// Where the first byte is that isn't zero.
pub(super) fn first_set(bytes: &[u8]) -> Option<usize> {
    const ZEROS: [u8; 256] = [0; 256];
    // Compared by blocks: most of what is asked about is megabytes of zeros.
    let mut at = 0;
    for block in bytes.chunks(ZEROS.len()) {
        if *block != ZEROS[..block.len()] {
            return block
                .iter()
                .position(|byte| *byte != 0)
                .map(|in_block| at + in_block);
        }
        at += block.len();
    }
    None
}

/// Where the last byte is that isn't zero.
pub(super) fn last_set(bytes: &[u8]) -> Option<usize> {
    bytes.iter().rposition(|byte| *byte != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_of_all_lengths() {
        for (bytes, value) in [
            (&[240][..], 240),
            (&[241, 0], 240),
            (&[248, 255], 2287),
            (&[249, 0, 0], 2288),
            (&[249, 255, 255], 67_823),
            (&[250, 1, 2, 3], 0x03_02_01),
            (&[255, 1, 2, 3, 4, 5, 6, 7, 8], 0x0807_0605_0403_0201),
        ] {
            let mut rest = bytes;
            assert_eq!(varint(&mut rest), Some(value));
            assert!(rest.is_empty());
            let mut cut = &bytes[..bytes.len() - 1];
            assert_eq!(varint(&mut cut), None);
        }
    }

    #[test]
    fn zeros_are_told_from_the_rest() {
        let mut bytes = vec![0; 1000];
        assert_eq!((first_set(&bytes), last_set(&bytes)), (None, None));
        for at in [0, 255, 256, 999] {
            bytes[at] = 1;
            assert_eq!((first_set(&bytes), last_set(&bytes)), (Some(at), Some(at)));
            bytes[at] = 0;
        }
    }
}
