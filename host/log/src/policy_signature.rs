//! What the signer of a policy signs, and the file that the signature is kept in.
//!
//! ```text
//! auditchain-policy/v1                 signed: this header, and a line each
//! <SHA-256 of the policy's YAML, hex>  of the file's bytes as they are
//! <SHA-256 of the module, hex>         of the component
//! ```
//! ```text
//! auditchain-policy/v1                 NAME.yaml.sig: this header, and a line each
//! <SubjectPublicKeyInfo, base64>       who signed; says nothing unless it is trusted
//! <ECDSA P-256 signature, base64>      DER, over SHA-256 of the message
//! ```
//! The module is signed too, since a policy names it by a path. What is built into the
//! service is covered the same way: another version of it needs another signature.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use p256::PublicKey;
use p256::ecdsa::signature::{Signer as _, Verifier as _};
use p256::ecdsa::{Signature, SigningKey, VerifyingKey};
use p256::pkcs8::{DecodePrivateKey as _, DecodePublicKey as _, EncodePublicKey as _};

use crate::hash::{Hash, sha256};

/// First line of the message and of the file: it separates these signatures from any
/// other use of the key.
pub const POLICY_SIGNATURE_HEADER: &str = "auditchain-policy/v1";
/// Size of a signature file: three short lines.
pub const MAX_POLICY_SIGNATURE_BYTES: usize = 4096;

/// Why a key or a signature file can't be used, or a signature doesn't hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicySignatureError {
    /// Not a public key.
    #[error(
        "expected a P-256 public key, as PEM (BEGIN PUBLIC KEY) or as base64 of its SubjectPublicKeyInfo"
    )]
    PublicKey,
    /// Not a private key.
    #[error(
        "expected a P-256 private key as PKCS #8 PEM (BEGIN PRIVATE KEY); openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 makes one"
    )]
    PrivateKey,
    /// Not a signature file.
    #[error(
        "expected the three lines that `auditchain policy sign` writes: {POLICY_SIGNATURE_HEADER}, public key, signature"
    )]
    File,
    /// By someone else.
    #[error("it is signed by key {0}, which is not among the policy signers")]
    UnknownSigner(Hash),
    /// Over something else.
    #[error(
        "the signature of key {0} is not over this policy and module: they were changed after they were signed; have them signed again"
    )]
    Invalid(Hash),
}

/// The bytes that a policy's signer signs.
#[must_use]
pub fn policy_message(yaml: &[u8], module: &[u8]) -> Vec<u8> {
    let (yaml, module) = (sha256(&[yaml]), sha256(&[module]));
    format!("{POLICY_SIGNATURE_HEADER}\n{yaml}\n{module}\n").into_bytes()
}

/// The public key of someone who signs policies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicySigner {
    key: VerifyingKey,
    spki: Vec<u8>,
}

impl PolicySigner {
    /// Reads PEM, or base64 of the SubjectPublicKeyInfo.
    ///
    /// # Errors
    /// It is neither, or of another curve.
    pub fn parse(text: &str) -> Result<Self, PolicySignatureError> {
        let text = text.trim();
        let key = if text.starts_with("-----BEGIN") {
            PublicKey::from_public_key_pem(text).ok()
        } else {
            let der = STANDARD.decode(text).ok();
            der.and_then(|der| PublicKey::from_public_key_der(&der).ok())
        };
        Self::of(&key.ok_or(PolicySignatureError::PublicKey)?.into())
    }

    fn of(key: &VerifyingKey) -> Result<Self, PolicySignatureError> {
        let spki = key.to_public_key_der();
        let spki = spki.map_err(|_| PolicySignatureError::PublicKey)?;
        Ok(Self {
            key: *key,
            spki: spki.as_bytes().to_vec(),
        })
    }

    /// How the log names it: SHA-256 of its SubjectPublicKeyInfo.
    #[must_use]
    pub fn digest(&self) -> Hash {
        sha256(&[&self.spki])
    }

    /// Base64 of the SubjectPublicKeyInfo, as the configuration takes it.
    #[must_use]
    pub fn to_base64(&self) -> String {
        STANDARD.encode(&self.spki)
    }
}

/// A detached signature of a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicySignature {
    signer: PolicySigner,
    signature: Signature,
}

impl PolicySignature {
    /// Signs with a private key, PKCS #8 PEM.
    ///
    /// # Errors
    /// It is no P-256 key.
    pub fn sign(key_pem: &str, yaml: &[u8], module: &[u8]) -> Result<Self, PolicySignatureError> {
        let key = SigningKey::from_pkcs8_pem(key_pem.trim());
        let key = key.map_err(|_| PolicySignatureError::PrivateKey)?;
        Ok(Self {
            signer: PolicySigner::of(key.verifying_key())?,
            signature: key.sign(&policy_message(yaml, module)),
        })
    }

