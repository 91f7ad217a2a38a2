//! What is known of all requests at once, so that one more costs the same however many there are.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::time::{Duration, SystemTime};

use crate::gate::later;
use crate::gate::request::{Record, State};
use crate::{RequestId, Requester};

/// How long an ended request stays known to its token at least.
const LINGER: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
pub(super) struct Tally {
    open: usize,
    pending: Ends,
    // by identity; only of those who have some
    by_requester: HashMap<String, Ends>,
    // ended ones, by the time from which on they can be forgotten
    ended: BTreeSet<(SystemTime, RequestId)>,
}

/// When pending requests can't be answered any more.
#[derive(Debug, Default)]
pub(super) struct Ends {
    count: usize,
    by_time: BTreeMap<SystemTime, usize>,
}

impl Tally {
    /// Takes a request into account, as it stands.
    pub(super) fn add(&mut self, record: &Record) {
        let end = record.question.expires_at;
        match &record.state {
            State::Pending => {
                self.open += 1;
                self.pending.add(end);
                self.by_requester.entry(record.question.requester.identity()).or_default().add(end);
            }
            State::Approved(_) | State::Releasing(_) => self.open += 1,
            State::Released(_)
            | State::Denied { .. }
            | State::Expired { .. }
            | State::Withdrawn
            | State::Revoked(_) => {
                self.ended.insert((forgotten_from(record), record.question.id.clone()));
            }
        }
    }

    /// Takes a request out of account, which stands as it did when it was added.
    pub(super) fn remove(&mut self, record: &Record) {
        let end = record.question.expires_at;
        match &record.state {
            State::Pending => {
                self.open -= 1;
                self.pending.remove(end);
                let identity = record.question.requester.identity();
                if let Some(same) = self.by_requester.get_mut(&identity) {
                    same.remove(end);
                    if same.count == 0 {
                        self.by_requester.remove(&identity);
                    }
                }
            }
            State::Approved(_) | State::Releasing(_) => self.open -= 1,
            State::Released(_)
            | State::Denied { .. }
            | State::Expired { .. }
            | State::Withdrawn
            | State::Revoked(_) => {
                self.ended.remove(&(forgotten_from(record), record.question.id.clone()));
            }
        }
    }

    /// How many are pending, or approved and not yet redeemed.
    pub(super) const fn open(&self) -> usize {
        self.open
    }

    /// Those that are pending.
    pub(super) const fn pending(&self) -> &Ends {
        &self.pending
    }

    /// Those that are pending of whoever limits count as this requester.
    pub(super) fn pending_of(&self, requester: &Requester) -> Option<&Ends> {
        self.by_requester.get(&requester.identity())
    }

    /// Those that can be forgotten at this time.
    pub(super) fn forgettable(&self, now: SystemTime) -> Vec<RequestId> {
        self.ended.iter().take_while(|(from, _)| *from <= now).map(|(_, id)| id.clone()).collect()
    }
}

/// From when on an ended request can be forgotten: a while after it ended, and not before its grant did.
fn forgotten_from(Record { state, since, .. }: &Record) -> SystemTime {
    let lingered = later(*since, LINGER);
    let grant = match state {
        State::Released(approval) => approval.grant.as_ref(),
        _ => None,
    };
    grant.map_or(lingered, |grant| lingered.max(grant.expires_at))
}

impl Ends {
    fn add(&mut self, end: SystemTime) {
        self.count += 1;
        *self.by_time.entry(end).or_default() += 1;
    }

    fn remove(&mut self, end: SystemTime) {
        self.count -= 1;
        if let Some(same) = self.by_time.get_mut(&end) {
            *same -= 1;
            if *same == 0 {
                self.by_time.remove(&end);
            }
        }
    }

    /// How many there are, even of those whose time has run out.
    pub(super) const fn count(&self) -> usize {
        self.count
    }

    /// How many can still be answered at this time.
    pub(super) fn open_at(&self, now: SystemTime) -> usize {
        // those few that are about to be let expire
        let over: usize = self.by_time.range(..=now).map(|(_, count)| count).sum();
        self.count - over
    }

    /// How long until the first of those ends that can be answered at this time; very long where there is none.
    pub(super) fn first_after(&self, now: SystemTime) -> Duration {
        let first = self.by_time.range((Bound::Excluded(now), Bound::Unbounded)).next();
        first.and_then(|(end, _)| end.duration_since(now).ok()).unwrap_or(Duration::MAX)
    }
}
