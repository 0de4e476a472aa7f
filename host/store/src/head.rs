//! The head: where the log ends.
//!
//! ```text
//! content of a frame of kind `h`, integers big-endian
//! offset  bytes  field
//!      0      8  size
//!      8      8  blocks
//!     16      8  time, microseconds since 1970, signed
//!     24     32  root
//!     56     32  chain
//!     88      4  bytes of the note, N
//!     92      N  note
//!   92+N      -  state
//! ```
//! The frame around it carries the version and the checksum, and `size` as its id.

use auditchain_log::Hash;

use crate::error::Damage;
use crate::frame::{self, Frame, Kind};
use crate::limits::{NOTE_BYTES_MAX, STATE_BYTES_MAX};

const FIXED_BYTES: usize = 92;
/// Bytes of a frame's content that a head may have.
pub(crate) const CONTENT_BYTES_MAX: usize = FIXED_BYTES + NOTE_BYTES_MAX + STATE_BYTES_MAX;

/// The end of the log after a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Entries in the log.
    pub size: u64,
    /// Blocks in the log.
    pub blocks: u64,
    /// The time of the last block, in microseconds since 1970-01-01T00:00:00Z.
    pub time_us: i64,
    /// Root of the Merkle tree over all entries.
    pub root: Hash,
    /// Chain hash of the last entry.
    pub chain: Hash,
    /// The signed checkpoint over exactly this head, opaque here; at most
    /// [`NOTE_BYTES_MAX`]. With it in the same write as the block, nothing in a store is
    /// ever newer than what was signed.
    pub note: Vec<u8>,
    /// The service's own state, opaque here; at most
    /// [`STATE_BYTES_MAX`](crate::limits::STATE_BYTES_MAX). It is rewritten with every
    /// block: keep it small.
    pub state: Vec<u8>,
}

impl Head {
    /// The head as it is stored.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut content = Vec::with_capacity(FIXED_BYTES + self.note.len() + self.state.len());
        content.extend(self.size.to_be_bytes());
        content.extend(self.blocks.to_be_bytes());
        content.extend(self.time_us.to_be_bytes());
        content.extend(self.root.0);
        content.extend(self.chain.0);
        // An append refuses a note of more than 24 KiB.
        let note_bytes = u32::try_from(self.note.len()).unwrap_or(u32::MAX);
        content.extend(note_bytes.to_be_bytes());
        content.extend(&self.note);
        content.extend(&self.state);
        frame::stored(&Frame {
            kind: Kind::Head,
            id: self.size,
            count: 0,
            plain: &[],
            content: &content,
        })
    }

    /// Reads a stored head.
    ///
    /// # Errors
    /// Any damage.
    pub fn decode(bytes: &[u8]) -> Result<Self, Damage> {
        let frame = frame::decode(bytes, Kind::Head, CONTENT_BYTES_MAX)?;
        let (size, rest) = take(&frame.content)?;
        let (blocks, rest) = take(rest)?;
        let (time_us, rest) = take(rest)?;
        let (root, rest) = take(rest)?;
        let (chain, rest) = take(rest)?;
        let (note_bytes, rest) = take(rest)?;
        let note_bytes = usize::try_from(u32::from_be_bytes(note_bytes));
        let note_bytes = note_bytes.map_err(|_| Damage::OverLimit)?;
        if note_bytes > NOTE_BYTES_MAX {
            return Err(Damage::OverLimit);
        }
        let (note, state) = rest.split_at_checked(note_bytes).ok_or(Damage::Truncated)?;
        let head = Self {
            size: u64::from_be_bytes(size),
            blocks: u64::from_be_bytes(blocks),
            time_us: i64::from_be_bytes(time_us),
            root: Hash(root),
            chain: Hash(chain),
            note: note.to_vec(),
            state: state.to_vec(),
        };
        let consistent = frame.id == head.size
            && frame.plain.is_empty()
            && head.blocks > 0
            && head.size >= head.blocks;
        if consistent {
            Ok(head)
        } else {
            Err(Damage::Inconsistent)
        }
    }
}

fn take<const N: usize>(bytes: &[u8]) -> Result<([u8; N], &[u8]), Damage> {
    let (field, rest) = bytes.split_first_chunk().ok_or(Damage::Truncated)?;
    Ok((*field, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(note: &[u8], state: &[u8]) -> Head {
        Head {
            size: 300,
            blocks: 2,
            time_us: -5,
            root: Hash([1; 32]),
            chain: Hash([2; 32]),
            note: note.to_vec(),
            state: state.to_vec(),
        }
    }

    #[test]
    fn round_trips() {
        for state in [&b""[..], b"state", &[7; STATE_BYTES_MAX]] {
            for note in [&b""[..], b"note", &[8; NOTE_BYTES_MAX]] {
                let head = sample(note, state);
                assert_eq!(Head::decode(&head.encode()), Ok(head));
            }
        }
    }

    #[test]
    fn every_flipped_bit_is_damage() {
        let bytes = sample(b"note", b"state").encode();
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            Head::decode(&bad).expect_err("a flipped bit was accepted");
        }
    }

    #[test]
    fn contradictions_are_damage() {
        for (size, blocks) in [(0, 0), (1, 0), (1, 2)] {
            let head = Head {
                size,
                blocks,
                ..sample(b"note", b"")
            };
            assert_eq!(Head::decode(&head.encode()), Err(Damage::Inconsistent));
        }
    }

    #[test]
    fn a_note_beyond_its_limit_or_its_bytes_is_damage() {
        let head = sample(&[8; NOTE_BYTES_MAX + 1], b"");
        assert_eq!(Head::decode(&head.encode()), Err(Damage::OverLimit));
        let stored = |content: &[u8]| {
            frame::stored(&Frame {
                kind: Kind::Head,
                id: 300,
                count: 0,
                plain: &[],
                content,
            })
        };
        let good = sample(b"note", b"").encode();
        let good = frame::decode(&good, Kind::Head, CONTENT_BYTES_MAX).unwrap();
        let short = &good.content[..good.content.len() - 1];
        assert_eq!(Head::decode(&stored(short)), Err(Damage::Truncated));
    }
}
