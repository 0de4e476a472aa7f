//! Logs written into a real store.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use auditchain_log::{ChainHash, Checkpoint, Entry, TileId, TreeEdge, leaf_hash, sign_note};
use auditchain_store::{
    BlockWrite, Body, Chunker, Head, HeadFile, SledStore, Store as _, encode_chunks,
};

use super::{MemoryLog, ORIGIN, keys};

/// What the service keeps and no entry names.
pub const UNNAMED: [(&str, &[u8]); 2] = [("dedup/000001", b"a run"), ("tag-key", b"a key")];

/// Writes a log into a store, block by block.
pub fn write(dir: &Path, log: &MemoryLog) {
    let store = SledStore::open(dir).unwrap();
    let (epoch, _) = store.acquire().unwrap();
    let mut edge = TreeEdge::default();
    let mut chain = ChainHash::genesis(ORIGIN);
    let entries: Vec<Entry> = log
        .entries
        .iter()
        .map(|bytes| Entry::parse(bytes).unwrap())
        .collect();
    let mut first = 0;
    while first < entries.len() {
        let block = entries[first].block;
        let end = entries
            .iter()
            .position(|entry| entry.block > block)
            .unwrap_or(entries.len());
        let mut tiles: Vec<(TileId, Vec<u8>)> = vec![];
        let before = chain;
        for bytes in &log.entries[first..end] {
            chain = chain.next(bytes);
            edge.push(leaf_hash(bytes), &mut tiles);
        }
        let note = if end == entries.len() {
            log.note.clone().unwrap()
        } else {
            let checkpoint = Checkpoint {
                origin: ORIGIN.into(),
                size: edge.size(),
                root: edge.root(),
            };
            sign_note(&checkpoint.to_text(), &keys()).into_bytes()
        };
        let head = Head {
            size: end as u64,
            blocks: block + 1,
            time_us: entries[first].time.as_micros(),
            root: edge.root(),
            chain: chain.hash(),
            note,
            state: b"{}".to_vec(),
        };
        let names: Vec<String> = log
            .blobs
            .keys()
            .map(|digest| format!("sha256/{digest}"))
            .collect();
        let mut blobs: Vec<(&str, &[u8])> = names
            .iter()
            .map(String::as_str)
            .zip(log.blobs.values().map(Vec::as_slice))
            .collect();
        blobs.extend(UNNAMED);
        let time = entries[first].time;
        let mut chunker = Chunker::new(first as u64, block, time, before, [0; 32]);
        for (entry, body) in log.entries[first..end].iter().zip(&log.bodies[first..end]) {
            let body = body
                .as_ref()
                .map(|(salt, bytes)| Body { salt: *salt, bytes });
            chunker.push_bytes(entry, body).unwrap();
        }
        assert_eq!(chunker.chain(), chain);
        let chunks = encode_chunks(&chunker.finish());
        let blobs = if block == 0 { &blobs[..] } else { &[] };
        let write = BlockWrite {
            head: &head,
            chunks: &chunks,
            erase: &[],
            tiles: &tiles,
            blobs,
        };
        store.append(epoch, first as u64, &write).unwrap();
        first = end;
    }
    HeadFile::new(dir)
        .write(log.note.as_deref().unwrap())
        .unwrap();
}

pub fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    for file in fs::read_dir(dir).unwrap() {
        let path = file.unwrap().path();
        if path.is_dir() {
            all.extend(files(&path));
        } else {
            all.insert(path.clone(), fs::read(path).unwrap());
        }
    }
    all
}
