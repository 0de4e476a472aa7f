//! What verdicts are made with, compiled: policies, RBAC snapshots and sender keys; the
//! entries that put them in force, so that anyone can run them again; and which of the
//! sets that were in force lately belongs to a state of the log.

use std::collections::VecDeque;
use std::sync::Arc;

use auditchain_log::{
    Hash, KeyRecord, KeyState, LimitsRecord, Payload, PolicyRecord, RbacRecord, Timestamp, sha256,
};
use auditchain_sandbox::{
    ENGINE_ID, Engine, History, PoliciesInForce, PolicySet, PolicySpec, RbacSnapshot,
};
use auditchain_store::{Store, StoreError, What};

use crate::open::OpenError;
use crate::sequencer::{Ack, Job, Work};
use crate::state::{LogState, damaged};
use crate::suspension;
use crate::wanted::Wanted;

/// Sets that can be needed: the one before the block under way, that block's, and that
/// of the block built on top of it.
const SETS_MAX: usize = 3;

/// What is wanted in force, compiled, with what the log keeps of it.
#[derive(Debug)]
pub(crate) struct InForce {
    loaded: Arc<Loaded>,
    /// The snapshots of the log that it was compiled for.
    base: Vec<RbacRecord>,
    /// One that the log does not have in force yet.
    snapshot: Option<RbacRecord>,
    sender_keys: Vec<KeyRecord>,
    /// Modules, settings and the RBAC snapshot, by digest.
    pub(crate) kept: Vec<(Hash, Vec<u8>)>,
}

/// Entries that put something in force, with the values that they name.
#[derive(Default)]
pub(crate) struct Changes {
    pub(crate) entries: Vec<Payload>,
    pub(crate) kept: Vec<(Hash, Vec<u8>)>,
}

/// A compiled set, and what a log says that has it in force.
#[derive(Debug)]
pub(crate) struct Loaded {
    set: PolicySet,
    policies: PoliciesInForce,
    snapshots: Vec<RbacRecord>,
}

/// The set in force, and those before it that a block which is lost brings back. What
/// judges is always what the state has in force: nothing is judged by one set and
/// recorded under another.
#[derive(Debug)]
pub(crate) struct PolicySets {
    current: Arc<Loaded>,
    /// The oldest first.
    before: VecDeque<Arc<Loaded>>,
}

impl InForce {
    /// Compiles and prepares. A log that has an RBAC snapshot keeps it until there is
    /// another one.
    ///
    /// # Errors
    /// A policy is refused, or the store fails.
    pub(crate) fn compile(
        wanted: &Wanted,
        engine: &Engine,
        base: &[RbacRecord],
        store: &impl Store,
        now_us: i64,
    ) -> Result<Self, OpenError> {
        let mut kept = Vec::new();
        let mut snapshots = Vec::new();
        for record in base {
            snapshots.push((record.clone(), value(store, &record.digest)?));
        }
        let snapshot = wanted.snapshot.as_ref();
        let snapshot = snapshot.and_then(|bytes| new_snapshot(bytes, base, now_us));
        if let (Some(record), Some(bytes)) = (&snapshot, &wanted.snapshot) {
            // What it pushes out is no longer in question.
            let mut after = History::default();
            for record in base.iter().chain([record]) {
                after.put_in_force(&Payload::Rbac(record.clone()));
            }
            let gone = snapshots.len() + 1 - after.snapshots().len();
            snapshots.drain(..gone);
            snapshots.push((record.clone(), bytes.clone()));
            kept.push((record.digest, bytes.clone()));
        }
        let inputs: Vec<RbacSnapshot<'_>> = snapshots
            .iter()
            .map(|(record, json)| RbacSnapshot {
                in_force_from_us: record.from.as_micros(),
                json,
            })
            .collect();
        let specs: Vec<PolicySpec> = wanted.policies.iter().map(|p| p.spec.clone()).collect();
        let set = PolicySet::load(engine, &specs, &inputs).map_err(|error| OpenError::Policy {
            name: error.policy,
            reason: error.problem.to_string(),
        })?;
        let policies = set.policies().iter().zip(&wanted.policies);
        let policies = policies.map(|(policy, wanted)| {
            let (module, settings) = (Hash(policy.module_digest()), Hash(policy.settings_digest()));
            kept.push((module, wanted.spec.module.to_vec()));
            kept.push((settings, policy.settings().as_bytes().to_vec()));
            PolicyRecord {
                limits: LimitsRecord::from(*policy.limits()),
                mode: policy.mode(),
                module,
                name: policy.name().into(),
                settings,
                signer: wanted.signer,
                suspended: false,
            }
        });
        let policies = PoliciesInForce {
            engine: ENGINE_ID.into(),
            policies: policies.collect(),
        };
        Ok(Self {
            loaded: Arc::new(Loaded {
                set,
                policies,
                snapshots: snapshots.into_iter().map(|(record, _)| record).collect(),
            }),
            base: base.to_vec(),
            snapshot,
            sender_keys: wanted.sender_keys.clone(),
            kept,
        })
    }

    /// As it goes into force after this state: what is suspended stays so, unless it is
    /// changed by this.
    pub(crate) fn after(mut self, state: &LogState) -> Self {
        self.loaded = self.loaded.suspend(&state.suspended);
        self
    }

    /// What of it the log doesn't have in force yet; see [`after`](Self::after).
    pub(crate) fn changes(&self, state: &LogState) -> Changes {
        self.changes_by(&self.loaded, state)
    }

