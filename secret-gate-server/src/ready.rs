//! Whether a request could be served now.

use std::time::{Duration, Instant};

use secret_gate_core::{Error, Gate};
use serde::Serialize;
use tokio::sync::Mutex;
use utoipa::ToSchema;

/// How long an answer is good for, so that looking often costs little upstream.
const GOOD_FOR: Duration = Duration::from_secs(5);

/// Whether the parts that a request needs can do theirs.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Readiness {
    /// Whether all can.
    pub(crate) ready: bool,
    /// `ok`, or what is wrong with the secret backend.
    backend: String,
    /// `ok`, or what is wrong with the way to the human.
    approver: String,
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
        let readiness =
            Readiness { ready: backend.is_ok() && approver.is_ok(), backend: word(backend), approver: word(approver) };
        *latest = Some((Instant::now(), readiness.clone()));
        readiness
    }
}

fn word(state: Result<(), Error>) -> String {
    match state {
        Ok(()) => "ok".to_owned(),
        Err(Error::Backend { source }) => source.to_string(),
        Err(Error::NotificationFailed { source }) => source.to_string(),
        Err(error) => error.to_string(),
    }
}
