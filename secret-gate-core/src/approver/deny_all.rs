use std::sync::Arc;

use async_trait::async_trait;

use super::{Approver, ApproverError, Ballot, Posted, Question};
use crate::Decision;

/// Says no to everything.
#[derive(Debug, Clone, Copy, Default)]
#[expect(clippy::exhaustive_structs, reason = "has no state and never will")]
pub struct DenyAll;

#[async_trait]
impl Approver for DenyAll {
    async fn ask(&self, _question: Arc<Question>, ballot: Ballot) -> Result<Box<dyn Posted>, ApproverError> {
        // A no that does not count leaves the question unanswered, which is a no as well.
        ballot.cast(Decision::deny("deny-all")).await.ok();
        Ok(Box::new(()))
    }

    async fn check(&self) -> Result<(), ApproverError> {
        Ok(())
    }
}
