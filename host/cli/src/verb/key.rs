//! `auditchain key show URL|DIR`, `key new --sender|--witness NAME`, `key rotate DIR`

use std::fmt::Write as _;

use auditchain_log::{Entry, KeyRole, KeyState, Payload, SenderAlgorithm, VerifierKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::{print, print_json};
use crate::args::{KeyNewArgs, KeyRotateArgs, KeyShowArgs, OutputFormat, SenderKeyAlgorithm};
use crate::error::{CliError, EXIT_HOLDS};
use crate::forward::create_sender_key;
use crate::limits::LOG_KEYS_MAX;
use crate::rotate::make_next_keys;
use crate::source::{LogSource, open_source};
use crate::trust::parse_vkeys;
use crate::witness::create_key;

pub(super) fn show(args: &KeyShowArgs, output: OutputFormat) -> Result<u8, CliError> {
    let source = open_source(&args.target, &args.connect)?;
    let keys = match source.vkeys()? {
        Some(text) => parse_vkeys(&text)
            .map_err(|why| CliError::Refused(format!("{}/keys: {why}", source.name())))?,
        None => from_entries(&*source)?,
    };
    tell(&keys, "", output)
}

pub(super) fn new(args: &KeyNewArgs, output: OutputFormat) -> Result<u8, CliError> {
    if let Some(witness) = &args.witness {
        let key = create_key(&args.out, witness)?;
        return tell(&[key.verifier().clone()], "", output);
    }
    let algorithm = match args.algorithm {
        SenderKeyAlgorithm::P256 => SenderAlgorithm::EcdsaP256Sha256,
        SenderKeyAlgorithm::Sm2 => SenderAlgorithm::Sm2Sm3,
    };
    let key = create_sender_key(&args.out, algorithm)?;
    let (public, name, id) = (
        STANDARD.encode(key.public_spki()),
        algorithm.name(),
        key.id(),
    );
    match output {
        OutputFormat::Json => print_json(&json!({
            "publicKey": public, "algorithm": name, "id": id,
        }))?,
        OutputFormat::Text => print(&format!("{public}\n  {name}, key id {id}\n"))?,
    }
    Ok(EXIT_HOLDS)
}

pub(super) fn rotate(args: &KeyRotateArgs, output: OutputFormat) -> Result<u8, CliError> {
    let keys = make_next_keys(&args.dir)?;
    let next = "\nThey wait in keys.next. Give them to the witnesses, who must know them before the log\nuses them, and to the auditors; then restart auditchaind: the log changes keys at its start.\n";
    tell(&keys, next, output)
}

fn tell(keys: &[VerifierKey], next: &str, output: OutputFormat) -> Result<u8, CliError> {
    let described: Vec<_> = keys
        .iter()
        .map(|key| json!({ "vkey": key.to_string(), "name": key.name(), "type": key.algorithm(), "id": hex::encode(key.id()) }))
        .collect();
    match output {
        OutputFormat::Json => print_json(&described)?,
        OutputFormat::Text => {
            let mut out = String::new();
            for key in keys {
                // Writing into a String can't fail.
                let _ = writeln!(
                    out,
                    "{key}\n  {}, key id {}, of {}",
                    key.algorithm(),
                    hex::encode(key.id()),
                    key.name()
                );
            }
            print(&(out + next))?;
        }
    }
    Ok(EXIT_HOLDS)
}

/// The keys in force by the log's own entries.
fn from_entries(source: &dyn LogSource) -> Result<Vec<VerifierKey>, CliError> {
    let size = super::get::size(source)?;
    let mut keys: Vec<VerifierKey> = Vec::new();
    let mut at = 0;
    while at < size {
        let run = source.run(at, size)?;
        for (bytes, _) in run.iter() {
            // Parsing every entry would take ten times as long.
            if !bytes
                .windows(KEY_KIND.len())
                .any(|window| window == KEY_KIND)
            {
                continue;
            }
            let Ok(Entry {
                payload: Payload::Key(record),
                ..
            }) = Entry::parse(bytes)
            else {
                continue;
            };
            let Ok(key) = record.key.parse::<VerifierKey>() else {
                continue;
            };
            match (record.role, record.state) {
                (KeyRole::Log, KeyState::Begin) if keys.len() < LOG_KEYS_MAX => keys.push(key),
                (KeyRole::Log, KeyState::End) => keys.retain(|other| *other != key),
                _ => {}
            }
        }
        if run.is_empty() {
            return Err(CliError::Refused(format!("entry {at} is not there")));
        }
        at = run.end();
    }
    if keys.is_empty() {
        return Err(CliError::Refused(format!(
            "the log in {} names no keys",
            source.name()
        )));
    }
    Ok(keys)
}

/// As it stands in a leaf; an event whose text has it too is only parsed in vain.
const KEY_KIND: &[u8] = b"\"kind\":\"key\"";
