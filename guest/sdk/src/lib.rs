//! What the author of a guest needs, and nothing more.
//!
//! A guest is a WebAssembly component for the world `verifier` of
//! `wit/verifier.wit`: a pure function of a block's events and their context. With
//! this crate it is a type, a list of rules and one function:
//!
//! ```
//! use auditchain_guest_sdk::{Call, Description, Guest, Rule, Severity, Verdicts};
//!
//! const NIGHT_OWL: Rule = Rule::new("night-owl", Severity::Medium, "Mallory was here");
//!
//! struct Example;
//!
//! impl Guest for Example {
//!     const DESCRIPTION: Description = Description::new("example", "1.0.0", &[NIGHT_OWL]);
//!
//!     fn configure(_prepared: Vec<u8>) -> Result<Self, String> {
//!         Ok(Self)
//!     }
//!
//!     fn verify(&self, call: &Call<'_>, verdicts: &mut Verdicts) {
//!         for event in call.events() {
//!             if event.user().name() == Some("mallory") {
//!                 verdicts.finding(event.subject(), &NIGHT_OWL, "mallory was here");
//!             }
//!         }
//!     }
//! }
//!
//! auditchain_guest_sdk::export_guest!(Example);
//! ```
//!
//! The crate is built as `cdylib` for `wasm32-unknown-unknown`; natively the same
//! code compiles to an `rlib`, where the two imports have stand-ins and
//! [`testing`] turns recorded events into a [`Call`].
//!
//! Reading order: [`Guest`] (the trait), [`Call`] and [`Event`] (what is judged),
//! [`Verdicts`] (what is answered), [`host`] (what may be asked), [`settings`].
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod bindings;
mod call;
mod guest;
pub mod host;
mod settings;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;
mod time;
mod user;
mod verdicts;

pub use bindings::auditchain::verifier::types;
pub use call::{Call, Event};
pub use guest::{Description, Guest, Rule, run};
pub use settings::settings;
pub use time::timestamp;
pub use types::{
    Level, LogLevel, RbacSnapshot, Severity, SignatureAlgorithm, Stage, Subject, Verdict,
};
pub use user::User;
pub use verdicts::Verdicts;
