//! The envelope of every stored value: says what it is, and names damage.
//!
//! ```text
//! offset  bytes  field (integers big-endian)
//!      0      1  version, 1
//!      1      1  kind (see `Kind`)
//!      2      1  codec of the content: 0 stored, 1 zstd
//!      3      1  zero
//!      4      4  dictionary id, 0 = none
//!      8      8  id: first index, tile index, epoch; binds the value to its key
//!     16      4  count: slots, tile level, format
//!     20      4  bytes of the plain section
//!     24      4  bytes of the content as stored
//!     28      4  bytes of the content once decompressed
//!     32     16  first half of SHA-256 over the 32 bytes above, plain section, content
//!     48      -  plain section: what compression can't shrink (salts, hashes)
//!      -      -  content
//! ```
//! Invariants: decoding allocates no more than the limit its caller names, and never
//! panics. The checksum finds accidents; an attacker can recompute it, which is what
//! the hash chain and the tree are for.

use sha2::{Digest, Sha256};

use crate::dictionary;
use crate::error::Damage;

const VERSION: u8 = 1;
const CODEC_STORED: u8 = 0;
const CODEC_ZSTD: u8 = 1;
const CHECKED_BYTES: usize = 32;
const CHECKSUM_BYTES: usize = 16;
pub(crate) const HEADER_BYTES: usize = CHECKED_BYTES + CHECKSUM_BYTES;

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    Opened = b'o',
    Epoch = b'a',
    Head = b'h',
    Chunk = b'c',
    Tile = b't',
    Name = b'n',
    Blob = b'x',
}

impl Kind {
    /// All there are.
    pub(crate) const ALL: [Self; 7] = [
        Self::Opened,
        Self::Epoch,
        Self::Head,
        Self::Chunk,
        Self::Tile,
        Self::Name,
        Self::Blob,
    ];
}

/// A value before it is stored, or after it was read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Frame<P, C> {
    pub(crate) kind: Kind,
    pub(crate) id: u64,
    pub(crate) count: u32,
    pub(crate) plain: P,
    pub(crate) content: C,
}

/// The frame with its content compressed, unless that would not shrink it.
pub(crate) fn compressed(frame: &Frame<&[u8], &[u8]>) -> Vec<u8> {
    compressed_by(frame, 0)
}

/// The same, with the dictionary of chunks.
pub(crate) fn compressed_with_dictionary(frame: &Frame<&[u8], &[u8]>) -> Vec<u8> {
    compressed_by(frame, dictionary::ID)
}

fn compressed_by(frame: &Frame<&[u8], &[u8]>, dictionary: u32) -> Vec<u8> {
    match dictionary::compress(frame.content, dictionary != 0) {
        Ok(packed) if packed.len() < frame.content.len() => {
            assemble(frame, CODEC_ZSTD, dictionary, &packed)
        }
        // A failing compressor costs space, not data.
        Ok(_) | Err(_) => stored(frame),
    }
}

/// The frame with its content as it is.
pub(crate) fn stored(frame: &Frame<&[u8], &[u8]>) -> Vec<u8> {
    assemble(frame, CODEC_STORED, 0, frame.content)
}

fn assemble(frame: &Frame<&[u8], &[u8]>, codec: u8, dictionary: u32, packed: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_BYTES + frame.plain.len() + packed.len());
    bytes.extend([VERSION, frame.kind as u8, codec, 0]);
    bytes.extend(dictionary.to_be_bytes());
    bytes.extend(frame.id.to_be_bytes());
    bytes.extend(frame.count.to_be_bytes());
    for section in [frame.plain, packed, frame.content] {
        bytes.extend(length(section).to_be_bytes());
    }
    let sum = checksum(&bytes, frame.plain, packed);
    bytes.extend(sum);
    bytes.extend(frame.plain);
    bytes.extend(packed);
    bytes
}

/// Sections are bounded by [`limits`](crate::limits), all far below 4 GiB; should one
/// ever not be, the saturated length makes the value unreadable, not silently short.
fn length(section: &[u8]) -> u32 {
    u32::try_from(section.len()).unwrap_or(u32::MAX)
}

fn checksum(header: &[u8], plain: &[u8], packed: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let digest = Sha256::new()
        .chain_update(header)
        .chain_update(plain)
        .chain_update(packed)
        .finalize();
    let mut sum = [0; CHECKSUM_BYTES];
    sum.copy_from_slice(&digest[..CHECKSUM_BYTES]);
    sum
}

/// A parsed header, its sizes checked against a limit.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Header {
    codec: u8,
    dictionary: u32,
    id: u64,
    count: u32,
    plain_bytes: usize,
    packed_bytes: usize,
    raw_bytes: usize,
}

