//! The file of the API keys that may ask: reading it, and following it while the server runs.

use std::collections::HashMap;
use std::fs::Metadata;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::access;

/// The longest file that is read, in bytes; room for some ten thousand keys.
const LONGEST_FILE: u64 = 1024 * 1024;

/// A file of lines `name sha256-of-key [broker]`, read again whenever it changes.
///
/// A file that can't be read or understood lets nobody in until it is mended, so that a slip of the pen never brings a
/// revoked key back. Nor does one that others may write or replace, it or its folder: whoever can add a line can let
/// themselves in.
#[derive(Debug)]
pub struct KeysFile {
    path: PathBuf,
    loaded: Mutex<Loaded>,
}

#[derive(Debug)]
struct Loaded {
    stamp: Option<Stamp>,
    keys: Arc<[Key]>,
    /// As of the last time that the file could be understood.
    known: Arc<[Key]>,
    /// Names of keys that were known and are no more.
    revoked: Vec<String>,
}

/// What tells one state of the file from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    len: u64,
    /// Moves with each change, and can't be set back as the time of modification can.
    changed: (i64, i64),
    inode: u64,
    mode: u32,
}

/// A key as the file has it; the key itself is not in there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) name: String,
    pub(super) sha256: [u8; 32],
    pub(super) broker: bool,
    /// Where in the file, counting from 1.
    pub(super) line: usize,
}

/// Why a keys file can't be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeysError {
    /// It can't be read.
    #[error("{0}")]
    Unreadable(#[from] std::io::Error),
    /// A line is not of the form `name sha256-of-key [broker]`.
    #[error("line {line} is not of the form: name sha256-of-key [broker]")]
    #[non_exhaustive]
    Line {
        /// Which, counting from 1.
        line: usize,
    },
    /// A line has what an earlier line has already, so that one of them means something else than it says.
    #[error("line {line} has the same {what} as line {earlier}")]
    #[non_exhaustive]
    Twice {
        /// The later one, counting from 1.
        line: usize,
        /// The earlier one.
        earlier: usize,
        /// `name` or `hash`.
        what: &'static str,
    },
    /// The group or everybody may write it.
    #[error("others may write it (its mode is {mode:03o}), and so let themselves in")]
    #[non_exhaustive]
    WritableByOthers {
        /// Its permission bits.
        mode: u32,
    },
    /// It belongs neither to root nor to the user of this process.
    #[error("it belongs to another user (uid {uid}), who can let themselves in")]
    #[non_exhaustive]
    OtherOwner {
        /// Whose it is.
        uid: u32,
    },
    /// Somebody else can put another file in its place.
    #[error(
        "others may write its folder {} (uid {uid}, its mode is {mode:03o}), and so put another file in its place",
        .folder.display()
    )]
    #[non_exhaustive]
    FolderOfOthers {
        /// The folder, of the file or of a link that leads to it.
        folder: PathBuf,
        /// Whose it is.
        uid: u32,
        /// Its permission bits.
        mode: u32,
    },
    /// It is a folder, a pipe or a device.
    #[error("it is not a regular file")]
    NotAFile,
    /// It is longer than 1 MiB.
    #[error("it is longer than 1 MiB")]
    TooLong,
}

impl KeysFile {
    /// Reads the file.
    ///
    /// # Errors
    /// When it can't be read or understood, or others may write it.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, KeysError> {
        let path = path.into();
        let (stamp, keys) = load(&path)?;
        let known = Arc::clone(&keys);
        Ok(Self { path, loaded: Mutex::new(Loaded { stamp: Some(stamp), keys, known, revoked: Vec::new() }) })
    }

    /// The name of each key as the file is now, in its order, and whether its holder is a broker. None when it can't be
    /// used.
    pub fn names(&self) -> Vec<(String, bool)> {
        self.current().iter().map(|key| (key.name.clone(), key.broker)).collect()
    }

    pub(super) fn find(&self, presented: &str) -> Option<Key> {
        let digest: [u8; 32] = Sha256::digest(presented.as_bytes()).into();
        let mut found = None;
        // every key is compared, so that the time tells nothing of which one matched
        for key in self.current().iter() {
            if bool::from(key.sha256.ct_eq(&digest)) {
                found = Some(key.clone());
            }
        }
        found
    }

    /// The names of keys that were taken out of the file since the last call, or replaced, or that are vouched for no
    /// more. A file that can't be understood tells nothing of that until it is mended.
    pub(super) fn revoked(&self) -> Vec<String> {
        self.current();
        std::mem::take(&mut self.loaded.lock().unwrap_or_else(PoisonError::into_inner).revoked)
    }

    fn current(&self) -> Arc<[Key]> {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let stamp = std::fs::metadata(&self.path).ok().map(|metadata| stamp(&metadata));
        if stamp != loaded.stamp {
            match load(&self.path) {
                Ok((stamp, keys)) => {
                    tracing::info!(path = %self.path.display(), keys = keys.len(), "read the API keys again");
                    let known = std::mem::replace(&mut loaded.known, Arc::clone(&keys));
                    let gone = known.iter().filter(|was| !keys.iter().any(|key| key.stands_for(was)));
                    loaded.revoked.extend(gone.map(|key| key.name.clone()));
                    (loaded.stamp, loaded.keys) = (Some(stamp), keys);
                }
                Err(error) => {
                    tracing::error!(path = %self.path.display(), %error, "the API keys can't be read; nobody is let in until they can");
                    // until it changes: neither the disk nor the log is at the mercy of who asks
                    (loaded.stamp, loaded.keys) = (stamp, Arc::default());
                }
            }
        }
        Arc::clone(&loaded.keys)
    }
}

