//! A log in memory: built honestly entry by entry, then tampered with.
#![allow(
    unreachable_pub,
    missing_docs,
    dead_code,
    reason = "shared by test binaries, not an API"
)]

pub mod data_dir;
pub mod server;

use std::collections::BTreeMap;

use auditchain_cli::{BodyRef, HeadClaim, LogSource, Run, SourceError};
use auditchain_log::json::{EventView, canonicalize};
use auditchain_log::{
    BatchRecord, BodyCommitment, ChainHash, Checkpoint, Entry, EventRecord, Hash, KeyRecord,
    KeyRole, KeyState, LimitsRecord, Mode, Payload, PolicyRecord, RbacRecord, RejectionRecord,
    SealRecord, SignerKey, TileId, Timestamp, TreeEdge, Verdict, VerifierKey, batch_digest,
    batch_message, body_hash, leaf_hash, sha256, sign_note,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use p256::ecdsa::signature::Signer as _;
use p256::pkcs8::EncodePublicKey as _;

pub const ORIGIN: &str = "example.com/log";
const START_US: i64 = 1_795_243_861_724_580;

pub fn keys() -> Vec<SignerKey> {
    vec![
        SignerKey::ecdsa_p256(ORIGIN, &[7; 32]).unwrap(),
        SignerKey::ed25519(ORIGIN, &[8; 32]).unwrap(),
    ]
}

pub fn stranger_keys() -> Vec<SignerKey> {
    vec![
        SignerKey::ecdsa_p256(ORIGIN, &[17; 32]).unwrap(),
        SignerKey::ed25519(ORIGIN, &[18; 32]).unwrap(),
    ]
}

pub fn verifiers(keys: &[SignerKey]) -> Vec<VerifierKey> {
    keys.iter().map(|key| key.verifier().clone()).collect()
}

/// A body as it is kept.
pub type Salted = ([u8; 32], Vec<u8>);

/// A log whose every part can be changed.
#[derive(Clone)]
pub struct MemoryLog {
    pub note: Option<Vec<u8>>,
    /// Beside the store.
    pub kept: Option<Vec<u8>>,
    pub vkeys: Option<String>,
    pub head: Option<HeadClaim>,
    pub entries: Vec<Vec<u8>>,
    pub bodies: Vec<Option<Salted>>,
    /// Full ones, and those at the edge.
    pub tiles: BTreeMap<TileId, Vec<u8>>,
    pub has_partial_tiles: bool,
    pub blobs: BTreeMap<Hash, Vec<u8>>,
    /// Values that no entry names; none: damaged.
    pub named: BTreeMap<String, Option<Vec<u8>>>,
    /// Entries that can't be read.
    pub damaged: Vec<u64>,
    /// Entries whose runs have no readable bodies.
    pub damaged_bodies: Vec<u64>,
}

impl LogSource for MemoryLog {
    fn name(&self) -> &str {
        "memory"
    }

    fn note(&self) -> Result<Option<Vec<u8>>, SourceError> {
        Ok(self.note.clone())
    }

    fn kept_note(&self) -> Result<Option<Vec<u8>>, SourceError> {
        Ok(self.kept.clone())
    }

    fn vkeys(&self) -> Result<Option<String>, SourceError> {
        Ok(self.vkeys.clone())
    }

    fn head(&self) -> Result<Option<HeadClaim>, SourceError> {
        Ok(self.head.clone())
    }

    fn run(&self, from: u64, to: u64) -> Result<Run, SourceError> {
        let damage = |index: u64| SourceError::Damaged {
            what: "entries".into(),
            reason: "checksum mismatch".into(),
            next: index + 1,
        };
        let mut run = Run::new(from);
        for index in from..to.min(from + 17) {
            if self.damaged.contains(&index) {
                if run.is_empty() {
                    return Err(damage(index));
                }
                break;
            }
            let at = usize::try_from(index).unwrap();
            let Some(entry) = self.entries.get(at) else {
                break;
            };
            let bad = self.damaged_bodies.contains(&index);
            let body = self.bodies[at].as_ref().filter(|_| !bad);
            run.push(entry, body.map(|(salt, bytes)| BodyRef { salt, bytes }));
            if bad {
                run.bodies_damage = Some("bodies: checksum mismatch".into());
            }
        }
        if run.is_empty() {
            Err(damage(from))
        } else {
            Ok(run)
        }
    }

    fn tile(&self, id: TileId, width: usize) -> Result<Option<Vec<u8>>, SourceError> {
        let tile = self.tiles.get(&id);
        let tile = tile.filter(|tile| self.has_partial_tiles || tile.len() > 255 * Hash::LEN);
        Ok(tile.map(|tile| tile[..tile.len().min(width * Hash::LEN)].to_vec()))
    }

    fn has_partial_tiles(&self) -> bool {
        self.has_partial_tiles
    }

    fn blob(&self, digest: &Hash) -> Result<Option<Vec<u8>>, SourceError> {
        Ok(self.blobs.get(digest).cloned())
    }

    fn value_names(&self) -> Result<Vec<String>, SourceError> {
        Ok(self.named.keys().cloned().collect())
    }

    fn named_value(&self, name: &str) -> Result<Option<Vec<u8>>, SourceError> {
        match self.named.get(name) {
            Some(None) => Err(SourceError::Damaged {
                what: name.into(),
                reason: "checksum mismatch".into(),
                next: 0,
            }),
            value => Ok(value.cloned().flatten()),
        }
    }
}

/// Changes an entry before it is written: chain, tree, seals and checkpoint then follow
/// from the change, as whoever holds the log's keys could make them.
pub type Hook<'h> = &'h mut dyn FnMut(u64, &mut Entry);

/// Writes a log.
pub struct Builder<'h> {
    hook: Hook<'h>,
    /// Who signs seals and the checkpoint.
    pub signers: Vec<SignerKey>,
    edge: TreeEdge,
    chain: ChainHash,
    block: u64,
    time_us: i64,
    log: MemoryLog,
}

