//! auditchain, for the tests: cargo tells a package's tests only of its own programs.

use clap::Parser as _;

fn main() -> std::process::ExitCode {
    auditchain_cli::run(&auditchain_cli::Cli::parse())
}
