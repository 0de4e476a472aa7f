//! What the recomputed log is compared with: the signed checkpoint, an earlier one that
//! the auditor kept, the store's head, and the keys.

use auditchain_log::{Checkpoint, Hash, Note, VerifierKey};

use super::auditor::Auditor;
use super::finding::{Place, Rule};
use super::keys::signed_by_all;
use crate::source::SourceError;

/// A root that the log must have had at some size.
pub(super) struct Mark {
    pub(super) of: MarkOf,
    pub(super) size: u64,
    pub(super) root: Hash,
}

/// Who says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MarkOf {
    /// The signed checkpoint over the whole log.
    Checkpoint,
    /// The checkpoint that is kept beside the store.
    Kept,
    /// The checkpoint that the auditor brought along.
    Since,
    /// The store's head.
    Head,
}

impl MarkOf {
    fn rule(self) -> Rule {
        match self {
            Self::Checkpoint | Self::Kept => Rule::Root,
            Self::Since => Rule::History,
            Self::Head => Rule::Head,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Checkpoint => "the signed checkpoint",
            Self::Kept => "the file checkpoint",
            Self::Since => "the earlier checkpoint",
            Self::Head => "the store's head",
        }
    }
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
                match &self.head {
                    // Nothing that no signature covers may pass for a part of the log.
                    Some(head) if size != head.size => {
                        let detail = format!(
                            "the store ends after {} entries, the signed checkpoint in its head is over {size}",
                            head.size
                        );
                        let place = match head.size.checked_sub(size) {
                            Some(1..) => Place::entries(size, head.size - 1),
                            _ => Place::log(),
                        };
                        self.findings.add(Rule::Checkpoint, place, detail);
                    }
                    Some(head) if root != head.root => self.findings.add(
                        Rule::Checkpoint,
                        Place::log(),
                        format!(
                            "the store's head has the root {}, the signed checkpoint in it {root}",
                            head.root
                        ),
                    ),
                    _ => {}
                }
                if self.head.as_ref().is_none_or(|head| size <= head.size) {
                    self.marks.push(Mark {
                        of: MarkOf::Checkpoint,
                        size,
                        root,
                    });
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
            None => self.findings.add(
                Rule::Checkpoint,
                Place::log(),
                "there is no signed checkpoint",
            ),
        }
        if let Some(head) = &self.head {
            self.size = head.size;
            self.marks.push(Mark {
                of: MarkOf::Head,
                size: head.size,
                root: head.root,
            });
        }
        Ok(true)
    }

    /// Takes up the checkpoint beside the store: the log must not have been cut back
    /// before it.
    pub(super) fn open_kept(&mut self) -> Result<(), SourceError> {
        let Some(head_size) = self.head.as_ref().map(|head| head.size) else {
            return Ok(());
        };
        let kept = match self.source.kept_note() {
            Ok(Some(kept)) => open_note(&kept),
            Ok(None) => {
                self.findings.add(
                    Rule::Head,
                    Place::log(),
                    "the file checkpoint is missing: that the log was cut back can't be excluded",
                );
                return Ok(());
            }
            Err(SourceError::Damaged { reason, .. }) => Err(reason),
            Err(error) => return Err(error),
        };
        let kept = match kept {
            Ok(kept) => kept,
            Err(error) => {
                let detail = format!("the file checkpoint is none: {error}");
                self.findings.add(Rule::Checkpoint, Place::log(), detail);
                return Ok(());
            }
        };
        let (size, root) = (kept.checkpoint.size.0, kept.checkpoint.root);
        if size > head_size {
            let detail = format!(
                "ROLLBACK: the store ends after {head_size} entries, the file checkpoint beside it is over {size}"
            );
            self.findings
                .add(Rule::Head, Place::entry(head_size), detail);
        } else if self.note.as_ref().is_none_or(|note| note.text != kept.text) {
            self.marks.push(Mark {
                of: MarkOf::Kept,
                size,
                root,
            });
            self.kept = Some(kept);
        }
        Ok(())
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
                        of: MarkOf::Since,
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
            self.checkpoint_compared |= mark.of == MarkOf::Checkpoint && mark.size == self.size;
            if mark.of == MarkOf::Kept {
                self.check_kept_signatures();
            }
            let root = self.edge.root();
            if root == mark.root {
                continue;
            }
            // Seals tell where a log departs from what it signed itself, not where
            // from another history.
            let place = if mark.of != MarkOf::Since && mark.size > self.signed_size {
                Place::entries(self.signed_size, mark.size - 1)
            } else {
                Place::log()
            };
            let what = mark.of.name();
            let detail = match mark.of {
                MarkOf::Since => format!(
                    "HISTORY WAS REWRITTEN: the first {} entries have the root {root}, {what} had {}",
                    mark.size, mark.root
                ),
                _ => format!(
                    "the first {} entries have the root {root}, {what} says {}",
                    mark.size, mark.root
                ),
            };
            self.findings.add(mark.of.rule(), place, detail);
        }
    }

    /// Who signed the checkpoint beside the store: at its size, so that the keys are those
    /// that were in force there.
    fn check_kept_signatures(&mut self) {
        let Some(kept) = self.kept.take() else { return };
        let origin = self.origin.as_deref().unwrap_or_default();
        if let Err(error) = self.keys.signed(&kept.note, &kept.checkpoint, origin) {
            let detail = format!("the file checkpoint: {error}");
            self.findings.add(Rule::Checkpoint, Place::log(), detail);
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
        mark.of.name()
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
