//! What the service knows: chats, messages, what the bot may still get, and how it is broken at the moment.

#![expect(clippy::indexing_slicing, reason = "assigning to a member of a JSON object that was made here cannot fail")]

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use serde_json::{Value, json};

use super::{
    formatting::Formatted,
    refusal::Refusal,
    types::{Button, Call, CallbackAnswer, ChatKind, Edit, Message, User},
    updates::Updates,
};
use crate::fault::Rules;

/// The private chat that there is from the start, and the person in it.
pub(super) const FIRST_CHAT: i64 = 42;

#[derive(Debug)]
pub(super) struct World {
    pub(super) token: String,
    pub(super) users: BTreeMap<i64, User>,
    pub(super) messages: Vec<Stored>,
    pub(super) updates: Updates,
    pub(super) answers: Vec<CallbackAnswer>,
    pub(super) calls: Vec<Call>,
    pub(super) rules: Rules<String>,
    pub(super) down: bool,
    chats: BTreeMap<i64, ChatKind>,
    blocked: BTreeSet<i64>,
    restricted: BTreeSet<i64>,
    members: BTreeSet<(i64, i64)>,
    migrated: BTreeMap<i64, i64>,
}

/// What a message says: text, entities and keyboard.
#[derive(Clone, Debug)]
pub(super) struct Content {
    pub(super) text: String,
    pub(super) formatted: Formatted,
    pub(super) markup: Option<Value>,
}

/// A message, with what the API shows and a test does not need.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) chat_id: i64,
    pub(super) message_id: i64,
    pub(super) content: Content,
    edits: Vec<Edit>,
    sent_at: Instant,
    date: u64,
    edit_date: Option<u64>,
}

impl World {
    pub(super) fn new() -> Self {
        let mut world = Self {
            token: "123456:TEST-double-token-0000000000000000".to_owned(),
            users: BTreeMap::new(),
            messages: Vec::new(),
            updates: Updates::new(),
            answers: Vec::new(),
            calls: Vec::new(),
            rules: Rules::new(),
            down: false,
            chats: BTreeMap::new(),
            blocked: BTreeSet::new(),
            restricted: BTreeSet::new(),
            members: BTreeSet::new(),
            migrated: BTreeMap::new(),
        };
        let user = User::new(FIRST_CHAT, "Ann");
        world.add_chat(ChatKind::Private { user }, FIRST_CHAT);
        world
    }

    pub(super) fn add_chat(&mut self, kind: ChatKind, id: i64) {
        if let ChatKind::Private { user } = &kind {
            self.users.insert(user.id, user.clone());
        }
        self.blocked.remove(&id);
        self.restricted.remove(&id);
        self.migrated.remove(&id);
        self.chats.insert(id, kind);
    }

    pub(super) fn block(&mut self, chat: i64) {
        self.blocked.insert(chat);
    }

    pub(super) fn restrict(&mut self, chat: i64) {
        self.restricted.insert(chat);
    }

    pub(super) fn add_member(&mut self, chat: i64, user: User) {
        self.members.insert((chat, user.id));
        self.users.insert(user.id, user);
    }

    pub(super) fn migrate(&mut self, group: i64, supergroup: i64) {
        self.add_chat(ChatKind::Supergroup, supergroup);
        self.migrated.insert(group, supergroup);
    }

    /// Lets a person write to the bot.
    pub(super) fn say(&mut self, chat: i64, from: i64, text: &str) {
        let message = json!({
            "message_id": self.next_message_id(),
            "from": show_user(&self.user(from)),
            "chat": self.show_chat(chat),
            "date": unix_now(),
            "text": text,
        });
        self.updates.push(json!({"message": message}));
    }

    /// Checks that the bot may write to a chat.
    pub(super) fn check_chat(&self, id: i64) -> Result<(), Refusal> {
        self.check_known(id)?;
        if self.blocked.contains(&id) {
            return Err(Refusal::new(403, "Forbidden: bot was blocked by the user"));
        }
        if self.restricted.contains(&id) {
            return Err(Refusal::bad("not enough rights to send text messages to the chat"));
        }
        Ok(())
    }

    /// Checks that there is such a chat, under this id.
    pub(super) fn check_known(&self, id: i64) -> Result<(), Refusal> {
        if !self.chats.contains_key(&id) {
            return Err(Refusal::bad("chat not found"));
        }
        match self.migrated.get(&id) {
            Some(supergroup) => {
                Err(Refusal::bad("group chat was upgraded to a supergroup chat")
                    .with("migrate_to_chat_id", *supergroup))
            }
            None => Ok(()),
        }
    }

    /// The `ChatMember` of a user: an ordinary member, or one who is not there. People whom nobody introduced are not
    /// known to the bot.
    pub(super) fn show_member(&self, chat: i64, user: i64) -> Result<Value, Refusal> {
        let me = self.show_bot();
        if me["id"] == json!(user) {
            return Ok(json!({"status": "member", "user": me}));
        }
        let Some(known) = self.users.get(&user) else { return Err(Refusal::bad("user not found")) };
        let is_there = chat == user || self.members.contains(&(chat, user));
        let status = if is_there { "member" } else { "left" };
        Ok(json!({"status": status, "user": show_user(known)}))
    }

