//! Every byte of a data directory, without sled and without writing.
//!
//! sled says nothing of damage it doesn't happen to read, cuts off what it can't read at
//! its log's end, and writes when it opens. So its files are read here by their format:
//! each record, segment, snapshot and setting has a CRC-32 of sled's own, cleared space
//! is zero, and what is neither is damage. A CRC finds accidents; whoever changes bytes
//! on purpose can make it again, and is found by the hash chain, the tree and the
//! signatures when the entries are verified.
//!
//! Reading order: [`check_files`], `database` (what a healthy file may hold), `segment`
//! (how it is gone through), `format` and `snapshot` (sled's bytes), `value` (what lay
//! in a damaged place), `files` (which files there may be).

mod database;
mod files;
mod format;
mod report;
mod segment;
mod snapshot;
#[cfg(test)]
mod tests;
pub(crate) mod value;

use std::fs::{self, File};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

pub(crate) use files::scan;
pub use report::{FileDamage, FilesReport};

use crate::compact;
use crate::error::StoreError;
use crate::lock::DirLock;
use crate::sled_store::{STORE_DIR, io_error};
use snapshot::Snapshot;

/// Bytes of sled's settings: three lines.
const CONF_BYTES_MAX: u64 = 4 << 10;
/// Bytes of a snapshot: sled needs them in memory too. A page takes about 30.
const SNAPSHOT_BYTES_MAX: u64 = 1 << 30;

/// Checks the files of a data directory with so many threads; `progress` is told bytes of
/// the database: done, and of how many.
///
/// # Errors
/// No store, a running service on it, or I/O. Damage is in the report.
pub fn check_files(
    dir: &Path,
    workers: usize,
    progress: &(dyn Fn(u64, u64) + Sync),
) -> Result<FilesReport, StoreError> {
    // First: which directory counts may change under a compaction.
    let _lock = DirLock::share_if_there(dir)?;
    let Some(store) = compact::current(dir) else {
        return Err(StoreError::NotFound {
            dir: dir.to_owned(),
        });
    };
    let path = store.join("db");
    let mut report = FilesReport::default();
    let snapshots = files::check_names(dir, &store, &mut report)?;
    check_conf(&store.join("conf"), &mut report)?;
    let snapshot = newest_snapshot(&store, &snapshots, &mut report)?;
    let file = File::open(&path).map_err(io_error("can't open", &path))?;
    let bytes = file
        .metadata()
        .map_err(io_error("can't read", &path))?
        .len();
    report.bytes += bytes;
    let done = AtomicU64::new(0);
    let tell = |more| progress(done.fetch_add(more, Ordering::Relaxed) + more, bytes);
    let segments = database::read(&file, workers, &tell).map_err(io_error("can't read", &path))?;
    database::judge(&segments, snapshot.as_ref(), &mut report);
    // The second opening makes the first snapshot.
    if snapshots.is_empty() && files::was_reopened(&path).map_err(io_error("can't read", &path))? {
        report.add_file(STORE_DIR, "sled's snapshot is missing");
    }
    report.name_store(&store);
    Ok(report)
}

fn check_conf(path: &Path, report: &mut FilesReport) -> Result<(), StoreError> {
    let name = "store/conf";
    match files::read(path, CONF_BYTES_MAX).map_err(io_error("can't read", path))? {
        None => report.add_file(name, "it is missing"),
        Some(bytes) => {
            report.bytes += bytes.len() as u64;
            if let Err(wrong) = snapshot::check_conf(&bytes) {
                report.add_file(name, wrong);
            }
        }
    }
    Ok(())
}

/// Checks all snapshots; the newest one counts. sled leaves the one before until the
/// opening after.
fn newest_snapshot(
    store: &Path,
    names: &[String],
    report: &mut FilesReport,
) -> Result<Option<Snapshot>, StoreError> {
    let mut newest: Option<Snapshot> = None;
    for name in names {
        let path = store.join(name);
        let bytes = fs::metadata(&path)
            .map_err(io_error("can't read", &path))?
            .len();
        report.bytes += bytes;
        let file = format!("store/{name}");
        let Some(bytes) =
            files::read(&path, SNAPSHOT_BYTES_MAX).map_err(io_error("can't read", &path))?
        else {
            continue;
        };
        match Snapshot::parse(name, &bytes) {
            Ok(snapshot)
                if newest
                    .as_ref()
                    .is_none_or(|newest| newest.end < snapshot.end) =>
            {
                newest = Some(snapshot);
            }
            Ok(_) => {}
            Err(wrong) => report.add_file(&file, wrong),
        }
    }
    Ok(newest)
}
