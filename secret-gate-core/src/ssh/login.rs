//! Where to log in, and how `ssh` is told so.

use std::ffi::OsString;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use super::resolve;
use crate::{ExactHost, UseError};

/// The longest command for the other side, in bytes: half of what Linux takes as one argument.
const MAX_COMMAND: usize = 64 * 1024;
/// The longest host name, by RFC 1035, and user name, in characters.
const MAX_HOST: usize = 253;
const MAX_USER: usize = 64;

/// A login: a host or an alias of `~/.ssh/config`, and user, port and command where they were given.
///
/// ```
/// use secret_gate_core::ssh::Login;
///
/// let login = Login::parse("deploy@prod.example.com")?.with_port(2222)?.with_command("uptime")?;
/// assert_eq!((login.user(), login.host(), login.port()), (Some("deploy"), "prod.example.com", Some(2222)));
/// assert!(Login::parse("-oProxyCommand=touch x").is_err());
/// # Ok::<(), secret_gate_core::ssh::LoginError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    user: Option<String>,
    host: String,
    port: Option<u16>,
    command: Option<String>,
    /// How the caller's configuration says to get there.
    way: Vec<String>,
}

impl Login {
    /// Reads `[user@]host`, the host being a DNS name, an alias, an IPv4 address or an IPv6 address with or without
    /// brackets.
    ///
    /// Names are of ASCII letters, digits, `.`, `-` and `_`: internationalized ones are given as punycode, so that two
    /// hosts never look the same. IPv6 zones (`%eth0`) are not taken.
    ///
    /// # Errors
    /// [`LoginError::Target`] says what is wrong; no process was started by then.
    pub fn parse(target: &str) -> Result<Self, LoginError> {
        let (user, host) = match target.split_once('@') {
            Some((user, host)) => (Some(checked_user(user)?), host),
            None => (None, target),
        };
        Ok(Self { user, host: checked_host(host)?, port: None, command: None, way: Vec::new() })
    }

    /// The login that was approved: the host is taken as it stands, whatever a configuration says of it.
    ///
    /// # Errors
    /// Those of [`parse`](Self::parse) and of the other parts.
    pub fn exactly(approved: &ExactHost) -> Result<Self, LoginError> {
        approved.check()?;
        let user = approved.user.as_deref().map(checked_user).transpose()?;
        let mut login = Self { user, host: checked_host(&approved.host)?, port: None, command: None, way: Vec::new() };
        if let Some(port) = approved.port {
            login = login.with_port(port)?;
        }
        match &approved.command {
            Some(command) => login.with_command(command),
            None => Ok(login),
        }
    }

    /// The same login on this TCP port.
    ///
    /// # Errors
    /// [`LoginError::Port`] for 0.
    pub fn with_port(self, port: u16) -> Result<Self, LoginError> {
        if port == 0 { Err(LoginError::Port) } else { Ok(Self { port: Some(port), ..self }) }
    }

    /// The same login to run this command, a line for the shell there.
    ///
    /// # Errors
    /// [`LoginError::Command`] for one that is empty, begins with `-`, holds a NUL character or is longer than 64 KiB.
    pub fn with_command(self, command: impl Into<String>) -> Result<Self, LoginError> {
        let command = command.into();
        let problem = if command.trim().is_empty() {
            "must not be empty"
        } else if command.starts_with('-') {
            // the shell there is started as `sh -c COMMAND`
            "must not begin with -, which the shell there takes for an option"
        } else if command.contains('\0') {
            "must not hold a NUL character"
        } else if command.len() > MAX_COMMAND {
            "must not be longer than 64 KiB"
        } else {
            return Ok(Self { command: Some(command), ..self });
        };
        Err(LoginError::Command { problem })
    }

    /// The user to log in as, where one was given.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// Name, alias or address; an IPv6 address without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The TCP port, where one was given.
    #[must_use]
    pub const fn port(&self) -> Option<u16> {
        self.port
    }

