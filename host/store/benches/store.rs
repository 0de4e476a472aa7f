//! Durable events a second, over recorded events in blocks of 400: the store against
//! the least that durability can cost, an append of the same chunks to a plain file
//! with one `fdatasync` a block. And the bytes that an event takes on the disk, against
//! the same events as JSON lines. Prints a table; `cargo bench -p auditchain-store`.

#![allow(clippy::unwrap_used, reason = "a measurement stops at the first error")]

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use auditchain_log::json::{EventView, canonical_event};
use auditchain_log::{
    ChainHash, EventRecord, Payload, SealRecord, TileId, Timestamp, TreeEdge, Verdict, leaf_hash,
};
use auditchain_store::{
    BlockWrite, Chunker, EncodedChunk, EventParts, Head, HeadFile, SledStore, Store, compact,
    encode_chunks,
};
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};

const BLOCK: usize = 400;
const BLOCKS: usize = 300;
/// Of the duplicate index.
const RUN_BLOCKS: usize = 41;

fn main() {
    let events = recorded_events();
    let lines = events.iter().fold(Vec::new(), |mut lines, event| {
        lines.extend(event);
        lines.push(b'\n');
        lines
    });
    let mean = lines.len() / events.len();
    println!(
        "{} recorded events, mean {mean} bytes; {BLOCKS} blocks of {BLOCK}",
        events.len()
    );
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    gzip.write_all(&lines).unwrap();
    let gzip = gzip.finish().unwrap().len() / events.len();
    let zstd = zstd::bulk::compress(&lines, 19).unwrap().len() / events.len();
    println!("bytes an event, whole file: raw {mean}, gzip -9 {gzip}, zstd -19 {zstd}");

    let dir = tempfile::tempdir_in(target_dir()).unwrap();
    for round in 0..2 {
        let plain = plain_file(&dir.path().join(format!("plain{round}")), &events, true);
        let _ = plain_file(&dir.path().join(format!("unsynced{round}")), &events, false);
        let sled = sled_store(&dir.path().join(format!("sled{round}")), &events, false);
        let _ = sled_store(&dir.path().join(format!("guarded{round}")), &events, true);
        println!(
            "store / plain file: {:.2}",
            plain.as_secs_f64() / sled.as_secs_f64()
        );
    }
    let store = dir.path().join("sled0");
    compact(&store).unwrap();
    println!(
        "after a compaction {} bytes an event",
        disk_bytes(&store.join("store")) / (BLOCKS * BLOCK) as u64
    );
}

/// The chunks of the recorded events, compressed as the store has them.
fn chunks(
    number: usize,
    events: &[Vec<u8>],
    edge: &mut TreeEdge,
    chain: &mut ChainHash,
    tiles: &mut Vec<(TileId, Vec<u8>)>,
) -> Vec<EncodedChunk> {
    let time = Timestamp::from_micros(1_795_242_662_800_164 + number as i64);
    let random: [u8; 32] = Sha256::digest(number.to_be_bytes()).into();
    let mut chunker = Chunker::new(edge.size().0, number as u64, time, *chain, random);
    let verdict = Verdict {
        findings: vec![],
        valid: true,
    };
    let seal = Payload::Seal {
        seal: SealRecord {
            note: String::from_utf8(noise_hex(number, 250)).unwrap(),
        },
        verdict: verdict.clone(),
    };
    edge.push(leaf_hash(&chunker.push(seal).unwrap()), tiles);
    for at in 0..BLOCK {
        let body = &events[(number * BLOCK + at) % events.len()];
        let parts = EventParts {
            source: "apiserver",
            undecodable: None,
            verdict: &verdict,
            record: &EventRecord::from_view(&EventView::read(body)),
        };
        edge.push(leaf_hash(&chunker.push_event(parts, body).unwrap()), tiles);
    }
    *chain = chunker.chain();
    encode_chunks(&chunker.finish())
}

/// The same chunks appended to a file.
fn plain_file(path: &Path, events: &[Vec<u8>], sync: bool) -> Duration {
    let mut file = File::create(path).unwrap();
    let (mut edge, mut chain) = (TreeEdge::default(), ChainHash::genesis("bench"));
    let mut bytes = 0;
    let times = timed(|number| {
        for chunk in chunks(number, events, &mut edge, &mut chain, &mut vec![]) {
            bytes += chunk.stored_bytes() as u64;
            file.write_all(&vec![b'x'; chunk.stored_bytes()]).unwrap();
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
    report(name, &times, bytes)
}

fn sled_store(dir: &Path, events: &[Vec<u8>], guard: bool) -> Duration {
    let store = SledStore::open(dir).unwrap();
    let mut head_file = HeadFile::new(dir);
    let (epoch, _) = store.acquire().unwrap();
    let (mut edge, mut chain) = (TreeEdge::default(), ChainHash::genesis("bench"));
    let times = timed(|number| {
        let size = edge.size().0;
        let mut tiles = Vec::new();
        let chunks = chunks(number, events, &mut edge, &mut chain, &mut tiles);
        let head = Head {
            size: edge.size().0,
            blocks: number as u64 + 1,
            time_us: 0,
            root: edge.root(),
            chain: chain.hash(),
            note: noise_hex(number, 250),
            state: vec![0; 200],
        };
        // Six bytes an event, that no compressor shrinks.
        let run = (number % RUN_BLOCKS == RUN_BLOCKS - 1).then(|| {
            (
                format!("dedup/{number:08x}"),
                noise(number, RUN_BLOCKS * BLOCK * 6),
            )
        });
        let blobs: Vec<(&str, &[u8])> = run.iter().map(|(n, b)| (n.as_str(), &b[..])).collect();
        let write = BlockWrite {
            head: &head,
            chunks: &chunks,
            erase: &[],
            tiles: &tiles,
            blobs: &blobs,
        };
        store.append(epoch, size, &write).unwrap();
        if guard {
            head_file.write(&[b'n'; 500]).unwrap();
        }
    });
    report(
        if guard {
            "store and checkpoint file"
        } else {
            "store"
        },
        &times,
        disk_bytes(&dir.join("store")),
    )
}

/// What the files take of the disk.
fn disk_bytes(dir: &Path) -> u64 {
    let files = fs::read_dir(dir).unwrap();
    files
        .map(|file| file.unwrap().metadata().unwrap())
        .filter(fs::Metadata::is_file)
        .map(|file| file.blocks() * 512)
        .sum()
}

fn timed(mut append: impl FnMut(usize)) -> Vec<Duration> {
    let mut times = Vec::with_capacity(BLOCKS);
    for number in 0..BLOCKS {
        let begin = Instant::now();
        append(number);
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
            let mut body = Vec::new();
            if canonical_event(event.to_string().as_bytes(), &mut body).is_ok() {
                events.push(body);
            }
        }
    }
    events
}

/// On the disk of the build, not on a tmpfs that makes every sync free.
fn target_dir() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
}

fn noise(seed: usize, bytes: usize) -> Vec<u8> {
    let blocks = (0..bytes.div_ceil(32))
        .flat_map(|at| Sha256::digest([seed.to_be_bytes(), at.to_be_bytes()].concat()));
    blocks.take(bytes).collect()
}

fn noise_hex(seed: usize, bytes: usize) -> Vec<u8> {
    let digits = noise(seed, bytes).into_iter();
    digits
        .flat_map(|byte| format!("{byte:02x}").into_bytes())
        .collect()
}
