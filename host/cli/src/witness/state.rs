//! What the witness has cosigned, and what it cosigns next.
//!
//! ```text
//! STATE/lock                  one witness a directory
//! STATE/<SHA-256 of origin>   the last checkpoint cosigned: the log's signatures and ours
//! ```
//! The file is on disk before the cosignature is given away. A crash before leaves the
//! old file and nothing said; a crash after leaves the new one, and the log asks again.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use auditchain_log::{
    AddCheckpoint, Checkpoint, CosignerKey, MAX_NOTE_BYTES, Note, NoteSignature, Refusal,
    VerifierKey, cosignature_time, sha256,
};

use crate::error::CliError;

/// Keys of logs that a witness serves: what it keeps in memory for each is below 32 KiB.
const WITNESSED_LOGS_MAX: usize = 1024;
/// The same checkpoint asked for again within this gets the same cosignature: anyone can
/// send it, and each new one costs an fsync.
const SAME_AGAIN_S: u64 = 1;

/// A witness. One a directory.
pub(crate) struct Witness {
    key: CosignerKey,
    logs: Vec<VerifierKey>,
    dir: PathBuf,
    last: BTreeMap<String, Cosigned>,
    /// Held as long as we live.
    _lock: File,
}

/// The last checkpoint of a log that was cosigned.
struct Cosigned {
    checkpoint: Checkpoint,
    note: Note,
}

/// Why a checkpoint isn't cosigned.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WitnessError {
    /// It must not be.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// It could not be kept.
    #[error("the checkpoint can't be kept: {0}")]
    Io(#[from] io::Error),
}

impl Witness {
    /// Takes the directory, and what was cosigned before.
    pub(crate) fn open(
        dir: &Path,
        key: CosignerKey,
        logs: Vec<VerifierKey>,
    ) -> Result<Self, CliError> {
        if logs.iter().any(VerifierKey::is_cosigner) {
            let why = "--log takes a log's key, and this is a witness's (type 04)";
            return Err(CliError::Usage(why.into()));
        }
        if logs.len() > WITNESSED_LOGS_MAX {
            let why = format!("more than {WITNESSED_LOGS_MAX} keys of logs");
            return Err(CliError::Usage(why));
        }
        fs::create_dir_all(dir).map_err(CliError::writing(dir))?;
        let path = dir.join("lock");
        let lock = File::create(&path).map_err(CliError::writing(&path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(CliError::Usage(format!(
                    "{}: another witness runs on this directory",
                    dir.display()
                )));
            }
            Err(TryLockError::Error(error)) => return Err(CliError::writing(&path)(error)),
        }
        let mut witness = Self {
            key,
            logs,
            dir: dir.to_owned(),
            last: BTreeMap::new(),
            _lock: lock,
        };
        let origins: Vec<String> = witness.logs.iter().map(|k| k.name().into()).collect();
        for origin in origins {
            if let Some(cosigned) = witness.read(&origin)? {
                witness.last.insert(origin, cosigned);
            }
        }
        Ok(witness)
    }

    /// Our public key.
    pub(crate) fn vkey(&self) -> &VerifierKey {
        self.key.verifier()
    }

    /// Judges a request's body; the signature lines to answer with.
    pub(crate) fn add_checkpoint(
        &mut self,
        body: &[u8],
        now_s: u64,
    ) -> Result<String, WitnessError> {
        let request = AddCheckpoint::parse(body).map_err(Refusal::from)?;
        let last = |origin: &str| self.last.get(origin).map(|cosigned| &cosigned.checkpoint);
        let (checkpoint, mut note) = request.judge(&self.logs, last)?;
        let before = self.last.get(&checkpoint.origin);
        if let Some(line) = before
            .filter(|before| before.note.text() == note.text())
            .and_then(|before| own_line(&before.note, self.key.verifier()))
            .filter(|line| {
                cosignature_time(line).is_some_and(|t| now_s.abs_diff(t) <= SAME_AGAIN_S)
            })
        {
            return Ok(format!("{line}\n"));
        }
        let line = self.key.cosign(note.text(), now_s);
        note.merge([line.clone()]);
        self.write(&checkpoint.origin, note.to_string().as_bytes())?;
        // Only now is it cosigned: what comes next must continue it.
        let origin = checkpoint.origin.clone();
        self.last.insert(origin, Cosigned { checkpoint, note });
        Ok(format!("{line}\n"))
    }

    /// The last checkpoint cosigned of the log whose origin has this SHA-256 in hex.
    pub(crate) fn checkpoint(&self, origin_hash: &str) -> Option<String> {
        let found = self.last.iter().find(|(o, _)| file_name(o) == origin_hash);
        found.map(|(_, cosigned)| cosigned.note.to_string())
    }

    fn read(&self, origin: &str) -> Result<Option<Cosigned>, CliError> {
        let path = self.dir.join(file_name(origin));
        let mut bytes = Vec::new();
        match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(CliError::reading(&path)(error)),
            Ok(file) => file
                .take(MAX_NOTE_BYTES as u64 + 1)
                .read_to_end(&mut bytes)
                .map_err(CliError::reading(&path))?,
        };
        let refused = |why: &str| {
            CliError::Refused(format!(
                "{}: {why}. What this witness cosigned for {origin} is not known, so it must not go on: restore the file, or make a new witness with a new key",
                path.display()
            ))
        };
        let note = Note::parse(&bytes).map_err(|error| refused(&error.to_string()))?;
        let checkpoint =
            Checkpoint::parse(note.text()).map_err(|error| refused(&error.to_string()))?;
        if checkpoint.origin != origin {
            return Err(refused("it is of another log"));
        }
        note.verify(std::slice::from_ref(self.key.verifier()))
            .map_err(|_| refused("it is not cosigned by this witness's key"))?;
        Ok(Some(Cosigned { checkpoint, note }))
    }

    fn write(&self, origin: &str, bytes: &[u8]) -> io::Result<()> {
        let path = self.dir.join(file_name(origin));
        let temporary = path.with_extension("new");
        let mut file = File::create(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, &path)?;
        File::open(&self.dir)?.sync_all()
    }
}

