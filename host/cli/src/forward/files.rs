//! Which files are still to be read, and which of them are lost: written down, so that
//! a file that rotation removes is missed even if nobody looked meanwhile.

use std::collections::BTreeMap;
use std::io;

use serde::{Deserialize, Serialize};

use super::follow::{Follower, Lost};
use super::state::{StateDir, read_json, write_json};
use super::tell::now;
use crate::error::CliError;

/// Losses that are kept one by one; all are counted.
const LOST_MAX: usize = 100;

/// The file `files`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Files {
    /// By inode.
    unread: BTreeMap<u64, Unread>,
    /// The last losses.
    pub(super) lost: Vec<Lost>,
    /// All of them.
    pub(super) lost_total: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Unread {
    name: String,
    size: u64,
    offset: u64,
}

impl Files {
    pub(super) fn load(state: &StateDir) -> Result<Self, CliError> {
        Ok(read_json(&state.join("files"))?.unwrap_or_default())
    }

    /// Notes a loss.
    pub(super) fn lose(&mut self, state: &StateDir, lost: Lost) -> io::Result<()> {
        // The file that was being read may stand here too: it is told once.
        self.unread.remove(&lost.inode);
        self.add(lost);
        write_json(&state.join("files"), self)
    }

    /// Looks at what is still to be read; those that are gone unread are lost.
    pub(super) fn look(&mut self, state: &StateDir, follower: &Follower) -> io::Result<Vec<Lost>> {
        let found = follower.unread()?.into_iter();
        let unread: BTreeMap<u64, Unread> = found
            .map(|file| {
                let name = file.path.file_name().unwrap_or_default();
                let unread = Unread {
                    name: name.to_string_lossy().into_owned(),
                    size: file.size,
                    offset: file.offset,
                };
                (file.inode, unread)
            })
            .collect();
        let read = follower.cursor();
        let is_read = |inode: u64| {
            let reading = read.file.iter().chain(&read.finished);
            reading.into_iter().any(|mark| mark.inode == inode)
        };
        let gone = self.unread.iter().filter(|(inode, file)| {
            !unread.contains_key(inode) && !is_read(**inode) && file.size > file.offset
        });
        let lost: Vec<Lost> = gone
            .map(|(inode, file)| Lost {
                what: format!("rotation removed {} before it was read", file.name),
                inode: *inode,
                offset: file.offset,
                bytes: file.size - file.offset,
                time: now(),
            })
            .collect();
        // The size of the one being written changes all the time; it is told by others.
        let inodes = |files: &BTreeMap<u64, Unread>| files.keys().copied().collect::<Vec<_>>();
        if lost.is_empty() && inodes(&unread) == inodes(&self.unread) {
            self.unread = unread;
            return Ok(lost);
        }
        self.unread = unread;
        for lost in &lost {
            self.add(lost.clone());
        }
        write_json(&state.join("files"), self)?;
        Ok(lost)
    }

    fn add(&mut self, lost: Lost) {
        self.lost_total += 1;
        self.lost.push(lost);
        let over = self.lost.len().saturating_sub(LOST_MAX);
        self.lost.drain(..over);
    }
}
