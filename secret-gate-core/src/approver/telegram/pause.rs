//! Pauses between attempts: longer each time, and never quite the same.

use std::time::Duration;

use crate::net::jittered;

/// Doubling pauses.
#[derive(Debug)]
pub(super) struct Pauses {
    first: Duration,
    longest: Duration,
    current: Duration,
}

impl Pauses {
    pub(super) const fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, current: first }
    }

    /// The next pause, between half and all of what it would be without chance.
    pub(super) fn next(&mut self) -> Duration {
        let pause = self.current.min(self.longest);
        self.current = pause.saturating_mul(2);
        jittered(pause)
    }

    /// Starts again from the first pause.
    pub(super) const fn reset(&mut self) {
        self.current = self.first;
    }
}
