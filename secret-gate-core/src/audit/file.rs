//! The audit log in a file: appended to, kept, recovered, continued.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;
use serde::Serialize;

use super::chain::{AuditAnchor, Head, LineHash, Note};
use super::tail::Tail;
use super::{AuditEntry, AuditError, AuditLog, rfc3339};
use crate::sync::lock;

/// How long another process may hold the file's lock before an entry counts as lost.
const LOCK_PATIENCE: Duration = Duration::from_secs(5);

/// Appends audit entries to a file, as JSON lines, each on the disk before `append` returns (`fdatasync`).
///
/// The file is created readable and writable by its owner alone, and made so where it is not. Each line carries its
/// number (`n`) and the SHA-256 of the line before it (`prev`), so that a later change shows; see [`verify`](super::verify).
/// Half a line that a crash left behind is kept, and the next line notes it. A file that was renamed away is continued in
/// a new one; [`rotate`](super::rotate) does that in a way that survives a restart. Several processes can share a file.
///
/// ```
/// use std::sync::Arc;
/// use secret_gate_core::audit::{self, FileAudit};
/// use secret_gate_core::{DenyAll, Gate, MemoryBackend};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("audit.jsonl");
/// let log = FileAudit::open(&path)?;
/// let gate = Gate::builder(Arc::new(MemoryBackend::new()), Arc::new(DenyAll)).audit(Arc::new(log)).build();
/// // … and whenever you want to know whether it is whole:
/// let verified = audit::verify(&[path], &[])?;
/// assert_eq!(verified.lines, 0);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct FileAudit {
    path: PathBuf,
    opened: Arc<Mutex<Opened>>,
}

impl FileAudit {
    /// Opens the file for appending, creates it where there is none, and notes what a crash left behind in it.
    ///
    /// # Errors
    /// When the file can't be opened or written, is no regular file, holds something else than an audit log, or is held
    /// locked by another process for five seconds.
    pub fn open(path: impl Into<PathBuf>) -> io::Result<Self> {
        let path = path.into();
        let mut opened = Opened::at(&path, true)?;
        opened.append(&path, None)?;
        Ok(Self { path, opened: Arc::new(Mutex::new(opened)) })
    }

    /// Where the entries go.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

#[async_trait]
impl AuditLog for FileAudit {
    async fn append(&self, entry: &AuditEntry) -> Result<Option<AuditAnchor>, AuditError> {
        let (opened, path, entry) = (Arc::clone(&self.opened), self.path.clone(), entry.clone());
        let written = tokio::task::spawn_blocking(move || lock(&opened).append(&path, Some(&entry)));
        let head = written.await.map_err(io::Error::other)??;
        Ok(Some(head.anchor()))
    }
}

/// The file, and how far we know it.
#[derive(Debug)]
pub(super) struct Opened {
    file: File,
    head: Head,
    /// Its length when we last wrote; `None` where something may have come since, or may be left of a failure.
    known: Option<u64>,
    /// What the head would have become by an entry that may be lost.
    failed: Option<Head>,
}

impl Opened {
    pub(super) fn at(path: &Path, create: bool) -> io::Result<Self> {
        Ok(Self { file: open_private(path, create)?, head: Head::default(), known: None, failed: None })
    }

    pub(super) const fn file(&self) -> &File {
        &self.file
    }

    /// Appends notes that are due, and the entry; returns the head with it.
    fn append(&mut self, path: &Path, entry: Option<&AuditEntry>) -> io::Result<Head> {
        self.lock(path)?;
        let written = self.write(entry);
        // closing it would do the same
        self.file.unlock().ok();
        written
    }

    /// Makes sure that the file is the one at `path`, and locks it.
    pub(super) fn lock(&mut self, path: &Path) -> io::Result<()> {
        for _ in 0..10 {
            lock_in_time(&self.file)?;
            if is_at(&self.file, path)? {
                return Ok(());
            }
            // renamed away: the chain goes on in a new file
            self.file = open_private(path, true)?;
            self.known = None;
        }
        Err(io::Error::other("the file is replaced again and again"))
    }

