//! `request_secret`: puts the question, and waits for a while.

use std::time::Duration;

use rmcp::RoleServer;
use rmcp::model::{ProgressNotificationParam, ProgressToken};
use rmcp::service::{Peer, RequestContext};
use secret_gate_core::daemon::{FailureKind, Granted, Settings, Wish};
use secret_gate_core::{Use, parse_duration};
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use crate::arguments::Request;
use crate::questions::{Failed, Questions, State, Visit};
use crate::refusal::Refusal;
use crate::results::{Decision, Status};
use crate::wanted::{LOOK_UP, Named, Wanted, argv, exact_host, folder, given, key_field, login};
use crate::{Options, run};

/// The longest that a call can wait.
const MAX_WAIT: Duration = Duration::from_secs(24 * 60 * 60);

/// How long a client may take to read a notification.
const NOTIFY: Duration = Duration::from_secs(1);

/// Asks, and waits for as long as the call says. Dropping this leaves the question to whoever comes back in time.
pub(crate) async fn request(
    request: Request,
    questions: &Questions,
    options: &Options,
    context: &RequestContext<RoleServer>,
) -> Result<Decision, Refusal> {
    // looking up what is meant counts as well: the client waits for all of it
    let started = Instant::now();
    let secret_name = request.secret_name.clone();
    let wait = request.wait_sec.map_or(options.wait, |seconds| Duration::from_secs(seconds.max(1).unsigned_abs()));
    let wish = wish(request, run::agent(context), LOOK_UP.min(wait)).await?;
    let mut visit = questions.join(wish)?;
    let news = News { context, started, every: options.progress, wait: wait.min(MAX_WAIT) };
    let waited = news.wait_for(&mut visit).await;
    let Some(end) = waited else {
        let message = pending(&visit.state());
        visit.stay_open();
        return Ok(decision(Status::Pending, secret_name, message));
    };
    match end {
        Ok(granted) => Ok(approved(secret_name, &granted)),
        Err(Failed::Daemon(failure)) if failure.kind == FailureKind::Denied => {
            let message = format!(
                "{}. Do not ask again by yourself: tell the user, and go on without the secret unless they say otherwise",
                failure.message
            );
            Ok(decision(Status::Denied, secret_name, message))
        }
        Err(Failed::Daemon(failure)) if failure.kind == FailureKind::Expired => {
            let message =
                format!("{}. Ask again when the user says that somebody can look at the phone", failure.message);
            Ok(decision(Status::Expired, secret_name, message))
        }
        Err(Failed::Daemon(failure)) => Err(failure.into()),
        Err(Failed::Refused(refusal)) => Err(refusal),
    }
}

/// What the call asks for: fields, and the narrowest use that it names.
async fn wish(request: Request, agent: Option<String>, look_up: Duration) -> Result<Wish, Refusal> {
    let Request {
        secret_name,
        vault,
        reason,
        field,
        fields,
        command,
        args,
        env_var,
        env,
        working_dir,
        host,
        port,
        duration,
        wait_sec: _,
    } = request;
    if reason.trim().is_empty() {
        return Err(Refusal::new("reason is empty: say in a sentence why you need the secret; the human reads it"));
    }
    let keep = match given(duration) {
        None => None,
        Some(text) => Some(
            parse_duration(&text)
                .ok_or_else(|| Refusal::new(format!("duration {text:?} is none: write it like 30m or 1h30m")))?,
        ),
    };
    let settings = Settings::read(None)?;
    let (command, host, env_var, working_dir) = (given(command), given(host), given(env_var), given(working_dir));
    let env = env.filter(|env| !env.is_empty());
    // of clients that fill in every member
    let port = port.filter(|port| *port != 0);
    let mut named = Named::read(&secret_name, vault, field)?;
    let fields = fields.unwrap_or_default();
    let (secrets, intended_use) = match (host, command) {
        (Some(host), command) => {
            if args.is_some_and(|args| !args.is_empty()) || env_var.is_some() || env.is_some() {
                return Err(Refusal::new(
                    "args, env_var and env don't go with host: write the whole line for the other side into command",
                ));
            }
            let login = login(&host, port, command.as_deref())?;
            let intended_use = exact_host(&login).await?;
            if named.field.is_none() && fields.is_empty() {
                named.field = key_field(&settings.gate(run::POLL_INTERVAL)?, &named, look_up).await?;
            }
            (Wanted::read(named, fields, None, None)?.secrets, intended_use)
        }
        (None, Some(_)) if port.is_some() => {
            return Err(Refusal::new("port goes with host, which is missing"));
        }
        (None, Some(command)) => {
            let wanted = Wanted::read(named, fields, env_var, env)?;
            if !wanted.is_carried() {
                return Err(Refusal::new(
                    "the command gets no value: give field and env_var, or env, just as exec_with_secret will be given them",
                ));
            }
            let folder = folder(working_dir.as_deref())?;
            let argv = argv(&command, args, &folder)?;
            let intended_use = wanted.exactly(argv, folder, &settings, look_up).await?;
            (wanted.secrets, intended_use)
        }
        // what was meant to narrow the question would be lost, and the human asked for everything
        (None, None) => {
            let astray = [
                ("args", args.is_some_and(|args| !args.is_empty()), "command"),
                ("env_var", env_var.is_some(), "command"),
                ("working_dir", working_dir.is_some(), "command"),
                ("port", port.is_some(), "host"),
            ];
            if let Some((argument, _, missing)) = astray.into_iter().find(|(_, is_given, _)| *is_given) {
                return Err(Refusal::new(format!(
                    "{argument} goes with {missing}, which is missing: give both, or leave {argument} out to ask for any command \
                     and any host"
                )));
            }
            let mut any = Use::any_command();
            any.ssh = Use::any_host().ssh;
            (Wanted::read(named, fields, None, env)?.secrets, any)
        }
    };
    Ok(Wish { secrets, intended_use, reason: Some(reason), agent, ..settings.wish(run::POLL_INTERVAL, keep) })
}

