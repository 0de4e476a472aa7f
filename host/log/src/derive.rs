//! What of an event's entry follows from its body, so that it need not be stored.
//!
//! A store that keeps a body keeps of its entry only what [`EventEntry`] holds: block,
//! time, chain hash before, source, verdict. The rest is made again from the body when
//! the entry is read. The live path and the read path make the bytes of such an entry
//! through [`EventEntry::encode`], so they can't differ, and a test freezes the recipe:
//! bytes that came out differently after an update would no longer be the leaf that was
//! signed. A change of the recipe is a new [`RECIPE_VERSION`] beside the old one.

use alloc::borrow::Cow;
use alloc::vec::Vec;

use crate::entry::{EntryError, Wire, encode_wire};
use crate::hash::{Hash, body_hash, sha256};
use crate::json::EventView;
use crate::record::{BodyCommitment, EventRecord, Verdict};
use crate::time::Timestamp;

/// Version of the recipe: [`EventView::read`], [`EventRecord::from_view`],
/// [`EventEntry::encode`] and [`body_salt`] as they are.
pub const RECIPE_VERSION: u8 = 1;

/// The part of an event's entry that does not follow from its body.
#[derive(Debug, Clone, Copy)]
pub struct EventEntry<'a> {
    /// Number of the block.
    pub block: u64,
    /// Time of the block.
    pub time: Timestamp,
    /// Chain hash of the entry before.
    pub prev: Hash,
    /// Who sent it.
    pub source: &'a str,
    /// Why the body is no canonical JSON, if it is none.
    pub undecodable: Option<&'a str>,
    /// What the policies in force said.
    pub verdict: &'a Verdict,
}

impl EventEntry<'_> {
    /// The entry's bytes. `record` is what [`EventRecord::from_view`] says of `body`;
    /// whoever writes an event has it already.
    ///
    /// # Errors
    /// The entry is too long.
    pub fn encode(
        &self,
        record: &EventRecord,
        salt: &[u8; 32],
        body: &[u8],
    ) -> Result<Vec<u8>, EntryError> {
        let commitment = BodyCommitment {
            hash: body_hash(salt, body),
            size: body.len() as u64,
        };
        encode_wire(&Wire {
            body: Some(Cow::Borrowed(&commitment)),
            event: Some(Cow::Borrowed(record)),
            source: Some(self.source.into()),
            undecodable: self.undecodable.map(Cow::from),
            verdict: Some(Cow::Borrowed(self.verdict)),
            ..Wire::common(self.block, self.time, self.prev, "event")
        })
    }

    /// The entry's bytes, from the body alone.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn derive(&self, salt: &[u8; 32], body: &[u8]) -> Result<Vec<u8>, EntryError> {
        self.encode(&EventRecord::from_view(&EventView::read(body)), salt, body)
    }
}

/// The salt of the body at `index`, from the seed of its chunk:
/// `SHA-256("auditchain/salt/v1" || seed || index)`, the index in 8 bytes, big-endian.
/// To whoever hasn't the seed it is as good as random; erasing a body erases the seed.
#[must_use]
pub fn body_salt(seed: &[u8; 32], index: u64) -> [u8; 32] {
    sha256(&[b"auditchain/salt/v1", seed, &index.to_be_bytes()]).0
}

/// The seed of the chunk that begins at `first`, from one random value a block:
/// `SHA-256("auditchain/seed/v1" || random || first)`. The random value is kept nowhere,
/// so one chunk's seed says nothing of another's.
#[must_use]
pub fn chunk_seed(random: &[u8; 32], first: u64) -> [u8; 32] {
    sha256(&[b"auditchain/seed/v1", random, &first.to_be_bytes()]).0
}

#[cfg(test)]
mod tests {
    use std::string::{String, ToString as _};

    use super::*;
    use crate::entry::{Entry, Payload};
    use crate::record::{Finding, Severity};

    const BODY: &str = r#"{"annotations":{"authorization.k8s.io/decision":"allow"},"auditID":"1b2c","level":"Metadata","objectRef":{"apiVersion":"v1","name":"p","namespace":"n","resource":"pods","subresource":"exec"},"requestReceivedTimestamp":"2026-11-21T06:31:01.724580Z","requestURI":"/api","responseStatus":{"code":101},"stage":"ResponseStarted","stageTimestamp":"2026-11-21T06:31:02.800164Z","user":{"username":"alice"},"verb":"create"}"#;

