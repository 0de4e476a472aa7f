//! What verdicts are made with: policies, RBAC snapshots and sender keys. From the
//! configuration's files to compiled guests, and to the entries that put them in force,
//! so that anyone can run them again.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use auditchain_log::{
    Hash, KeyRecord, KeyState, LimitsRecord, Payload, PolicyRecord, RbacRecord, Timestamp, sha256,
};
use auditchain_sandbox::{
    ENGINE_ID, Engine, History, ModuleRef, PoliciesInForce, PolicySet, PolicySpec, RbacSnapshot,
    builtin_module, default_policies,
};
use auditchain_store::{Store, StoreError, What};

use crate::config::Config;
use crate::open::OpenError;
use crate::state::{LogState, damaged};

/// What the configuration wants in force, compiled, with what the log keeps of it.
pub(crate) struct InForce {
    pub(crate) set: PolicySet,
    pub(crate) policies: PoliciesInForce,
    /// One that the log does not have in force yet.
    snapshot: Option<RbacRecord>,
    sender_keys: Vec<KeyRecord>,
    /// Modules, settings and the RBAC snapshot, by digest.
    kept: Vec<(Hash, Vec<u8>)>,
}

/// Entries that put something in force, with the values that they name.
#[derive(Default)]
pub(crate) struct Changes {
    pub(crate) entries: Vec<Payload>,
    pub(crate) kept: Vec<(Hash, Vec<u8>)>,
}

impl InForce {
    /// Reads, compiles and prepares. A log that has an RBAC snapshot keeps it until there
    /// is another one.
    ///
    /// # Errors
    /// A file can't be read, or a policy is refused.
    pub(crate) fn load(
        config: &Config,
        engine: &Engine,
        history: &History,
        store: &impl Store,
        now_us: i64,
    ) -> Result<Self, OpenError> {
        let specs = read_specs(config)?;
        let mut kept = Vec::new();
        let mut snapshots = Vec::new();
        for record in history.snapshots() {
            let bytes = value(store, &record.digest)?;
            snapshots.push((record.from.as_micros(), bytes));
        }
        let snapshot = match &config.rbac_snapshot {
            Some(path) => new_snapshot(read(path)?, history, now_us),
            None => None,
        };
        if let Some((record, bytes)) = &snapshot {
            // What it pushes out is no longer in question.
            let mut after = history.clone();
            after.put_in_force(&Payload::Rbac(record.clone()));
            let gone = snapshots.len() + 1 - after.snapshots().len();
            snapshots.drain(..gone);
            snapshots.push((record.from.as_micros(), bytes.clone()));
            kept.push((record.digest, bytes.clone()));
        }
        let inputs: Vec<RbacSnapshot<'_>> = snapshots
            .iter()
            .map(|(from, json)| RbacSnapshot {
                in_force_from_us: *from,
                json,
            })
            .collect();
        let set = PolicySet::load(engine, &specs, &inputs).map_err(|error| OpenError::Policy {
            name: error.policy,
            reason: error.problem.to_string(),
        })?;
        let policies = set.policies().iter().zip(&specs).map(|(policy, spec)| {
            let (module, settings) = (Hash(policy.module_digest()), Hash(policy.settings_digest()));
            kept.push((module, spec.module.to_vec()));
            kept.push((settings, policy.settings().as_bytes().to_vec()));
            PolicyRecord {
                limits: LimitsRecord::from(*policy.limits()),
                mode: policy.mode(),
                module,
                name: policy.name().into(),
                settings,
            }
        });
        let policies = PoliciesInForce {
            engine: ENGINE_ID.into(),
            policies: policies.collect(),
        };
        Ok(Self {
            set,
            policies,
            snapshot: snapshot.map(|(record, _)| record),
            sender_keys: config.sender_keys.clone(),
            kept,
        })
    }

    /// What of it the log doesn't have in force yet.
    pub(crate) fn changes(&self, state: &LogState) -> Changes {
        let mut changes = Changes::default();
        for record in state.history.sender_keys() {
            if !self.sender_keys.contains(record) && !self.begins_again(record) {
                changes.entries.push(Payload::Key(KeyRecord {
                    state: KeyState::End,
                    ..record.clone()
                }));
            }
        }
        for record in &self.sender_keys {
            if !state.history.sender_keys().contains(record) {
                changes.entries.push(Payload::Key(record.clone()));
            }
        }
        if state.in_force != Some(digest(&self.policies)) {
            changes.entries.push(Payload::Policy {
                engine: self.policies.engine.clone(),
                policies: self.policies.policies.clone(),
            });
        }
        if let Some(snapshot) = &self.snapshot {
            changes.entries.push(Payload::Rbac(snapshot.clone()));
        }
        if !changes.entries.is_empty() {
            changes.kept.clone_from(&self.kept);
        }
        changes
    }

    /// The same key of the same source, with other times.
    fn begins_again(&self, record: &KeyRecord) -> bool {
        let same = |other: &KeyRecord| (&other.source, &other.key) == (&record.source, &record.key);
        self.sender_keys.iter().any(same)
    }
}

/// Names a policy set, with the engine that runs it.
pub(crate) fn digest(policies: &PoliciesInForce) -> Hash {
    // Strings and numbers: serialising them can't fail.
    let text = serde_json::to_vec(&(&policies.engine, &policies.policies)).unwrap_or_default();
    sha256(&[&text])
}

fn read_specs(config: &Config) -> Result<Vec<PolicySpec>, OpenError> {
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
    Ok(specs)
}

/// The snapshot of the configuration, if it isn't the one in force.
fn new_snapshot(bytes: Vec<u8>, history: &History, now_us: i64) -> Option<(RbacRecord, Vec<u8>)> {
    let record = RbacRecord {
        digest: sha256(&[&bytes]),
        from: Timestamp::from_micros(now_us),
        size: bytes.len() as u64,
    };
    let in_force = history.snapshots().last();
    let known = in_force.is_some_and(|in_force| in_force.digest == record.digest);
    (!known).then_some((record, bytes))
}

fn value(store: &impl Store, digest: &Hash) -> Result<Vec<u8>, StoreError> {
    let name = format!("sha256/{digest}");
    let missing = || damaged(What::Blob(name.clone()), None);
    store.blob(&name)?.ok_or_else(missing)
}

fn read(path: &PathBuf) -> Result<Vec<u8>, OpenError> {
    std::fs::read(path).map_err(|error| OpenError::File {
        path: path.clone(),
        error,
    })
}
