//! Writes a bundle of any log that can be read.

use std::collections::HashSet;
use std::io::{self, Write};

use auditchain_log::{Checkpoint, Entry, Hash, Note, Payload};
use serde::Serialize;

use super::{BODY, COSIGNED, END, ENTRY, MAGIC, MANIFEST, Manifest, NOTE, RECORD_BYTES_MAX, VALUE};
use crate::error::CliError;
use crate::source::LogSource;

/// zstd's: the default of its tools.
const LEVEL: i32 = 3;

/// What was written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Summary {
    /// Entries.
    pub(crate) entries: u64,
    /// Bodies.
    pub(crate) bodies: u64,
    /// Modules, settings and snapshots.
    pub(crate) values: u64,
}

/// Writes all entries up to the newest checkpoint, with the bodies of a range; `progress`
/// is told how many entries of how many are done.
///
/// # Errors
/// The source can't be read to its end, or the file can't be written.
pub(crate) fn write(
    source: &dyn LogSource,
    bodies: Option<[u64; 2]>,
    out: impl Write,
    mut progress: impl FnMut(u64, u64),
) -> Result<Summary, CliError> {
    let note = source
        .note()?
        .ok_or_else(|| CliError::Refused("the log has no checkpoint".into()))?;
    let checkpoint = Note::parse(&note)
        .map_err(|error| error.to_string())
        .and_then(|note| Checkpoint::parse(note.text()).map_err(|error| error.to_string()))
        .map_err(|error| CliError::Refused(format!("the log's checkpoint: {error}")))?;
    let size = checkpoint.size.0;
    let mut bundle = Bundle::begin(out)?;
    let manifest = Manifest {
        origin: checkpoint.origin,
        size,
        bodies,
    };
    // A struct of strings and numbers: serialising it can't fail.
    bundle.record(
        MANIFEST,
        &[&serde_json::to_vec(&manifest).unwrap_or_default()],
    )?;
    bundle.record(NOTE, &[&note])?;
    if let Some(cosigned) = source.cosigned_note()? {
        bundle.record(COSIGNED, &[&cosigned])?;
    }
    let mut summary = Summary::default();
    let mut written = HashSet::new();
    while summary.entries < size {
        let run = source.run(summary.entries, size)?;
        if let Some(damage) = &run.bodies_damage {
            return Err(CliError::Refused(format!(
                "bodies from entry {} on can't be read: {damage}",
                run.first()
            )));
        }
        for (bytes, body) in run.iter() {
            let index = summary.entries;
            for digest in named(bytes, index)? {
                if written.insert(digest) {
                    let missing = || CliError::Refused(format!("the value {digest} is missing"));
                    let value = source.blob(&digest)?.ok_or_else(missing)?;
                    bundle.record(VALUE, &[&digest.0, &value])?;
                    summary.values += 1;
                }
            }
            bundle.record(ENTRY, &[bytes])?;
            let given = bodies.is_some_and(|[first, last]| (first..=last).contains(&index));
            if let Some(body) = body.filter(|_| given) {
                bundle.record(BODY, &[body.salt, body.bytes])?;
                summary.bodies += 1;
            }
            summary.entries += 1;
        }
        progress(summary.entries, size);
    }
    bundle.record(END, &[&summary.entries.to_be_bytes()])?;
    bundle.finish()?;
    Ok(summary)
}

/// The values that an entry names.
fn named(bytes: &[u8], index: u64) -> Result<Vec<Hash>, CliError> {
    let entry = Entry::parse(bytes)
        .map_err(|error| CliError::Refused(format!("entry {index}: {error}")))?;
    Ok(match entry.payload {
        Payload::Policy { policies, .. } => policies
            .iter()
            .flat_map(|policy| [policy.module, policy.settings])
            .collect(),
        Payload::Rbac(snapshot) => vec![snapshot.digest],
        _ => Vec::new(),
    })
}

struct Bundle<W: Write>(zstd::Encoder<'static, W>);

impl<W: Write> Bundle<W> {
    fn begin(mut out: W) -> io::Result<Self> {
        out.write_all(MAGIC)?;
        Ok(Self(zstd::Encoder::new(out, LEVEL)?))
    }

    fn record(&mut self, kind: u8, content: &[&[u8]]) -> io::Result<()> {
        let length = content.iter().map(|part| part.len()).sum::<usize>();
        let length_be = u32::try_from(length)
            .ok()
            .filter(|_| length <= RECORD_BYTES_MAX)
            .ok_or_else(|| io::Error::other("a record is too large for a bundle"))?;
        self.0.write_all(&[kind])?;
        self.0.write_all(&length_be.to_be_bytes())?;
        content.iter().try_for_each(|part| self.0.write_all(part))
    }

    fn finish(self) -> io::Result<()> {
        self.0.finish()?.flush()
    }
}
