//! One run of the client, whose command ends when it is told to.

use std::path::Path;
use std::process::{ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::{Mutex, watch};

use crate::support::{PASSWORD, SERVER};

/// Says when it has the value, waits, and says that it still has it.
const COMMAND: &str = "echo in use; read -r line; echo ended with ${#T}";

/// How long the whole run may take: a client gives up on a silent server after a minute, and a slow machine is slower.
const LIMIT: std::time::Duration = std::time::Duration::from_secs(180);

/// A client that runs.
pub struct Run {
    child: Mutex<Child>,
    pid: Pid,
    stdin: Mutex<Option<ChildStdin>>,
    out: watch::Receiver<String>,
    err: watch::Receiver<String>,
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// None after a signal.
    pub code: Option<i32>,
    /// Whether the command ran to its end.
    pub is_done: bool,
    pub err: String,
}

impl Run {
    pub fn start(home: &Path, server: &str) -> Self {
        let mut command = client(home, server);
        command.args(["exec", "--secret", "db", "--env", "T=password", "--reason", "backup", "--shell", COMMAND]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let pid = Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap()).unwrap();
        let (out, err) = (heard(child.stdout.take().unwrap()), heard(child.stderr.take().unwrap()));
        Self { stdin: Mutex::new(child.stdin.take()), child: Mutex::new(child), pid, out, err }
    }

    /// Waits until it has said this to the user.
    pub async fn said(&self, words: &str) {
        let mut err = self.err.clone();
        let said = tokio::time::timeout(LIMIT, err.wait_for(|err| err.contains(words))).await;
        assert!(matches!(said, Ok(Ok(_))), "{words:?} not in {:?}", *self.err.borrow());
    }

    /// Waits until the command has the value.
    pub async fn is_used(&self) {
        let mut out = self.out.clone();
        let used = tokio::time::timeout(LIMIT, out.wait_for(|out| out.contains("in use\n"))).await;
        assert!(matches!(used, Ok(Ok(_))), "not used: {:?}", *self.err.borrow());
    }

    /// Lets the command end once it runs.
    pub async fn may_end(&self) {
        if let Some(mut stdin) = self.stdin.lock().await.take() {
            // a client that has ended does not read it
            stdin.write_all(b"go on\n").await.ok();
        }
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid, signal).unwrap();
    }

    /// Waits for its end.
    pub async fn ended(&self) -> Ended {
        let ending = async {
            let status: ExitStatus = self.child.lock().await.wait().await.unwrap();
            let (mut out, mut err) = (self.out.clone(), self.err.clone());
            // the far ends are dropped when everything is read
            while out.changed().await.is_ok() {}
            while err.changed().await.is_ok() {}
            status
        };
        let status = tokio::time::timeout(LIMIT, ending).await.expect("the client's end");
        let (out, err) = (self.out.borrow().clone(), self.err.borrow().clone());
        assert!(!out.contains(PASSWORD) && !err.contains(PASSWORD), "a value is shown: {out} {err}");
        let is_done = out == format!("in use\nended with {}\n", PASSWORD.len());
        Ended { code: status.code(), is_done, err }
    }
}

/// Waits until the daemon holds nothing.
pub async fn nothing_is_held(home: &Path, server: &str) {
    let looking = async {
        while client(home, server).args(["grants", "--format", "json"]).output().await.unwrap().stdout != b"[]\n" {
            // it tells nobody
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(LIMIT, looking).await.expect("nothing held");
}

fn client(home: &Path, server: &str) -> Command {
    let client = Path::new(SERVER).with_file_name("secret-gate");
    assert!(client.exists(), "there is no client beside the server; run: cargo build -p secret-gate-cli");
    let mut command = Command::new(client);
    command.env_clear();
    command.envs(["HOME", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR"].map(|variable| (variable, home)));
    command.env("PATH", "/usr/bin:/bin").env("SECRET_GATE_URL", server).stdin(Stdio::null());
    command
}

/// What comes, as text.
fn heard(mut from: impl AsyncRead + Unpin + Send + 'static) -> watch::Receiver<String> {
    let (sender, receiver) = watch::channel(String::new());
    tokio::spawn(async move {
        let mut bytes = Vec::new();
        while let Ok(1..) = from.read_buf(&mut bytes).await {
            sender.send_replace(String::from_utf8_lossy(&bytes).into_owned());
        }
    });
    receiver
}
