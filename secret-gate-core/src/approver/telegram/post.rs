//! The questions that stand in the chat, and what they say.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use teloxide_core::types::MessageId;
use tokio::runtime::Handle;
use tokio::sync::{SetOnce, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::api::Api;
use super::failure::Failure;
use super::pause::Pauses;
use crate::RequestId;
use crate::approver::{Ballot, Outcome, Posted, Question, message};
use crate::sync::lock;

/// Attempts to write an outcome before we give up; with the pauses between them about a quarter of an hour.
const EDIT_ATTEMPTS: usize = 30;

/// The questions that the gate has not forgotten.
#[derive(Debug)]
pub(super) struct Posts {
    all: Mutex<HashMap<RequestId, Arc<Post>>>,
    editing: Editing,
}

/// What it takes to rewrite messages in the background.
#[derive(Debug)]
pub(super) struct Editing {
    pub(super) api: Api,
    pub(super) runtime: Handle,
    pub(super) tasks: TaskTracker,
    pub(super) stop: CancellationToken,
}

/// A question in the chat. Thousands can wait at once, so one that waits has no task and no channel.
#[derive(Debug)]
pub(super) struct Post {
    pub(super) question: Arc<Question>,
    pub(super) ballot: Ballot,
    /// Its message; none where sending failed. Not there while Telegram has not answered: a press can come all the same,
    /// it has the message before we have the answer.
    message: SetOnce<Option<MessageId>>,
    /// What its message is to say, once it is more than the question.
    outcome: Mutex<Option<watch::Sender<Outcome>>>,
}

/// The gate's hold on a [`Post`]: while it lives, presses count.
#[derive(Debug)]
pub(super) struct Hold {
    post: Arc<Post>,
    posts: Arc<Posts>,
}

impl Posts {
    pub(super) fn new(editing: Editing) -> Self {
        Self { all: Mutex::default(), editing }
    }

    /// Makes presses on the question count.
    pub(super) fn open(posts: &Arc<Self>, question: Arc<Question>, ballot: Ballot) -> Hold {
        let id = question.id.clone();
        let post = Arc::new(Post { question, ballot, message: SetOnce::new(), outcome: Mutex::default() });
        lock(&posts.all).insert(id, Arc::clone(&post));
        Hold { post, posts: Arc::clone(posts) }
    }

    pub(super) fn find(&self, id: &RequestId) -> Option<Arc<Post>> {
        lock(&self.all).get(id).cloned()
    }

    /// Whether this message holds one of the questions.
    pub(super) fn shows(&self, message: MessageId) -> bool {
        lock(&self.all).values().any(|post| post.message.get() == Some(&Some(message)))
    }
}

impl Post {
    /// The message that holds the question; waits while it is being sent. `None` when that failed.
    pub(super) async fn message(&self) -> Option<MessageId> {
        *self.message.wait().await
    }

    pub(super) fn outcome(&self) -> Option<Outcome> {
        lock(&self.outcome).as_ref().map(|latest| latest.borrow().clone())
    }

    /// Writes the outcome into the message again, in case that failed before.
    pub(super) fn refresh(&self) {
        if let Some(latest) = &*lock(&self.outcome) {
            latest.send_modify(|_| {});
        }
    }
}

impl Hold {
    /// Telegram took the message. From now on outcomes are written into it, until the gate lets go.
    pub(super) fn sent(&self, message: MessageId) {
        // it is set nowhere else while this lives
        self.post.message.set(Some(message)).ok();
    }
}

impl Posted for Hold {
    fn show(&self, outcome: &Outcome) {
        let mut shown = lock(&self.post.outcome);
        if let Some(latest) = &*shown {
            latest.send_replace(outcome.clone());
            return;
        }
        let (latest, mut outcomes) = watch::channel(outcome.clone());
        *shown = Some(latest);
        let Editing { api, runtime, tasks, stop } = &self.posts.editing;
        if let Some(Some(message)) = self.post.message.get()
            && !stop.is_cancelled()
        {
            outcomes.mark_changed();
            let question = Arc::clone(&self.post.question);
            tasks.spawn_on(keep_current(api.clone(), *message, question, outcomes, stop.clone()), runtime);
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        // for the press that waits while sending is given up
        self.post.message.set(None).ok();
        let mut posts = lock(&self.posts.all);
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
    mut outcomes: watch::Receiver<Outcome>,
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
            let outcome = outcomes.borrow_and_update().clone();
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
