//! The log's own keys: one ECDSA P-256 and one Ed25519 key of the same name, the
//! origin. PEM files under `DIR/keys`, readable by their owner alone, made at the
//! first start.
//!
//! ```text
//! DIR/keys                 in use
//! DIR/keys.new             made by a first start that has not come to its end
//! DIR/keys.next            made by auditchain key rotate, taken over at the next start
//! DIR/keys.retired-<id>    no longer the log's; destroy them when the backup is done
//! ```
//!
//! New ones get their name once the log's first block and the
//! file `checkpoint` are on disk. So a first start that is cut off anywhere is told from a
//! log that was taken away: until then nothing was acknowledged.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use auditchain_log::{KeyError, SignerKey};

const DIR: &str = "keys";
const NEW_DIR: &str = "keys.new";
/// File names, in the order in which the keys sign.
const FILES: [&str; 2] = ["log-p256.pem", "log-ed25519.pem"];

/// Where `auditchain key rotate` puts the keys to change to.
const NEXT: &str = "keys.next";

/// Why there are no keys to sign with.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum KeysError {
    /// A file can't be read or written.
    #[error("key file {path}: {error}")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// A file holds no key.
    #[error("key file {path}: {error}")]
    Key {
        /// Which.
        path: PathBuf,
        /// Why.
        error: KeyError,
    },
    /// Others could read the private key.
    #[error("key file {path} can be read by others (mode {mode:o}); run: chmod 600 {path}")]
    Mode {
        /// Which.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// One of the two is gone.
    #[error("key file {0} is missing while the other one is there; restore it from your backup")]
    Half(PathBuf),
    /// The system gives no random bytes.
    #[error("no random bytes from the system: {0}")]
    Random(getrandom::Error),
}

/// Whether a first start came to its end in this data directory.
#[must_use]
pub(crate) fn exist(data: &Path) -> bool {
    FILES.iter().any(|file| data.join(DIR).join(file).exists())
}

/// Whether a first start made keys here and was cut off before it came to its end.
#[must_use]
pub(crate) fn unfinished(data: &Path) -> bool {
    !data.join(DIR).exists() && data.join(NEW_DIR).exists()
}

/// Reads the keys.
///
/// # Errors
/// A file is missing, readable by others, or no key.
pub(crate) fn load(data: &Path, origin: &str) -> Result<Vec<SignerKey>, KeysError> {
    let dir = data.join(if unfinished(data) { NEW_DIR } else { DIR });
    FILES
        .iter()
        .map(|file| read(&dir.join(file), origin))
        .collect()
}

/// Reads the keys that the log is to change to, if `auditchain key rotate` made some.
///
/// # Errors
/// As [`load`].
pub(crate) fn load_next(data: &Path, origin: &str) -> Result<Option<Vec<SignerKey>>, KeysError> {
    let next = data.join(NEXT);
    if !next.exists() {
        return Ok(None);
    }
    let keys = FILES.iter().map(|file| read(&next.join(file), origin));
    keys.collect::<Result<_, _>>().map(Some)
}

/// Puts the next keys into the place of those in use, which are kept beside them under
/// the id of the first. Called once the log says that they changed; what a crash in it
/// leaves, the next call completes.
///
/// # Errors
/// A directory can't be moved.
pub(crate) fn finish_rotation(data: &Path, retired: &[SignerKey]) -> Result<(), KeysError> {
    let (keys, next) = (data.join("keys"), data.join(NEXT));
    let io = |path: &Path| {
        let path = path.to_owned();
        move |error| KeysError::Io { path, error }
    };
    if let Some(first) = retired.first().filter(|_| keys.exists()) {
        let id = hex::encode(first.verifier().id());
        fs::rename(&keys, data.join(format!("keys.retired-{id}"))).map_err(io(&keys))?;
    }
    // A crash here leaves no keys in use, but the next ones, which are those of the log.
    fs::rename(&next, &keys).map_err(io(&next))?;
    fs::File::open(data)
        .and_then(|dir| dir.sync_all())
        .map_err(io(data))
}

