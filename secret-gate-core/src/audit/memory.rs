//! Audit logs that keep no file.

use std::io;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;

use super::chain::{AuditAnchor, Head};
use super::{AuditEntry, AuditError, AuditEvent, AuditLog};
use crate::sync::lock;

/// Writes audit entries into the program's log, at level info and target `audit`, as the lines that
/// [`FileAudit`](super::FileAudit) would write; each start of the program begins at line 1. They are as safe as that log:
/// one that filters them out loses them, and nobody notices.
#[derive(Debug, Clone, Default)]
pub struct TracingAudit {
    head: Arc<Mutex<Head>>,
}

impl TracingAudit {
    /// An audit log in the program's log.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

#[async_trait]
impl AuditLog for TracingAudit {
    async fn append(&self, entry: &AuditEntry) -> Result<Option<AuditAnchor>, AuditError> {
        let mut head = lock(&self.head);
        let (line, next) = head.next(entry).map_err(io::Error::from)?;
        // under the lock, so that the lines come in their order
        tracing::info!(target: "audit", "{line}");
        *head = next;
        Ok(Some(next.anchor()))
    }
}

/// Keeps audit entries in memory, for tests. Can be told to fail.
#[derive(Debug, Clone, Default)]
pub struct MemoryAudit {
    state: Arc<Mutex<MemoryState>>,
}

#[derive(Debug, Default)]
struct MemoryState {
    entries: Vec<AuditEntry>,
    lines: Vec<String>,
    head: Head,
    fail_on: Option<AuditEvent>,
}

impl MemoryAudit {
    /// An empty log.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The entries so far.
    #[must_use]
    pub fn entries(&self) -> Vec<AuditEntry> {
        lock(&self.state).entries.clone()
    }

    /// What happened so far.
    #[must_use]
    pub fn events(&self) -> Vec<AuditEvent> {
        lock(&self.state).entries.iter().map(|entry| entry.event).collect()
    }

    /// The entries so far as the lines that a [`FileAudit`](super::FileAudit) would hold.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        lock(&self.state).lines.clone()
    }

    /// From now on entries of this event are lost; none are with `None`.
    pub fn fail_on(&self, event: Option<AuditEvent>) {
        lock(&self.state).fail_on = event;
    }
}

#[async_trait]
impl AuditLog for MemoryAudit {
    async fn append(&self, entry: &AuditEntry) -> Result<Option<AuditAnchor>, AuditError> {
        let mut state = lock(&self.state);
        if state.fail_on == Some(entry.event) {
            return Err(io::Error::other("told to fail").into());
        }
        let (line, head) = state.head.next(entry).map_err(io::Error::from)?;
        state.entries.push(entry.clone());
        state.lines.push(line);
        state.head = head;
        Ok(Some(head.anchor()))
    }
}
