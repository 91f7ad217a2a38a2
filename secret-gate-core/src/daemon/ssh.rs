//! Logging in with a key that is held.

use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::ask::Covered;
use super::call::{Event, Failure, FailureKind, Ssh};
use super::caller::Client;
use super::holdings::{Found, HoldingField, HoldingItem};
use super::run;
use crate::exec::Command;
use crate::ssh::{Login, LoginError, PrivateAgent, SshKey};
use crate::{FieldKind, Scope};

/// The program, found in the daemon's `PATH`: whoever calls must not put another in its place.
const PROGRAM: &str = "ssh";

/// What `ssh` gets of the caller's environment. Others could change what it loads and where it goes.
const PASSED: [&str; 4] = ["LANG", "LC_ALL", "LC_CTYPE", "TERM"];

/// What it gets of the daemon's.
const OWN: [&str; 4] = ["HOME", "LOGNAME", "PATH", "USER"];

/// Runs `ssh` with the key in an agent of its own; its output goes to the client as it comes.
pub(super) async fn log_in(ssh: Ssh, covered: &Covered, client: &Client, folder: &Path) -> Result<Event, Failure> {
    let Ssh { wish, field, target, port, command, working_dir, env, timeout_ms, output_limit } = ssh;
    let login = match &wish.intended_use.ssh {
        Some(Scope::Exact(host)) => Login::exactly(host).map_err(|error| invalid(&error))?,
        Some(Scope::Any) => any_login(&target, port, command).await?,
        None => return Err(Failure::new(FailureKind::Invalid, "the approval that is wanted is not for ssh")),
    };
    let item = covered.found.first().and_then(Found::item);
    let item = item.ok_or_else(|| Failure::new(FailureKind::Invalid, "no secret is named"))?;
    let key = key_of(item, field.as_deref(), wish.secrets.first().and_then(|wanted| wanted.fields.as_deref()))?;
    let key = SshKey::parse(&key.value).map_err(|error| {
        Failure::new(FailureKind::Failed, format!("{}/{} can't be used as an SSH key: {error}", item.title, key.label))
    })?;
    let agent = PrivateAgent::start_in(folder, Arc::new(key))
        .map_err(|error| Failure::new(FailureKind::Failed, format!("there can be no ssh-agent: {error}")))?;
    let agent = Arc::new(agent);
    let argv = std::iter::once(OsString::from(PROGRAM)).chain(login.arguments(agent.socket()));
    let env = env.into_iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
    let passed = env.filter(|(name, _)| PASSED.iter().any(|passed| name == passed));
    let own = OWN.iter().filter_map(|name| Some((OsString::from(name), std::env::var_os(name)?)));
    let mut command = Command::new(argv, OsString::from(working_dir)).env(own.chain(passed)).on_start({
        let agent = Arc::clone(&agent);
        move |pid| agent.allow(pid)
    });
    if let Some(timeout) = timeout_ms {
        command = command.timeout(Duration::from_millis(timeout));
    }
    if let Some(limit) = output_limit {
        command = command.output_limit(limit);
    }
    run::run(command, &[], covered, client).await
}

async fn any_login(target: &str, port: Option<u16>, command: Option<String>) -> Result<Login, Failure> {
    let mut login = Login::parse(target).map_err(|error| invalid(&error))?;
    if let Some(port) = port {
        login = login.with_port(port).map_err(|error| invalid(&error))?;
    }
    if let Some(command) = command {
        login = login.with_command(command).map_err(|error| invalid(&error))?;
    }
    login.follow(Path::new(PROGRAM)).await.map_err(|error| invalid(&error))
}

fn invalid(error: &LoginError) -> Failure {
    Failure::new(FailureKind::Invalid, error.to_string())
}

/// The field with the key: the one that is named, else the one that is a key, else the only one.
fn key_of<'a>(
    item: &'a HoldingItem,
    named: Option<&str>,
    wanted: Option<&[String]>,
) -> Result<&'a HoldingField, Failure> {
    let is_wanted =
        |field: &&HoldingField| wanted.is_none_or(|wanted| wanted.is_empty() || wanted.contains(&field.label));
    let fields: Vec<&HoldingField> = item.fields.iter().filter(is_wanted).collect();
    let found = match (named, fields.as_slice()) {
        (Some(label), fields) => fields.iter().find(|field| field.label == label),
        (None, [only]) => Some(only),
        (None, fields) => fields.iter().find(|field| is_key(field)),
    };
    found.copied().ok_or_else(|| {
        let labels = item.fields.iter().map(|field| field.label.clone()).collect();
        let message = match named {
            Some(label) => format!("{} has no field {label}", item.title),
            None => format!("{} has no field that is known to be an SSH key; name one", item.title),
        };
        Failure { fields: labels, ..Failure::new(FailureKind::UnknownField, message) }
    })
}

/// Whether a field holds a key for ssh, by what is said of it or by how it begins. Keys in other formats may be for
/// something else.
pub(super) fn is_key(field: &HoldingField) -> bool {
    field.kind.as_ref() == Some(&FieldKind::ssh_key())
        || ["private_key", "private key"].contains(&field.label.as_str())
        || field.value.expose().trim_start().starts_with("-----BEGIN OPENSSH PRIVATE KEY-----")
}
