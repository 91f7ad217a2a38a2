//! Connections: how many there may be at once, how slow their clients, and how they end.
//!
//! Heads and bodies have their times ([`pace`], [`crate::extract`]), an answer that nobody takes has one, a connection
//! that nobody uses has one: so each slot comes free again, whatever its client does.

mod files;
mod pace;
#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::ConnectInfo;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use metrics::Gauge;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use crate::logging::chain;
use pace::{Calls, Paced};

pub use files::raise_file_limit;
pub(crate) use files::room_for_connections;

/// How many there may be at once, where nothing else is said.
pub(crate) const DEFAULT_MAX_CONNECTIONS: usize = 4096;

/// From the end of a call until the next head must be there, when the connection lies idle: longer than the minute after which most proxies let go of
/// theirs, so that they seldom send a call into one that is being closed.
const IDLE_PATIENCE: Duration = Duration::from_secs(75);

/// The longest head of a request, in bytes, and with it what a connection can make the server remember.
const MAX_HEAD: usize = 32 * 1024;

/// How long to wait when the system has no connection to give.
const ACCEPT_PAUSE: Duration = Duration::from_millis(250);

/// Takes connections until the server is told to stop, at most so many at once, and shows how many there are; returns
/// those still open. Dropping them closes them.
pub(crate) async fn accept(
    listener: TcpListener,
    max: usize,
    router: Router,
    stopping: CancellationToken,
    shown: Gauge,
) -> JoinSet<()> {
    let mut open = JoinSet::new();
    let (mut full, mut failing) = (OnceAMinute::default(), OnceAMinute::default());
    loop {
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        shown.set(open.len() as f64);
        let room = open.len() < max;
        if !room && full.now() {
            tracing::warn!(max, "no more connections can be taken; others wait until one ends");
        }
        tokio::select! {
            () = stopping.cancelled() => return open,
            Some(ended) = open.join_next() => note(ended),
            accepted = listener.accept(), if room => match accepted {
                Ok((stream, peer)) => {
                    if let Err(error) = stream.set_nodelay(true) {
                        tracing::debug!(%peer, %error, "small answers may leave late");
                    }
                    // before its first call, which may ask how many there are
                    shown.increment(1.0);
                    open.spawn(serve(stream, peer, router.clone(), stopping.clone()));
                }
                Err(error) if is_over(&error) => {}
                Err(error) => {
                    if failing.now() {
                        tracing::warn!(%error, open = open.len(), "no connection can be taken for now");
                    }
                    tokio::select! {
                        () = stopping.cancelled() => {}
                        () = tokio::time::sleep(ACCEPT_PAUSE) => {}
                    }
                }
            }
        }
    }
}

/// Ready once the last of them has ended.
pub(crate) async fn all_ended(open: &mut JoinSet<()>) {
    while let Some(ended) = open.join_next().await {
        note(ended);
    }
}

fn note(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a connection ended in a fault of the server");
    }
}

/// Whether this is about a connection that ended before it was taken, and not about the next one.
fn is_over(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

/// Answers the calls of one connection; the last one is that under way when the server is told to stop.
async fn serve<S>(stream: S, peer: SocketAddr, router: Router, stopping: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let calls = Calls::default();
    let stream = TokioIo::new(Paced::new(stream, calls.clone()));
    let service = service_fn(move |mut request: Request<Incoming>| {
        let (call, router) = (calls.begin(), router.clone());
        request.extensions_mut().insert(ConnectInfo(peer));
        async move {
            let answer = router.oneshot(request).await;
            drop(call);
            answer
        }
    });
    let mut http = http1::Builder::new();
    // this time runs from the end of a call on; the stream's own, shorter one begins with the next head
    http.timer(TokioTimer::new()).header_read_timeout(IDLE_PATIENCE);
    // the buffer alone is no limit: what fills it with the last read may be longer
    http.max_header_size(MAX_HEAD).max_buf_size(MAX_HEAD);
    let mut connection = pin!(http.serve_connection(stream, service));
    let served = tokio::select! {
        served = connection.as_mut() => served,
        () = stopping.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        log_end(peer, &error);
    }
}

/// Says why a connection ended, in words of the library or of the system: they hold nothing of what the client sent.
fn log_end(peer: SocketAddr, error: &hyper::Error) {
    let reason = chain(error);
    if error.is_timeout() {
        tracing::debug!(%peer, "closed an idle connection");
    } else if error.is_parse() {
        tracing::info!(%peer, reason, "refused what is not a request");
    } else if is_too_slow(error) {
        tracing::info!(%peer, reason, "closed the connection of a slow client");
    } else {
        tracing::debug!(%peer, reason, "a connection broke off");
    }
}

fn is_too_slow(error: &hyper::Error) -> bool {
    let causes = std::iter::successors(std::error::Error::source(error), |error| error.source());
    causes.filter_map(|cause| cause.downcast_ref::<io::Error>()).any(|error| error.kind() == io::ErrorKind::TimedOut)
}

/// Keeps what could be said all the time to once a minute.
#[derive(Debug, Default)]
struct OnceAMinute {
    last: Option<Instant>,
}

impl OnceAMinute {
    fn now(&mut self) -> bool {
        self.at(Instant::now())
    }

    fn at(&mut self, now: Instant) -> bool {
        let due = self.last.is_none_or(|last| now.duration_since(last) >= Duration::from_secs(60));
        if due {
            self.last = Some(now);
        }
        due
    }
}
