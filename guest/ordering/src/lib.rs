//! Default guest `ordering`: are an event's stage and times possible?
//!
//! The bindings only; [`rule`] is the logic.
#![cfg_attr(test, allow(clippy::unwrap_used))]

use auditchain_guest_sdk::{Call, Description, Guest, Verdicts, export_guest, settings};

pub mod rule;

/// The guest, with its settings.
#[derive(Debug, Clone)]
pub struct Ordering(pub rule::Settings);

impl Guest for Ordering {
    const DESCRIPTION: Description =
        Description::new("ordering", env!("CARGO_PKG_VERSION"), rule::RULES);

    fn configure(prepared: Vec<u8>) -> Result<Self, String> {
        let read: rule::Settings = settings(&prepared)?;
        read.check()?;
        Ok(Self(read))
    }

    fn verify(&self, call: &Call<'_>, verdicts: &mut Verdicts) {
        rule::verify(&self.0, call, verdicts);
    }
}

export_guest!(Ordering);
