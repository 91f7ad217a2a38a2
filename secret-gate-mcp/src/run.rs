//! `exec_with_secret` and `ssh_with_secret`: with what is held, and nothing else.

use std::time::Duration;

use rmcp::RoleServer;
use rmcp::service::RequestContext;
use secret_gate_core::Use;
use secret_gate_core::daemon::{self as protocol, FailureKind, Settings, Verb, Wish};
use secret_gate_core::wire::WantedSecret;
use serde_json::{Map, Value, json};

use crate::arguments::{Exec, Ssh};
use crate::daemon::{self, Output};
use crate::refusal::Refusal;
use crate::results::Ran;
use crate::wanted::{LOOK_UP, Named, Wanted, argv, exact_host, folder, given, key_among, key_field, login};

/// How often to ask a server that does not report decisions by itself.
pub(crate) const POLL_INTERVAL: Duration = Duration::from_secs(2);

/// How much of each stream is passed on, in bytes.
const OUTPUT_LIMIT: u64 = 1024 * 1024;

const EXEC_TIMEOUT: Duration = Duration::from_secs(30);
const SSH_TIMEOUT: Duration = Duration::from_secs(120);
const MAX_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);

/// The longest command that can be shown to a human, in bytes; a message has room for less.
const SHOWABLE: usize = 4096;

/// What stands where the reason is to be written.
const REASON: &str = "say in a sentence why you need it";

/// Who calls: the client's name and version.
pub(crate) fn agent(context: &RequestContext<RoleServer>) -> Option<String> {
    let client = context.client_info()?;
    let name = client.title.filter(|title| !title.is_empty()).unwrap_or(client.name);
    let agent = format!("{name} {}", client.version);
    given(Some(agent.trim().to_owned()))
}

/// Runs a command here.
pub(crate) async fn exec(exec: Exec, agent: Option<String>) -> Result<Ran, Refusal> {
    let call = exec_request(&exec);
    let Exec { secret_name, vault, field, env_var, command, args, env, working_dir, timeout_sec } = exec;
    let (field, env_var) = (given(field), given(env_var));
    if field.is_some() && env_var.is_none() {
        return Err(Refusal::new("env_var is missing: name the environment variable that is to carry field"));
    }
    let named = Named::read(&secret_name, vault, field)?;
    let wanted = Wanted::read(named, Vec::new(), env_var, env)?;
    if !wanted.is_carried() {
        return Err(Refusal::new(
            "the command gets no value: give field and env_var, or env {\"VARIABLE\": \"field\"}; inspect_fields lists the fields",
        ));
    }
    let folder = folder(working_dir.as_deref())?;
    let argv = argv(&command, args, &folder)?;
    let timeout = timeout(timeout_sec, EXEC_TIMEOUT);
    let settings = Settings::read(None)?;
    let verb = |intended_use: Use| {
        let wish = held(&settings, wanted.secrets.clone(), intended_use, agent.clone());
        Verb::Exec(protocol::Exec {
            wish,
            argv: argv.iter().cloned().map(protocol::OsText::Text).collect(),
            working_dir: folder.clone().into_os_string().into(),
            env: daemon::environment(),
            inject: wanted.inject(),
            timeout_ms: u64::try_from(timeout.as_millis()).ok(),
            output_limit: Some(OUTPUT_LIMIT),
        })
    };
    // what was approved for any command runs as any command does; an exact one is started in a stricter way
    let output = match daemon::run(verb(Use::any_command())).await? {
        Err(failure) if failure.kind == FailureKind::NotGranted => {
            let exactly = wanted.exactly(argv.clone(), folder.clone(), &settings, LOOK_UP).await?;
            daemon::run(verb(exactly)).await?
        }
        output => output,
    };
    match output {
        Ok(output) => Ok(ran(output, timeout, wanted.labels())),
        Err(failure) if failure.kind == FailureKind::NotGranted => Err(ask_first("this command", &call)),
        Err(failure) => Err(failure.into()),
    }
}

