//! Batches on disk that wait to be sent, a file each, in their order.
//!
//! ```text
//! spool/0000000000000042       {"version":1,...}\n<packed body>
//! spool/0000000000000043-0     the halves of a batch that was too large
//! spool/0000000000000043-1
//! ```
//! A file appears whole or not at all (synced, then renamed), and names sort as the
//! batches are sent: `43` < `43-0` < `43-0-1` < `43-1` < `44`. As long as a whole batch is
//! there its halves don't count.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use auditchain_log::sha256;

use super::batch::{Batch, Header};
use super::cursor::Cursor;
use super::state::{StateDir, sync_dir, write_file};
use crate::error::CliError;
use crate::limits::LINE_BYTES_MAX;

/// Bytes of a spool file: a packed body, which at worst is a little longer than the line,
/// and the header.
const FILE_BYTES_MAX: u64 = 2 * LINE_BYTES_MAX as u64;
/// Digits of a number: 2^53 has sixteen.
const DIGITS: usize = 16;

/// The spool's index; the batches are on disk.
#[derive(Debug)]
pub(super) struct Spool {
    dir: PathBuf,
    /// Names and sizes, the next one first.
    waiting: VecDeque<(String, u64)>,
    bytes: u64,
    /// The name of the last batch; the next one's follows from it.
    last: Option<String>,
}

/// What lay there at the start.
#[derive(Debug)]
pub(super) struct Recovered {
    pub(super) spool: Spool,
    /// Behind the last batch.
    pub(super) cursor: Option<Cursor>,
    /// Files that were damaged, or stood behind such a one or a missing one: set aside.
    pub(super) set_aside: Vec<String>,
}

impl Spool {
    /// Brings the directory into order after whatever ended the last run.
    ///
    /// # Errors
    /// It can't be read or written.
    pub(super) fn open(
        state: &StateDir,
        acknowledged: Option<&str>,
    ) -> Result<Recovered, CliError> {
        let dir = state.join("spool");
        let files = list(&dir, acknowledged).map_err(CliError::writing(&dir))?;
        let mut recovered = Recovered {
            spool: Self {
                dir: dir.clone(),
                waiting: VecDeque::new(),
                bytes: 0,
                last: acknowledged.map(str::to_owned),
            },
            cursor: None,
            set_aside: Vec::new(),
        };
        for (name, bytes) in files {
            // What was read behind a damaged or missing batch is read again with it.
            let is_next = follows(recovered.spool.last.as_deref(), &name);
            let read = if recovered.set_aside.is_empty() && is_next {
                read(&dir.join(&name)).map_err(CliError::reading(&dir.join(&name)))?
            } else {
                None
            };
            let Some(batch) = read else {
                recovered.set_aside.push(name);
                continue;
            };
            recovered.cursor = Some(batch.header.cursor);
            recovered.spool.bytes += bytes;
            recovered.spool.last = Some(name.clone());
            recovered.spool.waiting.push_back((name, bytes));
        }
        if !recovered.set_aside.is_empty() {
            let damaged = state.join("damaged");
            fs::create_dir_all(&damaged).map_err(CliError::writing(&damaged))?;
            for name in &recovered.set_aside {
                fs::rename(dir.join(name), damaged.join(name)).map_err(CliError::writing(&dir))?;
            }
            sync_dir(&dir).map_err(CliError::writing(&dir))?;
        }
        Ok(recovered)
    }

    /// Bytes of all that wait.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Batches that wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Where the next batch lies.
    pub(super) fn next(&self) -> Option<(String, PathBuf)> {
        let (name, _) = self.waiting.front()?;
        Some((name.clone(), self.dir.join(name)))
    }

    /// The name for a new batch, and where to write it. It counts once it is
    /// [added](Self::add).
    pub(super) fn reserve(&mut self) -> (String, PathBuf) {
        let name = successor(self.last.as_deref());
        self.last = Some(name.clone());
        let path = self.dir.join(&name);
        (name, path)
    }

    /// A batch was written.
    pub(super) fn add(&mut self, name: String, bytes: u64) {
        self.bytes += bytes;
        self.waiting.push_back((name, bytes));
    }

    /// The first batch is dealt with: removes it.
    ///
    /// A crash before leaves the file; `position` says that it is dealt with.
    pub(super) fn remove_first(&mut self) -> io::Result<()> {
        if let Some((name, bytes)) = self.waiting.front() {
            remove(&self.dir.join(name))?;
            self.bytes -= bytes;
            self.waiting.pop_front();
        }
        Ok(())
    }

    /// Puts the halves of the first batch into its place.
    ///
    /// A crash before the whole one is removed leaves it, and what there is of the
    /// halves doesn't count; after that they are complete.
    pub(super) fn replace_first(&mut self, halves: &[Batch; 2]) -> io::Result<()> {
        let Some((whole, whole_bytes)) = self.waiting.front().cloned() else {
            return Ok(());
        };
        let mut sizes = [0; 2];
        for (i, half) in halves.iter().enumerate() {
            sizes[i] = write(&self.dir.join(format!("{whole}-{i}")), half)?;
        }
        remove(&self.dir.join(&whole))?;
        sync_dir(&self.dir)?;
        self.waiting.pop_front();
        self.bytes -= whole_bytes;
        for (i, bytes) in sizes.into_iter().enumerate().rev() {
            self.waiting.push_front((format!("{whole}-{i}"), bytes));
            self.bytes += bytes;
        }
        Ok(())
    }
}

