//! The ways to break the Bot API while it runs.

use std::time::Duration;

use super::api::Shared;
use crate::fault::{Fault, Times};

/// Switches that break a [`TelegramDouble`](super::TelegramDouble); get it from
/// [`TelegramDouble::faults`](super::TelegramDouble::faults). `method` is a Bot API method, or `"*"` for all.
#[derive(Clone, Debug)]
pub struct TelegramFaults {
    world: Shared,
}

impl TelegramFaults {
    pub(super) const fn new(world: Shared) -> Self {
        Self { world }
    }

    /// Any fault.
    pub fn set(&self, method: &str, fault: Fault, times: Times) {
        self.world.change(|world| world.rules.set(method.to_owned(), fault, times));
    }

    /// Takes the service down: every call that waits or comes ends without an answer, until [`Self::up`].
    pub fn down(&self) {
        self.world.change(|world| world.down = true);
    }

    /// Ends [`Self::down`].
    pub fn up(&self) {
        self.world.change(|world| world.down = false);
    }

    /// Answers the next `calls` with `status` and an HTML page, as a gateway in front of the service does.
    pub fn html(&self, method: &str, status: u16, calls: usize) {
        self.set(method, Fault::Html(status), Times::Next(calls));
    }

    /// Answers the next `calls` with `status` in the Bot API's own form.
    pub fn status(&self, method: &str, status: u16, calls: usize) {
        self.set(method, Fault::Status(status), Times::Next(calls));
    }

    /// Answers the next `calls` with 429 and this `retry_after` in seconds.
    pub fn too_many_requests(&self, method: &str, retry_after: u64, calls: usize) {
        self.set(method, Fault::RetryAfter(retry_after), Times::Next(calls));
    }

    /// Answers the next `calls` of `getUpdates` with 409, as if another program polled with the same token.
    pub fn conflict(&self, calls: usize) {
        self.set("getUpdates", Fault::Conflict, Times::Next(calls));
    }

    /// Sets a webhook, as another program with the same token might: `getUpdates` yields 409 until `deleteWebhook`.
    pub fn set_webhook(&self, url: &str) {
        self.world.change(|world| world.updates.webhook = Some(url.to_owned()));
    }

    /// Handles the next `calls` only after `duration`.
    pub fn delay(&self, method: &str, duration: Duration, calls: usize) {
        self.set(method, Fault::Delay(duration), Times::Next(calls));
    }

    /// Handles the next `calls` at once but answers only after `duration`.
    pub fn slow_answer(&self, method: &str, duration: Duration, calls: usize) {
        self.set(method, Fault::SlowAnswer(duration), Times::Next(calls));
    }

    /// Handles the next `calls`, then resets the connection instead of answering.
    pub fn drop_answer(&self, method: &str, calls: usize) {
        self.set(method, Fault::DropAnswer, Times::Next(calls));
    }

    /// Ends all faults; a webhook stays.
    pub fn clear(&self) {
        self.world.change(|world| {
            world.rules.clear();
            world.down = false;
        });
    }
}
