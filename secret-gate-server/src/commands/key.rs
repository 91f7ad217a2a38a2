//! `key`: the API keys that requesters show.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use secret_gate_core::SecretValue;
use secret_gate_server::identity::{self, EditError, KeysError, KeysFile};

use super::failure::Failure;
use super::print;

/// Begins every key, so that people and scanners know one when they see it.
const PREFIX: &str = "sgk_";

const NEW_EXAMPLES: &str = "\
Examples:
  (umask 077; secret-gate-server key new ci --file keys > ci.key)
                                                   a key for `ci`, in a file that you alone can read
  secret-gate-server key new build-vm-3 --broker   one that you vouch for
  secret-gate-server key new ci                    without a file: tells the line to add

The key is printed once and kept nowhere; the file of the keys holds its hash. A running server
reads that file again by itself.";

const LIST_EXAMPLES: &str = "\
Example:
  secret-gate-server key list    a line for each key: its name, and `broker` for a broker";

const REVOKE_EXAMPLES: &str = "\
Example:
  secret-gate-server key revoke ci --file /etc/secret-gate/keys

A running server lets nobody in with the key from then on, and takes back within a second what was
asked with it: questions are withdrawn, approvals and grants revoked.";

/// The keys.
#[derive(Debug, Subcommand)]
pub(crate) enum Key {
    /// Make a key, print it, and add its hash to the file
    #[command(after_help = NEW_EXAMPLES)]
    New(New),
    /// Print the names of the keys
    #[command(after_help = LIST_EXAMPLES)]
    List(Where),
    /// Remove a key from the file
    #[command(after_help = REVOKE_EXAMPLES)]
    Revoke(Revoke),
}

/// A key to make.
#[derive(Debug, Args)]
pub(crate) struct New {
    /// Whose key it is, as approval messages name them: 1 to 64 of A-Z a-z 0-9 . _ -, and no address
    name: String,
    /// Vouch for them: the agent behind it can read neither the key nor the process that holds it
    #[arg(long)]
    broker: bool,
    #[command(flatten)]
    at: Where,
}

/// A key to revoke.
#[derive(Debug, Args)]
pub(crate) struct Revoke {
    /// Whose key it is
    name: String,
    #[command(flatten)]
    at: Where,
}

/// The file of the keys.
#[derive(Debug, Args)]
pub(crate) struct Where {
    /// The file of the keys
    #[arg(long, value_name = "PATH", env = "API_KEYS_FILE")]
    file: Option<PathBuf>,
}

impl Key {
    pub(super) fn run(self) -> Result<(), Failure> {
        match self {
            Self::New(new) => new.run(),
            Self::List(at) => list(&at),
            Self::Revoke(revoke) => {
                let path = revoke.at.needed()?;
                identity::remove_key(path, &revoke.name).map_err(|error| told(error, path, &revoke.name))?;
                print::note(&format!("{} is revoked", revoke.name));
                Ok(())
            }
        }
    }
}

impl New {
    fn run(self) -> Result<(), Failure> {
        let Self { name, broker, at } = self;
        let key = random_key()?;
        match at.path() {
            Some(path) => {
                identity::add_key(path, &name, key.expose(), broker).map_err(|error| told(error, path, &name))?;
                print::data(key.expose()).map_err(|failure| Failure {
                    hint: format!("nobody has seen the key; revoke it: secret-gate-server key revoke {name}"),
                    ..failure
                })?;
                print::note(&format!("{name} is added to {}; the key is not shown again", path.display()));
            }
            None => {
                let line = identity::key_line(&name, key.expose(), broker)
                    .map_err(|error| told(error, Path::new(""), &name))?;
                print::data(key.expose())?;
                print::note(&format!(
                    "the key is not shown again; to let it in, add this line to the server's API_KEYS_FILE:\n{line}"
                ));
            }
        }
        Ok(())
    }
}

