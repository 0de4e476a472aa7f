//! Chunks: up to 64 entries, or the bodies of the same entries, in one frame.
//!
//! ```text
//! entries: frame of kind `e`, id = first index, count = entries
//!   content: count lengths of 4 bytes, then the entries
//! bodies:  frame of kind `b`, id = first index, count = slots
//!   plain:   the salts of the bodies that are there, 32 bytes each
//!   content: count lengths of 4 bytes (ffffffff: no body), then the bodies
//! ```
//! Lengths stand together, apart from the text, so that both compress well; salts are
//! random and are not compressed. Both chunks of a run of entries have the same
//! boundaries. A chunk never spans two blocks, so it is never rewritten by an append.

use std::ops::Range;

use crate::contract::Body;
use crate::error::Damage;
use crate::frame::{Encoder, Frame, Kind};
use crate::limits::{BODY_BYTES_MAX, CHUNK_ENTRIES_MAX, CHUNK_RAW_BYTES_MAX, ENTRY_BYTES_MAX};

const LENGTH_BYTES: usize = 4;
const SALT_BYTES: usize = 32;
/// The length that says there is no body.
const NO_BODY: u32 = u32::MAX;

/// Bytes that a section of a chunk of entries may have.
pub(crate) const ENTRIES_BYTES_MAX: usize =
    (CHUNK_RAW_BYTES_MAX + ENTRY_BYTES_MAX) + CHUNK_ENTRIES_MAX * LENGTH_BYTES;
/// Bytes that a section of a chunk of bodies may have: one body that is too large to
/// share, or many that together reach the raw bound.
pub(crate) const BODIES_BYTES_MAX: usize =
    CHUNK_RAW_BYTES_MAX + BODY_BYTES_MAX + CHUNK_ENTRIES_MAX * LENGTH_BYTES;

/// Consecutive entries of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryChunk {
    first: u64,
    /// Where each entry ends in `data`; the first begins at 0.
    ends: Vec<usize>,
    data: Vec<u8>,
}

impl EntryChunk {
    /// Index of the first entry.
    #[must_use]
    pub const fn first(&self) -> u64 {
        self.first
    }

    /// How many entries; at least one.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a chunk is never empty")]
    pub const fn len(&self) -> usize {
        self.ends.len()
    }

    /// Index after the last entry.
    #[must_use]
    pub const fn end(&self) -> u64 {
        self.first + self.ends.len() as u64
    }

    /// The entry with this index in the log, if it is in the chunk.
    #[must_use]
    pub fn get(&self, index: u64) -> Option<&[u8]> {
        let at = usize::try_from(index.checked_sub(self.first)?).ok()?;
        slice(&self.data, &self.ends, at)
    }

    /// The entries in order.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.ends.len()).filter_map(|at| slice(&self.data, &self.ends, at))
    }

    pub(crate) fn from_frame(frame: Frame<Vec<u8>, Vec<u8>>) -> Result<Self, Damage> {
        let (ends, data) = split(frame.count, frame.content)?;
        let ends: Vec<usize> = ends
            .into_iter()
            .collect::<Option<_>>()
            .ok_or(Damage::Inconsistent)?;
        if !frame.plain.is_empty() || frame.id.checked_add(ends.len() as u64).is_none() {
            return Err(Damage::Inconsistent);
        }
        Ok(Self {
            first: frame.id,
            ends,
            data,
        })
    }
}

/// The bodies of consecutive entries of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BodyChunk {
    first: u64,
    /// Where each body ends in `data`, and its salt; `None` without a body.
    slots: Vec<Option<(Range<usize>, [u8; SALT_BYTES])>>,
    data: Vec<u8>,
}

impl BodyChunk {
    /// Index of the entry of the first slot.
    #[must_use]
    pub const fn first(&self) -> u64 {
        self.first
    }

    /// How many slots; at least one.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a chunk is never empty")]
    pub const fn len(&self) -> usize {
        self.slots.len()
    }

    /// Index after the last slot.
    #[must_use]
    pub const fn end(&self) -> u64 {
        self.first + self.slots.len() as u64
    }

    /// The body of the entry with this index in the log; `None` if it has none, never
    /// had one, or is not in the chunk.
    #[must_use]
    pub fn get(&self, index: u64) -> Option<Body<'_>> {
        let at = usize::try_from(index.checked_sub(self.first)?).ok()?;
        self.slot(self.slots.get(at)?.as_ref())
    }

    /// The slots in order.
    pub fn iter(&self) -> impl Iterator<Item = Option<Body<'_>>> {
        self.slots.iter().map(|slot| self.slot(slot.as_ref()))
    }

    fn slot(&self, slot: Option<&(Range<usize>, [u8; SALT_BYTES])>) -> Option<Body<'_>> {
        let (range, salt) = slot?;
        Some(Body {
            salt: *salt,
            bytes: self.data.get(range.clone())?,
        })
    }

    pub(crate) fn from_frame(frame: Frame<Vec<u8>, Vec<u8>>) -> Result<Self, Damage> {
        let (ends, data) = split(frame.count, frame.content)?;
        let mut salts = frame.plain.chunks_exact(SALT_BYTES);
        let mut start = 0;
        let mut slots = Vec::with_capacity(ends.len());
        for end in ends {
            slots.push(match end {
                None => None,
                Some(end) => {
                    let salt = salts.next().and_then(|salt| salt.try_into().ok());
                    Some((start..end, salt.ok_or(Damage::Inconsistent)?))
                }
            });
            start = end.unwrap_or(start);
        }
        let salts_left = salts.next().is_some() || !salts.remainder().is_empty();
        if salts_left || frame.id.checked_add(slots.len() as u64).is_none() {
            return Err(Damage::Inconsistent);
        }
        Ok(Self {
            first: frame.id,
            slots,
            data,
        })
    }
}

