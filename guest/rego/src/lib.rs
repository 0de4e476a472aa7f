//! Guest `rego`: policies in Rego, the language of Open Policy Agent, so that rules
//! which a team has already work on audit events.
//!
//! The bindings only. Reading order: [`settings`] (what an author writes),
//! [`policy`] (how it is checked and made ready), [`source`] (what is looked for in
//! the text), [`builtins`] (functions beside those of regorus), [`input`] (what a
//! policy sees), [`rule`] (what is judged), [`outcome`] (what a rule's value says).
#![cfg_attr(test, allow(clippy::unwrap_used))]

use auditchain_guest_sdk::{Call, Description, Guest, RbacSnapshot, Verdicts, export_guest};

pub mod builtins;
pub mod input;
pub mod outcome;
pub mod policy;
pub mod rule;
pub mod settings;
pub mod source;

/// The guest, with its policy.
#[derive(Debug)]
pub struct Rego(pub policy::Policy);

impl Guest for Rego {
    const DESCRIPTION: Description =
        Description::new("rego", env!("CARGO_PKG_VERSION"), rule::RULES);

    fn prepare(settings: &str, _rbac_snapshots: &[RbacSnapshot]) -> Result<Vec<u8>, String> {
        policy::prepare(settings)
    }

    fn configure(prepared: Vec<u8>) -> Result<Self, String> {
        policy::Policy::read(&prepared).map(Self)
    }

    fn verify(&self, call: &Call<'_>, verdicts: &mut Verdicts) {
        rule::verify(&self.0, call, verdicts);
    }
}

export_guest!(Rego);
