//! Each family on events that it catches and on such that differ in what counts.

use std::collections::BTreeMap;

use auditchain_guest_rbac::organisation::RULES;
use serde_json::{Value, json};

use super::support::{Event, judge};

/// The rule, its settings, whether it catches the event, the event.
type Case = (&'static str, &'static str, bool, Event);

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";
const NODE: &str = "system:node:worker-1";
const CONTROLLER: &str = "system:serviceaccount:kube-system:replicaset-controller";

#[test]
fn every_family_catches_what_it_should_and_nothing_beside() {
    let cases = [
        who(),
        into_pods(),
        pods(),
        kube_namespaces(),
        secrets(),
        rights(),
        outside(),
        lifecycle(),
        not_examined(),
    ];
    let mut seen: BTreeMap<&str, [usize; 2]> = BTreeMap::new();
    for (rule, written, expected, event) in cases.into_iter().flatten() {
        let settings = match written {
            "" => "{}".into(),
            hours if hours.starts_with("workingHours") => {
                format!(
                    r#"{{"workingHours":{{"from":"08:00","to":"18:00"}},"rules":{{"{rule}":{{}}}}}}"#
                )
            }
            written => format!(r#"{{"rules":{{"{rule}":{written}}}}}"#),
        };
        let given = judge(&settings, &event);
        let caught = given.iter().filter(|given| given.rule == rule).count();
        assert_eq!(
            caught,
            usize::from(expected),
            "{rule} {}: {given:?}",
            event.json()
        );
        assert!(given.iter().all(|given| given.valid), "{given:?}");
        seen.entry(rule).or_default()[usize::from(expected)] += 1;
    }
    for rule in RULES {
        if rule.id.starts_with("organisation-") {
            continue;
        }
        let [negative, positive] = seen.get(rule.id).copied().unwrap_or_default();
        assert!(negative > 0 && positive > 0, "{} has no test", rule.id);
    }
}

fn who() -> Vec<Case> {
    let get = || Event::new("get", "/api/v1/namespaces/n/pods/p");
    let anonymous = |uri| {
        Event::new("get", uri)
            .by("system:anonymous")
            .in_groups(&["system:unauthenticated"])
    };
    let masters = || get().in_groups(&["system:masters"]);
    let known = r#"{"except":[{"users":["alice","system:*"],"groups":["team-blue"]}]}"#;
    let hours = "workingHours";
    vec![
        ("impersonation", "", true, get().as_user("bob")),
        ("impersonation", "", true, get().as_user("bob").forbidden()),
        ("impersonation", "", false, get()),
        ("anonymous-allowed", "", true, anonymous("/api/v1/secrets")),
        (
            "anonymous-allowed",
            "",
            true,
            get().as_user("system:anonymous"),
        ),
        ("anonymous-allowed", "", false, anonymous("/readyz?verbose")),
        (
            "anonymous-allowed",
            "",
            false,
            anonymous("/api/v1/secrets").forbidden(),
        ),
        ("anonymous-allowed", "", false, get()),
        ("full-admin-access", "{}", true, masters()),
        ("full-admin-access", "{}", false, get()),
        ("full-admin-access", "{}", false, masters().forbidden()),
        ("full-admin-access", "", false, masters()),
        (
            "full-admin-access",
            "{}",
            false,
            get().by("system:apiserver").in_groups(&["system:masters"]),
        ),
        ("disallowed-user", known, true, get().by("mallory")),
        (
            "disallowed-user",
            known,
            true,
            get().by("mallory").forbidden(),
        ),
        ("disallowed-user", known, true, get().as_user("mallory")),
        (
            "disallowed-user",
            known,
            true,
            get().by("mallory").as_user("alice"),
        ),
        ("disallowed-user", known, false, get()),
        (
            "disallowed-user",
            known,
            false,
            get().by("zoe").in_groups(&["team-blue"]),
        ),
        (
            "outside-working-hours",
            hours,
            true,
            get().at("2026-11-20T18:00:00.000000Z"),
        ),
        (
            "outside-working-hours",
            hours,
            true,
            get().at("2026-11-21T12:00:00.000000Z"),
        ),
        ("outside-working-hours", hours, false, get()),
        (
            "outside-working-hours",
            hours,
            false,
            get().by(NODE).at("2026-11-21T12:00:00.000000Z"),
        ),
    ]
}

fn into_pods() -> Vec<Case> {
    let pod = |verb, sub| Event::new(verb, &format!("/api/v1/namespaces/n/pods/p/{sub}"));
    let started = pod("create", "exec?command=sh&stdin=true")
        .stage("ResponseStarted")
        .code(101);
    vec![
        ("exec-into-pod", "", true, started.clone()),
        ("exec-into-pod", "", true, pod("get", "attach")),
        (
            "exec-into-pod",
            "",
            true,
            pod("get", "exec").by("system:apiserver"),
        ),
        (
            "exec-into-pod",
            "",
            false,
            pod("create", "exec").forbidden(),
        ),
        ("exec-into-pod", "", false, pod("get", "log")),
        ("exec-into-pod", "", false, pod("create", "portforward")),
        ("exec-into-pod", "", false, started.stage("RequestReceived")),
        (
            "exec-into-pod",
            "",
            false,
            Event::new("create", "/apis/example.test/v1/namespaces/n/pods/p/exec"),
        ),
        (
            "port-forward",
            "",
            true,
            pod("create", "portforward").code(101),
        ),
        (
            "port-forward",
            "",
            false,
            pod("create", "portforward").forbidden(),
        ),
        ("port-forward", "", false, pod("get", "proxy")),
        (
            "ephemeral-container",
            "",
            true,
            pod("patch", "ephemeralcontainers"),
        ),
        (
            "ephemeral-container",
            "",
            false,
            pod("patch", "ephemeralcontainers").code(422),
        ),
        (
            "ephemeral-container",
            "",
            false,
            pod("get", "ephemeralcontainers"),
        ),
        ("ephemeral-container", "", false, pod("patch", "status")),
    ]
}

fn pod_spec(more: &Value) -> Value {
    let mut spec = json!({"containers": [{"name": "app", "image": "registry.example/app:1"}]});
    for (member, value) in more.as_object().unwrap() {
        spec[member] = value.clone();
    }
    spec
}

fn create_pod(more: &Value) -> Event {
    Event::new("create", "/api/v1/namespaces/n/pods")
        .named("p")
        .request(json!({"kind": "Pod", "spec": pod_spec(more)}))
}

fn pods() -> Vec<Case> {
    let image = |image| json!({"containers": [{"name": "a", "image": image}]});
    let privileged = |privileged: Value| json!({"containers": [{"name": "app"}, {"name": "side", "securityContext": {"privileged": privileged}}]});
    let init = json!({"initContainers": [{"name": "i", "securityContext": {"privileged": true}}]});
    let debug =
        json!({"ephemeralContainers": [{"name": "d", "securityContext": {"privileged": true}}]});
    let template = |more: &Value| json!({"spec": {"template": {"spec": pod_spec(more)}}});
    let deployment = |verb: &str| Event::new(verb, "/apis/apps/v1/namespaces/n/deployments/d");
    let yes = privileged(true.into());
    let host = |path: &str| {
        create_pod(
            &json!({"volumes": [{"name": "v", "emptyDir": {}}, {"name": "h", "hostPath": {"path": path}}]}),
        )
    };
    let flag = |member: &str, value: Value| create_pod(&json!({ member: value }));
    let images = r#"{"except":[{"images":["registry.example/*"]}]}"#;
    let cron = json!({"spec": {"jobTemplate": template(&yes)}});
    let ephemeral = "/api/v1/namespaces/n/pods/p/ephemeralcontainers";
    vec![
        ("privileged-pod", "", true, create_pod(&yes)),
        ("privileged-pod", "", true, create_pod(&init)),
        ("privileged-pod", "", true, create_pod(&yes).by(CONTROLLER)),
        (
            "privileged-pod",
            "",
            true,
            Event::new("patch", ephemeral)
                .request(json!([1]))
                .response(json!({"spec": debug})),
        ),
        (
            "privileged-pod",
            "",
            true,
            deployment("update").request(template(&yes)),
        ),
        (
            "privileged-pod",
            "",
            true,
            deployment("patch")
                .request(json!(7))
                .response(template(&yes)),
        ),
        (
            "privileged-pod",
            "",
            true,
            Event::new("create", "/apis/batch/v1/namespaces/n/cronjobs").request(cron),
        ),
        (
            "privileged-pod",
            "",
            false,
            create_pod(&privileged(false.into())),
        ),
        (
            "privileged-pod",
            "",
            false,
            create_pod(&privileged(Value::Null)),
        ),
        ("privileged-pod", "", false, create_pod(&yes).forbidden()),
        ("privileged-pod", "", false, create_pod(&yes).code(403)),
        (
            "privileged-pod",
            "",
            false,
            create_pod(&yes).level("Metadata"),
        ),
        (
            "privileged-pod",
            "",
            false,
            Event::new("patch", "/api/v1/namespaces/n/pods/p").response(json!({"spec": yes})),
        ),
        (
            "privileged-pod",
            "",
            false,
            Event::new("create", "/api/v1/namespaces/kube-system/pods")
                .by(CONTROLLER)
                .request(json!({"spec": yes})),
        ),
        (
            "privileged-pod",
            "",
            false,
            deployment("update")
                .request(template(&yes))
                .by("system:serviceaccount:kube-system:d"),
        ),
        (
            "privileged-pod",
            "",
            false,
            Event::new("create", "/apis/example.test/v1/namespaces/n/pods")
                .request(json!({"spec": yes})),
        ),
        (
            "host-network-pod",
            "",
            true,
            flag("hostNetwork", true.into()),
        ),
        (
            "host-network-pod",
            "",
            false,
            flag("hostNetwork", false.into()),
        ),
        ("host-network-pod", "", false, flag("hostPID", true.into())),
        ("host-pid-pod", "", true, flag("hostPID", true.into())),
        ("host-pid-pod", "", false, flag("hostIPC", true.into())),
        ("host-ipc-pod", "", true, flag("hostIPC", true.into())),
        ("host-ipc-pod", "", false, flag("hostNetwork", true.into())),
        ("sensitive-host-path", "", true, host("/")),
        (
            "sensitive-host-path",
            "",
            true,
            host("/etc//kubernetes/pki/"),
        ),
        (
            "sensitive-host-path",
            "",
            true,
            host("/var/run/docker.sock"),
        ),
        ("sensitive-host-path", "", false, host("/etc/localtime")),
        ("sensitive-host-path", "", false, host("/mnt/data")),
        (
            "sensitive-host-path",
            r#"{"hostPaths":["/mnt*"]}"#,
            true,
            host("/mnt/data"),
        ),
        (
            "sensitive-host-path",
            r#"{"hostPaths":["/mnt*"]}"#,
            false,
            host("/etc"),
        ),
        (
            "disallowed-image",
            images,
            true,
            create_pod(&image("evil.example/miner")),
        ),
        (
            "disallowed-image",
            images,
            true,
            create_pod(&json!({"initContainers": [{"name": "i", "image": "evil.example/i"}]})),
        ),
        (
            "disallowed-image",
            images,
            true,
            create_pod(&image("registry.example.evil.example/app")),
        ),
        ("disallowed-image", images, false, create_pod(&json!({}))),
        (
            "disallowed-image",
            images,
            false,
            create_pod(&image("evil.example/miner")).level("Metadata"),
        ),
    ]
}

fn kube_namespaces() -> Vec<Case> {
    let create = |namespace: &str, kind: &str| {
        Event::new("create", &format!("/api/v1/namespaces/{namespace}/{kind}")).named("x")
    };
    let touch = |verb, uri: &str| Event::new(verb, &format!("/api/v1/namespaces/{uri}"));
    vec![
        (
            "pod-in-kube-namespace",
            "",
            true,
            create("kube-system", "pods"),
        ),
        (
            "pod-in-kube-namespace",
            "",
            true,
            create("kube-public", "pods").level("Metadata"),
        ),
        (
            "pod-in-kube-namespace",
            "",
            false,
            create("kube-system", "pods").by(CONTROLLER),
        ),
        ("pod-in-kube-namespace", "", false, create("n", "pods")),
        (
            "pod-in-kube-namespace",
            "",
            false,
            create("kube-system", "pods").code(409),
        ),
        (
            "pod-in-kube-namespace",
            r#"{"only":{"namespaces":["n"]}}"#,
            true,
            create("n", "pods"),
        ),
        (
            "pod-in-kube-namespace",
            r#"{"only":{"users":["alice"]}}"#,
            false,
            create("n", "pods"),
        ),
        (
            "service-account-in-kube-namespace",
            "",
            true,
            create("kube-system", "serviceaccounts"),
        ),
        (
            "service-account-in-kube-namespace",
            "",
            false,
            create("n", "serviceaccounts"),
        ),
        (
            "service-account-in-kube-namespace",
            "",
            false,
            create("kube-system", "serviceaccounts/default/token"),
        ),
        (
            "kube-system-touched",
            "",
            true,
            touch("patch", "kube-system/configmaps/coredns"),
        ),
        (
            "kube-system-touched",
            "",
            true,
            touch("deletecollection", "kube-system/pods"),
        ),
        (
            "kube-system-touched",
            "",
            true,
            touch("delete", "kube-system"),
        ),
        (
            "kube-system-touched",
            "",
            false,
            touch("get", "kube-system/configmaps/coredns"),
        ),
        (
            "kube-system-touched",
            "",
            false,
            touch("patch", "n/configmaps/c"),
        ),
        (
            "kube-system-touched",
            "",
            false,
            touch("patch", "kube-system/configmaps/coredns").forbidden(),
        ),
        (
            "kube-system-touched",
            "",
            false,
            touch("update", "kube-node-lease/leases/w").by(NODE),
        ),
    ]
}

fn secrets() -> Vec<Case> {
    let secret = |verb| Event::new(verb, "/api/v1/namespaces/n/secrets/s");
    let map = |data: Value| {
        Event::new("update", "/api/v1/namespaces/n/configmaps/c")
            .request(json!({"kind": "ConfigMap", "data": data}))
    };
    let label = json!({"metadata": {"labels": {"password": "x"}}, "data": {"a": "b"}});
    let only = r#"{"only":{"names":["db-*"]}}"#;
    vec![
        ("secret-read", "", true, secret("get")),
        (
            "secret-read",
            "",
            true,
            Event::new("list", "/api/v1/secrets?limit=500"),
        ),
        (
            "secret-read",
            "",
            true,
            Event::new("watch", "/api/v1/secrets?watch=true").code(200),
        ),
        ("secret-read", "", true, secret("get").as_user(NODE)),
        ("secret-read", "", false, secret("get").by(NODE)),
        ("secret-read", "", false, secret("get").code(404)),
        ("secret-read", "", false, secret("get").forbidden()),
        ("secret-read", "", false, secret("update")),
        (
            "secret-read",
            only,
            true,
            Event::new("get", "/api/v1/namespaces/n/secrets/db-1"),
        ),
        (
            "secret-read",
            only,
            true,
            Event::new("list", "/api/v1/namespaces/n/secrets"),
        ),
        ("secret-read", only, false, secret("get")),
        (
            "secret-read",
            only,
            false,
            Event::new("list", "/api/v1/secrets?fieldSelector=metadata.name%3Ds"),
        ),
        ("secret-read-refused", "", true, secret("get").forbidden()),
        ("secret-read-refused", "", true, secret("get").code(403)),
        ("secret-read-refused", "", false, secret("get")),
        ("secret-read-refused", "", false, secret("get").code(404)),
        (
            "secret-read-refused",
            "",
            false,
            secret("delete").forbidden(),
        ),
        (
            "configmap-credentials",
            "",
            true,
            map(json!({"DB_PASSWORD": "hunter2"})),
        ),
        (
            "configmap-credentials",
            "",
            true,
            map(json!({"env": "AWS_SECRET_ACCESS_KEY=x"})),
        ),
        (
            "configmap-credentials",
            "",
            true,
            Event::new("patch", "/api/v1/namespaces/n/configmaps/c")
                .request(json!([]))
                .response(json!({"data": {"k": "-----BEGIN RSA PRIVATE KEY-----"}})),
        ),
        (
            "configmap-credentials",
            "",
            false,
            map(json!({"log": "debug"})),
        ),
        (
            "configmap-credentials",
            "",
            false,
            map(json!(null)).request(label),
        ),
        (
            "configmap-credentials",
            "",
            false,
            map(json!({"password": "x"})).forbidden(),
        ),
        (
            "configmap-credentials",
            r#"{"words":["geheim"]}"#,
            true,
            map(json!({"Geheim": "x"})),
        ),
        (
            "configmap-credentials",
            r#"{"words":["geheim"]}"#,
            false,
            map(json!({"password": "x"})),
        ),
    ]
}

fn rights() -> Vec<Case> {
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
        (
            "cluster-admin-binding",
            "",
            true,
            binding("ClusterRole", "cluster-admin"),
        ),
        (
            "cluster-admin-binding",
            "",
            true,
            Event::new("create", &format!("{RBAC}/namespaces/n/rolebindings"))
                .request(json!({"roleRef": {"kind": "ClusterRole", "name": "cluster-admin"}})),
        ),
        (
            "cluster-admin-binding",
            "",
            true,
            Event::new("patch", &format!("{RBAC}/clusterrolebindings/b"))
                .request(json!("x"))
                .response(json!({"roleRef": {"kind": "ClusterRole", "name": "cluster-admin"}})),
        ),
        (
            "cluster-admin-binding",
            "",
            false,
            binding("ClusterRole", "view"),
        ),
        (
            "cluster-admin-binding",
            "",
            false,
            binding("Role", "cluster-admin"),
        ),
        (
            "cluster-admin-binding",
            "",
            false,
            binding("ClusterRole", "cluster-admin").forbidden(),
        ),
        (
            "cluster-admin-binding",
            "",
            false,
            binding("ClusterRole", "cluster-admin").code(403),
        ),
        (
            "system-role-changed",
            "",
            true,
            system("delete", "system:node"),
        ),
        (
            "system-role-changed",
            "",
            true,
            system("patch", "system:node"),
        ),
        (
            "system-role-changed",
            "",
            true,
            Event::new("deletecollection", &format!("{RBAC}/clusterroles")),
        ),
        ("system-role-changed", "", false, system("patch", "view")),
        (
            "system-role-changed",
            "",
            false,
            system("get", "system:node"),
        ),
        (
            "system-role-changed",
            "",
            false,
            system("patch", "system:node").by("system:apiserver"),
        ),
        (
            "wildcard-role",
            "",
            true,
            role("update", rule(&["*"], &["pods"])),
        ),
        (
            "wildcard-role",
            "",
            true,
            namespaced(rule(&["get"], &["*"])),
        ),
        (
            "wildcard-role",
            "",
            true,
            role(
                "create",
                json!([{"verbs": ["get"], "nonResourceURLs": ["*"]}]),
            ),
        ),
        (
            "wildcard-role",
            "",
            false,
            namespaced(rule(&["get"], &["pods", "*/scale"])),
        ),
        (
            "wildcard-role",
            "",
            false,
            role("delete", rule(&["*"], &["*"])),
        ),
        (
            "wildcard-role",
            "",
            false,
            role("update", rule(&["*"], &["*"])).code(403),
        ),
        (
            "write-role",
            "{}",
            true,
            namespaced(rule(&["get", "patch"], &["pods"])),
        ),
        (
            "write-role",
            "{}",
            false,
            namespaced(rule(&["get", "list", "watch"], &["pods"])),
        ),
        (
            "exec-role",
            "",
            true,
            namespaced(rule(&["create"], &["pods/exec"])),
        ),
        (
            "exec-role",
            "",
            true,
            role("patch", Value::Null).response(json!({"rules": rule(&["*"], &["*/attach"])})),
        ),
        (
            "exec-role",
            "",
            false,
            namespaced(rule(&["create"], &["pods", "pods/log", "pods/*"])),
        ),
        (
            "exec-role",
            "",
            false,
            namespaced(rule(&["list"], &["pods/exec"])),
        ),
    ]
}

