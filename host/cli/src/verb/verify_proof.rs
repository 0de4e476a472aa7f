//! `auditchain verify-proof PROOF --entry FILE --key VKEY`: offline.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use auditchain_log::MAX_ENTRY_BYTES;
use serde_json::json;

use super::{print, print_json};
use crate::args::{OutputFormat, VerifyProofArgs};
use crate::error::{CliError, EXIT_HOLDS};
use crate::limits::PROOF_FILE_BYTES_MAX;
use crate::output::{Style, printable};
use crate::tlog_proof::TlogProof;
use crate::trust::{parse_keys, read_policy};

pub(super) fn run(args: &VerifyProofArgs, output: OutputFormat) -> Result<u8, CliError> {
    let mut keys = parse_keys(&args.keys)?;
    let policy = read_policy(args.witness_policy.as_deref())?;
    let proof = read(&args.proof, PROOF_FILE_BYTES_MAX)?;
    let entry = read(&args.entry, MAX_ENTRY_BYTES)?;
    let refused = |error: crate::TlogProofError| {
        CliError::Refused(format!("{}: {error}", args.proof.display()))
    };
    let proof = TlogProof::parse(&proof).map_err(refused)?;
    let policy = policy.as_ref();
    if keys.is_empty() {
        keys = policy.map_or_else(Vec::new, |policy| policy.log_keys(proof.origin()));
        if keys.is_empty() {
            return Err(CliError::Usage(format!(
                "the witness policy lists no key of the log {}: give the log's keys by --key",
                printable(proof.origin())
            )));
        }
    }
    let (checkpoint, signed_by) = proof.verify(&entry, &keys).map_err(refused)?;
    let witnesses = policy
        .map(|policy| proof.check_witnesses(policy))
        .transpose()
        .map_err(refused)?;
    match output {
        OutputFormat::Json => print_json(&json!({
            "holds": true,
            "index": proof.index.0,
            "origin": checkpoint.origin,
            "size": checkpoint.size.0,
            "root": checkpoint.root.to_base64(),
            "signedBy": signed_by.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "witnesses": witnesses,
        }))?,
        OutputFormat::Text => print(&format!(
            "{}  this is entry {} of {} at size {}, signed by {} of the keys given{}\n",
            Style::of_stdout().good("HOLDS"),
            proof.index,
            checkpoint.origin,
            checkpoint.size,
            signed_by.len(),
            witnesses.map_or_else(String::new, |names| format!(
                " and cosigned by the witnesses' quorum ({})",
                names.join(", ")
            )),
        ))?,
    }
    Ok(EXIT_HOLDS)
}

/// Reads a file up to a byte more than it may have: what is larger proves nothing.
fn read(path: &Path, limit: usize) -> Result<Vec<u8>, CliError> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(CliError::reading(path))?;
    file.take(limit as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(CliError::reading(path))?;
    Ok(bytes)
}
