//! `auditchain forward --file FILE --source NAME --to URL --key KEY --state DIR`

use super::{print, print_json};
use crate::args::{ForwardArgs, OutputFormat};
use crate::error::{CliError, EXIT_HOLDS};
use crate::forward;

pub(super) fn run(args: &ForwardArgs, output: OutputFormat) -> Result<u8, CliError> {
    if !args.status {
        return forward::run(args, output);
    }
    let report = forward::status(&args.state, args.file.as_deref())?;
    match output {
        OutputFormat::Json => print_json(&report)?,
        OutputFormat::Text => print(&report.text())?,
    }
    Ok(EXIT_HOLDS)
}
