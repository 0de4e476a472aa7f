//! What no log of this kind can beat: the same bodies split, hashed twice, appended to
//! a plain file, and synced once a request. No verdicts, no proofs, no compression.

use std::fs::File;
use std::hint::black_box;
use std::io::Write as _;
use std::path::Path;
use std::time::Instant;

use auditchain_log::json::split_event_list;
use auditchain_log::sha256;
use serde::Serialize;

use super::Template;
use crate::error::CliError;

/// What the baseline did.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Baseline {
    pub(crate) events: u64,
    pub(crate) seconds: f64,
    pub(crate) events_per_second: f64,
}

/// Writes at least `events` events to a file in `dir`, on one thread.
///
/// # Errors
/// The file can't be written.
pub(crate) fn baseline(
    templates: &[Template],
    events: u64,
    dir: &Path,
) -> Result<Baseline, CliError> {
    let writing = || CliError::writing(dir);
    let mut file = tempfile::tempfile_in(dir).map_err(writing())?;
    let mut templates = templates.to_vec();
    let (mut done, mut round) = (0, 0);
    let started = Instant::now();
    while done < events {
        for template in &mut templates {
            write(&mut file, template.at(round, 0)).map_err(writing())?;
            done += template.events() as u64;
        }
        round += 1;
    }
    let seconds = started.elapsed().as_secs_f64();
    Ok(Baseline {
        events: done,
        seconds,
        events_per_second: done as f64 / seconds,
    })
}

fn write(file: &mut File, body: &[u8]) -> std::io::Result<()> {
    // Every template was an EventList, and still is.
    for item in split_event_list(body)
        .map(|list| list.items)
        .unwrap_or_default()
    {
        black_box(sha256(&[item]));
        black_box(sha256(&[&[0], item]));
        file.write_all(item)?;
    }
    file.sync_data()
}