    /// The command to run there, where one was given.
    #[must_use]
    pub fn command(&self) -> Option<&str> {
        self.command.as_deref()
    }

    /// Asks `ssh -G` what this login comes to under the caller's configuration: the host's own name, user and port, to be
    /// shown to a human and given to [`exactly`](Self::exactly).
    ///
    /// `program` is the `ssh` to ask. It connects nowhere and runs no `ProxyCommand`, but commands of `Match exec` in the
    /// configuration and look-ups of `CanonicalizeHostname` are run by it: whoever may write `~/.ssh/config` can have
    /// commands run by this call. It runs without most of this process's environment and for 10 seconds at most.
    ///
    /// # Errors
    /// [`LoginError::Start`], [`LoginError::Failed`] and [`LoginError::TimedOut`] of the program, and
    /// [`LoginError::Target`] where it leads to a host that can't be shown.
    pub async fn resolve(&self, program: &Path) -> Result<ExactHost, LoginError> {
        let answer = self.ask(program).await?;
        let mut exact = ExactHost::new(checked_host(&answer.host)?);
        exact.user = Some(checked_user(&answer.user)?);
        exact.port = Some(answer.port);
        exact.command.clone_from(&self.command);
        Ok(exact)
    }

    /// The same login, the way there being what the caller's configuration says: name, user, port, proxy, and where host
    /// keys are kept. For logins whose host was left open; one that was approved exactly goes straight there.
    ///
    /// What the configuration says of keys, passwords, agents, forwardings and commands to run is left out. A proxy and
    /// the hosts to jump over run on their own under the configuration, with the keys that it names and never this one.
    ///
    /// # Errors
    /// As [`resolve`](Self::resolve).
    pub async fn follow(self, program: &Path) -> Result<Self, LoginError> {
        let answer = self.ask(program).await?;
        let mut way = vec![format!("HostName={}", checked_host(&answer.host)?)];
        way.extend(answer.way);
        Ok(Self { user: Some(checked_user(&answer.user)?), port: Some(answer.port), way, ..self })
    }

    async fn ask(&self, program: &Path) -> Result<resolve::Answer, LoginError> {
        let mut arguments = vec![OsString::from("-G")];
        if let Some(port) = self.port {
            arguments.extend(["-p".to_owned(), port.to_string()].map(OsString::from));
        }
        self.put_target(&mut arguments);
        resolve::ask(program, &arguments).await
    }

    /// The arguments for `ssh` to log in so with the key of the agent on this socket, and with no other key or password.
    ///
    /// It reads no configuration file, since the keys that one names would be offered as well. Host keys are looked for
    /// and kept where the user's are.
    #[must_use]
    pub fn arguments(&self, agent: &Path) -> Vec<OsString> {
        let mut arguments = vec![OsString::from("-F"), "/dev/null".into()];
        let mut option = |option: OsString| arguments.extend([OsString::from("-o"), option]);
        ALWAYS.iter().for_each(|always| option(always.into()));
        option(identity_agent(agent));
        self.way.iter().for_each(|way| option(way.into()));
        // the first value counts: these where the way has no proxy
        option("ProxyCommand=none".into());
        option("ProxyJump=none".into());
        arguments.extend(["-p".to_owned(), self.port.unwrap_or(22).to_string()].map(OsString::from));
        self.put_target(&mut arguments);
        arguments.extend(self.command.as_ref().map(OsString::from));
        arguments
    }

    /// User and host. What follows `--` is never an option, the command included.
    fn put_target(&self, arguments: &mut Vec<OsString>) {
        if let Some(user) = &self.user {
            arguments.extend(["-l", user].map(OsString::from));
        }
        arguments.extend(["--", &self.host].map(OsString::from));
    }
}

