//! JSON for people and for the CLI: status, entries, bodies, proofs, and the values
//! that entries name by digest.

use std::fmt::Write as _;

use auditchain_log::{
    Entry, Hash, LeafIndex, Timestamp, TreeSize, consistency_proof, inclusion_proof, leaf_hash,
};
use auditchain_store::{Store as _, What};
use axum::extract::{Path, Query, State};
use axum::http::header;
use axum::response::IntoResponse;
use axum::{Extension, Json};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Shared;
use crate::auth::Caller;
use crate::problem::Problem;
use crate::published::PublishedTiles;
use crate::state::damaged;

/// Entries looked at for one answer of `/api/v1/bodies`.
const BODIES_ENTRIES_MAX: u64 = 4096;
/// Bytes of bodies after which such an answer ends.
const BODIES_BYTES_MAX: usize = 8 << 20;

pub(super) async fn status(
    State(app): Shared,
    Extension(caller): Extension<Caller>,
) -> Json<Value> {
    let published = app.latest.load();
    let time = |us| Timestamp::from_micros(us).to_string();
    let sources: Vec<Value> = published
        .watermarks
        .iter()
        .map(|(name, us)| json!({ "name": name, "watermark": time(*us) }))
        .collect();
    Json(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "origin": published.checkpoint.origin,
        "size": published.size(),
        "root": published.checkpoint.root.to_base64(),
        "blocks": published.blocks,
        "time": time(published.time_us),
        "keys": app.vkeys,
        "policies": published.policies,
        "policyError": app.policy_reload.error(app.access.authorize_admin(&caller).is_ok()),
        "rbacSnapshot": published.snapshots.last(),
        "sources": sources,
        "witnesses": app.witnesses.as_ref().map(|witnesses| witnesses.status()),
    }))
}

#[derive(Deserialize)]
pub(super) struct EntryQuery {
    #[serde(default)]
    body: Option<String>,
}

/// An entry with its leaf hash, and on `body=1` what it commits to.
pub(super) async fn entry(
    State(app): Shared,
    Path(index): Path<u64>,
    Query(query): Query<EntryQuery>,
    Extension(caller): Extension<Caller>,
) -> Result<impl IntoResponse, Problem> {
    let with_body = match query.body.as_deref() {
        None | Some("0") => false,
        Some("1") => true,
        Some(other) => {
            return Err(Problem::bad_request(format!(
                "body is 0 or 1, not {other:?}"
            )));
        }
    };
    if with_body {
        app.access.authorize_reader(&caller)?;
    }
    let answer = app.read(move |published, store| {
        let Some(chunk) = store.chunk_at(index)?.filter(|_| index < published.size()) else {
            return Ok(None);
        };
        let bytes = chunk.entry(index);
        let bytes = bytes.ok_or_else(|| damaged(What::Entries, Some(index)))?;
        // Canonical JSON goes in as it is, byte for byte.
        let leaf = leaf_hash(bytes).to_base64();
        let mut text = format!(
            "{{\"index\":{index},\"leafHash\":\"{leaf}\",\"entry\":{}",
            String::from_utf8_lossy(bytes)
        );
        if let Some(body) = chunk.body(index).filter(|_| with_body) {
            let undecodable = Entry::parse(bytes).is_ok_and(|entry| entry.body_is_raw());
            let salt = hex::encode(body.salt);
            // Writing into a String can't fail.
            let _ = match std::str::from_utf8(body.bytes) {
                Ok(json) if !undecodable => write!(text, ",\"salt\":\"{salt}\",\"body\":{json}"),
                _ => write!(
                    text,
                    ",\"salt\":\"{salt}\",\"bodyBase64\":\"{}\"",
                    STANDARD.encode(body.bytes)
                ),
            };
        }
        text.push_str("}\n");
        Ok(Some(text))
    });
    let text = answer
        .await?
        .ok_or_else(|| Problem::not_found(format!("the log has no entry {index}")))?;
    Ok(([(header::CONTENT_TYPE, "application/json")], text))
}

#[derive(Deserialize)]
pub(super) struct Range {
    from: u64,
    to: u64,
}

