//! A running command: its process group, from the start to the last of its processes.

use std::convert::Infallible;
use std::os::fd::BorrowedFd;
use std::sync::mpsc;
use std::{io, process, thread};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, WaitIdStatus, kill_process_group, waitid};
use tokio::sync::oneshot;

use super::system::Descendants;
use super::{Ended, ExecError};

/// How often the processes of a command are stopped and counted again before they are killed. One that starts others
/// without end from outside the group could outrun this, and nothing else.
const ROUNDS: usize = 16;

/// The processes of a command. Dropping it kills them, unless [`leave`](Self::leave) was called.
///
/// A thread of its own waits for the leader, without reaping it until this is dropped: as long as it is not reaped, no
/// other process can get its number, and a signal to the group meets nobody else.
#[derive(Debug)]
pub(super) struct Group {
    leader: Pid,
    descendants: Descendants,
    end: oneshot::Receiver<io::Result<WaitIdStatus>>,
    ended: Option<Ended>,
    is_left: bool,
    _reaps_when_dropped: mpsc::Sender<Infallible>,
}

impl Group {
    /// Watches over this child, which leads a process group and writes to these pipes.
    pub(super) fn of(mut child: process::Child, pipes: [BorrowedFd<'_>; 2]) -> io::Result<Self> {
        let leader = Pid::from_child(&child);
        let (reap, reaping) = mpsc::channel::<Infallible>();
        let (say, end) = oneshot::channel();
        let watch = move || {
            // nobody listens any more: the group is being killed
            say.send(wait_for(leader)).ok();
            reaping.recv().ok();
            child.wait().ok();
        };
        let group = Self {
            leader,
            descendants: Descendants::of(leader, pipes),
            end,
            ended: None,
            is_left: false,
            _reaps_when_dropped: reap,
        };
        // when there can be no thread, `group` is dropped here, which kills
        thread::Builder::new().name("secret-gate-exec".to_owned()).stack_size(64 * 1024).spawn(watch)?;
        Ok(group)
    }

    /// How the leader ended, as soon as it has. Can be asked again.
    pub(super) async fn ended(&mut self) -> Result<Ended, ExecError> {
        if let Some(ended) = self.ended {
            return Ok(ended);
        }
        let status = (&mut self.end).await.map_err(|_| ExecError::Lost)?.map_err(|_| ExecError::Lost)?;
        let code = status.exit_status().map(Ended::Code);
        let ended = code.or_else(|| status.terminating_signal().map(Ended::Signal)).ok_or(ExecError::Lost)?;
        self.ended = Some(ended);
        Ok(ended)
    }

    /// How the leader ended, if that was heard already.
    pub(super) const fn known_end(&self) -> Option<Ended> {
        self.ended
    }

    /// Asks all processes to end.
    pub(super) fn terminate(&mut self) {
        self.descendants.gather(self.leader);
        // one that is stopped hears it when it goes on
        for signal in [Signal::TERM, Signal::CONT] {
            self.signal(signal);
        }
    }

    /// Ends all processes.
    pub(super) fn kill(&mut self) {
        // what is stopped starts no others meanwhile
        for _ in 0..ROUNDS {
            self.signal(Signal::STOP);
            if !self.descendants.gather(self.leader) {
                break;
            }
        }
        self.signal(Signal::KILL);
    }

    /// What still runs may go on.
    pub(super) fn leave(mut self) {
        self.is_left = true;
    }

    fn signal(&self, signal: Signal) {
        // an error says that nobody is left, or that they run as another user
        kill_process_group(self.leader, signal).ok();
        self.descendants.signal(signal);
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if !self.is_left {
            self.kill();
        }
    }
}

fn wait_for(leader: Pid) -> io::Result<WaitIdStatus> {
    loop {
        match waitid(WaitId::Pid(leader), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT) {
            Ok(Some(status)) => return Ok(status),
            Ok(None) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
