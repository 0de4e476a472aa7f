//! A copy of a data directory, for whoever must not change the original.

use std::fs;
use std::io;
use std::path::Path;

use crate::compact;
use crate::error::StoreError;
use crate::head_file;
use crate::lock::DirLock;
use crate::sled_store::{STORE_DIR, io_error, make_private_dir};

/// Copies the store and the checkpoint of `dir` into `to`, which is made. Nothing of
/// `dir` is changed, and it may be on a read-only file system. Where the file system
/// can share blocks, the copy takes no room.
///
/// An auditor opens such a copy, because sled changes what it opens, and what it finds
/// damaged it cuts off.
///
/// # Errors
/// No store, a running service on it, or I/O.
pub fn copy_data_dir(dir: &Path, to: &Path) -> Result<(), StoreError> {
    // First: which directory counts may change under a compaction.
    let _lock = DirLock::share_if_there(dir)?;
    let Some(from) = compact::current(dir) else {
        return Err(StoreError::NotFound {
            dir: dir.to_owned(),
        });
    };
    let into = to.join(STORE_DIR);
    copy_files(&from, &into)?;
    copy_files(&from.join("blobs"), &into.join("blobs"))?;
    let checkpoint = dir.join(head_file::FILE);
    if checkpoint.exists() {
        fs::copy(&checkpoint, to.join(head_file::FILE))
            .map_err(io_error("can't copy", &checkpoint))?;
    }
    Ok(())
}

pub(crate) fn copy_files(from: &Path, to: &Path) -> Result<(), StoreError> {
    make_private_dir(to).map_err(io_error("can't make", to))?;
    let files = match fs::read_dir(from) {
        Ok(files) => files,
        // sled makes it anew.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(io_error("can't list", from)(error)),
    };
    for file in files {
        let path = file.map_err(io_error("can't list", from))?.path();
        if let (true, Some(name)) = (path.is_file(), path.file_name()) {
            fs::copy(&path, to.join(name)).map_err(io_error("can't copy", &path))?;
        }
    }
    Ok(())
}