    fn verdict() -> Verdict {
        Verdict {
            findings: [Finding {
                policy: "rbac".to_string(),
                rule: "exec".to_string(),
                severity: Severity::High,
                sig: None,
            }]
            .to_vec(),
            valid: true,
        }
    }

    fn sample(verdict: &Verdict) -> EventEntry<'_> {
        EventEntry {
            block: 7,
            time: Timestamp::from_micros(1_795_242_662_800_165),
            prev: Hash([0xab; 32]),
            source: "eu-1",
            undecodable: None,
            verdict,
        }
    }

    // Frozen: another outcome is another recipe, and needs another version.
    #[test]
    fn the_recipe_is_frozen() {
        let salt = body_salt(&chunk_seed(&[1; 32], 64), 65);
        let derived = sample(&verdict()).derive(&salt, BODY.as_bytes()).unwrap();
        assert_eq!(String::from_utf8(derived).unwrap(), GOLDEN);
        let raw = EventEntry {
            undecodable: Some("invalid-utf8"),
            ..sample(&Verdict {
                findings: [].into(),
                valid: false,
            })
        }
        .derive(
            &[0; 32],
            b"{\"auditID\":\"x\",\"verb\":\"\xff\",\"responseStatus\":{\"code\":2e2}}",
        )
        .unwrap();
        assert_eq!(String::from_utf8(raw).unwrap(), GOLDEN_RAW);
    }

    const GOLDEN: &str = r#"{"block":7,"body":{"hash":"594c8d909dc7ad0db58724cd18170ee57ed5ffcf5b7f0814b94eef274bb82308","size":415},"event":{"auditID":"1b2c","code":101,"level":"Metadata","namespace":"n","requestReceivedTimestamp":"2026-11-21T06:31:01.724580Z","resource":"/pods/exec","stage":"ResponseStarted","stageTimestamp":"2026-11-21T06:31:02.800164Z","verb":"create"},"kind":"event","prev":"abababababababababababababababababababababababababababababababab","source":"eu-1","time":"2026-11-21T06:31:02.800165Z","v":1,"verdict":{"findings":[{"policy":"rbac","rule":"exec","severity":"high"}],"valid":true}}"#;
    const GOLDEN_RAW: &str = r#"{"block":7,"body":{"hash":"08519bed6f52c66db4a6c75970d5e939682da47e7fbf16e8a072473eb6f3954e","size":56},"event":{"auditID":"x","code":200},"kind":"event","prev":"abababababababababababababababababababababababababababababababab","source":"eu-1","time":"2026-11-21T06:31:02.800165Z","undecodable":"invalid-utf8","v":1,"verdict":{"valid":false}}"#;

    #[test]
    fn it_is_what_the_entry_itself_writes() {
        let verdict = verdict();
        for undecodable in [None, Some("syntax")] {
            let parts = EventEntry {
                undecodable,
                ..sample(&verdict)
            };
            let entry = Entry {
                block: parts.block,
                time: parts.time,
                prev: parts.prev,
                payload: Payload::Event {
                    source: parts.source.to_string(),
                    event: EventRecord::from_view(&EventView::read(BODY.as_bytes())),
                    body: BodyCommitment {
                        hash: body_hash(&[3; 32], BODY.as_bytes()),
                        size: BODY.len() as u64,
                    },
                    undecodable: undecodable.map(String::from),
                    verdict: verdict.clone(),
                },
            };
            let derived = parts.derive(&[3; 32], BODY.as_bytes()).unwrap();
            assert_eq!(derived, entry.encode().unwrap());
            assert_eq!(Entry::parse(&derived), Ok(entry));
        }
    }

    #[test]
    fn salts_differ_by_seed_and_index() {
        let seed = chunk_seed(&[1; 32], 0);
        assert_ne!(body_salt(&seed, 0), body_salt(&seed, 1));
        assert_ne!(seed, chunk_seed(&[1; 32], 64));
        assert_ne!(seed, chunk_seed(&[2; 32], 0));
    }
}
