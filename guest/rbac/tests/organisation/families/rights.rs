//! Roles and bindings.

use serde_json::{Value, json};

use super::super::support::Event;
use super::{AS_IT_COMES, Cases, ON, of};

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";

pub(super) fn rights() -> Vec<Cases> {
    let role = |verb: &str, rules: Value| {
        Event::new(verb, &format!("{RBAC}/clusterroles/r"))
            .request(json!({"kind": "ClusterRole", "rules": rules}))
    };
    let namespaced = |rules: Value| {
        Event::new("create", &format!("{RBAC}/namespaces/n/roles"))
            .named("r")
            .request(json!({"kind": "Role", "rules": rules}))
    };
    let rule = |verbs: &[&str], resources: &[&str]| json!([{"verbs": verbs, "apiGroups": [""], "resources": resources}]);
    let binding = |kind: &str, name: &str| {
        Event::new("create", &format!("{RBAC}/clusterrolebindings"))
            .request(json!({"roleRef": {"kind": kind, "name": name}}))
    };
    let system = |verb, name: &str| Event::new(verb, &format!("{RBAC}/clusterroles/{name}"));
    vec![
        of(
            "cluster-admin-binding",
            AS_IT_COMES,
            [
                binding("ClusterRole", "cluster-admin"),
                Event::new("create", &format!("{RBAC}/namespaces/n/rolebindings"))
                    .request(json!({"roleRef": {"kind": "ClusterRole", "name": "cluster-admin"}})),
                Event::new("patch", &format!("{RBAC}/clusterrolebindings/b"))
                    .request(json!("x"))
                    .response(json!({"roleRef": {"kind": "ClusterRole", "name": "cluster-admin"}})),
            ],
            [
                binding("ClusterRole", "view"),
                binding("Role", "cluster-admin"),
                binding("ClusterRole", "cluster-admin").forbidden(),
                binding("ClusterRole", "cluster-admin").code(403),
            ],
        ),
        of(
            "system-role-changed",
            AS_IT_COMES,
            [
                system("delete", "system:node"),
                system("patch", "system:node"),
                Event::new("deletecollection", &format!("{RBAC}/clusterroles")),
            ],
            [
                system("patch", "view"),
                system("get", "system:node"),
                system("patch", "system:node").by("system:apiserver"),
            ],
        ),
        of(
            "wildcard-role",
            AS_IT_COMES,
            [
                role("update", rule(&["*"], &["pods"])),
                namespaced(rule(&["get"], &["*"])),
                role(
                    "create",
                    json!([{"verbs": ["get"], "nonResourceURLs": ["*"]}]),
                ),
            ],
            [
                namespaced(rule(&["get"], &["pods", "*/scale"])),
                role("delete", rule(&["*"], &["*"])),
                role("update", rule(&["*"], &["*"])).code(403),
            ],
        ),
        of(
            "write-role",
            ON,
            [namespaced(rule(&["get", "patch"], &["pods"]))],
            [namespaced(rule(&["get", "list", "watch"], &["pods"]))],
        ),
        of(
            "exec-role",
            AS_IT_COMES,
            [
                namespaced(rule(&["create"], &["pods/exec"])),
                role("patch", Value::Null).response(json!({"rules": rule(&["*"], &["*/attach"])})),
            ],
            [
                namespaced(rule(&["create"], &["pods", "pods/log", "pods/*"])),
                namespaced(rule(&["list"], &["pods/exec"])),
            ],
        ),
    ]
}
