//! What to run.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use crate::ExactCommand;
use crate::loaders::is_loader_variable;

/// A key to the server is no business of a command.
const API_KEY: &str = "SECRET_GATE_API_KEY";

/// A command: what runs, where, in which environment and within which limits.
///
/// The environment starts empty. What the command sees is exactly what [`env`](Self::env) gave, less every variable
/// whose name begins with `SECRET_GATE_API_KEY`, and the variables of its injections.
pub struct Command {
    pub(super) argv: Vec<OsString>,
    pub(super) working_dir: PathBuf,
    pub(super) env: Vec<(OsString, OsString)>,
    pub(super) timeout: Option<Duration>,
    pub(super) output_limit: Option<u64>,
    pub(super) stdin: Option<OwnedFd>,
    pub(super) umask: Option<u32>,
    pub(super) approved: Option<ExactCommand>,
    pub(super) on_start: Option<OnStart>,
}

/// Hears the number of the process that was started.
type OnStart = Box<dyn FnOnce(u32) + Send + Sync>;

impl Command {
    /// This argument vector, the program's name first, run in this folder.
    ///
    /// The program is looked up in the `PATH` of [`env`](Self::env); a name with a slash is taken relative to the folder.
    pub fn new(argv: impl IntoIterator<Item = impl Into<OsString>>, working_dir: impl Into<PathBuf>) -> Self {
        Self {
            argv: argv.into_iter().map(Into::into).collect(),
            working_dir: working_dir.into(),
            env: Vec::new(),
            timeout: None,
            output_limit: None,
            stdin: None,
            umask: None,
            approved: None,
            on_start: None,
        }
    }

    /// This line, run by `/bin/sh -c` in this folder.
    pub fn shell(line: impl Into<OsString>, working_dir: impl Into<PathBuf>) -> Self {
        Self::new(["/bin/sh".into(), "-c".into(), line.into()], working_dir)
    }

    /// In this environment, and no other variables than these.
    #[must_use]
    pub fn env(mut self, pairs: impl IntoIterator<Item = (impl Into<OsString>, impl Into<OsString>)>) -> Self {
        self.env = pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        self
    }

    /// Killed when it runs for longer than this.
    #[must_use]
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Output beyond so many bytes a stream is dropped; the command runs on.
    #[must_use]
    pub const fn output_limit(mut self, bytes: u64) -> Self {
        self.output_limit = Some(bytes);
        self
    }

    /// Reads its standard input from there; from nowhere by default.
    #[must_use]
    pub fn stdin(mut self, from: impl Into<OwnedFd>) -> Self {
        self.stdin = Some(from.into());
        self
    }

    /// Makes files with these permissions taken away (`umask(2)`); with those of this process by default.
    #[must_use]
    pub const fn umask(mut self, mask: u32) -> Self {
        self.umask = Some(mask);
        self
    }

    /// Runs only if it is this command, to the byte of its program. See [`resolve`](super::resolve()).
    ///
    /// It then starts without the variables that change what programs load or run, `PATH` among them.
    #[must_use]
    pub fn exactly(mut self, approved: ExactCommand) -> Self {
        self.approved = Some(approved);
        self
    }

    /// Calls this with the number of the process as soon as it has started; its process group has the same.
    #[must_use]
    pub fn on_start(mut self, hear: impl FnOnce(u32) + Send + Sync + 'static) -> Self {
        self.on_start = Some(Box::new(hear));
        self
    }

    /// The argument vector, as an approval shows it.
    #[must_use]
    pub fn argv(&self) -> &[OsString] {
        &self.argv
    }

    /// The last value of this variable in the environment that was given.
    pub(super) fn variable(&self, name: &str) -> Option<&OsStr> {
        self.env.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value.as_os_str())
    }

    /// The part of the given environment that the command sees.
    pub(super) fn passed_env(&self) -> impl Iterator<Item = &(OsString, OsString)> {
        let is_exact = self.approved.is_some();
        self.env.iter().filter(move |(name, _)| {
            let name = name.to_string_lossy();
            // a name with `=` in it would be another variable to the command
            !(name.is_empty()
                || name.contains(['=', '\0'])
                || name.starts_with(API_KEY)
                || is_exact && is_loader_variable(&name))
        })
    }
}

impl fmt::Debug for Command {
    // arguments and variables are the caller's, and may hold secrets of their own
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { argv: _, working_dir, env: _, timeout, output_limit, stdin, umask, approved, on_start: _ } = self;
        f.debug_struct("Command")
            .field("working_dir", working_dir)
            .field("timeout", timeout)
            .field("output_limit", output_limit)
            .field("stdin", &stdin.is_some())
            .field("umask", umask)
            .field("exact", &approved.is_some())
            .finish_non_exhaustive()
    }
}
