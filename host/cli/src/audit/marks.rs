//! What the log must be like by a signature or by the store's own account, taken up
//! before it is read: the signed checkpoint, the one kept beside the store, an earlier one
//! that the auditor kept, the store's head.

use auditchain_log::{Checkpoint, Hash, Note, NoteError};

use super::auditor::Auditor;
use super::finding::{Place, Rule};
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
    /// The checkpoint that witnesses cosigned, where it is another.
    Cosigned,
    /// The checkpoint that the auditor brought along.
    Since,
    /// The store's head.
    Head,
}

impl MarkOf {
    pub(super) fn rule(self) -> Rule {
        match self {
            Self::Checkpoint | Self::Kept => Rule::Root,
            Self::Cosigned => Rule::Witness,
            Self::Since => Rule::History,
            Self::Head => Rule::Head,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Checkpoint => "the signed checkpoint",
            Self::Kept => "the file checkpoint",
            Self::Cosigned => "the cosigned checkpoint",
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
                self.trust(&signed.checkpoint.origin);
                let by_given = signed.note.verify(&self.given);
                // Keys that were retired since: the log has to say so, signed by them.
                self.given_must_lead_here = by_given == Err(NoteError::Unverified);
                if !self.given.is_empty()
                    && let Err(error) = by_given
                    && !self.given_must_lead_here
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
}

pub(super) fn open_note(bytes: &[u8]) -> Result<SignedNote, String> {
    let note = Note::parse(bytes).map_err(|error| error.to_string())?;
    let checkpoint = Checkpoint::parse(note.text()).map_err(|error| error.to_string())?;
    Ok(SignedNote {
        checkpoint,
        note,
        text: String::from_utf8_lossy(bytes).into_owned(),
    })
}
