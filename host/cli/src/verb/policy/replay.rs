//! Recorded events, judged by a policy as the service judges them: block by block, with
//! what the blocks before left behind.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::time::Duration;

use auditchain_log::json::{EventView, canonical_event, split_event_list};
use auditchain_log::{EventRecord, Severity};
use auditchain_sandbox::{
    BlockHeader, BlockVerdict, EventContent, Finding, History, InOrder, PolicySet, SubmittedBatch,
    SubmittedEvent, record,
};
use serde::Serialize;

use crate::error::CliError;
use crate::ingest::{Input, Request, Requests};

/// Examples shown of each rule.
const EXAMPLES_MAX: usize = 3;
/// Failures told apart by their text; more are only counted.
const FAILURES_MAX: usize = 10;

/// What came of all events.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Outcome {
    pub(super) events: u64,
    pub(super) undecodable: u64,
    pub(super) invalid: u64,
    pub(super) blocks: u64,
    /// Lines and lists that hold no events.
    pub(super) skipped: u64,
    /// By the rule's id.
    pub(super) rules: BTreeMap<String, RuleOutcome>,
    /// Why the module failed, and how often.
    pub(super) failures: BTreeMap<String, u64>,
    pub(super) cost: Cost,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RuleOutcome {
    pub(super) findings: u64,
    /// Of them, those that make an event invalid: a policy in mode enforce.
    pub(super) invalid: u64,
    pub(super) severity: Severity,
    pub(super) examples: Vec<Example>,
}

#[derive(Debug, Serialize)]
pub(super) struct Example {
    /// Counted over all files, from 0.
    pub(super) index: u64,
    pub(super) user: Option<String>,
    pub(super) verb: Option<String>,
    pub(super) resource: Option<String>,
    pub(super) namespace: Option<String>,
    pub(super) reason: String,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Cost {
    pub(super) instances: u64,
    pub(super) fuel: u64,
    pub(super) fuel_per_event: u64,
    pub(super) time_micros: u64,
    pub(super) log_lines_dropped: u64,
}

/// Judges one block after the other.
pub(super) struct Replay<'p> {
    policies: &'p PolicySet,
    source: &'p str,
    history: History,
    time_us: i64,
    time: Duration,
    outcome: Outcome,
}

impl<'p> Replay<'p> {
    pub(super) fn new(policies: &'p PolicySet, source: &'p str) -> Self {
        Self {
            policies,
            source,
            history: History::default(),
            time_us: 0,
            time: Duration::ZERO,
            outcome: Outcome::default(),
        }
    }

    /// Judges the events of a file, `batch` lines of a log file a block.
    pub(super) fn file(&mut self, path: &Path, batch: u32) -> Result<(), CliError> {
        let input = File::open(path).and_then(Input::new);
        let mut requests = Requests::new(input.map_err(CliError::reading(path))?, batch);
        while let Some(request) = requests.read_next().map_err(CliError::reading(path))? {
            let list = match &request {
                Request::Body { bytes, .. } => split_event_list(bytes).ok(),
                Request::Skipped { .. } => None,
            };
            match list {
                Some(list) => self.block(&list.items),
                None => self.outcome.skipped += 1,
            }
        }
        Ok(())
    }

    pub(super) fn finish(mut self) -> Outcome {
        let cost = &mut self.outcome.cost;
        cost.fuel_per_event = cost.fuel / self.outcome.events.max(1);
        cost.time_micros = u64::try_from(self.time.as_micros()).unwrap_or(u64::MAX);
        self.outcome
    }

    fn block(&mut self, items: &[&[u8]]) {
        let mut bodies = Vec::with_capacity(items.len());
        for item in items {
            let mut canonical = Vec::with_capacity(item.len());
            let undecodable = canonical_event(item, &mut canonical).is_err();
            let body = if undecodable {
                item.to_vec()
            } else {
                canonical
            };
            bodies.push((body, undecodable));
        }
        let views: Vec<_> = bodies
            .iter()
            .map(|(body, _)| EventView::read(body))
            .collect();
        let records: Vec<_> = views.iter().map(EventRecord::from_view).collect();
        let events = bodies.iter().zip(&views).zip(&records);
        let events = events.map(|(((body, undecodable), view), record)| SubmittedEvent {
            record,
            content: Some(EventContent {
                view,
                body,
                undecodable: *undecodable,
            }),
        });
        let batch = SubmittedBatch {
            source: self.source,
            signed: None,
            events: events.collect(),
        };
        // The service's clock is at the newest event at least; it never goes back.
        let newest = views.iter().filter_map(EventView::stage_timestamp_us).max();
        self.time_us = self.time_us.max(newest.unwrap_or_default());
        let header = BlockHeader {
            origin: "auditchain.local/policy-test",
            number: self.outcome.blocks,
            first_index: self.outcome.events,
            time_us: self.time_us,
            previous_seal: None,
        };
        let judged = self.history.judge(self.policies, &header, &[batch]);
        self.note_cost(&judged);
        let mut of_events = InOrder::new(&judged.events);
        for (view, (_, undecodable)) in views.iter().zip(&bodies) {
            let found = of_events.next_subject();
            let valid = record(found.clone()).valid;
            for finding in found {
                self.outcome.note(finding, self.outcome.events, view);
            }
            self.outcome.events += 1;
            self.outcome.undecodable += u64::from(*undecodable);
            self.outcome.invalid += u64::from(!valid);
            let stage_time_us = view.stage_timestamp_us();
            self.history
                .accept_event(self.source, stage_time_us, self.time_us, valid);
        }
        self.outcome.blocks += 1;
    }

    fn note_cost(&mut self, judged: &BlockVerdict) {
        let cost = &mut self.outcome.cost;
        for of_policy in &judged.costs {
            cost.instances += u64::from(of_policy.instances);
            cost.fuel = cost.fuel.saturating_add(of_policy.fuel);
            cost.log_lines_dropped += of_policy.log_lines_dropped;
            self.time += of_policy.time;
        }
        let failures = &mut self.outcome.failures;
        for failed in &judged.failures {
            let text = failed.failure.to_string();
            if failures.len() < FAILURES_MAX || failures.contains_key(&text) {
                *failures.entry(text).or_default() += 1;
            }
        }
    }
}

impl Outcome {
    fn note(&mut self, finding: &Finding, index: u64, view: &EventView<'_>) {
        let rule = self.rules.entry(finding.rule.to_string());
        let rule = rule.or_insert_with(|| RuleOutcome {
            findings: 0,
            invalid: 0,
            severity: finding.severity,
            examples: Vec::new(),
        });
        rule.findings += 1;
        rule.invalid += u64::from(!finding.valid);
        if rule.examples.len() < EXAMPLES_MAX {
            let leaf = EventRecord::from_view(view);
            rule.examples.push(Example {
                index,
                user: view.user.username.as_deref().map(String::from),
                verb: leaf.verb,
                resource: leaf.resource,
                namespace: leaf.namespace,
                reason: finding.reason.clone(),
            });
        }
    }
}
