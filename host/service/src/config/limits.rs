//! `limits`: bounds of bodies and connections.

use std::time::Duration;

use serde::Deserialize;

use crate::listener::limits::Limits;

/// Longest time that may be configured for anything: what takes longer is forgotten.
const TIME_MAX: Duration = Duration::from_secs(24 * 3600);

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct LimitsConfig {
    #[serde(default)]
    pub(super) body_bytes: Option<usize>,
    #[serde(default)]
    pub(super) inflight_bytes: Option<usize>,
    #[serde(default)]
    pub(super) source_bytes_per_second: Option<u64>,
    connections: Option<usize>,
    #[serde(default)]
    connections_per_peer: Option<usize>,
    #[serde(default)]
    handshake_timeout: Option<String>,
    #[serde(default)]
    header_timeout: Option<String>,
    #[serde(default)]
    idle_timeout: Option<String>,
    #[serde(default)]
    write_timeout: Option<String>,
    #[serde(default)]
    connection_age: Option<String>,
    #[serde(default)]
    body_timeout: Option<String>,
    #[serde(default)]
    body_grace: Option<String>,
    #[serde(default)]
    body_bytes_per_second: Option<u64>,
    #[serde(default)]
    drain_grace: Option<String>,
}

impl LimitsConfig {
    /// The bounds of connections, with their defaults.
    pub(super) fn of_connections(&self, mistakes: &mut Vec<String>) -> Limits {
        let default = Limits::default();
        let mut time = |member: &str, given: &Option<String>, default: Duration| {
            let Some(text) = given else { return default };
            let parsed = text.parse::<jiff::SignedDuration>().ok();
            let parsed = parsed.and_then(|time| Duration::try_from(time).ok());
            let parsed = parsed.filter(|time| !time.is_zero() && *time <= TIME_MAX);
            parsed.unwrap_or_else(|| {
                mistakes.push(format!(
                    "limits.{member}: {text:?} is no time such as 500ms, 10s or 2m, of at most 24h"
                ));
                default
            })
        };
        let limits = Limits {
            connections_max: self.connections.unwrap_or(default.connections_max),
            connections_per_peer_max: self
                .connections_per_peer
                .unwrap_or(default.connections_per_peer_max),
            handshake_timeout: time(
                "handshakeTimeout",
                &self.handshake_timeout,
                default.handshake_timeout,
            ),
            header_timeout: time(
                "headerTimeout",
                &self.header_timeout,
                default.header_timeout,
            ),
            idle_timeout: time("idleTimeout", &self.idle_timeout, default.idle_timeout),
            write_timeout: time("writeTimeout", &self.write_timeout, default.write_timeout),
            connection_age_max: time(
                "connectionAge",
                &self.connection_age,
                default.connection_age_max,
            ),
            body_timeout: time("bodyTimeout", &self.body_timeout, default.body_timeout),
            body_grace: time("bodyGrace", &self.body_grace, default.body_grace),
            body_bytes_per_second_min: self
                .body_bytes_per_second
                .unwrap_or(default.body_bytes_per_second_min),
            drain_grace: time("drainGrace", &self.drain_grace, default.drain_grace),
        };
        if limits.connections_max == 0 || limits.connections_per_peer_max == 0 {
            mistakes.push("limits.connections and limits.connectionsPerPeer: at least 1".into());
        }
        if limits.body_bytes_per_second_min == 0 {
            mistakes.push("limits.bodyBytesPerSecond: at least 1".into());
        }
        limits
    }
}