impl Key {
    /// Whether whoever asked with the earlier key may still ask with this one, and says no more of itself.
    fn stands_for(&self, was: &Self) -> bool {
        self.name == was.name && self.sha256 == was.sha256 && (self.broker || !was.broker)
    }
}

fn stamp(metadata: &Metadata) -> Stamp {
    Stamp {
        modified: metadata.modified().ok(),
        len: metadata.len(),
        changed: (metadata.ctime(), metadata.ctime_nsec()),
        inode: metadata.ino(),
        mode: metadata.mode(),
    }
}

fn load(path: &Path) -> Result<(Stamp, Arc<[Key]>), KeysError> {
    let (metadata, text) = read(path)?;
    Ok((stamp(&metadata), parse(&text)?.into()))
}

/// Reads the file's text, and what it was before: a change in between is then seen as one the next time.
pub(super) fn read(path: &Path) -> Result<(Metadata, String), KeysError> {
    let (file, metadata) = access::open(path)?;
    let mut text = String::new();
    file.take(LONGEST_FILE + 1).read_to_string(&mut text)?;
    if text.len() as u64 > LONGEST_FILE { Err(KeysError::TooLong) } else { Ok((metadata, text)) }
}

/// The keys in a file's text; empty lines and those that begin with `#` say nothing.
pub(super) fn parse(text: &str) -> Result<Vec<Key>, KeysError> {
    let mut keys: Vec<Key> = Vec::new();
    let (mut names, mut hashes) = (HashMap::new(), HashMap::new());
    for (at, content) in text.lines().enumerate() {
        let line = at + 1;
        if content.trim().is_empty() || content.trim().starts_with('#') {
            continue;
        }
        let key = parse_line(content, line).ok_or(KeysError::Line { line })?;
        if let Some(earlier) = names.insert(key.name.clone(), line) {
            return Err(KeysError::Twice { line, earlier, what: "name" });
        }
        if let Some(earlier) = hashes.insert(key.sha256, line) {
            return Err(KeysError::Twice { line, earlier, what: "hash" });
        }
        keys.push(key);
    }
    Ok(keys)
}

