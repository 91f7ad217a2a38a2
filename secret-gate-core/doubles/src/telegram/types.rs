//! What a test sees of the Telegram double: messages, presses, answers and calls.

use std::{fmt, time::Instant};

use serde::Serialize;
use serde_json::Value;

/// A person, as the Bot API's `User` shows them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct User {
    /// The stable id; in a private chat it is the chat's id too.
    pub id: i64,
    /// The first name, which every user has.
    pub first_name: String,
    /// The user name without `@`, which users may lack and may change.
    pub username: Option<String>,
}

impl User {
    /// A user without a user name.
    #[must_use]
    pub fn new(id: i64, first_name: &str) -> Self {
        Self { id, first_name: first_name.to_owned(), username: None }
    }

    /// The same user with this user name.
    #[must_use]
    pub fn with_username(self, username: &str) -> Self {
        let username = Some(username.to_owned());
        Self { username, ..self }
    }
}

/// The kinds of chat that a bot can be in.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChatKind {
    /// The chat with one person.
    Private {
        /// That person.
        user: User,
    },
    /// A basic group; its ids are negative.
    Group,
    /// A supergroup; its ids begin with -100.
    Supergroup,
}

/// A part of a text with a meaning: the Bot API's `MessageEntity`. Offset and length count UTF-16 code units.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Entity {
    /// The Bot API's `type`, such as `bold` or `text_link`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Where it begins.
    pub offset: usize,
    /// How long it is.
    pub length: usize,
    /// Where a `text_link` leads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The programming language of a `pre`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
}

/// A button of an inline keyboard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Button {
    /// What it says.
    pub text: String,
    /// Its callback data; empty for a button that does something else, such as opening a URL.
    pub data: String,
}

/// A message that the bot sent, as it stands now.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Message {
    /// The chat it is in.
    pub chat_id: i64,
    /// Its id, unique over all chats of this double.
    pub message_id: i64,
    /// The text as the bot sent it, markup included.
    pub text: String,
    /// The text as people read it: after entity parsing and trimming.
    pub plain: String,
    /// The entities that were found in, or sent along with, the text.
    pub entities: Vec<Entity>,
    /// The inline keyboard, row by row; empty when there is none.
    pub keyboard: Vec<Vec<Button>>,
    /// What it became with each edit, oldest first; the last one is how it stands now.
    pub edits: Vec<Edit>,
    /// When the bot sent it.
    #[serde(skip)]
    pub sent_at: Instant,
}

/// What a message became with one edit.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Edit {
    /// The text as the bot sent it, markup included.
    pub text: String,
    /// The text as people read it.
    pub plain: String,
    /// The entities of the text.
    pub entities: Vec<Entity>,
    /// The inline keyboard; empty when there is none any more.
    pub keyboard: Vec<Vec<Button>>,
    /// When the edit came.
    #[serde(skip)]
    pub at: Instant,
}

/// The id of a press: the `callback_query.id` that the bot gets.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct PressId(pub(super) String);

impl PressId {
    /// The id as it is on the wire.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PressId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// A press with every piece chosen freely, to play a hostile or confused client.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RawPress {
    /// The chat that the message is said to be in; it need not exist.
    pub chat_id: i64,
    /// The message that is said to carry the button; when the bot never sent it, it goes out as inaccessible (date 0).
    pub message_id: i64,
    /// The callback data; `None` leaves the member out, as for a game button.
    pub data: Option<String>,
    /// Who presses.
    pub from: User,
    /// Whether the update carries a message at all.
    pub with_message: bool,
}

impl RawPress {
    /// A press that names a message.
    #[must_use]
    pub fn new(chat_id: i64, message_id: i64, data: &str, from: User) -> Self {
        Self { chat_id, message_id, data: Some(data.to_owned()), from, with_message: true }
    }
}

/// An `answerCallbackQuery` that was accepted.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct CallbackAnswer {
    /// The press that it answers.
    pub callback_query_id: String,
    /// What the person is shown; empty when nothing.
    pub text: String,
    /// Whether it is shown as an alert rather than at the top of the screen.
    pub show_alert: bool,
    /// When the answer came.
    #[serde(skip)]
    pub at: Instant,
}

/// A Bot API call that arrived.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Call {
    /// The method as the Bot API's document spells it (`sendMessage`), or as sent when there is no such method.
    pub method: String,
    /// The parameters; strings where the client sent a form.
    pub parameters: Value,
    /// When it arrived.
    pub at: Instant,
    /// The HTTP status of the answer; `None` while there is none, and for calls whose connection was cut.
    pub status: Option<u16>,
}
