//! An ssh-agent with one key for one process.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};

use super::fields::{Fields, put_string};
use super::process::{Process, is_ours};
use super::{AgentError, SshKey, frame};

/// How long somebody who connects before [`PrivateAgent::allow`] waits for it.
const EARLY: Duration = Duration::from_secs(5);
/// How long `ssh` may say nothing: it connects first and signs when the server asks for it.
const IDLE: Duration = Duration::from_secs(180);
/// How long a message may take once it has begun, and an answer to be taken.
const STALL: Duration = Duration::from_secs(10);
/// The same for those who get no answer but a no.
const STRANGER: Duration = Duration::from_secs(2);
/// Strangers who are heard at a time. More are cut off, `ssh` never is.
const MAX_STRANGERS: usize = 32;
/// Connections that `ssh` has open at a time: it needs one.
const MAX_CONNECTIONS: usize = MAX_STRANGERS + 16;

/// An ssh-agent that has one key and shows it to one process only, for as long as this value lives.
///
/// Its socket lies in a folder of its own that nobody else may enter. Every connection is judged by the number that the
/// kernel gives for the process behind it: whoever is not the process named by [`allow`](Self::allow) is told "failure",
/// and nothing else. That process can list the key and have logins signed: no other data is signed, and no key is added,
/// removed or given away.
///
/// Drop it when that process has ended; socket and folder go with it.
#[derive(Debug)]
pub struct PrivateAgent {
    socket: PathBuf,
    allowed: watch::Sender<Option<Named>>,
    server: JoinHandle<()>,
    // after the socket's path: removed last
    _folder: TempDir,
}

impl PrivateAgent {
    /// Starts an agent in a new folder under `XDG_RUNTIME_DIR`, which lies in memory.
    ///
    /// # Errors
    /// [`AgentError::Folder`] where there is no such folder or others may enter it, [`AgentError::Socket`] where no
    /// socket can be made there.
    pub fn start(key: Arc<SshKey>) -> Result<Self, AgentError> {
        let folder = std::env::var_os("XDG_RUNTIME_DIR").filter(|folder| !folder.is_empty());
        let folder = folder.ok_or(AgentError::Folder {
            folder: "XDG_RUNTIME_DIR".into(),
            problem: "is not set: name a folder of this user's own instead",
        })?;
        Self::start_in(Path::new(&folder), key)
    }

    /// Starts an agent in a new folder under this one. Only a socket is made there.
    ///
    /// # Errors
    /// [`AgentError::Folder`] where the folder is not this user's own or others may enter it, [`AgentError::Socket`]
    /// where no socket can be made there.
    pub fn start_in(folder: &Path, key: Arc<SshKey>) -> Result<Self, AgentError> {
        check_folder(folder)?;
        let failed = |error| AgentError::Socket { folder: folder.to_owned(), source: error };
        let folder = tempfile::Builder::new()
            .prefix("ssh-")
            .permissions(Permissions::from_mode(0o700))
            .tempdir_in(folder)
            .map_err(failed)?;
        let socket = folder.path().join("agent");
        let listener = UnixListener::bind(&socket).map_err(failed)?;
        std::fs::set_permissions(&socket, Permissions::from_mode(0o600)).map_err(failed)?;
        let (allowed, changes) = watch::channel(None);
        let server = tokio::spawn(serve(listener, key, changes));
        Ok(Self { socket, allowed, server, _folder: folder })
    }

    /// Path of the socket, for `IdentityAgent`.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Names the process that may use the key. The last one named counts; one that has ended is nobody.
    pub fn allow(&self, pid: u32) {
        self.allowed.send_replace(Some(Process::with_pid(pid).map(Arc::new)));
    }
}

impl Drop for PrivateAgent {
    fn drop(&mut self) {
        // ends the connections as well, which the task holds
        self.server.abort();
    }
}

/// The process that was named; nobody, where it had ended by then.
type Named = Option<Arc<Process>>;

/// A socket in a folder that others can change could be replaced by theirs.
fn check_folder(folder: &Path) -> Result<(), AgentError> {
    let bad = |problem| AgentError::Folder { folder: folder.to_owned(), problem };
    let about = std::fs::symlink_metadata(folder).map_err(|_| bad("can't be read"))?;
    if !folder.is_absolute() {
        return Err(bad("is not an absolute path"));
    }
    if !about.is_dir() {
        return Err(bad("is not a folder"));
    }
    if !is_ours(about.uid()) {
        return Err(bad("belongs to another user"));
    }
    if about.mode() & 0o077 != 0 {
        return Err(bad("can be entered by others: it needs mode 0700"));
    }
    Ok(())
}

