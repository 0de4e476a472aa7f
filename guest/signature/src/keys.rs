//! The keys of one call: each is parsed once, however many batches and events it signed.

use std::cell::OnceCell;
use std::collections::BTreeMap;

use auditchain_guest_sdk::Call;
use auditchain_guest_sdk::types::SenderKey;
use auditchain_log::{Hash, SenderKeyError, SenderPublicKey, sha256};

/// How many bytes of SHA-256(SPKI) name a key in the evidence.
const KEY_ID_BYTES: usize = 8;

/// Keys that were parsed, and the keys in force by source.
pub(crate) struct KeyTable<'a> {
    parsed: BTreeMap<Vec<u8>, Result<SenderPublicKey, SenderKeyError>>,
    /// In the order of the sources.
    in_force: Vec<Vec<InForce<'a>>>,
    /// The block's time.
    now_us: i64,
}

/// A key that a source may sign with.
struct InForce<'a> {
    key: &'a SenderKey,
    /// Asked for by events that name their key by it.
    id: OnceCell<Hash>,
}

/// What a key is to a source at the block's time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It may sign.
    InForce,
    /// The source has no key in force at all.
    Unbound,
    /// The source has keys in force, and this is none of them.
    Unknown,
    /// It is one of them, outside its validity: why.
    Expired(String),
}

impl<'a> KeyTable<'a> {
    pub(crate) fn new(call: &Call<'a>) -> Self {
        let context = call.context();
        let mut in_force: Vec<Vec<InForce<'a>>> = Vec::new();
        in_force.resize_with(context.sources.len(), Vec::new);
        for key in &context.sender_keys {
            if let Some(of_source) = in_force.get_mut(key.source as usize) {
                let id = OnceCell::new();
                of_source.push(InForce { key, id });
            }
        }
        Self {
            parsed: BTreeMap::new(),
            in_force,
            now_us: context.time,
        }
    }

    /// The key of this SubjectPublicKeyInfo.
    pub(crate) fn key(&mut self, spki: &[u8]) -> Result<&SenderPublicKey, String> {
        if !self.parsed.contains_key(spki) {
            let parsed = SenderPublicKey::from_spki(spki);
            self.parsed.insert(spki.to_vec(), parsed);
        }
        match self.parsed.get(spki) {
            Some(Ok(key)) => Ok(key),
            Some(Err(error)) => Err(format!("its public key: {error}")),
            // It was just put there.
            None => Err("its public key can't be read".into()),
        }
    }

    /// What the key is to the source.
    pub(crate) fn standing(&self, source: u32, spki: &[u8]) -> Standing {
        let of_source = self.of_source(source);
        if of_source.is_empty() {
            return Standing::Unbound;
        }
        let Some(known) = of_source.iter().find(|known| known.key.public_key == spki) else {
            return Standing::Unknown;
        };
        let key = known.key;
        if key.not_before.is_some_and(|from| self.now_us < from) {
            return Standing::Expired("its key is not valid yet".into());
        }
        if key.not_after.is_some_and(|until| self.now_us > until) {
            return Standing::Expired("its key is no longer valid".into());
        }
        Standing::InForce
    }

    /// A key in force of the source, by its id.
    pub(crate) fn by_id(&self, source: u32, id: &Hash) -> Option<&'a [u8]> {
        let of_source = self.of_source(source).iter();
        let mut found = of_source.filter(|known| {
            let own = known.id.get_or_init(|| sha256(&[&known.key.public_key]));
            own == id
        });
        found.next().map(|known| known.key.public_key.as_slice())
    }

    fn of_source(&self, source: u32) -> &[InForce<'a>] {
        self.in_force
            .get(source as usize)
            .map_or(&[], Vec::as_slice)
    }
}

/// How the evidence names a key: `<algorithm>:<key id in hex>`.
pub(crate) fn evidence(key: &SenderPublicKey) -> String {
    let id = key.id().to_string();
    // Two hex digits a byte; a hash has 64 of them.
    format!("{}:{}", key.algorithm(), &id[..2 * KEY_ID_BYTES])
}
