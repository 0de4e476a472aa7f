//! Public keys of senders, and what they sign.
//!
//! ```text
//! ecdsa-p256-sha256  ECDSA P-256 over SHA-256 (FIPS 186-5)
//! sm2-sm3            SM2 over SM3(ZA || message), GM/T 0003.2 (GB/T 32918.2); ZA with the
//!                    default distinguishing id of GM/T 0009, the recommended curve
//! ```
//! Keys are SubjectPublicKeyInfo DER in its usual spelling (an uncompressed point, a named
//! curve); the curve tells the algorithm. Signatures are ASN.1 DER, SEQUENCE of r and s.
//!
//! Out of scope: whether a key may speak for a source, and until when.

use alloc::vec::Vec;
use core::fmt;

use p256::ecdsa::signature::Verifier as _;
use p256::pkcs8::{DecodePublicKey as _, Document, EncodePublicKey as _};

use crate::hash::{Hash, sha256};

/// The distinguishing id of an SM2 signer who has no other (GM/T 0009).
pub const SM2_DEFAULT_ID: &str = "1234567812345678";

/// Label of a public key in PEM (RFC 7468).
const PEM_LABEL: &str = "PUBLIC KEY";

/// How a sender signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum SenderAlgorithm {
    /// ECDSA P-256 over SHA-256.
    EcdsaP256Sha256,
    /// SM2 over SM3.
    Sm2Sm3,
}

impl SenderAlgorithm {
    /// As headers and entries name it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::EcdsaP256Sha256 => "ecdsa-p256-sha256",
            Self::Sm2Sm3 => "sm2-sm3",
        }
    }

    /// By its name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::EcdsaP256Sha256, Self::Sm2Sm3]
            .into_iter()
            .find(|algorithm| algorithm.name() == name)
    }
}

impl fmt::Display for SenderAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Not a key that senders sign with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SenderKeyError {
    /// No SubjectPublicKeyInfo of a curve we know.
    #[error("it is no P-256 or SM2 public key (SubjectPublicKeyInfo, DER)")]
    Spki,
    /// Such a key, spelt otherwise: one key would have several names.
    #[error(
        "it is spelt in an unusual way; openssl pkey -pubin -ec_conv_form uncompressed writes the usual one"
    )]
    Spelling,
    /// No PEM of a public key.
    #[error(
        "it is no PEM of a public key (BEGIN PUBLIC KEY); openssl pkey -pubout makes one of a private key"
    )]
    Pem,
}

/// Why a signature does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SenderSignatureError {
    /// The bytes are no signature.
    #[error("it is no ASN.1 DER of r and s")]
    Syntax,
    /// They are one, of another key or over something else.
    #[error("it is not this key's over this message")]
    Mismatch,
}

/// A sender's public key.
#[derive(Clone)]
pub struct SenderPublicKey {
    public: Public,
    spki: Vec<u8>,
}

#[derive(Clone)]
enum Public {
    EcdsaP256(p256::ecdsa::VerifyingKey),
    /// With ZA, which depends on nothing but the key.
    Sm2(sm2::dsa::VerifyingKey),
}

impl SenderPublicKey {
    /// Reads SubjectPublicKeyInfo, DER.
    ///
    /// # Errors
    /// It is none of a curve we know, or not in its usual spelling.
    pub fn from_spki(der: &[u8]) -> Result<Self, SenderKeyError> {
        let (public, spelling) = if let Ok(key) = p256::PublicKey::from_public_key_der(der) {
            (Public::EcdsaP256(key.into()), key.to_public_key_der())
        } else {
            let key = sm2::PublicKey::from_public_key_der(der).map_err(|_| SenderKeyError::Spki)?;
            let verifier = sm2::dsa::VerifyingKey::new(SM2_DEFAULT_ID, key);
            let verifier = verifier.map_err(|_| SenderKeyError::Spki)?;
            (Public::Sm2(verifier), key.to_public_key_der())
        };
        let spelling = spelling.map_err(|_| SenderKeyError::Spki)?;
        if spelling.as_bytes() != der {
            return Err(SenderKeyError::Spelling);
        }
        Ok(Self {
            public,
            spki: spelling.into_vec(),
        })
    }

    /// Reads PEM (`BEGIN PUBLIC KEY`).
    ///
    /// # Errors
    /// It is none, or not of a key as [`from_spki`](Self::from_spki) takes it.
    pub fn from_pem(pem: &str) -> Result<Self, SenderKeyError> {
        match Document::from_pem(pem) {
            Ok((PEM_LABEL, document)) => Self::from_spki(document.as_bytes()),
            _ => Err(SenderKeyError::Pem),
        }
    }

