//! A look at a bot and its chat from outside, for whoever sets them up. Nothing here asks or decides.
//!
//! Answers are read by the few members that matter, so that a Bot API server of another version does as well.

use std::fmt;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;
use teloxide_core::requests::{JsonRequest, Payload};
use teloxide_core::{Bot, RequestError};

use super::api::{self, ChatKind};
use super::builder::{self, Pace, TelegramError};
use super::failure::Failure;
use crate::SecretValue;
use crate::approver::message;

/// The longest name that is shown, in UTF-16 code units. Telegram's own are shorter.
const NAME_ROOM: usize = 200;

/// A press of a button under a message.
const PRESS: &str = "callback_query";

/// What is listened to. Presses too: Telegram keeps nothing that the last one to listen did not ask for.
const KINDS: [&str; 4] = ["message", "channel_post", "my_chat_member", PRESS];

/// Looks at a Telegram bot: who it is, where it may write, who writes to it.
///
/// ```no_run
/// use secret_gate_core::SecretValue;
/// use secret_gate_core::approver::telegram::TelegramProbe;
///
/// # async fn run(token: SecretValue) -> Result<(), Box<dyn std::error::Error>> {
/// let probe = TelegramProbe::new(token, "https://api.telegram.org")?;
/// println!("@{}", probe.bot().await?.username);
/// # Ok(())
/// # }
/// ```
pub struct TelegramProbe {
    calls: Bot,
    polls: Bot,
    token: SecretValue,
    pace: Pace,
}

/// The bot, as Telegram knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BotAccount {
    /// Its user id.
    pub id: u64,
    /// Its name without the `@`, safe to print.
    pub username: String,
}

/// A chat that the bot is in.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SeenChat {
    /// Its id; negative but for private chats, where it is the person's.
    pub id: i64,
    /// What it is.
    pub kind: ChatKind,
    /// Its title, or the person's name; what can't be seen in it is spelled out.
    pub title: String,
}

/// A person who wrote to the bot or added it to a chat.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SeenUser {
    /// The id, which stays when the name changes.
    pub id: u64,
    /// The name, with `@username` where there is one; what can't be seen in it is spelled out.
    pub name: String,
}

/// Something that reached the bot.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Contact {
    /// Where.
    pub chat: SeenChat,
    /// By whom; nobody in a channel.
    pub by: Option<SeenUser>,
}

/// What reached the bot.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Heard {
    /// Who wrote, pressed or added the bot, in their order.
    pub contacts: Vec<Contact>,
    /// The offset for the next call.
    pub next: i64,
    /// Whether somebody pressed a button. The press and what came after it stay with Telegram until a server hears them.
    pub pressed: bool,
}

/// Why Telegram did not tell. No message holds the token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProbeError {
    /// It does not know the token.
    #[error("Telegram does not accept the bot token")]
    Token,
    /// It does not know the chat, or the bot is not in it.
    #[error("Telegram does not know the chat")]
    UnknownChat,
    /// The group has a new id.
    #[error("the group became a supergroup, whose id is {0}")]
    Migrated(i64),
    /// It does not allow that; in its words.
    #[error("Telegram refused: {0}")]
    Refused(String),
    /// Another program polls the bot.
    #[error("another program polls this bot")]
    OtherPoller,
    /// A webhook takes what the bot would hear.
    #[error("a webhook takes the bot's updates")]
    Webhook,
    /// It wants to be left alone this long.
    #[error("Telegram asks for a pause of {} s", .0.as_secs())]
    Busy(Duration),
    /// It did not answer, or something else did.
    #[error("Telegram can't be reached: {0}")]
    Unreachable(String),
}

impl TelegramProbe {
    /// A look at the bot with this token, through the Bot API at this URL. Makes no call yet; each call takes 10 s at
    /// most, and [`listen`](Self::listen) up to 50 s more.
    ///
    /// # Errors
    /// When the token has not the shape of one, or the URL is none.
    pub fn new(token: SecretValue, api_url: &str) -> Result<Self, TelegramError> {
        builder::bot_id(token.expose()).ok_or(TelegramError::Token)?;
        let pace = Pace::default();
        let (calls, polls) = api::bots(&token, api_url, &pace)?;
        Ok(Self { calls, polls, token, pace })
    }

