//! The last signed checkpoint, kept outside sled.
//!
//! A store whose head is older than this file has been rolled back, by a restored copy
//! or by sled cutting off a damaged log, and must not go on: it would sign a second
//! history. The bytes are the service's (a signed note); this module only keeps them.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use crate::error::StoreError;
use crate::limits::HEAD_FILE_BYTES_MAX;
use crate::sled_store::io_error;

/// The file in the data directory.
pub(crate) const FILE: &str = "checkpoint";
const TEMPORARY: &str = "checkpoint.new";

/// The file `checkpoint` of a data directory. One writer at a time: whoever has the
/// store open.
#[derive(Debug)]
pub struct HeadFile {
    dir: PathBuf,
}

impl HeadFile {
    /// Names the file; touches nothing.
    #[must_use]
    pub fn new(data_dir: &Path) -> Self {
        Self {
            dir: data_dir.to_owned(),
        }
    }

    /// What was last written; `None` if nothing ever was.
    ///
    /// # Errors
    /// I/O, or a file beyond [`HEAD_FILE_BYTES_MAX`].
    pub fn read(&self) -> Result<Option<Vec<u8>>, StoreError> {
        let path = self.dir.join(FILE);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io_error("can't open", &path)(error)),
        };
        let mut bytes = Vec::new();
        file.take(HEAD_FILE_BYTES_MAX as u64 + 1)
            .read_to_end(&mut bytes)
            .map_err(io_error("can't read", &path))?;
        check_size(&bytes, &path)?;
        Ok(Some(bytes))
    }

    /// Replaces the contents. On `Ok` they are on disk; a crash leaves the old or the
    /// new ones, never a mixture.
    ///
    /// # Errors
    /// I/O, or more than [`HEAD_FILE_BYTES_MAX`] bytes.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        let (path, temporary) = (self.dir.join(FILE), self.dir.join(TEMPORARY));
        check_size(bytes, &path)?;
        let mut file = File::create(&temporary).map_err(io_error("can't make", &temporary))?;
        file.write_all(bytes)
            .and_then(|()| file.sync_all())
            .map_err(io_error("can't write", &temporary))?;
        // A crash here leaves the old file, and a temporary one that is overwritten.
        fs::rename(&temporary, &path).map_err(io_error("can't replace", &path))?;
        // A crash here leaves one or the other, both whole.
        File::open(&self.dir)
            .and_then(|dir| dir.sync_all())
            .map_err(io_error("can't sync", &self.dir))
    }
}

fn check_size(bytes: &[u8], path: &Path) -> Result<(), StoreError> {
    if bytes.len() <= HEAD_FILE_BYTES_MAX {
        return Ok(());
    }
    let why = format!("over {HEAD_FILE_BYTES_MAX} bytes, which is no checkpoint");
    Err(io_error("can't use", path)(io::Error::new(
        io::ErrorKind::InvalidData,
        why,
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_last_bytes_and_leaves_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = HeadFile::new(dir.path());
        assert_eq!(file.read().unwrap(), None);
        for bytes in [&b"first, longer"[..], b"second", b""] {
            file.write(bytes).unwrap();
            assert_eq!(file.read().unwrap().as_deref(), Some(bytes));
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_half_written_temporary_file_does_no_harm() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = HeadFile::new(dir.path());
        file.write(b"good").unwrap();
        fs::write(
            dir.path().join(TEMPORARY),
            b"half, and longer than the next",
        )
        .unwrap();
        assert_eq!(file.read().unwrap().as_deref(), Some(&b"good"[..]));
        file.write(b"next").unwrap();
        assert_eq!(file.read().unwrap().as_deref(), Some(&b"next"[..]));
    }

    #[test]
    fn oversize_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = HeadFile::new(dir.path());
        file.write(&vec![0; HEAD_FILE_BYTES_MAX + 1]).unwrap_err();
        fs::write(dir.path().join(FILE), vec![0; HEAD_FILE_BYTES_MAX + 1]).unwrap();
        file.read().unwrap_err();
    }
}
