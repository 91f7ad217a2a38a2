//! How often a read is tried, and for how long.

use std::time::Duration;

use tokio::time::Instant;

use super::error::Fault;
use crate::net::jittered;

/// The longest pause between two attempts that we choose ourselves.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The limits of one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Patience {
    pub(super) attempts: u32,
    pub(super) per_attempt: Duration,
    pub(super) in_all: Duration,
    pub(super) first_pause: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            attempts: 3,
            per_attempt: Duration::from_secs(10),
            in_all: Duration::from_secs(30),
            first_pause: Duration::from_millis(250),
        }
    }
}

/// The course of one call against its limits.
#[derive(Debug)]
pub(super) struct Course<'a> {
    patience: &'a Patience,
    started: Instant,
    attempts: u32,
    refused_once: bool,
}

impl<'a> Course<'a> {
    pub(super) fn start(patience: &'a Patience) -> Self {
        Self { patience, started: Instant::now(), attempts: 0, refused_once: false }
    }

    /// Begins an attempt and says how long it may take.
    pub(super) fn begin(&mut self) -> Duration {
        self.attempts = self.attempts.saturating_add(1);
        self.patience.per_attempt.min(self.left())
    }

    /// How many attempts were begun.
    pub(super) const fn attempts(&self) -> u32 {
        self.attempts
    }

    /// How long to pause after an attempt that failed like this; `None` if it was the last.
    ///
    /// A server that has just started may refuse a good token once, so the first refusal is never believed; it has an
    /// attempt of its own, beyond the limit.
    pub(super) fn pause(&mut self, fault: &Fault) -> Option<Duration> {
        let again = match fault {
            Fault::Unauthorized => !std::mem::replace(&mut self.refused_once, true),
            _ => fault.may_pass() && self.attempts < self.patience.attempts.max(1) + u32::from(self.refused_once),
        };
        let pause = fault.retry_after().unwrap_or_else(|| self.backoff());
        (again && pause < self.left()).then_some(pause)
    }

    fn left(&self) -> Duration {
        self.patience.in_all.saturating_sub(self.started.elapsed())
    }

    /// Doubles from attempt to attempt.
    fn backoff(&self) -> Duration {
        let doublings = self.attempts.saturating_sub(1).min(16);
        let full = self.patience.first_pause.saturating_mul(1 << doublings).min(LONGEST_PAUSE);
        jittered(full)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn status(status: u16, retry_after: Option<Duration>) -> Fault {
        Fault::Status { status, retry_after }
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_and_end() {
        let patience = Patience { attempts: 4, ..Patience::default() };
        let mut course = Course::start(&patience);
        for full in [250, 500, 1000] {
            assert_eq!(course.begin(), Duration::from_secs(10));
            let pause = course.pause(&status(503, None)).unwrap().as_millis();
            assert!((full / 2..=full).contains(&pause), "{pause} of {full}");
        }
        course.begin();
        assert_eq!(course.pause(&status(503, None)), None);
        assert_eq!(course.attempts(), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn the_whole_is_bounded() {
        let patience = Patience { attempts: 100, ..Patience::default() };
        let mut course = Course::start(&patience);
        tokio::time::advance(Duration::from_secs(25)).await;
        assert_eq!(course.begin(), Duration::from_secs(5));
        assert_eq!(course.pause(&status(429, Some(Duration::from_secs(4)))), Some(Duration::from_secs(4)));
        assert_eq!(course.pause(&status(429, Some(Duration::from_secs(5)))), None);
        assert_eq!(course.pause(&status(429, Some(Duration::MAX))), None);
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(course.pause(&status(503, None)), None);
    }

    #[tokio::test]
    async fn the_first_refusal_is_not_believed() {
        let patience = Patience { attempts: 1, ..Patience::default() };
        let mut course = Course::start(&patience);
        course.begin();
        assert!(course.pause(&Fault::Unauthorized).is_some());
        course.begin();
        assert!(course.pause(&status(500, None)).is_none());
        assert!(course.pause(&Fault::Unauthorized).is_none());
    }

    #[tokio::test]
    async fn answers_that_stand() {
        let patience = Patience::default();
        for fault in [Fault::Forbidden, Fault::NotFound, status(400, None), Fault::Redirect { status: 301 }] {
            let mut course = Course::start(&patience);
            course.begin();
            assert_eq!(course.pause(&fault), None, "{fault}");
        }
    }
}
