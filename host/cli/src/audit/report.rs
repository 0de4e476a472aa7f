//! What a verification says: what was checked, what was not, what was counted, what
//! is wrong. The text and the JSON report are made from this.

use std::collections::BTreeMap;

use auditchain_log::{Entry, Payload, Severity, Timestamp};
use serde::Serialize;

use super::finding::{Findings, Place, Rule};
use super::reexecution::Reexecuted;
use crate::limits::NAMES_MAX;

/// Name under which what is over [`NAMES_MAX`] is counted.
const OTHERS: &str = "(others)";

/// The outcome of a verification.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Nothing was found wrong.
    pub holds: bool,
    /// The URL or the directory.
    pub target: String,
    /// The log's name, where it is known.
    pub origin: Option<String>,
    /// The signed checkpoint that was verified.
    pub checkpoint: Option<CheckpointReport>,
    /// The keys that it was verified with.
    pub keys: KeysReport,
    /// Entries read.
    pub entries: u64,
    /// Blocks read.
    pub blocks: u64,
    /// Time of the first block.
    pub first_time: Option<Timestamp>,
    /// Time of the last block.
    pub last_time: Option<Timestamp>,
    /// Entries by kind.
    pub kinds: BTreeMap<&'static str, u64>,
    /// Events by source.
    pub sources: BTreeMap<String, SourceCount>,
    /// What the policies in force had said, by policy and rule.
    pub policies: BTreeMap<String, PolicyCount>,
    /// Bodies that hold.
    pub bodies_verified: u64,
    /// Bodies that are not there, as erasures in the log say; proofs survive it.
    pub bodies_erased: u64,
    /// Bodies that are not there without an erasure.
    pub bodies_missing: u64,
    /// Bodies that a bundle withholds.
    pub bodies_withheld: u64,
    /// Bodies that can't be read.
    pub bodies_unreadable: u64,
    /// Seals that hold.
    pub seals_verified: u64,
    /// Tiles that hold.
    pub tiles_verified: u64,
    /// Modules, settings and snapshots that hold.
    pub values_verified: u64,
    /// Sender's signatures that verify.
    pub batch_signatures_verified: u64,
    /// Sender's signatures that don't verify, which the log's verdicts say too.
    pub batch_signatures_invalid: u64,
    /// Batches that never came, as `gap` entries say.
    pub batches_missing: u64,
    /// Keys that senders may sign with at the log's end.
    pub sender_keys: u64,
    /// Entries that are lost.
    pub unreadable_entries: u64,
    /// What came of making the verdicts again, where it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reexecuted: Option<Reexecuted>,
    /// Of a data directory: nothing was found wrong with the log itself, whatever was
    /// found in the files that it doesn't use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_holds: Option<bool>,
    /// Of a data directory: its files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub files: Option<FilesSummary>,
    /// What was checked, a sentence each.
    pub checked: Vec<String>,
    /// What was not, a sentence each.
    pub not_checked: Vec<String>,
    /// What is wrong.
    pub findings: Findings,
}

/// A checkpoint that was verified.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CheckpointReport {
    /// Entries that it covers.
    pub size: u64,
    /// Root, base64.
    pub root: String,
    /// vkeys whose signatures hold.
    pub signed_by: Vec<String>,
    /// The whole note.
    pub note: String,
}

/// The files of a data directory.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FilesSummary {
    /// Files that were looked at.
    pub files: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// sled's records in them.
    pub records: u64,
    /// Bytes of unused space that carry no checksum.
    pub unknown_bytes: u64,
    /// Bytes that were being written when a process ended.
    pub torn_bytes: u64,
}

impl Report {
    /// Of a log that can't be read at all.
    #[must_use]
    pub fn unreadable(target: &str, reason: String) -> Self {
        let mut report = Self {
            target: target.to_owned(),
            ..Self::default()
        };
        report.findings.add(Rule::Unreadable, Place::log(), reason);
        report
            .not_checked
            .push("The log itself: its store can't be opened.".into());
        report
    }
}

/// The keys of a verification.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct KeysReport {
    /// vkeys that the auditor gave. None: the log was taken at its own word about who
    /// it is.
    pub given: Vec<String>,
    /// vkeys of the log in force at its end, by its own entries.
    pub in_force: Vec<String>,
}

/// Events of a source.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceCount {
    /// All.
    pub events: u64,
    /// With a valid verdict.
    pub valid: u64,
    /// With an invalid one.
    pub invalid: u64,
    /// Kept as the bytes that arrived.
    pub undecodable: u64,
    /// Refused requests.
    pub rejections: u64,
}

/// What a policy said by one of its rules.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PolicyCount {
    /// The worst.
    pub severity: Severity,
    /// How often.
    pub count: u64,
}

/// What is counted while entries are read.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) kinds: BTreeMap<&'static str, u64>,
    pub(super) sources: BTreeMap<String, SourceCount>,
    pub(super) policies: BTreeMap<String, PolicyCount>,
    pub(super) bodies_verified: u64,
    pub(super) bodies_erased: u64,
    pub(super) bodies_missing: u64,
    pub(super) bodies_withheld: u64,
    pub(super) bodies_unreadable: u64,
    pub(super) seals_verified: u64,
    pub(super) unreadable_entries: u64,
    name: String,
}

impl Counts {
    /// Takes up an entry.
    pub(super) fn entry(&mut self, entry: &Entry) {
        *self.kinds.entry(entry.kind()).or_default() += 1;
        match &entry.payload {
            Payload::Event {
                source,
                undecodable,
                verdict,
                ..
            } => {
                let count = slot(&mut self.sources, source, SourceCount::default);
                count.events += 1;
                count.undecodable += u64::from(undecodable.is_some());
                if verdict.valid {
                    count.valid += 1;
                } else {
                    count.invalid += 1;
                }
            }
            Payload::Rejection { source, .. } => {
                slot(&mut self.sources, source, SourceCount::default).rejections += 1;
            }
            _ => {}
        }
        for finding in entry.verdict().iter().flat_map(|verdict| &verdict.findings) {
            self.name.clear();
            self.name.push_str(&finding.policy);
            self.name.push('/');
            self.name.push_str(&finding.rule);
            let first = || PolicyCount {
                severity: finding.severity,
                count: 0,
            };
            let count = slot(&mut self.policies, &self.name, first);
            count.severity = count.severity.max(finding.severity);
            count.count += 1;
        }
    }
}

/// The value of a name, or of [`OTHERS`] where there are too many names.
fn slot<'m, T>(
    map: &'m mut BTreeMap<String, T>,
    name: &str,
    first: impl FnOnce() -> T,
) -> &'m mut T {
    let name = if map.len() < NAMES_MAX || map.contains_key(name) {
        name
    } else {
        OTHERS
    };
    if !map.contains_key(name) {
        map.insert(name.to_owned(), first());
    }
    // It was just put there; `entry` would allocate the name for every event.
    #[expect(clippy::expect_used, reason = "the key was inserted above")]
    map.get_mut(name).expect("inserted above")
}
