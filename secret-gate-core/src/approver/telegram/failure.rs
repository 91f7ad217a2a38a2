//! What can go wrong with a call to Telegram, by what to do next. Nothing here holds the token.

use std::error::Error as _;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use teloxide_core::{ApiError, RequestError};

use crate::SecretValue;

/// Why a call came to nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// Telegram wants us to wait this long.
    RetryAfter(Duration),
    /// Another program polls this bot.
    Conflict,
    /// A webhook takes the updates.
    Webhook,
    /// Telegram does not know the token.
    Token,
    /// The group has a new id.
    Migrated(i64),
    /// Telegram does not know the chat.
    NoChat,
    /// The message already reads like this.
    NotModified,
    /// Telegram refuses, and will again.
    Refused(String),
    /// Telegram, or the way there, is broken for now.
    Broken(String),
    /// No answer in time.
    Silent(Duration),
}

/// Who is told of calls that failed, if anybody.
#[derive(Clone, Default)]
pub(super) struct OnFailedCall(Option<Arc<dyn Fn(&'static str) + Send + Sync>>);

impl OnFailedCall {
    pub(super) const fn new(told: Arc<dyn Fn(&'static str) + Send + Sync>) -> Self {
        Self(Some(told))
    }

    pub(super) fn tell(&self, method: &'static str) {
        if let Some(told) = &self.0 {
            told(method);
        }
    }
}

impl fmt::Debug for OnFailedCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OnFailedCall").field(&self.0.is_some()).finish()
    }
}

impl Failure {
    /// Reads teloxide's error. Its own text may hold the URL with the token, so none of it is passed on unscrubbed.
    pub(super) fn read(error: &RequestError, token: &SecretValue) -> Self {
        match error {
            RequestError::RetryAfter(wait) => Self::RetryAfter(wait.duration()),
            RequestError::MigrateToChatId(id) => Self::Migrated(id.0),
            RequestError::Api(error) => Self::read_api(error, token),
            RequestError::Network(error) => {
                // The outermost text names the URL. What lies beneath says more and does not.
                let mut causes = Vec::new();
                let mut source = error.source();
                while let Some(cause) = source {
                    causes.push(scrub(&cause.to_string(), token));
                    source = cause.source();
                }
                let kind = if error.is_timeout() { "no answer in time" } else { "network error" };
                causes.insert(0, kind.to_owned());
                Self::Broken(causes.join(": "))
            }
            RequestError::InvalidJson { .. } => {
                Self::Broken("the answer was not Telegram's: a proxy or a login page may stand in between".to_owned())
            }
            RequestError::Io(error) => Self::Broken(scrub(&error.to_string(), token)),
        }
    }

    fn read_api(error: &ApiError, token: &SecretValue) -> Self {
        match error {
            ApiError::TerminatedByOtherGetUpdates => Self::Conflict,
            ApiError::CantGetUpdates => Self::Webhook,
            ApiError::InvalidToken => Self::Token,
            ApiError::ChatNotFound => Self::NoChat,
            ApiError::MessageNotModified => Self::NotModified,
            ApiError::Unknown(text) if text.contains("webhook is active") => Self::Webhook,
            ApiError::Unknown(text) if text.starts_with("Conflict") => Self::Conflict,
            ApiError::Unknown(text) if text.contains("message is not modified") => Self::NotModified,
            ApiError::Unknown(text) if text.starts_with("Unauthorized") => Self::Token,
            ApiError::Unknown(text) if is_refusal(text) => Self::Refused(scrub(text, token)),
            ApiError::Unknown(text) => Self::Broken(scrub(text, token)),
            error => Self::Refused(scrub(&error.to_string(), token)),
        }
    }

    /// Whether the same call may work later.
    pub(super) const fn is_passing(&self) -> bool {
        match self {
            Self::RetryAfter(_) | Self::Conflict | Self::Webhook | Self::Broken(_) | Self::Silent(_) => true,
            Self::Token | Self::Migrated(_) | Self::NoChat | Self::NotModified | Self::Refused(_) => false,
        }
    }
}

/// Telegram's words for the statuses 400 to 499; teloxide drops the number.
fn is_refusal(text: &str) -> bool {
    ["Bad Request", "Forbidden", "Not Found", "Request Entity Too Large"].iter().any(|word| text.starts_with(word))
}

fn scrub(text: &str, token: &SecretValue) -> String {
    let text = text.replace(token.expose(), "<token>");
    // the half that is secret, however it was written
    match token.expose().split_once(':') {
        Some((_, secret)) if !secret.is_empty() => text.replace(secret, "<token>"),
        _ => text,
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RetryAfter(wait) => {
                write!(f, "Telegram asks for a pause of {} s; try again then", wait.as_secs())
            }
            Self::Conflict => f.write_str("another program polls this bot; stop it, or give each server its own bot"),
            Self::Webhook => f.write_str("a webhook takes the bot's updates; it is being removed"),
            Self::Token => f.write_str("Telegram does not accept the bot token; check TELEGRAM_BOT_TOKEN"),
            Self::Migrated(id) => write!(f, "the group became a supergroup; set TELEGRAM_CHAT_ID to {id}"),
            Self::NoChat => f.write_str(
                "Telegram does not know the chat; check TELEGRAM_CHAT_ID, that the bot is in the group, \
                 or that its user has pressed Start",
            ),
            Self::NotModified => f.write_str("the message reads like this already"),
            Self::Refused(text) => write!(f, "Telegram refused: {text}"),
            Self::Broken(text) => write!(f, "Telegram can't be reached: {text}; check the network and try again"),
            Self::Silent(limit) => write!(
                f,
                "Telegram did not answer within {} s, or answered with a server error; try again",
                limit.as_secs_f32()
            ),
        }
    }
}
