//! The policies that are in force: from the configuration's files to compiled guests,
//! and what of them goes into the log so that anyone can run them again.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use auditchain_log::{Hash, LimitsRecord, PolicyRecord, RbacRecord, sha256};
use auditchain_sandbox::{
    Engine, EngineOptions, ModuleRef, PolicySet, PolicySpec, builtin_module, default_policies,
};

use crate::config::Config;
use crate::open::OpenError;

/// The policies of the configuration, compiled, with what the log keeps of them.
pub(crate) struct Policies {
    pub(crate) set: PolicySet,
    pub(crate) records: Vec<PolicyRecord>,
    /// Modules, settings and the RBAC snapshot, by digest.
    pub(crate) kept: Vec<(Hash, Vec<u8>)>,
    pub(crate) rbac: Option<RbacRecord>,
}

impl Policies {
    /// Reads, compiles and prepares.
    ///
    /// # Errors
    /// A file can't be read, or a policy is refused.
    pub(crate) fn load(config: &Config) -> Result<Self, OpenError> {
        let read = |path: &PathBuf| {
            std::fs::read(path).map_err(|error| OpenError::File {
                path: path.clone(),
                error,
            })
        };
        let snapshot = config.rbac_snapshot.as_ref().map(read).transpose()?;
        let mut specs = Vec::new();
        for path in &config.policies {
            let refuse = |reason: String| OpenError::Policy {
                name: path.display().to_string(),
                reason,
            };
            let text = String::from_utf8(read(path)?).map_err(|error| refuse(error.to_string()))?;
            let base = path.parent().unwrap_or(Path::new(""));
            let resolve = |module: &ModuleRef| match module {
                ModuleRef::Builtin(_) => builtin_module(module),
                ModuleRef::File(file) => std::fs::read(base.join(file)).map(Arc::from),
            };
            specs.push(
                PolicySpec::from_yaml(&text, resolve).map_err(|error| refuse(error.to_string()))?,
            );
        }
        if specs.is_empty() {
            specs = default_policies();
        }
        let engine = Engine::new(&EngineOptions::default())
            .map_err(|error| OpenError::Sandbox(error.to_string()))?;
        let set = PolicySet::load(&engine, &specs, snapshot.as_deref()).map_err(|error| {
            OpenError::Policy {
                name: error.policy,
                reason: error.problem.to_string(),
            }
        })?;
        let mut records = Vec::new();
        let mut kept = Vec::new();
        for (policy, spec) in set.policies().iter().zip(&specs) {
            let (module, settings) = (Hash(policy.module_digest()), Hash(policy.settings_digest()));
            let limits = policy.limits();
            records.push(PolicyRecord {
                limits: LimitsRecord {
                    fuel_base: limits.fuel_base,
                    fuel_per_event: limits.fuel_per_event,
                    memory_bytes: limits.memory_bytes,
                    output_bytes: limits.output_bytes,
                    slice_events: limits.slice_events,
                },
                mode: policy.mode(),
                module,
                name: policy.name().into(),
                settings,
            });
            kept.push((module, spec.module.to_vec()));
            kept.push((settings, policy.settings().as_bytes().to_vec()));
        }
        let rbac = snapshot.map(|bytes| {
            let record = RbacRecord {
                digest: sha256(&[&bytes]),
                size: bytes.len() as u64,
            };
            kept.push((record.digest, bytes));
            record
        });
        Ok(Self {
            set,
            records,
            kept,
            rbac,
        })
    }

    /// A hash over all that a verdict depends on besides the events.
    pub(crate) fn in_force(&self) -> Hash {
        // Structs of strings and numbers: serialising them can't fail.
        let text = serde_json::to_vec(&(&self.records, &self.rbac)).unwrap_or_default();
        sha256(&[&text])
    }
}
