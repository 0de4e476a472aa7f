//! What a request asks for, read from its URI as the apiserver reads it
//! (k8s.io/apiserver, `RequestInfoFactory`).
//!
//! From the URI and not from objectRef, which is filled from the body later: access
//! is decided before the body is read.

mod query;

/// What a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// A resource or a path.
    pub target: Target,
    /// True where the apiserver may have read the URI differently: no accusation may
    /// rest on it.
    pub uncertain: bool,
}

/// What access is asked to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A resource of the API.
    Resource(Resource),
    /// Any other path, without the query.
    Path(String),
}

/// A resource; empty is absent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Resource {
    /// API group; empty is the core group.
    pub group: String,
    /// Resource, in the plural.
    pub resource: String,
    /// Subresource.
    pub subresource: String,
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl Request {
    /// Reads a requestURI; `verb` is the event's.
    #[must_use]
    pub fn parse(uri: &str, verb: &str) -> Self {
        let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
        let Some(path) = query::decode_path(path) else {
            // No URI that an apiserver would have taken in.
            return Self {
                target: Target::Path(path.into()),
                uncertain: true,
            };
        };
        let Some((mut resource, special_verb)) = parse_resource(&path) else {
            return Self {
                target: Target::Path(path.into_owned()),
                uncertain: false,
            };
        };
        let mut uncertain = resource.resource.is_empty();
        if resource.name.is_empty() && matches!(verb, "list" | "watch") {
            match query::selected_name(query) {
                query::Selected::Nothing => {}
                query::Selected::Name { name, certain } => {
                    resource.name = name;
                    // The old watch/ paths take another way through the apiserver.
                    uncertain |= special_verb || !certain;
                }
            }
        }
        Self {
            target: Target::Resource(resource),
            uncertain,
        }
    }

    /// The resource, if it is one.
    #[must_use]
    pub fn resource(&self) -> Option<&Resource> {
        match &self.target {
            Target::Resource(resource) => Some(resource),
            Target::Path(_) => None,
        }
    }
}