    fn changes_by(&self, loaded: &Loaded, state: &LogState) -> Changes {
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
        if state.in_force != Some(digest(&loaded.policies)) {
            changes.entries.push(loaded.entry());
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

/// The change among the requests that counts: the last that was compiled for this state.
/// Nothing, if that is in force already.
pub(crate) fn find(
    jobs: &[Job],
    state: &LogState,
    acks: &mut [Ack],
) -> Option<(Arc<Loaded>, Changes)> {
    let mut last = None;
    let mut asked = Vec::new();
    for (job, waiting) in jobs.iter().enumerate() {
        let Work::InForce(in_force) = &waiting.work else {
            continue;
        };
        if in_force.base == state.history.snapshots() {
            last = Some(&**in_force);
            asked.push(job);
        } else {
            acks[job].outdated = true;
        }
    }
    let last = last?;
    let loaded = last.loaded.suspend(&state.suspended);
    let changes = last.changes_by(&loaded, state);
    for job in asked {
        acks[job].accepted = changes.entries.len() as u64;
    }
    (!changes.entries.is_empty()).then_some((loaded, changes))
}

/// The change of the block at hand, or none, with what it suspends besides.
pub(crate) fn with_suspensions(
    change: Option<(Arc<Loaded>, Changes)>,
    due: Vec<PolicyRecord>,
    sets: &PolicySets,
) -> Option<(Arc<Loaded>, Changes)> {
    if due.is_empty() {
        return change;
    }
    let (loaded, mut changes) =
        change.unwrap_or_else(|| (Arc::clone(&sets.current), Changes::default()));
    let mut suspended = suspension::suspended(&loaded.policies);
    suspended.extend(due);
    let loaded = loaded.suspend(&suspended);
    // Its values are kept already, or with the change's.
    let is_policy = |entry: &&mut Payload| matches!(entry, Payload::Policy { .. });
    match changes.entries.iter_mut().find(is_policy) {
        Some(entry) => *entry = loaded.entry(),
        None => changes.entries.push(loaded.entry()),
    }
    Some((loaded, changes))
}

impl Loaded {
    fn entry(&self) -> Payload {
        Payload::Policy {
            engine: self.policies.engine.clone(),
            policies: self.policies.policies.clone(),
        }
    }

    /// The same set in which exactly these policies are suspended, if it has them.
    fn suspend(self: &Arc<Self>, suspended: &[PolicyRecord]) -> Arc<Self> {
        let mut policies = self.policies.clone();
        suspension::mark(&mut policies, suspended);
        if policies == self.policies {
            return Arc::clone(self);
        }
        let is_suspended = |name: &str| {
            let mut all = policies.policies.iter();
            all.any(|record| record.suspended && record.name == name)
        };
        Arc::new(Self {
            set: self.set.suspend(is_suspended),
            policies,
            snapshots: self.snapshots.clone(),
        })
    }

    fn is_of(&self, state: &LogState) -> bool {
        state.in_force == Some(digest(&self.policies))
            && state.history.snapshots() == self.snapshots
    }
}

impl PolicySets {
    pub(crate) fn new(in_force: &InForce) -> Self {
        Self {
            current: Arc::clone(&in_force.loaded),
            before: VecDeque::new(),
        }
    }

    /// What judges.
    pub(crate) fn current(&self) -> &PolicySet {
        &self.current.set
    }

    /// The records of what judges.
    pub(crate) fn records(&self) -> &PoliciesInForce {
        &self.current.policies
    }

    /// From the block at hand on, this judges.
    pub(crate) fn adopt(&mut self, loaded: Arc<Loaded>) {
        let before = std::mem::replace(&mut self.current, loaded);
        self.before.push_back(before);
        if self.before.len() == SETS_MAX {
            self.before.pop_front();
        }
    }

    /// Every block is on disk: only the last set is needed.
    pub(crate) fn forget_earlier(&mut self) {
        self.before.clear();
    }

    /// Has the set judge that this state, read back from the store, has in force; false
    /// if none of them is that.
    pub(crate) fn return_to(&mut self, state: &mut LogState) -> bool {
        while !self.current.is_of(state) {
            let Some(before) = self.before.pop_back() else {
                return false;
            };
            self.current = before;
        }
        self.tell(state);
        true
    }

    /// What a state that was read back doesn't have: the policies behind their digest.
    pub(crate) fn tell(&self, state: &mut LogState) {
        if self.current.is_of(state) {
            state.history.put_in_force(&self.current.entry());
        }
    }
}

/// Names a policy set, with the engine that runs it.
pub(crate) fn digest(policies: &PoliciesInForce) -> Hash {
    // Strings and numbers: serialising them can't fail.
    let text = serde_json::to_vec(&(&policies.engine, &policies.policies)).unwrap_or_default();
    sha256(&[&text])
}

/// The snapshot that is wanted, if it isn't the one in force.
fn new_snapshot(bytes: &[u8], base: &[RbacRecord], now_us: i64) -> Option<RbacRecord> {
    let in_force = base.last();
    let from_us = in_force.map_or(now_us, |last| now_us.max(last.from.as_micros()));
    let record = RbacRecord {
        digest: sha256(&[bytes]),
        from: Timestamp::from_micros(from_us),
        size: bytes.len() as u64,
    };
    let known = in_force.is_some_and(|last| last.digest == record.digest);
    (!known).then_some(record)
}

fn value(store: &impl Store, digest: &Hash) -> Result<Vec<u8>, StoreError> {
    let name = format!("sha256/{digest}");
    let missing = || damaged(What::Blob(name.clone()), None);
    store.blob(&name)?.ok_or_else(missing)
}
