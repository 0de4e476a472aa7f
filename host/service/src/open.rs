//! From a data directory to a running log: keys, store, rollback check, policies.
//!
//! ```text
//! DIR/keys/log-p256.pem, log-ed25519.pem   private keys, 0600
//! DIR/keys.next/                           those to change to, if any
//! DIR/store/                               the log (sled)
//! DIR/checkpoint                           the last checkpoint, outside of the store
//! ```

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use auditchain_log::{
    Checkpoint, KeyRecord, KeyRole, KeyState, Note, NoteSignature, Payload, SignerKey, TreeSize,
    root_at,
};
use auditchain_sandbox::{Engine, EngineOptions};
use auditchain_store::{Head, HeadFile, SledStore, Store, StoreError};

use crate::block::BlockError;
use crate::config::Config;
use crate::decode::TagKey;
use crate::in_force::{Changes, InForce, PolicySets};
use crate::keys::{self, KeysError};
use crate::metrics::Metrics;
use crate::published::{Latest, Published, PublishedTiles};
use crate::sequencer::Sequencer;
use crate::state::LogState;
use crate::storer::{Publisher, Storer};
use crate::suspension::Suspension;
use crate::wanted::Wanted;

/// Where the key of the duplicate index is kept.
const TAG_KEY_BLOB: &str = "tag-key";

/// Why the service does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum OpenError {
    /// The store refuses or is damaged.
    #[error("store: {0}")]
    Store(#[from] StoreError),
    /// The first block, or that of a change, can't be written.
    #[error("can't write the block that puts keys and policies into force: {0}")]
    Block(#[from] BlockError),
    /// The keys are not usable.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// A file that the configuration names can't be read.
    #[error("can't read {path}: {error}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// A policy is refused.
    #[error("policy {name}: {reason}")]
    Policy {
        /// File or name.
        name: String,
        /// Why.
        reason: String,
    },
    /// wasmtime doesn't start.
    #[error("sandbox: {0}")]
    Sandbox(String),
    /// The log has another name.
    #[error("this log is {found}, not {asked}; a log's origin is fixed at its first start")]
    Origin {
        /// In the store.
        found: String,
        /// In the configuration.
        asked: String,
    },
    /// The keys are not those that the log began with.
    #[error("the keys in {0} are not the log's keys; restore them from your backup")]
    OtherKeys(PathBuf),
    /// The store's end was not signed by us.
    #[error(
        "FORGED: the store ends after {0} entries under a checkpoint that this log's keys did not sign. Restore the store from your backup, and run auditchain verify on this one to see what was changed"
    )]
    Unsigned(u64),
    /// The store is older than the checkpoint beside it, or another log's.
    #[error(
        "ROLLBACK: {0}. Restore the newest store; if this loss is known and accepted, start once with --accept-store-as-it-is"
    )]
    Rollback(String),
    /// The system gives no thread.
    #[error("can't start a thread: {0}")]
    Thread(std::io::Error),
}

/// An open log: the sequencer to run, and what readers need.
pub(crate) struct Opened {
    /// To be run on a thread of its own.
    pub(crate) sequencer: Sequencer,
    /// For readers.
    pub(crate) store: Arc<SledStore>,
    /// The last checkpoint.
    pub(crate) latest: Latest,
    /// The file beside the store.
    pub(crate) head_file: HeadFile,
    /// Of the duplicate index.
    pub(crate) tags: TagKey,
    /// The log's public keys.
    pub(crate) vkeys: Vec<String>,
    /// What is in force, as the files say.
    pub(crate) wanted: Wanted,
    /// Compiles the next policies.
    pub(crate) engine: Engine,
}

