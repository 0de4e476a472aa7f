//! An RBAC snapshot and an event to be judged by it; the prepared form, altered.
#![no_main]

use auditchain_guest_rbac::Rbac;
use auditchain_guest_sdk::testing::{Fixture, snapshot};
use auditchain_guest_sdk::Guest as _;
use libfuzzer_sys::fuzz_target;

const SNAPSHOT: &str = r#"{"kind":"List","items":[
{"kind":"ClusterRole","metadata":{"name":"r"},"rules":[{"verbs":["get"],"apiGroups":[""],"resources":["pods"]}]},
{"kind":"ClusterRoleBinding","metadata":{"name":"b"},"roleRef":{"kind":"ClusterRole","name":"r"},"subjects":[{"kind":"User","name":"u"}]}]}"#;

// The input is the snapshot, a zero byte, and the event; without a zero byte, an event.
fuzz_target!(|input: &[u8]| {
    let mut parts = input.splitn(2, |byte| *byte == 0);
    let first = parts.next().unwrap_or_default();
    let (json, event) = match parts.next() {
        Some(event) => (first, event),
        None => (SNAPSHOT.as_bytes(), first),
    };
    let Ok(prepared) = Rbac::prepare("{}", &[snapshot(json)]) else {
        return;
    };
    let guest = Rbac::configure(prepared).expect("prepared for itself");
    let mut fixture = Fixture::new(0);
    fixture.push(event);
    let _ = fixture.run(&guest);
});
