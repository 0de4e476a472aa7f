//! The newest checkpoint that the quorum cosigned, beside the store, so that a restart
//! serves it again.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use auditchain_log::{
    Checkpoint, MAX_NOTE_BYTES, Note, VerifierKey, WitnessPolicy, cosignature_time, root_at,
};
use auditchain_store::Store;

use crate::published::{Published, PublishedTiles};

/// In the data directory.
const FILE: &str = "checkpoint.cosigned";
const TEMPORARY: &str = "checkpoint.cosigned.new";

/// A checkpoint with cosignatures, all verified.
#[derive(Debug)]
pub(super) struct Cosigned {
    /// Entries covered.
    pub(super) size: u64,
    /// The note.
    pub(super) note: String,
}

/// The file. One writer at a time: whoever has the store open.
#[derive(Debug)]
pub(super) struct CosignedFile {
    dir: PathBuf,
}

impl Cosigned {
    /// Size and time of this witness's cosignature.
    pub(super) fn by(&self, key: &VerifierKey) -> Option<(u64, u64)> {
        let note = Note::parse(self.note.as_bytes()).ok()?;
        let line = note.signatures().iter().find(|line| line.is_of(key))?;
        Some((self.size, cosignature_time(line)?))
    }
}

impl CosignedFile {
    pub(super) fn new(data: &Path) -> Self {
        Self { dir: data.into() }
    }

    /// What was last written, if it is of this log and satisfies the quorum that is
    /// configured now. Anything else costs nothing but the witnesses' next answer.
    pub(super) fn read(
        &self,
        published: &Published,
        policy: &WitnessPolicy,
        store: &impl Store,
    ) -> Option<Cosigned> {
        let path = self.dir.join(FILE);
        let bytes = match read_bounded(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!(%error, path = %path.display(), "can't read the cosigned checkpoint");
                return None;
            }
        };
        match check(&bytes, published, policy, store) {
            Ok(cosigned) => Some(cosigned),
            Err(reason) => {
                tracing::warn!(reason, path = %path.display(), "not served");
                None
            }
        }
    }

    /// Replaces the contents. On `Ok` they are on disk; a crash leaves the old or the
    /// new ones.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let temporary = self.dir.join(TEMPORARY);
        let mut file = File::create(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        // A crash here leaves the old file, and a temporary one that is overwritten.
        fs::rename(&temporary, self.dir.join(FILE))?;
        File::open(&self.dir)?.sync_all()
    }
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?
        .take(MAX_NOTE_BYTES as u64 + 1)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn check(
    bytes: &[u8],
    published: &Published,
    policy: &WitnessPolicy,
    store: &impl Store,
) -> Result<Cosigned, String> {
    let note = Note::parse(bytes).map_err(|error| error.to_string())?;
    let checkpoint = Checkpoint::parse(note.text()).map_err(|error| error.to_string())?;
    if checkpoint.origin != published.checkpoint.origin || checkpoint.size.0 > published.size() {
        return Err(format!(
            "it is of {} at size {}, the log is {} at size {}",
            checkpoint.origin,
            checkpoint.size,
            published.checkpoint.origin,
            published.size()
        ));
    }
    let tiles = PublishedTiles { published, store };
    let root = root_at(checkpoint.size, &tiles).map_err(|error| error.to_string())?;
    if root != checkpoint.root {
        return Err("it is not of the entries in the store".into());
    }
    // Lines of witnesses that the policy no longer knows stay out of the count.
    let signed = |witness: &auditchain_log::PolicyWitness| {
        let line = note.signatures().iter().find(|l| l.is_of(&witness.key));
        line.is_some_and(|l| witness.key.verify(note.text().as_bytes(), &l.signature))
    };
    if !policy.is_quorum(signed) {
        return Err("it doesn't satisfy the witness policy of now".into());
    }
    Ok(Cosigned {
        size: checkpoint.size.0,
        note: note.to_string(),
    })
}
