//! The state directory, and how a file is put into it.
//!
//! ```text
//! lock                 held by the one process that runs
//! position             what has been acknowledged
//! files                rotated files that are not read yet, and those that were lost
//! status               what a running forwarder says of itself, for --status
//! spool/NUMBER         batches that wait to be sent
//! refused/             batches that the service refused for good, and why
//! quarantine/          lines that no event can be made of
//! damaged/             spool files that the disk spoilt; they were read again
//! ```

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::CliError;

/// Bytes of `position`, `files` and `status`: a mark of a file has under 250, and there
/// are at most [`FINISHED_MAX`](super::cursor::FINISHED_MAX).
const STATE_FILE_BYTES_MAX: u64 = 4 << 20;

/// A state directory. It is locked as long as this lives.
#[derive(Debug)]
pub(super) struct StateDir {
    path: PathBuf,
    _lock: File,
}

impl StateDir {
    /// Makes what is missing, and takes the lock.
    ///
    /// # Errors
    /// Another forwarder has it, or it can't be written.
    pub(super) fn open(path: &Path) -> Result<Self, CliError> {
        for dir in [
            path.to_owned(),
            path.join("spool"),
            path.join("refused"),
            path.join("quarantine"),
        ] {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&dir)
                .map_err(CliError::writing(&dir))?;
        }
        let lock_path = path.join("lock");
        let lock = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&lock_path)
            .map_err(CliError::writing(&lock_path))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => CliError::Usage(format!(
                "{}: another forwarder runs with this state directory; give each its own",
                path.display()
            )),
            TryLockError::Error(error) => CliError::writing(&lock_path)(error),
        })?;
        sync_dir(path).map_err(CliError::writing(path))?;
        Ok(Self {
            path: path.to_owned(),
            _lock: lock,
        })
    }

    /// Whether a forwarder runs with this directory.
    pub(super) fn is_locked(path: &Path) -> bool {
        File::open(path.join("lock"))
            .is_ok_and(|lock| matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock)))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

/// Writes a file whole, or not at all: written beside, synced, renamed, and the name
/// synced too. A crash leaves the old one, perhaps with a `.new` beside it.
pub(super) fn write_file(path: &Path, parts: &[&[u8]]) -> io::Result<()> {
    let temporary = temporary(path);
    let mut file = create(&temporary)?;
    for part in parts {
        file.write_all(part)?;
    }
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    path.parent().map_or(Ok(()), sync_dir)
}

/// The same for a value, as JSON.
pub(super) fn write_json(path: &Path, value: &impl Serialize) -> io::Result<()> {
    let mut text = serde_json::to_vec_pretty(value)?;
    text.push(b'\n');
    write_file(path, &[&text])
}

/// A value that may be lost: nothing is synced.
pub(super) fn write_json_unsynced(path: &Path, value: &impl Serialize) -> io::Result<()> {
    let temporary = temporary(path);
    create(&temporary)?.write_all(&serde_json::to_vec_pretty(value)?)?;
    fs::rename(&temporary, path)
}

/// Reads a value; none if there is no file.
pub(super) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, CliError> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file.map_err(CliError::reading(path))?,
    };
    let mut bytes = Vec::new();
    file.take(STATE_FILE_BYTES_MAX)
        .read_to_end(&mut bytes)
        .map_err(CliError::reading(path))?;
    let value = serde_json::from_slice(&bytes);
    value.map(Some).map_err(|error| {
        CliError::Usage(format!(
            "{}: {error}; it is damaged or of another version. Restore it, or begin with a new state directory and a new key: the log is read again from its start then, and what was sent before adds nothing",
            path.display()
        ))
    })
}

pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

fn temporary(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    name.into()
}

fn create(path: &Path) -> io::Result<File> {
    fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_process_has_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        assert!(!StateDir::is_locked(&path));
        let state = StateDir::open(&path).unwrap();
        assert!(StateDir::is_locked(&path));
        let error = StateDir::open(&path).unwrap_err().to_string();
        assert!(error.contains("another forwarder"), "{error}");
        drop(state);
        assert!(!StateDir::is_locked(&path));
        StateDir::open(&path).unwrap();
    }

    #[test]
    fn values_are_replaced_whole_and_damage_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("value");
        assert_eq!(read_json::<u64>(&path).unwrap(), None);
        for value in [1_u64, 2] {
            write_json(&path, &value).unwrap();
            assert_eq!(read_json(&path).unwrap(), Some(value));
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        fs::write(&path, "{").unwrap();
        let error = read_json::<u64>(&path).unwrap_err().to_string();
        assert!(error.contains("a new key"), "{error}");
    }
}
