//! The parts, and a client that records every byte.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use secret_gate_doubles::telegram::Message;
use secret_gate_doubles::{ConnectDouble, TelegramDouble};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::watch;

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_secret-gate-mcp");
pub(crate) const PASSWORD: &str = "correct-horse-battery";
pub(crate) const TOKEN: &str = "tok_5f2e9b7a1c4d";

/// The human, who also is the chat that the questions go to.
const ANN: i64 = 42;

/// How long anything awaited may take before it counts as not happening.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Both services, the server between them, and a user's machine.
pub(crate) struct World {
    pub(crate) telegram: TelegramDouble,
    _connect: ConnectDouble,
    _server: Child,
    pub(crate) url: String,
    home: TempDir,
    environment: Vec<(String, String)>,
}

impl World {
    pub(crate) async fn start() -> Self {
        Self::with(&[], "no key").await
    }

    /// With these variables for the server, and this SSH key in the item deploy-key.
    pub(crate) async fn with(variables: &[(&str, &str)], key: &str) -> Self {
        let connect = ConnectDouble::start().await.unwrap();
        let telegram = TelegramDouble::start().await.unwrap();
        let infra = connect.add_vault("", "infra");
        let other = connect.add_vault("", "other");
        let field = |id: &str, kind: &str, value: &str| json!({"id": id, "type": kind, "label": id, "value": value});
        let login = |title: &str| {
            json!({"title": title, "category": "LOGIN",
                "fields": [field("username", "STRING", "ann"), field("password", "CONCEALED", PASSWORD)]})
        };
        for title in ["db", "db-staging"] {
            connect.add_item(&infra, login(title));
        }
        connect.add_item(&infra, login("twin"));
        connect.add_item(&other, login("twin"));
        let fields = [field("token", "CONCEALED", TOKEN)];
        connect.add_item(&other, json!({"title": "web", "category": "API_CREDENTIAL", "fields": fields}));
        let fields = [field("username", "STRING", "ann"), field("private key", "SSHKEY", key)];
        connect.add_item(&infra, json!({"title": "deploy-key", "category": "SSH_KEY", "fields": fields}));
        let (server, url) = server(&connect, &telegram, variables).await;
        let home = tempfile::tempdir().unwrap();
        std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
        Self { telegram, _connect: connect, _server: server, url, home, environment: Vec::new() }
    }

