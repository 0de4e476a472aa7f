//! What may be set.

use serde::{Deserialize, Serialize};

use crate::organisation::Organisation;

/// Settings of the policy.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
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
    /// Rules of the organisation.
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

/// What the comparison with the snapshot takes from [`Settings`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Comparison<'a> {
    /// As in [`Settings`].
    pub lag_seconds: u32,
    /// As in [`Settings`].
    pub forbid_mismatch: ForbidMismatch,
    /// As in [`Settings`].
    pub other_authorizers: bool,
    /// As in [`Settings`].
    #[serde(borrow)]
    pub always_allow_paths: Vec<&'a str>,
}

impl Settings {
    /// What the comparison takes from them.
    #[must_use]
    pub fn comparison(&self) -> Comparison<'_> {
        Comparison {
            lag_seconds: self.lag_seconds,
            forbid_mismatch: self.forbid_mismatch,
            other_authorizers: self.other_authorizers,
            always_allow_paths: self.always_allow_paths.iter().map(String::as_str).collect(),
        }
    }
}
