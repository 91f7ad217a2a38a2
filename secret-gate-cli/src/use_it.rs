//! Using a secret through the daemon: `exec`, `run`, `ssh`, `get`, `read`. Each asks for exactly the fields named, and the narrowest use.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::future::try_join_all;
use secret_gate_core::daemon::{self as protocol, Event, OsText, Verb, Way, Wish};
use secret_gate_core::exec::{ExecError, item_names, resolve};
use secret_gate_core::ssh::{Login, LoginError};
use secret_gate_core::wire::{FieldsRequest, WantedSecret};
use secret_gate_core::{ExactCommand, SecretReference, Use};

use crate::carried::Carried;
use crate::cli::{Asking, Exec, Format, Get, Read, Run, Ssh};
use crate::env_file::{Value, Variables};
use crate::exit::Exit;
use crate::failure::{Failure, with_cause};
use crate::stop::Limit;
use crate::ui::{Ui, visible};
use crate::{daemon, look_up, print, settings};

/// How long looking up titles may hold up a command.
const LOOK_UP: Duration = Duration::from_secs(10);

/// Runs a command with fields of a secret.
pub(crate) async fn exec(ui: &Ui, exec: Exec) -> Result<Exit, Failure> {
    let Exec { secret, vault, field, env, file, stdin, any, kill_after, shell, asking, command } = exec;
    let carried = Carried::of_flags(env, field, file, stdin)?;
    let argv = match shell {
        Some(line) if line.to_string_lossy().trim().is_empty() => {
            return Err(Failure::new(Exit::Usage, "the line for the shell is empty"));
        }
        Some(line) => vec!["/bin/sh".into(), "-c".into(), line],
        None => command,
    };
    let fields: BTreeSet<String> = carried.iter().map(|carried| carried.field.clone()).collect();
    let secrets = vec![WantedSecret { secret_name: secret, vault, fields: Some(fields.into_iter().collect()) }];
    Job { secrets, carried, env: environment(), argv, any, kill_after }.run(ui, asking).await
}

/// Runs a command with what files of variables refer to.
pub(crate) async fn run(ui: &Ui, run: Run) -> Result<Exit, Failure> {
    let Run { env_file, any, kill_after, asking, command } = run;
    let (mut secrets, mut carried, mut env) = (Vec::new(), Vec::new(), environment());
    let Variables { values, warnings } = Variables::read(&env_file)?;
    for (variable, value) in values {
        match value {
            Value::Plain(value) => {
                env.retain(|(name, _)| *name != OsText::Text(variable.clone()));
                env.push((OsText::Text(variable), OsText::Text(value)));
            }
            Value::Secret(SecretReference { vault, item, field, .. }) => {
                let fields = Some(vec![field.clone()]);
                secrets.push(WantedSecret { secret_name: item, vault: Some(vault), fields });
                carried.push(Carried::new(Way::Variable(variable), secrets.len() - 1, field));
            }
        }
    }
    if secrets.is_empty() {
        return Err(
            Failure::new(Exit::Usage, "the files refer to no secret").with_hint("write VARIABLE=op://vault/item/field")
        );
    }
    for warning in warnings {
        ui.warning(&warning);
    }
    if secrets.len() > 1 && !any {
        name_items(ui, &secrets, &mut carried, &asking).await?;
    }
    Job { secrets, carried, env, argv: command, any, kill_after }.run(ui, asking).await
}

/// Writes each field as `item/field`, with the vault where names are alike, so that the human sees, and approves, of which
/// item it is.
async fn name_items(
    ui: &Ui,
    secrets: &[WantedSecret],
    carried: &mut [Carried],
    asking: &Asking,
) -> Result<(), Failure> {
    let gate = settings::gate(&settings::read(asking.server.as_deref())?, crate::POLL_INTERVAL, ui)?;
    let looked_up = secrets.iter().map(async |WantedSecret { secret_name, vault, .. }| {
        let item = FieldsRequest { secret_name: secret_name.clone(), vault: vault.clone() };
        match tokio::time::timeout(LOOK_UP, gate.fields(&item)).await {
            Ok(Ok(known)) => Ok((known.vault_name, known.secret_name)),
            Ok(Err(error)) if !error.is_transient() => Err(Failure::from(error)),
            // what is held goes on while the server is away
            _ => Ok((vault.clone().unwrap_or_default(), secret_name.clone())),
        }
    });
    let items = try_join_all(looked_up).await?;
    let items: Vec<_> = items.iter().map(|(vault, title)| (vault.as_str(), title.as_str())).collect();
    let names = item_names(&items).ok_or_else(|| {
        Failure::new(Exit::Usage, "two of the secrets can't be told apart by their vaults and titles")
            .with_hint("rename one, or use them in commands of their own")
    })?;
    for carried in carried {
        let Some(name) = names.get(carried.secret) else { continue };
        carried.shown = format!("{name}/{}", carried.field);
    }
    Ok(())
}

