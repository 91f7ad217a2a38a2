//! The programs: the server under test, and the client beside it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::PATIENCE;

pub const SERVER: &str = env!("CARGO_BIN_EXE_secret-gate-server");

/// Environment variables.
pub type Environment = BTreeMap<String, String>;

/// A server that runs until it is dropped.
pub struct Running {
    child: Child,
    lines: watch::Receiver<Vec<String>>,
    reading: JoinHandle<()>,
    /// Where it serves.
    pub url: String,
}

impl Running {
    /// Starts the server on a free port of loopback and waits until it listens.
    pub async fn start(change: impl FnOnce(&mut Environment) + Send) -> Self {
        Self::start_by(&[SERVER], change).await
    }

    /// The same, through a program that becomes the server. `SERVER` names it in there.
    pub async fn start_by(program: &[&str], change: impl FnOnce(&mut Environment) + Send) -> Self {
        let mut env: Environment = [("PORT", "0"), ("BIND_ADDRESS", "127.0.0.1"), ("LOG_FORMAT", "json")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
        env.insert("SERVER".to_owned(), SERVER.to_owned());
        change(&mut env);
        let mut child = command(program[0], &env).args(&program[1..]).stdout(Stdio::null()).spawn().unwrap();
        let (sender, lines) = watch::channel(Vec::new());
        let mut stderr = BufReader::new(child.stderr.take().unwrap()).lines();
        let reading = tokio::spawn(async move {
            while let Ok(Some(line)) = stderr.next_line().await {
                sender.send_modify(|lines| lines.push(line));
            }
        });
        let mut running = Self { child, lines, reading, url: String::new() };
        let listening = running.line(|line| line.contains("\"listening\"")).await;
        let listening: serde_json::Value = serde_json::from_str(&listening).unwrap();
        running.url = format!("http://{}", listening["address"].as_str().expect("an address"));
        running
    }

    /// Waits for a line of the log that fits, those so far included.
    pub async fn line(&self, fits: impl Fn(&str) -> bool + Send + Sync) -> String {
        let find = |lines: &Vec<String>| lines.iter().find(|line| fits(line)).cloned();
        let mut lines = self.lines.clone();
        let seen = tokio::time::timeout(PATIENCE, lines.wait_for(|lines| find(lines).is_some())).await;
        match seen {
            Ok(Ok(lines)) => find(&lines).unwrap(),
            _ => panic!("no such line in the server's log:\n{}", self.log()),
        }
    }

    /// All that it has written to stderr so far.
    pub fn log(&self) -> String {
        self.lines.borrow().join("\n")
    }

    pub fn pid(&self) -> Pid {
        let pid = self.child.id().expect("a server that has not ended");
        Pid::from_raw(i32::try_from(pid).unwrap()).unwrap()
    }

    /// Tells it to stop, as a container's runtime does.
    pub fn terminate(&self) {
        kill_process(self.pid(), Signal::TERM).unwrap();
    }

    /// Ends it at once, as a crash does.
    pub async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    /// Waits for its end; returns the exit code and all of stderr.
    pub async fn ended(mut self) -> Ended {
        let status = tokio::time::timeout(PATIENCE, self.child.wait()).await.expect("the server's end").unwrap();
        (&mut self.reading).await.unwrap();
        Ended { code: status.code(), stdout: String::new(), stderr: self.log() }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // by its own id, and only while it has not been waited for
        self.child.start_kill().ok();
    }
}

/// How a program ended.
#[derive(Debug)]
pub struct Ended {
    /// None after a signal.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// Starts the server with exactly these variables and expects that it ends by itself.
pub async fn misconfigured(env: &Environment) -> Ended {
    finish(command(SERVER, env).stdout(Stdio::piped()).spawn().unwrap()).await
}

/// A running `secret-gate`.
pub struct Client(Child, tempfile::TempDir);

impl Client {
    pub async fn ended(self) -> Ended {
        let Self(child, _home) = self;
        finish(child).await
    }
}

/// Starts the client that was built beside the server, with an empty home and no configuration.
pub fn spawn_client(args: &[&str]) -> Client {
    let path = PathBuf::from(SERVER).with_file_name("secret-gate");
    assert!(path.exists(), "there is no client beside the server; run: cargo build -p secret-gate-cli");
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().to_str().unwrap().to_owned();
    let env = [("HOME".to_owned(), folder.clone()), ("XDG_CONFIG_HOME".to_owned(), folder)].into();
    let mut command = command(path.to_str().unwrap(), &env);
    command.args(args).stdout(Stdio::piped());
    if args.contains(&"--secret") {
        // what a daemon keeps is another test's
        command.arg("--no-cache");
    }
    Client(command.spawn().unwrap(), home)
}

pub async fn run_client(args: &[&str]) -> Ended {
    spawn_client(args).ended().await
}

fn command(program: &str, env: &Environment) -> Command {
    let mut command = Command::new(program);
    command.env_clear().envs(env).stdin(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

async fn finish(child: Child) -> Ended {
    let output = tokio::time::timeout(PATIENCE, child.wait_with_output()).await.expect("the program's end");
    let Output { status, stdout, stderr } = output.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ended { code: status.code(), stdout: text(stdout), stderr: text(stderr) }
}
