//! Rules as they are evaluated: only those that are on, each with its conditions, and
//! an index that leaves an event with the few that may concern it. Made once by
//! `prepare`; strings are used where they lie.

use serde::{Deserialize, Serialize};

use super::condition::{self, Condition};
use super::family::{Check, FAMILIES, Family};
use super::hours::Hours;
use super::settings::{CustomRule, Organisation, RuleSettings, Selector};
use super::verb::{self, VerbSet};

/// Rules that an organisation writes itself: each costs every event something.
pub const MAX_CUSTOM_RULES: usize = 128;
/// Members `at` of all selectors: each may walk a body of 64 KiB, half a million
/// instructions, and one event has to stay within the fuel of a slice.
pub const MAX_BODY_CONDITIONS: usize = 32;
/// Length of the name of such a rule: as that of any rule.
const MAX_NAME_BYTES: usize = 64;

/// The rules that are on.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Compiled<'a> {
    #[serde(borrow)]
    pub(crate) rules: Vec<CompiledRule<'a>>,
    #[serde(borrow)]
    pub(crate) exempt_users: Vec<&'a str>,
    /// Rules about a resource by its name, sorted.
    #[serde(borrow)]
    by_resource: Vec<(&'a str, Vec<u16>)>,
    /// Rules about any request.
    general: Vec<u16>,
    /// The rule `body-not-examined`, if it is on.
    not_examined: Option<u16>,
    pub(crate) hours: Option<Hours>,
}

/// A rule that is on.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct CompiledRule<'a> {
    /// Index in [`RULES`](super::RULES); past the families it is one of the custom ones.
    pub(crate) rule: u16,
    /// Of a custom rule.
    pub(crate) name: &'a str,
    pub(crate) deny: bool,
    pub(crate) verbs: VerbSet,
    #[serde(borrow)]
    pub(crate) only: Vec<Condition<'a>>,
    #[serde(borrow)]
    pub(crate) except: Vec<Vec<Condition<'a>>>,
    /// `hostPaths` or `words`.
    #[serde(borrow)]
    pub(crate) words: Vec<&'a str>,
}

impl CompiledRule<'_> {
    /// The family; none of a custom rule.
    pub(crate) fn family(&self) -> Option<&'static Family> {
        FAMILIES.get(usize::from(self.rule))
    }

    /// By what name a finding calls it.
    pub(crate) fn called(&self) -> &str {
        match self.family() {
            Some(family) => family.rule.id,
            None => self.name,
        }
    }
}

impl<'a> Compiled<'a> {
    /// # Errors
    /// In words that name the member.
    pub(crate) fn new(settings: &'a Organisation) -> Result<Self, String> {
        let hours = match &settings.working_hours {
            Some(written) => {
                let hours = Hours::new(written);
                Some(hours.map_err(|error| at("workingHours", &error))?)
            }
            None => None,
        };
        let mut compiled = Self {
            rules: Vec::new(),
            exempt_users: settings.exempt_users.iter().map(String::as_str).collect(),
            by_resource: Vec::new(),
            general: Vec::new(),
            not_examined: None,
            hours,
        };
        for id in settings.rules.keys() {
            if !FAMILIES.iter().any(|family| family.rule.id == id) {
                let ids: Vec<_> = FAMILIES.iter().map(|family| family.rule.id).collect();
                let known = ids.join(", ");
                return Err(at(
                    "rules",
                    &format!("there is no {id:?}; there are {known}"),
                ));
            }
        }
        let conditions: usize = settings.selectors().map(|of| of.body.len()).sum();
        if conditions > MAX_BODY_CONDITIONS {
            return Err(format!(
                "settings: organisation: there are {conditions} conditions on bodies; \
                 at most {MAX_BODY_CONDITIONS} are allowed"
            ));
        }
        for (family, index) in FAMILIES.iter().zip(0..) {
            let written = settings.rules.get(family.rule.id);
            let on = written.map_or(family.on, |written| written.enabled.unwrap_or(true));
            if on {
                compiled
                    .add_family(family, index, written)
                    .map_err(|error| at(&format!("rules.{}", family.rule.id), &error))?;
            }
        }
        if settings.custom.len() > MAX_CUSTOM_RULES {
            let count = settings.custom.len();
            let error = format!("there are {count}; at most {MAX_CUSTOM_RULES} are allowed");
            return Err(at("custom", &error));
        }
        for (index, custom) in settings.custom.iter().enumerate() {
            let twice = settings.custom[..index]
                .iter()
                .any(|other| other.name == custom.name);
            let added = if twice {
                Err("the name is given twice".into())
            } else {
                compiled.add_custom(custom)
            };
            added.map_err(|error| at(&format!("custom {:?}", custom.name), &error))?;
        }
        compiled.by_resource.sort();
        Ok(compiled)
    }

