//! Rules of the organisation: what somebody would like to hear of though it was
//! allowed. Each observes, unless the settings say `deny`: then an event that it
//! catches is not valid.
//!
//! Built-in families and rules that the organisation writes itself
//! have the same selectors. docs/rules.md has every rule and its settings.
//!
//! Reading order: `settings` (as written), `compiled` and `condition` (as evaluated),
//! `family` (what is built in), `facts`, `body` and `check` (what is asked of an
//! event), `pattern`, `hours`, `verb`.
//!
//! A long-running request (exec, watch) has two events with a decision, its beginning
//! and its end; each is reported, since either may be lost.

mod body;
mod check;
mod compiled;
mod condition;
mod facts;
mod family;
mod hours;
mod pattern;
mod settings;
mod verb;

use auditchain_guest_sdk::Event;

pub use compiled::{Compiled, MAX_BODY_CONDITIONS, MAX_CUSTOM_RULES};
pub use family::RULES;
pub use hours::{ClockTime, Day, WorkingHours};
pub use pattern::{Cidr, Codes, matches, matches_any};
pub use settings::{
    BodyCondition, CustomRule, CustomSeverity, Decision, Organisation, RuleSettings, Selector,
    Within,
};

pub(crate) use body::Bytes;

use body::Unread;
use compiled::CompiledRule;
use condition::{Purpose, all};
use facts::Facts;
use family::{Exempt, Family, Outcome};

use crate::request::Request;

/// Something that a rule has to say of an event.
pub(crate) struct Caught {
    /// Index in [`RULES`].
    pub(crate) rule: usize,
    /// True: the event is not valid.
    pub(crate) deny: bool,
    pub(crate) reason: String,
}

/// Says what there is to say about an event.
pub(crate) fn observe(
    rules: &Compiled<'_>,
    event: Event<'_>,
    request: &Request,
    bytes: &Bytes,
    mut report: impl FnMut(Caught),
) {
    let facts = Facts::new(event, request, bytes);
    let resource = facts.resource().map(|of| of.resource.as_str());
    let mut unread: Option<(Unread, Vec<&str>)> = None;
    for rule in rules.rules_for(resource) {
        match judge(rules, rule, &facts) {
            Ok(None) => {}
            Ok(Some(detail)) => report(caught(rule, &facts, &detail)),
            Err(why) => unread
                .get_or_insert((why, Vec::new()))
                .1
                .push(rule.called()),
        }
    }
    if let (Some((why, names)), Some(rule)) = (unread, rules.not_examined()) {
        let is_of_verb = rule.verbs & facts.verb_bit != 0;
        if is_of_verb && judge_selectors(rule, &facts) == Ok(true) {
            report(caught(
                rule,
                &facts,
                &format!("{why}: {}", names.join(", ")),
            ));
        }
    }
}

/// In what words the rule catches the event, if it does. The error is why a body that
/// matters was not read.
fn judge(
    rules: &Compiled<'_>,
    rule: &CompiledRule<'_>,
    facts: &Facts<'_>,
) -> Result<Option<String>, Unread> {
    if rule.verbs & facts.verb_bit == 0 {
        return Ok(None);
    }
    let Some(family) = rule.family() else {
        let caught = judge_selectors(rule, facts)?;
        return Ok(caught.then(String::new));
    };
    let applies = is_of_kind(family, facts)
        && came_to(family.outcome, facts)
        && check::event(family.check, facts, rules.hours)
        && !is_exempt(family.exempt, facts, &rules.exempt_users);
    if !applies || !judge_selectors(rule, facts)? {
        return Ok(None);
    }
    check::body(family.check, facts, &rule.words)
}

fn judge_selectors(rule: &CompiledRule<'_>, facts: &Facts<'_>) -> Result<bool, Unread> {
    if !all(&rule.only, facts, Purpose::Select)? {
        return Ok(false);
    }
    // An exception that can't be told exempts nobody.
    let mut except = rule.except.iter();
    Ok(!except.any(|selector| all(selector, facts, Purpose::Exempt) == Ok(true)))
}

fn caught(rule: &CompiledRule<'_>, facts: &Facts<'_>, detail: &str) -> Caught {
    let mut reason = facts.describe();
    if !detail.is_empty() {
        reason = format!("{reason}: {detail}");
    }
    if !rule.name.is_empty() {
        reason = format!("{}: {reason}", rule.name);
    }
    Caught {
        rule: rule.rule.into(),
        deny: rule.deny,
        reason,
    }
}

fn is_of_kind(family: &Family, facts: &Facts<'_>) -> bool {
    family.kinds.is_empty()
        || facts.resource().is_some_and(|of| {
            let mut kinds = family.kinds.iter();
            kinds.any(|kind| kind.is(&of.group, &of.resource, &of.subresource))
        })
}

fn came_to(outcome: Outcome, facts: &Facts<'_>) -> bool {
    let code = facts.event.code();
    match outcome {
        Outcome::Decided => matches!(facts.event.decision(), Some("allow" | "forbid")),
        Outcome::Allowed => facts.is_allowed(),
        Outcome::Succeeded => facts.is_allowed() && code.is_none_or(|code| code < 400),
        Outcome::Refused => {
            facts.event.decision() == Some("forbid") || matches!(code, Some(401 | 403))
        }
    }
}

fn is_exempt(exempt: Exempt, facts: &Facts<'_>, users: &[&str]) -> bool {
    match exempt {
        Exempt::Nobody => false,
        Exempt::Components => facts.is_component(users),
        Exempt::ComponentsAtHome => {
            let is_copy = facts.resource().is_some_and(|of| of.resource != "pods");
            (is_copy || facts.is_at_home()) && facts.is_component(users)
        }
    }
}
