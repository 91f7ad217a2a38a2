//! Where requests are kept: in memory, changed only by compare-and-set.

mod tally;

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;

use crate::gate::request::{Phase, Record, State};
use crate::gate::token::TokenDigest;
use crate::sync::lock;
use crate::{RequestId, Requester};

use tally::Tally;

#[derive(Debug, Default)]
pub(crate) struct RequestStore {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    records: HashMap<RequestId, Kept>,
    tokens: HashMap<TokenDigest, RequestId>,
    tally: Tally,
}

#[derive(Debug)]
struct Kept {
    record: Record,
    token: TokenDigest,
    phase: watch::Sender<Phase>,
}

/// How many requests may wait for a decision.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Room {
    pub(crate) in_all: usize,
    pub(crate) per_requester: usize,
}

/// Why a request could not be kept, and how long until the first of the questions in its way ends.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NoRoom {
    InAll(Duration),
    ForRequester(Duration),
}

impl Inner {
    fn check_room(&self, requester: &Requester, room: Room, now: SystemTime) -> Result<(), NoRoom> {
        // one whose time has run out can't be answered any more, whether or not it is known to have expired
        if self.tally.pending().open_at(now) >= room.in_all {
            return Err(NoRoom::InAll(self.tally.pending().first_after(now)));
        }
        let same = self.tally.pending_of(requester);
        if same.map_or(0, |same| same.open_at(now)) >= room.per_requester {
            return Err(NoRoom::ForRequester(same.map_or(Duration::MAX, |same| same.first_after(now))));
        }
        Ok(())
    }

    fn remove(&mut self, id: &RequestId) {
        if let Some(kept) = self.records.remove(id) {
            self.tokens.remove(&kept.token);
            self.tally.remove(&kept.record);
        }
    }
}

impl RequestStore {
    /// Says whether another request of this requester could be kept.
    pub(crate) fn check_room(&self, requester: &Requester, room: Room, now: SystemTime) -> Result<(), NoRoom> {
        lock(&self.inner).check_room(requester, room, now)
    }

    /// Keeps a new request, unless too many wait for a decision.
    pub(crate) fn insert(&self, record: Record, token: TokenDigest, room: Room) -> Result<(), NoRoom> {
        let mut inner = lock(&self.inner);
        inner.check_room(&record.question.requester, room, record.question.asked_at)?;
        let id = record.question.id.clone();
        // none is here by this name, but if one were, its token would go with it
        inner.remove(&id);
        inner.tally.add(&record);
        let phase = watch::Sender::new(record.state.phase());
        inner.tokens.insert(token, id.clone());
        inner.records.insert(id, Kept { record, token, phase });
        Ok(())
    }

    pub(crate) fn get(&self, id: &RequestId) -> Option<Record> {
        lock(&self.inner).records.get(id).map(|kept| kept.record.clone())
    }

    pub(crate) fn by_token(&self, token: &TokenDigest) -> Option<Record> {
        let inner = lock(&self.inner);
        let id = inner.tokens.get(token)?;
        inner.records.get(id).map(|kept| kept.record.clone())
    }

    /// Puts the request into `next` if it stands at `from`; says whether it did. Wakes whoever waits for a change.
    pub(crate) fn compare_and_set(&self, id: &RequestId, from: Phase, next: State, now: SystemTime) -> bool {
        let Inner { records, tally, .. } = &mut *lock(&self.inner);
        match records.get_mut(id) {
            Some(kept) if kept.record.state.phase() == from => {
                tally.remove(&kept.record);
                kept.record.state = next;
                kept.record.since = now;
                tally.add(&kept.record);
                kept.phase.send_replace(kept.record.state.phase());
                true
            }
            _ => false,
        }
    }

    /// Waits until the request does not stand at `from`; `None` if it is gone.
    pub(crate) async fn changed(&self, id: &RequestId, from: Phase) -> Option<Record> {
        let mut phase = lock(&self.inner).records.get(id).map(|kept| kept.phase.subscribe())?;
        // an error means that the request was removed while we waited
        phase.wait_for(|phase| *phase != from).await.ok()?;
        self.get(id)
    }

    pub(crate) fn remove(&self, id: &RequestId) {
        lock(&self.inner).remove(id);
    }

    /// Removes the requests that nothing more can come of at this time, and returns their ids.
    pub(crate) fn forget(&self, now: SystemTime) -> Vec<RequestId> {
        let mut inner = lock(&self.inner);
        let ids = inner.tally.forgettable(now);
        for id in &ids {
            inner.remove(id);
        }
        ids
    }

    /// The requests that `wanted` holds for, as they stand now.
    pub(crate) fn records_where(&self, wanted: impl Fn(&Record) -> bool) -> Vec<Record> {
        let inner = lock(&self.inner);
        inner.records.values().map(|kept| &kept.record).filter(|record| wanted(record)).cloned().collect()
    }

    /// How many requests wait for a decision.
    pub(crate) fn pending(&self) -> usize {
        lock(&self.inner).tally.pending().count()
    }

    /// How many requests are open: pending, or approved and not yet redeemed.
    pub(crate) fn open(&self) -> usize {
        lock(&self.inner).tally.open()
    }
}

#[cfg(test)]
mod tests;
