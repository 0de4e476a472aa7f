//! `auditchain compact DIR`

use auditchain_store::compact;
use serde_json::json;

use super::{print, print_json};
use crate::args::{CompactArgs, OutputFormat};
use crate::error::{CliError, EXIT_HOLDS};
use crate::source::from_store;

pub(super) fn run(args: &CompactArgs, output: OutputFormat) -> Result<u8, CliError> {
    let done = compact(&args.dir).map_err(|error| from_store(error, 0))?;
    let (before, after) = (done.bytes_before, done.bytes_after);
    match output {
        OutputFormat::Json => print_json(&json!({ "bytesBefore": before, "bytesAfter": after }))?,
        OutputFormat::Text => print(&format!(
            "compacted: the store had {before} bytes on disk, it has {after} now\n"
        ))?,
    }
    Ok(EXIT_HOLDS)
}
