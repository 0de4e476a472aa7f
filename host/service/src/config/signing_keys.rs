//! `sources[].signingKeys`: which keys a source signs with, and from when until when. They
//! become `key` entries of the log, so that an auditor knows them too.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use auditchain_log::{KeyRecord, KeyRole, KeyState, SenderPublicKey, Timestamp};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::SourceConfig;

/// Keys of one source: those in use, those to come, and some that retire. All of them are
/// in the head of the store, which is written with every block.
const SIGNING_KEYS_MAX: usize = 8;
/// A public key's PEM has under 200 bytes; people put comments into such files.
const PEM_BYTES_MAX: u64 = 16 << 10;

/// A key as the file has it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct SigningKeyConfig {
    /// PEM of a public key.
    #[serde(default)]
    file: Option<PathBuf>,
    /// SubjectPublicKeyInfo, base64 of the DER.
    #[serde(default)]
    key: Option<String>,
    /// RFC 3339; what arrives earlier is not taken.
    #[serde(default)]
    not_before: Option<String>,
    /// RFC 3339; what arrives later is not taken.
    #[serde(default)]
    not_after: Option<String>,
}

/// The keys of all sources. Paths are relative to `base`.
pub(super) fn read(
    sources: &[SourceConfig],
    base: &Path,
    mistakes: &mut Vec<String>,
) -> Vec<KeyRecord> {
    let mut records: Vec<KeyRecord> = Vec::new();
    for source in sources {
        let mut mistake = |why: String| {
            mistakes.push(format!("sources: {:?}: signingKeys: {why}", source.name));
        };
        if source.signing_keys.len() > SIGNING_KEYS_MAX {
            mistake(format!(
                "{} are over the limit of {SIGNING_KEYS_MAX}",
                source.signing_keys.len()
            ));
            continue;
        }
        for config in &source.signing_keys {
            let Some(record) = config.record(&source.name, base, &mut mistake) else {
                continue;
            };
            let same =
                |other: &KeyRecord| (&other.source, &other.key) == (&record.source, &record.key);
            if records.iter().any(same) {
                mistake(format!("the key {} stands there twice", record.key));
            } else {
                records.push(record);
            }
        }
    }
    records
}

impl SigningKeyConfig {
    /// What the log says of it; none, and every mistake told, if there is one.
    fn record(
        &self,
        source: &str,
        base: &Path,
        mistake: &mut impl FnMut(String),
    ) -> Option<KeyRecord> {
        let key = self.public_key(base).map_err(&mut *mistake).ok();
        let mut time = |member: &str, text: &Option<String>| {
            let Some(text) = text else {
                return Some(None);
            };
            let Ok(time) = text.parse::<jiff::Timestamp>() else {
                mistake(format!(
                    "{member}: {text:?} is no RFC 3339 time such as 2027-01-31T00:00:00Z"
                ));
                return None;
            };
            Some(Some(Timestamp::from_micros(time.as_microsecond())))
        };
        let not_before = time("notBefore", &self.not_before);
        let not_after = time("notAfter", &self.not_after);
        let (not_before, not_after) = (not_before?, not_after?);
        if not_before
            .zip(not_after)
            .is_some_and(|(from, to)| from > to)
        {
            mistake("notBefore is later than notAfter: the key would never be valid".into());
            return None;
        }
        Some(KeyRecord {
            key: STANDARD.encode(key?.spki()),
            not_after,
            not_before,
            role: KeyRole::Sender,
            source: Some(source.into()),
            state: KeyState::Begin,
        })
    }

    fn public_key(&self, base: &Path) -> Result<SenderPublicKey, String> {
        match (&self.file, &self.key) {
            (Some(file), None) => {
                let path = base.join(file);
                let mut pem = String::new();
                std::fs::File::open(&path)
                    .and_then(|file| file.take(PEM_BYTES_MAX).read_to_string(&mut pem))
                    .map_err(|error| format!("can't read {}: {error}", path.display()))?;
                SenderPublicKey::from_pem(&pem)
                    .map_err(|error| format!("{}: {error}", path.display()))
            }
            (None, Some(key)) => {
                let spki = STANDARD.decode(key.trim());
                let spki = spki.map_err(|_| format!("key: {key:?} is no base64"))?;
                SenderPublicKey::from_spki(&spki).map_err(|error| format!("key: {error}"))
            }
            _ => Err("each needs a file or a key, and not both".into()),
        }
    }
}
