//! What a tool call wants, in the daemon's terms: which fields of which secrets, in which variables, and for what use.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::future::try_join_all;
use secret_gate_core::client::RemoteGate;
use secret_gate_core::daemon::{Held, HeldItem, Inject, Settings, Way};
use secret_gate_core::exec::{Delivery, item_names, resolve};
use secret_gate_core::ssh::Login;
use secret_gate_core::wire::{FieldInfo, FieldsRequest, WantedSecret};
use secret_gate_core::{SecretReference, Use};

use crate::daemon;
use crate::refusal::Refusal;
use crate::run::POLL_INTERVAL;

/// The program that logs in.
const SSH: &str = "ssh";

/// How long looking up titles and labels may hold up a call.
pub(crate) const LOOK_UP: Duration = Duration::from_secs(10);

/// Secrets, and the variables that carry their fields.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) secrets: Vec<WantedSecret>,
    carried: Vec<Carried>,
}

/// A field that a variable carries.
#[derive(Debug)]
struct Carried {
    variable: String,
    /// Which secret, counted from 0.
    secret: usize,
    field: String,
}

/// A secret as it was named: by a name and perhaps a vault, or by a reference, which also names the field.
#[derive(Debug, Clone)]
pub(crate) struct Named {
    pub(crate) name: String,
    pub(crate) vault: Option<String>,
    pub(crate) field: Option<String>,
}

impl Named {
    /// Reads the arguments that every tool has.
    pub(crate) fn read(secret_name: &str, vault: Option<String>, field: Option<String>) -> Result<Self, Refusal> {
        let (vault, field) = (given(vault), given(field));
        if secret_name.trim().is_empty() {
            return Err(Refusal::with_hint("secret_name is empty", "Look for names with search_secrets"));
        }
        match secret_name.parse::<SecretReference>() {
            Ok(reference) if vault.is_none() => {
                Ok(Self { name: reference.item, vault: Some(reference.vault), field: field.or(Some(reference.field)) })
            }
            _ => Ok(Self { name: secret_name.to_owned(), vault, field }),
        }
    }
}

impl Wanted {
    /// These fields of a secret (all, where none is named anywhere), and those that the variables carry: of this secret, or
    /// of the one that a reference names.
    pub(crate) fn read(
        named: Named,
        fields: Vec<String>,
        env_var: Option<String>,
        env: Option<BTreeMap<String, String>>,
    ) -> Result<Self, Refusal> {
        let Named { name, vault, field } = named;
        let mut variables = env.unwrap_or_default();
        let mut fields: Vec<String> = field.iter().cloned().chain(fields).filter(|label| !label.is_empty()).collect();
        if let Some(variable) = given(env_var) {
            let carried = match (field, fields.as_slice()) {
                (Some(field), _) => field,
                (None, [only]) => only.clone(),
                (None, _) => {
                    return Err(Refusal::new(format!(
                        "no field is named for the variable {variable}: give field, the label as inspect_fields lists it"
                    )));
                }
            };
            if variables.insert(variable.clone(), carried).is_some() {
                return Err(Refusal::new(format!(
                    "the variable {variable} stands in env_var and in env; name it once"
                )));
            }
        }
        for variable in variables.keys() {
            Delivery::Variable(variable.clone()).check()?;
        }
        let mut wanted = Self { secrets: Vec::new(), carried: Vec::new() };
        let is_own = |value: &String| !value.starts_with(SecretReference::SCHEME);
        if !fields.is_empty() || variables.is_empty() || variables.values().any(is_own) {
            fields.extend(variables.values().filter(|value| is_own(value)).cloned());
            fields.sort();
            fields.dedup();
            let fields = Some(fields).filter(|fields| !fields.is_empty());
            wanted.secrets.push(WantedSecret { secret_name: name, vault, fields });
        }
        for (variable, value) in variables {
            if is_own(&value) {
                if value.is_empty() {
                    return Err(Refusal::new(format!("no field is named for the variable {variable}")));
                }
                wanted.carried.push(Carried { variable, secret: 0, field: value });
                continue;
            }
            let reference: SecretReference = value.parse().map_err(|error| {
                Refusal::new(format!("the value of env.{variable} is no secret reference: {error}"))
            })?;
            let secret = wanted.add(reference.vault, reference.item, &reference.field);
            wanted.carried.push(Carried { variable, secret, field: reference.field });
        }
        Ok(wanted)
    }

