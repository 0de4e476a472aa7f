//! Which directory is watched, and what becomes of a call to it.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use crate::fault::{Fault, When};
use crate::interpose;
use crate::record::Op;

/// The directory to watch; see [`watch_as_environment_says`].
const ROOT: &str = "AUDITCHAIN_TEST_DISK_ROOT";
/// Where to record.
const RECORD: &str = "AUDITCHAIN_TEST_DISK_RECORD";
/// What is to fail.
const FAULT: &str = "AUDITCHAIN_TEST_DISK_FAULT";

/// How long a call that is made to fail takes: whoever waits for it waits by then, as on a
/// real disk, whose errors come late.
const FAULT_PAUSE: Duration = Duration::from_millis(20);

/// One watched directory a process: tests of one program wait for each other.
static SESSION: Mutex<()> = Mutex::new(());
static STATE: Mutex<Option<State>> = Mutex::new(None);
/// So that calls of an unwatched process cost nothing.
static ACTIVE: AtomicBool = AtomicBool::new(false);
static SKIP_OTHER_SYNCS: AtomicBool = AtomicBool::new(false);
static RECORDED_BYTES: AtomicU64 = AtomicU64::new(0);
static CALLS: AtomicU64 = AtomicU64::new(0);

/// What is watched. All calls below the root are made while its lock is held, so the
/// record's order is the order in which they took effect.
pub(crate) struct State {
    root: PathBuf,
    device: u64,
    inodes: HashSet<u64>,
    record: File,
    fault: Option<Fault>,
    /// The second half of a torn write, or everything after a sticky fault.
    failing: Option<(i32, bool)>,
}

/// Ends the watch when dropped.
#[derive(Debug)]
pub struct Watch {
    _session: Option<MutexGuard<'static, ()>>,
}

/// Watches `root`, which exists, and records what is done below it in the file `record`
/// (elsewhere). What is there already counts as durable.
///
/// # Panics
/// The record can't be made.
#[must_use]
pub fn watch(root: &Path, record: &Path, fault: Option<Fault>) -> Watch {
    let session = SESSION.lock().unwrap_or_else(PoisonError::into_inner);
    begin(root, record, fault);
    Watch {
        _session: Some(session),
    }
}

/// For a program that a test starts: watches for as long as the process lives, if the
/// environment says so.
///
/// # Panics
/// It says nonsense.
pub fn watch_as_environment_says() {
    let (Some(root), Some(record)) = (std::env::var_os(ROOT), std::env::var_os(RECORD)) else {
        return;
    };
    let fault = std::env::var(FAULT).ok();
    let fault = fault.map(|text| Fault::from_str(&text).unwrap_or_else(|e| panic!("{e}")));
    begin(Path::new(&root), Path::new(&record), fault);
}

/// Syncs of files that nobody watches succeed at once: replays need not last.
pub fn skip_other_syncs() {
    SKIP_OTHER_SYNCS.store(true, Ordering::SeqCst);
}

impl Watch {
    /// The environment that makes a program watch itself; see
    /// [`watch_as_environment_says`].
    #[must_use]
    pub fn environment(
        root: &Path,
        record: &Path,
        fault: Option<Fault>,
    ) -> Vec<(&'static str, String)> {
        let text = |path: &Path| path.to_str().expect("a test's path is UTF-8").to_owned();
        let mut variables = vec![(ROOT, text(root)), (RECORD, text(record))];
        variables.extend(fault.map(|fault| (FAULT, fault.to_string())));
        variables
    }

    /// Length of the record by now. What was acknowledged before rests on what is
    /// recorded up to here.
    #[must_use]
    pub fn recorded_bytes(&self) -> u64 {
        RECORDED_BYTES.load(Ordering::SeqCst)
    }

