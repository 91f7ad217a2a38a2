//! Asks `ssh -G` what a host means.

use std::ffi::OsString;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::LoginError;

const PATIENCE: Duration = Duration::from_secs(10);
/// More output than any configuration makes, in bytes.
const MAX_OUTPUT: u64 = 256 * 1024;
/// What `ssh` and the commands of a `Match exec` need to find their files. Nothing that makes programs load others.
const ENVIRONMENT: [&str; 6] = ["HOME", "PATH", "USER", "LOGNAME", "SHELL", "LANG"];

#[derive(Debug)]
pub(super) struct Answer {
    pub(super) user: String,
    pub(super) host: String,
    pub(super) port: u16,
}

pub(super) async fn ask(program: &Path, arguments: &[OsString]) -> Result<Answer, LoginError> {
    ask_within(PATIENCE, program, arguments).await
}

async fn ask_within(patience: Duration, program: &Path, arguments: &[OsString]) -> Result<Answer, LoginError> {
    let failed = |source| LoginError::Start { program: program.to_owned(), source };
    let mut command = Command::new(program);
    command.args(arguments).env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.envs(ENVIRONMENT.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
    let mut running = Group(command.process_group(0).spawn().map_err(failed)?);
    let (stdout, stderr) = (running.0.stdout.take(), running.0.stderr.take());
    let work = async { tokio::join!(limited(stdout), limited(stderr), running.0.wait()) };
    let (output, complaint, status) = timeout(patience, work).await.map_err(|_| LoginError::TimedOut)?;
    if !status.map_err(failed)?.success() {
        return Err(LoginError::Failed { message: last_line(&complaint) });
    }
    read(&output).ok_or_else(|| LoginError::Failed { message: "its answer can't be read".into() })
}

/// Killed whole when it is left: a command of the configuration could be what takes so long.
struct Group(Child);

impl Drop for Group {
    fn drop(&mut self) {
        let running = self.0.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        if let Some(Err(error)) = running.map(|leader| kill_process_group(leader, Signal::KILL)) {
            tracing::warn!(%error, "ssh -G can't be stopped");
        }
    }
}

async fn limited(stream: Option<impl AsyncRead + Unpin>) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(stream) = stream {
        // what was read counts, and the status says whether it is whole
        if let Err(error) = stream.take(MAX_OUTPUT).read_to_end(&mut bytes).await {
            tracing::debug!(%error, "the output of ssh -G broke off");
        }
    }
    bytes
}

/// Lines of a keyword in lower case and its value.
fn read(output: &[u8]) -> Option<Answer> {
    let output = std::str::from_utf8(output).ok()?;
    let value = |keyword: &str| {
        output.lines().find_map(|line| line.strip_prefix(keyword)?.strip_prefix(' ')).map(str::trim).map(str::to_owned)
    };
    let port = value("port")?.parse().ok().filter(|port| *port != 0)?;
    Some(Answer { user: value("user")?, host: value("hostname")?, port })
}

fn last_line(complaint: &[u8]) -> String {
    let complaint = String::from_utf8_lossy(complaint);
    let line = complaint.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or("it does not say why");
    line.chars().filter(|c| !c.is_control()).take(200).collect()
}
