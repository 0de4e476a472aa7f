//! Settings of the default guests: taken, or refused in words.
#![no_main]

use auditchain_guest_ordering::Ordering;
use auditchain_guest_rbac::Rbac;
use auditchain_guest_sdk::Guest;
use auditchain_guest_signature::Signature;
use libfuzzer_sys::fuzz_target;

fn prepare<G: Guest>(settings: &str) {
    match G::prepare(settings, &[]) {
        Ok(prepared) => assert!(G::configure(prepared).is_ok(), "prepared for itself"),
        Err(reason) => assert!(!reason.is_empty()),
    }
}

fuzz_target!(|settings: &str| {
    prepare::<Ordering>(settings);
    prepare::<Rbac>(settings);
    prepare::<Signature>(settings);
});
