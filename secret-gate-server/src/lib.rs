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
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderValue, header};
use axum::middleware;
use axum::response::IntoResponse as _;
use secret_gate_core::Gate;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::set_header::SetResponseHeaderLayer;

use crate::connections::Seats;
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

/// How often the times of answers are put together; until then each is kept.
const METRICS_UPKEEP: Duration = Duration::from_secs(15);

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
    stopping: CancellationToken,
    /// The calls that have not been answered, and the questions that are put although their callers left.
    under_way: TaskTracker,
}

impl AppState {
    /// Forgets what has ended.
    fn clean_up(&self) {
        self.gate.sweep();
        self.idempotency.sweep(&self.gate);
        self.limits.sweep();
    }
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

    /// How many connections there may be at once, 4,096 where nothing is said. Never more than the limit on open files
    /// leaves room for, see [`raise_file_limit`].
    ///
    /// Where all are taken, the next one is served in place of the one that has waited longest for a request; others
    /// wait until there is one. One address (of IPv6 the first 64 bits) can hold half of them, a trusted proxy more.
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
        let (router, app) = router(app);
        let revoking = app.clone();
        let revoking = async move { revoking.identity.take_back_revoked(&revoking.gate).await };
        let _revoking = AbortOnDropHandle::new(tokio::spawn(revoking));
        let (counts, forgets) = (app.clone(), app.clone());
        let house = keep_house(move || counts.metrics.upkeep(), move || forgets.clean_up(), cleanup_interval);
        let _house = AbortOnDropHandle::new(tokio::spawn(house));
        let until_stopped = async {
            stop.await;
            app.stopping.cancel();
        };
        let seats = Seats::new(max_connections.min(room));
        let (open, ()) = tokio::join!(connections::accept(listener, seats, router, &app), until_stopped);
        finish(&app, open).await;
        Ok(())
    }

    /// The API's description, OpenAPI 3.0.3.
    #[must_use]
    pub fn openapi() -> serde_json::Value {
        let document = routes::documented().into_openapi();
        openapi::to_3_0(serde_json::to_value(document).unwrap_or_default())
    }
}

fn router(app: AppState) -> (Router, App) {
    let (documented, _) = routes::documented().split_for_parts();
    let app = App(Arc::new(app));
    let router = documented
        .merge(routes::incomplete())
        .fallback(|| async { ApiError::no_such_path() })
        .method_not_allowed_fallback(|| async { ApiError::method_not_allowed() })
        .layer(DefaultBodyLimit::max(extract::MAX_BODY))
        .layer(CatchPanicLayer::custom(|_| ApiError::internal().into_response()))
        .layer(SetResponseHeaderLayer::overriding(header::CACHE_CONTROL, HeaderValue::from_static("no-store")))
        .layer(middleware::from_fn_with_state(app.clone(), logging::log_call))
        .with_state(app.clone());
    (router, app)
}

/// 64 random bits in hex; all zero where the system has none to give, and then no request can be made anyway.
fn random_id() -> String {
    let mut bytes = [0_u8; 8];
    getrandom::fill(&mut bytes).unwrap_or_default();
    hex::encode(bytes)
}

/// Waits for all that is under way, whether or not somebody still waits for its answer, and then for the last bytes of
/// answers; nobody else who still holds a connection open is waited for.
async fn finish(app: &App, mut open: Seats) {
    app.under_way.close();
    let deadline = tokio::time::Instant::now() + GRACE;
    let nothing_under_way = || tokio::time::timeout_at(deadline, app.under_way.wait());
    let in_time = nothing_under_way().await.is_ok();
    let last_bytes_left = tokio::time::timeout(LAST_BYTES, open.all_ended()).await.is_ok();
    drop(open);
    tracing::debug!(last_bytes_left, "closed all connections");
    // a head that came in with the last bytes may have begun something as well
    if !in_time || nothing_under_way().await.is_err() {
        tracing::warn!("some calls were not answered before the end");
    }
}

/// Goes on until it is dropped. The counts have their own clock: what has ended may be kept for days.
async fn keep_house(upkeep: impl FnMut() + Send, clean_up: impl FnMut() + Send, cleanup_interval: Duration) {
    tokio::join!(every(METRICS_UPKEEP, upkeep), every(cleanup_interval, clean_up));
}

async fn every(interval: Duration, mut work: impl FnMut() + Send) {
    loop {
        tokio::time::sleep(interval).await;
        work();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn counts_are_kept_up_however_seldom_something_is_forgotten() {
        const WEEK: Duration = Duration::from_secs(168 * 3600);
        let (upkept, cleaned) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let add = |count: &AtomicUsize| {
            count.fetch_add(1, Ordering::Relaxed);
        };
        let house = keep_house(|| add(&upkept), || add(&cleaned), WEEK);
        tokio::time::timeout(Duration::from_secs(61), house).await.unwrap_err();
        assert_eq!((upkept.load(Ordering::Relaxed), cleaned.load(Ordering::Relaxed)), (4, 0));
        let house = keep_house(|| {}, || add(&cleaned), WEEK);
        tokio::time::timeout(WEEK + Duration::from_secs(1), house).await.unwrap_err();
        assert_eq!(cleaned.load(Ordering::Relaxed), 1);
    }
}