    /// The rules that may concern a request.
    pub(crate) fn rules_for(
        &self,
        resource: Option<&str>,
    ) -> impl Iterator<Item = &CompiledRule<'a>> {
        let found = resource.and_then(|resource| {
            let row = self
                .by_resource
                .binary_search_by(|(name, _)| (*name).cmp(resource));
            self.by_resource.get(row.ok()?)
        });
        let of_resource = found.map_or(&[][..], |(_, rules)| rules.as_slice());
        let indexes = self.general.iter().chain(of_resource);
        indexes.filter_map(|index| self.rules.get(usize::from(*index)))
    }

    pub(crate) fn not_examined(&self) -> Option<&CompiledRule<'a>> {
        self.rules.get(usize::from(self.not_examined?))
    }

    fn add_family(
        &mut self,
        family: &'static Family,
        rule: u16,
        written: Option<&'a RuleSettings>,
    ) -> Result<(), String> {
        let except = written.map_or(&[][..], |written| written.except.as_slice());
        if family.needs_except && except.is_empty() {
            return Err("it needs `except`: who or what is known and may".into());
        }
        if family.check == Check::OutsideWorkingHours && self.hours.is_none() {
            return Err("it needs organisation.workingHours".into());
        }
        let only = written.and_then(|written| written.only.as_ref());
        let mut compiled = self.rule(rule, "", only, except)?;
        compiled.verbs &= family.verbs;
        if compiled.verbs == 0 {
            return Err("only: verbs: it is about none of them".into());
        }
        compiled.deny = written.is_some_and(|written| written.deny);
        let says_where = only.is_some_and(|only| !only.namespaces.is_empty());
        if !family.namespaces.is_empty() && !says_where {
            let namespaces = family.namespaces.to_vec();
            compiled.only.insert(0, Condition::Namespaces(namespaces));
        }
        compiled.words = words(family, written)?;
        let kinds = family.kinds.iter().map(|kind| kind.resource);
        if family.check == Check::NotExamined {
            self.not_examined = Some(self.push(compiled)?);
        } else {
            self.index(compiled, kinds.collect())?;
        }
        Ok(())
    }

    fn add_custom(&mut self, custom: &'a CustomRule) -> Result<(), String> {
        let is_name = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
        let name = custom.name.as_str();
        if name.is_empty() || name.len() > MAX_NAME_BYTES || !name.bytes().all(is_name) {
            return Err(format!(
                "a name has 1 to {MAX_NAME_BYTES} characters of a-z, 0-9 and -"
            ));
        }
        let rule = FAMILIES.len() + custom.severity as usize;
        let rule = u16::try_from(rule).map_err(|error| error.to_string())?;
        let mut compiled = self.rule(rule, name, Some(&custom.selects), &custom.except)?;
        compiled.deny = custom.deny;
        let resources = custom.selects.resources.iter();
        let resources: Vec<&str> = resources
            .map(|of| of.split_once('/').map_or(of.as_str(), |(of, _)| of))
            .collect();
        let is_exact = resources.iter().all(|of| !of.ends_with('*'));
        self.index(compiled, if is_exact { resources } else { Vec::new() })
    }

    fn rule(
        &self,
        rule: u16,
        name: &'a str,
        only: Option<&'a Selector>,
        except: &'a [Selector],
    ) -> Result<CompiledRule<'a>, String> {
        let (only, verbs) = match only {
            Some(selector) => condition::compile(selector, self.hours).map_err(|error| {
                let member = if name.is_empty() { "only" } else { "match" };
                format!("{member}: {error}")
            })?,
            None => (Vec::new(), verb::ANY),
        };
        let except = except.iter().map(|selector| {
            let (conditions, verbs) = condition::compile(selector, self.hours)?;
            // Known verbs have no condition of their own: `verbs` of the rule stands
            // for it, which an exception doesn't have.
            let of_verbs = (verbs & verb::OTHER == 0)
                .then(|| Condition::Verbs(selector.verbs.iter().map(String::as_str).collect()));
            Ok(of_verbs.into_iter().chain(conditions).collect())
        });
        let except: Result<_, String> = except.collect();
        Ok(CompiledRule {
            rule,
            name,
            deny: false,
            verbs,
            only,
            except: except.map_err(|error| format!("except: {error}"))?,
            words: Vec::new(),
        })
    }

    /// Adds a rule to what is asked of requests of some resources; of all, if there
    /// are none.
    fn index(&mut self, rule: CompiledRule<'a>, mut resources: Vec<&'a str>) -> Result<(), String> {
        let index = self.push(rule)?;
        resources.sort_unstable();
        resources.dedup();
        if resources.is_empty() {
            self.general.push(index);
        }
        for resource in resources {
            match self
                .by_resource
                .iter_mut()
                .find(|(name, _)| *name == resource)
            {
                Some((_, rules)) => rules.push(index),
                None => self.by_resource.push((resource, vec![index])),
            }
        }
        Ok(())
    }

    fn push(&mut self, rule: CompiledRule<'a>) -> Result<u16, String> {
        let index = u16::try_from(self.rules.len()).map_err(|error| error.to_string())?;
        self.rules.push(rule);
        Ok(index)
    }
}

