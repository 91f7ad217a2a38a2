//! Where requests are kept: in memory, changed only by compare-and-set.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;

use crate::gate::request::{Phase, Record, State};
use crate::gate::token::TokenDigest;
use crate::sync::lock;
use crate::{RequestId, Requester};

#[derive(Debug, Default)]
pub(crate) struct RequestStore {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    records: HashMap<RequestId, Kept>,
    tokens: HashMap<TokenDigest, RequestId>,
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
        let is_pending = |record: &&Record| record.state.phase() == Phase::Pending && !record.has_expired(now);
        let pending = || self.records.values().map(|kept| &kept.record).filter(is_pending);
        if pending().count() >= room.in_all {
            return Err(NoRoom::InAll(first_end(pending(), now)));
        }
        let identity = requester.identity();
        let same = || pending().filter(|record| record.question.requester.identity() == identity);
        if same().count() >= room.per_requester {
            return Err(NoRoom::ForRequester(first_end(same(), now)));
        }
        Ok(())
    }

    fn remove(&mut self, id: &RequestId) {
        if let Some(kept) = self.records.remove(id) {
            self.tokens.remove(&kept.token);
        }
    }
}

/// How long until the first of these can't be answered any more; very long where there is none.
fn first_end<'a>(records: impl Iterator<Item = &'a Record>, now: SystemTime) -> Duration {
    let first = records.map(|record| record.question.expires_at).min();
    first.and_then(|end| end.duration_since(now).ok()).unwrap_or(Duration::MAX)
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
        let mut inner = lock(&self.inner);
        match inner.records.get_mut(id) {
            Some(kept) if kept.record.state.phase() == from => {
                kept.record.state = next;
                kept.record.since = now;
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

    /// Removes the requests that `done` holds for, and returns their ids.
    pub(crate) fn remove_where(&self, done: impl Fn(&Record) -> bool) -> Vec<RequestId> {
        let mut inner = lock(&self.inner);
        let ids: Vec<RequestId> =
            inner.records.iter().filter(|(_, kept)| done(&kept.record)).map(|(id, _)| id.clone()).collect();
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
        lock(&self.inner).records.values().filter(|kept| kept.record.state.phase() == Phase::Pending).count()
    }

    /// How many requests are open: pending, or approved and not yet redeemed.
    pub(crate) fn open(&self) -> usize {
        let open =
            |kept: &&Kept| matches!(kept.record.state.phase(), Phase::Pending | Phase::Approved | Phase::Releasing);
        lock(&self.inner).records.values().filter(open).count()
    }
}
