//! `auditchain policy new|build|check|test|show|sign`

mod build;
mod check;
mod new;
mod read;
mod replay;
mod show;
mod sign;
mod test;

use auditchain_log::{LimitsRecord, Mode};

use crate::args::OutputFormat;
use crate::error::CliError;
use crate::policy_args::PolicyCommand;

pub(super) fn run(command: &PolicyCommand, output: OutputFormat) -> Result<u8, CliError> {
    match command {
        PolicyCommand::New(args) => new::run(args, output),
        PolicyCommand::Build(args) => build::run(args, output),
        PolicyCommand::Check(args) => check::run(args, output),
        PolicyCommand::Test(args) => test::run(args, output),
        PolicyCommand::Sign(args) => sign::run(args, output),
        PolicyCommand::Show(args) => show::run(args, output),
    }
}

/// As policies write it.
fn mode(mode: Mode) -> &'static str {
    match mode {
        Mode::Enforce => "enforce",
        Mode::Observe => "observe",
    }
}

/// As policies write them.
fn limits(limits: &LimitsRecord) -> String {
    format!(
        "memoryBytes {}, fuelBase {}, fuelPerEvent {}, outputBytes {}, sliceEvents {}",
        limits.memory_bytes,
        limits.fuel_base,
        limits.fuel_per_event,
        limits.output_bytes,
        limits.slice_events
    )
}
