//! The queue of updates for the bot, and the life of a press from the finger to its answer.

#![expect(clippy::indexing_slicing, reason = "assigning to a member of a JSON object that was made here cannot fail")]

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{
    parameters::Parameters,
    refusal::Refusal,
    types::{CallbackAnswer, PressId, RawPress},
    world::{World, show_user},
};
use crate::watched::Watched;

/// The longest that the service holds a `getUpdates`, whatever the bot asks for.
const LONGEST_POLL: Duration = Duration::from_secs(50);

/// Kinds of updates that a bot gets only when it asks for them by name.
const ONLY_ON_REQUEST: [&str; 3] = ["chat_member", "message_reaction", "message_reaction_count"];

#[derive(Debug)]
pub(super) struct Updates {
    pub(super) webhook: Option<String>,
    queue: Vec<Update>,
    presses: Vec<Press>,
    allowed: Vec<String>,
    /// Counts pollers; only the newest may go on waiting.
    poller: u64,
    next_update_id: i64,
    next_message_id: i64,
}

#[derive(Debug)]
struct Update {
    id: i64,
    json: Value,
}

#[derive(Debug)]
struct Press {
    id: PressId,
    update_id: i64,
    delivered: Option<Instant>,
    answerable: bool,
}

impl Updates {
    pub(super) const fn new() -> Self {
        Self {
            webhook: None,
            queue: Vec::new(),
            presses: Vec::new(),
            allowed: Vec::new(),
            poller: 0,
            next_update_id: 700_000_001,
            next_message_id: 1,
        }
    }

    pub(super) const fn next_message_id(&mut self) -> i64 {
        self.next_message_id += 1;
        self.next_message_id
    }

    pub(super) const fn pending(&self) -> usize {
        self.queue.len()
    }

    pub(super) fn drop_pending(&mut self) {
        self.queue.clear();
    }

    /// Remembers what the bot wants to get; absent means as before, and an empty list means the usual kinds.
    pub(super) fn allow(&mut self, kinds: Option<&Value>) {
        if let Some(kinds) = kinds.and_then(Value::as_array) {
            self.allowed = kinds.iter().filter_map(Value::as_str).map(str::to_owned).collect();
        }
    }

    /// Queues an update and returns its id. The service forgets at once what the bot does not want.
    pub(super) fn push(&mut self, mut json: Value) -> i64 {
        let id = self.next_update_id;
        self.next_update_id += 1;
        if self.wants(&json) {
            json["update_id"] = json!(id);
            self.queue.push(Update { id, json });
        }
        id
    }

    fn wants(&self, update: &Value) -> bool {
        let has = |kind: &str| update.get(kind).is_some();
        if self.allowed.is_empty() {
            return !ONLY_ON_REQUEST.iter().any(|kind| has(kind));
        }
        self.allowed.iter().any(|kind| has(kind))
    }

    pub(super) fn delivered(&self, press: &PressId) -> Option<Instant> {
        self.presses.iter().find(|known| known.id == *press)?.delivered
    }

    pub(super) fn expire(&mut self, press: &PressId) {
        if let Some(press) = self.presses.iter_mut().find(|known| known.id == *press) {
            press.answerable = false;
        }
    }

    /// Notes that an answer to `getUpdates` left with these updates.
    pub(super) fn mark_delivered(&mut self, updates: &Value) {
        let now = Instant::now();
        for update in updates.as_array().into_iter().flatten() {
            let id = update.get("update_id").and_then(Value::as_i64);
            let mut presses = self.presses.iter_mut();
            if let Some(press) = presses.find(|press| Some(press.update_id) == id) {
                press.delivered.get_or_insert(now);
            }
        }
    }

    /// Forgets updates below `offset`; a negative one keeps that many of the newest.
    fn confirm(&mut self, offset: i64) {
        if offset >= 0 {
            return self.queue.retain(|update| update.id >= offset);
        }
        let keep = usize::try_from(offset.unsigned_abs()).unwrap_or(usize::MAX);
        let forgotten = self.queue.len().saturating_sub(keep);
        self.queue.drain(..forgotten);
    }
}

