//! HTTP: routes, what the handlers share, and how an error becomes an answer.
//!
//! `POST /audit/{source}` takes events; everything else is read-only. The read path
//! takes one committed [`Published`] at the start of a request and stays with it.

mod api;
mod body;
mod erasures;
mod ingest;
mod policies;
mod tiles;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use auditchain_store::{SledStore, StoreError};
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state, map_response};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Extension, Router};
use tokio::sync::{Semaphore, watch};

use crate::auth::{Access, Caller};
use crate::config::Config;
use crate::decode::TagKey;
use crate::memory::Memory;
use crate::metrics::{Metrics, RequestLabels};
use crate::policy_reload::PolicyReload;
use crate::problem::{PROBLEM_JSON, Problem};
use crate::published::{Latest, Published};
use crate::queue::Queue;
use crate::rate::Rates;
use crate::witness::Witnesses;

/// Bytes of what axum says when it refuses something.
const REFUSAL_BYTES_MAX: usize = 4096;

/// What the handlers share.
pub(crate) struct App {
    /// The configuration.
    pub(crate) config: Config,
    /// Who may do what.
    pub(crate) access: Arc<Access>,
    /// True once the service stops.
    pub(crate) stop: watch::Receiver<bool>,
    /// The last checkpoint.
    pub(crate) latest: Latest,
    /// The log.
    pub(crate) store: Arc<SledStore>,
    /// To the sequencer.
    pub(crate) queue: Arc<Queue>,
    /// What requests may hold; see [`Config::inflight_bytes_max`].
    pub(crate) memory: Memory,
    /// What sources may send.
    pub(crate) rates: Rates,
    /// One each request that is decoded at a time: decoding takes memory and a core.
    pub(crate) decoders: Semaphore,
    /// Of the duplicate index.
    pub(crate) tags: TagKey,
    /// The log's public keys.
    pub(crate) vkeys: Vec<String>,
    /// Changes what is in force.
    pub(crate) policy_reload: Arc<PolicyReload>,
    /// Who cosigns, if anyone.
    pub(crate) witnesses: Option<Arc<Witnesses>>,
    /// Where no sources are configured: those that have sent.
    pub(crate) seen_sources: Mutex<BTreeSet<String>>,
    /// Metrics.
    pub(crate) metrics: Arc<Metrics>,
}

/// Requests decoded at a time: enough to keep every core busy while some wait for the
/// disk.
pub(crate) fn decoders() -> Semaphore {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    Semaphore::new(2 * cores)
}

pub(crate) type Shared = State<Arc<App>>;

/// All routes; health and metrics only where they have no listener of their own.
pub(crate) fn router(app: Arc<App>) -> Router {
    let mut routes = Router::new()
        .route("/audit/{source}", post(ingest::post))
        .route("/checkpoint", get(tiles::checkpoint))
        .route("/checkpoint/latest", get(tiles::latest))
        .route("/tile/{*path}", get(tiles::tile))
        .route("/keys", get(tiles::keys))
        .route("/api/v1/status", get(api::status))
        .route("/api/v1/entries/{index}", get(api::entry))
        .route("/api/v1/bodies", get(api::bodies))
        .route("/api/v1/blobs/sha256/{digest}", get(api::blob))
        .route("/api/v1/erasures", post(erasures::post))
        .route("/api/v1/policies/reload", post(policies::reload))
        .route("/api/v1/rbac-snapshot", put(policies::put_snapshot))
        .route("/api/v1/proof/inclusion", get(api::inclusion))
        .route("/api/v1/proof/consistency", get(api::consistency));
    if app.config.admin_listen.is_none() {
        routes = health(routes).route("/metrics", get(metrics_for_admins));
    }
    finish(routes, app)
}

/// The routes of the admin listener. Who can reach it may read the metrics.
pub(crate) fn admin_router(app: Arc<App>) -> Router {
    finish(health(Router::new()).route("/metrics", get(metrics)), app)
}

fn health(routes: Router<Arc<App>>) -> Router<Arc<App>> {
    routes
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
}

fn finish(routes: Router<Arc<App>>, app: Arc<App>) -> Router {
    routes
        .fallback(|| async {
            Problem::not_found("no such path; see docs/architecture.md for the interfaces")
        })
        .method_not_allowed_fallback(|| async { Problem::method_not_allowed() })
        .layer(map_response(as_problem))
        .layer(map_response(no_sniffing))
        .layer(from_fn_with_state(Arc::clone(&app), count))
        .with_state(app)
}

impl App {
    /// Runs a read of the store off the async threads: it may wait for the disk.
    async fn read<T: Send + 'static>(
        self: Arc<Self>,
        read: impl FnOnce(&Published, &SledStore) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Problem> {
        let published = self.latest.load_full();
        let done = tokio::task::spawn_blocking(move || read(&published, &self.store)).await;
        let result = done.map_err(|_| Problem::internal("the read was broken off"))?;
        result.map_err(|error| {
            tracing::error!(%error, "the store can't be read");
            Problem::internal(format!(
                "{error}; run auditchain verify on the data directory"
            ))
        })
    }
}

/// Ready as long as the sequencer takes requests.
async fn readyz(State(app): Shared) -> Response {
    if app.queue.is_open() {
        "ok\n".into_response()
    } else {
        Problem::unavailable("the service is stopping").into_response()
    }
}

async fn metrics_for_admins(
    state: Shared,
    Extension(caller): Extension<Caller>,
) -> Result<Response, Problem> {
    state.access.authorize_admin(&caller)?;
    metrics(state).await
}

async fn metrics(State(app): Shared) -> Result<Response, Problem> {
    let held_bytes = app.memory.held_bytes();
    app.metrics
        .inflight
        .set(i64::try_from(held_bytes).unwrap_or(i64::MAX));
    let text = app
        .metrics
        .encode()
        .map_err(|error| Problem::internal(error.to_string()))?;
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, kind)], text).into_response())
}

async fn count(
    State(app): Shared,
    path: Option<MatchedPath>,
    request: Request,
    next: Next,
) -> Response {
    let response = next.run(request).await;
    let route = path
        .as_ref()
        .map_or("none", |path| path.as_str())
        .to_string();
    let labels = RequestLabels {
        route,
        status: response.status().as_u16(),
    };
    app.metrics.requests.get_or_create(&labels).inc();
    if response.status() == StatusCode::INTERNAL_SERVER_ERROR {
        tracing::error!(route = labels.route, "answered 500");
    }
    response
}

/// What axum itself refuses (a path or query that doesn't parse) becomes problem JSON
/// like everything else.
async fn as_problem(response: Response) -> Response {
    let (parts, body) = response.into_parts();
    let ours = |kind: &HeaderValue| kind.as_bytes() == PROBLEM_JSON.as_bytes();
    let is_error = parts.status.is_client_error() || parts.status.is_server_error();
    if !is_error || parts.headers.get(header::CONTENT_TYPE).is_some_and(ours) {
        return Response::from_parts(parts, body);
    }
    let text = axum::body::to_bytes(body, REFUSAL_BYTES_MAX)
        .await
        .unwrap_or_default();
    Problem::of_status(parts.status, String::from_utf8_lossy(&text)).into_response()
}

async fn no_sniffing(mut response: Response) -> Response {
    let nosniff = HeaderValue::from_static("nosniff");
    response
        .headers_mut()
        .insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
    response
}
