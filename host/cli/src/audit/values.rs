//! What entries name by digest: modules and settings of policies, RBAC snapshots.

use std::collections::HashSet;

use auditchain_log::json::canonicalize;
use auditchain_log::{Hash, Payload, sha256};

use super::finding::{Findings, Place, Rule};
use crate::limits::DIGESTS_MAX;
use crate::source::{LogSource, SourceError};

/// The values checked so far.
#[derive(Debug, Default)]
pub(super) struct Values {
    seen: HashSet<Hash>,
    pub(super) checked: u64,
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
            Payload::Policy { policies } => {
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
        if self.seen.contains(digest) {
            return Ok(());
        }
        if self.seen.len() == DIGESTS_MAX {
            self.seen.clear();
        }
        self.seen.insert(*digest);
        let wrong = match source.blob(digest) {
            Ok(Some(bytes)) if sha256(&[&bytes]) != *digest => {
                Some("is not what its digest names: it was changed".to_string())
            }
            Ok(Some(bytes)) if size.is_some_and(|size| size != bytes.len() as u64) => Some(
                format!("has {} bytes, the entry says another number", bytes.len()),
            ),
            Ok(Some(bytes)) if canonical && !is_canonical(&bytes) => {
                Some("are not in canonical form".to_string())
            }
            Ok(Some(_)) => None,
            Ok(None) => Some("is missing".to_string()),
            Err(SourceError::Damaged { reason, .. }) => Some(format!("can't be read: {reason}")),
            Err(error) => return Err(error),
        };
        match wrong {
            None => self.checked += 1,
            Some(wrong) => findings.add(Rule::Value, place, format!("{what} ({digest}) {wrong}")),
        }
        Ok(())
    }
}

fn is_canonical(bytes: &[u8]) -> bool {
    let mut canonical = Vec::with_capacity(bytes.len());
    canonicalize(bytes, &mut canonical).is_ok() && canonical == bytes
}
