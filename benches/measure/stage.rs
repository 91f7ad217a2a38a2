//! The real programs between the doubles of the two services.

use std::collections::BTreeMap;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use secret_gate_doubles::{ConnectDouble, TelegramDouble};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::Outcome;
use crate::raw::{self, Connection};

/// The human, who is the chat as well.
pub(crate) const ANN: i64 = 42;

/// Both services, a server before them, and a home folder for the client and its daemon.
pub(crate) struct Stage {
    pub(crate) connect: ConnectDouble,
    pub(crate) telegram: TelegramDouble,
    pub(crate) server: Server,
    connection: tokio::sync::Mutex<Connection>,
    pub(crate) vault: String,
    home: tempfile::TempDir,
}

/// A server that runs until it is dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) url: String,
    /// From its start to the first answer of `/health`.
    pub(crate) started_in: Duration,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.start_kill().ok();
    }
}

impl Server {
    pub(crate) fn pid(&self) -> Outcome<u32> {
        Ok(self.child.id().ok_or("the server has ended")?)
    }
}

/// One of our programs, beside this one.
pub(crate) fn program(name: &str) -> Outcome<PathBuf> {
    let path = std::env::current_exe()?.with_file_name(name);
    if !path.exists() {
        return Err(format!("{} is missing: build it with cargo build --release --bins", path.display()).into());
    }
    Ok(path)
}

impl Stage {
    /// One vault with one item, "db", that has one field, "password".
    pub(crate) async fn start() -> Outcome<Self> {
        let connect = ConnectDouble::start().await?;
        let telegram = TelegramDouble::start().await?;
        let vault = connect.add_vault("", "infra");
        connect.add_item(&vault, login("db"));
        let server = serve(&connect, &telegram).await?;
        let home = tempfile::Builder::new().permissions(Permissions::from_mode(0o700)).tempdir()?;
        let connection = tokio::sync::Mutex::new(Connection::open(&server.url).await?);
        telegram.wait_call(|call| call.method == "getUpdates").await?;
        Ok(Self { connect, telegram, server, connection, vault, home })
    }

    /// The client, or a program that behaves like it, in a home of its own.
    pub(crate) fn client(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", self.home.path());
        command.env("XDG_RUNTIME_DIR", self.home.path()).env("SECRET_GATE_URL", &self.server.url);
        command.stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    /// Where the client's daemon listens.
    pub(crate) fn socket(&self) -> PathBuf {
        self.home.path().join("secret-gate.sock")
    }

    /// Posts this, and returns the body of the answer.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Outcome<Value> {
        let answer = self.connection.lock().await.post(path, &body.to_string()).await?;
        Ok(serde_json::from_str(succeeded(&answer)?)?)
    }

    /// Gets this, over the same connection.
    pub(crate) async fn get(&self, path: &str) -> Outcome<()> {
        let answer = self.connection.lock().await.get(path).await?;
        succeeded(&answer).map(drop)
    }

    /// The last message there is.
    pub(crate) fn last_message(&self) -> i64 {
        self.telegram.messages().last().map_or(0, |message| message.message_id)
    }

    /// Approves what is asked after this message; returns when the press went out.
    pub(crate) async fn approve_after(&self, last: i64) -> Outcome<Instant> {
        let newest = self.telegram.wait_message(|message| message.message_id > last).await?;
        let press = self.telegram.press(newest.message_id, "Approve", ANN).await?;
        Ok(self.telegram.wait_delivered(&press).await?)
    }

    pub(crate) async fn stop_daemon(&self) -> Outcome<()> {
        self.client(&program("secret-gate")?).args(["daemon", "stop"]).stderr(Stdio::null()).status().await?;
        Ok(())
    }
}

/// The body of an answer.
fn succeeded(answer: &str) -> Outcome<&str> {
    let body = answer.strip_prefix("HTTP/1.1 2").and_then(|rest| rest.split_once("\r\n\r\n"));
    Ok(body.ok_or_else(|| answer.to_owned())?.1)
}

/// An item with one field.
pub(crate) fn login(title: &str) -> Value {
    json!({"title": title, "category": "LOGIN",
        "fields": [{"id": "password", "type": "CONCEALED", "label": "password", "value": "correct-horse-battery"}]})
}

/// A server before these doubles, with limits that nothing here meets.
pub(crate) async fn serve(connect: &ConnectDouble, telegram: &TelegramDouble) -> Outcome<Server> {
    let program = program("secret-gate-server")?;
    let mut env: BTreeMap<&str, String> = [
        ("OP_CONNECT_HOST", connect.url()),
        ("OP_CONNECT_TOKEN", connect.token()),
        ("TELEGRAM_BOT_TOKEN", telegram.token()),
        ("TELEGRAM_CHAT_ID", ANN.to_string()),
        ("TELEGRAM_API_URL", telegram.url()),
    ]
    .into();
    for (name, value) in [("WEBHOOK_BASE_URL", "https://gate.example"), ("PORT", "0"), ("BIND_ADDRESS", "127.0.0.1")] {
        env.insert(name, value.to_owned());
    }
    for name in ["MAX_PENDING", "MAX_PENDING_PER_REQUESTER", "MAX_REQUESTS_PER_MINUTE", "MAX_LOOKUPS_PER_MINUTE"] {
        env.insert(name, "100000000".to_owned());
    }
    let (sender, mut listening) = tokio::sync::mpsc::channel(1);
    let begun = Instant::now();
    let mut command = Command::new(program);
    command.env_clear().envs(env).env("LOG_FORMAT", "json").kill_on_drop(true);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    let mut lines = BufReader::new(child.stderr.take().ok_or("no standard error")?).lines();
    tokio::spawn(async move {
        while let Ok(Some(line)) = lines.next_line().await {
            if line.contains("\"listening\"") {
                sender.send(line).await.ok();
            }
        }
    });
    let line = listening.recv().await.ok_or("the server does not start")?;
    let line: Value = serde_json::from_str(&line)?;
    let address = line.get("address").and_then(Value::as_str).ok_or("no address in the log")?;
    let healthy = raw::get(address, "/health").await?;
    let started_in = begun.elapsed();
    if !healthy.starts_with("HTTP/1.1 200") {
        return Err(healthy.into());
    }
    Ok(Server { child, url: format!("http://{address}"), started_in })
}

/// Resident memory of a process, in megabytes (proc_pid_status(5), VmRSS).
pub(crate) fn resident(pid: u32) -> Outcome<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    let kilobytes: f64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kilobytes / 1024.0)
}
