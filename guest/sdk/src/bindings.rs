//! The bindings that wit-bindgen generates from `wit/verifier.wit`.
//!
//! Generated once, here, for all guests; [`export_guest!`](crate::export_guest)
//! ties them to a guest's type. Nothing in this module is written by hand.
#![allow(
    unsafe_code,
    reason = "the canonical ABI passes pointers; the code is generated"
)]
#![allow(missing_docs, unreachable_pub, rust_2018_idioms, clippy::all)]
#![allow(
    clippy::cast_possible_truncation,
    clippy::needless_pass_by_value,
    clippy::semicolon_if_nothing_returned,
    clippy::undocumented_unsafe_blocks,
    clippy::unwrap_used,
    reason = "the code is generated"
)]

wit_bindgen::generate!({
    path: "../../wit",
    world: "verifier",
    pub_export_macro: true,
    default_bindings_module: "auditchain_guest_sdk::bindings",
});
