//! `auditchain`: the command line for operators and auditors, as a library that its
//! tests and benches reach too.
//!
//! Reading order: [`Cli`] (the verbs), [`LogSource`] (a log to read, by URL or from a
//! data directory), [`audit`] (the one verifier over both), [`Report`] (what it says),
//! `witness` (who cosigns other logs), `forward` (a node's side), then a file a verb in `verb/`.
//!
//! Nothing here trusts what it reads: a server or a directory may be hostile, so every
//! answer is bounded by a limit of [`limits`] and every byte that matters is checked
//! against the signed checkpoint.
//!
//! Out of scope: writing a log.

mod args;
mod audit;
mod bench;
mod bundle;
mod connect;
mod error;
mod forward;
mod http;
mod ingest;
pub mod limits;
mod output;
mod policy_args;
mod pretty;
mod private_file;
mod ranges;
mod rotate;
mod source;
mod tlog_proof;
mod trust;
mod verb;
mod witness;

pub use args::{Cli, Command, OutputFormat};
pub use audit::{
    AuditOptions, CheckpointReport, FilesSummary, Finding, Findings, KeysReport, PolicyCount,
    ReexecutionReport, Report, Rule, SourceCount, audit,
};
pub use bundle::BundleLog;
pub use connect::ConnectArgs;
pub use error::CliError;
pub use forward::Packing;
pub use http::{Answer, Client, HttpError};
pub use ingest::{Input, Request, Requests};
pub use policy_args::PolicyCommand;
pub use source::{
    BodyRef, Damage, DirLog, HeadClaim, HttpLog, LogSource, Run, SourceError, open_source,
};
pub use tlog_proof::{TlogProof, TlogProofError};
pub use verb::run;
