//! A log file and the rotated ones beside it: which they are, and in which order.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use super::cursor::{FINGERPRINT_BYTES_MAX, FileMark, Fingerprint};

/// Files that are looked at; an apiserver keeps 10 rotated ones by default.
const FILES_MAX: usize = 256;

/// How often the files are listed until their list is believed; a rotation takes less than
/// one listing.
const LISTINGS_MAX: usize = 16;

/// Names of a log file and of its rotated ones.
#[derive(Debug, Clone)]
pub(super) struct Family {
    path: PathBuf,
    dir: PathBuf,
    name: String,
    /// `audit` and `.log`
    stem: String,
    extension: String,
}

/// A file that may have to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) path: PathBuf,
    pub(super) device: u64,
    pub(super) inode: u64,
    pub(super) size: u64,
    /// Its first bytes.
    pub(super) head: Vec<u8>,
    /// Where to go on.
    pub(super) offset: u64,
    /// The place of its mark among the finished ones.
    pub(super) mark: Option<usize>,
}

impl Family {
    /// Of the file under this path, which needn't be there yet.
    ///
    /// # Errors
    /// It names no file.
    pub(super) fn new(path: &Path) -> io::Result<Self> {
        let bad = || io::Error::new(io::ErrorKind::InvalidInput, "this is no file's name");
        let name = path.file_name().and_then(|name| name.to_str());
        let name = name.ok_or_else(bad)?.to_owned();
        let (stem, extension) = match name.rfind('.') {
            Some(at) if at > 0 => name.split_at(at),
            _ => (name.as_str(), ""),
        };
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
        Ok(Self {
            path: path.to_owned(),
            dir: dir.unwrap_or(Path::new(".")).to_owned(),
            stem: stem.to_owned(),
            extension: extension.to_owned(),
            name,
        })
    }

    /// Where the file lies that is being written.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// All files, in the order in which they were written: the rotated ones by the time
    /// of their last write, the one under the name last.
    ///
    /// A file that is renamed while the names are listed can be missing from the list, and
    /// would be taken for lost: the list counts once it comes out the same twice in a row.
    pub(super) fn candidates(&self) -> io::Result<Vec<Candidate>> {
        let inodes = |files: &[Candidate]| -> BTreeSet<(u64, u64)> {
            files.iter().map(|file| (file.device, file.inode)).collect()
        };
        let mut files = self.list()?;
        for _ in 0..LISTINGS_MAX {
            let again = self.list()?;
            if inodes(&files) == inodes(&again) {
                return Ok(again);
            }
            files = again;
        }
        Err(io::Error::other(format!(
            "{}: its files change faster than they can be listed",
            self.dir.display()
        )))
    }

    fn list(&self) -> io::Result<Vec<Candidate>> {
        let mut rotated = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let name = entry?.file_name();
            let Some(rank) = name.to_str().and_then(|name| self.rank(name)) else {
                continue;
            };
            if rotated.len() == FILES_MAX {
                return Err(io::Error::other(format!(
                    "{}: more than {FILES_MAX} rotated files; remove those that are not needed",
                    self.dir.display()
                )));
            }
            if let Some((time, candidate)) = look(&self.dir.join(&name))? {
                rotated.push(((time, rank), candidate));
            }
        }
        rotated.sort_by(|(a, _), (b, _)| a.cmp(b));
        let mut all: Vec<_> = rotated.into_iter().map(|(_, file)| file).collect();
        if let Some((_, live)) = look(&self.path)? {
            // Renamed while we looked: it is there once.
            all.retain(|file| file.inode != live.inode);
            all.push(live);
        }
        Ok(all)
    }

    /// What orders rotated files of one time; none: it is not one. Of numbered ones the
    /// highest is the oldest; times in names ascend.
    fn rank(&self, name: &str) -> Option<(u64, String)> {
        let digit = |text: &str| text.starts_with(|c: char| c.is_ascii_digit());
        if name.ends_with(".gz") || name == self.name {
            return None;
        }
        if let Some(number) = name
            .strip_prefix(&self.name)
            .and_then(|r| r.strip_prefix('.'))
            && let Ok(number) = number.parse::<u32>()
        {
            return Some((u64::from(u32::MAX - number), String::new()));
        }
        let dated = name
            .strip_prefix(&self.name)
            .and_then(|r| r.strip_prefix('-'));
        let stamped = name
            .strip_prefix(&self.stem)
            .and_then(|rest| rest.strip_prefix('-'))
            .and_then(|rest| rest.strip_suffix(&self.extension));
        let time = dated.or(stamped).filter(|time| digit(time))?;
        Some((0, time.to_owned()))
    }
}

impl Candidate {
    /// The file, if there is something to read in it, seeing what was read before.
    pub(super) fn unread(mut self, finished: &[FileMark]) -> Option<Self> {
        // The last one that fits has read most of it.
        let known = finished
            .iter()
            .rposition(|mark| mark.offset > 0 && mark.is_of(self.inode, self.size, &self.head));
        if let Some(at) = known {
            if self.size <= finished[at].offset {
                return None;
            }
            // It went on after it was taken for done.
            (self.offset, self.mark) = (finished[at].offset, Some(at));
            return Some(self);
        }
        // One that was done while empty.
        let was_empty = |mark: &FileMark| mark.offset == 0 && mark.inode == self.inode;
        (self.size > 0 || !finished.iter().any(was_empty)).then_some(self)
    }

