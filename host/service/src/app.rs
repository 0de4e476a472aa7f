//! Start, run, drain: the life of the service.

use std::collections::BTreeSet;
use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use auditchain_store::HeadFile;
use clap::Parser as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{oneshot, watch};
use tracing_subscriber::EnvFilter;

use crate::auth::Access;
use crate::config::{Args, Config, LogFormat, WitnessConfig};
use crate::listener::{Listener, bind};
use crate::memory::Memory;
use crate::metrics::Metrics;
use crate::open::{OpenError, open};
use crate::policy_reload::PolicyReload;
use crate::published::Latest;
use crate::queue::Queue;
use crate::rate::Rates;
use crate::reload::{Reload, set_expiry};
use crate::retention::Retention;
use crate::serve::{App, admin_router, decoders, router};
use crate::tls::{Tls, TlsError};
use crate::tokens::TokensError;
use crate::witness::Witnesses;

/// Exit code of wrong usage or configuration.
const EXIT_USAGE: u8 = 2;
/// Requests under way may take this long once the service is told to stop; then their
/// connections are closed. Kubernetes kills after 30 s.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(20);
/// How often the checkpoint beside the store follows the log. It detects a store that
/// was put back by more than this; a crash may leave it behind by as much.
const HEAD_FILE_INTERVAL: Duration = Duration::from_secs(1);

