//! Every bound of a connection, with its reason. Those in [`Limits`] can be configured
//! (`limits` in the file).

use std::time::Duration;

/// Headers of a request. An apiserver sends six; proxies add some.
pub(crate) const HEADERS_MAX: usize = 64;
/// Bytes of a request's head: four times what the longest token and path take.
pub(crate) const HEAD_BYTES_MAX: usize = 16 << 10;
/// Requests at a time on an HTTP/2 connection. An apiserver in a blocking mode sends
/// tens; the memory of bodies is bounded elsewhere.
pub(crate) const H2_STREAMS_MAX: u32 = 128;
/// Bytes that an HTTP/2 peer may send ahead on a connection, over all its requests.
pub(crate) const H2_WINDOW_BYTES: u32 = 1 << 20;
/// How often an HTTP/2 peer is asked whether it is still there.
pub(crate) const H2_PING_INTERVAL: Duration = Duration::from_secs(30);
/// How long it may take to answer that.
pub(crate) const H2_PING_TIMEOUT: Duration = Duration::from_secs(20);
/// How long accepting pauses after an error, such as no free file descriptor.
pub(crate) const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Refused connections are counted all, and logged at most this often.
pub(crate) const REFUSAL_LOG_INTERVAL: Duration = Duration::from_secs(10);

/// What may be configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Connections at a time. Below 1,024, the usual limit of open files, with room for
    /// the store's.
    pub(crate) connections_max: usize,
    /// Of which from one address (an IPv6 network of 64 bits): one sender can't take
    /// all. An apiserver in a blocking mode uses tens.
    pub(crate) connections_per_peer_max: usize,
    /// From the accepted connection to the end of the TLS handshake.
    pub(crate) handshake_timeout: Duration,
    /// From the first byte of an HTTP/1.1 request to the end of its head: it fits into
    /// a few packets.
    pub(crate) header_timeout: Duration,
    /// A connection without a request. An apiserver sends every 30 s, and closes what it
    /// has not used for 90 s.
    pub(crate) idle_timeout: Duration,
    /// A peer that takes nothing of its answer.
    pub(crate) write_timeout: Duration,
    /// Age at which a connection is closed once it has no request: so that a changed
    /// certificate or CA comes into force for everyone.
    pub(crate) connection_age_max: Duration,
    /// For a whole body. The apiserver gives up after 30 s; what has not arrived by then
    /// is of no use.
    pub(crate) body_timeout: Duration,
    /// A body may be slower than [`Self::body_bytes_per_second_min`] for this long.
    pub(crate) body_grace: Duration,
    /// Bytes a second of a body, on average: slower than any network that an apiserver
    /// works on.
    pub(crate) body_bytes_per_second_min: u64,
    /// What is half received when the service stops may take this long.
    pub(crate) drain_grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 768,
            connections_per_peer_max: 256,
            handshake_timeout: Duration::from_secs(10),
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(120),
            write_timeout: Duration::from_secs(30),
            connection_age_max: Duration::from_secs(3600),
            body_timeout: Duration::from_secs(30),
            body_grace: Duration::from_secs(5),
            body_bytes_per_second_min: 4096,
            drain_grace: Duration::from_secs(3),
        }
    }
}

impl Limits {
    /// How often a connection is looked at: often enough for the shortest time-out.
    pub(crate) fn tick(&self) -> Duration {
        let shortest = [
            self.header_timeout,
            self.idle_timeout,
            self.write_timeout,
            self.connection_age_max,
            self.drain_grace,
        ];
        let shortest = shortest.into_iter().min().unwrap_or_default();
        (shortest / 4).clamp(Duration::from_millis(10), Duration::from_secs(1))
    }
}
