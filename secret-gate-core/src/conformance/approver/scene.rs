//! The gate's side of the suite: it puts questions, counts decisions, and shows endings.

#![expect(clippy::panic, reason = "a suite fails the test that calls it")]

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use tokio::sync::{oneshot, watch};

use super::{Answer, Differences, Hand, is_approval};
use crate::approver::{Approval, AskedField, AskedItem, BallotBox, CastError, Posted, Said};
use crate::conformance::wait::within;
use crate::sync::lock;
use crate::{Approver, ApproverError, Ballot, Decision, Outcome, Question, RequestId, Requester};

/// An approver, the human in front of it, and what they decided.
pub(super) struct Scene<'a> {
    approver: &'a dyn Approver,
    hand: &'a dyn Hand,
    differences: &'a Differences,
    pub(super) ballots: Arc<Ballots>,
}

/// A question that was put.
pub(super) struct Asked {
    pub(super) question: Arc<Question>,
    posted: Arc<dyn Posted>,
}

impl<'a> Scene<'a> {
    pub(super) fn new(approver: &'a dyn Approver, hand: &'a dyn Hand, differences: &'a Differences) -> Self {
        Self { approver, hand, differences, ballots: Arc::default() }
    }

    /// Puts a question; it may stand in line behind another.
    pub(super) async fn put(&self, question: Question) -> Asked {
        let question = Arc::new(question);
        match self.try_ask(&question).await {
            Ok(posted) => Asked { question, posted: Arc::from(posted) },
            Err(error) => panic!("a question can be put: {error}"),
        }
    }

    /// Puts a question, which the human then sees.
    pub(super) async fn ask(&self, question: Question) -> Asked {
        let asked = self.put(question).await;
        let seen = self.differences.asks_in_turn || self.hand.sees(&asked.question);
        assert!(seen, "`ask` returns once the human can see the question: they don't");
        asked
    }

    async fn try_ask(&self, question: &Arc<Question>) -> Result<Box<dyn Posted>, ApproverError> {
        let ballot = Ballots::ballot(&self.ballots, &question.id);
        let ask = self.approver.ask(Arc::clone(question), ballot);
        within(self.differences.patience, "`ask` returns once the human can see the question", ask).await
    }

    pub(super) async fn answer(&self, asked: &Asked, answer: Answer) {
        let rule = "a question can be answered once `ask` has returned";
        within(self.differences.patience, rule, self.hand.answer(&asked.question, answer)).await;
    }

    /// What the human reads of a question.
    pub(super) async fn shown(&self, asked: &Asked) -> String {
        let rule = "the human is shown what they are asked";
        match within(self.differences.patience, rule, self.hand.shown(&asked.question)).await {
            Some(text) => text,
            None => panic!("{rule}: the hand reads nothing (if nothing is shown, declare `shows_nothing`)"),
        }
    }

    /// Waits for the decision on a question, and shows it there.
    pub(super) async fn decided(&self, asked: &Asked, answer: Answer) {
        let id = &asked.question.id;
        let rule = "an answer is cast on the question's ballot";
        let outcome = within(self.differences.patience, rule, self.ballots.outcome(id)).await;
        let expected = answer == Answer::Approve && !self.differences.never_approves;
        let (approved, by) = match &outcome {
            Outcome::Approved(approval) => (true, approval.by.as_str()),
            Outcome::Denied { by } => (false, by.as_str()),
            other => panic!("a decision is a yes or a no, not {other:?}"),
        };
        assert_eq!(approved, expected, "the decision is what the human said ({answer:?})");
        assert!(!by.trim().is_empty(), "a decision says who made it");
        self.show(asked, outcome).await;
    }

    /// Shows how a question stands.
    pub(super) async fn show(&self, asked: &Asked, outcome: Outcome) {
        self.show_in_time(Arc::clone(&asked.posted), vec![outcome]).await;
    }

    /// Shows how a question stands, one outcome after another, and forgets it.
    pub(super) async fn show_and_drop(&self, asked: Asked, outcomes: Vec<Outcome>) {
        self.show_in_time(asked.posted, outcomes).await;
    }

    /// On a thread of its own, in case it blocks; but inside the runtime, as the gate does it.
    async fn show_in_time(&self, posted: Arc<dyn Posted>, outcomes: Vec<Outcome>) {
        let (done, is_done) = oneshot::channel();
        let runtime = tokio::runtime::Handle::current();
        std::thread::spawn(move || {
            runtime.block_on(async move {
                for outcome in &outcomes {
                    posted.show(outcome);
                }
                drop(posted);
            });
            done.send(()).ok();
        });
        let rule = "showing how a question ended does not block";
        let shown = within(self.differences.patience, rule, is_done).await;
        assert!(shown.is_ok(), "showing how a question ended does not panic");
    }

    /// From the question to its answer.
    pub(super) async fn ask_and_answer(&self, question: Question, answer: Answer) {
        self.hand.prepare(answer).await;
        let asked = self.ask(question).await;
        self.answer(&asked, answer).await;
        self.decided(&asked, answer).await;
        let attempts = self.ballots.attempts(&asked.question.id).len();
        assert_eq!(attempts, 1, "an answer is cast once");
    }