    /// Calls so far, as [`Fault::at`] counts them.
    #[must_use]
    pub fn calls(&self) -> u64 {
        CALLS.load(Ordering::SeqCst)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        ACTIVE.store(false, Ordering::SeqCst);
        *STATE.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

fn begin(root: &Path, record: &Path, fault: Option<Fault>) {
    interpose::link();
    let record = File::create(record).expect("the record can be made");
    RECORDED_BYTES.store(0, Ordering::SeqCst);
    CALLS.store(0, Ordering::SeqCst);
    let directory = fs::metadata(root).expect("the root exists");
    let mut state = State {
        root: root.to_owned(),
        device: directory.dev(),
        inodes: HashSet::new(),
        record,
        fault,
        failing: None,
    };
    state.note(&Op::Root {
        inode: directory.ino(),
    });
    state.note_what_is_there(root);
    *STATE.lock().unwrap_or_else(PoisonError::into_inner) = Some(state);
    ACTIVE.store(true, Ordering::SeqCst);
}

/// The state, if this process watches anything.
pub(crate) fn active() -> Option<MutexGuard<'static, Option<State>>> {
    if !ACTIVE.load(Ordering::SeqCst) {
        return None;
    }
    Some(STATE.lock().unwrap_or_else(PoisonError::into_inner))
}

/// True if a sync of an unwatched file is to be skipped.
pub(crate) fn skips_other_syncs() -> bool {
    SKIP_OTHER_SYNCS.load(Ordering::SeqCst)
}

/// What is to become of a call.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fate {
    Happens,
    Fails(i32),
    HappensButFails(i32),
    HalfHappens,
}

impl State {
    /// The path below the root.
    pub(crate) fn relative<'p>(&self, path: &'p Path) -> Option<&'p str> {
        path.strip_prefix(&self.root).ok()?.to_str()
    }

    /// True if this is a file or directory below the root.
    pub(crate) fn holds(&self, device: u64, inode: u64) -> bool {
        device == self.device && self.inodes.contains(&inode)
    }

    /// Counts a call and says what is to become of it.
    pub(crate) fn fate(&mut self, is_write: bool) -> Fate {
        let call = CALLS.fetch_add(1, Ordering::SeqCst);
        if let Some((errno, sticky)) = self.failing {
            if !sticky {
                self.failing = None;
            }
            return Fate::Fails(errno);
        }
        let Some(fault) = self.fault.filter(|fault| fault.at == call) else {
            return Fate::Happens;
        };
        thread::sleep(FAULT_PAUSE);
        let errno = fault.errno;
        if fault.sticky {
            self.failing = Some((errno, true));
        }
        match fault.when {
            When::FailedButPersisted => Fate::HappensButFails(errno),
            When::Torn if is_write => {
                self.failing = Some((errno, fault.sticky));
                Fate::HalfHappens
            }
            When::Failed | When::Torn => Fate::Fails(errno),
        }
    }

    /// Records what happened.
    pub(crate) fn note(&mut self, op: &Op<'_>) {
        if let Op::Root { inode } | Op::Create { inode, .. } | Op::Mkdir { inode, .. } = op {
            self.inodes.insert(*inode);
        }
        let bytes = op.encode();
        // Not by `File::write`: that would arrive here again.
        if interpose::write_unwatched(self.record.as_raw_fd(), &bytes) {
            RECORDED_BYTES.fetch_add(bytes.len() as u64, Ordering::SeqCst);
        } else {
            // A record with a hole proves nothing. Not a panic: its message would be a
            // write, and wait for the lock that we hold.
            std::process::abort();
        }
    }

    fn note_what_is_there(&mut self, dir: &Path) {
        let listed: io::Result<Vec<_>> = fs::read_dir(dir).and_then(Iterator::collect);
        for file in listed.expect("the root can be listed") {
            let path = file.path();
            let inode = file.metadata().expect("it is there").ino();
            let name = self.relative(&path).expect("below the root").to_owned();
            if path.is_dir() {
                self.note(&Op::Mkdir { path: &name, inode });
                self.note_what_is_there(&path);
            } else {
                self.note(&Op::Create { path: &name, inode });
                let bytes = fs::read(&path).expect("it can be read");
                self.note(&Op::Write {
                    inode,
                    offset: 0,
                    bytes: &bytes,
                });
                self.note(&Op::Sync { inode });
            }
        }
        let inode = fs::metadata(dir).expect("it is there").ino();
        self.note(&Op::Sync { inode });
    }
}
