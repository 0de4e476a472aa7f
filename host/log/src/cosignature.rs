//! Cosignatures: [c2sp.org/tlog-cosignature](https://c2sp.org/tlog-cosignature), the
//! Ed25519 type (04).
//!
//! ```text
//! signature = time, u64 big-endian || Ed25519 over the message
//! message   = "cosignature/v1\n" "time " <decimal> "\n" <text of the checkpoint note>
//! ```
//! It says: at that time, this was the largest consistent tree of this origin that the
//! witness had seen. The message doesn't name the witness: a key cosigns for one name.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use ed25519_dalek::Signer as _;
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _};

use crate::key::{KeyError, VerifierKey};
use crate::note::NoteSignature;

/// Times are seconds since 1970, at most this.
const MAX_TIME_S: u64 = i64::MAX as u64;

/// A witness's private key.
pub struct CosignerKey {
    verifier: VerifierKey,
    private: ed25519_dalek::SigningKey,
}

impl CosignerKey {
    fn new(name: &str, private: ed25519_dalek::SigningKey) -> Result<Self, KeyError> {
        Ok(Self {
            verifier: VerifierKey::cosigner(name, private.verifying_key())?,
            private,
        })
    }

    /// A key from 32 random bytes.
    ///
    /// # Errors
    /// The name can't name a key.
    pub fn from_seed(name: &str, seed: &[u8; 32]) -> Result<Self, KeyError> {
        Self::new(name, ed25519_dalek::SigningKey::from_bytes(seed))
    }

    /// Reads PKCS #8 PEM.
    ///
    /// # Errors
    /// The text is no Ed25519 key, or the name can't name one.
    pub fn from_pem(name: &str, pem: &str) -> Result<Self, KeyError> {
        let private = ed25519_dalek::SigningKey::from_pkcs8_pem(pem);
        Self::new(name, private.map_err(|_| KeyError::Private)?)
    }

    /// Writes PKCS #8 PEM.
    ///
    /// # Errors
    /// The encoder failed; it has no reason to.
    pub fn to_pem(&self) -> Result<String, KeyError> {
        let pem = self.private.to_pkcs8_pem(LineEnding::LF);
        pem.map(|pem| String::from(pem.as_str()))
            .map_err(|_| KeyError::Private)
    }

    /// The public half.
    #[must_use]
    pub fn verifier(&self) -> &VerifierKey {
        &self.verifier
    }

    /// Cosigns the text of a checkpoint note as of `time_s`, seconds since 1970; a time
    /// past the format's end is its end.
    #[must_use]
    pub fn cosign(&self, text: &str, time_s: u64) -> NoteSignature {
        let time_s = time_s.min(MAX_TIME_S);
        let signed = self.private.sign(&message(text.as_bytes(), time_s));
        let mut signature = time_s.to_be_bytes().to_vec();
        signature.extend_from_slice(&signed.to_bytes());
        NoteSignature {
            name: self.verifier.name().into(),
            id: self.verifier.id(),
            signature,
        }
    }
}

impl fmt::Debug for CosignerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CosignerKey({})", self.verifier)
    }
}

/// When a cosignature was made, by its own account, which it covers: seconds since 1970.
#[must_use]
pub fn cosignature_time(signature: &NoteSignature) -> Option<u64> {
    let (time, _) = signature.signature.split_first_chunk::<8>()?;
    Some(u64::from_be_bytes(*time))
}

/// Checks a cosignature over a note's text; its time if it holds.
pub(crate) fn verify_cosignature(
    key: &ed25519_dalek::VerifyingKey,
    text: &[u8],
    signature: &[u8],
) -> Option<u64> {
    let (time, signature) = signature.split_first_chunk::<8>()?;
    let time_s = u64::from_be_bytes(*time);
    if time_s > MAX_TIME_S {
        return None;
    }
    let signature = ed25519_dalek::Signature::from_slice(signature).ok()?;
    key.verify_strict(&message(text, time_s), &signature)
        .ok()
        .map(|()| time_s)
}

