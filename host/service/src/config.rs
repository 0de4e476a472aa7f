//! The command line and the configuration file, parsed into types once.
//!
//! The file is YAML shaped like a Kubernetes object; `docs/configuration.md` lists
//! its members. Every mistake that can be found is reported at once.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use auditchain_log::{Checkpoint, Hash, PolicySigner, WitnessPolicy, check_source_name};
use clap::Parser;
use serde::Deserialize;

use crate::auth::{CertificateName, Credentials, Demand};
use crate::listener::limits::Limits;
use crate::tls::TlsFiles;
use crate::witness::DEFAULT_INTERVAL;

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
/// Readers and admins: people and programs, a few each.
const PEOPLE_MAX: usize = 256;
/// Longest time that may be configured for anything: what takes longer is forgotten.
const TIME_MAX: Duration = Duration::from_secs(24 * 3600);

/// Bounds of the time between two rounds of witnesses.
const INTERVAL_RANGE: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(3600);

/// auditchaind: takes a Kubernetes cluster's audit events into a hash-chained Merkle
/// log, has every event judged by WebAssembly policies, and acknowledges after fsync.
#[derive(Debug, Clone, Parser)]
#[command(
    version,
    after_help = "\
Examples:
  auditchaind --data /var/lib/auditchain
  auditchaind --data ./data --origin example.com/prod-eu --rbac-snapshot rbac.json
  auditchaind --data ./data --config auditchaind.yaml --listen 0.0.0.0:8443 --tls-cert tls.crt --tls-key tls.key

Send a kube-apiserver's audit webhook to https://ADDRESS/audit/SOURCE; see README.md.
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
    /// Address to serve /livez, /readyz and /metrics on instead, without a token.
    #[arg(long, env = "AUDITCHAIN_ADMIN_LISTEN", value_name = "ADDR")]
    pub(crate) admin_listen: Option<SocketAddr>,
    /// Serve TLS with this certificate and its chain (PEM); read again when it changes.
    #[arg(long, env = "AUDITCHAIN_TLS_CERT", value_name = "FILE")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// Private key of the certificate (PEM).
    #[arg(long, env = "AUDITCHAIN_TLS_KEY", value_name = "FILE")]
    pub(crate) tls_key: Option<PathBuf>,
    /// CAs whose client certificates are taken (PEM).
    #[arg(long, env = "AUDITCHAIN_TLS_CLIENT_CA", value_name = "FILE")]
    pub(crate) tls_client_ca: Option<PathBuf>,
    /// Bearer tokens, a line each: SHA-256, role (ingest, read or admin), name; read again when it changes.
    #[arg(long, env = "AUDITCHAIN_TOKENS_FILE", value_name = "FILE")]
    pub(crate) tokens_file: Option<PathBuf>,
    /// Name of the log, a schema-less URL; fixed at the first start [default: a random name under auditchain.local].
    #[arg(long, env = "AUDITCHAIN_ORIGIN", value_name = "NAME")]
    pub(crate) origin: Option<String>,
    /// RBAC snapshot: `kubectl get clusterroles,clusterrolebindings,roles,rolebindings -A -o json`.
    #[arg(long, env = "AUDITCHAIN_RBAC_SNAPSHOT", value_name = "FILE")]
    pub(crate) rbac_snapshot: Option<PathBuf>,
    /// Witness policy (c2sp.org/tlog-policy): who is asked to cosign checkpoints, and whose cosignatures make a quorum.
    #[arg(long, env = "AUDITCHAIN_WITNESS_POLICY", value_name = "FILE")]
    pub(crate) witness_policy: Option<PathBuf>,
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
    /// Where to serve health and metrics, if not there.
    pub(crate) admin_listen: Option<SocketAddr>,
    /// Certificate and key; none: plain HTTP.
    pub(crate) tls: Option<TlsFiles>,
    /// Bearer tokens by role.
    pub(crate) tokens_file: Option<PathBuf>,
    /// The log's name, if one was asked for.
    pub(crate) origin: Option<String>,
    /// Who may send; empty: anyone, which is allowed on loopback only.
    pub(crate) sources: Vec<SourceConfig>,
    /// Who may read events' bodies; empty: anyone, on loopback only.
    pub(crate) readers: Vec<PersonConfig>,
    /// Who may operate the service; empty: anyone, on loopback only.
    pub(crate) admins: Vec<PersonConfig>,
    /// Policy files; empty: the built-in ones.
    pub(crate) policies: Vec<PathBuf>,
    /// Whose signatures of policies count; empty: nobody needs to sign.
    pub(crate) policy_signers: Vec<PolicySigner>,
    /// Whether a policy that is not signed is refused.
    pub(crate) require_signed_policies: bool,
    /// RBAC snapshot.
    pub(crate) rbac_snapshot: Option<PathBuf>,
    /// Who cosigns checkpoints.
    pub(crate) witnesses: Option<WitnessConfig>,
    /// Largest request body, bytes.
    pub(crate) body_bytes_max: usize,
    /// Bytes of requests that may wait, bytes.
    pub(crate) inflight_bytes_max: usize,
    /// What a source may send that has no rate of its own, bytes a second; none: no
    /// limit.
    pub(crate) source_bytes_per_second: Option<u64>,
    /// Bounds of connections.
    pub(crate) limits: Limits,
    /// Which bodies expire.
    pub(crate) retention: Vec<RetentionConfig>,
}