impl<'h> Builder<'h> {
    pub fn new(hook: Hook<'h>) -> Self {
        Self {
            hook,
            signers: keys(),
            edge: TreeEdge::default(),
            chain: ChainHash::genesis(ORIGIN),
            block: 0,
            time_us: START_US,
            log: MemoryLog {
                note: None,
                kept: None,
                vkeys: None,
                head: None,
                entries: vec![],
                bodies: vec![],
                tiles: BTreeMap::new(),
                has_partial_tiles: true,
                blobs: BTreeMap::new(),
                named: BTreeMap::new(),
                damaged: vec![],
                damaged_bodies: vec![],
            },
        }
    }

    pub fn push(&mut self, payload: Payload, body: Option<Salted>) {
        let index = self.log.entries.len() as u64;
        let time = Timestamp::from_micros(self.time_us);
        let mut entry = Entry {
            block: self.block,
            time,
            prev: self.chain.hash(),
            payload,
        };
        (self.hook)(index, &mut entry);
        let bytes = entry.encode().unwrap();
        self.chain = self.chain.next(&bytes);
        let mut full = vec![];
        self.edge.push(leaf_hash(&bytes), &mut full);
        self.log.tiles.extend(full);
        self.log.entries.push(bytes);
        self.log.bodies.push(body);
    }

    pub fn note(&self) -> String {
        let checkpoint = Checkpoint {
            origin: ORIGIN.into(),
            size: self.edge.size(),
            root: self.edge.root(),
        };
        sign_note(&checkpoint.to_text(), &self.signers)
    }

    pub fn blob(&mut self, bytes: &[u8]) -> Hash {
        let digest = sha256(&[bytes]);
        self.log.blobs.insert(digest, bytes.to_vec());
        digest
    }

