//! Whether a request could be served now.

use std::sync::Arc;
use std::time::{Duration, Instant};

use secret_gate_core::{Error, Gate};
use serde::Serialize;
use tokio::sync::Mutex;
use tracing::Instrument as _;
use utoipa::ToSchema;

use crate::logging::chain;

/// How long an answer is good for, so that looking often costs little upstream.
const GOOD_FOR: Duration = Duration::from_secs(5);

const UNAVAILABLE: &str = "unavailable";

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
    latest: Arc<Mutex<Option<(Instant, Readiness)>>>,
}

impl ReadinessCheck {
    /// Looks, or tells what was found lately. A look that was begun comes to its end whoever leaves meanwhile, so that
    /// calls that are cut off cost nothing more upstream.
    pub(crate) async fn look(&self, gate: &Gate) -> Readiness {
        let mut latest = Arc::clone(&self.latest).lock_owned().await;
        if let Some((at, readiness)) = latest.as_ref()
            && at.elapsed() < GOOD_FOR
        {
            return readiness.clone();
        }
        let gate = gate.clone();
        let looking = async move {
            let readiness = Readiness::of(&gate).await;
            *latest = Some((Instant::now(), readiness.clone()));
            readiness
        };
        let looked = tokio::spawn(looking.in_current_span()).await;
        // an error means that the task died
        looked.unwrap_or(Readiness { ready: false, backend: UNAVAILABLE, approver: UNAVAILABLE })
    }
}

impl Readiness {
    async fn of(gate: &Gate) -> Self {
        let (backend, approver) = tokio::join!(gate.check_backend(), gate.check_approver());
        let ready = backend.is_ok() && approver.is_ok();
        Self { ready, backend: word("backend", backend), approver: word("approver", approver) }
    }
}

/// Anybody may ask, so the answer names no address and no cause.
fn word(part: &str, state: Result<(), Error>) -> &'static str {
    match state {
        Ok(()) => "ok",
        Err(error) => {
            tracing::warn!(part, error = chain(&error), "not ready");
            UNAVAILABLE
        }
    }
}
