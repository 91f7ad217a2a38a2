//! What a Telegram approver needs to know, and its start.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use teloxide_core::types::UserId;

use super::TelegramApprover;
use super::api::Api;
use super::failure::OnFailedCall;
use crate::SecretValue;

/// Why a Telegram approver can't start. No message holds the token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TelegramError {
    /// The token has not the shape of one.
    #[error("the Telegram bot token does not look like 123456789:AA…, as BotFather gives it")]
    Token,
    /// The chat's id is 0, which no chat has.
    #[error("the Telegram chat id must not be 0")]
    Chat,
    /// The URL of the Bot API can't be read.
    #[error("the URL of the Telegram Bot API must look like https://api.telegram.org")]
    ApiUrl,
    /// The HTTP client can't be made.
    #[error("the HTTP client for Telegram can't be made")]
    Client,
    /// There is no runtime to poll in.
    #[error("a Telegram approver must be started inside a tokio runtime")]
    NoRuntime,
}

/// Telegram counts in seconds, and answers a poll of none at once.
const SHORTEST_POLL: Duration = Duration::from_secs(1);

/// How long things take: calls, polls, and the pauses after faults.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// One call, and the whole of asking a question.
    pub(super) call: Duration,
    /// One long poll.
    pub(super) poll: Duration,
    /// The first pause after a fault; it doubles from there.
    pub(super) first_pause: Duration,
    /// The longest pause after a fault.
    pub(super) longest_pause: Duration,
    /// The first pause when another program polls; it doubles from there.
    pub(super) conflict_pause: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            call: Duration::from_secs(10),
            poll: Duration::from_secs(50),
            first_pause: Duration::from_millis(500),
            longest_pause: Duration::from_secs(30),
            conflict_pause: Duration::from_secs(5),
        }
    }
}

/// Collects what a [`TelegramApprover`] needs; [`start`](Self::start) makes it.
#[derive(Debug)]
#[must_use]
pub struct TelegramBuilder {
    token: SecretValue,
    pub(super) chat: i64,
    api_url: String,
    approvers: Option<BTreeSet<u64>>,
    pub(super) pace: Pace,
    on_failed_call: OnFailedCall,
}

impl TelegramBuilder {
    pub(super) fn new(token: SecretValue, chat: i64) -> Self {
        let api_url = teloxide_core::net::TELEGRAM_API_URL.to_owned();
        Self { token, chat, api_url, approvers: None, pace: Pace::default(), on_failed_call: OnFailedCall::default() }
    }

    /// Where the Bot API is; `https://api.telegram.org` unless a self-hosted one is used.
    pub fn api_url(mut self, url: impl Into<String>) -> Self {
        self.api_url = url.into();
        self
    }

    /// The users that may decide, by their numeric ids. Without a list everybody in the chat may; with an empty one
    /// nobody.
    pub fn approver_ids(mut self, ids: impl IntoIterator<Item = u64>) -> Self {
        self.approvers = Some(ids.into_iter().collect());
        self
    }

    /// How long asking a question, and any other call but a poll, may take; 10 s unless said otherwise.
    pub const fn call_timeout(mut self, timeout: Duration) -> Self {
        self.pace.call = timeout;
        self
    }

    /// How long Telegram may hold a poll open, in whole seconds and at least one; 50 s unless said otherwise.
    pub const fn poll_timeout(mut self, timeout: Duration) -> Self {
        self.pace.poll = if timeout.as_secs() == 0 { SHORTEST_POLL } else { timeout };
        self
    }

    /// Called once for every call to Telegram that failed, background polls and edits included, with the method's name
    /// such as `sendMessage`. For counting: it runs in the task that made the call, and should return at once.
    pub fn on_failed_call(mut self, told: Arc<dyn Fn(&'static str) + Send + Sync>) -> Self {
        self.on_failed_call = OnFailedCall::new(told);
        self
    }

    /// Starts the approver: from here on it listens for presses, in a task of the current tokio runtime, until it is
    /// stopped or dropped. Makes no call itself; see [`check`](crate::Approver::check) for whether it works.
    ///
    /// # Errors
    /// [`TelegramError`] when something here can't be right.
    pub fn start(self) -> Result<TelegramApprover, TelegramError> {
        let Self { token, chat, api_url, approvers, pace, on_failed_call } = self;
        let me = bot_id(token.expose()).ok_or(TelegramError::Token)?;
        if chat == 0 {
            return Err(TelegramError::Chat);
        }
        let runtime = tokio::runtime::Handle::try_current().map_err(|_| TelegramError::NoRuntime)?;
        let api = Api::new(token, UserId(me), chat, &api_url, pace, on_failed_call)?;
        Ok(TelegramApprover::listen(api, approvers, runtime))
    }
}

/// The bot's user id, which is the part of its token before the colon.
pub(super) fn bot_id(token: &str) -> Option<u64> {
    let (id, secret) = token.split_once(':')?;
    let is_secret = secret.len() >= 30 && secret.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    if !is_secret || !id.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    id.parse().ok()
}
