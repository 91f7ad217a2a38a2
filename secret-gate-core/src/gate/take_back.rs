//! Taking back all that somebody asked.

use futures_util::future::join_all;

use crate::Requester;
use crate::gate::Gate;
use crate::gate::request::{Record, State};

impl Gate {
    /// Takes back what these requesters asked, as [`withdraw`](Self::withdraw) does for one request: what is pending is
    /// withdrawn, what is approved or left a living grant behind is revoked. Returns how many requests that were, once
    /// all of it is done.
    ///
    /// For whoever takes away somebody's leave to ask.
    pub async fn take_back_where(&self, whose: impl Fn(&Requester) -> bool + Send) -> usize {
        let now = self.inner.clock.now();
        let lives = |record: &Record| match &record.state {
            State::Pending | State::Approved(_) | State::Releasing(_) => true,
            State::Released(approval) => approval.grant.as_ref().is_some_and(|grant| now < grant.expires_at),
            State::Denied { .. } | State::Expired { .. } | State::Withdrawn | State::Revoked(_) => false,
        };
        let records = self.inner.store.records_where(|record| lives(record) && whose(&record.question.requester));
        // at the same time: one that is being read from the backend holds up no other
        let done = join_all(records.into_iter().map(|record| self.take_back(record))).await;
        done.iter().filter(|taken| taken.is_ok()).count()
    }
}