/// Makes new keys beside their place; [`finish`] moves them there together, so that a crash
/// leaves no half of them. Those of a first start that wrote no log are made anew.
///
/// # Errors
/// There are keys already, no random bytes, or the files can't be written.
pub(crate) fn create(data: &Path, origin: &str) -> Result<Vec<SignerKey>, KeysError> {
    let (dir, new) = (data.join(DIR), data.join(NEW_DIR));
    let io = |path: &Path| {
        let path = path.to_owned();
        move |error| KeysError::Io { path, error }
    };
    let key_error = |file: &str, error| KeysError::Key {
        path: dir.join(file),
        error,
    };
    if dir.exists() {
        return Err(io(&dir)(std::io::ErrorKind::AlreadyExists.into()));
    }
    if new.exists() {
        fs::remove_dir_all(&new).map_err(io(&new))?;
    }
    fs::DirBuilder::new()
        .mode(0o700)
        .create(&new)
        .map_err(io(&new))?;
    let p256 = loop {
        // A random scalar is past the group's order once in 2^32: draw again.
        if let Ok(key) = SignerKey::ecdsa_p256(origin, &random()?) {
            break key;
        }
    };
    let ed25519 =
        SignerKey::ed25519(origin, &random()?).map_err(|error| key_error(FILES[1], error))?;
    let keys = vec![p256, ed25519];
    for (file, key) in FILES.iter().zip(&keys) {
        let pem = key.to_pem().map_err(|error| key_error(file, error))?;
        let path = new.join(file);
        write_private(&path, pem.as_bytes()).map_err(io(&path))?;
    }
    // The names must survive a power cut as the files do.
    let sync = |path: &Path| {
        fs::File::open(path)
            .and_then(|dir| dir.sync_all())
            .map_err(io(path))
    };
    sync(&new)?;
    sync(data)?;
    Ok(keys)
}

/// Ends a first start: the log and its checkpoint are on disk.
///
/// # Errors
/// I/O.
pub(crate) fn finish(data: &Path) -> Result<(), KeysError> {
    if !unfinished(data) {
        return Ok(());
    }
    let dir = data.join(DIR);
    fs::rename(data.join(NEW_DIR), &dir)
        .and_then(|()| fs::File::open(data)?.sync_all())
        .map_err(|error| KeysError::Io { path: dir, error })
}

/// 32 bytes from the system.
///
/// # Errors
/// It has none.
pub(crate) fn random() -> Result<[u8; 32], KeysError> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(KeysError::Random)?;
    Ok(bytes)
}

fn read(path: &Path, origin: &str) -> Result<SignerKey, KeysError> {
    let io = |error| KeysError::Io {
        path: path.into(),
        error,
    };
    if !path.exists() {
        return Err(KeysError::Half(path.into()));
    }
    let mode = fs::metadata(path).map_err(io)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(KeysError::Mode {
            path: path.into(),
            mode,
        });
    }
    let pem = fs::read_to_string(path).map_err(io)?;
    SignerKey::from_pem(origin, &pem).map_err(|error| KeysError::Key {
        path: path.into(),
        error,
    })
}

fn write_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_made_once_and_guarded() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!exist(dir.path()));
        let made = create(dir.path(), "example.com/log").unwrap();
        let same = || {
            let read = load(dir.path(), "example.com/log").unwrap();
            for (made, read) in made.iter().zip(&read) {
                assert_eq!(made.verifier(), read.verifier());
            }
        };
        assert!(!exist(dir.path()) && unfinished(dir.path()));
        same();
        finish(dir.path()).unwrap();
        assert!(exist(dir.path()) && !unfinished(dir.path()));
        same();
        assert!(matches!(
            create(dir.path(), "example.com/log"),
            Err(KeysError::Io { .. })
        ));
        assert!(!dir.path().join("keys.new").exists());
        let path = dir.path().join("keys").join(FILES[0]);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(
            load(dir.path(), "a"),
            Err(KeysError::Mode { mode: 0o640, .. })
        ));
        fs::remove_file(&path).unwrap();
        assert!(matches!(load(dir.path(), "a"), Err(KeysError::Half(_))));
    }
}
