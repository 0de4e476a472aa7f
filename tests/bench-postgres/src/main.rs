//! What a team would do instead of a log like ours: each request's events as JSONB rows
//! into PostgreSQL, one transaction a request, acknowledged when it is on disk
//! (`synchronous_commit=on`).
//!
//! `bench-postgres CONNECTION BODIES [CONNECTIONS]`: a connection string, what
//! `auditchain bench --dump` wrote, and how many connections insert at the same time.
//! The server splits the list, so that the client costs next to nothing; the table has a
//! primary key and no other index. Nothing is verified, chained or kept from being doubled.

use std::error::Error;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use postgres::{Client, NoTls};

/// As `auditchain bench` has.
const CONNECTIONS: usize = 4;

const TABLE: &str = "CREATE TABLE audit_event (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    received timestamptz NOT NULL DEFAULT now(),
    source text NOT NULL,
    event jsonb NOT NULL)";
const INSERT: &str = "INSERT INTO audit_event (source, event)
    SELECT 'bench', jsonb_array_elements(($1::text)::jsonb -> 'items')";

type AnyError = Box<dyn Error + Send + Sync>;

/// One connection's part.
#[derive(Default)]
struct Part {
    events: u64,
    bytes: usize,
    /// Requests with something that JSONB can't hold, such as `\u0000`.
    refused: u64,
    acks: Vec<Duration>,
}

fn main() -> Result<(), AnyError> {
    let mut args = env::args().skip(1);
    let usage = "usage: bench-postgres CONNECTION BODIES [CONNECTIONS]";
    let (Some(server), Some(file)) = (args.next(), args.next()) else {
        return Err(usage.into());
    };
    let connections = args.next().map_or(Ok(CONNECTIONS), |text| text.parse())?;
    let bodies = fs::read(&file)?;
    let bodies: Vec<&str> = bodies
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        // PostgreSQL takes no other text.
        .filter_map(|line| str::from_utf8(line).ok())
        .collect();

    let mut client = Client::connect(&server, NoTls)?;
    client.batch_execute(TABLE)?;

    let wal_bytes = |client: &mut Client| -> Result<f64, AnyError> {
        let row = client.query_one("SELECT (pg_current_wal_insert_lsn() - '0/0')::float8", &[])?;
        Ok(row.get(0))
    };
    let wal_before = wal_bytes(&mut client)?;

    let next = AtomicUsize::new(0);
    let started = Instant::now();
    let parts = thread::scope(|scope| {
        let threads: Vec<_> = (0..connections)
            .map(|_| scope.spawn(|| insert(&server, &bodies, &next)))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().map_err(|_| "a connection's thread died")?)
            .collect::<Result<Vec<Part>, AnyError>>()
    })?;
    let seconds = started.elapsed().as_secs_f64();

    let wal_bytes = wal_bytes(&mut client)? - wal_before;
    let row = client.query_one("SELECT pg_total_relation_size('audit_event')::float8", &[])?;
    let table_bytes: f64 = row.get(0);
    let events: u64 = parts.iter().map(|part| part.events).sum();
    let bytes: usize = parts.iter().map(|part| part.bytes).sum();
    let refused: u64 = parts.iter().map(|part| part.refused).sum();
    let mut acks: Vec<_> = parts.into_iter().flat_map(|part| part.acks).collect();
    acks.sort_unstable();
    let ack_ms = |percent: usize| {
        let at = (acks.len() * percent / 100).min(acks.len().saturating_sub(1));
        acks.get(at).map_or(0.0, |ack| ack.as_secs_f64() * 1e3)
    };
    let per_event = |bytes: f64| bytes / events.max(1) as f64;
    println!(
        "{:.0} events/s: {events} events, {:.1} MB in {seconds:.2} s, {refused} requests refused",
        events as f64 / seconds,
        bytes as f64 / 1e6,
    );
    println!(
        "ack: p50 {:.1} ms, p99 {:.1} ms, max {:.1} ms",
        ack_ms(50),
        ack_ms(99),
        ack_ms(100)
    );
    println!(
        "bytes an event: {:.0} sent, {:.0} in the table, {:.0} of WAL",
        per_event(bytes as f64),
        per_event(table_bytes),
        per_event(wal_bytes)
    );
    Ok(())
}

fn insert(server: &str, bodies: &[&str], next: &AtomicUsize) -> Result<Part, AnyError> {
    let mut client = Client::connect(server, NoTls)?;
    client.batch_execute("SET synchronous_commit = on")?;
    let insert = client.prepare(INSERT)?;
    let mut part = Part::default();
    while let Some(body) = bodies.get(next.fetch_add(1, Ordering::Relaxed)) {
        let asked = Instant::now();
        match client.execute(&insert, &[body]) {
            Ok(rows) => {
                part.acks.push(asked.elapsed());
                part.events += rows;
                part.bytes += body.len();
            }
            Err(error) if error.as_db_error().is_some() => part.refused += 1,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(part)
}
