//! What embedders hear of each step, to count and to time.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::SystemTime;

use crate::RequestId;
use crate::audit::AuditEvent;
use crate::gate::request::{Record, State};

/// A step of a request's life that was taken. It names nobody and nothing but the request.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Step {
    /// The request.
    pub request_id: RequestId,
    /// The step.
    pub event: AuditEvent,
    /// When the question was asked.
    pub asked_at: SystemTime,
    /// When a human approved, where one did.
    pub approved_at: Option<SystemTime>,
    /// When the step was taken.
    pub at: SystemTime,
}

impl Step {
    pub(super) fn new(record: &Record, state: &State, event: AuditEvent, at: SystemTime) -> Self {
        Self {
            request_id: record.question.id.clone(),
            event,
            asked_at: record.question.asked_at,
            approved_at: state.approval().map(|approval| approval.at),
            at,
        }
    }
}

type Listen = dyn Fn(&Step) + Send + Sync;

/// Whoever hears of the steps.
#[derive(Clone)]
pub(super) struct Listener(Arc<Listen>);

impl Listener {
    pub(super) fn new(listen: impl Fn(&Step) + Send + Sync + 'static) -> Self {
        Self(Arc::new(listen))
    }

    /// One that panics does not undo the step.
    pub(super) fn hear(&self, step: &Step) {
        if std::panic::catch_unwind(AssertUnwindSafe(|| (self.0)(step))).is_err() {
            tracing::error!("whoever listens to the gate's steps panicked");
        }
    }
}

impl Default for Listener {
    fn default() -> Self {
        Self::new(|_| {})
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Listener(..)")
    }
}
