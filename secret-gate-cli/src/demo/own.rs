//! The demo's own daemon, in a folder that goes with it, and commands that talk to it: never to the user's.

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use secret_gate_core::daemon::{Daemon, DaemonOptions, SocketPath};
use tempfile::TempDir;
use tokio::process::Command;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::demo::cannot;
use crate::failure::Failure;

/// How long the daemon may take to forget and end.
const FAREWELL: Duration = Duration::from_millis(500);

/// It lasts as long as the demo.
const IDLE_TIMEOUT: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// A daemon, and the folder of everything that the demo puts down.
pub(super) struct Own {
    folder: TempDir,
    url: String,
    close: oneshot::Sender<()>,
    serving: JoinHandle<()>,
}

/// How a command ended.
#[derive(Debug)]
pub(super) struct Ran {
    pub(super) code: Option<i32>,
    pub(super) out: String,
    pub(super) err: String,
}

impl Own {
    /// A daemon for the server at this URL.
    pub(super) fn start(url: &str) -> Result<Self, Failure> {
        let mut folder = tempfile::Builder::new();
        let folder = folder.prefix("secret-gate-demo-").permissions(std::fs::Permissions::from_mode(0o700)).tempdir();
        let folder = folder.map_err(|problem| cannot("make a folder for its daemon", &problem))?;
        let fail = |problem: &dyn std::error::Error| cannot("start a daemon of its own", problem);
        let place = SocketPath::at(folder.path().join("secret-gate.sock")).map_err(|problem| fail(&problem))?;
        let options = DaemonOptions::default().idle_timeout(IDLE_TIMEOUT);
        let daemon = Daemon::bind(place, options).map_err(|problem| fail(&problem))?;
        let (close, closed) = oneshot::channel::<()>();
        let serving = tokio::spawn(daemon.serve(async move { drop(closed.await) }));
        Ok(Self { folder, url: url.to_owned(), close, serving })
    }

    /// What goes with the demo.
    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Runs this program with these arguments, as a user would in another terminal.
    pub(super) async fn run(&self, args: &[&str]) -> Result<Ran, Failure> {
        let program = std::env::current_exe().map_err(|problem| cannot("find its own program", &problem))?;
        let mut path = OsString::from(self.folder().join("bin"));
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into()));
        let run = Command::new(program)
            .args(args)
            .env_clear()
            .env("HOME", self.folder())
            .env("PATH", path)
            .env("SECRET_GATE_URL", &self.url)
            .env("XDG_CONFIG_HOME", self.folder())
            .env("XDG_RUNTIME_DIR", self.folder())
            .current_dir(self.folder())
            .stdin(Stdio::null())
            // Ctrl-C is for the demo, which ends it
            .process_group(0)
            .kill_on_drop(true)
            .output();
        let output = run.await.map_err(|problem| cannot("run its own program", &problem))?;
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ok(Ran { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) })
    }

    /// Ends the daemon, which forgets everything, and removes the folder.
    pub(super) async fn end(self) {
        let Self { folder, url: _, close, serving } = self;
        drop(close);
        drop(tokio::time::timeout(FAREWELL, serving).await);
        drop(folder);
    }
}