impl Where {
    fn path(&self) -> Option<&Path> {
        self.file.as_deref().filter(|path| !path.as_os_str().is_empty())
    }

    fn needed(&self) -> Result<&Path, Failure> {
        self.path().ok_or_else(|| Failure::usage("no file of keys is named", "set API_KEYS_FILE, or say --file PATH"))
    }
}

fn list(at: &Where) -> Result<(), Failure> {
    let path = at.needed()?;
    let keys = KeysFile::open(path).map_err(|error| unusable(&error, path))?;
    for (name, broker) in keys.names() {
        print::data(&if broker { format!("{name} broker") } else { name })?;
    }
    Ok(())
}

/// 256 random bits, in text.
fn random_key() -> Result<SecretValue, Failure> {
    let mut bits = zeroize::Zeroizing::new([0_u8; 32]);
    getrandom::fill(bits.as_mut()).map_err(|error| {
        Failure::new(format!("the system gives no random numbers: {error}"), "try again on a system that does")
    })?;
    let mut text = String::with_capacity(PREFIX.len() + 2 * bits.len());
    text.push_str(PREFIX);
    for byte in bits.iter() {
        text.extend([byte >> 4, byte & 0xf].iter().filter_map(|digit| char::from_digit(u32::from(*digit), 16)));
    }
    Ok(SecretValue::new(text))
}

fn told(error: EditError, path: &Path, name: &str) -> Failure {
    let file = path.display();
    match error {
        EditError::Name | EditError::Misleading => {
            Failure::usage(format!("{name:?} can't be the name of a key: {error}"), "choose another name")
        }
        EditError::Taken { .. } => Failure::new(
            format!("there is a key of the name {name} already, in {file}"),
            format!("choose another name, or revoke it first: secret-gate-server key revoke {name}"),
        ),
        EditError::Unknown => Failure::new(
            format!("there is no key of the name {name:?} in {file}"),
            "`secret-gate-server key list` has the names",
        ),
        EditError::Keys(error) => unusable(&error, path),
        EditError::DanglingLink => Failure::new(
            format!("{file} is unchanged: {error}"),
            "make the file that it leads to, or remove the link; or name the file itself",
        ),
        EditError::Locked { .. } => Failure::new(
            format!("{file} is unchanged: {error}"),
            "another `secret-gate-server key` hangs: see who holds the lock (`fuser` on that file), end it, and try again",
        ),
        EditError::Unwritable(error) => {
            let hint = match error.kind() {
                ErrorKind::NotFound => "make its folder first",
                ErrorKind::ResourceBusy => "it is mounted by itself and can't be replaced; mount its folder instead",
                ErrorKind::ReadOnlyFilesystem => "change it where it can be written, outside of the container",
                _ => "do it as a user who may write the file and its folder",
            };
            Failure::new(format!("{file} can't be written: {error}"), hint)
        }
        error => Failure::new(format!("{file} is unchanged: {error}"), "see the message"),
    }
}

fn unusable(error: &KeysError, path: &Path) -> Failure {
    Failure::new(format!("{} can't be used: {error}", path.display()), keys_hint(error))
}

/// What to do about a keys file that can't be used.
pub(super) fn keys_hint(error: &KeysError) -> &'static str {
    match error {
        KeysError::Unreadable(error) if error.kind() == ErrorKind::NotFound => {
            "correct API_KEYS_FILE or --file, or make the file: secret-gate-server key new NAME"
        }
        KeysError::OtherOwner { .. } => {
            "give it to root or to the server's user (chown), or do this as the server's user"
        }
        KeysError::FolderOfOthers { .. } => {
            "give that folder to root or to the server's user (chown), and take from others the right to write it: chmod go-w"
        }
        KeysError::NotAFile => "name a text file",
        KeysError::Unreadable(_) => "let the server's user read it; it is a text file",
        KeysError::WritableByOthers { .. } => "take their right to write: chmod go-w",
        _ => "correct the line, or remove it",
    }
}
