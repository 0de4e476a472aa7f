//! Alerts: what a policy refused, and severe findings, are told to the operator once
//! they are on disk. Today an alert is a line of the service's log (target
//! `auditchain::alert`, level WARN) and a metric; route either to your pager.

use std::collections::BTreeMap;

use auditchain_log::{GapRecord, PolicyRecord, RejectionRecord, Severity};
use auditchain_sandbox::{FailureKind, Finding};

use crate::metrics::{FindingLabels, Metrics};

/// From which severity a finding that refuses nothing is an alert.
const ALERT_SEVERITY: Severity = Severity::High;
/// Alert lines for one block; the rest are counted. A flood of findings must not
/// become a flood of lines.
const BLOCK_ALERTS_MAX: usize = 64;

/// Collected while a block is built; sent when it is on disk.
#[derive(Default)]
pub(crate) struct Alerts {
    found: Vec<(u64, Option<String>, Finding)>,
    refused: Vec<(u64, String, RejectionRecord)>,
    gaps: Vec<(String, GapRecord)>,
    suspended: Vec<String>,
}

impl Alerts {
    pub(crate) fn note<'f>(
        &mut self,
        index: u64,
        source: Option<&str>,
        found: impl IntoIterator<Item = &'f Finding>,
    ) {
        let found = found
            .into_iter()
            .map(|f| (index, source.map(String::from), f.clone()));
        self.found.extend(found);
    }

    pub(crate) fn refused(&mut self, index: u64, source: &str, record: &RejectionRecord) {
        self.refused.push((index, source.into(), record.clone()));
    }

    pub(crate) fn gap(&mut self, source: &str, gap: &GapRecord) {
        self.gaps.push((source.into(), gap.clone()));
    }

    pub(crate) fn suspended(&mut self, policy: &PolicyRecord) {
        self.suspended.push(policy.name.clone());
    }

    pub(crate) fn send(self, metrics: &Metrics) {
        for policy in &self.suspended {
            tracing::error!(target: "auditchain::alert", policy, severity = Severity::Critical.as_str(), "policy suspended: its guest failed on everything; change the policy to put it in service again");
        }
        let mut lines = 0;
        let mut not_judged = BTreeMap::<&str, u64>::new();
        for (index, source, finding) in &self.found {
            let labels = FindingLabels {
                policy: finding.policy.to_string(),
                rule: finding.rule.to_string(),
                severity: finding.severity.as_str(),
            };
            metrics.findings.get_or_create(&labels).inc();
            // The suspension itself was an alert: one line a block for what follows.
            if *finding.rule == *FailureKind::Suspended.rule() {
                *not_judged.entry(&finding.policy).or_default() += 1;
                continue;
            }
            if finding.valid && finding.severity < ALERT_SEVERITY {
                continue;
            }
            lines += 1;
            if lines <= BLOCK_ALERTS_MAX {
                tracing::warn!(
                    target: "auditchain::alert",
                    index,
                    source = source.as_deref().unwrap_or(""),
                    policy = %finding.policy,
                    rule = %finding.rule,
                    severity = finding.severity.as_str(),
                    valid = finding.valid,
                    reason = %finding.reason,
                    "finding"
                );
            }
        }
        for (policy, subjects) in not_judged {
            tracing::warn!(target: "auditchain::alert", policy, subjects, "not judged: the policy is suspended");
        }
        for (index, source, record) in &self.refused {
            lines += 1;
            if lines <= BLOCK_ALERTS_MAX {
                tracing::warn!(target: "auditchain::alert", index, source, status = record.status, reason = record.reason, "request refused");
            }
        }
        for (source, gap) in &self.gaps {
            lines += 1;
            if lines <= BLOCK_ALERTS_MAX {
                tracing::warn!(target: "auditchain::alert", source, first = gap.first, last = gap.last, key = %gap.key, "batches are missing");
            }
        }
        if lines > BLOCK_ALERTS_MAX {
            tracing::warn!(target: "auditchain::alert", more = lines - BLOCK_ALERTS_MAX, "more alerts in this block, see the log's entries");
        }
    }
}
