//! Starting a command with what it gets.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::{self, Stdio};
use std::sync::Arc;

use command_fds::CommandFdExt as _;
use rustix::fs::Mode;
use rustix::process::umask;
use tokio::net::unix::pipe;

use crate::SecretValue;

use super::exact::Opened;
use super::group::Group;
use super::injection::{Delivery, Injection};
use super::{Command, ExecError, system};

/// Descriptors that a command inherits have at least this number, out of the way of those that scripts choose.
const FIRST_DESCRIPTOR: i32 = 40;

/// A command that runs.
#[derive(Debug)]
pub(super) struct Started {
    pub(super) group: Group,
    pub(super) stdout: pipe::Receiver,
    pub(super) stderr: pipe::Receiver,
    pub(super) feeds: Vec<Feed>,
}

/// Starts a command: of an exact one, what was opened.
pub(super) fn start(
    mut command: Command,
    exact: Option<&Opened>,
    injections: &[Injection],
) -> Result<Started, ExecError> {
    if !command.working_dir.is_dir() {
        return Err(ExecError::NoFolder { path: command.working_dir });
    }
    let mut inherited = Inherited::default();
    let mut child = match exact {
        Some(opened) => opened.command(&mut inherited).map_err(ExecError::Start)?,
        None => {
            let (program, arguments) = command.argv.split_first().ok_or(ExecError::NoProgram)?;
            let mut child = process::Command::new(program);
            child.args(arguments);
            child
        }
    };
    let dir = exact.map_or(command.working_dir.as_path(), Opened::working_dir);
    let passed = command.passed_env().map(|(name, value)| (name, value));
    child.env_clear().envs(passed).current_dir(dir).process_group(0);
    if exact.is_some() && command.variable("HOME").is_some() {
        // programs read from there what to load and to run, and an approval does not show where that is
        match system::home() {
            Some(home) => child.env("HOME", home),
            None => child.env_remove("HOME"),
        };
    }
    child.stdin(command.stdin.map_or_else(Stdio::null, Stdio::from));
    let feeds = inject(&mut child, &mut inherited, injections).map_err(ExecError::Start)?;
    inherited.hand_to(&mut child);
    let (stdout, out) = io::pipe().map_err(ExecError::Start)?;
    let (stderr, err) = io::pipe().map_err(ExecError::Start)?;
    // a child begins with the mask of this process
    let ours = command.umask.map(|mask| umask(Mode::from_bits_truncate((mask & 0o777) as _)));
    let spawned = child.stdout(out).stderr(err).spawn();
    ours.map(umask);
    // closes our copies of what the child has, and frees the environment
    drop(child);
    let spawned = spawned.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            let name = command.argv.first().map(|name| name.to_string_lossy().into_owned());
            ExecError::NotFound { name: name.unwrap_or_default() }
        }
        _ => ExecError::Start(error),
    })?;
    let pid = spawned.id();
    let group = Group::of(spawned, [stdout.as_fd(), stderr.as_fd()]).map_err(ExecError::Start)?;
    if let Some(hear) = command.on_start.take() {
        hear(pid);
    }
    if exact.is_some_and(|opened| !opened.is_unchanged()) {
        return Err(ExecError::Changed { what: "the program's content" });
    }
    let receiver = |pipe: io::PipeReader| pipe::Receiver::from_owned_fd(pipe.into()).map_err(ExecError::Start);
    Ok(Started { group, stdout: receiver(stdout)?, stderr: receiver(stderr)?, feeds })
}

/// Descriptors that a command inherits under their numbers here, so that none can take the place of another.
#[derive(Debug, Default)]
pub(super) struct Inherited {
    descriptors: Vec<OwnedFd>,
}

impl Inherited {
    /// Adds one; returns the path under which the command finds it.
    pub(super) fn add(&mut self, descriptor: impl AsFd) -> io::Result<String> {
        let descriptor = rustix::io::fcntl_dupfd_cloexec(descriptor, FIRST_DESCRIPTOR)?;
        let path = format!("/dev/fd/{}", descriptor.as_raw_fd());
        self.descriptors.push(descriptor);
        Ok(path)
    }

    /// Leaves them open in this command when it starts.
    pub(super) fn hand_to(self, command: &mut process::Command) {
        // without, the command can be started in a faster way
        if !self.descriptors.is_empty() {
            command.preserved_fds(self.descriptors);
        }
    }
}

/// A value on its way into a pipe.
#[derive(Debug)]
pub(super) struct Feed {
    pipe: pipe::Sender,
    value: Arc<SecretValue>,
}

impl Feed {
    /// Writes the value and closes the pipe. That nobody reads it is no error.
    pub(super) async fn run(self) {
        let mut rest = self.value.expose_bytes();
        while !rest.is_empty() && self.pipe.writable().await.is_ok() {
            match self.pipe.try_write(rest) {
                Ok(written) => rest = rest.get(written..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    }
}

fn inject(child: &mut process::Command, inherited: &mut Inherited, injections: &[Injection]) -> io::Result<Vec<Feed>> {
    let mut feeds = Vec::new();
    let mut feed = |value: &Arc<SecretValue>| -> io::Result<io::PipeReader> {
        let (reader, writer) = io::pipe()?;
        feeds.push(Feed { pipe: pipe::Sender::from_owned_fd(writer.into())?, value: Arc::clone(value) });
        Ok(reader)
    };
    for Injection { value, delivery, .. } in injections {
        match delivery {
            Delivery::Variable(name) => {
                child.env(name, value.expose());
            }
            Delivery::Stdin => {
                child.stdin(feed(value)?);
            }
            Delivery::File(name) => {
                child.env(name, inherited.add(feed(value)?)?);
            }
        }
    }
    Ok(feeds)
}
