//! Every call of the store to the file system fails once: it did nothing, it did
//! everything and only looks failed, it did a half, or the disk stays full or dead from
//! then on. Afterwards the store says so and writes nothing more; a restart finds what
//! was acknowledged, and of the failed block all or nothing; so does a restart after
//! the power went as well, since a failed sync promises nothing.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use auditchain_store::AppendError;
use auditchain_test_disk::{Cut, Disk, Fault, Record, Rng, When, skip_other_syncs, watch};
use common::history::{self, Acknowledged};

/// Before the recorded session, so that opening reads something.
const BLOCKS_BEFORE: u64 = 3;
/// In it.
const BLOCKS: u64 = 5;

/// What a run with a fault came to.
struct Run {
    record: Record,
    acknowledged: Acknowledged,
    result: Result<(), AppendError>,
    calls: u64,
}

type Session = fn(&Path, &mut Acknowledged) -> Result<(), AppendError>;

fn append(root: &Path, acknowledged: &mut Acknowledged) -> Result<(), AppendError> {
    history::write(root, BLOCKS, acknowledged, |_| ())
}

fn compact(root: &Path, _: &mut Acknowledged) -> Result<(), AppendError> {
    auditchain_store::compact(&history::data_dir(root)).map_err(AppendError::Store)?;
    Ok(())
}

fn run(root: &Path, before: Acknowledged, fault: Option<Fault>, session: Session) -> Run {
    let file = tempfile::NamedTempFile::new().unwrap();
    let watch = watch(root, file.path(), fault);
    let mut acknowledged = before;
    let result = session(root, &mut acknowledged);
    let calls = watch.calls();
    drop(watch);
    Run {
        record: Record::read(file.path()),
        acknowledged,
        result,
        calls,
    }
}

/// A directory that was written to before, or a new one.
fn root(blocks: u64) -> (tempfile::TempDir, Acknowledged) {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = Acknowledged::default();
    if blocks > 0 {
        history::write(dir.path(), blocks, &mut acknowledged, |_| ()).unwrap();
    }
    (dir, acknowledged)
}

/// One test at a time: what is watched goes by inode, and a file that one test removes
/// leaves its inode to another's.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Runs with a fault at each call in turn; returns how many left an outcome open.
fn at_every_call(
    session: Session,
    blocks_before: u64,
    when: When,
    errno: i32,
    sticky: bool,
) -> u64 {
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    skip_other_syncs();
    let (dir, before) = root(blocks_before);
    let whole = run(dir.path(), before, None, session);
    whole.result.unwrap();
    let mut rng = Rng::new(1);
    let (mut failed, mut unknown, mut failures) = (0_u64, 0_u64, vec![]);
    for at in 0..whole.calls {
        let fault = Fault {
            at,
            when,
            errno,
            sticky,
        };
        let checked = AssertUnwindSafe(|| {
            let (dir, before) = root(blocks_before);
            let run = run(dir.path(), before, Some(fault), session);
            failed += u64::from(run.result.is_err());
            unknown += u64::from(matches!(run.result, Err(AppendError::Unknown(_))));
            // The power goes too.
            let mut disk = Disk::default();
            run.record.ops().for_each(|(op, _)| disk.apply(&op));
            for cut in [Cut::Nothing, Cut::choose(&mut rng), Cut::choose(&mut rng)] {
                let left = tempfile::tempdir().unwrap();
                disk.cut(&cut, left.path());
                history::check(left.path(), run.acknowledged);
            }
            // A restart only.
            history::check(dir.path(), run.acknowledged);
        });
        if catch_unwind(checked).is_err() {
            failures.push(fault);
        }
    }
    assert!(
        failures.is_empty(),
        "of {} faults: {failures:?}",
        whole.calls
    );
    assert!(
        failed > whole.calls / 2,
        "of {} faults {failed} were noticed",
        whole.calls
    );
    unknown
}

/// Those within an append leave its outcome open.
fn in_appends(blocks_before: u64, when: When, errno: i32, sticky: bool) {
    let unknown = at_every_call(append, blocks_before, when, errno, sticky);
    assert!(unknown > BLOCKS, "{unknown} faults within an append");
}

#[test]
fn a_call_that_fails_loses_nothing_acknowledged() {
    in_appends(BLOCKS_BEFORE, When::Failed, libc::EIO, false);
}

#[test]
fn a_call_that_only_looks_failed_doubles_nothing() {
    in_appends(BLOCKS_BEFORE, When::FailedButPersisted, libc::EIO, false);
}

#[test]
fn a_disk_that_is_full_half_way_through_a_write_loses_nothing() {
    in_appends(BLOCKS_BEFORE, When::Torn, libc::ENOSPC, true);
}

#[test]
fn a_disk_that_dies_loses_nothing_it_had_synced() {
    in_appends(BLOCKS_BEFORE, When::Failed, libc::EIO, true);
}

#[test]
fn the_first_start_may_fail_anywhere() {
    in_appends(0, When::Failed, libc::EIO, true);
}

#[test]
fn a_compaction_may_fail_anywhere() {
    at_every_call(compact, BLOCKS_BEFORE + 2, When::Failed, libc::EIO, true);
    at_every_call(
        compact,
        BLOCKS_BEFORE + 2,
        When::FailedButPersisted,
        libc::EIO,
        false,
    );
}
