//! The witness's private key: its name on a line of its own, then PKCS #8 PEM.
//!
//! ```text
//! Name: witness.example/w1
//! -----BEGIN PRIVATE KEY-----
//! ...
//! ```

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use auditchain_log::CosignerKey;

use crate::error::CliError;
use crate::private_file::{random, write_private};

/// Bytes of a key file: a name, and the PEM of 48 bytes of DER.
const KEY_FILE_BYTES_MAX: u64 = 4096;

/// Makes a key and writes it, readable by its owner alone; never over another file.
pub(crate) fn create_key(path: &Path, name: &str) -> Result<CosignerKey, CliError> {
    let bad = |error: auditchain_log::KeyError| CliError::Usage(error.to_string());
    let key = CosignerKey::from_seed(name, &random()?).map_err(bad)?;
    let text = format!("Name: {name}\n{}", key.to_pem().map_err(bad)?);
    write_private(path, &text)?;
    Ok(key)
}

/// Reads a key that others can't read.
pub(crate) fn read_key(path: &Path) -> Result<CosignerKey, CliError> {
    let usage = |what: String| CliError::Usage(format!("key file {}: {what}", path.display()));
    let file = fs::File::open(path).map_err(CliError::reading(path))?;
    let metadata = file.metadata().map_err(CliError::reading(path))?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(usage(format!(
            "others can read it (mode {mode:o}); run: chmod 600 {}",
            path.display()
        )));
    }
    let mut text = String::new();
    file.take(KEY_FILE_BYTES_MAX)
        .read_to_string(&mut text)
        .map_err(CliError::reading(path))?;
    let parts = text
        .strip_prefix("Name: ")
        .and_then(|rest| rest.split_once('\n'));
    let (name, pem) = parts.ok_or_else(|| {
        usage(
            "expected `Name: NAME` and a key, as auditchain key new --witness NAME makes it".into(),
        )
    })?;
    CosignerKey::from_pem(name, pem).map_err(|error| usage(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_made_once_and_guarded() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        let made = create_key(&path, "witness.example/w1").unwrap();
        assert_eq!(read_key(&path).unwrap().verifier(), made.verifier());
        assert!(create_key(&path, "witness.example/w1").is_err());
        assert!(create_key(&dir.path().join("other"), "a b").is_err());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(
            read_key(&path)
                .unwrap_err()
                .to_string()
                .contains("chmod 600")
        );
        for bad in ["", "Name: a", "Name: a\nnone", "-----BEGIN"] {
            let path = dir.path().join("bad");
            let _ = fs::remove_file(&path);
            fs::write(&path, bad).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            assert!(read_key(&path).is_err(), "{bad}");
        }
    }
}
