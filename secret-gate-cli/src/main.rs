//! `secret-gate`: ask for a secret, wait until a human has approved, and print it.
//!
//! `cli` reads the command line, `settings` decides on server and key, `ask` and `look_up` do the work, `render` turns
//! answers into text, and `ui` alone prints. `demo` shows it all with made-up secrets.

mod ask;
mod carried;
mod cli;
mod daemon;
mod demo;
mod doctor;
mod duration;
mod env_file;
mod exit;
mod failure;
mod go_flags;
mod input;
mod look_up;
mod manual;
mod render;
mod settings;
mod setup;
mod stop;
mod ui;
mod use_it;

use std::alloc::System;
use std::process::ExitCode;
use std::time::Duration;

use secret_gate_core::client::RemoteGate;
use secret_gate_core::daemon::{Settings, harden_process, machine_name};
use secret_gate_core::wire::{AccessRequest, WantedSecret};
use secret_gate_core::{SecretReference, Use};
use secret_gate_mcp::{Options, serve_stdio};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};
use zeroizing_alloc::ZeroAlloc;

use crate::cli::{Cli, Command, DaemonCommand, Fields, Flags, Format, Search};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::stop::Limit;
use crate::ui::Ui;

/// Wipes memory when it is given back: values pass through buffers of libraries that don't.
#[global_allocator]
static ALLOCATOR: ZeroAlloc<System> = ZeroAlloc(System);

fn main() -> ExitCode {
    let ui = Ui::new();
    let cli = Cli::read(std::env::args_os());
    if let Ok(Cli { command: Some(Command::Daemon(DaemonCommand::Serve)), .. }) = &cli
        && let Err(error) = harden_process()
    {
        return ui.failure(&Failure::new(Exit::Failed, format!("this process can't be protected: {error}"))).into();
    }
    let exit = match cli {
        Ok(cli) => run(&ui, cli).unwrap_or_else(|failure| ui.failure(&failure)),
        Err(answer) => ui.command_line(&answer),
    };
    exit.into()
}

fn run(ui: &Ui, cli: Cli) -> Result<Exit, Failure> {
    start_logging()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::Failed, format!("can't start: {error}")))?;
    let outcome = runtime.block_on(async {
        match cli.command {
            Some(Command::Demo(demo)) => demo.run(*ui).await,
            Some(Command::Search(search)) => searched(ui, search).await.map(|()| Exit::Done),
            Some(Command::Fields(fields)) => listed(ui, fields).await.map(|()| Exit::Done),
            Some(Command::Doctor(doctor)) => doctor::run(ui, doctor).await,
            Some(Command::Completions { shell }) => manual::completions(ui, shell).map(|()| Exit::Done),
            Some(Command::Man { of }) => manual::page(ui, of.as_deref()).map(|()| Exit::Done),
            Some(Command::Exec(exec)) => use_it::exec(ui, exec).await,
            Some(Command::Run(run)) => use_it::run(ui, run).await,
            Some(Command::Ssh(login)) => use_it::ssh(ui, login).await,
            Some(Command::Get(get)) => use_it::get(ui, get).await.map(|()| Exit::Done),
            Some(Command::Read(read)) => use_it::read(ui, read).await.map(|()| Exit::Done),
            Some(Command::Setup(setup)) => setup.run(ui),
            Some(Command::Mcp { wait }) => serve_agents(wait).await.map(|()| Exit::Done),
            Some(Command::Daemon(command)) => command.run(ui).await.map(|()| Exit::Done),
            Some(Command::Grants { format }) => daemon::grants(ui, format).await.map(|()| Exit::Done),
            Some(Command::Revoke { id, .. }) => daemon::revoke(ui, id).await.map(|()| Exit::Done),
            None => answer(ui, cli.flags).await.map(|()| Exit::Done),
        }
    });
    // a name look-up that hangs must not hold up the end
    runtime.shutdown_background();
    outcome
}

/// Does what the flags ask for.
async fn answer(ui: &Ui, flags: Flags) -> Result<(), Failure> {
    let Flags {
        server,
        secret,
        vault,
        reason,
        format,
        field,
        search,
        search_limit,
        fields,
        no_cache,
        poll_interval,
        timeout,
    } = flags;
    // as in older clients, an empty flag is one that was not given
    let given = |flag: Option<String>| flag.filter(|text| !text.is_empty());
    let (secret, search, vault, field) = (given(secret), given(search), given(vault), given(field));
    let limit = Limit::of(timeout);

    let usage = |what: &str| Failure::new(Exit::Usage, what).with_hint("secret-gate --help lists the flags");
    match (search, secret) {
        (Some(_), Some(_)) => Err(usage("--search and --secret don't go together")),
        (None, None) => Err(usage("name a secret with --secret, or look for one with --search")),
        (Some(query), None) => {
            let gate = connect(ui, given(server), poll_interval)?;
            limit.bound(look_up::search(&gate, ui, query, search_limit, format)).await
        }
        (None, Some(name)) if fields => {
            let gate = connect(ui, given(server), poll_interval)?;
            limit.bound(look_up::fields(&gate, ui, name, vault, format)).await
        }
        (None, Some(name)) if field.is_some() && name.starts_with(SecretReference::SCHEME) => {
            Err(usage("a secret reference names its field, so --field can't stand beside it"))
        }
        (None, Some(name)) => {
            let settings = settings::read(server.as_deref())?;
            let wanted = Wanted { name, vault, reason: given(reason), field, format };
            if no_cache {
                return here(ui, &settings, wanted, poll_interval, &limit).await;
            }
            match limit.bound_for("the daemon", daemon::start()).await {
                Ok(()) => through_daemon(ui, &settings, wanted, poll_interval, &limit).await,
                Err(failure) => {
                    ui.warning(&format!("nothing is kept, since there is no daemon: {}", failure.what));
                    here(ui, &settings, wanted, poll_interval, &limit).await
                }
            }
        }
    }
}

