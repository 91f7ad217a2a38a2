//! The daemon: being it, starting it, calling it.

use std::os::fd::{AsFd as _, BorrowedFd};
use std::time::Duration;

use secret_gate_core::daemon::{
    self as protocol, Answer, Answers, Config, ConnectError, Event, FailureKind, Granted, Inject, SocketPath, Status,
    Verb, Way, Wish, call_or_start, connect_or_start, serve_here,
};
use secret_gate_core::wire::GrantInfo;
use secret_gate_core::{Scope, Use};

use crate::ask::MAY_BE_OPEN;
use crate::cli::{DaemonCommand, Format};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::input::Input;
use crate::render::Values;
use crate::stop::{Limit, Stop};
use crate::ui::{Ui, visible};

/// How long the daemon may take to answer where it asks nobody.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long it may take where it tells servers.
const SERVERS_PATIENCE: Duration = Duration::from_secs(90);

impl DaemonCommand {
    /// Does it.
    pub(crate) async fn run(self, ui: &Ui) -> Result<(), Failure> {
        match self {
            Self::Serve => return serve().await,
            Self::Status => return status(ui).await,
            Self::Start => {
                connect_or_start().await?;
                ui.note("the daemon runs");
            }
            Self::Stop => match stopped().await? {
                None => ui.note("no daemon is running"),
                Some(count) => ui.note(&format!("the daemon ends; {}", approvals(count, "forgotten"))),
            },
            Self::Flush => match forgotten(Verb::Flush).await? {
                None => ui.note("no daemon is running, so nothing is held"),
                Some(count) => ui.note(&approvals(count, "forgotten")),
            },
        }
        Ok(())
    }
}

async fn status(ui: &Ui) -> Result<(), Failure> {
    let Some(stream) = running().await? else { return ui.tell("Daemon: not running") };
    let Event::Status(Status { pid, version, uptime_seconds, entry_count, socket_path, memory_locked, .. }) =
        ask(stream, Verb::Status).await?
    else {
        return Err(odd());
    };
    let uptime = humantime::format_duration(Duration::from_secs(uptime_seconds));
    ui.tell(&format!(
        "Daemon: running\nPID: {pid}\nVersion: {}\nUptime: {uptime}\nCached secrets: {entry_count}\nSocket: {}\nMemory \
         locked: {}",
        visible(&version),
        visible(&socket_path),
        if memory_locked { "yes" } else { "no (raise RLIMIT_MEMLOCK)" },
    ))
}

/// Lists what is held.
pub(crate) async fn grants(ui: &Ui, format: Format) -> Result<(), Failure> {
    let grants = match running().await? {
        None => Vec::new(),
        Some(stream) => match ask(stream, Verb::Grants).await? {
            Event::Grants { grants } => grants,
            _ => return Err(odd()),
        },
    };
    if format == Format::Json {
        let json = serde_json::to_string(&grants).map_err(|error| Failure::new(Exit::Failed, error.to_string()))?;
        return ui.tell(&json);
    }
    if grants.is_empty() {
        ui.note("nothing is held");
    }
    for held in grants {
        let items: Vec<_> = held.items.iter().map(|item| visible(&item.secret_name)).collect();
        let GrantInfo { id, allowed, expires_at, once } = held.grant;
        let once = if once { ", once" } else { "" };
        ui.tell(&format!("{}  until {expires_at}{once}  {}  {}", visible(&id), uses(&allowed), items.join(", ")))?;
    }
    Ok(())
}

fn uses(allowed: &Use) -> String {
    let scope = |name: &str, is_any: bool| format!("{name} {}", if is_any { "any" } else { "exactly" });
    let exec = allowed.exec.as_ref().map(|exec| scope("exec", matches!(exec, Scope::Any)));
    let ssh = allowed.ssh.as_ref().map(|ssh| scope("ssh", matches!(ssh, Scope::Any)));
    let reveal = allowed.reveal.then(|| "reveal".to_owned());
    exec.into_iter().chain(ssh).chain(reveal).collect::<Vec<_>>().join(" + ")
}

/// Ends one approval, or all.
pub(crate) async fn revoke(ui: &Ui, id: Option<String>) -> Result<(), Failure> {
    let count = match (running().await?, id) {
        (None, None) => 0,
        (None, Some(id)) => {
            return Err(Failure::new(Exit::NotFound, format!("there is no grant {id}"))
                .with_hint("no daemon is running, so nothing is held"));
        }
        (Some(stream), id) => done(stream, Verb::Revoke { id }).await?,
    };
    ui.note(&approvals(count, "revoked"));
    Ok(())
}

