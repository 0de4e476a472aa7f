//! What is signed of a single event, and how the event carries it.
//!
//! ```text
//! annotation auditchain.io/signature = <algorithm>:<key>:<signature>
//!   algorithm  ecdsa-p256-sha256 or sm2-sm3
//!   key        SubjectPublicKeyInfo, base64 of the DER; or SHA-256 of it, 64 hex digits,
//!              for a key that is in force for the source
//!   signature  base64 of the DER
//!
//! signed: auditchain-event/v1\n<SHA-256 of the canonical event without the annotation, hex>\n
//! ```
//! The source is not signed: who signs an event may not know under which name its
//! collector sends it. Sender keys are bound to sources by the log's `key` entries, so a
//! signature counts only where its key is in force.
//!
//! Out of scope: events without canonical form. There is nothing of them to sign.

use alloc::format;
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::hash::{Hash, sha256};
use crate::json::without_annotation;
use crate::sender_signature::SenderAlgorithm;

/// First line of the signed message: it separates these signatures from any other use of
/// the key.
pub const EVENT_MESSAGE_HEADER: &str = "auditchain-event/v1";
/// The annotation that holds an event's signature.
pub const SIGNATURE_ANNOTATION: &str = "auditchain.io/signature";
/// Longest text of the annotation that is read. A key and a signature of any algorithm we
/// know have under 200 bytes each.
pub const MAX_EVENT_SIGNATURE_BYTES: usize = 1024;

/// Hex digits of a key's id. No SubjectPublicKeyInfo has base64 so short.
const ID_DIGITS: usize = 2 * Hash::LEN;

/// The bytes that are signed of an event, given in canonical form, with or without the
/// annotation. An empty `annotations` counts as none.
#[must_use]
pub fn event_message(canonical: &[u8]) -> Vec<u8> {
    let digest = sha256(&[&without_annotation(canonical, SIGNATURE_ANNOTATION)]);
    format!("{EVENT_MESSAGE_HEADER}\n{digest}\n").into_bytes()
}

/// The annotation, parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventSignature {
    /// How it is signed.
    pub algorithm: SenderAlgorithm,
    /// By whom.
    pub signer: SignerRef,
    /// DER.
    pub signature: Vec<u8>,
}

/// Who signed an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SignerRef {
    /// SubjectPublicKeyInfo, DER.
    Key(Vec<u8>),
    /// SHA-256 of the SubjectPublicKeyInfo of a key in force.
    Id(Hash),
}

/// The annotation can't be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EventSignatureError {
    /// Not three parts, or far too long.
    #[error("it is not <algorithm>:<key>:<signature> of at most {MAX_EVENT_SIGNATURE_BYTES} bytes")]
    Syntax,
    /// An algorithm that we don't know.
    #[error("its algorithm is neither ecdsa-p256-sha256 nor sm2-sm3")]
    Algorithm,
    /// The second part.
    #[error("its key is neither base64 of a SubjectPublicKeyInfo nor 64 hex digits")]
    Key,
    /// The third part.
    #[error("its signature is no base64")]
    Signature,
}

impl FromStr for EventSignature {
    type Err = EventSignatureError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() > MAX_EVENT_SIGNATURE_BYTES {
            return Err(EventSignatureError::Syntax);
        }
        let mut parts = text.split(':');
        let (Some(algorithm), Some(key), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(EventSignatureError::Syntax);
        };
        let algorithm =
            SenderAlgorithm::from_name(algorithm).ok_or(EventSignatureError::Algorithm)?;
        let signer = if key.len() == ID_DIGITS {
            SignerRef::Id(key.parse().map_err(|_| EventSignatureError::Key)?)
        } else {
            let spki = STANDARD.decode(key).map_err(|_| EventSignatureError::Key)?;
            SignerRef::Key(spki)
        };
        let signature = STANDARD.decode(signature);
        Ok(Self {
            algorithm,
            signer,
            signature: signature.map_err(|_| EventSignatureError::Signature)?,
        })
    }
}

impl fmt::Display for EventSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.algorithm)?;
        match &self.signer {
            SignerRef::Key(spki) => f.write_str(&STANDARD.encode(spki))?,
            SignerRef::Id(id) => write!(f, "{id}")?,
        }
        write!(f, ":{}", STANDARD.encode(&self.signature))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::{String, ToString as _};

    #[test]
    fn the_message_is_that_of_the_event_before_it_was_signed() {
        let bare = br#"{"auditID":"a","verb":"get"}"#;
        let signed =
            br#"{"annotations":{"auditchain.io/signature":"s"},"auditID":"a","verb":"get"}"#;
        let message = String::from_utf8(event_message(bare)).unwrap();
        assert!(message.starts_with("auditchain-event/v1\n") && message.ends_with('\n'));
        assert_eq!(
            message,
            format!("auditchain-event/v1\n{}\n", sha256(&[bare]))
        );
        assert_eq!(event_message(signed), event_message(bare));
        let other = br#"{"auditID":"a","verb":"delete"}"#;
        assert_ne!(event_message(other), event_message(bare));
    }

    #[test]
    fn the_annotation_is_read_and_written() {
        for signer in [
            SignerRef::Key([7; 91].to_vec()),
            SignerRef::Id(sha256(&[b"k"])),
        ] {
            let signature = EventSignature {
                algorithm: SenderAlgorithm::Sm2Sm3,
                signer,
                signature: [1, 2, 3].to_vec(),
            };
            assert_eq!(signature.to_string().parse(), Ok(signature.clone()));
        }
        let id = sha256(&[b"k"]).to_string();
        for (text, error) in [
            (String::new(), EventSignatureError::Syntax),
            (format!("sm2-sm3:{id}"), EventSignatureError::Syntax),
            (format!("sm2-sm3:{id}:AA==:"), EventSignatureError::Syntax),
            (
                "x".repeat(MAX_EVENT_SIGNATURE_BYTES + 1),
                EventSignatureError::Syntax,
            ),
            (format!("rsa:{id}:AA=="), EventSignatureError::Algorithm),
            (
                format!("sm2-sm3:{}:AA==", id.to_uppercase()),
                EventSignatureError::Key,
            ),
            ("sm2-sm3:a key:AA==".into(), EventSignatureError::Key),
            (format!("sm2-sm3:{id}:?"), EventSignatureError::Signature),
        ] {
            assert_eq!(text.parse::<EventSignature>(), Err(error), "{text}");
        }
    }
}
