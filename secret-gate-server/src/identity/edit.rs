//! Changes to the file of the API keys, which a server may be reading at any moment.

use std::fs::{File, Metadata};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use tempfile::NamedTempFile;

use super::keys::{self, KeysError};

/// Why a keys file was not changed. It is as it was before.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EditError {
    /// It is not one that a server would use, and nothing is added to that.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// The name is not one to 64 of `A-Z a-z 0-9 . _ -`.
    #[error("a name is 1 to 64 characters of A-Z, a-z, 0-9, dot, dash and underscore")]
    Name,
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
/// [`EditError::Name`] for a name that would not be one word, or looks like something else.
pub fn key_line(name: &str, key: &str, broker: bool) -> Result<String, EditError> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if !(1..=64).contains(&name.len()) || !name.bytes().all(fits) {
        return Err(EditError::Name);
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
    // where a link leads: it shall stay one
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    };
    // the folder's lock and not the file's, which is another file after each change
    let lock = File::open(&folder).map_err(EditError::Unwritable)?;
    lock.lock().map_err(EditError::Unwritable)?;
    let (before, text) = match keys::read(&path) {
        Ok((metadata, text)) => (Some(metadata), text),
        Err(KeysError::Unreadable(error)) if error.kind() == ErrorKind::NotFound => (None, String::new()),
        Err(error) => return Err(error.into()),
    };
    let text = change(&text)?;
    replace(&path, &folder, &text, before.as_ref()).map_err(EditError::Unwritable)
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
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        let now = file.metadata()?;
        if (now.uid(), now.gid()) != (before.uid(), before.gid()) {
            std::os::unix::fs::fchown(file, Some(before.uid()), Some(before.gid()))?;
        }
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
        let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
        assert_eq!(left.len(), 1, "{left:?}");
    }

    #[test]
    fn names_that_are_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        for bad in ["", "two words", "#x", "a\nb", "naïve", "a/b", &"x".repeat(65)] {
            assert!(matches!(add_key(&path, bad, "k", false), Err(EditError::Name)), "{bad}");
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

    #[cfg(unix)]
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
