//! Who is on the other end of a socket.

use std::fs;
use std::io;

use tokio::net::UnixStream;

/// What of its surroundings a caller must share with the daemon, whose commands run in the daemon's.
const NAMESPACES: [&str; 4] = ["mnt", "pid", "user", "net"];

/// Why a peer is not talked to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PeerError {
    /// It belongs to another user.
    #[error("the other end belongs to another user (uid {uid})")]
    OtherUser {
        /// Whose it is.
        uid: u32,
    },
    /// It lives in a sandbox that the daemon is not in.
    #[error("the caller is in another {namespace} namespace; commands would run outside of its sandbox")]
    OtherNamespace {
        /// Which kind.
        namespace: &'static str,
    },
    /// It sees another root folder than the daemon.
    #[error("the caller has another root folder; commands would run outside of it")]
    OtherRoot,
    /// The system does not say who it is.
    #[error("the system does not say who is on the other end")]
    Unknown(#[from] io::Error),
}

/// Makes sure that the peer belongs to this user; returns its process id, where the system tells.
pub(super) fn check_user(stream: &UnixStream) -> Result<Option<i32>, PeerError> {
    let peer = stream.peer_cred()?;
    let uid = peer.uid();
    if uid == rustix::process::geteuid().as_raw() { Ok(peer.pid()) } else { Err(PeerError::OtherUser { uid }) }
}

/// What files of the caller begin without (`umask(2)`): as its system says, else as is usual.
pub(super) fn umask_of(stream: &UnixStream) -> u32 {
    let status = |pid| fs::read_to_string(format!("/proc/{pid}/status")).ok();
    let status = stream.peer_cred().ok().and_then(|peer| peer.pid()).and_then(status).unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    mask.and_then(|mask| u32::from_str_radix(mask.trim(), 8).ok()).unwrap_or(0o022)
}

/// Makes sure that the peer belongs to this user and lives in the same namespaces.
pub(super) fn check_caller(stream: &UnixStream) -> Result<(), PeerError> {
    let pid = check_user(stream)?;
    if !cfg!(target_os = "linux") {
        return Ok(());
    }
    let pid = pid.ok_or_else(|| io::Error::other("no process id"))?;
    // zero: a process that can't be seen from here
    for namespace in NAMESPACES {
        let theirs = fs::read_link(format!("/proc/{pid}/ns/{namespace}"));
        let ours = fs::read_link(format!("/proc/self/ns/{namespace}"))?;
        if theirs? != ours {
            return Err(PeerError::OtherNamespace { namespace });
        }
    }
    if fs::read_link(format!("/proc/{pid}/root"))? != fs::read_link("/proc/self/root")? {
        return Err(PeerError::OtherRoot);
    }
    Ok(())
}