/// Writes a batch durably; its bytes in the spool.
pub(super) fn write(path: &Path, batch: &Batch) -> io::Result<u64> {
    let mut header = serde_json::to_vec(&batch.header)?;
    header.push(b'\n');
    write_file(path, &[&header, &batch.packed])?;
    Ok((header.len() + batch.packed.len()) as u64)
}

/// Reads a batch; none if it is damaged.
pub(super) fn read(path: &Path) -> io::Result<Option<Batch>> {
    let mut bytes = Vec::new();
    File::open(path)?
        .take(FILE_BYTES_MAX)
        .read_to_end(&mut bytes)?;
    Ok(parse(&bytes))
}

fn parse(bytes: &[u8]) -> Option<Batch> {
    let end = memchr::memchr(b'\n', bytes)?;
    let header: Header = serde_json::from_slice(&bytes[..end]).ok()?;
    let packed = bytes[end + 1..].to_vec();
    let holds = header.version == 1 && header.packed_sha256 == sha256(&[&packed]).to_string();
    let batch = Batch { header, packed };
    (holds && batch.digest().is_some()).then_some(batch)
}

/// Names and sizes of what counts; the rest is removed.
fn list(dir: &Path, acknowledged: Option<&str>) -> io::Result<BTreeMap<String, u64>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_str().filter(|name| is_name(name));
        match name {
            Some(name) if acknowledged.is_none_or(|done| name > done) => {
                files.insert(name.to_owned(), entry.metadata()?.len());
            }
            // Half written, or dealt with.
            _ => remove(&entry.path())?,
        }
    }
    let names: Vec<String> = files.keys().cloned().collect();
    for name in &names {
        let is_half = name
            .match_indices('-')
            .any(|(at, _)| files.contains_key(&name[..at]));
        if is_half {
            files.remove(name);
            remove(&dir.join(name))?;
        }
    }
    Ok(files)
}

fn is_name(name: &str) -> bool {
    let mut parts = name.split('-');
    let number = parts.next().unwrap_or_default();
    number.len() == DIGITS
        && number.bytes().all(|byte| byte.is_ascii_digit())
        && parts.all(|half| half == "0" || half == "1")
}

/// The first name that may stand behind another: the other half, or the next number.
fn successor(last: Option<&str>) -> String {
    let Some(last) = last else {
        return format!("{:0DIGITS$}", 1);
    };
    let mut stem = last;
    while let Some(shorter) = stem.strip_suffix("-1") {
        stem = shorter;
    }
    match stem.strip_suffix("-0") {
        Some(whole) => format!("{whole}-1"),
        None => format!("{:0DIGITS$}", number(stem) + 1),
    }
}

/// Whether nothing is missing between two names. A batch that was halved is there as its
/// first half.
fn follows(last: Option<&str>, name: &str) -> bool {
    let halves = name.strip_prefix(&successor(last));
    halves.is_some_and(|halves| halves.replace("-0", "").is_empty())
}

