//! The tokens file: one bearer token a line, as `SHA-256 in hex`, `role`, `name`.
//!
//! ```text
//! # printf %s "$TOKEN" | sha256sum
//! 5e88...  ingest  prod-eu
//! 9f86...  read    auditor
//! 2c26...  admin   prometheus
//! ```
//!
//! Several lines may have one name: that is how a token is replaced without a gap.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use auditchain_log::Hash;

use crate::auth::Role;

/// Lines of a file: a few for each of the sources, and for people.
pub(crate) const TOKENS_MAX: usize = 4096;
/// Bytes of a name; it is for people.
const NAME_BYTES_MAX: usize = 128;

/// Whose tokens are known.
#[derive(Debug, Default)]
pub(crate) struct Tokens(HashMap<(Role, Hash), String>);

/// Why a tokens file can't be used. No error repeats what a line says: it could be a
/// token that was put there by mistake.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum TokensError {
    /// The file can't be read.
    #[error(transparent)]
    Read(#[from] crate::reload::ReadError),
    /// A line.
    #[error("{path}, line {line}: {reason}")]
    Line {
        /// The file.
        path: PathBuf,
        /// Which, from 1.
        line: usize,
        /// What is wrong with it.
        reason: &'static str,
    },
}

impl Tokens {
    /// Reads a file's text. `is_source` tells whether a source is configured.
    ///
    /// # Errors
    /// The first line that can't be used.
    pub(crate) fn parse(
        path: &Path,
        text: &[u8],
        is_source: impl Fn(&str) -> bool,
    ) -> Result<Self, TokensError> {
        let mut tokens = HashMap::new();
        for (index, line) in text.split(|byte| *byte == b'\n').enumerate() {
            let error = |reason| TokensError::Line {
                path: path.into(),
                line: index + 1,
                reason,
            };
            let line = std::str::from_utf8(line).map_err(|_| error("not UTF-8"))?;
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (role, hash, name) = parse_line(line, &is_source).map_err(error)?;
            if tokens.len() >= TOKENS_MAX {
                return Err(error("more than 4096 tokens"));
            }
            if tokens.insert((role, hash), name).is_some() {
                return Err(error("this token stands there twice with this role"));
            }
        }
        Ok(Self(tokens))
    }

    /// Whose token it is.
    pub(crate) fn name_of(&self, role: Role, token: &Hash) -> Option<&str> {
        self.0.get(&(role, *token)).map(String::as_str)
    }
}

fn parse_line(
    line: &str,
    is_source: impl Fn(&str) -> bool,
) -> Result<(Role, Hash, String), &'static str> {
    let mut fields = line.split_ascii_whitespace();
    let (Some(hash), Some(role), Some(name), None) =
        (fields.next(), fields.next(), fields.next(), fields.next())
    else {
        return Err("expected three fields: SHA-256 of the token, role, name");
    };
    let hash = hash
        .to_ascii_lowercase()
        .parse()
        .map_err(|_| "the first field is no SHA-256 in hex (printf %s \"$TOKEN\" | sha256sum)")?;
    let role = match role {
        "ingest" => Role::Ingest,
        "read" => Role::Read,
        "admin" => Role::Admin,
        _ => return Err("the role is ingest, read or admin"),
    };
    if role == Role::Ingest && !is_source(name) {
        return Err("the name of a token for ingest is that of a configured source");
    }
    if name.len() > NAME_BYTES_MAX {
        return Err("the name has more than 128 bytes");
    }
    Ok((role, hash, name.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Tokens, String> {
        let tokens = Tokens::parse(Path::new("tokens"), text.as_bytes(), |name| name == "eu");
        tokens.map_err(|error| error.to_string())
    }

    #[test]
    fn a_file_names_tokens_by_role() {
        let (a, b) = ("ab".repeat(32), "CD".repeat(32));
        let tokens = parse(&format!(
            "# who\n\n{a}  ingest eu\n {b}\tread\tbob \r\n{a} read al"
        ));
        let tokens = tokens.unwrap();
        let (a, b) = (a.parse().unwrap(), b.to_lowercase().parse().unwrap());
        assert_eq!(tokens.name_of(Role::Ingest, &a), Some("eu"));
        assert_eq!(tokens.name_of(Role::Read, &a), Some("al"));
        assert_eq!(tokens.name_of(Role::Read, &b), Some("bob"));
        assert_eq!(tokens.name_of(Role::Admin, &b), None);
    }

    #[test]
    fn a_bad_line_is_named_and_never_repeated() {
        let hash = "ab".repeat(32);
        for (text, part) in [
            ("s3cret-token ingest eu".to_string(), "no SHA-256"),
            ("s3cret-token".into(), "three fields"),
            (format!("{hash} s3cret-token eu"), "role"),
            (format!("{hash} ingest s3cret-token"), "configured source"),
            (format!("{hash} read {}", "s3cret-token".repeat(20)), "128"),
            (format!("{hash} read a b"), "three fields"),
            (format!("{hash} read a\n{hash} read b"), "twice"),
        ] {
            let error = parse(&format!("#\n{text}")).unwrap_err();
            assert!(error.contains(part) && error.contains("line "), "{error}");
            assert!(!error.contains("s3cret"), "{error}");
        }
        let many: String = (0..=TOKENS_MAX)
            .map(|n| format!("{n:064x} read a\n"))
            .collect();
        assert!(parse(&many).unwrap_err().contains("4096"));
    }
}
