use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use tokio::sync::watch;

use super::{Approver, ApproverError, Ballot, Outcome, Posted, Question};
use crate::Decision;
use crate::sync::lock;

/// Answers from a list, for tests and demonstrations; keeps what it was asked and how it ended.
///
/// A question beyond the end of the list stays open, and its [`Ballot`] can be taken with
/// [`asked`](Self::asked).
#[derive(Debug, Clone, Default)]
pub struct ScriptedApprover {
    script: Arc<Mutex<VecDeque<Answer>>>,
    asked: Arc<watch::Sender<Vec<Asked>>>,
}

/// A question that a [`ScriptedApprover`] was asked.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Asked {
    /// The question.
    pub question: Arc<Question>,
    /// The right to answer it.
    pub ballot: Ballot,
    /// How it was shown to stand, one after another.
    pub outcomes: watch::Receiver<Vec<Outcome>>,
}

#[derive(Debug)]
enum Answer {
    Decide(Decision),
    Fail(ApproverError),
}

impl ScriptedApprover {
    /// An approver that leaves every question open.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The same approver, answering the next question so far without an answer with this decision.
    #[must_use]
    pub fn then(self, decision: Decision) -> Self {
        lock(&self.script).push_back(Answer::Decide(decision));
        self
    }

    /// The same approver, failing to show the next question so far without an answer.
    #[must_use]
    pub fn then_fail(self, error: ApproverError) -> Self {
        lock(&self.script).push_back(Answer::Fail(error));
        self
    }

    /// How many questions were asked so far.
    #[must_use]
    pub fn count(&self) -> usize {
        self.asked.borrow().len()
    }

    /// Waits for the question number `index`, counting from 0.
    pub async fn asked(&self, index: usize) -> Asked {
        let mut asked = self.asked.subscribe();
        loop {
            if let Some(asked) = asked.borrow_and_update().get(index) {
                return asked.clone();
            }
            if asked.changed().await.is_err() {
                // can't be: the sender lives in `self`
                std::future::pending::<()>().await;
            }
        }
    }
}

#[async_trait]
impl Approver for ScriptedApprover {
    async fn ask(&self, question: Arc<Question>, ballot: Ballot) -> Result<Box<dyn Posted>, ApproverError> {
        let answer = lock(&self.script).pop_front();
        if let Some(Answer::Fail(error)) = answer {
            return Err(error);
        }
        let (shown, outcomes) = watch::channel(Vec::new());
        self.asked.send_modify(|asked| asked.push(Asked { question, ballot: ballot.clone(), outcomes }));
        if let Some(Answer::Decide(decision)) = answer
            && let Err(error) = ballot.cast(decision).await
        {
            tracing::info!(%error, "a scripted decision came to nothing");
        }
        Ok(Box::new(Shown(shown)))
    }

    async fn check(&self) -> Result<(), ApproverError> {
        Ok(())
    }
}

#[derive(Debug)]
struct Shown(watch::Sender<Vec<Outcome>>);

impl Posted for Shown {
    fn show(&self, outcome: &Outcome) {
        self.0.send_modify(|outcomes| outcomes.push(outcome.clone()));
    }
}
