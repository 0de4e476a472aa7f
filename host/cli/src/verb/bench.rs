//! `auditchain bench URL FILE...`

use std::fs::File;
use std::path::Path;

use auditchain_log::check_source_name;
use serde::Serialize;

use super::{print, print_json};
use crate::args::{BenchArgs, OutputFormat};
use crate::bench::{Baseline, Load, Measured, Template, baseline, dump, load};
use crate::error::{CliError, EXIT_FAILED, EXIT_HOLDS};
use crate::ingest::{Input, Request, Requests};

/// Events of a file that holds single ones which are sent in a request.
const BATCH_EVENTS: u32 = 400;

#[derive(Serialize)]
struct Outcome {
    service: Measured,
    baseline: Option<Baseline>,
}

#[derive(Serialize)]
struct Dumped {
    events: u64,
}

pub(super) fn run(args: &BenchArgs, output: OutputFormat) -> Result<u8, CliError> {
    check_source_name(&args.source)
        .map_err(|error| CliError::Usage(format!("--source {:?}: {error}", args.source)))?;
    let mut templates = Vec::new();
    for file in &args.files {
        read_templates(Path::new(file), &mut templates)?;
    }
    if templates.is_empty() {
        return Err(CliError::Usage(
            "no file holds an EventList with events".into(),
        ));
    }
    if let Some(path) = &args.dump {
        let events = dump(&templates, args.events, path)?;
        match output {
            OutputFormat::Json => print_json(&Dumped { events })?,
            OutputFormat::Text => print(&format!("{events} events\n"))?,
        }
        return Ok(EXIT_HOLDS);
    }
    // Side by side: the baseline in the same run, on the disk that was named.
    let baseline = args
        .baseline
        .as_deref()
        .map(|dir| baseline(&templates, args.events, dir));
    let baseline = baseline.transpose()?;
    let service = load(&Load {
        url: &args.url,
        connect: &args.connect,
        source: &args.source,
        token: args.token.as_deref(),
        templates: &templates,
        events: args.events,
        connections: args.connections,
        rate: args.rate,
    })?;
    let all_taken = service.refused == 0;
    let outcome = Outcome { service, baseline };
    match output {
        OutputFormat::Json => print_json(&outcome)?,
        OutputFormat::Text => print(&text(&outcome))?,
    }
    Ok(if all_taken { EXIT_HOLDS } else { EXIT_FAILED })
}

fn read_templates(path: &Path, templates: &mut Vec<Template>) -> Result<(), CliError> {
    let input = File::open(path)
        .and_then(Input::new)
        .map_err(CliError::reading(path))?;
    let mut requests = Requests::new(input, BATCH_EVENTS);
    while let Some(request) = requests.read_next().map_err(CliError::reading(path))? {
        if let Request::Body { bytes, .. } = request {
            templates.extend(Template::new(bytes));
        }
    }
    Ok(())
}

fn text(outcome: &Outcome) -> String {
    let service = &outcome.service;
    let mut text = format!(
        "{:.0} events/s: {} events, {:.1} MB in {:.2} s\nack: p50 {:.1} ms, p99 {:.1} ms, max {:.1} ms\n",
        service.events_per_second,
        service.events,
        service.bytes as f64 / 1e6,
        service.seconds,
        service.ack_ms_p50,
        service.ack_ms_p99,
        service.ack_ms_max,
    );
    if service.refused > 0 {
        text += &format!("{} requests were refused\n", service.refused);
    }
    if let Some(baseline) = &outcome.baseline {
        text += &format!(
            "baseline (split, hash twice, append, fdatasync): {:.0} events/s; ratio {:.2}\n",
            baseline.events_per_second,
            service.events_per_second / baseline.events_per_second,
        );
    }
    text
}
