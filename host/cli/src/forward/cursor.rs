//! Where reading stands: which file, how far, and which files are done.
//!
//! A file is told by its inode **and** by its first bytes. The inode alone is not enough:
//! it is used again for another file, and a file that is copied away and truncated keeps
//! it. The device number is kept for people: it may change at a boot.

use auditchain_log::sha256;
use serde::{Deserialize, Serialize};

/// Bytes at a file's start that tell it from others: an audit event's ID and time stand
/// within its first few hundred.
pub(super) const FINGERPRINT_BYTES_MAX: usize = 1024;
/// So many of them tell a file even under another inode: a copy, or one put back.
pub(super) const FINGERPRINT_ALONE_BYTES_MIN: u32 = 256;
/// Files that are done and still lie there; an apiserver keeps 10 by default. Past it
/// the oldest are forgotten.
pub(super) const FINISHED_MAX: usize = 4096;

/// The first bytes of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Fingerprint {
    /// How many: what was read, at most [`FINGERPRINT_BYTES_MAX`].
    pub(super) bytes: u32,
    /// Their hash, in hex.
    pub(super) sha256: String,
}

/// A place in a file: all before it is dealt with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct FileMark {
    pub(super) device: u64,
    pub(super) inode: u64,
    /// Behind the last line, in bytes.
    pub(super) offset: u64,
    pub(super) fingerprint: Fingerprint,
}

/// Where reading stands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Cursor {
    /// The file that is being read.
    pub(super) file: Option<FileMark>,
    /// Files that were read to their ends, the last one last.
    pub(super) finished: Vec<FileMark>,
}

impl Fingerprint {
    /// Of a file's first bytes.
    pub(super) fn of(head: &[u8]) -> Self {
        let head = &head[..head.len().min(FINGERPRINT_BYTES_MAX)];
        Self {
            // At most FINGERPRINT_BYTES_MAX.
            bytes: u32::try_from(head.len()).unwrap_or(u32::MAX),
            sha256: sha256(&[head]).to_string(),
        }
    }

    /// Whether a file that begins like this is the one.
    pub(super) fn fits(&self, head: &[u8]) -> bool {
        let bytes = self.bytes as usize;
        head.len() >= bytes && Self::of(&head[..bytes]) == *self
    }
}

impl FileMark {
    /// Whether a file of this inode, size and beginning is the one.
    pub(super) fn is_of(&self, inode: u64, size: u64, head: &[u8]) -> bool {
        let known = self.inode == inode || self.fingerprint.bytes >= FINGERPRINT_ALONE_BYTES_MIN;
        known && size >= self.offset && self.fingerprint.fits(head)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_told_by_inode_and_beginning() {
        let head = [b'x'; 2000];
        let mark = |bytes: usize| FileMark {
            device: 1,
            inode: 7,
            offset: bytes as u64,
            fingerprint: Fingerprint::of(&head[..bytes]),
        };
        assert_eq!(mark(2000).fingerprint.bytes, 1024);
        assert!(mark(2000).is_of(7, 2000, &head));
        assert!(mark(2000).is_of(8, 2000, &head), "a copy");
        assert!(
            !mark(2000).is_of(7, 1999, &head),
            "shorter than what was read"
        );
        assert!(
            !mark(100).is_of(8, 2000, &head),
            "too little to tell a copy"
        );
        assert!(mark(100).is_of(7, 2000, &head));
        let mut other = head;
        other[99] = b'y';
        assert!(!mark(100).is_of(7, 2000, &other));
        assert!(mark(99).is_of(7, 2000, &other));
        assert!(!mark(100).is_of(7, 2000, &head[..99]));
    }
}
