//! `auditchain repair DIR`: verify, decide, make anew beside, verify that, swap.
//!
//! Whatever is damaged in the log itself is refused. The file `checkpoint` is made anew
//! only where it can't be read or nobody of this log has signed it: one that is signed and
//! says other things than the store is evidence of a rollback.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::SystemTime;

use auditchain_log::{Checkpoint, Note, Timestamp, VerifierKey};
use auditchain_store::{FilesReport, HeadFile, Repair, check_files};
use serde_json::json;

use super::{print, print_json};
use crate::args::{OutputFormat, RepairArgs};
use crate::audit::{AuditOptions, Report, Rule, audit};
use crate::error::{CliError, EXIT_HOLDS};
use crate::output::{Progress, printable};
use crate::source::{DirLog, LogSource as _, SourceError, from_store};
use crate::trust::parse_keys;

const RESTORE: &str = "nothing was changed: restore the directory from a backup or a mirror, a repair makes only derived data anew";

/// What a repair would do.
#[derive(Default)]
struct Plan {
    rebuild: bool,
    checkpoint: bool,
    unfinished: bool,
    /// The store's signed head.
    note: Vec<u8>,
    /// In words.
    actions: Vec<String>,
    /// What is wrong and stays as it is.
    left: Vec<String>,
}

pub(super) fn run(args: &RepairArgs, output: OutputFormat) -> Result<u8, CliError> {
    let options = AuditOptions {
        keys: parse_keys(&args.keys)?,
        bodies_may_be_missing: args.bodies_may_be_missing,
        workers: thread::available_parallelism().map_or(1, usize::from),
        ..AuditOptions::default()
    };
    let plan = plan(&args.dir, &options)?;
    let done = !args.dry_run && !plan.actions.is_empty();
    let kept = if done {
        carry_out(&args.dir, &options, &plan)?
    } else {
        Vec::new()
    };
    match output {
        OutputFormat::Json => print_json(&json!({
            "done": done,
            "actions": plan.actions,
            "leftAsItIs": plan.left,
            "kept": kept,
        }))?,
        OutputFormat::Text => print(&printable(&text(&plan, done, &kept)))?,
    }
    Ok(EXIT_HOLDS)
}

fn text(plan: &Plan, done: bool, kept: &[PathBuf]) -> String {
    let mut lines = vec![match (plan.actions.is_empty(), done) {
        (true, _) => "nothing to repair".to_owned(),
        (false, true) => "repaired, and verified:".to_owned(),
        (false, false) => "this would be done:".to_owned(),
    }];
    lines.extend(plan.actions.iter().map(|action| format!("  {action}")));
    if !plan.left.is_empty() {
        lines.push("wrong, and left as it is:".to_owned());
        lines.extend(plan.left.iter().map(|left| format!("  {left}")));
    }
    for kept in kept {
        let kept = kept.display();
        lines.push(format!("what was there before is kept as {kept}"));
    }
    lines.join("\n") + "\n"
}

/// Verifies the directory and decides, changing nothing.
fn plan(dir: &Path, options: &AuditOptions) -> Result<Plan, CliError> {
    let files = check_files(dir, options.workers, &|_, _| {}).map_err(|e| from_store(e, 0))?;
    let mut log = DirLog::open(dir).map_err(|error| match error {
        SourceError::Damaged { what, reason, .. } => CliError::Refused(format!(
            "the store can't be opened ({what}: {reason}); {RESTORE}"
        )),
        error => error.into(),
    })?;
    let mut report = verify(&log, options)?;
    let mut plan = Plan::default();
    if first_of_the_log(&report).is_some() {
        // Is it the log, or only the file checkpoint?
        log.set_without_kept();
        report = verify(&log, options)?;
        if let Some(finding) = first_of_the_log(&report) {
            return Err(CliError::Refused(format!(
                "the log itself is damaged ({finding}); {RESTORE}"
            )));
        }
        let why = checkpoint_to_replace(dir, &log, &report)?;
        plan.checkpoint = true;
        plan.actions.push(format!("write the file checkpoint anew, from the signed head of the store: {why}. Compare with a checkpoint kept elsewhere that the log was not cut back: auditchain verify --since"));
    }
    plan.note = log.note()?.unwrap_or_default();
    let tiles = of_rule(&report, Rule::Tile);
    if tiles > 0 {
        plan.rebuild = true;
        plan.actions.push(format!(
            "make all tiles anew from the entries: {tiles} are wrong"
        ));
    }
    plan.take_files(&files);
    Ok(plan)
}

impl Plan {
    fn take_files(&mut self, files: &FilesReport) {
        let (of_sled, others): (Vec<_>, Vec<_>) = files
            .damage
            .iter()
            .partition(|damage| damage.file.starts_with("store"));
        if !of_sled.is_empty() {
            self.rebuild = true;
            self.actions.push(format!(
                "make sled's files anew: {} damaged places in them, none of which holds a part of the log",
                of_sled.len()
            ));
        }
        let others = others.iter();
        self.left
            .extend(others.map(|damage| format!("{}: {}", damage.file, damage.what)));
        if files.unfinished > 0 {
            self.unfinished = true;
            self.actions.push(format!(
                "remove {} unfinished snapshot of sled",
                files.unfinished
            ));
        }
    }
}

