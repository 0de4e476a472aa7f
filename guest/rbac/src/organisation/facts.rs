//! What the rules ask of one event; what costs something is found out once.

use std::cell::OnceCell;
use std::net::IpAddr;

use auditchain_guest_sdk::{Event, User};

use super::body::{self, Bytes, Objects, PodSpec, Unread};
use super::family::KUBE_NAMESPACES;
use super::pattern::matches_any;
use super::verb::{self, VerbSet};
use crate::request::{Request, Resource, Target};
use crate::snapshot::PolicyRule;

/// What every cluster shows to anybody (ClusterRole system:public-info-viewer).
const PUBLIC_PATHS: [&str; 5] = ["/healthz", "/livez", "/readyz", "/version", "/version/"];

/// Resources without a namespace: a list of them is no list across all namespaces.
const CLUSTER_SCOPED: [&str; 14] = [
    "apiservices",
    "certificatesigningrequests",
    "clusterrolebindings",
    "clusterroles",
    "componentstatuses",
    "customresourcedefinitions",
    "flowschemas",
    "mutatingwebhookconfigurations",
    "namespaces",
    "nodes",
    "persistentvolumes",
    "priorityclasses",
    "storageclasses",
    "validatingwebhookconfigurations",
];

/// One event.
pub(crate) struct Facts<'a> {
    pub(crate) event: Event<'a>,
    pub(crate) request: &'a Request,
    pub(crate) verb: &'a str,
    pub(crate) verb_bit: VerbSet,
    /// Name of the object; a create has it in its body only, and so in objectRef.
    pub(crate) name: &'a str,
    real: User<'a>,
    impersonated: Option<User<'a>>,
    bytes: &'a Bytes,
    objects: OnceCell<Result<Objects<'a>, Unread>>,
    pods: OnceCell<Vec<PodSpec<'a>>>,
    role_rules: OnceCell<Vec<PolicyRule>>,
    component: OnceCell<bool>,
}

impl<'a> Facts<'a> {
    pub(crate) fn new(event: Event<'a>, request: &'a Request, bytes: &'a Bytes) -> Self {
        let verb = event.verb().unwrap_or_default();
        let verb_bit = verb::bit(verb);
        let of_uri = request.resource().map_or("", |of| of.name.as_str());
        let name = if of_uri.is_empty() && verb_bit == verb::CREATE {
            event.name().unwrap_or_default()
        } else {
            of_uri
        };
        Self {
            event,
            request,
            verb,
            verb_bit,
            name,
            real: event.user(),
            impersonated: event.impersonated_user(),
            bytes,
            objects: OnceCell::new(),
            pods: OnceCell::new(),
            role_rules: OnceCell::new(),
            component: OnceCell::new(),
        }
    }

