//! Deciding: what a human's answer does.

use async_trait::async_trait;

use crate::approver::{Approval, BallotBox, CastError, Outcome, Question};
use crate::gate::request::{Phase, State};
use crate::gate::{Gate, Inner, later};
use crate::{Decision, Grant, Keep, RequestId, Verdict};

impl Gate {
    /// Decides a request by its id. Approvers don't need this: they cast on the [`Ballot`](crate::Ballot) that comes
    /// with the question.
    ///
    /// # Errors
    /// When the decision does not count; see [`CastError`].
    pub async fn decide(&self, id: &RequestId, decision: Decision) -> Result<Outcome, CastError> {
        self.inner.cast(id, decision).await
    }
}

#[async_trait]
impl BallotBox for Inner {
    async fn cast(&self, id: &RequestId, decision: Decision) -> Result<Outcome, CastError> {
        let _turn = self.deciding.lock().await;
        loop {
            let record = self.store.get(id).ok_or(CastError::Unknown)?;
            if let Some(outcome) = record.state.outcome() {
                return Err(CastError::Ended(Box::new(outcome)));
            }
            if record.has_expired(self.clock.now()) {
                self.expire(&record).await;
                continue;
            }
            let mut next = self.decided(&record.question, &decision);
            let entry = record.audit_entry(&next, self.clock.now());
            match self.journal.write(self.audit.as_ref(), &entry).await {
                Ok(anchor) => next = next.recorded(anchor),
                // a no stands all the same; a yes that is not written down is none
                Err(error) if decision.verdict == Verdict::Deny => self.journal.owe(entry, &error),
                Err(error) => {
                    tracing::error!(request_id = %id, ?error, "a decision can't be written to the audit log");
                    return Err(CastError::NotRecorded);
                }
            }
            if self.step(&record, Phase::Pending, next.clone())
                && let Some(outcome) = next.outcome()
            {
                return Ok(outcome);
            }
            tracing::warn!(request_id = %id, "the request ended while its decision was being written");
        }
    }
}

impl Inner {
    fn decided(&self, question: &Question, decision: &Decision) -> State {
        let by = decision.by.clone();
        let Verdict::Approve(keep) = decision.verdict else { return State::Denied { by } };
        let at = self.clock.now();
        let grant = question.intended_use.as_ref().zip(question.keep).map(|(allowed, asked)| {
            let lasts = match keep {
                Keep::AsAsked | Keep::Once => asked,
                Keep::For(duration) => duration,
            };
            Grant {
                // the same random bits that name the request: one approval leaves one grant behind
                id: question.id.as_str().to_owned(),
                allowed: allowed.clone(),
                expires_at: later(at, lasts),
                once: keep == Keep::Once,
            }
        });
        State::Approved(Approval { by, grant, at, audit: None })
    }
}
