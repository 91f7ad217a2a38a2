//! Writing steps down: those that allow something before they are taken, the others as soon as it can be done.

use std::collections::VecDeque;
use std::sync::Mutex;

use crate::audit::{AuditAnchor, AuditEntry, AuditError, AuditLog};
use crate::sync::lock;

/// How many entries of steps that stand are kept until they can be written.
const MAX_OWED: usize = 10_000;

/// The entries that the audit log is owed, oldest first.
#[derive(Debug, Default)]
pub(super) struct Journal {
    owed: Mutex<VecDeque<AuditEntry>>,
    paying: tokio::sync::Mutex<()>,
}

impl Journal {
    /// Writes an entry, after those that are owed.
    pub(super) async fn write(
        &self,
        audit: &dyn AuditLog,
        entry: &AuditEntry,
    ) -> Result<Option<AuditAnchor>, AuditError> {
        self.pay(audit).await?;
        audit.append(entry).await
    }

    /// Writes the entry of a step that stands whether or not it can be written now: one that allows nothing.
    pub(super) async fn note(&self, audit: &dyn AuditLog, entry: AuditEntry) {
        if let Err(error) = self.write(audit, &entry).await {
            self.owe(entry, &error);
        }
    }

    /// Keeps an entry that could not be written.
    pub(super) fn owe(&self, entry: AuditEntry, error: &AuditError) {
        let request_id = entry.request_id.clone();
        let mut owed = lock(&self.owed);
        if owed.len() < MAX_OWED {
            tracing::error!(%request_id, ?error, "an audit entry can't be written; it is kept for later");
            owed.push_back(entry);
        } else {
            tracing::error!(%request_id, ?error, "an audit entry is lost");
        }
    }

    async fn pay(&self, audit: &dyn AuditLog) -> Result<(), AuditError> {
        if lock(&self.owed).is_empty() {
            return Ok(());
        }
        let _turn = self.paying.lock().await;
        loop {
            // removed only once it is written: whoever pays may go away meanwhile
            let Some(entry) = lock(&self.owed).front().cloned() else { return Ok(()) };
            audit.append(&entry).await?;
            lock(&self.owed).pop_front();
        }
    }
}
