//! Whether a request could be served now.

use std::time::{Duration, Instant};

use secret_gate_core::{Error, Gate};
use serde::Serialize;
use tokio::sync::Mutex;
use utoipa::ToSchema;

use crate::logging::chain;

/// How long an answer is good for, so that looking often costs little upstream.
const GOOD_FOR: Duration = Duration::from_secs(5);

/// Whether the parts that a request needs can do theirs.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Readiness {
    /// Whether all can.
    pub(crate) ready: bool,
    /// The secret backend: `ok` or `unavailable`. The log tells what is wrong.
    backend: &'static str,
    /// The way to the human: `ok` or `unavailable`. The log tells what is wrong.
    approver: &'static str,
}

#[derive(Debug, Default)]
pub(crate) struct ReadinessCheck {
    latest: Mutex<Option<(Instant, Readiness)>>,
}

impl ReadinessCheck {
    pub(crate) async fn look(&self, gate: &Gate) -> Readiness {
        let mut latest = self.latest.lock().await;
        if let Some((at, readiness)) = latest.as_ref()
            && at.elapsed() < GOOD_FOR
        {
            return readiness.clone();
        }
        let (backend, approver) = tokio::join!(gate.check_backend(), gate.check_approver());
        let ready = backend.is_ok() && approver.is_ok();
        let readiness = Readiness { ready, backend: word("backend", backend), approver: word("approver", approver) };
        *latest = Some((Instant::now(), readiness.clone()));
        readiness
    }
}

/// Anybody may ask, so the answer names no address and no cause.
fn word(part: &str, state: Result<(), Error>) -> &'static str {
    match state {
        Ok(()) => "ok",
        Err(error) => {
            tracing::warn!(part, error = chain(&error), "not ready");
            "unavailable"
        }
    }
}
