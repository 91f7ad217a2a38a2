//! The real binary, and a scripted server for it to talk to.
#![allow(dead_code, reason = "each test file uses its part")]
#![expect(clippy::unwrap_used, clippy::panic, unreachable_pub, reason = "in tests, a failure is a panic")]

use std::collections::VecDeque;
use std::fs::File;
use std::io::Read as _;
use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;
use tokio::sync::watch;

pub const TOKEN: &str = "5ec7e7704e4";

/// A call that the server got.
#[derive(Debug, Clone)]
pub struct Call {
    pub method: String,
    /// With the query, if any.
    pub path: String,
    pub key: Option<String>,
    pub body: Value,
}

/// What a server answers, by `METHOD /path`; the last answer of a list stays.
type Script = Vec<(String, VecDeque<Reply>)>;

/// A server that answers by its script.
#[derive(Clone)]
pub struct Server {
    pub url: String,
    script: Arc<Mutex<Script>>,
    calls: watch::Sender<Vec<Call>>,
}

#[derive(Debug, Clone)]
pub enum Reply {
    Json(u16, Value),
    Raw(u16, &'static str, Vec<u8>),
    Redirect(String),
    /// Accepts the call and never answers.
    Silence,
    /// Accepts the question, and says so after this time.
    Slow(Duration),
}

impl Server {
    /// A server that knows nothing: 404 for everything, as plain text.
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = Self { url, script: Arc::default(), calls: watch::Sender::new(Vec::new()) };
        let app = Router::new().fallback(answer).with_state(server.clone());
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        server
    }

    /// A server with one approved question for the item `db` with these values. It answers /status at once, as older
    /// servers do.
    pub async fn approving(values: Value) -> Self {
        let server = Self::start().await;
        server.on("POST /request", accepted());
        server.on("GET /status", status("approved"));
        server.on("GET /secret", Reply::Json(200, json!({ "secret": values })))
    }

    /// Appends an answer for calls whose method and path start like this.
    pub fn on(&self, call: &str, reply: Reply) -> Self {
        let mut script = self.script.lock().unwrap();
        match script.iter_mut().find(|(known, _)| known == call) {
            Some((_, replies)) => replies.push_back(reply),
            None => script.push((call.to_owned(), VecDeque::from([reply]))),
        }
        self.clone()
    }

    pub fn calls(&self) -> Vec<Call> {
        self.calls.borrow().clone()
    }

    pub fn count(&self, call: &str) -> usize {
        self.calls().iter().filter(|one| one.is(call)).count()
    }

    /// Waits until such a call has come.
    pub async fn called(&self, call: &str) {
        self.called_times(call, 1).await;
    }

    /// Waits until so many of such calls have come.
    pub async fn called_times(&self, call: &str, times: usize) {
        let mut calls = self.calls.subscribe();
        let seen = calls.wait_for(|calls| calls.iter().filter(|one| one.is(call)).count() >= times);
        tokio::time::timeout(Duration::from_secs(20), seen).await.unwrap_or_else(|_| panic!("no {call}")).unwrap();
    }
}

impl Call {
    fn is(&self, call: &str) -> bool {
        format!("{} {}", self.method, self.path).starts_with(call)
    }
}

pub fn accepted() -> Reply {
    Reply::Json(202, question())
}

fn question() -> Value {
    json!({"token": TOKEN, "request_id": "4f2a91c0", "status_url": "http://elsewhere.invalid/status",
        "expires_at": "2026-01-01T00:00:00Z", "message": "asked"})
}

pub fn status(status: &str) -> Reply {
    Reply::Json(200, json!({"status": status, "message": "so it is", "secret_url": "http://elsewhere.invalid/secret"}))
}

pub fn error(status: u16, code: &str, message: &str) -> Reply {
    Reply::Json(status, json!({"error": code, "message": message}))
}

async fn answer(State(server): State<Server>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let call = Call {
        method: method.to_string(),
        path: uri.to_string(),
        key: headers.get(header::AUTHORIZATION).map(|key| key.to_str().unwrap().to_owned()),
        body: serde_json::from_slice(&body).unwrap_or_default(),
    };
    let reply = {
        let mut script = server.script.lock().unwrap();
        let replies = script.iter_mut().find(|(known, _)| call.is(known)).map(|(_, replies)| replies);
        replies.and_then(|replies| if replies.len() > 1 { replies.pop_front() } else { replies.front().cloned() })
    };
    server.calls.send_modify(|calls| calls.push(call));
    match reply {
        Some(Reply::Json(code, body)) => (StatusCode::from_u16(code).unwrap(), axum::Json(body)).into_response(),
        Some(Reply::Raw(code, kind, body)) => {
            (StatusCode::from_u16(code).unwrap(), [(header::CONTENT_TYPE, kind)], body).into_response()
        }
        Some(Reply::Redirect(to)) => (StatusCode::FOUND, [(header::LOCATION, to)]).into_response(),
        Some(Reply::Slow(pause)) => {
            tokio::time::sleep(pause).await;
            (StatusCode::ACCEPTED, axum::Json(question())).into_response()
        }
        Some(Reply::Silence) => std::future::pending().await,
        None => (StatusCode::NOT_FOUND, "404 page not found\n").into_response(),
    }
}