/// Logs in somewhere.
pub(crate) async fn ssh(ssh: Ssh, agent: Option<String>) -> Result<Ran, Refusal> {
    let call = ssh_request(&ssh);
    let Ssh { secret_name, host, command, vault, port, timeout: timeout_sec } = ssh;
    let named = Named::read(&secret_name, vault, None)?;
    let (host, command) = (given(Some(host)).unwrap_or_default(), given(command));
    let port = port.filter(|port| *port != 0);
    let login = login(&host, port, command.as_deref())?;
    let timeout = timeout(timeout_sec, SSH_TIMEOUT);
    let settings = Settings::read(None)?;
    let field = match &named.field {
        Some(field) => Some(field.clone()),
        None => match held_key(&named).await? {
            Some(label) => Some(label),
            None => key_field(&settings.gate(POLL_INTERVAL)?, &named, LOOK_UP).await?,
        },
    };
    let verb = |intended_use: Use| {
        let fields = field.clone().map(|field| vec![field]);
        let secret = WantedSecret { secret_name: named.name.clone(), vault: named.vault.clone(), fields };
        let wish = held(&settings, vec![secret], intended_use, agent.clone());
        Ok::<_, Refusal>(Verb::Ssh(protocol::Ssh {
            wish,
            field: field.clone(),
            target: host.clone(),
            port,
            command: command.clone(),
            working_dir: folder(None)?.into_os_string().into(),
            env: daemon::environment(),
            timeout_ms: u64::try_from(timeout.as_millis()).ok(),
            output_limit: Some(OUTPUT_LIMIT),
        }))
    };
    let output = match daemon::run(verb(Use::any_host())?).await? {
        Err(failure) if failure.kind == FailureKind::NotGranted => {
            daemon::run(verb(exact_host(&login).await?)?).await?
        }
        output => output,
    };
    let name = &named.name;
    let label = field.map_or_else(|| name.clone(), |field| format!("{name}/{field}"));
    match output {
        Ok(output) => Ok(ran(output, timeout, label)),
        Err(failure) if failure.kind == FailureKind::NotGranted => Err(ask_first("this login", &call)),
        Err(failure) => Err(failure.into()),
    }
}

/// The label of the field with the key, as far as it is known of what is held: the server may be away.
async fn held_key(named: &Named) -> Result<Option<String>, Refusal> {
    let items = daemon::held().await?.into_iter().flat_map(|held| held.items);
    let mut found = items.filter(|item| {
        item.secret_name == named.name && named.vault.as_ref().is_none_or(|vault| *vault == item.vault_name)
    });
    Ok(found.find_map(|item| key_among(&item.fields)))
}

/// A wish that only what is held will do for.
fn held(settings: &Settings, secrets: Vec<WantedSecret>, intended_use: Use, agent: Option<String>) -> Wish {
    Wish { secrets, intended_use, agent, only_held: true, ..settings.wish(POLL_INTERVAL, None) }
}

fn timeout(seconds: Option<i64>, default: Duration) -> Duration {
    let given = seconds.filter(|seconds| *seconds > 0).map(|seconds| Duration::from_secs(seconds.unsigned_abs()));
    given.unwrap_or(default).min(MAX_TIMEOUT)
}

/// The result, with what there is to say about it at the end of each stream.
fn ran(output: Output, timeout: Duration, secret_used: String) -> Ran {
    let Output { stdout, stderr, code, timed_out, truncated, unredacted } = output;
    let text = |bytes: &[u8], name: &str| {
        let mut text = String::from_utf8_lossy(bytes).into_owned();
        if truncated.iter().any(|stream| stream == name) {
            note(&mut text, "the rest was cut off, after 1 MiB");
        }
        text
    };
    let (stdout, mut stderr) = (text(&stdout, "stdout"), text(&stderr, "stderr"));
    if timed_out {
        note(&mut stderr, &format!("the command was killed after {} s", timeout.as_secs()));
    }
    if !unredacted.is_empty() {
        note(&mut stderr, &format!("not redacted, since no secret: {}", unredacted.join(", ")));
    }
    Ran { exit_code: if timed_out { -1 } else { code }, stdout, stderr, secret_used }
}

