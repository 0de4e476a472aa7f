//! Durable events a second, over recorded events in blocks of 400: the store against
//! the least that durability can cost, an append of the same chunks to a plain file
//! with one `fdatasync` a block. Prints a table; `cargo bench -p auditchain-store`.

#![allow(clippy::unwrap_used, reason = "a measurement stops at the first error")]

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use auditchain_log::{Hash, TileId};
use auditchain_store::{BlockWrite, Body, Head, HeadFile, SledStore, Store};
use flate2::read::GzDecoder;
use sha2::{Digest, Sha256};

const BLOCK: usize = 400;
const BLOCKS: usize = 300;
const CHUNK: usize = 64;

struct Input {
    entries: Vec<Vec<u8>>,
    bodies: Vec<([u8; 32], Vec<u8>)>,
}

fn main() {
    let events = recorded_events();
    let mean = events.iter().map(Vec::len).sum::<usize>() / events.len();
    println!(
        "{} recorded events, mean {mean} bytes; {BLOCKS} blocks of {BLOCK}",
        events.len()
    );
    let blocks: Vec<Input> = (0..BLOCKS).map(|block| input(&events, block)).collect();

    let dir = tempfile::tempdir_in(target_dir()).unwrap();
    for round in 0..2 {
        let plain = plain_file(&dir.path().join(format!("plain{round}")), &blocks, true);
        let _ = plain_file(&dir.path().join(format!("unsynced{round}")), &blocks, false);
        let sled = sled_store(&dir.path().join(format!("sled{round}")), &blocks, false);
        let _ = sled_store(&dir.path().join(format!("guarded{round}")), &blocks, true);
        println!(
            "store / plain file: {:.2}",
            plain.as_secs_f64() / sled.as_secs_f64()
        );
    }
}

/// The same chunks, compressed the same way, appended to a file.
fn plain_file(path: &Path, blocks: &[Input], sync: bool) -> Duration {
    let mut file = File::create(path).unwrap();
    let mut zstd = zstd::bulk::Compressor::new(3).unwrap();
    let times = timed(blocks, |_, block| {
        for (entries, bodies) in block.entries.chunks(CHUNK).zip(block.bodies.chunks(CHUNK)) {
            file.write_all(&zstd.compress(&entries.concat()).unwrap())
                .unwrap();
            let salts: Vec<u8> = bodies.iter().flat_map(|(salt, _)| *salt).collect();
            file.write_all(&salts).unwrap();
            let bodies: Vec<&[u8]> = bodies.iter().map(|(_, body)| &body[..]).collect();
            file.write_all(&zstd.compress(&bodies.concat()).unwrap())
                .unwrap();
        }
        if sync {
            file.sync_data().unwrap();
        }
    });
    let name = if sync {
        "plain file"
    } else {
        "plain file, no sync"
    };
    report(name, &times, file.metadata().unwrap().len())
}

fn sled_store(dir: &Path, blocks: &[Input], guard: bool) -> Duration {
    let store = SledStore::open(dir).unwrap();
    let mut head_file = HeadFile::new(dir);
    let (epoch, _) = store.acquire().unwrap();
    let times = timed(blocks, |number, block| {
        let size = (number * BLOCK) as u64;
        let head = Head {
            size: size + BLOCK as u64,
            blocks: number as u64 + 1,
            time_us: 0,
            root: Hash([0; 32]),
            chain: Hash([0; 32]),
            note: vec![0; 500],
            state: vec![0; 200],
        };
        let entries: Vec<&[u8]> = block.entries.iter().map(Vec::as_slice).collect();
        let bodies: Vec<_> = block
            .bodies
            .iter()
            .map(|(salt, bytes)| Some(Body { salt: *salt, bytes }))
            .collect();
        let tiles: Vec<_> = (size / 256..head.size / 256)
            .map(|index| (TileId { level: 0, index }, noise(index, 8192)))
            .collect();
        let write = BlockWrite {
            head: &head,
            entries: &entries,
            bodies: &bodies,
            tiles: &tiles,
            blobs: &[],
        };
        store.append(epoch, size, &write).unwrap();
        if guard {
            head_file.write(&[b'n'; 500]).unwrap();
        }
    });
    let bytes = fs::metadata(dir.join("store/db")).unwrap().len();
    report(
        if guard {
            "store and checkpoint file"
        } else {
            "store"
        },
        &times,
        bytes,
    )
}

fn timed(blocks: &[Input], mut append: impl FnMut(usize, &Input)) -> Vec<Duration> {
    let mut times = Vec::with_capacity(blocks.len());
    for (number, block) in blocks.iter().enumerate() {
        let begin = Instant::now();
        append(number, block);
        times.push(begin.elapsed());
    }
    times
}

fn report(name: &str, times: &[Duration], bytes: u64) -> Duration {
    let total: Duration = times.iter().sum();
    let mut sorted = times.to_vec();
    sorted.sort();
    let events = times.len() * BLOCK;
    println!(
        "{name:26} {:8.0} events/s  block median {:6.2?} p99 {:6.2?}  {:4} bytes an event",
        events as f64 / total.as_secs_f64(),
        sorted[sorted.len() / 2],
        sorted[sorted.len() * 99 / 100],
        bytes / events as u64,
    );
    total
}

/// Entries as the service makes them: hashes that don't compress, the rest does.
fn input(events: &[Vec<u8>], block: usize) -> Input {
    let bodies: Vec<_> = (0..BLOCK)
        .map(|at| {
            let event = (block * BLOCK + at) % events.len();
            let salt: [u8; 32] = Sha256::digest((block * BLOCK + at).to_be_bytes()).into();
            (salt, events[event].clone())
        })
        .collect();
    let entries = (0..BLOCK)
        .map(|at| {
            let hash = |n: u8| hex(&Sha256::digest([&bodies[at].0[..], &[n]].concat()));
            format!(
                "{{\"block\":{block},\"body\":{{\"hash\":\"{}\",\"size\":{}}},\"event\":{{\"auditID\":\"{}\",\"code\":200,\"level\":\"Metadata\",\"namespace\":\"default\",\"resource\":\"/pods\",\"stage\":\"ResponseComplete\",\"stageTimestamp\":\"2026-11-21T08:{:02}:{:02}.{:06}Z\",\"verb\":\"get\"}},\"kind\":\"event\",\"prev\":\"{}\",\"source\":\"apiserver\",\"time\":\"2026-11-21T08:{:02}:{:02}.000000Z\",\"v\":1}}",
                hash(0), bodies[at].1.len(), &hash(1)[..36], block % 60, at % 60, at * 2311 % 1_000_000, hash(2), block % 60, block % 60,
            )
            .into_bytes()
        })
        .collect();
    Input { entries, bodies }
}

fn recorded_events() -> Vec<Vec<u8>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/bodies");
    let mut paths: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    paths.sort();
    let mut events = Vec::new();
    for path in paths {
        let mut bytes = fs::read(&path).unwrap();
        if path.extension().is_some_and(|extension| extension == "gz") {
            let mut plain = Vec::new();
            GzDecoder::new(&bytes[..]).read_to_end(&mut plain).unwrap();
            bytes = plain;
        }
        let list: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        for event in list["items"].as_array().into_iter().flatten() {
            events.push(event.to_string().into_bytes());
        }
    }
    events
}

/// On the disk of the build, not on a tmpfs that makes every sync free.
fn target_dir() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
}

fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    (0..bytes as u64 / 32)
        .flat_map(|at| Sha256::digest([seed.to_be_bytes(), at.to_be_bytes()].concat()))
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