/// A sender.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct SourceConfig {
    /// As it stands in the path and in the log.
    pub(crate) name: String,
    /// SHA-256 of its bearer token, hex.
    #[serde(default)]
    pub(crate) token_sha256: Option<Hash>,
    /// What it may send; none: `limits.sourceBytesPerSecond`.
    #[serde(default)]
    pub(crate) bytes_per_second: Option<u64>,
    /// Its client certificate.
    #[serde(default)]
    pub(crate) client_certificate: Option<CertificateName>,
    /// Which of the two it must show [default: all that is configured].
    #[serde(default)]
    pub(crate) require: Option<Demand>,
}

/// Someone who may read bodies, modules, settings and snapshots, or operate the service.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct PersonConfig {
    /// For people, and for lines of the tokens file.
    name: String,
    /// SHA-256 of the bearer token, hex.
    #[serde(default)]
    token_sha256: Option<Hash>,
    /// The client certificate.
    #[serde(default)]
    client_certificate: Option<CertificateName>,
    /// Which of the two must be shown [default: all that is configured].
    #[serde(default)]
    require: Option<Demand>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct TlsConfig {
    cert_file: Option<PathBuf>,
    key_file: Option<PathBuf>,
    client_ca_file: Option<PathBuf>,
}

/// When the bodies of a source are erased.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct RetentionConfig {
    /// Its name.
    pub(crate) source: String,
    /// Days after which a body is erased.
    pub(crate) body_days: u32,
}

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
struct WitnessesFile {
    #[serde(default)]
    policy_file: Option<PathBuf>,
    #[serde(default)]
    interval_seconds: Option<u64>,
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
    admin_listen: Option<SocketAddr>,
    #[serde(default)]
    tls: Option<TlsConfig>,
    #[serde(default)]
    tokens_file: Option<PathBuf>,
    #[serde(default)]
    origin: Option<String>,
    #[serde(default)]
    sources: Vec<SourceConfig>,
    #[serde(default)]
    readers: Vec<PersonConfig>,
    #[serde(default)]
    admins: Vec<PersonConfig>,
    #[serde(default)]
    policies: Vec<PathBuf>,
    #[serde(default)]
    policy_signers: Vec<String>,
    #[serde(default)]
    require_signed_policies: Option<bool>,
    #[serde(default)]
    rbac_snapshot: Option<PathBuf>,
    #[serde(default)]
    witnesses: WitnessesFile,
    #[serde(default)]
    retention: Vec<RetentionConfig>,
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
        let limits = file.limits.of_connections(&mut mistakes);
        let tls = TlsConfig::join(args, file.tls.as_ref(), base, &mut mistakes);
        let policy_file = args
            .witness_policy
            .clone()
            .or(file.witnesses.policy_file.map(|path| base.join(path)));
        let interval_s = file.witnesses.interval_seconds;
        let witnesses = policy_file
            .map(|path| WitnessConfig::read(&path, interval_s))
            .transpose();
        let witnesses = witnesses.unwrap_or_else(|mistake| {
            mistakes.push(mistake);
            None
        });
        let policy_signers = file
            .policy_signers
            .iter()
            .filter_map(|signer| match policy_signer(base, signer) {
                Ok(signer) => Some(signer),
                Err(mistake) => {
                    mistakes.push(mistake);
                    None
                }
            })
            .collect();
        let config = Self {
            data: args.data.clone(),
            listen: args
                .listen
                .or(file.listen)
                .unwrap_or(SocketAddr::from(([127, 0, 0, 1], 8443))),
            admin_listen: args.admin_listen.or(file.admin_listen),
            tls,
            tokens_file: args
                .tokens_file
                .clone()
                .or(file.tokens_file.map(|p| base.join(p))),
            origin: args.origin.clone().or(file.origin),
            sources: file.sources,
            readers: file.readers,
            admins: file.admins,
            policies: file.policies.iter().map(|path| base.join(path)).collect(),
            policy_signers,
            require_signed_policies: file
                .require_signed_policies
                .unwrap_or(!file.policy_signers.is_empty()),
            rbac_snapshot: args
                .rbac_snapshot
                .clone()
                .or(file.rbac_snapshot.map(|p| base.join(p))),
            witnesses,
            body_bytes_max: file.limits.body_bytes.unwrap_or(DEFAULT_BODY_BYTES_MAX),
            inflight_bytes_max: file
                .limits
                .inflight_bytes
                .unwrap_or(DEFAULT_INFLIGHT_BYTES_MAX),
            source_bytes_per_second: file.limits.source_bytes_per_second,
            limits,
            retention: file.retention,
        };
        config.check(args.insecure_listen, &mut mistakes);
        if mistakes.is_empty() {
            Ok(config)
        } else {
            Err(ConfigError(mistakes))
        }
    }

    /// What each source has to show.
    pub(crate) fn source_credentials(&self) -> impl Iterator<Item = Credentials> {
        self.sources.iter().map(|source| {
            Credentials::new(
                &source.name,
                source.token_sha256,
                source.client_certificate.as_ref(),
                source.require,
                self.tokens_file.is_some(),
            )
        })
    }

    /// What each reader has to show.
    pub(crate) fn reader_credentials(&self) -> impl Iterator<Item = Credentials> {
        self.people(&self.readers)
    }

    /// What each admin has to show.
    pub(crate) fn admin_credentials(&self) -> impl Iterator<Item = Credentials> {
        self.people(&self.admins)
    }

    fn people<'a>(&self, people: &'a [PersonConfig]) -> impl Iterator<Item = Credentials> + 'a {
        let has_tokens_file = self.tokens_file.is_some();
        people.iter().map(move |person| {
            Credentials::new(
                &person.name,
                person.token_sha256,
                person.client_certificate.as_ref(),
                person.require,
                has_tokens_file,
            )
        })
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
        let mut kept = BTreeSet::new();
        for rule in &self.retention {
            if let Err(error) = check_source_name(&rule.source) {
                mistakes.push(format!("retention: {:?}: {error}", rule.source));
            }
            if rule.body_days == 0 {
                mistakes.push("retention: bodyDays must be at least 1".into());
            }
            if !kept.insert(&rule.source) {
                mistakes.push(format!("retention: {:?} stands there twice", rule.source));
            }
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
        if self.require_signed_policies && self.policy_signers.is_empty() {
            mistakes
                .push("requireSignedPolicies: name in policySigners whose signatures count".into());
        }
        if self.require_signed_policies && self.policies.is_empty() {
            mistakes.push("requireSignedPolicies: name signed files in policies; those that are built in are not signed, copies of them can be".into());
        }
        self.check_credentials(mistakes);
        let listens = [
            ("listen", Some(self.listen)),
            ("adminListen", self.admin_listen),
        ];
        for (member, address) in listens {
            let Some(address) = address.filter(|address| !address.ip().is_loopback()) else {
                continue;
            };
            if self.tls.is_none() && !insecure_listen {
                mistakes.push(format!("{member}: {address} is not loopback and TLS is not configured; set tls (--tls-cert, --tls-key), or add --insecure-listen if the network is trusted"));
            }
        }
        let open = |credentials: Credentials| credentials.demand == Demand::Nothing;
        if !self.listen.ip().is_loopback()
            && (self.sources.is_empty() || self.source_credentials().any(open))
        {
            mistakes.push(format!("sources: on {}, which is not loopback, every source needs a tokenSha256 (printf %s TOKEN | sha256sum), a clientCertificate or a line in tokensFile", self.listen));
        }
    }

    fn check_credentials(&self, mistakes: &mut Vec<String>) {
        let has_tokens_file = self.tokens_file.is_some();
        let client_ca = self.tls.as_ref().and_then(|tls| tls.client_ca.as_ref());
        for (member, people) in [("readers", &self.readers), ("admins", &self.admins)] {
            if people.len() > PEOPLE_MAX {
                mistakes.push(format!(
                    "{member}: {} are over the limit of {PEOPLE_MAX}",
                    people.len()
                ));
            }
            for person in people {
                if !has_tokens_file
                    && person.token_sha256.is_none()
                    && person.client_certificate.is_none()
                {
                    mistakes.push(format!(
                        "{member}: {:?} needs a tokenSha256 or a clientCertificate",
                        person.name
                    ));
                }
            }
        }
        let of = |member| move |credentials| (member, credentials);
        let all = self
            .source_credentials()
            .map(of("sources"))
            .chain(self.reader_credentials().map(of("readers")))
            .chain(self.admin_credentials().map(of("admins")));
        for (member, credentials) in all {
            let mut mistake = |why: &str| {
                mistakes.push(format!("{member}: {:?}: {why}", credentials.name));
            };
            if let Err(why) = credentials.check(has_tokens_file) {
                mistake(why);
            }
            if let Some(certificate) = &credentials.certificate {
                if let Err(why) = certificate.check() {
                    mistake(&format!("clientCertificate: {why}"));
                }
                if client_ca.is_none() {
                    mistake("clientCertificate needs tls.clientCaFile, or none is asked for");
                }
            }
        }
    }
}

