//! What is counted, in the Prometheus text format. No label holds a token, a name, an address or anything unbounded.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use metrics::{
    Counter, Gauge, Histogram, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use secret_gate_core::audit::AuditEvent;
use secret_gate_core::{BackendError, Gate, Step};

const HTTP_ANSWERS: &str = "secret_gate_http_answers_total";
const HTTP_TIME: &str = "secret_gate_http_seconds";
const REQUESTS: &str = "secret_gate_requests_total";
const DECISION_TIME: &str = "secret_gate_decision_seconds";
const RELEASE_TIME: &str = "secret_gate_release_seconds";
const PENDING: &str = "secret_gate_pending_requests";
const OPEN: &str = "secret_gate_open_requests";
const BACKEND_ERRORS: &str = "secret_gate_backend_errors_total";
const APPROVER_ERRORS: &str = "secret_gate_approver_errors_total";
const AUDIT_ERRORS: &str = "secret_gate_audit_errors_total";
const TELEGRAM_ERRORS: &str = "secret_gate_telegram_errors_total";
const CONNECTIONS: &str = "secret_gate_connections";
const BUILD: &str = "secret_gate_build_info";
const START: &str = "process_start_time_seconds";

// Upper ends of the buckets for times, in seconds. Buckets cost the same however much is counted.
/// Answers that wait for a human take up to a minute.
const HTTP_BUCKETS: [f64; 9] = [0.005, 0.025, 0.1, 0.5, 1.0, 5.0, 15.0, 30.0, 60.0];
/// Humans take seconds, and by default have 15 minutes.
const DECISION_BUCKETS: [f64; 11] = [1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0];
/// Programs that wait for the approval take milliseconds, those that come back for it minutes.
const RELEASE_BUCKETS: [f64; 13] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0];

const EVENTS: [AuditEvent; 8] = [
    AuditEvent::Asked,
    AuditEvent::Undelivered,
    AuditEvent::Approved,
    AuditEvent::Denied,
    AuditEvent::Expired,
    AuditEvent::Withdrawn,
    AuditEvent::Released,
    AuditEvent::Revoked,
];

/// What one server counts. Clones count together.
///
/// A [`Server`](crate::Server) counts its answers itself. The rest is counted where it happens, by the parts that the
/// gate is built of:
///
/// ```
/// use std::sync::Arc;
/// use secret_gate_core::{DenyAll, Gate, MemoryBackend};
/// use secret_gate_server::{Metrics, Server};
///
/// let metrics = Metrics::new();
/// let backend = metrics.backend(Arc::new(MemoryBackend::new()));
/// let approver = metrics.approver(Arc::new(DenyAll));
/// let gate = Gate::builder(backend, approver).on_step(metrics.steps()).build();
/// let server = Server::new(gate, "https://gate.example.com").metrics(metrics);
/// ```
#[derive(Clone)]
pub struct Metrics(Arc<Recording>);

struct Recording {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
    answers: RwLock<Answers>,
}

