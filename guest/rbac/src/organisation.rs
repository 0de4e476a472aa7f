//! Rules of the organisation: what somebody would like to hear of though it was
//! allowed. They observe: an event stays valid.
//!
//! A long-running request (exec, watch) has two events with a decision, its beginning
//! and its end; each is reported, since either may be lost.

use auditchain_guest_sdk::{Event, Rule, Severity, User, Verdicts};
use serde_json::Value;

use crate::request::{Request, Resource, Target};
use crate::settings::{Organisation, matches_any};

/// Somebody is inside a pod.
pub const EXEC_INTO_POD: Rule = Rule::new(
    "exec-into-pod",
    Severity::Medium,
    "Exec, attach or port-forward into a pod",
);
/// Somebody has read Secrets.
pub const SECRET_READ: Rule = Rule::new("secret-read", Severity::Medium, "Secrets were read");
/// Somebody was made cluster-admin.
pub const CLUSTER_ADMIN_BINDING: Rule = Rule::new(
    "cluster-admin-binding",
    Severity::High,
    "A binding to cluster-admin was made or changed",
);
/// Somebody acts as somebody else.
pub const IMPERSONATION: Rule = Rule::new(
    "impersonation",
    Severity::Medium,
    "A request was made as another user",
);
/// Nobody knows who.
pub const ANONYMOUS_ALLOWED: Rule = Rule::new(
    "anonymous-allowed",
    Severity::High,
    "An anonymous request was allowed",
);

/// What every cluster shows to anybody (ClusterRole system:public-info-viewer).
const PUBLIC_PATHS: [&str; 5] = ["/healthz", "/livez", "/readyz", "/version", "/version/"];

/// Says what there is to say about an event with a decision.
pub(crate) fn observe(
    enabled: &Organisation,
    event: Event<'_>,
    request: &Request,
    verdicts: &mut Verdicts,
) {
    let subject = event.subject();
    let user = event.impersonated_user().unwrap_or(event.user());
    if enabled.impersonation && event.impersonated_user().is_some() {
        let reason = format!("{} as {}", named(event.user()), named(user));
        verdicts.finding(subject, &IMPERSONATION, reason);
    }
    if event.decision() != Some("allow") {
        return;
    }
    if enabled.anonymous_allowed && is_anonymous(user) && !is_public(request) {
        let uri = event.request_uri().unwrap_or_default();
        verdicts.finding(subject, &ANONYMOUS_ALLOWED, uri);
    }
    let Some(resource) = request.resource() else {
        return;
    };
    if enabled.exec_into_pod && enters_pod(resource) {
        let reason = format!(
            "{}: {} of {}/{}",
            named(user),
            resource.subresource,
            resource.namespace,
            resource.name
        );
        verdicts.finding(subject, &EXEC_INTO_POD, reason);
    }
    let exempt = || matches_any(&enabled.exempt_users, user.name().unwrap_or_default());
    if enabled.secret_read && reads_secrets(event, resource) && !exempt() {
        let reason = format!("{}: {}/{}", named(user), resource.namespace, resource.name);
        verdicts.finding(subject, &SECRET_READ, reason);
    }
    if enabled.cluster_admin_binding && binds_cluster_admin(event, resource) {
        verdicts.finding(subject, &CLUSTER_ADMIN_BINDING, named(user));
    }
}

fn named(user: User<'_>) -> String {
    user.name().unwrap_or_default().into()
}

fn is_anonymous(user: User<'_>) -> bool {
    user.name() == Some("system:anonymous") || user.in_group("system:unauthenticated")
}

fn is_public(request: &Request) -> bool {
    matches!(&request.target, Target::Path(path) if PUBLIC_PATHS.contains(&path.as_str()))
}

fn enters_pod(resource: &Resource) -> bool {
    resource.group.is_empty()
        && resource.resource == "pods"
        && matches!(
            resource.subresource.as_str(),
            "exec" | "attach" | "portforward"
        )
}

fn reads_secrets(event: Event<'_>, resource: &Resource) -> bool {
    resource.group.is_empty()
        && resource.resource == "secrets"
        && resource.subresource.is_empty()
        && matches!(event.verb(), Some("get" | "list" | "watch"))
        && event.code().is_none_or(|code| code < 400)
}

fn binds_cluster_admin(event: Event<'_>, resource: &Resource) -> bool {
    let binding = resource.group == "rbac.authorization.k8s.io"
        && matches!(
            resource.resource.as_str(),
            "clusterrolebindings" | "rolebindings"
        );
    let written = matches!(event.verb(), Some("create" | "update" | "patch"))
        && event.code().is_some_and(|code| (200..300).contains(&code));
    // The role is in the body alone. Below level Request, or when the bodies were cut
    // off, it can't be known.
    binding && written && event.body().is_some_and(|body| names_cluster_admin(&body))
}

/// Whether request or response is a binding of the role. An update of the subjects by
/// patch names it in the response only.
fn names_cluster_admin(body: &[u8]) -> bool {
    let Ok(event) = serde_json::from_slice::<Value>(body) else {
        return false;
    };
    ["requestObject", "responseObject"].iter().any(|object| {
        let role = &event[object]["roleRef"];
        role["kind"] == "ClusterRole" && role["name"] == "cluster-admin"
    })
}
