//! Keys that sign notes, and how they are written.
//! Format: [c2sp.org/signed-note](https://c2sp.org/signed-note).
//!
//! ```text
//! vkey = <name> "+" <key id, 8 hex digits> "+" base64(<type byte> || <public key>)
//! type 01  Ed25519: 32 bytes;              id = SHA-256(name || 0x0a || 0x01 || key)[:4]
//! type 02  ECDSA P-256/SHA-256: SPKI DER;  id = SHA-256(SPKI)[:4]
//! type 04  Ed25519 cosignature: 32 bytes;  id = SHA-256(name || 0x0a || 0x04 || key)[:4]
//! ```
//! Logs sign with types 01 and 02, witnesses with 04 (see [`crate::CosignerKey`]).
//! Private keys are PKCS #8 PEM.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::Signer as _;
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use p256::ecdsa::signature::Verifier as _;
use p256::pkcs8::{
    DecodePrivateKey as _, DecodePublicKey as _, EncodePrivateKey as _, EncodePublicKey as _,
};

use crate::checkpoint::Checkpoint;
use crate::cosignature::verify_cosignature;
use crate::hash::sha256;

const TYPE_ED25519: u8 = 1;
const TYPE_ECDSA_P256: u8 = 2;
const TYPE_COSIGNATURE: u8 = 4;

/// A named public key: what an auditor is given to trust.
#[derive(Clone, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    id: [u8; 4],
    public: Public,
}

#[derive(Clone, PartialEq, Eq)]
enum Public {
    Ed25519(ed25519_dalek::VerifyingKey),
    EcdsaP256(p256::ecdsa::VerifyingKey),
    Cosignature(ed25519_dalek::VerifyingKey),
}

/// A named private key.
pub struct SignerKey {
    verifier: VerifierKey,
    private: Private,
}

enum Private {
    Ed25519(ed25519_dalek::SigningKey),
    EcdsaP256(p256::ecdsa::SigningKey),
}

/// Why something is no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// Not `name+id+key`.
    #[error("a vkey is <name>+<8 hex digits>+<base64>, as `auditchain key show` prints it")]
    Syntax,
    /// The name can't name a key.
    #[error("a key's name has no white space, '+' or control characters")]
    Name,
    /// Not a type we verify.
    #[error(
        "key type {0:#04x} is not supported: 0x01 is Ed25519, 0x02 ECDSA P-256, 0x04 an Ed25519 cosignature"
    )]
    Type(u8),
    /// No point on the curve, or not the encoding of one.
    #[error("the public key's bytes are none of its type")]
    Public,
    /// The id is another key's.
    #[error("the key id doesn't belong to this name and key: the vkey was mistyped or altered")]
    Id,
    /// Not PKCS #8 PEM of a supported type.
    #[error("no private key: expected PKCS #8 PEM of an Ed25519 or a P-256 key")]
    Private,
    /// Not PKCS #8 PEM of a type that senders use.
    #[error(
        "no sender's key: expected PKCS #8 PEM of a P-256 or an SM2 key, as `auditchain key new --sender` makes it"
    )]
    SenderPrivate,
    /// SM2 has no signature for this nonce.
    #[error("the message can't be signed with this key; make another key")]
    Sign,
}

impl VerifierKey {
    pub(crate) fn cosigner(
        name: &str,
        public: ed25519_dalek::VerifyingKey,
    ) -> Result<Self, KeyError> {
        Self::new(name, Public::Cosignature(public))
    }

    fn new(name: &str, public: Public) -> Result<Self, KeyError> {
        Checkpoint::check_origin(name).map_err(|_| KeyError::Name)?;
        let mut key = Self {
            name: name.to_string(),
            id: [0; 4],
            public,
        };
        let data = key.public_bytes()?;
        let hash = match key.public {
            Public::Ed25519(_) | Public::Cosignature(_) => sha256(&[name.as_bytes(), b"\n", &data]),
            Public::EcdsaP256(_) => sha256(&[&data[1..]]),
        };
        key.id.copy_from_slice(&hash.0[..4]);
        Ok(key)
    }

