//! The table of the families.

use auditchain_guest_sdk::{Rule, Severity};

use super::{Check, Exempt, Family, KUBE_NAMESPACES, Kind, Outcome};
use crate::organisation::verb::{self, VerbSet};

const fn kind(group: &'static str, resource: &'static str, subresource: &'static str) -> Kind {
    Kind {
        group,
        resource,
        subresource,
    }
}

const RBAC: &str = "rbac.authorization.k8s.io";
const PODS: Kind = kind("", "pods", "");
const SECRETS: &[Kind] = &[kind("", "secrets", "")];
const SERVICES: &[Kind] = &[kind("", "services", "")];
const CONFIG_MAPS: &[Kind] = &[kind("", "configmaps", "")];
const NAMESPACES: &[Kind] = &[kind("", "namespaces", "")];
const SERVICE_ACCOUNTS: &[Kind] = &[kind("", "serviceaccounts", "")];
const NODES: &[Kind] = &[kind("", "nodes", "")];
const DEPLOYMENTS: &[Kind] = &[kind("apps", "deployments", "")];
const ROLES: &[Kind] = &[kind(RBAC, "roles", "")];
const CLUSTER_ROLES: &[Kind] = &[kind(RBAC, "clusterroles", "")];
const ROLE_BINDINGS: &[Kind] = &[kind(RBAC, "rolebindings", "")];
const CLUSTER_ROLE_BINDINGS: &[Kind] = &[kind(RBAC, "clusterrolebindings", "")];
const ALL_ROLES: &[Kind] = &[kind(RBAC, "roles", ""), kind(RBAC, "clusterroles", "")];
const ALL_BINDINGS: &[Kind] = &[
    kind(RBAC, "rolebindings", ""),
    kind(RBAC, "clusterrolebindings", ""),
];
const EPHEMERAL: Kind = kind("", "pods", "ephemeralcontainers");
/// What makes pods, or has the template of one.
const WORKLOADS: &[Kind] = &[
    PODS,
    EPHEMERAL,
    kind("", "replicationcontrollers", ""),
    kind("apps", "daemonsets", ""),
    kind("apps", "deployments", ""),
    kind("apps", "replicasets", ""),
    kind("apps", "statefulsets", ""),
    kind("batch", "cronjobs", ""),
    kind("batch", "jobs", ""),
];

/// A family about kinds of objects, on by default.
const fn on(
    id: &'static str,
    severity: Severity,
    title: &'static str,
    verbs: VerbSet,
    kinds: &'static [Kind],
    check: Check,
) -> Family {
    Family {
        rule: Rule::new(id, severity, title),
        on: true,
        verbs,
        kinds,
        outcome: Outcome::Succeeded,
        exempt: Exempt::Components,
        check,
        namespaces: &[],
        needs_except: false,
    }
}

/// A family about kinds of objects, off by default.
const fn off(
    id: &'static str,
    severity: Severity,
    title: &'static str,
    verbs: VerbSet,
    kinds: &'static [Kind],
    check: Check,
) -> Family {
    Family {
        on: false,
        ..on(id, severity, title, verbs, kinds, check)
    }
}

const fn pod(id: &'static str, severity: Severity, title: &'static str, check: Check) -> Family {
    Family {
        exempt: Exempt::ComponentsAtHome,
        ..on(id, severity, title, verb::WRITE_OBJECT, WORKLOADS, check)
    }
}

const fn created(id: &'static str, title: &'static str, kinds: &'static [Kind]) -> Family {
    off(
        id,
        Severity::Info,
        title,
        verb::CREATE,
        kinds,
        Check::Nothing,
    )
}

const fn deleted(id: &'static str, title: &'static str, kinds: &'static [Kind]) -> Family {
    off(
        id,
        Severity::Info,
        title,
        verb::DELETE,
        kinds,
        Check::Nothing,
    )
}

