//! The recorded request bodies under `tests/data` of the workspace.
#![allow(dead_code, reason = "not every test and bench uses every folder")]

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data")
}

/// A file's bytes, unpacked where its name ends in `.gz`.
fn read(path: &Path) -> Vec<u8> {
    let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    if path.extension().is_none_or(|ext| ext != "gz") {
        return bytes;
    }
    let mut unpacked = Vec::new();
    GzDecoder::new(&*bytes)
        .read_to_end(&mut unpacked)
        .expect("gzip");
    unpacked
}

/// The request bodies of a folder in order of arrival, with their names.
pub(crate) fn bodies(folder: &str) -> Vec<(String, Vec<u8>)> {
    let mut paths: Vec<PathBuf> = fs::read_dir(data().join(folder))
        .expect("a folder")
        .map(|entry| entry.expect("readable").path())
        .collect();
    paths.sort();
    let name = |path: &Path| {
        path.file_name()
            .and_then(|name| name.to_str())
            .expect("a name")
            .to_owned()
    };
    let bodies: Vec<_> = paths
        .iter()
        .filter(|path| name(path).starts_with("00"))
        .map(|path| (name(path).trim_end_matches(".gz").to_owned(), read(path)))
        .collect();
    assert!(!bodies.is_empty(), "{folder}");
    bodies
}

/// The request bodies of the blocking run, one event each.
pub(crate) fn blocking_bodies() -> Vec<(String, Vec<u8>)> {
    let all = read(&data().join("blocking/bodies.jsonl.gz"));
    let lines = all
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty());
    lines
        .enumerate()
        .map(|(i, line)| (format!("blocking line {i}"), line.to_vec()))
        .collect()
}
