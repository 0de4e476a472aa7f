//! Who else vouches for the checkpoint: the cosignatures that a witness policy asks for.

use super::auditor::Auditor;
use super::finding::{Place, Rule};
use super::marks::{Mark, MarkOf, open_note};
use crate::source::SourceError;

impl Auditor<'_> {
    /// Without `--key` the logs of the policy are trusted, those of this origin.
    pub(super) fn trust(&mut self, origin: &str) {
        if let Some(policy) = self.options.witness_policy.as_ref()
            && self.given.is_empty()
        {
            self.given = policy.log_keys(origin);
        }
    }

    /// Takes up what witnesses cosigned: by URL the checkpoint itself, in a directory a
    /// file beside the store, which may lag behind.
    pub(super) fn open_cosigned(&mut self) -> Result<(), SourceError> {
        let Some(policy) = &self.options.witness_policy else {
            return Ok(());
        };
        let note = match self.source.cosigned_note() {
            Ok(Some(bytes)) => open_note(&bytes),
            Ok(None) if self.head.is_some() && policy.asks_for_witnesses() => {
                Err("there is no file checkpoint.cosigned".into())
            }
            Ok(None) => match &self.note {
                Some(signed) => open_note(signed.text.as_bytes()),
                // Told already.
                None => return Ok(()),
            },
            Err(SourceError::Damaged { reason, .. }) => Err(reason),
            Err(error) => return Err(error),
        };
        let checked = note.and_then(|signed| {
            let by = policy
                .check(&signed.note)
                .map_err(|error| error.to_string())?;
            let names = by.iter().map(|witness| witness.name.clone()).collect();
            Ok((signed.checkpoint, names))
        });
        match checked {
            Ok((checkpoint, names)) if Some(&checkpoint.origin) == self.origin.as_ref() => {
                let size = checkpoint.size.0;
                if size > self.size {
                    let detail = format!(
                        "ROLLBACK: the log ends after {} entries, witnesses cosigned {size}",
                        self.size
                    );
                    self.findings
                        .add(Rule::Witness, Place::entry(self.size), detail);
                    return Ok(());
                }
                self.marks.push(Mark {
                    of: MarkOf::Cosigned,
                    size,
                    root: checkpoint.root,
                });
                self.cosigned = Some((size, names));
            }
            Ok((checkpoint, _)) => {
                let detail = format!(
                    "the cosigned checkpoint is of the log {}",
                    checkpoint.origin
                );
                self.findings.add(Rule::Witness, Place::log(), detail);
            }
            Err(error) => self.findings.add(Rule::Witness, Place::log(), error),
        }
        Ok(())
    }
}
