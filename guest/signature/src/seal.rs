//! The seal of the block before: a C2SP signed note over a checkpoint.

use auditchain_guest_sdk::types::Seal;
use auditchain_log::{Checkpoint, Note, VerifierKey};

/// Checks the note against what the host computed, then one P-256 signature.
pub(crate) fn check_seal(origin: &str, seal: &Seal) -> Result<(), String> {
    let note = Note::parse(seal.note.as_bytes()).map_err(|error| error.to_string())?;
    let checkpoint = Checkpoint::parse(note.text()).map_err(|error| error.to_string())?;
    if checkpoint.origin != origin {
        return Err(format!(
            "it is a seal of {:?}, this log is {origin:?}",
            checkpoint.origin
        ));
    }
    if checkpoint.size.0 != seal.size {
        return Err(format!(
            "it states {} entries, the log holds {}",
            checkpoint.size, seal.size
        ));
    }
    if checkpoint.root.0.as_slice() != seal.root {
        return Err(format!(
            "it states the root {}, the log's is another",
            checkpoint.root
        ));
    }
    // Keys of other types may be in force too; they are for others to check.
    let keys: Vec<VerifierKey> = seal
        .keys
        .iter()
        .filter_map(|vkey| vkey.parse().ok())
        .filter(VerifierKey::is_ecdsa_p256)
        .filter(|key| key.name() == origin)
        .collect();
    if keys.is_empty() {
        return Err("no ECDSA P-256 key of this log is in force".into());
    }
    note.verify(&keys)
        .map(|_| ())
        .map_err(|error| error.to_string())
}
