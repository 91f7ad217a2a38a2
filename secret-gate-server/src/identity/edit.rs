//! Changes to the file of the API keys, which a server may be reading at any moment.

use std::fs::{File, Metadata, TryLockError};
use std::io::{ErrorKind, Write as _};
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};
use tempfile::NamedTempFile;

use super::access;
use super::keys::{self, KeysError};

/// How long one change waits for another.
const LOCK_WAIT: Duration = Duration::from_secs(5);

/// Between attempts to lock.
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// Why a keys file was not changed. It is as it was before.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EditError {
    /// It is not one that a server would use, and nothing is added to that.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// The name is not one to 64 of `A-Z a-z 0-9 . _ -`, or begins with a dot or dash.
    #[error("a name is 1 to 64 characters of A-Z, a-z, 0-9, dot, dash and underscore, and begins with none of - and .")]
    Name,
    /// In a message the name would read like something else.
    #[error(
        "approval messages show who has no key as \"unauthenticated\", with an address, and a name must not look like it"
    )]
    Misleading,
    /// There is a link to a file that is not there.
    #[error("it is a link to a file that is not there")]
    DanglingLink,
    /// Somebody else has been changing it all the time.
    #[error("somebody else has held its lock ({}) for {} s", .lock.display(), LOCK_WAIT.as_secs())]
    #[non_exhaustive]
    Locked {
        /// The file that is locked.
        lock: PathBuf,
    },
    /// There is a key of this name.
    #[error("line {line} has a key of this name")]
    #[non_exhaustive]
    Taken {
        /// Where, counting from 1.
        line: usize,
    },
    /// There is no key of this name.
    #[error("there is no key of this name")]
    Unknown,
    /// It can't be written.
    #[error("it can't be written: {0}")]
    Unwritable(#[source] std::io::Error),
}

/// The line that lets the holder of `key` in under this name.
///
/// # Errors
/// [`EditError::Name`] for a name that would not be one word or reads like an option, [`EditError::Misleading`] for one
/// that in a message would read like no key at all.
pub fn key_line(name: &str, key: &str, broker: bool) -> Result<String, EditError> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if !(1..=64).contains(&name.len()) || !name.bytes().all(fits) || name.starts_with(['-', '.']) {
        return Err(EditError::Name);
    }
    if name.eq_ignore_ascii_case("unauthenticated") || name.parse::<IpAddr>().is_ok() {
        return Err(EditError::Misleading);
    }
    let broker = if broker { " broker" } else { "" };
    Ok(format!("{name} {}{broker}", hex::encode(Sha256::digest(key))))
}

/// Lets the holder of `key` in under this name: appends a line, keeps the rest as it is. A file that is not there is
/// made, for its owner alone.
///
/// # Errors
/// When the name is none or taken, or the file can't be used or written; it is unchanged then.
pub fn add_key(path: &Path, name: &str, key: &str, broker: bool) -> Result<(), EditError> {
    let line = key_line(name, key, broker)?;
    edit(path, |text| {
        let keys = keys::parse(text)?;
        if let Some(taken) = keys.iter().find(|key| key.name == name) {
            return Err(EditError::Taken { line: taken.line });
        }
        let gap = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
        Ok(format!("{text}{gap}{line}\n"))
    })
}

/// Removes the key of this name: exactly its line.
///
/// # Errors
/// When there is none, or the file can't be used or written; it is unchanged then.
pub fn remove_key(path: &Path, name: &str) -> Result<(), EditError> {
    edit(path, |text| {
        let keys = keys::parse(text)?;
        let gone = keys.iter().find(|key| key.name == name).ok_or(EditError::Unknown)?.line;
        let lines = text.split_inclusive('\n').enumerate();
        Ok(lines.filter(|(at, _)| at + 1 != gone).map(|(_, line)| line).collect())
    })
}

