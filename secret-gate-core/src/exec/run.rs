//! Running a command from its start to the last of its output.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, sleep, timeout};

use super::exact::Opened;
use super::group::Group;
use super::injection::{self, Injection};
use super::pump::{Progress, Pump};
use super::start::{Feed, Started, start};
use super::{Command, Ended, ExecError, Exit, Output};

/// How long a command that is told to end may take before it is killed.
const GRACE: Duration = Duration::from_secs(2);

/// How long processes may be silent that hold the pipes of a command that has ended.
const SILENCE: Duration = Duration::from_millis(500);

/// How long such processes may go on altogether before they are killed.
const LINGER: Duration = Duration::from_secs(5);

/// How much output may be read after all processes were killed that can be found, in bytes: what two pipes hold at most by
/// default (`pipe(7)`).
const REST_BYTES: u64 = 2 * 1024 * 1024;

/// Runs a command with these values, and passes its output on without those that are concealed.
///
/// The command runs in a process group of its own and ends
/// - by itself: its exit code counts. Processes that it left in the background are not touched when they let go of its
///   standard output and error. Those that hold them may go on for five seconds, or until they have been silent for half a
///   second, and are killed;
/// - when its time is up, or `cancel` is done (which [`std::future::pending`] never is): every process gets SIGTERM, and
///   SIGKILL two seconds later. Where `cancel` is done before it starts, it does not start;
/// - when this future is dropped, or `output` fails: every process gets SIGKILL at once.
///
/// Every process is: the group, and on Linux also those that left the group (`setsid`) and whose parent still runs, or its
/// parent, up to the group, or that still hold the command's standard output or error. A process whose parent has ended,
/// that is in another group and that let go of both (a daemon) is not found; neither is one that runs as another user
/// (`sudo`), nor one that another program was asked to start (`systemd-run`, `docker run`, `at`).
///
/// What a command has written before its end is passed on, however slowly `output` takes it; the end is not put off by
/// that, only the return of this function.
///
/// Output is passed on as it comes; when the command is silent for 50 ms, all but what looks like six bytes or more of a
/// value is. Standard output and error are two streams: that a value is split between them is not noticed.
///
/// Needs a Tokio runtime whose I/O and time drivers are enabled. A thread waits for each command.
///
/// # Errors
/// [`ExecError`], before anything was started but for [`ExecError::Output`] and [`ExecError::Lost`]; and where a program
/// was changed in the very moment of its start ([`ExecError::Changed`]), when it was killed.
///
/// ```
/// use secret_gate_core::SecretValue;
/// use secret_gate_core::exec::{Collected, Command, Delivery, Injection, run};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), secret_gate_core::exec::ExecError> {
/// let token = Injection::new("api/token", SecretValue::from("correct-horse"), Delivery::Variable("TOKEN".into()));
/// let command = Command::shell("echo \"token: $TOKEN\"; exit 3", "/");
/// let mut output = Collected::new();
/// let exit = run(command, &[token], &mut output, std::future::pending()).await?;
/// assert_eq!(exit.code(), 3);
/// assert_eq!(output.stdout, b"token: [redacted:api/token]\n");
/// # Ok(()) }
/// ```
pub async fn run(
    command: Command,
    injections: &[Injection],
    output: &mut dyn Output,
    cancel: impl Future<Output = ()> + Send,
) -> Result<Exit, ExecError> {
    if command.argv.first().is_none_or(|program| program.is_empty()) {
        return Err(ExecError::NoProgram);
    }
    let redactor = injection::check(&command, injections)?;
    let mut cancel = pin!(cancel);
    let opening = async {
        match &command.approved {
            Some(approved) => Opened::approved(&command, approved).await.map(Some),
            None => Ok(None),
        }
    };
    let opened = tokio::select! {
        // asked last before the start, so that nothing starts with what was taken back while a program was hashed
        biased;
        () = cancel.as_mut() => return Ok(Exit { ended: Ended::Cancelled, truncated: vec![], unredacted: vec![] }),
        opened = opening => opened?,
    };
    let (time, limit) = (command.timeout, command.output_limit);
    let Started { group, stdout, stderr, feeds } = start(command, opened.as_ref(), injections)?;
    let progress = Progress::default();
    let pump = Pump::new([stdout, stderr], &redactor, limit, output, &progress);
    let mut watch = Watch { group, pump: pin!(pump.run()), is_pumped: false, progress: &progress };
    let stop = async {
        tokio::select! {
            () = cancel => Ended::Cancelled,
            () = up(time) => Ended::TimedOut,
        }
    };
    let ended = watch.until_its_end(stop, feeds).await?;
    watch.finish_writing().await?;
    watch.group.leave();
    Ok(Exit { ended, truncated: progress.truncated(), unredacted: injection::unredacted(injections) })
}

