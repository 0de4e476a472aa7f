//! The verbs and their arguments.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Operate and audit tamper-evident logs of Kubernetes audit events.
#[derive(Debug, Parser)]
#[command(
    name = "auditchain",
    version,
    after_help = "Exit codes: 0 it holds, 1 verification failed or not everything was taken, 2 usage or I/O.\nEvery verb has examples: auditchain help VERB"
)]
pub struct Cli {
    /// What to do; none: say what can be done next.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// For people, or for programs.
    #[arg(long, value_enum, default_value_t, global = true)]
    pub output: OutputFormat,
}

/// How results are printed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// Text, coloured on a terminal.
    #[default]
    Text,
    /// One JSON value.
    Json,
}

/// A verb.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Verify a whole log: signatures, chain, tree, tiles, seals, bodies, policies
    #[command(after_help = "Examples:
  auditchain verify http://127.0.0.1:8443 --key \"$VKEY\"
  auditchain verify http://127.0.0.1:8443 --key @keys.txt --since last-checkpoint.txt
  auditchain verify /var/lib/auditchain --output json

A data directory is verified from a copy (in TMPDIR); the service must not run on it.
All its files are checked too, byte by byte: [file] names what is changed, missing or too
many, also where the log itself holds.
A body that is missing is a finding: nothing in the log says that one was erased.

Environment: AUDITCHAIN_TOKEN is sent to a URL as bearer token; off loopback, bodies are for readers with a token.")]
    Verify(VerifyArgs),
    /// Send recorded events: request bodies, or audit log files
    #[command(after_help = "Examples:
  auditchain ingest http://127.0.0.1:8443 bodies/*.json --source cluster-eu
  auditchain ingest http://127.0.0.1:8443 /var/log/kubernetes/audit.log.gz --source cluster-eu
  kubectl logs my-collector | auditchain ingest http://127.0.0.1:8443 -

What is in the log already is counted as duplicate: sending again is harmless.")]
    Ingest(IngestArgs),
    /// Measure a service under load in the shape of recorded events
    #[command(after_help = "Examples:
  auditchain bench http://127.0.0.1:8443 bodies/*.json.gz --events 200000 --baseline /var/tmp
  auditchain bench http://127.0.0.1:8443 bodies/*.json.gz --rate 12000 --connections 3

This writes to the log: use a log made for it. Each event gets its own audit ID and time.")]
    Bench(BenchArgs),
    /// Print one entry, and its body if asked for
    #[command(after_help = "Examples:
  auditchain get http://127.0.0.1:8443 42 --body
  auditchain get /var/lib/auditchain 42 --body --output json

This shows an entry; `auditchain prove` shows that it is in the log.

Environment: AUDITCHAIN_TOKEN is sent to a URL as bearer token; off loopback, bodies are for readers with a token.")]
    Get(GetArgs),
    /// Write a proof that an entry is in the log, to be verified offline
    #[command(after_help = "Examples:
  auditchain prove http://127.0.0.1:8443 --index 42 --key \"$VKEY\" -o 42.tlog-proof --entry-out 42.json
  auditchain verify-proof 42.tlog-proof --entry 42.json --key \"$VKEY\"

Environment: AUDITCHAIN_TOKEN is sent as bearer token, for a service that asks for one.")]
    Prove(ProveArgs),
    /// Verify a proof offline
    #[command(after_help = "Example:
  auditchain verify-proof 42.tlog-proof --entry 42.json --key \"$VKEY\"")]
    VerifyProof(VerifyProofArgs),
    /// Make anew what a damaged data directory derives from its log; never the log itself
    #[command(after_help = "Examples:
  auditchain repair /var/lib/auditchain --dry-run
  auditchain repair /var/lib/auditchain --key \"$VKEY\"

Verifies the directory first, as `auditchain verify DIR` does. What is made anew: tiles, from the
entries; the file checkpoint, from the signed head of the store; sled's own files, from what the
store holds. The duplicate index, bodies, values and entries are not: where one of them is damaged,
nothing is changed, and the way is to restore a backup or a mirror.
The service must not run meanwhile, and the disk needs room for the store twice more. The damaged
store is kept as store.damaged-TIME: remove it once nobody needs it as evidence.
A file checkpoint that was missing or unreadable can't tell any more whether the log was cut back:
compare with a checkpoint kept elsewhere (auditchain verify --since).")]
    Repair(RepairArgs),
    /// Give back the room of what was erased; its bytes are gone from the files then
    #[command(after_help = "Example:
  auditchain compact /var/lib/auditchain

sled never overwrites in place: an erased body stays in its files until they are compacted. After
this it is gone from them. On the raw disk its blocks may be read back until they are reused, unless
the disk is encrypted; backups and store.damaged-* directories keep what they had.
The service must not run meanwhile, and the disk needs room for the store once more.")]
    Compact(CompactArgs),
    /// Public keys of a log
    #[command(subcommand)]
    Key(KeyCommand),
}

/// About keys.
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Print a log's public keys as vkeys, to be given to auditors
    #[command(after_help = "Examples:
  auditchain key show http://127.0.0.1:8443
  auditchain key show /var/lib/auditchain --output json

Give the vkeys to auditors by a way that the log's operator doesn't control.")]
    Show(KeyShowArgs),
}

