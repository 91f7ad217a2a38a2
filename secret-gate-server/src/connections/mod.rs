//! Connections: how many there may be at once and from one address, how slow their clients, and how they end.
//!
//! Where all are taken, one that waits for a request makes room for the next ([`seats`], [`progress`]).
//! Heads and bodies have their times ([`pace`], [`crate::extract`]), an answer that nobody takes has one, a connection
//! that nobody uses has one: so each slot comes free again, whatever its client does.

mod files;
mod pace;
mod progress;
mod seats;
#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::ConnectInfo;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use crate::App;
use crate::logging::chain;
use pace::Paced;
use progress::{AnswerBody, Progress};
use seats::{Network, Room};

pub use files::raise_file_limit;
pub(crate) use files::room_for_connections;
pub(crate) use seats::Seats;

/// How many there may be at once, where nothing else is said.
pub(crate) const DEFAULT_MAX_CONNECTIONS: usize = 4096;

/// From the end of a call until the next head must be there, when the connection lies idle: longer than the minute after
/// which most proxies let go of theirs, so that they seldom send a call into one that is being closed.
const IDLE_PATIENCE: Duration = Duration::from_secs(75);

/// The longest head of a request, in bytes, and with it what a connection can make the server remember.
const MAX_HEAD: usize = 32 * 1024;

/// How long to wait when the system has no connection to give.
const ACCEPT_PAUSE: Duration = Duration::from_millis(250);

/// Takes connections until the server is told to stop, as long as there are seats, and shows how many there are; returns
/// those still open.
pub(crate) async fn accept(listener: TcpListener, mut seats: Seats, router: Router, app: &App) -> Seats {
    let (shown, turned_idle) = (app.metrics.connections(), Arc::new(Notify::new()));
    let (mut full, mut refused, mut failing) = (OnceAMinute::default(), OnceAMinute::default(), OnceAMinute::default());
    let mut next: Option<(TcpStream, SocketAddr)> = None;
    loop {
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        shown.set(seats.len() as f64);
        if let Some((stream, peer)) = next.take() {
            let network = (!app.identity.trusts(peer.ip())).then(|| Network::of(peer.ip()));
            match seats.make_room(network) {
                Room::Free => {
                    if let Err(error) = stream.set_nodelay(true) {
                        tracing::debug!(%peer, %error, "small answers may leave late");
                    }
                    // before its first call, which may ask how many there are
                    shown.increment(1.0);
                    let progress = Progress::new(Arc::clone(&turned_idle));
                    let connection = serve(stream, peer, router.clone(), progress.clone(), app.stopping.clone());
                    seats.take(network, progress, connection);
                }
                Room::AllTaken => {
                    if full.now() {
                        tracing::warn!(
                            open = seats.len(),
                            "all connections are taken by calls; others wait until one ends"
                        );
                    }
                    next = Some((stream, peer));
                }
                Room::ShareTaken => {
                    if refused.now() {
                        tracing::warn!(%peer, share = seats.share(), "closed a connection: its address has its share");
                    }
                }
            }
        }
        tokio::select! {
            () = app.stopping.cancelled() => return seats,
            true = seats.one_ended() => {}
            () = turned_idle.notified(), if next.is_some() => {}
            accepted = listener.accept(), if next.is_none() => match accepted {
                Ok(accepted) => next = Some(accepted),
                Err(error) if is_over(&error) => {}
                Err(error) => {
                    if failing.now() {
                        tracing::warn!(%error, open = seats.len(), "no connection can be taken for now");
                    }
                    tokio::select! {
                        () = app.stopping.cancelled() => {}
                        () = tokio::time::sleep(ACCEPT_PAUSE) => {}
                    }
                }
            }
        }
    }
}

/// Whether this is about a connection that ended before it was taken, and not about the next one.
fn is_over(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

/// Answers the calls of one connection; the last one is that under way when the server is told to stop.
async fn serve<S>(stream: S, peer: SocketAddr, router: Router, progress: Progress, stopping: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let stream = TokioIo::new(Paced::new(stream, progress.clone()));
    let service = service_fn(move |mut request: Request<Incoming>| {
        let (call, router) = (progress.begin_call(), router.clone());
        request.extensions_mut().insert(ConnectInfo(peer));
        async move {
            let call = call.ok_or_else(|| io::Error::from(io::ErrorKind::ConnectionAborted))?;
            let Ok(answer) = router.oneshot(request).await;
            Ok::<_, io::Error>(answer.map(|body| AnswerBody::new(body, call)))
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
