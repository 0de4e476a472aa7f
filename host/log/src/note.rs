//! Signed notes: [c2sp.org/signed-note](https://c2sp.org/signed-note).
//!
//! ```text
//! <text, one or more lines, each ending in a newline>
//! <empty line>
//! — <key name> base64(<key id, 4 bytes> || <signature>)
//! ...
//! ```
//! Signatures of unknown keys are kept and ignored; a signature of a known key that
//! doesn't verify refuses the note.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::checkpoint::Checkpoint;
use crate::key::{SignerKey, VerifierKey};

/// Signature lines we take; the standard asks for 16 at least.
pub const MAX_SIGNATURES: usize = 64;
/// Bytes of a note. A seal must fit into an entry even when each of its newlines
/// and a witness's every line is escaped; [`MAX_SIGNATURES`] of 300 bytes fit.
pub const MAX_NOTE_BYTES: usize = 24 * 1024;

/// A note as it was written; nothing about it is verified yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    text: String,
    signatures: Vec<NoteSignature>,
}

/// One signature line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoteSignature {
    /// The key's name.
    pub name: String,
    /// The key's id.
    pub id: [u8; 4],
    /// The signature's bytes.
    pub signature: Vec<u8>,
}

/// Why a note can't be trusted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoteError {
    /// Not text, blank line, signatures.
    #[error(
        "no signed note: expected text, an empty line and signature lines (c2sp.org/signed-note)"
    )]
    Malformed,
    /// Over [`MAX_NOTE_BYTES`] or [`MAX_SIGNATURES`].
    #[error(
        "the note is larger than {MAX_NOTE_BYTES} bytes or has more than {MAX_SIGNATURES} signatures"
    )]
    TooLarge,
    /// The signature is not what the named key made.
    #[error("the signature of the known key {0} does not verify")]
    InvalidSignature(String),
    /// Nothing to go by.
    #[error("the note carries no signature of a key that is trusted here")]
    Unverified,
}

impl NoteSignature {
    /// Reads a signature line, without its newline.
    #[must_use]
    pub fn parse(line: &str) -> Option<Self> {
        let (name, data) = line.strip_prefix("— ")?.split_once(' ')?;
        Checkpoint::check_origin(name).ok()?;
        let data = STANDARD.decode(data).ok()?;
        let (id, signature) = data.split_first_chunk::<4>()?;
        if signature.is_empty() {
            return None;
        }
        Some(Self {
            name: name.to_string(),
            id: *id,
            signature: signature.to_vec(),
        })
    }

    /// Whether `key` is the one that it names.
    #[must_use]
    pub fn is_of(&self, key: &VerifierKey) -> bool {
        key.name() == self.name && key.id() == self.id
    }
}

impl fmt::Display for NoteSignature {
    /// The signature line, without its newline.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut data = self.id.to_vec();
        data.extend_from_slice(&self.signature);
        write!(f, "— {} {}", self.name, STANDARD.encode(data))
    }
}

impl Note {
    /// Takes a note apart.
    ///
    /// # Errors
    /// The bytes are no note.
    pub fn parse(bytes: &[u8]) -> Result<Self, NoteError> {
        if bytes.len() > MAX_NOTE_BYTES {
            return Err(NoteError::TooLarge);
        }
        let note = core::str::from_utf8(bytes).map_err(|_| NoteError::Malformed)?;
        if note.chars().any(|c| c.is_ascii_control() && c != '\n') {
            return Err(NoteError::Malformed);
        }
        let split = note.rfind("\n\n").ok_or(NoteError::Malformed)?;
        let (text, lines) = (&note[..=split], &note[split + 2..]);
        let lines = lines.strip_suffix('\n').ok_or(NoteError::Malformed)?;
        let mut signatures = Vec::new();
        for line in lines.split('\n') {
            if signatures.len() == MAX_SIGNATURES {
                return Err(NoteError::TooLarge);
            }
            signatures.push(NoteSignature::parse(line).ok_or(NoteError::Malformed)?);
        }
        Ok(Self {
            text: text.to_string(),
            signatures,
        })
    }

