//! What a human decided, and what that leaves behind.

use std::time::{Duration, SystemTime};

use crate::Use;

/// What a human decided, and who they were.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Decision {
    /// Yes or no.
    pub verdict: Verdict,
    /// Who decided, as shown to people and written to the audit log.
    pub by: String,
}

/// Yes or no.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// Yes, and for how long.
    Approve(Keep),
    /// No.
    Deny,
}

/// How long an approval lasts at the requester, where the request said that it would be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Keep {
    /// As long as the question said.
    AsAsked,
    /// For one use.
    Once,
    /// This long, however long the requester asked for.
    For(Duration),
}

impl Decision {
    /// Yes, for as long as the question said.
    pub fn approve(by: impl Into<String>) -> Self {
        Self { verdict: Verdict::Approve(Keep::AsAsked), by: by.into() }
    }

    /// Yes, for this long.
    pub fn approve_for(by: impl Into<String>, keep: Keep) -> Self {
        Self { verdict: Verdict::Approve(keep), by: by.into() }
    }

    /// No.
    pub fn deny(by: impl Into<String>) -> Self {
        Self { verdict: Verdict::Deny, by: by.into() }
    }
}

/// What an approval leaves behind at the requester: what may be done, and until when.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Grant {
    /// Names the grant; random, not secret.
    pub id: String,
    /// What may be done.
    pub allowed: Use,
    /// When it ends.
    pub expires_at: SystemTime,
    /// Whether it ends after one use.
    pub once: bool,
}

impl Grant {
    /// A grant of this use until then.
    pub fn new(id: impl Into<String>, allowed: Use, expires_at: SystemTime, once: bool) -> Self {
        Self { id: id.into(), allowed, expires_at, once }
    }

    /// Whether the grant allows all of `wanted` at this time.
    #[must_use]
    pub fn covers(&self, wanted: &Use, now: SystemTime) -> bool {
        now < self.expires_at && self.allowed.covers(wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_ends() {
        let end = SystemTime::UNIX_EPOCH + Duration::from_secs(100);
        let grant = Grant::new("g", Use::reveal(), end, false);
        assert!(grant.covers(&Use::reveal(), end - Duration::from_nanos(1)));
        assert!(!grant.covers(&Use::reveal(), end));
    }
}
