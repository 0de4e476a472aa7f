//! The next keys of a log: made beside the ones in use, taken over by auditchaind at its
//! next start, which writes into the log that the keys change.

use std::fs::{self, DirBuilder, File};
use std::io::Read as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use auditchain_log::{Checkpoint, MAX_NOTE_BYTES, Note, SignerKey, VerifierKey};

use crate::error::CliError;
use crate::private_file::{random, write_private};

/// As auditchaind names them.
const FILES: [&str; 2] = ["log-p256.pem", "log-ed25519.pem"];

/// Makes both keys, or none: a crash leaves a directory that nobody reads.
pub(crate) fn make_next_keys(data: &Path) -> Result<Vec<VerifierKey>, CliError> {
    let (next, temporary) = (data.join("keys.next"), data.join("keys.next.new"));
    if !data.join("keys").is_dir() {
        return Err(CliError::Usage(format!(
            "{}: no directory `keys` in it; it is not the data directory of a log that was started",
            data.display()
        )));
    }
    if next.exists() {
        return Err(CliError::Usage(format!(
            "{0} is there already: restart auditchaind to take these keys over, or remove {0}",
            next.display()
        )));
    }
    let origin = origin(data)?;
    if temporary.exists() {
        fs::remove_dir_all(&temporary).map_err(CliError::writing(&temporary))?;
    }
    DirBuilder::new()
        .mode(0o700)
        .create(&temporary)
        .map_err(CliError::writing(&temporary))?;
    let bad = |error: auditchain_log::KeyError| CliError::Usage(error.to_string());
    let p256 = loop {
        // A random scalar is past the group's order once in 2^32: draw again.
        if let Ok(key) = SignerKey::ecdsa_p256(&origin, &random()?) {
            break key;
        }
    };
    let keys = [p256, SignerKey::ed25519(&origin, &random()?).map_err(bad)?];
    for (file, key) in FILES.iter().zip(&keys) {
        let path = temporary.join(file);
        write_private(&path, &key.to_pem().map_err(bad)?)?;
    }
    sync(&temporary)?;
    fs::rename(&temporary, &next).map_err(CliError::writing(&next))?;
    sync(data)?;
    Ok(keys.iter().map(|key| key.verifier().clone()).collect())
}

/// The log's name, by the checkpoint beside the store: that can be read while the
/// service runs.
fn origin(data: &Path) -> Result<String, CliError> {
    let path = data.join("checkpoint");
    let mut bytes = Vec::new();
    File::open(&path)
        .map_err(CliError::reading(&path))?
        .take(MAX_NOTE_BYTES as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(CliError::reading(&path))?;
    let none = |why: String| CliError::Usage(format!("{}: {why}", path.display()));
    let note = Note::parse(&bytes).map_err(|error| none(error.to_string()))?;
    let checkpoint = Checkpoint::parse(note.text()).map_err(|error| none(error.to_string()))?;
    Ok(checkpoint.origin)
}

fn sync(dir: &Path) -> Result<(), CliError> {
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(CliError::writing(dir))
}