    pub(crate) fn resource(&self) -> Option<&'a Resource> {
        self.request.resource()
    }

    pub(crate) fn namespace(&self) -> &'a str {
        self.resource().map_or("", |of| of.namespace.as_str())
    }

    /// True for a list across all namespaces, or what may be one.
    pub(crate) fn is_in_every_namespace(&self) -> bool {
        verb::is_collection(self.verb_bit)
            && self.resource().is_some_and(|of| {
                of.namespace.is_empty() && !CLUSTER_SCOPED.contains(&of.resource.as_str())
            })
    }

    /// True where it is unknown of which object it is, or where it is of many.
    pub(crate) fn is_unnamed(&self) -> bool {
        self.name.is_empty()
            && (verb::is_collection(self.verb_bit) || self.verb_bit == verb::CREATE)
    }

    pub(crate) fn is_impersonated(&self) -> bool {
        self.impersonated.is_some()
    }

    /// As whom it was carried out.
    fn effective(&self) -> User<'a> {
        self.impersonated.unwrap_or(self.real)
    }

    /// The real user, and the one that was impersonated.
    pub(crate) fn persons(&self) -> impl Iterator<Item = User<'a>> {
        [Some(self.real), self.impersonated].into_iter().flatten()
    }

    pub(crate) fn is_anonymous(&self) -> bool {
        let user = self.effective();
        user.name() == Some("system:anonymous") || user.in_group("system:unauthenticated")
    }

    pub(crate) fn is_to_a_public_path(&self) -> bool {
        matches!(&self.request.target, Target::Path(path) if PUBLIC_PATHS.contains(&path.as_str()))
    }

    /// True for the cluster's own. Who impersonates one of them isn't one.
    pub(crate) fn is_component(&self, patterns: &[&str]) -> bool {
        *self.component.get_or_init(|| {
            self.persons()
                .all(|user| matches_any(patterns, user.name().unwrap_or_default()))
        })
    }

    pub(crate) fn is_at_home(&self) -> bool {
        KUBE_NAMESPACES.contains(&self.namespace())
    }

    /// True for what controllers do all day wherever they elect their leaders.
    pub(crate) fn is_bookkeeping(&self) -> bool {
        self.resource()
            .is_some_and(|of| matches!(of.resource.as_str(), "events" | "leases"))
    }

    /// True if somebody is in it who is no part of the cluster and no service account.
    pub(crate) fn is_by_a_person(&self) -> bool {
        self.persons()
            .filter_map(|user| user.name())
            .any(|name| !name.starts_with("system:"))
    }

    pub(crate) fn is_allowed(&self) -> bool {
        self.event.decision() == Some("allow")
    }

    pub(crate) fn time(&self) -> Option<i64> {
        self.event.received_at().or(self.event.stage_at())
    }

    /// The last source IP: those before it are what the client says.
    pub(crate) fn source_ip(&self) -> Option<IpAddr> {
        self.event.source_ips().last()?.parse().ok()
    }

    pub(crate) fn body(&self) -> Result<&'a [u8], Unread> {
        self.bytes.of(self.event)
    }

    pub(crate) fn objects(&self) -> Result<Objects<'a>, Unread> {
        *self
            .objects
            .get_or_init(|| Objects::of(self.event, self.bytes))
    }

    /// The pods that it makes, or that it writes the template of.
    pub(crate) fn pods(&self) -> Result<&[PodSpec<'a>], Unread> {
        let Some(of) = self.resource() else {
            return Ok(&[]);
        };
        // Of a pod that is there nothing that the rules ask can be changed.
        if of.resource == "pods" && of.subresource.is_empty() && self.verb_bit != verb::CREATE {
            return Ok(&[]);
        }
        let objects = self.objects()?;
        Ok(self.pods.get_or_init(|| {
            let mut pods = body::pods(&of.resource, objects);
            // The rest of the pod was there before.
            if of.subresource == "ephemeralcontainers" {
                pods.iter_mut().for_each(PodSpec::keep_ephemeral_containers);
            }
            pods
        }))
    }

    /// The rules of the role that it writes.
    pub(crate) fn role_rules(&self) -> Result<&[PolicyRule], Unread> {
        let objects = self.objects()?;
        Ok(self.role_rules.get_or_init(|| body::role_rules(objects)))
    }

    /// Who did what, for people.
    pub(crate) fn describe(&self) -> String {
        let mut text = match self.real.name() {
            Some(name) if !name.is_empty() => String::from(name),
            _ => "nobody known".into(),
        };
        if let Some(user) = self.impersonated {
            text = format!("{text} as {}", user.name().unwrap_or_default());
        }
        text = format!("{text}: {}", self.verb);
        match &self.request.target {
            Target::Path(path) => format!("{text} {path}"),
            Target::Resource(of) => {
                let slash = |part: &str| match part {
                    "" => String::new(),
                    part => format!("/{part}"),
                };
                let sub = slash(&of.subresource);
                let name = slash(self.name);
                format!("{text} {}{sub} {}{name}", of.resource, of.namespace)
            }
        }
    }
}
