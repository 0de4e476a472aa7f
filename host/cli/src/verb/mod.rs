//! The verbs, a file each, and how they end.

mod bench;
mod compact;
mod erase;
mod get;
mod ingest;
mod key;
mod policy;
mod prove;
mod repair;
mod verify;
mod verify_proof;
mod witness;

use std::io::{self, Write as _};
use std::process::ExitCode;

use serde_json::json;

use crate::args::{Cli, Command, KeyCommand, OutputFormat};
use crate::error::{CliError, EXIT_HOLDS, EXIT_USAGE};

const NEXT_STEPS: &str = "\
auditchain operates and audits tamper-evident logs of Kubernetes audit events.

Next:
  auditchaind --data ./data                                   start a log on this machine
  auditchain ingest http://127.0.0.1:8443 FILE...             feed it recorded events
  auditchain key show http://127.0.0.1:8443                   print its public keys
  auditchain verify http://127.0.0.1:8443 --key VKEY          verify all of it
  auditchain prove http://127.0.0.1:8443 --index N --key VKEY prove one entry, offline

auditchain --help lists all verbs, auditchain help VERB shows examples.
";

/// Runs a command line to its end and says how it went.
#[must_use]
pub fn run(cli: &Cli) -> ExitCode {
    let result = match &cli.command {
        None => print(NEXT_STEPS).map(|()| EXIT_HOLDS),
        Some(Command::Verify(args)) => verify::run(args, cli.output),
        Some(Command::Ingest(args)) => ingest::run(args, cli.output),
        Some(Command::Bench(args)) => bench::run(args, cli.output),
        Some(Command::Get(args)) => get::run(args, cli.output),
        Some(Command::Prove(args)) => prove::run(args, cli.output),
        Some(Command::VerifyProof(args)) => verify_proof::run(args, cli.output),
        Some(Command::Erase(args)) => erase::run(args, cli.output),
        Some(Command::Repair(args)) => repair::run(args, cli.output),
        Some(Command::Compact(args)) => compact::run(args, cli.output),
        Some(Command::Key(KeyCommand::Show(args))) => key::show(args, cli.output),
        Some(Command::Key(KeyCommand::New(args))) => key::new(args, cli.output),
        Some(Command::Key(KeyCommand::Rotate(args))) => key::rotate(args, cli.output),
        Some(Command::Policy(command)) => policy::run(command, cli.output),
        Some(Command::Witness(args)) => witness::run(args),
    };
    ExitCode::from(result.unwrap_or_else(|error| tell(&error, cli.output)))
}

/// Tells of an error: to people on standard error, to programs on standard output too.
fn tell(error: &CliError, output: OutputFormat) -> u8 {
    // `auditchain ... | head` has closed the pipe: nobody is left to be told.
    if matches!(error, CliError::Io(error) if error.kind() == io::ErrorKind::BrokenPipe) {
        return EXIT_USAGE;
    }
    let code = error.exit_code();
    if output == OutputFormat::Json {
        // Whoever reads neither of the two sees the exit code.
        let _ = print_json(&json!({ "error": error.to_string(), "exitCode": code }));
    }
    let text = error.to_string();
    let _ = writeln!(
        io::stderr(),
        "auditchain: {}",
        crate::output::printable(&text)
    );
    code
}

fn print(text: &str) -> Result<(), CliError> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

fn print_json(value: &impl serde::Serialize) -> Result<(), CliError> {
    let mut text = serde_json::to_string_pretty(value).map_err(io::Error::from)?;
    text.push('\n');
    print(&text)
}
