//! The ssh-agent that the caller has running.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::fields::{Fields, put_string};
use super::process::is_ours;
use super::{AgentError, SshKey, SshPublicKey, frame};

/// How long a call to the agent may take. Some ask their user first.
const PATIENCE: Duration = Duration::from_secs(30);
/// The longest comment that is sent, in characters.
const MAX_COMMENT: usize = 200;

/// The ssh-agent of this user, which `SSH_AUTH_SOCK` names.
///
/// A key that is added there can be used by every process of the user, until its lifetime ends or it is removed.
#[derive(Debug, Clone)]
pub struct UserAgent {
    socket: PathBuf,
}

/// A key that an agent has.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AgentKey {
    /// Its public half.
    pub public: SshPublicKey,
    /// What it was added under.
    pub comment: String,
}

impl UserAgent {
    /// The agent that `SSH_AUTH_SOCK` names.
    ///
    /// # Errors
    /// [`AgentError::NotRunning`] where it names none.
    pub fn from_env() -> Result<Self, AgentError> {
        std::env::var_os("SSH_AUTH_SOCK").filter(|path| !path.is_empty()).map(Self::at).ok_or(AgentError::NotRunning)
    }

    /// The agent that listens on this socket.
    pub fn at(socket: impl Into<PathBuf>) -> Self {
        Self { socket: socket.into() }
    }

    /// Path of its socket.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Adds a key, which the agent forgets after `lifetime`, cut to whole seconds.
    ///
    /// A key that is there already gets the new lifetime and comment. Of the comment, control characters become spaces
    /// and at most 200 characters are sent.
    ///
    /// # Errors
    /// [`AgentError::Lifetime`] for less than a second or more than 136 years; [`AgentError::Refused`] by the agent, as
    /// when it is locked; and the errors of every call: [`AgentError::Unreachable`], [`AgentError::Stranger`],
    /// [`AgentError::Malformed`].
    pub async fn add(&self, key: &SshKey, comment: &str, lifetime: Duration) -> Result<(), AgentError> {
        let seconds = u32::try_from(lifetime.as_secs()).ok().filter(|seconds| *seconds > 0);
        let seconds = seconds.ok_or(AgentError::Lifetime)?;
        let comment: String = comment.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_COMMENT).collect();
        let mut rest = Vec::new();
        put_string(&mut rest, comment.as_bytes());
        rest.push(frame::CONSTRAIN_LIFETIME);
        rest.extend_from_slice(&seconds.to_be_bytes());
        let answer = self.call(frame::ADD_ID_CONSTRAINED, &[key.encoded(), &rest]).await?;
        succeeded(&answer, "add the key")
    }

    /// Adds a key unless the agent has it, and tells whether it did. A key that is there keeps its lifetime.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    pub async fn add_if_absent(&self, key: &SshKey, comment: &str, lifetime: Duration) -> Result<bool, AgentError> {
        if self.has(key.public()).await? {
            return Ok(false);
        }
        self.add(key, comment, lifetime).await?;
        Ok(true)
    }

    /// Removes a key, and tells whether the agent had it.
    ///
    /// # Errors
    /// [`AgentError::Refused`] where the agent keeps it, and the errors of every call.
    pub async fn remove(&self, key: &SshPublicKey) -> Result<bool, AgentError> {
        let mut request = Vec::new();
        put_string(&mut request, key.blob());
        let answer = self.call(frame::REMOVE_IDENTITY, &[&request]).await?;
        match succeeded(&answer, "remove the key") {
            Ok(()) => Ok(true),
            // agents answer so for a key that they don't have, too
            Err(error @ AgentError::Refused { .. }) => {
                if self.has(key).await? {
                    Err(error)
                } else {
                    Ok(false)
                }
            }
            Err(error) => Err(error),
        }
    }

    /// The keys that the agent has. A locked one says that it has none.
    ///
    /// # Errors
    /// Those of every call.
    pub async fn list(&self) -> Result<Vec<AgentKey>, AgentError> {
        let answer = self.call(frame::REQUEST_IDENTITIES, &[]).await?;
        let mut fields = Fields::new(&answer);
        match fields.byte() {
            Some(frame::IDENTITIES_ANSWER) => identities(fields).ok_or_else(|| self.malformed()),
            Some(frame::FAILURE) => Err(AgentError::Refused { action: "list its keys" }),
            _ => Err(self.malformed()),
        }
    }

    async fn has(&self, key: &SshPublicKey) -> Result<bool, AgentError> {
        Ok(self.list().await?.iter().any(|known| known.public == *key))
    }

    async fn call(&self, kind: u8, parts: &[&[u8]]) -> Result<Zeroizing<Vec<u8>>, AgentError> {
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::InvalidData => self.malformed(),
            _ => AgentError::Unreachable { socket: self.socket.clone(), source },
        };
        let exchange = async {
            let mut stream = UnixStream::connect(&self.socket).await.map_err(failed)?;
            // whoever put a socket there could take the key otherwise
            if !is_ours(stream.peer_cred().map_err(failed)?.uid()) {
                return Err(AgentError::Stranger { socket: self.socket.clone() });
            }
            frame::write(&mut stream, kind, parts, PATIENCE).await.map_err(failed)?;
            frame::read(&mut stream, PATIENCE, PATIENCE).await.map_err(failed)
        };
        timeout(PATIENCE, exchange).await.map_err(|late| failed(late.into()))?
    }

    fn malformed(&self) -> AgentError {
        AgentError::Malformed { socket: self.socket.clone() }
    }
}

fn succeeded(answer: &[u8], action: &'static str) -> Result<(), AgentError> {
    if answer.first() == Some(&frame::SUCCESS) { Ok(()) } else { Err(AgentError::Refused { action }) }
}

fn identities(mut fields: Fields<'_>) -> Option<Vec<AgentKey>> {
    let count = fields.uint32()?;
    let mut keys = Vec::new();
    for _ in 0..count {
        let (blob, comment) = (fields.string()?, fields.string()?);
        let comment = String::from_utf8_lossy(comment).into_owned();
        keys.extend(SshPublicKey::from_blob(blob).map(|public| AgentKey { public, comment }));
    }
    fields.is_empty().then_some(keys)
}
