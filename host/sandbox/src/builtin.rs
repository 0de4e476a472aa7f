//! What is embedded in this program: guests, and the default policies.

use std::{io, sync::Arc};

use crate::{ModuleRef, PolicySpec};

/// Name and component of each guest: the default ones in the order in which they
/// judge, then those that a policy of the user's may name. Written by the build script.
const GUESTS: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/guests.rs"));

/// The default policies, in the order in which they judge.
const POLICIES: [&str; 3] = [
    include_str!("../../../policies/signature.yaml"),
    include_str!("../../../policies/ordering.yaml"),
    include_str!("../../../policies/rbac.yaml"),
];

/// The default policies: previous seal and batch signatures, order and time, RBAC.
#[must_use]
pub fn default_policies() -> Vec<PolicySpec> {
    let parse = |yaml: &&str| PolicySpec::from_yaml(yaml, builtin_module);
    POLICIES
        .iter()
        .map(parse)
        .collect::<Result<_, _>>()
        // The files are part of this program; a test below reads them.
        .expect("the embedded policies are policies")
}

/// Finds a module among the guests that are built in.
///
/// # Errors
/// There is none of that name, or it is a file.
pub fn builtin_module(module: &ModuleRef) -> io::Result<Arc<[u8]>> {
    let found = match module {
        ModuleRef::Builtin(name) => GUESTS.iter().find(|(guest, _)| guest == name),
        ModuleRef::File(_) => None,
    };
    found
        .map(|(_, component)| Arc::from(*component))
        .ok_or_else(|| {
            let names: Vec<_> = GUESTS.iter().map(|(name, _)| *name).collect();
            io::Error::new(
                io::ErrorKind::NotFound,
                format!(
                    "not built in; there is builtin:{}",
                    names.join(", builtin:")
                ),
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_policies_are_policies_of_the_guests() {
        let policies = default_policies();
        let names: Vec<_> = policies.iter().map(|policy| policy.name.as_str()).collect();
        let guests: Vec<_> = GUESTS.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, guests[..POLICIES.len()]);
        for (policy, (_, component)) in policies.iter().zip(GUESTS) {
            assert_eq!(&*policy.module, *component);
        }
    }

    #[test]
    fn an_unknown_module_is_answered_with_the_known_ones() {
        for module in [
            ModuleRef::Builtin("nothing".into()),
            ModuleRef::File("signature".into()),
        ] {
            let error = builtin_module(&module).expect_err("no such module");
            assert!(
                error
                    .to_string()
                    .contains("builtin:signature, builtin:ordering, builtin:rbac, builtin:rego")
            );
        }
    }
}
