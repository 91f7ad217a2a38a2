//! The questions that this process has open. Each has a task of its own that keeps the daemon's call alive, so that it
//! outlives the tool call which put it; another tool call that wants the same joins it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use secret_gate_core::daemon::{Answer, Event, Failure, FailureKind, Granted, Verb, Wish, call_or_start};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::daemon;
use crate::refusal::Refusal;

/// How long an answer is kept that nobody has heard.
const UNHEARD: Duration = Duration::from_secs(15 * 60);

/// The open questions. A handle: clones are the same questions.
#[derive(Debug, Clone)]
pub(crate) struct Questions {
    open: Arc<Mutex<HashMap<String, Question>>>,
    /// For how long a question stays that was cancelled, in case somebody comes back.
    grace: Duration,
}

#[derive(Debug)]
struct Question {
    state: watch::Receiver<State>,
    task: AbortHandle,
    /// How many wait for it.
    waiting: usize,
    /// Counts who came, so that it is known whether somebody came back.
    visits: u64,
    /// When it was answered.
    answered: Option<Instant>,
}

/// How a question stands.
#[derive(Debug, Clone)]
pub(crate) enum State {
    /// It is on its way.
    Asking,
    /// A human can see it.
    Asked { request_id: String, expires_at: String },
    /// It was approved.
    Granted(Box<Granted>),
    /// It came to nothing.
    Failed(Box<Failed>),
}

/// Why a question came to nothing.
#[derive(Debug, Clone)]
pub(crate) enum Failed {
    /// As the daemon says.
    Daemon(Failure),
    /// There is no daemon to talk to.
    Refused(Refusal),
}

/// How waiting for a question ended, other than with an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leave {
    /// The question stays until it expires.
    Stay,
    /// It is withdrawn when nobody comes back.
    Withdraw,
}

impl Questions {
    pub(crate) fn new(grace: Duration) -> Self {
        Self { open: Arc::default(), grace }
    }

    /// The question for this wish: one that is open, or a new one.
    pub(crate) fn join(&self, wish: Wish) -> Result<Visit, Refusal> {
        let key = key(&wish)?;
        let mut open = self.lock();
        open.retain(|_, question| question.answered.is_none_or(|at| at.elapsed() < UNHEARD));
        let question = open.entry(key.clone()).or_insert_with(|| self.put(key.clone(), wish));
        question.waiting += 1;
        question.visits += 1;
        let state = question.state.clone();
        Ok(Visit { state, key, questions: self.clone(), leave: Leave::Withdraw })
    }

    /// Takes every question back.
    pub(crate) fn withdraw_all(&self) {
        for (_, question) in self.lock().drain() {
            question.task.abort();
        }
    }

    /// Puts a question.
    fn put(&self, key: String, wish: Wish) -> Question {
        let (sender, state) = watch::channel(State::Asking);
        let questions = self.clone();
        let task = tokio::spawn(async move {
            let end = ask(wish, &sender).await;
            questions.answered(&key, &end);
            sender.send_replace(end);
        });
        Question { state, task: task.abort_handle(), waiting: 0, visits: 0, answered: None }
    }

