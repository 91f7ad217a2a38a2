//! A press on a button: whether it counts, and what the presser is told.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use teloxide_core::types::{CallbackQuery, CallbackQueryId, MaybeInaccessibleMessage, Message, MessageId, User};

use super::api::Api;
use super::failure::Failure;
use super::keyboard;
use super::pause::Pauses;
use super::post::Posts;
use crate::approver::{Approval, CastError, Outcome, message};
use crate::{Decision, Verdict};

/// Attempts to tell the presser; after that Telegram calls the press too old.
const ANSWER_ATTEMPTS: usize = 3;

/// The longest pause that Telegram may ask for before an answer is given up.
const ANSWER_PATIENCE: Duration = Duration::from_secs(5);

/// Attempts to rewrite the message of another life of the server; the next press tries again.
const STALE_ATTEMPTS: usize = 4;

const NO_SUCH_BUTTON: &str = "This question has no such button. Nothing changed.";

/// Who may press, and on what.
#[derive(Debug)]
pub(super) struct Polling {
    pub(super) api: Api,
    pub(super) approvers: Option<BTreeSet<u64>>,
    pub(super) posts: Arc<Posts>,
}

/// What came of a press.
struct Reply {
    text: String,
    /// Whether the presser must confirm having read it.
    loud: bool,
    /// Whether the message belongs to a question that nobody knows any more.
    stale: bool,
}

impl Reply {
    fn quiet(text: impl Into<String>) -> Self {
        Self { text: text.into(), loud: false, stale: false }
    }

    fn loud(text: impl Into<String>) -> Self {
        Self { loud: true, ..Self::quiet(text) }
    }

    fn stale() -> Self {
        let text = "This question is not known any more: the server has restarted, or dropped it. Nothing changed.";
        Self { stale: true, ..Self::loud(text) }
    }
}

/// A press in the right chat by somebody who may decide there.
pub(super) struct Admitted {
    query: CallbackQuery,
    message: MessageId,
}

/// A press that can't count, whatever button it was on.
pub(super) struct Stranger {
    press: CallbackQueryId,
    told: &'static str,
}

impl Polling {
    /// Turns strangers away, at no cost: they may press as often as they like. The rules stand in the order that tells
    /// a stranger least.
    pub(super) fn admit(&self, query: CallbackQuery) -> Result<Admitted, Stranger> {
        let pressed = query.message.as_ref().filter(|message| message.chat().id == self.api.chat());
        let Some(message) = pressed.map(MaybeInaccessibleMessage::id) else {
            return Err(Stranger { press: query.id, told: "Questions are not decided in this chat. Nothing changed." });
        };
        let presser = query.from.id.0;
        if self.approvers.as_ref().is_some_and(|approvers| !approvers.contains(&presser)) {
            tracing::warn!(presser, "a press by somebody who is not an approver");
            return Err(Stranger { press: query.id, told: "You are not among the approvers. Nothing changed." });
        }
        Ok(Admitted { query, message })
    }

    /// Tells a stranger so, with one call and no other.
    pub(super) async fn turn_away(&self, stranger: Stranger) {
        if let Err(failure) = self.api.answer(stranger.press, stranger.told, true).await {
            tracing::debug!(%failure, "a stranger could not be told");
        }
    }

    /// Decides what a press means, tells the presser, and clears up the message where nobody else will.
    pub(super) async fn press(&self, press: Admitted) {
        let reply = self.judge(&press).await;
        let query = press.query;
        let stale = query.regular_message().filter(|_| reply.stale);
        tokio::join!(self.answer(&query.id, &reply), async {
            if let Some(message) = stale {
                self.retire(message).await;
            }
        });
    }

