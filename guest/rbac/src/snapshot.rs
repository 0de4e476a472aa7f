//! An RBAC snapshot as it comes: JSON.
//!
//! Either one `List` of mixed kinds, as
//! `kubectl get clusterroles,clusterrolebindings,roles,rolebindings -A -o json`
//! writes it, or an object of four lists by the same names in the plural, each an
//! array or a `List`. Fields that no decision rests on are ignored.
//!
//! When an object last changed: its managedFields say (`--show-managed-fields`);
//! without them only its creation is known.

use std::collections::BTreeMap;
use std::fmt;

use auditchain_guest_sdk::timestamp;
use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};

/// The objects of a snapshot.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// ClusterRoles.
    pub cluster_roles: Vec<Object>,
    /// Roles.
    pub roles: Vec<Object>,
    /// ClusterRoleBindings.
    pub cluster_role_bindings: Vec<Object>,
    /// RoleBindings.
    pub role_bindings: Vec<Object>,
}

/// A (Cluster)Role or a (Cluster)RoleBinding.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Object {
    kind: Option<String>,
    metadata: Metadata,
    rules: Option<Vec<PolicyRule>>,
    subjects: Option<Vec<Subject>>,
    /// Of a binding.
    pub role_ref: Option<RoleRef>,
    aggregation_rule: Option<AggregationRule>,
}

/// A rule of a role.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PolicyRule {
    /// Verbs; `*` is all.
    #[serde(deserialize_with = "null_is_empty")]
    pub verbs: Vec<String>,
    /// API groups; `*` is all.
    #[serde(deserialize_with = "null_is_empty")]
    pub api_groups: Vec<String>,
    /// Resources, `resource/subresource`, `*/subresource`; `*` is all.
    #[serde(deserialize_with = "null_is_empty")]
    pub resources: Vec<String>,
    /// Names; none is any.
    #[serde(deserialize_with = "null_is_empty")]
    pub resource_names: Vec<String>,
    /// Paths; a trailing `*` makes a prefix.
    #[serde(rename = "nonResourceURLs", deserialize_with = "null_is_empty")]
    pub non_resource_urls: Vec<String>,
}

/// Whom a binding is for.
#[derive(Debug, Deserialize)]
pub struct Subject {
    /// User, Group or ServiceAccount.
    pub kind: String,
    /// Name.
    pub name: String,
    /// Of a ServiceAccount.
    pub namespace: Option<String>,
}

/// What a binding grants.
#[derive(Debug, Deserialize)]
pub struct RoleRef {
    /// ClusterRole or Role.
    pub kind: String,
    /// Name.
    pub name: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    name: String,
    namespace: Option<String>,
    creation_timestamp: Option<String>,
    labels: Option<BTreeMap<String, String>>,
    managed_fields: Option<Vec<ManagedField>>,
}

