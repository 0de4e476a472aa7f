//! The load generator: connections that send as fast as they are answered, or at a
//! given rate.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::Template;
use crate::connect::ConnectArgs;
use crate::error::CliError;
use crate::http::Client;
use crate::limits::JSON_ANSWER_BYTES_MAX;

/// What to send.
#[derive(Debug)]
pub(crate) struct Load<'a> {
    pub(crate) url: &'a str,
    pub(crate) connect: &'a ConnectArgs,
    pub(crate) source: &'a str,
    pub(crate) token: Option<&'a str>,
    /// Sent in turn, again and again.
    pub(crate) templates: &'a [Template],
    /// Events to send, at least.
    pub(crate) events: u64,
    pub(crate) connections: u16,
    /// Events a second; none: as fast as answers come.
    pub(crate) rate: Option<u32>,
}

/// What came of it.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Measured {
    pub(crate) events: u64,
    pub(crate) bytes: u64,
    pub(crate) seconds: f64,
    pub(crate) events_per_second: f64,
    /// Requests that were not answered 200: nothing of them counts.
    pub(crate) refused: u64,
    /// From sending a request to its acknowledgement, milliseconds.
    pub(crate) ack_ms_p50: f64,
    pub(crate) ack_ms_p99: f64,
    pub(crate) ack_ms_max: f64,
}

/// One connection's part.
#[derive(Default)]
struct Part {
    events: u64,
    bytes: u64,
    refused: u64,
    acks: Vec<Duration>,
}

/// How far a round moves all times: it begins after the one before, as time goes on in a
/// cluster.
pub(super) fn round_us(templates: &[Template]) -> i64 {
    let spans = || templates.iter().filter_map(Template::span);
    let oldest = spans().map(|(oldest, _)| oldest).min().unwrap_or(0);
    let newest = spans().map(|(_, newest)| newest).max().unwrap_or(0);
    newest - oldest + 1
}

/// Sends it all and measures.
///
/// # Errors
/// The service can't be reached.
pub(crate) fn load(load: &Load<'_>) -> Result<Measured, CliError> {
    let round_us = round_us(load.templates);
    let (sent, next, failed) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
    let started = Instant::now();
    let connection = || -> Result<Part, CliError> {
        let client = Client::connect(load.url, load.connect)?;
        let mut templates = load.templates.to_vec();
        let count = templates.len() as u64;
        let mut part = Part::default();
        while !failed.load(Ordering::Relaxed) {
            let request = next.fetch_add(1, Ordering::Relaxed);
            // The remainder is below a length, the quotient fits: a round takes ages.
            let template = &mut templates[usize::try_from(request % count).unwrap_or(0)];
            let round = u32::try_from(request / count).unwrap_or(u32::MAX);
            let before = sent.fetch_add(template.events() as u64, Ordering::Relaxed);
            if before >= load.events {
                break;
            }
            if let Some(rate) = load.rate {
                let due = Duration::from_secs_f64(before as f64 / f64::from(rate));
                thread::sleep(due.saturating_sub(started.elapsed()));
            }
            let events = template.events() as u64;
            let body = template.at(round, i64::from(round).saturating_mul(round_us));
            let asked = Instant::now();
            let path = format!("/audit/{}", load.source);
            let answer = client.post(&path, body, load.token, JSON_ANSWER_BYTES_MAX);
            let answer = answer.inspect_err(|_| failed.store(true, Ordering::Relaxed))?;
            if answer.status == 200 {
                part.acks.push(asked.elapsed());
                part.events += events;
                part.bytes += body.len() as u64;
            } else {
                part.refused += 1;
            }
        }
        Ok(part)
    };
    let parts = thread::scope(|scope| {
        let threads: Vec<_> = (0..load.connections)
            .map(|_| scope.spawn(connection))
            .collect();
        let join = |thread: thread::ScopedJoinHandle<'_, _>| {
            thread
                .join()
                .unwrap_or_else(|_| Err(CliError::Refused("a connection's thread died".into())))
        };
        threads
            .into_iter()
            .map(join)
            .collect::<Result<Vec<Part>, CliError>>()
    })?;
    Ok(Measured::of(parts, started.elapsed()))
}

impl Measured {
    fn of(parts: Vec<Part>, elapsed: Duration) -> Self {
        let mut measured = Self {
            seconds: elapsed.as_secs_f64(),
            ..Self::default()
        };
        let mut acks = Vec::new();
        for part in parts {
            measured.events += part.events;
            measured.bytes += part.bytes;
            measured.refused += part.refused;
            acks.extend(part.acks);
        }
        acks.sort_unstable();
        let at = |share: usize| {
            let at = (acks.len() * share / 100).min(acks.len().saturating_sub(1));
            acks.get(at).map_or(0.0, |ack| ack.as_secs_f64() * 1e3)
        };
        measured.events_per_second = measured.events as f64 / measured.seconds;
        (
            measured.ack_ms_p50,
            measured.ack_ms_p99,
            measured.ack_ms_max,
        ) = (at(50), at(99), at(100));
        measured
    }
}
