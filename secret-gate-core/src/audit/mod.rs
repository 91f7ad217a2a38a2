//! What happened, written down before it counts, in lines that hang together.
//!
//! A decision counts and a value leaves only after [`AuditLog::append`] has returned. Each line carries the hash of the one
//! before it, and each message to a human the [`AuditAnchor`] of its own line, so that [`verify`] finds what was changed,
//! cut off or rewritten. [`rotate`] begins a new file.

mod chain;
mod file;
mod memory;
mod rotate;
mod tail;
#[cfg(test)]
mod tests;
mod verify;

use std::fmt;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use serde::{Serialize, Serializer};

use crate::{RequestId, Requester, Use};

pub use chain::{AnchorError, AuditAnchor};
pub use file::FileAudit;
pub use memory::{MemoryAudit, TracingAudit};
pub use rotate::rotate;
pub use verify::{Finding, Verified, VerifyError, verify};

/// One line of the audit log. It has no member that could hold a value or a token.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct AuditEntry {
    /// When it happened.
    #[serde(serialize_with = "rfc3339")]
    pub at: SystemTime,
    /// What happened.
    pub event: AuditEvent,
    /// The request it happened to.
    #[serde(serialize_with = "as_text")]
    pub request_id: RequestId,
    /// Who asked.
    #[serde(serialize_with = "as_identity")]
    pub requester: Requester,
    /// What was asked for.
    pub items: Vec<AuditItem>,
    /// What it was to be used for.
    #[serde(rename = "use", skip_serializing_if = "Option::is_none")]
    pub intended_use: Option<Use>,
    /// Who decided, where somebody did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

/// An item in the audit log.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct AuditItem {
    /// The vault's id.
    pub vault_id: String,
    /// The vault's name.
    pub vault: String,
    /// The item's id.
    pub item_id: String,
    /// The item's title.
    pub title: String,
    /// The names of the fields.
    pub fields: Vec<String>,
}

/// What can happen to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum AuditEvent {
    /// It was put before a human.
    Asked,
    /// It did not reach a human after all.
    Undelivered,
    /// A human said yes.
    Approved,
    /// A human said no.
    Denied,
    /// Its time ran out.
    Expired,
    /// The requester took it back.
    Withdrawn,
    /// The values go to the requester; written before they do.
    Released,
    /// The approval was taken back.
    Revoked,
}

fn rfc3339<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    // the years that the format can write: a clock that is far off loses no entry
    let (first, last) = (SystemTime::UNIX_EPOCH, SystemTime::UNIX_EPOCH + Duration::from_secs(253_402_300_799));
    let time = (*time).clamp(first, last);
    serializer.collect_str(&humantime::format_rfc3339_millis(time))
}

fn as_text<S: Serializer>(id: &RequestId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(id)
}

fn as_identity<S: Serializer>(requester: &Requester, serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Identity<'a> {
        #[serde(skip_serializing_if = "Option::is_none")]
        key: Option<&'a str>,
        broker: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        address: Option<&'a str>,
    }
    let Requester { key_name, broker, address } = requester;
    Identity { key: key_name.as_deref(), broker: *broker, address: address.as_deref() }.serialize(serializer)
}

/// Where audit entries go. Implemented by [`TracingAudit`], [`FileAudit`] and [`MemoryAudit`]; called by
/// [`Gate`](crate::Gate). Run `conformance::audit::all` (feature `conformance`) on your own.
#[async_trait]
pub trait AuditLog: fmt::Debug + Send + Sync + 'static {
    /// Writes an entry. Returns once it is kept as safely as the log can, with where it stands, for logs whose lines hang
    /// together.
    ///
    /// # Errors
    /// When the entry may be lost. What it was to record then does not happen.
    async fn append(&self, entry: &AuditEntry) -> Result<Option<AuditAnchor>, AuditError>;
}

/// An audit entry could not be written.
#[derive(Debug, thiserror::Error)]
#[error("the audit log can't be written")]
pub struct AuditError {
    #[from]
    source: std::io::Error,
}

impl AuditError {
    /// The entry was lost, for this reason.
    #[must_use]
    pub const fn new(source: std::io::Error) -> Self {
        Self { source }
    }
}
