//! Calls to the daemon, which holds the values.

use std::ffi::OsString;
use std::time::Duration;

use secret_gate_core::daemon::{
    Answer, ConnectError, Event, Failure, Held, OsText, SocketPath, Status, Verb, ask, call_or_start,
};

use crate::refusal::Refusal;

/// How long the daemon may take to answer where it asks nobody.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a command came to.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
    pub(crate) code: i32,
    pub(crate) timed_out: bool,
    /// Streams of which output was dropped.
    pub(crate) truncated: Vec<String>,
    /// Labels of values that were not redacted.
    pub(crate) unredacted: Vec<String>,
}

/// Runs a command, here or elsewhere, and collects what it prints. The inner failure is the daemon's.
pub(crate) async fn run(verb: Verb) -> Result<Result<Output, Failure>, Refusal> {
    let mut answers = call_or_start(verb, None).await?;
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    loop {
        match answers.next().await? {
            Some(Answer::Output(output)) => stdout.extend(output),
            Some(Answer::ErrorOutput(output)) => stderr.extend(output),
            Some(Answer::Event(event)) => match *event {
                Event::Started => {}
                Event::Failed(failure) => return Ok(Err(failure)),
                Event::Exited { code, timed_out, truncated, unredacted } => {
                    return Ok(Ok(Output { stdout, stderr, code, timed_out, truncated, unredacted }));
                }
                _ => return Err(odd()),
            },
            None => {
                return Err(Refusal::with_hint("the daemon has ended", "Call again; a new one starts"));
            }
        }
    }
}

/// How the daemon is; none where none runs.
pub(crate) async fn status() -> Result<Option<Status>, Refusal> {
    match running(Verb::Status).await? {
        None => Ok(None),
        Some(Event::Status(status)) => Ok(Some(status)),
        Some(_) => Err(odd()),
    }
}

/// Where the daemon listens, or would.
pub(crate) fn place() -> Result<String, Refusal> {
    let place = SocketPath::find().map_err(ConnectError::from)?;
    Ok(place.as_path().display().to_string())
}

/// What is held.
pub(crate) async fn held() -> Result<Vec<Held>, Refusal> {
    match running(Verb::Grants).await? {
        None => Ok(Vec::new()),
        Some(Event::Grants { grants }) => Ok(grants),
        Some(_) => Err(odd()),
    }
}

/// What a daemon that runs says to this.
async fn running(verb: Verb) -> Result<Option<Event>, Refusal> {
    let place = SocketPath::find().map_err(ConnectError::from)?;
    let stream = match place.connect().await {
        Err(ConnectError::NotRunning) => return Ok(None),
        stream => stream?,
    };
    match ask(stream, verb, PATIENCE).await {
        // it has just ended
        Err(ConnectError::NotRunning) => Ok(None),
        Ok(Event::Failed(failure)) => Err(failure.into()),
        event => Ok(Some(event?)),
    }
}

/// This process's environment, for a command.
pub(crate) fn environment() -> Vec<(OsText, OsText)> {
    std::env::vars_os().map(|(name, value): (OsString, OsString)| (name.into(), value.into())).collect()
}

pub(crate) fn odd() -> Refusal {
    Refusal::with_hint(
        "the daemon answered something else than it was asked",
        "Tell the user to run `secret-gate daemon stop`, so that one of this version starts",
    )
}
