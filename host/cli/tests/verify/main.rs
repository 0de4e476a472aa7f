//! The verifier over a log in memory: an honest log holds, and whatever is changed in
//! it is named with its index and kind.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod authority;
mod content;
mod entries;
mod senders;
#[path = "../support/mod.rs"]
mod support;

use auditchain_cli::{AuditOptions, Report, Rule, audit};
use support::*;

fn options() -> AuditOptions {
    AuditOptions {
        keys: verifiers(&keys()),
        workers: 2,
        ..AuditOptions::default()
    }
}

fn verify(log: &MemoryLog) -> Report {
    let mut last = 0;
    let report = audit(log, &options(), |done, of| {
        assert!(done >= last && done <= of);
        last = done;
    })
    .unwrap();
    // Whatever is found, it does not depend on how the work was split.
    let alone = audit(
        log,
        &AuditOptions {
            workers: 1,
            ..options()
        },
        |_, _| {},
    )
    .unwrap();
    assert_eq!(alone.findings.kept, report.findings.kept);
    assert_eq!(report.holds, report.findings.is_empty());
    report
}

/// Rule and range of each finding.
fn found(report: &Report) -> Vec<(Rule, Option<u64>, Option<u64>)> {
    report
        .findings
        .kept
        .iter()
        .map(|f| (f.rule, f.index, f.last_index.or(f.index)))
        .collect()
}

#[track_caller]
fn assert_found(report: &Report, rule: Rule, index: u64) {
    assert_range(report, rule, index, index);
}

#[track_caller]
fn assert_range(report: &Report, rule: Rule, first: u64, last: u64) {
    let found = found(report);
    assert!(
        !report.holds && found.contains(&(rule, Some(first), Some(last))),
        "{rule:?} {first} {last}: {:#?}",
        report.findings.kept
    );
}

#[track_caller]
fn assert_only(report: &Report, rules: &[Rule]) {
    assert!(
        report.findings.kept.iter().all(|f| rules.contains(&f.rule)),
        "{:#?}",
        report.findings.kept
    );
}
