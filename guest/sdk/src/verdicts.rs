//! What a guest answers.

use crate::Rule;
use crate::bindings::auditchain::verifier::types::{Subject, Verdict};

/// The verdicts of one call, in the order they were given.
///
/// A rule is found by its id in the guest's own list. One that isn't listed gets an
/// index that no list has: the host refuses such an answer, loudly, for the policy.
#[derive(Debug)]
pub struct Verdicts {
    rules: &'static [Rule],
    given: Vec<Verdict>,
}

impl Verdicts {
    /// None yet, over the rules of a guest's description.
    #[must_use]
    pub fn new(rules: &'static [Rule]) -> Self {
        Self {
            rules,
            given: Vec::new(),
        }
    }

    /// The subject breaks the rule: it is not valid.
    pub fn invalid(&mut self, subject: Subject, rule: &Rule, reason: impl Into<String>) {
        self.push(subject, false, rule, reason.into(), None);
    }

    /// Something to say about a subject that stays valid.
    pub fn finding(&mut self, subject: Subject, rule: &Rule, reason: impl Into<String>) {
        self.push(subject, true, rule, reason.into(), None);
    }

    /// The subject is valid, and `sig` is the signature that shows it:
    /// `<algorithm>:<key id in hex>`.
    pub fn verified(
        &mut self,
        subject: Subject,
        rule: &Rule,
        reason: impl Into<String>,
        sig: String,
    ) {
        self.push(subject, true, rule, reason.into(), Some(sig));
    }

    /// What was given, as it crosses the boundary.
    #[must_use]
    pub fn into_vec(self) -> Vec<Verdict> {
        self.given
    }

    fn push(
        &mut self,
        subject: Subject,
        valid: bool,
        rule: &Rule,
        reason: String,
        sig: Option<String>,
    ) {
        let index = self.rules.iter().position(|known| known.id == rule.id);
        self.given.push(Verdict {
            subject,
            valid,
            rule: index
                .and_then(|index| u32::try_from(index).ok())
                .unwrap_or(u32::MAX),
            reason,
            sig,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Severity;

    const A: Rule = Rule::new("a", Severity::Low, "A");
    const B: Rule = Rule::new("b", Severity::High, "B");
    const STRAY: Rule = Rule::new("stray", Severity::High, "Not in the list");

    #[test]
    fn rules_become_their_index_and_a_stray_one_becomes_none() {
        let mut verdicts = Verdicts::new(&[A, B]);
        verdicts.invalid(Subject::Event(3), &B, "because");
        verdicts.finding(Subject::Block, &A, "by the way");
        verdicts.verified(Subject::Batch(0), &A, "", "ecdsa-p256-sha256:00".into());
        verdicts.finding(Subject::Block, &STRAY, "");
        let given = verdicts.into_vec();
        assert_eq!(
            given
                .iter()
                .map(|verdict| (verdict.rule, verdict.valid))
                .collect::<Vec<_>>(),
            [(1, false), (0, true), (0, true), (u32::MAX, true)]
        );
        assert!(matches!(given[0].subject, Subject::Event(3)));
        assert_eq!(given[2].sig.as_deref(), Some("ecdsa-p256-sha256:00"));
    }
}
