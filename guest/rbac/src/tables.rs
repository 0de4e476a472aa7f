//! The form of a snapshot that `configure` takes up in no time: flat tables that are
//! used where they lie. `configure` runs for every slice of every block, so it can't
//! afford to build anything.
//!
//! A word is a little-endian u32; a table is rows of so many words; a string is its
//! index among all strings, which are distinct and sorted, so that two are equal when
//! their indexes are. Index 0 is the empty string.
//!
//! ```text
//! text      the strings' bytes, one after the other
//! ends      1 word:  where string i ends in `text`
//! lists     1 word:  a string
//! rules     10 words: 5 x (start, end) in `lists`: verbs, apiGroups, resources,
//!                     resourceNames, nonResourceURLs
//! roles     4 words: (start, end) in `rules`, changed (low, high)
//! bindings  8 words: namespace, name, kind and name of the role, 0 or 1 + the role,
//!                    changed (low, high), 0; sorted by namespace and name
//! subjects  4 words: kind, name, (start, end) in `grants`; sorted by kind and name
//! grants    1 word:  a binding; sorted
//! ```
//! A ServiceAccount is kept under its user name, `system:serviceaccount:<ns>:<name>`.
//! What is out of range reads as zeroes or as empty: the tables may be wrong, but
//! can't make a guest read past them.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

/// Bytes of a word.
pub const WORD_BYTES: usize = 4;
/// A string that the snapshot doesn't have. No table holds it.
pub const ABSENT: u32 = u32::MAX;
/// Kinds of subjects, as the table has them.
pub const KIND_USER: u32 = 0;
/// See [`KIND_USER`].
pub const KIND_GROUP: u32 = 1;
/// See [`KIND_USER`].
pub const KIND_SERVICE_ACCOUNT: u32 = 2;
/// Kinds of roles, as the table has them.
pub const KIND_CLUSTER_ROLE: u32 = 0;
/// See [`KIND_CLUSTER_ROLE`].
pub const KIND_ROLE: u32 = 1;

/// The tables of a snapshot.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Tables<'a> {
    /// The strings' bytes.
    pub text: &'a [u8],
    /// Where each string ends.
    pub ends: &'a [u8],
    /// Lists of strings.
    pub lists: &'a [u8],
    /// Rules of roles.
    pub rules: &'a [u8],
    /// Roles and ClusterRoles.
    pub roles: &'a [u8],
    /// RoleBindings and ClusterRoleBindings.
    pub bindings: &'a [u8],
    /// Subjects.
    pub subjects: &'a [u8],
    /// Bindings of subjects.
    pub grants: &'a [u8],
}

/// A binding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Binding {
    /// Row.
    pub index: u32,
    /// Namespace; empty for a ClusterRoleBinding.
    pub namespace: u32,
    /// Name.
    pub name: u32,
    /// [`KIND_CLUSTER_ROLE`] or [`KIND_ROLE`].
    pub role_kind: u32,
    /// Name of the role.
    pub role_name: u32,
    /// The role, unless it dangles.
    pub role: Option<u32>,
    /// When it is known to have changed last.
    pub changed: i64,
}

/// The lists of a rule.
#[derive(Debug, Clone, Copy)]
pub struct RuleRow<'a> {
    /// Verbs.
    pub verbs: List<'a>,
    /// API groups.
    pub api_groups: List<'a>,
    /// Resources.
    pub resources: List<'a>,
    /// Resource names.
    pub resource_names: List<'a>,
    /// Non-resource URLs.
    pub non_resource_urls: List<'a>,
}

/// Some strings.
#[derive(Debug, Clone, Copy)]
pub struct List<'a>(&'a [u8]);

impl<'a> List<'a> {
    /// The strings.
    pub fn iter(self) -> impl Iterator<Item = u32> + use<'a> {
        let (words, _) = self.0.as_chunks::<WORD_BYTES>();
        words.iter().map(|word| u32::from_le_bytes(*word))
    }

    /// True if it is one of them.
    #[must_use]
    pub fn contains(self, string: u32) -> bool {
        string != ABSENT && self.iter().any(|known| known == string)
    }

    /// True if there are none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0.is_empty()
    }
}

