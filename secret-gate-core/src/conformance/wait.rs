//! Waiting, with an end: a rule that is broken must fail a test rather than hang it.

#![expect(clippy::panic, reason = "a suite fails the test that calls it")]

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

/// How long a suite waits for what must happen, unless it is told otherwise. Far more than anything needs that works.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// How often a suite looks for what no event tells of.
const LOOK: Duration = Duration::from_millis(2);

/// What `future` comes to, or the broken rule where it comes to nothing in time.
pub(super) async fn within<F: Future>(patience: Duration, rule: &str, future: F) -> F::Output {
    match timeout(patience, future).await {
        Ok(output) => output,
        Err(_) => panic!("{rule}: nothing happened within {patience:?}"),
    }
}

/// Looks again and again until `holds`, which nothing tells of.
pub(super) async fn until(patience: Duration, rule: &str, holds: impl Fn() -> bool + Send) {
    let end = Instant::now() + patience;
    while !holds() {
        assert!(Instant::now() < end, "{rule}: not so after {patience:?}");
        sleep(LOOK).await;
    }
}
