//! Asks the policy about every event.

use std::cmp::Reverse;

use auditchain_guest_sdk::{Call, Event, Rule, Severity, Verdicts};
use regorus::Value;

use crate::input;
use crate::outcome::{Kind, entries};
use crate::policy::{Policy, Session};
use crate::settings::OnUnreadable;

/// `deny` and `violation`, by severity.
pub const DENY: [Rule; 5] = [
    Rule::new("rego-deny-info", Severity::Info, "A Rego policy denies"),
    Rule::new("rego-deny-low", Severity::Low, "A Rego policy denies"),
    Rule::new("rego-deny-medium", Severity::Medium, "A Rego policy denies"),
    Rule::new("rego-deny-high", Severity::High, "A Rego policy denies"),
    Rule::new(
        "rego-deny-critical",
        Severity::Critical,
        "A Rego policy denies",
    ),
];
/// `warn`, by severity.
pub const WARN: [Rule; 5] = [
    Rule::new("rego-warn-info", Severity::Info, "A Rego policy warns"),
    Rule::new("rego-warn-low", Severity::Low, "A Rego policy warns"),
    Rule::new("rego-warn-medium", Severity::Medium, "A Rego policy warns"),
    Rule::new("rego-warn-high", Severity::High, "A Rego policy warns"),
    Rule::new(
        "rego-warn-critical",
        Severity::Critical,
        "A Rego policy warns",
    ),
];
/// The rule of the setting `query` is not true.
pub const NOT_ALLOWED: Rule = Rule::new(
    "rego-not-allowed",
    Severity::High,
    "A Rego policy does not allow",
);
/// The policy failed.
pub const ERROR: Rule = Rule::new(
    "rego-error",
    Severity::High,
    "A Rego policy could not be evaluated",
);
/// The policy could not be asked.
pub const INPUT: Rule = Rule::new(
    "rego-input",
    Severity::High,
    "An event can't be given to a Rego policy",
);

/// Every rule of this guest.
pub const RULES: &[Rule] = &[
    DENY[0],
    DENY[1],
    DENY[2],
    DENY[3],
    DENY[4],
    WARN[0],
    WARN[1],
    WARN[2],
    WARN[3],
    WARN[4],
    NOT_ALLOWED,
    ERROR,
    INPUT,
];

/// Verdicts about an event: the host takes no more. What is left out is counted in
/// the last.
const MAX_FINDINGS: usize = 8;
/// Bytes of a reason: the host cuts at 1,024, and the count has to be in it.
const MAX_REASON_BYTES: usize = 960;

/// Asks about every event of the slice.
pub fn verify(policy: &Policy, call: &Call<'_>, verdicts: &mut Verdicts) {
    let mut session = policy.session();
    for event in call.events() {
        let findings = match input::read(event, call.context()) {
            Ok(input) => {
                session.set_input(input);
                ask(policy, &mut session)
            }
            Err(reason) => vec![Finding {
                valid: policy.on_unreadable == OnUnreadable::Warn,
                rule: &INPUT,
                reason,
            }],
        };
        give(event, findings, verdicts);
    }
}

struct Finding {
    valid: bool,
    rule: &'static Rule,
    reason: String,
}

impl Finding {
    fn invalid(rule: &'static Rule, reason: String) -> Self {
        Self {
            valid: false,
            rule,
            reason,
        }
    }
}

fn ask(policy: &Policy, session: &mut Session) -> Vec<Finding> {
    let mut findings = Vec::new();
    for entry_point in &policy.entry_points {
        match session.eval(&entry_point.path) {
            Ok(value) => {
                let entries = entries(&entry_point.path, &value).into_iter();
                findings.extend(entries.map(|entry| {
                    let kind = entry_point.kind;
                    let severity = entry.severity.unwrap_or(kind.severity());
                    Finding {
                        valid: kind == Kind::Warn,
                        rule: &by_severity(kind)[severity as usize],
                        reason: entry.text,
                    }
                }));
            }
            Err(error) => findings.push(Finding::invalid(&ERROR, error)),
        }
    }
    if let Some(query) = &policy.query {
        match session.eval(query) {
            Ok(Value::Bool(true)) => {}
            Ok(Value::Undefined) => {
                findings.push(Finding::invalid(
                    &NOT_ALLOWED,
                    format!("{query} is undefined"),
                ));
            }
            Ok(value) => {
                findings.push(Finding::invalid(
                    &NOT_ALLOWED,
                    format!("{query} is {value}"),
                ));
            }
            Err(error) => findings.push(Finding::invalid(&ERROR, error)),
        }
    }
    findings
}

/// The contract lists severities as these arrays do, from info to critical.
fn by_severity(kind: Kind) -> &'static [Rule; 5] {
    match kind {
        Kind::Deny => &DENY,
        Kind::Warn => &WARN,
    }
}

/// The gravest first, so that what is left out is never what made an event invalid.
fn give(event: Event<'_>, mut findings: Vec<Finding>, verdicts: &mut Verdicts) {
    findings.sort_by_key(|finding| (finding.valid, Reverse(finding.rule.severity as u8)));
    let more = findings.len().saturating_sub(MAX_FINDINGS);
    findings.truncate(MAX_FINDINGS);
    let last = findings.len();
    for (index, mut finding) in (1..).zip(findings) {
        let end = finding.reason.floor_char_boundary(MAX_REASON_BYTES);
        finding.reason.truncate(end);
        if more > 0 && index == last {
            finding.reason.push_str(&format!(" (and {more} more)"));
        }
        if finding.valid {
            verdicts.finding(event.subject(), finding.rule, finding.reason);
        } else {
            verdicts.invalid(event.subject(), finding.rule, finding.reason);
        }
    }
}

#[cfg(test)]
mod tests;
