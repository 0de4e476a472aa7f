//! The checkpoint: what the log commits to, and what is signed.
//! Format: [c2sp.org/tlog-checkpoint](https://c2sp.org/tlog-checkpoint).
//!
//! ```text
//! example.com/cluster-eu      origin
//! 6357                        tree size, decimal
//! CsUYapGGPo4dkMgIAUqom/...=  root hash, base64
//! ```
//! Each line ends in a newline. We write no extension lines; a foreign checkpoint
//! may have them, and they are covered by the signature.

use alloc::format;
use alloc::string::{String, ToString};

use crate::hash::Hash;
use crate::tree::TreeSize;

/// An origin also names the keys and stands in every seal: longer ones only waste.
pub const MAX_ORIGIN_BYTES: usize = 255;

/// A tree head of the log named `origin`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log's name, a schema-less URL by convention.
    pub origin: String,
    /// Entries covered.
    pub size: TreeSize,
    /// RFC 6962 root.
    pub root: Hash,
}

impl Checkpoint {
    /// The text that is signed.
    #[must_use]
    pub fn to_text(&self) -> String {
        format!(
            "{}\n{}\n{}\n",
            self.origin,
            self.size,
            self.root.to_base64()
        )
    }

    /// Reads the text of a note.
    ///
    /// # Errors
    /// The text is no checkpoint.
    pub fn parse(text: &str) -> Result<Self, CheckpointError> {
        let mut lines = text
            .strip_suffix('\n')
            .ok_or(CheckpointError::Lines)?
            .split('\n');
        let (Some(origin), Some(size), Some(root)) = (lines.next(), lines.next(), lines.next())
        else {
            return Err(CheckpointError::Lines);
        };
        Self::check_origin(origin)?;
        // The decimal size has one spelling: no sign, no leading zeroes.
        let number: u64 = size.parse().map_err(|_| CheckpointError::Size)?;
        if number.to_string() != size {
            return Err(CheckpointError::Size);
        }
        let root = Hash::from_base64(root).map_err(|_| CheckpointError::Root)?;
        // An extension line must not be empty.
        if lines.any(str::is_empty) {
            return Err(CheckpointError::Lines);
        }
        Ok(Self {
            origin: origin.to_string(),
            size: TreeSize(number),
            root,
        })
    }

    /// Whether a text can be an origin, and with it the name of a key.
    ///
    /// # Errors
    /// It is empty, too long, or has white space, `+` or control characters.
    pub fn check_origin(origin: &str) -> Result<(), CheckpointError> {
        let bad = |c: char| c.is_whitespace() || c.is_control() || c == '+';
        if origin.is_empty() || origin.len() > MAX_ORIGIN_BYTES || origin.contains(bad) {
            return Err(CheckpointError::Origin);
        }
        Ok(())
    }
}

/// Why a text is no checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// Lines are missing, empty, or the last has no newline.
    #[error("a checkpoint is three lines: origin, size, root")]
    Lines,
    /// No usable name.
    #[error(
        "an origin is 1 to {MAX_ORIGIN_BYTES} bytes without white space, '+' or control characters"
    )]
    Origin,
    /// Not a number in its canonical spelling.
    #[error("the checkpoint's size is no decimal number without leading zeroes")]
    Size,
    /// Not a hash.
    #[error("the checkpoint's root is no base64 of a SHA-256 hash")]
    Root,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::sha256;

    #[test]
    fn checkpoints_round_trip_and_have_one_spelling() {
        let checkpoint = Checkpoint {
            origin: "example.com/log".into(),
            size: TreeSize(0),
            root: sha256(&[]),
        };
        let text = checkpoint.to_text();
        assert_eq!(
            text,
            "example.com/log\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n"
        );
        assert_eq!(Checkpoint::parse(&text).as_ref(), Ok(&checkpoint));
        assert_eq!(
            Checkpoint::parse(&format!("{text}extension\n")).as_ref(),
            Ok(&checkpoint)
        );
        for (from, to, error) in [
            ("example.com/log", "", CheckpointError::Origin),
            ("example.com/log", "a b", CheckpointError::Origin),
            ("example.com/log", "a+b", CheckpointError::Origin),
            ("\n0\n", "\n00\n", CheckpointError::Size),
            ("\n0\n", "\n+0\n", CheckpointError::Size),
            ("\n0\n", "\n-1\n", CheckpointError::Size),
            ("47DE", "47D", CheckpointError::Root),
            ("uFU=\n", "uFU=", CheckpointError::Lines),
            ("uFU=\n", "uFU=\n\n", CheckpointError::Lines),
        ] {
            assert_eq!(
                Checkpoint::parse(&text.replace(from, to)),
                Err(error),
                "{from:?} {to:?}"
            );
        }
    }
}
