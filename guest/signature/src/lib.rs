//! Default guest `signature`: the seal of the block before, and what senders signed.
//!
//! The bindings only; [`rule`] is the logic.
#![cfg_attr(test, allow(clippy::unwrap_used))]

use auditchain_guest_sdk::{Call, Description, Guest, Verdicts, export_guest};

mod batch;
mod event;
mod keys;
pub mod rule;
mod seal;
mod settings;

pub use settings::{Settings, UnboundKeys};

/// The guest.
#[derive(Debug, Clone)]
pub struct Signature {
    settings: Settings,
}

impl Guest for Signature {
    const DESCRIPTION: Description =
        Description::new("signature", env!("CARGO_PKG_VERSION"), rule::RULES);

    fn configure(prepared: Vec<u8>) -> Result<Self, String> {
        let settings = Settings::read(&prepared)?;
        Ok(Self { settings })
    }

    fn verify(&self, call: &Call<'_>, verdicts: &mut Verdicts) {
        rule::verify(&self.settings, call, verdicts);
    }
}

export_guest!(Signature);
