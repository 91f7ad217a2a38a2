//! The promises.

use std::collections::BTreeMap;
use std::ops::AddAssign;
use std::time::Duration;

use secret_gate_core::audit::{AuditEntry, AuditEvent};
use secret_gate_core::clock::Clock as _;
use secret_gate_core::{CastError, Error, Outcome, Release, RequestId, Revision, Verdict};

use crate::world::{Cast, History, MAX_PENDING, Seen, Versions, World, copy, value_of};

/// How often things happened, to see that the test tests something.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    asked: usize,
    failed: usize,
    released: usize,
    used_up: usize,
    changed: usize,
    unavailable: usize,
    not_recorded: usize,
    late: usize,
    withdrawn: usize,
    revoked: usize,
    expired: usize,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.asked += other.asked;
        self.failed += other.failed;
        self.released += other.released;
        self.used_up += other.used_up;
        self.changed += other.changed;
        self.unavailable += other.unavailable;
        self.not_recorded += other.not_recorded;
        self.late += other.late;
        self.withdrawn += other.withdrawn;
        self.revoked += other.revoked;
        self.expired += other.expired;
    }
}

impl Tally {
    pub(crate) fn check_that_enough_happened(&self, seeds: u64) {
        // a few worlds need not show everything
        if seeds < 20 {
            return;
        }
        let Self { asked, failed, released, used_up, changed, unavailable, not_recorded, late, .. } = self;
        let Self { withdrawn, revoked, expired, .. } = self;
        let rare = [released, used_up, changed, unavailable, not_recorded, late, withdrawn, revoked, expired];
        assert!(rare.into_iter().chain([asked, failed]).all(|count| *count > 10), "too little happened: {self:?}");
    }
}

impl World {
    /// Checks what must hold at every moment.
    pub(crate) fn check(&self) {
        let (history, seen, entries) = (self.history.lock().unwrap(), self.human.seen(), self.audit.entries());
        check_bounds(self.gate.pending_requests());
        for (id, release) in &history.releases {
            let seen = seen.iter().find(|seen| seen.question.id == *id).unwrap();
            check_once(&history, id);
            check_approved(&history.casts, id);
            check_what_was_shown(seen, release, &history);
            check_written_down(&entries, id, seen);
        }
        check_lives(&entries, &history);
        check_casts(&history.casts, &seen);
    }

    /// A fault before the release costs a retry: now that nothing fails, what is approved can be had.
    pub(crate) async fn check_that_what_was_approved_can_be_had(&mut self) {
        let tokens: Vec<_> = {
            let history = self.history.lock().unwrap();
            history.submitted.iter().map(|(one, _)| (one.request_id.clone(), copy(&one.token))).collect()
        };
        for (id, token) in tokens {
            let Ok(standing) = self.gate.standing(&token) else { continue };
            let is_open = self.clock.now() < standing.expires_at;
            let shown =
                self.human.seen().iter().find(|seen| seen.question.id == id).unwrap().shown.lock().unwrap().clone();
            assert_eq!(shown, standing.outcome, "the message says how the request stands");
            let released = self.gate.redeem(&token).await;
            match (&standing.outcome, &released) {
                (Some(Outcome::Approved(_)), Ok(_) | Err(Error::ItemChanged { .. })) if is_open => {}
                (Some(Outcome::Approved(_)), Err(Error::NotApproved)) if !is_open => {}
                (Some(Outcome::Released(_)), Err(Error::AlreadyUsed)) => {}
                (Some(Outcome::Approved(_) | Outcome::Released(_)), _) => panic!("{standing:?} gave {released:?}"),
                (_, Err(Error::NotApproved)) => {}
                _ => panic!("{standing:?} gave {released:?}"),
            }
            if let Ok(release) = released {
                self.history.lock().unwrap().releases.push((id, release));
            }
        }
        self.check();
    }

    /// Nothing stays for ever.
    pub(crate) async fn check_that_all_is_forgotten(&mut self) {
        self.clock.advance(Duration::from_secs(2 * 24 * 3_600));
        self.settle().await;
        assert_eq!((self.gate.pending_requests(), self.gate.open_requests()), (0, 0));
        self.clock.advance(Duration::from_secs(3_600));
        self.gate.sweep();
        let history = self.history.lock().unwrap();
        for (submitted, _) in &history.submitted {
            assert!(matches!(self.gate.standing(&submitted.token), Err(Error::UnknownToken)));
        }
    }

    pub(crate) fn tally(&self) -> Tally {
        let history = self.history.lock().unwrap();
        let events = self.audit.events();
        let count = |event| events.iter().filter(|one| **one == event).count();
        let refused = |what: fn(&Error) -> bool| history.refusals.iter().filter(|(_, error)| what(error)).count();
        let cast = |what: fn(&Cast) -> bool| history.casts.iter().filter(|cast| what(cast)).count();
        Tally {
            asked: history.submitted.len(),
            failed: history.failed.len(),
            released: history.releases.len(),
            used_up: refused(|error| matches!(error, Error::AlreadyUsed)),
            changed: refused(|error| matches!(error, Error::ItemChanged { .. })),
            unavailable: refused(|error| matches!(error, Error::Backend { .. } | Error::Audit { .. })),
            not_recorded: cast(|cast| matches!(cast.result, Some(Err(CastError::NotRecorded)))),
            late: cast(|cast| matches!(cast.result, Some(Err(CastError::Ended(_) | CastError::Unknown)))),
            withdrawn: count(AuditEvent::Withdrawn),
            revoked: count(AuditEvent::Revoked),
            expired: count(AuditEvent::Expired),
        }
    }
}

