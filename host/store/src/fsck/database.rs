//! All segments of `store/db` together: what the checksums of one segment can't say.
//!
//! # What a healthy file may hold, and why
//! - **Segments in use**, full and closed, but for the newest.
//! - **Freed segments** with all that they held: sled doesn't clear them while it runs.
//! - **Cleared segments**, all zeros: at an opening sled clears what the snapshot of that
//!   opening doesn't name. Afterwards it takes free segments from the lowest on, so
//!   nothing newer than the opening lies behind a cleared one.
//! - **The newest segment**, open: behind its last record lies the end of the file, or
//!   zeros up to the last byte but one (an opening clears so far), or, where it was freed
//!   before, what it held then. Of that the record that was overwritten in part can't be
//!   checked, and is told as unknown.
//! - After a kill or a power cut, **a record of which only the first pages are there**,
//!   or zeros where writes were under way, behind all that sled knew to be on disk. No
//!   acknowledged block is among them: the head and the file `checkpoint` say so.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use super::format::{PAGE_BYTES, SEGMENT, SegmentHeader};
use super::report::{DB, FilesReport};
use super::segment::{Bad, Rest, Segment, Start, examine};
use super::snapshot::Snapshot;
use crate::engine::SEGMENT_BYTES;

/// Reads the file with that many threads, each with a segment in memory, in the order of
/// the file.
///
/// # Errors
/// It can't be read.
pub(super) fn read(
    file: &File,
    workers: usize,
    progress: &(dyn Fn(u64) + Sync),
) -> io::Result<Vec<Segment>> {
    let bytes = file.metadata()?.len();
    let next = AtomicU64::new(0);
    let done = Mutex::new(Vec::new());
    let work = || -> io::Result<()> {
        let mut buffer = vec![0; SEGMENT_BYTES];
        loop {
            let base = next.fetch_add(SEGMENT, Ordering::Relaxed);
            if base >= bytes {
                return Ok(());
            }
            let len = usize::try_from(bytes - base).map_or(SEGMENT_BYTES, |n| n.min(SEGMENT_BYTES));
            file.read_exact_at(&mut buffer[..len], base)?;
            let segment = examine(base, &buffer[..len]);
            done.lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .push(segment);
            progress(len as u64);
        }
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..workers.max(1)).map(|_| scope.spawn(work)).collect();
        threads.into_iter().try_for_each(|thread| {
            thread
                .join()
                .unwrap_or_else(|_| Err(io::Error::other("a thread that read it panicked")))
        })
    })?;
    let mut segments = done
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    segments.sort_unstable_by_key(|segment| segment.base);
    Ok(segments)
}

/// Judges what was read.
pub(super) fn judge(segments: &[Segment], snapshot: Option<&Snapshot>, report: &mut FilesReport) {
    let headers: BTreeMap<u64, (SegmentHeader, &Segment)> = segments
        .iter()
        .filter_map(|segment| match segment.start {
            Start::Header(header) => Some((header.lsn, (header, segment))),
            Start::Cleared | Start::Damaged => None,
        })
        .collect();
    let judge = Judge {
        newest: headers.last_key_value().map(|(lsn, _)| *lsn),
        stable_end: headers.values().map(|(header, _)| header.stable_end).fold(
            snapshot.map_or(0, |snapshot| snapshot.end),
            |stable, end| stable.max(if end > i64::MAX as u64 { 0 } else { end }),
        ),
        snapshot,
    };
    for segment in segments {
        report.records += segment.records;
        for bad in &segment.bad {
            tell(segment, bad, report);
        }
        report.damage_total += segment.more_bad;
        match segment.start {
            Start::Header(header) => judge.in_use(segment, header, &headers, report),
            Start::Cleared => judge.cleared(segment, &headers, report),
            Start::Damaged => {}
        }
    }
    judge.against_snapshot(segments, &headers, report);
}

type Headers<'s> = BTreeMap<u64, (SegmentHeader, &'s Segment)>;

struct Judge<'s> {
    /// LSN of the newest segment.
    newest: Option<u64>,
    /// Up to here all was on disk when something later was written.
    stable_end: u64,
    snapshot: Option<&'s Snapshot>,
}

