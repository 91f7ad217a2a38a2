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
    /// Options for the way there.
    pub(super) way: Vec<String>,
}

/// What is taken over for the way to a host, out of all that a configuration can say: how to reach it and how to know it.
const WAY: [&str; 24] = [
    "addressfamily",
    "bindaddress",
    "bindinterface",
    "casignaturealgorithms",
    "checkhostip",
    "ciphers",
    "compression",
    "connectionattempts",
    "connecttimeout",
    "globalknownhostsfile",
    "hashknownhosts",
    "hostkeyalgorithms",
    "hostkeyalias",
    "kexalgorithms",
    "knownhostscommand",
    "macs",
    "nohostauthenticationforlocalhost",
    "proxycommand",
    "pubkeyacceptedalgorithms",
    "serveralivecountmax",
    "serveraliveinterval",
    "tcpkeepalive",
    "userknownhostsfile",
    "verifyhostkeydns",
];

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
    let work = async {
        let said = tokio::join!(limited(stdout), limited(stderr));
        // ended last, so that its number still names the group should anything before take too long
        (said, running.0.wait().await)
    };
    let ((output, complaint), status) = timeout(patience, work).await.map_err(|_| LoginError::TimedOut)?;
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
    let lines = || std::str::from_utf8(output).ok().into_iter().flat_map(str::lines).filter_map(|l| l.split_once(' '));
    let value = |keyword| lines().find(|(known, _)| *known == keyword).map(|(_, value)| value);
    let port = value("port")?.parse().ok().filter(|port| *port != 0)?;
    let mut way: Vec<_> = lines()
        .filter(|(keyword, _)| WAY.contains(keyword))
        .map(|(keyword, value)| format!("{keyword}={value}"))
        .collect();
    if let Some(jump) = value("proxyjump") {
        way.push(format!("ProxyCommand={}", jump_command(jump)?));
    }
    Some(Answer { user: value("user")?.to_owned(), host: value("hostname")?.to_owned(), port, way })
}

/// What `ssh` makes of `ProxyJump`, but under the caller's configuration, which knows the aliases in it.
fn jump_command(jump: &str) -> Option<String> {
    // it goes through a shell
    let plain =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '+' | '@' | ':' | ',' | '[' | ']' | '/');
    if jump.starts_with('-') || !jump.chars().all(plain) {
        return None;
    }
    let (before, last) = jump.rsplit_once(',').map_or((None, jump), |(before, last)| (Some(before), last));
    let before = before.map(|hosts| format!("-J '{hosts}' ")).unwrap_or_default();
    let last = if last.starts_with("ssh://") { last.to_owned() } else { format!("ssh://{last}") };
    Some(format!("ssh {before}-o BatchMode=yes -W '[%h]:%p' -- '{last}'"))
}

fn last_line(complaint: &[u8]) -> String {
    let complaint = String::from_utf8_lossy(complaint);
    let line = complaint.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or("it does not say why");
    line.chars().filter(|c| !c.is_control()).take(200).collect()
}