    /// Adds a field of a secret; returns which one that is.
    fn add(&mut self, vault: String, item: String, field: &str) -> usize {
        let is_it = |secret: &WantedSecret| secret.secret_name == item && secret.vault.as_ref() == Some(&vault);
        let Some(at) = self.secrets.iter().position(is_it) else {
            let fields = Some(vec![field.to_owned()]);
            self.secrets.push(WantedSecret { secret_name: item, vault: Some(vault), fields });
            return self.secrets.len() - 1;
        };
        if let Some(fields) = self.secrets.get_mut(at).and_then(|secret| secret.fields.as_mut())
            && !fields.iter().any(|known| known == field)
        {
            fields.push(field.to_owned());
            fields.sort();
        }
        at
    }

    /// Whether a variable carries anything.
    pub(crate) fn is_carried(&self) -> bool {
        !self.carried.is_empty()
    }

    /// How the values get into a command.
    pub(crate) fn inject(&self) -> Vec<Inject> {
        let each = self.carried.iter().map(|Carried { variable, secret, field }| Inject {
            secret: *secret,
            field: field.clone(),
            into: Way::Variable(variable.clone()),
        });
        each.collect()
    }

    /// What is used, as `name/field`.
    pub(crate) fn labels(&self) -> String {
        let each = self.carried.iter().map(|Carried { secret, field, .. }| {
            let name = self.secrets.get(*secret).map(|secret| secret.secret_name.as_str()).unwrap_or_default();
            format!("{name}/{field}")
        });
        each.collect::<Vec<_>>().join(", ")
    }

    /// The use of running exactly this command with these variables, as the human sees it. What has to be looked up may
    /// take this long.
    pub(crate) async fn exactly(
        &self,
        argv: Vec<String>,
        folder: PathBuf,
        settings: &Settings,
        within: Duration,
    ) -> Result<Use, Refusal> {
        // of several secrets, the human sees of which one a field is
        let names = if self.secrets.len() > 1 { self.names(settings, within).await? } else { Vec::new() };
        let shown = self.carried.iter().map(|Carried { variable, secret, field }| {
            let shown = names.get(*secret).map_or_else(|| field.clone(), |name| format!("{name}/{field}"));
            (variable.clone(), shown)
        });
        let env = shown.collect();
        // reads and hashes the program
        let path = std::env::var_os("PATH");
        let resolved = tokio::task::spawn_blocking(move || resolve(&argv, &folder, path.as_deref(), env)).await;
        let resolved = resolved.map_err(|error| Refusal::new(error.to_string()))??;
        let exactly = Use::command(resolved);
        exactly.check().map_err(|error| Refusal::new(error.to_string()))?;
        Ok(exactly)
    }

    /// What the secrets are called, so that none can be taken for another.
    async fn names(&self, settings: &Settings, within: Duration) -> Result<Vec<String>, Refusal> {
        let gate = settings.gate(POLL_INTERVAL)?;
        let held = daemon::held().await?;
        let items =
            try_join_all(self.secrets.iter().map(|secret| place_and_title(secret, &held, &gate, within))).await?;
        let items: Vec<_> = items.iter().map(|(vault, title)| (vault.as_str(), title.as_str())).collect();
        item_names(&items).ok_or_else(|| {
            Refusal::new(
                "two of these secrets can't be told apart by their vaults and titles, so that a human could not see which \
                 value gets into which variable; use them in commands of their own, or tell the user to rename one",
            )
        })
    }
}

