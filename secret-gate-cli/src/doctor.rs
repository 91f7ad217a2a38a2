//! `doctor`: whether everything is there that asking for a secret and using it needs, and what to do where it is not.
//! Nobody is asked, no value is read.

use std::time::{Duration, SystemTime};

use secret_gate_core::SecretValue;
use secret_gate_core::client::{ClientError, RemoteGate};
use secret_gate_core::daemon::{
    Answer, Config, ConnectError, Event, Settings, SettingsError, SocketPath, Status, Verb, call, harden_process,
    machine_name,
};
use secret_gate_core::ssh::{AgentError, UserAgent};
use secret_gate_core::wire::SearchRequest;
use serde::Serialize;
use tokio::process::Command;

use crate::cli::{Doctor, Format};
use crate::exit::Exit;
use crate::failure::{Failure, with_cause};
use crate::ui::{self, Ui, visible};

/// How long a check may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// How far the clocks of client and server may be apart: one-time codes change every 30 s.
const MAX_CLOCK_DIFFERENCE: Duration = Duration::from_secs(30);

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What a check found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Ok,
    /// It works, or most of it does.
    Warn,
    /// It does not work.
    Fail,
}

/// A line of the report.
#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    state: State,
    message: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

#[derive(Debug, Serialize)]
struct Report {
    /// Whether no check failed.
    ok: bool,
    version: &'static str,
    machine: String,
    checks: Vec<Check>,
}

/// Checks everything, prints what was found, and says whether all is well.
pub(crate) async fn run(ui: &Ui, doctor: Doctor) -> Result<Exit, Failure> {
    let Doctor { server, format } = doctor;
    let mut checks = Vec::new();
    let gate = configuration(server, &mut checks).await;
    if let Some((gate, settings)) = &gate {
        checks_of_server(gate, settings, &mut checks).await;
    }
    checks.extend([
        bounded("daemon", daemon()).await,
        bounded("ssh", ssh()).await,
        bounded("ssh-agent", ssh_agent(gate.as_ref().map(|(_, settings)| settings.config()))).await,
        memory(),
        core_dumps(),
    ]);
    let ok = checks.iter().all(|check| check.state != State::Fail);
    let report = Report { ok, version: VERSION, machine: machine_name(), checks };
    match format {
        Format::Json => {
            let json = serde_json::to_string(&report).map_err(|error| Failure::new(Exit::Failed, error.to_string()))?;
            ui.tell(&json)?;
        }
        Format::Plain => report.checks.iter().try_for_each(|check| ui.tell(&check.line()))?,
    }
    Ok(if ok { Exit::Done } else { Exit::Failed })
}

impl Check {
    fn new(name: &'static str, state: State, message: impl Into<String>) -> Self {
        Self { name, state, message: message.into(), hint: None }
    }

    fn ok(name: &'static str, message: impl Into<String>) -> Self {
        Self::new(name, State::Ok, message)
    }

    fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// As the user would have been told of this failure.
    fn failed(name: &'static str, failure: impl Into<Failure>) -> Self {
        let Failure { what, hint, .. } = failure.into();
        Self { hint, ..Self::new(name, State::Fail, what) }
    }

    fn line(&self) -> String {
        let Self { name, state, message, hint } = self;
        let (color, word) = match state {
            State::Ok => (ui::GREEN, "ok"),
            State::Warn => (ui::YELLOW, "warn"),
            State::Fail => (ui::RED, "FAIL"),
        };
        let hint = hint.as_ref().map(|hint| format!("\n{:20}{}", "", visible(hint))).unwrap_or_default();
        format!("{color}{word:4}{}  {name:13} {}{hint}", ui::RESET, visible(message))
    }
}

/// A check that does not take longer than its time.
async fn bounded(name: &'static str, check: impl Future<Output = Check>) -> Check {
    let late = || {
        let message = format!("there was no answer within {} s", PATIENCE.as_secs());
        Check::new(name, State::Fail, message)
    };
    tokio::time::timeout(PATIENCE, check).await.unwrap_or_else(|_| late())
}

/// What is configured, and the client for it.
async fn configuration(server: Option<String>, checks: &mut Vec<Check>) -> Option<(RemoteGate, Settings)> {
    const NAME: &str = "configuration";
    // a file may be a pipe that nobody writes into
    let read = tokio::task::spawn_blocking(move || {
        let settings = Settings::read(server.as_deref())?;
        let gate = settings.gate(crate::POLL_INTERVAL)?;
        Ok::<_, SettingsError>((gate, settings))
    });
    let mut found = None;
    let check = bounded(NAME, async {
        match read.await.map_err(|error| Failure::new(Exit::Failed, error.to_string())) {
            Ok(Ok((gate, settings))) => {
                let path = Config::path().filter(|path| path.exists());
                let file = path.map_or_else(|| "no file".to_owned(), |path| path.display().to_string());
                let message = format!("{}, {file}", settings.server());
                let check = match settings.warning() {
                    None => Check::ok(NAME, message),
                    Some(warning) => Check::new(NAME, State::Warn, message).hint(warning),
                };
                found = Some((gate, settings));
                check
            }
            Ok(Err(error)) => Check::failed(NAME, Failure::from(error)),
            Err(failure) => Check::failed(NAME, failure),
        }
    })
    .await;
    checks.push(check);
    found
}

