//! What may be done with a secret.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::loaders::is_loader_variable;

/// What a requester wants to do with a value: run commands with it, log in with it, get it, or several of these.
///
/// The JSON form is `{"exec":"any"|{…}, "ssh":"any"|{…}, "reveal":bool}`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct Use {
    /// Run commands with the value: any, or exactly this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<schema::ExecUse>))]
    pub exec: Option<Scope<ExactCommand>>,
    /// Log in over SSH with the value: anywhere, or exactly there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<schema::SshUse>))]
    pub ssh: Option<Scope<ExactHost>>,
    /// Get the value itself.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reveal: bool,
}

/// Everything of a kind, or exactly one thing.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Scope<T> {
    /// Anything of the kind.
    Any,
    /// This and nothing else.
    Exact(T),
}

/// A command, resolved when it was asked for and checked again when it starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct ExactCommand {
    /// The argument vector, the program's name first.
    #[cfg_attr(feature = "openapi", schema(min_items = 1))]
    pub argv: Vec<String>,
    /// The folder the command starts in, absolute.
    #[cfg_attr(feature = "openapi", schema(pattern = "^/"))]
    pub working_dir: String,
    /// The program's absolute path (of the interpreter, for a `#!` script).
    #[cfg_attr(feature = "openapi", schema(pattern = "^/"))]
    pub program: String,
    /// SHA-256 of the program's file (of the interpreter, for a `#!` script), 64 hexadecimal digits.
    #[cfg_attr(feature = "openapi", schema(pattern = "^[0-9A-Fa-f]{64}$"))]
    pub sha256: String,
    /// SHA-256 of the script, where the program is the interpreter of one, 64 hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(pattern = "^[0-9A-Fa-f]{64}$"))]
    pub script_sha256: Option<String>,
    /// Environment variable to field label.
    pub env: BTreeMap<String, String>,
    /// Environment variable that holds the path of a pipe (`/dev/fd/N`), to the label of the field that the pipe carries.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<String, String>,
    /// Label of the field that is the command's standard input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(min_length = 1))]
    pub stdin: Option<String>,
}

impl ExactCommand {
    /// This argument vector, run by this program in this folder, without values.
    pub fn new(
        argv: impl IntoIterator<Item = impl Into<String>>,
        working_dir: impl Into<String>,
        program: impl Into<String>,
        sha256: impl Into<String>,
    ) -> Self {
        Self {
            argv: argv.into_iter().map(Into::into).collect(),
            working_dir: working_dir.into(),
            program: program.into(),
            sha256: sha256.into(),
            script_sha256: None,
            env: BTreeMap::new(),
            files: BTreeMap::new(),
            stdin: None,
        }
    }

    /// The same command with one more variable that carries a field.
    #[must_use]
    pub fn with_env(mut self, variable: impl Into<String>, field: impl Into<String>) -> Self {
        self.env.insert(variable.into(), field.into());
        self
    }

    /// The same command with one more variable that holds the path of a pipe, which carries a field.
    #[must_use]
    pub fn with_file(mut self, variable: impl Into<String>, field: impl Into<String>) -> Self {
        self.files.insert(variable.into(), field.into());
        self
    }

    /// The same command with a field as its standard input.
    #[must_use]
    pub fn with_stdin(mut self, field: impl Into<String>) -> Self {
        self.stdin = Some(field.into());
        self
    }
}

/// A login, and the remote command where there is one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct ExactHost {
    /// The user to log in as; the client's own user name where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(pattern = r"^[^\s@-][^\s@]*$"))]
    pub user: Option<String>,
    /// Host name or address.
    #[cfg_attr(feature = "openapi", schema(pattern = r"^[^\s@-][^\s@]*$", examples("db.internal.example")))]
    pub host: String,
    /// TCP port; 22 where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 65535))]
    pub port: Option<u16>,
    /// The command to run there; a shell where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(min_length = 1))]
    pub command: Option<String>,
}

impl ExactHost {
    /// A shell on this host, as the client's own user, on port 22.
    pub fn new(host: impl Into<String>) -> Self {
        Self { user: None, host: host.into(), port: None, command: None }
    }
}

/// Why a [`Use`] means nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UseError {
    /// None of exec, ssh and reveal is asked for.
    #[error("use asks for nothing: give at least one of exec, ssh and reveal")]
    Empty,
    /// A member holds something it can't hold.
    #[error("use.{member} {problem}")]
    Member {
        /// Dotted path of the member.
        member: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
}

impl Use {
    /// Getting the value itself, and nothing else.
    #[must_use]
    pub const fn reveal() -> Self {
        Self { exec: None, ssh: None, reveal: true }
    }

    /// Running any command.
    #[must_use]
    pub const fn any_command() -> Self {
        Self { exec: Some(Scope::Any), ssh: None, reveal: false }
    }

    /// Running exactly this command.
    #[must_use]
    pub const fn command(command: ExactCommand) -> Self {
        Self { exec: Some(Scope::Exact(command)), ssh: None, reveal: false }
    }

