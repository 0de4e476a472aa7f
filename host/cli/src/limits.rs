//! Every bound of the command line, with its reason. What they bound comes from a
//! server, a directory or a file that may be hostile.

/// Bytes of an entry bundle: 256 entries of at most 65,535 bytes, each with its length.
pub const BUNDLE_BYTES_MAX: usize = 256 * (2 + 65_535);

/// Bytes of an answer of `/api/v1/bodies`. The service ends one after 8 MiB; the chunk
/// that gets it there has at most 1 MiB and one body of 64 MiB, in base64.
pub const BODIES_ANSWER_BYTES_MAX: usize = 128 << 20;

/// Bytes of bodies after which a run of entries ends early: what the reader, the
/// workers and the auditor hold at a time is a small multiple of it.
pub const RUN_BODY_BYTES_MAX: usize = 8 << 20;

/// Bytes of a value kept by digest: what the store takes for one.
pub const BLOB_BYTES_MAX: usize = auditchain_store::limits::BLOB_BYTES_MAX;

/// Bytes of a list of vkeys: 64 keys of under 1 KiB.
pub const KEYS_BYTES_MAX: usize = 64 << 10;

/// Log keys in force at a time: as many as a note may have signatures.
pub const LOG_KEYS_MAX: usize = auditchain_log::MAX_SIGNATURES;

/// Sender keys in force at a time: those of 256 sources, eight each, as the service has
/// them.
pub const SENDER_KEYS_MAX: usize = 2048;

/// Senders (source and key) whose sequence numbers are followed; a hostile log could name
/// a new one in every batch. Those over it are not checked for missing batches.
pub const SENDERS_MAX: usize = 16_384;

/// Bytes of any other JSON answer: a proof has at most 64 hashes, a problem is text.
pub const JSON_ANSWER_BYTES_MAX: usize = 64 << 10;

/// Findings that are kept; more are counted.
pub const FINDINGS_MAX: usize = 100;

/// Bytes of one finding's text: parts of it come from the log.
pub const DETAIL_BYTES_MAX: usize = 512;

/// Unreadable entries after which the rest is given up.
pub const UNREADABLE_MAX: u64 = 4096;

/// Names (sources, policies' rules) that are counted one by one; a hostile log could
/// hold a new one in every entry.
pub const NAMES_MAX: usize = 1024;

/// Digests that are remembered as checked; past it they are fetched again.
pub const DIGESTS_MAX: usize = 16_384;

/// Runs that wait between two stages of the verifier.
pub const PIPE_RUNS_MAX: usize = 2;

/// Bytes of a line of input: the largest request body that the service takes by default.
pub const LINE_BYTES_MAX: usize = 64 << 20;

/// Bytes after which a wrapped batch is sent although it has fewer events than asked
/// for: half of what the service takes by default.
pub const WRAPPED_BYTES_MAX: usize = 32 << 20;

/// Times a request is sent while the service answers 503. With the longest waits that
/// is five minutes, an outage that an operator notices.
pub const SEND_ATTEMPTS_MAX: u32 = 10;

/// Seconds of one wait between two attempts, whatever `Retry-After` says.
pub const RETRY_WAIT_S_MAX: u64 = 30;

/// Bytes of a proof file: a note and at most 64 hashes, with room for `extra`.
pub const PROOF_FILE_BYTES_MAX: usize = 256 << 10;

/// Bytes of a CA list, certificate, key or token: the largest are a system's list of
/// CAs, of under 500 KiB.
pub const CONNECT_FILE_BYTES_MAX: u64 = 4 << 20;

/// Certificates in one of those.
pub const CA_CERTIFICATES_MAX: usize = 4096;

/// Entries that one request for an erasure may name: what the service takes.
pub(crate) const ERASURE_ENTRIES_MAX: u64 = 1024;
