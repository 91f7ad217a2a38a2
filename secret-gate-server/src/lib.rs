//! The HTTP front-end of [`secret_gate_core`]: a human approves, a secret is released, once.
//!
//! [`config`] reads the environment, [`Server`] serves a [`Gate`] until it is told to stop.
//!
//! ```
//! use std::sync::Arc;
//! use secret_gate_core::{DenyAll, Gate, MemoryBackend};
//! use secret_gate_server::Server;
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> std::io::Result<()> {
//! let gate = Gate::builder(Arc::new(MemoryBackend::new()), Arc::new(DenyAll)).build();
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//! let server = Server::new(gate, format!("http://{}", listener.local_addr()?));
//! server.serve(listener, async { /* until Ctrl-C, say */ }).await
//! # }
//! ```

pub mod config;
mod connections;
mod error;
mod extract;
mod idempotency;
pub mod identity;
mod limits;
pub mod logging;
mod metered;
mod metrics;
mod openapi;
mod ready;
mod routes;

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::RequestExt as _;
use axum::Router;
use axum::extract::{DefaultBodyLimit, MatchedPath, RawPathParams, Request, State};
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use secret_gate_core::{Gate, Token};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::set_header::SetResponseHeaderLayer;
use tracing::Instrument as _;

use crate::error::ApiError;
use crate::idempotency::Idempotency;
use crate::identity::Identity;
use crate::ready::ReadinessCheck;

pub use connections::raise_file_limit;
pub use limits::Limits;
pub use metrics::Metrics;

/// How long a server that is told to stop goes on with what is under way; reading a secret takes up to 30 s.
const GRACE: Duration = Duration::from_secs(40);

/// How long the last answers have to leave.
const LAST_BYTES: Duration = Duration::from_secs(1);

/// The id of a call, in its answer and in the lines of the log that belong to it.
const CALL_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Serves a gate over HTTP.
#[derive(Debug)]
pub struct Server {
    app: AppState,
    cleanup_interval: Duration,
    max_connections: usize,
}

#[derive(Debug, Clone)]
struct App(Arc<AppState>);

impl std::ops::Deref for App {
    type Target = AppState;

    fn deref(&self) -> &AppState {
        &self.0
    }
}

#[derive(Debug)]
struct AppState {
    gate: Gate,
    base_url: String,
    client_dir: PathBuf,
    identity: Identity,
    limits: Limits,
    idempotency: Idempotency,
    ready: ReadinessCheck,
    metrics: Metrics,
    openapi: serde_json::Value,
    stopping: CancellationToken,
    /// The calls that have not been answered.
    under_way: TaskTracker,
}

impl Server {
    /// A server of this gate, known to its clients under this URL. Everybody may ask, within the usual limits.
    pub fn new(gate: Gate, base_url: impl Into<String>) -> Self {
        let base_url = base_url.into().trim_end_matches('/').to_owned();
        let app = AppState {
            gate,
            base_url,
            client_dir: PathBuf::from(config::DEFAULT_CLIENT_DIR),
            identity: Identity::default(),
            limits: Limits::per_minute(
                NonZeroU32::new(config::DEFAULT_REQUESTS_PER_MINUTE).unwrap_or(NonZeroU32::MIN),
                NonZeroU32::new(config::DEFAULT_LOOKUPS_PER_MINUTE).unwrap_or(NonZeroU32::MIN),
            ),
            idempotency: Idempotency::default(),
            ready: ReadinessCheck::default(),
            metrics: Metrics::new(),
            openapi: serde_json::Value::Null,
            stopping: CancellationToken::new(),
            under_way: TaskTracker::new(),
        };
        Self {
            app,
            cleanup_interval: Duration::from_secs(5 * 60),
            max_connections: connections::DEFAULT_MAX_CONNECTIONS,
        }
    }

    /// Who may ask, and where requests really come from.
    #[must_use]
    pub fn identity(mut self, identity: Identity) -> Self {
        self.app.identity = identity;
        self
    }

    /// How often a requester may ask.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.app.limits = limits;
        self
    }

    /// Where to count; the parts that the gate is built of can count there too, see [`Metrics`].
    #[must_use]
    pub fn metrics(mut self, metrics: Metrics) -> Self {
        self.app.metrics = metrics;
        self
    }

    /// The folder with the clients to hand out, in files named `client-OS-ARCH`.
    #[must_use]
    pub fn client_dir(mut self, folder: impl Into<PathBuf>) -> Self {
        self.app.client_dir = folder.into();
        self
    }

    /// How often ended requests are forgotten.
    #[must_use]
    pub const fn cleanup_interval(mut self, interval: Duration) -> Self {
        self.cleanup_interval = interval;
        self
    }

    /// How many connections there may be at once, 4,096 where nothing is said; others wait until one ends. Never more
    /// than the limit on open files leaves room for, see [`raise_file_limit`].
    #[must_use]
    pub const fn max_connections(mut self, max: usize) -> Self {
        self.max_connections = max;
        self
    }

    /// Serves until `stop` is ready; then finishes what is under way, answers who waits, and returns. Connections whose
    /// call has not come to its end by then, within 40 s, are closed.
    ///
    /// # Errors
    /// None for now: a listener that fails is tried again, and the log says so.
    pub async fn serve(
        self,
        listener: TcpListener,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> std::io::Result<()> {
        let Self { app, cleanup_interval, max_connections } = self;
        let room = connections::room_for_connections();
        if room < max_connections {
            tracing::warn!(connections = room, "the limit on open files keeps connections below {max_connections}");
        }
        let max = max_connections.min(room).max(1);
        let (router, app) = router(app);
        let _cleanup = AbortOnDropHandle::new(tokio::spawn(clean_up(app.clone(), cleanup_interval)));
        let until_stopped = async {
            stop.await;
            app.stopping.cancel();
        };
        let accepting = connections::accept(listener, max, router, app.stopping.clone(), app.metrics.connections());
        let (mut open, ()) = tokio::join!(accepting, until_stopped);
        tokio::select! {
            () = connections::all_ended(&mut open) => {}
            () = all_answered(&app) => {}
        }
        Ok(())
    }

    /// The API's description, OpenAPI 3.0.3.
    #[must_use]
    pub fn openapi() -> serde_json::Value {
        openapi_of(routes::documented().into_openapi())
    }
}

fn openapi_of(document: utoipa::openapi::OpenApi) -> serde_json::Value {
    openapi::to_3_0(serde_json::to_value(document).unwrap_or_default())
}

fn router(mut app: AppState) -> (Router, App) {
    let (documented, document) = routes::documented().split_for_parts();
    app.openapi = openapi_of(document);
    let app = App(Arc::new(app));
    let router = documented
        .merge(routes::incomplete())
        .fallback(|| async { ApiError::no_such_path() })
        .method_not_allowed_fallback(|| async { ApiError::method_not_allowed() })
        .layer(DefaultBodyLimit::max(extract::MAX_BODY))
        .layer(CatchPanicLayer::custom(|_| ApiError::internal().into_response()))
        .layer(SetResponseHeaderLayer::overriding(header::CACHE_CONTROL, HeaderValue::from_static("no-store")))
        .layer(middleware::from_fn_with_state(app.clone(), log_call))
        .with_state(app.clone());
    (router, app)
}

/// Gives each call an id, and the log one line for each answer, with the route's template: the path itself can hold a
/// token.
async fn log_call(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let _under_way = app.under_way.token();
    let call_id = random_id();
    let span = logging::call(&call_id);
    let answered = async {
        let started = Instant::now();
        if let Ok(params) = request.extract_parts::<RawPathParams>().await {
            log_whom_it_concerns(&app.gate, &params);
        }
        let method = request.method().clone();
        let matched = request.extensions().get::<MatchedPath>().cloned();
        let route = matched.as_ref().map_or("none", |path| path.as_str());
        let response = next.run(request).await;
        let (status, took) = (response.status().as_u16(), started.elapsed());
        let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        tracing::info!(%method, route, status, took_ms, "answered");
        app.metrics.count_answer(route, status, took);
        response
    };
    let mut response = answered.instrument(span).await;
    // whatever id the client sent: two calls must never share one
    response.headers_mut().extend(HeaderValue::try_from(call_id).ok().map(|id| (CALL_ID, id)));
    response
}

/// The token in the path stays out of the log; the id of its request, which opens nothing, takes its place.
fn log_whom_it_concerns(gate: &Gate, params: &RawPathParams) {
    let token = params.iter().find(|(name, _)| *name == "token");
    if let Some(standing) = token.and_then(|(_, token)| gate.standing(&Token::presented(token)).ok()) {
        logging::concerns(&standing.request_id);
    }
}

/// 64 random bits in hex; all zero where the system has none to give, and then no request can be made anyway.
fn random_id() -> String {
    let mut bytes = [0_u8; 8];
    getrandom::fill(&mut bytes).unwrap_or_default();
    hex::encode(bytes)
}

/// Returns when a server that was told to stop has nothing under way any more, whoever still holds a connection open.
async fn all_answered(app: &App) {
    app.under_way.close();
    if tokio::time::timeout(GRACE, app.under_way.wait()).await.is_err() {
        tracing::warn!("some calls were not answered before the end");
    }
    tokio::time::sleep(LAST_BYTES).await;
}

async fn clean_up(app: App, interval: Duration) {
    loop {
        tokio::time::sleep(interval).await;
        app.gate.sweep();
        app.idempotency.sweep(&app.gate);
        app.limits.sweep();
        app.metrics.upkeep();
    }
}
