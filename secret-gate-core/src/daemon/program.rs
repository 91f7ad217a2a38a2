//! A program that is its own daemon: run once more with the arguments `daemon serve`.

use std::io::Write as _;
use std::time::Duration;

use rustix::fs::Mode;
use tokio::net::UnixStream;
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep};

use super::client::{ConnectError, READY};
use super::config::Config;
use super::paths::SocketPath;
use super::serve::{Daemon, DaemonError, DaemonOptions};

/// How long one is waited for that holds the place and does not listen: longer than a daemon takes to end.
const PATIENCE: Duration = Duration::from_secs(12);

/// Connects to this user's daemon. Where none runs, this program is started as one, with the arguments `daemon serve`,
/// upon which it must call [`serve_here`].
///
/// # Errors
/// See [`ConnectError`].
pub async fn connect_or_start() -> Result<UnixStream, ConnectError> {
    let program = std::env::current_exe().map_err(ConnectError::NotStarting)?;
    let mut command = Command::new(program);
    // neither the folder nor the files of whoever happens to start it are kept busy, and its variables are not kept
    command.args(["daemon", "serve"]).current_dir(std::env::home_dir().unwrap_or_else(|| "/".into()));
    command.env_clear().envs(std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(is_passed)));
    close_fds::set_fds_cloexec(3, &[]);
    SocketPath::find()?.connect_or_start(&mut command).await
}

/// Whether the daemon gets this variable of whoever starts it: what tells it about the user and the way to servers.
fn is_passed(name: &str) -> bool {
    const PASSED: [&str; 9] =
        ["HOME", "LANG", "LOGNAME", "PATH", "SSL_CERT_FILE", "TMPDIR", "USER", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR"];
    // without them, servers behind a proxy are out of reach
    const PROXIES: [&str; 4] = ["ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY"];
    PASSED.contains(&name) || name.starts_with("LC_") || PROXIES.iter().any(|proxy| name.eq_ignore_ascii_case(proxy))
}

/// Is the daemon, in this process, which [`harden_process`](super::harden_process) has protected already: says `ready` on
/// standard output once it serves, or another one does, and goes on until it has nothing to do or `stop` is ready. From
/// `ready` on, the standard streams lead nowhere. Files that this process makes from now on are the user's alone.
///
/// # Errors
/// See [`DaemonError`]; not where another daemon serves already.
pub async fn serve_here(config: &Config, stop: impl Future<Output = ()> + Send) -> Result<(), DaemonError> {
    // a session of its own: what ends the terminal does not end it
    rustix::process::setsid().ok();
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
    // what is handled here is not ignored by the commands that run, whatever whoever started the daemon ignored
    let _handled: Vec<_> = [SignalKind::hangup(), SignalKind::interrupt(), SignalKind::quit(), SignalKind::terminate()]
        .into_iter()
        .chain([SignalKind::user_defined1(), SignalKind::user_defined2(), SignalKind::alarm()])
        .filter_map(|kind| signal(kind).ok())
        .collect();
    let path = SocketPath::find()?;
    let options = DaemonOptions::default().idle_timeout(config.daemon_idle_timeout());
    let daemon = bind(&path, &options).await?;
    // nobody listens to it after that
    let said = std::io::stdout().write_all(READY).and_then(|()| std::io::stdout().flush());
    said.and_then(|()| close_streams()).map_err(DaemonError::Streams)?;
    if let Some(daemon) = daemon {
        daemon.serve(stop).await;
    }
    Ok(())
}

/// The daemon, once it has its place; none where another one serves there.
async fn bind(path: &SocketPath, options: &DaemonOptions) -> Result<Option<Daemon>, DaemonError> {
    let end = Instant::now() + PATIENCE;
    loop {
        match Daemon::bind(path.clone(), options.clone()) {
            Ok(daemon) => return Ok(Some(daemon)),
            Err(DaemonError::IsRunning) => {}
            Err(error) => return Err(error),
        }
        match path.connect().await {
            // whoever wanted one can call that
            Ok(_) => return Ok(None),
            // it is about to listen, or to end
            Err(ConnectError::NotRunning) if Instant::now() < end => sleep(Duration::from_millis(50)).await,
            Err(_) => {
                let holder = std::fs::read_to_string(path.lock_file()).unwrap_or_default();
                return Err(DaemonError::Stuck { lock: path.lock_file(), holder: holder.trim().to_owned() });
            }
        }
    }
}

fn close_streams() -> std::io::Result<()> {
    let nowhere = std::fs::File::options().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(&nowhere)?;
    rustix::stdio::dup2_stdout(&nowhere)?;
    rustix::stdio::dup2_stderr(&nowhere)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_daemon_gets_no_more_than_it_needs() {
        for name in ["HOME", "LC_ALL", "https_proxy", "NO_PROXY"] {
            assert!(is_passed(name), "{name}");
        }
        for name in ["SSH_AUTH_SOCK", "SECRET_GATE_API_KEY", "LD_PRELOAD", "RUST_LOG", "PATHEXT", "home", ""] {
            assert!(!is_passed(name), "{name}");
        }
    }
}