impl Organisation {
    fn selectors(&self) -> impl Iterator<Item = &Selector> {
        let rules = self.rules.values();
        let of_rules = rules.flat_map(|rule| rule.only.iter().chain(&rule.except));
        let custom = self.custom.iter();
        let of_custom = custom.flat_map(|rule| std::iter::once(&rule.selects).chain(&rule.except));
        of_rules.chain(of_custom)
    }

    /// Brings what can be said in two ways into one.
    ///
    /// # Errors
    /// In words that name the member.
    pub(crate) fn normalise(&mut self) -> Result<(), String> {
        let rules = self.rules.values_mut();
        let of_rules = rules.flat_map(|rule| rule.only.iter_mut().chain(&mut rule.except));
        let custom = self.custom.iter_mut();
        let of_custom =
            custom.flat_map(|rule| std::iter::once(&mut rule.selects).chain(&mut rule.except));
        for selector in of_rules.chain(of_custom) {
            for account in std::mem::take(&mut selector.service_accounts) {
                let user = match account.split_once('/') {
                    Some((namespace, name))
                        if !namespace.is_empty()
                            && !name.is_empty()
                            && !namespace.contains('*') =>
                    {
                        crate::compile::service_account_user(namespace, name)
                    }
                    _ => {
                        let error = format!("{account:?} is not namespace/name or namespace/*");
                        return Err(at("serviceAccounts", &error));
                    }
                };
                selector.users.push(user);
            }
        }
        Ok(())
    }
}

/// What `hostPaths` or `words` are in force.
fn words<'a>(family: &Family, written: Option<&'a RuleSettings>) -> Result<Vec<&'a str>, String> {
    let given = written.map(|written| (&written.host_paths, &written.words));
    let (host_paths, words) = given.map_or((None, None), |(a, b)| (a.as_ref(), b.as_ref()));
    let own = match family.check {
        Check::HostPath if words.is_some() => return Err("it has no `words`".into()),
        Check::Credentials if host_paths.is_some() => return Err("it has no `hostPaths`".into()),
        Check::HostPath => host_paths,
        Check::Credentials => words,
        _ if host_paths.is_some() => return Err("it has no `hostPaths`".into()),
        _ if words.is_some() => return Err("it has no `words`".into()),
        _ => None,
    };
    match own {
        Some(own) if own.iter().any(String::is_empty) => {
            Err("an empty word is in everything".into())
        }
        Some(own) => Ok(own.iter().map(String::as_str).collect()),
        None => Ok(family.words().to_vec()),
    }
}

fn at(member: &str, error: &str) -> String {
    format!("settings: organisation.{member}: {error}")
}