impl<'a> Tables<'a> {
    /// A string's bytes.
    #[must_use]
    pub fn string(&self, index: u32) -> &'a [u8] {
        let start = match index.checked_sub(1) {
            None => 0,
            Some(before) => row::<1>(self.ends, before).map_or(usize::MAX, |[end]| end as usize),
        };
        let end = row::<1>(self.ends, index).map_or(0, |[end]| end as usize);
        self.text.get(start..end).unwrap_or_default()
    }

    /// The index of a string; [`ABSENT`] where the snapshot doesn't have it.
    #[must_use]
    pub fn find(&self, text: &[u8]) -> u32 {
        search(rows::<1>(self.ends), |index| self.string(index).cmp(text)).unwrap_or(ABSENT)
    }

    /// The binding of a namespace (empty: a ClusterRoleBinding) and name.
    #[must_use]
    pub fn find_binding(&self, namespace: u32, name: u32) -> Option<Binding> {
        let index = search(rows::<8>(self.bindings), |index| {
            let [of, called, ..] = row::<8>(self.bindings, index).unwrap_or_default();
            (of, called).cmp(&(namespace, name))
        })?;
        self.binding(index)
    }

    /// A binding.
    #[must_use]
    pub fn binding(&self, index: u32) -> Option<Binding> {
        let [namespace, name, role_kind, role_name, role, low, high, _] =
            row::<8>(self.bindings, index)?;
        Some(Binding {
            index,
            namespace,
            name,
            role_kind,
            role_name,
            role: role.checked_sub(1),
            changed: time(low, high),
        })
    }

    /// The bindings of a subject.
    #[must_use]
    pub fn bindings_of(&self, kind: u32, name: u32) -> List<'a> {
        let found = search(rows::<4>(self.subjects), |index| {
            let [of, called, ..] = row::<4>(self.subjects, index).unwrap_or_default();
            (of, called).cmp(&(kind, name))
        });
        let [_, _, start, end] = found
            .and_then(|index| row::<4>(self.subjects, index))
            .unwrap_or_default();
        List(words(self.grants, start, end))
    }

    /// When a role is known to have changed last.
    #[must_use]
    pub fn role_changed(&self, role: u32) -> i64 {
        row::<4>(self.roles, role).map_or(i64::MIN, |[_, _, low, high]| time(low, high))
    }

    /// The rules of a role.
    pub fn rules_of(&self, role: u32) -> impl Iterator<Item = RuleRow<'a>> + use<'a> {
        let tables = *self;
        let [start, end, ..] = row::<4>(self.roles, role).unwrap_or_default();
        (start..end.min(rows::<10>(self.rules))).map(move |index| {
            let [a, b, c, d, e, f, g, h, i, j] = row::<10>(tables.rules, index).unwrap_or_default();
            let list = |start, end| List(words(tables.lists, start, end));
            RuleRow {
                verbs: list(a, b),
                api_groups: list(c, d),
                resources: list(e, f),
                resource_names: list(g, h),
                non_resource_urls: list(i, j),
            }
        })
    }
}

/// How many rows of `N` words a table has.
fn rows<const N: usize>(table: &[u8]) -> u32 {
    u32::try_from(table.len() / (N * WORD_BYTES)).unwrap_or(u32::MAX)
}

fn row<const N: usize>(table: &[u8], index: u32) -> Option<[u32; N]> {
    let start = (index as usize).checked_mul(N * WORD_BYTES)?;
    let bytes = table.get(start..start.checked_add(N * WORD_BYTES)?)?;
    let (words, _) = bytes.as_chunks::<WORD_BYTES>();
    let mut row = [0; N];
    for (to, from) in row.iter_mut().zip(words) {
        *to = u32::from_le_bytes(*from);
    }
    Some(row)
}

fn words(table: &[u8], start: u32, end: u32) -> &[u8] {
    let byte = |word: u32| (word as usize).checked_mul(WORD_BYTES);
    match (byte(start), byte(end)) {
        (Some(start), Some(end)) => table.get(start..end).unwrap_or_default(),
        _ => &[],
    }
}

fn time(low: u32, high: u32) -> i64 {
    (i64::from(high.cast_signed()) << 32) | i64::from(low)
}

/// Binary search over rows 0..count.
fn search(count: u32, compare: impl Fn(u32) -> Ordering) -> Option<u32> {
    let (mut from, mut to) = (0, count);
    while from < to {
        let middle = from + (to - from) / 2;
        match compare(middle) {
            Ordering::Less => from = middle + 1,
            Ordering::Greater => to = middle,
            Ordering::Equal => return Some(middle),
        }
    }
    None
}
