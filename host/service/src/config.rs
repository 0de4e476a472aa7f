//! The command line and the configuration file, parsed into types once.
//!
//! The file is YAML shaped like a Kubernetes object; `docs/configuration.md` lists
//! its members. Every mistake that can be found is reported at once.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use auditchain_log::{Checkpoint, Hash, check_source_name};
use clap::Parser;
use serde::Deserialize;

/// Sources a log takes, configured or seen: bounds what is kept for each.
pub(crate) const MAX_SOURCES: usize = 256;
/// Largest request body. With truncation on, an apiserver's largest batch is 400
/// events of 100 KB.
pub(crate) const DEFAULT_BODY_BYTES_MAX: usize = 64 << 20;
/// Bytes of requests that may wait for their block; past it, 503.
pub(crate) const DEFAULT_INFLIGHT_BYTES_MAX: usize = 256 << 20;
/// Bounds of what may be configured. A body that is refused is kept whole, so the store
/// must take it.
const BODY_BYTES_RANGE: std::ops::RangeInclusive<usize> =
    1 << 10..=auditchain_store::limits::BODY_BYTES_MAX;

/// auditchaind: takes a Kubernetes cluster's audit events into a hash-chained Merkle
/// log, has every event judged by WebAssembly policies, and acknowledges after fsync.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "\
Examples:
  auditchaind --data /var/lib/auditchain
  auditchaind --data ./data --origin example.com/prod-eu --rbac-snapshot rbac.json

Send a kube-apiserver's audit webhook to http://ADDRESS/audit/SOURCE; see README.md.
Exit codes: 0 stopped on request, 1 failed, 2 wrong usage or configuration."
)]
pub(crate) struct Args {
    /// Directory of the log and its keys; made at the first start.
    #[arg(long, env = "AUDITCHAIN_DATA", value_name = "DIR")]
    pub(crate) data: PathBuf,
    /// Configuration file (YAML, kind ServiceConfig).
    #[arg(long, env = "AUDITCHAIN_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Address to serve on [default: 127.0.0.1:8443]; port 0 takes a free one.
    #[arg(long, env = "AUDITCHAIN_LISTEN", value_name = "ADDR")]
    pub(crate) listen: Option<SocketAddr>,
    /// Name of the log, a schema-less URL; fixed at the first start [default: a random name under auditchain.local].
    #[arg(long, env = "AUDITCHAIN_ORIGIN", value_name = "NAME")]
    pub(crate) origin: Option<String>,
    /// RBAC snapshot: `kubectl get clusterroles,clusterrolebindings,roles,rolebindings -A -o json`.
    #[arg(long, env = "AUDITCHAIN_RBAC_SNAPSHOT", value_name = "FILE")]
    pub(crate) rbac_snapshot: Option<PathBuf>,
    /// Serve without TLS on an address that is not loopback.
    #[arg(long)]
    pub(crate) insecure_listen: bool,
    /// Start although the store is older than the checkpoint beside it, or that is gone.
    #[arg(long)]
    pub(crate) accept_store_as_it_is: bool,
    /// How the service's own log is written.
    #[arg(long, value_enum, default_value_t = LogFormat::Text, value_name = "FORMAT")]
    pub(crate) log_format: LogFormat,
}

/// Form of the service's own log.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// For collectors, a JSON object a line.
    Json,
}

/// What the service runs with.
#[derive(Debug)]
pub(crate) struct Config {
    /// Directory of log and keys.
    pub(crate) data: PathBuf,
    /// Where to serve.
    pub(crate) listen: SocketAddr,
    /// The log's name, if one was asked for.
    pub(crate) origin: Option<String>,
    /// Who may send; empty: anyone, which is allowed on loopback only.
    pub(crate) sources: Vec<SourceConfig>,
    /// Who may read events' bodies; empty: anyone, on loopback only.
    pub(crate) readers: Vec<ReaderConfig>,
    /// Policy files; empty: the built-in ones.
    pub(crate) policies: Vec<PathBuf>,
    /// RBAC snapshot.
    pub(crate) rbac_snapshot: Option<PathBuf>,
    /// Largest request body, bytes.
    pub(crate) body_bytes_max: usize,
    /// Bytes of requests that may wait, bytes.
    pub(crate) inflight_bytes_max: usize,
    /// What a source may send that has no rate of its own, bytes a second; none: no
    /// limit.
    pub(crate) source_bytes_per_second: Option<u64>,
}

