//! From a listening socket to requests: accept within the limits, TLS, HTTP/1.1 or
//! HTTP/2, a watch over each connection, and an end that loses no request.
//!
//! Without TLS only HTTP/1.1 is spoken: nothing would say which it is.

mod activity;
mod connection;
pub(crate) mod limits;
mod peers;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use self::connection::Connection;
use self::limits::{ACCEPT_PAUSE, Limits, REFUSAL_LOG_INTERVAL};
use self::peers::Peers;
use crate::metrics::{ClosedLabels, Metrics};
use crate::tls::Tls;

/// A socket and what is served on it.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: TcpListener,
    shared: Arc<Shared>,
    peers: Arc<Peers>,
    last_logged: Option<Instant>,
}

/// What all connections of a listener share.
#[derive(Debug)]
struct Shared {
    router: Router,
    tls: Option<Arc<Tls>>,
    limits: Arc<Limits>,
    metrics: Arc<Metrics>,
    stop: watch::Receiver<bool>,
}

impl Listener {
    /// Serves `router` on a socket until `stop` says true.
    pub(crate) fn new(
        socket: TcpListener,
        router: Router,
        tls: Option<Arc<Tls>>,
        limits: Arc<Limits>,
        metrics: Arc<Metrics>,
        stop: watch::Receiver<bool>,
    ) -> Self {
        Self {
            socket,
            shared: Arc::new(Shared {
                router,
                tls,
                limits,
                metrics,
                stop,
            }),
            peers: Arc::default(),
            last_logged: None,
        }
    }

    /// Accepts until it is told to stop, then waits until the last connection is done.
    /// Dropped, it closes all of them.
    pub(crate) async fn run(mut self) {
        let mut connections = JoinSet::new();
        let mut stop = self.shared.stop.clone();
        let stopped = stopped(&mut stop);
        tokio::pin!(stopped);
        loop {
            tokio::select! {
                biased;
                _ = &mut stopped => break,
                Some(_) = connections.join_next() => {}
                accepted = self.socket.accept() => match accepted {
                    Ok((stream, address)) => self.accepted(stream, address, &mut connections),
                    Err(error) => {
                        self.log(|| tracing::error!(%error, "a connection can't be accepted"));
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
        drop(self.socket);
        while connections.join_next().await.is_some() {}
    }

    fn accepted(&mut self, stream: TcpStream, address: SocketAddr, connections: &mut JoinSet<()>) {
        match self.peers.place(address.ip(), &self.shared.limits) {
            Ok(place) => {
                let shared = Arc::clone(&self.shared);
                connections.spawn(async move {
                    shared.metrics.connections.inc();
                    // So that it is counted down on every way out.
                    let open = Open(&shared.metrics);
                    let reason = Connection::new(&shared, address).serve(stream).await;
                    shared.closed(reason);
                    drop((open, place));
                });
            }
            Err(reason) => {
                self.shared.closed(reason);
                self.log(|| {
                    tracing::warn!(peer = %address.ip(), reason, "connection refused: too many; see limits.connections and limits.connectionsPerPeer");
                });
            }
        }
    }

    /// A flood of refusals must not become a flood of lines.
    fn log(&mut self, write: impl FnOnce()) {
        let due = |last: Instant| last.elapsed() >= REFUSAL_LOG_INTERVAL;
        if self.last_logged.is_none_or(due) {
            self.last_logged = Some(Instant::now());
            write();
        }
    }
}

impl Shared {
    fn closed(&self, reason: &'static str) {
        let labels = ClosedLabels { reason };
        self.metrics.connections_closed.get_or_create(&labels).inc();
    }
}

struct Open<'a>(&'a Metrics);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.connections.dec();
    }
}

/// Waits until the service stops. The sender lives as long as the service.
pub(crate) async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Binds an address.
///
/// # Errors
/// It can't be served on.
pub(crate) async fn bind(address: SocketAddr) -> io::Result<(TcpListener, SocketAddr)> {
    let socket = TcpListener::bind(address).await?;
    let address = socket.local_addr()?;
    Ok((socket, address))
}
