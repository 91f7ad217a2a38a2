//! Our standard input, on its way to a command.

use std::fs::File;
use std::io::{self, PipeReader, PipeWriter, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileTypeExt as _;
use std::thread;

use rustix::event::{PollFd, PollFlags, poll};

/// What a command is to read from.
#[derive(Debug)]
pub(crate) enum Input {
    /// What we were given.
    Given(OwnedFd),
    /// A pipe, for what comes from a socket: the daemon gives a command nothing that could be written to, and a socket can't be
    /// opened anew for reading alone. Node's `execFile` makes those.
    Poured { from: File, to: PipeWriter, pipe: PipeReader },
}

impl Input {
    /// Our standard input.
    pub(crate) fn of_ours() -> io::Result<Self> {
        Self::of(io::stdin().as_fd().try_clone_to_owned()?)
    }

    fn of(given: OwnedFd) -> io::Result<Self> {
        let from = File::from(given);
        if !from.metadata()?.file_type().is_socket() {
            return Ok(Self::Given(from.into()));
        }
        let (pipe, to) = io::pipe()?;
        Ok(Self::Poured { from, to, pipe })
    }

    /// To be called when the command has started: what nobody reads is left where it is.
    pub(crate) fn begin(self) -> io::Result<()> {
        let Self::Poured { from, to, pipe } = self else { return Ok(()) };
        // the command's own end is left
        drop(pipe);
        // nobody waits for it: it ends with the command, or with us
        thread::Builder::new().name("stdin".into()).spawn(move || pour(from, to)).map(drop)
    }
}

impl AsFd for Input {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Given(given) => given.as_fd(),
            Self::Poured { pipe, .. } => pipe.as_fd(),
        }
    }
}

/// Until there is no more, or the command reads no more. By reading and writing: to splice (as `io::copy` does) locks the pipe
/// while the socket is waited for, so that a command could not even end.
fn pour(mut from: File, mut to: PipeWriter) {
    let mut buffer = [0; 16 * 1024];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return,
            Ok(length) => {
                if to.write_all(buffer.get(..length).unwrap_or_default()).is_err() {
                    return;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // whoever shares it may have made it return at once
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if poll(&mut [PollFd::new(&from, PollFlags::IN)], None).is_err() {
                    return;
                }
            }
            Err(_) => return,
        }
    }
}