impl Judge<'_> {
    fn in_use(
        &self,
        segment: &Segment,
        header: SegmentHeader,
        headers: &Headers<'_>,
        report: &mut FilesReport,
    ) {
        let base = segment.base;
        if !header.lsn.is_multiple_of(SEGMENT) || header.lsn < base {
            report.add_db(base, 20, "a segment that belongs elsewhere in the file");
        }
        if headers
            .get(&header.lsn)
            .is_some_and(|(_, last)| last.base != base)
        {
            report.add_db(base, 20, "a segment that is in the file twice");
        }
        let end = header.lsn + segment.end as u64;
        let at = base + segment.end as u64;
        // Everything up to `stable_end` was on disk before something else was written.
        let may_be_open = header.lsn + SEGMENT > self.stable_end || Some(header.lsn) == self.newest;
        if !may_be_open && !matches!(segment.rest, Rest::Closed | Rest::Damaged) {
            let missing = (segment.len - segment.end) as u64;
            report.add_db(at, missing, "records are missing at the end of a segment");
            return;
        }
        let active_at_opening = self
            .snapshot
            .is_some_and(|snapshot| snapshot.active == Some(base) && snapshot.end > header.lsn);
        match &segment.rest {
            Rest::Closed | Rest::Damaged => {}
            // An opening clears the segment that it goes on with to the last byte but one.
            Rest::Nothing if active_at_opening && segment.len < SEGMENT_BYTES - 1 => {
                report.add_db(at, 0, "cleared space is cut off");
            }
            Rest::Nothing => {}
            Rest::Zeros => {
                let broken_off = segment.len.is_multiple_of(PAGE_BYTES) && !active_at_opening;
                if segment.len < SEGMENT_BYTES - 1 && !broken_off {
                    let len = segment.len as u64;
                    report.add_db(base + len, 0, "cleared space is cut off or grew");
                } else if segment.len == SEGMENT_BYTES && active_at_opening && header.lsn == base {
                    // In room that was never used before, only a cap ends there.
                    report.add_db(base + SEGMENT - 1, 1, "a byte behind cleared space");
                }
            }
            Rest::ZerosButLast => {
                let last = base + SEGMENT - 1;
                // Only what was in use before has something there.
                if header.lsn == base {
                    report.add_db(last, 1, "a byte in cleared space");
                } else {
                    report.unknown.push((last, 1));
                }
            }
            Rest::PartlyCleared(unknown) if end < self.stable_end => {
                let bytes = unknown.end.saturating_sub(segment.end) as u64;
                report.add_db(at, bytes, "records that were on disk are gone");
            }
            Rest::PartlyCleared(unknown) => report.add_unknown(base, unknown),
            Rest::Older { unknown, .. } if active_at_opening => {
                report.add_db(at, unknown.len() as u64, "bytes in cleared space");
            }
            Rest::Older { unknown, torn } => {
                report.add_unknown(base, unknown);
                if *torn {
                    report.torn.push((at, unknown.len() as u64));
                }
            }
            Rest::Torn(range) if end < self.stable_end => {
                report.add_db(at, range.len() as u64, "a record that is cut off");
            }
            Rest::Torn(range) => report.torn.push((at, range.len() as u64)),
        }
    }

    fn cleared(&self, segment: &Segment, headers: &Headers<'_>, report: &mut FilesReport) {
        let (base, len) = (segment.base, segment.len as u64);
        let opened_at = self.snapshot.map(|snapshot| snapshot.end);
        let Some(opened_at) = opened_at else {
            report.add_db(
                base,
                len,
                "a cleared segment in a store that was never reopened",
            );
            return;
        };
        let newer = |(_, newer): &(SegmentHeader, &Segment)| newer.base > base;
        if headers.range(opened_at..).any(|(_, entry)| newer(entry)) {
            report.add_db(base, len, "a segment in use that is all zeros");
            return;
        }
        // Nothing was written since the snapshot: that opening may not have come to its end.
        let opening = headers
            .last_key_value()
            .is_none_or(|(lsn, (_, newest))| lsn + newest.end as u64 <= opened_at);
        match &segment.rest {
            Rest::PartlyCleared(unknown) if opening => report.add_unknown(base, unknown),
            Rest::PartlyCleared(unknown) => {
                report.add_db(
                    base,
                    unknown.start as u64,
                    "a segment in use, cleared in part",
                );
            }
            Rest::Zeros
                if segment.len < SEGMENT_BYTES
                    && !(opening && segment.len.is_multiple_of(PAGE_BYTES)) =>
            {
                report.add_db(base, len, "bytes behind the end of the database");
            }
            _ => {}
        }
    }

    /// What the snapshot names must be there, or something newer in its place.
    fn against_snapshot(
        &self,
        segments: &[Segment],
        headers: &Headers<'_>,
        report: &mut FilesReport,
    ) {
        let Some(snapshot) = self.snapshot else {
            return;
        };
        for (base, lsn) in &snapshot.segments {
            let there = segments
                .binary_search_by_key(base, |segment| segment.base)
                .ok()
                .and_then(|at| segments.get(at));
            let holds = match there.map(|segment| segment.start) {
                Some(Start::Header(header)) => header.lsn == *lsn || header.lsn >= snapshot.end,
                Some(Start::Damaged) => true, // told already
                Some(Start::Cleared) | None => false,
            };
            if !holds {
                let what = "a segment that sled's snapshot names is not there";
                report.add_db(*base, SEGMENT, what);
            }
        }
        // The newest goes on at least to where the snapshot was made.
        let end = headers.last_key_value().map_or(0, |(lsn, (_, newest))| {
            let closed = matches!(newest.rest, Rest::Closed);
            lsn + if closed { SEGMENT } else { newest.end as u64 }
        });
        let damaged = segments.iter().any(|segment| !segment.bad.is_empty());
        if end < snapshot.end && !damaged {
            let at = headers
                .last_key_value()
                .map_or(0, |(_, (_, newest))| newest.base + newest.end as u64);
            report.add_db(at, 0, "records that were there at the last start are gone");
        }
    }
}

fn tell(segment: &Segment, bad: &Bad, report: &mut FilesReport) {
    let offset = segment.base + bad.range.start as u64;
    report.add(
        DB,
        Some(offset),
        bad.range.len() as u64,
        bad.what,
        &bad.values,
    );
}
