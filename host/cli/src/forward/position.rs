//! What has been acknowledged, on disk.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::cursor::Cursor;
use super::state::{StateDir, read_json, write_json};
use crate::error::CliError;

const VERSION: u32 = 1;
/// Keys that this directory has sent with; an operator changes them every few months.
const KEYS_MAX: usize = 256;

/// The file `position`: replaced whole, after each answer of the service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Position {
    version: u32,
    /// What it is the position of.
    pub(super) source: String,
    /// By key (SHA-256 of its SubjectPublicKeyInfo): the number of the next batch. It is
    /// the one that the first batch of the spool has, sent or not.
    sequences: BTreeMap<String, u64>,
    /// The last spool file that is dealt with; its removal may be outstanding.
    pub(super) acknowledged: Option<String>,
    /// Where reading goes on if the spool is empty.
    pub(super) cursor: Cursor,
    /// Counted over the directory's life.
    pub(super) totals: Totals,
}

/// Counts, for people.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Totals {
    /// Batches that the service took.
    pub(super) batches: u64,
    /// Events in them.
    pub(super) events: u64,
    /// Of these, the ones that were in the log already.
    pub(super) duplicates: u64,
    /// Events that a policy found invalid; they are in the log.
    pub(super) rejected: u64,
    /// Batches refused for good.
    pub(super) refused: u64,
}

impl Position {
    /// Nothing sent yet, and reading starts at `cursor`.
    pub(super) fn new(source: &str, cursor: Cursor) -> Self {
        Self {
            version: VERSION,
            source: source.into(),
            sequences: BTreeMap::new(),
            acknowledged: None,
            cursor,
            totals: Totals::default(),
        }
    }

    /// The number of the next batch of a key; the first is 1.
    pub(super) fn sequence(&self, key: &str) -> u64 {
        self.sequences.get(key).copied().unwrap_or(1)
    }

    /// The numbers of all keys.
    pub(super) fn sequences(&self) -> &BTreeMap<String, u64> {
        &self.sequences
    }

    /// The batch of this number is dealt with.
    pub(super) fn count_batch(&mut self, key: &str) {
        let next = self.sequence(key) + 1;
        self.sequences.insert(key.into(), next);
    }

    /// Reads it; none at the first start.
    ///
    /// # Errors
    /// It can't be read, or is of another source.
    pub(super) fn load(state: &StateDir, source: &str) -> Result<Option<Self>, CliError> {
        let path = state.join("position");
        let Some(position): Option<Self> = read_json(&path)? else {
            return Ok(None);
        };
        let usage = |why: String| CliError::Usage(format!("{}: {why}", path.display()));
        if position.version != VERSION {
            return Err(usage(format!(
                "it is of version {}, this is version {VERSION}",
                position.version
            )));
        }
        if position.source != source {
            return Err(usage(format!(
                "it is of source {:?}, not {source:?}; give each source its own --state",
                position.source
            )));
        }
        if position.sequences.len() > KEYS_MAX {
            return Err(usage(format!("more than {KEYS_MAX} keys")));
        }
        Ok(Some(position))
    }

    pub(super) fn store(&self, state: &StateDir) -> std::io::Result<()> {
        write_json(&state.join("position"), self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_as_it_was_written_and_by_its_source_alone() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::open(dir.path()).unwrap();
        assert_eq!(Position::load(&state, "eu").unwrap(), None);
        let mut position = Position::new("eu", Cursor::default());
        assert_eq!(position.sequence("k1"), 1);
        position.count_batch("k1");
        position.count_batch("k1");
        position.count_batch("k2");
        assert_eq!((position.sequence("k1"), position.sequence("k2")), (3, 2));
        position.acknowledged = Some("7".into());
        position.store(&state).unwrap();
        assert_eq!(
            Position::load(&state, "eu").unwrap(),
            Some(position.clone())
        );
        let error = Position::load(&state, "us").unwrap_err().to_string();
        assert!(error.contains("its own --state"), "{error}");
        position.version = 2;
        position.store(&state).unwrap();
        assert!(Position::load(&state, "eu").is_err());
    }
}