    pub fn genesis(&mut self) {
        for key in keys() {
            self.push(log_key(&key, KeyState::Begin), None);
        }
        let (module, settings) = (self.blob(b"\0asm component"), self.blob(b"{\"a\":1}"));
        let limits = LimitsRecord {
            fuel_base: 1,
            fuel_per_event: 2,
            memory_bytes: 3,
            output_bytes: 4,
            slice_events: 5,
        };
        let policy = PolicyRecord {
            limits,
            mode: Mode::Enforce,
            module,
            name: "ordering".into(),
            settings,
            signer: None,
            suspended: false,
        };
        self.push(
            Payload::Policy {
                engine: "an engine".into(),
                policies: vec![policy],
            },
            None,
        );
        let digest = self.blob(b"{\"items\":[]}");
        let from = Timestamp::from_micros(0);
        let snapshot = RbacRecord {
            digest,
            from,
            size: 12,
        };
        self.push(Payload::Rbac(snapshot), None);
    }

    /// An entry that was pushed.
    pub fn entry(&self, index: usize) -> Result<Entry, auditchain_log::EntryError> {
        Entry::parse(&self.log.entries[index])
    }

    /// Begins the next block with the seal of the one before.
    pub fn seal(&mut self) {
        let note = self.note();
        self.block += 1;
        self.time_us += 1_000_000;
        self.push(
            Payload::Seal {
                seal: SealRecord { note },
                verdict: valid(),
            },
            None,
        );
    }

    pub fn event(&mut self, source: &str, raw: &str) {
        let (body, undecodable) = canonical(raw.as_bytes());
        let event = EventRecord::from_view(&EventView::read(&body));
        let salt = sha256(&[b"salt", &self.log.entries.len().to_be_bytes()]).0;
        let commitment = commitment(&salt, &body);
        let payload = Payload::Event {
            source: source.into(),
            event,
            body: commitment,
            undecodable,
            verdict: valid(),
        };
        self.push(payload, Some((salt, body)));
    }

    /// A signed batch; `sign` is false for one whose signature is another's.
    pub fn batch(
        &mut self,
        source: &str,
        raw: &[String],
        sequence: u64,
        sign: bool,
        verdict: Verdict,
    ) {
        let bodies: Vec<Vec<u8>> = raw.iter().map(|raw| canonical(raw.as_bytes()).0).collect();
        let digest = batch_digest(bodies.iter().map(Vec::as_slice));
        let count = u32::try_from(raw.len()).unwrap();
        let key = p256::ecdsa::SigningKey::from_slice(&[42; 32]).unwrap();
        let message = batch_message(
            if sign { source } else { "another" },
            sequence,
            count,
            &digest,
        );
        let signature: p256::ecdsa::Signature = key.sign(&message);
        let batch = BatchRecord {
            algorithm: "ecdsa-p256-sha256".into(),
            count,
            digest,
            events: count,
            key: STANDARD.encode(key.verifying_key().to_public_key_der().unwrap().as_bytes()),
            sequence,
            signature: STANDARD.encode(signature.to_der().as_bytes()),
        };
        self.push(
            Payload::Batch {
                source: source.into(),
                batch,
                verdict,
            },
            None,
        );
        for raw in raw {
            self.event(source, raw);
        }
    }

    pub fn rejection(&mut self, source: &str, bytes: &[u8]) {
        let salt = [5; 32];
        let rejection = RejectionRecord {
            reason: "no EventList".into(),
            status: 400,
        };
        let payload = Payload::Rejection {
            source: source.into(),
            rejection,
            body: commitment(&salt, bytes),
        };
        self.push(payload, Some((salt, bytes.to_vec())));
    }

