//! Every bound of the store, with its reason.

/// Bytes of one stored value. sled moves anything over a quarter of a segment (1 MiB
/// here) into `blobs/`, which it never syncs. A leaf page is rewritten whole and holds
/// up to 17 values, so 17 * 32 KiB = 544 KiB stays well below.
pub const VALUE_BYTES_MAX: usize = 32 << 10;

/// Entries of one chunk: enough for zstd to find repetition, few enough that reading
/// one entry is cheap.
pub const CHUNK_ENTRIES_MAX: usize = 64;

/// Uncompressed bytes after which a chunk ends, unless a single entry with its body is
/// larger: compressed to a fourth it is one value of [`VALUE_BYTES_MAX`], and damage in it
/// can be placed without sled. 64 average events are 90 KB.
pub const CHUNK_RAW_BYTES_MAX: usize = 128 << 10;

/// Bytes of one entry: tlog-tiles writes its length in 16 bits.
pub const ENTRY_BYTES_MAX: usize = u16::MAX as usize;

/// Bytes of one body. The largest request seen is 40 MB; an event is less than that.
pub const BODY_BYTES_MAX: usize = 64 << 20;

/// Bytes of one named value: an RBAC snapshot of a large cluster is some 20 MB.
pub const BLOB_BYTES_MAX: usize = 64 << 20;

/// Bytes of a blob's name: "sha256/" and 64 digits, with room.
pub const BLOB_NAME_BYTES_MAX: usize = 128;

/// Bytes of the signed checkpoint in the head: what a note may have at most.
pub const NOTE_BYTES_MAX: usize = 24 << 10;

const _: () = assert!(NOTE_BYTES_MAX == auditchain_log::MAX_NOTE_BYTES);

/// Bytes of the service's own state in the head. It is rewritten with every block, so
/// it should be kept far below this.
pub const STATE_BYTES_MAX: usize = 256 << 10;

/// Entries of one block: 160 full webhook batches.
pub const BLOCK_ENTRIES_MAX: usize = 1 << 16;

/// Bytes of one block before compression; bounds the memory of an append.
pub const BLOCK_BYTES_MAX: usize = 256 << 20;

/// Bodies that one block may erase: a block's worth of an expired source. More go into
/// the next blocks.
pub const BLOCK_ERASE_MAX: usize = 1 << 14;

/// Chunks that one block may rewrite to erase bodies: with their bound on bytes, 128 MiB
/// to read and compress again.
pub const BLOCK_ERASE_CHUNKS_MAX: usize = 1 << 10;

/// Bytes that must be free on the disk beyond the block itself, or the append is
/// refused as full: sled allocates whole segments and rewrites pages, and a store that
/// runs into the wall half-way through a write can only be reopened.
pub const FREE_BYTES_MIN: u64 = 64 << 20;

/// Bytes of the checkpoint file: a note of 16 signatures is below 8 KiB.
pub const HEAD_FILE_BYTES_MAX: usize = 64 << 10;
