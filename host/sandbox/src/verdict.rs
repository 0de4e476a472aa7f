//! What comes out: findings, failures, costs.

use std::{ops::Range, sync::Arc, time::Duration};

use auditchain_log::{MAX_FINDINGS, Verdict};

use crate::{Failure, Severity};

/// What the policies found in a block.
///
/// A subject without a finding is valid, with nothing to say.
#[derive(Debug, Clone, Default)]
pub struct BlockVerdict {
    /// About the block as a whole: its previous seal. In the order of the policies.
    pub block: Vec<Finding>,
    /// About a batch, by its index; then in the order of the policies.
    pub batches: Vec<(u32, Finding)>,
    /// About an event, by its index; then in the order of the policies, then of the
    /// guest.
    pub events: Vec<(u32, Finding)>,
    /// Guests that did not answer. Each is in the findings too.
    pub failures: Vec<PolicyFailure>,
    /// What each policy cost, in the order of the policies. For metrics: time is
    /// not reproducible.
    pub costs: Vec<PolicyCost>,
}

impl BlockVerdict {
    /// Whether both say the same, whatever it cost: what re-execution compares.
    #[must_use]
    pub fn same_findings(&self, other: &Self) -> bool {
        self.block == other.block && self.batches == other.batches && self.events == other.events
    }

    /// Whether judging again gives the same: no guest was ended by the clock.
    #[must_use]
    pub fn is_reproducible(&self) -> bool {
        self.failures
            .iter()
            .all(|failure| failure.failure.kind.is_reproducible())
    }
}

/// What one policy says about one subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Name of the policy.
    pub policy: Arc<str>,
    /// Id of the rule: one the guest declares, or
    /// [`FailureKind::rule`](crate::FailureKind::rule).
    pub rule: Arc<str>,
    /// How much it weighs.
    pub severity: Severity,
    /// False: the subject is refused. Always true of a policy that observes.
    pub valid: bool,
    /// In words, for people. May name users and objects.
    pub reason: String,
    /// The signature the verdict rests on: `<algorithm>:<key id in hex>`.
    pub sig: Option<String>,
}

/// A guest that did not answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyFailure {
    /// Name of the policy.
    pub policy: Arc<str>,
    /// The events that it did not judge.
    pub events: Range<u32>,
    /// Why.
    pub failure: Failure,
}

/// What a policy cost for a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyCost {
    /// Name of the policy.
    pub policy: Arc<str>,
    /// Instances that ran.
    pub instances: u32,
    /// Fuel used.
    pub fuel: u64,
    /// Time, summed over the instances, of which several may run at once.
    pub time: Duration,
    /// Log lines that were over the limit.
    pub log_lines_dropped: u64,
}

/// The verdict over one subject: invalid if any finding is. A finding's reason is not
/// part of it: it may name people, and comes again by re-execution.
#[must_use]
pub fn record<'f>(findings: impl IntoIterator<Item = &'f Finding>) -> Verdict {
    let mut all: Vec<&Finding> = findings.into_iter().collect();
    let valid = all.iter().all(|finding| finding.valid);
    if all.len() > MAX_FINDINGS {
        // What refuses it first, then the worst.
        all.sort_by_key(|finding| (finding.valid, std::cmp::Reverse(finding.severity)));
        all.truncate(MAX_FINDINGS);
    }
    let findings = all.iter().map(|finding| auditchain_log::Finding {
        policy: finding.policy.to_string(),
        rule: finding.rule.to_string(),
        severity: finding.severity,
        sig: finding.sig.clone(),
    });
    Verdict {
        findings: findings.collect(),
        valid,
    }
}

/// Walks findings that are sorted by subject, one subject after the other.
#[derive(Debug)]
pub struct InOrder<'f> {
    subject: u32,
    rest: &'f [(u32, Finding)],
}

impl<'f> InOrder<'f> {
    /// Before the first subject; the findings are sorted by subject.
    #[must_use]
    pub fn new(findings: &'f [(u32, Finding)]) -> Self {
        Self {
            subject: 0,
            rest: findings,
        }
    }

    /// The findings of the next subject.
    pub fn next_subject(&mut self) -> impl Iterator<Item = &'f Finding> + Clone + use<'f> {
        let end = self
            .rest
            .partition_point(|(subject, _)| *subject <= self.subject);
        let (found, rest) = self.rest.split_at(end);
        self.rest = rest;
        self.subject += 1;
        found.iter().map(|(_, finding)| finding)
    }
}
