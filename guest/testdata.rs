//! The recorded traffic in `tests/data`, for the native tests of guests.
//! Taken in with `#[path]`: a test's helper, in no crate.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use auditchain_guest_sdk::testing::split_event_list;

/// The recorded runs, each a stream of its own.
pub(crate) const RUNS: [&str; 4] = ["bodies", "blocking", "truncated", "edge"];

/// The bytes of a file of `tests/data`, unpacked if it is gzipped.
pub(crate) fn read(path: impl AsRef<Path>) -> Vec<u8> {
    let path = root().join(path);
    let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    if path.extension().is_none_or(|extension| extension != "gz") {
        return bytes;
    }
    let mut unpacked = Vec::new();
    flate2::read::GzDecoder::new(bytes.as_slice())
        .read_to_end(&mut unpacked)
        .unwrap();
    unpacked
}

/// The requests of a run in order of arrival, each as its events' bytes.
pub(crate) fn requests(run: &str) -> Vec<Vec<Vec<u8>>> {
    let bodies = if run == "blocking" {
        let lines = read("blocking/bodies.jsonl.gz");
        lines
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(<[u8]>::to_vec)
            .collect()
    } else {
        let mut paths: Vec<PathBuf> = std::fs::read_dir(root().join(run))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.file_name().unwrap().as_encoded_bytes()[0].is_ascii_digit())
            .collect();
        paths.sort();
        paths.into_iter().map(read).collect::<Vec<_>>()
    };
    bodies
        .iter()
        .map(|body| {
            split_event_list(body)
                .into_iter()
                .map(<[u8]>::to_vec)
                .collect()
        })
        .collect()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data")
}