fn number(name: &str) -> u64 {
    name.get(..DIGITS)
        .and_then(|digits| digits.parse().ok())
        .unwrap_or(0)
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forward::batch::{Batcher, Packing};
    use crate::forward::cursor::{FileMark, Fingerprint};
    use std::time::{Duration, Instant};

    fn cursor(offset: u64) -> Cursor {
        let file = FileMark {
            device: 1,
            inode: 2,
            offset,
            fingerprint: Fingerprint::of(b"x"),
        };
        Cursor {
            file: Some(file),
            finished: vec![],
        }
    }

    fn batch(offset: u64, events: u32) -> Batch {
        let mut batcher = Batcher::new(9, 1 << 20, Duration::ZERO);
        for n in 0..events {
            assert!(batcher.push(format!("{{\"n\":{n}}}").as_bytes(), Instant::now()));
        }
        batcher.take("eu", Packing::Zstd, cursor(offset)).unwrap()
    }

    fn open(state: &StateDir, acknowledged: Option<&str>) -> Recovered {
        Spool::open(state, acknowledged).unwrap()
    }

    fn put(spool: &mut Spool, batch: &Batch) -> String {
        let (name, path) = spool.reserve();
        let bytes = write(&path, batch).unwrap();
        spool.add(name.clone(), bytes);
        name
    }

    fn names(spool: &Spool) -> Vec<&str> {
        spool
            .waiting
            .iter()
            .map(|(name, _)| name.as_str())
            .collect()
    }

    #[test]
    fn batches_come_back_in_order_with_the_cursor_behind_the_last() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::open(dir.path()).unwrap();
        let mut spool = open(&state, None).spool;
        let first = put(&mut spool, &batch(10, 2));
        let second = put(&mut spool, &batch(20, 4));
        let bytes = spool.bytes();
        // One that was cut off by a crash while it was written.
        fs::write(state.join("spool").join("0000000000000003.new"), "{").unwrap();
        let again = open(&state, None);
        assert_eq!(names(&again.spool), [first.as_str(), second.as_str()]);
        assert_eq!(
            (again.cursor, again.spool.bytes()),
            (Some(cursor(20)), bytes)
        );
        let path = again.spool.next().unwrap().1;
        assert_eq!(read(&path).unwrap(), Some(batch(10, 2)));

        // Dealt with, and killed before it was removed.
        let mut again = open(&state, Some(&first));
        assert_eq!(names(&again.spool), [second.as_str()]);
        again.spool.remove_first().unwrap();
        assert_eq!((again.spool.len(), again.spool.bytes()), (0, 0));
        let mut empty = open(&state, Some(&second));
        assert!(empty.cursor.is_none());
        assert_eq!(put(&mut empty.spool, &batch(30, 1)), "0000000000000003");
    }

    #[test]
    fn halves_take_the_place_of_the_whole_or_do_not_count() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::open(dir.path()).unwrap();
        let mut spool = open(&state, None).spool;
        let whole = put(&mut spool, &batch(10, 4));
        let next = put(&mut spool, &batch(20, 1));
        let halves = batch(10, 4).split(&cursor(0)).unwrap();
        // Killed between the halves and the removal of the whole.
        write(&state.join("spool").join(format!("{whole}-0")), &halves[0]).unwrap();
        let mut spool = open(&state, None).spool;
        assert_eq!(names(&spool), [whole.as_str(), next.as_str()]);
        spool.replace_first(&halves).unwrap();
        let quarters = halves[0].split(&cursor(0)).unwrap();
        spool.replace_first(&quarters).unwrap();
        let expected = [
            "0000000000000001-0-0",
            "0000000000000001-0-1",
            "0000000000000001-1",
            &next,
        ];
        assert_eq!(names(&spool), expected);
        let again = open(&state, Some(expected[0]));
        assert_eq!(names(&again.spool), expected[1..]);
        assert_eq!(again.cursor, Some(cursor(20)));
    }

    #[test]
    fn from_a_damaged_batch_on_all_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::open(dir.path()).unwrap();
        let mut spool = open(&state, None).spool;
        let written: Vec<String> = (1..=3)
            .map(|n| put(&mut spool, &batch(n * 10, 2)))
            .collect();
        let path = state.join("spool").join(&written[1]);
        let good = fs::read(&path).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            // Even if it is still JSON, what is signed and sent is as it was.
            if let Some(read) = parse(&bad) {
                assert_eq!(read.packed, batch(20, 2).packed, "{at}");
            }
        }
        fs::write(&path, &good[..good.len() - 1]).unwrap();
        let recovered = open(&state, None);
        assert_eq!(recovered.set_aside, written[1..]);
        assert_eq!(names(&recovered.spool), [written[0].as_str()]);
        assert_eq!(recovered.cursor, Some(cursor(10)));
        assert_eq!(fs::read_dir(state.join("damaged")).unwrap().count(), 2);
        let mut spool = recovered.spool;
        assert_eq!(put(&mut spool, &batch(20, 2)), written[1]);
        assert_eq!(open(&state, None).cursor, Some(cursor(20)));
    }

    #[test]
    fn behind_a_missing_batch_all_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::open(dir.path()).unwrap();
        let mut spool = open(&state, None).spool;
        let written: Vec<String> = (1..=3)
            .map(|n| put(&mut spool, &batch(n * 10, 4)))
            .collect();
        let halves = batch(10, 4).split(&cursor(0)).unwrap();
        spool.replace_first(&halves).unwrap();
        let names = [
            &format!("{}-0", written[0]),
            &format!("{}-1", written[0]),
            &written[1],
            &written[2],
        ];
        assert_eq!(open(&state, None).spool.len(), 4);
        let file = |name: &str| state.join("spool").join(name);
        for (missing, kept) in [(2, 2), (1, 1), (0, 0)] {
            let backup: Vec<_> = names.map(|name| fs::read(file(name)).unwrap()).into();
            fs::remove_file(file(names[missing])).unwrap();
            let mut recovered = open(&state, None);
            assert_eq!(recovered.spool.len(), kept);
            assert_eq!(recovered.set_aside.len(), 3 - missing);
            // What is read again takes the place of what is missing.
            assert_eq!(recovered.spool.reserve().0, names_of(missing, &names));
            assert_eq!(open(&state, None).spool.len(), kept);
            for (name, bytes) in names.iter().zip(backup) {
                fs::write(file(name), bytes).unwrap();
            }
        }
        // The first one that is not dealt with is missing.
        fs::remove_file(file(names[2])).unwrap();
        let recovered = open(&state, Some(names[1]));
        assert_eq!((recovered.spool.len(), recovered.set_aside.len()), (0, 1));
        assert!(recovered.cursor.is_none());
    }

    /// A first half that is missing is made again as the whole.
    fn names_of(missing: usize, names: &[&String; 4]) -> String {
        match missing {
            0 => names[0][..DIGITS].to_owned(),
            _ => names[missing].clone(),
        }
    }
}
