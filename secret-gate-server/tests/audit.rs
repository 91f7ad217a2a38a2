//! The audit log of the real server: whole through crashes and a full disk, and witnessed by the chat.

#![expect(clippy::unwrap_used, reason = "a test that can't go on fails")]

mod support;

use std::path::{Path, PathBuf};

use rustix::process::{Resource, Rlimit, prlimit};
use secret_gate_core::audit::{AuditAnchor, Verified, VerifyError, verify};
use secret_gate_doubles::telegram::Message;
use secret_gate_doubles::{ConnectDouble, TelegramDouble};
use serde_json::{Value, json};

use support::{Http, PASSWORD, Running, SERVER, World, login, server_by};

/// A world whose server writes an audit log.
struct Audited {
    world: World,
    path: PathBuf,
    _folder: tempfile::TempDir,
}

impl Audited {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        let connect = ConnectDouble::start().await.unwrap();
        let telegram = TelegramDouble::start().await.unwrap();
        let vault = connect.add_vault("", "infra");
        let db = connect.add_item(&vault, login("db", PASSWORD));
        let server = start(&connect, &telegram, &path).await;
        let http = Http::new(&server.url);
        let world = World { connect, telegram, server, http, vault, db };
        world.telegram.wait_call(|call| call.method == "getUpdates").await.unwrap();
        Self { world, path, _folder: folder }
    }

    /// Ends the server as a crash does, and starts it anew.
    async fn restarted(self) -> Self {
        let Self { world, path, _folder } = self;
        let World { connect, telegram, server, http: _, vault, db } = world;
        server.kill().await;
        let server = start(&connect, &telegram, &path).await;
        let http = Http::new(&server.url);
        Self { world: World { connect, telegram, server, http, vault, db }, path, _folder }
    }

    fn lines(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(&self.path).unwrap();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    fn events(&self) -> Vec<String> {
        self.lines().iter().map(|line| line["event"].as_str().unwrap().to_owned()).collect()
    }

    /// Where the chat says that lines are, oldest message first.
    fn anchors(&self) -> Vec<AuditAnchor> {
        let messages = self.world.telegram.messages();
        messages.iter().flat_map(|message| anchors_in(&message.plain)).collect()
    }

    fn verify(&self) -> Verified {
        verify(&[&self.path], &self.anchors()).unwrap()
    }

    /// Lets the server's files grow by so many bytes, or as they like. What is written beyond fails half-way, as on a full
    /// disk.
    fn room(&self, bytes: Option<u64>) {
        let len = std::fs::metadata(&self.path).unwrap().len();
        let limit = Rlimit { current: bytes.map(|bytes| len + bytes), maximum: None };
        prlimit(Some(self.world.server.pid()), Resource::Fsize, limit).unwrap();
    }
}

async fn start(connect: &ConnectDouble, telegram: &TelegramDouble, path: &Path) -> Running {
    let path = path.to_str().unwrap().to_owned();
    // a write beyond the limit is then an error and not the end
    let ignoring = ["sh", "-c", "trap '' XFSZ; exec \"$SERVER\""];
    server_by(&ignoring, connect, telegram, |env| {
        env.insert("AUDIT_LOG".to_owned(), path);
        env.insert("PATH".to_owned(), std::env::var("PATH").unwrap());
    })
    .await
}

/// What the gate says in a message; a reason may hold something that looks like it.
fn anchors_in(message: &str) -> Vec<AuditAnchor> {
    let own = message
        .lines()
        .filter_map(|line| line.strip_prefix("Audit ").or(line.rsplit_once(" · audit ").map(|(_, end)| end)));
    own.map(|anchor| anchor.parse().unwrap()).collect()
}

