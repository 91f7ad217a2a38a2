//! Our standard input, on its way to a command.

use std::fs::File;
use std::io::{self, PipeReader, PipeWriter};
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

/// Until there is no more, or the command reads no more.
fn pour(mut from: File, mut to: PipeWriter) {
    while let Err(error) = io::copy(&mut from, &mut to) {
        let is_empty = error.kind() == io::ErrorKind::WouldBlock;
        // whoever shares it may have made it return at once
        if !is_empty || poll(&mut [PollFd::new(&from, PollFlags::IN)], None).is_err() {
            return;
        }
    }
}
