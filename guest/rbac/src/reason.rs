//! What the apiserver says allowed a request: the annotation
//! `authorization.k8s.io/reason`.
//!
//! ```text
//! RBAC: allowed by ClusterRoleBinding "b" of ClusterRole "r" to Group "g"
//! RBAC: allowed by RoleBinding "b/ns" of Role "r" to ServiceAccount "name/ns"
//! ```
//! Names are quoted as Go's `%q` does.

/// What RBAC names as the cause of an allow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Namespace of a RoleBinding; none for a ClusterRoleBinding.
    pub namespace: Option<String>,
    /// Name of the binding.
    pub binding: String,
    /// True for a ClusterRole, false for a Role.
    pub cluster_role: bool,
    /// Name of the role.
    pub role: String,
    /// Which subject of the binding it was.
    pub subject: GrantSubject,
}

/// A subject as a reason names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GrantSubject {
    /// By user name.
    User(String),
    /// By group.
    Group(String),
    /// By name and namespace.
    ServiceAccount {
        /// Name.
        name: String,
        /// Namespace.
        namespace: String,
    },
}

/// What a reason that RBAC gave for an allow begins with.
pub const RBAC_ALLOWED: &str = "RBAC: allowed by ";
/// What any reason of RBAC begins with.
pub const RBAC: &str = "RBAC: ";

impl Grant {
    /// Reads a reason. None for one that is not RBAC's allow.
    #[must_use]
    pub fn parse(reason: &str) -> Option<Self> {
        let rest = reason.strip_prefix(RBAC_ALLOWED)?;
        let (binding_kind, rest) = rest.split_once(' ')?;
        let (binding, rest) = unquote(rest)?;
        let (role_kind, rest) = rest.strip_prefix(" of ")?.split_once(' ')?;
        let (role, rest) = unquote(rest)?;
        let (subject_kind, rest) = rest.strip_prefix(" to ")?.split_once(' ')?;
        let (subject, rest) = unquote(rest)?;
        if !rest.is_empty() {
            return None;
        }
        let (binding, namespace) = match binding_kind {
            "ClusterRoleBinding" => (binding, None),
            "RoleBinding" => {
                let (name, namespace) = binding.rsplit_once('/')?;
                (name.into(), Some(namespace.into()))
            }
            _ => return None,
        };
        let subject = match subject_kind {
            "User" => GrantSubject::User(subject),
            "Group" => GrantSubject::Group(subject),
            "ServiceAccount" => {
                let (name, namespace) = subject.rsplit_once('/')?;
                GrantSubject::ServiceAccount {
                    name: name.into(),
                    namespace: namespace.into(),
                }
            }
            _ => return None,
        };
        Some(Self {
            namespace,
            binding,
            cluster_role: match role_kind {
                "ClusterRole" => true,
                "Role" => false,
                _ => return None,
            },
            role,
            subject,
        })
    }
}

/// Reads one of Go's quoted strings; returns it and what follows.
fn unquote(text: &str) -> Option<(String, &str)> {
    let mut rest = text.strip_prefix('"')?.chars();
    let mut bytes = Vec::new();
    let mut utf8 = [0; 4];
    loop {
        match rest.next()? {
            '"' => break,
            '\\' => match rest.next()? {
                'a' => bytes.push(7),
                'b' => bytes.push(8),
                'f' => bytes.push(12),
                'n' => bytes.push(b'\n'),
                'r' => bytes.push(b'\r'),
                't' => bytes.push(b'\t'),
                'v' => bytes.push(11),
                quoted @ ('\\' | '"') => bytes.extend(quoted.encode_utf8(&mut utf8).as_bytes()),
                // A byte that was no UTF-8, or a control character.
                'x' => bytes.push(u8::try_from(hex(&mut rest, 2)?).ok()?),
                'u' => bytes.extend(scalar(hex(&mut rest, 4)?, &mut utf8)?),
                'U' => bytes.extend(scalar(hex(&mut rest, 8)?, &mut utf8)?),
                _ => return None,
            },
            other => bytes.extend(other.encode_utf8(&mut utf8).as_bytes()),
        }
    }
    Some((String::from_utf8(bytes).ok()?, rest.as_str()))
}

fn hex(chars: &mut std::str::Chars<'_>, digits: usize) -> Option<u32> {
    let mut number = 0_u32;
    for _ in 0..digits {
        number = number.checked_mul(16)? + chars.next()?.to_digit(16)?;
    }
    Some(number)
}

fn scalar(number: u32, utf8: &mut [u8; 4]) -> Option<&[u8]> {
    Some(char::from_u32(number)?.encode_utf8(utf8).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_of_rbac() {
        let reason = r#"RBAC: allowed by ClusterRoleBinding "b \"x\"" of ClusterRole "r" to Group "Zoë\u200b\x7f""#;
        assert_eq!(
            Grant::parse(reason),
            Some(Grant {
                namespace: None,
                binding: "b \"x\"".into(),
                cluster_role: true,
                role: "r".into(),
                subject: GrantSubject::Group("Zoë\u{200b}\u{7f}".into()),
            })
        );
        let reason =
            r#"RBAC: allowed by RoleBinding "b/ns" of Role "r" to ServiceAccount "sa/other""#;
        assert_eq!(
            Grant::parse(reason),
            Some(Grant {
                namespace: Some("ns".into()),
                binding: "b".into(),
                cluster_role: false,
                role: "r".into(),
                subject: GrantSubject::ServiceAccount {
                    name: "sa".into(),
                    namespace: "other".into()
                },
            })
        );
    }

    #[test]
    fn anything_else_is_none() {
        for reason in [
            "",
            "access granted by IAM permissions.",
            r#"RBAC: allowed by RoleBinding "b" of Role "r" to User "u""#,
            r#"RBAC: allowed by ClusterRoleBinding "b" of ClusterRole "r" to User "u" and more"#,
            r#"RBAC: allowed by ClusterRoleBinding "b" of ClusterRole "r" to User "u"#,
            r#"RBAC: allowed by ClusterRoleBinding "\q" of ClusterRole "r" to User "u""#,
            r#"RBAC: allowed by ClusterRoleBinding "\xff" of ClusterRole "r" to User "u""#,
            r#"RBAC: allowed by ClusterRoleBinding "\ud800" of ClusterRole "r" to User "u""#,
            r#"RBAC: allowed by Binding "b" of ClusterRole "r" to User "u""#,
        ] {
            assert_eq!(Grant::parse(reason), None, "{reason}");
        }
    }
}
