//! The verifier: one pass over a log in the order of its entries, in bounded memory.
//!
//! Reading order: [`audit()`], `auditor` (what is checked of each entry, from top to
//! bottom), `examine` (what can be checked of an entry alone), `pipeline` (how both run
//! at the same time), `marks` and `authority` (what all of it is compared with),
//! `statements` and `report`; `reexecution` makes verdicts again; `files` adds what no entry is read from.
//!
//! The signed checkpoint is the authority. Everything is recomputed from the entries
//! up to it; the chain, the seals and the tiles then tell where a difference lies.

mod auditor;
mod authority;
mod batches;
mod blocks;
mod erasures;
mod examine;
mod files;
mod finding;
mod keys;
mod links;
mod marks;
mod numbers;
mod pipeline;
mod reexecution;
mod report;
mod statements;
mod tiles;
mod values;
mod witnesses;

use auditchain_log::{VerifierKey, WitnessPolicy};

pub(crate) use examine::check_commitment;
pub use finding::{Finding, Findings, Rule};
pub use reexecution::Reexecuted as ReexecutionReport;
pub use report::{CheckpointReport, FilesSummary, KeysReport, PolicyCount, Report, SourceCount};

use auditor::Auditor;
use pipeline::feed;

use crate::source::{LogSource, SourceError};

/// What an auditor brings along.
#[derive(Debug, Clone, Default)]
pub struct AuditOptions {
    /// The keys to trust. None: those that the log itself names, which proves that it
    /// is consistent but not whose it is.
    pub keys: Vec<VerifierKey>,
    /// An earlier checkpoint note of the same log, which it must be a continuation of.
    pub since: Option<Vec<u8>>,
    /// Whose cosignatures the checkpoint must carry. Where no keys are given, the logs
    /// that it lists are trusted.
    pub witness_policy: Option<WitnessPolicy>,
    /// Bodies that are not there are counted, not found wrong.
    pub bodies_may_be_missing: bool,
    /// Every verdict is made again by the modules that the log names.
    pub re_execute: bool,
    /// Threads that examine entries; 0 is taken for 1.
    pub workers: usize,
}

/// Verifies a log; `progress` is told how many entries of how many are done.
///
/// # Errors
/// The source can't be asked. What is damaged or wrong is in the report instead.
pub fn audit(
    source: &dyn LogSource,
    options: &AuditOptions,
    mut progress: impl FnMut(u64, u64),
) -> Result<Report, SourceError> {
    let mut auditor = Auditor::begin(source, options)?;
    let size = auditor.size();
    feed(source, size, options.workers, |piece| {
        auditor.piece(piece)?;
        progress(auditor.index(), size);
        Ok::<_, SourceError>(())
    })?;
    auditor.finish()
}
