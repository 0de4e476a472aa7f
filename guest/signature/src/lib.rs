//! Default guest `signature`: the seal of the block before, and what senders signed.
//!
//! The bindings only; [`rule`] is the logic.
#![cfg_attr(test, allow(clippy::unwrap_used))]

use auditchain_guest_sdk::{Call, Description, Guest, Verdicts, export_guest, settings};

pub mod rule;

/// The guest.
#[derive(Debug, Clone, Copy)]
pub struct Signature;

impl Guest for Signature {
    const DESCRIPTION: Description =
        Description::new("signature", env!("CARGO_PKG_VERSION"), rule::RULES);

    fn configure(prepared: Vec<u8>) -> Result<Self, String> {
        let rule::Settings {} = settings(&prepared)?;
        Ok(Self)
    }

    fn verify(&self, call: &Call<'_>, verdicts: &mut Verdicts) {
        rule::verify(call, verdicts);
    }
}

export_guest!(Signature);