/// The vault and the title of a secret: of what is held where it is, and else as the server tells within this time.
async fn place_and_title(
    secret: &WantedSecret,
    held: &[Held],
    gate: &RemoteGate,
    within: Duration,
) -> Result<(String, String), Refusal> {
    let WantedSecret { secret_name, vault, .. } = secret;
    let items = held.iter().flat_map(|held| &held.items);
    let is_it = |item: &&HeldItem| {
        item.secret_name == *secret_name && vault.as_ref().is_none_or(|vault| *vault == item.vault_name)
    };
    if let Some(item) = items.into_iter().find(is_it) {
        return Ok((item.vault_name.clone(), item.secret_name.clone()));
    }
    let item = FieldsRequest { secret_name: secret_name.clone(), vault: vault.clone() };
    match tokio::time::timeout(within, gate.fields(&item)).await {
        Ok(Ok(known)) => Ok((known.vault_name, known.secret_name)),
        Ok(Err(error)) if !error.is_transient() => Err(error.into()),
        // what is held goes on while the server is away
        _ => Ok((vault.clone().unwrap_or_default(), secret_name.clone())),
    }
}

/// The argument vector of a command: a line for the shell, or a program where arguments are given.
pub(crate) fn argv(command: &str, args: Option<Vec<String>>, folder: &Path) -> Result<Vec<String>, Refusal> {
    if command.trim().is_empty() {
        return Err(Refusal::new("command is empty"));
    }
    if args.is_some() && command.contains(char::is_whitespace) {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut places = std::env::split_paths(&path).chain([folder.to_owned()]);
        if !places.any(|place| place.join(command).is_file()) {
            return Err(Refusal::new(format!(
                "there is no program {command:?}: with args, command is the name of a program alone. Leave args out for a line \
                 that sh reads, or put each word after the first into args"
            )));
        }
    }
    Ok(match args {
        None => vec!["/bin/sh".to_owned(), "-c".to_owned(), command.to_owned()],
        Some(args) => std::iter::once(command.to_owned()).chain(args).collect(),
    })
}

/// The folder that a command runs in: this process's, or one that counts from there.
pub(crate) fn folder(working_dir: Option<&str>) -> Result<PathBuf, Refusal> {
    let own = std::env::current_dir()
        .map_err(|error| Refusal::new(format!("the folder of this server can't be told: {error}; give working_dir")))?;
    let Some(wanted) = working_dir.filter(|folder| !folder.is_empty()) else { return Ok(own) };
    let folder = own.join(wanted);
    if folder.is_dir() { Ok(folder) } else { Err(Refusal::new(format!("there is no folder {wanted}"))) }
}

/// The login that a tool call names.
pub(crate) fn login(host: &str, port: Option<u16>, command: Option<&str>) -> Result<Login, Refusal> {
    let mut login = Login::parse(host)?;
    if let Some(port) = port {
        login = login.with_port(port)?;
    }
    match command.filter(|command| !command.is_empty()) {
        Some(command) => Ok(login.with_command(command)?),
        None => Ok(login),
    }
}

/// The use of logging in exactly there.
pub(crate) async fn exact_host(login: &Login) -> Result<Use, Refusal> {
    Ok(Use::host(login.resolve(Path::new(SSH)).await?))
}

/// The label of the field that is an SSH key, as the server tells within this time; none where it does not.
pub(crate) async fn key_field(gate: &RemoteGate, named: &Named, within: Duration) -> Result<Option<String>, Refusal> {
    let item = FieldsRequest { secret_name: named.name.clone(), vault: named.vault.clone() };
    let known = match tokio::time::timeout(within, gate.fields(&item)).await {
        Ok(Ok(known)) => known,
        Ok(Err(error)) if !error.is_transient() => return Err(error.into()),
        _ => return Ok(None),
    };
    let only = || known.fields.first().filter(|_| known.fields.len() == 1).map(|field| field.label.clone());
    match key_among(&known.fields).or_else(only) {
        Some(label) => Ok(Some(label)),
        None => {
            let labels: Vec<_> = known.fields.iter().map(|field| field.label.as_str()).collect();
            Err(Refusal::new(format!(
                "{} has no field that is known to be an SSH key; it has {}",
                known.secret_name,
                labels.join(", ")
            )))
        }
    }
}

