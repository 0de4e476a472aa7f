//! auditchain: parses, runs one verb, and says on exit how it went.

use std::process::ExitCode;

use auditchain_cli::{Cli, run};
use clap::Parser as _;

fn main() -> ExitCode {
    run(&Cli::parse())
}