    /// The key's name; for a log, its origin.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The first bytes of a hash over the key, by which a signature names it.
    #[must_use]
    pub fn id(&self) -> [u8; 4] {
        self.id
    }

    /// Whether this is an ECDSA P-256 key.
    #[must_use]
    pub fn is_ecdsa_p256(&self) -> bool {
        matches!(self.public, Public::EcdsaP256(_))
    }

    /// Whether this key cosigns (type 04): a witness's, never a log's.
    #[must_use]
    pub fn is_cosigner(&self) -> bool {
        matches!(self.public, Public::Cosignature(_))
    }

    /// The algorithm, for people.
    #[must_use]
    pub fn algorithm(&self) -> &'static str {
        match self.public {
            Public::Ed25519(_) => "Ed25519",
            Public::EcdsaP256(_) => "ECDSA P-256",
            Public::Cosignature(_) => "Ed25519 cosignature",
        }
    }

    /// Whether both wrap the same public key, whatever their names and types.
    #[must_use]
    pub fn same_public(&self, other: &Self) -> bool {
        match (&self.public, &other.public) {
            (Public::EcdsaP256(a), Public::EcdsaP256(b)) => a == b,
            (
                Public::Ed25519(a) | Public::Cosignature(a),
                Public::Ed25519(b) | Public::Cosignature(b),
            ) => a == b,
            _ => false,
        }
    }

    /// Type byte and public key, as they stand in the vkey.
    fn public_bytes(&self) -> Result<Vec<u8>, KeyError> {
        let mut data = Vec::new();
        match &self.public {
            Public::Ed25519(key) => {
                data.push(TYPE_ED25519);
                data.extend_from_slice(key.as_bytes());
            }
            Public::Cosignature(key) => {
                data.push(TYPE_COSIGNATURE);
                data.extend_from_slice(key.as_bytes());
            }
            Public::EcdsaP256(key) => {
                data.push(TYPE_ECDSA_P256);
                let spki = key.to_public_key_der().map_err(|_| KeyError::Public)?;
                data.extend_from_slice(spki.as_bytes());
            }
        }
        Ok(data)
    }

    /// Whether `signature` is this key's over `text`. False for anything malformed.
    #[must_use]
    pub fn verify(&self, text: &[u8], signature: &[u8]) -> bool {
        match &self.public {
            Public::Ed25519(key) => ed25519_dalek::Signature::from_slice(signature)
                .is_ok_and(|signature| key.verify_strict(text, &signature).is_ok()),
            Public::EcdsaP256(key) => p256::ecdsa::Signature::from_der(signature)
                .is_ok_and(|signature| key.verify(text, &signature).is_ok()),
            Public::Cosignature(key) => verify_cosignature(key, text, signature).is_some(),
        }
    }
}

impl FromStr for VerifierKey {
    type Err = KeyError;

    fn from_str(vkey: &str) -> Result<Self, KeyError> {
        let mut parts = vkey.splitn(3, '+');
        let (Some(name), Some(id), Some(data)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(KeyError::Syntax);
        };
        let data = STANDARD.decode(data).map_err(|_| KeyError::Syntax)?;
        let (kind, bytes) = data.split_first().ok_or(KeyError::Syntax)?;
        let public = match *kind {
            TYPE_ED25519 => Public::Ed25519(ed25519_public(bytes)?),
            TYPE_COSIGNATURE => Public::Cosignature(ed25519_public(bytes)?),
            TYPE_ECDSA_P256 => {
                let key = p256::ecdsa::VerifyingKey::from_public_key_der(bytes);
                Public::EcdsaP256(key.map_err(|_| KeyError::Public)?)
            }
            other => return Err(KeyError::Type(other)),
        };
        let key = Self::new(name, public)?;
        if hex::encode(key.id) != id {
            return Err(KeyError::Id);
        }
        // One spelling a key: an SPKI may be written in more than one way.
        if key.to_string() == vkey {
            Ok(key)
        } else {
            Err(KeyError::Syntax)
        }
    }
}

