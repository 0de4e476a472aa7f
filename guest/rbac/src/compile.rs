//! From settings and snapshot to [`Tables`]: the work of `prepare`.

use std::collections::{BTreeMap, BTreeSet};

use auditchain_guest_sdk::{RbacSnapshot, settings};
use serde::{Deserialize, Serialize};

use crate::organisation::Compiled;
use crate::settings::{Comparison, Settings};
use crate::snapshot::{Object, Snapshot, Subject};
use crate::tables::{
    KIND_CLUSTER_ROLE, KIND_GROUP, KIND_ROLE, KIND_SERVICE_ACCOUNT, KIND_USER, Tables,
};

/// What `prepare` returns and `configure` takes up, as postcard.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Prepared<'a> {
    /// How to compare with the snapshots.
    #[serde(borrow)]
    pub settings: Comparison<'a>,
    /// The organisation's rules.
    #[serde(borrow)]
    pub organisation: Compiled<'a>,
    /// The snapshots, the oldest first; none where none is in force.
    #[serde(borrow)]
    pub snapshots: Vec<Dated<'a>>,
}

/// A snapshot and since when it holds.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Dated<'a> {
    /// Microseconds since 1970; the first of several holds for all times before, too.
    pub from: i64,
    /// What it grants.
    #[serde(borrow)]
    pub tables: Tables<'a>,
}

impl<'a> Prepared<'a> {
    /// Reads what [`prepare`] returned. Copies no text and no table.
    ///
    /// # Errors
    /// The bytes are something else.
    pub fn read(bytes: &'a [u8]) -> Result<Self, String> {
        postcard::from_bytes(bytes).map_err(|error| format!("prepared form: {error}"))
    }
}

/// Turns settings and snapshots into what [`Prepared::read`] takes.
///
/// # Errors
/// In words that name the setting, or say how to take a snapshot.
pub fn prepare(settings_json: &str, snapshots: &[RbacSnapshot]) -> Result<Vec<u8>, String> {
    let mut settings: Settings = settings(settings_json.as_bytes())?;
    settings.organisation.normalise()?;
    let mut built = Vec::with_capacity(snapshots.len());
    for snapshot in snapshots {
        let columns = Columns::build(&Snapshot::parse(&snapshot.json)?)?;
        built.push((snapshot.in_force_from, columns));
    }
    let dated = built.iter().map(|(from, columns)| Dated {
        from: *from,
        tables: columns.tables(),
    });
    let prepared = Prepared {
        settings: settings.comparison(),
        organisation: Compiled::new(&settings.organisation)?,
        snapshots: dated.collect(),
    };
    postcard::to_allocvec(&prepared).map_err(|error| format!("prepared form: {error}"))
}

/// The tables in the making.
#[derive(Debug, Default)]
struct Columns {
    text: Vec<u8>,
    ends: Vec<u8>,
    lists: Vec<u8>,
    rules: Vec<u8>,
    roles: Vec<u8>,
    bindings: Vec<u8>,
    subjects: Vec<u8>,
    grants: Vec<u8>,
}

/// Kind and name of each subject of a binding; none for one that matches nobody.
type SubjectNames = Vec<Option<(u32, String)>>;

/// Row of each role by kind, namespace and name.
type RoleRows<'s> = BTreeMap<(u32, &'s str, &'s str), u32>;

/// Row of each string.
type Strings<'s> = BTreeMap<&'s str, u32>;

impl Columns {
    fn build(snapshot: &Snapshot) -> Result<Self, String> {
        let mut columns = Self::default();
        let names: Vec<SubjectNames> = all_bindings(snapshot)
            .map(|binding| {
                let subjects = binding.subjects().iter();
                subjects
                    .map(|subject| subject_name(subject, binding.namespace()))
                    .collect()
            })
            .collect();
        let strings = columns.add_strings(snapshot, &names)?;
        let roles = columns.add_roles(snapshot, &strings)?;
        columns.add_bindings(snapshot, &names, &strings, &roles)?;
        Ok(columns)
    }

