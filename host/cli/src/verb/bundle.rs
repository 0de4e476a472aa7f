//! `auditchain bundle URL|DIR -o FILE`

use std::fs::{self, File};
use std::io::{BufWriter, Write as _};

use serde_json::json;

use super::{print, print_json};
use crate::args::{BundleArgs, OutputFormat};
use crate::bundle::{Summary, write};
use crate::error::{CliError, EXIT_HOLDS};
use crate::output::Progress;
use crate::source::open_source;

pub(super) fn run(args: &BundleArgs, output: OutputFormat) -> Result<u8, CliError> {
    let source = open_source(&args.target, &args.connect)?;
    let bodies = if args.without_bodies {
        None
    } else {
        let (first, last) = (args.bodies_from.unwrap_or(0), args.bodies_to);
        let last = last.unwrap_or(u64::MAX);
        if first > last {
            return Err(CliError::Usage(format!(
                "--bodies-from {first} is after --bodies-to {last}"
            )));
        }
        // Numbers in JSON are exact to 2^53.
        Some([first, last.min(1 << 53)])
    };
    // Whole, or not there: a name is given to what is complete.
    let mut part = args.out.clone().into_os_string();
    part.push(".part");
    let file = File::create(&part).map_err(CliError::reading(args.out.as_path()))?;
    let mut out = BufWriter::new(file);
    let mut progress = Progress::new("bundled");
    let written = write(&*source, bodies, &mut out, |done, of| {
        progress.tell(done, Some(of));
    })
    .and_then(|summary| {
        out.flush()?;
        out.get_ref().sync_all()?;
        fs::rename(&part, &args.out)?;
        Ok(summary)
    });
    drop(progress);
    let summary = written.inspect_err(|_| {
        // The error says why; what is left of the file is of no use.
        let _ = fs::remove_file(&part);
    })?;
    tell(args, &summary, output)?;
    Ok(EXIT_HOLDS)
}

fn tell(args: &BundleArgs, summary: &Summary, output: OutputFormat) -> Result<(), CliError> {
    let file = args.out.display().to_string();
    match output {
        OutputFormat::Json => print_json(&json!({ "file": file, "written": summary })),
        OutputFormat::Text => print(&format!(
            "{file}: {} entries, {} bodies, {} modules, settings and snapshots\n\
             Nothing was verified; whoever gets it does: auditchain verify {file} --key VKEY\n",
            summary.entries, summary.bodies, summary.values
        )),
    }
}
