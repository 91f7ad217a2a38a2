//! What happened, written down before it counts.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use async_trait::async_trait;
use serde::{Serialize, Serializer};

use crate::sync::lock;
use crate::{RequestId, Requester, Use};

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
    serializer.collect_str(&humantime::format_rfc3339_millis(*time))
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

/// Where audit entries go. Implemented by [`TracingAudit`], [`FileAudit`] and [`MemoryAudit`].
#[async_trait]
pub trait AuditLog: fmt::Debug + Send + Sync + 'static {
    /// Writes an entry. Returns once it is kept as safely as the log can.
    ///
    /// # Errors
    /// When the entry may be lost. What it was to record then does not happen.
    async fn append(&self, entry: &AuditEntry) -> Result<(), AuditError>;
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

fn to_line(entry: &AuditEntry) -> Result<String, AuditError> {
    serde_json::to_string(entry).map_err(|error| AuditError::new(error.into()))
}

/// Writes audit entries into the program's log, at level info and target `audit`. They are as safe as that log: one
/// that filters them out loses them, and nobody notices.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct TracingAudit;

impl TracingAudit {
    /// An audit log in the program's log.
    #[must_use]
    pub const fn new() -> Self {
        Self
    }
}

#[async_trait]
impl AuditLog for TracingAudit {
    async fn append(&self, entry: &AuditEntry) -> Result<(), AuditError> {
        let line = to_line(entry)?;
        tracing::info!(target: "audit", "{line}");
        Ok(())
    }
}

/// Appends audit entries to a file, as JSON lines, each on the disk before `append` returns (`fdatasync`).
#[derive(Debug, Clone)]
pub struct FileAudit {
    path: PathBuf,
    state: Arc<Mutex<FileState>>,
}

#[derive(Debug)]
struct FileState {
    file: File,
    // a write that failed half-way left a piece of a line behind
    torn: bool,
}

impl FileAudit {
    /// Opens the file for appending; creates it readable and writable by its owner alone.
    ///
    /// # Errors
    /// When the file can't be opened.
    pub fn open(path: impl Into<PathBuf>) -> std::io::Result<Self> {
        let path = path.into();
        let mut options = OpenOptions::new();
        options.append(true).read(true).create(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&path)?;
        let torn = !ends_with_newline(&mut file)?;
        Ok(Self { path, state: Arc::new(Mutex::new(FileState { file, torn })) })
    }

    /// Where the entries go.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn ends_with_newline(file: &mut File) -> std::io::Result<bool> {
    use std::io::{Read as _, Seek as _, SeekFrom};
    if file.metadata()?.len() == 0 {
        return Ok(true);
    }
    let mut last = [0_u8];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

#[async_trait]
impl AuditLog for FileAudit {
    async fn append(&self, entry: &AuditEntry) -> Result<(), AuditError> {
        let mut line = to_line(entry)?;
        line.push('\n');
        let state = Arc::clone(&self.state);
        let written = tokio::task::spawn_blocking(move || {
            let mut state = lock(&state);
            if state.torn {
                state.file.write_all(b"\n")?;
            }
            state.torn = true;
            state.file.write_all(line.as_bytes())?;
            state.torn = false;
            state.file.sync_data()
        });
        written.await.map_err(std::io::Error::other)??;
        Ok(())
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

    /// From now on entries of this event are lost; none are with `None`.
    pub fn fail_on(&self, event: Option<AuditEvent>) {
        lock(&self.state).fail_on = event;
    }
}

#[async_trait]
impl AuditLog for MemoryAudit {
    async fn append(&self, entry: &AuditEntry) -> Result<(), AuditError> {
        let mut state = lock(&self.state);
        if state.fail_on == Some(entry.event) {
            return Err(std::io::Error::other("told to fail").into());
        }
        state.entries.push(entry.clone());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> AuditEntry {
        AuditEntry {
            at: SystemTime::UNIX_EPOCH,
            event: AuditEvent::Released,
            request_id: "4f2a91c0".to_owned().into(),
            requester: Requester::with_key("build-vm-3", true).at("10.0.0.7"),
            items: vec![AuditItem {
                vault_id: "v".into(),
                vault: "infra".into(),
                item_id: "i".into(),
                title: "two\nlines".into(),
                fields: vec!["password".into()],
            }],
            intended_use: Some(Use::any_command()),
            by: Some("Ann".into()),
        }
    }

    #[tokio::test]
    async fn file_holds_one_line_an_entry_and_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        for _ in 0..2 {
            FileAudit::open(&path).unwrap().append(&entry()).await.unwrap();
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let expected = r#"{"at":"1970-01-01T00:00:00.000Z","event":"released","request_id":"4f2a91c0","requester":{"key":"build-vm-3","broker":true,"address":"10.0.0.7"},"items":[{"vault_id":"v","vault":"infra","item_id":"i","title":"two\nlines","fields":["password"]}],"use":{"exec":"any"},"by":"Ann"}"#;
        assert_eq!(text.lines().collect::<Vec<_>>(), [expected, expected]);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    #[tokio::test]
    async fn half_a_line_does_not_swallow_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        std::fs::write(&path, "{\"at\":").unwrap();
        FileAudit::open(&path).unwrap().append(&entry()).await.unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 2);
        assert!(serde_json::from_str::<serde_json::Value>(text.lines().nth(1).unwrap()).is_ok());
    }
}