    /// The same with this variable for the programs of the user.
    pub(crate) fn and(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A file in the user's home.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// A client of `secret-gate mcp`.
    pub(crate) fn client_of_subcommand(&self, arguments: &[&str]) -> Client {
        let program = Path::new(PROGRAM).with_file_name("secret-gate");
        assert!(program.exists(), "there is no client beside the program; run: cargo build -p secret-gate-cli");
        let arguments = [&["mcp"], arguments].concat();
        Client::of(self.command(&program, &arguments).spawn().unwrap())
    }

    fn command(&self, program: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .current_dir(self.home.path())
            .env_clear()
            .env("HOME", self.home.path())
            .env("XDG_RUNTIME_DIR", self.home.path())
            .env("PATH", "/usr/bin:/bin")
            .env("SECRET_GATE_URL", &self.url)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    /// A client that has not said anything yet.
    pub(crate) fn client(&self, arguments: &[&str]) -> Client {
        Client::of(self.command(Path::new(PROGRAM), arguments).spawn().unwrap())
    }

    /// A client that has shaken hands.
    pub(crate) async fn ready(&self, arguments: &[&str]) -> Client {
        let mut client = self.client(arguments);
        client.initialize("2025-11-25").await;
        client
    }

    /// Waits for the question with these words, and presses a button.
    pub(crate) async fn decide(&self, words: &str, button: &str) -> Message {
        let message = self.question(words).await;
        self.telegram.press(message.message_id, button, ANN).await.unwrap();
        message
    }

    /// The first question with these words.
    pub(crate) async fn question(&self, words: &str) -> Message {
        self.telegram.wait_message(|message| message.plain.contains(words)).await.unwrap()
    }

    /// Waits until the message of a question says this.
    pub(crate) async fn told(&self, message: &Message, words: &str) {
        let wait = async {
            let mut changes = self.telegram.changes();
            loop {
                let now = self.telegram.messages();
                let now = now.iter().find(|now| now.message_id == message.message_id).unwrap();
                if now.plain.contains(words) {
                    return;
                }
                changes.changed().await.unwrap();
            }
        };
        let waited = tokio::time::timeout(PATIENCE, wait).await;
        waited.unwrap_or_else(|_| panic!("no {words:?} in {:?}", self.telegram.messages()));
    }

    /// What the daemon says to a verb without arguments; nothing where none runs. Its protocol is a byte, and a frame.
    pub(crate) fn daemon(&self, verb: &str) -> String {
        let Ok(mut daemon) = UnixStream::connect(self.path("secret-gate.sock")) else { return String::new() };
        let call = json!({"protocol": 1, "verb": verb}).to_string();
        let length = u32::try_from(call.len()).unwrap().to_be_bytes();
        daemon.write_all(&[&[0], &length[..], &[0], call.as_bytes()].concat()).unwrap();
        let mut answer = Vec::new();
        daemon.read_to_end(&mut answer).unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// How many questions a human has seen.
    pub(crate) fn asked(&self) -> usize {
        self.telegram.messages().len()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // the one that the program started
        self.daemon("stop");
    }
}

async fn server(connect: &ConnectDouble, telegram: &TelegramDouble, variables: &[(&str, &str)]) -> (Child, String) {
    let program = Path::new(PROGRAM).with_file_name("secret-gate-server");
    assert!(program.exists(), "there is no server beside the program; run: cargo build -p secret-gate-server --bins");
    let mut command = Command::new(program);
    command
        .env_clear()
        .env("OP_CONNECT_HOST", connect.url())
        .env("OP_CONNECT_TOKEN", connect.token())
        .env("TELEGRAM_BOT_TOKEN", telegram.token())
        .env("TELEGRAM_CHAT_ID", ANN.to_string())
        .env("TELEGRAM_API_URL", telegram.url())
        .env("WEBHOOK_BASE_URL", "https://gate.example")
        .env("BIND_ADDRESS", "127.0.0.1")
        .env("PORT", "0")
        .env("LOG_FORMAT", "json")
        .env("MAX_REQUESTS_PER_MINUTE", "10000")
        .env("MAX_LOOKUPS_PER_MINUTE", "10000")
        .env("MAX_PENDING_PER_REQUESTER", "100")
        .envs(variables.iter().copied());
    let mut server = command.stdin(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let mut lines = BufReader::new(server.stderr.take().unwrap()).lines();
    let mut log = Vec::new();
    while let Some(line) = lines.next_line().await.unwrap() {
        if line.contains("\"listening\"") {
            // read on, so that it never waits for its log to be read
            tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
            let line: Value = serde_json::from_str(&line).unwrap();
            return (server, format!("http://{}", line["address"].as_str().unwrap()));
        }
        log.push(line);
    }
    panic!("the server does not start: {log:#?}");
}

/// A client of the program.
pub(crate) struct Client {
    child: Child,
    stdin: Option<ChildStdin>,
    heard: watch::Receiver<Vec<Value>>,
    /// Both directions.
    recorded: Arc<Mutex<Vec<u8>>>,
    log: tokio::task::JoinHandle<String>,
    next_id: u64,
    /// Members of `_meta` that each request carries.
    meta: Option<Value>,
}

impl Client {
    fn of(mut child: Child) -> Self {
        let recorded = Arc::<Mutex<Vec<u8>>>::default();
        let (sender, heard) = watch::channel(Vec::new());
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let record = Arc::clone(&recorded);
        tokio::spawn(async move {
            let mut line = Vec::new();
            while lines.read_until(b'\n', &mut line).await.unwrap() > 0 {
                record.lock().unwrap().extend(&line);
                let message = serde_json::from_slice(&line).expect("a line of JSON on standard output");
                sender.send_modify(|heard: &mut Vec<Value>| heard.push(message));
                line.clear();
            }
        });
        let mut stderr = child.stderr.take().unwrap();
        let log = tokio::spawn(async move {
            let mut text = Vec::new();
            stderr.read_to_end(&mut text).await.unwrap();
            String::from_utf8(text).unwrap()
        });
        let stdin = child.stdin.take();
        Self { child, stdin, heard, recorded, log, next_id: 1, meta: None }
    }

    /// Writes these bytes.
    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        self.recorded.lock().unwrap().extend(bytes);
        let stdin = self.stdin.as_mut().unwrap();
        stdin.write_all(bytes).await.unwrap();
        stdin.flush().await.unwrap();
    }

    pub(crate) async fn say(&mut self, message: Value) {
        self.write(format!("{message}\n").as_bytes()).await;
    }

    /// Sends a request; returns its id.
    pub(crate) async fn send(&mut self, method: &str, mut params: Value) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        if let Some(meta) = &self.meta {
            let mut meta = meta.clone();
            if let Some(own) = params["_meta"].as_object() {
                meta.as_object_mut().unwrap().extend(own.clone());
            }
            params["_meta"] = meta;
        }
        self.say(json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params})).await;
        id
    }