    /// Logging in anywhere.
    #[must_use]
    pub const fn any_host() -> Self {
        Self { exec: None, ssh: Some(Scope::Any), reveal: false }
    }

    /// Logging in exactly there.
    #[must_use]
    pub const fn host(host: ExactHost) -> Self {
        Self { exec: None, ssh: Some(Scope::Exact(host)), reveal: false }
    }

    /// Whether an approval of this use allows all of `wanted`.
    #[must_use]
    pub fn covers(&self, wanted: &Self) -> bool {
        Scope::covers(self.exec.as_ref(), wanted.exec.as_ref())
            && Scope::covers(self.ssh.as_ref(), wanted.ssh.as_ref())
            && (self.reveal || !wanted.reveal)
    }

    /// Checks that the use asks for something and that its parts hold together.
    ///
    /// # Errors
    /// [`UseError`] names the first member that doesn't.
    pub fn check(&self) -> Result<(), UseError> {
        if self.exec.is_none() && self.ssh.is_none() && !self.reveal {
            return Err(UseError::Empty);
        }
        if let Some(Scope::Exact(command)) = &self.exec {
            command.check()?;
        }
        if let Some(Scope::Exact(host)) = &self.ssh {
            host.check()?;
        }
        Ok(())
    }
}

impl ExactCommand {
    fn check(&self) -> Result<(), UseError> {
        let fail = |member, problem| Err(UseError::Member { member, problem });
        if self.argv.first().is_none_or(String::is_empty) {
            return fail("exec.argv", "must start with the program's name");
        }
        if self.argv.iter().any(|argument| argument.contains('\0')) {
            return fail("exec.argv", "must not hold a NUL character");
        }
        if !self.working_dir.starts_with('/') {
            return fail("exec.working_dir", "must be an absolute path");
        }
        if !self.program.starts_with('/') {
            return fail("exec.program", "must be an absolute path");
        }
        if !is_sha256(&self.sha256) {
            return fail("exec.sha256", "must be 64 hexadecimal digits");
        }
        if self.script_sha256.as_deref().is_some_and(|hash| !is_sha256(hash)) {
            return fail("exec.script_sha256", "must be 64 hexadecimal digits");
        }
        for (member, fields) in [("exec.env", &self.env), ("exec.files", &self.files)] {
            for (variable, field) in fields {
                if !is_variable_name(variable) {
                    return fail(member, "must map names of the form [A-Za-z_][A-Za-z0-9_]* to fields");
                }
                if is_loader_variable(variable) {
                    return fail(member, "must not set PATH or a variable that makes programs load or run something");
                }
                if field.is_empty() {
                    return fail(member, "must name a field for each variable");
                }
            }
        }
        if self.files.keys().any(|variable| self.env.contains_key(variable)) {
            return fail("exec.files", "must not name a variable that exec.env names");
        }
        if self.stdin.as_deref() == Some("") {
            return fail("exec.stdin", "must name a field");
        }
        Ok(())
    }
}

impl ExactHost {
    pub(crate) fn check(&self) -> Result<(), UseError> {
        let fail = |member, problem| Err(UseError::Member { member, problem });
        let odd = |text: &str| {
            text.is_empty() || text.starts_with('-') || text.contains(|c: char| c.is_whitespace() || c.is_control())
        };
        if odd(&self.host) || self.host.contains('@') {
            return fail("ssh.host", "must be a host name or address");
        }
        if self.user.as_deref().is_some_and(|user| odd(user) || user.contains('@')) {
            return fail("ssh.user", "must be a user name");
        }
        if self.port == Some(0) {
            return fail("ssh.port", "must be between 1 and 65535");
        }
        if self.command.as_deref().is_some_and(|command| command.is_empty() || command.contains('\0')) {
            return fail("ssh.command", "must not be empty or hold a NUL character");
        }
        Ok(())
    }
}

fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

pub(crate) fn is_variable_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

impl<T: PartialEq> Scope<T> {
    fn covers(granted: Option<&Self>, wanted: Option<&Self>) -> bool {
        match (granted, wanted) {
            (_, None) | (Some(Self::Any), Some(_)) => true,
            (granted, wanted) => granted == wanted,
        }
    }
}

impl<T: Serialize> Serialize for Scope<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Any => serializer.serialize_str("any"),
            Self::Exact(exact) => exact.serialize(serializer),
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Scope<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnyOrExact<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for AnyOrExact<T> {
            type Value = Scope<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"any\" or an object")
            }

            fn visit_str<E: de::Error>(self, word: &str) -> Result<Scope<T>, E> {
                match word {
                    "any" => Ok(Scope::Any),
                    _ => Err(E::invalid_value(de::Unexpected::Other("another word"), &self)),
                }
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Scope<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Scope::Exact)
            }
        }
        deserializer.deserialize_any(AnyOrExact(PhantomData))
    }
}

