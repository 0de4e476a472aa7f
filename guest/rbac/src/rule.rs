//! Does the decision that the apiserver noted in an event agree with the snapshot,
//! and with the event itself?
//!
//! A snapshot shows one moment, and caches lag. So an event is called invalid only
//! where neither explains it:
//! - it contradicts itself (forbidden yet answered; allowed by a binding to somebody
//!   else or in another namespace; allowed for no reason at all), or
//! - it names a binding that the snapshot has, in the form it had well before the
//!   request, and that binding does not grant.
//!
//! A binding that the snapshot doesn't have, and whatever changed after the request
//! or less than the lag before, leave the answer inconclusive: a finding on a valid
//! event. What changed when is known by creation, and by managedFields where the
//! snapshot has them; what changed after the snapshot was taken is not known, so take
//! it anew on every change. Without a snapshot nothing is compared.
//!
//! RequestReceived events come before the decision; those without a decision (401,
//! 429, a refused impersonation) have nothing to compare.

use auditchain_guest_sdk::{Call, Event, Rule, Severity, Stage, Verdicts};

use crate::compile::{Prepared, service_account_user};
use crate::evaluate::{Action, Who};
use crate::impersonation;
use crate::organisation::{self, Bytes, matches_any};
use crate::reason::{Grant, GrantSubject, RBAC};
use crate::request::{Request, Target};
use crate::settings::{Comparison, ForbidMismatch};
use crate::tables::{Binding, KIND_CLUSTER_ROLE, Tables};

/// Decision and snapshot contradict each other.
pub const DECISION_MISMATCH: Rule = Rule::new(
    "decision-mismatch",
    Severity::High,
    "An access decision contradicts RBAC",
);
/// The binding that is said to have allowed a request doesn't.
pub const BINDING_DOES_NOT_GRANT: Rule = Rule::new(
    "binding-does-not-grant",
    Severity::High,
    "The binding that is named as the reason of an allow does not grant it",
);
/// The snapshot doesn't have that binding.
pub const BINDING_UNKNOWN: Rule = Rule::new(
    "binding-unknown",
    Severity::Info,
    "The binding that is named as the reason of an allow is not in the RBAC snapshot",
);
/// The snapshot says otherwise, but need not have been in force.
pub const DECISION_INCONCLUSIVE: Rule = Rule::new(
    "decision-inconclusive",
    Severity::Info,
    "An access decision can be neither confirmed nor refuted",
);
/// The snapshot does not allow an impersonation that took place.
pub const IMPERSONATION_NOT_GRANTED: Rule = Rule::new(
    "impersonation-not-granted",
    Severity::Medium,
    "A user impersonated another without a grant in the RBAC snapshot",
);

/// Rules that compare.
const COMPARING: [Rule; 5] = [
    DECISION_MISMATCH,
    BINDING_DOES_NOT_GRANT,
    BINDING_UNKNOWN,
    DECISION_INCONCLUSIVE,
    IMPERSONATION_NOT_GRANTED,
];

const RULE_COUNT: usize = COMPARING.len() + organisation::RULES.len();

/// Every rule of this guest: those that compare, then the organisation's.
pub const RULES: &[Rule] = &{
    let mut rules = [DECISION_MISMATCH; RULE_COUNT];
    let mut index = 0;
    while index < RULE_COUNT {
        rules[index] = if index < COMPARING.len() {
            COMPARING[index]
        } else {
            organisation::RULES[index - COMPARING.len()]
        };
        index += 1;
    }
    rules
};

/// Verdicts about one event: what the host takes of one policy.
pub const MAX_VERDICTS_PER_EVENT: usize = 8;
/// Bytes of a reason, so that the host's limit (1,024) leaves room for what was left
/// out.
const MAX_REASON_BYTES: usize = 768;

/// The group that is allowed everything before RBAC is asked.
pub const MASTERS: &str = "system:masters";

/// Judges every event but those at stage RequestReceived, which come before all that
/// is judged.
pub fn verify(prepared: &Prepared<'_>, call: &Call<'_>, verdicts: &mut Verdicts) {
    for event in call.events() {
        if event.stage() == Stage::RequestReceived {
            continue;
        }
        let mut found = Vec::new();
        judge(prepared, event, &mut found);
        report(event, found, verdicts);
    }
}

/// Something to say about an event.
struct Found {
    rule: &'static Rule,
    valid: bool,
    reason: String,
}