    /// An approval is held by the daemon from now on. Anything else is kept for whoever asks next, so that nobody is asked
    /// again who has just said no.
    fn answered(&self, key: &str, end: &State) {
        let mut open = self.lock();
        let is_granted = matches!(end, State::Granted(_));
        match open.get_mut(key) {
            Some(question) if question.waiting == 0 && !is_granted => question.answered = Some(Instant::now()),
            Some(_) => drop(open.remove(key)),
            None => {}
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Question>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn left(&self, key: &str, leave: Leave) {
        let mut open = self.lock();
        let Some(question) = open.get_mut(key) else { return };
        question.waiting = question.waiting.saturating_sub(1);
        if question.answered.is_some() {
            // told now
            open.remove(key);
            return;
        }
        if leave == Leave::Stay || question.waiting > 0 {
            return;
        }
        let visits = question.visits;
        let (questions, key) = (self.clone(), key.to_owned());
        tokio::spawn(async move {
            tokio::time::sleep(questions.grace).await;
            let mut open = questions.lock();
            let is_forsaken = |question: &Question| question.visits == visits && question.answered.is_none();
            if open.get(&key).is_some_and(is_forsaken)
                && let Some(question) = open.remove(&key)
            {
                // dropping the call takes the question back
                question.task.abort();
            }
        });
    }
}

/// What makes two wishes one question.
fn key(wish: &Wish) -> Result<String, Refusal> {
    serde_json::to_string(&(&wish.server, &wish.secrets, &wish.intended_use, &wish.duration))
        .map_err(|error| Refusal::new(error.to_string()))
}

/// Somebody who waits for a question.
#[derive(Debug)]
pub(crate) struct Visit {
    state: watch::Receiver<State>,
    key: String,
    questions: Questions,
    leave: Leave,
}

impl Visit {
    /// How it stands now.
    pub(crate) fn state(&mut self) -> State {
        self.state.borrow_and_update().clone()
    }

    /// Returns when it may stand otherwise.
    pub(crate) async fn changed(&mut self) {
        if self.state.changed().await.is_err() && !self.state.borrow().is_end() {
            std::future::pending::<()>().await;
        }
    }

    /// Goes, and leaves the question open.
    pub(crate) fn stay_open(mut self) {
        self.leave = Leave::Stay;
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.questions.left(&self.key, self.leave);
    }
}

impl State {
    const fn is_end(&self) -> bool {
        matches!(self, Self::Granted(_) | Self::Failed(_))
    }
}

/// Has the daemon ask, and waits for the end.
async fn ask(wish: Wish, state: &watch::Sender<State>) -> State {
    let refused = |refusal: Refusal| State::Failed(Box::new(Failed::Refused(refusal)));
    let ended = || {
        let message =
            "the daemon has ended; the question may still be open on the phone until it expires, so deny it there";
        State::Failed(Box::new(Failed::Daemon(Failure::new(FailureKind::Failed, message))))
    };
    let mut answers = match call_or_start(Verb::Request(wish), None).await {
        Ok(answers) => answers,
        Err(error) => return refused(error.into()),
    };
    loop {
        match answers.next().await {
            Ok(Some(Answer::Event(event))) => match *event {
                Event::Asked { request_id, expires_at } => {
                    state.send_replace(State::Asked { request_id, expires_at });
                }
                Event::Granted(granted) => return State::Granted(Box::new(granted)),
                Event::Failed(failure) => return State::Failed(Box::new(Failed::Daemon(failure))),
                _ => return refused(daemon::odd()),
            },
            Ok(Some(_)) => return refused(daemon::odd()),
            Ok(None) => return ended(),
            Err(error) => return refused(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A question that nobody waits for, and what tells how it stands.
    fn open(questions: &Questions, wish: &Wish) -> watch::Sender<State> {
        let (sender, state) = watch::channel(State::Asking);
        let task = tokio::spawn(std::future::pending::<()>()).abort_handle();
        let question = Question { state, task, waiting: 0, visits: 0, answered: None };
        questions.lock().insert(key(wish).unwrap(), question);
        sender
    }

    fn denied() -> State {
        State::Failed(Box::new(Failed::Daemon(Failure::new(FailureKind::Denied, "no"))))
    }

    #[tokio::test]
    async fn an_answer_that_nobody_has_heard_is_told_once() {
        let (questions, wish) = (Questions::new(Duration::ZERO), Wish::default());
        let sender = open(&questions, &wish);
        questions.answered(&key(&wish).unwrap(), &denied());
        sender.send_replace(denied());
        let mut visit = questions.join(wish).unwrap();
        assert!(matches!(visit.state(), State::Failed(_)));
        assert_eq!(questions.lock().len(), 1);
        drop(visit);
        assert!(questions.lock().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_not_kept_for_ever_and_an_approval_not_at_all() {
        let (questions, wish) = (Questions::new(Duration::ZERO), Wish::default());
        let _sender = open(&questions, &wish);
        questions.answered(&key(&wish).unwrap(), &denied());
        tokio::time::advance(UNHEARD).await;
        let other = Wish { server: "other".to_owned(), ..Wish::default() };
        // it is never put: nothing is awaited from here on
        let _visit = questions.join(other).unwrap();
        assert!(!questions.lock().contains_key(&key(&wish).unwrap()));

        let _sender = open(&questions, &wish);
        let granted = Granted { cached: false, items: Vec::new(), grant: None, notes: Vec::new() };
        questions.answered(&key(&wish).unwrap(), &State::Granted(Box::new(granted)));
        assert!(!questions.lock().contains_key(&key(&wish).unwrap()));
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_comes_back_keeps_the_question() {
        let (questions, wish) = (Questions::new(Duration::from_secs(60)), Wish::default());
        let _sender = open(&questions, &wish);
        let is_open = || questions.lock().contains_key(&key(&Wish::default()).unwrap());
        drop(questions.join(wish.clone()).unwrap());
        tokio::time::sleep(Duration::from_secs(59)).await;
        // and waits for longer than the first would have left it
        let visit = questions.join(wish.clone()).unwrap();
        tokio::time::sleep(Duration::from_secs(600)).await;
        assert!(is_open());
        visit.stay_open();
        tokio::time::sleep(Duration::from_secs(600)).await;
        assert!(is_open());
        let task = questions.lock().values().next().unwrap().task.clone();
        drop(questions.join(wish).unwrap());
        tokio::time::sleep(Duration::from_secs(61)).await;
        tokio::task::yield_now().await;
        assert!(!is_open() && task.is_finished());
    }
}
