//! All parts with the ways between them, and what the audit log says of them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};
use secret_gate_doubles::{ConnectDouble, TelegramDouble};
use serde_json::Value;

use crate::human::Human;
use crate::relay::{Relay, Toward, Way};
use crate::run::{Run, nothing_is_held};
use crate::support::{PASSWORD, Running, is_item, login, server_by};
use crate::{Step, Subject};

/// Becomes the server, which meets a full disk as an error and not as its end.
const BY: [&str; 3] = ["sh", "-c", "trap '' XFSZ; exec \"$SERVER\""];

/// A world for one cell of the table.
pub struct Scene {
    pub connect: ConnectDouble,
    pub to_connect: Relay,
    pub to_telegram: Relay,
    pub to_server: Relay,
    pub human: Human,
    /// None while it is dead.
    server: Option<Running>,
    telegram: Arc<TelegramDouble>,
    db: String,
    home: tempfile::TempDir,
    disk: tempfile::TempDir,
}

impl Scene {
    pub async fn new() -> Self {
        let connect = ConnectDouble::start().await.unwrap();
        let telegram = Arc::new(TelegramDouble::start().await.unwrap());
        let vault = connect.add_vault("", "infra");
        let db = connect.add_item(&vault, login("db", PASSWORD));
        let (to_connect, to_telegram) = (Relay::to(&connect.url()).await, Relay::to(&telegram.url()).await);
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        let home = tempfile::Builder::new().permissions(private).tempdir().unwrap();
        let disk = tempfile::tempdir().unwrap();
        std::fs::create_dir(disk.path().join("log")).unwrap();
        let server = start(&connect, &telegram, [&to_connect, &to_telegram], &audit_log(disk.path())).await;
        let to_server = Relay::to(&server.url).await;
        telegram.wait_call(|call| call.method == "getUpdates").await.unwrap();
        let human = Human::of(&telegram);
        Self { connect, to_connect, to_telegram, to_server, human, server: Some(server), telegram, db, home, disk }
    }

    /// Starts the client, and lets the request come to this step, where it waits.
    pub async fn at(&self, step: Step, subject: Subject) -> Run {
        if step == Step::Asked {
            match subject {
                // before anybody could be asked
                Subject::Connect | Subject::Disk => self.to_connect.hold(Toward::Server, "GET /v1/"),
                _ => self.to_telegram.hold(Toward::Server, "/sendMessage"),
            }
        }
        let run = self.run();
        match step {
            Step::Asked => {
                self.to_connect.held().await;
                self.to_telegram.held().await;
                return run;
            }
            Step::Seen => {}
            Step::Approved => self.to_server.hold(Toward::Server, "GET /secret/"),
            Step::Read => {}
            Step::Released => self.to_server.hold(Toward::Client, PASSWORD),
            Step::Used => {}
        }
        run.said("(request ").await;
        if step == Step::Seen {
            return run;
        }
        if step == Step::Read {
            // it was read before, to show what it is
            self.to_connect.hold(Toward::Server, &self.db);
        }
        self.human.approves();
        self.to_server.held().await;
        self.to_connect.held().await;
        if step == Step::Used {
            run.is_used().await;
        }
        run
    }

    /// The client, with a command that takes a value and ends when it is told to.
    pub fn run(&self) -> Run {
        Run::start(self.home.path(), &self.to_server.url)
    }

    /// Waits until the daemon holds nothing.
    pub async fn nothing_is_held(&self) {
        nothing_is_held(self.home.path(), &self.to_server.url).await;
    }

    /// Lets everything go that is held back.
    pub fn release(&self) {
        for relay in [&self.to_connect, &self.to_telegram, &self.to_server] {
            relay.release();
        }
    }

    pub fn server(&self) -> &Running {
        self.server.as_ref().expect("a server")
    }

    pub fn signal_server(&self, signal: Signal) {
        kill_process(self.server().pid(), signal).unwrap();
    }

    /// Ends the server as a crash does; nobody listens where it was.
    pub async fn kill_server(&mut self) {
        self.server.take().expect("a server").kill().await;
        self.to_server.set(Way::Refused);
    }