/// The steps of `NewRequestInfo` over the decoded path; none for a path that is no
/// resource. Also says whether the verb stood in the path.
fn parse_resource(path: &str) -> Option<(Resource, bool)> {
    let trimmed = path.trim_matches('/');
    let parts: Vec<&str> = trimmed.split('/').collect();
    // "if len(currentParts) < 3", and the API prefixes.
    let (group, rest) = match parts.as_slice() {
        ["api", rest @ ..] if rest.len() >= 2 => ("", rest),
        ["apis", group, rest @ ..] if rest.len() >= 2 => (*group, rest),
        _ => return None,
    };
    // rest[0] is the version.
    let mut rest = &rest[1..];
    let mut special = None;
    if let [verb @ ("proxy" | "watch"), after @ ..] = rest {
        if after.is_empty() {
            // An error in the apiserver; what it knew so far is a resource request.
            return Some((
                Resource {
                    group: group.into(),
                    ..Resource::default()
                },
                true,
            ));
        }
        (special, rest) = (Some(*verb), after);
    }
    let mut namespace = "";
    if let ["namespaces", name, after @ ..] = rest {
        namespace = name;
        // Unless the next step is a subresource of the namespace itself.
        if let [kind, ..] = after
            && !matches!(*kind, "status" | "finalize")
        {
            rest = after;
        }
    }
    let part = |index: usize| rest.get(index).copied().unwrap_or_default();
    // "specialVerbsNoSubresources"
    let subresource = if special == Some("proxy") {
        ""
    } else {
        part(2)
    };
    let resource = Resource {
        group: group.into(),
        resource: part(0).into(),
        subresource: subresource.into(),
        namespace: namespace.into(),
        name: part(1).into(),
    };
    Some((resource, special.is_some()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// group, resource, subresource, namespace, name
    fn resource(uri: &str, verb: &str) -> [String; 5] {
        let request = Request::parse(uri, verb);
        let resource = request.resource().unwrap_or_else(|| panic!("{uri}"));
        [
            &resource.group,
            &resource.resource,
            &resource.subresource,
            &resource.namespace,
            &resource.name,
        ]
        .map(String::clone)
    }

    #[test]
    fn resources() {
        for (uri, expected) in [
            ("/api/v1/namespaces", ["", "namespaces", "", "", ""]),
            (
                "/api/v1/namespaces/ns1",
                ["", "namespaces", "", "ns1", "ns1"],
            ),
            (
                "/api/v1/namespaces/ns1/status",
                ["", "namespaces", "status", "ns1", "ns1"],
            ),
            (
                "/api/v1/namespaces/ns1/finalize",
                ["", "namespaces", "finalize", "ns1", "ns1"],
            ),
            ("/api/v1/namespaces/ns1/pods", ["", "pods", "", "ns1", ""]),
            (
                "/api/v1/namespaces/ns1/pods/p/log?follow=1",
                ["", "pods", "log", "ns1", "p"],
            ),
            (
                "/api/v1/namespaces/ns1/pods/p/proxy/a/b",
                ["", "pods", "proxy", "ns1", "p"],
            ),
            ("/api/v1/nodes/n/", ["", "nodes", "", "", "n"]),
            (
                "/apis/apps/v1/deployments",
                ["apps", "deployments", "", "", ""],
            ),
            (
                "/apis/apps/v1/watch/namespaces/ns1/deployments/d",
                ["apps", "deployments", "", "ns1", "d"],
            ),
            (
                "/api/v1/proxy/namespaces/ns1/pods/p/x",
                ["", "pods", "", "ns1", "p"],
            ),
            (
                "/api/v1/namespaces/..%2Fkube-system/secrets",
                ["", "kube-system", "", "..", "secrets"],
            ),
            ("/api/v1/namespaces/%C3%A9/pods", ["", "pods", "", "é", ""]),
            ("//api//v1/pods", ["", "v1", "", "", "pods"]),
        ] {
            assert_eq!(resource(uri, "get"), expected.map(String::from), "{uri}");
        }
    }

    #[test]
    fn paths() {
        for (uri, expected) in [
            ("/", "/"),
            ("/api", "/api"),
            ("/api/v1", "/api/v1"),
            ("/api/v1/", "/api/v1/"),
            ("/apis/apps/v1?timeout=32s", "/apis/apps/v1"),
            ("/healthz/ping?verbose", "/healthz/ping"),
            ("/openapi/v3/apis/apps/v1", "/openapi/v3/apis/apps/v1"),
            ("/version%2F", "/version/"),
        ] {
            let request = Request::parse(uri, "get");
            assert_eq!(request.target, Target::Path(expected.into()), "{uri}");
            assert!(!request.uncertain);
        }
    }

    #[test]
    fn field_selectors_name_what_is_listed_or_watched_only() {
        let uri = "/api/v1/namespaces/ns1/pods?fieldSelector=metadata.name%3Da&limit=500";
        for (verb, name) in [
            ("list", "a"),
            ("watch", "a"),
            ("deletecollection", ""),
            ("create", ""),
        ] {
            assert_eq!(resource(uri, verb)[4], name, "{verb}");
            assert!(!Request::parse(uri, verb).uncertain);
        }
        let named = "/api/v1/namespaces/ns1/pods/b?fieldSelector=metadata.name%3Da";
        assert_eq!(resource(named, "watch")[4], "b");
    }

    #[test]
    fn what_may_be_read_differently_is_uncertain() {
        for uri in [
            "/api/v1/watch/pods?fieldSelector=metadata.name%3Da",
            "/api/v1/pods?fieldSelector=metadata.name%3Da&labelSelector=app%20in%20(a",
            "/api/v1/watch",
            "/api/v1/pods/%zz",
            "/api/v1/pods/%ff",
        ] {
            assert!(Request::parse(uri, "list").uncertain, "{uri}");
        }
    }
}