/// A command to run.
struct Job {
    secrets: Vec<WantedSecret>,
    carried: Vec<Carried>,
    env: Vec<(OsText, OsText)>,
    argv: Vec<OsString>,
    /// Whether any command is to be approved, not only this.
    any: bool,
    kill_after: Option<Duration>,
}

impl Job {
    async fn run(self, ui: &Ui, asking: Asking) -> Result<Exit, Failure> {
        let Self { secrets, carried, env, argv, any, kill_after } = self;
        let folder = current_dir()?;
        let names: Vec<_> = secrets.iter().map(|secret| secret.secret_name.clone()).collect();
        let intended_use = if any {
            check_program(&argv, folder.clone()).await?;
            Use::any_command()
        } else {
            exactly(&argv, folder.clone(), &carried).await?
        };
        let (limit, wish) = wish(ui, secrets, intended_use, asking)?;
        let call = protocol::Exec {
            wish,
            argv: argv.into_iter().map(Into::into).collect(),
            working_dir: folder.into_os_string().into(),
            env,
            inject: carried.into_iter().map(Into::into).collect(),
            timeout_ms: kill_after.and_then(|after| u64::try_from(after.as_millis()).ok()),
            output_limit: None,
        };
        through_daemon(ui, &names.join(", "), Verb::Exec(call), &limit).await
    }
}

/// Logs in with a key.
pub(crate) async fn ssh(ui: &Ui, ssh: Ssh) -> Result<Exit, Failure> {
    let Ssh { secret, vault, field, port, asking, target, command } = ssh;
    let usage = |error: LoginError| Failure::new(Exit::Usage, error.to_string());
    let mut login = Login::parse(&target).map_err(usage)?;
    if let Some(port) = port {
        login = login.with_port(port).map_err(usage)?;
    }
    if !command.is_empty() {
        // as ssh itself puts them together
        login = login.with_command(command.join(" ")).map_err(usage)?;
    }
    let host = login.resolve(Path::new("ssh")).await.map_err(|error| Failure::new(Exit::Failed, error.to_string()))?;
    let gate = settings::gate(&settings::read(asking.server.as_deref())?, crate::POLL_INTERVAL, ui)?;
    let field = match field {
        Some(field) => field,
        None => Limit::of(asking.timeout).bound(look_up::key_field(&gate, &secret, vault.as_deref())).await?,
    };
    let name = secret.clone();
    let secrets = vec![WantedSecret { secret_name: secret, vault, fields: Some(vec![field.clone()]) }];
    let (limit, wish) = wish(ui, secrets, Use::host(host), asking)?;
    let call = protocol::Ssh {
        wish,
        field: Some(field),
        target,
        port,
        command: None,
        working_dir: current_dir()?.into_os_string().into(),
        env: environment(),
        timeout_ms: None,
        output_limit: None,
    };
    through_daemon(ui, &name, Verb::Ssh(call), &limit).await
}

async fn through_daemon(ui: &Ui, name: &str, verb: Verb, limit: &Limit) -> Result<Exit, Failure> {
    match daemon::run(ui, name, verb, limit).await? {
        Event::Exited { code, timed_out, unredacted, .. } => {
            if timed_out {
                ui.warning("the command was killed, since its time was up");
            }
            if !unredacted.is_empty() {
                let labels: Vec<_> = unredacted.iter().map(|label| visible(label)).collect();
                ui.note(&format!("not redacted, since no secret: {}", labels.join(", ")));
            }
            Ok(Exit::Child(u8::try_from(code).unwrap_or(u8::MAX)))
        }
        _ => Err(Failure::new(Exit::Failed, "the daemon does not say how the command ended")),
    }
}

