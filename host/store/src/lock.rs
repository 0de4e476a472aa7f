//! One process a data directory.

use std::fs::{File, TryLockError};
use std::path::Path;

use crate::error::StoreError;
use crate::sled_store::io_error;

/// The lock file inside the data directory. It stays; only the lock on it counts.
const LOCK_FILE: &str = "lock";

/// A data directory, taken for as long as this lives. The lock ends with the process,
/// however it ends.
#[derive(Debug)]
pub(crate) struct DirLock(File);

impl DirLock {
    /// Takes the directory, or says that another process has it.
    pub(crate) fn take(dir: &Path) -> Result<Self, StoreError> {
        Self::lock(dir, File::try_lock)
    }

    /// Keeps writers out, not other readers; only if the lock was ever made: without it
    /// nobody had the store open, and a directory on a read-only disk can't get one.
    pub(crate) fn share_if_there(dir: &Path) -> Result<Option<Self>, StoreError> {
        if dir.join(LOCK_FILE).exists() {
            Self::lock(dir, File::try_lock_shared).map(Some)
        } else {
            Ok(None)
        }
    }

    fn lock(
        dir: &Path,
        try_lock: impl FnOnce(&File) -> Result<(), TryLockError>,
    ) -> Result<Self, StoreError> {
        let path = dir.join(LOCK_FILE);
        // Made if need be, but else opened for reading: a copy may be on a read-only disk.
        let file = File::open(&path)
            .or_else(|_| File::options().append(true).create(true).open(&path))
            .map_err(io_error("can't open", &path))?;
        match try_lock(&file) {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => Err(StoreError::Locked {
                dir: dir.to_owned(),
            }),
            Err(TryLockError::Error(error)) => Err(io_error("can't lock", &path)(error)),
        }
    }
}

impl Drop for DirLock {
    fn drop(&mut self) {
        // Closing is not enough: a child that was forked meanwhile and has not come to
        // its exec still has the file open, and with it the lock. Should this fail, the
        // lock goes when that child does.
        let _ = self.0.unlock();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_goes_with_its_holder_even_if_the_file_is_open_elsewhere() {
        let dir = tempfile::tempdir().unwrap();
        let lock = DirLock::take(dir.path()).unwrap();
        assert!(matches!(
            DirLock::take(dir.path()),
            Err(StoreError::Locked { .. })
        ));
        // What a fork does: the same open file in other hands.
        let inherited = lock.0.try_clone().unwrap();
        drop(lock);
        DirLock::take(dir.path()).unwrap();
        drop(inherited);
    }
}
