//! What wasmtime's `bindgen!` makes of `wit/verifier.wit`. Inputs are borrowed:
//! strings are copied once, from where the event was parsed into the guest.
#![allow(
    unsafe_code,
    reason = "the canonical ABI passes pointers; the code is generated"
)]
#![allow(missing_docs, unreachable_pub, dead_code, clippy::all)]
#![allow(
    clippy::cast_possible_truncation,
    clippy::needless_pass_by_value,
    clippy::semicolon_if_nothing_returned,
    reason = "generated"
)]

wasmtime::component::bindgen!({
    path: "../../wit",
    world: "verifier",
    ownership: Borrowing { duplicate_if_necessary: true },
});