/// Why the service stopped by itself.
#[derive(Debug, thiserror::Error)]
enum RunError {
    /// The log can't be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Certificate or key can't be used.
    #[error("TLS: {0}")]
    Tls(#[from] TlsError),
    /// The tokens file can't be used.
    #[error("tokens file: {0}")]
    Tokens(#[from] TokensError),
    /// The address can't be served on.
    #[error("can't listen on {address}: {error}")]
    Listen {
        /// Which.
        address: std::net::SocketAddr,
        /// Why.
        error: std::io::Error,
    },
    /// Serving failed.
    #[error("serving failed: {0}")]
    Serve(std::io::Error),
    /// The log can't go on in this process; a restart finds out what was written.
    #[error("the log can't be written any more: {0}")]
    Store(auditchain_store::StoreError),
    /// The sequencer's thread died.
    #[error("the sequencer broke off; see the service's own log")]
    Sequencer,
}

/// The program: parses the command line, runs, and says on exit how it went.
#[must_use]
pub fn main() -> ExitCode {
    let args = Args::parse();
    let config = match Config::load(&args) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("auditchaind: {error}");
            return ExitCode::from(EXIT_USAGE);
        }
    };
    let filter = EnvFilter::builder()
        .with_default_directive(tracing::Level::INFO.into())
        .from_env_lossy();
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match args.log_format {
        LogFormat::Text => log.with_ansi(std::io::stderr().is_terminal()).init(),
        LogFormat::Json => log.json().init(),
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let result = runtime
        .map_err(RunError::Serve)
        .and_then(|runtime| runtime.block_on(run(config, args)));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("auditchaind: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs until SIGTERM or SIGINT, then drains: no request that was taken is lost.
///
/// # Errors
/// See [`RunError`].
async fn run(mut config: Config, args: Args) -> Result<(), RunError> {
    let metrics = Arc::new(Metrics::new());
    // Before the log: what is wrong here is told without touching it.
    let access = Arc::new(Access::new(&config)?);
    let tls = match &config.tls {
        None => None,
        Some(files) => {
            let (tls, not_after) = Tls::load(files)?;
            set_expiry(&metrics, not_after);
            Some(Arc::new(tls))
        }
    };
    let opened = open(&config, args.accept_store_as_it_is, Arc::clone(&metrics))?;
    let address = config.listen;
    let listen = |error| RunError::Listen { address, error };
    let (socket, address) = bind(address).await.map_err(listen)?;
    let admin = match config.admin_listen {
        None => None,
        Some(address) => {
            let listen = |error| RunError::Listen { address, error };
            Some(bind(address).await.map_err(listen)?)
        }
    };

    let queue = Arc::new(Queue::default());
    let sequencer = opened.sequencer;
    let (ending, mut ended) = oneshot::channel();
    std::thread::Builder::new()
        .name("sequencer".into())
        .spawn({
            let queue = Arc::clone(&queue);
            move || ending.send(sequencer.run(&queue))
        })
        .map_err(RunError::Serve)?;
    let (stop_following, stop) = oneshot::channel();
    let following = tokio::spawn(follow(Arc::clone(&opened.latest), opened.head_file, stop));

    // Ends when this function returns: what it was doing then is done again.
    let (_stop_witnesses, stop_rounds) = std::sync::mpsc::channel();
    let mut witnesses = None;
    if let Some(WitnessConfig { policy, interval }) = config.witnesses.take() {
        let (shared, rounds) = Witnesses::open(
            policy,
            interval,
            &config.data,
            Arc::clone(&opened.latest),
            Arc::clone(&opened.store),
            Arc::clone(&metrics),
        );
        std::thread::Builder::new()
            .name("witnesses".into())
            .spawn(move || rounds.run(&stop_rounds))
            .map_err(RunError::Serve)?;
        witnesses = Some(shared);
    }

    let (_stop_retention, stop_expiring) = std::sync::mpsc::channel();
    if !config.retention.is_empty() {
        let retention = Retention::new(
            &config.retention,
            Arc::clone(&opened.store),
            Arc::clone(&opened.latest),
            Arc::clone(&queue),
        );
        std::thread::Builder::new()
            .name("retention".into())
            .spawn(move || retention.run(&stop_expiring))
            .map_err(RunError::Serve)?;
    }
    let policy_reload = Arc::new(PolicyReload::new(
        args,
        &config,
        opened.wanted,
        opened.engine,
        Arc::clone(&opened.store),
        Arc::clone(&opened.latest),
        Arc::clone(&queue),
        Arc::clone(&metrics),
    ));
    let (_stop_policies, stop_looking) = std::sync::mpsc::channel();
    std::thread::Builder::new()
        .name("policies".into())
        .spawn({
            let policy_reload = Arc::clone(&policy_reload);
            move || policy_reload.run(&stop_looking)
        })
        .map_err(RunError::Serve)?;
    let published = opened.latest.load_full();
    tracing::info!(%address, origin = published.checkpoint.origin, size = published.size(), tls = tls.is_some(), "serving");
    // For scripts: with port 0 this is how they learn the address. Nobody has to listen.
    let mut out = std::io::stdout().lock();
    let scheme = if tls.is_some() { "https" } else { "http" };
    let _ = writeln!(out, "auditchaind: serving {scheme}://{address}");
    if let Some((_, address)) = &admin {
        let _ = writeln!(out, "auditchaind: admin {scheme}://{address}");
    }
    for vkey in &opened.vkeys {
        let _ = writeln!(out, "auditchaind: key {vkey}");
    }
    drop(out);

    let (stop, stopped) = watch::channel(false);
    let tokens = config.tokens_file.clone();
    let tokens = tokens.map(|path| (path, Arc::clone(&access)));
    let reload = Reload::new(tls.clone(), tokens, Arc::clone(&metrics));
    let reloading = tokio::spawn(reload.run());
    let limits = Arc::new(config.limits.clone());
    let app = Arc::new(App {
        access,
        stop: stopped.clone(),
        memory: Memory::new(config.inflight_bytes_max, config.body_bytes_max),
        rates: Rates::new(
            config.source_bytes_per_second,
            config
                .sources
                .iter()
                .filter_map(|source| Some((source.name.clone(), source.bytes_per_second?))),
            config.body_bytes_max,
        ),
        seen_sources: Mutex::new(
            published
                .watermarks
                .iter()
                .map(|(s, _)| s.clone())
                .collect::<BTreeSet<_>>(),
        ),
        config,
        latest: Arc::clone(&opened.latest),
        store: opened.store,
        decoders: decoders(),
        queue: Arc::clone(&queue),
        tags: opened.tags,
        vkeys: opened.vkeys,
        policy_reload,
        witnesses,
        metrics: Arc::clone(&metrics),
    });
    let listener = |socket, router| {
        let (tls, limits) = (tls.clone(), Arc::clone(&limits));
        Listener::new(
            socket,
            router,
            tls,
            limits,
            Arc::clone(&metrics),
            stopped.clone(),
        )
    };
    let admin = admin.map(|(socket, _)| listener(socket, admin_router(Arc::clone(&app))));
    let serving = listener(socket, router(app)).run();
    let admin = tokio::spawn(async move {
        if let Some(admin) = admin {
            admin.run().await;
        }
    });
    let deadline = async {
        stop_signal().await;
        tracing::info!("stopping: draining requests");
        let _ = stop.send(true);
        tokio::time::sleep(DRAIN_TIMEOUT).await;
    };
    tokio::select! {
        () = serving => {}
        () = deadline => tracing::warn!("some requests did not end in time; their connections are closed"),
        ended = &mut ended => {
            ended.map_err(|_| RunError::Sequencer)?.map_err(RunError::Store)?;
        }
    }

    reloading.abort();
    admin.abort();
    // The sequencer writes what waits and ends, even if a connection lives on.
    queue.close();
    let drained = ended.await;
    let _ = stop_following.send(());
    let _ = following.await;
    drained
        .map_err(|_| RunError::Sequencer)?
        .map_err(RunError::Store)?;
    tracing::info!(size = opened.latest.load().size(), "stopped");
    Ok(())
}

/// Keeps the file beside the store up to date, off the path of the acknowledgement,
/// and once more when it is told to stop.
async fn follow(latest: Latest, mut file: HeadFile, mut stop: oneshot::Receiver<()>) {
    let mut written = latest.load().size();
    let mut stopping = false;
    while !stopping {
        stopping = tokio::time::timeout(HEAD_FILE_INTERVAL, &mut stop)
            .await
            .is_ok();
        let published = latest.load_full();
        if published.size() == written {
            continue;
        }
        let write = move || {
            let result = file.write(published.note.as_bytes());
            (file, published.size(), result)
        };
        let Ok((returned, size, result)) = tokio::task::spawn_blocking(write).await else {
            return;
        };
        file = returned;
        match result {
            Ok(()) => written = size,
            Err(error) => tracing::error!(%error, "the checkpoint file can't be written"),
        }
    }
}

async fn stop_signal() {
    let mut terminate = match signal(SignalKind::terminate()) {
        Ok(terminate) => terminate,
        Err(error) => {
            tracing::error!(%error, "no signal handler; only SIGKILL stops this process");
            return std::future::pending().await;
        }
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}
