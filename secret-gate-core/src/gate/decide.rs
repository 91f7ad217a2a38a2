//! Deciding: what a human's answer does.

use std::sync::Arc;

use async_trait::async_trait;
use tracing::Instrument as _;

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
        Arc::clone(&self.inner).cast(id.clone(), decision).await
    }
}

#[async_trait]
impl BallotBox for Inner {
    // in a task of its own: what is written down as decided is decided, whoever goes away meanwhile
    async fn cast(self: Arc<Self>, id: RequestId, decision: Decision) -> Result<Outcome, CastError> {
        let deciding = async move { self.decide(&id, &decision).await };
        tokio::spawn(deciding.in_current_span()).await.unwrap_or(Err(CastError::NotRecorded))
    }
}

impl Inner {
    async fn decide(&self, id: &RequestId, decision: &Decision) -> Result<Outcome, CastError> {
        let _turn = self.turn().await;
        loop {
            let record = self.store.get(id).ok_or(CastError::Unknown)?;
            if let Some(outcome) = record.state.outcome() {
                return Err(CastError::Ended(Box::new(outcome)));
            }
            if record.has_expired(self.clock.now()) {
                self.expire_in_turn(&record).await;
                continue;
            }
            let mut next = self.decided(&record.question, decision);
            let entry = record.audit_entry(&next, self.clock.now());
            if decision.verdict == Verdict::Deny {
                // a no stands all the same, written or not
                if self.step(&record, Phase::Pending, next.clone()) {
                    self.journal.note(entry).await;
                }
            } else {
                // a yes that is not written down is none
                let anchor = self.journal.write(&entry).await.map_err(|error| {
                    tracing::error!(request_id = %id, ?error, "a decision can't be written to the audit log");
                    CastError::NotRecorded
                })?;
                next = next.recorded(anchor);
                self.step(&record, Phase::Pending, next.clone());
            }
            return next.outcome().ok_or(CastError::Unknown);
        }
    }
}

impl Inner {
    fn decided(&self, question: &Question, decision: &Decision) -> State {
        let by = decision.by.clone();
        let Verdict::Approve(keep) = decision.verdict else { return State::Denied { by: by.into() } };
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
        State::Approved(Arc::new(Approval { by, grant, at, audit: None }))
    }
}
