//! Keys of the one sled tree.
//!
//! ```text
//! m "opened"                      how often the store was opened, and its format
//! m "epoch"                       the last epoch given out
//! h                               the head
//! c <index of last entry, u64>    a chunk
//! t <level, u8> <index, u64>      a full tile
//! n <name> 00                     a name that has a blob
//! x <name> 00                     a blob
//! ```
//! Each is followed by the number of the part, u16, since values are cut into parts of
//! at most 32 KiB. Integers are big-endian, so keys sort by number. Chunks are named by
//! their last index: the first key at or after `c <i>` is the chunk that holds `i`, and
//! its parts follow, so that finding and reading are one walk forward.

use std::ops::Range;

use auditchain_log::TileId;

pub(crate) const OPENED: &[u8] = b"mopened";
pub(crate) const EPOCH: &[u8] = b"mepoch";
pub(crate) const HEAD: &[u8] = b"h";

const CHUNK: u8 = b'c';
const TILE: u8 = b't';
const NAME: u8 = b'n';
const BLOB: u8 = b'x';

/// Ends a name, so that no name's keys lie among another's parts.
const NAME_END: u8 = 0;
const PART_BYTES: usize = 2;

/// The key of the chunk whose last index is this.
pub(crate) fn chunk(last: u64) -> Vec<u8> {
    [&[CHUNK][..], &last.to_be_bytes()].concat()
}

/// All keys of chunks that end at `index` or later.
pub(crate) fn chunks_from(index: u64) -> Range<Vec<u8>> {
    chunk(index)..vec![CHUNK + 1]
}

/// Last index and part of a key of a chunk.
pub(crate) fn parse_chunk(key: &[u8]) -> Option<(u64, u16)> {
    let (prefix, rest) = key.split_first()?;
    let (last, part) = rest.split_first_chunk()?;
    (*prefix == CHUNK).then_some((
        u64::from_be_bytes(*last),
        u16::from_be_bytes(part.try_into().ok()?),
    ))
}

pub(crate) fn tile(id: TileId) -> Vec<u8> {
    [&[TILE, id.level][..], &id.index.to_be_bytes()].concat()
}

/// Where the keys of tiles begin, and what follows them.
pub(crate) fn tiles() -> (Vec<u8>, Vec<u8>) {
    (vec![TILE], vec![TILE + 1])
}

pub(crate) fn name(name: &str) -> Vec<u8> {
    named(NAME, name)
}

pub(crate) fn blob(name: &str) -> Vec<u8> {
    named(BLOB, name)
}

fn named(prefix: u8, name: &str) -> Vec<u8> {
    [&[prefix][..], name.as_bytes(), &[NAME_END]].concat()
}

/// What all keys of names that begin with `start` begin with.
pub(crate) fn names(start: &str) -> Vec<u8> {
    [&[NAME][..], start.as_bytes()].concat()
}

/// The name in a key of a name.
pub(crate) fn parse_name(key: &[u8]) -> Option<&str> {
    let (name, part) = key.split_last_chunk::<PART_BYTES>()?;
    let (end, name) = name.split_first()?.1.split_last()?;
    (*part == [0; PART_BYTES] && *end == NAME_END)
        .then(|| std::str::from_utf8(name).ok())
        .flatten()
}

/// The key of one part of a value.
pub(crate) fn part(key: &[u8], part: u16) -> Vec<u8> {
    [key, &part.to_be_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunk_keys_parse_and_sort_by_index() {
        let key = |last, n| part(&chunk(last), n);
        assert_eq!(parse_chunk(&key(7, 3)), Some((7, 3)));
        assert_eq!(parse_chunk(&key(7, 3)[..10]), None);
        assert_eq!(parse_chunk(b"x234567890a"), None);
        assert!(key(255, u16::MAX) < key(256, 0));
        let range = chunks_from(256);
        assert!(range.contains(&key(256, 0)) && range.contains(&key(u64::MAX, 9)));
        assert!(!range.contains(&key(255, 9)));
        assert!(!range.contains(&part(HEAD, 0)) && !range.contains(&part(&blob("a"), 0)));
    }

    #[test]
    fn names_parse_and_do_not_mix() {
        assert_eq!(parse_name(&part(&name("a/b"), 0)), Some("a/b"));
        assert_eq!(parse_name(&part(&name("a/b"), 1)), None);
        assert_eq!(parse_name(b"n"), None);
        // "a" with any part sorts before "a0", and is no prefix of it.
        assert!(part(&blob("a"), u16::MAX) < part(&blob("a0"), 0));
        assert!(!blob("a0").starts_with(&blob("a")));
        assert!(name("ab").starts_with(&names("a")));
    }
}