fn ed25519_public(bytes: &[u8]) -> Result<ed25519_dalek::VerifyingKey, KeyError> {
    let bytes = bytes.try_into().map_err(|_| KeyError::Public)?;
    ed25519_dalek::VerifyingKey::from_bytes(bytes).map_err(|_| KeyError::Public)
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let data = self.public_bytes().map_err(|_| fmt::Error)?;
        write!(
            f,
            "{}+{}+{}",
            self.name,
            hex::encode(self.id),
            STANDARD.encode(data)
        )
    }
}

impl fmt::Debug for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl SignerKey {
    fn new(name: &str, private: Private) -> Result<Self, KeyError> {
        let public = match &private {
            Private::Ed25519(key) => Public::Ed25519(key.verifying_key()),
            Private::EcdsaP256(key) => Public::EcdsaP256(*key.verifying_key()),
        };
        Ok(Self {
            verifier: VerifierKey::new(name, public)?,
            private,
        })
    }

    /// An Ed25519 key from 32 random bytes.
    ///
    /// # Errors
    /// The name can't name a key.
    pub fn ed25519(name: &str, seed: &[u8; 32]) -> Result<Self, KeyError> {
        Self::new(
            name,
            Private::Ed25519(ed25519_dalek::SigningKey::from_bytes(seed)),
        )
    }

    /// An ECDSA P-256 key from 32 random bytes.
    ///
    /// # Errors
    /// The name can't name a key, or the bytes are zero or past the group's order
    /// (once in 2^32: draw again).
    pub fn ecdsa_p256(name: &str, secret: &[u8; 32]) -> Result<Self, KeyError> {
        let key = p256::ecdsa::SigningKey::from_slice(secret).map_err(|_| KeyError::Private)?;
        Self::new(name, Private::EcdsaP256(key))
    }

    /// Reads PKCS #8 PEM of either type.
    ///
    /// # Errors
    /// The text is no such key.
    pub fn from_pem(name: &str, pem: &str) -> Result<Self, KeyError> {
        if let Ok(key) = p256::ecdsa::SigningKey::from_pkcs8_pem(pem) {
            return Self::new(name, Private::EcdsaP256(key));
        }
        let key = ed25519_dalek::SigningKey::from_pkcs8_pem(pem).map_err(|_| KeyError::Private)?;
        Self::new(name, Private::Ed25519(key))
    }

    /// Writes PKCS #8 PEM.
    ///
    /// # Errors
    /// The encoder failed; it has no reason to.
    pub fn to_pem(&self) -> Result<String, KeyError> {
        let pem = match &self.private {
            Private::Ed25519(key) => key.to_pkcs8_pem(LineEnding::LF),
            Private::EcdsaP256(key) => key.to_pkcs8_pem(LineEnding::LF),
        };
        pem.map(|pem| pem.as_str().to_string())
            .map_err(|_| KeyError::Private)
    }

    /// The public half.
    #[must_use]
    pub fn verifier(&self) -> &VerifierKey {
        &self.verifier
    }

    /// Signs. Both algorithms are deterministic (RFC 8032, RFC 6979): the same key
    /// and text give the same signature, so a checkpoint lost in a crash is made
    /// again bit for bit.
    #[must_use]
    pub fn sign(&self, text: &[u8]) -> Vec<u8> {
        match &self.private {
            Private::Ed25519(key) => key.sign(text).to_bytes().to_vec(),
            Private::EcdsaP256(key) => {
                let signature: p256::ecdsa::Signature = key.sign(text);
                signature.to_der().as_bytes().to_vec()
            }
        }
    }
}

impl fmt::Debug for SignerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SignerKey({})", self.verifier)
    }
}
