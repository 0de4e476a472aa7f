//! Offline proof of one entry: [c2sp.org/tlog-proof](https://c2sp.org/tlog-proof).
//!
//! ```text
//! c2sp.org/tlog-proof@v1
//! extra <base64>            optional, for applications
//! index <decimal>
//! <hash, base64>            the audit path of RFC 6962, from the leaf's sibling up
//! ...
//! <empty line>
//! <checkpoint note>
//! ```

use auditchain_log::{
    Checkpoint, CheckpointError, Hash, LeafIndex, Note, NoteError, ProofError, QuorumError,
    VerifierKey, WitnessPolicy, leaf_hash, verify_inclusion,
};

use crate::limits::PROOF_FILE_BYTES_MAX;

const HEADER: &str = "c2sp.org/tlog-proof@v1";
/// A tree of 2^64 leaves has paths of at most 64 hashes; tlog-proof says 63.
const HASHES_MAX: usize = 63;

/// A proof that an entry is in a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlogProof {
    /// Where the entry is.
    pub index: LeafIndex,
    /// The audit path.
    pub hashes: Vec<Hash>,
    /// The signed checkpoint.
    pub note: String,
}

/// Why a file proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TlogProofError {
    /// Not the format.
    #[error(
        "no proof: expected {HEADER}, `index N`, hashes, an empty line and a checkpoint (c2sp.org/tlog-proof)"
    )]
    Malformed,
    /// The checkpoint's signatures.
    #[error("the checkpoint of the proof: {0}")]
    Note(#[from] NoteError),
    /// The checkpoint's text.
    #[error("the checkpoint of the proof: {0}")]
    Checkpoint(#[from] CheckpointError),
    /// The witnesses.
    #[error("the checkpoint of the proof: {0}")]
    Quorum(#[from] QuorumError),
    /// The path.
    #[error("the entry is not the one that is in the log: {0}")]
    Proof(#[from] ProofError),
}

impl TlogProof {
    /// The file.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = format!("{HEADER}\nindex {}\n", self.index);
        for hash in &self.hashes {
            text.push_str(&hash.to_base64());
            text.push('\n');
        }
        text.push('\n');
        text.push_str(&self.note);
        text
    }

    /// Reads a file.
    ///
    /// # Errors
    /// It is none. Nothing is verified yet.
    pub fn parse(bytes: &[u8]) -> Result<Self, TlogProofError> {
        let malformed = || TlogProofError::Malformed;
        if bytes.len() > PROOF_FILE_BYTES_MAX {
            return Err(malformed());
        }
        let text = std::str::from_utf8(bytes).map_err(|_| malformed())?;
        let (head, note) = text.split_once("\n\n").ok_or_else(malformed)?;
        let mut lines = head.split('\n').peekable();
        if lines.next() != Some(HEADER) {
            return Err(malformed());
        }
        // What applications add there is not ours to judge.
        lines.next_if(|line| line.starts_with("extra "));
        let number = lines
            .next()
            .and_then(|line| line.strip_prefix("index "))
            .ok_or_else(malformed)?;
        let index: u64 = number.parse().map_err(|_| malformed())?;
        if index.to_string() != number {
            return Err(malformed());
        }
        let hashes: Vec<Hash> = lines
            .map(Hash::from_base64)
            .collect::<Result<_, _>>()
            .map_err(|_| malformed())?;
        if hashes.len() > HASHES_MAX {
            return Err(malformed());
        }
        Ok(Self {
            index: LeafIndex(index),
            hashes,
            note: note.to_owned(),
        })
    }

    /// Checks the checkpoint against a witness policy; the names of the witnesses that
    /// cosigned.
    ///
    /// # Errors
    /// It doesn't satisfy it.
    pub fn check_witnesses(&self, policy: &WitnessPolicy) -> Result<Vec<String>, TlogProofError> {
        let note = Note::parse(self.note.as_bytes())?;
        let by = policy.check(&note)?;
        Ok(by.iter().map(|witness| witness.name.clone()).collect())
    }

    /// The origin of the checkpoint, which nothing vouches for yet.
    #[must_use]
    pub fn origin(&self) -> &str {
        self.note.split('\n').next().unwrap_or_default()
    }

    /// Checks that the checkpoint is signed by one of `keys` and covers `entry`;
    /// returns it and who signed.
    ///
    /// # Errors
    /// It doesn't hold.
    pub fn verify<'k>(
        &self,
        entry: &[u8],
        keys: &'k [VerifierKey],
    ) -> Result<(Checkpoint, Vec<&'k VerifierKey>), TlogProofError> {
        let note = Note::parse(self.note.as_bytes())?;
        let signed_by = note.verify(keys)?;
        let checkpoint = Checkpoint::parse(note.text())?;
        verify_inclusion(
            &leaf_hash(entry),
            self.index,
            checkpoint.size,
            &self.hashes,
            &checkpoint.root,
        )?;
        Ok((checkpoint, signed_by))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use auditchain_log::{SignerKey, TreeSize, node_hash, sign_note};

    fn proof() -> (TlogProof, Vec<VerifierKey>) {
        let keys = [
            SignerKey::ecdsa_p256("example.com/log", &[7; 32]).unwrap(),
            SignerKey::ed25519("example.com/log", &[8; 32]).unwrap(),
        ];
        let other = leaf_hash(b"other");
        let root = node_hash(&leaf_hash(b"entry"), &other);
        let checkpoint = Checkpoint {
            origin: "example.com/log".into(),
            size: TreeSize(2),
            root,
        };
        let note = sign_note(&checkpoint.to_text(), &keys);
        let verifiers = keys.iter().map(|key| key.verifier().clone()).collect();
        (
            TlogProof {
                index: LeafIndex(0),
                hashes: vec![other],
                note,
            },
            verifiers,
        )
    }

    #[test]
    fn a_proof_is_written_read_and_verified_offline() {
        let (proof, keys) = proof();
        let text = proof.to_text();
        assert!(text.starts_with("c2sp.org/tlog-proof@v1\nindex 0\n"));
        assert_eq!(TlogProof::parse(text.as_bytes()).as_ref(), Ok(&proof));
        let with_extra = text.replacen("index", "extra AAAA\nindex", 1);
        assert_eq!(TlogProof::parse(with_extra.as_bytes()).as_ref(), Ok(&proof));
        let (checkpoint, signed_by) = proof.verify(b"entry", &keys).unwrap();
        assert_eq!((checkpoint.size, signed_by.len()), (TreeSize(2), 2));
        assert!(matches!(
            proof.verify(b"entrx", &keys),
            Err(TlogProofError::Proof(_))
        ));
        assert!(matches!(
            proof.verify(b"entry", &[]),
            Err(TlogProofError::Note(NoteError::Unverified))
        ));
        let stranger = SignerKey::ed25519("example.com/log", &[9; 32]).unwrap();
        assert!(
            proof
                .verify(b"entry", &[stranger.verifier().clone()])
                .is_err()
        );
    }

    #[test]
    fn any_changed_byte_is_refused() {
        let (proof, keys) = proof();
        let text = proof.to_text().into_bytes();
        for at in 0..text.len() {
            let mut bad = text.clone();
            bad[at] ^= 1;
            let verified =
                TlogProof::parse(&bad).and_then(|proof| Ok(proof.verify(b"entry", &keys)?.1.len()));
            // A changed name or id makes a signature line a stranger's; the other holds.
            assert!(!matches!(verified, Ok(n) if n != 1), "byte {at}");
        }
        for bad in [
            "",
            "c2sp.org/tlog-proof@v1\nindex 00\n\nx",
            "c2sp.org/tlog-proof@v1\nindex 0\nAA\n\nx",
        ] {
            assert_eq!(
                TlogProof::parse(bad.as_bytes()),
                Err(TlogProofError::Malformed),
                "{bad:?}"
            );
        }
    }
}