    pub(super) async fn is_too_long(&self, question: Question) {
        let rule = "a question that can't be shown whole is refused as too long";
        self.hand.prepare(Answer::Deny).await;
        match self.try_ask(&Arc::new(question)).await {
            Err(ApproverError::TooLongToShow { length, limit }) => {
                assert!(length > limit, "{rule}, with its length above the limit: {length}, {limit}");
            }
            Err(error) => panic!("{rule}: it is {error:?} instead"),
            Ok(_) => panic!("{rule}: it was put"),
        }
    }
}

/// A question like many others.
pub(super) fn question() -> Question {
    titled("database")
}

/// A question about an item of this title.
pub(super) fn titled(title: &str) -> Question {
    let Ok(id) = RequestId::random() else { panic!("the suite needs random numbers") };
    let asked_at = SystemTime::now();
    let field = |name: &str| AskedField { name: name.to_owned(), is_seed: false };
    Question {
        id,
        items: vec![AskedItem {
            title: title.to_owned(),
            vault: "infra".to_owned(),
            ids: None,
            fields: vec![field("username"), field("password")],
        }],
        requester: Requester::unauthenticated().at("203.0.113.9"),
        intended_use: None,
        keep: None,
        said: Said { reason: Some("migrate the orders table".to_owned()), ..Said::default() },
        asked_at,
        expires_at: asked_at + Duration::from_secs(900),
        audit: None,
    }
}

/// A question about two items, and the words that a human must read of it: each a single one, which occurs in no other
/// question.
pub(super) fn spelled_out() -> (Question, Vec<(&'static str, String)>) {
    let mut question = question();
    let mut words = Vec::new();
    let id = question.id.to_string();
    let mut word = |what, word: &str| {
        let word = format!("{word}-{id}");
        words.push((what, word.clone()));
        word
    };
    question.items = ["orders", "customers"]
        .into_iter()
        .map(|name| AskedItem {
            title: word("the title", name),
            vault: word("the vault", &format!("of-{name}")),
            ids: None,
            fields: ["login", "pin"]
                .map(|field| AskedField { name: word("a field", &format!("{field}-{name}")), is_seed: false })
                .into(),
        })
        .collect();
    question.requester = Requester::with_key(word("the requester", "machine"), false).at("203.0.113.9");
    (question, words)
}

/// Takes the first decision on each question, and remembers all.
#[derive(Default)]
pub(super) struct Ballots {
    cast: watch::Sender<Vec<Cast>>,
    failures: Mutex<Vec<CastError>>,
}

struct Cast {
    id: RequestId,
    decision: Decision,
    /// What came of it, where it counted.
    outcome: Option<Outcome>,
}

impl Ballots {
    pub(super) fn ballot(ballots: &Arc<Self>, id: &RequestId) -> Ballot {
        Ballot::new(id.clone(), Arc::clone(ballots) as Arc<dyn BallotBox>)
    }

    /// The next decision fails like this.
    pub(super) fn fail_next(&self, error: CastError) {
        lock(&self.failures).push(error);
    }

    /// The decisions on a question, whether they counted or not.
    pub(super) fn attempts(&self, id: &RequestId) -> Vec<Decision> {
        self.cast.borrow().iter().filter(|cast| cast.id == *id).map(|cast| cast.decision.clone()).collect()
    }

    /// Waits for that many decisions on a question, whether they count or not.
    pub(super) async fn attempted(&self, id: &RequestId, count: usize) {
        let mut cast = self.cast.subscribe();
        // the sender lives in `self`
        cast.wait_for(|all| all.iter().filter(|cast| cast.id == *id).count() >= count).await.ok();
    }

    /// Waits for the decision on a question that counts.
    pub(super) async fn outcome(&self, id: &RequestId) -> Outcome {
        let mut cast = self.cast.subscribe();
        loop {
            let counted = counted(&cast.borrow_and_update(), id);
            if let Some(outcome) = counted {
                return outcome;
            }
            // the sender lives in `self`
            cast.changed().await.ok();
        }
    }
}

fn counted(all: &[Cast], id: &RequestId) -> Option<Outcome> {
    all.iter().find_map(|cast| cast.outcome.clone().filter(|_| cast.id == *id))
}

#[async_trait]
impl BallotBox for Ballots {
    async fn cast(self: Arc<Self>, id: RequestId, decision: Decision) -> Result<Outcome, CastError> {
        let failure = lock(&self.failures).pop();
        let mut result = Err(CastError::Unknown);
        self.cast.send_modify(|all| {
            result = match (failure, counted(all, &id)) {
                (Some(failure), _) => Err(failure),
                (None, Some(before)) => Err(CastError::Ended(Box::new(before))),
                (None, None) => Ok(outcome_of(&decision)),
            };
            all.push(Cast { id, decision, outcome: result.as_ref().ok().cloned() });
        });
        result
    }
}

fn outcome_of(decision: &Decision) -> Outcome {
    let by = decision.by.clone();
    if is_approval(decision) {
        Outcome::Approved(Approval { by, grant: None, at: SystemTime::now(), audit: None })
    } else {
        Outcome::Denied { by }
    }
}
