//! What can happen.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use secret_gate_core::audit::AuditEvent;
use secret_gate_core::clock::Clock as _;
use secret_gate_core::{Decision, Keep, Request, RequestId, Requester, Token, Use, Wanted};

use crate::world::{Cast, ITEMS, TTL, World, copy};

impl World {
    /// Does one thing, and lets what was begun go on a little.
    pub(crate) async fn make_a_move(&mut self) {
        match self.dice.below(24) {
            0..6 => self.ask(),
            6..12 => self.decide(),
            12..16 => self.redeem(),
            16 => self.take_back(),
            17 => self.edit(),
            18 => self.vaults.is_down.store(self.dice.once_in(2), Ordering::SeqCst),
            19 => self.human.is_away.store(self.dice.once_in(2), Ordering::SeqCst),
            20 => self.break_the_audit_log(),
            21 => self.gate.sweep(),
            22 => self.someone_goes_away(),
            _ => self.let_time_pass(),
        }
        for _ in 0..self.dice.below(12) {
            tokio::task::yield_now().await;
        }
    }

    fn start(&mut self, work: impl Future<Output = ()> + Send + 'static) {
        self.tasks.retain(|task| !task.is_finished());
        self.tasks.push(tokio::spawn(work));
    }

    fn ask(&mut self) {
        let wanted = |(vault, _, title): &(&str, &str, &str)| {
            let wanted = Wanted::new(*title).in_vault(*vault);
            if self.dice.once_in(2) { wanted.field("password") } else { wanted }
        };
        let first = self.dice.below(ITEMS.len());
        let count = 1 + self.dice.below(2);
        let mut request = Request::of(ITEMS.iter().cycle().skip(first).take(count).map(wanted));
        request = request.by(Requester::with_key(format!("vm-{}", self.dice.below(3)), self.dice.once_in(2)));
        if self.dice.once_in(2) {
            request = request.for_use(Use::any_command()).keep(Duration::from_secs(3_600));
        }
        let (gate, history, before) = (self.gate.clone(), Arc::clone(&self.history), self.vaults.versions());
        self.start(async move {
            let submitted = gate.submit(request).await;
            let mut history = history.lock().unwrap();
            match submitted {
                Ok(submitted) => history.submitted.push((submitted, before)),
                Err(error) => history.failed.push(error),
            }
        });
    }

    fn decide(&mut self) {
        let seen = self.human.seen();
        // one of the latest, as a rule; any, now and then
        let from = if self.dice.once_in(4) { 0 } else { seen.len().saturating_sub(6) };
        let Some(seen) = self.dice.one_of(seen.get(from..).unwrap_or_default()).cloned() else { return };
        let decision = match self.dice.below(5) {
            0 => Decision::deny("Ann"),
            1 => Decision::approve_for("Ann", Keep::Once),
            2 => Decision::approve_for("Bob", Keep::For(Duration::from_secs(8 * 3_600))),
            _ => Decision::approve("Ann"),
        };
        let (history, at) = (Arc::clone(&self.history), self.clock.now());
        let number = {
            let mut history = history.lock().unwrap();
            let id = seen.question.id.clone();
            history.casts.push(Cast { id, decision: decision.clone(), at, result: None });
            history.casts.len() - 1
        };
        self.start(async move {
            let result = seen.ballot.cast(decision).await;
            history.lock().unwrap().casts.get_mut(number).unwrap().result = Some(result);
        });
    }

    /// A request that somebody holds the token of.
    fn one(&self) -> Option<(RequestId, Token)> {
        let history = self.history.lock().unwrap();
        let (submitted, _) = self.dice.one_of(&history.submitted)?;
        Some((submitted.request_id.clone(), copy(&submitted.token)))
    }

    /// One of those that could be released, as a rule.
    fn ripe(&self) -> Option<(RequestId, Token)> {
        let one = self.one();
        if self.dice.once_in(4) {
            return one;
        }
        let history = self.history.lock().unwrap();
        let approved = |id: &RequestId| history.casts.iter().any(|cast| cast.id == *id);
        let ripe: Vec<_> =
            history.submitted.iter().rev().take(8).filter(|(one, _)| approved(&one.request_id)).collect();
        let one = self.dice.one_of(&ripe).map(|(submitted, _)| submitted)?;
        Some((one.request_id.clone(), copy(&one.token)))
    }

    fn redeem(&mut self) {
        let Some((id, token)) = self.ripe() else { return };
        for _ in 0..1 + self.dice.below(3) {
            let (gate, history) = (self.gate.clone(), Arc::clone(&self.history));
            let (id, token) = (id.clone(), copy(&token));
            self.start(async move {
                let released = gate.redeem(&token).await;
                let mut history = history.lock().unwrap();
                match released {
                    Ok(release) => history.releases.push((id, release)),
                    Err(error) => history.refusals.push((id, error)),
                }
            });
        }
    }

    fn take_back(&mut self) {
        let Some((id, token)) = self.one() else { return };
        let (gate, by_token) = (self.gate.clone(), self.dice.once_in(2));
        self.start(async move {
            // unknown ones among them
            drop(if by_token { gate.withdraw(&token).await } else { gate.revoke(&id).await });
        });
    }

    fn edit(&self) {
        if let Some((vault, item, _)) = self.dice.one_of(&ITEMS) {
            self.vaults.edit(vault, item);
        }
    }

    fn break_the_audit_log(&self) {
        let events = [AuditEvent::Asked, AuditEvent::Approved, AuditEvent::Denied, AuditEvent::Released];
        self.audit.fail_on(if self.dice.once_in(2) { None } else { self.dice.one_of(&events).copied() });
    }

    /// A caller that waits is gone; what it began is finished, or undone.
    fn someone_goes_away(&self) {
        if let Some(task) = self.dice.one_of(&self.tasks) {
            task.abort();
        }
    }

    fn let_time_pass(&self) {
        let jump = if self.dice.once_in(6) { TTL } else { Duration::ZERO };
        self.clock.advance(jump + Duration::from_secs(u64::try_from(self.dice.below(90)).unwrap()));
    }
}
