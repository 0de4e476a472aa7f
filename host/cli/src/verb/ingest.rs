//! `auditchain ingest URL FILE...`

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use auditchain_log::check_source_name;
use serde::{Deserialize, Serialize};

use super::{print, print_json};
use crate::args::{IngestArgs, OutputFormat};
use crate::error::{CliError, EXIT_FAILED, EXIT_HOLDS};
use crate::http::{Answer, Client};
use crate::ingest::{Input, Request, Requests};
use crate::limits::{JSON_ANSWER_BYTES_MAX, RETRY_WAIT_S_MAX, SEND_ATTEMPTS_MAX};
use crate::output::{Progress, printable};

/// Too many requests, unavailable: both say when to try again.
const TRY_AGAIN: [u16; 2] = [429, 503];

/// What the service says that it did.
#[derive(Deserialize)]
struct Ack {
    accepted: u64,
    rejected: u64,
    duplicates: u64,
    size: u64,
}

/// What became of all that was read.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Totals {
    /// Requests that were taken.
    requests: u64,
    /// Events sealed with a valid verdict.
    accepted: u64,
    /// Events sealed with an invalid one.
    rejected: u64,
    /// Events that were in the log already.
    duplicates: u64,
    /// Requests that the service refused.
    refused: u64,
    /// Lines that were not sent.
    skipped: u64,
    /// Entries in the log after the last of them.
    size: Option<u64>,
}

pub(super) fn run(args: &IngestArgs, output: OutputFormat) -> Result<u8, CliError> {
    check_source_name(&args.source)
        .map_err(|error| CliError::Usage(format!("--source {:?}: {error}", args.source)))?;
    let client = Client::connect(&args.url, &args.connect)?;
    let mut totals = Totals::default();
    let mut progress = Progress::new("sent events");
    for file in &args.files {
        send_file(file, args, &client, &mut totals, &mut progress)?;
    }
    drop(progress);
    match output {
        OutputFormat::Json => print_json(&totals)?,
        OutputFormat::Text => print(&text(&totals))?,
    }
    Ok(if totals.refused + totals.skipped == 0 {
        EXIT_HOLDS
    } else {
        EXIT_FAILED
    })
}

fn send_file(
    file: &str,
    args: &IngestArgs,
    client: &Client,
    totals: &mut Totals,
    progress: &mut Progress,
) -> Result<(), CliError> {
    let path = Path::new(file);
    let input = match file {
        "-" => Input::new(io::stdin()),
        _ => File::open(path).and_then(Input::new),
    };
    let mut requests = Requests::new(input.map_err(CliError::reading(path))?, args.batch);
    while let Some(request) = requests.read_next().map_err(CliError::reading(path))? {
        match request {
            Request::Skipped { line, reason } => {
                totals.skipped += 1;
                warn(&format!("{file}: line {line} was not sent: {reason}"));
            }
            Request::Body {
                bytes,
                lines: (first, last),
            } => {
                let answer = send(client, &args.source, args.token.as_deref(), &bytes)?;
                match read_ack(&answer) {
                    Ok(ack) => totals.add(&ack),
                    Err(problem) => {
                        totals.refused += 1;
                        warn(&format!(
                            "{file}: lines {first} to {last} were refused: {problem}"
                        ));
                    }
                }
                progress.tell(totals.accepted + totals.rejected + totals.duplicates, None);
            }
        }
    }
    Ok(())
}

/// Sends a body until the service takes or refuses it.
///
/// 429 and 503 are asked again after as long as it says, or after 1, 2, 4, ... seconds; a
/// single sender needs no jitter. No connection is an error at once: what was sent so
/// far is in the log, and sending all again adds nothing twice.
fn send(
    client: &Client,
    source: &str,
    token: Option<&str>,
    body: &[u8],
) -> Result<Answer, CliError> {
    let path = format!("/audit/{source}");
    let mut attempt = 1;
    loop {
        let answer = client.post(&path, body, token, JSON_ANSWER_BYTES_MAX)?;
        if !TRY_AGAIN.contains(&answer.status) || attempt == SEND_ATTEMPTS_MAX {
            return Ok(answer);
        }
        let wait_s = answer
            .retry_after_s
            .unwrap_or(0)
            .max(1 << (attempt - 1))
            .min(RETRY_WAIT_S_MAX);
        sleep(Duration::from_secs(wait_s));
        attempt += 1;
    }
}

fn read_ack(answer: &Answer) -> Result<Ack, String> {
    match answer.status {
        200 => serde_json::from_slice(&answer.body)
            .map_err(|_| "200 without an acknowledgement; is this auditchaind?".into()),
        _ => Err(answer.problem()),
    }
}

fn warn(text: &str) {
    // Whoever closed standard error does not want to know.
    let _ = writeln!(io::stderr(), "auditchain: {}", printable(text));
}

impl Totals {
    fn add(&mut self, ack: &Ack) {
        self.requests += 1;
        self.accepted += ack.accepted;
        self.rejected += ack.rejected;
        self.duplicates += ack.duplicates;
        self.size = Some(ack.size);
    }
}

fn text(totals: &Totals) -> String {
    let mut text = format!(
        "{} requests: {} events accepted, {} sealed as rejected by policy, {} duplicates\n",
        totals.requests, totals.accepted, totals.rejected, totals.duplicates,
    );
    if totals.refused > 0 {
        text.push_str(&format!(
            "{} requests REFUSED by the service\n",
            totals.refused
        ));
    }
    if totals.skipped > 0 {
        text.push_str(&format!("{} lines NOT SENT\n", totals.skipped));
    }
    if let Some(size) = totals.size {
        text.push_str(&format!("the log has {size} entries now\n"));
    }
    text
}
