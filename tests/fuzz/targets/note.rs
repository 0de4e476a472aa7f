//! Signed notes, checkpoints, keys and witness policies.
#![no_main]

use auditchain_log::{Checkpoint, Note, VerifierKey, WitnessPolicy};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(note) = Note::parse(bytes) {
        assert_eq!(note.to_string().as_bytes(), bytes);
        if let Ok(checkpoint) = Checkpoint::parse(note.text()) {
            let _ = Checkpoint::parse(&checkpoint.to_text()).expect("a checkpoint");
        }
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        if let Ok(key) = text.parse::<VerifierKey>() {
            assert_eq!(key.to_string().parse::<VerifierKey>(), Ok(key));
        }
    }
    let _ = WitnessPolicy::parse(bytes);
});