    async fn judge(&self, press: &Admitted) -> Reply {
        let Admitted { query, message: pressed } = press;
        let Some((action, id)) = query.data.as_deref().and_then(keyboard::parse) else {
            return Reply::quiet("This button means nothing here. Nothing changed.");
        };
        let Some(post) = self.posts.find(&id) else {
            // a made-up button must not pass for an old one, and close the question that it was pressed on
            let made_up = self.posts.shows(*pressed);
            return if made_up { Reply::quiet(NO_SUCH_BUTTON) } else { Reply::stale() };
        };
        let wait = self.api.pace().call + Duration::from_secs(1);
        let Ok(Some(message)) = tokio::time::timeout(wait, post.message()).await else { return Reply::stale() };
        if message != *pressed {
            return Reply::loud("This button belongs to another message. Nothing changed.");
        }
        if !action.is_offered(&post.question) {
            return Reply::quiet(NO_SUCH_BUTTON);
        }
        if let Some(outcome) = post.outcome() {
            post.refresh();
            return Reply::quiet(already(&outcome));
        }
        let decision = action.decision(name(&query.from));
        match post.ballot.cast(decision.clone()).await {
            Ok(_) => Reply::quiet(thanks(&decision)),
            Err(CastError::Ended(outcome)) => {
                post.refresh();
                Reply::quiet(already(&outcome))
            }
            Err(CastError::Unknown) => Reply::stale(),
            Err(CastError::NotRecorded) => Reply::loud(
                "Your decision could not be written to the audit log, so it does not count. Please press again.",
            ),
        }
    }

    async fn answer(&self, press: &CallbackQueryId, reply: &Reply) {
        let mut pauses = self.pauses();
        for _ in 0..ANSWER_ATTEMPTS {
            let pause = match self.api.answer(press.clone(), &reply.text, reply.loud).await {
                Ok(()) => return,
                Err(Failure::RetryAfter(wait)) if wait <= ANSWER_PATIENCE => wait,
                Err(failure) if failure.is_passing() => pauses.next(),
                Err(failure) => {
                    tracing::debug!(%failure, "a presser could not be told");
                    return;
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// Says in a message of ours that it is out of date. What it said before stays, as Telegram last showed it.
    async fn retire(&self, message: &Message) {
        if message.from.as_ref().is_none_or(|from| from.id != self.api.me()) {
            return;
        }
        let said = message.text().unwrap_or_default();
        let text = format!("{said}\n\n🚫 No longer open: the server has restarted, or dropped the question.");
        let entities = message.entities().unwrap_or_default();
        let mut pauses = self.pauses();
        for _ in 0..STALE_ATTEMPTS {
            let pause = match self.api.edit_as_it_was(message.id, text.trim_start(), entities.to_vec()).await {
                Ok(()) | Err(Failure::NotModified) => return,
                Err(Failure::RetryAfter(wait)) => wait,
                Err(failure) if failure.is_passing() => pauses.next(),
                Err(failure) => {
                    tracing::debug!(%failure, "an old message could not be rewritten");
                    return;
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    const fn pauses(&self) -> Pauses {
        Pauses::new(self.api.pace().first_pause, self.api.pace().longest_pause)
    }
}

/// A name for people, and the id that stays when the name changes.
fn name(user: &User) -> String {
    let full = user.full_name();
    match &user.username {
        Some(username) => format!("{full} (@{username}, {})", user.id),
        None => format!("{full} ({})", user.id),
    }
}

fn thanks(decision: &Decision) -> &'static str {
    match decision.verdict {
        Verdict::Approve(_) => "Approved",
        Verdict::Deny => "Denied",
    }
}

/// Why the press came too late. At most 200 characters, as Telegram wants it.
fn already(outcome: &Outcome) -> String {
    let decided = |by: &str, how: &str| format!("Already decided by {}: {how}", message::clamped(by, 100));
    match outcome {
        Outcome::Approved(Approval { by, .. }) | Outcome::Released(Approval { by, .. }) => decided(by, "approved"),
        Outcome::Revoked(Approval { by, .. }) => decided(by, "approved, and revoked since"),
        Outcome::Denied { by } => decided(by, "denied"),
        Outcome::Expired { unused: Some(Approval { by, .. }) } => decided(by, "approved, but not used in time"),
        Outcome::Expired { unused: None } => "This question has expired. Nothing changed.".to_owned(),
        Outcome::Withdrawn => "The requester took this question back. Nothing changed.".to_owned(),
    }
}