/// The runs of entries that become one chunk each. Expects a slot an entry.
pub(crate) fn runs(entries: &[&[u8]], bodies: &[Option<Body<'_>>]) -> Vec<Range<usize>> {
    let mut runs = Vec::new();
    let mut run = 0..0;
    let (mut entry_bytes, mut body_bytes) = (0_usize, 0_usize);
    for (entry, body) in entries.iter().zip(bodies) {
        let (entry, body) = (entry.len(), body.map_or(0, |body| body.bytes.len()));
        let full = run.len() == CHUNK_ENTRIES_MAX
            || entry_bytes.saturating_add(entry) > CHUNK_RAW_BYTES_MAX
            || body_bytes.saturating_add(body) > CHUNK_RAW_BYTES_MAX;
        if full && !run.is_empty() {
            runs.push(run.clone());
            run = run.end..run.end;
            (entry_bytes, body_bytes) = (0, 0);
        }
        run.end += 1;
        entry_bytes = entry_bytes.saturating_add(entry);
        body_bytes = body_bytes.saturating_add(body);
    }
    if !run.is_empty() {
        runs.push(run);
    }
    runs
}

/// The stored form of a chunk of entries.
pub(crate) fn encode_entries(encoder: &mut Encoder, first: u64, entries: &[&[u8]]) -> Vec<u8> {
    let lengths = entries.iter().map(|entry| length(entry));
    let content = join(lengths, entries.iter().copied());
    encoder.compressed(&Frame {
        kind: Kind::Entries,
        id: first,
        count: count(entries.len()),
        plain: &[],
        content: &content,
    })
}

/// The stored form of a chunk of bodies.
pub(crate) fn encode_bodies(
    encoder: &mut Encoder,
    first: u64,
    bodies: &[Option<Body<'_>>],
) -> Vec<u8> {
    let lengths = bodies
        .iter()
        .map(|body| body.map_or(NO_BODY, |body| length(body.bytes)));
    let content = join(lengths, bodies.iter().flatten().map(|body| body.bytes));
    let salts: Vec<u8> = bodies.iter().flatten().flat_map(|body| body.salt).collect();
    encoder.compressed(&Frame {
        kind: Kind::Bodies,
        id: first,
        count: count(bodies.len()),
        plain: &salts,
        content: &content,
    })
}

fn join<'a>(
    lengths: impl Iterator<Item = u32>,
    items: impl Iterator<Item = &'a [u8]> + Clone,
) -> Vec<u8> {
    let bytes: usize = items.clone().map(<[u8]>::len).sum();
    let mut content = Vec::with_capacity(CHUNK_ENTRIES_MAX * LENGTH_BYTES + bytes);
    content.extend(lengths.flat_map(u32::to_be_bytes));
    for item in items {
        content.extend(item);
    }
    content
}

/// Items are at most 64 MiB, which the append has checked.
fn length(item: &[u8]) -> u32 {
    u32::try_from(item.len()).unwrap_or(NO_BODY)
}

/// Chunks hold at most 64 items.
fn count(items: usize) -> u32 {
    u32::try_from(items).unwrap_or(u32::MAX)
}

/// Where each item ends (`None`: no item), and the items' bytes.
fn split(count: u32, mut content: Vec<u8>) -> Result<(Vec<Option<usize>>, Vec<u8>), Damage> {
    let count = usize::try_from(count)
        .ok()
        .filter(|count| (1..=CHUNK_ENTRIES_MAX).contains(count))
        .ok_or(Damage::OverLimit)?;
    if content.len() < count * LENGTH_BYTES {
        return Err(Damage::Truncated);
    }
    let data = content.split_off(count * LENGTH_BYTES);
    let mut end = 0_usize;
    let mut ends = Vec::with_capacity(count);
    for length in content.chunks_exact(LENGTH_BYTES) {
        let length = length.try_into().map_or(NO_BODY, u32::from_be_bytes);
        ends.push(if length == NO_BODY {
            None
        } else {
            // Below u32::MAX each and at most 64 of them: no overflow in 64 bits.
            end = end.saturating_add(usize::try_from(length).unwrap_or(usize::MAX));
            Some(end)
        });
    }
    if end != data.len() {
        return Err(Damage::Inconsistent);
    }
    Ok((ends, data))
}

fn slice<'a>(data: &'a [u8], ends: &[usize], at: usize) -> Option<&'a [u8]> {
    let start = match at.checked_sub(1) {
        Some(before) => *ends.get(before)?,
        None => 0,
    };
    data.get(start..*ends.get(at)?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::frame;

    fn entries_back(bytes: &[u8]) -> Result<EntryChunk, Damage> {
        EntryChunk::from_frame(frame::decode(bytes, Kind::Entries, ENTRIES_BYTES_MAX)?)
    }

    fn bodies_back(bytes: &[u8]) -> Result<BodyChunk, Damage> {
        BodyChunk::from_frame(frame::decode(bytes, Kind::Bodies, BODIES_BYTES_MAX)?)
    }

    #[test]
    fn runs_end_at_64_entries() {
        let entries = vec![&b"e"[..]; 130];
        let bodies = vec![None; 130];
        assert_eq!(runs(&entries, &bodies), [0..64, 64..128, 128..130]);
        assert!(runs(&[], &[]).is_empty());
    }

    #[test]
    fn a_large_body_stands_alone() {
        let large = vec![0; CHUNK_RAW_BYTES_MAX + 1];
        let body = |bytes| {
            Some(Body {
                salt: [0; 32],
                bytes,
            })
        };
        let bodies = [body(b"a"), body(&large), body(b"b"), None];
        assert_eq!(runs(&[&b"e"[..]; 4], &bodies), [0..1, 1..2, 2..4]);
    }

    #[test]
    fn the_largest_entries_fit_the_limit() {
        let entry = vec![b'x'; ENTRY_BYTES_MAX];
        let entries = vec![&entry[..]; 64];
        let run = runs(&entries, &[None; 64]).remove(0);
        let bytes = encode_entries(&mut Encoder::new().unwrap(), 0, &entries[run.clone()]);
        assert_eq!(entries_back(&bytes).unwrap().len(), run.len());
    }

    #[test]
    fn lengths_that_lie_are_damage() {
        let frame = |count, content: &[u8]| Frame {
            kind: Kind::Entries,
            id: 0,
            count,
            plain: vec![],
            content: content.to_vec(),
        };
        for (count, content) in [
            (0, &b""[..]),
            (65, &[0; 65 * 4]),
            (2, &[0; 7]),
            (1, &[0, 0, 0, 2, b'x']),
            (1, &[0, 0, 0, 1, b'x', b'y']),
            (1, &[0xff; 4]),
        ] {
            EntryChunk::from_frame(frame(count, content)).expect_err("a lie was accepted");
        }
        let last = Frame {
            id: u64::MAX,
            ..frame(1, &[0, 0, 0, 1, b'x'])
        };
        EntryChunk::from_frame(last).expect_err("an index past the end was accepted");
    }

    #[test]
    fn salts_that_do_not_match_the_bodies_are_damage() {
        for (salts, content) in [
            (31, &[0; 4]),
            (33, &[0; 4]),
            (64, &[0; 4]),
            (32, &[0xff; 4]),
        ] {
            let frame = Frame {
                kind: Kind::Bodies,
                id: 0,
                count: 1,
                plain: vec![0; salts],
                content: content.to_vec(),
            };
            assert_eq!(BodyChunk::from_frame(frame), Err(Damage::Inconsistent));
        }
    }

    proptest! {
        #[test]
        fn chunks_round_trip(
            first in 0..u64::MAX - 64,
            items in prop::collection::vec(
                (
                    prop::collection::vec(any::<u8>(), 1..50),
                    prop::option::of((any::<[u8; 32]>(), prop::collection::vec(any::<u8>(), 0..50))),
                ),
                1..=64,
            ),
        ) {
            let mut encoder = Encoder::new().unwrap();
            let entries: Vec<&[u8]> = items.iter().map(|(entry, _)| &entry[..]).collect();
            let bodies: Vec<Option<Body<'_>>> = items
                .iter()
                .map(|(_, body)| body.as_ref().map(|(salt, bytes)| Body { salt: *salt, bytes }))
                .collect();

            let chunk = entries_back(&encode_entries(&mut encoder, first, &entries)).unwrap();
            prop_assert_eq!(chunk.first(), first);
            prop_assert_eq!(chunk.iter().collect::<Vec<_>>(), entries.clone());
            prop_assert_eq!(chunk.get(first), Some(entries[0]));
            prop_assert_eq!(chunk.get(chunk.end()), None);
            prop_assert_eq!(chunk.get(first.wrapping_sub(1)), None);

            let chunk = bodies_back(&encode_bodies(&mut encoder, first, &bodies)).unwrap();
            prop_assert_eq!(chunk.iter().collect::<Vec<_>>(), bodies.clone());
            prop_assert_eq!(chunk.get(chunk.end() - 1), bodies[bodies.len() - 1]);
        }
    }
}