/// Replaces the file's text at one stroke, one writer after the other.
fn edit(path: &Path, change: impl FnOnce(&str) -> Result<String, EditError>) -> Result<(), EditError> {
    match access::check_folders(path) {
        Err(KeysError::Unreadable(error)) => return Err(EditError::Unwritable(error)),
        checked => checked?,
    }
    let path = end_of_links(path)?;
    let folder = access::folder(&path);
    let _lock = lock(&path)?;
    let (before, text) = match keys::read(&path) {
        Ok((metadata, text)) => (Some(metadata), text),
        Err(KeysError::Unreadable(error)) if error.kind() == ErrorKind::NotFound => (None, String::new()),
        Err(error) => return Err(error.into()),
    };
    let text = change(&text)?;
    replace(&path, &folder, &text, before.as_ref()).map_err(EditError::Unwritable)
}

/// Where a link leads, so that it stays one.
fn end_of_links(path: &Path) -> Result<PathBuf, EditError> {
    match path.canonicalize() {
        Ok(path) => Ok(path),
        Err(error) if error.kind() != ErrorKind::NotFound => Err(EditError::Unwritable(error)),
        Err(_) if path.is_symlink() => Err(EditError::DanglingLink),
        Err(_) => Ok(path.to_owned()),
    }
}

/// The turn to change the file, until the lock is dropped. It is a file of its own beside it, which stays: the keys are
/// in another file after each change, and whoever can read the folder could lock that for ever.
fn lock(path: &Path) -> Result<File, EditError> {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".lock");
    let at = path.with_file_name(name);
    let lock = access::private(&at).map_err(EditError::Unwritable)?;
    let began = Instant::now();
    loop {
        match lock.try_lock() {
            Ok(()) => return Ok(lock),
            Err(TryLockError::Error(error)) => return Err(EditError::Unwritable(error)),
            Err(TryLockError::WouldBlock) if began.elapsed() >= LOCK_WAIT => {
                return Err(EditError::Locked { lock: at });
            }
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_PAUSE),
        }
    }
}

fn replace(path: &Path, folder: &Path, text: &str, before: Option<&Metadata>) -> std::io::Result<()> {
    let mut file = NamedTempFile::new_in(folder)?;
    file.write_all(text.as_bytes())?;
    if let Some(before) = before {
        keep_access(file.as_file(), before)?;
    }
    file.as_file().sync_all()?;
    file.persist(path)?;
    File::open(folder)?.sync_all()
}

