use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use super::{Approver, ApproverError, Ballot, Posted, Question};
use crate::Decision;

/// An approver made of one async function from a question to a decision.
///
/// The function is not told how the question ends: after a withdrawal or when its time is up it goes on, and what it then
/// decides comes to nothing. One that panics has not decided, so that the question stays open until its time is up; to
/// say no at once, return [`Decision::deny`].
///
/// ```
/// use secret_gate_core::{Decision, FnApprover};
///
/// let approver = FnApprover::new(|question| async move {
///     match question.items.iter().all(|item| item.vault == "sandbox") {
///         true => Decision::approve("policy"),
///         false => Decision::deny("policy"),
///     }
/// });
/// ```
pub struct FnApprover<F>(Arc<F>);

impl<F> FnApprover<F> {
    /// Asks `decide`, in a task of its own for each question.
    pub fn new<D>(decide: F) -> Self
    where
        F: Fn(Arc<Question>) -> D + Send + Sync + 'static,
        D: Future<Output = Decision> + Send + 'static,
    {
        Self(Arc::new(decide))
    }
}

impl<F> fmt::Debug for FnApprover<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FnApprover(..)")
    }
}

#[async_trait]
impl<F, D> Approver for FnApprover<F>
where
    F: Fn(Arc<Question>) -> D + Send + Sync + 'static,
    D: Future<Output = Decision> + Send + 'static,
{
    async fn ask(&self, question: Arc<Question>, ballot: Ballot) -> Result<Box<dyn Posted>, ApproverError> {
        let decide = Arc::clone(&self.0);
        tokio::spawn(async move {
            let decision = decide(question).await;
            if let Err(error) = ballot.cast(decision).await {
                tracing::info!(%error, "a decision came to nothing");
            }
        });
        Ok(Box::new(()))
    }

    async fn check(&self) -> Result<(), ApproverError> {
        Ok(())
    }
}
