//! The witness over HTTP/1.1: `POST /add-checkpoint`, `GET /<origin hash>/checkpoint`.
//!
//! There is nothing to authenticate: whoever sends a checkpoint that the log signed may
//! have it cosigned. TLS is a proxy's; a cosignature speaks for itself.

use std::convert::Infallible;
use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use auditchain_log::{MAX_ADD_CHECKPOINT_BYTES, Refusal};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;

use super::state::{Witness, WitnessError};
use crate::error::CliError;

/// Connections at a time; more wait to be taken.
const CONNECTIONS_MAX: usize = 256;
/// Headers must have arrived in this time, of the first request and of each next one.
const HEADERS_TIMEOUT: Duration = Duration::from_secs(30);
/// And the body, of at most 27 KiB, in this.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of a request's head.
const HEAD_BYTES_MAX: usize = 16 << 10;

type Answer = Response<Full<Bytes>>;

/// Serves until SIGTERM or SIGINT.
pub(crate) fn serve(witness: Witness, listen: SocketAddr) -> Result<(), CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    // Dropping the runtime waits for what is being written.
    runtime.block_on(run(witness, listen))
}

async fn run(witness: Witness, listen: SocketAddr) -> Result<(), CliError> {
    let listener = TcpListener::bind(listen)
        .await
        .map_err(|error| CliError::Usage(format!("can't listen on {listen}: {error}")))?;
    let mut out = std::io::stdout().lock();
    // For scripts: with port 0 this is how they learn the address. Nobody has to listen.
    let _ = writeln!(
        out,
        "auditchain witness: serving http://{}",
        listener.local_addr()?
    );
    let _ = writeln!(out, "auditchain witness: key {}", witness.vkey());
    drop(out);
    let witness = Arc::new(Mutex::new(witness));
    let free = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut terminate = signal(SignalKind::terminate())?;
    loop {
        let accepted = async {
            // Never closed.
            let permit = Arc::clone(&free).acquire_owned().await;
            (permit, listener.accept().await)
        };
        let (permit, stream) = tokio::select! {
            (permit, accepted) = accepted => match accepted {
                Ok((stream, _)) => (permit, stream),
                Err(_) => {
                    // Out of files, or the peer is gone already: let others end.
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
            _ = terminate.recv() => return Ok(()),
            _ = tokio::signal::ctrl_c() => return Ok(()),
        };
        let witness = Arc::clone(&witness);
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(Arc::clone(&witness), request));
            // A connection that breaks is its peer's affair.
            let _ = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADERS_TIMEOUT)
                .max_buf_size(HEAD_BYTES_MAX)
                .serve_connection(TokioIo::new(stream), service)
                .await;
            drop(permit);
        });
    }
}

async fn answer(
    witness: Arc<Mutex<Witness>>,
    request: Request<Incoming>,
) -> Result<Answer, Infallible> {
    let path = request.uri().path();
    if path == "/add-checkpoint" {
        return Ok(match *request.method() {
            Method::POST => add_checkpoint(witness, request.into_body()).await,
            _ => text(StatusCode::METHOD_NOT_ALLOWED, "POST a checkpoint here"),
        });
    }
    let origin_hash = path
        .strip_prefix('/')
        .and_then(|path| path.strip_suffix("/checkpoint"));
    Ok(match (origin_hash, request.method()) {
        (Some(hash), &Method::GET | &Method::HEAD) => {
            let found = lock(&witness).checkpoint(hash);
            match found {
                Some(note) => answer_of(StatusCode::OK, "text/plain; charset=utf-8", note),
                None => text(
                    StatusCode::NOT_FOUND,
                    "no checkpoint of such a log was cosigned",
                ),
            }
        }
        _ => text(
            StatusCode::NOT_FOUND,
            "a witness; see c2sp.org/tlog-witness",
        ),
    })
}

async fn add_checkpoint(witness: Arc<Mutex<Witness>>, body: Incoming) -> Answer {
    let body = Limited::new(body, MAX_ADD_CHECKPOINT_BYTES).collect();
    let body = match tokio::time::timeout(BODY_TIMEOUT, body).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            return text(StatusCode::PAYLOAD_TOO_LARGE, "no checkpoint is that large");
        }
        Ok(Err(_)) => return text(StatusCode::BAD_REQUEST, "the body broke off"),
        Err(_) => return text(StatusCode::REQUEST_TIMEOUT, "the body took too long"),
    };
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now_s = now.map_or(0, |now| now.as_secs());
    // It waits for the disk. The lock makes check and keeping one.
    let judged =
        tokio::task::spawn_blocking(move || lock(&witness).add_checkpoint(&body, now_s)).await;
    match judged {
        Ok(Ok(lines)) => answer_of(StatusCode::OK, "text/plain; charset=utf-8", lines),
        Ok(Err(WitnessError::Refused(Refusal::Conflict(size)))) => answer_of(
            StatusCode::CONFLICT,
            "text/x.tlog.size",
            format!("{size}\n"),
        ),
        Ok(Err(WitnessError::Refused(refusal))) => {
            // A log that signs two histories is news: its operator and ours should see it.
            if matches!(refusal, Refusal::Inconsistent(_)) {
                let shown = crate::output::printable(&refusal.to_string()).into_owned();
                let _ = writeln!(std::io::stderr(), "auditchain witness: REFUSED: {shown}");
            }
            text(status(&refusal), &refusal.to_string())
        }
        Ok(Err(WitnessError::Io(error))) => {
            let _ = writeln!(std::io::stderr(), "auditchain witness: {error}");
            text(
                StatusCode::INTERNAL_SERVER_ERROR,
                "the checkpoint can't be kept",
            )
        }
        Err(_) => text(StatusCode::INTERNAL_SERVER_ERROR, "broken off"),
    }
}

fn status(refusal: &Refusal) -> StatusCode {
    match refusal {
        Refusal::UnknownLog(_) => StatusCode::NOT_FOUND,
        Refusal::Signature(_) => StatusCode::FORBIDDEN,
        Refusal::Conflict(_) => StatusCode::CONFLICT,
        Refusal::Inconsistent(_) => StatusCode::UNPROCESSABLE_ENTITY,
        _ => StatusCode::BAD_REQUEST,
    }
}

fn lock(witness: &Mutex<Witness>) -> std::sync::MutexGuard<'_, Witness> {
    // A panic leaves the last checkpoint as it was: it is put there whole.
    witness.lock().unwrap_or_else(PoisonError::into_inner)
}

fn text(status: StatusCode, text: &str) -> Answer {
    answer_of(status, "text/plain; charset=utf-8", format!("{text}\n"))
}

fn answer_of(status: StatusCode, kind: &'static str, body: String) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    let nosniff = header::HeaderValue::from_static("nosniff");
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
    answer
}
