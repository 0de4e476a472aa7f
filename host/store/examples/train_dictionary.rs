//! Trains the dictionary of chunks on recorded traffic: EventLists, or audit log files,
//! one JSON a line, gzipped if their name ends so. How `dictionary/1.zdict` was made:
//!
//! ```text
//! cargo run -p auditchain-store --example train_dictionary -- host/store/dictionary/1.zdict \
//!     tests/data/blocking/bodies.jsonl.gz tests/data/truncated/0*.json.gz
//! ```
//! Only on traffic that may be public: fragments of it stay in the dictionary.
#![allow(clippy::unwrap_used, reason = "a tool that stops at the first error")]

use std::fs::{self, File};
use std::io::Read;

use auditchain_log::json::canonical_event;
use flate2::read::GzDecoder;

/// What zstd recommends as a rule of thumb; a larger one saved nothing.
const DICTIONARY_BYTES: usize = 110 << 10;
/// A few huge events must not fill it.
const SAMPLE_BYTES_MAX: usize = 20_000;

fn main() {
    let mut args = std::env::args().skip(1);
    let output = args.next().expect("OUTPUT FILE...");
    let (mut samples, mut sizes) = (Vec::new(), Vec::new());
    for path in args {
        let mut text = String::new();
        let file = File::open(&path).unwrap();
        if path.ends_with(".gz") {
            GzDecoder::new(file).read_to_string(&mut text).unwrap();
        } else {
            { file }.read_to_string(&mut text).unwrap();
        }
        for line in text.lines().filter(|line| !line.is_empty()) {
            let mut list: serde_json::Value = serde_json::from_str(line).unwrap();
            let events = match list.get_mut("items").map(serde_json::Value::take) {
                Some(serde_json::Value::Array(events)) => events,
                _ => vec![list],
            };
            for event in events {
                // Bodies, as they lie one behind the other in a chunk.
                let start = samples.len();
                if canonical_event(event.to_string().as_bytes(), &mut samples).is_ok() {
                    samples.truncate(samples.len().min(start + SAMPLE_BYTES_MAX));
                    sizes.push(samples.len() - start);
                }
            }
        }
    }
    let dictionary = zstd::dict::from_continuous(&samples, &sizes, DICTIONARY_BYTES).unwrap();
    println!(
        "{} events, {} bytes: a dictionary of {} bytes",
        sizes.len(),
        samples.len(),
        dictionary.len()
    );
    fs::write(output, dictionary).unwrap();
}