    /// What is signed.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The signature lines.
    #[must_use]
    pub fn signatures(&self) -> &[NoteSignature] {
        &self.signatures
    }

    /// The note with no other signatures than those of `keys`, one of each.
    #[must_use]
    pub fn only(&self, keys: &[&VerifierKey]) -> Self {
        let of = |key: &&VerifierKey| self.signatures.iter().find(|line| line.is_of(key));
        Self {
            text: self.text.clone(),
            signatures: keys.iter().filter_map(of).cloned().collect(),
        }
    }

    /// Adds signatures, or puts them in the place of older ones of the same keys.
    /// What would be more than [`MAX_SIGNATURES`] is left out. Nothing is verified.
    pub fn merge(&mut self, signatures: impl IntoIterator<Item = NoteSignature>) {
        for new in signatures {
            let same = |old: &&mut NoteSignature| old.name == new.name && old.id == new.id;
            if let Some(old) = self.signatures.iter_mut().find(same) {
                *old = new;
            } else if self.signatures.len() < MAX_SIGNATURES {
                self.signatures.push(new);
            }
        }
    }

    /// Verifies against the keys that are trusted and returns those that signed.
    ///
    /// # Errors
    /// None of them signed, or one's signature is invalid.
    pub fn verify<'k>(&self, keys: &'k [VerifierKey]) -> Result<Vec<&'k VerifierKey>, NoteError> {
        let mut signed: Vec<&VerifierKey> = Vec::new();
        for line in &self.signatures {
            let known = keys.iter().find(|key| line.is_of(key));
            let Some(key) = known.filter(|key| !signed.contains(key)) else {
                continue;
            };
            if !key.verify(self.text.as_bytes(), &line.signature) {
                return Err(NoteError::InvalidSignature(key.name().to_string()));
            }
            signed.push(key);
        }
        if signed.is_empty() {
            Err(NoteError::Unverified)
        } else {
            Ok(signed)
        }
    }
}

impl fmt::Display for Note {
    /// The note, byte for byte.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        self.signatures
            .iter()
            .try_for_each(|line| writeln!(f, "{line}"))
    }
}

