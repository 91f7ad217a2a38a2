//! The calls to the Bot API that an approver makes.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use reqwest_012::Url;
use reqwest_012::redirect::Policy;
use teloxide_core::payloads::setters::*;
use teloxide_core::requests::Requester;
use teloxide_core::types::{
    AllowedUpdate, CallbackQueryId, ChatId, InlineKeyboardMarkup, LinkPreviewOptions, MessageEntity, MessageId,
    ParseMode, Update, UserId,
};
use teloxide_core::{Bot, RequestError};

use super::builder::{Pace, TelegramError};
use super::failure::{Failure, OnFailedCall};
use crate::SecretValue;
use crate::net::may_use_proxy;

/// Connections are given up before the far end does it in the middle of our next call.
const IDLE_CONNECTION: Duration = Duration::from_secs(20);

/// teloxide sleeps this long inside a call that was answered with a server error. No press is heard meanwhile where that
/// call was a poll, since nobody outside can tell this sleep from Telegram's patience.
const SERVER_ERROR_NAP: Duration = Duration::from_secs(10);

/// A bot in its one chat. Stands before teloxide's `Bot`, whose `Debug` prints the token.
#[derive(Clone)]
pub(super) struct Api {
    calls: Bot,
    polls: Bot,
    token: Arc<SecretValue>,
    chat: ChatId,
    me: UserId,
    pace: Pace,
    on_failed_call: OnFailedCall,
}

/// What the chat is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChatKind {
    /// One person and the bot.
    Private,
    /// A group or supergroup: everybody in it sees the questions.
    Group,
    /// A channel: everybody who reads it sees the questions.
    Channel,
}

impl Api {
    pub(super) fn new(
        token: SecretValue,
        me: UserId,
        chat: i64,
        api_url: &str,
        pace: Pace,
        on_failed_call: OnFailedCall,
    ) -> Result<Self, TelegramError> {
        let (calls, polls) = bots(&token, api_url, &pace)?;
        Ok(Self { calls, polls, token: Arc::new(token), chat: ChatId(chat), me, pace, on_failed_call })
    }

    pub(super) const fn chat(&self) -> ChatId {
        self.chat
    }

    /// The bot's own id.
    pub(super) const fn me(&self) -> UserId {
        self.me
    }

    pub(super) const fn pace(&self) -> &Pace {
        &self.pace
    }

    /// Puts a message into the chat. Only a call that Telegram turned away for now is made again.
    pub(super) async fn send(&self, html: &str, buttons: InlineKeyboardMarkup) -> Result<MessageId, Failure> {
        let limit = self.pace.call;
        let deadline = tokio::time::Instant::now() + limit;
        let mut second = false;
        loop {
            let call = self.calls.send_message(self.chat, html).parse_mode(ParseMode::Html);
            let call = call.link_preview_options(no_preview()).reply_markup(buttons.clone());
            let sent = tokio::time::timeout_at(deadline, call).await;
            let sent = sent.map_err(|_| Failure::Silent(limit)).and_then(|sent| sent.map_err(|e| self.failure(&e)));
            match self.counted("sendMessage", sent) {
                Ok(message) => return Ok(message.id),
                Err(Failure::RetryAfter(wait)) if !second && tokio::time::Instant::now() + wait < deadline => {
                    second = true;
                    tokio::time::sleep(wait).await;
                }
                Err(failure) => return Err(failure),
            }
        }
    }

    /// Rewrites a message, and takes its buttons away.
    pub(super) async fn edit(&self, message: MessageId, html: &str) -> Result<(), Failure> {
        let call = self.calls.edit_message_text(self.chat, message, html).parse_mode(ParseMode::Html);
        let call = call.link_preview_options(no_preview()).reply_markup(InlineKeyboardMarkup::default());
        self.within("editMessageText", call).await?;
        Ok(())
    }

    /// Rewrites a message that somebody else made, keeping its formatting, and takes its buttons away.
    pub(super) async fn edit_as_it_was(
        &self,
        message: MessageId,
        text: &str,
        entities: Vec<MessageEntity>,
    ) -> Result<(), Failure> {
        let call = self.calls.edit_message_text(self.chat, message, text).entities(entities);
        let call = call.link_preview_options(no_preview()).reply_markup(InlineKeyboardMarkup::default());
        self.within("editMessageText", call).await?;
        Ok(())
    }

    /// Tells the presser what came of it.
    pub(super) async fn answer(&self, press: CallbackQueryId, text: &str, loud: bool) -> Result<(), Failure> {
        let call = self.calls.answer_callback_query(press).text(text).show_alert(loud);
        self.within("answerCallbackQuery", call).await?;
        Ok(())
    }

    /// Presses that were not confirmed by a higher `offset`; waits this long for one.
    pub(super) async fn updates(&self, offset: Option<i32>, wait: Duration) -> Result<Vec<Update>, Failure> {
        let seconds = u32::try_from(wait.as_secs()).unwrap_or(u32::MAX);
        let call = self.polls.get_updates().limit(100).timeout(seconds);
        let call = call.allowed_updates([AllowedUpdate::CallbackQuery]);
        let call = if let Some(offset) = offset { call.offset(offset) } else { call };
        self.counted("getUpdates", call.await.map_err(|error| self.failure(&error)))
    }