#[derive(Debug, Deserialize)]
struct ManagedField {
    time: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct AggregationRule {
    cluster_role_selectors: Option<Vec<Selector>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Selector {
    match_labels: Option<BTreeMap<String, String>>,
    match_expressions: Option<Vec<de::IgnoredAny>>,
}

impl Snapshot {
    /// Reads either form.
    ///
    /// # Errors
    /// In words, with how to take a snapshot that is none.
    pub fn parse(json: &[u8]) -> Result<Self, String> {
        const HOW: &str = "take it with `kubectl get clusterroles,clusterrolebindings,roles,\
                           rolebindings -A -o json`";
        let root: Root = serde_json::from_slice(json)
            .map_err(|error| format!("RBAC snapshot: {error}; {HOW}"))?;
        let mut snapshot = Self {
            cluster_roles: root.clusterroles.0,
            roles: root.roles.0,
            cluster_role_bindings: root.clusterrolebindings.0,
            role_bindings: root.rolebindings.0,
        };
        for object in root.items.0 {
            let list = match object.kind.as_deref() {
                Some("ClusterRole") => &mut snapshot.cluster_roles,
                Some("Role") => &mut snapshot.roles,
                Some("ClusterRoleBinding") => &mut snapshot.cluster_role_bindings,
                Some("RoleBinding") => &mut snapshot.role_bindings,
                kind => {
                    let kind = kind.unwrap_or("object without a kind");
                    let name = &object.metadata.name;
                    return Err(format!("RBAC snapshot: {name:?} is a {kind}; {HOW}"));
                }
            };
            list.push(object);
        }
        // Every cluster is born with both. Half a snapshot would deny what is granted.
        if snapshot.cluster_roles.is_empty() || snapshot.cluster_role_bindings.is_empty() {
            return Err(format!(
                "RBAC snapshot: it has no ClusterRole or no ClusterRoleBinding; {HOW}"
            ));
        }
        for binding in snapshot
            .cluster_role_bindings
            .iter()
            .chain(&snapshot.role_bindings)
        {
            if binding.role_ref.is_none() {
                let name = &binding.metadata.name;
                return Err(format!("RBAC snapshot: binding {name:?} has no roleRef"));
            }
        }
        let namespaced = snapshot.roles.iter().chain(&snapshot.role_bindings);
        if let Some(object) = namespaced
            .into_iter()
            .find(|object| object.namespace().is_empty())
        {
            let name = &object.metadata.name;
            return Err(format!("RBAC snapshot: {name:?} has no namespace"));
        }
        Ok(snapshot)
    }

    /// When each ClusterRole last changed, in their order. An aggregated one changes
    /// with any that its selectors match; without managedFields that is how late it
    /// may have changed.
    #[must_use]
    pub fn cluster_roles_changed(&self) -> Vec<i64> {
        let mut changed: Vec<i64> = self.cluster_roles.iter().map(Object::changed).collect();
        // Aggregated roles are aggregated again (view, edit, admin). Each round carries
        // a time one role further, so this ends; a cycle of selectors does no harm.
        for _ in 0..self.cluster_roles.len() {
            let before = changed.clone();
            for (index, role) in self.cluster_roles.iter().enumerate() {
                for (other, time) in self.cluster_roles.iter().zip(&before) {
                    if role.aggregates(other) {
                        changed[index] = changed[index].max(*time);
                    }
                }
            }
            if changed == before {
                break;
            }
        }
        changed
    }
}

impl Object {
    /// Name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.metadata.name
    }

    /// Namespace; empty where there is none.
    #[must_use]
    pub fn namespace(&self) -> &str {
        self.metadata.namespace.as_deref().unwrap_or_default()
    }

    /// Rules of a role.
    #[must_use]
    pub fn rules(&self) -> &[PolicyRule] {
        self.rules.as_deref().unwrap_or_default()
    }

    /// Subjects of a binding.
    #[must_use]
    pub fn subjects(&self) -> &[Subject] {
        self.subjects.as_deref().unwrap_or_default()
    }

    /// When it is known to have changed last, in microseconds since 1970; the
    /// beginning of time where the snapshot doesn't say.
    #[must_use]
    pub fn changed(&self) -> i64 {
        let managed = self.metadata.managed_fields.as_deref().unwrap_or_default();
        managed
            .iter()
            .map(|field| &field.time)
            .chain([&self.metadata.creation_timestamp])
            .filter_map(|time| timestamp(time.as_deref()?))
            .max()
            .unwrap_or(i64::MIN)
    }

    fn aggregates(&self, other: &Self) -> bool {
        let rule = self.aggregation_rule.as_ref();
        let selectors = rule.and_then(|rule| rule.cluster_role_selectors.as_deref());
        selectors.unwrap_or_default().iter().any(|selector| {
            // Expressions are not evaluated but taken to match: the role may then have
            // changed later than it did, which only makes answers more careful.
            if selector.match_expressions.is_some() {
                return true;
            }
            let labels = other.metadata.labels.as_ref();
            selector
                .match_labels
                .iter()
                .flatten()
                .all(|(key, value)| labels.and_then(|labels| labels.get(key)) == Some(value))
        })
    }
}

#[derive(Deserialize)]
struct Root {
    #[serde(default)]
    items: Objects,
    #[serde(default)]
    clusterroles: Objects,
    #[serde(default)]
    clusterrolebindings: Objects,
    #[serde(default)]
    roles: Objects,
    #[serde(default)]
    rolebindings: Objects,
}

/// An array of objects, or a `List` around it.
#[derive(Default)]
struct Objects(Vec<Object>);

impl<'de> Deserialize<'de> for Objects {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ArrayOrList;