impl Header {
    /// Reads the header at the start of a value. No section may exceed `limit` bytes.
    pub(crate) fn parse(bytes: &[u8], kind: Kind, limit: usize) -> Result<Self, Damage> {
        let header: &[u8; HEADER_BYTES] = bytes.first_chunk().ok_or(Damage::Truncated)?;
        let [version, kind_byte, codec, zero] = *sub(header, 0);
        if version != VERSION {
            return Err(Damage::UnknownFormat(version.into()));
        }
        if kind_byte != kind as u8 {
            return Err(Damage::Misplaced);
        }
        let dictionary = u32::from_be_bytes(*sub(header, 4));
        if dictionary != 0 && (dictionary != dictionary::ID || codec != CODEC_ZSTD) {
            return Err(Damage::UnknownFormat(dictionary));
        }
        if zero != 0 || (codec != CODEC_STORED && codec != CODEC_ZSTD) {
            return Err(Damage::UnknownFormat(codec.into()));
        }
        let size = |at: usize| {
            usize::try_from(u32::from_be_bytes(*sub(header, at)))
                .ok()
                .filter(|bytes| *bytes <= limit)
                .ok_or(Damage::OverLimit)
        };
        Ok(Self {
            codec,
            dictionary,
            id: u64::from_be_bytes(*sub(header, 8)),
            count: u32::from_be_bytes(*sub(header, 16)),
            plain_bytes: size(20)?,
            packed_bytes: size(24)?,
            raw_bytes: size(28)?,
        })
    }

    /// Bytes of the whole value, at most `HEADER_BYTES` and twice the limit.
    pub(crate) const fn value_bytes(&self) -> usize {
        HEADER_BYTES + self.plain_bytes + self.packed_bytes
    }
}

/// `N` bytes of a header, at an offset known when this is compiled.
fn sub<const N: usize>(header: &[u8; HEADER_BYTES], at: usize) -> &[u8; N] {
    // All callers are in this file and pass constants with at + N <= 32.
    header[at..]
        .first_chunk()
        .unwrap_or_else(|| unreachable!("offset {at} lies within the header"))
}

/// Reads a whole value back.
pub(crate) fn decode(
    bytes: &[u8],
    kind: Kind,
    limit: usize,
) -> Result<Frame<Vec<u8>, Vec<u8>>, Damage> {
    let header = Header::parse(bytes, kind, limit)?;
    if bytes.len() != header.value_bytes() {
        return Err(Damage::Truncated);
    }
    let (head, sections) = bytes.split_at(HEADER_BYTES);
    let (checked, sum) = head.split_at(CHECKED_BYTES);
    let (plain, packed) = sections.split_at(header.plain_bytes);
    if checksum(checked, plain, packed) != *sum {
        return Err(Damage::Checksum);
    }
    let content = if header.codec == CODEC_ZSTD {
        // `raw_bytes` is within the limit, and zstd stops at the capacity given.
        dictionary::decompress(packed, header.raw_bytes, header.dictionary != 0)
            .map_err(|_| Damage::Compression)?
    } else {
        packed.to_vec()
    };
    if content.len() != header.raw_bytes {
        return Err(Damage::Compression);
    }
    Ok(Frame {
        kind,
        id: header.id,
        count: header.count,
        plain: plain.to_vec(),
        content,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMIT: usize = 1 << 16;

    fn sample(content: &[u8]) -> Frame<&[u8], &[u8]> {
        Frame {
            kind: Kind::Chunk,
            id: 7,
            count: 3,
            plain: b"salts",
            content,
        }
    }

    #[test]
    fn both_codecs_round_trip() {
        for content in [&b""[..], b"x", &[b'a'; 5000]] {
            let frame = sample(content);
            for bytes in [
                compressed(&frame),
                compressed_with_dictionary(&frame),
                stored(&frame),
            ] {
                let back = decode(&bytes, Kind::Chunk, LIMIT).unwrap();
                assert_eq!((back.id, back.count), (7, 3));
                assert_eq!(back.plain, b"salts");
                assert_eq!(back.content, content);
            }
        }
        assert!(compressed(&sample(&[b'a'; 5000])).len() < 200);
    }

    #[test]
    fn every_flipped_bit_is_damage() {
        let bytes = compressed_with_dictionary(&sample(&[b'a'; 500]));
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            decode(&bad, Kind::Chunk, LIMIT).expect_err("a flipped bit was accepted");
        }
    }

    #[test]
    fn every_cut_is_damage() {
        let bytes = stored(&sample(b"content"));
        for end in 0..bytes.len() {
            decode(&bytes[..end], Kind::Chunk, LIMIT).expect_err("a cut value was accepted");
        }
    }

    #[test]
    fn another_kind_is_refused() {
        let bytes = stored(&sample(b"content"));
        assert_eq!(decode(&bytes, Kind::Tile, LIMIT), Err(Damage::Misplaced));
    }

    #[test]
    fn an_unknown_dictionary_is_named() {
        let content = [b'a'; 500];
        let packed = dictionary::compress(&content, true).unwrap();
        let bytes = assemble(&sample(&content), CODEC_ZSTD, 77, &packed);
        assert_eq!(
            decode(&bytes, Kind::Chunk, LIMIT),
            Err(Damage::UnknownFormat(77))
        );
    }

    // A bomb with a correct checksum: what it states and what it holds are both bounded.
    #[test]
    fn a_bomb_is_refused() {
        let huge = vec![0; LIMIT + 1];
        let honest = compressed(&sample(&huge));
        assert_eq!(decode(&honest, Kind::Chunk, LIMIT), Err(Damage::OverLimit));

        let packed = zstd::bulk::compress(&huge, 1).unwrap();
        let lying = assemble(&sample(b"short"), CODEC_ZSTD, 0, &packed);
        assert_eq!(decode(&lying, Kind::Chunk, LIMIT), Err(Damage::Compression));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&bytes, Kind::Head, LIMIT);
        }
    }
}
