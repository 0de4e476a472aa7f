//! Who signs batches: keys in force by source, and the largest number accepted of each.

use std::collections::BTreeMap;

use auditchain_log::{GapRecord, KeyRecord};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::{begins, key_digest};
use crate::SenderKeyInput;

/// Sequence numbers start here.
const FIRST_SEQUENCE: u64 = 1;

/// Sender keys and sequence numbers.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Senders {
    /// In force, in the order of their entries.
    keys: Vec<KeyRecord>,
    /// Largest sequence number accepted, by source and then by the key's digest.
    sequences: BTreeMap<String, BTreeMap<String, u64>>,
}

impl Senders {
    /// Begins or ends a key; one that begins again has the new times.
    pub(super) fn change(&mut self, record: &KeyRecord) {
        self.keys
            .retain(|known| (&known.source, &known.key) != (&record.source, &record.key));
        if begins(record) {
            self.keys.push(record.clone());
        }
    }

    pub(super) fn keys(&self) -> &[KeyRecord] {
        &self.keys
    }

    pub(super) fn last_sequence(&self, source: &str, public_key: &[u8]) -> Option<u64> {
        let of_source = self.sequences.get(source)?;
        of_source.get(&key_digest(public_key).to_string()).copied()
    }

    pub(super) fn gap(&self, source: &str, public_key: &[u8], sequence: u64) -> Option<GapRecord> {
        let last = self.last_sequence(source, public_key);
        let first = last.map_or(FIRST_SEQUENCE, |last| last.saturating_add(1));
        (sequence > first).then(|| GapRecord {
            first,
            key: key_digest(public_key),
            last: sequence - 1,
        })
    }

    pub(super) fn accept(&mut self, source: &str, public_key: &[u8], sequence: u64) {
        let key = key_digest(public_key).to_string();
        let of_source = self.sequences.entry(source.into()).or_default();
        let last = of_source.entry(key).or_default();
        *last = sequence.max(*last);
    }

    /// The keys of the sources, as guests take them. A key that is no base64 is none.
    pub(super) fn inputs(&self, sources: &[&str]) -> Vec<SenderKeyInput> {
        let input = |record: &KeyRecord| {
            let source = sources.binary_search(&record.source.as_deref()?).ok()?;
            Some(SenderKeyInput {
                source: u32::try_from(source).ok()?,
                public_key: STANDARD.decode(&record.key).ok()?,
                not_before_us: record.not_before.map(|time| time.as_micros()),
                not_after_us: record.not_after.map(|time| time.as_micros()),
            })
        };
        self.keys.iter().filter_map(input).collect()
    }
}