async fn searched(ui: &Ui, search: Search) -> Result<(), Failure> {
    let Search { query, limit, format, server } = search;
    look_up::search(&connect(ui, server, POLL_INTERVAL)?, ui, query, limit, format).await
}

async fn listed(ui: &Ui, fields: Fields) -> Result<(), Failure> {
    let Fields { secret, vault, format, server } = fields;
    look_up::fields(&connect(ui, server, POLL_INTERVAL)?, ui, secret, vault, format).await
}

/// An item that is wanted, and how it is printed.
struct Wanted {
    name: String,
    vault: Option<String>,
    reason: Option<String>,
    field: Option<String>,
    format: Format,
}

impl Wanted {
    /// Refuses a field that the item does not have, before a human is asked in vain.
    async fn check(&self, gate: &RemoteGate, limit: &Limit) -> Result<(), Failure> {
        match (&self.field, self.format) {
            (Some(label), Format::Plain) => {
                limit.bound(look_up::check_field(gate, &self.name, self.vault.as_deref(), label)).await
            }
            // JSON has all fields, whatever --field says
            _ => Ok(()),
        }
    }
}

/// Redeems in this program and keeps nothing.
async fn here(
    ui: &Ui,
    settings: &Settings,
    wanted: Wanted,
    poll_interval: Duration,
    limit: &Limit,
) -> Result<(), Failure> {
    let gate = settings::gate(settings, poll_interval, ui)?;
    wanted.check(&gate, limit).await?;
    let Wanted { name, vault, reason, field, format } = wanted;
    let question = AccessRequest {
        secret_name: Some(name),
        vault,
        reason,
        machine: Some(machine_name()),
        working_dir: working_dir(),
        ..AccessRequest::default()
    };
    let values = ask::ask(&gate, ui, question, limit).await?;
    print(ui, &values, field, format)
}

/// Has the daemon ask, once in a while.
async fn through_daemon(
    ui: &Ui,
    settings: &Settings,
    wanted: Wanted,
    poll_interval: Duration,
    limit: &Limit,
) -> Result<(), Failure> {
    let mut wish = settings::wish(settings, poll_interval, None, ui);
    let secret = WantedSecret { secret_name: wanted.name.clone(), vault: wanted.vault.clone(), fields: None };
    wish.secrets = vec![secret];
    // whatever older scripts do with the value
    wish.intended_use = Use::reveal();
    (wish.intended_use.exec, wish.intended_use.ssh) = (Use::any_command().exec, Use::any_host().ssh);
    wish.reason = wanted.reason.clone();
    let values = match limit.bound_for("the daemon", daemon::held(ui, &wish)).await? {
        Some(values) => values,
        None => {
            if wanted.field.is_some() {
                wanted.check(&settings::gate(settings, poll_interval, ui)?, limit).await?;
            }
            daemon::reveal(ui, wish, limit).await?
        }
    };
    print(ui, &values, wanted.field, wanted.format)
}

/// How often to ask a server that does not report decisions by itself.
const POLL_INTERVAL: Duration = Duration::from_secs(2);

fn working_dir() -> Option<String> {
    std::env::current_dir().ok().map(|path| path.to_string_lossy().into_owned())
}

fn connect(ui: &Ui, server: Option<String>, poll_interval: Duration) -> Result<RemoteGate, Failure> {
    settings::gate(&settings::read(server.as_deref())?, poll_interval, ui)
}

fn print(ui: &Ui, values: &render::Values, field: Option<String>, format: Format) -> Result<(), Failure> {
    match (format, field) {
        (Format::Json, _) => {
            let text = render::values_json(values)
                .map_err(|error| Failure::new(Exit::Failed, format!("can't write JSON: {error}")))?;
            ui.data(&text)
        }
        (Format::Plain, None) => ui.data(&render::values(values)),
        (Format::Plain, Some(label)) => match values.get(&label) {
            Some(value) => ui.data(&render::value(value)),
            None => {
                let labels: Vec<_> = values.keys().map(String::as_str).collect();
                Err(Failure::no_field(&label, &labels))
            }
        },
    }
}

/// Logs to standard error where `RUST_LOG` asks for it. Only our own events: those of HTTP libraries could show URLs,
/// and URLs hold tokens.
/// Is an MCP server, until the end of input.
async fn serve_agents(wait: Duration) -> Result<(), Failure> {
    let served = serve_stdio(Options::default().with_wait(wait)).await;
    served.map_err(|error| {
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
        Failure::new(Exit::Failed, format!("{error}{cause}"))
            .with_hint("agents start this, and talk to it; secret-gate setup tells them to")
    })
}

fn start_logging() -> Result<(), Failure> {
    if std::env::var_os("RUST_LOG").is_none_or(|directives| directives.is_empty()) {
        return Ok(());
    }
    let filter = EnvFilter::try_from_default_env().map_err(|error| {
        Failure::new(Exit::Failed, format!("RUST_LOG: {error}")).with_hint("write it like RUST_LOG=debug")
    })?;
    let ours = tracing_subscriber::filter::filter_fn(|event| event.target().starts_with("secret_gate"));
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_filter(ours);
    tracing_subscriber::registry().with(filter).with(lines).init();
    Ok(())
}