/// A sender.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct SourceConfig {
    /// As it stands in the path and in the log.
    pub(crate) name: String,
    /// SHA-256 of its bearer token, hex; none: no token is asked for.
    #[serde(default)]
    pub(crate) token_sha256: Option<Hash>,
    /// What it may send; none: `limits.sourceBytesPerSecond`.
    #[serde(default)]
    pub(crate) bytes_per_second: Option<u64>,
}

/// Someone who may read bodies, modules, settings and snapshots.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct ReaderConfig {
    /// For people.
    #[expect(dead_code, reason = "says in the file whose token it is")]
    name: String,
    /// SHA-256 of the bearer token, hex.
    pub(crate) token_sha256: Hash,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct ConfigFile {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    #[serde(default)]
    listen: Option<SocketAddr>,
    #[serde(default)]
    origin: Option<String>,
    #[serde(default)]
    sources: Vec<SourceConfig>,
    #[serde(default)]
    readers: Vec<ReaderConfig>,
    #[serde(default)]
    policies: Vec<PathBuf>,
    #[serde(default)]
    rbac_snapshot: Option<PathBuf>,
    #[serde(default)]
    limits: LimitsConfig,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct LimitsConfig {
    #[serde(default)]
    body_bytes: Option<usize>,
    #[serde(default)]
    inflight_bytes: Option<usize>,
    #[serde(default)]
    source_bytes_per_second: Option<u64>,
}

/// What is wrong with the configuration: all of it.
#[derive(Debug, thiserror::Error)]
#[error("the configuration has {} mistake(s):\n  {}", .0.len(), .0.join("\n  "))]
pub(crate) struct ConfigError(pub(crate) Vec<String>);

impl Config {
    /// Joins command line and file; the command line wins.
    ///
    /// # Errors
    /// All mistakes that were found.
    pub(crate) fn load(args: &Args) -> Result<Self, ConfigError> {
        let mut mistakes = Vec::new();
        let file = args
            .config
            .as_deref()
            .map_or(Ok(ConfigFile::default()), ConfigFile::read);
        let file = file.unwrap_or_else(|mistake| {
            mistakes.push(mistake);
            ConfigFile::default()
        });
        // Paths in the file are relative to it.
        let base = args
            .config
            .as_deref()
            .and_then(Path::parent)
            .unwrap_or(Path::new(""));
        let config = Self {
            data: args.data.clone(),
            listen: args
                .listen
                .or(file.listen)
                .unwrap_or(SocketAddr::from(([127, 0, 0, 1], 8443))),
            origin: args.origin.clone().or(file.origin),
            sources: file.sources,
            readers: file.readers,
            policies: file.policies.iter().map(|path| base.join(path)).collect(),
            rbac_snapshot: args
                .rbac_snapshot
                .clone()
                .or(file.rbac_snapshot.map(|p| base.join(p))),
            body_bytes_max: file.limits.body_bytes.unwrap_or(DEFAULT_BODY_BYTES_MAX),
            inflight_bytes_max: file
                .limits
                .inflight_bytes
                .unwrap_or(DEFAULT_INFLIGHT_BYTES_MAX),
            source_bytes_per_second: file.limits.source_bytes_per_second,
        };
        config.check(args.insecure_listen, &mut mistakes);
        if mistakes.is_empty() {
            Ok(config)
        } else {
            Err(ConfigError(mistakes))
        }
    }

    fn check(&self, insecure_listen: bool, mistakes: &mut Vec<String>) {
        let mut names = BTreeSet::new();
        for source in &self.sources {
            if let Err(error) = check_source_name(&source.name) {
                mistakes.push(format!("sources: {:?}: {error}", source.name));
            }
            if !names.insert(&source.name) {
                mistakes.push(format!("sources: {:?} stands there twice", source.name));
            }
        }
        if self.sources.len() > MAX_SOURCES {
            mistakes.push(format!(
                "sources: {} are over the limit of {MAX_SOURCES}",
                self.sources.len()
            ));
        }
        let rates = self.sources.iter().map(|source| source.bytes_per_second);
        if rates
            .chain([self.source_bytes_per_second])
            .any(|rate| rate == Some(0))
        {
            mistakes.push(
                "bytesPerSecond: must be at least 1; to refuse a source, leave it out".into(),
            );
        }
        if let Some(Err(error)) = self.origin.as_deref().map(Checkpoint::check_origin) {
            mistakes.push(format!("origin: {error}"));
        }
        if !BODY_BYTES_RANGE.contains(&self.body_bytes_max) {
            mistakes.push(format!(
                "limits.bodyBytes: {} is not in {BODY_BYTES_RANGE:?}",
                self.body_bytes_max
            ));
        }
        if self.inflight_bytes_max < self.body_bytes_max {
            mistakes.push("limits.inflightBytes: must be at least limits.bodyBytes, or the largest request never fits".into());
        }
        if !self.listen.ip().is_loopback() {
            if !insecure_listen {
                mistakes.push(format!("listen: {} is not loopback and TLS is not configured; put a TLS proxy in front, or add --insecure-listen if the network is trusted", self.listen));
            }
            if self.sources.is_empty() || self.sources.iter().any(|s| s.token_sha256.is_none()) {
                mistakes.push(format!("sources: on {}, which is not loopback, every source needs a tokenSha256 (printf %s TOKEN | sha256sum)", self.listen));
            }
        }
    }
}

impl ConfigFile {
    fn read(path: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| format!("can't read {}: {error}", path.display()))?;
        let file: Self = serde_saphyr::from_str(&text)
            .map_err(|error| format!("{}: {error}", path.display()))?;
        if (file.api_version.as_str(), file.kind.as_str())
            != ("auditchain.io/v1alpha1", "ServiceConfig")
        {
            return Err(format!(
                "{}: expected apiVersion auditchain.io/v1alpha1 and kind ServiceConfig, found {:?} and {:?}",
                path.display(),
                file.api_version,
                file.kind
            ));
        }
        Ok(file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str, more: &[&str]) -> Result<Config, ConfigError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.yaml");
        std::fs::write(&path, text).unwrap();
        let mut args = vec![
            "auditchaind",
            "--data",
            "d",
            "--config",
            path.to_str().unwrap(),
        ];
        args.extend_from_slice(more);
        Config::load(&Args::try_parse_from(args).unwrap())
    }

    const HEAD: &str = "apiVersion: auditchain.io/v1alpha1\nkind: ServiceConfig\n";

    #[test]
    fn the_command_line_wins_over_the_file() {
        let text =
            format!("{HEAD}listen: 127.0.0.1:1\norigin: a.example/log\nsources:\n- name: eu\n");
        let config = load(&text, &["--listen", "127.0.0.1:2"]).unwrap();
        assert_eq!(config.listen.port(), 2);
        assert_eq!(config.origin.as_deref(), Some("a.example/log"));
        assert_eq!(config.sources[0].name, "eu");
    }

    #[test]
    fn all_mistakes_are_named_at_once() {
        let text = format!(
            "{HEAD}listen: 0.0.0.0:8443\norigin: a b\nsources:\n- name: EU\n- name: eu\n- name: eu\nlimits:\n  bodyBytes: 7\n"
        );
        let ConfigError(mistakes) = load(&text, &[]).unwrap_err();
        let all = mistakes.join("\n");
        for part in [
            "\"EU\"",
            "twice",
            "origin",
            "bodyBytes",
            "TLS",
            "tokenSha256",
        ] {
            assert!(all.contains(part), "{part} in {all}");
        }
    }

    #[test]
    fn unknown_members_and_kinds_are_refused() {
        assert!(
            load(&format!("{HEAD}lissten: x\n"), &[])
                .unwrap_err()
                .to_string()
                .contains("lissten")
        );
        assert!(
            load("kind: Pod\n", &[])
                .unwrap_err()
                .to_string()
                .contains("ServiceConfig")
        );
    }
}