    /// Confirms what was heard so far.
    pub(super) async fn confirm(&self, offset: Option<i32>) -> Result<(), Failure> {
        let call = self.calls.get_updates().limit(1).timeout(0).allowed_updates([AllowedUpdate::CallbackQuery]);
        let call = if let Some(offset) = offset { call.offset(offset) } else { call };
        self.within("getUpdates", call).await?;
        Ok(())
    }

    /// Removes a webhook, which would take the presses away from us; those that wait stay.
    pub(super) async fn delete_webhook(&self) -> Result<(), Failure> {
        self.within("deleteWebhook", self.calls.delete_webhook().drop_pending_updates(false)).await?;
        Ok(())
    }

    /// Looks the chat up, which tests the token and the chat at once.
    pub(super) async fn chat_kind(&self) -> Result<ChatKind, Failure> {
        let limit = self.pace.call;
        let call = self.calls.get_chat(self.chat);
        let kind = match tokio::time::timeout(limit, call).await {
            Ok(Ok(chat)) if chat.is_private() => Ok(ChatKind::Private),
            Ok(Ok(chat)) if chat.is_channel() => Ok(ChatKind::Channel),
            Ok(Ok(_)) => Ok(ChatKind::Group),
            // a server of another version, whose answer lacks or adds something that does not matter here
            Ok(Err(error)) => read_chat_kind(&error).ok_or_else(|| self.failure(&error)),
            Err(_) => Err(Failure::Silent(limit)),
        };
        self.counted("getChat", kind)
    }

    async fn within<T, C>(&self, method: &'static str, call: C) -> Result<T, Failure>
    where
        C: IntoFuture<Output = Result<T, RequestError>, IntoFuture: Send>,
        T: Send,
    {
        let limit = self.pace.call;
        let answer = tokio::time::timeout(limit, call.into_future()).await.map_err(|_| Failure::Silent(limit));
        self.counted(method, answer.and_then(|answer| answer.map_err(|error| self.failure(&error))))
    }

    /// Tells whoever counts if the call failed.
    fn counted<T>(&self, method: &'static str, answer: Result<T, Failure>) -> Result<T, Failure> {
        // "not modified" says that there was nothing to do
        if answer.as_ref().is_err_and(|failure| *failure != Failure::NotModified) {
            self.on_failed_call.tell(method);
        }
        answer
    }

    fn failure(&self, error: &RequestError) -> Failure {
        Failure::read(error, &self.token)
    }
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { calls: _, polls: _, token: _, chat, me, pace, on_failed_call: _ } = self;
        f.debug_struct("Api").field("chat", chat).field("me", me).field("pace", pace).finish_non_exhaustive()
    }
}

/// The bot twice, for calls and for polls, which hold their connections for a long time and so have their own.
pub(super) fn bots(token: &SecretValue, api_url: &str, pace: &Pace) -> Result<(Bot, Bot), TelegramError> {
    // `method_url` of teloxide pushes segments, so a slash at the end would be doubled
    let url: Url = api_url.trim_end_matches('/').parse().map_err(|_| TelegramError::ApiUrl)?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(TelegramError::ApiUrl);
    }
    let may_use_proxy = may_use_proxy(url.scheme(), url.host_str());
    // The URL carries the token, so it goes into no referer, behind no redirect, and in the clear through no proxy that
    // the environment names.
    let client = |timeout: Duration| {
        let builder = teloxide_core::net::default_reqwest_settings()
            .timeout(timeout)
            .pool_idle_timeout(IDLE_CONNECTION)
            .redirect(Policy::none())
            .referer(false);
        let builder = if may_use_proxy { builder } else { builder.no_proxy() };
        builder.build().map_err(|_| TelegramError::Client)
    };
    let calls = client(pace.call + SERVER_ERROR_NAP)?;
    let polls = client(pace.poll + pace.call + SERVER_ERROR_NAP)?;
    let bot = |client| Bot::with_client(token.expose(), client).set_api_url(url);
    Ok((bot.clone()(calls), bot(polls)))
}

fn no_preview() -> LinkPreviewOptions {
    LinkPreviewOptions {
        is_disabled: true,
        url: None,
        prefer_small_media: false,
        prefer_large_media: false,
        show_above_text: false,
    }
}

fn read_chat_kind(error: &RequestError) -> Option<ChatKind> {
    let RequestError::InvalidJson { raw, .. } = error else { return None };
    let answer: serde_json::Value = serde_json::from_str(raw).ok()?;
    chat_kind(answer.get("result")?)
}

/// The kind of a `Chat`.
pub(super) fn chat_kind(chat: &serde_json::Value) -> Option<ChatKind> {
    match chat.get("type")?.as_str()? {
        "private" => Some(ChatKind::Private),
        "group" | "supergroup" => Some(ChatKind::Group),
        "channel" => Some(ChatKind::Channel),
        _ => None,
    }
}