    fn tables(&self) -> Tables<'_> {
        Tables {
            text: &self.text,
            ends: &self.ends,
            lists: &self.lists,
            rules: &self.rules,
            roles: &self.roles,
            bindings: &self.bindings,
            subjects: &self.subjects,
            grants: &self.grants,
        }
    }

    fn add_strings<'s>(
        &mut self,
        snapshot: &'s Snapshot,
        names: &'s [SubjectNames],
    ) -> Result<Strings<'s>, String> {
        let mut strings: BTreeSet<&str> = BTreeSet::from([""]);
        for role in snapshot.cluster_roles.iter().chain(&snapshot.roles) {
            for rule in role.rules() {
                for list in lists(rule) {
                    strings.extend(list.iter().map(String::as_str));
                }
            }
        }
        for binding in all_bindings(snapshot) {
            strings.extend([binding.namespace(), binding.name()]);
            strings.extend(binding.role_ref.as_ref().map(|role| role.name.as_str()));
        }
        let names = names.iter().flatten().flatten();
        strings.extend(names.map(|(_, name)| name.as_str()));
        let mut rows = Strings::new();
        for string in strings {
            rows.insert(string, word(rows.len())?);
            self.text.extend_from_slice(string.as_bytes());
            push(&mut self.ends, [word(self.text.len())?]);
        }
        Ok(rows)
    }

    fn add_roles<'s>(
        &mut self,
        snapshot: &'s Snapshot,
        strings: &Strings<'_>,
    ) -> Result<RoleRows<'s>, String> {
        let mut index = RoleRows::new();
        let changed = snapshot.cluster_roles_changed();
        let cluster_roles = snapshot.cluster_roles.iter().zip(changed);
        let roles = snapshot.roles.iter().map(|role| (role, role.changed()));
        for (number, (role, changed)) in cluster_roles.chain(roles).enumerate() {
            let kind = match role.namespace() {
                "" => KIND_CLUSTER_ROLE,
                _ => KIND_ROLE,
            };
            let key = (kind, role.namespace(), role.name());
            if index.insert(key, word(number)?).is_some() {
                return Err(twice(role));
            }
            let start = rows(&self.rules, 10)?;
            for rule in role.rules() {
                let mut row = [0; 10];
                for (span, list) in row.as_chunks_mut::<2>().0.iter_mut().zip(lists(rule)) {
                    let start = rows(&self.lists, 1)?;
                    for string in list {
                        push(&mut self.lists, [id(strings, string)]);
                    }
                    *span = [start, rows(&self.lists, 1)?];
                }
                push(&mut self.rules, row);
            }
            let end = rows(&self.rules, 10)?;
            let [low, high] = time_words(changed);
            push(&mut self.roles, [start, end, low, high]);
        }
        Ok(index)
    }

    fn add_bindings(
        &mut self,
        snapshot: &Snapshot,
        names: &[SubjectNames],
        strings: &Strings<'_>,
        roles: &RoleRows<'_>,
    ) -> Result<(), String> {
        let mut sorted: BTreeMap<(u32, u32), (&Object, &SubjectNames)> = BTreeMap::new();
        for (binding, subjects) in all_bindings(snapshot).zip(names) {
            let key = (
                id(strings, binding.namespace()),
                id(strings, binding.name()),
            );
            if sorted.insert(key, (binding, subjects)).is_some() {
                return Err(twice(binding));
            }
        }
        let mut grants: BTreeMap<(u32, u32), BTreeSet<u32>> = BTreeMap::new();
        for (number, ((namespace, name), (binding, subjects))) in (0u32..).zip(sorted) {
            // `Snapshot::parse` refuses a binding without.
            let Some(role) = &binding.role_ref else {
                continue;
            };
            let (kind, of) = match role.kind.as_str() {
                "ClusterRole" => (KIND_CLUSTER_ROLE, ""),
                "Role" => (KIND_ROLE, binding.namespace()),
                other => {
                    let name = binding.name();
                    return Err(format!(
                        "RBAC snapshot: binding {name:?} refers to a {other}, not to a role"
                    ));
                }
            };
            // A dangling role is skipped, and so is a Role in a ClusterRoleBinding.
            let found = roles.get(&(kind, of, role.name.as_str()));
            let [low, high] = time_words(binding.changed());
            let role_row = found.map_or(0, |role| role + 1);
            let role_name = id(strings, &role.name);
            push(
                &mut self.bindings,
                [namespace, name, kind, role_name, role_row, low, high, 0],
            );
            for (kind, name) in subjects.iter().flatten() {
                let subject = (*kind, id(strings, name));
                grants.entry(subject).or_default().insert(number);
            }
        }
        for ((kind, name), bindings) in grants {
            let start = rows(&self.grants, 1)?;
            for binding in bindings {
                push(&mut self.grants, [binding]);
            }
            let end = rows(&self.grants, 1)?;
            push(&mut self.subjects, [kind, name, start, end]);
        }
        Ok(())
    }
}

/// The row of a string. `add_strings` has seen every one that is asked for.
fn id(strings: &Strings<'_>, string: &str) -> u32 {
    strings.get(string).copied().unwrap_or_default()
}

fn all_bindings(snapshot: &Snapshot) -> impl Iterator<Item = &Object> {
    snapshot
        .cluster_role_bindings
        .iter()
        .chain(&snapshot.role_bindings)
}

fn lists(rule: &crate::snapshot::PolicyRule) -> [&[String]; 5] {
    [
        &rule.verbs,
        &rule.api_groups,
        &rule.resources,
        &rule.resource_names,
        &rule.non_resource_urls,
    ]
}

/// Kind and name under which a subject is kept; none for one that matches nobody.
fn subject_name(subject: &Subject, binding_namespace: &str) -> Option<(u32, String)> {
    match subject.kind.as_str() {
        "User" => Some((KIND_USER, subject.name.clone())),
        "Group" => Some((KIND_GROUP, subject.name.clone())),
        "ServiceAccount" => {
            let own = subject.namespace.as_deref().unwrap_or_default();
            let namespace = if own.is_empty() {
                binding_namespace
            } else {
                own
            };
            // In a ClusterRoleBinding there is no namespace to fall back to.
            (!namespace.is_empty()).then(|| {
                let name = service_account_user(namespace, &subject.name);
                (KIND_SERVICE_ACCOUNT, name)
            })
        }
        _ => None,
    }
}

/// The user name of a ServiceAccount.
#[must_use]
pub fn service_account_user(namespace: &str, name: &str) -> String {
    format!("system:serviceaccount:{namespace}:{name}")
}

fn twice(object: &Object) -> String {
    format!("RBAC snapshot: {:?} is in it twice", object.name())
}

fn push<const N: usize>(table: &mut Vec<u8>, row: [u32; N]) {
    for word in row {
        table.extend_from_slice(&word.to_le_bytes());
    }
}

fn rows(table: &[u8], words: usize) -> Result<u32, String> {
    word(table.len() / (words * crate::tables::WORD_BYTES))
}

fn word(number: usize) -> Result<u32, String> {
    u32::try_from(number).map_err(|_| "RBAC snapshot: it is larger than 4 GiB".into())
}

/// Low and high half.
fn time_words(time: i64) -> [u32; 2] {
    let [a, b, c, d, e, f, g, h] = time.to_le_bytes();
    [
        u32::from_le_bytes([a, b, c, d]),
        u32::from_le_bytes([e, f, g, h]),
    ]
}

#[cfg(test)]
mod tests;
