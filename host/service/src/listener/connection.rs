//! One connection: handshake, requests, end.

use std::convert::Infallible;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::http::{Request, Response, StatusCode};
use axum::response::IntoResponse as _;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::Service;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulConnection;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use super::activity::{Activity, Answer, Overdue, Watched};
use super::limits::{
    H2_PING_INTERVAL, H2_PING_TIMEOUT, H2_STREAMS_MAX, H2_WINDOW_BYTES, HEAD_BYTES_MAX, HEADERS_MAX,
};
use super::{Shared, stopped};
use crate::auth::Caller;
use crate::problem::Problem;
use crate::tls::{ALPN_H2, PeerCertificate, Tls};

/// First byte of a TLS connection: a handshake record (RFC 8446, 5.1).
const TLS_HANDSHAKE: u8 = 22;
/// To those who speak HTTP where TLS is spoken.
const SPEAK_TLS: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Type: application/problem+json\r\nConnection: close\r\nContent-Length: 109\r\n\r\n{\"type\":\"about:blank\",\"title\":\"TLS is needed\",\"status\":400,\"detail\":\"this port speaks TLS: use an https URL\"}";

/// A connection that was accepted.
pub(super) struct Connection<'a> {
    shared: &'a Shared,
    address: IpAddr,
}

/// Requests of a connection, on their way to the routes.
struct Requests {
    router: TowerToHyperService<Router>,
    address: IpAddr,
    certificate: Option<Arc<PeerCertificate>>,
    activity: Activity,
}

impl<'a> Connection<'a> {
    pub(super) fn new(shared: &'a Shared, address: SocketAddr) -> Self {
        Self {
            shared,
            address: address.ip().to_canonical(),
        }
    }

    /// Serves it to its end, and says in a word why it ended.
    pub(super) async fn serve(self, stream: TcpStream) -> &'static str {
        // Answers are small and waited for; without it they could wait for a packet.
        let _ = stream.set_nodelay(true);
        let Some(tls) = &self.shared.tls else {
            return self.http(stream, false, None).await;
        };
        let mut stop = self.shared.stop.clone();
        let handshake = tokio::time::timeout(
            self.shared.limits.handshake_timeout,
            self.handshake(stream, tls),
        );
        let done = tokio::select! {
            done = handshake => done,
            // No request is lost with it.
            () = stopped(&mut stop) => return "stopped",
        };
        let (stream, certificate) = match done {
            Ok(Ok(done)) => done,
            Ok(Err(reason)) => return reason,
            Err(_) => return "handshake_timeout",
        };
        let http2 = stream.get_ref().1.alpn_protocol() == Some(ALPN_H2);
        self.http(stream, http2, certificate).await
    }

    async fn handshake(
        &self,
        mut stream: TcpStream,
        tls: &Tls,
    ) -> Result<
        (
            tokio_rustls::server::TlsStream<TcpStream>,
            Option<Arc<PeerCertificate>>,
        ),
        &'static str,
    > {
        let mut first = [0];
        let peeked = stream.peek(&mut first).await.map_err(|_| "handshake")?;
        if peeked == 0 {
            return Err("closed");
        }
        if first[0] != TLS_HANDSHAKE {
            let _ = stream.write_all(SPEAK_TLS).await;
            let _ = stream.shutdown().await;
            return Err("plaintext");
        }
        let refused = |error: &dyn std::fmt::Display| {
            tracing::info!(peer = %self.address, %error, "TLS handshake failed");
            "handshake"
        };
        let accepted = TlsAcceptor::from(tls.current()).accept(stream).await;
        let stream = accepted.map_err(|error| refused(&error))?;
        let certificate = stream.get_ref().1.peer_certificates();
        let certificate = certificate
            .and_then(<[_]>::first)
            .map(PeerCertificate::parse);
        let certificate = certificate.transpose().map_err(|error| refused(&error))?;
        Ok((stream, certificate.map(Arc::new)))
    }

    async fn http(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        http2: bool,
        certificate: Option<Arc<PeerCertificate>>,
    ) -> &'static str {
        let activity = Activity::new(!http2);
        let io = TokioIo::new(Watched::new(stream, activity.clone()));
        let requests = Requests {
            router: TowerToHyperService::new(self.shared.router.clone()),
            address: self.address,
            certificate,
            activity: activity.clone(),
        };
        if http2 {
            let mut builder = http2::Builder::new(TokioExecutor::new());
            builder
                .timer(TokioTimer::new())
                .max_concurrent_streams(H2_STREAMS_MAX)
                .max_header_list_size(u32::try_from(HEAD_BYTES_MAX).unwrap_or(u32::MAX))
                .initial_connection_window_size(H2_WINDOW_BYTES)
                .initial_stream_window_size(H2_WINDOW_BYTES)
                .keep_alive_interval(H2_PING_INTERVAL)
                .keep_alive_timeout(H2_PING_TIMEOUT);
            self.watch(builder.serve_connection(io, requests), &activity)
                .await
        } else {
            let mut builder = http1::Builder::new();
            builder
                // The watch does it: this one would count the time between requests.
                .header_read_timeout(None)
                .max_headers(HEADERS_MAX)
                .max_header_size(HEAD_BYTES_MAX);
            self.watch(builder.serve_connection(io, requests), &activity)
                .await
        }
    }

    /// Drives a connection, and ends it when its peer is too slow or silent, when it is
    /// old, and when the service stops.
    async fn watch(
        &self,
        connection: impl GracefulConnection,
        activity: &Activity,
    ) -> &'static str {
        let limits = &self.shared.limits;
        let opened = Instant::now();
        let mut ticks = tokio::time::interval(limits.tick());
        let mut stop = self.shared.stop.clone();
        let mut closing: Option<(Instant, &'static str)> = None;
        let mut connection = pin!(connection);
        loop {
            let reason = tokio::select! {
                ended = &mut connection => {
                    return match (ended, closing) {
                        (_, Some((_, reason))) => reason,
                        (Ok(()), None) => "closed",
                        (Err(_), None) => "broken",
                    };
                }
                () = stopped(&mut stop), if closing.is_none() => "stopped",
                _ = ticks.tick() => match (activity.overdue(limits), closing) {
                    (Some(Overdue::Head), _) => return "header_timeout",
                    (Some(Overdue::Write), _) => return "write_timeout",
                    // What is half received by now is no request.
                    (_, Some((since, reason))) if activity.is_idle() && since.elapsed() > limits.drain_grace => return reason,
                    (_, Some(_)) => continue,
                    (Some(Overdue::Idle), None) => "idle",
                    (None, None) if opened.elapsed() > limits.connection_age_max => "age",
                    (None, None) => continue,
                },
            };
            closing = Some((Instant::now(), reason));
            connection.as_mut().graceful_shutdown();
        }
    }
}

impl Service<Request<Incoming>> for Requests {
    type Response = Response<Answer>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        let under_way = self.activity.begin();
        let certificate = self.certificate.clone();
        // HTTP/2 bounds the bytes of a head only.
        let too_many = request.headers().len() > HEADERS_MAX;
        let caller = Caller::new(self.address, certificate, request.headers_mut());
        request.extensions_mut().insert(caller);
        let answering = self.router.call(request);
        Box::pin(async move {
            let response = if too_many {
                let detail = format!("at most {HEADERS_MAX} headers are taken");
                Problem::of_status(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, detail)
                    .into_response()
            } else {
                answering.await?
            };
            Ok(response.map(|body| Answer::new(body, under_way)))
        })
    }
}