/// Bodies of the entries `from` to `to`, a JSON object a line; the last line says
/// from where to go on.
pub(super) async fn bodies(
    State(app): Shared,
    Query(range): Query<Range>,
    Extension(caller): Extension<Caller>,
) -> Result<impl IntoResponse, Problem> {
    app.access.authorize_reader(&caller)?;
    let text = app.read(move |published, store| {
        let end = range
            .to
            .min(published.size())
            .min(range.from.saturating_add(BODIES_ENTRIES_MAX));
        let mut text = String::new();
        let mut index = range.from;
        while index < end && text.len() < BODIES_BYTES_MAX {
            let Some(chunk) = store.chunk_at(index)? else {
                break;
            };
            while index < end && index < chunk.end() {
                if let Some(body) = chunk.body(index) {
                    let salt = hex::encode(body.salt);
                    let body = STANDARD.encode(body.bytes);
                    // Writing into a String can't fail.
                    let _ = writeln!(
                        text,
                        "{{\"index\":{index},\"salt\":\"{salt}\",\"body\":\"{body}\"}}"
                    );
                }
                index += 1;
            }
        }
        let _ = writeln!(text, "{{\"next\":{index}}}");
        Ok(text)
    });
    Ok((
        [(header::CONTENT_TYPE, "application/x-ndjson")],
        text.await?,
    ))
}

/// A module, settings or an RBAC snapshot, by the digest that an entry names.
pub(super) async fn blob(
    State(app): Shared,
    Path(digest): Path<String>,
    Extension(caller): Extension<Caller>,
) -> Result<impl IntoResponse, Problem> {
    app.access.authorize_reader(&caller)?;
    let digest: Hash = digest
        .parse()
        .map_err(|error: auditchain_log::HashParseError| Problem::bad_request(error.to_string()))?;
    let bytes = app
        .read(move |_, store| store.blob(&format!("sha256/{digest}")))
        .await?;
    let bytes = bytes.ok_or_else(|| Problem::not_found("nothing is kept by this digest"))?;
    Ok(([(header::CONTENT_TYPE, "application/octet-stream")], bytes))
}

#[derive(Deserialize)]
pub(super) struct InclusionQuery {
    index: u64,
    size: Option<u64>,
}

/// RFC 6962 audit path of an entry in the tree of `size`, by default the newest.
pub(super) async fn inclusion(
    State(app): Shared,
    Query(query): Query<InclusionQuery>,
) -> Result<Json<Value>, Problem> {
    let answer = app.read(move |published, store| {
        let size = query.size.unwrap_or(published.size());
        let (index, tiles) = (LeafIndex(query.index), PublishedTiles { published, store });
        if size > published.size() {
            return Ok(None);
        }
        let Some(hashes) = inclusion_proof(index, TreeSize(size), &tiles)? else {
            return Ok(None);
        };
        let hashes: Vec<String> = hashes.iter().map(|hash| hash.to_base64()).collect();
        Ok(Some(
            json!({ "index": query.index, "size": size, "hashes": hashes }),
        ))
    });
    let problem =
        || Problem::not_found("index and size must satisfy index < size <= the log's size");
    answer.await?.map(Json).ok_or_else(problem)
}

#[derive(Deserialize)]
pub(super) struct ConsistencyQuery {
    from: u64,
    to: Option<u64>,
}

/// RFC 6962 proof that the tree of `from` entries is a prefix of the tree of `to`.
pub(super) async fn consistency(
    State(app): Shared,
    Query(query): Query<ConsistencyQuery>,
) -> Result<Json<Value>, Problem> {
    let answer = app.read(move |published, store| {
        let to = query.to.unwrap_or(published.size());
        if to > published.size() {
            return Ok(None);
        }
        let tiles = PublishedTiles { published, store };
        let Some(hashes) = consistency_proof(TreeSize(query.from), TreeSize(to), &tiles)? else {
            return Ok(None);
        };
        let hashes: Vec<String> = hashes.iter().map(|hash| hash.to_base64()).collect();
        Ok(Some(
            json!({ "from": query.from, "to": to, "hashes": hashes }),
        ))
    });
    let problem =
        || Problem::not_found("from and to must satisfy 0 < from <= to <= the log's size");
    answer.await?.map(Json).ok_or_else(problem)
}
