//! The questions that stand in the chat, and what they say.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use teloxide_core::types::MessageId;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::api::Api;
use super::failure::Failure;
use super::pause::Pauses;
use crate::RequestId;
use crate::approver::{Ballot, Outcome, Posted, Question, message};
use crate::sync::lock;

/// Attempts to write an outcome before we give up; with the pauses between them about a quarter of an hour.
const EDIT_ATTEMPTS: usize = 30;

/// The questions that the gate has not forgotten.
#[derive(Debug, Default)]
pub(super) struct Posts(Mutex<HashMap<RequestId, Arc<Post>>>);

/// A question in the chat.
#[derive(Debug)]
pub(super) struct Post {
    pub(super) question: Arc<Question>,
    pub(super) ballot: Ballot,
    sending: watch::Sender<Sending>,
    outcome: watch::Sender<Option<Outcome>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sending {
    /// Telegram has not answered. A press can come all the same: it has the message before we have the answer.
    UnderWay,
    Done(MessageId),
    Failed,
}

/// The gate's hold on a [`Post`]: while it lives, presses count.
#[derive(Debug)]
pub(super) struct Hold {
    post: Arc<Post>,
    posts: Arc<Posts>,
}

impl Posts {
    /// Makes presses on the question count.
    pub(super) fn open(posts: &Arc<Self>, question: Arc<Question>, ballot: Ballot) -> Hold {
        let id = question.id.clone();
        let (sending, outcome) = (watch::Sender::new(Sending::UnderWay), watch::Sender::new(None));
        let post = Arc::new(Post { question, ballot, sending, outcome });
        lock(&posts.0).insert(id, Arc::clone(&post));
        Hold { post, posts: Arc::clone(posts) }
    }

    pub(super) fn find(&self, id: &RequestId) -> Option<Arc<Post>> {
        lock(&self.0).get(id).cloned()
    }

    /// Whether this message holds one of the questions.
    pub(super) fn shows(&self, message: MessageId) -> bool {
        lock(&self.0).values().any(|post| *post.sending.borrow() == Sending::Done(message))
    }
}

impl Post {
    /// The message that holds the question; waits while it is being sent. `None` when that failed.
    pub(super) async fn message(&self) -> Option<MessageId> {
        let mut sending = self.sending.subscribe();
        let done = sending.wait_for(|sending| *sending != Sending::UnderWay).await.ok()?;
        match *done {
            Sending::Done(id) => Some(id),
            Sending::UnderWay | Sending::Failed => None,
        }
    }

    pub(super) fn outcome(&self) -> Option<Outcome> {
        self.outcome.borrow().clone()
    }

    /// Writes the outcome into the message again, in case that failed before.
    pub(super) fn refresh(&self) {
        self.outcome.send_modify(|_| {});
    }
}

impl Hold {
    /// Telegram took the message. The future returned writes each outcome into it, until the gate lets go.
    pub(super) fn sent(
        &self,
        api: Api,
        message: MessageId,
        stop: CancellationToken,
    ) -> impl Future<Output = ()> + Send + use<> {
        self.post.sending.send_replace(Sending::Done(message));
        keep_current(api, message, Arc::clone(&self.post.question), self.post.outcome.subscribe(), stop)
    }
}

impl Posted for Hold {
    fn show(&self, outcome: &Outcome) {
        self.post.outcome.send_replace(Some(outcome.clone()));
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        // for the press that waits while sending is given up
        self.post.sending.send_if_modified(|sending| {
            let was_under_way = *sending == Sending::UnderWay;
            if was_under_way {
                *sending = Sending::Failed;
            }
            was_under_way
        });
        let mut posts = lock(&self.posts.0);
        if posts.get(&self.post.question.id).is_some_and(|post| Arc::ptr_eq(post, &self.post)) {
            posts.remove(&self.post.question.id);
        }
    }
}

/// Writes the latest outcome into the message; those that come while Telegram is slow are passed over.
async fn keep_current(
    api: Api,
    message: MessageId,
    question: Arc<Question>,
    mut outcomes: watch::Receiver<Option<Outcome>>,
    stop: CancellationToken,
) {
    loop {
        tokio::select! {
            biased;
            changed = outcomes.changed() => if changed.is_err() { return },
            () = stop.cancelled() => return,
        }
        let mut pauses = Pauses::new(api.pace().first_pause, api.pace().longest_pause);
        for attempt in 1..=EDIT_ATTEMPTS {
            let Some(outcome) = outcomes.borrow_and_update().clone() else { break };
            let Ok(html) = message::html(&question, Some(&outcome)) else { break };
            let pause = match api.edit(message, &html).await {
                Ok(()) | Err(Failure::NotModified) => break,
                Err(Failure::RetryAfter(wait)) => wait + pauses.next(),
                Err(failure) if failure.is_passing() && attempt < EDIT_ATTEMPTS => {
                    tracing::debug!(request = %question.id, %failure, "an outcome could not be shown yet");
                    pauses.next()
                }
                Err(failure) => {
                    tracing::warn!(request = %question.id, %failure, "an outcome could not be shown");
                    break;
                }
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stop.cancelled() => return,
            }
        }
    }
}
