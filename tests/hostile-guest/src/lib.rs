//! A guest that misbehaves as its settings say. For the sandbox's tests.
//!
//! Settings `{"do":"<behaviour>"}`; the behaviours are in `behaviour`, one for
//! each call of the contract. Unknown or none: every event gets one verdict.

mod behaviour;

// The bindings are the one place that needs unsafe: they are generated.
#[allow(unsafe_code, missing_docs, unreachable_pub, clippy::all)]
mod bindings {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "verifier",
        pub_export_macro: true,
    });
}

use bindings::{
    Guest,
    auditchain::verifier::types::{
        Context, Description, RbacSnapshot, Rule, Severity, Slice, Verdict,
    },
};

struct Hostile;

impl Guest for Hostile {
    fn describe() -> Description {
        Description {
            name: "hostile".into(),
            version: "1.0.0".into(),
            rules: vec![
                Rule {
                    id: "seen".into(),
                    severity: Severity::Info,
                    title: "An event was seen".into(),
                },
                Rule {
                    id: "bad".into(),
                    severity: Severity::Critical,
                    title: "Something is bad".into(),
                },
            ],
            needs_rbac_snapshot: false,
        }
    }

    fn prepare(settings: String, snapshots: Vec<RbacSnapshot>) -> Result<Vec<u8>, String> {
        behaviour::prepare(&settings, &snapshots)
    }

    fn configure(prepared: Vec<u8>) -> Result<(), String> {
        behaviour::configure(prepared)
    }

    fn verify(context: Context, slice: Slice) -> Vec<Verdict> {
        behaviour::verify(&context, &slice)
    }
}

#[allow(unsafe_code)]
mod export {
    use super::{Hostile, bindings};
    bindings::export!(Hostile with_types_in bindings);
}
