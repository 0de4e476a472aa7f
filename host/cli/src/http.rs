//! HTTP and HTTPS with bounds: no answer is read past the limit that its caller names.

use std::{fmt, time::Duration};

use ureq::Agent;

use crate::connect::{ConnectArgs, tls_config, token};

/// A server that doesn't take a connection in this time is not there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The service answers within seconds; an ingest waits for its block and its fsync.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);
/// A read that brings nothing for this long.
const READ_TIMEOUT: Duration = Duration::from_secs(60);

/// A server, by the URL under which its paths lie.
pub struct Client {
    agent: Agent,
    base: String,
    /// Sent with every request, unless it has its own.
    token: Option<String>,
}

impl fmt::Debug for Client {
    /// Without the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("base", &self.base)
            .finish_non_exhaustive()
    }
}

/// An answer, read whole.
#[derive(Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// `Retry-After` in seconds, where it is a number.
    pub retry_after_s: Option<u64>,
    /// The body.
    pub body: Vec<u8>,
}

/// There is no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HttpError {
    /// Not a URL that we can use.
    #[error("{0}")]
    Url(String),
    /// What the connection needs (a CA, a client certificate, a token) can't be used.
    #[error("{0}")]
    Connect(String),
    /// No connection, or it broke off.
    #[error("{url}: {reason}; is auditchaind running there?")]
    Unreachable {
        /// What was asked for.
        url: String,
        /// Why.
        reason: String,
    },
    /// The server's certificate is not trusted, or it refused ours.
    #[error(
        "{url}: TLS: {reason}; give the service's CA by --ca, and --client-cert and --client-key where it asks for them"
    )]
    Tls {
        /// What was asked for.
        url: String,
        /// Why.
        reason: String,
    },
    /// Over the limit.
    #[error("{url}: the answer is larger than {limit} bytes, which no auditchaind sends")]
    TooLarge {
        /// What was asked for.
        url: String,
        /// The limit.
        limit: usize,
    },
}

impl Client {
    /// A client for `http[s]://host[:port][/prefix]` that finds what it needs in the
    /// environment: see [`ConnectArgs`].
    ///
    /// # Errors
    /// As [`Self::connect`].
    pub fn new(url: &str) -> Result<Self, HttpError> {
        Self::connect(url, &ConnectArgs::from_env())
    }

    /// A client for `http[s]://host[:port][/prefix]`.
    ///
    /// # Errors
    /// It is no such URL, a file can't be used, or the token can't stand in a header.
    pub fn connect(url: &str, args: &ConnectArgs) -> Result<Self, HttpError> {
        let base = url.trim_end_matches('/');
        let bad = |why: &str| HttpError::Url(format!("{url:?}: {why}"));
        let https = base.strip_prefix("https://");
        let Some(rest) = https.or(base.strip_prefix("http://")) else {
            return Err(bad("expected https://host:port or http://host:port"));
        };
        let host = rest.split('/').next().unwrap_or_default();
        if host.is_empty() || rest.contains(['?', '#', '@', ' ']) {
            return Err(bad(
                "expected https://host:port, with at most a path after it",
            ));
        }
        let token = token(args)?;
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_recv_response(Some(ANSWER_TIMEOUT))
            .timeout_per_read(Some(READ_TIMEOUT))
            .user_agent(concat!("auditchain/", env!("CARGO_PKG_VERSION")));
        if https.is_some() {
            config = config.tls_config(tls_config(args)?);
        }
        if is_loopback(host) {
            // A proxy of the environment can't reach our own machine.
            config = config.proxy(None);
        }
        Ok(Self {
            agent: config.build().into(),
            base: base.to_owned(),
            token,
        })
    }