/// Rule 7: what waits is bounded.
fn check_bounds(pending: usize) {
    assert!(pending <= MAX_PENDING.0, "{pending} wait");
}

/// Rules 1 and 8: nothing is released twice.
fn check_once(history: &History, id: &RequestId) {
    let times = history.releases.iter().filter(|(released, _)| released == id).count();
    assert_eq!(times, 1, "{id} was released {times} times");
}

/// Rule 2: nothing is released that nobody approved.
fn check_approved(casts: &[Cast], id: &RequestId) {
    let said_yes = |cast: &&Cast| cast.id == *id && matches!(cast.decision.verdict, Verdict::Approve(_));
    let counts = |cast: &Cast| !matches!(cast.result, Some(Err(_)));
    assert!(casts.iter().filter(said_yes).any(counts), "{id} was released, and nobody approved it");
}

/// Rules 1 and 3: what was shown is what is released, of the version that it had then.
fn check_what_was_shown(seen: &Seen, release: &Release, history: &History) {
    let question = &seen.question;
    let shown = question.items.iter().map(|item| {
        let fields: Vec<_> = item.fields.iter().map(|field| field.name.as_str()).collect();
        (item.title.as_str(), item.vault.as_str(), fields)
    });
    let released = release.items.iter().map(|item| {
        let fields: Vec<_> = item.fields.iter().map(|field| field.name.as_str()).collect();
        (item.title.as_str(), item.vault.as_str(), fields)
    });
    assert!(shown.eq(released), "{question:?} released {release:?}");
    let (_, before): &(_, Versions) =
        history.submitted.iter().find(|(submitted, _)| submitted.request_id == question.id).unwrap();
    for item in &release.items {
        let Revision::Version(version) = item.revision else { panic!("{item:?}") };
        let key = (item.vault_id.clone(), item.item_id.clone());
        let (first, last) = (*before.get(&key).unwrap(), *seen.versions.get(&key).unwrap());
        assert!((first..=last).contains(&version), "shown at version {first} to {last}, released {version}");
        for field in &item.fields {
            assert_eq!(field.value.expose(), value_of(&key.0, &key.1, version, &field.name));
        }
    }
}

/// Rule 2: what is released was written down before, in its time.
fn check_written_down(entries: &[AuditEntry], id: &RequestId, seen: &Seen) {
    for event in [AuditEvent::Asked, AuditEvent::Approved, AuditEvent::Released] {
        let lines: Vec<_> = entries.iter().filter(|entry| entry.request_id == *id && entry.event == event).collect();
        assert_eq!(lines.len(), 1, "{id} has {} lines of {event:?}", lines.len());
        assert!(lines.iter().all(|line| line.at < seen.question.expires_at), "{id} was {event:?} too late");
    }
}

/// Every request lives as a request can: no step comes twice, none after the end.
fn check_lives(entries: &[AuditEntry], history: &History) {
    use AuditEvent::{Approved, Asked, Denied, Expired, Released, Revoked, Undelivered, Withdrawn};
    let mut lives: BTreeMap<String, Vec<AuditEvent>> = BTreeMap::new();
    for entry in entries {
        lives.entry(entry.request_id.to_string()).or_default().push(entry.event);
    }
    let has_a_token = |id: &str| history.submitted.iter().any(|(one, _)| one.request_id.as_str() == id);
    for (id, life) in lives {
        let is_possible = match life.as_slice() {
            [Asked, Undelivered] => !has_a_token(&id),
            [Asked] | [Asked, Denied | Expired | Withdrawn | Approved] => true,
            [Asked, Approved, Released | Expired | Revoked] | [Asked, Approved, Released, Revoked] => true,
            // answered, or out of time, while the news that it can't be seen was on its way
            [Asked, Denied | Expired | Withdrawn | Approved, Undelivered] => !has_a_token(&id),
            _ => false,
        };
        assert!(is_possible, "the life of {id}: {life:?}");
    }
}

/// Rule 2: one decision counts, made in time.
fn check_casts(casts: &[Cast], seen: &[std::sync::Arc<Seen>]) {
    let mut counted = BTreeMap::new();
    for cast in casts.iter().filter(|cast| matches!(cast.result, Some(Ok(_)))) {
        let times: &mut usize = counted.entry(cast.id.to_string()).or_default();
        *times += 1;
        assert_eq!(*times, 1, "{} was decided twice", cast.id);
        let seen = seen.iter().find(|seen| seen.question.id == cast.id).unwrap();
        assert!(cast.at < seen.question.expires_at, "{} was decided after its time", cast.id);
    }
}