/// A command and the passing on of its output.
struct Watch<'a, P> {
    group: Group,
    pump: Pin<&'a mut P>,
    /// Whether the output has ended.
    is_pumped: bool,
    progress: &'a Progress,
}

impl<P: Future<Output = io::Result<()>> + Send> Watch<'_, P> {
    async fn until_its_end(
        &mut self,
        stop: impl Future<Output = Ended> + Send,
        feeds: Vec<Feed>,
    ) -> Result<Ended, ExecError> {
        let stopped = tokio::select! {
            biased;
            stopped = stop => stopped,
            ended = self.by_itself(feeds) => return ended,
        };
        // it may have ended in time, and others held its output
        let ended = self.group.known_end().unwrap_or(stopped);
        self.terminate().await?;
        self.drain_rest().await?;
        Ok(ended)
    }

    async fn by_itself(&mut self, feeds: Vec<Feed>) -> Result<Ended, ExecError> {
        let mut feeds = pin!(join_all(feeds.into_iter().map(Feed::run)));
        let mut is_fed = false;
        let ended = loop {
            tokio::select! {
                done = self.pump.as_mut(), if !self.is_pumped => {
                    done.map_err(ExecError::Output)?;
                    self.is_pumped = true;
                }
                _ = &mut feeds, if !is_fed => is_fed = true,
                ended = self.group.ended() => break ended?,
            }
        };
        let until = Instant::now() + LINGER;
        self.drain(|_| Instant::now() < until).await?;
        if !self.is_pumped {
            self.terminate().await?;
            self.drain_rest().await?;
        }
        Ok(ended)
    }

    /// Passes on what is left in the pipes.
    async fn drain_rest(&mut self) -> Result<(), ExecError> {
        let before = self.progress.read();
        self.drain(|progress| progress.read() - before < REST_BYTES).await
    }

    /// Passes output on until it ends, there has been none for a while, or it is enough.
    async fn drain(&mut self, goes_on: impl Fn(&Progress) -> bool + Send) -> Result<(), ExecError> {
        while !self.is_pumped && goes_on(self.progress) {
            let before = self.progress.read();
            match timeout(SILENCE, self.pump.as_mut()).await {
                Ok(done) => {
                    done.map_err(ExecError::Output)?;
                    self.is_pumped = true;
                }
                Err(_) if self.progress.read() == before && !self.progress.is_writing() => break,
                Err(_) => {}
            }
        }
        Ok(())
    }

    /// Lets the reader of the output take what it was given: a message that is cut off can't be told from a broken one.
    async fn finish_writing(&mut self) -> Result<(), ExecError> {
        if self.is_pumped {
            return Ok(());
        }
        self.progress.stop();
        let written = poll_fn(|context| match self.pump.as_mut().poll(context) {
            Poll::Pending if !self.progress.is_writing() => Poll::Ready(Ok(())),
            polled => polled,
        });
        written.await.map_err(ExecError::Output)
    }

    /// Ends all processes: with a word, and then without. Output goes on meanwhile.
    async fn terminate(&mut self) -> Result<(), ExecError> {
        self.group.terminate();
        let ending = async {
            if !self.is_pumped {
                self.pump.as_mut().await.map_err(ExecError::Output)?;
                self.is_pumped = true;
            }
            self.group.ended().await
        };
        if let Ok(ended) = timeout(GRACE, ending).await {
            ended?;
        }
        self.group.kill();
        Ok(())
    }
}

/// Done when the time is up, if there is a limit.
async fn up(time: Option<Duration>) {
    match time {
        Some(time) => sleep(time).await,
        None => std::future::pending().await,
    }
}