/// Whoever could read it can go on: the server may run as another user than the operator.
fn keep_access(file: &File, before: &Metadata) -> std::io::Result<()> {
    let now = file.metadata()?;
    if (now.uid(), now.gid()) != (before.uid(), before.gid()) {
        std::os::unix::fs::fchown(file, Some(before.uid()), Some(before.gid()))?;
    }
    file.set_permissions(before.permissions())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::KeysFile;

    fn names(path: &Path) -> Vec<(String, bool)> {
        KeysFile::open(path).unwrap().names()
    }

    #[test]
    fn a_line_comes_and_goes_and_the_rest_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        add_key(&path, "ci", "k1", false).unwrap();
        let first = std::fs::read_to_string(&path).unwrap();
        // an editor that writes no last line break, and one that writes others
        let written = format!("# ours\r\n\n{}", first.trim_end());
        std::fs::write(&path, &written).unwrap();
        add_key(&path, "vm.2_x-y", "k2", true).unwrap();
        assert_eq!(names(&path), [("ci".to_owned(), false), ("vm.2_x-y".to_owned(), true)]);
        assert!(matches!(add_key(&path, "ci", "k3", false), Err(EditError::Taken { line: 3 })));
        assert!(matches!(remove_key(&path, "c"), Err(EditError::Unknown)));
        remove_key(&path, "vm.2_x-y").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("{written}\n"));
        remove_key(&path, "ci").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "# ours\r\n\n");
        let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left.len(), 2, "the keys and their lock: {left:?}");
    }

    #[test]
    fn names_that_are_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        for bad in ["", "two words", "#x", "a\nb", "naïve", "a/b", "-x", "--file", ".", ".keys", &"x".repeat(65)] {
            assert!(matches!(add_key(&path, bad, "k", false), Err(EditError::Name)), "{bad}");
        }
        for bad in ["unauthenticated", "Unauthenticated", "UNAUTHENTICATED", "203.0.113.9", "127.0.0.1"] {
            assert!(matches!(add_key(&path, bad, "k", false), Err(EditError::Misleading)), "{bad}");
        }
        assert!(!path.exists());
        add_key(&path, &"x".repeat(64), "k", false).unwrap();
    }

    #[test]
    fn what_a_server_would_refuse_is_not_touched() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        for bad in ["nonsense\n".as_bytes(), b"\xff\xfe"] {
            std::fs::write(&path, bad).unwrap();
            assert!(matches!(add_key(&path, "ci", "k", false), Err(EditError::Keys(_))));
            assert!(matches!(remove_key(&path, "nonsense"), Err(EditError::Keys(_))));
            assert_eq!(std::fs::read(&path).unwrap(), bad);
        }
        assert!(matches!(add_key(&folder.path().join("no/keys"), "ci", "k", false), Err(EditError::Unwritable(_))));
    }

    #[test]
    fn a_link_that_leads_nowhere_stays() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(folder.path().join("gone"), &link).unwrap();
        assert!(matches!(add_key(&link, "ci", "k", false), Err(EditError::DanglingLink)));
        assert!(link.is_symlink() && !link.exists());
        assert!(matches!(remove_key(&link, "ci"), Err(EditError::DanglingLink)));
    }

    #[test]
    fn who_can_read_the_folder_does_not_hold_up_a_change() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        add_key(&path, "ci", "k", false).unwrap();
        let lock = folder.path().join(".keys.lock");
        assert_eq!(std::fs::metadata(&lock).unwrap().permissions().mode() & 0o777, 0o600, "others can't open it");
        let (theirs, keys) = (File::open(folder.path()).unwrap(), File::open(&path).unwrap());
        theirs.lock_shared().unwrap();
        keys.lock_shared().unwrap();
        let (done, waiting) = std::sync::mpsc::channel();
        let at = path.clone();
        std::thread::spawn(move || done.send(remove_key(&at, "ci").is_ok()));
        assert_eq!(waiting.recv_timeout(Duration::from_secs(10)), Ok(true));

        // and who does have the turn is not waited for without end
        let ours = File::open(&lock).unwrap();
        ours.lock().unwrap();
        assert!(matches!(add_key(&path, "vm", "k", false), Err(EditError::Locked { lock: at }) if at == lock));
        drop(ours);
        add_key(&path, "vm", "k", false).unwrap();
    }

    #[test]
    fn a_lock_that_others_put_there_is_not_taken() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let (path, lock) = (folder.path().join("keys"), folder.path().join(".keys.lock"));
        let refused = || {
            let error = add_key(&path, "ci", "k", false).unwrap_err();
            assert!(matches!(error, EditError::Unwritable(_)) && !path.exists(), "{error}");
        };
        let victim = folder.path().join("victim");
        std::os::unix::fs::symlink(&victim, &lock).unwrap();
        refused();
        assert!(!victim.exists(), "nothing is made through a link");
        std::fs::remove_file(&lock).unwrap();
        std::fs::write(&lock, "").unwrap();
        std::fs::set_permissions(&lock, std::fs::Permissions::from_mode(0o666)).unwrap();
        refused();
        std::fs::remove_file(&lock).unwrap();
        add_key(&path, "ci", "k", false).unwrap();
    }

    #[test]
    fn who_may_read_it_stays_and_so_does_a_link() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let (path, link) = (folder.path().join("keys"), folder.path().join("link"));
        let mode = || std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        add_key(&path, "ci", "k1", false).unwrap();
        assert_eq!(mode(), 0o600);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        std::os::unix::fs::symlink("keys", &link).unwrap();
        add_key(&link, "vm", "k2", false).unwrap();
        assert_eq!(mode(), 0o644);
        assert!(link.is_symlink());
        assert_eq!(names(&path).len(), 2);
    }
}
