//! Every verdict made again: modules, settings and snapshots by the digests that are
//! sealed in the log, each block's context from the log alone, and what comes out
//! compared with what was sealed.
//!
//! [`History`] is what the service keeps, too: an auditor's differs from it only in where
//! its entries come from. What can't be made again is counted, not found wrong: events
//! whose bodies are erased, and verdicts that say of themselves that the clock decided.

mod block;
mod compare;
mod policies;

use std::num::NonZeroUsize;

use auditchain_log::{Entry, Hash, Payload, VerifierKey};
use auditchain_sandbox::{Engine, EngineOptions, History};
use serde::Serialize;

use super::finding::{Findings, Place, Rule};
use crate::source::{LogSource, SourceError};
use block::{Block, Seal};
use policies::Policies;

/// What came of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Reexecuted {
    /// Verdicts that came out as they were sealed: over events, batches and seals.
    pub identical: u64,
    /// Verdicts that came out otherwise. Each is a finding.
    pub different: u64,
    /// Events whose bodies are erased or missing, or don't hold.
    pub without_body: u64,
    /// Verdicts that can't be expected to come out again: a guest was ended by the clock,
    /// or failed where another engine, or a neighbour that is erased, decides whether.
    pub not_reproducible: u64,
    /// Entries from which on nothing was re-executed, since entries before are lost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<u64>,
    /// Engines that the log names and that are not this one's.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub other_engines: Vec<String>,
}

/// What the log was before a block.
pub(super) struct Before<'a> {
    pub(super) origin: &'a str,
    pub(super) root: Hash,
    /// The log's keys.
    pub(super) vkeys: &'a [VerifierKey],
}

/// The re-execution of a log, fed with its entries in their order.
pub(super) struct Reexecution {
    engine: Engine,
    origin: String,
    history: History,
    policies: Policies,
    block: Option<Block>,
    done: Reexecuted,
}

impl Reexecution {
    /// # Errors
    /// The engine can't be set up on this machine.
    pub(super) fn new(workers: usize) -> Result<Self, SourceError> {
        let options = EngineOptions {
            workers: NonZeroUsize::new(workers).unwrap_or(NonZeroUsize::MIN),
            ..EngineOptions::default()
        };
        let unavailable = |error: auditchain_sandbox::EngineError| {
            SourceError::Unavailable(format!("nothing can be re-executed: {error}"))
        };
        Ok(Self {
            engine: Engine::new(&options).map_err(unavailable)?,
            origin: String::new(),
            history: History::default(),
            policies: Policies::default(),
            block: None,
            done: Reexecuted::default(),
        })
    }

    /// A block begins with the entry at `index`; the one before has ended.
    pub(super) fn begin_block(
        &mut self,
        index: u64,
        entry: &Entry,
        before: &Before<'_>,
        source: &dyn LogSource,
        findings: &mut Findings,
    ) -> Result<(), SourceError> {
        self.end_block(source, findings)?;
        if self.done.ended_at.is_some() {
            return Ok(());
        }
        if self.origin != before.origin {
            self.origin = before.origin.into();
        }
        let vkeys = before.vkeys.iter().map(ToString::to_string).collect();
        let root = before.root;
        self.block = Some(Block::new(index, entry, Seal { root, vkeys }));
        Ok(())
    }

    /// The next entry of the block, with its body where that holds.
    pub(super) fn entry(&mut self, index: u64, entry: &Entry, body: Option<&[u8]>) {
        if let Some(block) = &mut self.block {
            block.entry(index, entry, body);
        }
    }

    /// Entries are lost: what verdicts after them depended on is not known.
    pub(super) fn lose(&mut self, index: u64) {
        let first = self.block.take().map_or(index, |block| block.first_index());
        self.done.ended_at.get_or_insert(first);
    }

    /// The log has ended.
    ///
    /// # Errors
    /// The source can't be asked.
    pub(super) fn end(
        &mut self,
        source: &dyn LogSource,
        findings: &mut Findings,
    ) -> Result<Reexecuted, SourceError> {
        self.end_block(source, findings)?;
        Ok(std::mem::take(&mut self.done))
    }

    /// Judges the block again, then takes up what it says, as the service did.
    fn end_block(
        &mut self,
        source: &dyn LogSource,
        findings: &mut Findings,
    ) -> Result<(), SourceError> {
        let Some(block) = self.block.take() else {
            return Ok(());
        };
        let mut changed = false;
        for payload in block.in_force() {
            self.history.put_in_force(payload);
            changed |= matches!(payload, Payload::Policy { .. } | Payload::Rbac(_));
        }
        if changed {
            let loaded = self.policies.load(&self.engine, &self.history, source)?;
            if let Err(reason) = loaded {
                let place = Place::entry(block.first_index()).in_block(block.number());
                let detail =
                    format!("what this block puts in force can't be re-executed: {reason}");
                findings.add(Rule::Verdict, place, detail);
            }
            self.note_engine();
        }
        if let Some(set) = self.policies.set() {
            let judged = block.judge(&self.origin, &mut self.history, set);
            let same_engine = self.done.other_engines.is_empty();
            block.compare(&judged, same_engine, &mut self.done, findings);
        } else {
            self.done.ended_at.get_or_insert(block.first_index());
        }
        block.accept(&mut self.history);
        Ok(())
    }

    fn note_engine(&mut self) {
        let Some(in_force) = self.history.policies() else {
            return;
        };
        let known = &mut self.done.other_engines;
        if in_force.engine != auditchain_sandbox::ENGINE_ID && !known.contains(&in_force.engine) {
            known.push(in_force.engine.clone());
        }
    }
}
