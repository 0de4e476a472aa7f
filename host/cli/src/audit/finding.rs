//! What the verifier found wrong, each with the place.

use serde::Serialize;

use crate::limits::{DETAIL_BYTES_MAX, FINDINGS_MAX};

/// What was violated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Rule {
    /// The checkpoint is no signed note of this log.
    Checkpoint,
    /// The root over the entries is not the one that was signed.
    Root,
    /// The log is not a continuation of an earlier checkpoint: history was rewritten.
    History,
    /// The store ends elsewhere than its entries, or before the checkpoint beside it, or
    /// that one is missing.
    Head,
    /// Keys are missing, malformed, or others than were given.
    Key,
    /// Entries that can't be read.
    Unreadable,
    /// Bytes of the medium that were changed, and the entries that lay there.
    Stored,
    /// A file of the data directory that is not as it was written: bytes of it, or a file
    /// that is missing or too many. By itself this says nothing about the log.
    File,
    /// Bytes that are no entry in canonical form.
    Entry,
    /// An entry that doesn't follow the one before.
    Chain,
    /// Blocks or their times out of order, or an entry where its kind may not be.
    Block,
    /// A seal that is not the signed checkpoint of the block before.
    Seal,
    /// A tile that holds other hashes than the entries have.
    Tile,
    /// A body that is missing, or not what its entry commits to.
    Body,
    /// A leaf that says other things than its body.
    Fields,
    /// A signed batch that doesn't hold.
    Batch,
    /// Fewer witnesses cosigned than the policy asks for.
    Witness,
    /// A value that is not the one its digest names, is missing, or can't be read.
    Value,
    /// A verdict that doesn't come out again, or that can't be made again.
    Verdict,
}

impl Rule {
    /// As it is printed.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Checkpoint => "checkpoint",
            Self::Root => "root",
            Self::History => "history",
            Self::Head => "head",
            Self::Key => "key",
            Self::Unreadable => "unreadable",
            Self::Stored => "stored",
            Self::File => "file",
            Self::Entry => "entry",
            Self::Chain => "chain",
            Self::Block => "block",
            Self::Seal => "seal",
            Self::Tile => "tile",
            Self::Body => "body",
            Self::Fields => "fields",
            Self::Batch => "batch",
            Self::Witness => "witness",
            Self::Value => "value",
            Self::Verdict => "verdict",
        }
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// What was violated.
    pub rule: Rule,
    /// Where: the entry, or the first of them.
    pub index: Option<u64>,
    /// The last entry, where it is more than one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_index: Option<u64>,
    /// The block, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub block: Option<u64>,
    /// The file, where a file is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Where in the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// In words. Parts of it may come from the log: not for a terminal as it is.
    pub detail: String,
}

/// All that is wrong: the first of it in full, the rest counted.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Findings {
    /// At most [`FINDINGS_MAX`].
    pub kept: Vec<Finding>,
    /// All.
    pub total: u64,
}

/// Where something is wrong.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Place {
    pub(super) index: Option<u64>,
    pub(super) last_index: Option<u64>,
    pub(super) block: Option<u64>,
}

impl Place {
    pub(super) fn log() -> Self {
        Self::default()
    }

    pub(super) fn entry(index: u64) -> Self {
        Self {
            index: Some(index),
            ..Self::default()
        }
    }

    /// The entries `first` to `last`, both included.
    pub(super) fn entries(first: u64, last: u64) -> Self {
        Self {
            last_index: (last > first).then_some(last),
            ..Self::entry(first)
        }
    }

    pub(super) fn in_block(self, block: u64) -> Self {
        Self {
            block: Some(block),
            ..self
        }
    }
}

impl Findings {
    pub(super) fn add(&mut self, rule: Rule, place: Place, detail: impl Into<String>) {
        self.total = self.total.saturating_add(1);
        if self.kept.len() == FINDINGS_MAX {
            return;
        }
        let mut detail = detail.into();
        detail.truncate(detail.floor_char_boundary(DETAIL_BYTES_MAX));
        let Place {
            index,
            last_index,
            block,
        } = place;
        self.kept.push(Finding {
            rule,
            index,
            last_index,
            block,
            file: None,
            offset: None,
            detail,
        });
    }

    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.total == 0
    }

    /// In the order of the log; what has no place comes last.
    pub(super) fn sort(&mut self) {
        self.kept
            .sort_by_key(|finding| (finding.index.is_none(), finding.index));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_are_bounded_and_counted() {
        let mut findings = Findings::default();
        for index in (0..FINDINGS_MAX as u64 + 5).rev() {
            findings.add(
                Rule::Body,
                Place::entries(index, index),
                "é".repeat(DETAIL_BYTES_MAX),
            );
        }
        assert_eq!(
            (findings.total, findings.kept.len()),
            (FINDINGS_MAX as u64 + 5, FINDINGS_MAX)
        );
        findings.sort();
        assert!(findings.kept.is_sorted_by_key(|finding| finding.index));
        assert!(
            findings
                .kept
                .iter()
                .all(|f| f.detail.len() <= DETAIL_BYTES_MAX && f.last_index.is_none())
        );
    }
}
