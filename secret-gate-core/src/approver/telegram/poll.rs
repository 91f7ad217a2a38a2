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
    let slots = Arc::new(Semaphore::new(PRESSES_AT_ONCE));
    let mut trouble = Trouble::new(health);
    let mut pauses = Pauses::new(pace.first_pause, pace.longest_pause);
    let mut long_pauses = Pauses::new(pace.conflict_pause, LONGEST_PAUSE.max(pace.conflict_pause));
    let mut offset = None;
    let mut webhook = true;
    let mut wait = pace.poll;
    let mut confirmed = true;
    loop {
        let began = Instant::now();
        let heard = tokio::select! {
            () = stop.cancelled() => break,
            heard = hear(&polling, offset, webhook, wait) => heard,
        };
        // one attempt; if the webhook is still there, the next poll says so
        let polled = !std::mem::take(&mut webhook);
        let pause = match heard {
            Ok(updates) => {
                trouble.over();
                confirmed = confirmed || polled;
                let idle = polled && updates.is_empty() && !wait.is_zero() && began.elapsed() < SHORT_POLL;
                wait = pace.poll;
                if !idle {
                    pauses.reset();
                    long_pauses.reset();
                }
                for update in updates {
                    offset = Some(after(update.id));
                    confirmed = false;
                    let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { break };
                    let polling = Arc::clone(&polling);
                    tasks.spawn(async move {
                        handle(&polling, update).await;
                        drop(slot);
                    });
                }
                if idle { pauses.next() } else { Duration::ZERO }
            }
            Err(failure) => {
                webhook = failure == Failure::Webhook;
                // so that we know at once when it is over
                wait = Duration::ZERO;
                let pause = match &failure {
                    Failure::RetryAfter(wait) => (*wait).min(LONGEST_RETRY_AFTER),
                    Failure::Conflict | Failure::Token | Failure::Refused(_) => long_pauses.next(),
                    _ => pauses.next(),
                };
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
        polling.api.confirm(offset).await.ok();
    }
}

async fn rest(pause: Duration) {
    if !pause.is_zero() {
        tokio::time::sleep(pause).await;
    }
}

async fn hear(polling: &Polling, offset: Option<i32>, webhook: bool, wait: Duration) -> Result<Vec<Update>, Failure> {
    if webhook {
        polling.api.delete_webhook().await?;
        return Ok(Vec::new());
    }
    polling.api.updates(offset, wait).await
}

async fn handle(polling: &Polling, update: Update) {
    match update.kind {
        UpdateKind::CallbackQuery(query) => polling.press(query).await,
        // an update of a kind that did not exist when teloxide was written, or that nobody asked for
        _ => tracing::debug!(update = update.id.0, "an update that is not a press was skipped"),
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