    /// The mark of one that needn't be read.
    pub(super) fn as_finished(&self) -> FileMark {
        FileMark {
            device: self.device,
            inode: self.inode,
            offset: self.size,
            fingerprint: Fingerprint::of(&self.head),
        }
    }
}

/// None: there is no such file (any more).
fn look(path: &Path) -> io::Result<Option<((i64, i64), Candidate)>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Ok(None);
    }
    let candidate = Candidate {
        path: path.to_owned(),
        device: metadata.dev(),
        inode: metadata.ino(),
        size: metadata.len(),
        head: read_head(&file)?,
        offset: 0,
        mark: None,
    };
    Ok(Some(((metadata.mtime(), metadata.mtime_nsec()), candidate)))
}

/// A file's first bytes.
pub(super) fn read_head(file: &File) -> io::Result<Vec<u8>> {
    let mut head = vec![0; FINGERPRINT_BYTES_MAX];
    let mut read = 0;
    while read < head.len() {
        match file.read_at(&mut head[read..], read as u64)? {
            0 => break,
            more => read += more,
        }
    }
    head.truncate(read);
    Ok(head)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// No look misses a file that was there all the time, whatever is renamed meanwhile.
    #[test]
    fn files_are_not_missed_while_they_are_renamed() {
        use std::sync::Mutex;

        let dir = tempfile::tempdir().unwrap();
        let live = dir.path().join("audit.log");
        let family = Family::new(&live).unwrap();
        let there = Mutex::new(Vec::new());
        let (done, rotating) = std::sync::mpsc::channel::<()>();
        std::thread::scope(|scope| {
            let there = &there;
            scope.spawn(move || {
                for n in 0..150 {
                    fs::write(&live, format!("{n}\n")).unwrap();
                    there
                        .lock()
                        .unwrap()
                        .push(fs::metadata(&live).unwrap().ino());
                    std::thread::sleep(std::time::Duration::from_millis(2));
                    let rotated = format!("audit-2026-11-21T06-31-{n:03}.log");
                    fs::rename(&live, live.with_file_name(rotated)).unwrap();
                }
                drop(done);
            });
            let mut looks = 0;
            while rotating.try_recv() != Err(std::sync::mpsc::TryRecvError::Disconnected) {
                let before = there.lock().unwrap().clone();
                let Ok(seen) = family.candidates() else {
                    continue;
                };
                let seen: BTreeSet<u64> = seen.iter().map(|file| file.inode).collect();
                let missed: Vec<_> = before
                    .iter()
                    .filter(|inode| !seen.contains(inode))
                    .collect();
                assert!(missed.is_empty(), "look {looks} missed {missed:?}");
                looks += 1;
            }
            assert!(looks > 10, "{looks}");
        });
    }

    #[test]
    fn rotated_files_are_known_by_name_and_ordered() {
        let dir = tempfile::tempdir().unwrap();
        let family = Family::new(&dir.path().join("audit.log")).unwrap();
        for name in [
            "audit-2026-11-21T06-31-01.724.log",
            "audit-2026-11-21T06-31-01.725.log",
            "audit.log.2",
            "audit.log.1",
            "audit.log-20261121",
            "audit.log",
        ] {
            fs::write(dir.path().join(name), name).unwrap();
        }
        for name in [
            "audit-2026-11-21T06-31-01.724.log.gz",
            "audit-policy.log",
            "audit.log.1.gz",
            "audit.log.old",
            "other.log",
            "audit.logs",
        ] {
            fs::write(dir.path().join(name), name).unwrap();
        }
        fs::create_dir(dir.path().join("audit.log.7")).unwrap();
        // All of one time: names decide.
        let time = fs::FileTimes::new().set_modified(std::time::UNIX_EPOCH);
        for entry in fs::read_dir(dir.path()).unwrap() {
            File::open(entry.unwrap().path())
                .unwrap()
                .set_times(time)
                .unwrap();
        }
        let names = |family: &Family| -> Vec<String> {
            let all = family.candidates().unwrap();
            all.iter()
                .map(|file| file.path.file_name().unwrap().to_str().unwrap().to_owned())
                .collect()
        };
        assert_eq!(
            names(&family),
            [
                "audit-2026-11-21T06-31-01.724.log",
                "audit-2026-11-21T06-31-01.725.log",
                "audit.log-20261121",
                "audit.log.2",
                "audit.log.1",
                "audit.log",
            ]
        );
        // Else the time of the last write does.
        let time = time.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(1));
        let first = File::open(dir.path().join("audit-2026-11-21T06-31-01.724.log")).unwrap();
        first.set_times(time).unwrap();
        assert_eq!(names(&family)[4], "audit-2026-11-21T06-31-01.724.log");
    }
}
