//! Keys of senders, which sign batches of events: see [`crate::batch_message`].
//!
//! ```text
//! ecdsa-p256-sha256  ECDSA P-256 over SHA-256, RFC 6979 (deterministic)
//! sm2-sm3            GB/T 32918 (GM/T 0003) SM2 over SM3(ZA || message), with the default
//!                    distinguishing id of GM/T 0009; k as in RFC 6979 (deterministic)
//! ```
//! Signatures are ASN.1 DER, SEQUENCE of r and s; public keys SubjectPublicKeyInfo DER,
//! private keys PKCS #8 PEM. The curve in the key's parameters tells the algorithm.
//!
//! Verifying is in [`crate::SenderPublicKey`].

use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use core::fmt;

use p256::ecdsa::signature::Signer as _;
use p256::pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _, EncodePublicKey as _, LineEnding};

use crate::hash::sha256;
use crate::key::KeyError;
use crate::sender_signature::{SM2_DEFAULT_ID, SenderAlgorithm};

/// A sender's private key.
pub struct SenderKey {
    private: Private,
    /// SubjectPublicKeyInfo, DER.
    public_spki: Vec<u8>,
}

enum Private {
    EcdsaP256(p256::ecdsa::SigningKey),
    Sm2(sm2::SecretKey, sm2::dsa::SigningKey),
}

impl SenderKey {
    /// A key from 32 random bytes.
    ///
    /// # Errors
    /// The bytes are zero or past the group's order (once in 2^32: draw again).
    pub fn from_secret(algorithm: SenderAlgorithm, secret: &[u8; 32]) -> Result<Self, KeyError> {
        match algorithm {
            SenderAlgorithm::EcdsaP256Sha256 => {
                let key = p256::ecdsa::SigningKey::from_slice(secret);
                Self::ecdsa_p256(key.map_err(|_| KeyError::Private)?)
            }
            SenderAlgorithm::Sm2Sm3 => {
                let key = sm2::SecretKey::from_slice(secret);
                Self::sm2(key.map_err(|_| KeyError::Private)?)
            }
        }
    }

    /// Reads PKCS #8 PEM of either algorithm.
    ///
    /// # Errors
    /// The text is no such key.
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        if let Ok(key) = p256::ecdsa::SigningKey::from_pkcs8_pem(pem) {
            return Self::ecdsa_p256(key);
        }
        let key = sm2::SecretKey::from_pkcs8_pem(pem).map_err(|_| KeyError::SenderPrivate)?;
        Self::sm2(key)
    }

    /// Writes PKCS #8 PEM.
    ///
    /// # Errors
    /// The encoder failed; it has no reason to.
    pub fn to_pem(&self) -> Result<String, KeyError> {
        let pem = match &self.private {
            Private::EcdsaP256(key) => key.to_pkcs8_pem(LineEnding::LF).ok(),
            Private::Sm2(key, _) => key.to_pkcs8_pem(LineEnding::LF).ok(),
        };
        pem.map(|pem| pem.as_str().to_string())
            .ok_or(KeyError::SenderPrivate)
    }

    /// How it signs.
    #[must_use]
    pub fn algorithm(&self) -> SenderAlgorithm {
        match &self.private {
            Private::EcdsaP256(_) => SenderAlgorithm::EcdsaP256Sha256,
            Private::Sm2(..) => SenderAlgorithm::Sm2Sm3,
        }
    }

    /// The public half: SubjectPublicKeyInfo, DER.
    #[must_use]
    pub fn public_spki(&self) -> &[u8] {
        &self.public_spki
    }

    /// Names the key: SHA-256 of its SubjectPublicKeyInfo, in hex.
    #[must_use]
    pub fn id(&self) -> String {
        sha256(&[&self.public_spki]).to_string()
    }

    /// Signs: ASN.1 DER. The same key and message give the same signature.
    ///
    /// # Errors
    /// The nonce that follows from key and message is none that SM2 may use; nobody will
    /// see one (2^-255).
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        match &self.private {
            Private::EcdsaP256(key) => {
                let signature: p256::ecdsa::Signature = key.sign(message);
                Ok(signature.to_der().as_bytes().to_vec())
            }
            Private::Sm2(_, key) => {
                let signature: sm2::dsa::Signature =
                    key.try_sign(message).map_err(|_| KeyError::Sign)?;
                Ok(signature.to_der().as_bytes().to_vec())
            }
        }
    }

    fn ecdsa_p256(key: p256::ecdsa::SigningKey) -> Result<Self, KeyError> {
        let spki = key.verifying_key().to_public_key_der();
        Ok(Self {
            public_spki: spki.map_err(|_| KeyError::Public)?.into_vec(),
            private: Private::EcdsaP256(key),
        })
    }

    fn sm2(key: sm2::SecretKey) -> Result<Self, KeyError> {
        let spki = key.public_key().to_public_key_der();
        let signer = sm2::dsa::SigningKey::new(SM2_DEFAULT_ID, &key);
        Ok(Self {
            public_spki: spki.map_err(|_| KeyError::Public)?.into_vec(),
            private: Private::Sm2(key, signer.map_err(|_| KeyError::SenderPrivate)?),
        })
    }
}