fn outside() -> Vec<Case> {
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
        ("node-port-service", "", true, service("NodePort")),
        ("node-port-service", "", false, service("ClusterIP")),
        (
            "node-port-service",
            "",
            false,
            service("NodePort").code(422),
        ),
        (
            "ingress-without-tls",
            "",
            true,
            ingress(json!({"rules": []})),
        ),
        ("ingress-without-tls", "", true, ingress(json!({"tls": []}))),
        (
            "ingress-without-tls",
            "",
            false,
            ingress(json!({"tls": [{"hosts": ["a"]}]})),
        ),
        (
            "ingress-without-tls",
            "",
            false,
            Event::new(
                "create",
                "/apis/networking.k8s.io/v1/namespaces/n/ingresses",
            )
            .level("Metadata"),
        ),
        ("untrusted-node", nodes, true, node("rogue")),
        ("untrusted-node", nodes, false, node("worker-7")),
        ("untrusted-node", nodes, false, node("rogue").code(403)),
        (
            "untrusted-node-refused",
            nodes,
            true,
            node("rogue").code(403),
        ),
        ("untrusted-node-refused", nodes, false, node("rogue")),
        (
            "untrusted-node-refused",
            nodes,
            false,
            node("worker-7").code(403),
        ),
    ]
}

fn lifecycle() -> Vec<Case> {
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
        [
            (
                created,
                "{}",
                true,
                Event::new("create", uri).level("Metadata"),
            ),
            (created, "", false, Event::new("create", uri)),
            (created, "{}", false, Event::new("update", &one)),
            (created, "{}", false, Event::new("create", uri).code(409)),
            (
                created,
                "{}",
                false,
                Event::new("create", uri).by("system:kube-controller-manager"),
            ),
            (
                created,
                "{}",
                false,
                Event::new("create", &format!("{one}/status")),
            ),
            (deleted, "{}", true, Event::new("delete", &one)),
            (deleted, "{}", true, Event::new("deletecollection", uri)),
            (deleted, "", false, Event::new("delete", &one)),
            (deleted, "{}", false, Event::new("delete", &one).code(404)),
            (deleted, "{}", false, Event::new("create", uri)),
        ]
    };
    kinds.into_iter().flat_map(of_kind).collect()
}

