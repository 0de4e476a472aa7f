//! `auditchain get URL|DIR INDEX`

use std::fmt::Write as _;

use auditchain_log::{Checkpoint, Entry, Note, leaf_hash};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::print;
use crate::args::{GetArgs, OutputFormat};
use crate::audit::check_commitment;
use crate::error::{CliError, EXIT_HOLDS};
use crate::output::printable;
use crate::pretty::indent;
use crate::source::{BodyRef, LogSource, open_source};

pub(super) fn run(args: &GetArgs, output: OutputFormat) -> Result<u8, CliError> {
    let source = open_source(&args.target, &args.connect)?;
    let (index, size) = (args.index, size(&*source)?);
    if index >= size {
        return Err(CliError::Usage(format!(
            "the log has {size} entries: there is no entry {index}"
        )));
    }
    let run = source.run(index, index + 1)?;
    let (bytes, body) = run
        .iter()
        .next()
        .ok_or_else(|| CliError::Refused(format!("entry {index} is not there")))?;
    let entry = Entry::parse(bytes)
        .map_err(|error| CliError::Refused(format!("entry {index}: {error}")))?;
    let body = body.filter(|_| args.body);
    match output {
        OutputFormat::Text => print(&text(index, bytes, &entry, body, args.body))?,
        OutputFormat::Json => print(&json(index, bytes, &entry, body))?,
    }
    if let (true, Some(reason)) = (args.body, &run.bodies_damage) {
        return Err(CliError::Refused(format!(
            "the body of entry {index} can't be read: {reason}"
        )));
    }
    if let (Some(commitment), Some(body)) = (entry.body(), body) {
        check_commitment(commitment, body)
            .map_err(|(_, detail)| CliError::Refused(format!("entry {index}: {detail}")))?;
    }
    Ok(EXIT_HOLDS)
}

/// Entries by the source's own account: nothing is verified here.
pub(super) fn size(source: &dyn LogSource) -> Result<u64, CliError> {
    if let Some(head) = source.head()? {
        return Ok(head.size);
    }
    let note = source
        .note()?
        .ok_or_else(|| CliError::Refused("the server has no checkpoint".into()))?;
    let checkpoint = Note::parse(&note).map_err(|error| error.to_string());
    let checkpoint = checkpoint
        .and_then(|note| Checkpoint::parse(note.text()).map_err(|error| error.to_string()));
    let checkpoint =
        checkpoint.map_err(|error| CliError::Refused(format!("the checkpoint: {error}")))?;
    Ok(checkpoint.size.0)
}

fn text(index: u64, bytes: &[u8], entry: &Entry, body: Option<BodyRef<'_>>, asked: bool) -> String {
    // An entry that was parsed is text.
    let leaf = String::from_utf8_lossy(bytes);
    let mut out = format!(
        "entry {index}, leaf hash {}\n{}\n",
        leaf_hash(bytes).to_base64(),
        printable(&indent(&leaf, 0))
    );
    // Writing into a String can't fail.
    let _ = match (body, entry.body()) {
        (Some(body), _) => {
            let salt = hex::encode(body.salt);
            match std::str::from_utf8(body.bytes) {
                Ok(text) if !entry.body_is_raw() => {
                    writeln!(out, "body, salt {salt}\n{}", printable(&indent(text, 0)))
                }
                _ => writeln!(
                    out,
                    "body as it arrived, salt {salt}\n{}",
                    printable(&String::from_utf8_lossy(body.bytes))
                ),
            }
        }
        (None, Some(_)) if asked => writeln!(out, "its body is not there: erased or withheld"),
        (None, None) if asked => writeln!(out, "kind {} has no body", entry.kind()),
        (None, _) => Ok(()),
    };
    out
}

/// Canonical JSON goes in as it is: what was hashed is what is printed.
fn json(index: u64, bytes: &[u8], entry: &Entry, body: Option<BodyRef<'_>>) -> String {
    let leaf = leaf_hash(bytes).to_base64();
    let mut out = format!(
        "{{\"index\":{index},\"leafHash\":\"{leaf}\",\"entry\":{}",
        String::from_utf8_lossy(bytes)
    );
    if let Some(body) = body {
        let salt = hex::encode(body.salt);
        // Writing into a String can't fail.
        let _ = match std::str::from_utf8(body.bytes) {
            Ok(text) if !entry.body_is_raw() => write!(out, ",\"salt\":\"{salt}\",\"body\":{text}"),
            _ => write!(
                out,
                ",\"salt\":\"{salt}\",\"bodyBase64\":\"{}\"",
                STANDARD.encode(body.bytes)
            ),
        };
    }
    out.push_str("}\n");
    out
}
