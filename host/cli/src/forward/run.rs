//! From arguments to two threads, until both end.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use auditchain_log::check_source_name;
use tokio::signal::unix::{SignalKind, signal};

use super::batch::Batcher;
use super::breaker::{Breaker, BreakerState};
use super::deliver::Deliverer;
use super::files::Files;
use super::follow::Follower;
use super::position::Position;
use super::quarantine::Quarantine;
use super::reader::Reader;
use super::rotated::Family;
use super::send::Sender;
use super::shared::{Shared, Status};
use super::sign::read_sender_key;
use super::spool::Spool;
use super::state::{StateDir, write_json_unsynced};
use super::tell::{Tell, now};
use crate::args::{ForwardArgs, OutputFormat};
use crate::error::{CliError, EXIT_FAILED, EXIT_HOLDS};

/// A rotated file is read on for so long: its writer may be within a line.
const ROTATED_GRACE: Duration = Duration::from_secs(1);
/// How often the file `status` is written anew, if something changed, and looked whether
/// all is done.
const STATUS_INTERVAL: Duration = Duration::from_millis(200);

/// Forwards until SIGTERM or SIGINT, or with `--once` to the end of the log file.
///
/// # Errors
/// Nothing could be started, or it can't be gone on with.
pub(crate) fn run(args: &ForwardArgs, output: OutputFormat) -> Result<u8, CliError> {
    let tell = Tell(output);
    let (file, source, to, key) = required(args)?;
    check_source_name(source)
        .map_err(|error| CliError::Usage(format!("--source {source:?}: {error}")))?;
    let sender = Sender::new(to, &args.connect, read_sender_key(key)?)?;
    let state = StateDir::open(&args.state)?;
    let family = Family::new(file).map_err(CliError::reading(file))?;

    // At the first start, before anything is read: a file that is rotated from here on
    // is not an old one.
    let position = if let Some(position) = Position::load(&state, source)? {
        position
    } else {
        let first = Follower::first_cursor(&family, args.rotated);
        let position = Position::new(source, first.map_err(CliError::reading(file))?);
        let path = state.join("position");
        position.store(&state).map_err(CliError::writing(&path))?;
        position
    };
    let recovered = Spool::open(&state, position.acknowledged.as_deref())?;
    if !recovered.set_aside.is_empty() {
        tell.error(&format!(
            "{} spool files are damaged, or behind a damaged one: set aside in damaged/; their events are read again from the log file",
            recovered.set_aside.len()
        ));
    }
    let cursor = recovered.cursor.unwrap_or_else(|| position.cursor.clone());
    let grace = if args.once {
        Duration::ZERO
    } else {
        ROTATED_GRACE
    };
    let follower = Follower::new(family, cursor, grace).map_err(CliError::reading(file))?;
    let files = Files::load(&state)?;
    let quarantine = Quarantine::open(&state).map_err(CliError::reading(state.path()))?;
    let status = Status {
        pid: std::process::id(),
        started: now(),
        file: std::path::absolute(file).map_err(CliError::reading(file))?,
        to: to.to_owned(),
        key: sender.key().id(),
        breaker: BreakerState::Closed,
        failures: 0,
        last_error: None,
        last_acknowledged: None,
        stalled: false,
        reading: None,
        quarantined: 0,
        refused: 0,
        lost: files.lost_total,
    };
    let refused_bytes =
        bytes_of(&state.join("refused")).map_err(CliError::reading(state.path()))?;
    tell.info(&format!(
        "forwarding {} as {source} to {to}, key {} {}; {} batches wait in the spool",
        file.display(),
        sender.key().algorithm().name(),
        sender.key().id(),
        recovered.spool.len(),
    ));
    let shared = Shared::new(recovered.spool, args.spool_bytes, refused_bytes, status);
    let lost_before = files.lost_total;
    let reader = Reader {
        shared: &shared,
        state: &state,
        follower,
        batcher: Batcher::new(
            args.batch,
            args.batch_bytes,
            Duration::from_millis(args.linger_ms),
        ),
        files,
        quarantine,
        source: source.to_owned(),
        packing: args.compression,
        once: args.once,
        tell,
        switched: false,
        looked: None,
    };
    let deliverer = Deliverer {
        shared: &shared,
        state: &state,
        sender,
        position,
        breaker: Breaker::new(args.breaker_failures, Duration::from_secs(args.retry_max_s)),
        once: args.once,
        started: Instant::now(),
        tell,
    };
    work(&shared, &state, reader, deliverer)?;
    let status = shared.status();
    let whole = status.refused == 0 && status.quarantined == 0 && status.lost == lost_before;
    tell.info("stopped");
    Ok(if whole || !args.once {
        EXIT_HOLDS
    } else {
        EXIT_FAILED
    })
}

/// Runs both halves until they end.
fn work(
    shared: &Shared,
    state: &StateDir,
    mut reader: Reader<'_>,
    mut deliverer: Deliverer<'_>,
) -> Result<(), CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (mut terminate, mut interrupt) = {
        let _entered = runtime.enter();
        (
            signal(SignalKind::terminate())?,
            signal(SignalKind::interrupt())?,
        )
    };
    thread::scope(|scope| {
        let reading = scope.spawn(move || reader.run());
        let delivering = scope.spawn(move || {
            let result = deliverer.run();
            // Nobody takes any more what is read.
            shared.stop();
            result
        });
        let mut written = None;
        let path = state.join("status");
        while !(reading.is_finished() && delivering.is_finished()) {
            let signalled = runtime.block_on(async {
                let signalled = async {
                    tokio::select! {
                        _ = terminate.recv() => {}
                        _ = interrupt.recv() => {}
                    }
                };
                tokio::time::timeout(STATUS_INTERVAL, signalled)
                    .await
                    .is_ok()
            });
            if signalled {
                shared.stop();
            }
            let status = shared.status();
            if written.as_ref() != Some(&status) {
                // For people; what counts is elsewhere.
                let _ = write_json_unsynced(&path, &status);
                written = Some(status);
            }
        }
        let _ = write_json_unsynced(&path, &shared.status());
        let panicked = |_| CliError::Usage("a part of the forwarder panicked".into());
        reading.join().map_err(panicked)?;
        delivering.join().map_err(panicked)?
    })?;
    match shared.failed() {
        Some(why) => Err(CliError::Usage(why)),
        None => Ok(()),
    }
}

/// All that clap asks for unless it is `--status`.
fn required(args: &ForwardArgs) -> Result<(&Path, &str, &str, &Path), CliError> {
    match (&args.file, &args.source, &args.to, &args.key) {
        (Some(file), Some(source), Some(to), Some(key)) => Ok((file, source, to, key)),
        _ => Err(CliError::Usage(
            "--file, --source, --to and --key are needed".into(),
        )),
    }
}

/// Bytes of the files of a directory.
fn bytes_of(dir: &Path) -> std::io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(dir)? {
        bytes += entry?.metadata()?.len();
    }
    Ok(bytes)
}
