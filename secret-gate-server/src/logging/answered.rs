//! One line for each call, and one count: answered, or left by its client before that.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use axum::RequestExt as _;
use axum::extract::{MatchedPath, RawPathParams, Request, State};
use axum::http::{HeaderName, HeaderValue, Method};
use axum::middleware::Next;
use axum::response::Response;
use secret_gate_core::{Gate, RequestId, Token};
use tracing::Instrument as _;

use super::call;
use crate::App;
use crate::metrics::Metrics;

/// The id of a call, in its answer and in the lines of the log that belong to it.
const CALL_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The target of the lines about answered calls.
pub(super) const TARGET: &str = module_path!();

/// What stands for the status where a client left before it was answered; no answer has it.
const CLIENT_LEFT: u16 = 499;

/// Gives each call an id, and the log one line for each, with the route's template: the path itself can hold a token.
pub(crate) async fn log_call(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let _under_way = app.under_way.token();
    let started = Instant::now();
    let call_id = unique_id();
    let concerned = match request.extract_parts::<RawPathParams>().await {
        Ok(params) => whom_it_concerns(&app.gate, &params),
        Err(_) => None,
    };
    let span = call(&call_id, concerned.as_ref());
    let answered = async {
        let waiting = Waiting {
            method: name_of(request.method()),
            route: request.extensions().get::<MatchedPath>().cloned(),
            started,
            metrics: &app.metrics,
            is_answered: false,
        };
        let response = next.run(request).await;
        waiting.answered(response.status().as_u16());
        response
    };
    let mut response = answered.instrument(span).await;
    // whatever id the client sent: two calls must never share one
    response.headers_mut().extend(HeaderValue::try_from(call_id).ok().map(|id| (CALL_ID, id)));
    response
}

/// A call whose client waits for the answer. One that is dropped without an answer was left.
struct Waiting<'a> {
    method: &'static str,
    route: Option<MatchedPath>,
    started: Instant,
    metrics: &'a Metrics,
    is_answered: bool,
}

impl Waiting<'_> {
    fn answered(mut self, status: u16) {
        self.is_answered = true;
        let took_ms = self.count(status);
        tracing::info!(method = self.method, route = self.route(), status, took_ms, "answered");
    }

    fn route(&self) -> &str {
        self.route.as_ref().map_or("none", MatchedPath::as_str)
    }

    /// Returns how many milliseconds it took.
    fn count(&self, status: u16) -> u64 {
        let took = self.started.elapsed();
        self.metrics.count_answer(self.route(), status, took);
        u64::try_from(took.as_millis()).unwrap_or(u64::MAX)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if !self.is_answered {
            let took_ms = self.count(CLIENT_LEFT);
            let (method, route, status) = (self.method, self.route(), CLIENT_LEFT);
            tracing::info!(method, route, status, took_ms, "the client left before the answer");
        }
    }
}

/// A client can make up methods, of any length.
fn name_of(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        Method::TRACE => "TRACE",
        Method::CONNECT => "CONNECT",
        _ => "other",
    }
}

/// The token in the path stays out of the log; the id of its request, which opens nothing, takes its place.
fn whom_it_concerns(gate: &Gate, params: &RawPathParams) -> Option<RequestId> {
    let (_, token) = params.iter().find(|(name, _)| *name == "token")?;
    Some(gate.standing(&Token::presented(token)).ok()?.request_id)
}

/// An id that no other call of this server has, nor one of another start. It opens nothing, so it may be guessed.
fn unique_id() -> String {
    /// Odd, so that 2^64 steps of it meet no number twice, and big, so that two ids don't look alike.
    const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
    static NEXT: LazyLock<AtomicU64> = LazyLock::new(|| {
        let mut bytes = [0_u8; 8];
        getrandom::fill(&mut bytes).unwrap_or_default();
        AtomicU64::new(u64::from_ne_bytes(bytes))
    });
    format!("{:016x}", NEXT.fetch_add(STEP, Ordering::Relaxed))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_two_calls_share_an_id() {
        let ids: HashSet<String> = (0..100_000).map(|_| unique_id()).collect();
        assert_eq!(ids.len(), 100_000);
        assert!(ids.iter().all(|id| id.len() == 16));
    }
}
