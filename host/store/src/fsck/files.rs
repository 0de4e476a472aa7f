//! Which files a data directory has.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::report::FilesReport;
use super::value::Found;
use crate::compact;
use crate::error::StoreError;
use crate::head_file;
use crate::limits::VALUE_BYTES_MAX;
use crate::sled_store::{STORE_DIR, io_error};

/// Files of the data directory, and what a crash leaves of them.
const TOP: [&str; 5] = [
    "lock",
    "checkpoint",
    "checkpoint.new",
    "checkpoint.cosigned",
    "checkpoint.cosigned.new",
];
/// The log's private keys: in use, what a first start or a rotation leaves that was broken
/// off, those to come. Those that were retired have their id in the name.
const KEY_DIRS: [&str; 4] = ["keys", "keys.new", "keys.next", "keys.next.new"];
const RETIRED_KEYS: &str = "keys.retired-";
const KEYS: [&str; 2] = ["log-p256.pem", "log-ed25519.pem"];
/// What file systems make by themselves at the top of a volume.
const FOREIGN: [&str; 1] = ["lost+found"];

/// Tells of files of a directory, and of its store, that don't belong there, are missing, or that others may read, and
/// returns the names of sled's snapshots.
///
/// # Errors
/// A directory can't be listed.
pub(super) fn check_names(
    dir: &Path,
    store: &Path,
    report: &mut FilesReport,
) -> Result<Vec<String>, StoreError> {
    let mut snapshots = Vec::new();
    for (name, kind) in list(dir)? {
        match (name.as_str(), kind) {
            ("lock", Kind::File { bytes: 1.., .. }) => report.add_file("lock", "it isn't empty"),
            (name, Kind::File { .. }) if TOP.contains(&name) => {}
            (name, Kind::Dir) if store.file_name().is_some_and(|current| current == name) => {
                check_store(store, report, &mut snapshots)?;
            }
            (name, Kind::Dir) if compact::LEFT_OVERS.contains(&name) => {
                report.not_checked.push(format!(
                    "The directory {name}: a compaction or repair that was broken off left it, the next start removes it."
                ));
            }
            (name, Kind::Dir) if compact::is_set_aside(name, STORE_DIR) => {
                report.not_checked.push(format!(
                    "The directory {name}: the store as it was before a repair."
                ));
            }
            (name, Kind::File { .. }) if compact::is_set_aside(name, head_file::FILE) => {
                report.not_checked.push(format!(
                    "The file {name}: the checkpoint as it was before a repair."
                ));
            }
            (name, Kind::Dir) if KEY_DIRS.contains(&name) || name.starts_with(RETIRED_KEYS) => {
                check_keys(&dir.join(name), name, report);
            }
            (name, Kind::Dir) if FOREIGN.contains(&name) => {}
            (name, kind) => unexpected(name, kind, report),
        }
        report.files += u64::from(matches!(kind, Kind::File { .. }));
    }
    Ok(snapshots)
}

fn check_store(
    store: &Path,
    report: &mut FilesReport,
    snapshots: &mut Vec<String>,
) -> Result<(), StoreError> {
    for (name, kind) in list(store)? {
        let path = format!("{STORE_DIR}/{name}");
        let snapshot = name.strip_prefix("snap.");
        let unfinished = snapshot.and_then(|rest| rest.strip_suffix(".generating"));
        let is_lsn = |text: &str| text.len() == 16 && u64::from_str_radix(text, 16).is_ok();
        match (name.as_str(), kind) {
            ("db" | "conf", Kind::File { .. }) => {}
            ("blobs", Kind::Dir) => {
                for (name, _) in list(&store.join("blobs"))? {
                    let file = format!("{path}/{name}");
                    report.add_file(&file, "unexpected: sled must have moved no value there");
                }
            }
            // Left by a crash while it was written; removed at the next start.
            (_, Kind::File { .. }) if unfinished.is_some_and(is_lsn) => report.unfinished += 1,
            (_, Kind::File { .. }) if snapshot.is_some_and(is_lsn) => snapshots.push(name),
            (_, kind) => unexpected(&path, kind, report),
        }
        report.files += u64::from(matches!(kind, Kind::File { .. }));
    }
    // A crash leaves the one before, never more.
    if snapshots.len() > 2 {
        report.add_file(STORE_DIR, "more snapshots of sled than it leaves");
    }
    Ok(())
}

