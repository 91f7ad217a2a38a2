//! Using a secret through the daemon: `exec`, `run`, `ssh`, `get`, `read`. Each asks for exactly the fields named, and the narrowest use.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use secret_gate_core::daemon::{self as protocol, Event, Inject, OsText, Verb, Way, Wish};
use secret_gate_core::exec::resolve;
use secret_gate_core::ssh::{Login, LoginError};
use secret_gate_core::wire::{FieldsRequest, WantedSecret};
use secret_gate_core::{SecretReference, Use};

use crate::cli::{Asking, Exec, Format, Get, Read, Run, Ssh};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::stop::Limit;
use crate::ui::{Ui, visible};
use crate::{daemon, look_up, print, settings};

/// Runs a command with fields in its environment.
pub(crate) async fn exec(ui: &Ui, exec: Exec) -> Result<Exit, Failure> {
    let Exec { secret, vault, field, env, any, kill_after, shell, asking, command } = exec;
    let variables = variables(env, field)?;
    let argv = match shell {
        Some(line) => vec!["/bin/sh".into(), "-c".into(), line],
        None => command,
    };
    let fields: Vec<String> = variables.values().cloned().collect();
    let secrets = vec![WantedSecret { secret_name: secret, vault, fields: Some(fields) }];
    let inject = variables.into_iter().map(|(variable, field)| Carried::new(variable, 0, field)).collect();
    command_with(ui, secrets, inject, environment(), argv, any, kill_after, asking).await
}

/// Runs a command with what files of variables refer to.
pub(crate) async fn run(ui: &Ui, run: Run) -> Result<Exit, Failure> {
    let Run { env_file, any, kill_after, asking, command } = run;
    let (mut secrets, mut inject, mut env) = (Vec::new(), Vec::new(), environment());
    for (variable, value) in read_files(&env_file)? {
        if !value.starts_with(SecretReference::SCHEME) {
            env.retain(|(name, _)| *name != OsText::Text(variable.clone()));
            env.push((OsText::Text(variable), OsText::Text(value)));
            continue;
        }
        let SecretReference { vault, item, field, .. } = value.parse().map_err(|error| {
            Failure::new(Exit::Usage, format!("{variable}: {value} is no secret reference: {error}"))
                .with_hint("it looks like op://vault/item/field")
        })?;
        let fields = Some(vec![field.clone()]);
        secrets.push(WantedSecret { secret_name: item, vault: Some(vault), fields });
        inject.push(Carried::new(variable, secrets.len() - 1, field));
    }
    if secrets.is_empty() {
        return Err(
            Failure::new(Exit::Usage, "the files refer to no secret").with_hint("write VARIABLE=op://vault/item/field")
        );
    }
    if secrets.len() > 1 && !any {
        name_items(ui, &secrets, &mut inject, &asking).await?;
    }
    command_with(ui, secrets, inject, env, command, any, kill_after, asking).await
}

/// Writes each field as `item/field`, so that the human sees, and approves, of which item it is.
async fn name_items(ui: &Ui, secrets: &[WantedSecret], inject: &mut [Carried], asking: &Asking) -> Result<(), Failure> {
    let gate = settings::gate(&settings::read(asking.server.as_deref())?, crate::POLL_INTERVAL, ui)?;
    for carried in inject {
        let Some(WantedSecret { secret_name, vault, .. }) = secrets.get(carried.secret) else { continue };
        let item = FieldsRequest { secret_name: secret_name.clone(), vault: vault.clone() };
        let title = match gate.fields(&item).await {
            Ok(known) => known.secret_name,
            // what is held goes on while the server is away
            Err(error) if error.is_transient() => secret_name.clone(),
            Err(error) => return Err(error.into()),
        };
        carried.shown = format!("{title}/{}", carried.field);
    }
    Ok(())
}

/// A field that a variable carries.
struct Carried {
    variable: String,
    /// Which secret, counted from 0.
    secret: usize,
    field: String,
    /// What the human sees of it.
    shown: String,
}

impl Carried {
    fn new(variable: String, secret: usize, field: String) -> Self {
        Self { variable, secret, shown: field.clone(), field }
    }
}

/// The variables of these files; of those that are there twice, the last.
fn read_files(files: &[PathBuf]) -> Result<BTreeMap<String, String>, Failure> {
    let mut all = BTreeMap::new();
    for file in files {
        // never the line, which may hold a value
        let fail = |problem: &str| Failure::new(Exit::Usage, format!("{}: {problem}", file.display()));
        let lines = dotenvy::from_path_iter(file).map_err(|error| fail(&error.to_string()))?;
        for pair in lines {
            let (variable, value) = pair.map_err(|error| match error {
                dotenvy::Error::LineParse(_, _) => fail("a line is not of the form VARIABLE=VALUE"),
                error => fail(&error.to_string()),
            })?;
            all.insert(variable, value);
        }
    }
    Ok(all)
}