async fn serve(listener: UnixListener, key: Arc<SshKey>, allowed: watch::Receiver<Option<Named>>) {
    let mut peers = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let expected = is_expected(&allowed.borrow(), &stream);
                    if peers.len() < if expected { MAX_CONNECTIONS } else { MAX_STRANGERS } {
                        peers.spawn(attend(stream, Arc::clone(&key), allowed.clone()));
                    }
                }
                // out of file descriptors, for one: they come back when connections end
                Err(error) => {
                    tracing::warn!(%error, "an ssh-agent can't take connections");
                    sleep(Duration::from_millis(100)).await;
                }
            },
            Some(_) = peers.join_next(), if !peers.is_empty() => {}
        }
    }
}

/// One connection, to its end.
async fn attend(mut stream: UnixStream, key: Arc<SshKey>, mut allowed: watch::Receiver<Option<Named>>) {
    let expected = match timeout(EARLY, allowed.wait_for(Option::is_some)).await {
        Ok(Ok(named)) => is_expected(&named, &stream),
        Ok(Err(_)) | Err(_) => false,
    };
    let ended = if expected { answer_all(&mut stream, &key).await } else { refuse(&mut stream).await };
    if let Err(error) = ended {
        tracing::trace!(%error, "a connection to an ssh-agent ended");
    }
}

fn is_expected(named: &Option<Named>, stream: &UnixStream) -> bool {
    named.iter().flatten().any(|process| process.is_peer_of(stream))
}

async fn refuse(stream: &mut UnixStream) -> io::Result<()> {
    tracing::warn!("a process that an ssh-agent is not meant for asked it");
    // read first: closing a socket with unread data takes the answer away again
    frame::read(stream, STRANGER, STRANGER).await?;
    frame::write(stream, frame::FAILURE, &[], STRANGER).await
}

async fn answer_all(stream: &mut UnixStream, key: &Arc<SshKey>) -> io::Result<()> {
    loop {
        let request = frame::read(stream, IDLE, STALL).await?;
        let mut fields = Fields::new(&request);
        match fields.byte() {
            Some(frame::REQUEST_IDENTITIES) if fields.is_empty() => {
                let mut identities = 1_u32.to_be_bytes().to_vec();
                put_string(&mut identities, key.public().blob());
                put_string(&mut identities, b"secret-gate");
                frame::write(stream, frame::IDENTITIES_ANSWER, &[&identities], STALL).await?;
            }
            Some(frame::SIGN_REQUEST) => match sign(fields, key).await {
                Some(signature) => {
                    let mut answer = Vec::new();
                    put_string(&mut answer, &signature);
                    frame::write(stream, frame::SIGN_RESPONSE, &[&answer], STALL).await?;
                }
                None => frame::write(stream, frame::FAILURE, &[], STALL).await?,
            },
            // adding, removing, locking, extensions: `ssh` goes on without
            _ => frame::write(stream, frame::FAILURE, &[], STALL).await?,
        }
    }
}

async fn sign(mut fields: Fields<'_>, key: &Arc<SshKey>) -> Option<Vec<u8>> {
    let (blob, data, flags) = (fields.string()?, fields.string()?, fields.uint32()?);
    if !fields.is_empty() || blob != key.public().blob() || !is_login(data, blob) {
        return None;
    }
    let (key, data) = (Arc::clone(key), data.to_vec());
    // RSA takes its time, which the runtime's own threads don't have
    match tokio::task::spawn_blocking(move || key.sign(&data, flags)).await.ok()? {
        Ok(signature) => Some(signature),
        Err(error) => {
            tracing::warn!(%error, "an ssh-agent signed nothing");
            None
        }
    }
}

/// Whether the data is what a client signs to log in with this key (RFC 4252, section 7, and OpenSSH's host-bound form of
/// it), and not a file, a commit or a certificate.
fn is_login(data: &[u8], blob: &[u8]) -> bool {
    const USERAUTH_REQUEST: u8 = 50;
    let mut fields = Fields::new(data);
    let mut login = || {
        let _session = fields.string()?;
        let request = fields.byte()? == USERAUTH_REQUEST;
        let _user = fields.string()?;
        let service = fields.string()? == b"ssh-connection";
        let method = fields.string()?;
        let signed = fields.byte()? == 1;
        let _algorithm = fields.string()?;
        let same_key = fields.string()? == blob;
        let known = match method {
            b"publickey" => true,
            b"publickey-hostbound-v00@openssh.com" => fields.string().is_some(),
            _ => false,
        };
        Some(request && service && signed && same_key && known)
    };
    login() == Some(true) && fields.is_empty()
}
