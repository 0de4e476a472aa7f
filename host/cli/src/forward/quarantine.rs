//! Lines that no event can be made of: not JSON, or cut off. They are kept as they are,
//! a file each, named by where they stood: reading them again after a crash changes
//! nothing.

use std::fs;
use std::io;

use super::follow::LinePlace;
use super::state::{StateDir, write_file};

/// Lines that are kept; further ones are told and counted only. Whoever can write noise
/// into an audit log must not be able to fill the disk with it.
const LINES_MAX: usize = 1000;
/// Bytes of one that are kept.
const LINE_BYTES_KEPT_MAX: usize = 64 << 10;

/// What was kept, counted.
#[derive(Debug)]
pub(super) struct Quarantine {
    kept: usize,
}

impl Quarantine {
    pub(super) fn open(state: &StateDir) -> io::Result<Self> {
        let kept = fs::read_dir(state.join("quarantine"))?.count();
        Ok(Self { kept })
    }

    /// Keeps a line. False: there are too many already.
    pub(super) fn keep(
        &mut self,
        state: &StateDir,
        line: &[u8],
        place: LinePlace,
    ) -> io::Result<bool> {
        let name = format!("{}-{}.line", place.inode, place.offset);
        let path = state.join("quarantine").join(name);
        if path.exists() {
            return Ok(true);
        }
        if self.kept >= LINES_MAX {
            return Ok(false);
        }
        write_file(&path, &[&line[..line.len().min(LINE_BYTES_KEPT_MAX)]])?;
        self.kept += 1;
        Ok(true)
    }
}