    /// Who the bot is, which tests the token (`getMe`).
    ///
    /// # Errors
    /// When Telegram does not say.
    pub async fn bot(&self) -> Result<BotAccount, ProbeError> {
        let answer = self.call(GetMe {}).await?;
        let username = answer.get("username").and_then(Value::as_str);
        let id = answer.get("id").and_then(Value::as_u64).ok_or_else(foreign)?;
        Ok(BotAccount { id, username: shown(username.unwrap_or_default()) })
    }

    /// The URL of a webhook where one is set, which keeps everybody from polling (`getWebhookInfo`). Its path may be a
    /// secret.
    ///
    /// # Errors
    /// When Telegram does not say.
    pub async fn webhook(&self) -> Result<Option<String>, ProbeError> {
        let answer = self.call(GetWebhookInfo {}).await?;
        let url = answer.get("url").and_then(Value::as_str).ok_or_else(foreign)?;
        Ok(Some(url.to_owned()).filter(|url| !url.is_empty()))
    }

    /// The chat with this id (`getChat`).
    ///
    /// # Errors
    /// [`ProbeError::UnknownChat`] when the bot can't see it; otherwise when Telegram does not say.
    pub async fn chat(&self, id: i64) -> Result<SeenChat, ProbeError> {
        let answer = self.call(GetChat { chat_id: id }).await?;
        chat(&answer).ok_or_else(foreign)
    }

    /// Whether the bot may write to the chat. Shows "typing" there for some seconds, and leaves no message
    /// (`sendChatAction`).
    ///
    /// # Errors
    /// [`ProbeError::Refused`] when it may not; otherwise when Telegram does not say.
    pub async fn may_write(&self, chat: i64) -> Result<(), ProbeError> {
        self.call(SendChatAction { chat_id: chat, action: "typing" }).await.map(drop)
    }

    /// Whether the user is in the chat (`getChatMember`).
    ///
    /// # Errors
    /// [`ProbeError::Refused`] where the bot must be an administrator to be told; otherwise when Telegram does not say.
    pub async fn is_member(&self, chat: i64, user: u64) -> Result<bool, ProbeError> {
        let answer = match self.call(GetChatMember { chat_id: chat, user_id: user }).await {
            Err(ProbeError::Refused(text)) if names_no_member(&text) => return Ok(false),
            answer => answer?,
        };
        match answer.get("status").and_then(Value::as_str).ok_or_else(foreign)? {
            "left" | "kicked" => Ok(false),
            "restricted" => Ok(answer.get("is_member").and_then(Value::as_bool).unwrap_or(true)),
            _ => Ok(true),
        }
    }

    /// What reached the bot since `offset`: messages, posts in channels, presses, and being added to a chat
    /// (`getUpdates`). Waits for the first for up to 50 s. Calling it with the offset that it returns tells Telegram to
    /// forget what was heard, up to the first press: presses are for the server alone, and none is lost to it.
    ///
    /// A server that polls the bot loses its poll to this one, and hears no press until its next.
    ///
    /// # Errors
    /// [`ProbeError::OtherPoller`] or [`ProbeError::Webhook`] when somebody else hears it; otherwise when Telegram does
    /// not say.
    pub async fn listen(&self, offset: i64) -> Result<Heard, ProbeError> {
        let call = GetUpdates { offset, timeout: self.pace.poll.as_secs(), allowed_updates: KINDS };
        let answer = JsonRequest::new(self.polls.clone(), call).await.map_err(|error| self.failure(&error))?;
        let updates = answer.as_array().ok_or_else(foreign)?;
        let id = |update: &Value| update.get("update_id").and_then(Value::as_i64);
        let press = updates.iter().filter(|update| update.get(PRESS).is_some()).filter_map(id).min();
        let newest = updates.iter().filter_map(id).max();
        let next = press.or_else(|| newest.map(|newest| newest.saturating_add(1))).unwrap_or(offset);
        Ok(Heard { contacts: updates.iter().filter_map(contact).collect(), next, pressed: press.is_some() })
    }