    /// What it signs with.
    #[must_use]
    pub fn algorithm(&self) -> SenderAlgorithm {
        match self.public {
            Public::EcdsaP256(_) => SenderAlgorithm::EcdsaP256Sha256,
            Public::Sm2(_) => SenderAlgorithm::Sm2Sm3,
        }
    }

    /// SubjectPublicKeyInfo, DER.
    #[must_use]
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// Names the key: SHA-256 of its SubjectPublicKeyInfo.
    #[must_use]
    pub fn id(&self) -> Hash {
        sha256(&[&self.spki])
    }

    /// Checks a signature, ASN.1 DER.
    ///
    /// # Errors
    /// It is none, or not this key's over this message.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), SenderSignatureError> {
        let verified = match &self.public {
            Public::EcdsaP256(key) => p256::ecdsa::Signature::from_der(signature)
                .map_err(|_| SenderSignatureError::Syntax)
                .map(|signature| key.verify(message, &signature)),
            Public::Sm2(key) => sm2::dsa::Signature::from_der(signature)
                .map_err(|_| SenderSignatureError::Syntax)
                .map(|signature| key.verify(message, &signature)),
        };
        verified?.map_err(|_| SenderSignatureError::Mismatch)
    }
}

impl fmt::Debug for SenderPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SenderPublicKey({}, {})", self.algorithm(), self.id())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use p256::ecdsa::signature::Signer as _;
    use p256::pkcs8::LineEnding;
    use std::string::{String, ToString as _};
    use std::vec;

    /// GM/T 0003.5-2012 and GB/T 32918.5-2017, annex A.2 (the signature example on the
    /// recommended curve, id 1234567812345678).
    mod gmt_0003_5 {
        pub(super) const MESSAGE: &[u8] = b"message digest";
        pub(super) const X: &str =
            "09f9df311e5421a150dd7d161e4bc5c672179fad1833fc076bb08ff356f35020";
        pub(super) const Y: &str =
            "ccea490ce26775a52dc6ea718cc1aa600aed05fbf35e084a6632f6072da9ad13";
        pub(super) const R: &str =
            "f5a03b0648d2c4630eeac513e1bb81a15944da3827d5b74143ac7eaceee720b3";
        pub(super) const S: &str =
            "b1b6aa29df212fd8763182bc0d421ca1bb9038fd1f7f42d4840b69c485bbc1aa";
        /// The private key of the example.
        pub(super) const D: &str =
            "3945208f7b2144b13f36e38ac6d39f95889393692860b51a42fb81ef4df7c5b8";
    }

    /// SubjectPublicKeyInfo up to the point: id-ecPublicKey, the SM2 curve
    /// 1.2.156.10197.1.301 (GM/T 0006), a bit string of 65 bytes.
    const SM2_SPKI_HEAD: &str = "3059301306072a8648ce3d020106082a811ccf5501822d03420004";

    fn unhex(parts: &[&str]) -> Vec<u8> {
        hex::decode(parts.concat()).unwrap()
    }

    fn standard_key() -> SenderPublicKey {
        let spki = unhex(&[SM2_SPKI_HEAD, gmt_0003_5::X, gmt_0003_5::Y]);
        SenderPublicKey::from_spki(&spki).unwrap()
    }

    /// Both numbers have their highest bit set, so DER puts a zero before them.
    fn standard_signature() -> Vec<u8> {
        unhex(&["3046022100", gmt_0003_5::R, "022100", gmt_0003_5::S])
    }

    #[test]
    fn the_example_of_the_standard_verifies() {
        let key = standard_key();
        assert_eq!(key.algorithm(), SenderAlgorithm::Sm2Sm3);
        assert_eq!(
            key.verify(gmt_0003_5::MESSAGE, &standard_signature()),
            Ok(())
        );
        let private = sm2::SecretKey::from_slice(&unhex(&[gmt_0003_5::D])).unwrap();
        let spki = private.public_key().to_public_key_der().unwrap();
        assert_eq!(spki.as_bytes(), key.spki());
    }

    #[test]
    fn every_flipped_bit_of_the_example_is_found() {
        let (key, signature) = (standard_key(), standard_signature());
        let flipped = |bytes: &[u8], bit: usize| {
            let mut bytes = bytes.to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            bytes
        };
        for bit in 0..signature.len() * 8 {
            let signature = flipped(&signature, bit);
            assert!(
                key.verify(gmt_0003_5::MESSAGE, &signature).is_err(),
                "{bit}"
            );
        }
        for bit in 0..gmt_0003_5::MESSAGE.len() * 8 {
            let message = flipped(gmt_0003_5::MESSAGE, bit);
            let verified = key.verify(&message, &signature);
            assert_eq!(verified, Err(SenderSignatureError::Mismatch), "{bit}");
        }
        for bit in 0..key.spki().len() * 8 {
            // Off the curve, or no SPKI: no key at all.
            let other = SenderPublicKey::from_spki(&flipped(key.spki(), bit));
            let verified = other.map(|key| key.verify(gmt_0003_5::MESSAGE, &signature));
            assert!(!matches!(verified, Ok(Ok(()))), "{bit}");
        }
        let mut longer = signature.clone();
        longer.push(0);
        for bad in [&signature[..signature.len() - 1], &longer, &[], b"\x30\x00"] {
            let verified = key.verify(gmt_0003_5::MESSAGE, bad);
            assert_eq!(verified, Err(SenderSignatureError::Syntax));
        }
    }

    /// With another distinguishing id the signature is another: ZA counts.
    #[test]
    fn the_distinguishing_id_is_the_default_one() {
        let private = sm2::SecretKey::from_slice(&unhex(&[gmt_0003_5::D])).unwrap();
        for (id, holds) in [(SM2_DEFAULT_ID, true), ("ALICE123@YAHOO.COM", false)] {
            let signer = sm2::dsa::SigningKey::new(id, &private).unwrap();
            let signature: sm2::dsa::Signature = signer.sign(b"m");
            let der = signature.to_der();
            let der = p256::ecdsa::signature::SignatureEncoding::to_vec(&der);
            assert_eq!(standard_key().verify(b"m", &der).is_ok(), holds, "{id}");
        }
    }

    fn p256_key(compressed: bool) -> (p256::ecdsa::SigningKey, Vec<u8>) {
        let key = p256::ecdsa::SigningKey::from_slice(&[3; 32]).unwrap();
        let mut spki = key.verifying_key().to_public_key_der().unwrap().into_vec();
        if compressed {
            // Two lengths shrink by the 32 bytes of y.
            let x = key.verifying_key().to_sec1_point(true);
            spki.truncate(spki.len() - 65);
            spki.extend_from_slice(x.as_bytes());
            spki[1] -= 32;
            spki[24] -= 32;
        }
        (key, spki)
    }

    #[test]
    fn a_key_has_one_spelling() {
        let (signer, spki) = p256_key(false);
        let key = SenderPublicKey::from_spki(&spki).unwrap();
        assert_eq!(key.algorithm(), SenderAlgorithm::EcdsaP256Sha256);
        let signature: p256::ecdsa::Signature = signer.sign(b"m");
        let der = signature.to_der();
        assert_eq!(key.verify(b"m", der.as_bytes()), Ok(()));
        assert!(key.verify(b"n", der.as_bytes()).is_err());
        assert!(standard_key().verify(b"m", der.as_bytes()).is_err());
        let compressed = SenderPublicKey::from_spki(&p256_key(true).1);
        assert_eq!(compressed.unwrap_err(), SenderKeyError::Spelling);
        let mut longer = spki;
        longer.push(0);
        for bad in [longer, vec![], b"key".to_vec()] {
            let error = SenderPublicKey::from_spki(&bad).unwrap_err();
            assert_eq!(error, SenderKeyError::Spki);
        }
    }

    #[test]
    fn pem_is_read_and_other_labels_are_refused() {
        let (signer, spki) = p256_key(false);
        let pem = signer.verifying_key();
        let pem = p256::pkcs8::EncodePublicKey::to_public_key_pem(pem, LineEnding::LF).unwrap();
        let key = SenderPublicKey::from_pem(&pem).unwrap();
        assert_eq!(key.spki(), spki);
        assert_eq!(key.id().to_string(), sha256(&[&spki]).to_string());
        let private: String = pem.replace("PUBLIC", "PRIVATE");
        for bad in ["", "key", &private] {
            assert_eq!(
                SenderPublicKey::from_pem(bad).unwrap_err(),
                SenderKeyError::Pem
            );
        }
    }

    #[test]
    fn algorithms_are_found_by_their_names() {
        for algorithm in [SenderAlgorithm::EcdsaP256Sha256, SenderAlgorithm::Sm2Sm3] {
            assert_eq!(
                SenderAlgorithm::from_name(algorithm.name()),
                Some(algorithm)
            );
        }
        assert_eq!(SenderAlgorithm::from_name("sm2"), None);
    }
}
