//! What may be set.

use serde::{Deserialize, Serialize};

/// Settings of the policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct Settings {
    /// An apiserver's caches follow a change of RBAC only after a while: what changed
    /// less than this before a request (or after it) proves nothing about it.
    pub lag_seconds: u32,
    /// What to say of a request that was forbidden though the snapshot grants it.
    pub forbid_mismatch: ForbidMismatch,
    /// True if the apiserver has authorizers besides RBAC and Node that allow
    /// without giving a reason.
    pub other_authorizers: bool,
    /// Paths that are allowed before RBAC is asked; a trailing `*` makes a prefix.
    /// As `--authorization-always-allow-paths` of an aggregated apiserver.
    pub always_allow_paths: Vec<String>,
    /// Rules that observe.
    pub organisation: Organisation,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            lag_seconds: 10,
            forbid_mismatch: ForbidMismatch::Inconclusive,
            other_authorizers: false,
            always_allow_paths: ["/healthz", "/livez", "/readyz"].map(String::from).to_vec(),
            organisation: Organisation::default(),
        }
    }
}

/// A snapshot that is older than a revocation grants what is forbidden since.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ForbidMismatch {
    /// A finding; the event stays valid. For a snapshot that may be older than the
    /// last revocation.
    Inconclusive,
    /// The event is not valid. For a snapshot that is taken anew on every change.
    Invalid,
}

/// Rules of the organisation: each observes, none makes an event invalid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct Organisation {
    /// Exec, attach and port-forward.
    pub exec_into_pod: bool,
    /// Secrets read, listed or watched.
    pub secret_read: bool,
    /// Bindings to cluster-admin made or changed.
    pub cluster_admin_binding: bool,
    /// Requests as another user.
    pub impersonation: bool,
    /// Anonymous requests allowed, other than to the public paths.
    pub anonymous_allowed: bool,
    /// Users of whom [`secret_read`](Self::secret_read) says nothing: the cluster's
    /// own components. A trailing `*` makes a prefix.
    pub exempt_users: Vec<String>,
}

impl Default for Organisation {
    fn default() -> Self {
        Self {
            exec_into_pod: true,
            secret_read: true,
            cluster_admin_binding: true,
            impersonation: true,
            anonymous_allowed: true,
            exempt_users: [
                "system:apiserver",
                "system:kube-controller-manager",
                "system:kube-scheduler",
                "system:node:*",
                "system:serviceaccount:kube-system:*",
            ]
            .map(String::from)
            .to_vec(),
        }
    }
}

/// Whether a text is one of the patterns: exact, or a prefix where the pattern ends
/// in `*`.
#[must_use]
pub fn matches_any(patterns: &[String], text: &str) -> bool {
    patterns
        .iter()
        .any(|pattern| match pattern.strip_suffix('*') {
            Some(prefix) => text.starts_with(prefix),
            None => text == pattern,
        })
}
