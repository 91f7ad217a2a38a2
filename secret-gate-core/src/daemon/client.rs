//! The daemon's clients: find it, start it where there is none, call it.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::pin::pin;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::net::unix::pipe;
use zeroize::Zeroizing;

use super::ask::FAREWELL;
use super::call::{Call, Event, Failure, FailureKind, Status, Verb};
use super::frame::{Frame, Kind, open, send};
use super::paths::{PlaceError, SocketPath};
use super::peer::{PeerError, check_user};
use super::program::connect_or_start;

/// How long a daemon may take to start: it waits for one that is just ending.
const START_PATIENCE: Duration = Duration::from_secs(40);

/// How long a daemon may take to answer where no human and no server is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// How much is read of what a daemon says that does not start, in bytes.
const MAX_REASON: u64 = 4096;

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
    /// It runs and says nothing.
    #[error("the daemon at {path} (process {pid}) does not answer; if it stays so, end it with: kill -KILL {pid}")]
    Silent {
        /// Where it listens.
        path: PathBuf,
        /// Which process it is; 0 where the system does not tell.
        pid: i32,
    },
    /// One of another version runs and is in use, so it was not replaced.
    #[error(
        "a daemon of version {version} runs, this program is of version {}; it holds {held} approvals and has {calls} calls \
         under way; to replace it and forget them, run: secret-gate daemon stop",
        env!("CARGO_PKG_VERSION")
    )]
    OtherVersion {
        /// Its version.
        version: String,
        /// How many approvals it holds.
        held: usize,
        /// How many calls are under way.
        calls: usize,
    },
    /// What runs does not understand when it is asked how it is, or told to stop.
    #[error(
        "what listens at {path} (process {pid}) does not speak as the daemon of this version does, nor does it stop; if it is \
         a daemon, end it with: kill {pid}"
    )]
    Foreign {
        /// Where it listens.
        path: PathBuf,
        /// Which process it is; 0 where the system does not tell.
        pid: i32,
    },
    /// The daemon does not work for callers from where this process is, such as a sandbox.
    #[error("the daemon refuses this program: {0}")]
    Refused(String),
    /// The connection broke.
    #[error("the daemon can't be talked to")]
    Broken(#[from] io::Error),
}

/// A call to the daemon that is under way. Dropping it takes the call back; [`leave`](Self::leave) tells how that went.
#[derive(Debug)]
pub struct Answers {
    stream: UnixStream,
    /// The call, until something of it was heard: it can be made again where the daemon was just ending.
    again: Option<Again>,
}

/// A call that can be made again, to a daemon that is started for it.
#[derive(Debug)]
struct Again {
    call: Zeroizing<Vec<u8>>,
    stdin: Option<OwnedFd>,
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
            // so many wait already that the system takes no more (connect(2))
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(ConnectError::Silent { path: self.as_path().to_owned(), pid: 0 });
            }
            Err(error) => return Err(error.into()),
        };
        match check_user(&stream) {
            Ok(_) => Ok(stream),
            Err(source) => Err(ConnectError::Peer { path: self.as_path().to_owned(), source }),
        }
    }

    /// Connects to the daemon, and starts it where none is running: by this command, which must say `ready` on its standard
    /// output once it serves, or when another one does; anything else it says is why it does not. A daemon of another
    /// version is replaced where it is not in use. Ends within a minute or two.
    ///
    /// # Errors
    /// [`ConnectError::NotStarting`], and the others.
    pub async fn connect_or_start(&self, command: &mut tokio::process::Command) -> Result<UnixStream, ConnectError> {
        // one that was just stopping may be met
        for _ in 0..3 {
            match self.status().await {
                Ok(Some(status)) if status.version == env!("CARGO_PKG_VERSION") => match self.connect().await {
                    Err(ConnectError::NotRunning) => {}
                    connected => return connected,
                },
                Ok(Some(status)) => self.replace(status).await?,
                Ok(None) => {}
                Err(error) => return Err(error),
            }
            start(command).await.map_err(ConnectError::NotStarting)?;
        }
        self.connect().await
    }

    /// How the daemon is that runs; none where none does, or where it is just ending.
    async fn status(&self) -> Result<Option<Status>, ConnectError> {
        match self.ask(Verb::Status).await? {
            Some(Event::Status(status)) => Ok(Some(status)),
            Some(Event::Failed(Failure { kind: FailureKind::Stopping, .. })) | None => Ok(None),
            Some(Event::Failed(Failure { kind: FailureKind::Refused, message, .. })) => {
                Err(ConnectError::Refused(message))
            }
            Some(_) => Err(self.foreign().await),
        }
    }

    /// Has a daemon of another version end.
    async fn replace(&self, Status { version, entry_count: held, calls, .. }: Status) -> Result<(), ConnectError> {
        if held > 0 || calls > 0 {
            return Err(ConnectError::OtherVersion { version, held, calls });
        }
        tracing::info!(%version, "replacing a daemon of another version");
        match self.ask(Verb::Stop).await? {
            Some(Event::Done { .. }) | None => Ok(()),
            Some(_) => Err(self.foreign().await),
        }
    }

    /// What the daemon that runs says to this, which no human is waited for; none where none does, or where it ends.
    async fn ask(&self, verb: Verb) -> Result<Option<Event>, ConnectError> {
        let stream = match self.connect().await {
            Err(ConnectError::NotRunning) => return Ok(None),
            stream => stream?,
        };
        match ask(stream, verb, PATIENCE).await {
            Err(ConnectError::NotRunning) => Ok(None),
            // it is no daemon, or of another version
            Err(ConnectError::Broken(_)) => Err(self.foreign().await),
            event => event.map(Some),
        }
    }

    async fn foreign(&self) -> ConnectError {
        let pid = self.connect().await.map_or(0, |stream| peer(&stream));
        ConnectError::Foreign { path: self.as_path().to_owned(), pid }
    }
}

