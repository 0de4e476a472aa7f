//! Rules of the organisation: what somebody would like to hear of though it was
//! allowed. They observe: an event stays valid.
//!
//! A long-running request (exec, watch) has two events with a decision, its beginning
//! and its end; each is reported, since either may be lost.

use auditchain_guest_sdk::{Event, Rule, Severity, User, Verdicts};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::request::{Request, Resource, Target};
use crate::settings::{Organisation, matches_any};
use crate::snapshot::RoleRef;

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

/// Bodies larger than this are not looked into: reading them would use up the fuel of
/// other events. A binding has some 2 KB.
const MAX_BODY_BYTES: u32 = 64 * 1024;

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
    if enabled.cluster_admin_binding && writes_binding(event, resource) {
        // The role is in the body alone. Below level Request, or when the bodies were
        // cut off, it can't be known.
        let reason = match small_body(event) {
            Err(size) => Some(format!(
                "{}: a binding in {size} bytes, too many to look which role it is of",
                named(user)
            )),
            Ok(body) if names_cluster_admin(&body) => Some(named(user)),
            Ok(_) => None,
        };
        if let Some(reason) = reason {
            verdicts.finding(subject, &CLUSTER_ADMIN_BINDING, reason);
        }
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

fn writes_binding(event: Event<'_>, resource: &Resource) -> bool {
    resource.group == "rbac.authorization.k8s.io"
        && matches!(
            resource.resource.as_str(),
            "clusterrolebindings" | "rolebindings"
        )
        && matches!(event.verb(), Some("create" | "update" | "patch"))
        && event.code().is_some_and(|code| (200..300).contains(&code))
}

/// The body, or its size if it has more than [`MAX_BODY_BYTES`].
pub(crate) fn small_body(event: Event<'_>) -> Result<Vec<u8>, u32> {
    match event.raw().body_size {
        size if size > MAX_BODY_BYTES => Err(size),
        _ => Ok(event.body().unwrap_or_default()),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    #[serde(borrow)]
    request_object: Option<&'a RawValue>,
    response_object: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Binding {
    role_ref: RoleRef,
}

/// Whether request or response is a binding of the role. A patch names it in the
/// response only.
fn names_cluster_admin(body: &[u8]) -> bool {
    let Ok(body) = serde_json::from_slice::<Body<'_>>(body) else {
        return false;
    };
    [body.request_object, body.response_object]
        .into_iter()
        .flatten()
        // A patch may be anything, a scalar even.
        .filter_map(|object| serde_json::from_str::<Binding>(object.get()).ok())
        .any(|Binding { role_ref: role }| {
            role.kind == "ClusterRole" && role.name == "cluster-admin"
        })
}
