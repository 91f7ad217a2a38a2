//! Pauses between attempts: longer each time, and never quite the same.

use std::time::Duration;

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
        // Without a source of chance the pause is the full one.
        let chance = getrandom::u32().map_or(1.0, |random| f64::from(random) / f64::from(u32::MAX));
        pause.mul_f64(0.5 + chance / 2.0)
    }

    /// Starts again from the first pause.
    pub(super) const fn reset(&mut self) {
        self.current = self.first;
    }
}
