//! What the operator is told when a command fails.

use secret_gate_core::approver::telegram::{ProbeError, TelegramError};
use secret_gate_server::config::ConfigError;

/// How a command ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exit {
    Done = 0,
    Failed = 1,
    Usage = 2,
}

/// A failure in the operator's words.
#[derive(Debug)]
pub(super) struct Failure {
    /// What happened.
    pub(super) what: String,
    /// What to do about it.
    pub(super) hint: String,
    pub(super) exit: Exit,
}

impl Failure {
    pub(super) fn new(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { what: what.into(), hint: hint.into(), exit: Exit::Failed }
    }

    pub(super) fn usage(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { exit: Exit::Usage, ..Self::new(what, hint) }
    }
}

impl From<ProbeError> for Failure {
    fn from(error: ProbeError) -> Self {
        let hint = match &error {
            ProbeError::Token => {
                "copy the token that @BotFather shows for this bot into TELEGRAM_BOT_TOKEN, or have it make a new one"
                    .to_owned()
            }
            ProbeError::UnknownChat => "correct TELEGRAM_CHAT_ID (`secret-gate-server chats` finds it); the bot must be in the \
                 group, or the person must have pressed Start"
                .to_owned(),
            ProbeError::Migrated(id) => format!("set TELEGRAM_CHAT_ID={id}"),
            ProbeError::Refused(_) => {
                "let the bot write to the chat: the person must have pressed Start and not have blocked it, a group must \
                 let members write, and in a channel it must be an administrator"
                    .to_owned()
            }
            ProbeError::OtherPoller => "stop the server first, or whatever else uses this bot, and try again".to_owned(),
            ProbeError::Webhook => {
                "start secret-gate-server once, which removes it, and stop it again; or take another bot".to_owned()
            }
            ProbeError::Busy(_) => "try again then".to_owned(),
            _ => "check the network, and TELEGRAM_API_URL if it is set".to_owned(),
        };
        Self::new(error.to_string(), hint)
    }
}

impl From<TelegramError> for Failure {
    fn from(error: TelegramError) -> Self {
        let hint = match error {
            TelegramError::Token => "copy it whole into TELEGRAM_BOT_TOKEN, or the file of TELEGRAM_BOT_TOKEN_FILE",
            _ => "correct TELEGRAM_API_URL, or leave it out",
        };
        Self::new(error.to_string(), hint)
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        let text = error.to_string();
        let (what, hint) = problem(&text);
        Self::new(what, hint)
    }
}

/// A problem of the configuration, apart from what to do about it.
pub(super) fn problem(line: &str) -> (&str, &str) {
    line.split_once("; ").unwrap_or((line, "correct it"))
}
