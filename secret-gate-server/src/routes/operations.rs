//! For whoever operates the server.

use std::sync::LazyLock;

use axum::Json as Answer;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::App;
use crate::ready::Readiness;

/// Whether the process serves
#[utoipa::path(get, path = "/health", tag = "operations", responses((status = 200, description = "OK", body = String)))]
pub(super) async fn health() -> &'static str {
    "OK"
}

/// Whether the process serves
#[utoipa::path(get, path = "/_/health", tag = "operations", responses((status = 200, description = "OK", body = String)))]
pub(super) async fn health_underscore() -> &'static str {
    "OK"
}

/// Whether a request could be served now
#[utoipa::path(get, path = "/ready", tag = "operations",
    responses((status = 200, description = "backend and approver can do their part", body = Readiness),
        (status = 503, description = "one of them can't", body = Readiness)))]
pub(super) async fn ready(State(app): State<App>) -> (StatusCode, Answer<Readiness>) {
    let readiness = app.ready.look(&app.gate).await;
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Answer(readiness))
}

/// Metrics for Prometheus
#[utoipa::path(get, path = "/metrics", tag = "operations",
    responses((status = 200, description = "Prometheus text", body = String, content_type = "text/plain")))]
pub(super) async fn metrics(State(app): State<App>) -> Response {
    let content_type = [(header::CONTENT_TYPE, "text/plain; version=0.0.4")];
    (content_type, app.metrics.render(&app.gate)).into_response()
}

/// This description
#[utoipa::path(get, path = "/openapi.json", tag = "operations",
    responses((status = 200, description = "OpenAPI 3.0.3", body = serde_json::Value)))]
pub(super) async fn openapi() -> Response {
    // made for the first who asks: most servers are never asked
    static DOCUMENT: LazyLock<Bytes> = LazyLock::new(|| crate::Server::openapi().to_string().into());
    ([(header::CONTENT_TYPE, "application/json")], DOCUMENT.clone()).into_response()
}

/// What this server calls itself.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Root {
    service: &'static str,
    status: &'static str,
    /// Random, another with each start: tells this server from others under the same name
    instance: &'static str,
}

static INSTANCE: LazyLock<String> = LazyLock::new(crate::random_id);

/// What serves here
#[utoipa::path(get, path = "/", tag = "operations", responses((status = 200, description = "a greeting", body = Root)))]
pub(super) async fn root() -> Answer<Root> {
    Answer(Root { service: "secret-gate", status: "running", instance: &INSTANCE })
}
