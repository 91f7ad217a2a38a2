//! Time, handed in, so that no test has to sleep.

use std::fmt;
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;
use tokio::sync::watch;

/// Where the gate and the caches read the time and wait for it.
#[async_trait]
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// The time now; never goes back.
    fn now(&self) -> SystemTime;

    /// Returns once [`now`](Self::now) has reached `deadline`.
    async fn sleep_until(&self, deadline: SystemTime);
}

/// The computer's clock.
///
/// It follows the wall clock ahead, so that a machine that slept wakes up with expired grants, but never back, so that
/// setting the clock back prolongs nothing: from then on it goes by the time that passes.
#[derive(Debug)]
pub struct SystemClock {
    latest: Mutex<(SystemTime, Instant)>,
}

impl SystemClock {
    /// How long it may take until a jump of the wall clock is noticed.
    const STEP: Duration = Duration::from_secs(15);

    /// The computer's clock.
    #[must_use]
    pub fn new() -> Self {
        Self { latest: Mutex::new((SystemTime::now(), Instant::now())) }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Clock for SystemClock {
    fn now(&self) -> SystemTime {
        let mut latest = crate::sync::lock(&self.latest);
        let (time, at) = *latest;
        let now = SystemTime::now().max(time + at.elapsed());
        *latest = (now, Instant::now());
        now
    }

    async fn sleep_until(&self, deadline: SystemTime) {
        while let Ok(left) = deadline.duration_since(self.now()) {
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left.min(Self::STEP)).await;
        }
    }
}

/// A clock that stands still until it is told to go on.
///
/// ```
/// # use secret_gate_core::clock::{Clock, ManualClock};
/// use std::time::Duration;
///
/// let clock = ManualClock::new();
/// let start = clock.now();
/// clock.advance(Duration::from_secs(60));
/// assert_eq!(clock.now(), start + Duration::from_secs(60));
/// ```
#[derive(Debug)]
pub struct ManualClock {
    time: watch::Sender<SystemTime>,
}

impl ManualClock {
    /// A clock that stands at 2026-01-01 00:00:00 UTC.
    #[must_use]
    pub fn new() -> Self {
        Self { time: watch::Sender::new(SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600)) }
    }

    /// Moves the time on and wakes whoever waited for it.
    pub fn advance(&self, by: Duration) {
        self.time.send_modify(|time| *time += by);
    }
}

impl Default for ManualClock {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Clock for ManualClock {
    fn now(&self) -> SystemTime {
        *self.time.borrow()
    }

    async fn sleep_until(&self, deadline: SystemTime) {
        // the sender lives in `self`, so this only ends when the time has come
        if self.time.subscribe().wait_for(|time| *time >= deadline).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn manual_clock_wakes_sleepers_in_time() {
        let clock = std::sync::Arc::new(ManualClock::new());
        let deadline = clock.now() + Duration::from_secs(10);
        let sleeper = tokio::spawn({
            let clock = std::sync::Arc::clone(&clock);
            async move {
                clock.sleep_until(deadline).await;
                clock.now()
            }
        });
        clock.advance(Duration::from_secs(9));
        tokio::task::yield_now().await;
        assert!(!sleeper.is_finished());
        clock.advance(Duration::from_secs(1));
        assert_eq!(sleeper.await.unwrap(), deadline);
    }

    #[tokio::test]
    async fn system_clock_never_goes_back_and_never_stands_still() {
        let clock = SystemClock::new();
        // as if the wall clock had been an hour ahead, five seconds ago, and was put back since
        let ahead = SystemTime::now() + Duration::from_secs(3600);
        let then = Instant::now().checked_sub(Duration::from_secs(5)).unwrap();
        *clock.latest.lock().unwrap() = (ahead, then);
        assert!(clock.now() >= ahead + Duration::from_secs(5));
        clock.sleep_until(ahead + Duration::from_secs(5)).await;
    }
}