/// The values of an item, out of what the daemon holds, or after asking.
pub(crate) async fn reveal(ui: &Ui, wish: Wish, limit: &Limit) -> Result<Values, Failure> {
    let mut stop = Stop::new()?;
    let name = wish.secrets.first().map(|wanted| visible(&wanted.secret_name)).unwrap_or_default();
    let answers = placed(Verb::Reveal(wish), None, limit, &mut stop).await?;
    match decided(ui, &name, answers, limit, &mut stop).await?.0 {
        Event::Revealed { granted, values } => {
            warn(ui, &granted);
            values.into_iter().next().ok_or_else(odd)
        }
        _ => Err(odd()),
    }
}

/// Runs a command, here or on another host, with what is held, or after asking; its output goes to ours.
pub(crate) async fn run(ui: &Ui, name: &str, verb: Verb, limit: &Limit) -> Result<Event, Failure> {
    let mut stop = Stop::new()?;
    let name = visible(name);
    let is_value = |inject: &Inject| matches!(inject.into, Way::Stdin);
    let has_value = matches!(&verb, Verb::Exec(exec) if exec.inject.iter().any(is_value));
    let unreadable = |error| Failure::new(Exit::Failed, format!("standard input can't be passed on: {error}"));
    let input = (!has_value).then(Input::of_ours).transpose().map_err(unreadable)?;
    let answers = placed(verb, input.as_ref().map(Input::as_fd), limit, &mut stop).await?;
    let (Event::Started, mut answers) = decided(ui, &name, answers, limit, &mut stop).await? else { return Err(odd()) };
    input.map_or(Ok(()), Input::begin).map_err(unreadable)?;
    loop {
        let answer = tokio::select! {
            answer = answers.next() => answer.map_err(broken)?,
            stopped = stop.signal() => return Err(ended_with(stopped, answers, &mut stop).await),
        };
        match answer {
            Some(Answer::Output(output)) => {
                let ui = *ui;
                let write = tokio::task::spawn_blocking(move || ui.data(&output));
                tokio::select! {
                    written = write => written.unwrap_or_else(|_| Err(odd()))?,
                    // whoever reads the output may take their time
                    stopped = stop.signal() => return Err(ended_with(stopped, answers, &mut stop).await),
                }
            }
            Some(Answer::ErrorOutput(output)) => ui.error_output(&output),
            Some(Answer::Event(event)) => match *event {
                Event::Failed(failure) => return Err(failure.into()),
                event => return Ok(event),
            },
            None => return Err(ended()),
        }
    }
}

/// Has the command end, and waits for that as long as the user has patience.
async fn ended_with(stopped: Failure, answers: Answers, stop: &mut Stop) -> Failure {
    tokio::select! {
        _ = answers.leave() => {}
        _ = stop.signal() => {}
    }
    stopped
}

/// Makes a call, to a daemon that is started where none runs.
async fn placed(verb: Verb, stdin: Option<BorrowedFd<'_>>, limit: &Limit, stop: &mut Stop) -> Result<Answers, Failure> {
    tokio::select! {
        answers = call_or_start(verb, stdin) => Ok(answers?),
        stopped = stop.signal_or(limit) => Err(stopped),
    }
}

/// What the daemon says once it is decided, after showing what it waits for.
async fn decided(
    ui: &Ui,
    name: &str,
    mut answers: Answers,
    limit: &Limit,
    stop: &mut Stop,
) -> Result<(Event, Answers), Failure> {
    let mut waiting_for: Option<String> = None;
    loop {
        let next = async {
            tokio::select! {
                answer = event(&mut answers) => answer.map(Ok),
                stopped = stop.signal_or(limit) => Ok(Err(stopped)),
            }
        };
        let heard = match &waiting_for {
            Some(what) => ui.waiting(what, "Ctrl-C withdraws the question", next).await?,
            None => next.await?,
        };
        waiting_for = match heard {
            Err(stopped) => {
                leave(ui, answers, stop).await;
                return Err(stopped);
            }
            Ok(Event::Asked { request_id, .. }) if request_id.is_empty() => Some(format!("the approval of {name}")),
            Ok(Event::Asked { request_id, .. }) => {
                Some(format!("the approval of {name} (request {})", visible(&request_id)))
            }
            Ok(decided) => return Ok((decided, answers)),
        };
    }
}

/// Takes the question back, for as long as the user has patience, and tells where that can't be done.
async fn leave(ui: &Ui, answers: Answers, stop: &mut Stop) {
    let left = tokio::select! {
        left = answers.leave() => left,
        _ = stop.signal() => None,
    };
    match left {
        Some(failure) if failure.kind != FailureKind::NotWithdrawn => {}
        Some(failure) => ui.warning(&visible(&failure.message)),
        None => ui.warning(MAY_BE_OPEN),
    }
}