        impl<'de> Visitor<'de> for ArrayOrList {
            type Value = Objects;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of RBAC objects or a List")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Objects, A::Error> {
                let mut objects = Vec::new();
                while let Some(object) = seq.next_element()? {
                    objects.push(object);
                }
                Ok(Objects(objects))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Objects, A::Error> {
                let mut items = None;
                while let Some(key) = map.next_key::<String>()? {
                    if key == "items" {
                        items = Some(map.next_value::<Vec<Object>>()?);
                    } else {
                        map.next_value::<de::IgnoredAny>()?;
                    }
                }
                items
                    .map(Objects)
                    .ok_or_else(|| de::Error::missing_field("items"))
            }
        }

        deserializer.deserialize_any(ArrayOrList)
    }
}

fn null_is_empty<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    Option::<Vec<String>>::deserialize(deserializer).map(Option::unwrap_or_default)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARTS: &str = r#"{"kind":"ClusterRole","metadata":{"name":"r"},"rules":null},
        {"kind":"ClusterRoleBinding","metadata":{"name":"b"},"subjects":null,
         "roleRef":{"kind":"ClusterRole","name":"r"}}"#;

    #[test]
    fn both_forms_are_read() {
        let list = format!(r#"{{"kind":"List","items":[{PARTS}]}}"#);
        let snapshot = Snapshot::parse(list.as_bytes()).unwrap();
        assert_eq!(snapshot.cluster_roles[0].name(), "r");
        let (role, binding) = PARTS.split_once("},\n").unwrap();
        let dump = format!(
            r#"{{"clusterroles":[{role}}}],"clusterrolebindings":{{"items":[{binding}]}},"roles":[]}}"#
        );
        let snapshot = Snapshot::parse(dump.as_bytes()).unwrap();
        assert_eq!(snapshot.cluster_role_bindings[0].name(), "b");
    }

    #[test]
    fn errors_say_what_and_how() {
        let with = |item: &str| format!(r#"{{"items":[{PARTS},{item}]}}"#);
        for (json, what) in [
            ("[".into(), "kubectl get"),
            ("{}".into(), "no ClusterRole"),
            (r#"{"roles":7}"#.into(), "an array of RBAC objects"),
            (r#"{"roles":{"kind":"List"}}"#.into(), "items"),
            (
                with(r#"{"kind":"Pod","metadata":{"name":"p"}}"#),
                "is a Pod",
            ),
            (with(r#"{"metadata":{"name":"p"}}"#), "without a kind"),
            (
                with(r#"{"kind":"Role","metadata":{"name":"p"}}"#),
                "namespace",
            ),
            (
                with(r#"{"kind":"ClusterRoleBinding","metadata":{"name":"p"}}"#),
                "roleRef",
            ),
        ] {
            let error = Snapshot::parse(json.as_bytes()).unwrap_err();
            assert!(error.contains(what), "{error}");
        }
    }

    #[test]
    fn an_aggregated_role_changes_with_its_parts() {
        let role = |name: &str, second: u8, more: &str| {
            format!(
                r#"{{"kind":"ClusterRole","metadata":{{"name":"{name}",
                "creationTimestamp":"1970-01-01T00:00:0{second}Z","labels":{{"to":"{name}"}}}}{more}}}"#
            )
        };
        let select = |what: &str| {
            format!(
                r#","aggregationRule":{{"clusterRoleSelectors":[{{"matchLabels":{{"to":"{what}"}}}}]}}"#
            )
        };
        let roles = [
            role("admin", 1, &select("edit")),
            role("edit", 1, &select("part")),
            role("part", 7, ""),
            role("view", 2, &select("nothing")),
        ];
        let list = format!(r#"{{"items":[{PARTS},{}]}}"#, roles.join(","));
        let snapshot = Snapshot::parse(list.as_bytes()).unwrap();
        assert_eq!(
            snapshot.cluster_roles_changed(),
            [i64::MIN, 7_000_000, 7_000_000, 7_000_000, 2_000_000]
        );
    }
}
