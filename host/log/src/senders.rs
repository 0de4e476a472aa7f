//! Who signs batches: the keys in force of each source, as the log's `key` entries say, and
//! the largest sequence number accepted of each key. The service keeps one while it writes;
//! whoever checks the log builds the same one from its entries.

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::hash::sha256;
use crate::record::{GapRecord, KeyRecord, KeyState};

/// Sequence numbers start here.
pub const FIRST_SEQUENCE: u64 = 1;
/// Keys that are not in force whose numbers are kept, for each source. A sender of a source
/// without keys in force can use a new key for each batch; what is kept must not grow with
/// that. Numbers of keys in force are never dropped.
pub const MAX_UNBOUND_SEQUENCES: usize = 16;

/// Sender keys and sequence numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Senders {
    /// In force, in the order of their entries.
    keys: Vec<KeyRecord>,
    /// Largest sequence number accepted, by source and then by the key's digest.
    sequences: BTreeMap<String, BTreeMap<String, u64>>,
}

impl Senders {
    /// Begins or ends a key; one that begins again has the new times.
    pub fn change(&mut self, record: &KeyRecord) {
        self.keys
            .retain(|known| (&known.source, &known.key) != (&record.source, &record.key));
        if record.state == KeyState::Begin {
            self.keys.push(record.clone());
        }
    }

    /// Keys in force, as the entries say that began them.
    #[must_use]
    pub fn keys(&self) -> &[KeyRecord] {
        &self.keys
    }

    /// Keys in force of a source.
    pub fn keys_of<'s>(&'s self, source: &'s str) -> impl Iterator<Item = &'s KeyRecord> {
        self.keys
            .iter()
            .filter(move |key| key.source.as_deref() == Some(source))
    }

    /// The largest number accepted from the source and key (SubjectPublicKeyInfo).
    #[must_use]
    pub fn last_sequence(&self, source: &str, public_key: &[u8]) -> Option<u64> {
        let of_source = self.sequences.get(source)?;
        of_source.get(&digest(public_key)).copied()
    }

    /// The batches that are missing before this one: of a valid batch whose number is not
    /// the next of its sender. Its entry stands before the batch's.
    #[must_use]
    pub fn gap(&self, source: &str, public_key: &[u8], sequence: u64) -> Option<GapRecord> {
        let last = self.last_sequence(source, public_key);
        let first = last.map_or(FIRST_SEQUENCE, |last| last.saturating_add(1));
        (sequence > first).then(|| GapRecord {
            first,
            key: sha256(&[public_key]),
            last: sequence - 1,
        })
    }

    /// A batch was accepted.
    pub fn accept(&mut self, source: &str, public_key: &[u8], sequence: u64) {
        let key = digest(public_key);
        let of_source = self.sequences.entry(source.into()).or_default();
        let last = of_source.entry(key.clone()).or_default();
        *last = sequence.max(*last);
        if of_source.len() > MAX_UNBOUND_SEQUENCES {
            self.forget_unbound(source, &key);
        }
    }

    /// Forgets all numbers: entries are missing that may have moved them.
    pub fn forget_sequences(&mut self) {
        self.sequences.clear();
    }

    /// Drops numbers of keys that are not in force, but for `newest`, down to the limit. Any
    /// order does, as long as everybody drops the same.
    fn forget_unbound(&mut self, source: &str, newest: &str) {
        let in_force: Vec<String> = self
            .keys_of(source)
            .filter_map(|record| STANDARD.decode(&record.key).ok())
            .map(|key| digest(&key))
            .collect();
        let Some(of_source) = self.sequences.get_mut(source) else {
            return;
        };
        let unbound = |key: &String| key != newest && !in_force.contains(key);
        let count = of_source.keys().filter(|key| unbound(key)).count();
        let mut surplus = (count + 1).saturating_sub(MAX_UNBOUND_SEQUENCES);
        of_source.retain(|key, _| {
            let goes = surplus > 0 && unbound(key);
            surplus -= usize::from(goes);
            !goes
        });
    }
}

/// How a sender's key is told in the log: SHA-256 of its SubjectPublicKeyInfo.
fn digest(public_key: &[u8]) -> String {
    sha256(&[public_key]).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::KeyRole;

    fn key(source: &str, key: &[u8], state: KeyState) -> KeyRecord {
        KeyRecord {
            key: STANDARD.encode(key),
            not_after: None,
            not_before: None,
            role: KeyRole::Sender,
            source: Some(source.into()),
            state,
        }
    }

    #[test]
    fn a_gap_is_what_lies_between_accepted_numbers() {
        let mut senders = Senders::default();
        let gap = |senders: &Senders, source, key: &[u8], sequence| {
            let gap = senders.gap(source, key, sequence);
            gap.map(|gap| (gap.first, gap.last))
        };
        assert_eq!(gap(&senders, "eu", b"k", 1), None);
        assert_eq!(gap(&senders, "eu", b"k", 3), Some((1, 2)));
        senders.accept("eu", b"k", 7);
        senders.accept("eu", b"k", 2);
        assert_eq!(gap(&senders, "eu", b"k", 8), None);
        assert_eq!(gap(&senders, "eu", b"k", 7), None);
        assert_eq!(gap(&senders, "eu", b"k", u64::MAX), Some((8, u64::MAX - 1)));
        assert_eq!(gap(&senders, "us", b"k", 2), Some((1, 1)));
        assert_eq!(gap(&senders, "eu", b"other", 2), Some((1, 1)));
        senders.forget_sequences();
        assert_eq!(senders.last_sequence("eu", b"k"), None);
    }

    #[test]
    fn numbers_of_keys_that_are_not_in_force_are_bounded() {
        let mut senders = Senders::default();
        senders.change(&key("eu", b"mine", KeyState::Begin));
        senders.accept("eu", b"mine", 9);
        for n in 0..100_u8 {
            senders.accept("eu", &[n], 1);
            assert_eq!(senders.last_sequence("eu", &[n]), Some(1));
        }
        assert_eq!(senders.last_sequence("eu", b"mine"), Some(9));
        assert_eq!(senders.sequences["eu"].len(), MAX_UNBOUND_SEQUENCES + 1);
        // A key that has ended is one of those.
        senders.change(&key("eu", b"mine", KeyState::End));
        assert_eq!(senders.keys_of("eu").count(), 0);
        for n in 100..200_u8 {
            senders.accept("eu", &[n], 1);
        }
        assert_eq!(senders.sequences["eu"].len(), MAX_UNBOUND_SEQUENCES);
    }
}
