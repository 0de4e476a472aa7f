//! Objects of which the kind or the content counts.

use serde_json::{Value, json};

use super::super::support::Event;
use super::{AS_IT_COMES, Cases, NODE, ON, of};

pub(super) fn secrets() -> Vec<Cases> {
    let secret = |verb| Event::new(verb, "/api/v1/namespaces/n/secrets/s");
    let map = |data: Value| {
        Event::new("update", "/api/v1/namespaces/n/configmaps/c")
            .request(json!({"kind": "ConfigMap", "data": data}))
    };
    let label = json!({"metadata": {"labels": {"password": "x"}}, "data": {"a": "b"}});
    let only = r#"{"only":{"names":["db-*"]}}"#;
    vec![
        of(
            "secret-read",
            AS_IT_COMES,
            [
                secret("get"),
                Event::new("list", "/api/v1/secrets?limit=500"),
                Event::new("watch", "/api/v1/secrets?watch=true").code(200),
                secret("get").impersonating(NODE),
            ],
            [
                secret("get").by(NODE),
                secret("get").code(404),
                secret("get").forbidden(),
                secret("update"),
            ],
        ),
        of(
            "secret-read",
            only,
            [
                Event::new("get", "/api/v1/namespaces/n/secrets/db-1"),
                Event::new("list", "/api/v1/namespaces/n/secrets"),
            ],
            [
                secret("get"),
                Event::new("list", "/api/v1/secrets?fieldSelector=metadata.name%3Ds"),
            ],
        ),
        of(
            "secret-read-refused",
            AS_IT_COMES,
            [secret("get").forbidden(), secret("get").code(403)],
            [
                secret("get"),
                secret("get").code(404),
                secret("delete").forbidden(),
            ],
        ),
        of(
            "configmap-credentials",
            AS_IT_COMES,
            [
                map(json!({"DB_PASSWORD": "hunter2"})),
                map(json!({"env": "AWS_SECRET_ACCESS_KEY=x"})),
                Event::new("patch", "/api/v1/namespaces/n/configmaps/c")
                    .request(json!([]))
                    .response(json!({"data": {"k": "-----BEGIN RSA PRIVATE KEY-----"}})),
            ],
            [
                map(json!({"log": "debug"})),
                map(json!(null)).request(label),
                map(json!({"password": "x"})).forbidden(),
            ],
        ),
        of(
            "configmap-credentials",
            r#"{"words":["geheim"]}"#,
            [map(json!({"Geheim": "x"}))],
            [map(json!({"password": "x"}))],
        ),
    ]
}

pub(super) fn lifecycle() -> Vec<Cases> {
    let kinds = [
        [
            "deployment-created",
            "deployment-deleted",
            "/apis/apps/v1/namespaces/n/deployments",
        ],
        [
            "service-created",
            "service-deleted",
            "/api/v1/namespaces/n/services",
        ],
        [
            "configmap-created",
            "configmap-deleted",
            "/api/v1/namespaces/n/configmaps",
        ],
        [
            "namespace-created",
            "namespace-deleted",
            "/api/v1/namespaces",
        ],
        [
            "service-account-created",
            "service-account-deleted",
            "/api/v1/namespaces/n/serviceaccounts",
        ],
        [
            "role-created",
            "role-deleted",
            "/apis/rbac.authorization.k8s.io/v1/namespaces/n/roles",
        ],
        [
            "cluster-role-created",
            "cluster-role-deleted",
            "/apis/rbac.authorization.k8s.io/v1/clusterroles",
        ],
        [
            "role-binding-created",
            "role-binding-deleted",
            "/apis/rbac.authorization.k8s.io/v1/namespaces/n/rolebindings",
        ],
        [
            "cluster-role-binding-created",
            "cluster-role-binding-deleted",
            "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
        ],
        [
            "secret-created",
            "secret-deleted",
            "/api/v1/namespaces/n/secrets",
        ],
    ];
    let of_kind = |[created, deleted, uri]: [&'static str; 3]| {
        let one = format!("{uri}/x");
        let create = || Event::new("create", uri).level("Metadata");
        let delete = || Event::new("delete", &one);
        [
            of(created, AS_IT_COMES, [], [create()]),
            of(
                created,
                ON,
                [create()],
                [
                    Event::new("update", &one),
                    create().code(409),
                    create().by("system:kube-controller-manager"),
                    Event::new("create", &format!("{one}/status")),
                    delete(),
                ],
            ),
            of(deleted, AS_IT_COMES, [], [delete()]),
            of(
                deleted,
                ON,
                [delete(), Event::new("deletecollection", uri)],
                [
                    delete().code(404),
                    delete().by("system:kube-controller-manager"),
                    create(),
                ],
            ),
        ]
    };
    kinds.into_iter().flat_map(of_kind).collect()
}

pub(super) fn outside() -> Vec<Cases> {
    let service = |kind: &str| {
        Event::new("create", "/api/v1/namespaces/n/services")
            .request(json!({"spec": {"type": kind}}))
    };
    let ingress = |spec: Value| {
        Event::new(
            "create",
            "/apis/networking.k8s.io/v1/namespaces/n/ingresses",
        )
        .request(json!({ "spec": spec }))
    };
    let node = |name: &str| Event::new("create", "/api/v1/nodes").by(NODE).named(name);
    let nodes = r#"{"except":[{"names":["worker-*"]}]}"#;
    vec![
        of(
            "node-port-service",
            AS_IT_COMES,
            [service("NodePort")],
            [service("ClusterIP"), service("NodePort").code(422)],
        ),
        of(
            "ingress-without-tls",
            AS_IT_COMES,
            [ingress(json!({"rules": []})), ingress(json!({"tls": []}))],
            [
                ingress(json!({"tls": [{"hosts": ["a"]}]})),
                Event::new(
                    "create",
                    "/apis/networking.k8s.io/v1/namespaces/n/ingresses",
                )
                .level("Metadata"),
            ],
        ),
        of(
            "untrusted-node",
            nodes,
            [node("rogue")],
            [node("worker-7"), node("rogue").code(403)],
        ),
        of(
            "untrusted-node-refused",
            nodes,
            [node("rogue").code(403)],
            [node("rogue"), node("worker-7").code(403)],
        ),
    ]
}
