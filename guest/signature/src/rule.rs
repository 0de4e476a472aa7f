//! Is the block before sealed by a key in force, and did each sender sign what it sent?
//!
//! A seal is a C2SP signed note over a checkpoint; a batch is signed over
//! [`auditchain_log::batch_message`], a single event over
//! [`auditchain_log::event_message`]. A key counts for a source from its `key` entry on,
//! within its validity, judged at the block's time: a signature carries none of its own.
//! The events of a batch that is refused are refused by the host.
//!
//! Out of scope: a batch's digest (the host computes it from the events, an auditor does so
//! again), and batches that never came (the host seals a `gap` for numbers left out).

use auditchain_guest_sdk::{Call, Rule, Severity, Subject, Verdicts};

use crate::keys::KeyTable;
use crate::seal::check_seal;
use crate::settings::Settings;
use crate::{batch, event};

/// The previous seal is not what the log's keys sign, or states something else than
/// the log holds.
pub const SEAL_INVALID: Rule = Rule::new(
    "seal-invalid",
    Severity::Critical,
    "The seal of the previous block does not hold",
);
/// A batch that its sender did not sign like this.
pub const BATCH_SIGNATURE_INVALID: Rule = Rule::new(
    "batch-signature-invalid",
    Severity::Critical,
    "A batch's signature does not verify",
);
/// Evidence: the key a batch's signature verified with.
pub const BATCH_SIGNATURE_VERIFIED: Rule = Rule::new(
    "batch-signature-verified",
    Severity::Info,
    "A batch's signature verifies",
);
/// The source has keys in force, and the batch's is none of them.
pub const BATCH_KEY_UNKNOWN: Rule = Rule::new(
    "batch-key-unknown",
    Severity::Critical,
    "A batch is signed with a key that its source has not in force",
);
/// The source has no key in force.
pub const BATCH_KEY_UNBOUND: Rule = Rule::new(
    "batch-key-unbound",
    Severity::Low,
    "A batch is signed, and no key is in force for its source",
);
/// The key's validity is over, or has not begun.
pub const BATCH_KEY_EXPIRED: Rule = Rule::new(
    "batch-key-expired",
    Severity::High,
    "A batch is signed with a key outside its validity",
);
/// Its number, or a later one, was accepted in an earlier block.
pub const BATCH_SEQUENCE_REPLAYED: Rule = Rule::new(
    "batch-sequence-replayed",
    Severity::Critical,
    "A batch has a number that was used before",
);
/// Another batch of the block has the number.
pub const BATCH_SEQUENCE_REPEATED: Rule = Rule::new(
    "batch-sequence-repeated",
    Severity::High,
    "Two batches of a block have the same number",
);
/// The settings require a signature of the source.
pub const SIGNATURE_MISSING: Rule = Rule::new(
    "signature-missing",
    Severity::High,
    "An event of a source that must sign is not signed",
);
/// An event that nobody signed like this.
pub const EVENT_SIGNATURE_INVALID: Rule = Rule::new(
    "event-signature-invalid",
    Severity::Critical,
    "An event's own signature does not verify",
);
/// Evidence: the key an event's signature verified with.
pub const EVENT_SIGNATURE_VERIFIED: Rule = Rule::new(
    "event-signature-verified",
    Severity::Info,
    "An event's own signature verifies",
);
/// As of a batch.
pub const EVENT_KEY_UNKNOWN: Rule = Rule::new(
    "event-key-unknown",
    Severity::Critical,
    "An event is signed with a key that its source has not in force",
);
/// As of a batch.
pub const EVENT_KEY_UNBOUND: Rule = Rule::new(
    "event-key-unbound",
    Severity::Low,
    "An event is signed, and no key is in force for its source",
);
/// As of a batch.
pub const EVENT_KEY_EXPIRED: Rule = Rule::new(
    "event-key-expired",
    Severity::High,
    "An event is signed with a key outside its validity",
);

/// Every rule of this guest.
pub const RULES: &[Rule] = &[
    SEAL_INVALID,
    BATCH_SIGNATURE_INVALID,
    BATCH_SIGNATURE_VERIFIED,
    BATCH_KEY_UNKNOWN,
    BATCH_KEY_UNBOUND,
    BATCH_KEY_EXPIRED,
    BATCH_SEQUENCE_REPLAYED,
    BATCH_SEQUENCE_REPEATED,
    SIGNATURE_MISSING,
    EVENT_SIGNATURE_INVALID,
    EVENT_SIGNATURE_VERIFIED,
    EVENT_KEY_UNKNOWN,
    EVENT_KEY_UNBOUND,
    EVENT_KEY_EXPIRED,
];

/// Judges the seal, if it comes with this slice, the batches that begin in it, and its
/// events.
pub fn verify(settings: &Settings, call: &Call<'_>, verdicts: &mut Verdicts) {
    let context = call.context();
    if let Some(seal) = &context.previous_seal
        && let Err(reason) = check_seal(&context.origin, seal)
    {
        verdicts.invalid(Subject::Block, &SEAL_INVALID, reason);
    }
    let mut keys = KeyTable::new(call);
    for (index, batch) in (0u32..).zip(&context.batches) {
        batch::judge(settings, call, index, batch, &mut keys, verdicts);
    }
    let required: Vec<bool> = context
        .sources
        .iter()
        .map(|source| settings.requires(&source.name))
        .collect();
    for event in call.events() {
        // A source that is none can't be excused.
        let required = required.get(event.raw().source as usize).unwrap_or(&true);
        event::judge(
            &event,
            *required,
            settings.unbound_keys,
            &mut keys,
            verdicts,
        );
    }
}

#[cfg(test)]
mod tests;