    /// Starts another one in its place.
    pub async fn start_server(&mut self) {
        let ways = [&self.to_connect, &self.to_telegram];
        let server = start(&self.connect, &self.telegram, ways, &audit_log(self.disk.path())).await;
        self.to_server.lead_to(&server.url);
        self.server = Some(server);
        self.to_server.set(Way::Open);
    }

    /// The daemon that holds the socket.
    pub fn daemon(&self) -> Option<Pid> {
        let socket = std::os::unix::net::UnixStream::connect(self.home.path().join("secret-gate.sock")).ok()?;
        socket.set_nonblocking(true).ok()?;
        let socket = tokio::net::UnixStream::from_std(socket).ok()?;
        Pid::from_raw(socket.peer_cred().ok()?.pid()?)
    }

    /// Lets the server's files grow by a few bytes, or as they like.
    pub fn fill_disk(&self, is_full: bool) {
        let len = std::fs::metadata(audit_log(self.disk.path())).unwrap().len();
        let limit = Rlimit { current: is_full.then_some(len + 100), maximum: None };
        prlimit(Some(self.server().pid()), Resource::Fsize, limit).unwrap();
    }

    /// Takes the folder of the audit log away, or brings it back.
    pub fn move_disk(&self, is_away: bool) {
        let (here, there) = (self.disk.path().join("log"), self.disk.path().join("away"));
        if is_away { std::fs::rename(here, there).unwrap() } else { std::fs::rename(there, here).unwrap() }
    }

    /// Keeps everybody from writing to the audit log for as long as the file lives.
    pub fn lock_disk(&self) -> std::fs::File {
        let file = std::fs::File::open(audit_log(self.disk.path())).unwrap();
        file.lock().unwrap();
        file
    }

    /// The events of each request, by its id, in the order in which they were asked.
    pub fn events(&self) -> Vec<(String, Vec<String>)> {
        let mut requests: Vec<(String, Vec<String>)> = Vec::new();
        let text = std::fs::read_to_string(audit_log(self.disk.path())).unwrap();
        for line in text.lines() {
            let line: Value = serde_json::from_str(line).unwrap();
            let (Some(id), Some(event)) = (line["request_id"].as_str(), line["event"].as_str()) else { continue };
            match requests.iter_mut().find(|(known, _)| known == id) {
                Some((_, events)) => events.push(event.to_owned()),
                None => requests.push((id.to_owned(), vec![event.to_owned()])),
            }
        }
        requests
    }

    /// Waits until the daemon takes back what nobody waits for any more.
    pub async fn taken_back(&self, step: Step) {
        if step == Step::Read {
            // the server does it when the read has ended
            self.to_server.hold(Toward::Server, "DELETE /request/");
            self.to_server.held().await;
        } else {
            self.is_taken_back().await;
        }
    }

    /// Waits until the question was taken back, and the chat says so.
    pub async fn is_taken_back(&self) {
        let is_taken_back = |text: &str| text.contains("Withdrawn") || text.contains("Revoked");
        let message = self.telegram.wait_message(|message| is_taken_back(&message.plain)).await;
        message.unwrap_or_else(|_| panic!("not taken back: {:?}", self.events()));
    }

    /// Reads of items, which alone bring values.
    pub fn item_reads(&self) -> usize {
        self.connect.calls().iter().filter(|call| is_item(&call.path)).count()
    }

    /// What was written where no value may be.
    pub fn logs(&self) -> String {
        let audit = std::fs::read_to_string(audit_log(self.disk.path())).unwrap();
        self.server().log() + &audit
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        // the rest ends with this
        if let Some(daemon) = self.daemon() {
            kill_process(daemon, Signal::TERM).ok();
            kill_process(daemon, Signal::CONT).ok();
        }
    }
}

fn audit_log(disk: &Path) -> PathBuf {
    disk.join("log/audit.jsonl")
}

async fn start(connect: &ConnectDouble, telegram: &TelegramDouble, ways: [&Relay; 2], audit_log: &Path) -> Running {
    server_by(&BY, connect, telegram, |env| {
        env.insert("OP_CONNECT_HOST".to_owned(), ways[0].url.clone());
        env.insert("TELEGRAM_API_URL".to_owned(), ways[1].url.clone());
        env.insert("AUDIT_LOG".to_owned(), audit_log.to_str().unwrap().to_owned());
        env.insert("PATH".to_owned(), std::env::var("PATH").unwrap());
    })
    .await
}
