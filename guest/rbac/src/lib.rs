//! Default guest `rbac`: was each request allowed or forbidden as the RBAC snapshot
//! says, and what would the organisation like to know?
//!
//! The bindings only. Reading order: [`rule`] (what is judged), [`request`] (what a
//! request asks for), [`reason`] (what the apiserver says allowed it), [`evaluate`]
//! (what the snapshot grants), [`organisation`] (rules that observe), [`settings`],
//! and how a snapshot becomes what `configure` takes up: [`snapshot`], [`compile`],
//! [`tables`].
#![cfg_attr(test, allow(clippy::unwrap_used))]

use auditchain_guest_sdk::{Call, Description, Guest, RbacSnapshot, Verdicts, export_guest};

pub mod compile;
pub mod evaluate;
mod impersonation;
pub mod organisation;
pub mod reason;
pub mod request;
pub mod rule;
pub mod settings;
pub mod snapshot;
pub mod tables;

/// The guest, with what `prepare` made.
#[derive(Debug, Clone)]
pub struct Rbac {
    /// Kept as bytes: the tables in it are used where they lie.
    prepared: Vec<u8>,
}

impl Guest for Rbac {
    const DESCRIPTION: Description = Description {
        name: "rbac",
        version: env!("CARGO_PKG_VERSION"),
        rules: rule::RULES,
        needs_rbac_snapshot: true,
    };

    fn prepare(settings: &str, rbac_snapshots: &[RbacSnapshot]) -> Result<Vec<u8>, String> {
        compile::prepare(settings, rbac_snapshots)
    }

    fn configure(prepared: Vec<u8>) -> Result<Self, String> {
        compile::Prepared::read(&prepared)?;
        Ok(Self { prepared })
    }

    fn verify(&self, call: &Call<'_>, verdicts: &mut Verdicts) {
        // `configure` has read these bytes; reading them again is cheap and fails the
        // same way. Should it fail, trap: an empty answer would say "all valid".
        let prepared = compile::Prepared::read(&self.prepared).unwrap_or_else(|e| panic!("{e}"));
        rule::verify(&prepared, call, verdicts);
    }
}

export_guest!(Rbac);
