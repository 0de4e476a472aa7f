//! Was the real user of an impersonated request allowed to impersonate?
//!
//! Asked as the apiserver asks: `impersonate` on each of the user (or service
//! account), uid, groups and extras. What it adds itself is not asked for. Where it
//! used a constraint (KEP-5284, verbs `impersonate:...`) that is another question.

use std::collections::BTreeMap;

use auditchain_guest_sdk::Event;
use serde::Deserialize;

use crate::evaluate::{Action, Who};
use crate::organisation::Bytes;
use crate::request::{Request, Resource, Target};
use crate::rule::MASTERS;
use crate::tables::Tables;

/// The API group of uids and extras.
const AUTHENTICATION: &str = "authentication.k8s.io";

/// Says what is not granted; none where all is, or where the event doesn't tell.
pub(crate) fn not_granted(tables: Tables<'_>, event: Event<'_>, bytes: &Bytes) -> Option<String> {
    let impersonated = event.impersonated_user()?;
    let real = Who::from_user(event.user());
    if real.in_group(MASTERS) {
        return None;
    }
    // Extras and constraint are in the body only. An impersonated request is rare, so
    // the copy costs nothing that counts; a large one is let pass.
    let body: Body = serde_json::from_slice(bytes.of(event).ok()?).ok()?;
    if body
        .authentication_metadata
        .impersonation_constraint
        .is_some()
    {
        return None;
    }
    let name = impersonated.name().unwrap_or_default();
    let mut asked = vec![match service_account(name) {
        Some((namespace, name)) => Resource {
            resource: "serviceaccounts".into(),
            namespace: namespace.into(),
            name: name.into(),
            ..Resource::default()
        },
        None => core("users", name),
    }];
    let groups = impersonated.groups().filter(|group| !is_added(group));
    asked.extend(groups.map(|group| core("groups", group)));
    if let Some(uid) = impersonated.uid().filter(|uid| !uid.is_empty()) {
        asked.push(Resource {
            group: AUTHENTICATION.into(),
            ..core("uids", uid)
        });
    }
    for (key, values) in &body.impersonated_user.extra {
        asked.extend(values.iter().map(|value| Resource {
            group: AUTHENTICATION.into(),
            subresource: key.clone(),
            ..core("userextras", value)
        }));
    }
    asked.into_iter().find_map(|resource| {
        let what = format!("{} {:?}", resource.resource, resource.name);
        let request = Request {
            target: Target::Resource(resource),
            uncertain: false,
        };
        let action = Action::new(tables, "impersonate", &request);
        let granted = action.granted_to(&real).next().is_some();
        (!granted).then(|| format!("{:?} may not impersonate {what}", real.name))
    })
}

fn core(resource: &str, name: &str) -> Resource {
    Resource {
        resource: resource.into(),
        name: name.into(),
        ..Resource::default()
    }
}

/// Groups that the apiserver may have added to those asked for.
fn is_added(group: &str) -> bool {
    matches!(group, "system:authenticated" | "system:unauthenticated")
        || group == "system:serviceaccounts"
        || group.starts_with("system:serviceaccounts:")
}

/// Namespace and name of a service account's user name.
fn service_account(user: &str) -> Option<(&str, &str)> {
    let (namespace, name) = user
        .strip_prefix("system:serviceaccount:")?
        .split_once(':')?;
    (!namespace.is_empty() && !name.is_empty() && !name.contains(':')).then_some((namespace, name))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    impersonated_user: ImpersonatedUser,
    #[serde(default)]
    authentication_metadata: AuthenticationMetadata,
}

#[derive(Deserialize)]
struct ImpersonatedUser {
    #[serde(default)]
    extra: BTreeMap<String, Vec<String>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct AuthenticationMetadata {
    impersonation_constraint: Option<String>,
}
