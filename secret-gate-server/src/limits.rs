//! How often a requester may ask, counted by what was checked about it and never by what it says of itself.

use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use secret_gate_core::Requester;

use crate::error::ApiError;

/// Limits per requester and minute.
#[derive(Debug)]
pub struct Limits {
    requests: DefaultKeyedRateLimiter<String>,
    lookups: DefaultKeyedRateLimiter<String>,
}

impl Limits {
    /// So many requests, and so many searches and looks at fields, per requester and minute.
    #[must_use]
    pub fn per_minute(requests: NonZeroU32, lookups: NonZeroU32) -> Self {
        Self {
            requests: RateLimiter::keyed(Quota::per_minute(requests)),
            lookups: RateLimiter::keyed(Quota::per_minute(lookups)),
        }
    }

    pub(crate) fn count_request(&self, requester: &Requester) -> Result<(), ApiError> {
        check(&self.requests, requester, "Too many requests a minute; nobody was asked.")
    }

    pub(crate) fn count_lookup(&self, requester: &Requester) -> Result<(), ApiError> {
        check(&self.lookups, requester, "Too many look-ups a minute.")
    }

    /// Forgets requesters that have not asked lately.
    pub(crate) fn sweep(&self) {
        self.requests.retain_recent();
        self.lookups.retain_recent();
    }
}

fn check(limiter: &DefaultKeyedRateLimiter<String>, requester: &Requester, message: &str) -> Result<(), ApiError> {
    limiter.check_key(&requester.identity()).map_err(|not_until| {
        let wait: Duration = not_until.wait_time_from(DefaultClock::default().now());
        ApiError::too_many_requests(message, wait)
    })
}
