//! The verbs and their arguments.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::connect::ConnectArgs;
use crate::policy_args::PolicyCommand;

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
  auditchain verify https://audit.example:8443 --ca ca.crt --token-file token --key \"$VKEY\"
  auditchain verify http://127.0.0.1:8443 --key @keys.txt --since last-checkpoint.txt
  auditchain verify /var/lib/auditchain --output json
  auditchain verify /var/lib/auditchain --key @keys.txt --re-execute

A data directory is verified from a copy (in TMPDIR); the service must not run on it.
All its files are checked too, byte by byte: [file] names what is changed, missing or too
many, also where the log itself holds.
A body that is missing is a finding: nothing in the log says that one was erased.
--re-execute runs the log's own WebAssembly modules in the same sandbox as the service, each with the
context that the log gives: [verdict] names an entry whose verdict comes out otherwise. Events whose
bodies are erased can't be judged again; they are counted.

Off loopback, bodies are for readers with a token (AUDITCHAIN_TOKEN or --token-file) or a client certificate.")]
    Verify(VerifyArgs),
    /// Send recorded events: request bodies, or audit log files
    #[command(after_help = "Examples:
  auditchain ingest http://127.0.0.1:8443 bodies/*.json --source cluster-eu
  auditchain ingest https://audit.example:8443 --ca ca.crt --token-file token audit.log --source cluster-eu
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

Off loopback, bodies are for readers with a token (AUDITCHAIN_TOKEN or --token-file) or a client certificate.")]
    Get(GetArgs),
    /// Write a proof that an entry is in the log, to be verified offline
    #[command(after_help = "Examples:
  auditchain prove http://127.0.0.1:8443 --index 42 --key \"$VKEY\" -o 42.tlog-proof --entry-out 42.json
  auditchain verify-proof 42.tlog-proof --entry 42.json --key \"$VKEY\"")]
    Prove(ProveArgs),
    /// Verify a proof offline
    #[command(after_help = "Example:
  auditchain verify-proof 42.tlog-proof --entry 42.json --key \"$VKEY\"")]
    VerifyProof(VerifyProofArgs),
    /// Erase events' bodies; their entries and all proofs stay
    #[command(after_help = "Examples:
  auditchain erase https://audit.example.com --entries 4711 --by dpo@example.com --reason \"request 2026-17\"
  auditchain erase http://127.0.0.1:8443 --entries 100-250,300 --by dpo --reason retention

That it was done, by whom, why and which entries becomes an entry of the log. Needs an admin's token.
The bytes leave the disk with the next compaction: auditchain compact DIR, the service stopped.

Environment: AUDITCHAIN_TOKEN is sent as bearer token.")]
    Erase(EraseArgs),
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
    /// Keys: show a log's, make a witness's, rotate a log's
    #[command(subcommand)]
    Key(KeyCommand),
    /// Policies: write, build, check, test and sign them, show a log's
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Run a witness: cosign the checkpoints of logs that only ever grow
    #[command(after_help = "Examples:
  auditchain key new --witness witness.example/w1 -o /var/lib/witness/witness.key
  auditchain witness --listen 127.0.0.1:7380 --state /var/lib/witness --log \"$VKEY\"

It prints its vkey: the log's operator and the auditors put it into their witness policy.
The directory is the witness's memory: never put back an older copy of it.")]
    Witness(WitnessArgs),
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
    /// Make a witness's key
    #[command(after_help = "Example:
  auditchain key new --witness witness.example/w1 -o witness.key")]
    New(KeyNewArgs),
    /// Make the next keys of a log, which auditchaind takes over at its next start
    #[command(after_help = "Example:
  auditchain key rotate /var/lib/auditchain