/// Where answers are counted, by status and route: as many as there are of those.
type Answers = HashMap<u16, HashMap<Box<str>, (Counter, Histogram)>>;

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics(..)")
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Nothing counted yet.
    #[must_use]
    pub fn new() -> Self {
        let recorder = with_buckets().unwrap_or_else(|_| PrometheusBuilder::new()).build_recorder();
        let handle = recorder.handle();
        let new = Self(Arc::new(Recording { recorder, handle, answers: RwLock::default() }));
        new.record(describe);
        new.record(begin_at_zero);
        new
    }

    /// Counts and times the steps of requests; for [`GateBuilder::on_step`](secret_gate_core::GateBuilder::on_step).
    pub fn steps(&self) -> impl Fn(&Step) + Send + Sync + 'static + use<> {
        let metrics = self.clone();
        move |step| metrics.count_step(step)
    }

    /// Counts failed calls to Telegram; for
    /// [`TelegramBuilder::on_failed_call`](secret_gate_core::approver::telegram::TelegramBuilder::on_failed_call).
    #[must_use]
    pub fn telegram_errors(&self) -> Arc<dyn Fn(&'static str) + Send + Sync> {
        let metrics = self.clone();
        Arc::new(move |method| metrics.record(|| counter!(TELEGRAM_ERRORS, "method" => method).increment(1)))
    }

    /// Counts an answer under its route's template.
    pub(crate) fn count_answer(&self, route: &str, status: u16, took: Duration) {
        let count = |(count, time): &(Counter, Histogram)| {
            count.increment(1);
            time.record(took);
        };
        let known = self.0.answers.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(answers) = known.get(&status).and_then(|routes| routes.get(route)) {
            return count(answers);
        }
        drop(known);
        let answers = self.record(|| {
            let labels = [("route", route.to_owned()), ("status", status.to_string())];
            (counter!(HTTP_ANSWERS, &labels), histogram!(HTTP_TIME, "route" => route.to_owned()))
        });
        count(&answers);
        let mut known = self.0.answers.write().unwrap_or_else(PoisonError::into_inner);
        known.entry(status).or_default().insert(route.into(), answers);
    }

    pub(crate) fn count_backend_error(&self, operation: &'static str, error: &BackendError) {
        self.record(|| {
            counter!(BACKEND_ERRORS, "operation" => operation, "kind" => kind(error)).increment(1);
        });
    }

    pub(crate) fn count_approver_error(&self, operation: &'static str) {
        self.record(|| counter!(APPROVER_ERRORS, "operation" => operation).increment(1));
    }

    pub(crate) fn count_audit_error(&self) {
        self.record(|| counter!(AUDIT_ERRORS).increment(1));
    }

    /// Shows how many connections there are.
    pub(crate) fn connections(&self) -> Gauge {
        self.record(|| gauge!(CONNECTIONS))
    }

    /// Everything, with how the gate stands now.
    pub(crate) fn render(&self, gate: &Gate) -> String {
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        self.record(|| {
            gauge!(PENDING).set(gate.pending_requests() as f64);
            gauge!(OPEN).set(gate.open_requests() as f64);
        });
        self.0.handle.render()
    }

    pub(crate) fn upkeep(&self) {
        self.0.handle.run_upkeep();
    }

    fn count_step(&self, step: &Step) {
        let since = |time: SystemTime| step.at.duration_since(time).unwrap_or_default();
        self.record(|| {
            counter!(REQUESTS, "outcome" => outcome(step.event)).increment(1);
            match (step.event, step.approved_at) {
                (AuditEvent::Approved | AuditEvent::Denied, _) => {
                    histogram!(DECISION_TIME).record(since(step.asked_at));
                }
                (AuditEvent::Released, Some(approved_at)) => histogram!(RELEASE_TIME).record(since(approved_at)),
                _ => {}
            }
        });
    }

    fn record<T>(&self, what: impl FnOnce() -> T) -> T {
        metrics::with_local_recorder(&self.0.recorder, what)
    }
}

fn with_buckets() -> Result<PrometheusBuilder, metrics_exporter_prometheus::BuildError> {
    let full = |name: &str| Matcher::Full(name.to_owned());
    PrometheusBuilder::new()
        .set_buckets_for_metric(full(HTTP_TIME), &HTTP_BUCKETS)?
        .set_buckets_for_metric(full(DECISION_TIME), &DECISION_BUCKETS)?
        .set_buckets_for_metric(full(RELEASE_TIME), &RELEASE_BUCKETS)
}

fn describe() {
    describe_counter!(HTTP_ANSWERS, "HTTP answers by route and status");
    describe_histogram!(HTTP_TIME, "time to answer by route, in seconds");
    describe_counter!(REQUESTS, "steps of requests, by what became of them");
    describe_histogram!(DECISION_TIME, "time from the question to the human's yes or no, in seconds");
    describe_histogram!(RELEASE_TIME, "time from the approval to the release, in seconds");
    describe_gauge!(PENDING, "requests that wait for a decision");
    describe_gauge!(OPEN, "requests that wait for a decision or a redemption");
    describe_counter!(BACKEND_ERRORS, "operations of the secret backend that failed, after its own retries");
    describe_counter!(APPROVER_ERRORS, "questions that did not reach a human, and checks that say they would not");
    describe_counter!(AUDIT_ERRORS, "attempts to write a line of the audit log that failed");
    describe_counter!(TELEGRAM_ERRORS, "calls to Telegram that failed, by method");
    describe_gauge!(CONNECTIONS, "open connections");
    describe_gauge!(BUILD, "1, with the version of the server");
    describe_gauge!(START, "when the process started, in seconds since 1970");
}

