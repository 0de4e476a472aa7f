//! The keys that an auditor trusts, as they are given on the command line.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;

use auditchain_log::{MAX_POLICY_BYTES, VerifierKey, WitnessPolicy};

use crate::error::CliError;
use crate::limits::{KEYS_BYTES_MAX, LOG_KEYS_MAX};

/// Reads `--key` values: each a vkey, or `@FILE` with vkeys, one a line.
pub(crate) fn parse_keys(values: &[String]) -> Result<Vec<VerifierKey>, CliError> {
    let mut keys = Vec::new();
    for value in values {
        match value.strip_prefix('@') {
            Some(path) => {
                let text = fs::read_to_string(path).map_err(CliError::reading(Path::new(path)))?;
                keys.extend(
                    parse_vkeys(&text).map_err(|why| CliError::Usage(format!("{path}: {why}")))?,
                );
            }
            None => keys.push(parse_vkey(value).map_err(CliError::Usage)?),
        }
    }
    Ok(keys)
}

/// Reads vkeys, one a line.
pub(crate) fn parse_vkeys(text: &str) -> Result<Vec<VerifierKey>, String> {
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    if text.len() > KEYS_BYTES_MAX || lines.len() > LOG_KEYS_MAX {
        return Err(format!("more than {LOG_KEYS_MAX} keys"));
    }
    if lines.is_empty() {
        return Err("no vkey in it".into());
    }
    lines.into_iter().map(parse_vkey).collect()
}

fn parse_vkey(text: &str) -> Result<VerifierKey, String> {
    let key: VerifierKey = text
        .trim()
        .parse()
        .map_err(|error| format!("{text:?} is no key: {error}"))?;
    // A witness's signature alone must never pass for the log's.
    if key.is_cosigner() {
        return Err(format!(
            "{key} is a witness's key; name witnesses in a file for --witness-policy"
        ));
    }
    Ok(key)
}

/// Reads a witness policy.
pub(crate) fn read_policy(path: Option<&Path>) -> Result<Option<WitnessPolicy>, CliError> {
    let Some(path) = path else { return Ok(None) };
    let mut bytes = Vec::new();
    // A byte more than a policy may have, so that a longer one is none.
    File::open(path)
        .map_err(CliError::reading(path))?
        .take(MAX_POLICY_BYTES as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(CliError::reading(path))?;
    let bad = |error| CliError::Usage(format!("witness policy {}: {error}", path.display()));
    WitnessPolicy::parse(&bytes).map(Some).map_err(bad)
}

#[cfg(test)]
mod tests {
    use super::*;
    use auditchain_log::SignerKey;

    #[test]
    fn keys_are_read_from_values_and_files() {
        let key = SignerKey::ed25519("example.com/log", &[8; 32]).unwrap();
        let vkey = key.verifier().to_string();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys");
        fs::write(&path, format!("{vkey}\n\n{vkey}\n")).unwrap();
        let keys = parse_keys(&[vkey, format!("@{}", path.display())]).unwrap();
        assert_eq!(keys, vec![key.verifier().clone(); 3]);
        fs::write(&path, "\n").unwrap();
        for bad in [
            "",
            "a+b",
            "@/does/not/exist",
            &format!("@{}", path.display()),
        ] {
            assert_eq!(
                parse_keys(&[bad.into()]).unwrap_err().exit_code(),
                2,
                "{bad}"
            );
        }
    }
}
