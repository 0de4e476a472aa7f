//! `POST /api/v1/erasures`: erases bodies, for admins. The answer comes once the entry
//! that says so is on disk.

use std::sync::Arc;
use std::time::Instant;

use auditchain_log::{ErasureRecord, MAX_ERASURE_RANGES, MAX_FIELD_BYTES};
use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{App, Shared};
use crate::auth::Caller;
use crate::erase::ERASURE_ENTRIES_MAX;
use crate::problem::Problem;
use crate::sequencer::Work;

/// Bytes of a request: its ranges and two short texts.
const REQUEST_BYTES_MAX: usize = 128 << 10;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    by: String,
    entries: Vec<[u64; 2]>,
    reason: String,
}

pub(super) async fn post(
    State(app): Shared,
    Extension(caller): Extension<Caller>,
    body: Body,
) -> Result<Json<Value>, Problem> {
    app.access.authorize_admin(&caller)?;
    let arrived = Instant::now();
    let bytes = to_bytes(body, REQUEST_BYTES_MAX)
        .await
        .map_err(|_| Problem::too_large(REQUEST_BYTES_MAX))?;
    let request: Request = serde_json::from_slice(&bytes)
        .map_err(|error| Problem::bad_request(format!("no erasure: {error}")))?;
    let record = app.check_erasure(request)?;
    let held = app
        .memory
        .set_aside("", bytes.len().div_ceil(1 << 10))
        .map_err(|error| Problem::unavailable(error.to_string()))?;
    let app: Arc<App> = app;
    let ack = app.submit(Work::Erasure(record), arrived, held).await?;
    Ok(Json(json!({ "erased": ack.accepted, "size": ack.size })))
}

impl App {
    fn check_erasure(&self, request: Request) -> Result<ErasureRecord, Problem> {
        for (name, text) in [("by", &request.by), ("reason", &request.reason)] {
            if text.trim().is_empty() || text.len() > MAX_FIELD_BYTES {
                return Err(Problem::bad_request(format!(
                    "{name} must say something, in at most {MAX_FIELD_BYTES} bytes"
                )));
            }
        }
        let record = ErasureRecord {
            by: request.by,
            entries: request.entries,
            reason: request.reason,
        };
        let size = self.latest.load().size();
        if !record.is_well_formed(size) {
            return Err(Problem::bad_request(format!(
                "entries must be 1 to {MAX_ERASURE_RANGES} pairs [first, last], ascending and apart, below the log's size of {size}"
            )));
        }
        let entries = record.entries.iter();
        let named = entries.fold(0_u64, |n, [first, last]| n.saturating_add(last - first + 1));
        if named > ERASURE_ENTRIES_MAX {
            return Err(Problem::bad_request(format!(
                "{named} entries are named, at most {ERASURE_ENTRIES_MAX} are erased by one request: send several"
            )));
        }
        Ok(record)
    }
}
