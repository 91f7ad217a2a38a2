//! Logging in with a key that lies in no file.
//!
//! | part | is |
//! |---|---|
//! | [`SshKey`] | a private key as vaults have it, in locked memory |
//! | [`Login`] | where to: parsed strictly, resolved to an [`ExactHost`](crate::ExactHost), turned into arguments for `ssh` |
//! | [`PrivateAgent`] | an ssh-agent with that key for one `ssh` process |
//! | [`UserAgent`] | the ssh-agent that the caller has running |
//!
//! ```no_run
//! use std::path::Path;
//! use std::sync::Arc;
//! use secret_gate_core::SecretValue;
//! use secret_gate_core::ssh::{Login, PrivateAgent, SshKey};
//!
//! # async fn run(value: &SecretValue) -> Result<(), Box<dyn std::error::Error>> {
//! let exact = Login::parse("deploy@prod")?.with_command("uptime")?.resolve(Path::new("ssh")).await?;
//! let agent = PrivateAgent::start(Arc::new(SshKey::parse(value)?))?;
//! let mut ssh = std::process::Command::new("ssh").args(Login::exactly(&exact)?.arguments(agent.socket())).spawn()?;
//! agent.allow(ssh.id());
//! ssh.wait()?;
//! # Ok(()) }
//! ```

mod fields;
mod frame;
mod key;
mod login;
mod private_agent;
mod process;
mod resolve;
mod user_agent;

use std::path::PathBuf;

pub use key::{KeyError, MAX_KEY_TEXT, SshKey, SshPublicKey};
pub use login::{Login, LoginError};
pub use private_agent::PrivateAgent;
pub use user_agent::{AgentKey, UserAgent};

/// What can go wrong with an ssh-agent, ours or the caller's.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AgentError {
    /// A folder that the private agent's socket can't lie in.
    #[error("{} {problem}", folder.display())]
    Folder {
        /// Which.
        folder: PathBuf,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The private agent's socket can't be made.
    #[error("no socket can be made in {}", folder.display())]
    Socket {
        /// Where.
        folder: PathBuf,
        /// Why; a path longer than about 100 characters is one reason.
        source: std::io::Error,
    },
    /// The caller has no agent.
    #[error("no ssh-agent is known: SSH_AUTH_SOCK is not set; start one with eval \"$(ssh-agent)\"")]
    NotRunning,
    /// The caller's agent does not answer.
    #[error("the ssh-agent at {} does not answer: start one with eval \"$(ssh-agent)\"", socket.display())]
    Unreachable {
        /// Its socket.
        socket: PathBuf,
        /// What happened.
        source: std::io::Error,
    },
    /// The process at the socket is another user's, and gets no key.
    #[error("the ssh-agent at {} is another user's: it gets no key", socket.display())]
    Stranger {
        /// Its socket.
        socket: PathBuf,
    },
    /// What answers does not speak the agent protocol.
    #[error("what answers at {} is no ssh-agent: look at SSH_AUTH_SOCK", socket.display())]
    Malformed {
        /// Its socket.
        socket: PathBuf,
    },
    /// The caller's agent says no.
    #[error(
        "the ssh-agent refused to {action}: it may be locked (ssh-add -X unlocks it) or not take keys of this kind or with a lifetime"
    )]
    Refused {
        /// What it was to do.
        action: &'static str,
    },
    /// A lifetime that no agent can be told.
    #[error("a key's lifetime in an ssh-agent is at least one second and at most 136 years")]
    Lifetime,
}
