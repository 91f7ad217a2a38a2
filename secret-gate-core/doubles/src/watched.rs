//! State that tells when it changed, so that nobody has to sleep and look again.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::watch;

use crate::error::DoubleError;

/// How long the doubles wait for an awaited event before they call it an error.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// A value behind a lock, with a bell that rings on every change.
#[derive(Debug)]
pub(crate) struct Watched<T> {
    value: Mutex<T>,
    changes: watch::Sender<u64>,
}

impl<T> Watched<T> {
    pub(crate) fn new(value: T) -> Self {
        Self { value: Mutex::new(value), changes: watch::Sender::new(0) }
    }

    pub(crate) fn read<R>(&self, look: impl FnOnce(&T) -> R) -> R {
        look(&self.lock())
    }

    pub(crate) fn change<R>(&self, alter: impl FnOnce(&mut T) -> R) -> R {
        let result = alter(&mut self.lock());
        self.ring();
        result
    }

    /// Counts changes; only its ringing matters.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Tries `attempt` now and after every change, until it returns something. What it returned counts as a change.
    pub(crate) async fn until<R>(&self, mut attempt: impl FnMut(&mut T) -> Option<R>) -> R {
        let mut changes = self.changes.subscribe();
        loop {
            changes.mark_unchanged();
            let result = attempt(&mut self.lock());
            if let Some(result) = result {
                self.ring();
                return result;
            }
            if changes.changed().await.is_err() {
                // The sender lives in `self`, so this cannot happen; waiting for ever is what "never changed" means.
                std::future::pending::<()>().await;
            }
        }
    }

    /// [`Self::until`], given up after [`PATIENCE`].
    pub(crate) async fn expect<R>(
        &self,
        what: impl Into<String>,
        attempt: impl FnMut(&mut T) -> Option<R>,
    ) -> Result<R, DoubleError> {
        tokio::time::timeout(PATIENCE, self.until(attempt))
            .await
            .map_err(|_elapsed| DoubleError::TimedOut { what: what.into(), after: PATIENCE })
    }

    fn ring(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    // A test that panicked while it held the lock has failed already; the double keeps answering.
    fn lock(&self) -> MutexGuard<'_, T> {
        self.value.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