/// Writes the note over `text`, which ends in a newline, signed by all of `keys`.
#[must_use]
pub fn sign_note<'k>(text: &str, keys: impl IntoIterator<Item = &'k SignerKey>) -> String {
    let mut note = String::from(text);
    note.push('\n');
    for key in keys {
        let signature = NoteSignature {
            name: key.verifier().name().to_string(),
            id: key.verifier().id(),
            signature: key.sign(text.as_bytes()),
        };
        note.push_str(&signature.to_string());
        note.push('\n');
    }
    note
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::sha256;
    use crate::key::KeyError;
    use crate::tree::TreeSize;
    use std::string::ToString;
    use std::vec;

    fn keys() -> [SignerKey; 2] {
        [
            SignerKey::ecdsa_p256("example.com/log", &[7; 32]).unwrap(),
            SignerKey::ed25519("example.com/log", &[8; 32]).unwrap(),
        ]
    }

    fn text() -> String {
        let root = sha256(&[b"root"]);
        Checkpoint {
            origin: "example.com/log".into(),
            size: TreeSize(5),
            root,
        }
        .to_text()
    }

    #[test]
    fn both_signatures_verify_and_are_deterministic() {
        let keys = keys();
        let verifiers: Vec<_> = keys.iter().map(|k| k.verifier().clone()).collect();
        let note = sign_note(&text(), &keys);
        assert_eq!(note, sign_note(&text(), &keys));
        let parsed = Note::parse(note.as_bytes()).unwrap();
        assert_eq!(parsed.text(), text());
        assert_eq!(parsed.to_string(), note);
        assert_eq!(parsed.verify(&verifiers).unwrap().len(), 2);
        for key in &verifiers {
            assert_eq!(
                parsed.verify(core::slice::from_ref(key)).unwrap(),
                vec![key]
            );
        }
        assert_eq!(parsed.verify(&[]), Err(NoteError::Unverified));
    }

    #[test]
    fn any_changed_byte_of_a_note_is_refused() {
        let keys = keys();
        let verifiers: Vec<_> = keys.iter().map(|k| k.verifier().clone()).collect();
        let note = sign_note(&text(), &keys).into_bytes();
        for at in 0..note.len() {
            for mask in [1, 0x20, 0x80] {
                let mut bad = note.clone();
                bad[at] ^= mask;
                // A changed name or id makes the line another key's: then only the
                // other signature counts, and the text is still what was signed.
                if let Ok(signed) = Note::parse(&bad).and_then(|n| Ok(n.verify(&verifiers)?.len()))
                {
                    assert_eq!(signed, 1, "byte {at} mask {mask}");
                    assert!(bad.starts_with(text().as_bytes()));
                }
            }
        }
    }

    #[test]
    fn the_published_key_and_note_verify() {
        let key: VerifierKey =
            "example.com/log/testdata+33d7b496+AeHTu4Q3hEIMHNqc6fASMsq3rKNx280NI+oO5xCFkkSx"
                .parse()
                .unwrap();
        let note = include_bytes!("../../../tests/vectors/tlog/checkpoint");
        let note = Note::parse(note).unwrap();
        assert_eq!(
            note.verify(core::slice::from_ref(&key)).unwrap(),
            vec![&key]
        );
        assert_eq!(Checkpoint::parse(note.text()).unwrap().size, TreeSize(15));
    }

    #[test]
    fn mangled_vkeys_are_refused() {
        for key in keys() {
            let vkey = key.verifier().to_string();
            assert_eq!(vkey.parse::<VerifierKey>().as_ref(), Ok(key.verifier()));
            for at in 0..vkey.len() {
                let mut bad = vkey.clone().into_bytes();
                bad[at] ^= 1;
                if let Ok(bad) = String::from_utf8(bad) {
                    // The id of a P-256 key doesn't cover the name.
                    let renamed = key.verifier().is_ecdsa_p256() && at < "example.com/log".len();
                    assert!(bad.parse::<VerifierKey>().is_err() || renamed, "{bad}");
                }
            }
            let pem = key.to_pem().unwrap();
            assert_eq!(
                SignerKey::from_pem("example.com/log", &pem)
                    .unwrap()
                    .verifier(),
                key.verifier()
            );
        }
        assert_eq!(
            "a+00000000+BQAA".parse::<VerifierKey>(),
            Err(KeyError::Type(5))
        );
        assert!(SignerKey::from_pem("a", "-----BEGIN NONSENSE-----").is_err());
        assert!(SignerKey::ecdsa_p256("a", &[0xff; 32]).is_err());
    }

    #[test]
    fn malformed_notes_are_refused() {
        let good = sign_note(&text(), &keys());
        for bad in [
            String::new(),
            "text\n".into(),
            "text\n\n".into(),
            good.trim_end().into(),
            good.replace("— ", "- "),
            good.replace('\n', "\r\n"),
            good.replace("\n\n", "\n\n\u{7}"),
            good.clone() + "— a AAAA\n",
            good.clone() + "\n",
        ] {
            assert!(Note::parse(bad.as_bytes()).is_err(), "{bad:?}");
        }
        assert_eq!(
            Note::parse(&vec![b'a'; MAX_NOTE_BYTES + 1]),
            Err(NoteError::TooLarge)
        );
        let line = good.lines().last().unwrap().to_string() + "\n";
        assert!(Note::parse((text() + "\n" + &line.repeat(MAX_SIGNATURES)).as_bytes()).is_ok());
        assert_eq!(
            Note::parse((text() + "\n" + &line.repeat(MAX_SIGNATURES + 1)).as_bytes()),
            Err(NoteError::TooLarge)
        );
    }
}
