//! `POST /audit/{source}`: an EventList in, an acknowledgement out, after fsync.
//!
//! The apiserver retries every error, 4xx too, five times and then drops the whole
//! batch in silence. So one bad event never costs the batch: it is sealed and the
//! batch answered 200; only a body that is no EventList at all is refused, and what
//! arrived is sealed as a rejection.

use std::collections::BTreeSet;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Instant;

use auditchain_log::{MAX_FIELD_BYTES, RejectionRecord, check_source_name};
use auditchain_sandbox::SignatureAlgorithm;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, header};
use axum::{Extension, Json};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::encoding::{Encoding, Unpacked};
use super::{App, Shared};
use crate::auth::Caller;
use crate::config::MAX_SOURCES;
use crate::decode::{Batch, BatchSignature};
use crate::memory::Held;
use crate::problem::Problem;
use crate::queue::QueueError;
use crate::sequencer::{Ack, Job, Refusal, Work};

/// Headers of a signed batch.
const SEQUENCE: &str = "auditchain-batch-sequence";
const ALGORITHM: &str = "auditchain-batch-algorithm";
const PUBLIC_KEY: &str = "auditchain-batch-key";
const SIGNATURE: &str = "auditchain-batch-signature";
/// A key or a signature of any algorithm we know has under 200 bytes.
const SIGNATURE_BYTES_MAX: usize = 1024;

pub(super) async fn post(
    State(app): Shared,
    Path(source): Path<String>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Value>, Problem> {
    let arrived = Instant::now();
    app.authenticate(&source, &caller)?;
    check_content_type(&headers)?;
    let encoding = Encoding::of(&headers)?;
    let signature = batch_signature(&headers)?;
    let (body, held) = app.receive(&source, body).await?;
    let arrival = Arrival {
        source,
        body,
        encoding,
        signature,
        held,
    };
    let Decoded {
        app,
        work,
        refusal,
        held,
    } = app.decode(arrival).await?;
    app.remember(&work);
    let ack = app.submit(work, arrived, held).await?;
    match refusal {
        Some(problem) => Err(problem),
        None => Ok(Json(json!({
            "accepted": ack.accepted,
            "rejected": ack.rejected,
            "duplicates": ack.duplicates,
            "size": ack.size,
        }))),
    }
}

impl App {
    /// Who may send: a configured source that shows what it must; where none is
    /// configured, anyone, which the configuration allows on loopback only.
    fn authenticate(&self, source: &str, caller: &Caller) -> Result<(), Problem> {
        check_source_name(source).map_err(Problem::bad_request)?;
        if !self.access.has_sources() {
            let seen = self.seen_sources();
            if !seen.contains(source) && seen.len() >= MAX_SOURCES {
                return Err(Problem::forbidden(format!(
                    "{MAX_SOURCES} sources have sent already; configure sources to say which count"
                )));
            }
            return Ok(());
        }
        self.access.authorize_source(source, caller)
    }

    /// Only who sent an EventList takes a source's place.
    fn remember(&self, work: &Work) {
        if let Work::Batch(batch) = work {
            self.seen_sources().insert(batch.source.clone());
        }
    }

    fn seen_sources(&self) -> MutexGuard<'_, BTreeSet<String>> {
        // No code panics while it holds this lock, and a set can't be left half changed.
        self.seen_sources
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Unpacks and canonicalises off the async threads. A body that is no EventList
    /// becomes a rejection to be sealed, and the answer to give once it is.
    async fn decode(self: Arc<Self>, arrival: Arrival) -> Result<Decoded, Problem> {
        let stopping = |_| Problem::unavailable("the service is stopping");
        let app = Arc::clone(&self);
        let _one_of_few = app.decoders.acquire().await.map_err(stopping)?;
        let started = Instant::now();
        let decoded = tokio::task::spawn_blocking(move || arrival.decode(self)).await;
        let elapsed = started.elapsed();
        app.metrics.decode.observe(elapsed.as_secs_f64());
        decoded.map_err(|_| Problem::internal("decoding was broken off"))?
    }

    /// Hands the work to the sequencer and waits until it is on disk.
    pub(super) async fn submit(
        &self,
        work: Work,
        arrived: Instant,
        held: Held,
    ) -> Result<Ack, Problem> {
        let (reply, done) = oneshot::channel();
        let job = Job {
            work,
            arrived,
            held,
            reply,
        };
        let full = |error: QueueError| Problem::unavailable(error.to_string());
        self.queue.push(job).map_err(full)?;
        let stopping = |_| Problem::unavailable("the service is stopping");
        let answer = done.await.map_err(stopping)?;
        answer.map_err(|refusal| match refusal {
            Refusal::Unavailable(detail) => Problem::unavailable(detail),
            Refusal::TooLarge(detail) => Problem::too_large_for_a_block(&detail),
        })
    }
}

/// A request, received whole.
struct Arrival {
    source: String,
    body: Vec<u8>,
    encoding: Encoding,
    signature: Option<BatchSignature>,
    held: Held,
}

/// What it holds.
struct Decoded {
    app: Arc<App>,
    work: Work,
    /// The answer once `work` is on disk, if that is no acknowledgement.
    refusal: Option<Problem>,
    held: Held,
}

impl Arrival {
    fn decode(mut self, app: Arc<App>) -> Result<Decoded, Problem> {
        let unpacked = match self.unpack(&app) {
            Ok(unpacked) => unpacked,
            Err(Unpacked::Refused(problem)) => return Err(problem),
            Err(Unpacked::Damaged(why)) => {
                return Ok(self.refused(app, &format!("the body does not unpack: {why}")));
            }
        };
        let body = unpacked.as_deref().unwrap_or(&self.body);
        let signature = self.signature.take();
        match Batch::decode(&self.source, body, signature, &app.tags) {
            Ok(batch) => Ok(Decoded {
                app,
                work: Work::Batch(batch),
                refusal: None,
                held: self.held,
            }),
            Err(error) => Ok(self.refused(app, &error.to_string())),
        }
    }

    /// None: it is not packed.
    fn unpack(&mut self, app: &App) -> Result<Option<Vec<u8>>, Unpacked> {
        let (source, packed, held) = (&self.source, &self.body, &mut self.held);
        let body = self
            .encoding
            .unpack(packed, app.config.body_bytes_max, |bytes| {
                // The packed bytes are decoding's, of few requests at a time.
                let missing = bytes.div_ceil(1 << 10).saturating_sub(held.kib());
                if missing > 0 {
                    held.merge(app.set_aside(source, missing)?);
                }
                Ok(())
            })?;
        // The rate is of what has to be judged and kept, however it was packed.
        let unpacked_bytes = body.as_ref().map_or(0, Vec::len);
        let more = unpacked_bytes.saturating_sub(packed.len()) as u64;
        if more > 0 {
            app.charge(source, more).map_err(Unpacked::Refused)?;
        }
        Ok(body)
    }

    /// To be sealed with what arrived.
    fn refused(self, app: Arc<App>, why: &str) -> Decoded {
        let problem = Problem::bad_request(why);
        let mut reason = why.to_owned();
        reason.truncate(reason.floor_char_boundary(MAX_FIELD_BYTES));
        let record = RejectionRecord {
            reason,
            status: problem.status().as_u16(),
        };
        Decoded {
            app,
            work: Work::Rejection {
                source: self.source,
                record,
                body: self.body,
            },
            refusal: Some(problem),
            held: self.held,
        }
    }
}

fn check_content_type(headers: &HeaderMap) -> Result<(), Problem> {
    let content_type = headers
        .get(header::CONTENT_TYPE)
        .map(|value| String::from_utf8_lossy(value.as_bytes()))
        .unwrap_or_default();
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") {
        Ok(())
    } else {
        Err(Problem::unsupported_media_type(&content_type))
    }
}

