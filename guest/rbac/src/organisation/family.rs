//! The built-in families of rules: which requests each is about, and what it is on
//! by default. What each catches in words, with its settings: docs/rules.md.
//!
//! A family that is on by default is rarely noise in a cluster that works. The rest
//! are counts of ordinary events, or need to know names.

mod table;

use auditchain_guest_sdk::{Rule, Severity};

pub(crate) use table::FAMILIES;

use super::verb::VerbSet;

/// A rule that comes with the guest.
#[derive(Debug)]
pub(crate) struct Family {
    pub(crate) rule: Rule,
    /// Applies where the settings don't mention it.
    pub(crate) on: bool,
    pub(crate) verbs: VerbSet,
    /// None: any request, of a resource or not.
    pub(crate) kinds: &'static [Kind],
    pub(crate) outcome: Outcome,
    pub(crate) exempt: Exempt,
    pub(crate) check: Check,
    /// In which namespaces, where the settings don't say.
    pub(crate) namespaces: &'static [&'static str],
    /// True: on only with an `except` that names who or what may.
    pub(crate) needs_except: bool,
}

/// A resource, with or without subresource.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kind {
    pub(crate) group: &'static str,
    pub(crate) resource: &'static str,
    pub(crate) subresource: &'static str,
}

/// What became of the request.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Outcome {
    /// Allowed or forbidden.
    Decided,
    /// Allowed.
    Allowed,
    /// Allowed, and answered without an error or not yet.
    Succeeded,
    /// Forbidden, by RBAC or later.
    Refused,
}

/// Whether a family says nothing of `exemptUsers`.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Exempt {
    /// It speaks of all.
    Nobody,
    /// It says nothing of them.
    Components,
    /// It says nothing of them in kube-system, and of workloads nowhere: those they
    /// only copy. A pod elsewhere is created by a controller, whoever wanted it.
    ComponentsAtHome,
}

/// What must hold besides. Those from `PrivilegedPod` on look into the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Check {
    Nothing,
    /// Made by `body-not-examined` itself, never by an event alone.
    NotExamined,
    Impersonated,
    /// Anonymous, and not to a path that every cluster shows to anybody.
    Anonymous,
    /// A member of system:masters.
    FullAdmin,
    /// By a person, outside of the working hours.
    OutsideWorkingHours,
    /// Neither an Event nor a Lease.
    NoBookkeeping,
    /// A role called `system:...`, or any for all that is known.
    SystemRole,
    PrivilegedPod,
    HostNetwork,
    HostPid,
    HostIpc,
    HostPath,
    /// `except` has images: what isn't exempt is caught.
    Image,
    NodePort,
    Credentials,
    ClusterAdmin,
    WildcardRole,
    WriteRole,
    ExecRole,
    NoTls,
}

/// The namespaces of the cluster itself.
pub(crate) const KUBE_NAMESPACES: &[&str] = &["kube-system", "kube-public", "kube-node-lease"];

/// Host paths that give away the node, or other pods on it. A trailing `*` makes a
/// prefix.
pub(crate) const SENSITIVE_HOST_PATHS: &[&str] = &[
    "/",
    "/dev",
    "/etc",
    "/etc/kubernetes*",
    "/etc/passwd*",
    "/etc/shadow*",
    "/home*",
    "/proc*",
    "/root*",
    "/run",
    "/run/containerd*",
    "/run/crio*",
    "/run/docker.sock",
    "/sys*",
    "/var",
    "/var/lib",
    "/var/lib/containerd*",
    "/var/lib/docker*",
    "/var/lib/etcd*",
    "/var/lib/kubelet",
    "/var/lib/kubelet/pki*",
    "/var/lib/kubelet/pods*",
    "/var/run",
    "/var/run/containerd*",
    "/var/run/crio*",
    "/var/run/docker.sock",
];

/// What gives away that a ConfigMap holds credentials, in keys or values, whatever
/// the case of letters.
pub(crate) const CREDENTIAL_WORDS: &[&str] = &[
    "aws_access_key_id",
    "aws-access-key-id",
    "aws_s3_access_key_id",
    "aws-s3-access-key-id",
    "aws_secret_access_key",
    "private key-----",
    "passphrase",
    "password",
];

/// What rules that the organisation writes itself report under, by severity.
pub(crate) const CUSTOM: [Rule; 5] = [
    Rule::new(
        "organisation-info",
        Severity::Info,
        "A rule of the organisation, severity info",
    ),
    Rule::new(
        "organisation-low",
        Severity::Low,
        "A rule of the organisation, severity low",
    ),
    Rule::new(
        "organisation-medium",
        Severity::Medium,
        "A rule of the organisation, severity medium",
    ),
    Rule::new(
        "organisation-high",
        Severity::High,
        "A rule of the organisation, severity high",
    ),
    Rule::new(
        "organisation-critical",
        Severity::Critical,
        "A rule of the organisation, severity critical",
    ),
];

/// How many rules there are in all.
const COUNT: usize = FAMILIES.len() + CUSTOM.len();

/// Every rule of the organisation, in the order of `FAMILIES`, then `CUSTOM`.
pub const RULES: [Rule; COUNT] = {
    let mut rules = [CUSTOM[0]; COUNT];
    let mut index = 0;
    while index < COUNT {
        rules[index] = if index < FAMILIES.len() {
            FAMILIES[index].rule
        } else {
            CUSTOM[index - FAMILIES.len()]
        };
        index += 1;
    }
    rules
};

impl Kind {
    /// True if it is this kind of the group that a request names.
    pub(crate) fn is(&self, group: &str, resource: &str, subresource: &str) -> bool {
        self.resource == resource && self.subresource == subresource && self.group == group
    }
}

impl Family {
    /// Settings that only this family has.
    pub(crate) fn words(&self) -> &'static [&'static str] {
        match self.check {
            Check::HostPath => SENSITIVE_HOST_PATHS,
            Check::Credentials => CREDENTIAL_WORDS,
            _ => &[],
        }
    }
}