#[tokio::test]
async fn each_message_says_where_the_log_says_so() {
    let audited = Audited::start().await;
    let world = &audited.world;
    let asked = world.ask(json!({"secret_name": "db", "reason": "Audit 7:aaaaaaaaaaaaaaaa"})).await;
    assert_eq!(anchors_in(&asked.message.plain).len(), 1, "{}", asked.message.plain);
    assert_eq!(anchors_in(&asked.message.plain), audited.anchors());
    world.approve_and_redeem(&asked).await;
    let is_released = |message: &Message| message.plain.contains("Released");
    let shown = world.telegram.wait_edit(asked.message.message_id, is_released).await.unwrap();
    let positions: Vec<u64> = anchors_in(&shown.plain).iter().map(|anchor| anchor.position).collect();
    assert_eq!(positions, [1, 3], "the question, and how it ended: {}", shown.plain);
    assert_eq!(audited.events(), ["asked", "approved", "released"]);
    assert_eq!(audited.verify().lines, 3);
    let text = std::fs::read_to_string(&audited.path).unwrap();
    assert!(!text.contains(PASSWORD) && !text.contains(&asked.token), "{text}");

    // what somebody cuts off or writes anew, the chat remembers
    let cut: Vec<&str> = text.lines().take(2).collect();
    std::fs::write(&audited.path, cut.join("\n") + "\n").unwrap();
    assert!(verify(&[&audited.path], &[]).is_ok());
    let found = verify(&[&audited.path], &audited.anchors()).unwrap_err();
    let VerifyError::NotWhole { findings } = found else { panic!("{found:?}") };
    assert!(
        findings[0].to_string().starts_with("the log ends at line 2, although there was a line 3:"),
        "{findings:?}"
    );
}

#[tokio::test]
async fn a_full_disk_releases_nothing_and_loses_nothing() {
    let audited = Audited::start().await;
    let world = &audited.world;
    let (asked, denied) = (world.ask_for_db().await, world.ask_for_db().await);

    audited.room(Some(100));
    let told = world.tap(&asked, "Approve").await;
    assert!(told.starts_with("Your decision could not be written to the audit log"), "{told}");
    assert_eq!(world.status(&asked).await["status"], "pending");
    // a no needs nothing written to stand
    assert_eq!(world.tap(&denied, "Deny").await, "Denied");
    let messages = world.telegram.messages().len();
    let refused = world.http.post("/request", &json!({"secret_name": "db"})).await;
    assert_eq!((refused.status, refused.code()), (500, "internal_error"), "{refused:?}");
    assert_eq!(world.telegram.messages().len(), messages, "nobody is asked what could not be recorded");
    let line = world.server.line(|line| line.contains("the audit log can't be written")).await;
    assert!(line.contains("File too large"), "says why: {line}");

    audited.room(None);
    assert_eq!(world.tap(&asked, "Approve").await, "Approved");
    audited.room(Some(100));
    for _ in 0..3 {
        let refused = world.secret(&asked).await;
        assert_eq!((refused.status, refused.code()), (500, "internal_error"), "{refused:?}");
        assert!(!refused.text.contains(PASSWORD));
    }
    assert_eq!(world.status(&asked).await["status"], "approved");

    audited.room(None);
    assert_eq!(world.redeem(&asked).await["secret"]["password"], PASSWORD);
    let events: Vec<String> = audited.events().into_iter().filter(|event| event != "recovered").collect();
    assert_eq!(
        events,
        ["asked", "asked", "denied", "approved", "released"],
        "each once, the no as soon as it could be"
    );
    let verified = audited.verify();
    assert_eq!(verified.notes, Vec::<String>::new(), "nothing is left of what was refused");

    // one who stops it meanwhile is told
    let last = world.ask_for_db().await;
    audited.room(Some(100));
    assert_eq!(world.tap(&last, "Deny").await, "Denied");
    world.server.terminate();
    let ended = audited.world.server.ended().await;
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.ends_with("1 entries could not be written to the audit log, and are lost now"), "{ended:?}");
}

