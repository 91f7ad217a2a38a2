//! The handlers, thin: take in, ask the gate, say what it said.

mod clients;
mod lookup;
mod operations;
mod requests;

use std::time::{Duration, SystemTime};

use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::header;
use axum::http::request::Parts;
use axum::routing::MethodRouter;
use secret_gate_core::wire::GrantInfo;
use secret_gate_core::{Grant, Requester, parse_duration};
use std::net::SocketAddr;
use utoipa::OpenApi;
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouterExt as _};
use utoipa_axum::routes;

use crate::App;
use crate::error::ApiError;

/// The longest that an answer is held.
const MAX_WAIT: Duration = Duration::from_secs(60);

#[derive(OpenApi)]
#[openapi(
    info(title = "Secret Gate", description = "A human approves on the phone, a secret is released, once."),
    modifiers(&Security)
)]
struct Document;

struct Security;

impl utoipa::Modify for Security {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
        let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        document.components.get_or_insert_default().add_security_scheme("key", SecurityScheme::Http(bearer));
    }
}

/// Every documented route, and the document.
pub(crate) fn documented() -> OpenApiRouter<App> {
    OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(lookup::search))
        .routes(routes!(lookup::fields))
        .routes(routes!(requests::create))
        .routes(routes!(requests::withdraw))
        .routes(routes!(requests::status).map(without_head))
        .routes(routes!(requests::secret).map(without_head))
        .routes(routes!(requests::watch))
        .routes(routes!(clients::download))
        .routes(routes!(clients::download_linux))
        .routes(routes!(operations::health))
        .routes(routes!(operations::health_underscore))
        .routes(routes!(operations::ready))
        .routes(routes!(operations::metrics))
        .routes(routes!(operations::openapi))
        .routes(routes!(operations::root))
}

/// Refuses HEAD, which would else run the handler of GET, and so release a secret to nobody.
fn without_head(routes: MethodRouter<App>) -> MethodRouter<App> {
    routes.head(|| async { ([(header::ALLOW, "GET")], ApiError::method_not_allowed()) })
}

/// Paths that only exist to say what is missing in them.
pub(crate) fn incomplete() -> axum::Router<App> {
    use axum::routing::{any, get};
    let missing_token = || async { ApiError::missing_token() };
    let invalid_path = || async { clients::invalid_path() };
    axum::Router::new()
        .route("/status", get(missing_token))
        .route("/status/", get(missing_token))
        .route("/secret", get(missing_token))
        .route("/secret/", get(missing_token))
        .route("/request/", axum::routing::delete(missing_token))
        .route("/client", get(invalid_path))
        .route("/client/", get(invalid_path))
        .route("/client/{os}/", any(invalid_path))
        .route("/client/{os}/{arch}/", any(invalid_path))
        .route("/client/{os}/{arch}/{*rest}", any(invalid_path))
}

/// Who sends the request; refuses it where a key is needed and none is shown.
#[derive(Debug)]
pub(crate) struct Asking(pub(crate) Requester);

impl FromRequestParts<App> for Asking {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>().ok_or_else(ApiError::internal)?.0;
        app.identity.requester(&parts.headers, peer).map(Self)
    }
}

/// A duration such as `30s`, `15m` or `1h30m`.
fn duration(member: &str, text: &str) -> Result<Duration, ApiError> {
    parse_duration(text).ok_or_else(|| {
        ApiError::bad_request("invalid_duration", format!("{member} must be a duration such as 30s, 15m or 1h30m."))
    })
}

/// How long to hold an answer, at most [`MAX_WAIT`].
fn wait(text: Option<&str>) -> Result<Duration, ApiError> {
    text.map_or(Ok(Duration::ZERO), |text| duration("wait", text)).map(|wait| wait.min(MAX_WAIT))
}

fn rfc3339(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string()
}

fn grant_info(grant: &Grant) -> GrantInfo {
    GrantInfo {
        id: grant.id.clone(),
        allowed: grant.allowed.clone(),
        expires_at: rfc3339(grant.expires_at),
        once: grant.once,
    }
}
