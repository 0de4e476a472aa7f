//! The sender's key, and the headers of a signed batch.

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use auditchain_log::{KeyError, SenderAlgorithm, SenderKey, batch_message};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::batch::Batch;
use crate::error::CliError;
use crate::private_file::{random, write_private};

/// Bytes of a key file: PEM of under 200 bytes of DER.
const KEY_FILE_BYTES_MAX: u64 = 4096;

/// Makes a key and writes it, readable by its owner alone; never over another file.
pub(crate) fn create_sender_key(
    path: &Path,
    algorithm: SenderAlgorithm,
) -> Result<SenderKey, CliError> {
    let key = loop {
        // A random scalar is past the group's order once in 2^32: draw again.
        if let Ok(key) = SenderKey::from_secret(algorithm, &random()?) {
            break key;
        }
    };
    let pem = key
        .to_pem()
        .map_err(|error| usage(path, &error.to_string()))?;
    write_private(path, &pem)?;
    Ok(key)
}

/// Reads a key that others can't read. Its group may: so a Secret is mounted for a
/// process that isn't root.
pub(super) fn read_sender_key(path: &Path) -> Result<SenderKey, CliError> {
    let file = fs::File::open(path).map_err(CliError::reading(path))?;
    let metadata = file.metadata().map_err(CliError::reading(path))?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o037 != 0 {
        return Err(usage(
            path,
            &format!(
                "others can read or write it (mode {mode:o}); run: chmod 600 {0}, or mount the Secret with defaultMode: 0440",
                path.display()
            ),
        ));
    }
    let mut pem = String::new();
    file.take(KEY_FILE_BYTES_MAX)
        .read_to_string(&mut pem)
        .map_err(CliError::reading(path))?;
    SenderKey::from_pem(&pem).map_err(|error| usage(path, &error.to_string()))
}

/// The headers of a batch under its number: values that stand for themselves.
pub(super) fn headers(
    key: &SenderKey,
    batch: &Batch,
    sequence: u64,
) -> Result<[(&'static str, String); 4], KeyError> {
    let header = &batch.header;
    let digest = batch.digest().ok_or(KeyError::Sign)?;
    let message = batch_message(&header.source, sequence, header.count, &digest);
    Ok([
        ("auditchain-batch-sequence", sequence.to_string()),
        ("auditchain-batch-algorithm", key.algorithm().name().into()),
        ("auditchain-batch-key", STANDARD.encode(key.public_spki())),
        (
            "auditchain-batch-signature",
            STANDARD.encode(key.sign(&message)?),
        ),
    ])
}

fn usage(path: &Path, what: &str) -> CliError {
    CliError::Usage(format!("key file {}: {what}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_made_once_and_guarded() {
        let dir = tempfile::tempdir().unwrap();
        for algorithm in [SenderAlgorithm::EcdsaP256Sha256, SenderAlgorithm::Sm2Sm3] {
            let path = dir.path().join(algorithm.name());
            let made = create_sender_key(&path, algorithm).unwrap();
            let read = read_sender_key(&path).unwrap();
            assert_eq!(read.public_spki(), made.public_spki());
            assert!(create_sender_key(&path, algorithm).is_err());
            for (mode, ok) in [(0o400, true), (0o440, true), (0o644, false), (0o660, false)] {
                fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
                let result = read_sender_key(&path);
                assert_eq!(result.is_ok(), ok, "{mode:o}");
                if let Err(error) = result {
                    assert!(error.to_string().contains("chmod 600"), "{error}");
                }
            }
        }
        let path = dir.path().join("bad");
        fs::write(&path, "-----BEGIN PRIVATE KEY-----\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let error = read_sender_key(&path).unwrap_err().to_string();
        assert!(error.contains("key new --sender"), "{error}");
    }
}
