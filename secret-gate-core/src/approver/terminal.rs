use std::sync::Arc;

use async_trait::async_trait;

use super::{Approver, ApproverError, Ballot, Posted, Question};

/// Asks on the terminal.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct TerminalApprover;

#[async_trait]
impl Approver for TerminalApprover {
    async fn ask(&self, _question: Arc<Question>, _ballot: Ballot) -> Result<Box<dyn Posted>, ApproverError> {
        Err(ApproverError::unreachable("not built yet"))
    }

    async fn check(&self) -> Result<(), ApproverError> {
        Ok(())
    }
}
