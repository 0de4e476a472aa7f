//! What a check of a data directory's files says.

use std::ops::Range;
use std::path::Path;

use super::value::Value;

pub(super) const DB: &str = "store/db";

/// Damage that is kept in full; the rest is counted.
const DAMAGE_MAX: usize = 1000;

/// A place in a file that is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileDamage {
    /// The file, from the data directory on.
    pub file: String,
    /// Where in it, if it is not all of it.
    pub offset: Option<u64>,
    /// How many bytes; 0 where that can't be said.
    pub bytes: u64,
    /// What is wrong there.
    pub what: String,
    /// Our values that lay there, in words.
    pub values: Vec<String>,
    /// The first entry that these are about, and how many.
    pub entries: Option<(u64, u64)>,
}

/// What was found.
#[derive(Debug, Clone, Default)]
pub struct FilesReport {
    /// At most 1,000.
    pub damage: Vec<FileDamage>,
    /// All.
    pub damage_total: u64,
    /// Files that were looked at.
    pub files: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// sled's records whose checksums hold or were found not to.
    pub records: u64,
    /// Offset and bytes in `store/db` of unused space that carries no checksum.
    pub unknown: Vec<(u64, u64)>,
    /// Offset and bytes in `store/db` of what was being written when a process ended.
    pub torn: Vec<(u64, u64)>,
    /// Snapshots of sled that were not written to their end: harmless, the next start
    /// removes them.
    pub unfinished: u64,
    /// What could not be looked at, a sentence each.
    pub not_checked: Vec<String>,
}

impl FilesReport {
    pub(super) fn add(
        &mut self,
        file: &str,
        offset: Option<u64>,
        bytes: u64,
        what: &str,
        values: &[Value],
    ) {
        self.damage_total += 1;
        if self.damage.len() == DAMAGE_MAX {
            return;
        }
        let entries = values.iter().filter_map(|value| value.entries());
        self.damage.push(FileDamage {
            file: file.to_owned(),
            offset,
            bytes,
            what: what.to_owned(),
            values: values.iter().map(|value| value.name()).collect(),
            entries: entries.reduce(|a, b| {
                let end = a.0.saturating_add(a.1).max(b.0.saturating_add(b.1));
                let first = a.0.min(b.0);
                (first, end - first)
            }),
        });
    }

    pub(super) fn add_db(&mut self, offset: u64, bytes: u64, what: &str) {
        self.add(DB, Some(offset), bytes, what, &[]);
    }

    pub(super) fn add_file(&mut self, file: &str, what: &str) {
        self.add(file, None, 0, what, &[]);
    }

    /// Of a compaction that was broken off, another directory than `store` counts.
    pub(super) fn name_store(&mut self, store: &Path) {
        let Some(name) = store.file_name().and_then(|name| name.to_str()) else {
            return;
        };
        for damage in &mut self.damage {
            if let Some(rest) = damage.file.strip_prefix("store")
                && (rest.is_empty() || rest.starts_with('/'))
            {
                damage.file = format!("{name}{rest}");
            }
        }
    }

    pub(super) fn add_unknown(&mut self, base: u64, range: &Range<usize>) {
        if !range.is_empty() {
            self.unknown
                .push((base + range.start as u64, range.len() as u64));
        }
    }
}