/// Whether the server serves, agrees about the time, can serve a request, and takes the key.
async fn checks_of_server(gate: &RemoteGate, settings: &Settings, checks: &mut Vec<Check>) {
    let mut date = None;
    let server = bounded("server", async {
        match gate.health().await {
            Ok(health) => {
                date = health.date;
                Check::ok("server", format!("{} serves", gate.server()))
            }
            Err(error) => Check::failed("server", error),
        }
    });
    let server = server.await;
    let is_there = server.state != State::Fail;
    checks.push(server);
    if is_there {
        checks.push(clock(date, SystemTime::now()));
        checks.push(bounded("readiness", readiness(gate)).await);
        checks.push(bounded("api key", api_key(gate, settings)).await);
    }
}

fn clock(server: Option<SystemTime>, here: SystemTime) -> Check {
    let Some(server) = server else { return Check::ok("clock", "the server does not tell its time") };
    let (difference, word) = match here.duration_since(server) {
        Ok(ahead) => (ahead, "ahead of"),
        Err(behind) => (behind.duration(), "behind"),
    };
    // the server tells whole seconds
    if difference <= MAX_CLOCK_DIFFERENCE {
        return Check::ok("clock", format!("{} s {word} the server's", difference.as_secs()));
    }
    let shown = humantime::format_duration(Duration::from_secs(difference.as_secs()));
    Check::new("clock", State::Warn, format!("{shown} {word} the server's"))
        .hint("set this machine's clock or the server's; one-time codes and times of expiry need a right one")
}

async fn readiness(gate: &RemoteGate) -> Check {
    match gate.readiness().await {
        Ok(None) => Check::ok("readiness", "the server is too old to tell"),
        Ok(Some(readiness)) if readiness.ready => Check::ok("readiness", "secrets can be read, a human can be asked"),
        Ok(Some(readiness)) => {
            let message = format!("backend {}, approver {}", readiness.backend, readiness.approver);
            Check::new("readiness", State::Fail, message)
                .hint("see the server's log, or run secret-gate-server check where it runs")
        }
        Err(error) => Check::failed("readiness", error),
    }
}

/// A search for nothing is refused, but not before the key was looked at.
async fn api_key(gate: &RemoteGate, settings: &Settings) -> Check {
    const NAME: &str = "api key";
    let has_key = settings.has_api_key();
    match gate.search(&SearchRequest { query: String::new(), limit: 1 }).await {
        Ok(_) | Err(ClientError::Server { status: 400, .. }) if has_key => {
            Check::ok(NAME, "the server takes it, or needs none")
        }
        Ok(_) | Err(ClientError::Server { status: 400, .. }) => Check::ok(NAME, "none is needed"),
        Err(error @ ClientError::Unauthorized { .. }) => {
            let what = if has_key { "it is not one that the server knows" } else { "the server wants one" };
            Check { message: what.to_owned(), ..Check::failed(NAME, error) }
        }
        Err(error) => Check::failed(NAME, error),
    }
}

/// Whether there is a place for the daemon, and how it is where it runs.
async fn daemon() -> Check {
    const NAME: &str = "daemon";
    let place = match SocketPath::find() {
        Ok(place) => place,
        Err(error) => return Check::failed(NAME, ConnectError::from(error)).hint(WITHOUT_DAEMON),
    };
    let path = place.as_path().display();
    let stream = match place.connect().await {
        Ok(stream) => stream,
        Err(ConnectError::NotRunning) => return Check::ok(NAME, format!("starts when it is needed, at {path}")),
        Err(error) => return Check::failed(NAME, error).hint(WITHOUT_DAEMON),
    };
    let status = async { call(stream, Verb::Status).await?.next().await };
    match status.await {
        Ok(Some(Answer::Event(event))) => match *event {
            Event::Status(status) => running(&status),
            Event::Failed(failure) => Check::failed(NAME, failure),
            _ => Check::new(NAME, State::Fail, "it answers something else than it was asked").hint(RESTART),
        },
        Ok(_) => Check::new(NAME, State::Fail, format!("what listens at {path} says nothing")).hint(RESTART),
        Err(error) => Check::failed(NAME, ConnectError::from(error)),
    }
}

const WITHOUT_DAEMON: &str = "without a place for the daemon, only --secret works, and keeps nothing";
const RESTART: &str = "run secret-gate daemon stop, so that one of this version starts";

