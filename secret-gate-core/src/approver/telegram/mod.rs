//! Questions go to a Telegram chat, and buttons under them decide.
//!
//! A press counts only from the configured chat, on the question's own message, by an allowed user, while the gate
//! holds the question open; every other press is told why it changed nothing. Sending happens in the caller's task,
//! each press and each message's later changes in tasks of their own, so that no slow answer of Telegram holds up
//! anything else.
//!
//! # The token
//! It is part of every URL of the Bot API. Nothing here prints it: `Debug` leaves it out, and errors are rebuilt
//! without URLs. The crates underneath (teloxide-core, reqwest 0.12, hyper, hyper-util, rustls) log no path of a URL,
//! at trace level neither, through `tracing` or `log`; a test listens to all of them. Enabling reqwest's
//! `connection_verbose`, which nothing here does, would change that.

mod api;
mod builder;
mod failure;
mod keyboard;
mod pause;
mod poll;
mod post;
mod press;
mod probe;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use self::api::Api;
use self::failure::Failure;
use self::poll::Health;
use self::post::{Editing, Posts};
use self::press::Polling;
use super::{Approver, ApproverError, Ballot, Posted, Question, message};
use crate::SecretValue;
use crate::sync::lock;

pub use api::ChatKind;
pub use builder::{TelegramBuilder, TelegramError};
pub use probe::{BotAccount, Contact, Heard, ProbeError, SeenChat, SeenUser, TelegramProbe};

/// Asks in a Telegram chat.
///
/// It listens for presses from [`TelegramBuilder::start`] until [`stop`](Self::stop), or until it is dropped. Messages are
/// brought up to date in the background: a program that ends calls [`Gate::settle`](crate::Gate::settle) and then `stop`
/// and waits for both, or the message may go on saying "Approved" where the secret was released.
///
/// ```no_run
/// use std::sync::Arc;
/// use secret_gate_core::{Approver, Gate, MemoryBackend, Request, SecretValue, TelegramApprover};
///
/// # async fn run(token: String) -> Result<(), Box<dyn std::error::Error>> {
/// let human = TelegramApprover::builder(SecretValue::from(token), -1001234567890).approver_ids([4711]).start()?;
/// let human = Arc::new(human);
/// human.check().await?;
/// let gate = Gate::builder(Arc::new(MemoryBackend::new()), Arc::clone(&human) as _).build();
///
/// let released = gate.request(Request::new("database")).await;
/// // before the program ends, however the request did
/// gate.settle().await;
/// human.stop().await;
/// # released?;
/// # Ok(())
/// # }
/// ```
pub struct TelegramApprover {
    api: Api,
    posts: Arc<Posts>,
    health: watch::Receiver<Health>,
    chat: Mutex<Option<ChatKind>>,
    tasks: TaskTracker,
    stop: CancellationToken,
    _stops_when_dropped: DropGuard,
}

impl TelegramApprover {
    /// Collects what the approver needs: at least a bot's token, and the chat that gets the questions (negative for
    /// groups).
    pub fn builder(token: SecretValue, chat_id: i64) -> TelegramBuilder {
        TelegramBuilder::new(token, chat_id)
    }

    fn listen(api: Api, approvers: Option<BTreeSet<u64>>, runtime: Handle) -> Self {
        let (reported, health) = watch::channel(Health::Starting);
        let tasks = TaskTracker::new();
        let stop = CancellationToken::new();
        let editing = Editing { api: api.clone(), runtime: runtime.clone(), tasks: tasks.clone(), stop: stop.clone() };
        let posts = Arc::new(Posts::new(editing));
        let polling = Arc::new(Polling { api: api.clone(), approvers, posts: Arc::clone(&posts) });
        tasks.spawn_on(poll::run(polling, reported, tasks.clone(), stop.clone()), &runtime);
        let guard = stop.clone().drop_guard();
        Self { api, posts, health, chat: Mutex::new(None), tasks, stop, _stops_when_dropped: guard }
    }

    /// Whether the chat is one person's, a group or a channel. Asks Telegram once and remembers the answer.
    ///
    /// # Errors
    /// [`ApproverError::Unreachable`] when Telegram does not say, with what to do about it.
    pub async fn chat_kind(&self) -> Result<ChatKind, ApproverError> {
        let known = *lock(&self.chat);
        if let Some(kind) = known {
            return Ok(kind);
        }
        let kind = self.api.chat_kind().await.map_err(|failure| unreachable(&failure))?;
        *lock(&self.chat) = Some(kind);
        Ok(kind)
    }

    /// Stops listening; returns once the presses that were heard are dealt with and each message was brought up to date,
    /// or tried to be, after one call's time and a second at most. From then on nothing can be asked and nothing is shown.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.tasks.close();
        let limit = self.api.pace().call + Duration::from_secs(1);
        if tokio::time::timeout(limit, self.tasks.wait()).await.is_err() {
            tracing::warn!("some presses on Telegram were not answered before the end");
        }
    }
}

#[async_trait]
impl Approver for TelegramApprover {
    async fn ask(&self, question: Arc<Question>, ballot: Ballot) -> Result<Box<dyn Posted>, ApproverError> {
        if self.stop.is_cancelled() {
            return Err(stopped());
        }
        let html = message::html(&question, None)?;
        let buttons = keyboard::buttons(&question);
        // before sending: the press may overtake Telegram's answer
        let hold = Posts::open(&self.posts, question, ballot);
        let message = self.api.send(&html, buttons).await.map_err(|failure| {
            if !failure.is_passing() {
                // whatever was known of the chat may have changed
                *lock(&self.chat) = None;
            }
            unreachable(&failure)
        })?;
        hold.sent(message);
        Ok(Box::new(hold))
    }

    async fn check(&self) -> Result<(), ApproverError> {
        if self.stop.is_cancelled() {
            return Err(stopped());
        }
        let health = self.health.borrow().clone();
        if let Health::Bad(message) = health {
            return Err(ApproverError::Unreachable { message });
        }
        self.chat_kind().await.map(drop)
    }
}

fn unreachable(failure: &Failure) -> ApproverError {
    ApproverError::unreachable(failure.to_string())
}

fn stopped() -> ApproverError {
    ApproverError::unreachable("the Telegram approver was stopped")
}

impl fmt::Debug for TelegramApprover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TelegramApprover").field("api", &self.api).finish_non_exhaustive()
    }
}
