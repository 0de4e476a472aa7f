//! What entries name by digest: modules and settings of policies, RBAC snapshots. And
//! whatever else is kept by a name.

use std::collections::HashMap;

use auditchain_log::json::canonicalize;
use auditchain_log::{Hash, Payload, sha256};

use super::finding::{Findings, Place, Rule};
use crate::limits::DIGESTS_MAX;
use crate::source::{LogSource, SourceError};

/// The values checked so far.
#[derive(Debug, Default)]
pub(super) struct Values {
    seen: HashMap<Hash, Seen>,
    pub(super) checked: u64,
    /// Values that were read by their name.
    pub(super) named: u64,
}

/// What is known of a value whose digest was named before. What was wrong with it then is
/// told.
#[derive(Debug, Clone, Copy)]
struct Seen {
    /// Its bytes; none if it is not there, or another.
    bytes: Option<u64>,
    /// Whether it was also asked if it is in canonical form.
    canonical_checked: bool,
}

impl Values {
    /// Checks all that an entry names.
    ///
    /// # Errors
    /// The source can't be asked.
    pub(super) fn entry(
        &mut self,
        payload: &Payload,
        place: Place,
        source: &dyn LogSource,
        findings: &mut Findings,
    ) -> Result<(), SourceError> {
        match payload {
            Payload::Policy { policies, .. } => {
                for policy in policies {
                    let what = format!("the module of policy {}", policy.name);
                    self.value(&policy.module, &what, None, false, place, source, findings)?;
                    let what = format!("the settings of policy {}", policy.name);
                    self.value(&policy.settings, &what, None, true, place, source, findings)?;
                }
            }
            Payload::Rbac(rbac) => {
                self.value(
                    &rbac.digest,
                    "the RBAC snapshot",
                    Some(rbac.size),
                    false,
                    place,
                    source,
                    findings,
                )?;
            }
            _ => {}
        }
        Ok(())
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "one place that checks, one call a digest"
    )]
    fn value(
        &mut self,
        digest: &Hash,
        what: &str,
        size: Option<u64>,
        canonical: bool,
        place: Place,
        source: &dyn LogSource,
        findings: &mut Findings,
    ) -> Result<(), SourceError> {
        let mut add = |wrong: &str| {
            findings.add(Rule::Value, place, format!("{what} ({digest}) {wrong}"));
        };
        let other_size = |bytes: u64| size.is_some_and(|size| size != bytes);
        let seen = self.seen.get(digest).copied();
        if let Some(seen) = seen.filter(|seen| seen.canonical_checked || !canonical) {
            // Each entry that names it may say another size.
            if let Some(bytes) = seen.bytes.filter(|bytes| other_size(*bytes)) {
                add(&says_another_size(bytes));
            }
            return Ok(());
        }
        let found = match source.blob(digest) {
            Ok(Some(bytes)) if sha256(&[&bytes]) == *digest => Ok(bytes),
            Ok(Some(_)) => Err("is not what its digest names: it was changed".to_string()),
            Ok(None) => Err("is missing".to_string()),
            Err(SourceError::Damaged { reason, .. }) => Err(format!("can't be read: {reason}")),
            Err(error) => return Err(error),
        };
        if self.seen.len() == DIGESTS_MAX {
            self.seen.clear();
        }
        let known = Seen {
            bytes: found.as_ref().ok().map(|bytes| bytes.len() as u64),
            canonical_checked: canonical,
        };
        self.seen.insert(*digest, known);
        match found {
            Err(wrong) => add(&wrong),
            Ok(bytes) if other_size(bytes.len() as u64) => {
                add(&says_another_size(bytes.len() as u64));
            }
            Ok(bytes) if canonical && !is_canonical(&bytes) => add("are not in canonical form"),
            Ok(_) if seen.is_none() => self.checked += 1,
            Ok(_) => {}
        }
        Ok(())
    }

    /// Reads every value that the source lists, so that damage is found in those too that
    /// no entry names: the duplicate index and its key.
    ///
    /// # Errors
    /// The source can't be asked.
    pub(super) fn rest(
        &mut self,
        source: &dyn LogSource,
        findings: &mut Findings,
    ) -> Result<(), SourceError> {
        let mut add = |detail: String| findings.add(Rule::Value, Place::log(), detail);
        let names = match source.value_names() {
            Ok(names) => names,
            Err(SourceError::Damaged { reason, .. }) => {
                add(format!("the list of values can't be read: {reason}"));
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        for name in names {
            let digest = name.strip_prefix("sha256/");
            let digest = digest.and_then(|digest| digest.parse::<Hash>().ok());
            // Read and told already.
            if digest.is_some_and(|digest| self.seen.contains_key(&digest)) {
                continue;
            }
            match source.named_value(&name) {
                Ok(Some(bytes)) if digest.is_none_or(|digest| sha256(&[&bytes]) == digest) => {
                    self.named += 1;
                }
                Ok(Some(_)) => add(format!("the value {name} is not what its digest names")),
                Ok(None) => add(format!("the value {name} is missing")),
                Err(SourceError::Damaged { reason, .. }) => {
                    add(format!("the value {name} can't be read: {reason}"));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

fn says_another_size(bytes: u64) -> String {
    format!("has {bytes} bytes, the entry says another number")
}

fn is_canonical(bytes: &[u8]) -> bool {
    let mut canonical = Vec::with_capacity(bytes.len());
    canonicalize(bytes, &mut canonical).is_ok() && canonical == bytes
}
