//! What pods and workloads ask for.

use serde_json::{Value, json};

use super::super::support::Event;
use super::{AS_IT_COMES, CONTROLLER, Cases, of};

fn pod_spec(more: &Value) -> Value {
    let mut spec = json!({"containers": [{"name": "app", "image": "registry.example/app:1"}]});
    for (member, value) in more.as_object().unwrap() {
        spec[member] = value.clone();
    }
    spec
}

pub(super) fn create_pod(more: &Value) -> Event {
    Event::new("create", "/api/v1/namespaces/n/pods")
        .named("p")
        .request(json!({"kind": "Pod", "spec": pod_spec(more)}))
}

pub(super) fn pods() -> Vec<Cases> {
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
        of(
            "privileged-pod",
            AS_IT_COMES,
            [
                create_pod(&yes),
                create_pod(&init),
                create_pod(&yes).by(CONTROLLER),
                Event::new("patch", ephemeral)
                    .request(json!([1]))
                    .response(json!({"spec": debug})),
                deployment("update").request(template(&yes)),
                deployment("patch")
                    .request(json!(7))
                    .response(template(&yes)),
                Event::new("create", "/apis/batch/v1/namespaces/n/cronjobs").request(cron),
            ],
            [
                create_pod(&privileged(false.into())),
                create_pod(&privileged(Value::Null)),
                create_pod(&yes).forbidden(),
                create_pod(&yes).code(403),
                Event::new("patch", ephemeral)
                    .request(json!([1]))
                    .response(json!({"spec": pod_spec(&yes)})),
                create_pod(&yes).level("Metadata"),
                Event::new("patch", "/api/v1/namespaces/n/pods/p").response(json!({"spec": yes})),
                Event::new("create", "/api/v1/namespaces/kube-system/pods")
                    .by(CONTROLLER)
                    .request(json!({"spec": yes})),
                deployment("update")
                    .request(template(&yes))
                    .by("system:serviceaccount:kube-system:d"),
                Event::new("create", "/apis/example.test/v1/namespaces/n/pods")
                    .request(json!({"spec": yes})),
            ],
        ),
        of(
            "host-network-pod",
            AS_IT_COMES,
            [flag("hostNetwork", true.into())],
            [
                flag("hostNetwork", false.into()),
                flag("hostPID", true.into()),
            ],
        ),
        of(
            "host-pid-pod",
            AS_IT_COMES,
            [flag("hostPID", true.into())],
            [flag("hostIPC", true.into())],
        ),
        of(
            "host-ipc-pod",
            AS_IT_COMES,
            [flag("hostIPC", true.into())],
            [flag("hostNetwork", true.into())],
        ),
        of(
            "sensitive-host-path",
            AS_IT_COMES,
            [
                host("/"),
                host("/etc//kubernetes/pki/"),
                host("/var/run/docker.sock"),
            ],
            [host("/etc/localtime"), host("/mnt/data")],
        ),
        of(
            "sensitive-host-path",
            r#"{"hostPaths":["/mnt*"]}"#,
            [host("/mnt/data")],
            [host("/etc")],
        ),
        of(
            "disallowed-image",
            images,
            [
                create_pod(&image("evil.example/miner")),
                create_pod(&json!({"initContainers": [{"name": "i", "image": "evil.example/i"}]})),
                create_pod(&image("registry.example.evil.example/app")),
            ],
            [
                create_pod(&json!({})),
                create_pod(&image("evil.example/miner")).level("Metadata"),
            ],
        ),
    ]
}

pub(super) fn not_examined() -> Vec<Cases> {
    let map = || Event::new("update", "/api/v1/namespaces/n/configmaps/c").request(json!({}));
    let read = Event::new("get", "/api/v1/namespaces/n/pods/p");
    vec![
        of(
            "body-not-examined",
            AS_IT_COMES,
            [map().padded(), create_pod(&json!({})).truncated()],
            [
                map(),
                map().padded().level("Metadata"),
                map().padded().forbidden(),
                read.padded(),
            ],
        ),
        of(
            "body-not-examined",
            r#"{"only":{"verbs":["create"]}}"#,
            [create_pod(&json!({})).padded()],
            [map().padded()],
        ),
        of(
            "body-not-examined",
            r#"{"enabled":false}"#,
            [],
            [map().padded()],
        ),
        of(
            "body-not-examined",
            r#"{"except":[{"namespaces":["n"]}]}"#,
            [],
            [map().padded()],
        ),
    ]
}
