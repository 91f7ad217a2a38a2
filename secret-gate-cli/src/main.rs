//! `secret-gate`: ask for a secret, wait until a human has approved, and print it.
//!
//! `cli` reads the command line, `settings` decides on server and key, `ask` and `look_up` do the work, `render` turns
//! answers into text, and `ui` alone prints. `demo` shows it all with made-up secrets.

mod ask;
mod cli;
mod config;
mod demo;
mod duration;
mod exit;
mod failure;
mod go_flags;
mod look_up;
mod render;
mod settings;
mod stop;
mod ui;

use std::process::ExitCode;

use secret_gate_core::SecretReference;
use secret_gate_core::client::RemoteGate;
use secret_gate_core::wire::AccessRequest;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use crate::cli::{Cli, Command, Flags, Format};
use crate::config::Config;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::settings::{Environment, Settings};
use crate::stop::Limit;
use crate::ui::Ui;

fn main() -> ExitCode {
    let ui = Ui::new();
    let exit = match Cli::read(std::env::args_os()) {
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
        poll_interval,
        timeout,
        ..
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
            let gate = connect(ui, given(server), poll_interval)?;
            // JSON has all fields, whatever --field says
            if let (Some(label), Format::Plain) = (&field, format) {
                limit.bound(look_up::check_field(&gate, &name, vault.as_deref(), label)).await?;
            }
            let question = AccessRequest {
                secret_name: Some(name),
                vault,
                reason: given(reason),
                machine: hostname::get().ok().map(|name| name.to_string_lossy().into_owned()),
                working_dir: std::env::current_dir().ok().map(|path| path.to_string_lossy().into_owned()),
                ..AccessRequest::default()
            };
            let values = ask::ask(&gate, ui, question, &limit).await?;
            print(ui, &values, field, format)
        }
    }
}

fn connect(ui: &Ui, server: Option<String>, poll_interval: std::time::Duration) -> Result<RemoteGate, Failure> {
    let path = Config::path().unwrap_or_default();
    let config = Config::read(&path)?;
    Settings::resolve(server.as_deref(), Environment::read()?, config, &path)?.gate(poll_interval, ui)
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
