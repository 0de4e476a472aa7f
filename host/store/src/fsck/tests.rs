//! Which flipped bits of the newest segment can't be told from a write that was broken
//! off: those in the header of a record of the last batch, behind its checksum.

use std::fs;
use std::path::Path;

use sled::Batch;

use super::format::{Record, SEGMENT_HEADER_BYTES, whole_record};
use super::segment::{Rest, Segment, Start, examine};
use super::snapshot::Snapshot;
use super::{database, newest_snapshot};
use crate::engine::{Engine, SEGMENT_BYTES, put};
use crate::fsck::FilesReport;

/// Bytes of a record's header that are its checksum.
const SUM_BYTES: usize = 4;

struct Read {
    db: Vec<u8>,
    segments: Vec<Segment>,
    snapshot: Option<Snapshot>,
}

impl Read {
    fn of(store: &Path) -> Self {
        let db = fs::read(store.join("db")).unwrap();
        let segments = (0..db.len())
            .step_by(SEGMENT_BYTES)
            .map(|base| examine(base as u64, &db[base..(base + SEGMENT_BYTES).min(db.len())]))
            .collect();
        let names: Vec<_> = fs::read_dir(store)
            .unwrap()
            .map(|file| file.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.starts_with("snap."))
            .collect();
        let snapshot = newest_snapshot(store, &names, &mut FilesReport::default()).unwrap();
        Self {
            db,
            segments,
            snapshot,
        }
    }

    fn judge(&self) -> FilesReport {
        let mut report = FilesReport::default();
        database::judge(&self.segments, self.snapshot.as_ref(), &mut report);
        report
    }

    /// Which is the newest, and its number.
    fn newest(&self) -> (usize, u64) {
        let lsn = |segment: &Segment| match segment.start {
            Start::Header(header) => Some(header.lsn),
            Start::Cleared | Start::Damaged => None,
        };
        let of = |at: usize| lsn(&self.segments[at]);
        let at = (0..self.segments.len()).max_by_key(|at| of(*at)).unwrap();
        (at, of(at).unwrap() / SEGMENT_BYTES as u64)
    }
}

fn write(engine: &Engine, round: usize, bytes: usize) {
    let mut batch = Batch::default();
    for key in 0..3_usize {
        let seed = round * 31 + key;
        let value: Vec<u8> = (0..bytes)
            .map(|at| u8::try_from((at * at + at / 7 + seed) % 251).unwrap())
            .collect();
        put(&mut batch, format!("key {key}").as_bytes(), &value);
    }
    engine.commit(batch).unwrap();
}

/// As a store is found: never reopened, reopened, with a segment begun anew in used room.
fn states() -> Vec<(&'static str, Read)> {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::open(dir.path()).unwrap();
    (0..20).for_each(|round| write(&engine, round, 900));
    let mut states = vec![("fresh", Read::of(dir.path()))];
    drop(engine);
    let engine = Engine::open(dir.path()).unwrap();
    states.push(("just reopened", Read::of(dir.path())));
    (0..20).for_each(|round| write(&engine, round, 900));
    states.push(("reopened", Read::of(dir.path())));
    for round in 0..2000 {
        write(&engine, round, 30_000);
        if round % 20 < 19 {
            continue;
        }
        let read = Read::of(dir.path());
        let (newest, _) = read.newest();
        if matches!(read.segments[newest].rest, Rest::Older { .. }) {
            states.push(("reused", read));
            return states;
        }
    }
    panic!("no segment was ever begun anew");
}

/// The records of a segment: where each begins, and its header.
fn records(data: &[u8], number: u64) -> Vec<(usize, Record)> {
    let mut at = SEGMENT_HEADER_BYTES;
    let mut all = Vec::new();
    while let Some(record) = data.get(at..).and_then(whole_record) {
        if record.segment != number {
            break;
        }
        all.push((at, record));
        at += record.bytes();
    }
    all
}

#[test]
fn a_flipped_bit_is_found_or_in_the_header_of_a_record_of_the_last_batch() {
    let mut random = 0x5eed_0002_usize;
    for (state, mut read) in states() {
        let healthy = read.judge();
        assert!(healthy.damage.is_empty(), "{state}: {healthy:#?}");
        let (newest, number) = read.newest();
        let base = newest * SEGMENT_BYTES;
        let end = (base + SEGMENT_BYTES).min(read.db.len());
        let mut data = read.db[base..end].to_vec();
        let records = records(&data, number);
        let last_batch = records.iter().rposition(|(_, record)| record.is_batch());
        let last_batch = last_batch.unwrap_or(0);
        let mut bits: Vec<(usize, u8)> = (0..SEGMENT_HEADER_BYTES).map(|at| (at, 1)).collect();
        for (at, record) in records.iter().rev().take(12) {
            let header = *at..at + record.header_bytes;
            bits.extend(header.flat_map(|at| (0..8).map(move |bit| (at, 1 << bit))));
            bits.extend([(at + record.bytes() - 1, 1), (at + record.bytes() / 2, 128)]);
        }
        let used = records.last().map_or(0, |(at, record)| at + record.bytes());
        bits.extend((0..100).map(|_| {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            ((random >> 20) % used, 4)
        }));
        for (at, bit) in bits {
            data[at] ^= bit;
            read.segments[newest] = examine(base as u64, &data);
            data[at] ^= bit;
            let report = read.judge();
            let place = (base + at) as u64;
            let in_it = |from: u64, bytes: u64| (from..from + bytes.max(1)).contains(&place);
            let found = report
                .damage
                .iter()
                .any(|damage| in_it(damage.offset.unwrap(), damage.bytes));
            if found {
                continue;
            }
            let in_header = records[last_batch..]
                .iter()
                .any(|(from, record)| (from + SUM_BYTES..from + record.header_bytes).contains(&at));
            let mut said = report.unknown.iter().chain(&report.torn);
            let said = said.any(|(from, bytes)| in_it(*from, *bytes));
            assert!(
                in_header && said,
                "{state}: bit {bit} of byte {at}, records end at {used}: {report:#?}"
            );
        }
        read.segments[newest] = examine(base as u64, &data);
        assert!(read.judge().damage.is_empty());
    }
}