/// Opens the log of the configuration, or makes it.
///
/// # Errors
/// See [`OpenError`].
pub(crate) fn open(
    config: &Config,
    accept_store_as_it_is: bool,
    metrics: Arc<Metrics>,
) -> Result<Opened, OpenError> {
    let engine = Engine::new(&EngineOptions::default())
        .map_err(|error| OpenError::Sandbox(error.to_string()))?;
    let store = Arc::new(SledStore::open(&config.data)?);
    let (epoch, head) = store.acquire()?;
    let mut head_file = HeadFile::new(&config.data);
    let (mut state, keys, tags) = match &head {
        Some(head) => {
            let tags = read_tag_key(&*store)?;
            let state = LogState::load(head, &tags, &*store)?;
            if let Some(asked) = config
                .origin
                .as_ref()
                .filter(|asked| **asked != state.origin)
            {
                return Err(OpenError::Origin {
                    found: state.origin,
                    asked: asked.clone(),
                });
            }
            let keys = LogKeys::load(&config.data, &state)?;
            (state, keys, tags)
        }
        None => {
            let reason = match head_file.read()? {
                Some(note) => {
                    let note = String::from_utf8_lossy(&note);
                    let size = note.lines().nth(1).unwrap_or("?");
                    Some(format!(
                        "the store is empty, but the file checkpoint says that the log had {size} entries"
                    ))
                }
                None if keys::exist(&config.data) => {
                    Some("there are keys, but no log that they have signed".into())
                }
                None => None,
            };
            if let Some(reason) = reason.filter(|_| !accept_store_as_it_is) {
                return Err(OpenError::Rollback(reason));
            }
            let origin = config.origin.clone().map_or_else(random_origin, Ok)?;
            let keys = if keys::exist(&config.data) {
                keys::load(&config.data, &origin)?
            } else {
                keys::create(&config.data, &origin)?
            };
            (
                LogState::new(&origin),
                LogKeys::only(keys),
                TagKey(keys::random()?),
            )
        }
    };
    let now_us = jiff::Timestamp::now().as_microsecond();
    let wanted = Wanted::read(config)?;
    let base = state.history.snapshots();
    let in_force = InForce::compile(&wanted, &engine, base, &*store, now_us)?;
    let in_force = in_force.after(&state);
    let changes = in_force.changes(&state);
    let policies = PolicySets::new(&in_force);
    policies.tell(&mut state);
    let latest = Arc::new(ArcSwap::from_pointee(Published::empty(&state.origin)));
    let LogKeys {
        in_use: keys,
        mut before,
        next,
    } = keys;
    let publisher = Publisher {
        latest: Arc::clone(&latest),
        metrics,
    };
    let storer = Storer::start(Arc::clone(&store), publisher.clone()).map_err(OpenError::Thread)?;
    let mut sequencer = Sequencer {
        store: Arc::clone(&store),
        epoch,
        last: latest.load_full(),
        state,
        policies,
        suspension: Suspension::default(),
        vkeys: vkeys(&keys),
        keys,
        tags,
        storer,
        publisher,
    };
    if let Some(head) = &head {
        let signed = signed_head(head, &sequencer).ok_or(OpenError::Unsigned(head.size))?;
        let signed = Arc::new(signed);
        sequencer.last = Arc::clone(&signed);
        sequencer.publisher.publish(signed);
        let before = before.as_deref().unwrap_or_default();
        // A first start that was cut off may not have come to write the file. Nothing was
        // acknowledged until then, so there is its first block alone.
        let first =
            head.blocks == 1 && keys::unfinished(&config.data) && head_file.read()?.is_none();
        if !first {
            refuse_rollback(&sequencer, before, &head_file, accept_store_as_it_is)?;
        }
    }
    // First of all blocks: it is judged with what it puts in force.
    if !changes.entries.is_empty() {
        write_in_force(&mut sequencer, changes)?;
    }
    if let Some(next) = next {
        before = Some(rotate(&mut sequencer, next)?);
    }
    for record in &sequencer.state.suspended {
        tracing::warn!(target: "auditchain::alert", policy = record.name, "the policy is suspended: it judges nothing until it is changed");
    }
    head_file.write(latest.load().note.as_bytes())?;
    keys::finish(&config.data)?;
    // Only now may the old keys go: what they signed last is no longer needed to open
    // the log. A crash before this does it again.
    if let Some(before) = before {
        keys::finish_rotation(&config.data, &before)?;
    }
    let vkeys = sequencer.vkeys.clone();
    Ok(Opened {
        store,
        latest,
        head_file,
        tags,
        vkeys,
        wanted,
        engine,
        sequencer,
    })
}