fn decision(status: Status, secret_name: String, message: String) -> Decision {
    Decision { status, secret_name, cached: false, fields_available: Vec::new(), message }
}

fn approved(secret_name: String, granted: &Granted) -> Decision {
    let Granted { cached, items, grant, notes } = granted;
    let fields = items.iter().flat_map(|item| &item.fields).map(|field| field.label.clone());
    let until = match grant {
        Some(grant) if grant.once => " for one use".to_owned(),
        Some(grant) => format!(" until {}", grant.expires_at),
        None => String::new(),
    };
    let covers_ssh = grant.as_ref().is_some_and(|grant| grant.allowed.ssh.is_some());
    let covers_exec = grant.as_ref().is_none_or(|grant| grant.allowed.exec.is_some());
    let tool = match (covers_exec, covers_ssh) {
        (true, true) => "exec_with_secret or ssh_with_secret",
        (false, true) => "ssh_with_secret",
        _ => "exec_with_secret",
    };
    Decision {
        status: Status::Approved,
        message: format!(
            "Approved{until}. Now call {tool} with secret_name {secret_name:?}, and with the same command or host where you \
             asked for one. You never see the value yourself{}",
            notes.iter().fold(String::new(), |text, note| format!("{text}. {note}"))
        ),
        secret_name,
        cached: *cached,
        fields_available: fields.collect(),
    }
}

fn pending(state: &State) -> String {
    let open = match state {
        State::Asked { request_id, expires_at } => {
            let id = if request_id.is_empty() { String::new() } else { format!(" {request_id}") };
            let until = if expires_at.is_empty() { String::new() } else { format!(", until {expires_at}") };
            format!("The question{id} is on the phone of a human who has not decided yet; it stays open{until}")
        }
        _ => "The question is on its way to a human".to_owned(),
    };
    format!(
        "{open}. Call request_secret again with the same arguments to wait on: it joins this question and asks nobody twice. \
         Meanwhile, do what needs no secret"
    )
}

/// Waiting, of which the client hears where it wants to.
struct News<'a> {
    context: &'a RequestContext<RoleServer>,
    started: Instant,
    every: Duration,
    wait: Duration,
}

impl News<'_> {
    /// The answer to the question; none when the time is up.
    async fn wait_for(&self, visit: &mut Visit) -> Option<Result<Granted, Failed>> {
        let Self { context: _, started, every, wait } = *self;
        let token = self.context.meta.get_progress_token();
        let mut ticks = interval_at(Instant::now() + every, every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            let message = match visit.state() {
                State::Granted(granted) => return Some(Ok(*granted)),
                State::Failed(failed) => return Some(Err(*failed)),
                State::Asking => "putting the question to a human",
                State::Asked { .. } => "waiting for the human to decide",
            };
            tokio::select! {
                () = visit.changed() => {}
                () = tokio::time::sleep_until(started + wait) => return None,
                _ = ticks.tick() => {
                    if let Some(token) = &token {
                        let elapsed = started.elapsed().as_secs_f64();
                        notify(&self.context.peer, token.clone(), elapsed, wait, message).await;
                    }
                }
            }
        }
    }
}

async fn notify(peer: &Peer<RoleServer>, token: ProgressToken, elapsed: f64, wait: Duration, message: &str) {
    let progress = ProgressNotificationParam::new(token, elapsed).with_total(wait.as_secs_f64()).with_message(message);
    let sent = tokio::time::timeout(NOTIFY, peer.notify_progress(progress)).await;
    if !matches!(sent, Ok(Ok(()))) {
        tracing::debug!("a notification of progress was not sent");
    }
}