    /// The URL, without a slash at its end.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.base
    }

    /// GET of a path that begins with a slash.
    ///
    /// # Errors
    /// No answer, or one of more than `limit` bytes.
    pub fn get(&self, path: &str, limit: usize) -> Result<Answer, HttpError> {
        let url = format!("{}{path}", self.base);
        let mut request = self.agent.get(&url);
        if let Some(token) = &self.token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        read(&url, request.call(), limit)
    }

    /// POST of JSON, with this bearer token, or else with the one of all requests.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn post(
        &self,
        path: &str,
        body: &[u8],
        token: Option<&str>,
        limit: usize,
    ) -> Result<Answer, HttpError> {
        self.send(path, token.or(self.token.as_deref()), &[], body, limit)
    }

    /// POST of JSON with headers of its own.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub(crate) fn post_with(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
        limit: usize,
    ) -> Result<Answer, HttpError> {
        self.send(path, self.token.as_deref(), headers, body, limit)
    }

    fn send(
        &self,
        path: &str,
        token: Option<&str>,
        headers: &[(&str, &str)],
        body: &[u8],
        limit: usize,
    ) -> Result<Answer, HttpError> {
        let url = format!("{}{path}", self.base);
        let mut request = self.agent.post(&url).content_type("application/json");
        if let Some(token) = token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        read(&url, request.send(body), limit)
    }
}

impl Answer {
    /// What the service says of an error: the detail of its problem JSON, or what else
    /// there is to show.
    #[must_use]
    pub fn problem(&self) -> String {
        let detail = serde_json::from_slice::<serde_json::Value>(&self.body).ok();
        let detail = detail
            .as_ref()
            .and_then(|value| value.get("detail")?.as_str());
        match detail {
            Some(detail) => format!("{}: {detail}", self.status),
            None => format!("{} without a problem description", self.status),
        }
    }
}

fn read(
    url: &str,
    response: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    limit: usize,
) -> Result<Answer, HttpError> {
    let unreachable = |error: ureq::Error| {
        let (url, reason) = (url.to_owned(), error.to_string());
        if is_tls(&error) {
            HttpError::Tls { url, reason }
        } else {
            HttpError::Unreachable { url, reason }
        }
    };
    let mut response = response.map_err(unreachable)?;
    let retry_after = response.headers().get("retry-after");
    let retry_after_s = retry_after.and_then(|value| value.to_str().ok()?.trim().parse().ok());
    let body = response
        .body_mut()
        .with_config()
        .limit(limit as u64 + 1)
        .read_to_vec();
    match body {
        Ok(body) if body.len() <= limit => Ok(Answer {
            status: response.status().as_u16(),
            retry_after_s,
            body,
        }),
        Ok(_) | Err(ureq::Error::BodyExceedsLimit(_)) => Err(HttpError::TooLarge {
            url: url.to_owned(),
            limit,
        }),
        Err(error) => Err(unreachable(error)),
    }
}

fn is_tls(error: &ureq::Error) -> bool {
    let inner = |error: &std::io::Error| error.get_ref().is_some_and(|e| e.is::<rustls::Error>());
    match error {
        ureq::Error::Tls(_) | ureq::Error::Rustls(_) => true,
        ureq::Error::Io(error) => inner(error),
        _ => false,
    }
}

fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name == "localhost"
        || name
            .parse::<std::net::IpAddr>()
            .is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_checked_before_anything_is_sent() {
        for good in [
            "http://127.0.0.1:8443",
            "http://[::1]:8443/",
            "http://log.example/prefix/",
            "https://127.0.0.1:8443/",
        ] {
            assert!(!Client::new(good).unwrap().url().ends_with('/'));
        }
        for bad in [
            "http://",
            "https://",
            "http:///x",
            "ftp://a",
            "a",
            "http://a?b",
            "http://u@a",
        ] {
            assert!(Client::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn loopback_is_told_from_other_hosts() {
        for host in [
            "localhost",
            "localhost:1",
            "127.0.0.1:8443",
            "127.1.2.3",
            "[::1]:1",
            "[::1]",
        ] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["example.com", "10.0.0.1:1", "[::2]:1", "localhost.example"] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