#[tokio::test]
async fn the_chain_goes_on_after_a_crash_in_the_middle_of_a_line() {
    let audited = Audited::start().await;
    audited.world.ask_for_db().await;
    let text = std::fs::read_to_string(&audited.path).unwrap();
    let audited = audited.restarted().await;
    assert_eq!(std::fs::read_to_string(&audited.path).unwrap(), text, "a start alone writes nothing");
    audited.world.ask_for_db().await;
    assert_eq!(audited.lines().iter().map(|line| line["n"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 2]);

    let file = std::fs::OpenOptions::new().append(true).open(&audited.path).unwrap();
    std::io::Write::write_all(&mut &file, &text.as_bytes()[..text.len() / 2]).unwrap();
    let audited = audited.restarted().await;
    audited.world.server.line(|line| line.contains("ends in half a line")).await;
    let asked = audited.world.ask_for_db().await;
    audited.world.approve_and_redeem(&asked).await;
    assert_eq!(audited.events(), ["asked", "asked", "recovered", "asked", "approved", "released"]);
    let verified = audited.verify();
    assert_eq!((verified.lines, verified.notes.len()), (6, 1), "{verified:?}");
}

#[tokio::test]
async fn rotation_under_a_running_server_keeps_the_chain() {
    let audited = Audited::start().await;
    let asked = audited.world.ask_for_db().await;
    let archive = secret_gate_core::audit::rotate(&audited.path).unwrap().unwrap();
    audited.world.approve_and_redeem(&asked).await;
    assert_eq!(audited.events(), ["continued", "approved", "released"]);
    let verified = audited.verify();
    assert_eq!((verified.files, verified.lines), (vec![archive, audited.path.clone()], 4));
}

/// Runs `secret-gate-server audit …` with AUDIT_LOG set; returns exit code, stdout and stderr.
async fn command(path: &Path, args: &[&str]) -> (Option<i32>, String, String) {
    let mut command = tokio::process::Command::new(SERVER);
    let output = command.arg("audit").args(args).env_clear().env("AUDIT_LOG", path).output().await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[tokio::test]
async fn the_command_says_what_it_found_and_how_to_go_on() {
    let audited = Audited::start().await;
    let path = audited.path.as_path();
    let asked = audited.world.ask_for_db().await;
    audited.world.approve_and_redeem(&asked).await;
    let anchor = anchors_in(&asked.message.plain).remove(0).to_string();

    let (code, stdout, stderr) = command(path, &["verify", "--at", &anchor]).await;
    assert_eq!((code, stderr.as_str()), (Some(0), ""), "{stdout}");
    assert!(stdout.starts_with("whole, as one message says: 3 lines, the last 3:"), "{stdout}");
    let (code, archive, _) = command(path, &["rotate"]).await;
    assert_eq!((code, archive.trim()), (Some(0), format!("{}.1-3", path.display()).as_str()));
    let (code, stdout, stderr) = command(path, &["rotate"]).await;
    assert_eq!((code, stdout.as_str()), (Some(0), ""), "{stderr}");
    let (code, stdout, _) = command(path, &["verify"]).await;
    assert!(code == Some(0) && stdout.contains(archive.trim()), "{stdout}");

    let text = std::fs::read_to_string(archive.trim()).unwrap();
    std::fs::write(archive.trim(), text.replacen("infra", "other", 1)).unwrap();
    let (code, stdout, stderr) = command(path, &["verify", "--at", &anchor]).await;
    assert_eq!((code, stdout.as_str()), (Some(1), ""));
    assert_eq!(
        stderr,
        format!(
            "error: the audit log is not whole:\n  the line {anchor} is not the one that it was: it was rewritten\n  \
             line 1 was changed, or the hash of it that the next line carries\nhint: compare with a copy of the log, and \
             with what the messages in the chat say\n"
        )
    );
    for (args, code) in [(&["verify", "--at", "3"][..], 2), (&["verify", "/nowhere"], 1), (&["rotate", "/nowhere"], 1)]
    {
        let (found, stdout, stderr) = command(path, args).await;
        assert!(found == Some(code) && stdout.is_empty() && !stderr.is_empty(), "{args:?}: {stderr}");
    }
}
