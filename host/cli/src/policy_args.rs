//! Arguments of `policy`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::connect::ConnectArgs;

/// About policies.
#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// Write a crate to start a policy from
    #[command(after_help = "Examples:
  auditchain policy new exec-at-night
  auditchain policy new ./policies/exec --name exec-at-night

It has one rule with its tests, and a copy of the SDK: it builds wherever it lies. Its README.md and
docs/plugins.md say what comes next.")]
    New(PolicyNewArgs),
    /// Build a policy's crate to a module
    #[command(after_help = "Example:
  auditchain policy build exec-at-night

Writes NAME.wasm beside the Cargo.toml. Needs Rust with the target wasm32-unknown-unknown; the same
source, lock file and compiler give the same bytes. CARGO_NET_OFFLINE=true keeps cargo off the network.")]
    Build(PolicyBuildArgs),
    /// Say what a policy or module is, and what a service would refuse
    #[command(after_help = "Examples:
  auditchain policy check exec-at-night/policy.yaml
  auditchain policy check exec-at-night/exec-at-night.wasm --output json

Exit code 1 with the service's own words where it would refuse it.")]
    Check(PolicyCheckArgs),
    /// Run a policy over recorded events: verdicts and cost
    #[command(after_help = "Examples:
  auditchain policy test policy.yaml --events /var/log/kubernetes/audit.log
  auditchain policy test policies/rbac.yaml --events audit.log.gz --rbac-snapshot rbac.json
  auditchain policy test policy.yaml --events tests/*.json --expect tests/expected.yaml

The policy is loaded and the events are judged as the service does it, a block for each request body,
or for --batch lines of a log file. The clock stands at the newest event so far, so that old recordings
are not late. --expect FILE has a line RULE: COUNT for each rule; anything else is exit code 1, and so is
a module that fails without it.")]
    Test(PolicyTestArgs),
    /// Sign a policy and its module
    #[command(after_help = "Example:
  openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out signer.pem
  auditchain policy sign policy.yaml --key signer.pem

Writes FILE.sig beside it. A service with policySigners takes no policy without one.")]
    Sign(PolicySignArgs),
    /// Show the policies in force of a log, since when, and those before
    #[command(after_help = "Examples:
  auditchain policy show https://audit.example:8443 --ca ca.crt --token-file token
  auditchain policy show /var/lib/auditchain --output json

It reads the whole log, and nothing is verified here: auditchain verify does that. Settings are for
readers; others see their digests.")]
    Show(PolicyShowArgs),
}

/// Arguments of `policy new`.
#[derive(Debug, Args)]
pub struct PolicyNewArgs {
    /// Directory to make
    pub dir: PathBuf,
    /// Name of policy and crate [default: the directory's]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
}

/// Arguments of `policy build`.
#[derive(Debug, Args)]
pub struct PolicyBuildArgs {
    /// Directory of the crate
    #[arg(default_value = ".")]
    pub dir: PathBuf,
}

/// Arguments of `policy check`.
#[derive(Debug, Args)]
pub struct PolicyCheckArgs {
    /// The policy (YAML), or a module (wasm)
    #[arg(value_name = "FILE|MODULE")]
    pub file: PathBuf,
}

/// Arguments of `policy test`.
#[derive(Debug, Args)]
pub struct PolicyTestArgs {
    /// The policy (YAML), or a module (wasm)
    #[arg(value_name = "FILE|MODULE")]
    pub file: PathBuf,
    /// Recorded request bodies or audit log files, gzipped or not
    #[arg(long, value_name = "FILE", required = true, num_args = 1..)]
    pub events: Vec<PathBuf>,
    /// RBAC snapshot, for policies that want one
    #[arg(long, value_name = "FILE")]
    pub rbac_snapshot: Option<PathBuf>,
    /// How many findings of each rule there must be (YAML or JSON)
    #[arg(long, value_name = "FILE")]
    pub expect: Option<PathBuf>,
    /// Name of the source that the events come from
    #[arg(long, value_name = "NAME", default_value = "test")]
    pub source: String,
    /// Events of an audit log file that make a block
    #[arg(long, value_name = "N", default_value_t = 400, value_parser = clap::value_parser!(u32).range(1..=50_000))]
    pub batch: u32,
}

/// Arguments of `policy sign`.
#[derive(Debug, Args)]
pub struct PolicySignArgs {
    /// The policy (YAML); its module is signed with it
    pub file: PathBuf,
    /// Private key: P-256, PKCS #8 PEM
    #[arg(long, value_name = "KEY")]
    pub key: PathBuf,
}

/// Arguments of `policy show`.
#[derive(Debug, Args)]
pub struct PolicyShowArgs {
    /// URL of the service, or its data directory
    #[arg(value_name = "URL|DIR")]
    pub target: String,
    /// How to reach the service
    #[command(flatten)]
    pub connect: ConnectArgs,
}
