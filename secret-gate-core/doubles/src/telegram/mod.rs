//! The double of the Telegram Bot API, and of the people on the other side of it.
//!
//! [`TelegramDouble`] is the handle that a test holds; `types` is what it shows, `world` what the service knows, `api`
//! how calls come in, `methods` what they do, `updates` the queue behind `getUpdates`, `html` and `markdown` the parse
//! modes, [`TelegramFaults`] the ways to break it, `control` the way in for hands and scripts.
//!
//! Not played: media, inline mode, members' rights, MarkdownV2, links and commands that Telegram finds in plain text,
//! and rate limits other than those that a test sets.

mod api;
mod control;
mod faults;
mod formatting;
mod html;
mod markdown;
mod methods;
mod parameters;
mod refusal;
mod types;
mod updates;
mod world;

use std::{net::SocketAddr, sync::Arc, time::Instant};

use serde_json::{Value, json};
use tokio::sync::watch;

use crate::{error::DoubleError, watched::Watched, wire::Server};

pub use faults::TelegramFaults;
pub use types::{Button, Call, CallbackAnswer, ChatKind, Edit, Entity, Message, PressId, RawPress, User};

use world::World;

/// A Bot API server for tests, on a loopback port of its own. It serves until it is dropped.
///
/// At the start it knows one chat: the private one with user 42, Ann.
#[derive(Debug)]
pub struct TelegramDouble {
    world: Arc<Watched<World>>,
    server: Server,
}

impl TelegramDouble {
    /// Starts on a free loopback port. Needs a running tokio runtime.
    ///
    /// # Errors
    ///
    /// [`DoubleError::Listen`] when the port cannot be bound.
    pub async fn start() -> Result<Self, DoubleError> {
        Self::start_on(SocketAddr::from(([127, 0, 0, 1], 0))).await
    }

    /// Starts on the given address; port 0 picks a free one.
    ///
    /// # Errors
    ///
    /// [`DoubleError::Listen`] when the address cannot be bound.
    pub async fn start_on(address: SocketAddr) -> Result<Self, DoubleError> {
        let world = Arc::new(Watched::new(World::new()));
        let server = Server::start(address, api::router(Arc::clone(&world))).await?;
        Ok(Self { world, server })
    }

    /// The same double with another bot token, `<bot id>:<secret>`.
    #[must_use]
    pub fn with_token(self, token: &str) -> Self {
        self.world.change(|world| world.token = token.to_owned());
        self
    }

    /// The base URL without `/bot…` and without a trailing slash.
    #[must_use]
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// The bot's token.
    #[must_use]
    pub fn token(&self) -> String {
        self.world.read(|world| world.token.clone())
    }

    /// Lets the bot write to a chat. Group ids are negative; a private chat has its user's id.
    pub fn add_chat(&self, kind: ChatKind, id: i64) {
        self.world.change(|world| world.add_chat(kind, id));
    }

    /// Introduces a person, whose name then shows in presses.
    pub fn add_user(&self, user: User) {
        self.world.change(|world| world.users.insert(user.id, user));
    }

    /// Lets the person of a private chat block the bot: writing there yields 403.
    pub fn block_bot(&self, chat_id: i64) {
        self.world.change(|world| world.block(chat_id));
    }

    /// Takes the bot's right to write in a group: that yields 400, until the chat is added again.
    pub fn restrict_bot(&self, chat_id: i64) {
        self.world.change(|world| world.restrict(chat_id));
    }

    /// Lets a person join a group, as `getChatMember` tells.
    pub fn add_member(&self, chat_id: i64, user: User) {
        self.world.change(|world| world.add_member(chat_id, user));
    }

    /// Tells the bot that somebody added it to a group.
    pub fn add_bot_to(&self, chat_id: i64, by: i64) {
        self.world.change(|world| {
            let bot = world.show_bot();
            let member = json!({
                "chat": world.show_chat(chat_id),
                "from": world::show_user(&world.user(by)),
                "date": world::unix_now(),
                "old_chat_member": {"status": "left", "user": bot},
                "new_chat_member": {"status": "member", "user": bot},
            });
            world.updates.push(json!({"my_chat_member": member}));
        });
    }

    /// Turns a group into a supergroup: writing to the old id yields 400 with `migrate_to_chat_id`.
    pub fn migrate_chat(&self, group: i64, supergroup: i64) {
        self.world.change(|world| world.migrate(group, supergroup));
    }

    /// The bot's messages as they stand, oldest first.
    #[must_use]
    pub fn messages(&self) -> Vec<Message> {
        self.world.read(|world| world.messages.iter().map(world::Stored::public).collect())
    }

