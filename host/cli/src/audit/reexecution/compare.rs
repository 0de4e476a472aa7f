//! A verdict as it was sealed beside the one that came out again.

use std::fmt::Write as _;

use auditchain_log::Verdict;
use auditchain_sandbox::{FailureKind, Finding};

use super::Reexecuted;
use crate::audit::finding::{Findings, Place, Rule};

/// What policies say in place of a guest that failed.
const POLICY_ERROR: &str = "policy-error/";

/// What came out again, in words.
pub(super) struct Again(String);

/// The comparison of a block's verdicts.
pub(super) struct Comparison<'a> {
    pub(super) block: u64,
    /// The engine that the log names is this one.
    pub(super) same_engine: bool,
    /// All bodies of the block are there.
    pub(super) whole: bool,
    /// No guest was ended by the clock this time.
    pub(super) reproducible: bool,
    pub(super) done: &'a mut Reexecuted,
    pub(super) findings: &'a mut Findings,
}

impl Again {
    /// What was found, with the reasons, which the log doesn't keep.
    pub(super) fn of<'f>(found: impl IntoIterator<Item = &'f Finding>) -> Self {
        let mut text = String::new();
        for finding in found {
            // Writing into a String can't fail.
            let _ = write!(
                text,
                "; {}/{}: {}",
                finding.policy, finding.rule, finding.reason
            );
        }
        Self(text)
    }
}

impl Comparison<'_> {
    pub(super) fn compare(&mut self, index: u64, sealed: &Verdict, now: &Verdict, again: &Again) {
        if sealed == now {
            self.done.identical += 1;
            return;
        }
        if self.may_differ(sealed, now) {
            self.done.not_reproducible += 1;
            return;
        }
        self.done.different += 1;
        let detail = format!(
            "the sealed verdict is {}; re-executed it is {}{}",
            words(sealed),
            words(now),
            again.0
        );
        let place = Place::entry(index).in_block(self.block);
        self.findings.add(Rule::Verdict, place, detail);
    }

    /// Whether this difference proves nothing.
    fn may_differ(&self, sealed: &Verdict, now: &Verdict) -> bool {
        let any = |of: &dyn Fn(&str) -> bool| {
            let mut findings = sealed.findings.iter().chain(&now.findings);
            findings.any(|finding| of(&finding.rule))
        };
        let by_the_clock = |rule: &str| {
            [FailureKind::Timeout, FailureKind::Host]
                .iter()
                .any(|kind| kind.rule() == rule)
        };
        let failed = any(&|rule| rule.starts_with(POLICY_ERROR));
        any(&by_the_clock) || !self.reproducible || failed && !(self.same_engine && self.whole)
    }
}

/// `valid: ordering/future high, rbac/secret-read medium`
fn words(verdict: &Verdict) -> String {
    let mut text = String::from(if verdict.valid { "valid" } else { "invalid" });
    for (n, finding) in verdict.findings.iter().enumerate() {
        let before = if n == 0 { ": " } else { ", " };
        let severity = finding.severity.as_str();
        // Writing into a String can't fail.
        let _ = write!(
            text,
            "{before}{}/{} {severity}",
            finding.policy, finding.rule
        );
        if let Some(sig) = &finding.sig {
            let _ = write!(text, " {sig}");
        }
    }
    text
}
