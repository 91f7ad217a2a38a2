//! Writing steps down: those that allow something before they are taken, the others as soon as it can be done.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tracing::Instrument as _;

use crate::audit::{AuditAnchor, AuditEntry, AuditError, AuditLog};
use crate::clock::Clock;
use crate::sync::lock;

/// How many entries of steps that stand are kept until they can be written.
const MAX_OWED: usize = 10_000;

/// How often it is tried to write what is owed, where nothing else is written meanwhile.
const RETRY: Duration = Duration::from_secs(5);

/// The audit log, and the entries that it is owed.
#[derive(Debug)]
pub(super) struct Journal {
    audit: Arc<dyn AuditLog>,
    clock: Arc<dyn Clock>,
    owed: Mutex<Owed>,
    paying: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Owed {
    /// Oldest first.
    entries: VecDeque<AuditEntry>,
    is_retried: bool,
}

impl Journal {
    pub(super) fn new(audit: Arc<dyn AuditLog>, clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self { audit, clock, owed: Mutex::default(), paying: tokio::sync::Mutex::default() })
    }

    /// Writes an entry, after those that are owed. To be called in a task that nobody cancels: what was written must count.
    pub(super) async fn write(self: &Arc<Self>, entry: &AuditEntry) -> Result<Option<AuditAnchor>, AuditError> {
        self.pay().await?;
        self.audit.append(entry).await
    }

    /// Writes the entry of a step that stands whether or not it can be written now: one that allows nothing. It is
    /// written even if the caller goes away.
    pub(super) async fn note(self: &Arc<Self>, entry: AuditEntry) {
        self.owe(entry);
        if let Err(error) = self.pay().await {
            tracing::error!(?error, "an audit entry can't be written; it is kept for later");
            self.retry();
        }
    }

    /// Keeps the entry of a step that stands, to be written later.
    pub(super) fn owe(&self, entry: AuditEntry) {
        let mut owed = lock(&self.owed);
        if owed.entries.len() < MAX_OWED {
            owed.entries.push_back(entry);
        } else {
            tracing::error!(request_id = %entry.request_id, event = ?entry.event, "an audit entry is lost");
        }
    }

    /// How many entries are owed.
    pub(super) fn owed(&self) -> usize {
        lock(&self.owed).entries.len()
    }

    /// Writes what is owed. In a task of its own: an entry that is being written must be struck off, whoever goes away.
    pub(super) async fn pay(self: &Arc<Self>) -> Result<(), AuditError> {
        if self.owed() == 0 {
            return Ok(());
        }
        let journal = Arc::clone(self);
        let paying = async move {
            let _turn = journal.paying.lock().await;
            loop {
                let Some(entry) = lock(&journal.owed).entries.front().cloned() else { return Ok(()) };
                journal.audit.append(&entry).await?;
                lock(&journal.owed).entries.pop_front();
            }
        };
        let paid = tokio::spawn(paying.in_current_span()).await;
        paid.unwrap_or_else(|died| Err(AuditError::new(std::io::Error::other(died))))
    }

    /// Tries again and again until nothing is owed, or nobody has the gate any more.
    fn retry(self: &Arc<Self>) {
        if std::mem::replace(&mut lock(&self.owed).is_retried, true) {
            return;
        }
        let (journal, clock) = (Arc::downgrade(self), Arc::clone(&self.clock));
        tokio::spawn(async move {
            loop {
                clock.sleep_until(clock.now() + RETRY).await;
                let Some(journal) = journal.upgrade() else { return };
                if journal.pay().await.is_ok() {
                    lock(&journal.owed).is_retried = false;
                    return;
                }
            }
        });
    }
}
