//! What a log asks of a witness, and what a witness decides:
//! [c2sp.org/tlog-witness](https://c2sp.org/tlog-witness), `add-checkpoint`.
//!
//! ```text
//! old <size of the last checkpoint that the witness cosigned, decimal>
//! <hash, base64>        consistency proof from there, at most 63 lines
//! ...
//! <empty line>
//! <checkpoint note>
//! ```
//! The witness must keep what it cosigned before it answers, and must do check and
//! keeping as one: that is its server's part.

use alloc::borrow::ToOwned as _;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::checkpoint::Checkpoint;
use crate::hash::{Hash, sha256};
use crate::key::VerifierKey;
use crate::note::{MAX_NOTE_BYTES, Note, NoteError};
use crate::proof::verify_consistency;
use crate::tree::TreeSize;

/// Hashes of a consistency proof, by the standard.
pub const MAX_CONSISTENCY_HASHES: usize = 63;
/// Bytes of a request: size line, proof lines of 45 bytes, note.
pub const MAX_ADD_CHECKPOINT_BYTES: usize = 32 + 45 * MAX_CONSISTENCY_HASHES + MAX_NOTE_BYTES;

/// A request to cosign a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddCheckpoint {
    /// Size of the last checkpoint that the witness cosigned, by the sender's account.
    pub old: TreeSize,
    /// Consistency proof from there.
    pub proof: Vec<Hash>,
    /// The log's signed checkpoint.
    pub note: String,
}

