//! A log in one file, to be handed over: `auditchain bundle` writes it, and `auditchain
//! verify FILE` needs nothing else.
//!
//! ```text
//! auditchain-bundle/v1 LF          in the clear
//! a zstd stream of records: kind (1 byte), length (u32, big-endian), content
//!   m  manifest, JSON: origin, size, bodies ([first, last], or null: none); comes first
//!   n  the signed checkpoint: a C2SP signed note
//!   c  the checkpoint that witnesses cosigned, if there is another one
//!   v  a value: SHA-256 (32 bytes), bytes. Before the entry that names it
//!   e  an entry: the bytes of the leaf
//!   b  the body of the entry before it: salt (32 bytes), bytes
//!   z  end: number of entries (u64, big-endian)
//! ```
//! It holds all entries up to its checkpoint, so that everything in it can be verified as
//! in the log itself, and the bodies of a range: other bodies are withheld, which takes
//! nothing from any proof. Values are the modules, settings and RBAC snapshots that
//! entries name, so verdicts can be re-executed from it.
//!
//! Nothing in it is believed before it is verified.

mod read;
mod write;

pub use read::BundleLog;
pub(crate) use write::{Summary, write};

use serde::{Deserialize, Serialize};

/// What a bundle begins with.
pub(crate) const MAGIC: &[u8] = b"auditchain-bundle/v1\n";
/// Largest record: a module, a snapshot or a body has at most 64 MiB.
const RECORD_BYTES_MAX: usize = 65 << 20;
/// Values that are kept while a bundle is read.
const VALUES_BYTES_MAX: usize = 512 << 20;

const MANIFEST: u8 = b'm';
const NOTE: u8 = b'n';
const COSIGNED: u8 = b'c';
const VALUE: u8 = b'v';
const ENTRY: u8 = b'e';
const BODY: u8 = b'b';
const END: u8 = b'z';

/// What a bundle says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    origin: String,
    /// Entries.
    size: u64,
    /// First and last entry whose bodies are in it; the others' are withheld.
    bodies: Option<[u64; 2]>,
}
