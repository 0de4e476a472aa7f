//! `auditchain verify URL|DIR`

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use auditchain_log::MAX_NOTE_BYTES;
use auditchain_store::check_files;

use super::{print, print_json};
use crate::args::{OutputFormat, VerifyArgs};
use crate::audit::{AuditOptions, Finding, Report, audit};
use crate::error::{CliError, EXIT_FAILED, EXIT_HOLDS};
use crate::output::{Progress, Style, printable};
use crate::source::{DirLog, SourceError, open_source};
use crate::trust::{parse_keys, read_policy};

pub(super) fn run(args: &VerifyArgs, output: OutputFormat) -> Result<u8, CliError> {
    let keys = parse_keys(&args.keys)?;
    let since = args.since.as_deref().map(|path| {
        let mut note = Vec::new();
        let file = File::open(path).map_err(CliError::reading(path))?;
        // A byte more than a note may have, so that a longer one is no note.
        file.take(MAX_NOTE_BYTES as u64 + 1)
            .read_to_end(&mut note)
            .map_err(CliError::reading(path))?;
        Ok::<_, CliError>(note)
    });
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let workers = args.workers.map_or(cores, usize::from);
    let options = AuditOptions {
        keys,
        since: since.transpose()?,
        witness_policy: read_policy(args.witness_policy.as_deref())?,
        bodies_may_be_missing: args.bodies_may_be_missing,
        re_execute: args.re_execute,
        workers,
    };
    let progress = Mutex::new(Progress::new("verified"));
    let dir = Path::new(&args.target);
    let report = if !args.target.contains("://") && dir.is_dir() {
        audit_dir(dir, &args.target, &options, &progress)?
    } else {
        let source = open_source(&args.target, &args.connect)?;
        audit(&*source, &options, |done, of| tell(&progress, done, of))?
    };
    drop(progress);
    match output {
        OutputFormat::Json => print_json(&report)?,
        OutputFormat::Text => print(&text(&report, Style::of_stdout()))?,
    }
    Ok(if report.holds {
        EXIT_HOLDS
    } else {
        EXIT_FAILED
    })
}

/// Verifies the log and, at the same time, the files that it lies in.
fn audit_dir(
    dir: &Path,
    target: &str,
    options: &AuditOptions,
    progress: &Mutex<Progress>,
) -> Result<Report, CliError> {
    let (report, files) = thread::scope(|scope| {
        let bytes = |done, of| lock(progress).tell_bytes(done, of);
        let files = scope.spawn(move || check_files(dir, options.workers, &bytes));
        let report = match DirLog::open(dir) {
            Ok(log) => audit(&log, options, |done, of| tell(progress, done, of)),
            Err(SourceError::Damaged { what, reason, .. }) => {
                Ok(Report::unreadable(target, format!("{what}: {reason}")))
            }
            Err(error) => Err(error),
        };
        (report, files.join())
    });
    let mut report = report?;
    let files =
        files.map_err(|_| CliError::Io(io::Error::other("the check of the files panicked")))?;
    let files = files.map_err(|error| SourceError::Unavailable(error.to_string()))?;
    report.take_files(dir, &files);
    Ok(report)
}

fn tell(progress: &Mutex<Progress>, done: u64, of: u64) {
    lock(progress).tell(done, Some(of));
}

fn lock(progress: &Mutex<Progress>) -> MutexGuard<'_, Progress> {
    progress.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The report for people.
fn text(report: &Report, style: Style) -> String {
    let mut out = String::new();
    // Writing into a String can't fail.
    let _ = write_text(&mut out, report, style);
    out
}

fn write_text(out: &mut String, report: &Report, style: Style) -> std::fmt::Result {
    let origin = report.origin.as_deref().unwrap_or("a log without a name");
    let verdict = if report.holds {
        style.good("HOLDS")
    } else {
        style.bad("FAILED")
    };
    writeln!(
        out,
        "{verdict}  {} at {}: {} entries in {} blocks",
        printable(origin),
        printable(&report.target),
        report.entries,
        report.blocks
    )?;
    if let (Some(first), Some(last)) = (report.first_time, report.last_time) {
        writeln!(out, "       from {first} to {last}")?;
    }
    if !report.findings.is_empty() {
        writeln!(
            out,
            "\n{}",
            style.bad(&format!("What is wrong ({}):", report.findings.total))
        )?;
        for finding in &report.findings.kept {
            writeln!(
                out,
                "  {}: [{}] {}",
                printable(&place(finding)),
                finding.rule.name(),
                printable(&finding.detail)
            )?;
        }
        let more = report.findings.total - report.findings.kept.len() as u64;
        if more > 0 {
            writeln!(out, "  and {more} more")?;
        }
    }
    if !report.holds && report.log_holds == Some(true) {
        writeln!(
            out,
            "\nThe log itself holds: every entry, body, tile and value was read and verified. What is wrong lies in space that it doesn't use, in what sled makes again by itself, or beside it."
        )?;
    }
    write_counts(out, report, style)?;
    writeln!(out, "\n{}", style.head("Checked:"))?;
    for line in &report.checked {
        writeln!(out, "  {line}")?;
    }
    writeln!(out, "\n{}", style.head("Not checked:"))?;
    for line in &report.not_checked {
        writeln!(out, "  {}", style.warn(line))?;
    }
    if let Some(checkpoint) = report.checkpoint.as_ref().filter(|_| report.holds) {
        writeln!(out, "\n{}\n", style.head("The verified checkpoint:"))?;
        write!(out, "{}", printable(&checkpoint.note))?;
    }
    Ok(())
}

fn write_counts(out: &mut String, report: &Report, style: Style) -> std::fmt::Result {
    writeln!(out, "\n{}", style.head("Entries by kind:"))?;
    for (kind, count) in &report.kinds {
        writeln!(out, "  {kind:<10} {count:>12}")?;
    }
    if !report.sources.is_empty() {
        writeln!(out, "\n{}", style.head("Events by source:"))?;
        for (source, count) in &report.sources {
            write!(
                out,
                "  {:<20} {:>10} events, {} valid, {} invalid",
                printable(source),
                count.events,
                count.valid,
                count.invalid
            )?;
            if count.undecodable > 0 {
                write!(out, ", {} kept as raw bytes", count.undecodable)?;
            }
            if count.rejections > 0 {
                write!(out, "; {} refused requests", count.rejections)?;
            }
            writeln!(out)?;
        }
    }
    if !report.policies.is_empty() {
        writeln!(
            out,
            "\n{}",
            style.head("What the policies had said, by rule:")
        )?;
        for (rule, count) in &report.policies {
            let severity = format!("{:?}", count.severity).to_lowercase();
            writeln!(
                out,
                "  {:<40} {:>10} {severity}",
                printable(rule),
                count.count
            )?;
        }
    }
    Ok(())
}

fn place(finding: &Finding) -> String {
    let mut place = match (finding.index, finding.last_index) {
        (None, _) if finding.file.is_some() => String::new(),
        (None, _) => "the log".to_string(),
        (Some(index), None) => format!("entry {index}"),
        (Some(index), Some(last)) => format!("entries {index} to {last}"),
    };
    if let Some(block) = finding.block {
        // Writing into a String can't fail.
        let _ = write!(place, " (block {block})");
    }
    if let Some(file) = &finding.file {
        let between = if place.is_empty() { "" } else { ", " };
        place = match finding.offset {
            Some(offset) => format!("{file} at byte {offset}{between}{place}"),
            None => format!("{file}{between}{place}"),
        };
    }
    place
}
