//! `--status`: what the state directory tells, whether a forwarder runs or not.

use std::fs;
use std::path::Path;

use serde::Serialize;

use super::files::Files;
use super::follow::Lost;
use super::position::{Position, Totals};
use super::rotated::Family;
use super::shared::Status;
use super::state::{StateDir, read_json};
use crate::error::CliError;

/// What is told.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StatusReport {
    source: String,
    /// A process has the directory.
    running: bool,
    /// Bytes of the log files that are not acknowledged yet, of which some are spooled.
    lag_bytes: Option<u64>,
    spool: Heap,
    refused: Heap,
    quarantined: u64,
    lost: u64,
    last_losses: Vec<Lost>,
    totals: Totals,
    position: Position,
    /// As the process said last; none if it never ran.
    process: Option<Status>,
}

/// Files and their bytes.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Heap {
    batches: u64,
    bytes: u64,
}

/// Reads a state directory; nothing is changed or locked.
///
/// # Errors
/// It is none, or is damaged.
pub(crate) fn status(state: &Path, file: Option<&Path>) -> Result<StatusReport, CliError> {
    let position: Position = read_json(&state.join("position"))?.ok_or_else(|| {
        CliError::Usage(format!(
            "{}: no forwarder has run with this state directory",
            state.display()
        ))
    })?;
    let files: Files = read_json(&state.join("files"))?.unwrap_or_default();
    let process: Option<Status> = read_json(&state.join("status"))?;
    let file = file.or(process.as_ref().map(|process| process.file.as_path()));
    Ok(StatusReport {
        source: position.source.clone(),
        running: StateDir::is_locked(state),
        lag_bytes: file.and_then(|file| lag_bytes(file, &position)),
        spool: heap(&state.join("spool"), "")?,
        refused: heap(&state.join("refused"), ".batch")?,
        quarantined: heap(&state.join("quarantine"), ".line")?.batches,
        lost: files.lost_total,
        last_losses: files.lost,
        totals: position.totals,
        position,
        process,
    })
}

impl StatusReport {
    /// For people.
    pub(crate) fn text(&self) -> String {
        let mut lines = vec![
            format!(
                "source {}: {}",
                self.source,
                if self.running {
                    "running"
                } else {
                    "NOT RUNNING"
                }
            ),
            format!(
                "sent: {} batches, {} events, of which {} were in the log already and {} were sealed as invalid",
                self.totals.batches,
                self.totals.events,
                self.totals.duplicates,
                self.totals.rejected
            ),
        ];
        for (key, next) in self.position.sequences() {
            lines.push(format!("key {key}: the next batch is {next}"));
        }
        if let Some(file) = &self.position.cursor.file {
            lines.push(format!(
                "acknowledged: inode {} up to byte {}",
                file.inode, file.offset
            ));
        }
        if let Some(bytes) = self.lag_bytes {
            lines.push(format!("not acknowledged yet: {bytes} bytes of log files"));
        }
        lines.push(format!(
            "spool: {} batches, {} bytes",
            self.spool.batches, self.spool.bytes
        ));
        if let Some(process) = &self.process {
            lines.extend(process_lines(process));
        }
        if self.refused.batches > 0 {
            lines.push(format!(
                "REFUSED for good: {} batches, {} bytes, in refused/",
                self.refused.batches, self.refused.bytes
            ));
        }
        if self.quarantined > 0 {
            lines.push(format!(
                "NOT SENT: {} lines that are no events, in quarantine/",
                self.quarantined
            ));
        }
        if self.lost > 0 {
            lines.push(format!("LOST: {} times; the last ones:", self.lost));
            lines.extend(self.last_losses.iter().map(|lost| {
                format!(
                    "  {} {} (inode {}, from byte {}, {} bytes known of)",
                    lost.time, lost.what, lost.inode, lost.offset, lost.bytes
                )
            }));
        }
        lines.join("\n") + "\n"
    }
}

fn process_lines(process: &Status) -> Vec<String> {
    let breaker = serde_json::to_value(process.breaker);
    let breaker = breaker.ok();
    let breaker = breaker.as_ref().and_then(|name| name.as_str());
    let mut lines = vec![format!(
        "breaker: {}, {} failures in a row",
        breaker.unwrap_or_default(),
        process.failures
    )];
    lines.extend(
        process
            .last_error
            .iter()
            .map(|error| format!("last error: {error}")),
    );
    lines.extend(
        process
            .last_acknowledged
            .iter()
            .map(|time| format!("last acknowledged: {time}")),
    );
    if process.stalled {
        lines.push("READING HAS STOPPED: the spool is full".into());
    }
    lines
}

/// None: the log's directory can't be read from here.
fn lag_bytes(file: &Path, position: &Position) -> Option<u64> {
    let mut done = position.cursor.finished.clone();
    done.extend(position.cursor.file.clone());
    let all = Family::new(file).ok()?.candidates().ok()?;
    let unread = all.into_iter().filter_map(|file| file.unread(&done));
    Some(unread.map(|file| file.size - file.offset).sum())
}

fn heap(dir: &Path, suffix: &str) -> Result<Heap, CliError> {
    let mut heap = Heap::default();
    let reading = |error| CliError::reading(dir)(error);
    for entry in fs::read_dir(dir).map_err(reading)? {
        let entry = entry.map_err(reading)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.ends_with(suffix) || name.ends_with(".new") {
            continue;
        }
        // Sent and removed meanwhile.
        let Ok(metadata) = entry.metadata() else {
            continue;
        };
        heap.batches += 1;
        heap.bytes += metadata.len();
    }
    Ok(heap)
}