fn current_dir() -> Result<PathBuf, Failure> {
    std::env::current_dir()
        .map_err(|error| Failure::new(Exit::Failed, format!("the current folder can't be told: {error}")))
}

fn environment() -> Vec<(OsText, OsText)> {
    std::env::vars_os().map(|(name, value)| (name.into(), value.into())).collect()
}

/// Prints fields of a secret.
pub(crate) async fn get(ui: &Ui, get: Get) -> Result<(), Failure> {
    let Get { secret, vault, field, format, asking } = get;
    let fields = Some(field).filter(|fields| !fields.is_empty());
    let (limit, wish) = wish(ui, vec![WantedSecret { secret_name: secret, vault, fields }], Use::reveal(), asking)?;
    let values = daemon::reveal(ui, wish, &limit).await?;
    print(ui, &values, None, format)
}

/// Prints the field that a reference names.
pub(crate) async fn read(ui: &Ui, read: Read) -> Result<(), Failure> {
    let Read { reference, asking } = read;
    let usage = |what: String| Failure::new(Exit::Usage, what).with_hint("it looks like op://vault/item/field");
    let parsed: SecretReference = reference.parse().map_err(|error| usage(format!("{reference}: {error}")))?;
    let SecretReference { vault, item, field, .. } = parsed;
    let secret = WantedSecret { secret_name: item, vault: Some(vault), fields: Some(vec![field]) };
    let (limit, wish) = wish(ui, vec![secret], Use::reveal(), asking)?;
    let values = daemon::reveal(ui, wish, &limit).await?;
    print(ui, &values, None, Format::Plain)
}

/// The use of running exactly this command.
async fn exactly(argv: &[OsString], folder: PathBuf, carried: &[Carried]) -> Result<Use, Failure> {
    let text = |argument: &OsString| argument.clone().into_string();
    let argv: Result<Vec<String>, OsString> = argv.iter().map(text).collect();
    let argv = argv.map_err(|_| {
        Failure::new(Exit::Usage, "an argument of the command is no text, so it can't be shown to a human")
            .with_hint("ask for any command instead, with --any")
    })?;
    let command = resolved(argv, folder).await?.map_err(|error| Failure::new(Exit::Usage, with_cause(&error)))?;
    let exactly = Use::command(carried.iter().fold(command, |command, carried| carried.added_to(command)));
    exactly.check().map_err(|error| Failure::new(Exit::Usage, error.to_string()))?;
    Ok(exactly)
}

/// Refuses what can't run, before a human is asked in vain.
async fn check_program(argv: &[OsString], folder: PathBuf) -> Result<(), Failure> {
    // what is no text is left to the daemon, which starts it
    let Some(Ok(name)) = argv.first().map(|name| name.clone().into_string()) else { return Ok(()) };
    match resolved(vec![name], folder).await? {
        Err(error @ (ExecError::NoProgram | ExecError::NotFound { .. } | ExecError::NoFolder { .. })) => {
            Err(Failure::new(Exit::Usage, error.to_string()))
        }
        // what can't be exact can run nevertheless
        _ => Ok(()),
    }
}

/// The exact command; reads and hashes the program.
async fn resolved(argv: Vec<String>, folder: PathBuf) -> Result<Result<ExactCommand, ExecError>, Failure> {
    let path = std::env::var_os("PATH");
    let resolved = move || resolve(&argv, &folder, path.as_deref(), BTreeMap::new());
    tokio::task::spawn_blocking(resolved).await.map_err(|error| Failure::new(Exit::Failed, error.to_string()))
}

fn wish(ui: &Ui, secrets: Vec<WantedSecret>, intended_use: Use, asking: Asking) -> Result<(Limit, Wish), Failure> {
    let Asking { reason, server, keep, timeout } = asking;
    let settings = settings::read(server.as_deref())?;
    let wish = Wish {
        secrets,
        intended_use,
        reason: Some(reason),
        ..settings::wish(&settings, crate::POLL_INTERVAL, keep, ui)
    };
    Ok((Limit::of(timeout), wish))
}
