//! From the sandbox's findings to the verdict that goes into an entry.

use auditchain_log::{Finding, MAX_FINDINGS, Verdict};
use auditchain_sandbox as sandbox;

/// The verdict over one subject: invalid if any finding is. A finding's reason is not
/// part of it: it may name people, and comes again by re-execution.
pub(crate) fn of<'f>(findings: impl IntoIterator<Item = &'f sandbox::Finding>) -> Verdict {
    let mut all: Vec<&sandbox::Finding> = findings.into_iter().collect();
    let valid = all.iter().all(|finding| finding.valid);
    if all.len() > MAX_FINDINGS {
        // What refuses it first, then the worst.
        all.sort_by_key(|finding| (finding.valid, std::cmp::Reverse(finding.severity)));
        all.truncate(MAX_FINDINGS);
    }
    let findings = all.iter().map(|finding| Finding {
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
pub(crate) struct InOrder<'f> {
    subject: u32,
    rest: &'f [(u32, sandbox::Finding)],
}

impl<'f> InOrder<'f> {
    pub(crate) fn new(findings: &'f [(u32, sandbox::Finding)]) -> Self {
        Self {
            subject: 0,
            rest: findings,
        }
    }

    /// The findings of the next subject.
    pub(crate) fn next_subject(
        &mut self,
    ) -> impl Iterator<Item = &'f sandbox::Finding> + Clone + use<'f> {
        let end = self
            .rest
            .partition_point(|(subject, _)| *subject <= self.subject);
        let (found, rest) = self.rest.split_at(end);
        self.rest = rest;
        self.subject += 1;
        found.iter().map(|(_, finding)| finding)
    }
}