    /// Waits for a message that fits, those sent before the call included, and returns the oldest.
    ///
    /// # Errors
    ///
    /// [`DoubleError::TimedOut`] after ten seconds.
    pub async fn wait_message(&self, fits: impl Fn(&Message) -> bool + Send) -> Result<Message, DoubleError> {
        let find =
            move |world: &mut World| world.messages.iter().map(world::Stored::public).find(|message| fits(message));
        self.world.expect("the awaited message", find).await
    }

    /// Waits until a message was edited at least once and fits as it then stands.
    ///
    /// # Errors
    ///
    /// [`DoubleError::TimedOut`] after ten seconds.
    pub async fn wait_edit(
        &self,
        message_id: i64,
        fits: impl Fn(&Message) -> bool + Send,
    ) -> Result<Message, DoubleError> {
        let find = move |world: &mut World| {
            let mut messages = world.messages.iter();
            let message = messages.find(|message| message.message_id == message_id)?.public();
            (!message.edits.is_empty() && fits(&message)).then_some(message)
        };
        self.world.expect(format!("the awaited edit of message {message_id}"), find).await
    }

    /// Lets user `from` press a button, once the message shows it. `button` is the button's data, or the beginning of
    /// its text with or without leading pictograms.
    ///
    /// # Errors
    ///
    /// [`DoubleError::TimedOut`] when the message shows no such button within ten seconds.
    pub async fn press(&self, message_id: i64, button: &str, from: i64) -> Result<PressId, DoubleError> {
        let what = format!("a button \"{button}\" on message {message_id}");
        self.world.expect(what, |world| world.press(message_id, button, from)).await
    }

    /// Sends the bot a press with every piece chosen freely.
    #[expect(clippy::must_use_candidate, reason = "called for its effect as often as for the id")]
    pub fn press_raw(&self, press: RawPress) -> PressId {
        self.world.change(|world| world.press_raw(press))
    }

    /// Makes a press too old to be answered.
    pub fn expire_press(&self, press: &PressId) {
        self.world.change(|world| world.updates.expire(press));
    }

    /// Lets a person write to the bot.
    pub fn say(&self, chat_id: i64, from: i64, text: &str) {
        self.world.change(|world| world.say(chat_id, from, text));
    }

    /// Sends the bot an update of any content, such as a kind that its library does not know. The
    /// `update_id` is filled in. `update` must be a JSON object, or it becomes an empty one.
    pub fn push_update(&self, update: Value) {
        let update = if update.is_object() { update } else { json!({}) };
        self.world.change(|world| world.updates.push(update));
    }

    /// The bot's answers to presses that were accepted, oldest first.
    #[must_use]
    pub fn answers(&self) -> Vec<CallbackAnswer> {
        self.world.read(|world| world.answers.clone())
    }

    /// Waits for the answer to a press.
    ///
    /// # Errors
    ///
    /// [`DoubleError::TimedOut`] after ten seconds.
    pub async fn wait_answer(&self, press: &PressId) -> Result<CallbackAnswer, DoubleError> {
        let find = move |world: &mut World| {
            let mut answers = world.answers.iter();
            answers.find(|answer| answer.callback_query_id == press.as_str()).cloned()
        };
        self.world.expect("the answer to a press", find).await
    }

    /// When a press was first handed out in an answer to `getUpdates` that was not dropped on purpose.
    #[must_use]
    pub fn delivered(&self, press: &PressId) -> Option<Instant> {
        self.world.read(|world| world.updates.delivered(press))
    }

    /// Waits until a press was handed out.
    ///
    /// # Errors
    ///
    /// [`DoubleError::TimedOut`] after ten seconds.
    pub async fn wait_delivered(&self, press: &PressId) -> Result<Instant, DoubleError> {
        let find = move |world: &mut World| world.updates.delivered(press);
        self.world.expect("the delivery of a press", find).await
    }

    /// The calls so far, in order of arrival. Requests to the control API are not among them.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.world.read(|world| world.calls.clone())
    }

    /// Waits for a call that fits, those that came before included.
    ///
    /// # Errors
    ///
    /// [`DoubleError::TimedOut`] after ten seconds.
    pub async fn wait_call(&self, fits: impl Fn(&Call) -> bool + Send) -> Result<Call, DoubleError> {
        let find = move |world: &mut World| world.calls.iter().find(|call| fits(call)).cloned();
        self.world.expect("the awaited call to Telegram", find).await
    }

    /// Forgets the calls so far. Calls that still wait for their answer are forgotten too.
    pub fn clear_calls(&self) {
        self.world.change(|world| world.calls.clear());
    }

    /// A bell that rings whenever anything happens; its value means nothing.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.world.changes()
    }

    /// The ways to break this server; they can be set at any time.
    #[must_use]
    pub fn faults(&self) -> TelegramFaults {
        TelegramFaults::new(Arc::clone(&self.world))
    }
}