/// Runs a command; `inject` says which variable carries which field of which secret.
#[expect(clippy::too_many_arguments, reason = "two commands come together here")]
async fn command_with(
    ui: &Ui,
    secrets: Vec<WantedSecret>,
    inject: Vec<Carried>,
    env: Vec<(OsText, OsText)>,
    argv: Vec<OsString>,
    any: bool,
    kill_after: Option<Duration>,
    asking: Asking,
) -> Result<Exit, Failure> {
    let folder = current_dir()?;
    let names: Vec<_> = secrets.iter().map(|secret| secret.secret_name.clone()).collect();
    let carried = inject.iter().map(|carried| (carried.variable.clone(), carried.shown.clone())).collect();
    let intended_use = if any { Use::any_command() } else { exactly(&argv, folder.clone(), carried).await? };
    let (limit, wish) = wish(ui, secrets, intended_use, asking)?;
    let inject = inject.into_iter().map(|Carried { variable, secret, field, .. }| Inject {
        secret,
        field,
        into: Way::Variable(variable),
    });
    let call = protocol::Exec {
        wish,
        argv: argv.into_iter().map(Into::into).collect(),
        working_dir: folder.into_os_string().into(),
        env,
        inject: inject.collect(),
        timeout_ms: kill_after.and_then(|after| u64::try_from(after.as_millis()).ok()),
        output_limit: None,
    };
    through_daemon(ui, &names.join(", "), Verb::Exec(call), &limit).await
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

/// Which variable carries which field. A variable without a field takes the next of `fields`.
fn variables(env: Vec<String>, fields: Vec<String>) -> Result<BTreeMap<String, String>, Failure> {
    let usage =
        |what: String| Failure::new(Exit::Usage, what).with_hint("write --env VAR=LABEL, or --field LABEL --env VAR");
    let mut fields = fields.into_iter();
    let mut variables = BTreeMap::new();
    for text in env {
        let (variable, field) = match text.split_once('=') {
            Some((variable, field)) => (variable.to_owned(), field.to_owned()),
            None => {
                let field = fields.next().ok_or_else(|| usage(format!("no field is named for the variable {text}")))?;
                (text, field)
            }
        };
        if let Some(before) = variables.insert(variable.clone(), field) {
            return Err(usage(format!("the variable {variable} would carry two fields, {before} among them")));
        }
    }
    match fields.next() {
        Some(field) => Err(usage(format!("no variable is named for the field {field}"))),
        None => Ok(variables),
    }
}

/// The use of running exactly this command.
async fn exactly(argv: &[OsString], folder: PathBuf, env: BTreeMap<String, String>) -> Result<Use, Failure> {
    let text = |argument: &OsString| argument.clone().into_string();
    let argv: Result<Vec<String>, OsString> = argv.iter().map(text).collect();
    let argv = argv.map_err(|_| {
        Failure::new(Exit::Usage, "an argument of the command is no text, so it can't be shown to a human")
            .with_hint("ask for any command instead, with --any")
    })?;
    // reads and hashes the program
    let path = std::env::var_os("PATH");
    let resolved = tokio::task::spawn_blocking(move || resolve(&argv, &folder, path.as_deref(), env)).await;
    let resolved = resolved.map_err(|error| Failure::new(Exit::Failed, error.to_string()))?;
    let exactly = Use::command(resolved.map_err(|error| Failure::new(Exit::Usage, error.to_string()))?);
    exactly.check().map_err(|error| Failure::new(Exit::Usage, error.to_string()))?;
    Ok(exactly)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_variable_has_a_field() {
        let read = |env: &[&str], fields: &[&str]| {
            let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
            variables(owned(env), owned(fields))
                .map(|all| all.into_iter().map(|(a, b)| format!("{a}={b}")).collect::<Vec<_>>())
        };
        assert_eq!(read(&["A=one", "B=two=2"], &[]).unwrap(), ["A=one", "B=two=2"]);
        assert_eq!(read(&["A", "C=three", "B"], &["one", "two"]).unwrap(), ["A=one", "B=two", "C=three"]);
        for (env, fields) in [(&["A"][..], &[][..]), (&["A=one"], &["two"]), (&["A=one", "A=two"], &[])] {
            assert_eq!(read(env, fields).unwrap_err().exit, Exit::Usage, "{env:?} {fields:?}");
        }
    }
}