fn own_line<'n>(note: &'n Note, key: &VerifierKey) -> Option<&'n NoteSignature> {
    note.signatures().iter().find(|line| line.is_of(key))
}

fn file_name(origin: &str) -> String {
    sha256(&[origin.as_bytes()]).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use auditchain_log::{Hash, SignerKey, TreeSize, leaf_hash, node_hash, sign_note};

    const ORIGIN: &str = "example.com/log";

    fn log() -> SignerKey {
        SignerKey::ed25519(ORIGIN, &[7; 32]).unwrap()
    }

    fn open(dir: &Path, seed: u8) -> Result<Witness, CliError> {
        let key = CosignerKey::from_seed("witness.example/w1", &[seed; 32]).unwrap();
        Witness::open(dir, key, vec![log().verifier().clone()])
    }

    fn body(old: u64, proof: &[Hash], size: u64, root: Hash) -> Vec<u8> {
        let checkpoint = Checkpoint {
            origin: ORIGIN.into(),
            size: TreeSize(size),
            root,
        };
        let request = AddCheckpoint {
            old: TreeSize(old),
            proof: proof.into(),
            note: sign_note(&checkpoint.to_text(), &[log()]),
        };
        request.to_text().into_bytes()
    }

    #[test]
    fn it_remembers_across_restarts_and_never_goes_back() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (leaf_hash(b"a"), leaf_hash(b"b"));
        let both = node_hash(&a, &b);
        let mut witness = open(dir.path(), 1).unwrap();
        assert!(
            matches!(open(dir.path(), 1), Err(CliError::Usage(_))),
            "locked"
        );
        let name = file_name(ORIGIN);
        assert_eq!(witness.checkpoint(&name), None);
        let first = witness.add_checkpoint(&body(0, &[], 1, a), 100).unwrap();
        // The same again: the same line at once, a new one later.
        let again = |w: &mut Witness, now| w.add_checkpoint(&body(1, &[], 1, a), now).unwrap();
        assert_eq!(again(&mut witness, 101), first);
        assert_ne!(again(&mut witness, 102), first);
        drop(witness);

        let mut witness = open(dir.path(), 1).unwrap();
        let refused = |result| match result {
            Err(WitnessError::Refused(refusal)) => refusal,
            other => panic!("{other:?}"),
        };
        let fork = sha256(&[b"fork"]);
        assert_eq!(
            refused(witness.add_checkpoint(&body(0, &[], 2, fork), 103)),
            Refusal::Conflict(TreeSize(1))
        );
        let refusal = refused(witness.add_checkpoint(&body(1, &[b], 2, fork), 103));
        assert!(matches!(refusal, Refusal::Inconsistent(_)));
        witness
            .add_checkpoint(&body(1, &[b], 2, both), 104)
            .unwrap();
        assert_eq!(
            refused(witness.add_checkpoint(&body(1, &[], 1, a), 105)),
            Refusal::Conflict(TreeSize(2))
        );
        let shown = Note::parse(witness.checkpoint(&name).unwrap().as_bytes()).unwrap();
        let keys = [log().verifier().clone(), witness.vkey().clone()];
        assert_eq!(shown.verify(&keys).unwrap().len(), 2);
    }

    #[test]
    fn a_state_that_is_not_ours_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let mut witness = open(dir.path(), 1).unwrap();
        witness
            .add_checkpoint(&body(0, &[], 1, leaf_hash(b"a")), 100)
            .unwrap();
        drop(witness);
        assert!(matches!(open(dir.path(), 2), Err(CliError::Refused(_))));
        let path = dir.path().join(file_name(ORIGIN));
        let good = fs::read(&path).unwrap();
        for bad in [&b""[..], b"nonsense", &good[..good.len() - 2]] {
            fs::write(&path, bad).unwrap();
            assert!(matches!(open(dir.path(), 1), Err(CliError::Refused(_))));
        }
        let smaller = String::from_utf8(good)
            .unwrap()
            .replacen("\n1\n", "\n0\n", 1);
        fs::write(&path, smaller).unwrap();
        assert!(matches!(open(dir.path(), 1), Err(CliError::Refused(_))));
    }

    #[test]
    fn what_can_not_be_kept_is_not_cosigned() {
        let dir = tempfile::tempdir().unwrap();
        let mut witness = open(dir.path(), 1).unwrap();
        // A directory where the file must go: the rename fails.
        let path = dir.path().join(file_name(ORIGIN));
        fs::create_dir(&path).unwrap();
        let request = body(0, &[], 1, leaf_hash(b"a"));
        assert!(matches!(
            witness.add_checkpoint(&request, 100),
            Err(WitnessError::Io(_))
        ));
        fs::remove_dir(&path).unwrap();
        witness.add_checkpoint(&request, 100).unwrap();
    }
}