fn check_keys(dir: &Path, name: &str, report: &mut FilesReport) {
    // They are nobody's but the service's: who audits may not even list them.
    let Ok(files) = list(dir) else {
        let sentence = format!("The private keys in {name}: this user can't list them.");
        report.not_checked.push(sentence);
        return;
    };
    for (file, kind) in &files {
        let path = format!("{name}/{file}");
        match kind {
            Kind::File { mode, .. } if KEYS.contains(&file.as_str()) => {
                report.files += 1;
                if mode & 0o077 != 0 {
                    let what = format!("others may read this private key (mode {mode:o})");
                    report.add_file(&path, &what);
                }
            }
            kind => unexpected(&path, *kind, report),
        }
    }
    for key in KEYS {
        if !files.is_empty() && !files.iter().any(|(file, _)| file == key) {
            report.add_file(&format!("{name}/{key}"), "it is missing");
        }
    }
}

fn unexpected(name: &str, kind: Kind, report: &mut FilesReport) {
    let what = match kind {
        Kind::File { .. } => "an unexpected file",
        Kind::Dir => "an unexpected directory",
        Kind::Other => "neither a file nor a directory",
    };
    report.add_file(name, what);
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    File { bytes: u64, mode: u32 },
    Dir,
    Other,
}

/// Names and kinds, sorted.
fn list(dir: &Path) -> Result<Vec<(String, Kind)>, StoreError> {
    let read = || -> io::Result<Vec<(String, Kind)>> {
        let mut all = Vec::new();
        for file in fs::read_dir(dir)? {
            let file = file?;
            // Of a link, not of what it names.
            let found = file.metadata()?;
            let kind = if found.is_file() {
                Kind::File {
                    bytes: found.len(),
                    mode: found.permissions().mode() & 0o7777,
                }
            } else if found.is_dir() {
                Kind::Dir
            } else {
                Kind::Other
            };
            all.push((lossy(&file.file_name()), kind));
        }
        all.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        Ok(all)
    };
    read().map_err(io_error("can't list", dir))
}

fn lossy(name: &OsStr) -> String {
    name.to_string_lossy().into_owned()
}

/// A small file, cut off after `limit` bytes; `None` if there is none.
pub(super) fn read(path: &Path, limit: u64) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let mut bytes = Vec::new();
    file.take(limit).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

/// Whether the database was opened more than once: each opening writes its number.
pub(super) fn was_reopened(db: &Path) -> io::Result<bool> {
    let mut openings = 0;
    scan(File::open(db)?, |bytes, _| {
        if let Some(found) = Found::parse(bytes)
            && found.value.kind == b'o'
            && found.holds(bytes)
        {
            openings = openings.max(found.value.id);
        }
    })?;
    Ok(openings > 1)
}

/// Bytes read at a time.
const WINDOW_BYTES: usize = 4 << 20;

/// Shows every place of a file, with what follows it: a whole value at least, but at the
/// file's end.
pub(crate) fn scan(mut file: impl io::Read, mut look: impl FnMut(&[u8], u64)) -> io::Result<()> {
    let mut window = Vec::with_capacity(WINDOW_BYTES + VALUE_BYTES_MAX);
    let mut offset = 0;
    loop {
        let read = (&mut file)
            .take(WINDOW_BYTES as u64)
            .read_to_end(&mut window)?;
        // A value that begins in the last part of a window is looked at with the next
        // one, when it is there whole; at the end of the file there is none.
        let done = if read == 0 {
            window.len()
        } else {
            window.len().saturating_sub(VALUE_BYTES_MAX)
        };
        for at in 0..done {
            look(&window[at..], offset + at as u64);
        }
        if read == 0 {
            return Ok(());
        }
        window.drain(..done);
        offset += done as u64;
    }
}

const _: () = assert!(VALUE_BYTES_MAX < WINDOW_BYTES);
