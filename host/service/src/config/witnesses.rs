//! `witnesses`: who cosigns checkpoints.

use std::path::{Path, PathBuf};
use std::time::Duration;

use auditchain_log::WitnessPolicy;
use serde::Deserialize;

use crate::witness::DEFAULT_INTERVAL;

/// Bounds of the time between two rounds of witnesses.
const INTERVAL_RANGE: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(3600);

/// The witnesses, parsed.
#[derive(Debug)]
pub(crate) struct WitnessConfig {
    /// Who they are.
    pub(crate) policy: WitnessPolicy,
    /// Least time between two checkpoints that are sent to them.
    pub(crate) interval: Duration,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct WitnessesFile {
    #[serde(default)]
    pub(super) policy_file: Option<PathBuf>,
    #[serde(default)]
    pub(super) interval_seconds: Option<u64>,
}

impl WitnessConfig {
    /// Reads the policy file.
    pub(super) fn read(path: &Path, interval_s: Option<u64>) -> Result<Self, String> {
        let text = std::fs::read(path)
            .map_err(|error| format!("can't read {}: {error}", path.display()))?;
        let policy = WitnessPolicy::parse(&text)
            .map_err(|error| format!("witness policy {}: {error}", path.display()))?;
        let urls = policy.witnesses().iter().filter_map(|w| w.url.as_ref());
        if let Some(url) = urls.clone().find(|url| !url.starts_with("http://")) {
            return Err(format!(
                "witness policy {}: {url}: expected http://; put a TLS tunnel on this machine before a witness elsewhere",
                path.display()
            ));
        }
        if policy.asks_for_witnesses() && urls.count() == 0 {
            return Err(format!(
                "witness policy {}: no witness has a URL, so nobody can be asked to cosign",
                path.display()
            ));
        }
        let interval = interval_s.map_or(DEFAULT_INTERVAL, Duration::from_secs);
        if !INTERVAL_RANGE.contains(&interval) {
            return Err(format!(
                "witnesses.intervalSeconds: {} is not in 1..=3600",
                interval.as_secs()
            ));
        }
        Ok(Self { policy, interval })
    }
}