/// Adds a line of ours.
fn note(text: &mut String, words: &str) {
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    text.push_str(&format!("[secret-gate: {words}]\n"));
}

/// Says which call to make first.
fn ask_first(what: &str, call: &Map<String, Value>) -> Refusal {
    let wider = if call.contains_key("command") || call.contains_key("host") {
        "; to ask for any command and host at once, which the human may refuse, leave out all but secret_name, vault, field and \
         reason"
    } else {
        ""
    };
    let call = serde_json::to_string(call).unwrap_or_default();
    Refusal::new(format!(
        "No approval covers {what}, and nothing was run. First call request_secret with {call}{wider}. Once it answers \
         approved, make this call again"
    ))
}

fn exec_request(exec: &Exec) -> Map<String, Value> {
    let Exec { secret_name, vault, field, env_var, command, args, env, working_dir, timeout_sec: _ } = exec;
    let mut call = call(secret_name, vault.as_deref());
    let length = command.len() + args.iter().flatten().map(String::len).sum::<usize>();
    put(&mut call, "field", field.as_deref());
    if length <= SHOWABLE {
        put(&mut call, "env_var", env_var.as_deref());
        put(&mut call, "command", Some(command));
        put(&mut call, "working_dir", working_dir.as_deref());
        if let Some(args) = args {
            call.insert("args".to_owned(), json!(args));
        }
    }
    if let Some(env) = env {
        call.insert("env".to_owned(), json!(env));
    }
    call
}

fn ssh_request(ssh: &Ssh) -> Map<String, Value> {
    let Ssh { secret_name, host, command, vault, port, timeout: _ } = ssh;
    let mut call = call(secret_name, vault.as_deref());
    if command.as_ref().is_none_or(|command| command.len() <= SHOWABLE) {
        put(&mut call, "host", Some(host));
        put(&mut call, "command", command.as_deref());
        if let Some(port) = port {
            call.insert("port".to_owned(), json!(port));
        }
    }
    call
}

fn call(secret_name: &str, vault: Option<&str>) -> Map<String, Value> {
    let mut call = Map::new();
    put(&mut call, "secret_name", Some(secret_name));
    put(&mut call, "vault", vault);
    put(&mut call, "reason", Some(REASON));
    call
}

fn put(call: &mut Map<String, Value>, name: &str, value: Option<&str>) {
    if let Some(value) = value.filter(|value| !value.is_empty()) {
        call.insert(name.to_owned(), value.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(truncated: &[&str], timed_out: bool) -> Output {
        Output {
            stdout: b"out \xff".to_vec(),
            stderr: Vec::new(),
            code: if timed_out { 124 } else { 3 },
            timed_out,
            truncated: truncated.iter().map(|name| (*name).to_owned()).collect(),
            unredacted: Vec::new(),
        }
    }

    #[test]
    fn results_say_what_happened() {
        let second = Duration::from_secs(1);
        let result = ran(output(&[], false), second, "db/password".into());
        assert_eq!((result.exit_code, result.stdout.as_str(), result.stderr.as_str()), (3, "out \u{fffd}", ""));
        let result = ran(output(&["stdout"], true), second, "db/password".into());
        assert_eq!(result.exit_code, -1);
        assert_eq!(result.stdout, "out \u{fffd}\n[secret-gate: the rest was cut off, after 1 MiB]\n");
        assert_eq!(result.stderr, "[secret-gate: the command was killed after 1 s]\n");
    }

    #[test]
    fn times_are_bounded() {
        let default = Duration::from_secs(30);
        for (given, seconds) in [(None, 30), (Some(-1), 30), (Some(0), 30), (Some(5), 5), (Some(i64::MAX), 86_400)] {
            assert_eq!(timeout(given, default), Duration::from_secs(seconds), "{given:?}");
        }
    }
}
