//! Files of private keys: random bytes for them, and how they are written.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use crate::error::CliError;

/// Bytes from the system, to make a key of.
pub(crate) fn random() -> Result<[u8; 32], CliError> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)
        .map_err(|error| CliError::Usage(format!("no random bytes from the system: {error}")))?;
    Ok(bytes)
}

/// Writes a file that its owner alone can read; never over another one.
pub(crate) fn write_private(path: &Path, text: &str) -> Result<(), CliError> {
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(CliError::writing(path))?;
    file.write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .map_err(CliError::writing(path))
}
