//! A program that is its own daemon: run once more with the arguments `daemon serve`.

use std::io::Write as _;

use tokio::net::UnixStream;
use tokio::process::Command;

use super::client::ConnectError;
use super::config::Config;
use super::paths::SocketPath;
use super::serve::{Daemon, DaemonError, DaemonOptions};

/// Connects to this user's daemon. Where none runs, this program is started as one, with the arguments `daemon serve`,
/// upon which it must call [`serve_here`].
///
/// # Errors
/// See [`ConnectError`].
pub async fn connect_or_start() -> Result<UnixStream, ConnectError> {
    let program = std::env::current_exe().map_err(ConnectError::NotStarting)?;
    let mut command = Command::new(program);
    // neither the folder nor the files of whoever happens to start it are kept busy
    command.args(["daemon", "serve"]).current_dir(std::env::home_dir().unwrap_or_else(|| "/".into()));
    close_fds::set_fds_cloexec(3, &[]);
    SocketPath::find()?.connect_or_start(&mut command).await
}

/// Is the daemon, in this process, which [`harden_process`](super::harden_process) has protected already: says `ready` on
/// standard output once it serves, or another one does, and goes on until it has nothing to do or `stop` is ready.
///
/// # Errors
/// See [`DaemonError`]; not where another daemon serves already.
pub async fn serve_here(config: &Config, stop: impl Future<Output = ()> + Send) -> Result<(), DaemonError> {
    // a session of its own: what ends the terminal does not end it
    rustix::process::setsid().ok();
    let options = DaemonOptions::default().idle_timeout(config.daemon_idle_timeout());
    let daemon = match Daemon::bind(SocketPath::find()?, options) {
        Ok(daemon) => Some(daemon),
        // whoever wanted one can call that
        Err(DaemonError::IsRunning) => None,
        Err(error) => return Err(error),
    };
    // nobody listens to it after that
    writeln!(std::io::stdout(), "ready").ok();
    if let Some(daemon) = daemon {
        daemon.serve(stop).await;
    }
    Ok(())
}