    pub(super) fn send(&mut self, chat_id: i64, content: Content) -> Value {
        let message = Stored {
            chat_id,
            message_id: self.next_message_id(),
            content,
            edits: Vec::new(),
            sent_at: Instant::now(),
            date: unix_now(),
            edit_date: None,
        };
        let shown = self.show_message(&message);
        self.messages.push(message);
        shown
    }

    /// Replaces a message's content. Refuses to change it to what it is already.
    pub(super) fn edit(
        &mut self,
        chat_id: i64,
        message_id: i64,
        alter: impl FnOnce(&Content) -> Content,
    ) -> Result<Value, Refusal> {
        let mut messages = self.messages.iter_mut();
        let message = messages
            .find(|message| message.chat_id == chat_id && message.message_id == message_id)
            .ok_or_else(|| Refusal::bad("message to edit not found"))?;
        let content = alter(&message.content);
        if content.formatted == message.content.formatted && content.markup == message.content.markup {
            return Err(Refusal::bad(
                "message is not modified: specified new message content and reply markup are exactly the same as a \
                 current content and reply markup of the message",
            ));
        }
        message.edits.push(Edit {
            text: content.text.clone(),
            plain: content.formatted.plain.clone(),
            entities: content.formatted.entities.clone(),
            keyboard: content.keyboard(),
            at: Instant::now(),
        });
        message.content = content;
        message.edit_date = Some(unix_now());
        let message = message.clone();
        Ok(self.show_message(&message))
    }

    pub(super) fn message(&self, chat_id: i64, message_id: i64) -> Option<&Stored> {
        let mut messages = self.messages.iter();
        messages.find(|message| message.chat_id == chat_id && message.message_id == message_id)
    }

    /// A user by id; one that was never introduced gets a made-up name.
    pub(super) fn user(&self, id: i64) -> User {
        let known = self.users.get(&id).cloned();
        known.unwrap_or_else(|| User::new(id, &format!("User {id}")))
    }

    /// The `User` of the bot itself, without what only `getMe` tells.
    pub(super) fn show_bot(&self) -> Value {
        let id: i64 = self.token.split(':').next().and_then(|id| id.parse().ok()).unwrap_or(0);
        json!({"id": id, "is_bot": true, "first_name": "Gate", "username": "gate_double_bot"})
    }

    /// The `Chat` with this id.
    pub(super) fn show_chat(&self, id: i64) -> Value {
        match self.chats.get(&id) {
            Some(ChatKind::Private { user }) => {
                let mut chat = json!({"id": id, "type": "private", "first_name": user.first_name});
                if let Some(username) = &user.username {
                    chat["username"] = json!(username);
                }
                chat
            }
            Some(ChatKind::Supergroup) => {
                json!({"id": id, "type": "supergroup", "title": "Operations"})
            }
            Some(ChatKind::Group) => json!({"id": id, "type": "group", "title": "Operations"}),
            // Only hostile presses name chats that do not exist.
            None if id < 0 => json!({"id": id, "type": "group", "title": "Unknown"}),
            None => json!({"id": id, "type": "private", "first_name": "Unknown"}),
        }
    }

    /// The `Message` as the API shows it.
    pub(super) fn show_message(&self, message: &Stored) -> Value {
        let mut shown = json!({
            "message_id": message.message_id,
            "from": self.show_bot(),
            "chat": self.show_chat(message.chat_id),
            "date": message.date,
            "text": message.content.formatted.plain,
        });
        if let Some(date) = message.edit_date {
            shown["edit_date"] = json!(date);
        }
        if !message.content.formatted.entities.is_empty() {
            shown["entities"] = json!(message.content.formatted.entities);
        }
        if let Some(markup) = &message.content.markup {
            shown["reply_markup"] = markup.clone();
        }
        shown
    }

    pub(super) fn next_message_id(&mut self) -> i64 {
        self.updates.next_message_id()
    }
}

impl Content {
    pub(super) fn keyboard(&self) -> Vec<Vec<Button>> {
        let rows = self.markup.as_ref().and_then(|markup| markup.get("inline_keyboard"));
        let rows = rows.and_then(Value::as_array).into_iter().flatten();
        let button = |button: &Value| Button { text: member(button, "text"), data: member(button, "callback_data") };
        rows.map(|row| row.as_array().into_iter().flatten().map(button).collect()).collect()
    }
}

impl Stored {
    pub(super) fn public(&self) -> Message {
        Message {
            chat_id: self.chat_id,
            message_id: self.message_id,
            text: self.content.text.clone(),
            plain: self.content.formatted.plain.clone(),
            entities: self.content.formatted.entities.clone(),
            keyboard: self.content.keyboard(),
            edits: self.edits.clone(),
            sent_at: self.sent_at,
        }
    }
}

/// The `User` as the API shows it.
pub(super) fn show_user(user: &User) -> Value {
    let mut shown = json!({"id": user.id, "is_bot": false, "first_name": user.first_name});
    if let Some(username) = &user.username {
        shown["username"] = json!(username);
    }
    shown
}

pub(super) fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn member(json: &Value, name: &str) -> String {
    json.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
}