/// Arguments of `verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// URL of the service, or its data directory
    #[arg(value_name = "URL|DIR")]
    pub target: String,
    /// Trust this vkey, or those in @FILE; without it the log's own keys are taken
    #[arg(long = "key", value_name = "VKEY")]
    pub keys: Vec<String>,
    /// A checkpoint kept from before: the log must be a continuation of it
    #[arg(long, value_name = "CHECKPOINT_FILE")]
    pub since: Option<PathBuf>,
    /// Count bodies that are missing instead of finding them wrong
    #[arg(long)]
    pub bodies_may_be_missing: bool,
    /// Threads that examine entries [default: the cores of this machine]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub workers: Option<u16>,
}

/// Arguments of `repair`.
#[derive(Debug, Args)]
pub struct RepairArgs {
    /// The data directory
    pub dir: PathBuf,
    /// Say what would be done, and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Trust this vkey, or those in @FILE; without it the log's own keys are taken
    #[arg(long = "key", value_name = "VKEY")]
    pub keys: Vec<String>,
    /// Take bodies that are missing for erased ones
    #[arg(long)]
    pub bodies_may_be_missing: bool,
}

/// Arguments of `compact`.
#[derive(Debug, Args)]
pub struct CompactArgs {
    /// The data directory
    pub dir: PathBuf,
}

/// Arguments of `ingest`.
#[derive(Debug, Args)]
pub struct IngestArgs {
    /// URL of the service
    pub url: String,
    /// Files, gzipped or not; - is standard input
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<String>,
    /// Name of the source that the events are sent as
    #[arg(long, value_name = "NAME", default_value = "ingest")]
    pub source: String,
    /// The source's bearer token; better given in the environment than typed
    #[arg(long, env = "AUDITCHAIN_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// Events of an audit log file that are sent in one request
    #[arg(long, value_name = "N", default_value_t = 400, value_parser = clap::value_parser!(u32).range(1..=50_000))]
    pub batch: u32,
}

/// Arguments of `bench`.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// URL of the service
    pub url: String,
    /// Recorded request bodies or audit log files, gzipped or not
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<String>,
    /// Events to send, at least
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    pub events: u64,
    /// Connections that send at the same time
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub connections: u16,
    /// Events a second over all connections [default: as fast as answers come]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub rate: Option<u32>,
    /// Measure a plain file in DIR beside it, with one fdatasync a request
    #[arg(long, value_name = "DIR")]
    pub baseline: Option<PathBuf>,
    /// Name of the source that the events are sent as
    #[arg(long, value_name = "NAME", default_value = "bench")]
    pub source: String,
    /// The source's bearer token; better given in the environment than typed
    #[arg(long, env = "AUDITCHAIN_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
}

/// Arguments of `get`.
#[derive(Debug, Args)]
pub struct GetArgs {
    /// URL of the service, or its data directory
    #[arg(value_name = "URL|DIR")]
    pub target: String,
    /// Index of the entry, from 0
    pub index: u64,
    /// Print the body too
    #[arg(long)]
    pub body: bool,
}

/// Arguments of `prove`.
#[derive(Debug, Args)]
pub struct ProveArgs {
    /// URL of the service
    pub url: String,
    /// Index of the entry, from 0
    #[arg(long)]
    pub index: u64,
    /// Where to write the proof [default: INDEX.tlog-proof]
    #[arg(short = 'o', long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Where to write the entry's exact bytes
    #[arg(long, value_name = "FILE")]
    pub entry_out: Option<PathBuf>,
    /// Trust this vkey, or those in @FILE; without it the server's own keys are taken
    #[arg(long = "key", value_name = "VKEY")]
    pub keys: Vec<String>,
}

/// Arguments of `verify-proof`.
#[derive(Debug, Args)]
pub struct VerifyProofArgs {
    /// The proof
    #[arg(value_name = "PROOF")]
    pub proof: PathBuf,
    /// The entry's exact bytes
    #[arg(long, value_name = "FILE")]
    pub entry: PathBuf,
    /// Trust this vkey, or those in @FILE
    #[arg(long = "key", value_name = "VKEY", required = true)]
    pub keys: Vec<String>,
}

/// Arguments of `key show`.
#[derive(Debug, Args)]
pub struct KeyShowArgs {
    /// URL of the service, or its data directory
    #[arg(value_name = "URL|DIR")]
    pub target: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent_and_has_examples() {
        let mut command = Cli::command();
        command.clone().debug_assert();
        command.build();
        let mut leaves: Vec<&clap::Command> = command
            .get_subcommands()
            .filter(|c| c.get_name() != "help")
            .collect();
        let key = leaves.iter().position(|c| c.get_name() == "key").unwrap();
        let key = leaves.remove(key);
        leaves.extend(key.get_subcommands().filter(|c| c.get_name() != "help"));
        for verb in leaves {
            let help = verb
                .get_after_help()
                .map(ToString::to_string)
                .unwrap_or_default();
            assert!(
                help.contains("Example") && help.contains("auditchain "),
                "{}",
                verb.get_name()
            );
        }
    }

    #[test]
    fn the_token_is_never_shown() {
        let help = Cli::command()
            .find_subcommand_mut("ingest")
            .unwrap()
            .render_long_help()
            .to_string();
        assert!(
            help.contains("AUDITCHAIN_TOKEN") && !help.contains("AUDITCHAIN_TOKEN="),
            "{help}"
        );
    }
}
