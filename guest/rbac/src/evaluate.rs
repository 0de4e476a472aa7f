//! What a snapshot grants: RBAC as the apiserver evaluates it.
//!
//! Allow-only. A ClusterRoleBinding counts always, a RoleBinding for requests in its
//! namespace. Matching is exact and case-sensitive but for `*`, which stands for every
//! verb, group, resource (with subresources) and path; `*/sub` stands for a
//! subresource of every resource, `resource/*` for nothing; a path may end in `*`; a
//! name has no wildcard.

use auditchain_guest_sdk::User;

use crate::request::{Request, Target};
use crate::tables::{
    ABSENT, Binding, KIND_GROUP, KIND_SERVICE_ACCOUNT, KIND_USER, RuleRow, Tables,
};

/// Who asks.
#[derive(Debug, Clone)]
pub struct Who<'a> {
    /// User name.
    pub name: &'a str,
    /// Groups, exactly as given: none is added.
    pub groups: Vec<&'a str>,
}

impl<'a> Who<'a> {
    /// The user of an event.
    #[must_use]
    pub fn from_user(user: User<'a>) -> Self {
        Self {
            name: user.name().unwrap_or_default(),
            groups: user.groups().collect(),
        }
    }

    /// True for a member of the group.
    #[must_use]
    pub fn in_group(&self, group: &str) -> bool {
        self.groups.contains(&group)
    }
}

/// Something that is allowed or not, looked up in a snapshot's strings once.
#[derive(Debug)]
pub struct Action<'a> {
    tables: Tables<'a>,
    any: u32,
    verb: u32,
    target: Lookup<'a>,
}

#[derive(Debug)]
enum Lookup<'a> {
    Resource {
        group: u32,
        /// `resource` or `resource/subresource`.
        resource: u32,
        /// `*/subresource`.
        any_with_subresource: u32,
        namespace: u32,
        name: u32,
    },
    Path(&'a [u8]),
}

impl<'a> Action<'a> {
    /// The action that a request with this verb is.
    #[must_use]
    pub fn new(tables: Tables<'a>, verb: &str, request: &'a Request) -> Self {
        let find = |text: &str| tables.find(text.as_bytes());
        let target = match &request.target {
            Target::Path(path) => Lookup::Path(path.as_bytes()),
            Target::Resource(of) if of.subresource.is_empty() => Lookup::Resource {
                group: find(&of.group),
                resource: find(&of.resource),
                any_with_subresource: ABSENT,
                namespace: find(&of.namespace),
                name: find(&of.name),
            },
            Target::Resource(of) => Lookup::Resource {
                group: find(&of.group),
                resource: find(&format!("{}/{}", of.resource, of.subresource)),
                any_with_subresource: find(&format!("*/{}", of.subresource)),
                namespace: find(&of.namespace),
                name: find(&of.name),
            },
        };
        Self {
            tables,
            any: find("*"),
            verb: find(verb),
            target,
        }
    }

    /// The bindings that allow it to somebody.
    pub fn granted_to(&self, who: &Who<'_>) -> impl Iterator<Item = Binding> {
        let user = self.tables.find(who.name.as_bytes());
        let groups = who.groups.iter().map(|group| {
            let name = self.tables.find(group.as_bytes());
            (KIND_GROUP, name)
        });
        [(KIND_USER, user), (KIND_SERVICE_ACCOUNT, user)]
            .into_iter()
            .chain(groups)
            .filter(|(_, name)| *name != ABSENT)
            .flat_map(|(kind, name)| self.tables.bindings_of(kind, name).iter())
            .filter_map(|index| self.tables.binding(index))
            .filter(|binding| self.granted_by(binding))
    }

    /// True if a binding counts here and its role allows it, whoever asks.
    #[must_use]
    pub fn granted_by(&self, binding: &Binding) -> bool {
        let in_scope = match self.target {
            // Only a ClusterRoleBinding grants outside of namespaces.
            Lookup::Path(_) => binding.namespace == 0,
            Lookup::Resource { namespace, .. } => {
                binding.namespace == 0 || binding.namespace == namespace
            }
        };
        in_scope
            && binding.role.is_some_and(|role| {
                let mut rules = self.tables.rules_of(role);
                rules.any(|rule| self.allowed_by(&rule))
            })
    }

    fn allowed_by(&self, rule: &RuleRow<'_>) -> bool {
        if !(rule.verbs.contains(self.any) || rule.verbs.contains(self.verb)) {
            return false;
        }
        match &self.target {
            Lookup::Path(path) => rule
                .non_resource_urls
                .iter()
                .any(|url| url_matches(self.tables.string(url), path)),
            Lookup::Resource {
                group,
                resource,
                any_with_subresource,
                name,
                ..
            } => {
                let groups = rule.api_groups;
                let resources = rule.resources;
                (groups.contains(self.any) || groups.contains(*group))
                    && (resources.contains(self.any)
                        || resources.contains(*resource)
                        || resources.contains(*any_with_subresource))
                    && (rule.resource_names.is_empty() || rule.resource_names.contains(*name))
            }
        }
    }
}

/// `*`, exact, or a prefix before trailing `*`: `/foo/*` covers /foo/bar, not /foo.
fn url_matches(url: &[u8], path: &[u8]) -> bool {
    let mut prefix = url;
    while let [before @ .., b'*'] = prefix {
        prefix = before;
    }
    url == path || (prefix.len() < url.len() && path.starts_with(prefix))
}