fn vkeys(keys: &[SignerKey]) -> Vec<String> {
    keys.iter().map(|key| key.verifier().to_string()).collect()
}

fn random_origin() -> Result<String, KeysError> {
    Ok(format!(
        "auditchain.local/{}",
        hex::encode(&keys::random()?[..8])
    ))
}

fn read_tag_key(store: &impl Store) -> Result<TagKey, StoreError> {
    let bytes = store
        .blob(TAG_KEY_BLOB)?
        .and_then(|bytes| bytes.try_into().ok());
    let missing = || crate::state::damaged(auditchain_store::What::Blob(TAG_KEY_BLOB.into()), None);
    Ok(TagKey(bytes.ok_or_else(missing)?))
}

/// The checkpoint beside the store was signed after a commit: the store must hold at
/// least that, and the same.
fn refuse_rollback(
    sequencer: &Sequencer,
    before: &[SignerKey],
    file: &HeadFile,
    accept: bool,
) -> Result<(), OpenError> {
    let published = Arc::clone(&sequencer.last);
    let result = match file.read()? {
        None => Err("the file checkpoint is missing".into()),
        Some(note) => compare(&note, sequencer, before, &published)?,
    };
    match result {
        Err(reason) if accept => {
            tracing::warn!(
                reason,
                "started on a store that may have been rolled back, as asked"
            );
            Ok(())
        }
        other => other.map_err(OpenError::Rollback),
    }
}

fn compare(
    note: &[u8],
    sequencer: &Sequencer,
    before: &[SignerKey],
    published: &Published,
) -> Result<Result<(), String>, StoreError> {
    let verifiers: Vec<_> = sequencer
        .keys
        .iter()
        .chain(before)
        .map(|key| key.verifier().clone())
        .collect();
    let checkpoint = Note::parse(note)
        .map_err(|e| e.to_string())
        .and_then(|note| {
            note.verify(&verifiers).map_err(|e| e.to_string())?;
            Checkpoint::parse(note.text()).map_err(|e| e.to_string())
        });
    let kept = match checkpoint {
        Ok(kept) => kept,
        Err(error) => {
            return Ok(Err(format!(
                "the file checkpoint is not this log's: {error}"
            )));
        }
    };
    let (had, has) = (kept.size.0, published.size());
    if had > has {
        return Ok(Err(format!(
            "the store has {has} entries, but the file checkpoint says that the log had {had}"
        )));
    }
    let tiles = PublishedTiles {
        published,
        store: &*sequencer.store,
    };
    if root_at(TreeSize(had), &tiles)? != kept.root {
        return Ok(Err(format!(
            "the store's first {had} entries are not those of the file checkpoint"
        )));
    }
    Ok(Ok(()))
}

/// The log's private keys as a start finds them.
struct LogKeys {
    /// Those that the log names.
    in_use: Vec<SignerKey>,
    /// Those that it named before; empty if they are gone. Some only where a start was
    /// broken off after the log changed keys.
    before: Option<Vec<SignerKey>>,
    /// Those that it is to change to.
    next: Option<Vec<SignerKey>>,
}

impl LogKeys {
    fn only(in_use: Vec<SignerKey>) -> Self {
        Self {
            in_use,
            before: None,
            next: None,
        }
    }