fn message(text: &[u8], time_s: u64) -> Vec<u8> {
    let mut message = format!("cosignature/v1\ntime {time_s}\n").into_bytes();
    message.extend_from_slice(text);
    message
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::Checkpoint;
    use crate::hash::sha256;
    use crate::note::{Note, NoteError, sign_note};
    use crate::tree::TreeSize;
    use crate::{MAX_SIGNATURES, SignerKey};
    use std::string::ToString;

    fn text() -> String {
        let checkpoint = Checkpoint {
            origin: "example.com/log".into(),
            size: TreeSize(5),
            root: sha256(&[b"root"]),
        };
        checkpoint.to_text()
    }

    fn witness(n: u8) -> CosignerKey {
        CosignerKey::from_seed(&format!("witness.example/w{n}"), &[n; 32]).unwrap()
    }

    #[test]
    fn cosignatures_verify_with_the_keys_of_log_and_witnesses_in_one_note() {
        let log = SignerKey::ed25519("example.com/log", &[200; 32]).unwrap();
        let mut note = sign_note(&text(), core::slice::from_ref(&log));
        let mut keys = std::vec![log.verifier().clone()];
        let count = u8::try_from(MAX_SIGNATURES).unwrap();
        for n in 1..count {
            let witness = witness(n);
            let signature = witness.cosign(&text(), 1_700_000_000 + u64::from(n));
            assert_eq!(
                cosignature_time(&signature),
                Some(1_700_000_000 + u64::from(n))
            );
            note += &format!("{signature}\n");
            keys.push(witness.verifier().clone());
        }
        let note = Note::parse(note.as_bytes()).unwrap();
        assert_eq!(note.verify(&keys).unwrap().len(), MAX_SIGNATURES);
    }

    #[test]
    fn any_changed_bit_of_a_cosignature_is_refused() {
        let key = witness(1);
        let good = key.cosign(&text(), 1_679_315_147);
        for at in 0..good.signature.len() {
            for bit in 0..8 {
                let mut bad = good.clone();
                bad.signature[at] ^= 1 << bit;
                assert!(
                    !key.verifier().verify(text().as_bytes(), &bad.signature),
                    "{at} {bit}"
                );
            }
        }
        for text in ["", "example.com/log\n5\n", &text()[1..]] {
            assert!(!key.verifier().verify(text.as_bytes(), &good.signature));
        }
        // A plain signature of the same key over the text is no cosignature.
        let plain = SignerKey::ed25519("witness.example/w1", &[1; 32]).unwrap();
        assert!(plain.verifier().same_public(key.verifier()));
        assert_ne!(plain.verifier().id(), key.verifier().id());
        assert!(
            !key.verifier()
                .verify(text().as_bytes(), &plain.sign(text().as_bytes()))
        );
        let note = format!("{}\n{good}\n", text());
        assert_eq!(
            Note::parse(note.as_bytes())
                .unwrap()
                .verify(&[plain.verifier().clone()]),
            Err(NoteError::Unverified)
        );
    }

    #[test]
    fn keys_are_written_and_read() {
        let key = witness(9);
        let vkey = key.verifier().to_string();
        assert_eq!(vkey.parse::<VerifierKey>().as_ref(), Ok(key.verifier()));
        assert!(key.verifier().is_cosigner());
        let pem = key.to_pem().unwrap();
        let read = CosignerKey::from_pem("witness.example/w9", &pem).unwrap();
        assert_eq!(read.verifier(), key.verifier());
        assert!(CosignerKey::from_pem("a b", &pem).is_err());
        assert!(CosignerKey::from_pem("a", "none").is_err());
        assert_eq!(
            cosignature_time(&key.cosign(&text(), u64::MAX)),
            Some(MAX_TIME_S)
        );
    }
}
