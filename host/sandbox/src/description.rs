//! What a guest says of itself, checked.

use std::{collections::HashSet, sync::Arc};

use crate::{Severity, bindings::auditchain::verifier::types, spec::is_id};

/// Rules of a guest; a finding is one of them.
pub const MAX_RULES: usize = 256;
/// Length of a rule's id, as the contract says; a leaf has room for it.
pub const MAX_RULE_ID_BYTES: usize = 64;
/// Length of a rule's title, one line.
pub const MAX_TITLE_BYTES: usize = 200;
/// Length of a guest's name and of its version.
pub const MAX_GUEST_NAME_BYTES: usize = 64;

/// What a guest says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// Name of the guest.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The rules that its verdicts refer to, by index.
    pub rules: Vec<Rule>,
    /// Whether it wants the RBAC snapshot.
    pub needs_rbac_snapshot: bool,
}

/// A rule of a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Its id, unique in the guest.
    pub id: Arc<str>,
    /// How much a finding weighs.
    pub severity: Severity,
    /// One line for people.
    pub title: String,
}

/// A description that breaks the contract.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DescriptionError {
    /// The guest's name.
    #[error("name {0:?} is not 1 to {MAX_GUEST_NAME_BYTES} characters of a-z, 0-9 and \"-\"")]
    Name(String),
    /// The guest's version.
    #[error("version {0:?} is not 1 to {MAX_GUEST_NAME_BYTES} characters of a semantic version")]
    Version(String),
    /// Too many rules.
    #[error("{0} rules; at most {MAX_RULES} are allowed")]
    TooManyRules(usize),
    /// A rule's id.
    #[error("rule id {0:?} is not 1 to {MAX_RULE_ID_BYTES} characters of a-z, 0-9 and \"-\"")]
    RuleId(String),
    /// Two rules with one id.
    #[error("rule id {0:?} is given twice")]
    DuplicateRule(String),
    /// A rule's title.
    #[error("the title of rule {0:?} is not one line of at most {MAX_TITLE_BYTES} bytes")]
    Title(String),
}

impl Description {
    pub(crate) fn check(given: types::Description) -> Result<Self, DescriptionError> {
        if !is_id(&given.name, MAX_GUEST_NAME_BYTES) {
            return Err(DescriptionError::Name(given.name));
        }
        if !is_version(&given.version) {
            return Err(DescriptionError::Version(given.version));
        }
        if given.rules.len() > MAX_RULES {
            return Err(DescriptionError::TooManyRules(given.rules.len()));
        }
        let mut ids = HashSet::new();
        let mut rules = Vec::with_capacity(given.rules.len());
        for rule in given.rules {
            if !is_id(&rule.id, MAX_RULE_ID_BYTES) {
                return Err(DescriptionError::RuleId(rule.id));
            }
            if rule.title.len() > MAX_TITLE_BYTES || rule.title.contains(char::is_control) {
                return Err(DescriptionError::Title(rule.id));
            }
            if !ids.insert(rule.id.clone()) {
                return Err(DescriptionError::DuplicateRule(rule.id));
            }
            rules.push(Rule {
                id: rule.id.into(),
                severity: severity(rule.severity),
                title: rule.title,
            });
        }
        Ok(Self {
            name: given.name,
            version: given.version,
            rules,
            needs_rbac_snapshot: given.needs_rbac_snapshot,
        })
    }
}

fn is_version(version: &str) -> bool {
    (1..=MAX_GUEST_NAME_BYTES).contains(&version.len())
        && version
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'+'))
}

fn severity(severity: types::Severity) -> Severity {
    match severity {
        types::Severity::Info => Severity::Info,
        types::Severity::Low => Severity::Low,
        types::Severity::Medium => Severity::Medium,
        types::Severity::High => Severity::High,
        types::Severity::Critical => Severity::Critical,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(id: &str) -> types::Rule {
        types::Rule {
            id: id.into(),
            severity: types::Severity::Low,
            title: "a title".into(),
        }
    }

    fn given() -> types::Description {
        types::Description {
            name: "a-guest".into(),
            version: "1.2.3-rc.1+build".into(),
            rules: vec![rule("one"), rule("two")],
            needs_rbac_snapshot: true,
        }
    }

    #[test]
    fn a_good_one_is_taken_as_it_is() {
        let description = Description::check(given()).expect("good");
        assert_eq!(description.name, "a-guest");
        assert_eq!(&*description.rules[1].id, "two");
        assert!(description.needs_rbac_snapshot);
    }

    #[test]
    fn each_breach_has_its_error() {
        type Breach = fn(&mut types::Description);
        let cases: [(Breach, DescriptionError); 9] = [
            (|d| d.name.clear(), DescriptionError::Name(String::new())),
            (
                |d| d.name = "A b".into(),
                DescriptionError::Name("A b".into()),
            ),
            (
                |d| d.version = "1 2".into(),
                DescriptionError::Version("1 2".into()),
            ),
            (
                |d| d.rules = vec![rule("x"); MAX_RULES + 1],
                DescriptionError::TooManyRules(MAX_RULES + 1),
            ),
            (
                |d| d.rules.push(rule("")),
                DescriptionError::RuleId(String::new()),
            ),
            (
                |d| d.rules.push(rule("policy-error/trap")),
                DescriptionError::RuleId("policy-error/trap".into()),
            ),
            (
                |d| d.rules.push(rule("one")),
                DescriptionError::DuplicateRule("one".into()),
            ),
            (
                |d| d.rules[0].title = "a\nb".into(),
                DescriptionError::Title("one".into()),
            ),
            (
                |d| d.rules[0].title = "x".repeat(MAX_TITLE_BYTES + 1),
                DescriptionError::Title("one".into()),
            ),
        ];
        for (breach, expected) in cases {
            let mut description = given();
            breach(&mut description);
            assert_eq!(Description::check(description), Err(expected));
        }
        let long = "r".repeat(MAX_RULE_ID_BYTES + 1);
        let mut description = given();
        description.rules.push(rule(&long));
        assert_eq!(
            Description::check(description),
            Err(DescriptionError::RuleId(long))
        );
    }
}