/// Shapes of the JSON forms above that a derive can't see.
#[cfg(feature = "openapi")]
pub(crate) mod schema {
    use super::{ExactCommand, ExactHost};

    /// The word that stands for everything.
    #[derive(serde::Serialize, utoipa::ToSchema)]
    #[serde(rename_all = "lowercase")]
    #[expect(dead_code, reason = "a shape, never a value")]
    pub(crate) enum AnyWord {
        Any,
    }

    /// Any command, or exactly one.
    #[derive(serde::Serialize, utoipa::ToSchema)]
    #[serde(untagged)]
    #[expect(dead_code, reason = "a shape, never a value")]
    pub(crate) enum ExecUse {
        Any(AnyWord),
        Exact(ExactCommand),
    }

    /// Any host, or exactly one.
    #[derive(serde::Serialize, utoipa::ToSchema)]
    #[serde(untagged)]
    #[expect(dead_code, reason = "a shape, never a value")]
    pub(crate) enum SshUse {
        Any(AnyWord),
        Exact(ExactHost),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(argument: &str) -> ExactCommand {
        ExactCommand::new(["echo", argument], "/home/ann", "/bin/echo", "a".repeat(64)).with_env("TOKEN", "token")
    }

    #[test]
    fn covers_what_was_approved_and_nothing_else() {
        let any = Use::any_command();
        let one = Use::command(command("1"));
        let two = Use::command(command("2"));
        assert!(any.covers(&one) && any.covers(&any) && one.covers(&one));
        assert!(!one.covers(&two) && !one.covers(&any));
        assert!(!any.covers(&Use::reveal()) && !any.covers(&Use::any_host()));
        assert!(!Use::reveal().covers(&any));
        let both = Use { reveal: true, ..any };
        assert!(both.covers(&Use::reveal()) && both.covers(&one) && !one.covers(&both));
        let elsewhere = ExactCommand { working_dir: "/".into(), ..command("1") };
        assert!(!one.covers(&Use::command(elsewhere)));
        let otherwise = ExactCommand { env: BTreeMap::new(), ..command("1") };
        for fed in [otherwise.clone().with_file("TOKEN", "token"), otherwise.with_stdin("token")] {
            assert!(!one.covers(&Use::command(fed)));
        }
    }

    #[test]
    fn json_form() {
        let text = r#"{"exec":"any","ssh":{"user":"deploy","host":"prod","port":22,"command":"uptime"},"reveal":true}"#;
        let parsed: Use = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&parsed).unwrap(), text);
        assert_eq!(serde_json::to_string(&Use::any_command()).unwrap(), r#"{"exec":"any"}"#);
        let exact = Use::command(command("1"));
        let json = serde_json::to_string(&exact).unwrap();
        assert_eq!(serde_json::from_str::<Use>(&json).unwrap(), exact);
        // what takes values in no other way looks as it did before there were others
        assert!(json.ends_with(r#""env":{"TOKEN":"token"}}}"#), "{json}");
        let fed = Use::command(command("1").with_file("KEY", "key").with_stdin("password"));
        let json = serde_json::to_string(&fed).unwrap();
        assert!(json.ends_with(r#""files":{"KEY":"key"},"stdin":"password"}}"#), "{json}");
        assert_eq!(serde_json::from_str::<Use>(&json).unwrap(), fed);
        for bad in [r#"{"exec":"all"}"#, r#"{"exec":true}"#, r#"{"exec":{"argv":["x"]}}"#, r#"{"reveal":"yes"}"#] {
            assert!(serde_json::from_str::<Use>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn refuses_what_means_nothing() {
        assert_eq!(Use::default().check(), Err(UseError::Empty));
        let bad_commands = [
            ExactCommand { argv: vec![], ..command("1") },
            ExactCommand { argv: vec![String::new()], ..command("1") },
            ExactCommand { working_dir: "src".into(), ..command("1") },
            ExactCommand { program: "echo".into(), ..command("1") },
            ExactCommand { sha256: "abc".into(), ..command("1") },
            command("1").with_env("A=B", "token"),
            command("1").with_env("1A", "token"),
            command("1").with_env("A", ""),
            command("1").with_env("LD_PRELOAD", "token"),
            command("1").with_env("PATH", "token"),
            command("1").with_file("A=B", "token"),
            command("1").with_file("LD_PRELOAD", "token"),
            command("1").with_file("A", ""),
            command("1").with_file("TOKEN", "token"),
            command("1").with_stdin(""),
        ];
        for bad in bad_commands {
            assert!(Use::command(bad.clone()).check().is_err(), "{bad:?}");
        }
        for host in ["", "-oProxyCommand=x", "a b", "a\nb", "u@h"] {
            assert!(Use::host(ExactHost::new(host)).check().is_err(), "{host:?}");
        }
        assert_eq!(Use::command(command("1")).check(), Ok(()));
        assert_eq!(Use::host(ExactHost::new("prod")).check(), Ok(()));
    }
}