impl World {
    /// Presses a button of a message of the bot, as its person would. `None` when there is no such button (yet).
    pub(super) fn press(&mut self, message_id: i64, button: &str, from: i64) -> Option<PressId> {
        let mut messages = self.messages.iter();
        let message = messages.find(|message| message.message_id == message_id)?;
        let chat_id = message.chat_id;
        // Labels often begin with a pictogram, which nobody wants to repeat in a test.
        let is_meant = |text: &str| {
            let words = text.trim_start_matches(|character: char| !character.is_alphanumeric());
            text.starts_with(button) || words.starts_with(button)
        };
        let mut buttons = message.content.keyboard().into_iter().flatten();
        let button = buttons.find(|known| !known.data.is_empty() && (known.data == button || is_meant(&known.text)))?;
        Some(self.press_raw(RawPress::new(chat_id, message_id, &button.data, self.user(from))))
    }

    pub(super) fn press_raw(&mut self, press: RawPress) -> PressId {
        let id = PressId(format!("{}", 430_000_000_000_000_000 + self.updates.next_update_id));
        let mut query = json!({
            "id": id,
            "from": show_user(&press.from),
            "chat_instance": format!("{}", press.chat_id.wrapping_mul(7_919)),
        });
        if let Some(data) = press.data {
            query["data"] = json!(data);
        }
        if press.with_message {
            let message = self.message(press.chat_id, press.message_id);
            query["message"] = match message {
                Some(message) => self.show_message(message),
                None => {
                    json!({"message_id": press.message_id, "date": 0, "chat": self.show_chat(press.chat_id)})
                }
            };
        }
        let update_id = self.updates.push(json!({"callback_query": query}));
        self.updates.presses.push(Press { id: id.clone(), update_id, delivered: None, answerable: true });
        id
    }

    /// Takes the bot's answer to a press, once.
    pub(super) fn answer_press(&mut self, answer: CallbackAnswer) -> Result<(), Refusal> {
        let mut presses = self.updates.presses.iter_mut();
        let press = presses
            .find(|press| press.id.0 == answer.callback_query_id && press.answerable)
            .ok_or_else(|| Refusal::bad("query is too old and response timeout expired or query ID is invalid"))?;
        press.answerable = false;
        self.answers.push(answer);
        Ok(())
    }
}

/// `getUpdates`: confirms, then waits for updates as long as the bot wants and nobody else polls.
pub(super) async fn get_updates(
    world: &Watched<World>,
    parameters: &Parameters,
    allowed: Option<&Value>,
) -> Result<Value, Refusal> {
    let limit = parameters.integer("limit").unwrap_or(100).clamp(1, 100);
    let limit = usize::try_from(limit).unwrap_or(100);
    let timeout = u64::try_from(parameters.integer("timeout").unwrap_or(0)).unwrap_or(0);
    let this_poller = world.change(|world| {
        if world.updates.webhook.is_some() {
            return Err(Refusal::webhook_active());
        }
        world.updates.confirm(parameters.integer("offset").unwrap_or(0));
        world.updates.allow(allowed);
        world.updates.poller += 1;
        Ok(world.updates.poller)
    })?;
    let look = |world: &mut World| {
        if world.updates.poller != this_poller {
            return Some(Err(Refusal::other_poller()));
        }
        if world.updates.webhook.is_some() {
            return Some(Err(Refusal::new(409, "Conflict: terminated by setWebhook request")));
        }
        let ready = world.updates.queue.iter().take(limit);
        let ready: Vec<Value> = ready.map(|update| update.json.clone()).collect();
        (!ready.is_empty()).then_some(Ok(Value::Array(ready)))
    };
    let patience = Duration::from_secs(timeout).min(LONGEST_POLL);
    let outcome = tokio::time::timeout(patience, world.until(look)).await;
    outcome.unwrap_or_else(|_elapsed| Ok(json!([])))
}
