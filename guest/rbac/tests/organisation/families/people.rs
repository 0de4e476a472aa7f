//! Who asks, and where.

use super::super::support::Event;
use super::{AS_IT_COMES, BOT, CONTROLLER, Cases, NODE, ON, of};

pub(super) fn who() -> Vec<Cases> {
    let get = || Event::new("get", "/api/v1/namespaces/n/pods/p");
    let anonymous = |uri| {
        Event::new("get", uri)
            .by("system:anonymous")
            .in_groups(&["system:unauthenticated"])
    };
    let masters = || get().in_groups(&["system:masters"]);
    let known = r#"{"except":[{"users":["alice","system:*"],"groups":["team-blue"]}]}"#;
    vec![
        of(
            "impersonation",
            AS_IT_COMES,
            [
                get().impersonating("bob"),
                get().impersonating("bob").forbidden(),
            ],
            [get()],
        ),
        of(
            "anonymous-allowed",
            AS_IT_COMES,
            [
                anonymous("/api/v1/secrets"),
                get().impersonating("system:anonymous"),
            ],
            [
                anonymous("/readyz?verbose"),
                anonymous("/api/v1/secrets").forbidden(),
                get(),
            ],
        ),
        of(
            "full-admin-access",
            ON,
            [masters()],
            [get(), masters().forbidden()],
        ),
        of("full-admin-access", AS_IT_COMES, [], [masters()]),
        of(
            "full-admin-access",
            ON,
            [],
            [get().by("system:apiserver").in_groups(&["system:masters"])],
        ),
        of(
            "disallowed-user",
            known,
            [
                get().by("mallory"),
                get().by("mallory").forbidden(),
                get().impersonating("mallory"),
                get().by("mallory").impersonating("alice"),
            ],
            [get(), get().by("zoe").in_groups(&["team-blue"])],
        ),
        of(
            "outside-working-hours",
            ON,
            [
                get()
                    .by(BOT)
                    .impersonating("alice")
                    .at("2026-11-21T12:00:00.000000Z"),
                get().at("2026-11-20T18:00:00.000000Z"),
                get().at("2026-11-21T12:00:00.000000Z"),
            ],
            [
                get(),
                get().by(NODE).at("2026-11-21T12:00:00.000000Z"),
                get().by(BOT).at("2026-11-21T12:00:00.000000Z"),
            ],
        ),
    ]
}

pub(super) fn into_pods() -> Vec<Cases> {
    let pod = |verb, sub| Event::new(verb, &format!("/api/v1/namespaces/n/pods/p/{sub}"));
    let started = pod("create", "exec?command=sh&stdin=true")
        .stage("ResponseStarted")
        .code(101);
    vec![
        of(
            "exec-into-pod",
            AS_IT_COMES,
            [
                started.clone(),
                pod("get", "attach"),
                pod("get", "exec").by("system:apiserver"),
            ],
            [
                pod("create", "exec").forbidden(),
                pod("get", "log"),
                pod("create", "portforward"),
                started.stage("RequestReceived"),
                Event::new("create", "/apis/example.test/v1/namespaces/n/pods/p/exec"),
            ],
        ),
        of(
            "port-forward",
            AS_IT_COMES,
            [pod("create", "portforward").code(101)],
            [
                pod("create", "portforward").forbidden(),
                pod("get", "proxy"),
            ],
        ),
        of(
            "ephemeral-container",
            AS_IT_COMES,
            [pod("patch", "ephemeralcontainers")],
            [
                pod("patch", "ephemeralcontainers").code(422),
                pod("get", "ephemeralcontainers"),
                pod("patch", "status"),
            ],
        ),
    ]
}

pub(super) fn kube_namespaces() -> Vec<Cases> {
    let create = |namespace: &str, kind: &str| {
        Event::new("create", &format!("/api/v1/namespaces/{namespace}/{kind}")).named("x")
    };
    let touch = |verb, uri: &str| Event::new(verb, &format!("/api/v1/namespaces/{uri}"));
    vec![
        of(
            "pod-in-kube-namespace",
            AS_IT_COMES,
            [
                create("kube-system", "pods"),
                create("kube-public", "pods").level("Metadata"),
            ],
            [
                create("kube-system", "pods").by(CONTROLLER),
                create("n", "pods"),
                create("kube-system", "pods").code(409),
            ],
        ),
        of(
            "pod-in-kube-namespace",
            r#"{"only":{"namespaces":["n"]}}"#,
            [create("n", "pods")],
            [],
        ),
        of(
            "pod-in-kube-namespace",
            r#"{"only":{"users":["alice"]}}"#,
            [],
            [create("n", "pods")],
        ),
        of(
            "service-account-in-kube-namespace",
            AS_IT_COMES,
            [create("kube-system", "serviceaccounts")],
            [
                create("n", "serviceaccounts"),
                create("kube-system", "serviceaccounts/default/token"),
            ],
        ),
        of(
            "kube-system-touched",
            AS_IT_COMES,
            [
                touch("patch", "kube-system/configmaps/coredns"),
                touch("deletecollection", "kube-system/pods"),
                touch("delete", "kube-system"),
            ],
            [
                touch("get", "kube-system/configmaps/coredns"),
                touch("patch", "n/configmaps/c"),
                touch("patch", "kube-system/configmaps/coredns").forbidden(),
                touch("update", "kube-system/configmaps/c").by(NODE),
                Event::new(
                    "update",
                    "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/l",
                ),
                touch("create", "kube-system/events"),
            ],
        ),
    ]
}
