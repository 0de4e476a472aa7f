//! The static surface of [c2sp.org/tlog-tiles](https://c2sp.org/tlog-tiles): the
//! checkpoint, tiles and entry bundles, and our public keys.

use auditchain_log::{TILE_WIDTH, TileRef};
use axum::extract::{Path, State};
use axum::http::header;
use axum::response::IntoResponse;

use super::Shared;
use crate::problem::Problem;

/// A tile never changes, a partial one neither.
const IMMUTABLE: &str = "public, max-age=31536000, immutable";

/// The newest checkpoint; where witnesses are configured the newest that their quorum
/// cosigned, so that it satisfies at any time who asks for the quorum.
pub(super) async fn checkpoint(State(app): Shared) -> impl IntoResponse {
    let published = app.latest.load();
    let cosigned = app.witnesses.as_ref().and_then(|w| w.served(&published));
    (TEXT, cosigned.unwrap_or_else(|| published.note.clone()))
}

/// The newest checkpoint, whoever has cosigned it.
pub(super) async fn latest(State(app): Shared) -> impl IntoResponse {
    (TEXT, app.latest.load().note.clone())
}

pub(super) async fn keys(State(app): Shared) -> impl IntoResponse {
    (TEXT, app.vkeys.join("\n") + "\n")
}

/// What changes with each block: to be asked for again each time.
const TEXT: [(header::HeaderName, &str); 2] = [
    (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
    (header::CACHE_CONTROL, "no-cache"),
];

pub(super) async fn tile(
    State(app): Shared,
    Path(path): Path<String>,
) -> Result<impl IntoResponse, Problem> {
    let tile = TileRef::parse(&path).map_err(|error| Problem::bad_request(error.to_string()))?;
    let bytes = app
        .read(move |published, store| published.tile_bytes(tile, store))
        .await?;
    let bytes = bytes.ok_or_else(|| {
        let width = match tile {
            TileRef::Hashes { width, .. } | TileRef::Entries { width, .. } => width,
        };
        let hint = if width == TILE_WIDTH {
            "; a partial tile is asked for as .p/<width>"
        } else {
            ""
        };
        Problem::not_found(format!("the log hasn't that many entries{hint}"))
    })?;
    Ok((
        [
            (header::CONTENT_TYPE, "application/octet-stream"),
            (header::CACHE_CONTROL, IMMUTABLE),
        ],
        bytes,
    ))
}
