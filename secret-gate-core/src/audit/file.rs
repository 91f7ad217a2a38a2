//! The audit log in a file: appended to, kept, recovered, continued.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;
use serde::Serialize;

use super::chain::{AuditAnchor, Head, LineHash, MAX_LINE, Note};
use super::tail::Tail;
use super::{AuditEntry, AuditError, AuditLog, rfc3339};
use crate::sync::lock;

/// How long another process may hold the file's lock before an entry counts as lost.
const LOCK_PATIENCE: Duration = Duration::from_secs(5);

/// How long after that nobody waits for the lock at all.
const LOCKED_OUT: Duration = Duration::from_secs(10);

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
    /// What the head would have become by entries that were refused since. One of them may stand in the file whole.
    refused: Vec<Head>,
    /// When the lock could not be had last.
    locked_out: Option<Instant>,
}

impl Opened {
    pub(super) fn at(path: &Path, create: bool) -> io::Result<Self> {
        let file = open_private(path, create)?;
        Ok(Self { file, head: Head::default(), known: None, refused: Vec::new(), locked_out: None })
    }

    pub(super) const fn file(&self) -> &File {
        &self.file
    }

    /// As a write does that fails after its line got there; returns the line.
    #[cfg(test)]
    pub(super) fn refuse(&mut self, entry: &AuditEntry) -> String {
        let head = if self.head == Head::default() { self.write(None).unwrap() } else { self.head };
        let (line, next) = head.next(entry).unwrap();
        self.refused.push(next);
        self.known = None;
        line
    }

    /// Appends notes that are due, and the entry; returns the head with it.
    pub(super) fn append(&mut self, path: &Path, entry: Option<&AuditEntry>) -> io::Result<Head> {
        self.lock(path)?;
        let written = self.write(entry);
        // closing it would do the same
        self.file.unlock().ok();
        written
    }

    /// Makes sure that the file is the one at `path`, and locks it.
    pub(super) fn lock(&mut self, path: &Path) -> io::Result<()> {
        for _ in 0..10 {
            self.lock_in_time()?;
            if is_at(&self.file, path)? {
                return Ok(());
            }
            // renamed away: the chain goes on in a new file
            self.file = open_private(path, true)?;
            self.known = None;
        }
        Err(io::Error::other("the file is replaced again and again"))
    }

    fn lock_in_time(&mut self) -> io::Result<()> {
        let started = Instant::now();
        // others who waited behind one who was locked out do not wait all that time again
        let is_patient = self.locked_out.is_none_or(|at| at.elapsed() > LOCKED_OUT);
        loop {
            match self.file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if is_patient && started.elapsed() < LOCK_PATIENCE => {
                    // there is no lock with a time-out to wait for
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err(TryLockError::WouldBlock) => {
                    self.locked_out = Some(Instant::now());
                    return Err(io::Error::new(io::ErrorKind::TimedOut, "another process holds it locked"));
                }
                // a file system without locks: whoever shares a file there is on their own
                Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => break,
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
        self.locked_out = None;
        Ok(())
    }

    /// Writes in one piece, so that a crash leaves at most one torn line behind. The file must be locked.
    pub(super) fn write(&mut self, entry: Option<&AuditEntry>) -> io::Result<Head> {
        let (len, mut lines) = self.catch_up()?;
        if let Some(entry) = entry {
            lines.push(entry)?;
        }
        if !lines.text.is_empty()
            && let Err(error) = self.append_and_keep(&lines)
        {
            self.known = None;
            self.refused.push(lines.head);
            // What was refused goes as long as it can be told from what comes next. Where that fails as well, the next
            // line says so.
            self.file.set_len(len).and_then(|()| self.file.sync_data()).ok();
            return Err(error);
        }
        self.refused.clear();
        self.head = lines.head;
        self.known = Some(len + lines.text.len() as u64);
        Ok(self.head)
    }

    fn append_and_keep(&mut self, lines: &Lines) -> io::Result<()> {
        self.file.write_all(lines.text.as_bytes())?;
        self.file.sync_data()
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
        let tail = match self.known {
            // what others wrote since counts as far as it hangs on what we know
            Some(known) if known < len => Tail::behind(&mut self.file, self.head, known, len)?,
            // ours was cut off, or its end is another one
            Some(_) => None,
            None => Some(Tail::read(&mut self.file, len)?).filter(|tail| tail.head.position >= self.head.position),
        };
        let Some(Tail { head, unended, torn }) = tail else {
            // going on from what we know shows it to whoever verifies
            tracing::error!(line = self.head.position, "the end of the audit log was changed or cut off");
            return Ok((len, lines));
        };
        lines.head = head;
        if unended {
            lines.text.push('\n');
        }
        if let Some((torn_bytes, torn_sha256)) = torn.map(|torn| lines.close(&torn)) {
            tracing::warn!(torn_bytes, "the audit log ends in half a line; noting it");
            lines.note(Note::Recovered { torn_bytes, torn_sha256 })?;
        }
        if self.refused.contains(&head) {
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
        if line.len() >= MAX_LINE {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the entry is too long for a line"));
        }
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
    let refuse = |problem| Err(io::Error::new(io::ErrorKind::InvalidInput, problem));
    // opening a pipe would wait for its other end
    match path.metadata() {
        Ok(metadata) if !metadata.is_file() => return refuse("it is not a regular file"),
        Err(_) if path.is_symlink() => return refuse("it is a link that leads nowhere"),
        _ => {}
    }
    let mut options = OpenOptions::new();
    options.append(true).read(true).create(create);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    let metadata = file.metadata()?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
        if folder_of(path).metadata()?.mode() & 0o1002 == 0o002 {
            return refuse("everybody can write to its folder");
        }
        if metadata.len() > 0 {
            // before anything about the file is changed
            Tail::read(&mut file, metadata.len())?;
        }
        if metadata.permissions().mode() & 0o177 != 0 {
            // fails where the file belongs to another user
            file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
        }
    }
    sync_folder(path)?;
    Ok(file)
}

/// Keeps what was created or renamed in the folder of `path`.
pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(folder_of(path))?.sync_all() } else { Ok(()) }
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
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