    /// Writes in one piece, so that a crash leaves at most one torn line behind. The file must be locked.
    pub(super) fn write(&mut self, entry: Option<&AuditEntry>) -> io::Result<Head> {
        let (len, mut lines) = self.catch_up()?;
        if let Some(entry) = entry {
            lines.push(entry)?;
        }
        if !lines.text.is_empty() {
            self.known = None;
            self.failed = entry.map(|_| lines.head);
            self.file.write_all(lines.text.as_bytes())?;
            self.file.sync_data()?;
        }
        self.failed = None;
        self.head = lines.head;
        self.known = Some(len + lines.text.len() as u64);
        Ok(self.head)
    }

    /// The file's length, and the notes that are due before anything else is written.
    fn catch_up(&mut self) -> io::Result<(u64, Lines)> {
        let len = self.file.metadata()?.len();
        let mut lines = Lines { head: self.head, text: String::new() };
        if self.known == Some(len) {
            return Ok((len, lines));
        }
        if len == 0 {
            if self.head.position > 0 {
                lines.note(Note::Continued { after: None })?;
            }
            return Ok((len, lines));
        }
        let Tail { head, unended, torn } = Tail::read(&mut self.file, len)?;
        if head.position < self.head.position {
            // Going on from what we know shows the gap to whoever verifies.
            tracing::error!(from = head.position + 1, to = self.head.position, "lines were cut off the audit log");
        } else {
            lines.head = head;
        }
        if unended {
            lines.text.push('\n');
        }
        if let Some((torn_bytes, torn_sha256)) = torn.map(|torn| lines.close(&torn)) {
            tracing::warn!(torn_bytes, "the audit log ends in half a line; noting it");
            lines.note(Note::Recovered { torn_bytes, torn_sha256 })?;
        }
        if self.failed == Some(head) {
            lines.note(Note::Void { line: head.position })?;
        }
        Ok((len, lines))
    }
}

/// Lines to be written.
#[derive(Debug)]
struct Lines {
    head: Head,
    text: String,
}

impl Lines {
    fn push(&mut self, body: &impl Serialize) -> io::Result<()> {
        let (line, head) = self.head.next(body)?;
        self.text.push_str(&line);
        self.text.push('\n');
        self.head = head;
        Ok(())
    }

    fn note(&mut self, note: Note) -> io::Result<()> {
        #[derive(Serialize)]
        struct Noted {
            #[serde(serialize_with = "rfc3339")]
            at: SystemTime,
            #[serde(flatten)]
            note: Note,
        }
        self.push(&Noted { at: SystemTime::now(), note })
    }

    /// Ends the line of these bytes; returns their length and hash with its end.
    fn close(&mut self, torn: &[u8]) -> (u64, LineHash) {
        if torn.ends_with(b"\n") {
            return (torn.len() as u64, LineHash::of(torn));
        }
        self.text.push('\n');
        let closed = [torn, b"\n"].concat();
        (closed.len() as u64, LineHash::of(&closed))
    }
}

/// The first line of a file that continues this one.
pub(super) fn continuation(head: Head, after: String) -> io::Result<String> {
    let mut lines = Lines { head, text: String::new() };
    lines.note(Note::Continued { after: Some(after) })?;
    Ok(lines.text)
}

pub(super) fn open_private(path: &Path, create: bool) -> io::Result<File> {
    // opening a pipe would wait for its other end
    if path.metadata().is_ok_and(|metadata| !metadata.is_file()) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    let mut options = OpenOptions::new();
    options.append(true).read(true).create(create);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        if file.metadata()?.permissions().mode() & 0o177 != 0 {
            file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
        }
    }
    sync_folder(path)?;
    Ok(file)
}

/// Keeps what was created or renamed in the folder of `path`.
pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

fn lock_in_time(file: &File) -> io::Result<()> {
    let started = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) if started.elapsed() < LOCK_PATIENCE => {
                // there is no lock with a time-out to wait for
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(TryLockError::WouldBlock) => {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "another process holds it locked"));
            }
            // a file system without locks: whoever shares a file there is on their own
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => return Ok(()),
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
}

fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let there = match path.metadata() {
        Ok(there) => there,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        let ours = file.metadata()?;
        Ok((ours.dev(), ours.ino()) == (there.dev(), there.ino()))
    }
    #[cfg(not(unix))]
    {
        let _ = (file, there);
        Ok(true)
    }
}