fn judge(prepared: &Prepared<'_>, event: Event<'_>, found: &mut Vec<Found>) {
    let Some(uri) = event.request_uri() else {
        return;
    };
    let request = Request::parse(uri, event.verb().unwrap_or_default());
    let bytes = Bytes::default();
    let snapshots = in_question(prepared, event);
    if let (Some(in_force), Some(decision)) = (snapshots.first(), event.decision()) {
        let judge = |tables| Judge {
            settings: &prepared.settings,
            tables,
            event,
            request: &request,
        };
        let answers = snapshots
            .iter()
            .map(|tables| judge(*tables).decision(decision));
        let (valid, answer) = match mildest(answers) {
            Answer::Agrees => (true, None),
            Answer::Invalid(rule, reason) => (false, Some((rule, reason))),
            Answer::Finding(rule, reason) => (true, Some((rule, reason))),
        };
        found.extend(answer.map(|(rule, reason)| Found {
            rule,
            valid,
            reason,
        }));
        let impersonation = impersonation::not_granted(*in_force, event, &bytes);
        found.extend(impersonation.map(|reason| Found {
            rule: &IMPERSONATION_NOT_GRANTED,
            valid: true,
            reason,
        }));
    }
    organisation::observe(&prepared.organisation, event, &request, &bytes, |caught| {
        found.extend(RULES.get(COMPARING.len() + caught.rule).map(|rule| Found {
            rule,
            valid: !caught.deny,
            reason: caught.reason,
        }));
    });
}

/// Reports what was found, of too much what weighs most: first what makes the event
/// invalid, then by severity.
fn report(event: Event<'_>, mut found: Vec<Found>, verdicts: &mut Verdicts) {
    let left_out = found.len().saturating_sub(MAX_VERDICTS_PER_EVENT);
    if left_out > 0 {
        found.sort_by_key(|found| (found.valid, std::cmp::Reverse(found.rule.severity)));
        found.truncate(MAX_VERDICTS_PER_EVENT);
    }
    for Found { reason, .. } in &mut found {
        reason.truncate(reason.floor_char_boundary(MAX_REASON_BYTES));
    }
    if let (Some(last), 1..) = (found.last_mut(), left_out) {
        last.reason += &format!(" (and {left_out} more that weigh no more)");
    }
    for Found {
        rule,
        valid,
        reason,
    } in found
    {
        if valid {
            verdicts.finding(event.subject(), rule, reason);
        } else {
            verdicts.invalid(event.subject(), rule, reason);
        }
    }
}

/// The snapshots that an apiserver may have gone by when it decided: first the one in
/// force when the request was received; then, since caches lag, those that were in force
/// shortly before; then the next one, for what changed since the first was taken.
fn in_question<'a>(prepared: &Prepared<'a>, event: Event<'_>) -> Vec<Tables<'a>> {
    let all = &prepared.snapshots;
    let Some(received) = event.received_at() else {
        // Of no known time: any may have been in force, the newest first.
        return all.iter().rev().map(|dated| dated.tables).collect();
    };
    let at = |time: i64| {
        let begun = all.partition_point(|dated| dated.from <= time);
        begun.saturating_sub(1)
    };
    let lag = i64::from(prepared.settings.lag_seconds) * 1_000_000;
    let (in_force, before) = (at(received), at(received.saturating_sub(lag)));
    let order = std::iter::once(in_force)
        .chain((before..in_force).rev())
        .chain(std::iter::once(in_force + 1));
    order
        .filter_map(|index| all.get(index))
        .map(|dated| dated.tables)
        .collect()
}

/// What can be said when any of several snapshots may have counted: the answer by the
/// first, unless another one lets the decision pass. Asks no further than it must.
fn mildest(mut answers: impl Iterator<Item = Answer>) -> Answer {
    let Some(mut mildest) = answers.next() else {
        return Answer::Agrees;
    };
    for other in answers {
        match (&mildest, other) {
            (Answer::Agrees, _) => break,
            (_, Answer::Agrees) => {
                return Answer::inconclusive("RBAC changed about when the request was decided");
            }
            (Answer::Invalid(..), other @ Answer::Finding(..)) => mildest = other,
            _ => {}
        }
    }
    mildest
}

enum Answer {
    Agrees,
    Finding(&'static Rule, String),
    Invalid(&'static Rule, String),
}

impl Answer {
    fn inconclusive(why: &str) -> Self {
        Self::Finding(&DECISION_INCONCLUSIVE, why.into())
    }
}

struct Judge<'a> {
    settings: &'a Comparison<'a>,
    tables: Tables<'a>,
    event: Event<'a>,
    request: &'a Request,
}

impl Judge<'_> {
    fn decision(&self, decision: &str) -> Answer {
        // The decision is about whom the request was carried out as.
        let user = self.event.impersonated_user().unwrap_or(self.event.user());
        let who = Who::from_user(user);
        let reason = self.event.reason().unwrap_or_default();
        match (decision, Grant::parse(reason)) {
            ("allow", _) if who.in_group(MASTERS) => Answer::Agrees,
            ("allow", Some(grant)) => self.allowed_by(&who, &grant),
            ("allow", None) => self.allowed(&who, reason),
            ("forbid", _) => self.forbidden(&who, reason),
            _ => Answer::inconclusive("the decision is neither allow nor forbid"),
        }
    }

