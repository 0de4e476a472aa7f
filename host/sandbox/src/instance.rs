//! One fresh instance of a guest: made, used for one call, thrown away.
//!
//! Nothing a guest does lives longer than its instance, so its answer can depend
//! only on what this call gave it. After a trap the store is dead; it is dropped
//! like any other.

use std::sync::Arc;

use wasmtime::Store;

use crate::{
    Engine, RbacSnapshot,
    bindings::{
        Verifier, VerifierPre,
        auditchain::verifier::types::{self, Context, Description, Slice, Verdict},
    },
    engine::Slot,
    failure::{Failure, FailureKind},
    state::{Bodies, LogCount, MemoryLimiter, State},
};

/// What an instance may use up.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Grant {
    pub(crate) memory_bytes: u64,
    pub(crate) fuel: u64,
    pub(crate) output_bytes: u64,
}

/// What an instance used up.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Used {
    pub(crate) fuel: u64,
    pub(crate) log: LogCount,
}

/// A running guest.
pub(crate) struct Instance<'e> {
    // Dropped in this order: the slot is free when the store is gone.
    store: Store<State>,
    verifier: Verifier,
    _slot: Slot<'e>,
    fuel: u64,
}

impl<'e> Instance<'e> {
    pub(crate) fn start(
        engine: &'e Engine,
        guest: &VerifierPre<State>,
        policy: &Arc<str>,
        grant: Grant,
        bodies: Bodies,
    ) -> Result<Self, Failure> {
        let slot = engine.slot();
        let to_usize = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        let mut store = Store::new(
            engine.wasmtime(),
            State {
                policy: policy.clone(),
                memory: MemoryLimiter {
                    memory_bytes: to_usize(grant.memory_bytes),
                },
                log: LogCount::default(),
                bodies,
            },
        );
        store.limiter(|state| &mut state.memory);
        store.set_hostcall_fuel(to_usize(grant.output_bytes));
        store.set_epoch_deadline(engine.backstop_ticks());
        store
            .set_fuel(grant.fuel)
            .map_err(|error| Failure::of_start(&error))?;
        let verifier = guest
            .instantiate(&mut store)
            .map_err(|error| Failure::of_start(&error))?;
        Ok(Self {
            store,
            verifier,
            _slot: slot,
            fuel: grant.fuel,
        })
    }

    pub(crate) fn describe(&mut self) -> Result<Description, Failure> {
        self.verifier
            .call_describe(&mut self.store)
            .map_err(|error| Failure::of_call(&error))
    }

    /// The inner error is the guest's refusal.
    pub(crate) fn prepare(
        &mut self,
        settings: &str,
        rbac_snapshots: &[RbacSnapshot<'_>],
    ) -> Result<Result<Vec<u8>, String>, Failure> {
        let snapshots: Vec<_> = rbac_snapshots
            .iter()
            .map(|snapshot| types::RbacSnapshot {
                in_force_from: snapshot.in_force_from_us,
                json: snapshot.json,
            })
            .collect();
        self.verifier
            .call_prepare(&mut self.store, settings, &snapshots)
            .map_err(|error| Failure::of_call(&error))
    }

    pub(crate) fn configure(&mut self, prepared: &[u8]) -> Result<(), Failure> {
        self.verifier
            .call_configure(&mut self.store, prepared)
            .map_err(|error| Failure::of_call(&error))?
            .map_err(|refusal| Failure::new(FailureKind::ConfigureRefused, cut(refusal)))
    }

    pub(crate) fn verify(
        &mut self,
        context: Context<'_>,
        slice: Slice<'_>,
    ) -> Result<Vec<Verdict>, Failure> {
        self.verifier
            .call_verify(&mut self.store, context, slice)
            .map_err(|error| Failure::of_call(&error))
    }

    pub(crate) fn used(&self) -> Used {
        Used {
            // Fuel is on, so it can be read; none left if it could not.
            fuel: self.fuel - self.store.get_fuel().unwrap_or(0).min(self.fuel),
            log: self.store.data().log,
        }
    }
}

/// Longest text of a guest that is kept for people.
pub const MAX_TEXT_BYTES: usize = 1_024;

/// Cuts a guest's text to [`MAX_TEXT_BYTES`], at the end of a character.
pub(crate) fn cut(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(MAX_TEXT_BYTES));
    text
}