fn verify(log: &DirLog, options: &AuditOptions) -> Result<Report, CliError> {
    let mut progress = Progress::new("verified");
    Ok(audit(log, options, |done, of| {
        progress.tell(done, Some(of));
    })?)
}

/// The first finding that is about more than tiles. Where the medium is damaged says
/// nothing by itself: an entry that can't be read is a finding too.
fn first_of_the_log(report: &Report) -> Option<String> {
    let mut findings = report.findings.kept.iter();
    let finding = findings.find(|f| !matches!(f.rule, Rule::Tile | Rule::Stored))?;
    let place = finding
        .index
        .map_or_else(String::new, |index| format!(" at entry {index}"));
    Some(format!(
        "[{}]{place} {}",
        finding.rule.name(),
        finding.detail
    ))
}

fn of_rule(report: &Report, rule: Rule) -> usize {
    let findings = report.findings.kept.iter();
    findings.filter(|finding| finding.rule == rule).count()
}

/// Why the file `checkpoint` may be replaced.
fn checkpoint_to_replace(dir: &Path, log: &DirLog, report: &Report) -> Result<String, CliError> {
    let Some(bytes) = HeadFile::new(dir).read().map_err(|e| from_store(e, 0))? else {
        return Ok("it is missing".to_owned());
    };
    let refuse = |why: String| CliError::Refused(format!("{why}; {RESTORE}"));
    let head_size = log.head()?.map_or(0, |head| head.size);
    // However little of it can be read.
    let text = String::from_utf8_lossy(&bytes);
    let claims = text.lines().nth(1).and_then(|line| line.parse().ok());
    if let Some(size) = claims.filter(|size: &u64| *size > head_size) {
        return Err(refuse(format!(
            "ROLLBACK: the file checkpoint is over {size} entries, the store has {head_size}"
        )));
    }
    let keys: Vec<VerifierKey> = report
        .keys
        .in_force
        .iter()
        .flat_map(|key| key.parse())
        .collect();
    let signed = Note::parse(&bytes)
        .ok()
        .filter(|note| Checkpoint::parse(note.text()).is_ok() && note.verify(&keys).is_ok());
    match signed {
        Some(_) => Err(refuse(
            "the file checkpoint is signed by this log and says other things than the store"
                .to_owned(),
        )),
        None => Ok("it holds no checkpoint that this log has signed".to_owned()),
    }
}

/// Does it, and returns where the replaced files are kept.
fn carry_out(dir: &Path, options: &AuditOptions, plan: &Plan) -> Result<Vec<PathBuf>, CliError> {
    let store = |error| CliError::from(from_store(error, 0));
    let repair = Repair::begin(dir, &now()).map_err(store)?;
    let mut kept = Vec::new();
    if plan.rebuild {
        let made = rebuild(&repair, dir, options, &plan.note);
        if made.is_err() {
            // Best effort: the next start removes it otherwise.
            let _ = repair.discard();
        }
        made?;
        kept.push(repair.swap().map_err(store)?);
    } else if plan.unfinished {
        repair.remove_unfinished_snapshots().map_err(store)?;
    }
    if plan.checkpoint {
        kept.extend(repair.write_checkpoint(&plan.note).map_err(store)?);
    }
    Ok(kept)
}

/// Makes the store anew beside the damaged one and verifies it.
fn rebuild(
    repair: &Repair,
    dir: &Path,
    options: &AuditOptions,
    note: &[u8],
) -> Result<(), CliError> {
    let head = repair
        .rebuild()
        .map_err(|error| match from_store(error, 0) {
            SourceError::Damaged { what, reason, .. } => CliError::Refused(format!(
                "more than derived data is damaged ({what}: {reason}); {RESTORE}"
            )),
            error => error.into(),
        })?;
    if head.note != note {
        return Err(CliError::Refused(
            "the store has changed since it was verified; run the repair again".to_owned(),
        ));
    }
    let copy = tempfile::Builder::new().prefix("auditchain-").tempdir()?;
    repair
        .copy_rebuilt(copy.path())
        .map_err(|error| from_store(error, 0))?;
    let files = check_files(copy.path(), options.workers, &|_, _| {});
    let files = files.map_err(|error| from_store(error, 0))?;
    let mut log = DirLog::of_copy(dir, copy)?;
    log.set_without_kept();
    let report = verify(&log, options)?;
    let wrong = report.findings.kept.first().map(|f| f.detail.clone());
    let wrong = wrong.or_else(|| files.damage.first().map(|damage| damage.what.clone()));
    match wrong {
        None => Ok(()),
        Some(wrong) => Err(CliError::Refused(format!(
            "what was made anew doesn't hold ({wrong}); {RESTORE}"
        ))),
    }
}

/// UTC, as a part of a file's name.
fn now() -> String {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let us = since.map_or(0, |since| i64::try_from(since.as_micros()).unwrap_or(0));
    Timestamp::from_micros(us).to_string().replace(':', "")
}