/// The first value that `ssh` meets counts, so nothing that comes after changes these.
const ALWAYS: &[&str] = &[
    "BatchMode=yes",
    "StrictHostKeyChecking=accept-new",
    "ForwardAgent=no",
    "ForwardX11=no",
    "ClearAllForwardings=yes",
    "Tunnel=no",
    "PermitLocalCommand=no",
    "RemoteCommand=none",
    "ControlMaster=no",
    "ControlPath=none",
    // the agent's key and no other: neither files, nor tokens, nor other ways to prove who one is
    "PreferredAuthentications=publickey",
    "IdentitiesOnly=no",
    "IdentityFile=none",
    "PKCS11Provider=none",
    "AddKeysToAgent=no",
];

/// Quoted, since `ssh` splits the value into words, and with `%` doubled, since it fills in what follows one.
fn identity_agent(agent: &Path) -> OsString {
    use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
    let mut option = b"IdentityAgent=\"".to_vec();
    for byte in agent.as_os_str().as_bytes() {
        match byte {
            b'%' => option.extend(b"%%"),
            b'"' | b'\\' => option.extend([b'\\', *byte]),
            _ => option.push(*byte),
        }
    }
    option.push(b'"');
    OsString::from_vec(option)
}

fn checked_user(user: &str) -> Result<String, LoginError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '+');
    let problem = if user.is_empty() {
        "the user before @ is missing"
    } else if user.len() > MAX_USER {
        "the user has more than 64 characters"
    } else if user.starts_with('-') {
        "the user begins with -"
    } else if !user.chars().all(allowed) {
        "the user may be of ASCII letters, digits and . - _ + only"
    } else {
        return Ok(user.to_owned());
    };
    Err(LoginError::Target { problem })
}

fn checked_host(host: &str) -> Result<String, LoginError> {
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    if let Some(address) = bare.or(host.contains(':').then_some(host)) {
        let problem = "not an IPv6 address (a port is given apart from the host, a zone can't be)";
        // as given, so that the human sees what was asked for
        return address.parse::<Ipv6Addr>().map(|_| address.to_owned()).map_err(|_| LoginError::Target { problem });
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let number =
        |label: &str| label.bytes().all(|byte| byte.is_ascii_digit()) || label.to_ascii_lowercase().starts_with("0x");
    let name = host.strip_suffix('.').unwrap_or(host);
    let problem = if host.is_empty() {
        "the host is missing"
    } else if host.len() > MAX_HOST {
        "the host has more than 253 characters"
    } else if host.starts_with('-') {
        "the host begins with -"
    } else if host.contains('@') {
        "there is more than one @"
    } else if !host.is_ascii() {
        "the host has characters that are not ASCII: give an internationalized name as punycode (xn--…)"
    } else if !host.chars().all(allowed) {
        "the host may be of letters, digits and . - _ only"
    } else if name.split('.').any(str::is_empty) {
        "the host has an empty part"
    } else if name.rsplit('.').next().is_some_and(number) && host.parse::<Ipv4Addr>().is_err() {
        "an IPv4 address is written as four decimal numbers"
    } else {
        return Ok(host.to_owned());
    };
    Err(LoginError::Target { problem })
}

/// Why a login can't be made or found out. Nothing of what the requester gave is repeated.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoginError {
    /// Not `[user@]host`.
    #[error("not a login [user@]host: {problem}")]
    Target {
        /// What is wrong.
        problem: &'static str,
    },
    /// Not a port.
    #[error("the port must be between 1 and 65535")]
    Port,
    /// Not a command.
    #[error("the command {problem}")]
    Command {
        /// What is wrong.
        problem: &'static str,
    },
    /// What was approved is no login.
    #[error(transparent)]
    Use(#[from] UseError),
    /// The `ssh` program can't be run.
    #[error("{} can't be run", program.display())]
    Start {
        /// Which.
        program: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// `ssh -G` says no.
    #[error("ssh does not know what this host means: {message}")]
    Failed {
        /// The last line of what it says, at most 200 characters.
        message: String,
    },
    /// `ssh -G` takes too long, perhaps because of a `Match exec` in the configuration.
    #[error(
        "ssh takes too long to tell what this host means: look for Match exec and CanonicalizeHostname in ~/.ssh/config"
    )]
    TimedOut,
}