/// A user's machine: a configuration folder, an environment, and the client.
pub struct Machine {
    home: tempfile::TempDir,
    environment: Vec<(&'static str, String)>,
    has_daemon: bool,
}

/// How a run ended.
#[derive(Debug)]
pub struct Run {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Machine {
    pub fn new() -> Self {
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        let home = tempfile::Builder::new().permissions(private).tempdir().unwrap();
        Self { home, environment: Vec::new(), has_daemon: false }
    }

    /// A machine whose environment names this server.
    pub fn of(server: &Server) -> Self {
        Self::new().with("SECRET_GATE_URL", &server.url)
    }

    /// A machine on which secrets are asked for through the daemon, which is stopped with it.
    pub fn with_daemon(mut self) -> Self {
        let folder = self.home.path().to_str().unwrap().to_owned();
        self.has_daemon = true;
        self.with("XDG_RUNTIME_DIR", &folder)
    }

    /// A file in the home folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    pub fn with(mut self, variable: &'static str, value: &str) -> Self {
        self.environment.push((variable, value.to_owned()));
        self
    }

    /// Writes a file into the configuration folder.
    pub fn with_file(self, name: &str, text: &str) -> Self {
        std::fs::create_dir_all(self.folder()).unwrap();
        std::fs::write(self.folder().join(name), text).unwrap();
        self
    }

    /// Whether nothing was written into the home folder.
    pub fn is_untouched(&self) -> bool {
        std::fs::read_dir(self.home.path()).unwrap().next().is_none()
    }

    fn folder(&self) -> PathBuf {
        self.home.path().join("secret-gate")
    }

    pub fn spawn(&self, args: &[&str]) -> tokio::process::Child {
        self.spawn_at(Stdio::null(), args)
    }

    /// Spawns with this standard input.
    pub fn spawn_at(&self, input: impl Into<Stdio>, args: &[&str]) -> tokio::process::Child {
        let mut command = self.command(env!("CARGO_BIN_EXE_secret-gate"));
        command.args(args).stdin(input);
        let asks = args.iter().any(|arg| arg.trim_start_matches('-').starts_with("secret"));
        if asks && !self.has_daemon {
            command.arg("--no-cache");
        }
        command.spawn().unwrap()
    }

    /// A program with this machine's environment and pipes.
    pub fn command(&self, program: &str) -> tokio::process::Command {
        let mut command = tokio::process::Command::new(program);
        command
            .env_clear()
            .env("HOME", self.home.path())
            .env("XDG_CONFIG_HOME", self.home.path())
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    pub async fn run(&self, args: &[&str]) -> Run {
        finish(self.spawn(args)).await
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if self.has_daemon {
            let mut stop = std::process::Command::new(env!("CARGO_BIN_EXE_secret-gate"));
            let environment = self.environment.iter().map(|(name, value)| (name, value));
            stop.args(["daemon", "stop"]).env_clear().env("HOME", self.home.path()).envs(environment);
            stop.stderr(Stdio::null()).status().unwrap();
        }
    }
}

/// The near and the far side of a terminal.
pub fn terminal() -> (File, File) {
    let near = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&near).unwrap();
    unlockpt(&near).unwrap();
    let path = ptsname(&near, Vec::new()).unwrap();
    let far = File::options().read(true).write(true).open(path.to_str().unwrap()).unwrap();
    (near.into(), far)
}

/// What a terminal shows whose far side is closed.
pub fn shown(near: &mut File) -> String {
    let mut seen = Vec::new();
    // Linux reports the closed side as an error, after everything that was written
    near.read_to_end(&mut seen).ok();
    String::from_utf8(seen).unwrap()
}

/// Sends a signal to this process alone.
pub fn send(signal: Signal, child: &tokio::process::Child) {
    let pid = i32::try_from(child.id().unwrap()).unwrap();
    kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
}

/// Waits until the program has said this on standard error, and returns what it said so far.
pub async fn said(child: &mut tokio::process::Child, words: &str) -> String {
    let stderr = child.stderr.as_mut().unwrap();
    let mut text = Vec::new();
    while !String::from_utf8_lossy(&text).contains(words) {
        let read = tokio::time::timeout(Duration::from_secs(20), stderr.read_buf(&mut text)).await;
        assert_ne!(read.unwrap().unwrap(), 0, "{words:?} not in {}", String::from_utf8_lossy(&text));
    }
    String::from_utf8(text).unwrap()
}

pub async fn finish(child: tokio::process::Child) -> Run {
    let Output { status, stdout, stderr } =
        tokio::time::timeout(Duration::from_secs(30), child.wait_with_output()).await.unwrap().unwrap();
    let run = Run {
        code: status.code().unwrap_or(-1),
        out: String::from_utf8(stdout).unwrap(),
        err: String::from_utf8(stderr).unwrap(),
    };
    assert!(!run.err.contains(TOKEN), "the token is shown: {}", run.err);
    assert!(!run.err.contains('\x1b'), "colours without a terminal: {}", run.err);
    run
}
