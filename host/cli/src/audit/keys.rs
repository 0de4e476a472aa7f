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
    /// All that were in force at the end of a block, the newest [`LOG_KEYS_MAX`] of them:
    /// each of them must have signed that block.
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

    /// Whether a key was in force at the end of a block, and with that had to sign it.
    pub(super) fn was_in_force(&self, key: &VerifierKey) -> bool {
        self.ever.contains(key)
    }

    /// A block begins; its seal has been checked.
    pub(super) fn begin_block(&mut self) {
        if self.before_block != self.in_force {
            self.end();
            self.before_block.clone_from(&self.in_force);
        }
    }

    /// A block has ended.
    pub(super) fn end(&mut self) {
        for key in &self.in_force {
            if !self.ever.contains(key) {
                if self.ever.len() == LOG_KEYS_MAX {
                    self.ever.remove(0);
                }
                self.ever.push(key.clone());
            }
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
        if key.is_cosigner() {
            let detail = format!("a log key of a type that only witnesses use: {key}");
            findings.add(Rule::Key, place, detail);
            return;
        }
        let known = self.in_force.iter().position(|other| *other == key);
        match (record.state, known) {
            (KeyState::Begin, None) if self.in_force.len() < LOG_KEYS_MAX => {
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
    /// A block that changes keys is a hand-over: all keys in force before it must have
    /// signed it and all in force after it. Without the former anyone could end them, and
    /// without the latter a log could claim a key that it doesn't have.
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

    /// Whether a checkpoint over the blocks so far was signed by all keys that it must
    /// be signed by; those that did.
    pub(super) fn signed(
        &self,
        note: &Note,
        checkpoint: &Checkpoint,
        origin: &str,
    ) -> Result<Vec<String>, String> {
        let before = self.before_block.iter();
        let ended = before.filter(|key| !self.in_force.contains(key));
        let required: Vec<VerifierKey> = self.in_force.iter().chain(ended).cloned().collect();
        let signed_by = signed_by_all(note, &required)?;
        if checkpoint.origin != origin {
            return Err(format!(
                "it is of the log {}, this is {origin}",
                checkpoint.origin
            ));
        }
        Ok(signed_by)
    }
}

/// Checks that a note holds, and that all of `required` signed.
fn signed_by_all(note: &Note, required: &[VerifierKey]) -> Result<Vec<String>, String> {
    let signed = note.verify(required).map_err(|error| match error {
        NoteError::Unverified => "it carries no signature of a key of this log".to_string(),
        error => error.to_string(),
    })?;
    match required.iter().find(|key| !signed.contains(key)) {
        None => Ok(signed.iter().map(|key| key.to_string()).collect()),
        Some(key) => Err(format!("it lacks the signature of the log key {key}")),
    }
}
