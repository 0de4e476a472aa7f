//! The policies in force.

use std::{collections::HashSet, sync::Arc};

use crate::{
    BlockInput, BlockVerdict, Description, Engine, Limits, LoadError, LoadProblem, Mode,
    PolicySpec, RbacSnapshot, bindings::VerifierPre, instance::Grant, judge, load, state::State,
};

/// Policies of a set. Each runs on every event.
pub const MAX_POLICIES: usize = 32;

/// The policies in force, ready to judge. Immutable: a change is a new set.
pub struct PolicySet {
    engine: Engine,
    policies: Vec<LoadedPolicy>,
}

/// A policy whose guest is compiled and prepared. Clones share what is large.
#[derive(Clone)]
pub struct LoadedPolicy {
    pub(crate) name: Arc<str>,
    pub(crate) module_digest: [u8; 32],
    pub(crate) settings: Arc<str>,
    pub(crate) settings_digest: [u8; 32],
    pub(crate) mode: Mode,
    pub(crate) limits: Limits,
    pub(crate) description: Arc<Description>,
    pub(crate) reads_bodies: bool,
    pub(crate) guest: VerifierPre<State>,
    pub(crate) prepared: Arc<[u8]>,
    pub(crate) suspended: bool,
}

impl PolicySet {
    /// Compiles and prepares the policies, in their order. The RBAC snapshots, the
    /// oldest first, go to the guests that ask for them.
    ///
    /// # Errors
    /// The first policy that cannot be loaded.
    pub fn load(
        engine: &Engine,
        specs: &[PolicySpec],
        rbac_snapshots: &[RbacSnapshot<'_>],
    ) -> Result<Self, LoadError> {
        let mut names = HashSet::new();
        let policies = specs
            .iter()
            .enumerate()
            .map(|(index, spec)| {
                let loaded = if index >= MAX_POLICIES {
                    Err(LoadProblem::TooManyPolicies)
                } else if !names.insert(spec.name.as_str()) {
                    Err(LoadProblem::DuplicateName)
                } else {
                    load::load(engine, spec, rbac_snapshots)
                };
                loaded.map_err(|problem| LoadError {
                    policy: spec.name.clone(),
                    problem,
                })
            })
            .collect::<Result<_, _>>()?;
        Ok(Self {
            engine: engine.clone(),
            policies,
        })
    }

    /// The same set, in which the policies of these names, and no others, are suspended:
    /// their guests are not run, and every subject gets the finding
    /// [`FailureKind::Suspended`](crate::FailureKind::Suspended), invalid where the policy
    /// enforces. Compiles nothing.
    #[must_use]
    pub fn suspend(&self, is_suspended: impl Fn(&str) -> bool) -> Self {
        let policies = self.policies.iter().map(|policy| LoadedPolicy {
            suspended: is_suspended(&policy.name),
            ..policy.clone()
        });
        Self {
            engine: self.engine.clone(),
            policies: policies.collect(),
        }
    }

    /// The policies, in their order.
    #[must_use]
    pub fn policies(&self) -> &[LoadedPolicy] {
        &self.policies
    }

    /// Judges a block. Every guest is asked about every event; one that does not
    /// answer is a finding, and costs the others nothing.
    ///
    /// The findings are a function of the block and the set. They are the same on
    /// every machine, unless [`BlockVerdict::is_reproducible`] says otherwise.
    #[must_use]
    pub fn judge(&self, block: &BlockInput<'_>) -> BlockVerdict {
        judge::judge(&self.engine, &self.policies, block)
    }
}

impl LoadedPolicy {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// SHA-256 of the component.
    #[must_use]
    pub fn module_digest(&self) -> [u8; 32] {
        self.module_digest
    }

    /// The settings, canonical JSON: what the guest was given.
    #[must_use]
    pub fn settings(&self) -> &str {
        &self.settings
    }

    /// SHA-256 of [`settings`](Self::settings).
    #[must_use]
    pub fn settings_digest(&self) -> [u8; 32] {
        self.settings_digest
    }

    /// Whether it can make an event invalid.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// What its guest may use up.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Whether its guest is left out: see [`PolicySet::suspend`].
    #[must_use]
    pub fn is_suspended(&self) -> bool {
        self.suspended
    }

    /// What its guest says of itself, the rules included.
    #[must_use]
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// What its guest may use up for a slice of that many events and signed batches.
    pub(crate) fn grant(&self, events: usize, batches: usize) -> Grant {
        Grant {
            memory_bytes: self.limits.memory_bytes,
            fuel: self.limits.fuel(events, batches),
            output_bytes: self.limits.output_bytes,
        }
    }
}

impl std::fmt::Debug for PolicySet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(&self.policies).finish()
    }
}

impl std::fmt::Debug for LoadedPolicy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LoadedPolicy")
            .field("name", &self.name)
            .field("module_digest", &hex::encode(self.module_digest))
            .field("mode", &self.mode)
            .finish_non_exhaustive()
    }
}