/// What the daemon holds already of an item; none where it would have to ask.
pub(crate) async fn held(ui: &Ui, wish: &Wish) -> Result<Option<Values>, Failure> {
    let Some(stream) = running().await? else { return Ok(None) };
    match ask(stream, Verb::Reveal(Wish { only_held: true, ..wish.clone() })).await {
        Ok(Event::Revealed { granted, values }) => {
            warn(ui, &granted);
            Ok(values.into_iter().next())
        }
        Ok(_) => Err(odd()),
        Err(_) => Ok(None),
    }
}

/// Tells what did not go well although the approval is there.
fn warn(ui: &Ui, granted: &Granted) {
    granted.notes.iter().for_each(|note| ui.warning(note));
}

/// Makes sure that a daemon runs.
pub(crate) async fn start() -> Result<(), Failure> {
    drop(connect_or_start().await?);
    Ok(())
}

fn place() -> Result<SocketPath, Failure> {
    SocketPath::find().map_err(|error| ConnectError::from(error).into())
}

/// The daemon, where one runs.
async fn running() -> Result<Option<tokio::net::UnixStream>, Failure> {
    match place()?.connect().await {
        Err(ConnectError::NotRunning) => Ok(None),
        stream => Ok(Some(stream?)),
    }
}

/// How many approvals the daemon forgets; none where no daemon runs.
async fn forgotten(verb: Verb) -> Result<Option<usize>, Failure> {
    match running().await? {
        None => Ok(None),
        Some(stream) => done(stream, verb).await.map(Some),
    }
}

/// The same for one that is told to end. One that does not even understand that is named.
async fn stopped() -> Result<Option<usize>, Failure> {
    let Some(stream) = running().await? else { return Ok(None) };
    let pid = stream.peer_cred().ok().and_then(|peer| peer.pid()).unwrap_or_default();
    match protocol::ask(stream, Verb::Stop, PATIENCE).await {
        Ok(Event::Done { count }) => Ok(Some(count)),
        // it ends, but a key may stay in an ssh-agent
        Ok(Event::Failed(failure)) if failure.kind == FailureKind::Failed => Err(failure.into()),
        Err(ConnectError::NotRunning) => Ok(None),
        Err(error @ ConnectError::Silent { .. }) => Err(error.into()),
        _ => Err(ConnectError::Foreign { path: place()?.as_path().to_owned(), pid }.into()),
    }
}

/// To how many approvals the daemon does this.
async fn done(stream: tokio::net::UnixStream, verb: Verb) -> Result<usize, Failure> {
    match ask(stream, verb).await? {
        Event::Done { count } => Ok(count),
        _ => Err(odd()),
    }
}

/// Is the daemon, until it has nothing to do.
async fn serve() -> Result<(), Failure> {
    let config = Config::read(&Config::path().unwrap_or_default())?;
    let mut stop = Stop::new()?;
    let served = serve_here(&config, async move { drop(stop.signal().await) }).await;
    served.map_err(|error| Failure::new(Exit::Failed, error.to_string()))
}

/// Asks something that no human is waited for.
async fn ask(stream: tokio::net::UnixStream, verb: Verb) -> Result<Event, Failure> {
    // an approval is taken back at the server
    let patience = if matches!(verb, Verb::Revoke { .. }) { SERVERS_PATIENCE } else { PATIENCE };
    match protocol::ask(stream, verb, patience).await {
        Ok(Event::Failed(failure)) => Err(failure.into()),
        Err(ConnectError::NotRunning) => Err(ended()),
        event => Ok(event?),
    }
}

/// The next event; a failure as one.
async fn event(answers: &mut Answers) -> Result<Event, Failure> {
    match answers.next().await.map_err(broken)? {
        Some(Answer::Event(event)) => match *event {
            Event::Failed(failure) => Err(failure.into()),
            event => Ok(event),
        },
        Some(_) => Err(odd()),
        None => Err(ended()),
    }
}

fn ended() -> Failure {
    Failure::new(Exit::Unreachable, "the daemon has ended").with_hint("try again; a new one starts")
}

fn broken(error: std::io::Error) -> Failure {
    ConnectError::from(error).into()
}

fn odd() -> Failure {
    Failure::new(Exit::Failed, "the daemon answered something else than it was asked")
        .with_hint("run secret-gate daemon stop, so that one of this version starts")
}

fn approvals(count: usize, what: &str) -> String {
    let noun = if count == 1 { "approval" } else { "approvals" };
    format!("{count} {noun} {what}")
}