fn parse_line(content: &str, line: usize) -> Option<Key> {
    let words: Vec<&str> = content.split_whitespace().collect();
    let (name, sha256, broker) = match words.as_slice() {
        [name, sha256] => (name, sha256, false),
        [name, sha256, "broker"] => (name, sha256, true),
        _ => return None,
    };
    let mut digest = [0_u8; 32];
    hex::decode_to_slice(sha256, &mut digest).ok()?;
    Some(Key { name: (*name).to_owned(), sha256: digest, broker, line })
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn line(name: &str, key: &str) -> String {
        format!("{name} {}\n", hex::encode(Sha256::digest(key)))
    }

    #[test]
    fn a_keys_file_that_says_nothing_clear_names_the_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        let twice = line("b", "k1").to_uppercase().replacen('B', "b", 1);
        for bad in ["name\n", "name zz\n", "name abcd broker\n", "a b c d\n", &line("ci", "k2"), &twice] {
            std::fs::write(&path, format!("{}{bad}", line("ci", "k1"))).unwrap();
            assert!(KeysFile::open(&path).unwrap_err().to_string().starts_with("line 2 "), "{bad}");
        }
        std::fs::write(&path, b"ci \xff\xfe\n").unwrap();
        assert!(matches!(KeysFile::open(&path), Err(KeysError::Unreadable(_))));
        std::fs::write(&path, "#".repeat(1024 * 1024 + 1)).unwrap();
        assert!(matches!(KeysFile::open(&path), Err(KeysError::TooLong)));
        std::fs::write(&path, "").unwrap();
        assert!(KeysFile::open(&path).unwrap().names().is_empty());
    }

    #[test]
    fn a_keys_file_that_others_may_write_lets_nobody_in() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        std::fs::write(&path, line("ci", "k1")).unwrap();
        let chmod = |mode| std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        chmod(0o644);
        let keys = KeysFile::open(&path).unwrap();
        assert!(keys.find("k1").is_some());
        for mode in [0o664, 0o646, 0o620] {
            chmod(mode);
            let error = KeysFile::open(&path).unwrap_err().to_string();
            assert!(error.contains(&format!("{mode:o}")), "{error}");
            assert!(keys.find("k1").is_none(), "noticed while it runs");
        }
        chmod(0o600);
        assert!(keys.find("k1").is_some());
    }

    fn written(folder: &Path) -> PathBuf {
        let path = folder.join("keys");
        std::fs::write(&path, line("ci", "k1")).unwrap();
        path
    }

    #[test]
    fn a_keys_file_that_others_may_replace_lets_nobody_in() {
        let folder = tempfile::tempdir().unwrap();
        let path = written(folder.path());
        let keys = KeysFile::open(&path).unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        let link = elsewhere.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let chmod = |folder: &Path, mode| std::fs::set_permissions(folder, Permissions::from_mode(mode)).unwrap();
        for mode in [0o777, 0o770, 0o702] {
            for open in [folder.path(), elsewhere.path()] {
                chmod(open, mode);
                let error = KeysFile::open(&link).unwrap_err().to_string();
                assert!(error.contains(&format!("{mode:o}")) && error.contains(open.to_str().unwrap()), "{error}");
                chmod(open, 0o700);
                KeysFile::open(&link).unwrap();
            }
        }
        // whoever moves another file in while it runs
        chmod(folder.path(), 0o777);
        std::fs::write(folder.path().join("theirs"), line("mallory", "k2")).unwrap();
        std::fs::rename(folder.path().join("theirs"), &path).unwrap();
        assert!(keys.find("k2").is_none() && keys.find("k1").is_none());
        // a sticky one is like /tmp
        chmod(folder.path(), 0o1777);
        KeysFile::open(&path).unwrap();
    }

    #[test]
    fn a_keys_file_or_folder_of_another_user_lets_nobody_in() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: only root can give a file away");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let path = written(folder.path());
        std::os::unix::fs::chown(&path, Some(65534), None).unwrap();
        assert!(matches!(KeysFile::open(&path), Err(KeysError::OtherOwner { uid: 65534 })));
        std::os::unix::fs::chown(&path, Some(0), None).unwrap();
        std::os::unix::fs::chown(folder.path(), Some(65534), None).unwrap();
        assert!(matches!(KeysFile::open(&path), Err(KeysError::FolderOfOthers { uid: 65534, .. })));
    }

    #[test]
    fn nothing_but_a_file_is_read_and_nobody_waits_for_a_pipe() {
        let folder = tempfile::tempdir().unwrap();
        let path = written(folder.path());
        let keys = KeysFile::open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let made = std::process::Command::new("mkfifo").args(["-m", "600"]).arg(&path).status().unwrap();
        assert!(made.success());
        let (done, waiting) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let found = keys.find("k1").is_some();
            done.send((found, KeysFile::open(&path))).unwrap();
        });
        let (found, opened) = waiting.recv_timeout(std::time::Duration::from_secs(10)).unwrap();
        assert!(!found && matches!(opened, Err(KeysError::NotAFile)), "{opened:?}");
        assert!(matches!(KeysFile::open(folder.path()), Err(KeysError::NotAFile)));
    }

    #[test]
    fn a_change_in_place_that_hides_itself_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = written(folder.path());
        let keys = KeysFile::open(&path).unwrap();
        let before = std::fs::metadata(&path).unwrap();
        let mut after = before.clone();
        // the clock of a file system may stand for some milliseconds
        while after.ctime_nsec() == before.ctime_nsec() && after.ctime() == before.ctime() {
            std::fs::write(&path, line("ci", "k2")).unwrap();
            std::fs::File::options().write(true).open(&path).unwrap().set_modified(before.modified().unwrap()).unwrap();
            after = std::fs::metadata(&path).unwrap();
        }
        assert_eq!(
            (after.modified().unwrap(), after.len(), after.ino()),
            (before.modified().unwrap(), before.len(), before.ino())
        );
        assert!(keys.find("k1").is_none() && keys.find("k2").is_some());
    }
}