/// The process on the other end; 0 where the system does not tell.
fn peer(stream: &UnixStream) -> i32 {
    stream.peer_cred().ok().and_then(|peer| peer.pid()).unwrap_or_default()
}

/// Whether the daemon has ended, rather than said something odd.
fn has_closed(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionReset | UnexpectedEof)
}

/// Asks a daemon something over this connection that needs no human, and waits for the answer: `within` this time.
///
/// # Errors
/// [`ConnectError::Silent`] after that time, [`ConnectError::NotRunning`] when the daemon ends meanwhile, and
/// [`ConnectError::Broken`].
pub async fn ask(stream: UnixStream, verb: Verb, within: Duration) -> Result<Event, ConnectError> {
    let (path, pid) = (stream.peer_addr().ok(), peer(&stream));
    let path = path.as_ref().and_then(|address| address.as_pathname()).unwrap_or_else(|| "".as_ref()).to_owned();
    let answer = async { call(stream, verb).await?.read().await };
    match tokio::time::timeout(within, answer).await {
        Err(_) => Err(ConnectError::Silent { path, pid }),
        Ok(Ok(Some(Answer::Event(event)))) => Ok(*event),
        Ok(Ok(None)) => Err(ConnectError::NotRunning),
        Ok(Err(error)) if has_closed(&error) => Err(ConnectError::NotRunning),
        Ok(Err(error)) => Err(error.into()),
        Ok(Ok(Some(_))) => Err(ConnectError::Foreign { path, pid }),
    }
}

/// Starts a daemon, and waits until it is ready.
async fn start(command: &mut tokio::process::Command) -> io::Result<()> {
    let (said, says) = io::pipe()?;
    command.stdin(Stdio::null()).stdout(says.try_clone()?).stderr(says);
    let spawned = command.spawn();
    // our own copies of what it says with
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = spawned?;
    let mut text = Vec::new();
    let mut said = pipe::Receiver::from_owned_fd(said.into())?.take(MAX_REASON);
    let saying = async {
        while !text.starts_with(READY) && said.read_buf(&mut text).await? > 0 {}
        io::Result::Ok(())
    };
    tokio::time::timeout(START_PATIENCE, saying).await??;
    if text.starts_with(READY) {
        return Ok(());
    }
    let reason = reason(&text);
    drop(said);
    let ended = tokio::time::timeout(PATIENCE, child.wait()).await??;
    Err(io::Error::other(if reason.is_empty() { format!("it ended with {ended}") } else { reason }))
}

/// What a daemon says once it serves.
pub(super) const READY: &[u8] = b"ready\n";

/// Why a daemon does not start, as it said.
fn reason(said: &[u8]) -> String {
    let text = String::from_utf8_lossy(said);
    let text = text.trim();
    let printable = |c: char| if c.is_control() { ' ' } else { c };
    text.strip_prefix("error: ").unwrap_or(text).chars().map(printable).collect()
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
    place(&mut stream, &written(verb)?, stdin).await?;
    Ok(Answers { stream, again: None })
}

