//! Power loss at any point: whatever was acknowledged is there afterwards, whole.
//!
//! The store's own calls to the file system are recorded while it works, and replayed
//! up to many points: what a completed sync covers is there, what came after it is
//! dropped, torn and reordered at random (`auditchain-test-disk` has the model). Each
//! directory that results is opened by the store, read in full, and written on.
//!
//! The number of states is set by `AUDITCHAIN_POWER_LOSS_STATES` for long runs, their
//! seed by `AUDITCHAIN_POWER_LOSS_SEED`:
//! `AUDITCHAIN_POWER_LOSS_STATES=20000 cargo test -p auditchain-store --test power_loss`.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use auditchain_store::compact;
use auditchain_test_disk::{Cut, Disk, Record, Rng, skip_other_syncs, watch};
use common::history::{self, Acknowledged};

use crate::Session::{Append, Compact};

/// Enough to meet each kind of operation several times, few enough for every build.
const STATES: u64 = 240;
/// Blocks of the recording: three segments of sled, so that it also reuses one.
const BLOCKS: u64 = 60;
/// Failures shown.
const SHOWN_MAX: usize = 5;

/// One test at a time: what is watched goes by inode, and a file that one test removes
/// leaves its inode to another's.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn from_environment(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap())
}

fn states() -> u64 {
    from_environment("AUDITCHAIN_POWER_LOSS_STATES", STATES)
}

fn seed() -> u64 {
    from_environment("AUDITCHAIN_POWER_LOSS_SEED", 1)
}

enum Session {
    /// Opens the store, appends so many blocks, some of which erase, and closes it.
    Append(u64),
    /// Copies what is alive into a new database.
    Compact,
}

/// A recording, and what was acknowledged by when.
struct Recorded {
    record: Record,
    acknowledged: Vec<(u64, Acknowledged)>,
}

impl Recorded {
    /// Records sessions below `root`.
    fn make(root: &Path, before: Acknowledged, sessions: &[Session]) -> Self {
        let file = tempfile::NamedTempFile::new().unwrap();
        let watch = watch(root, file.path(), None);
        let mut acknowledged = vec![(watch.recorded_bytes(), before)];
        let mut now = before;
        for session in sessions {
            match session {
                Session::Append(blocks) => history::write(root, *blocks, &mut now, |now| {
                    acknowledged.push((watch.recorded_bytes(), now));
                })
                .unwrap(),
                Session::Compact => {
                    compact(&history::data_dir(root)).unwrap();
                }
            }
        }
        drop(watch);
        Self {
            record: Record::read(file.path()),
            acknowledged,
        }
    }

    fn acknowledged_by(&self, length: u64) -> Acknowledged {
        let by_then = self.acknowledged.iter().rev().find(|(at, _)| *at <= length);
        by_then.map_or_else(Acknowledged::default, |(_, acknowledged)| *acknowledged)
    }

    /// Cuts the power at about `states` points and hands each state to `check`.
    fn cuts(
        &self,
        states: u64,
        rng: &mut Rng,
        mut check: impl FnMut(&Path, Acknowledged),
    ) -> Vec<String> {
        // The record begins with what was there before: no cut in that.
        let began = self.acknowledged.first().map_or(0, |(at, _)| *at);
        let calls = self.record.ops().count() as u64;
        let mut disk = Disk::default();
        let mut failures = vec![];
        for (i, (op, length)) in self.record.ops().enumerate() {
            disk.apply(&op);
            if length < began {
                continue;
            }
            let share = states / calls + u64::from(rng.below(calls) < states % calls);
            for _ in 0..share {
                let cut = Cut::choose(rng);
                let acknowledged = self.acknowledged_by(length);
                let dir = tempfile::tempdir().unwrap();
                disk.cut(&cut, dir.path());
                let checked = AssertUnwindSafe(|| check(dir.path(), acknowledged));
                if catch_unwind(checked).is_err() {
                    failures.push(format!(
                        "call {i} of {calls}, {} pending, {cut:?}, {acknowledged:?}",
                        disk.pending()
                    ));
                }
            }
        }
        failures
    }
}

fn assert_none(failures: &[String], states: u64) {
    assert!(
        failures.is_empty(),
        "{} of about {states} states are not what was acknowledged; the first:\n{}",
        failures.len(),
        failures[..failures.len().min(SHOWN_MAX)].join("\n")
    );
}

#[test]
fn nothing_acknowledged_is_lost_to_a_power_cut() {
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let root = tempfile::tempdir().unwrap();
    let nothing = Acknowledged::default();
    // Two starts after a clean end, so that opening is cut as well.
    let recorded = Recorded::make(
        root.path(),
        nothing,
        &[Append(BLOCKS), Append(3), Compact, Append(2)],
    );
    skip_other_syncs();
    let mut found = std::collections::BTreeSet::new();
    let failures = recorded.cuts(states(), &mut Rng::new(seed()), |dir, acknowledged| {
        found.insert(history::check(dir, acknowledged));
    });
    assert_none(&failures, states());
    assert!(found.len() > 20, "the cuts meet only {} sizes", found.len());
}

#[test]
fn a_power_cut_while_a_crash_is_recovered_loses_nothing_either() {
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let root = tempfile::tempdir().unwrap();
    let first = Recorded::make(
        root.path(),
        Acknowledged::default(),
        &[Append(BLOCKS / 3), Compact],
    );
    skip_other_syncs();
    let mut rng = Rng::new(seed());
    let again = states() / 24;
    let mut failures = vec![];
    let mut inner = Rng::new(rng.number());
    let outer = first.cuts(24, &mut rng, |dir, acknowledged| {
        let second = Recorded::make(dir, acknowledged, &[Append(2), Compact, Append(1)]);
        failures.extend(second.cuts(again, &mut inner, |dir, acknowledged| {
            history::check(dir, acknowledged);
        }));
    });
    assert_none(&outer, 24);
    assert_none(&failures, states());
}
