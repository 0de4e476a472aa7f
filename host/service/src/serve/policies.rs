//! `POST /api/v1/policies/reload` and `PUT /api/v1/rbac-snapshot`: change what verdicts
//! are made with, for admins. The answer comes once the entries that say so are on disk.

use std::collections::BTreeMap;
use std::sync::Arc;

use auditchain_sandbox::MAX_RBAC_SNAPSHOT_BYTES;
use axum::body::{Body, HttpBody as _, to_bytes};
use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use super::{App, Shared};
use crate::auth::Caller;
use crate::policy_reload::{ChangeError, PolicyReload};
use crate::problem::Problem;
use crate::sequencer::Ack;

pub(super) async fn reload(
    State(app): Shared,
    Extension(caller): Extension<Caller>,
) -> Result<Json<Value>, Problem> {
    app.access.authorize_admin(&caller)?;
    app.change(PolicyReload::reload).await
}

pub(super) async fn put_snapshot(
    State(app): Shared,
    Extension(caller): Extension<Caller>,
    body: Body,
) -> Result<Json<Value>, Problem> {
    app.access.authorize_admin(&caller)?;
    let announced = body.size_hint().exact();
    let bytes_max = announced.map_or(MAX_RBAC_SNAPSHOT_BYTES, |bytes| {
        usize::try_from(bytes).unwrap_or(usize::MAX)
    });
    if bytes_max > MAX_RBAC_SNAPSHOT_BYTES {
        return Err(too_large());
    }
    let held = app.memory.set_aside("", bytes_max.div_ceil(1 << 10).max(1));
    let _held = held.map_err(|error| Problem::unavailable(error.to_string()))?;
    let limit = app.config.limits.body_timeout;
    let bytes = tokio::time::timeout(limit, to_bytes(body, bytes_max)).await;
    let bytes = bytes.map_err(|_| Problem::timeout())?;
    let bytes = bytes.map_err(|_| too_large())?.to_vec();
    // Only that it is JSON, whether or not a policy wants it: the guests read further.
    serde_json::from_slice::<BTreeMap<String, IgnoredAny>>(&bytes).map_err(|error| {
        Problem::bad_request(format!(
            "no list of RBAC objects, as kubectl get clusterroles,clusterrolebindings,roles,rolebindings -A -o json writes it: {error}"
        ))
    })?;
    app.change(|reload| reload.put_snapshot(bytes)).await
}

impl App {
    /// Compiles and waits for the block, off the async threads.
    async fn change(
        self: Arc<Self>,
        change: impl FnOnce(&PolicyReload) -> Result<Ack, ChangeError> + Send + 'static,
    ) -> Result<Json<Value>, Problem> {
        let app = Arc::clone(&self);
        let done = tokio::task::spawn_blocking(move || change(&app.policy_reload)).await;
        let result = done.map_err(|_| Problem::internal("the change was broken off"))?;
        let ack = result.map_err(|error| problem(&error))?;
        Ok(Json(json!({
            "entries": ack.accepted,
            "size": ack.size,
            "policies": self.latest.load().policies,
        })))
    }
}

fn problem(error: &ChangeError) -> Problem {
    let text = error.to_string();
    match error {
        ChangeError::Unavailable(_) => Problem::unavailable(text),
        ChangeError::SnapshotConfigured(_) => Problem::of_status(StatusCode::CONFLICT, text),
        ChangeError::Config(_) | ChangeError::Refused(_) | ChangeError::TooLarge(_) => {
            Problem::of_status(
                StatusCode::UNPROCESSABLE_ENTITY,
                format!("{text}; what was in force stays"),
            )
        }
    }
}

fn too_large() -> Problem {
    Problem::of_status(
        StatusCode::PAYLOAD_TOO_LARGE,
        format!("an RBAC snapshot has at most {MAX_RBAC_SNAPSHOT_BYTES} bytes"),
    )
}