/// The label of the field that is an SSH key.
pub(crate) fn key_among(fields: &[FieldInfo]) -> Option<String> {
    let is_key =
        |field: &&FieldInfo| field.kind == "SSHKEY" || ["private_key", "private key"].contains(&field.label.as_str());
    fields.iter().find(is_key).map(|field| field.label.clone())
}

/// An argument that is there and says something: models send empty texts for what they leave out.
pub(crate) fn given(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, field: Option<&str>, env_var: Option<&str>, env: &[(&str, &str)]) -> Result<Wanted, Refusal> {
        let named = Named::read(name, None, field.map(str::to_owned))?;
        let env: BTreeMap<_, _> = env.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
        Wanted::read(named, Vec::new(), env_var.map(str::to_owned), Some(env))
    }

    fn shown(wanted: &Wanted) -> String {
        let secrets = wanted.secrets.iter().map(|secret| {
            format!(
                "{}@{}[{}]",
                secret.secret_name,
                secret.vault.as_deref().unwrap_or("-"),
                secret.fields.as_deref().map_or("*".to_owned(), |fields| fields.join(","))
            )
        });
        let carried =
            wanted.carried.iter().map(|Carried { variable, secret, field }| format!("{variable}={secret}/{field}"));
        secrets.chain(carried).collect::<Vec<_>>().join(" ")
    }

    /// Name, field, variable, variables, and what comes of them.
    type Case = (
        &'static str,
        Option<&'static str>,
        Option<&'static str>,
        &'static [(&'static str, &'static str)],
        &'static str,
    );

    #[test]
    fn variables_carry_fields_of_this_secret_and_of_others() {
        let cases: [Case; 8] = [
            ("db", None, None, &[], "db@-[*]"),
            ("db", Some("password"), Some("P"), &[], "db@-[password] P=0/password"),
            ("op://infra/db/password", None, Some("P"), &[], "db@infra[password] P=0/password"),
            ("db", None, None, &[("U", "user"), ("P", "password")], "db@-[password,user] P=0/password U=0/user"),
            ("db", Some("user"), None, &[("P", "password")], "db@-[password,user] P=0/password"),
            ("db", None, None, &[("T", "op://infra/web/token")], "web@infra[token] T=0/token"),
            (
                "db",
                Some("password"),
                Some("P"),
                &[("T", "op://infra/web/token"), ("U", "op://infra/web/admin/user")],
                "db@-[password] web@infra[admin/user,token] P=0/password T=1/token U=1/admin/user",
            ),
            ("db", Some(""), None, &[], "db@-[*]"),
        ];
        for (name, field, env_var, env, expected) in cases {
            assert_eq!(shown(&read(name, field, env_var, env).unwrap()), expected);
        }
        let wanted = read("db", Some("password"), Some("P"), &[("T", "op://infra/web/token")]).unwrap();
        assert_eq!(wanted.labels(), "db/password, web/token");
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let cases: [Case; 9] = [
            (" ", None, None, &[], "secret_name is empty"),
            ("db", None, Some("P"), &[], "no field is named"),
            ("db", Some("x"), Some("P"), &[("P", "y")], "name it once"),
            ("db", Some("x"), Some("LD_PRELOAD"), &[], "LD_PRELOAD"),
            ("db", Some("x"), Some("A=B"), &[], "A=B"),
            ("db", Some("x"), Some("A\nB"), &[], "A"),
            ("db", None, None, &[("PATH", "x")], "PATH"),
            ("db", None, None, &[("T", "op://web/token")], "no secret reference"),
            ("db", None, None, &[("T", "")], "no field is named"),
        ];
        for (name, field, env_var, env, words) in cases {
            let refusal = read(name, field, env_var, env).unwrap_err().into_text();
            assert!(refusal.contains(words), "{refusal}");
        }
    }
}
