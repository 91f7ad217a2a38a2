//! Which process is at the other end of a socket.

use tokio::net::UnixStream;

/// One process, and no other that gets its number later.
#[derive(Debug)]
pub(super) struct Process {
    pid: i32,
    #[cfg(target_os = "linux")]
    alive: Option<std::os::fd::OwnedFd>,
}

impl Process {
    /// The process that has this number now; `None` where there is none.
    #[cfg(target_os = "linux")]
    pub(super) fn with_pid(pid: u32) -> Option<Self> {
        use rustix::process::{Pid, PidfdFlags, pidfd_open};
        let pid = i32::try_from(pid).ok()?;
        match pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()) {
            Ok(alive) => Some(Self { pid, alive: Some(alive) }),
            Err(rustix::io::Errno::SRCH | rustix::io::Errno::INVAL) => None,
            // kernels before 5.3 and some sandboxes have no such files: the number has to do
            Err(_) => Some(Self { pid, alive: None }),
        }
    }

    #[cfg(not(target_os = "linux"))]
    pub(super) fn with_pid(pid: u32) -> Option<Self> {
        i32::try_from(pid).ok().filter(|pid| *pid > 0).map(|pid| Self { pid })
    }

    /// Whether it is this process, of our own user, that connected.
    pub(super) fn is_peer_of(&self, stream: &UnixStream) -> bool {
        let Ok(peer) = stream.peer_cred() else { return false };
        is_ours(peer.uid()) && peer.pid() == Some(self.pid) && self.is_alive()
    }

    /// Its number may have been given to another process once it has ended.
    #[cfg(target_os = "linux")]
    fn is_alive(&self) -> bool {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let Some(alive) = &self.alive else { return true };
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut [PollFd::new(alive, PollFlags::IN)], Some(&now)) == Ok(0)
    }

    #[cfg(not(target_os = "linux"))]
    const fn is_alive(&self) -> bool {
        true
    }
}

/// Whether this is the user that we run as.
pub(super) fn is_ours(uid: u32) -> bool {
    uid == rustix::process::geteuid().as_raw()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_process_is_known_until_it_ends() {
        let (here, _there) = UnixStream::pair().unwrap();
        let me = Process::with_pid(std::process::id()).unwrap();
        assert!(me.is_peer_of(&here));

        let mut child = std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        let other = Process::with_pid(child.id()).unwrap();
        assert!(other.is_alive() && !other.is_peer_of(&here));
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(!other.is_alive());
        // as if its number had come to another process, this one
        let later = Process { pid: me.pid, ..other };
        assert!(!later.is_peer_of(&here));
        assert!(Process::with_pid(child.id()).is_none());
        assert!(Process::with_pid(0).is_none() && Process::with_pid(u32::MAX).is_none());
    }
}