fn not_examined() -> Vec<Case> {
    let map = || Event::new("update", "/api/v1/namespaces/n/configmaps/c").request(json!({}));
    let read = Event::new("get", "/api/v1/namespaces/n/pods/p");
    vec![
        ("body-not-examined", "", true, map().padded()),
        (
            "body-not-examined",
            "",
            true,
            create_pod(&json!({})).truncated(),
        ),
        ("body-not-examined", "", false, map()),
        (
            "body-not-examined",
            "",
            false,
            map().padded().level("Metadata"),
        ),
        ("body-not-examined", "", false, map().padded().forbidden()),
        // No rule looks into these.
        ("body-not-examined", "", false, read.padded()),
        (
            "body-not-examined",
            r#"{"enabled":false}"#,
            false,
            map().padded(),
        ),
        (
            "body-not-examined",
            r#"{"except":[{"namespaces":["n"]}]}"#,
            false,
            map().padded(),
        ),
    ]
}

#[test]
fn a_finding_says_who_did_what() {
    let reason = |event: &Event| judge("{}", event).remove(0).reason;
    let exec = Event::new("create", "/api/v1/namespaces/n/pods/p/exec");
    assert_eq!(reason(&exec), "alice: create pods/exec n/p");
    let privileged = create_pod(
        &json!({"initContainers": [{"name": "i", "securityContext": {"privileged": true}}]}),
    );
    assert_eq!(
        reason(&privileged),
        r#"alice: create pods n/p: container "i""#
    );
    let anonymous = Event::new("get", "/metrics?x").as_user("system:anonymous");
    assert_eq!(
        reason(&anonymous),
        "alice as system:anonymous: get /metrics"
    );
    let padded = create_pod(&json!({})).padded();
    let reason = reason(&padded);
    assert!(
        reason.contains("too many to look into: privileged-pod, host-network-pod"),
        "{reason}"
    );
}