/// Every family. The order is that of verdicts about one event.
#[rustfmt::skip]
pub(crate) const FAMILIES: &[Family] = {
    use Check::{
        Anonymous, ClusterAdmin, Credentials, ExecRole, FullAdmin, HostIpc, HostNetwork, HostPath,
        HostPid, Image, Impersonated, NoBookkeeping, NoTls, NodePort, NotExamined, Nothing, OutsideWorkingHours,
        PrivilegedPod, SystemRole, WildcardRole, WriteRole,
    };
    use Severity::{High, Low, Medium};
    use verb::{ANY, CHANGE, CREATE, GET, READ, WRITE, WRITE_OBJECT};
    &[
        // Who.
        Family { exempt: Exempt::Nobody, outcome: Outcome::Decided,
            ..on("impersonation", Medium, "A request was made as another user", ANY, &[], Impersonated) },
        Family { exempt: Exempt::Nobody, outcome: Outcome::Allowed,
            ..on("anonymous-allowed", High, "An anonymous request was allowed", ANY, &[], Anonymous) },
        Family { outcome: Outcome::Allowed,
            ..off("full-admin-access", Medium, "A member of system:masters was allowed something", ANY, &[], FullAdmin) },
        Family { outcome: Outcome::Decided, needs_except: true,
            ..off("disallowed-user", Medium, "A request of a user who is not among those known", ANY, &[], Nothing) },
        Family { outcome: Outcome::Allowed,
            ..off("outside-working-hours", Low, "A request outside of the working hours was allowed", ANY, &[], OutsideWorkingHours) },
        Family { namespaces: KUBE_NAMESPACES,
            ..on("kube-system-touched", Medium, "Something was changed in a namespace of the cluster itself", WRITE, &[], NoBookkeeping) },
        // Into pods.
        Family { exempt: Exempt::Nobody, outcome: Outcome::Allowed,
            ..on("exec-into-pod", Medium, "Exec or attach into a pod", verb::union(GET, CREATE), &[kind("", "pods", "exec"), kind("", "pods", "attach")], Nothing) },
        Family { exempt: Exempt::Nobody, outcome: Outcome::Allowed,
            ..on("port-forward", Medium, "Port-forward into a pod", verb::union(GET, CREATE), &[kind("", "pods", "portforward")], Nothing) },
        Family { exempt: Exempt::Nobody,
            ..on("ephemeral-container", Medium, "An ephemeral container was put into a pod", WRITE_OBJECT, &[EPHEMERAL], Nothing) },
        // Pods.
        pod("privileged-pod", High, "A pod or workload with a privileged container was made", PrivilegedPod),
        pod("host-network-pod", Medium, "A pod or workload in the node's network was made", HostNetwork),
        pod("host-pid-pod", High, "A pod or workload among the node's processes was made", HostPid),
        pod("host-ipc-pod", Medium, "A pod or workload in the node's IPC namespace was made", HostIpc),
        pod("sensitive-host-path", High, "A pod or workload with a sensitive directory of the node was made", HostPath),
        Family { on: false, needs_except: true,
            ..pod("disallowed-image", Medium, "A pod or workload with an image that is not among those known was made", Image) },
        Family { namespaces: KUBE_NAMESPACES,
            ..on("pod-in-kube-namespace", Medium, "A pod was made in a namespace of the cluster itself", CREATE, &[PODS], Nothing) },
        Family { namespaces: KUBE_NAMESPACES,
            ..on("service-account-in-kube-namespace", Medium, "A ServiceAccount was made in a namespace of the cluster itself", CREATE, SERVICE_ACCOUNTS, Nothing) },
        // Secrets and what should be one.
        on("secret-read", Medium, "Secrets were read", READ, SECRETS, Nothing),
        Family { outcome: Outcome::Refused,
            ..on("secret-read-refused", Low, "Somebody tried to read Secrets and was refused", READ, SECRETS, Nothing) },
        on("configmap-credentials", Medium, "A ConfigMap with credentials was made or changed", WRITE_OBJECT, CONFIG_MAPS, Credentials),
        // Rights.
        Family { exempt: Exempt::Nobody,
            ..on("cluster-admin-binding", High, "A binding to cluster-admin was made or changed", WRITE_OBJECT, ALL_BINDINGS, ClusterAdmin) },
        on("system-role-changed", High, "A role of the system was changed or deleted", CHANGE, ALL_ROLES, SystemRole),
        on("wildcard-role", Medium, "A role with a wildcard was made or changed", WRITE_OBJECT, ALL_ROLES, WildcardRole),
        off("write-role", Low, "A role that may write was made or changed", WRITE_OBJECT, ALL_ROLES, WriteRole),
        on("exec-role", Medium, "A role that may exec into pods was made or changed", WRITE_OBJECT, ALL_ROLES, ExecRole),
        // Ways in from outside.
        on("node-port-service", Low, "A Service with a port on every node was made or changed", WRITE_OBJECT, SERVICES, NodePort),
        on("ingress-without-tls", Low, "An Ingress without TLS was made", verb::union(CREATE, verb::UPDATE),
            &[kind("networking.k8s.io", "ingresses", ""), kind("extensions", "ingresses", "")], NoTls),
        Family { exempt: Exempt::Nobody, needs_except: true,
            ..off("untrusted-node", High, "A node that is not among those known joined", CREATE, NODES, Nothing) },
        Family { exempt: Exempt::Nobody, needs_except: true, outcome: Outcome::Refused,
            ..off("untrusted-node-refused", Medium, "A node that is not among those known was refused", CREATE, NODES, Nothing) },
        // What comes and goes.
        created("deployment-created", "A Deployment was made", DEPLOYMENTS),
        deleted("deployment-deleted", "A Deployment was deleted", DEPLOYMENTS),
        created("service-created", "A Service was made", SERVICES),
        deleted("service-deleted", "A Service was deleted", SERVICES),
        created("configmap-created", "A ConfigMap was made", CONFIG_MAPS),
        deleted("configmap-deleted", "A ConfigMap was deleted", CONFIG_MAPS),
        created("namespace-created", "A Namespace was made", NAMESPACES),
        deleted("namespace-deleted", "A Namespace was deleted", NAMESPACES),
        created("service-account-created", "A ServiceAccount was made", SERVICE_ACCOUNTS),
        deleted("service-account-deleted", "A ServiceAccount was deleted", SERVICE_ACCOUNTS),
        created("role-created", "A Role was made", ROLES),
        deleted("role-deleted", "A Role was deleted", ROLES),
        created("cluster-role-created", "A ClusterRole was made", CLUSTER_ROLES),
        deleted("cluster-role-deleted", "A ClusterRole was deleted", CLUSTER_ROLES),
        created("role-binding-created", "A RoleBinding was made", ROLE_BINDINGS),
        deleted("role-binding-deleted", "A RoleBinding was deleted", ROLE_BINDINGS),
        created("cluster-role-binding-created", "A ClusterRoleBinding was made", CLUSTER_ROLE_BINDINGS),
        deleted("cluster-role-binding-deleted", "A ClusterRoleBinding was deleted", CLUSTER_ROLE_BINDINGS),
        created("secret-created", "A Secret was made", SECRETS),
        deleted("secret-deleted", "A Secret was deleted", SECRETS),
        // What the others could not tell.
        Family { exempt: Exempt::Nobody, outcome: Outcome::Decided,
            ..on("body-not-examined", Low, "A body was too large for the rules that look into it, or cut off", ANY, &[], NotExamined) },
    ]
};