    /// Finds out how far a rotation has come, by the log itself.
    fn load(data: &Path, state: &LogState) -> Result<Self, OpenError> {
        let next = keys::load_next(data, &state.origin)?;
        let of_log = |keys: &Vec<SignerKey>| state.keys == vkeys(keys);
        match next {
            Some(in_use) if of_log(&in_use) => Ok(Self {
                in_use,
                // Gone already, if the crash came between the two moves.
                before: Some(if keys::exist(data) {
                    keys::load(data, &state.origin)?
                } else {
                    Vec::new()
                }),
                next: None,
            }),
            next => {
                let in_use = keys::load(data, &state.origin)?;
                if !of_log(&in_use) {
                    return Err(OpenError::OtherKeys(data.join("keys")));
                }
                Ok(Self {
                    in_use,
                    before: None,
                    next,
                })
            }
        }
    }
}

/// The head under the checkpoint that was signed over it; none if it wasn't by us.
pub(crate) fn signed_head(head: &Head, sequencer: &Sequencer) -> Option<Published> {
    // Both signatures are deterministic, so what we sign now is what we signed then.
    let signed = sequencer.signed();
    if head.note == signed.note.as_bytes() {
        return Some(signed);
    }
    // A block that changed keys is signed by those before too, which may be gone.
    let note = Note::parse(&head.note).ok()?;
    let keys: Vec<_> = sequencer
        .keys
        .iter()
        .map(|key| key.verifier().clone())
        .collect();
    let by_all = note
        .verify(&keys)
        .is_ok_and(|signed| signed.len() == keys.len());
    let lines = note.signatures();
    let of_log = |line: &NoteSignature| line.name == signed.checkpoint.origin;
    let as_many = lines.len() == 2 * keys.len() && lines.iter().all(of_log);
    if note.text() != signed.checkpoint.to_text() || !by_all || !as_many {
        return None;
    }
    Some(Published::of(
        &sequencer.state,
        signed.checkpoint,
        note.to_string(),
    ))
}

/// Writes the block that changes the log's keys: the seal before it is signed by the old
/// ones, the block itself by both, all after it by the new ones. Returns the old ones.
///
/// A crash before the write leaves the log with the old keys, and this is done again; a
/// crash after it leaves the log with the new ones, by which the next start knows where
/// it is.
fn rotate(sequencer: &mut Sequencer, next: Vec<SignerKey>) -> Result<Vec<SignerKey>, OpenError> {
    let (ends, begins) = (sequencer.vkeys.clone(), vkeys(&next));
    sequencer.write_alone(&next, |block| {
        for (keys, state) in [(&begins, KeyState::Begin), (&ends, KeyState::End)] {
            for key in keys {
                block.push(log_key(key, state))?;
            }
        }
        block.state().keys.clone_from(&begins);
        Ok(())
    })?;
    sequencer.vkeys = begins;
    tracing::info!(keys = ?sequencer.vkeys, "the log's keys were changed");
    Ok(std::mem::replace(&mut sequencer.keys, next))
}

/// Writes the block that puts policies, snapshot and sender keys into force; the first
/// one names the log's keys, too.
fn write_in_force(sequencer: &mut Sequencer, changes: Changes) -> Result<(), OpenError> {
    let genesis = sequencer.state.size == 0;
    let (keys, tags) = (sequencer.vkeys.clone(), sequencer.tags);
    sequencer.write_alone(&[], |block| {
        if genesis {
            block.keep(TAG_KEY_BLOB.into(), tags.0.to_vec());
            for key in &keys {
                block.push(log_key(key, KeyState::Begin))?;
            }
            block.state().keys = keys;
        }
        block.take_up(&changes);
        block.write_changes(changes)?;
        Ok(())
    })?;
    Ok(())
}

fn log_key(key: &str, state: KeyState) -> Payload {
    Payload::Key(KeyRecord {
        key: key.into(),
        not_after: None,
        not_before: None,
        role: KeyRole::Log,
        source: None,
        state,
    })
}