    /// An allow for which RBAC names the binding.
    fn allowed_by(&self, who: &Who<'_>, grant: &Grant) -> Answer {
        let invalid = |why: &str| Answer::Invalid(&BINDING_DOES_NOT_GRANT, why.into());
        // What the event says of itself, whatever the snapshot has.
        let is_subject = match &grant.subject {
            GrantSubject::User(name) => who.name == name,
            GrantSubject::Group(name) => who.in_group(name),
            GrantSubject::ServiceAccount { name, namespace } => {
                who.name == service_account_user(namespace, name)
            }
        };
        if !is_subject {
            return invalid("the subject it names is not the user of the request");
        }
        if let Some(namespace) = &grant.namespace
            && !self.request.uncertain
            && self.request.resource().map(|of| &of.namespace) != Some(namespace)
        {
            return invalid("a RoleBinding of another namespace than the request's");
        }
        let Some(binding) = self.find(grant) else {
            return Answer::Finding(
                &BINDING_UNKNOWN,
                "the snapshot has no such binding of such a role".into(),
            );
        };
        let verb = self.event.verb().unwrap_or_default();
        let action = Action::new(self.tables, verb, self.request);
        // Subject and rules: the same question as "who is granted it by this binding".
        let granted = action
            .granted_to(who)
            .any(|granting| granting.index == binding.index);
        if granted {
            Answer::Agrees
        } else if self.request.uncertain {
            Answer::inconclusive("the request can be read in more than one way")
        } else if self.may_have_changed(&binding) {
            Answer::inconclusive("the binding or its role may have changed since the request")
        } else {
            invalid("neither its subjects nor its role allow the request in the snapshot")
        }
    }

    /// An allow for which RBAC names no binding: another authorizer, or none.
    fn allowed(&self, who: &Who<'_>, reason: &str) -> Answer {
        let always = matches!(&self.request.target, Target::Path(path)
            if matches_any(&self.settings.always_allow_paths, path));
        // The Node authorizer gives no reason.
        let node = who.in_group("system:nodes") && who.name.starts_with("system:node:");
        if always || node || self.granted(who).next().is_some() {
            return Answer::Agrees;
        }
        if !reason.is_empty() || self.settings.other_authorizers || self.request.uncertain {
            return Answer::inconclusive("allowed by something else than RBAC");
        }
        // No change of RBAC explains this: RBAC would have named a binding.
        Answer::Invalid(
            &DECISION_MISMATCH,
            "allowed without a reason, and RBAC does not grant it".into(),
        )
    }

    fn forbidden(&self, who: &Who<'_>, reason: &str) -> Answer {
        let invalid = |why: &str| Answer::Invalid(&DECISION_MISMATCH, why.into());
        if self.event.code().is_some_and(|code| code < 400) {
            return invalid("forbidden, and yet answered as if allowed");
        }
        if !reason.is_empty() && !reason.starts_with(RBAC) {
            // Another authorizer has denied; RBAC was not asked.
            return Answer::Agrees;
        }
        if who.in_group(MASTERS) {
            return Answer::inconclusive("forbidden to a member of system:masters");
        }
        // The most steadfast grant decides: one that surely was there suffices.
        let mut granting = self.granted(who).peekable();
        if granting.peek().is_none() {
            return Answer::Agrees;
        }
        if self.request.uncertain || granting.all(|binding| self.may_have_changed(&binding)) {
            return Answer::inconclusive("forbidden, what grants it may have changed since");
        }
        match self.settings.forbid_mismatch {
            ForbidMismatch::Invalid => invalid("forbidden, though the snapshot grants it"),
            ForbidMismatch::Inconclusive => {
                Answer::inconclusive("forbidden, though the snapshot grants it")
            }
        }
    }

    fn granted(&self, who: &Who<'_>) -> impl Iterator<Item = Binding> {
        let verb = self.event.verb().unwrap_or_default();
        let action = Action::new(self.tables, verb, self.request);
        let bindings: Vec<Binding> = action.granted_to(who).collect();
        bindings.into_iter()
    }

    /// The binding that a reason names, if it refers to the role that is named too.
    fn find(&self, grant: &Grant) -> Option<Binding> {
        let find = |text: &str| self.tables.find(text.as_bytes());
        let namespace = grant.namespace.as_deref().unwrap_or_default();
        let binding = self
            .tables
            .find_binding(find(namespace), find(&grant.binding))?;
        let same_role = binding.role_name == find(&grant.role)
            && (binding.role_kind == KIND_CLUSTER_ROLE) == grant.cluster_role;
        (same_role && binding.role.is_some()).then_some(binding)
    }

    /// Whether a binding or its role changed after the request, or so shortly before
    /// that the apiserver need not have known.
    fn may_have_changed(&self, binding: &Binding) -> bool {
        let Some(received) = self.event.received_at() else {
            return true;
        };
        let role = binding
            .role
            .map_or(i64::MIN, |role| self.tables.role_changed(role));
        let lag = i64::from(self.settings.lag_seconds) * 1_000_000;
        binding.changed.max(role) > received.saturating_sub(lag)
    }
}

#[cfg(test)]
mod tests;