    pub(crate) async fn ask(&mut self, method: &str, params: Value) -> Value {
        let id = self.send(method, params).await;
        self.answer(id).await
    }

    /// Shakes hands in this revision.
    pub(crate) async fn initialize(&mut self, version: &str) -> Value {
        let client = json!({"name": "test-agent", "version": "7.1"});
        let params = json!({"protocolVersion": version, "capabilities": {"roots": {}}, "clientInfo": client});
        let answer = self.ask("initialize", params).await;
        self.say(json!({"jsonrpc": "2.0", "method": "notifications/initialized"})).await;
        answer["result"].clone()
    }

    /// Speaks the revision without a handshake from here on.
    pub(crate) fn modern(&mut self) {
        self.meta = Some(json!({
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientInfo": {"name": "test-agent", "version": "7.1"},
            "io.modelcontextprotocol/clientCapabilities": {},
        }));
    }

    /// Begins a call of a tool, with a progress token that is its id.
    pub(crate) async fn begin(&mut self, tool: &str, arguments: Value) -> u64 {
        let token = self.next_id;
        let params = json!({"name": tool, "arguments": arguments, "_meta": {"progressToken": token}});
        self.send("tools/call", params).await
    }

    /// Calls a tool; gives its result.
    pub(crate) async fn call(&mut self, tool: &str, arguments: Value) -> Value {
        let id = self.begin(tool, arguments).await;
        self.result(id).await
    }

    /// Calls a tool that does it; gives what is structured.
    pub(crate) async fn done(&mut self, tool: &str, arguments: Value) -> Value {
        let result = self.call(tool, arguments).await;
        structured(&result)
    }

    /// Calls a tool that refuses; gives the words.
    pub(crate) async fn refused(&mut self, tool: &str, arguments: Value) -> String {
        let result = self.call(tool, arguments).await;
        refusal(&result)
    }

    /// The result of a call.
    pub(crate) async fn result(&self, id: u64) -> Value {
        let answer = self.answer(id).await;
        assert!(answer["result"].is_object(), "{answer}");
        answer["result"].clone()
    }

    /// The answer to a request.
    pub(crate) async fn answer(&self, id: u64) -> Value {
        self.hear(|message| message["id"] == id && message.get("method").is_none()).await
    }

    pub(crate) async fn hear(&self, fits: impl Fn(&Value) -> bool + Send + Sync) -> Value {
        let find = |all: &Vec<Value>| all.iter().find(|message| fits(message)).cloned();
        let mut heard = self.heard.clone();
        let found = tokio::time::timeout(PATIENCE, heard.wait_for(|all| find(all).is_some())).await;
        match found {
            Ok(Ok(all)) => find(&all).unwrap(),
            _ => panic!("not heard, but {:?}", self.all()),
        }
    }

    /// All that was heard so far.
    pub(crate) fn all(&self) -> Vec<Value> {
        self.heard.borrow().clone()
    }

    pub(crate) async fn cancel(&mut self, id: u64) {
        let params = json!({"requestId": id, "reason": "timed out"});
        self.say(json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params})).await;
    }

    /// Every byte of both directions so far.
    pub(crate) fn recorded(&self) -> Vec<u8> {
        self.recorded.lock().unwrap().clone()
    }

    /// Ends the input, and waits for the end of the program: its exit code, and what it logged.
    pub(crate) async fn end(mut self) -> (Option<i32>, String) {
        drop(self.stdin.take());
        let status = tokio::time::timeout(PATIENCE, self.child.wait()).await.expect("the program's end").unwrap();
        (status.code(), self.log.await.unwrap())
    }
}

/// What is structured in a result, which also stands in its text.
pub(crate) fn structured(result: &Value) -> Value {
    assert_ne!(result["isError"], true, "{result}");
    let text: Value = serde_json::from_str(result["content"][0]["text"].as_str().unwrap()).unwrap();
    assert_eq!(text, result["structuredContent"], "{result}");
    text
}

/// The words of an error, beside which nothing is structured.
pub(crate) fn refusal(result: &Value) -> String {
    assert_eq!(result["isError"], true, "{result}");
    assert!(result.get("structuredContent").is_none(), "{result}");
    result["content"][0]["text"].as_str().unwrap().to_owned()
}
