//! The log's keys as its own entries name them, and the seals that they sign.

use auditchain_log::{
    Checkpoint, Hash, KeyRecord, KeyRole, KeyState, Note, NoteError, TreeSize, VerifierKey,
};

use super::finding::{Findings, Place, Rule};
use crate::limits::LOG_KEYS_MAX;

/// The log's keys at some entry.
#[derive(Debug, Default)]
pub(super) struct LogKeys {
    in_force: Vec<VerifierKey>,
    /// Those in force when the block began that is being read.
    before_block: Vec<VerifierKey>,
    /// All that ever were, the newest [`LOG_KEYS_MAX`] of them.
    ever: Vec<VerifierKey>,
}

/// What a seal was found to be.
pub(super) enum Seal {
    /// Of this root, by its own account, signed by this log.
    Signed(Hash),
    /// Told as a finding.
    Refused,
}

impl LogKeys {
    pub(super) fn in_force(&self) -> &[VerifierKey] {
        &self.in_force
    }

    pub(super) fn ever(&self) -> &[VerifierKey] {
        &self.ever
    }

    /// A block begins; its seal has been checked.
    pub(super) fn begin_block(&mut self) {
        if self.before_block != self.in_force {
            self.before_block.clone_from(&self.in_force);
        }
    }

    /// Takes up a key entry.
    pub(super) fn entry(
        &mut self,
        record: &KeyRecord,
        origin: &str,
        place: Place,
        findings: &mut Findings,
    ) {
        if record.role != KeyRole::Log {
            return;
        }
        let key: VerifierKey = match record.key.parse() {
            Ok(key) => key,
            Err(error) => {
                findings.add(Rule::Key, place, format!("a log key that is none: {error}"));
                return;
            }
        };
        if key.name() != origin {
            findings.add(
                Rule::Key,
                place,
                format!("a log key named {}, in the log {origin}", key.name()),
            );
            return;
        }
        let known = self.in_force.iter().position(|other| *other == key);
        match (record.state, known) {
            (KeyState::Begin, None) if self.in_force.len() < LOG_KEYS_MAX => {
                if !self.ever.contains(&key) {
                    if self.ever.len() == LOG_KEYS_MAX {
                        self.ever.remove(0);
                    }
                    self.ever.push(key.clone());
                }
                self.in_force.push(key);
            }
            (KeyState::Begin, None) => findings.add(
                Rule::Key,
                place,
                format!("more than {LOG_KEYS_MAX} log keys"),
            ),
            (KeyState::Begin, Some(_)) => findings.add(
                Rule::Key,
                place,
                "a log key begins that is in force already",
            ),
            (KeyState::End, Some(at)) => {
                self.in_force.remove(at);
            }
            (KeyState::End, None) => {
                findings.add(Rule::Key, place, "a log key ends that is not in force");
            }
        }
    }

    /// Checks the seal at `index`, the entry right after the block that it seals.
    ///
    /// A block that changes keys may be signed by the old or the new ones: what was in
    /// force on both sides of it must have signed.
    pub(super) fn seal(
        &self,
        note: &str,
        origin: &str,
        index: u64,
        place: Place,
        findings: &mut Findings,
    ) -> Seal {
        match self.read_seal(note, origin, index) {
            Ok(root) => Seal::Signed(root),
            Err(detail) => {
                findings.add(Rule::Seal, place, detail);
                Seal::Refused
            }
        }
    }

    fn read_seal(&self, note: &str, origin: &str, index: u64) -> Result<Hash, String> {
        let note = Note::parse(note.as_bytes()).map_err(|error| error.to_string())?;
        let checkpoint = Checkpoint::parse(note.text()).map_err(|error| error.to_string())?;
        self.signed(&note, &checkpoint, origin)?;
        if checkpoint.size != TreeSize(index) {
            return Err(format!(
                "it states {} entries, before it stand {index}",
                checkpoint.size
            ));
        }
        Ok(checkpoint.root)
    }

    /// Whether a checkpoint over the blocks so far was signed by the keys in force.
    pub(super) fn signed(
        &self,
        note: &Note,
        checkpoint: &Checkpoint,
        origin: &str,
    ) -> Result<(), String> {
        if self.before_block.is_empty() || self.before_block == self.in_force {
            signed_by_all(note, &self.in_force, &self.in_force)?;
        } else {
            let mut trusted = self.before_block.clone();
            trusted.extend(
                self.in_force
                    .iter()
                    .filter(|key| !self.before_block.contains(key))
                    .cloned(),
            );
            let both: Vec<_> = self
                .in_force
                .iter()
                .filter(|key| self.before_block.contains(key))
                .cloned()
                .collect();
            signed_by_all(note, &trusted, &both)?;
        }
        if checkpoint.origin != origin {
            return Err(format!(
                "it is of the log {}, this is {origin}",
                checkpoint.origin
            ));
        }
        Ok(())
    }
}

/// Checks that a note holds by the keys `trusted`, and that all of `required` signed.
pub(super) fn signed_by_all(
    note: &Note,
    trusted: &[VerifierKey],
    required: &[VerifierKey],
) -> Result<Vec<String>, String> {
    let signed = note.verify(trusted).map_err(|error| match error {
        NoteError::Unverified => "it carries no signature of a key of this log".to_string(),
        error => error.to_string(),
    })?;
    match required.iter().find(|key| !signed.contains(key)) {
        None => Ok(signed.iter().map(|key| key.to_string()).collect()),
        Some(key) => Err(format!("it lacks the signature of the log key {key}")),
    }
}