/// The signature over the batch, if the sender gives one: all four headers, or none.
fn batch_signature(headers: &HeaderMap) -> Result<Option<BatchSignature>, Problem> {
    let names = [SEQUENCE, ALGORITHM, PUBLIC_KEY, SIGNATURE];
    if names.iter().all(|name| !headers.contains_key(*name)) {
        return Ok(None);
    }
    let text = |name: &str| {
        let value = headers.get(name).and_then(|value| value.to_str().ok());
        value.ok_or_else(|| Problem::bad_request(format!("a signed batch needs the header {name}")))
    };
    let bytes = |name| {
        let decoded = STANDARD
            .decode(text(name)?)
            .ok()
            .filter(|b| b.len() <= SIGNATURE_BYTES_MAX);
        decoded.ok_or_else(|| {
            Problem::bad_request(format!(
                "{name} is no base64 of at most {SIGNATURE_BYTES_MAX} bytes"
            ))
        })
    };
    let sequence = text(SEQUENCE)?
        .parse()
        .ok()
        .filter(|sequence| *sequence <= SEQUENCE_MAX);
    let algorithm = SignatureAlgorithm::from_name(text(ALGORITHM)?);
    Ok(Some(BatchSignature {
        sequence: sequence
            .ok_or_else(|| Problem::bad_request(format!("{SEQUENCE} is no number up to 2^53")))?,
        algorithm: algorithm.ok_or_else(|| {
            Problem::bad_request(format!(
                "{ALGORITHM} is neither ecdsa-p256-sha256 nor sm2-sm3"
            ))
        })?,
        public_key: bytes(PUBLIC_KEY)?,
        signature: bytes(SIGNATURE)?,
    }))
}

/// Numbers in the log are exact as doubles (RFC 8785).
const SEQUENCE_MAX: u64 = 1 << 53;