Give the new vkeys to auditors, and to witnesses before the restart. The log itself says
when the keys changed, signed by the old ones: whoever trusts them can verify on.")]
    Rotate(KeyRotateArgs),
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
    /// Ask for the quorum of cosignatures of this policy (c2sp.org/tlog-policy)
    #[arg(long, value_name = "FILE")]
    pub witness_policy: Option<PathBuf>,
    /// Count bodies that are missing instead of finding them wrong
    #[arg(long)]
    pub bodies_may_be_missing: bool,
    /// Make every verdict again, by the modules, settings and snapshots that the log names
    #[arg(long)]
    pub re_execute: bool,
    /// Threads that examine entries [default: the cores of this machine]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub workers: Option<u16>,
    /// How to reach the service
    #[command(flatten)]
    pub connect: ConnectArgs,
}

/// Arguments of `erase`.
#[derive(Debug, Args)]
pub struct EraseArgs {
    /// URL of the service
    pub url: String,
    /// Entries whose bodies go: indexes and ranges, 7,10-20
    #[arg(long, value_name = "LIST")]
    pub entries: String,
    /// Who has it done; becomes part of the log
    #[arg(long, value_name = "WHO")]
    pub by: String,
    /// Why; becomes part of the log
    #[arg(long, value_name = "WHY")]
    pub reason: String,
    /// How to reach the service
    #[command(flatten)]
    pub connect: ConnectArgs,
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
    /// How to reach the service
    #[command(flatten)]
    pub connect: ConnectArgs,
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
    /// Write the request bodies to OUT, one a line, and send none; URL isn't asked
    #[arg(long, value_name = "OUT", conflicts_with_all = ["rate", "baseline"])]
    pub dump: Option<PathBuf>,
    /// Name of the source that the events are sent as
    #[arg(long, value_name = "NAME", default_value = "bench")]
    pub source: String,
    /// The source's bearer token; better given in the environment than typed
    #[arg(long, env = "AUDITCHAIN_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// How to reach the service
    #[command(flatten)]
    pub connect: ConnectArgs,
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
    /// How to reach the service
    #[command(flatten)]
    pub connect: ConnectArgs,
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
    /// How to reach the service
    #[command(flatten)]
    pub connect: ConnectArgs,
    /// Ask for the quorum of cosignatures of this policy (c2sp.org/tlog-policy)
    #[arg(long, value_name = "FILE")]
    pub witness_policy: Option<PathBuf>,
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
    #[arg(
        long = "key",
        value_name = "VKEY",
        required_unless_present = "witness_policy"
    )]
    pub keys: Vec<String>,
    /// Ask for the quorum of cosignatures of this policy; without --key its logs are trusted
    #[arg(long, value_name = "FILE")]
    pub witness_policy: Option<PathBuf>,
}

/// Arguments of `witness`.
#[derive(Debug, Args)]
pub struct WitnessArgs {
    /// Address to serve on; port 0 takes a free one
    #[arg(long, value_name = "ADDR")]
    pub listen: SocketAddr,
    /// Directory of what was cosigned
    #[arg(long, value_name = "DIR")]
    pub state: PathBuf,
    /// A log's vkey, or those in @FILE: whose checkpoints are cosigned
    #[arg(long = "log", value_name = "VKEY", required = true)]
    pub logs: Vec<String>,
    /// The witness's key [default: witness.key in the directory]
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
}

/// Arguments of `key new`.
#[derive(Debug, Args)]
pub struct KeyNewArgs {
    /// The witness's name, a schema-less URL by convention
    #[arg(long, value_name = "NAME")]
    pub witness: String,
    /// Where to write the private key
    #[arg(short = 'o', long, value_name = "FILE")]
    pub out: PathBuf,
}

/// Arguments of `key rotate`.
#[derive(Debug, Args)]
pub struct KeyRotateArgs {
    /// Data directory of auditchaind, which may be running
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
}

/// Arguments of `key show`.
#[derive(Debug, Args)]
pub struct KeyShowArgs {
    /// URL of the service, or its data directory
    #[arg(value_name = "URL|DIR")]
    pub target: String,
    /// How to reach the service
    #[command(flatten)]
    pub connect: ConnectArgs,
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
        for group in ["key", "policy"] {
            let at = leaves.iter().position(|c| c.get_name() == group).unwrap();
            let group = leaves.remove(at);
            leaves.extend(group.get_subcommands().filter(|c| c.get_name() != "help"));
        }
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
