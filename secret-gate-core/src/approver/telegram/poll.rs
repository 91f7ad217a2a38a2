//! The loop that hears of presses.

use std::mem::{Discriminant, discriminant};
use std::sync::Arc;
use std::time::Duration;

use teloxide_core::types::{Update, UpdateId, UpdateKind};
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::failure::Failure;
use super::pause::Pauses;
use super::press::Polling;

/// Presses that are dealt with at one time. More wait with Telegram, which keeps them for a day.
const PRESSES_AT_ONCE: usize = 256;

/// Strangers that are turned away at one time. More are not told, and none holds up an approver.
const STRANGERS_AT_ONCE: usize = 16;

/// The same trouble is logged at most this often.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// The longest pause between polls when Telegram, or whoever it is, does not do its part.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// What Telegram may ask us to wait, at most.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(300);

/// An empty answer that comes sooner than this was not a long poll.
const SHORT_POLL: Duration = Duration::from_millis(250);

/// Whether presses reach us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Health {
    /// Nothing has been heard yet.
    Starting,
    Good,
    /// Why not.
    Bad(String),
}

/// Polls until told to stop.
pub(super) async fn run(
    polling: Arc<Polling>,
    health: watch::Sender<Health>,
    tasks: TaskTracker,
    stop: CancellationToken,
) {
    let pace = *polling.api.pace();
    let desk = Desk::new(polling, tasks);
    let mut trouble = Trouble::new(health);
    let mut pauses = Pauses::new(pace.first_pause, pace.longest_pause);
    let mut long_pauses = Pauses::new(pace.conflict_pause, LONGEST_PAUSE.max(pace.conflict_pause));
    let mut offset = None;
    let mut webhook = Webhook::Suspected;
    let mut wait = pace.poll;
    let mut confirmed = true;
    'polling: loop {
        let began = Instant::now();
        let heard = tokio::select! {
            () = stop.cancelled() => break,
            heard = hear(&desk.polling, offset, &mut webhook, wait) => heard,
        };
        let pause = match heard {
            Ok(updates) => {
                trouble.over();
                confirmed = true;
                webhook = Webhook::Gone;
                let idle = updates.is_empty() && !wait.is_zero() && began.elapsed() < SHORT_POLL;
                wait = pace.poll;
                if !idle {
                    pauses.reset();
                    long_pauses.reset();
                }
                for update in updates {
                    let id = update.id;
                    tokio::select! {
                        biased;
                        () = desk.take(update) => {}
                        // what was not taken is not confirmed, so the next server hears of it
                        () = stop.cancelled() => break 'polling,
                    }
                    offset = Some(after(id));
                    confirmed = false;
                }
                if idle { pauses.next() } else { Duration::ZERO }
            }
            Err(failure) => {
                // so that we know at once when it is over
                wait = Duration::ZERO;
                let pause = match &failure {
                    Failure::RetryAfter(wait) => (*wait).min(LONGEST_RETRY_AFTER),
                    // somebody sets it as often as we remove it
                    Failure::Webhook if webhook == Webhook::Removed => long_pauses.next(),
                    Failure::Conflict | Failure::Token | Failure::Refused(_) => long_pauses.next(),
                    _ => pauses.next(),
                };
                if failure == Failure::Webhook {
                    webhook = Webhook::Suspected;
                }
                trouble.seen(&failure);
                pause
            }
        };
        // without a pause this does not even wait for the timer
        tokio::select! {
            () = stop.cancelled() => break,
            () = rest(pause) => {}
        }
    }
    if !confirmed {
        // Else the next server would hear of presses that were dealt with.
        desk.polling.api.confirm(offset).await.ok();
    }
}

async fn rest(pause: Duration) {
    if !pause.is_zero() {
        tokio::time::sleep(pause).await;
    }
}

/// What we know of a webhook that takes the updates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Webhook {
    /// There may be one.
    Suspected,
    /// It was removed, and no poll has succeeded since.
    Removed,
    /// A poll has succeeded.
    Gone,
}

/// Polls, after removing a webhook that stands in the way. That is tried once; the poll says whether it helped.
async fn hear(
    polling: &Polling,
    offset: Option<i32>,
    webhook: &mut Webhook,
    wait: Duration,
) -> Result<Vec<Update>, Failure> {
    if *webhook == Webhook::Suspected {
        *webhook = Webhook::Removed;
        polling.api.delete_webhook().await?;
    }
    polling.api.updates(offset, wait).await
}

/// Where presses are handed to tasks of their own.
struct Desk {
    polling: Arc<Polling>,
    tasks: TaskTracker,
    presses: Arc<Semaphore>,
    strangers: Arc<Semaphore>,
}

impl Desk {
    fn new(polling: Arc<Polling>, tasks: TaskTracker) -> Self {
        let slots = |count| Arc::new(Semaphore::new(count));
        Self { polling, tasks, presses: slots(PRESSES_AT_ONCE), strangers: slots(STRANGERS_AT_ONCE) }
    }

    /// Waits for a place for the press, unless it is a stranger's: where there is none for those, nobody is told.
    async fn take(&self, update: Update) {
        let UpdateKind::CallbackQuery(query) = update.kind else {
            // of a kind that did not exist when teloxide was written, or that nobody asked for
            tracing::debug!(update = update.id.0, "an update that is not a press was skipped");
            return;
        };
        let polling = Arc::clone(&self.polling);
        match polling.admit(query) {
            Ok(press) => {
                let Ok(slot) = Arc::clone(&self.presses).acquire_owned().await else { return };
                self.tasks.spawn(async move {
                    polling.press(press).await;
                    drop(slot);
                });
            }
            Err(stranger) => {
                let Ok(slot) = Arc::clone(&self.strangers).try_acquire_owned() else { return };
                self.tasks.spawn(async move {
                    polling.turn_away(stranger).await;
                    drop(slot);
                });
            }
        }
    }
}

/// The offset that confirms this update.
fn after(update: UpdateId) -> i32 {
    i32::try_from(update.0).unwrap_or(i32::MAX).saturating_add(1)
}

/// Says what is wrong, in the log now and then and to whoever asks always.
struct Trouble {
    health: watch::Sender<Health>,
    last: Option<(Discriminant<Failure>, Instant)>,
}

impl Trouble {
    const fn new(health: watch::Sender<Health>) -> Self {
        Self { health, last: None }
    }

    fn seen(&mut self, failure: &Failure) {
        self.health.send_replace(Health::Bad(failure.to_string()));
        let kind = discriminant(failure);
        let now = Instant::now();
        if self.last.is_some_and(|(last, at)| last == kind && now < at + LOG_INTERVAL) {
            return;
        }
        self.last = Some((kind, now));
        match failure {
            Failure::Conflict | Failure::Token => tracing::error!(%failure, "presses on Telegram are not heard"),
            _ => tracing::warn!(%failure, "presses on Telegram are not heard for now"),
        }
    }

    fn over(&mut self) {
        let was_bad = matches!(self.health.send_replace(Health::Good), Health::Bad(_));
        if was_bad {
            tracing::info!("presses on Telegram are heard again");
        }
    }
}