/// The same for the user's daemon, which is started where none runs. One that is just ending, or of another version, is
/// called in vain: as long as nothing was heard of the call, [`Answers::next`] makes it again, once, to another one.
///
/// # Errors
/// See [`ConnectError`].
pub async fn call_or_start(verb: Verb, stdin: Option<BorrowedFd<'_>>) -> Result<Answers, ConnectError> {
    let call = written(verb)?;
    // how it is, is asked only where the answer makes that necessary
    let mut stream = match SocketPath::find()?.connect().await {
        Err(ConnectError::NotRunning) => connect_or_start().await?,
        stream => stream?,
    };
    let stdin = stdin.map(|stdin| stdin.try_clone_to_owned()).transpose()?;
    let again = Again { call, stdin };
    match again.place(&mut stream).await {
        Ok(()) => Ok(Answers { stream, again: Some(again) }),
        Err(error) if has_closed(&error) => Ok(Answers { stream: again.place_anew().await?, again: None }),
        Err(error) => Err(error.into()),
    }
}

impl Again {
    async fn place(&self, stream: &mut UnixStream) -> io::Result<()> {
        place(stream, &self.call, self.stdin.as_ref().map(|stdin| stdin.as_fd())).await
    }

    async fn place_anew(&self) -> Result<UnixStream, ConnectError> {
        tracing::debug!("the daemon was just ending, or of another version; calling another one");
        let mut stream = connect_or_start().await?;
        self.place(&mut stream).await?;
        Ok(stream)
    }
}

fn written(verb: Verb) -> io::Result<Zeroizing<Vec<u8>>> {
    Ok(Zeroizing::new(serde_json::to_vec(&Call::new(verb))?))
}

async fn place(stream: &mut UnixStream, call: &[u8], stdin: Option<BorrowedFd<'_>>) -> io::Result<()> {
    open(stream, stdin).await?;
    send(stream, Kind::Message, call).await
}

impl Answers {
    /// What comes next; `None` when the daemon has nothing more to say.
    ///
    /// # Errors
    /// When the connection breaks, or the daemon says something that can't be understood.
    pub async fn next(&mut self) -> io::Result<Option<Answer>> {
        let answer = match self.again {
            Some(_) => self.first().await,
            None => self.read().await,
        };
        let Some(again) = self.again.take() else { return answer };
        let was_ending = match &answer {
            Ok(None) => true,
            Ok(Some(Answer::Event(event))) => {
                // it has begun nothing
                matches!(**event, Event::Failed(Failure { kind: FailureKind::Stopping | FailureKind::Protocol, .. }))
            }
            Ok(Some(_)) => false,
            Err(error) => has_closed(error),
        };
        if !was_ending {
            return answer;
        }
        self.stream = again.place_anew().await.map_err(io::Error::other)?;
        self.read().await
    }

    /// The first answer, which may take as long as it likes, if the daemon says meanwhile how it is.
    async fn first(&mut self) -> io::Result<Option<Answer>> {
        let place = SocketPath::find().map_err(io::Error::other)?;
        let mut answer = pin!(self.read());
        loop {
            match tokio::time::timeout(PATIENCE, answer.as_mut()).await {
                Ok(answer) => return answer,
                Err(_) => place.status().await.map_err(io::Error::other)?,
            };
        }
    }

    async fn read(&mut self) -> io::Result<Option<Answer>> {
        let Some(frame) = Frame::read(&mut self.stream).await? else { return Ok(None) };
        Ok(Some(match frame.kind {
            Kind::Message => Answer::Event(Box::new(frame.parse()?)),
            Kind::Output => Answer::Output(frame.content.to_vec()),
            Kind::ErrorOutput => Answer::ErrorOutput(frame.content.to_vec()),
        }))
    }

    /// Takes the call back, and returns how that went where the daemon says so within a few seconds: with
    /// [`FailureKind::NotWithdrawn`] where a question may still be open. To be called where the call is at a question or
    /// before it; a command that runs is told to end, and killed where it does not within some seconds.
    pub async fn leave(mut self) -> Option<Failure> {
        self.stream.shutdown().await.ok()?;
        let last = async {
            let mut last = None;
            while let Ok(Some(answer)) = self.read().await {
                if let Answer::Event(event) = answer
                    && let Event::Failed(failure) = *event
                {
                    last = Some(failure);
                }
            }
            last
        };
        // beyond what the daemon takes for it
        tokio::time::timeout(FAREWELL + Duration::from_secs(2), last).await.ok().flatten()
    }
}
