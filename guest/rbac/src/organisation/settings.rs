//! What an organisation may set, as it is written: `organisation` of the policy's
//! settings. What each member means to a reader: docs/rules.md.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::hours::WorkingHours;
use super::pattern::{Cidr, Codes};

/// Rules of the organisation.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct Organisation {
    /// When people work.
    pub working_hours: Option<WorkingHours>,
    /// The cluster's own components: users of whom most families say nothing.
    pub exempt_users: Vec<String>,
    /// Built-in families by id. One that isn't mentioned is as it comes.
    pub rules: BTreeMap<String, RuleSettings>,
    /// Rules that the organisation writes itself.
    pub custom: Vec<CustomRule>,
}

impl Default for Organisation {
    fn default() -> Self {
        Self {
            working_hours: None,
            exempt_users: [
                "system:apiserver",
                "system:kube-controller-manager",
                "system:kube-scheduler",
                "system:node:*",
                "system:serviceaccount:kube-system:*",
            ]
            .map(String::from)
            .to_vec(),
            rules: BTreeMap::new(),
            custom: Vec::new(),
        }
    }
}

/// Settings of a built-in family. One that is mentioned is on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct RuleSettings {
    /// False takes the family out; true where it isn't stated.
    pub enabled: Option<bool>,
    /// True: an event that is caught is not valid.
    pub deny: bool,
    /// Catches only what this selects.
    pub only: Option<Selector>,
    /// Catches nothing that any of these selects.
    pub except: Vec<Selector>,
    /// Of `sensitive-host-path`: the paths, in place of those it comes with.
    pub host_paths: Option<Vec<String>>,
    /// Of `configmap-credentials`: the words, in place of those it comes with.
    pub words: Option<Vec<String>>,
}

/// A rule that the organisation writes itself.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct CustomRule {
    /// What findings begin with: a-z, 0-9 and `-`, at most 64.
    pub name: String,
    /// Which of the ids `organisation-<severity>` it reports under.
    pub severity: CustomSeverity,
    /// What it catches.
    #[serde(rename = "match")]
    pub selects: Selector,
    /// Catches nothing that any of these selects.
    #[serde(default)]
    pub except: Vec<Selector>,
    /// True: an event that is caught is not valid.
    #[serde(default)]
    pub deny: bool,
}

/// See [`CustomRule::severity`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum CustomSeverity {
    /// Nothing to act on.
    Info,
    /// Low.
    Low,
    /// Medium.
    Medium,
    /// High.
    High,
    /// To wake somebody up for.
    Critical,
}

/// Selects events: all members that are stated must hold; in a list, any. A pattern
/// is exact, or a prefix where it ends in `*`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct Selector {
    /// Patterns of user names. Of users, groups and serviceAccounts one must hold.
    pub users: Vec<String>,
    /// Patterns of groups.
    pub groups: Vec<String>,
    /// `namespace/name`; the name may end in `*`.
    pub service_accounts: Vec<String>,
    /// Patterns of verbs.
    pub verbs: Vec<String>,
    /// API groups; "" is the core group.
    pub api_groups: Vec<String>,
    /// `resource`, `resource/subresource`; each a pattern. `*` alone is every one,
    /// with or without subresource.
    pub resources: Vec<String>,
    /// Patterns of paths that are no resource, without the query.
    pub paths: Vec<String>,
    /// Patterns of namespaces; "" is what has none.
    pub namespaces: Vec<String>,
    /// Patterns of names.
    pub names: Vec<String>,
    /// What the apiserver decided.
    pub decisions: Vec<Decision>,
    /// Response codes: `403`, `2xx`.
    pub codes: Vec<Codes>,
    /// Patterns of user agents. The client chooses it.
    pub user_agents: Vec<String>,
    /// Addresses and networks of the last source IP, the only one that is trustworthy.
    #[serde(rename = "sourceIPs")]
    pub source_ips: Vec<Cidr>,
    /// Whether it was made as another user.
    pub impersonated: Option<bool>,
    /// Whether it was anonymous.
    pub anonymous: Option<bool>,
    /// When it was made.
    pub working_hours: Option<Within>,
    /// Patterns of images of a pod or workload that is written.
    pub images: Vec<String>,
    /// What the body must say, all of it.
    pub body: Vec<BodyCondition>,
}

/// What the apiserver decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Decision {
    /// Allowed.
    Allow,
    /// Forbidden.
    Forbid,
    /// Nothing: a request that wasn't authenticated, or was turned away before.
    None,
}

/// See [`Selector::working_hours`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Within {
    /// Within the working hours.
    Inside,
    /// Outside of them.
    Outside,
}

/// Something that a body must say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct BodyCondition {
    /// Where: a JSON pointer (RFC 6901) into the event, `*` for any element or
    /// member: `/requestObject/spec/containers/*/image`.
    pub at: String,
    /// Patterns of the string, number or boolean there; none: anything but null.
    #[serde(default)]
    pub values: Vec<String>,
    /// True: must not be there, or not have any of the values.
    #[serde(default)]
    pub absent: bool,
}

impl Selector {
    /// True if it states nothing, and so selects everything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
