//! The policies in force, from the values that the log names by digest.

use std::sync::Arc;

use auditchain_log::{Hash, PolicyRecord, sha256};
use auditchain_sandbox::{Engine, History, Limits, PolicySet, PolicySpec, RbacSnapshot};

use crate::source::{LogSource, SourceError};

/// The set in force; none where it can't be loaded.
#[derive(Default)]
pub(super) struct Policies {
    set: Option<PolicySet>,
}

impl Policies {
    pub(super) fn set(&self) -> Option<&PolicySet> {
        self.set.as_ref()
    }

    /// Loads what the history has in force. The inner error says why it can't be.
    ///
    /// # Errors
    /// The source can't be asked.
    pub(super) fn load(
        &mut self,
        engine: &Engine,
        history: &History,
        source: &dyn LogSource,
    ) -> Result<Result<(), String>, SourceError> {
        self.set = None;
        let Some(in_force) = history.policies() else {
            return Ok(Ok(()));
        };
        let mut specs = Vec::new();
        for record in &in_force.policies {
            match spec(record, source)? {
                Ok(spec) => specs.push(spec),
                Err(reason) => return Ok(Err(reason)),
            }
        }
        let mut snapshots = Vec::new();
        for record in history.snapshots() {
            match value(&record.digest, "the RBAC snapshot", source)? {
                Ok(bytes) => snapshots.push((record.from.as_micros(), bytes)),
                Err(reason) => return Ok(Err(reason)),
            }
        }
        let inputs: Vec<RbacSnapshot<'_>> = snapshots
            .iter()
            .map(|(from, json)| RbacSnapshot {
                in_force_from_us: *from,
                json,
            })
            .collect();
        let set = match PolicySet::load(engine, &specs, &inputs) {
            Ok(set) => set,
            Err(error) => return Ok(Err(error.to_string())),
        };
        for (policy, record) in set.policies().iter().zip(&in_force.policies) {
            if policy.settings_digest() != record.settings.0 {
                let name = &record.name;
                return Ok(Err(format!(
                    "the settings of policy {name} are not in canonical form"
                )));
            }
        }
        let is_suspended = |name: &str| {
            let mut all = in_force.policies.iter();
            all.any(|record| record.suspended && record.name == name)
        };
        self.set = Some(set.suspend(is_suspended));
        Ok(Ok(()))
    }
}

fn spec(
    record: &PolicyRecord,
    source: &dyn LogSource,
) -> Result<Result<PolicySpec, String>, SourceError> {
    let name = &record.name;
    let module = match value(
        &record.module,
        &format!("the module of policy {name}"),
        source,
    )? {
        Ok(module) => module,
        Err(reason) => return Ok(Err(reason)),
    };
    let what = format!("the settings of policy {name}");
    let settings = match value(&record.settings, &what, source)? {
        Ok(settings) => settings,
        Err(reason) => return Ok(Err(reason)),
    };
    let Ok(settings) = serde_json::from_slice(&settings) else {
        return Ok(Err(format!("{what} are no JSON")));
    };
    Ok(Ok(PolicySpec {
        name: name.clone(),
        module: Arc::from(module),
        mode: record.mode,
        settings,
        limits: Limits::from(record.limits),
    }))
}

/// The bytes of a digest; the inner error says what is wrong with them.
fn value(
    digest: &Hash,
    what: &str,
    source: &dyn LogSource,
) -> Result<Result<Vec<u8>, String>, SourceError> {
    match source.blob(digest) {
        Ok(Some(bytes)) if sha256(&[&bytes]) == *digest => Ok(Ok(bytes)),
        Ok(Some(_)) => Ok(Err(format!("{what} is not what its digest names"))),
        Ok(None) => Ok(Err(format!("{what} is missing"))),
        Err(SourceError::Damaged { reason, .. }) => Ok(Err(format!("{what}: {reason}"))),
        Err(error) => Err(error),
    }
}