    async fn call<P>(&self, payload: P) -> Result<Value, ProbeError>
    where
        P: Payload<Output = Value> + Serialize + Send + 'static,
    {
        let limit = self.pace.call;
        let answer = tokio::time::timeout(limit, JsonRequest::new(self.calls.clone(), payload).into_future()).await;
        answer.map_err(|_| ProbeError::from(Failure::Silent(limit)))?.map_err(|error| self.failure(&error))
    }

    fn failure(&self, error: &RequestError) -> ProbeError {
        Failure::read(error, &self.token).into()
    }
}

impl fmt::Debug for TelegramProbe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { calls: _, polls: _, token: _, pace } = self;
        f.debug_struct("TelegramProbe").field("pace", pace).finish_non_exhaustive()
    }
}

impl From<Failure> for ProbeError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::RetryAfter(wait) => Self::Busy(wait),
            Failure::Conflict => Self::OtherPoller,
            Failure::Webhook => Self::Webhook,
            Failure::Token => Self::Token,
            Failure::Migrated(id) => Self::Migrated(id),
            Failure::NoChat => Self::UnknownChat,
            Failure::NotModified => Self::Refused("nothing to change".to_owned()),
            Failure::Refused(text) => Self::Refused(shown(&text)),
            Failure::Broken(text) => Self::Unreachable(shown(&text)),
            Failure::Silent(limit) => Self::Unreachable(format!(
                "no answer within {} s, or one that told of a server's error",
                limit.as_secs_f32()
            )),
        }
    }
}

/// A call of the Bot API whose answer is taken as it comes.
macro_rules! call {
    ($name:ident { $($member:ident: $kind:ty),* }) => {
        #[derive(Clone, Serialize)]
        struct $name {
            $($member: $kind),*
        }

        impl Payload for $name {
            type Output = Value;
            const NAME: &'static str = stringify!($name);
        }
    };
}

call!(GetMe {});
call!(GetWebhookInfo {});
call!(GetChat { chat_id: i64 });
call!(GetChatMember { chat_id: i64, user_id: u64 });
call!(SendChatAction { chat_id: i64, action: &'static str });
call!(GetUpdates { offset: i64, timeout: u64, allowed_updates: [&'static str; 4] });

fn foreign() -> ProbeError {
    ProbeError::Unreachable("the answer was not the Bot API's; check its URL".to_owned())
}

/// Telegram's ways to say that there is no such person there.
fn names_no_member(text: &str) -> bool {
    const WAYS: [&str; 5] =
        ["user not found", "member not found", "PARTICIPANT_ID_INVALID", "USER_NOT_PARTICIPANT", "invalid user_id"];
    WAYS.iter().any(|way| text.to_lowercase().contains(&way.to_lowercase()))
}

fn contact(update: &Value) -> Option<Contact> {
    let what = KINDS.iter().find_map(|kind| update.get(kind))?;
    let status = what.pointer("/new_chat_member/status").and_then(Value::as_str);
    if matches!(status, Some("left" | "kicked")) {
        return None;
    }
    let place = what.get("chat").or_else(|| what.pointer("/message/chat"))?;
    Some(Contact { chat: chat(place)?, by: what.get("from").and_then(user) })
}

fn chat(chat: &Value) -> Option<SeenChat> {
    let kind = api::chat_kind(chat)?;
    let title = match chat.get("title").and_then(Value::as_str) {
        Some(title) => shown(title),
        None => person(chat),
    };
    Some(SeenChat { id: chat.get("id")?.as_i64()?, kind, title })
}

fn user(user: &Value) -> Option<SeenUser> {
    let is_bot = user.get("is_bot").and_then(Value::as_bool).unwrap_or_default();
    let id = user.get("id")?.as_u64().filter(|_| !is_bot)?;
    Some(SeenUser { id, name: person(user) })
}

/// How somebody is called, in a `User` or in the `Chat` with one person.
fn person(json: &Value) -> String {
    let names = ["first_name", "last_name"].iter().filter_map(|name| json.get(name).and_then(Value::as_str));
    let name = names.collect::<Vec<_>>().join(" ");
    match json.get("username").and_then(Value::as_str) {
        Some(username) => shown(&format!("{name} (@{username})")),
        None => shown(&name),
    }
}

fn shown(text: &str) -> String {
    message::clamped(text, NAME_ROOM)
}