/// A key as it stands there, or in a file.
fn policy_signer(base: &Path, signer: &str) -> Result<PolicySigner, String> {
    if let Ok(signer) = PolicySigner::parse(signer) {
        return Ok(signer);
    }
    let path = base.join(signer);
    let text = crate::reload::read(&path).map_err(|error| {
        format!("policySigners: {signer:?} is neither a public key nor a file of one: {error}")
    })?;
    PolicySigner::parse(&String::from_utf8_lossy(&text))
        .map_err(|error| format!("policySigners: {}: {error}", path.display()))
}

impl TlsConfig {
    /// Command line and file, member by member.
    fn join(
        args: &Args,
        file: Option<&Self>,
        base: &Path,
        mistakes: &mut Vec<String>,
    ) -> Option<TlsFiles> {
        let join = |flag: &Option<PathBuf>, member: fn(&Self) -> &Option<PathBuf>| {
            let member = file.and_then(|file| member(file).as_ref());
            flag.clone().or_else(|| member.map(|path| base.join(path)))
        };
        let certificate = join(&args.tls_cert, |file| &file.cert_file);
        let key = join(&args.tls_key, |file| &file.key_file);
        let client_ca = join(&args.tls_client_ca, |file| &file.client_ca_file);
        match (certificate, key) {
            (Some(certificate), Some(key)) => Some(TlsFiles {
                certificate,
                key,
                client_ca,
            }),
            (None, None) if client_ca.is_none() && file.is_none() => None,
            _ => {
                mistakes.push(
                    "tls: certFile and keyFile (--tls-cert and --tls-key) are both needed".into(),
                );
                None
            }
        }
    }
}

impl LimitsConfig {
    fn of_connections(&self, mistakes: &mut Vec<String>) -> Limits {
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

impl WitnessConfig {
    fn read(path: &Path, interval_s: Option<u64>) -> Result<Self, String> {
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
mod tests;
