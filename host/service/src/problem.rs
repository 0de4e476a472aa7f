//! Errors over HTTP: [RFC 9457](https://www.rfc-editor.org/rfc/rfc9457) problem
//! details. The status of an error is decided here and nowhere else.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::rate::OverRate;

/// Seconds after which a sender should try again. An apiserver obeys up to 30.
const RETRY_AFTER_S: u64 = 1;

/// Content type of problem details.
pub(crate) const PROBLEM_JSON: &str = "application/problem+json";

/// An answer that is not what was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{title}: {detail}")]
pub(crate) struct Problem {
    status: StatusCode,
    title: &'static str,
    detail: String,
    retry_after_s: Option<u64>,
}

impl Problem {
    fn new(status: StatusCode, title: &'static str, detail: impl Into<String>) -> Self {
        Self {
            status,
            title,
            detail: detail.into(),
            retry_after_s: (status == StatusCode::SERVICE_UNAVAILABLE).then_some(RETRY_AFTER_S),
        }
    }

    /// What was refused before it came to us.
    pub(crate) fn of_status(status: StatusCode, detail: impl Into<String>) -> Self {
        Self::new(
            status,
            status.canonical_reason().unwrap_or("Refused"),
            detail,
        )
    }

    /// 400: the request can't be understood.
    pub(crate) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "The request can't be understood",
            detail,
        )
    }

    /// 401: no or a wrong token.
    pub(crate) fn unauthorized(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "Authentication is needed", detail)
    }

    /// 403: not for this sender.
    pub(crate) fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "Not allowed", detail)
    }

    /// 404
    pub(crate) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "Not found", detail)
    }

    /// 405
    pub(crate) fn method_not_allowed() -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "Method not allowed",
            "POST for /audit/{source}, /api/v1/erasures and /api/v1/policies/reload, PUT for /api/v1/rbac-snapshot, GET for everything else",
        )
    }

    /// 413: over the configured body limit.
    pub(crate) fn too_large(bytes_max: usize) -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "The body is too large",
            format!(
                "at most {bytes_max} bytes are taken; run the apiserver with --audit-webhook-truncate-enabled, or raise limits.bodyBytes"
            ),
        )
    }

    /// 413: its events are too much for one block.
    pub(crate) fn too_large_for_a_block(why: &str) -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "The request is too much for one block",
            format!("{why}; send fewer events in a request"),
        )
    }

    /// 415: not JSON.
    pub(crate) fn unsupported_media_type(found: &str) -> Self {
        Self::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "Unsupported content type",
            format!("expected Content-Type application/json, found {found:?}"),
        )
    }

    /// 408: the body came too slowly.
    pub(crate) fn timeout() -> Self {
        Self::new(
            StatusCode::REQUEST_TIMEOUT,
            "The request took too long",
            "the body came too slowly: fewer bytes a second than limits.bodyBytesPerSecond, or not whole within limits.bodyTimeout",
        )
    }

    /// 429: more than the source's rate; nothing was taken.
    pub(crate) fn over_rate(over: &OverRate) -> Self {
        Self {
            retry_after_s: Some(over.retry_after_s),
            ..Self::new(
                StatusCode::TOO_MANY_REQUESTS,
                "The source is over its rate",
                over.to_string(),
            )
        }
    }

    /// 503: try again soon; nothing was taken.
    pub(crate) fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "Try again", detail)
    }

    /// 500: the store or the service failed.
    pub(crate) fn internal(detail: impl Into<String>) -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "The service failed",
            detail,
        )
    }

    /// HTTP status.
    #[must_use]
    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = json!({
            "type": "about:blank",
            "title": self.title,
            "status": self.status.as_u16(),
            "detail": self.detail,
        });
        let mut response = (self.status, Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        if let Some(seconds) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
