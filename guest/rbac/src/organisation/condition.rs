//! Conditions: a selector as it is evaluated.
//!
//! What can't be told is taken so that nothing is missed: it selects, and exempts
//! nobody. Likewise a request made as another user is selected by either of the two,
//! and exempt only if both are.

use serde::{Deserialize, Serialize};

use super::body::{self, Unread};
use super::facts::Facts;
use super::hours::Hours;
use super::pattern::{Cidr, Codes, covers, matches_any};
use super::settings::{Decision, Selector, Within};
use super::verb::{self, VerbSet};

/// Steps of a JSON pointer: deeper than any field of Kubernetes' own objects.
const MAX_POINTER_STEPS: usize = 16;

/// One member of a selector.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Condition<'a> {
    Who {
        #[serde(borrow)]
        users: Vec<&'a str>,
        #[serde(borrow)]
        groups: Vec<&'a str>,
    },
    Verbs(#[serde(borrow)] Vec<&'a str>),
    ApiGroups(#[serde(borrow)] Vec<&'a str>),
    Resources(#[serde(borrow)] Vec<&'a str>),
    Paths(#[serde(borrow)] Vec<&'a str>),
    Namespaces(#[serde(borrow)] Vec<&'a str>),
    Names(#[serde(borrow)] Vec<&'a str>),
    /// Bits of [`decision_bit`].
    Decisions(u8),
    /// First and last.
    Codes(Vec<(u16, u16)>),
    UserAgents(#[serde(borrow)] Vec<&'a str>),
    /// As [`Cidr::parts`].
    SourceIps(Vec<(u128, u8)>),
    Impersonated(bool),
    Anonymous(bool),
    WorkingHours {
        hours: Hours,
        inside: bool,
    },
    Images(#[serde(borrow)] Vec<&'a str>),
    Body {
        #[serde(borrow)]
        at: &'a str,
        #[serde(borrow)]
        values: Vec<&'a str>,
        absent: bool,
    },
}

/// What a selector is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    Select,
    Exempt,
}

/// Whether all of them hold. The error is why a body that matters was not read.
pub(crate) fn all(
    conditions: &[Condition<'_>],
    facts: &Facts<'_>,
    purpose: Purpose,
) -> Result<bool, Unread> {
    for condition in conditions {
        if !condition.holds(facts, purpose)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Turns a selector into conditions, those about the body last, and says which verbs
/// it may hold for.
///
/// # Errors
/// In words that name the member.
pub(crate) fn compile<'a>(
    selector: &'a Selector,
    hours: Option<Hours>,
) -> Result<(Vec<Condition<'a>>, VerbSet), String> {
    if selector.is_empty() {
        return Err("it states nothing, and so selects every event".into());
    }
    if !selector.resources.is_empty() && !selector.paths.is_empty() {
        return Err("no request has both resources and paths: make two of it".into());
    }
    let mut conditions = Vec::new();
    let mut add = |list: &'a [String], condition: fn(Vec<&'a str>) -> Condition<'a>| {
        if !list.is_empty() {
            conditions.push(condition(strs(list)));
        }
    };
    let verbs = verbs(&selector.verbs);
    if verbs & verb::OTHER != 0 {
        add(&selector.verbs, Condition::Verbs);
    }
    add(&selector.resources, Condition::Resources);
    add(&selector.api_groups, Condition::ApiGroups);
    add(&selector.paths, Condition::Paths);
    add(&selector.namespaces, Condition::Namespaces);
    add(&selector.names, Condition::Names);
    add(&selector.user_agents, Condition::UserAgents);
    if !(selector.users.is_empty() && selector.groups.is_empty()) {
        conditions.push(Condition::Who {
            users: strs(&selector.users),
            groups: strs(&selector.groups),
        });
    }
    if !selector.decisions.is_empty() {
        let bits = selector.decisions.iter().fold(0, |set, decision| {
            set | match decision {
                Decision::Allow => decision_bit(Some("allow")),
                Decision::Forbid => decision_bit(Some("forbid")),
                Decision::None => decision_bit(None),
            }
        });
        conditions.push(Condition::Decisions(bits));
    }
    if !selector.codes.is_empty() {
        let codes = selector.codes.iter().map(|codes| codes.parts());
        conditions.push(Condition::Codes(codes.collect()));
    }
    if !selector.source_ips.is_empty() {
        let networks = selector.source_ips.iter().map(|cidr| cidr.parts());
        conditions.push(Condition::SourceIps(networks.collect()));
    }
    conditions.extend(selector.impersonated.map(Condition::Impersonated));
    conditions.extend(selector.anonymous.map(Condition::Anonymous));
    if let Some(within) = selector.working_hours {
        let hours = hours.ok_or("workingHours is stated here, but not in organisation")?;
        let inside = within == Within::Inside;
        conditions.push(Condition::WorkingHours { hours, inside });
    }
    if !selector.images.is_empty() {
        conditions.push(Condition::Images(strs(&selector.images)));
    }
    for condition in &selector.body {
        let at = condition.at.as_str();
        if !at.starts_with('/') {
            return Err(format!(
                "body.at {at:?} is no JSON pointer such as /requestObject/spec/type"
            ));
        }
        if at.matches('/').count() > MAX_POINTER_STEPS {
            return Err(format!(
                "body.at {at:?} has more than {MAX_POINTER_STEPS} steps"
            ));
        }
        conditions.push(Condition::Body {
            at,
            values: strs(&condition.values),
            absent: condition.absent,
        });
    }
    Ok((conditions, verbs))
}

impl Condition<'_> {
    fn holds(&self, facts: &Facts<'_>, purpose: Purpose) -> Result<bool, Unread> {
        let doubt = purpose == Purpose::Select;
        Ok(match self {
            Self::Who { users, groups } => {
                let named = |user: auditchain_guest_sdk::User<'_>| {
                    matches_any(users, user.name().unwrap_or_default())
                        || user.groups().any(|group| matches_any(groups, group))
                };
                match purpose {
                    Purpose::Select => facts.persons().any(named),
                    Purpose::Exempt => facts.persons().all(named),
                }
            }
            Self::Verbs(patterns) => matches_any(patterns, facts.verb),
            Self::ApiGroups(patterns) => facts
                .resource()
                .is_some_and(|of| matches_any(patterns, &of.group)),
            Self::Resources(patterns) => facts.resource().is_some_and(|of| {
                let mut patterns = patterns.iter();
                patterns.any(|pattern| covers(pattern, &of.resource, &of.subresource))
            }),
            Self::Paths(patterns) => match &facts.request.target {
                crate::request::Target::Path(path) => matches_any(patterns, path),
                crate::request::Target::Resource(_) => false,
            },
            Self::Namespaces(patterns) => {
                if facts.is_in_every_namespace() {
                    doubt
                } else {
                    matches_any(patterns, facts.namespace())
                }
            }
            Self::Names(patterns) => {
                if facts.is_unnamed() {
                    doubt
                } else {
                    matches_any(patterns, facts.name)
                }
            }
            Self::Decisions(bits) => bits & decision_bit(facts.event.decision()) != 0,
            Self::Codes(codes) => facts.event.code().is_some_and(|code| {
                let mut codes = codes.iter();
                codes.any(|parts| Codes::from_parts(*parts).contains(code))
            }),
            Self::UserAgents(patterns) => {
                matches_any(patterns, facts.event.user_agent().unwrap_or_default())
            }
            Self::SourceIps(networks) => facts.source_ip().map_or(doubt, |address| {
                let mut networks = networks.iter();
                networks.any(|parts| Cidr::from_parts(*parts).contains(address))
            }),
            Self::Impersonated(expected) => facts.is_impersonated() == *expected,
            Self::Anonymous(expected) => facts.is_anonymous() == *expected,
            Self::WorkingHours { hours, inside } => facts
                .time()
                .map_or(doubt, |time| hours.contains(time) == *inside),
            Self::Images(patterns) => {
                let containers = facts.pods()?.iter().flat_map(|pod| pod.containers());
                let mut images = containers.filter_map(|container| container.image.as_deref());
                match purpose {
                    Purpose::Select => images.any(|image| matches_any(patterns, image)),
                    Purpose::Exempt => {
                        let mut images = images.peekable();
                        images.peek().is_some() && images.all(|image| matches_any(patterns, image))
                    }
                }
            }
            Self::Body { at, values, absent } => {
                match body::has(facts.body()?, at, values) {
                    // Cut off: what isn't there may have been.
                    Some(false) if facts.event.is_truncated() => return Err(Unread::CutOff),
                    Some(found) => found != *absent,
                    None => doubt,
                }
            }
        })
    }
}

fn decision_bit(decision: Option<&str>) -> u8 {
    match decision {
        Some("allow") => 1,
        Some("forbid") => 2,
        _ => 4,
    }
}

/// The verbs that patterns may hold for; all where there are none.
fn verbs(patterns: &[String]) -> VerbSet {
    if patterns.is_empty() || patterns.iter().any(|pattern| pattern == "*") {
        return verb::ANY;
    }
    patterns.iter().fold(0, |set, pattern| {
        set | match verb::bit(pattern) {
            verb::OTHER => verb::bits(|verb| super::pattern::matches(pattern, verb)),
            known => known,
        }
    })
}

fn strs(list: &[String]) -> Vec<&str> {
    list.iter().map(String::as_str).collect()
}