/// The request is none: 400.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddCheckpointError {
    /// Not size line, proof, empty line, note.
    #[error(
        "expected `old N`, at most {MAX_CONSISTENCY_HASHES} hashes in base64, an empty line and a checkpoint (c2sp.org/tlog-witness)"
    )]
    Malformed,
    /// The note is none.
    #[error("the checkpoint: {0}")]
    Note(#[from] NoteError),
    /// The note's text is no checkpoint.
    #[error("the checkpoint: {0}")]
    Checkpoint(#[from] crate::checkpoint::CheckpointError),
}

/// Why a witness doesn't cosign.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// 400.
    #[error("{0}")]
    Request(#[from] AddCheckpointError),
    /// 400.
    #[error("the old size {old} is past the checkpoint's {size}")]
    OldSize {
        /// Of the request.
        old: TreeSize,
        /// Of its checkpoint.
        size: TreeSize,
    },
    /// 403.
    #[error("the checkpoint is not signed by a key that this witness trusts for its origin: {0}")]
    Signature(NoteError),
    /// 404.
    #[error("this witness doesn't know the log {0}")]
    UnknownLog(String),
    /// 409, with the size.
    #[error("the last checkpoint cosigned here has size {0}")]
    Conflict(TreeSize),
    /// 422.
    #[error("the checkpoint is not shown to continue the last one cosigned here: {0}")]
    Inconsistent(String),
}

impl AddCheckpoint {
    /// The request's body.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = format!("old {}\n", self.old);
        for hash in &self.proof {
            text.push_str(&hash.to_base64());
            text.push('\n');
        }
        text.push('\n');
        text.push_str(&self.note);
        text
    }

    /// Reads a request's body.
    ///
    /// # Errors
    /// It is none. Nothing is verified yet.
    pub fn parse(bytes: &[u8]) -> Result<Self, AddCheckpointError> {
        let malformed = || AddCheckpointError::Malformed;
        if bytes.len() > MAX_ADD_CHECKPOINT_BYTES {
            return Err(malformed());
        }
        let text = core::str::from_utf8(bytes).map_err(|_| malformed())?;
        let (head, note) = text.split_once("\n\n").ok_or_else(malformed)?;
        let mut lines = head.split('\n');
        let number = lines
            .next()
            .and_then(|line| line.strip_prefix("old "))
            .ok_or_else(malformed)?;
        let old: u64 = number.parse().map_err(|_| malformed())?;
        if old.to_string() != number {
            return Err(malformed());
        }
        let mut proof = Vec::new();
        for line in lines {
            if proof.len() == MAX_CONSISTENCY_HASHES {
                return Err(malformed());
            }
            proof.push(Hash::from_base64(line).map_err(|_| malformed())?);
        }
        Ok(Self {
            old: TreeSize(old),
            proof,
            note: note.to_owned(),
        })
    }

    /// What a witness decides that trusts `keys` (each a log's, named by its origin) and
    /// that `last` gives the last checkpoint of an origin it cosigned. Returns the
    /// checkpoint to cosign, with the note cut down to the signatures that were verified.
    ///
    /// # Errors
    /// It must not be cosigned.
    pub fn judge<'c>(
        &self,
        keys: &[VerifierKey],
        last: impl FnOnce(&str) -> Option<&'c Checkpoint>,
    ) -> Result<(Checkpoint, Note), Refusal> {
        let note = Note::parse(self.note.as_bytes()).map_err(AddCheckpointError::from)?;
        let checkpoint = Checkpoint::parse(note.text()).map_err(AddCheckpointError::from)?;
        let (old, size) = (self.old, checkpoint.size);
        // 1. The origin is known, and a key trusted for it signed.
        let keys: Vec<VerifierKey> = keys
            .iter()
            .filter(|key| key.name() == checkpoint.origin)
            .cloned()
            .collect();
        if keys.is_empty() {
            return Err(Refusal::UnknownLog(checkpoint.origin));
        }
        let signed = note.verify(&keys).map_err(Refusal::Signature)?;
        let note = note.only(&signed);
        // 2. The old size is possible, and is ours.
        if old > size {
            return Err(Refusal::OldSize { old, size });
        }
        let last = last(&checkpoint.origin);
        let last_size = last.map_or(TreeSize(0), |last| last.size);
        if old != last_size {
            return Err(Refusal::Conflict(last_size));
        }
        // 3. The checkpoint continues it.
        if size == TreeSize(0) && checkpoint.root != sha256(&[]) {
            let why = "an empty tree has another root";
            return Err(Refusal::Inconsistent(why.into()));
        }
        match last.filter(|last| last.size > TreeSize(0)) {
            None if self.proof.is_empty() => {}
            None => {
                let why = "a proof from size 0 is empty";
                return Err(Refusal::Inconsistent(why.into()));
            }
            Some(last) => {
                verify_consistency(old, size, &self.proof, &last.root, &checkpoint.root)
                    .map_err(|error| Refusal::Inconsistent(error.to_string()))?;
            }
        }
        Ok((checkpoint, note))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{SignerKey, leaf_hash, node_hash, sign_note};

    fn key() -> SignerKey {
        SignerKey::ed25519("example.com/log", &[7; 32]).unwrap()
    }

    fn checkpoint(size: u64, root: Hash) -> Checkpoint {
        Checkpoint {
            origin: "example.com/log".into(),
            size: TreeSize(size),
            root,
        }
    }

    /// Trees of one and two leaves, and the proof between them.
    fn trees() -> (Checkpoint, Checkpoint, Vec<Hash>) {
        let (a, b) = (leaf_hash(b"a"), leaf_hash(b"b"));
        (
            checkpoint(1, a),
            checkpoint(2, node_hash(&a, &b)),
            [b].into(),
        )
    }

    fn request(old: u64, proof: &[Hash], new: &Checkpoint) -> AddCheckpoint {
        AddCheckpoint {
            old: TreeSize(old),
            proof: proof.into(),
            note: sign_note(&new.to_text(), &[key()]),
        }
    }

    fn judge(request: &AddCheckpoint, last: Option<&Checkpoint>) -> Result<TreeSize, Refusal> {
        let keys = [key().verifier().clone()];
        // What travels is what is judged.
        let request = AddCheckpoint::parse(request.to_text().as_bytes()).unwrap();
        request.judge(&keys, |_| last).map(|(new, _)| new.size)
    }

    #[test]
    fn only_what_continues_the_last_checkpoint_is_cosigned() {
        let (one, two, proof) = trees();
        let empty = checkpoint(0, sha256(&[]));
        let forked = checkpoint(2, sha256(&[b"fork"]));
        let good = |old, proof: &[Hash], new: &Checkpoint, last: Option<&Checkpoint>| {
            assert_eq!(judge(&request(old, proof, new), last), Ok(new.size));
        };
        good(0, &[], &one, None);
        good(0, &[], &empty, None);
        good(0, &[], &two, Some(&empty));
        good(1, &proof, &two, Some(&one));
        good(2, &[], &two, Some(&two));
        let bad = |old, proof: &[Hash], new: &Checkpoint, last: Option<&Checkpoint>| {
            judge(&request(old, proof, new), last).unwrap_err()
        };
        assert_eq!(
            bad(0, &[], &two, Some(&one)),
            Refusal::Conflict(TreeSize(1))
        );
        assert_eq!(bad(1, &proof, &two, None), Refusal::Conflict(TreeSize(0)));
        assert_eq!(
            bad(1, &[], &one, Some(&two)),
            Refusal::Conflict(TreeSize(2))
        );
        assert!(matches!(
            bad(2, &[], &one, Some(&two)),
            Refusal::OldSize { .. }
        ));
        for inconsistent in [
            bad(0, &proof, &two, None),
            bad(0, &[], &checkpoint(0, sha256(&[b"x"])), None),
            bad(1, &[], &two, Some(&one)),
            bad(1, &[sha256(&[])], &two, Some(&one)),
            bad(1, &[proof[0], proof[0]], &two, Some(&one)),
            bad(1, &proof, &forked, Some(&one)),
            bad(2, &[], &forked, Some(&two)),
            bad(2, &proof, &two, Some(&two)),
        ] {
            assert!(
                matches!(inconsistent, Refusal::Inconsistent(_)),
                "{inconsistent}"
            );
        }
    }

    #[test]
    fn only_trusted_keys_of_the_origin_count() {
        let (one, ..) = trees();
        let stranger = SignerKey::ed25519("example.com/log", &[9; 32]).unwrap();
        let other = SignerKey::ed25519("example.com/other", &[7; 32]).unwrap();
        let keys = [key().verifier().clone(), other.verifier().clone()];
        let judge = |note: String, keys: &[VerifierKey]| {
            let request = AddCheckpoint {
                old: TreeSize(0),
                proof: Vec::new(),
                note,
            };
            request.judge(keys, |_| None)
        };
        let both = sign_note(&one.to_text(), &[stranger, key()]);
        // The stranger's line isn't carried on.
        assert_eq!(judge(both, &keys).unwrap().1.signatures().len(), 1);
        // A key of another origin says nothing here.
        let cross = sign_note(&one.to_text(), &[other]);
        assert!(matches!(
            judge(cross, &keys),
            Err(Refusal::Signature(NoteError::Unverified))
        ));
        let good = sign_note(&one.to_text(), &[key()]);
        assert!(matches!(
            judge(good.clone(), &keys[1..]),
            Err(Refusal::UnknownLog(_))
        ));
        let forged = good.replacen("\n1\n", "\n2\n", 1);
        assert!(matches!(
            judge(forged, &keys),
            Err(Refusal::Signature(NoteError::InvalidSignature(_)))
        ));
    }

    #[test]
    fn malformed_requests_are_refused() {
        let (_, two, proof) = trees();
        let good = request(1, &proof, &two).to_text();
        for bad in [
            String::new(),
            good.replace("old 1", "old 01"),
            good.replace("old 1", "old -1"),
            good.replace("old 1", "old"),
            good.replace("old 1\n", ""),
            good.replace("old ", "old  "),
            good.replace("\n\n", "\n"),
            good.replacen('\n', "\n!\n", 1),
            good.replacen(
                '\n',
                &format!("\n{}", format!("{}\n", proof[0].to_base64()).repeat(63)),
                1,
            ),
        ] {
            assert_eq!(
                AddCheckpoint::parse(bad.as_bytes()),
                Err(AddCheckpointError::Malformed),
                "{bad}"
            );
        }
        let large = std::vec![b'a'; MAX_ADD_CHECKPOINT_BYTES + 1];
        assert!(AddCheckpoint::parse(&large).is_err());
        let most = request(1, &[proof[0]; MAX_CONSISTENCY_HASHES], &two);
        assert_eq!(AddCheckpoint::parse(most.to_text().as_bytes()), Ok(most));
        let no_note = AddCheckpoint::parse(b"old 0\n\nnone").unwrap();
        assert!(matches!(
            no_note.judge(&[], |_| None),
            Err(Refusal::Request(_))
        ));
    }
}
