//! The files of a data directory: bytes that no entry is read from.

use std::fs;
use std::io;
use std::path::Path;

use auditchain_log::SignerKey;
use auditchain_store::{FileDamage, FilesReport};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::finding::{Place, Rule};
use super::report::{FilesSummary, Report};
use crate::limits::KEYS_BYTES_MAX;

const KEY_FILES: [&str; 2] = ["keys/log-p256.pem", "keys/log-ed25519.pem"];

impl Report {
    /// Takes up what the check of the files said, and checks the private keys that lie
    /// beside the store against the log.
    pub fn take_files(&mut self, dir: &Path, files: &FilesReport) {
        self.log_holds = Some(self.holds);
        for damage in &files.damage {
            self.findings.add_in_file(damage);
        }
        // What the check itself only counted.
        self.findings.total += files.damage_total - files.damage.len() as u64;
        self.check_private_keys(dir);
        let unknown = files.unknown.iter().map(|(_, bytes)| bytes).sum();
        self.files = Some(FilesSummary {
            files: files.files,
            bytes: files.bytes,
            records: files.records,
            unknown_bytes: unknown,
            torn_bytes: files.torn.iter().map(|(_, bytes)| bytes).sum(),
        });
        self.checked.push(format!(
            "{} files of {} bytes: sled's {} records, cleared space, settings and snapshots, and that no file is missing or too many",
            files.files, files.bytes, files.records
        ));
        for (offset, bytes) in &files.unknown {
            self.not_checked.push(format!(
                "{bytes} bytes of unused space at byte {offset} of store/db: the rest of a record that sled was overwriting carries no checksum."
            ));
        }
        for (offset, bytes) in &files.torn {
            self.not_checked.push(format!(
                "{bytes} bytes at byte {offset} of store/db, which were being written when the service ended: none of them was acknowledged."
            ));
        }
        self.not_checked.extend(files.not_checked.iter().cloned());
        self.findings.sort();
        self.holds = self.findings.is_empty();
    }

    fn check_private_keys(&mut self, dir: &Path) {
        let Some(origin) = self.origin.clone() else {
            return;
        };
        if !dir.join("keys").is_dir() {
            self.not_checked
                .push("The private keys: they are not in this directory.".into());
            return;
        }
        for file in KEY_FILES {
            let pem = match read(&dir.join(file)) {
                Ok(pem) => pem,
                // Told already, as a missing file.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => {
                    self.not_checked
                        .push(format!("The private key {file}: {error}."));
                    continue;
                }
            };
            let wrong = if !is_plain_pem(&pem) {
                Some("the file is no private key in PEM, or has bytes that don't belong there")
            } else {
                match SignerKey::from_pem(&origin, &pem) {
                    Err(_) => Some("the file holds no key that can sign"),
                    Ok(key) if !self.keys.in_force.contains(&key.verifier().to_string()) => {
                        Some("it is another key than those that the log has in force")
                    }
                    Ok(_) => None,
                }
            };
            if let Some(wrong) = wrong {
                self.findings.add_in_file(&FileDamage {
                    file: file.to_owned(),
                    offset: None,
                    bytes: 0,
                    what: wrong.to_owned(),
                    values: Vec::new(),
                    entries: None,
                });
            }
        }
    }
}

fn read(path: &Path) -> io::Result<String> {
    if fs::metadata(path)?.len() > KEYS_BYTES_MAX as u64 {
        return Err(io::Error::other("it is too large for a key"));
    }
    Ok(String::from_utf8_lossy(&fs::read(path)?).into_owned())
}

/// Whether a file is what writing its key as PEM gives, to the byte: a reader of PEM
/// overlooks what stands around it.
fn is_plain_pem(pem: &str) -> bool {
    const BEGIN: &str = "-----BEGIN PRIVATE KEY-----\n";
    const END: &str = "\n-----END PRIVATE KEY-----\n";
    let lines = pem
        .strip_prefix(BEGIN)
        .and_then(|pem| pem.strip_suffix(END));
    let Some(lines) = lines else { return false };
    let text: String = lines.split('\n').collect();
    let of_64 = text.as_bytes().chunks(64);
    of_64.eq(lines.split('\n').map(str::as_bytes)) && STANDARD.decode(&text).is_ok()
}

impl super::finding::Findings {
    fn add_in_file(&mut self, damage: &FileDamage) {
        let place = damage.entries.map_or_else(Place::log, |(first, count)| {
            Place::entries(first, first.saturating_add(count.saturating_sub(1)))
        });
        let mut detail = damage.what.clone();
        if !damage.values.is_empty() {
            detail = format!("{detail}, in it {}", damage.values.join(", "));
        }
        if damage.bytes > 0 {
            detail = format!("{detail} ({} bytes)", damage.bytes);
        }
        self.add(Rule::File, place, detail);
        if let Some(finding) = self.kept.last_mut().filter(|last| last.rule == Rule::File) {
            finding.file.get_or_insert_with(|| damage.file.clone());
            finding.offset = finding.offset.or(damage.offset);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_file_is_its_key_to_the_byte() {
        for key in [
            SignerKey::ecdsa_p256("example.com/log", &[7; 32]).unwrap(),
            SignerKey::ed25519("example.com/log", &[8; 32]).unwrap(),
        ] {
            let pem = key.to_pem().unwrap().to_string();
            assert!(is_plain_pem(&pem));
            for at in 0..pem.len() {
                let mut bad = pem.clone().into_bytes();
                bad[at] ^= 1;
                let bad = String::from_utf8_lossy(&bad).into_owned();
                let other = SignerKey::from_pem("example.com/log", &bad)
                    .map_or(true, |other| other.verifier() != key.verifier());
                assert!(!is_plain_pem(&bad) || other, "byte {at} of {pem}");
            }
            assert!(
                !is_plain_pem(&format!("{pem}\n")) && !is_plain_pem(&pem.replace('\n', "\r\n"))
            );
        }
    }
}
