use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt as _;
use futures_util::future::join_all;
use secret_gate_core::conformance::approver::{self, Answer, Differences, Hand};
use secret_gate_core::{
    Approver, ApproverError, Ballot, Decision, DenyAll, Outcome, Posted, Question, ScriptedApprover,
};

use super::super::hands::{Nobody, Script};
use super::caught;

#[derive(Debug, Clone, Copy, PartialEq)]
enum ApproverFault {
    ApprovesByItself,
    SwapsYesAndNo,
    AnswersTheLatestQuestion,
    LosesAnswers,
    TriesAgainForEver,
    NobodySees,
    AsksForEver,
    PanicsWhenShown,
    BlocksWhenShown,
    RefusesOddText,
    LetsLongOnesPass,
    HasNoName,
    FailsTheCheck,
    ApprovesAfterAWhile,
    ApprovesInTheEnd,
    ShowsNothing,
    ShowsOneItem,
    HidesWhoAsks,
}

type Asked = (Arc<Question>, Ballot);

/// An approver whose questions the test's hand answers, in a broken way.
#[derive(Debug, Clone)]
struct BrokenApprover {
    fault: ApproverFault,
    asked: Arc<Mutex<Vec<Asked>>>,
}

#[derive(Debug)]
struct BrokenPosted(ApproverFault);

impl Posted for BrokenPosted {
    fn show(&self, outcome: &Outcome) {
        match self.0 {
            ApproverFault::PanicsWhenShown if *outcome == Outcome::Withdrawn => panic!("not implemented"),
            ApproverFault::BlocksWhenShown if *outcome == Outcome::Withdrawn => std::thread::park(),
            _ => {}
        }
    }
}

#[async_trait]
impl Approver for BrokenApprover {
    async fn ask(&self, question: Arc<Question>, ballot: Ballot) -> Result<Box<dyn Posted>, ApproverError> {
        let length = question.items[0].title.chars().count();
        match self.fault {
            ApproverFault::RefusesOddText if question.items[0].title.contains('<') => {
                return Err(ApproverError::unreachable("status 400"));
            }
            ApproverFault::LetsLongOnesPass => {}
            _ if length > 3000 => {
                return Err(ApproverError::TooLongToShow { length, limit: 3000 });
            }
            ApproverFault::ApprovesByItself => drop(ballot.cast(Decision::approve("me")).await),
            ApproverFault::ApprovesAfterAWhile | ApproverFault::ApprovesInTheEnd => {
                let ballot = ballot.clone();
                let in_the_end = self.fault == ApproverFault::ApprovesInTheEnd;
                let wait = Duration::from_millis(if in_the_end { 2000 } else { 1000 });
                tokio::spawn(async move {
                    tokio::time::sleep(wait).await;
                    ballot.cast(Decision::approve("me")).await.ok();
                });
            }
            ApproverFault::AsksForEver => std::future::pending().await,
            _ => {}
        }
        self.asked.lock().unwrap().push((question, ballot));
        Ok(Box::new(BrokenPosted(self.fault)))
    }

    async fn check(&self) -> Result<(), ApproverError> {
        match self.fault {
            ApproverFault::FailsTheCheck => Err(ApproverError::unreachable("no network")),
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl Hand for BrokenApprover {
    fn sees(&self, _question: &Question) -> bool {
        self.fault != ApproverFault::NobodySees
    }

    async fn shown(&self, question: &Question) -> Option<String> {
        let items = match self.fault {
            ApproverFault::ShowsNothing => return Some("somebody asks for something".to_owned()),
            ApproverFault::ShowsOneItem => &question.items[..1],
            _ => &question.items,
        };
        let requester = match self.fault {
            ApproverFault::HidesWhoAsks => "somebody".to_owned(),
            _ => format!("{:?}", question.requester),
        };
        Some(format!("{items:?} {requester}"))
    }

    async fn answer(&self, question: &Question, answer: Answer) {
        let asked = self.asked.lock().unwrap().clone();
        let latest = self.fault == ApproverFault::AnswersTheLatestQuestion;
        let (_, ballot) = asked.iter().rev().find(|(asked, _)| latest || asked.id == question.id).unwrap().clone();
        let by = if self.fault == ApproverFault::HasNoName { " " } else { "Ann" };
        let yes = (answer == Answer::Approve) != (self.fault == ApproverFault::SwapsYesAndNo);
        let decision = if yes { Decision::approve(by) } else { Decision::deny(by) };
        match self.fault {
            ApproverFault::LosesAnswers => {}
            ApproverFault::TriesAgainForEver => {
                let again = async move {
                    while ballot.cast(decision.clone()).await.is_err() {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                };
                tokio::spawn(again);
            }
            _ => drop(ballot.cast(decision).await),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn approvers() {
    use ApproverFault::*;
    let faults = [
        (ApprovesByItself, "an answer is cast once"),
        (ApprovesAfterAWhile, "silence was taken for a yes"),
        (ApprovesInTheEnd, "silence was taken for a yes"),
        (ShowsNothing, "the human is shown what they are asked: the title, orders-"),
        (ShowsOneItem, "the human is shown what they are asked: the title, customers-"),
        (HidesWhoAsks, "the human is shown what they are asked: the requester, machine-"),
        (SwapsYesAndNo, "the decision is what the human said (Approve)"),
        (AnswersTheLatestQuestion, "an answer is cast on the question's ballot"),
        (LosesAnswers, "an answer is cast on the question's ballot: nothing happened"),
        (TriesAgainForEver, "an answer that does not count is not cast again"),
        (NobodySees, "the human can see the question: they don't"),
        (AsksForEver, "`ask` returns once the human can see the question: nothing happened"),
        (PanicsWhenShown, "showing how a question ended does not panic"),
        (BlocksWhenShown, "showing how a question ended does not block"),
        (RefusesOddText, "a question can be put: status 400"),
        (LetsLongOnesPass, "a question that can't be shown whole is refused as too long: it was put"),
        (HasNoName, "a decision says who made it"),
        (FailsTheCheck, "an approver that works says so"),
    ];
    let differences = &Differences::none().patience(Duration::from_secs(1));
    // at once, since silence takes its time; boxed, since together they are more than a stack holds
    let suites = faults.map(|(fault, rule)| {
        let suite = async move {
            let broken = BrokenApprover { fault, asked: Arc::default() };
            caught(rule, approver::all(&broken, &broken, differences)).await;
        };
        suite.boxed_local()
    });
    join_all(suites).await;
}

#[tokio::test]
async fn an_approver_that_can_not_do_what_is_claimed() {
    let none = Differences::none().patience(Duration::from_millis(300));
    caught("the decision is what the human said", approver::all(&DenyAll, &Nobody, &none)).await;
    let scripted = ScriptedApprover::new();
    let rule = "refused as too long: it was put";
    let shows_nothing = none.clone().shows_nothing();
    caught(rule, approver::all(&scripted, &Script(scripted.clone()), &shows_nothing)).await;
    let rule = "the hand reads nothing (if nothing is shown, declare `shows_nothing`)";
    caught(rule, approver::all(&scripted, &Script(scripted.clone()), &none)).await;
}