/// What never happened is 0 and not absent, so that a first time shows as a rise.
fn begin_at_zero() {
    for event in EVENTS {
        counter!(REQUESTS, "outcome" => outcome(event)).absolute(0);
    }
    for operation in ["vaults", "items", "item", "check"] {
        for kind in ["not_found", "forbidden", "unauthorized", "unavailable"] {
            counter!(BACKEND_ERRORS, "operation" => operation, "kind" => kind).absolute(0);
        }
    }
    for operation in ["ask", "check"] {
        counter!(APPROVER_ERRORS, "operation" => operation).absolute(0);
    }
    for method in ["answerCallbackQuery", "deleteWebhook", "editMessageText", "getChat", "getUpdates", "sendMessage"] {
        counter!(TELEGRAM_ERRORS, "method" => method).absolute(0);
    }
    counter!(AUDIT_ERRORS).absolute(0);
    drop((histogram!(DECISION_TIME), histogram!(RELEASE_TIME)));
    gauge!(BUILD, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    gauge!(START).set(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64());
}

const fn outcome(event: AuditEvent) -> &'static str {
    match event {
        AuditEvent::Asked => "asked",
        AuditEvent::Undelivered => "undelivered",
        AuditEvent::Approved => "approved",
        AuditEvent::Denied => "denied",
        AuditEvent::Expired => "expired",
        AuditEvent::Withdrawn => "withdrawn",
        AuditEvent::Released => "released",
        AuditEvent::Revoked => "revoked",
        _ => "other",
    }
}

const fn kind(error: &BackendError) -> &'static str {
    match error {
        BackendError::NotFound => "not_found",
        BackendError::Forbidden => "forbidden",
        BackendError::Unauthorized => "unauthorized",
        BackendError::Unavailable { .. } => "unavailable",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use secret_gate_core::clock::ManualClock;
    use secret_gate_core::{Decision, Field, FieldKind, Item, MemoryBackend, Request, ScriptedApprover};

    use super::*;

    #[tokio::test]
    async fn times_are_those_of_the_gates_clock() {
        let field = Field::new("f1", "password", FieldKind::concealed(), "hunter2");
        let item = Item::new("i1", "v1", "db").with_field(field);
        let vault = MemoryBackend::new().with_vault("v1", "infra").with_item(item);
        let (human, clock, metrics) = (ScriptedApprover::new(), Arc::new(ManualClock::new()), Metrics::new());
        let gate = Gate::builder(Arc::new(vault), Arc::new(human))
            .clock(Arc::clone(&clock) as _)
            .on_step(metrics.steps())
            .build();
        for decision in [Decision::approve("Ann"), Decision::deny("Ann")] {
            let submitted = gate.submit(Request::new("db")).await.unwrap();
            clock.advance(Duration::from_secs(42));
            gate.decide(&submitted.request_id, decision).await.unwrap();
            clock.advance(Duration::from_millis(700));
            gate.redeem(&submitted.token).await.ok();
        }
        let text = metrics.render(&gate);
        for line in [
            "secret_gate_decision_seconds_bucket{le=\"30\"} 0",
            "secret_gate_decision_seconds_bucket{le=\"60\"} 2",
            "secret_gate_decision_seconds_sum 84",
            "secret_gate_release_seconds_bucket{le=\"0.5\"} 0",
            "secret_gate_release_seconds_bucket{le=\"1\"} 1",
            "secret_gate_release_seconds_sum 0.7",
            "secret_gate_release_seconds_count 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in {text}");
        }
    }
}
