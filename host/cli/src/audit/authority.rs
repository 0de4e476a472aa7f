//! What the recomputed log is compared with: the signed checkpoint, an earlier one that
//! the auditor kept, the store's head, and the keys.

use auditchain_log::{Checkpoint, Hash, Note, VerifierKey};

use super::auditor::Auditor;
use super::finding::{Place, Rule};
use super::keys::signed_by_all;
use crate::source::SourceError;

/// A root that the log must have had at some size.
pub(super) struct Mark {
    pub(super) rule: Rule,
    pub(super) what: &'static str,
    pub(super) size: u64,
    pub(super) root: Hash,
}

/// A checkpoint note, taken apart.
pub(super) struct SignedNote {
    pub(super) note: Note,
    pub(super) checkpoint: Checkpoint,
    pub(super) text: String,
}

impl Auditor<'_> {
    /// Takes up the signed checkpoint and the store's head: how far to read, and what
    /// must come out. False: this is another log than the one that was meant.
    pub(super) fn open_checkpoint(&mut self) -> Result<bool, SourceError> {
        let head_size = self.head.as_ref().map(|head| head.size);
        let note = match self.source.note() {
            Ok(note) => note,
            Err(SourceError::Damaged { reason, .. }) => {
                self.findings.add(
                    Rule::Checkpoint,
                    Place::log(),
                    format!("the checkpoint can't be read: {reason}"),
                );
                None
            }
            Err(error) => return Err(error),
        };
        match note.as_deref().map(open_note) {
            Some(Ok(signed)) => {
                if !self.options.keys.is_empty()
                    && let Err(error) = signed.note.verify(&self.options.keys)
                {
                    let detail = format!(
                        "the checkpoint is not signed by the keys that were given: {error}"
                    );
                    self.findings.add(Rule::Checkpoint, Place::log(), detail);
                    self.not_checked.push("Nothing but the checkpoint's signature was checked: it is not of the log that the keys belong to.".into());
                    return Ok(false);
                }
                let (size, root) = (signed.checkpoint.size.0, signed.checkpoint.root);
                match head_size {
                    Some(head_size) if size > head_size => {
                        let detail = format!(
                            "ROLLBACK: the store ends after {head_size} entries, the checkpoint beside it was signed for {size}"
                        );
                        self.findings
                            .add(Rule::Head, Place::entry(head_size), detail);
                    }
                    _ => self.marks.push(Mark {
                        rule: Rule::Root,
                        what: "the signed checkpoint",
                        size,
                        root,
                    }),
                }
                self.size = size;
                self.origin = Some(signed.checkpoint.origin.clone());
                self.note = Some(signed);
            }
            Some(Err(error)) => {
                self.findings.add(
                    Rule::Checkpoint,
                    Place::log(),
                    format!("the checkpoint is none: {error}"),
                );
            }
            // A crash right after the very first block leaves none.
            None if self.head.as_ref().is_some_and(|head| head.blocks == 1) => {
                self.not_checked.push(
                    "There is no signed checkpoint yet; start the service once to make it.".into(),
                );
            }
            None => self.findings.add(
                Rule::Checkpoint,
                Place::log(),
                "there is no signed checkpoint",
            ),
        }
        if let Some(head) = &self.head {
            self.size = head.size;
            self.marks.push(Mark {
                rule: Rule::Head,
                what: "the store's head",
                size: head.size,
                root: head.root,
            });
        }
        Ok(true)
    }

    pub(super) fn open_since(&mut self) {
        let Some(bytes) = &self.options.since else {
            return;
        };
        match open_note(bytes) {
            Ok(since) => {
                let (size, root) = (since.checkpoint.size.0, since.checkpoint.root);
                if self
                    .origin
                    .as_ref()
                    .is_some_and(|origin| *origin != since.checkpoint.origin)
                {
                    let detail = format!(
                        "the earlier checkpoint is of the log {}",
                        since.checkpoint.origin
                    );
                    self.findings.add(Rule::History, Place::log(), detail);
                } else if size > self.size {
                    let detail = format!(
                        "entries are gone: the earlier checkpoint covers {size}, the log has {} now",
                        self.size
                    );
                    self.findings
                        .add(Rule::History, Place::entry(self.size), detail);
                } else {
                    self.marks.push(Mark {
                        rule: Rule::History,
                        what: "the earlier checkpoint",
                        size,
                        root,
                    });
                }
                self.since = Some(since);
            }
            Err(error) => self.findings.add(
                Rule::History,
                Place::log(),
                format!("the earlier checkpoint is none: {error}"),
            ),
        }
    }

    pub(super) fn compare_marks(&mut self) {
        while let Some(mark) = self.marks.pop_if(|mark| mark.size == self.index) {
            if !self.tree_known {
                self.not_checked.push(not_compared(&mark));
                continue;
            }
            let root = self.edge.root();
            if root == mark.root {
                continue;
            }
            // Seals tell where a log departs from what it signed itself, not where
            // from another history.
            let place = if mark.rule != Rule::History && mark.size > self.signed_size {
                Place::entries(self.signed_size, mark.size - 1)
            } else {
                Place::log()
            };
            let detail = match mark.rule {
                Rule::History => format!(
                    "HISTORY WAS REWRITTEN: the first {} entries have the root {root}, {} had {}",
                    mark.size, mark.what, mark.root
                ),
                _ => format!(
                    "the first {} entries have the root {root}, {} says {}",
                    mark.size, mark.what, mark.root
                ),
            };
            self.findings.add(mark.rule, place, detail);
        }
    }

    /// The store's head beyond root and chain.
    pub(super) fn check_head(&mut self) {
        let Some(head) = self
            .head
            .as_ref()
            .filter(|_| self.counts.unreadable_entries == 0)
        else {
            return;
        };
        if self.index == 0 || self.counts.kinds.values().sum::<u64>() != self.index {
            return;
        }
        if head.blocks != self.blocks.count {
            let detail = format!(
                "the store's head counts {} blocks, the entries {}",
                head.blocks, self.blocks.count
            );
            self.findings.add(Rule::Head, Place::log(), detail);
        }
        if self
            .blocks
            .last_time
            .is_some_and(|time| time.as_micros() != head.time_us)
        {
            self.findings.add(
                Rule::Head,
                Place::log(),
                "the store's head has another time than the last block",
            );
        }
    }

    /// Who signed the checkpoint, and whether that is this log.
    pub(super) fn check_signatures(&mut self) -> Vec<String> {
        let in_force = self.keys.in_force();
        let given = &self.options.keys;
        if self.index > 0 {
            for key in given.iter().filter(|key| !in_force.contains(key)) {
                let detail =
                    format!("the log's own entries don't name the given key {key} as in force");
                self.findings.add(Rule::Key, Place::log(), detail);
            }
        }
        if let Some(since) = &self.since {
            let trusted: Vec<VerifierKey> = given.iter().chain(self.keys.ever()).cloned().collect();
            if let Err(error) = since.note.verify(&trusted) {
                let detail = format!("the earlier checkpoint was not signed by this log: {error}");
                self.findings.add(Rule::History, Place::log(), detail);
            }
        }
        let Some(signed) = self.note.as_ref().filter(|_| self.index > 0) else {
            return Vec::new();
        };
        match signed_by_all(&signed.note, in_force, in_force) {
            Ok(signed_by) => signed_by,
            Err(error) => {
                self.findings.add(
                    Rule::Checkpoint,
                    Place::log(),
                    format!("the checkpoint: {error}"),
                );
                Vec::new()
            }
        }
    }

    pub(super) fn compare_served_keys(&mut self) -> Result<(), SourceError> {
        let served = match self.source.vkeys() {
            Ok(Some(served)) if self.index > 0 => served,
            Ok(_) => return Ok(()),
            Err(SourceError::Damaged { reason, .. }) => {
                self.findings.add(
                    Rule::Key,
                    Place::log(),
                    format!("the served list of keys can't be read: {reason}"),
                );
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let mut served: Vec<&str> = served.lines().collect();
        let own: Vec<String> = self
            .keys
            .in_force()
            .iter()
            .map(ToString::to_string)
            .collect();
        let mut own: Vec<&str> = own.iter().map(String::as_str).collect();
        served.sort_unstable();
        own.sort_unstable();
        // A log that rotates its keys while we read serves the newer ones.
        if served != own {
            self.findings.add(
                Rule::Key,
                Place::log(),
                "/keys names other keys than the log's entries do",
            );
        }
        Ok(())
    }
}

pub(super) fn not_compared(mark: &Mark) -> String {
    format!(
        "The root of {} was not compared: entries before it can't be read.",
        mark.what
    )
}

fn open_note(bytes: &[u8]) -> Result<SignedNote, String> {
    let note = Note::parse(bytes).map_err(|error| error.to_string())?;
    let checkpoint = Checkpoint::parse(note.text()).map_err(|error| error.to_string())?;
    Ok(SignedNote {
        checkpoint,
        note,
        text: String::from_utf8_lossy(bytes).into_owned(),
    })
}
