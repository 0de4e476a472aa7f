//! `auditchain prove URL --index N`: fetches what proves an entry, checks it, and
//! writes it down.

use std::fs;
use std::path::PathBuf;

use auditchain_log::{Checkpoint, Entry, Hash, LeafIndex, Note, VerifierKey};
use serde::Deserialize;
use serde_json::json;

use super::{print, print_json};
use crate::args::{OutputFormat, ProveArgs};
use crate::error::{CliError, EXIT_HOLDS};
use crate::http::Client;
use crate::limits::JSON_ANSWER_BYTES_MAX;
use crate::output::Style;
use crate::source::{HttpLog, LogSource as _};
use crate::tlog_proof::TlogProof;
use crate::trust::{parse_keys, parse_vkeys, read_policy};

/// Answer of `/api/v1/proof/inclusion`.
#[derive(Deserialize)]
struct Inclusion {
    hashes: Vec<String>,
}

pub(super) fn run(args: &ProveArgs, output: OutputFormat) -> Result<u8, CliError> {
    let given = parse_keys(&args.keys)?;
    let policy = read_policy(args.witness_policy.as_deref())?;
    let log = HttpLog::new(Client::connect(&args.url, &args.connect)?);
    let keys = if given.is_empty() {
        served_keys(&log)?
    } else {
        given.clone()
    };
    // 1. The checkpoint, by the keys.
    let bytes = log
        .note()?
        .ok_or_else(|| CliError::Refused("the server has no checkpoint".into()))?;
    let refused =
        |error: &dyn std::fmt::Display| CliError::Refused(format!("the checkpoint: {error}"));
    let note = Note::parse(&bytes).map_err(|error| refused(&error))?;
    note.verify(&keys).map_err(|error| refused(&error))?;
    let checkpoint = Checkpoint::parse(note.text()).map_err(|error| refused(&error))?;
    if args.index >= checkpoint.size.0 {
        return Err(CliError::Usage(format!(
            "the log has {} entries: there is no entry {}",
            checkpoint.size, args.index
        )));
    }
    // 2. The entry and its audit path.
    let run = log.run(args.index, args.index + 1)?;
    let entry = run.iter().next().map(|(entry, _)| entry.to_vec());
    let entry =
        entry.ok_or_else(|| CliError::Refused(format!("entry {} is not there", args.index)))?;
    let hashes = audit_path(&log, args.index, checkpoint.size.0)?;
    // 3. Verified as whoever gets the file will verify it.
    let proof = TlogProof {
        index: LeafIndex(args.index),
        hashes,
        note: String::from_utf8_lossy(&bytes).into_owned(),
    };
    if let Some(policy) = &policy {
        proof
            .check_witnesses(policy)
            .map_err(|error| CliError::Refused(error.to_string()))?;
    }
    proof
        .verify(&entry, &keys)
        .map_err(|error| CliError::Refused(format!("entry {}: {error}", args.index)))?;
    Entry::parse(&entry)
        .map_err(|error| CliError::Refused(format!("entry {}: {error}", args.index)))?;
    // 4. Written down.
    let out = args
        .out
        .clone()
        .unwrap_or_else(|| PathBuf::from(format!("{}.tlog-proof", args.index)));
    fs::write(&out, proof.to_text()).map_err(CliError::writing(&out))?;
    if let Some(path) = &args.entry_out {
        fs::write(path, &entry).map_err(CliError::writing(path))?;
    }
    report(args, output, &checkpoint, &out, given.is_empty())?;
    Ok(EXIT_HOLDS)
}

fn served_keys(log: &HttpLog) -> Result<Vec<VerifierKey>, CliError> {
    let text = log.vkeys()?.ok_or_else(|| {
        CliError::Refused("the server names no keys: give the log's keys by --key".into())
    })?;
    parse_vkeys(&text).map_err(|why| CliError::Refused(format!("{}/keys: {why}", log.name())))
}

fn audit_path(log: &HttpLog, index: u64, size: u64) -> Result<Vec<Hash>, CliError> {
    let path = format!("/api/v1/proof/inclusion?index={index}&size={size}");
    let answer = log.client().get(&path, JSON_ANSWER_BYTES_MAX)?;
    if answer.status != 200 {
        return Err(CliError::Refused(format!(
            "no inclusion proof: {}",
            answer.problem()
        )));
    }
    let bad = || CliError::Refused(format!("{path}: no proof in the answer"));
    let proof: Inclusion = serde_json::from_slice(&answer.body).map_err(|_| bad())?;
    proof
        .hashes
        .iter()
        .map(|hash| Hash::from_base64(hash).map_err(|_| bad()))
        .collect()
}

fn report(
    args: &ProveArgs,
    output: OutputFormat,
    checkpoint: &Checkpoint,
    out: &std::path::Path,
    no_key: bool,
) -> Result<(), CliError> {
    if output == OutputFormat::Json {
        return print_json(&json!({
            "holds": true,
            "index": args.index,
            "origin": checkpoint.origin,
            "size": checkpoint.size.0,
            "root": checkpoint.root.to_base64(),
            "proof": out,
            "entry": args.entry_out,
            "keysGiven": !no_key,
        }));
    }
    let style = Style::of_stdout();
    let mut text = format!(
        "{}  entry {} is in {} at size {}; the proof is in {}\n",
        style.good("HOLDS"),
        args.index,
        checkpoint.origin,
        checkpoint.size,
        out.display(),
    );
    if no_key {
        text.push_str(&style.warn("WHOSE LOG THIS IS was not checked: no --key was given, the server's own keys were taken.\n"));
    }
    match &args.entry_out {
        Some(entry) => text.push_str(&format!(
            "Verify it offline: auditchain verify-proof {} --entry {} --key VKEY\n",
            out.display(),
            entry.display()
        )),
        None => text.push_str(
            "It is verified together with the entry's bytes: write those with --entry-out FILE.\n",
        ),
    }
    print(&text)
}
