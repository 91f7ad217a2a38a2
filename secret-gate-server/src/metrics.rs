//! What is counted, in the Prometheus text format. No label holds a token, a secret or anything unbounded.

use std::fmt;
use std::time::Duration;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use secret_gate_core::Gate;

/// Upper ends of the buckets for times, in seconds; answers that wait for a human take up to 60.
const SECONDS: [f64; 9] = [0.005, 0.025, 0.1, 0.5, 1.0, 5.0, 15.0, 30.0, 60.0];

/// Counters of one server.
pub(crate) struct Metrics {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics(..)")
    }
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let builder = PrometheusBuilder::new();
        // buckets cost the same however much is counted; without them every sample is kept for a while
        let recorder = builder.set_buckets(&SECONDS).unwrap_or_else(|_| PrometheusBuilder::new()).build_recorder();
        let handle = recorder.handle();
        metrics::with_local_recorder(&recorder, || {
            metrics::describe_counter!("secret_gate_http_answers_total", "HTTP answers by route and status");
            metrics::describe_histogram!("secret_gate_http_seconds", "time to answer by route, in seconds");
            metrics::describe_gauge!("secret_gate_open_requests", "requests that wait for a decision or a redemption");
        });
        Self { recorder, handle }
    }

    /// Counts an answer under its route's template.
    pub(crate) fn count_answer(&self, route: &str, status: u16, took: Duration) {
        metrics::with_local_recorder(&self.recorder, || {
            let labels = [("route", route.to_owned()), ("status", status.to_string())];
            metrics::counter!("secret_gate_http_answers_total", &labels).increment(1);
            metrics::histogram!("secret_gate_http_seconds", "route" => route.to_owned()).record(took);
        });
    }

    pub(crate) fn render(&self, gate: &Gate) -> String {
        metrics::with_local_recorder(&self.recorder, || {
            #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
            metrics::gauge!("secret_gate_open_requests").set(gate.open_requests() as f64);
        });
        self.handle.render()
    }

    pub(crate) fn upkeep(&self) {
        self.handle.run_upkeep();
    }
}
