//! The zstd dictionary of chunks, shipped with the program.
//!
//! It is trained once, on recorded traffic that is public anyway
//! (`examples/train_dictionary.rs`). One trained at run time on a customer's own events
//! would compress a little better and would keep fragments of bodies after they are
//! erased.
//!
//! A value names its dictionary by id in its frame. A dictionary is never replaced: a
//! better one is another id beside it. Each store also holds the dictionaries that it
//! uses as named values, so that what is kept for years can be read without this program.

use std::cell::RefCell;
use std::io;
use std::sync::LazyLock;

use zstd::bulk::{Compressor, Decompressor};
use zstd::dict::{DecoderDictionary, EncoderDictionary};

/// Id of the dictionary that chunks are written with.
pub(crate) const ID: u32 = 1;
/// The value that holds it in a store.
pub(crate) const BLOB_NAME: &str = "dictionary/1";
/// The dictionary itself.
pub(crate) const BYTES: &[u8] = include_bytes!("../dictionary/1.zdict");

/// On recorded events, against level 1: 5 to 15 % fewer bytes for 1.0 to 1.4 times the time.
/// Level 6 saves another 5 to 17 % for more than twice the time.
const CHUNK_LEVEL: i32 = 3;
/// Of values without a dictionary: modules and snapshots, few and large.
const PLAIN_LEVEL: i32 = 3;

// Parsed once and shared by all threads: zstd only reads them. A dictionary that zstd
// can't load would panic here; the bytes are the program's own, and tests load them.
static ENCODER: LazyLock<EncoderDictionary<'static>> =
    LazyLock::new(|| EncoderDictionary::copy(BYTES, CHUNK_LEVEL));
static DECODER: LazyLock<DecoderDictionary<'static>> =
    LazyLock::new(|| DecoderDictionary::copy(BYTES));

// zstd's working tables are costly to set up; each thread keeps its own.
thread_local! {
    static CHUNKS: RefCell<Option<Compressor<'static>>> = const { RefCell::new(None) };
    static PLAIN: RefCell<Option<Compressor<'static>>> = const { RefCell::new(None) };
    static READ: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
    static READ_PLAIN: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
}

/// Compresses with the dictionary, or without any.
pub(crate) fn compress(bytes: &[u8], with_dictionary: bool) -> io::Result<Vec<u8>> {
    let work = |compressor: &mut Compressor<'static>| compressor.compress(bytes);
    if with_dictionary {
        let make = || Compressor::with_prepared_dictionary(&ENCODER);
        CHUNKS.with_borrow_mut(|kept| work(kept_or_made(kept, make)?))
    } else {
        let make = || Compressor::new(PLAIN_LEVEL);
        PLAIN.with_borrow_mut(|kept| work(kept_or_made(kept, make)?))
    }
}

/// Undoes [`compress`]; at most `capacity` bytes come out.
pub(crate) fn decompress(
    bytes: &[u8],
    capacity: usize,
    with_dictionary: bool,
) -> io::Result<Vec<u8>> {
    let work = |reader: &mut Decompressor<'static>| reader.decompress(bytes, capacity);
    if with_dictionary {
        let make = || Decompressor::with_prepared_dictionary(&DECODER);
        READ.with_borrow_mut(|kept| work(kept_or_made(kept, make)?))
    } else {
        READ_PLAIN.with_borrow_mut(|kept| work(kept_or_made(kept, Decompressor::new)?))
    }
}

fn kept_or_made<T>(
    kept: &mut Option<T>,
    make: impl FnOnce() -> io::Result<T>,
) -> io::Result<&mut T> {
    match kept {
        Some(made) => Ok(made),
        None => Ok(kept.insert(make()?)),
    }
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;

    // A dictionary that changes makes every stored chunk unreadable: a new one is a new id.
    #[test]
    fn the_dictionary_is_frozen() {
        let digest = Sha256::digest(BYTES);
        let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, DIGEST);
    }

    const DIGEST: &str = "88c802b6de1788c96262443998892770da5d813ae9a420ad7bdb9951b9cd1187";

    #[test]
    fn what_is_compressed_with_it_needs_it() {
        let event = br#"{"annotations":{"authorization.k8s.io/decision":"allow"},"auditID":"x","level":"Metadata","requestReceivedTimestamp":"2026"}"#;
        let packed = compress(event, true).unwrap();
        assert!(packed.len() < compress(event, false).unwrap().len());
        assert_eq!(decompress(&packed, event.len(), true).unwrap(), event);
        decompress(&packed, event.len(), false).expect_err("read without its dictionary");
        decompress(&packed, event.len() - 1, true).expect_err("more than the capacity");
    }
}
