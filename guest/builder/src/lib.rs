//! Builds guests of this workspace to WebAssembly components, for build scripts
//! and tests, so that nobody ever builds one by hand.
//!
//! ```text
//! package --nested cargo--> core module (wasm32-unknown-unknown) --wit-component--> component
//! ```
//!
//! **The same source gives the same bytes.** A component's SHA-256 is what a log
//! names as the judge of its events, so nothing of the machine may get into it:
//! paths are remapped, the environment is a whitelist, the profile is fixed here,
//! and each package is resolved alone, lest the packages built beside it choose
//! its features. Another compiler gives other bytes: a digest stands for source
//! and toolchain.
//!
//! Out of scope: installing a toolchain. Where none is found, the error names
//! what to install.

mod build_script;
mod component;
mod dep_info;
mod error;
mod guest_build;
mod nested_cargo;
mod toolchain;

pub use build_script::build_for_build_script;
pub use error::BuildError;
pub use guest_build::{Built, GuestBuild, build};

/// The target of every guest: no WASI, nothing to import but the contract.
pub(crate) const TARGET: &str = "wasm32-unknown-unknown";