fn running(status: &Status) -> Check {
    let Status { pid, version, entry_count, socket_path, memory_locked, .. } = status;
    let message = format!("version {version}, process {pid}, holds {entry_count}, at {socket_path}");
    if version != VERSION {
        return Check::new("daemon", State::Warn, format!("{message}; this is version {VERSION}")).hint(RESTART);
    }
    if !memory_locked {
        return Check::new("daemon", State::Warn, format!("{message}; its values may be swapped out")).hint(LOCKING);
    }
    Check::ok("daemon", message)
}

/// Whether there is an `ssh`.
async fn ssh() -> Check {
    let run = Command::new("ssh").arg("-V").stdin(std::process::Stdio::null()).kill_on_drop(true).output().await;
    let version = run.map(|output| String::from_utf8_lossy(&output.stderr).trim().to_owned());
    match version {
        Ok(version) if !version.is_empty() => Check::ok("ssh", version),
        Ok(_) => Check::new("ssh", State::Warn, "it does not tell its version").hint(ONLY_SSH),
        Err(error) => Check::new("ssh", State::Warn, format!("it can't be run: {error}")).hint(ONLY_SSH),
    }
}

const ONLY_SSH: &str = "install the OpenSSH client; only secret-gate ssh needs it";

/// Whether keys that were approved for any use can go to the user's own agent.
async fn ssh_agent(config: Option<&Config>) -> Check {
    const NAME: &str = "ssh-agent";
    if config.is_some_and(|config| !config.ssh_agent_integration()) {
        return Check::ok(NAME, "not used: ssh_agent_integration is off");
    }
    let agent = match UserAgent::from_env() {
        Ok(agent) => agent,
        Err(AgentError::NotRunning) => {
            return Check::ok(NAME, "SSH_AUTH_SOCK names none, so keys stay with the daemon");
        }
        Err(error) => return Check::failed(NAME, Failure::new(Exit::Failed, with_cause(&error))),
    };
    match agent.list().await {
        Ok(keys) => Check::ok(NAME, format!("has {} keys, at {}", keys.len(), agent.socket().display())),
        Err(error) => Check::new(NAME, State::Warn, with_cause(&error))
            .hint("start an ssh-agent, unset SSH_AUTH_SOCK, or set ssh_agent_integration to false"),
    }
}

/// Whether values can be kept out of swap.
fn memory() -> Check {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Memlock).current;
    let limit = limit.map_or_else(|| "without limit".to_owned(), |bytes| format!("up to {} KiB", bytes / 1024));
    if SecretValue::copy_of("probe").is_locked() {
        return Check::ok("memory", format!("values are kept out of swap, {limit}"));
    }
    Check::new("memory", State::Warn, format!("values may be swapped out: pages can be locked {limit}")).hint(LOCKING)
}

const LOCKING: &str = "raise RLIMIT_MEMLOCK (ulimit -l, or LimitMEMLOCK= of systemd), or encrypt the swap";

/// Whether the daemon can protect itself: this process does so now.
fn core_dumps() -> Check {
    match harden_process() {
        Ok(()) => Check::ok("core dumps", "the daemon leaves none"),
        Err(error) => Check::new("core dumps", State::Fail, format!("they can't be turned off: {error}"))
            .hint("the daemon does not start here; run it outside of this sandbox"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_may_differ_by_half_a_minute() {
        let now = SystemTime::now();
        let at = |difference: i64| {
            let shift = Duration::from_secs(difference.unsigned_abs());
            clock(Some(if difference < 0 { now - shift } else { now + shift }), now)
        };
        for difference in [-30, 0, 30] {
            assert_eq!(at(difference).state, State::Ok, "{difference}");
        }
        assert_eq!((at(-31).state, at(-31).message.as_str()), (State::Warn, "31s ahead of the server's"));
        assert_eq!((at(7200).state, at(7200).message.as_str()), (State::Warn, "2h behind the server's"));
        assert_eq!(clock(None, now).state, State::Ok);
    }

    #[test]
    fn a_daemon_of_another_version_or_without_locked_memory_is_told_apart() {
        let status = |version: &str, memory_locked: bool| {
            let json = serde_json::json!({"pid": 7, "version": version, "uptime_seconds": 1, "entry_count": 2,
                "socket_path": "/run/x\n", "memory_locked": memory_locked});
            running(&serde_json::from_value(json).unwrap())
        };
        assert_eq!(status(VERSION, true).state, State::Ok);
        assert_eq!(status(VERSION, false).hint.as_deref(), Some(LOCKING));
        let other = status("0.0.1", true);
        assert!(other.state == State::Warn && other.hint.as_deref() == Some(RESTART), "{other:?}");
        assert!(other.line().contains("/run/x\\n; this is version"), "{}", other.line());
    }
}
