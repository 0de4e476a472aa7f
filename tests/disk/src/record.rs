//! What was recorded: one file, call after call, in the order in which they took
//! effect. Integers are little-endian.

use std::path::Path;

/// A call that changed something, or made it durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op<'a> {
    /// The watched directory itself.
    Root {
        /// Its inode.
        inode: u64,
    },
    /// A new file, empty.
    Create {
        /// Below the root.
        path: &'a str,
        /// Its inode.
        inode: u64,
    },
    /// A new directory.
    Mkdir {
        /// Below the root.
        path: &'a str,
        /// Its inode.
        inode: u64,
    },
    /// A new name in the same directory.
    Rename {
        /// Old.
        from: &'a str,
        /// New; what was there is gone.
        to: &'a str,
    },
    /// A name goes.
    Unlink {
        /// Which.
        path: &'a str,
    },
    /// Bytes of a file.
    Write {
        /// Of which.
        inode: u64,
        /// Where.
        offset: u64,
        /// What.
        bytes: &'a [u8],
    },
    /// A file is cut or grows by zeros.
    SetLen {
        /// Which.
        inode: u64,
        /// To what.
        len: u64,
    },
    /// A completed fsync or fdatasync, of a file or a directory.
    Sync {
        /// Of which.
        inode: u64,
    },
}

impl Op<'_> {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let (tag, number, other, bytes): (u8, u64, u64, Vec<u8>) = match self {
            Self::Root { inode } => (0, *inode, 0, vec![]),
            Self::Create { path, inode } => (1, *inode, 0, path.as_bytes().to_vec()),
            Self::Mkdir { path, inode } => (2, *inode, 0, path.as_bytes().to_vec()),
            Self::Rename { from, to } => (3, 0, 0, format!("{from}\0{to}").into_bytes()),
            Self::Unlink { path } => (4, 0, 0, path.as_bytes().to_vec()),
            Self::Write {
                inode,
                offset,
                bytes,
            } => (5, *inode, *offset, bytes.to_vec()),
            Self::SetLen { inode, len } => (6, *inode, *len, vec![]),
            Self::Sync { inode } => (7, *inode, 0, vec![]),
        };
        let mut record = vec![tag];
        record.extend(number.to_le_bytes());
        record.extend(other.to_le_bytes());
        record.extend((bytes.len() as u64).to_le_bytes());
        record.extend(bytes);
        record
    }

    /// The first operation of `record` and how long it is; none if it is cut off.
    fn decode(record: &[u8]) -> Option<(Op<'_>, usize)> {
        let (tag, rest) = record.split_first()?;
        let number = |at: usize| Some(u64::from_le_bytes(rest.get(at..at + 8)?.try_into().ok()?));
        let (inode, other, length) = (number(0)?, number(8)?, number(16)?);
        let end = 24 + usize::try_from(length).ok()?;
        let bytes = rest.get(24..end)?;
        let path = || std::str::from_utf8(bytes).expect("paths of tests are UTF-8");
        let op = match tag {
            0 => Op::Root { inode },
            1 => Op::Create {
                path: path(),
                inode,
            },
            2 => Op::Mkdir {
                path: path(),
                inode,
            },
            3 => {
                let (from, to) = path().split_once('\0').expect("two paths");
                Op::Rename { from, to }
            }
            4 => Op::Unlink { path: path() },
            5 => Op::Write {
                inode,
                offset: other,
                bytes,
            },
            6 => Op::SetLen { inode, len: other },
            7 => Op::Sync { inode },
            tag => panic!("unknown operation {tag} in the record"),
        };
        Some((op, 1 + end))
    }
}

/// A recording, read back.
#[derive(Debug)]
pub struct Record(Vec<u8>);

impl Record {
    /// Reads it; a last operation that was cut off is left out.
    #[must_use]
    pub fn read(path: &Path) -> Self {
        Self(std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
    }

    /// The operations, each with the length of the recording up to its end.
    pub fn ops(&self) -> impl Iterator<Item = (Op<'_>, u64)> {
        let mut at = 0;
        std::iter::from_fn(move || {
            let (op, length) = Op::decode(&self.0[at..])?;
            at += length;
            Some((op, at as u64))
        })
    }
}