    pub fn finish(mut self) -> MemoryLog {
        self.log.note = Some(self.note().into_bytes());
        self.log.kept = self.log.note.clone();
        let vkeys: Vec<String> = verifiers(&keys()).iter().map(ToString::to_string).collect();
        self.log.vkeys = Some(vkeys.join("\n") + "\n");
        self.log.head = Some(HeadClaim {
            size: self.edge.size().0,
            blocks: self.block + 1,
            time_us: self.time_us,
            root: self.edge.root(),
            chain: self.chain.hash(),
        });
        for level in 0..2 {
            let hashes = self.edge.partial(level);
            if !hashes.is_empty() {
                let index = (self.edge.size().0 >> (8 * u32::from(level))) / 256;
                let bytes = hashes.iter().flat_map(|hash| hash.0).collect();
                self.log.tiles.insert(TileId { level, index }, bytes);
            }
        }
        self.log
    }
}

pub fn valid() -> Verdict {
    Verdict {
        findings: vec![],
        valid: true,
    }
}

pub fn log_key(key: &SignerKey, state: KeyState) -> Payload {
    Payload::Key(KeyRecord {
        key: key.verifier().to_string(),
        not_after: None,
        not_before: None,
        role: KeyRole::Log,
        source: None,
        state,
    })
}

pub fn commitment(salt: &[u8; 32], body: &[u8]) -> BodyCommitment {
    BodyCommitment {
        hash: body_hash(salt, body),
        size: body.len() as u64,
    }
}

fn canonical(raw: &[u8]) -> (Vec<u8>, Option<String>) {
    let mut body = vec![];
    match canonicalize(raw, &mut body) {
        Ok(()) => (body, None),
        Err(error) => (raw.to_vec(), Some(error.code().into())),
    }
}

pub fn raw_event(id: u64) -> String {
    format!(
        "{{\"auditID\":\"id-{id}\",\"stage\":\"ResponseComplete\",\"verb\":\"get\",\"level\":\"Metadata\",\"responseStatus\":{{\"code\":200}},\"objectRef\":{{\"resource\":\"pods\",\"namespace\":\"ns\"}},\"stageTimestamp\":\"2026-11-21T06:31:01.724580Z\"}}"
    )
}

/// Events of a block of [`build`].
const BLOCK_EVENTS: u64 = 40;
/// Entries of a block: seal, batch, its two events, an undecodable one, a rejection.
pub const BLOCK_ENTRIES: u64 = BLOCK_EVENTS + 6;
/// Entries of the first block of [`build`].
pub const GENESIS_ENTRIES: u64 = 4;
pub const BLOCKS: u64 = 14;
/// 648: two full tiles and a partial one.
pub const SIZE: u64 = GENESIS_ENTRIES + BLOCKS * BLOCK_ENTRIES;

/// Index of the seal that begins a block.
pub fn seal_index(block: u64) -> u64 {
    GENESIS_ENTRIES + (block - 1) * BLOCK_ENTRIES
}

/// Index of the batch entry of a block; its two events follow.
pub fn batch_index(block: u64) -> u64 {
    seal_index(block) + 1
}

/// Index of a plain event of a block.
pub fn event_index(block: u64, n: u64) -> u64 {
    seal_index(block) + 4 + n
}

/// A log of every kind of entry. Events from block `from` on say `word`.
pub fn build_with(hook: Hook<'_>, from: u64, word: &str, signers: Vec<SignerKey>) -> MemoryLog {
    let mut builder = Builder::new(hook);
    builder.signers = signers;
    builder.genesis();
    for block in 1..=BLOCKS {
        let word = if block >= from { word } else { "get" };
        let event = |n: u64| raw_event(block * 1000 + n).replace("get", word);
        builder.seal();
        builder.batch("signed", &[event(900), event(901)], block, true, valid());
        for n in 0..BLOCK_EVENTS {
            builder.event("eu", &event(n));
        }
        builder.event("eu", &event(902).replace("200", "1e999"));
        builder.rejection("eu", b"not a list \xff");
    }
    builder.finish()
}

pub fn build(hook: Hook<'_>) -> MemoryLog {
    build_with(hook, 1, "get", keys())
}

pub fn honest() -> MemoryLog {
    build(&mut |_, _| {})
}
