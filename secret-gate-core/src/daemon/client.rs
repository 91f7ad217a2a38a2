//! The daemon's clients: find it, start it where there is none, call it.

use std::io;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::net::UnixStream;

use super::call::{Call, Event, Verb};
use super::frame::{Frame, Kind, open, send_message};
use super::paths::{PlaceError, SocketPath};
use super::peer::{PeerError, check_user};

/// How long a daemon may take to start.
const START_PATIENCE: Duration = Duration::from_secs(10);

/// Why there is no daemon to talk to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// Its socket's place can't be used.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// What answers is not trusted.
    #[error("what listens at {path} is not talked to")]
    Peer {
        /// Where.
        path: PathBuf,
        /// Why.
        source: PeerError,
    },
    /// None is running.
    #[error("no daemon is running")]
    NotRunning,
    /// It could not be started.
    #[error("the daemon does not start")]
    NotStarting(#[source] io::Error),
    /// The connection broke.
    #[error("the daemon can't be talked to")]
    Broken(#[from] io::Error),
}

/// A call to the daemon that is under way. Dropping it takes the call back.
#[derive(Debug)]
pub struct Answers {
    stream: UnixStream,
}

/// What comes back from a call.
#[derive(Debug)]
#[expect(clippy::exhaustive_enums, reason = "the protocol has these")]
pub enum Answer {
    /// News, or the end.
    Event(Box<Event>),
    /// Standard output of a command.
    Output(Vec<u8>),
    /// Standard error of a command.
    ErrorOutput(Vec<u8>),
}

impl SocketPath {
    /// Connects to the daemon that is running.
    ///
    /// # Errors
    /// [`ConnectError::NotRunning`] where none is, and the others.
    pub async fn connect(&self) -> Result<UnixStream, ConnectError> {
        if !self.check()? {
            return Err(ConnectError::NotRunning);
        }
        let stream = match UnixStream::connect(self.as_path()).await {
            Ok(stream) => stream,
            Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound) => {
                return Err(ConnectError::NotRunning);
            }
            Err(error) => return Err(error.into()),
        };
        match check_user(&stream) {
            Ok(_) => Ok(stream),
            Err(source) => Err(ConnectError::Peer { path: self.as_path().to_owned(), source }),
        }
    }

    /// Connects to the daemon, and starts it where none is running: by this command, which must say a line on its standard
    /// output once it serves, or when another one does.
    ///
    /// # Errors
    /// [`ConnectError::NotStarting`], and the others.
    pub async fn connect_or_start(&self, command: &mut tokio::process::Command) -> Result<UnixStream, ConnectError> {
        let mut last = None;
        // one that was just stopping may have been met
        for _ in 0..3 {
            match self.connect().await {
                Err(ConnectError::NotRunning) => {}
                other => return other,
            }
            last = start(command).await.err();
        }
        match (self.connect().await, last) {
            (Err(ConnectError::NotRunning), Some(error)) => Err(ConnectError::NotStarting(error)),
            (other, _) => other,
        }
    }
}

async fn start(command: &mut tokio::process::Command) -> io::Result<()> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let mut said = [0; 1];
    let Some(mut stdout) = child.stdout.take() else { return Ok(()) };
    match tokio::time::timeout(START_PATIENCE, stdout.read(&mut said)).await {
        Ok(Ok(1)) => Ok(()),
        Ok(Ok(_)) => Err(io::Error::other(format!("it ended with {}", child.wait().await?))),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// Calls the daemon over this connection.
///
/// # Errors
/// When the connection breaks.
pub async fn call(stream: UnixStream, verb: Verb) -> io::Result<Answers> {
    call_with(stream, verb, None).await
}

/// The same for a command that reads from this descriptor.
///
/// # Errors
/// As for [`call`].
pub async fn call_with(mut stream: UnixStream, verb: Verb, stdin: Option<BorrowedFd<'_>>) -> io::Result<Answers> {
    open(&stream, stdin).await?;
    send_message(&mut stream, &Call::new(verb)).await?;
    Ok(Answers { stream })
}

impl Answers {
    /// What comes next; `None` when the daemon has nothing more to say.
    ///
    /// # Errors
    /// When the connection breaks, or the daemon says something that can't be understood.
    pub async fn next(&mut self) -> io::Result<Option<Answer>> {
        let Some(frame) = Frame::read(&mut self.stream).await? else { return Ok(None) };
        Ok(Some(match frame.kind {
            Kind::Message => Answer::Event(Box::new(frame.parse()?)),
            Kind::Output => Answer::Output(frame.content.to_vec()),
            Kind::ErrorOutput => Answer::ErrorOutput(frame.content.to_vec()),
        }))
    }
}