impl fmt::Debug for SenderKey {
    /// Without the private half.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SenderKey({}, {})", self.algorithm().name(), self.id())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::batch_message;
    use base64::Engine as _;
    use p256::ecdsa::signature::Verifier as _;
    use p256::pkcs8::DecodePublicKey as _;

    /// Made by OpenSSL 3.0 (`genpkey -algorithm SM2`).
    const OPENSSL_KEY: &str = "-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqBHM9VAYItBG0wawIBAQQgUmB6jwdc1fjs+zbu
GGuRthbl4E28x9nIgmca1Aolr56hRANCAAT+iVns0ndHnauBO+fjV+FmHBHdd+uE
SwE4D0bB7hPwlkAy8Jj9c/qeTju3ZpSB6EmyNm/drpc/biIrEGtQgChB
-----END PRIVATE KEY-----
";
    /// Its public half, by the same.
    const OPENSSL_SPKI: &str = "MFkwEwYHKoZIzj0CAQYIKoEcz1UBgi0DQgAE/olZ7NJ3R52rgTvn41fhZhwR3XfrhEsBOA9Gwe4T8JZAMvCY/XP6nk47t2aUgehJsjZv3a6XP24iKxBrUIAoQQ==";
    /// `pkeyutl -sign -rawin -digest sm3 -pkeyopt distid:1234567812345678` of the message
    /// of batch 7, with a random nonce.
    const OPENSSL_SIGNATURE: &str = "3045022100ae2b911d400eac6ca0c4e618e4cd57c7459fee04b8666cca85c78e104176f172022022a45297c3dd2a7492a296dc3b0c79d6ce6d251d7b9863c07e69126aadeb227f";

    fn message() -> Vec<u8> {
        batch_message("prod-eu", 7, 2, &sha256(&[b"abc"]))
    }

    fn sm2_holds(spki: &[u8], message: &[u8], signature: &[u8]) -> bool {
        let public = sm2::PublicKey::from_public_key_der(spki).unwrap();
        let key = sm2::dsa::VerifyingKey::new(SM2_DEFAULT_ID, public).unwrap();
        sm2::dsa::Signature::from_der(signature)
            .is_ok_and(|signature| key.verify(message, &signature).is_ok())
    }

    #[test]
    fn sm2_is_what_openssl_makes_of_it() {
        let key = SenderKey::from_pem(OPENSSL_KEY).unwrap();
        assert_eq!(key.algorithm(), SenderAlgorithm::Sm2Sm3);
        let base64 = base64::engine::general_purpose::STANDARD;
        assert_eq!(base64.encode(key.public_spki()), OPENSSL_SPKI);
        let theirs = hex::decode(OPENSSL_SIGNATURE).unwrap();
        assert!(sm2_holds(key.public_spki(), &message(), &theirs));
        let ours = key.sign(&message()).unwrap();
        assert!(sm2_holds(key.public_spki(), &message(), &ours));
        assert!(!sm2_holds(key.public_spki(), b"another", &ours));
    }

    #[test]
    fn keys_of_both_algorithms_are_written_and_read_and_sign_alike_each_time() {
        for algorithm in [SenderAlgorithm::EcdsaP256Sha256, SenderAlgorithm::Sm2Sm3] {
            let key = SenderKey::from_secret(algorithm, &[7; 32]).unwrap();
            let again = SenderKey::from_pem(&key.to_pem().unwrap()).unwrap();
            assert_eq!(again.algorithm(), algorithm);
            assert_eq!(again.public_spki(), key.public_spki());
            assert_eq!(again.id(), key.id());
            let signature = key.sign(&message()).unwrap();
            assert_eq!(again.sign(&message()).unwrap(), signature);
            assert!(SenderKey::from_secret(algorithm, &[0; 32]).is_err());
            assert!(SenderKey::from_secret(algorithm, &[0xff; 32]).is_err());
        }
    }

    #[test]
    fn a_p256_signature_verifies() {
        let key = SenderKey::from_secret(SenderAlgorithm::EcdsaP256Sha256, &[7; 32]).unwrap();
        let public = p256::ecdsa::VerifyingKey::from_public_key_der(key.public_spki()).unwrap();
        let signature = key.sign(&message()).unwrap();
        let signature = p256::ecdsa::Signature::from_der(&signature).unwrap();
        assert!(public.verify(&message(), &signature).is_ok());
    }

    #[test]
    fn other_keys_are_refused() {
        let log = crate::SignerKey::ed25519("example.com/log", &[1; 32]).unwrap();
        for pem in ["", "none", &log.to_pem().unwrap(), &OPENSSL_KEY[..90]] {
            let error = SenderKey::from_pem(pem).unwrap_err().to_string();
            assert!(error.contains("key new --sender"), "{error}");
        }
    }
}