    /// Reads a signature file.
    ///
    /// # Errors
    /// It has another form.
    pub fn parse(text: &str) -> Result<Self, PolicySignatureError> {
        let mut lines = text.lines();
        let (header, key, signature) = (lines.next(), lines.next(), lines.next());
        let (Some(POLICY_SIGNATURE_HEADER), Some(key), Some(signature), None) =
            (header, key, signature, lines.next())
        else {
            return Err(PolicySignatureError::File);
        };
        let file = |_| PolicySignatureError::File;
        let der = STANDARD
            .decode(signature)
            .map_err(|_| PolicySignatureError::File)?;
        Ok(Self {
            signer: PolicySigner::parse(key).map_err(file)?,
            signature: Signature::from_der(&der).map_err(|_| PolicySignatureError::File)?,
        })
    }

    /// What [`parse`](Self::parse) reads.
    #[must_use]
    pub fn to_text(&self) -> String {
        let signature = STANDARD.encode(self.signature.to_der().as_bytes());
        let key = self.signer.to_base64();
        format!("{POLICY_SIGNATURE_HEADER}\n{key}\n{signature}\n")
    }

    /// Who says to have signed.
    #[must_use]
    pub fn signer(&self) -> &PolicySigner {
        &self.signer
    }

    /// Verifies that one of the signers signed this policy with this module.
    ///
    /// # Errors
    /// It is signed by someone else, or something else is signed.
    pub fn verify(
        &self,
        signers: &[PolicySigner],
        yaml: &[u8],
        module: &[u8],
    ) -> Result<Hash, PolicySignatureError> {
        let digest = self.signer.digest();
        if !signers.contains(&self.signer) {
            return Err(PolicySignatureError::UnknownSigner(digest));
        }
        let message = policy_message(yaml, module);
        let verified = self.signer.key.verify(&message, &self.signature);
        verified.map_err(|_| PolicySignatureError::Invalid(digest))?;
        Ok(digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use p256::pkcs8::{EncodePrivateKey as _, LineEnding};
    use std::string::ToString as _;

    const YAML: &[u8] = b"kind: VerificationPolicy\n";
    const MODULE: &[u8] = b"\0asm";

    fn pem(seed: u8) -> String {
        let key = p256::SecretKey::from_slice(&[seed; 32]).unwrap();
        key.to_pkcs8_pem(LineEnding::LF).unwrap().to_string()
    }

    #[test]
    fn the_message_is_as_documented() {
        // printf %s 'kind: VerificationPolicy\n' | sha256sum, and of the module.
        let expected = format!(
            "auditchain-policy/v1\n{}\n{}\n",
            hex::encode(sha256(&[YAML]).0),
            "cd5d4935a48c0672cb06407bb443bc0087aff947c6b864bac886982c73b3027f"
        );
        assert_eq!(policy_message(YAML, MODULE), expected.into_bytes());
    }

    #[test]
    fn a_signature_holds_for_its_policy_module_and_signer_alone() {
        let signed = PolicySignature::sign(&pem(7), YAML, MODULE).unwrap();
        let read = PolicySignature::parse(&signed.to_text()).unwrap();
        assert_eq!(read, signed);
        let signer = signed.signer().clone();
        let other = PolicySignature::sign(&pem(8), YAML, MODULE).unwrap();
        let signers = [other.signer().clone(), signer.clone()];
        assert_eq!(read.verify(&signers, YAML, MODULE), Ok(signer.digest()));
        let invalid = Err(PolicySignatureError::Invalid(signer.digest()));
        assert_eq!(read.verify(&signers, b"kind: Other\n", MODULE), invalid);
        assert_eq!(read.verify(&signers, YAML, b"\0asn"), invalid);
        // Swapped, they are another message.
        assert_eq!(read.verify(&signers, MODULE, YAML), invalid);
        let unknown = Err(PolicySignatureError::UnknownSigner(signer.digest()));
        assert_eq!(read.verify(&signers[..1], YAML, MODULE), unknown);
        // Another's signature under this key.
        let forged = PolicySignature {
            signer: signer.clone(),
            signature: other.signature,
        };
        assert_eq!(forged.verify(&signers, YAML, MODULE), invalid);
    }

    #[test]
    fn keys_and_files_of_other_forms_are_refused() {
        let signed = PolicySignature::sign(&pem(7), YAML, MODULE).unwrap();
        let text = signed.to_text();
        let signer = signed.signer();
        assert_eq!(&PolicySigner::parse(&signer.to_base64()).unwrap(), signer);
        let public = p256::SecretKey::from_slice(&[7; 32]).unwrap().public_key();
        let public_pem = public.to_public_key_pem(LineEnding::LF).unwrap();
        assert_eq!(&PolicySigner::parse(&public_pem).unwrap(), signer);
        for no_key in ["", "AAAA", "keys/signer.pem", &pem(7)] {
            let refused = PolicySigner::parse(no_key);
            assert_eq!(refused, Err(PolicySignatureError::PublicKey), "{no_key}");
        }
        let refused = PolicySignature::sign(&public_pem, YAML, MODULE);
        assert_eq!(refused, Err(PolicySignatureError::PrivateKey));
        let lines: Vec<&str> = text.lines().collect();
        for no_file in [
            String::new(),
            text.replace("/v1", "/v2"),
            lines[..2].join("\n"),
            text.clone() + "more\n",
            text.replace(lines[2], "AAAA"),
            text.replace(lines[1], "AAAA"),
        ] {
            let refused = PolicySignature::parse(&no_file);
            assert_eq!(refused, Err(PolicySignatureError::File), "{no_file}");
        }
    }
}
