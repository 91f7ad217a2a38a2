//! The operator's commands, with the real program between the doubles.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "in tests, a failure is a panic")]

mod support;

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use reqwest::Method;
use secret_gate_doubles::telegram::{ChatKind, User};
use secret_gate_doubles::{ConnectDouble, Fault, TelegramDouble, Times};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::net::TcpListener;
use tokio::process::{Child, ChildStdout, Command};

use support::{ANN, Ended, Environment, PATIENCE, SERVER, World, server, working};

const GROUP: i64 = -1_000_042;

fn spawn(args: &[&str], env: &Environment) -> Child {
    let mut command = Command::new(SERVER);
    command.args(args).env_clear().envs(env).stdin(Stdio::null()).kill_on_drop(true);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

async fn run(args: &[&str], env: &Environment) -> Ended {
    let output = tokio::time::timeout(PATIENCE, spawn(args, env).wait_with_output()).await.unwrap().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ended { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// Fails with two lines: what happened, and what to do.
fn assert_failed(ended: &Ended, code: i32, what: &str) {
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(code), ""), "{ended:?}");
    let lines: Vec<&str> = ended.stderr.lines().collect();
    assert!(lines.len() == 2 && lines[0].starts_with("error: ") && lines[1].starts_with("hint: "), "{ended:?}");
    assert!(ended.stderr.contains(what), "{ended:?}");
    assert!(!ended.stderr.contains('\x1b'), "{ended:?}");
}

/// A file of keys in a folder of its own.
struct Keys {
    _folder: tempfile::TempDir,
    path: PathBuf,
    env: Environment,
}

impl Keys {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        let env = [("API_KEYS_FILE".to_owned(), path.to_str().unwrap().to_owned())].into();
        Self { _folder: folder, path, env }
    }

    fn text(&self) -> String {
        std::fs::read_to_string(&self.path).unwrap()
    }

    async fn make(&self, args: &[&str]) -> String {
        let made = run(&[&["key", "new"], args].concat(), &self.env).await;
        assert_eq!(made.code, Some(0), "{made:?}");
        let key = made.stdout.strip_suffix('\n').unwrap().to_owned();
        let hex = key.strip_prefix("sgk_").unwrap();
        assert!(hex.len() == 64 && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')), "{key}");
        assert!(!made.stderr.contains(&key) && !self.text().contains(hex), "{made:?}");
        key
    }
}

#[tokio::test]
async fn a_new_key_works_at_a_running_server_and_stops_when_it_is_revoked() {
    let keys = Keys::new();
    let first = keys.make(&["first"]).await;
    assert_eq!(std::fs::metadata(&keys.path).unwrap().permissions().mode() & 0o777, 0o600);
    let world = World::with(|env| env.extend(keys.env.clone())).await;
    let search = async |key: &str| {
        let call = world.http.call(Method::POST, "/search").header("authorization", format!("Bearer {key}"));
        world.http.send(call.body(json!({"query": "db"}).to_string())).await.status
    };
    assert_eq!(search(&first).await, 200);
    let second = keys.make(&["vm.2", "--broker"]).await;
    assert_eq!((search(&second).await, search(&first).await), (200, 200));
    let listed = run(&["key", "list"], &keys.env).await;
    assert_eq!(listed.stdout, "first\nvm.2 broker\n", "{listed:?}");

    let revoked = run(&["key", "revoke", "first"], &keys.env).await;
    assert_eq!((revoked.code, revoked.stdout.as_str()), (Some(0), ""), "{revoked:?}");
    assert_eq!((search(&first).await, search(&second).await), (401, 200));
    assert_failed(&run(&["key", "revoke", "first"], &keys.env).await, 1, "no key of the name");
    run(&["key", "revoke", "vm.2"], &keys.env).await;
    assert_eq!(search(&second).await, 401);
    assert!(!world.server.log().contains(&second));
}

#[tokio::test]
async fn twenty_keys_at_once_lose_none_and_no_comment() {
    let keys = Keys::new();
    std::fs::write(&keys.path, "# ours\n").unwrap();
    std::fs::set_permissions(&keys.path, std::fs::Permissions::from_mode(0o640)).unwrap();
    let children: Vec<Child> = (0..20).map(|at| spawn(&["key", "new", &format!("n{at}")], &keys.env)).collect();
    let mut made = BTreeSet::new();
    for child in children {
        let output = child.wait_with_output().await.unwrap();
        assert!(output.status.success(), "{output:?}");
        made.insert(output.stdout);
    }
    assert_eq!(made.len(), 20);
    let text = keys.text();
    assert!(text.starts_with("# ours\n"), "{text}");
    let names: BTreeSet<&str> = text.lines().skip(1).map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!((names.len(), text.lines().count()), (20, 21), "{text}");
    assert_eq!(std::fs::metadata(&keys.path).unwrap().permissions().mode() & 0o777, 0o640);

    // one name twenty times: one wins
    let children: Vec<Child> = (0..20).map(|_| spawn(&["key", "new", "same"], &keys.env)).collect();
    let mut won = 0;
    for child in children {
        won += usize::from(child.wait_with_output().await.unwrap().status.success());
    }
    assert_eq!((won, keys.text().lines().count()), (1, 22));
}

#[tokio::test]
async fn a_key_without_a_file_comes_with_the_line_to_add() {
    let nowhere = Environment::new();
    let made = run(&["key", "new", "ci", "--broker"], &nowhere).await;
    let key = made.stdout.trim_end();
    let line = made.stderr.lines().last().unwrap();
    let keys = Keys::new();
    std::fs::write(&keys.path, format!("{line}\n")).unwrap();
    assert_eq!(run(&["key", "list"], &keys.env).await.stdout, "ci broker\n");
    let world = World::with(|env| env.extend(keys.env.clone())).await;
    let call = world.http.call(Method::POST, "/search").header("authorization", format!("Bearer {key}"));
    assert_eq!(world.http.send(call.body(r#"{"query":"db"}"#)).await.status, 200);
    for command in ["list", "revoke"] {
        let args = if command == "list" { vec!["key", command] } else { vec!["key", command, "ci"] };
        assert_failed(&run(&args, &nowhere).await, 2, "no file of keys");
    }
}

#[tokio::test]
async fn keys_that_can_not_be_made_say_why_and_change_nothing() {
    let keys = Keys::new();
    for name in ["", "two words", "a/b", "naïve", "#", "a\x1b[2Jb", &"x".repeat(65)] {
        assert_failed(&run(&["key", "new", name], &keys.env).await, 2, "name of a key");
        assert!(!keys.path.exists());
    }
    keys.make(&["ci"]).await;
    let before = keys.text();
    assert_failed(&run(&["key", "new", "ci"], &keys.env).await, 1, "already");
    std::fs::set_permissions(&keys.path, std::fs::Permissions::from_mode(0o660)).unwrap();
    for args in [&["key", "new", "vm"][..], &["key", "revoke", "ci"], &["key", "list"]] {
        assert_failed(&run(args, &keys.env).await, 1, "others may write it");
    }
    assert_eq!(keys.text(), before);
    std::fs::set_permissions(&keys.path, std::fs::Permissions::from_mode(0o600)).unwrap();
    let (name, rest) = before.trim_end().split_once(' ').unwrap();
    for second in [format!("{name} {}", "0".repeat(64)), format!("other {rest}"), "half a li".to_owned()] {
        std::fs::write(&keys.path, format!("{before}{second}")).unwrap();
        assert_failed(&run(&["key", "new", "vm"], &keys.env).await, 1, "line 2");
    }
    let lost = keys.path.join("no/such").to_str().unwrap().to_owned();
    assert_failed(&run(&["key", "new", "vm", "--file", &lost], &keys.env).await, 1, "can't be written");
}

#[tokio::test]
async fn a_key_that_nobody_could_see_is_to_be_revoked() {
    let keys = Keys::new();
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let mut command = Command::new(SERVER);
    command.args(["key", "new", "ci"]).env_clear().envs(&keys.env).stdin(Stdio::null()).stdout(full);
    let output = command.stderr(Stdio::piped()).spawn().unwrap().wait_with_output().await.unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("standard output") && stderr.contains("key revoke ci"), "{stderr}");
    assert_eq!(run(&["key", "revoke", "ci"], &keys.env).await.code, Some(0));
    assert_eq!(keys.text(), "");
}

/// What `check` finds, by its names.
async fn check(env: &Environment) -> (Option<i32>, Vec<Value>) {
    let ended = run(&["check", "--format", "json"], env).await;
    for secret in ["OP_CONNECT_TOKEN", "TELEGRAM_BOT_TOKEN"] {
        let secret = env.get(secret).map_or("none", |value| value.rsplit(':').next().unwrap());
        assert!(!ended.stdout.contains(secret) && !ended.stderr.contains(secret), "{ended:?}");
    }
    let findings: Vec<Value> = serde_json::from_str(&ended.stdout).unwrap();
    for finding in &findings {
        assert_eq!(finding["hint"].is_null(), finding["state"] == "ok", "{finding}");
    }
    let fails = findings.iter().any(|finding| finding["state"] == "fail");
    assert_eq!(ended.code, Some(i32::from(fails)), "{ended:?}");
    (ended.code, findings)
}

/// Doubles, and an environment in which nothing is wrong.
struct Scene {
    connect: ConnectDouble,
    telegram: TelegramDouble,
    keys: Keys,
    env: Environment,
}

impl Scene {
    async fn new() -> Self {
        let (connect, telegram) = (ConnectDouble::start().await.unwrap(), TelegramDouble::start().await.unwrap());
        let vault = connect.add_vault("", "infra");
        connect.add_item(&vault, support::login("db", "x"));
        telegram.add_chat(ChatKind::Supergroup, GROUP);
        telegram.add_member(GROUP, User::new(43, "Bob"));
        let keys = Keys::new();
        keys.make(&["ci"]).await;
        let port = free_port().await;
        let mut env = working(&connect, &telegram);
        env.extend(keys.env.clone());
        for (name, value) in [
            ("BIND_ADDRESS", "127.0.0.1".to_owned()),
            ("PORT", port.to_string()),
            ("WEBHOOK_BASE_URL", format!("http://127.0.0.1:{port}")),
        ] {
            env.insert(name.to_owned(), value);
        }
        Self { connect, telegram, keys, env }
    }

    fn set(&mut self, name: &str, value: impl ToString) {
        self.env.insert(name.to_owned(), value.to_string());
    }

    /// The one thing that is not well.
    async fn only(&self) -> (String, String, String) {
        let (_, findings) = check(&self.env).await;
        let wrong: Vec<&Value> = findings.iter().filter(|finding| finding["state"] != "ok").collect();
        assert_eq!(wrong.len(), 1, "{findings:#?}");
        let text = |member: &str| wrong[0][member].as_str().unwrap().to_owned();
        (text("check"), text("state"), format!("{}\n{}", text("detail"), text("hint")))
    }

    async fn expect(&self, check: &str, state: &str, words: &str) {
        let (found, how, text) = self.only().await;
        assert_eq!((found.as_str(), how.as_str()), (check, state), "{text}");
        assert!(text.contains(words), "{text}");
    }
}

async fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port()
}

#[tokio::test]
async fn all_is_well_and_nothing_is_disturbed() {
    let scene = Scene::new().await;
    let (code, findings) = check(&scene.env).await;
    assert_eq!(code, Some(0));
    let order: Vec<&str> = findings.iter().map(|finding| finding["check"].as_str().unwrap()).collect();
    let expected = "configuration connect connect_token vaults bot webhook chat chat_writable approvers api_keys \
                    audit_log clock base_url";
    assert_eq!(order, expected.split_whitespace().collect::<Vec<_>>());
    assert!(findings.iter().all(|finding| finding["state"] == "ok"), "{findings:#?}");
    let detail = |check: &str| findings.iter().find(|finding| finding["check"] == check).unwrap()["detail"].clone();
    assert_eq!(detail("vaults"), "1 vault: infra (1 item)");
    assert!(detail("base_url").as_str().unwrap().contains("no server runs yet"));

    let methods: BTreeSet<String> = scene.telegram.calls().iter().map(|call| call.method.clone()).collect();
    let quiet = ["getMe", "getWebhookInfo", "getChat", "sendChatAction", "HEAD"];
    assert!(methods.iter().all(|method| quiet.contains(&method.as_str())), "{methods:?}");
    assert!(scene.connect.calls().iter().all(|call| !support::is_item(&call.path)), "no value is read");

    // beside a server that serves
    let env = scene.env.clone();
    let running = server(&scene.connect, &scene.telegram, |serving| serving.extend(env)).await;
    scene.telegram.wait_call(|call| call.method == "getUpdates").await.unwrap();
    scene.telegram.clear_calls();
    let (code, findings) = check(&scene.env).await;
    assert_eq!(code, Some(0), "{findings:#?}");
    assert!(findings.last().unwrap()["detail"].as_str().unwrap().contains("the running server"));
    assert!(scene.telegram.calls().iter().all(|call| call.method != "getUpdates"), "its poll goes on");
    drop(running);

    let text = run(&["check"], &scene.env).await;
    assert_eq!(text.stdout.lines().count(), 13, "{text:?}");
    assert!(text.stdout.lines().all(|line| line.starts_with("ok    ")) && text.stderr.is_empty(), "{text:?}");
}

#[tokio::test]
async fn every_problem_of_the_configuration_is_told() {
    let env = [
        ("PORT".to_owned(), "http".to_owned()),
        ("LOG_FORMAT".to_owned(), "xml".to_owned()),
        ("RUST_LOG".to_owned(), "=x=".to_owned()),
    ]
    .into();
    let (code, findings) = check(&env).await;
    assert_eq!((code, findings.len()), (Some(1), 8), "{findings:#?}");
    let text = run(&["check"], &env).await;
    assert_eq!(text.stdout.lines().filter(|line| line.starts_with("FAIL")).count(), 8, "{}", text.stdout);
    assert_eq!(text.stdout.lines().filter(|line| line.starts_with("      write ")).count(), 8, "{}", text.stdout);
}

#[tokio::test]
async fn check_tells_what_is_wrong_with_connect() {
    let mut scene = Scene::new().await;
    scene.connect.faults().sync_active(false);
    scene.expect("connect", "fail", "TOKEN_NEEDED").await;
    scene.connect.faults().sync_active(true);

    let hidden = scene.connect.add_vault("", "hid\u{202e}den");
    scene.connect.faults().fail_vault(&hidden, 403);
    let (found, how, text) = scene.only().await;
    assert_eq!((found.as_str(), how.as_str()), ("vaults", "warn"), "{text}");
    assert!(text.contains("infra (1 item)") && !text.contains('\u{202e}'), "{text}");
    scene.connect.faults().heal_vault(&hidden);

    scene.set("OP_CONNECT_TOKEN", "a-wrong-one");
    scene.expect("connect_token", "fail", "OP_CONNECT_TOKEN").await;
    scene.set("OP_CONNECT_TOKEN", scene.connect.token());
    scene.set("OP_CONNECT_HOST", format!("http://127.0.0.1:{}", free_port().await));
    scene.expect("connect", "fail", "does not answer").await;
    let empty = ConnectDouble::start().await.unwrap().with_token(&scene.connect.token());
    scene.set("OP_CONNECT_HOST", empty.url());
    scene.expect("vaults", "fail", "sees no vault").await;
}

#[tokio::test]
async fn check_tells_what_is_wrong_with_the_bot_and_its_chat() {
    let mut scene = Scene::new().await;
    scene.telegram.faults().set_webhook("https://hooks.example/secret-path");
    let (found, how, text) = scene.only().await;
    assert_eq!((found.as_str(), how.as_str()), ("webhook", "warn"));
    assert!(text.contains("hooks.example") && !text.contains("secret-path") && text.contains("removes it"), "{text}");
    scene.telegram.faults().set_webhook("");

    scene.set("TELEGRAM_APPROVER_IDS", "42");
    assert!(check(&scene.env).await.0 == Some(0));
    scene.set("TELEGRAM_APPROVER_IDS", "42,43");
    scene.expect("approvers", "warn", "43 can't press").await;
    scene.set("TELEGRAM_APPROVER_IDS", "43");
    scene.expect("approvers", "fail", "TELEGRAM_APPROVER_IDS=42").await;
    scene.set("TELEGRAM_CHAT_ID", GROUP);
    assert!(check(&scene.env).await.0 == Some(0));
    scene.telegram.add_user(User::new(44, "Cleo"));
    scene.set("TELEGRAM_APPROVER_IDS", "43,44,45");
    scene.expect("approvers", "fail", "not in the chat: 44, 45").await;
    scene.telegram.faults().set("getChatMember", Fault::Status(400), Times::Always);
    scene.expect("approvers", "warn", "administrator").await;
    scene.telegram.faults().clear();
    scene.env.remove("TELEGRAM_APPROVER_IDS");
    scene.expect("approvers", "warn", "whoever is in the chat").await;
    scene.set("TELEGRAM_APPROVER_IDS", "43");

    scene.telegram.restrict_bot(GROUP);
    scene.expect("chat_writable", "fail", "rights").await;
    scene.telegram.migrate_chat(GROUP, -1_000_077);
    scene.expect("chat", "fail", "TELEGRAM_CHAT_ID=-1000077").await;
    scene.set("TELEGRAM_CHAT_ID", -5);
    scene.expect("chat", "fail", "secret-gate-server chats").await;
    scene.set("TELEGRAM_BOT_TOKEN", format!("123456:{}", "B".repeat(35)));
    scene.expect("bot", "fail", "does not accept").await;
    scene.set("TELEGRAM_BOT_TOKEN", "123456:short");
    scene.expect("bot", "fail", "BotFather").await;
    scene.set("TELEGRAM_BOT_TOKEN", scene.telegram.token());
    scene.telegram.faults().down();
    scene.expect("bot", "fail", "can't be reached").await;
}

#[tokio::test]
async fn check_tells_what_is_wrong_with_files_and_address() {
    let mut scene = Scene::new().await;
    std::fs::set_permissions(&scene.keys.path, std::fs::Permissions::from_mode(0o666)).unwrap();
    scene.expect("api_keys", "fail", "chmod go-w").await;
    std::fs::set_permissions(&scene.keys.path, std::fs::Permissions::from_mode(0o644)).unwrap();
    std::fs::write(&scene.keys.path, "").unwrap();
    scene.expect("api_keys", "warn", "nobody may ask").await;
    std::fs::remove_file(&scene.keys.path).unwrap();
    scene.expect("api_keys", "fail", "key new").await;
    scene.env.remove("API_KEYS_FILE");
    assert_eq!(check(&scene.env).await.0, Some(0));
    scene.set("BIND_ADDRESS", "0.0.0.0");
    scene.expect("api_keys", "warn", "anybody").await;
    scene.set("BIND_ADDRESS", "127.0.0.1");

    let folder = scene.keys.path.parent().unwrap().to_owned();
    scene.set("AUDIT_LOG", folder.join("audit").display());
    assert_eq!(check(&scene.env).await.0, Some(0));
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0, "no trace is left");
    for wrong in [folder.join("no/audit"), folder.clone()] {
        scene.set("AUDIT_LOG", wrong.display());
        scene.expect("audit_log", "fail", "can't be written").await;
    }
}

/// Something that is not ours; answers each call with this, until it is dropped.
async fn stranger(answer: String) -> (String, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let answering = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 4096];
            if stream.read(&mut request).await.is_ok() {
                stream.write_all(answer.as_bytes()).await.ok();
            }
        }
    });
    (url, answering)
}

fn http(head: &str, body: &str) -> String {
    format!("HTTP/1.1 {head}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
}

#[tokio::test]
async fn check_tells_where_the_base_url_leads() {
    let mut scene = Scene::new().await;
    let other = server(&scene.connect, &scene.telegram, |_| {}).await;
    scene.set("WEBHOOK_BASE_URL", &other.url);
    scene.expect("base_url", "fail", "another Secret Gate server").await;
    let nobody = format!("http://127.0.0.1:{}", free_port().await);
    scene.set("WEBHOOK_BASE_URL", &nobody);
    scene.expect("base_url", "fail", "does not answer").await;
    let (page, _serving) = stranger(http("502 Bad Gateway", "<html>")).await;
    scene.set("WEBHOOK_BASE_URL", page);
    scene.expect("base_url", "fail", "something else (status 502)").await;
    let (elsewhere, _serving) = stranger(http("301 Moved\r\nlocation: https://example.com", "")).await;
    scene.set("WEBHOOK_BASE_URL", elsewhere);
    scene.expect("base_url", "fail", "to where it leads").await;
    let (huge, _serving) = stranger(http("200 OK", &" ".repeat(1 << 20))).await;
    scene.set("WEBHOOK_BASE_URL", huge);
    scene.expect("base_url", "fail", "something else").await;

    // not loopback by its name, and yet no other machine
    scene.set("WEBHOOK_BASE_URL", format!("http://0.0.0.0:{}", scene.env["PORT"]));
    scene.expect("base_url", "warn", "travel readable").await;

    let (taken, _serving) = stranger(http("200 OK", "hello")).await;
    scene.set("PORT", taken.rsplit(':').next().unwrap());
    scene.expect("base_url", "fail", "something else listens").await;
    let (old, _serving) = stranger(http("200 OK", r#"{"service":"secret-gate","status":"running"}"#)).await;
    scene.set("PORT", old.rsplit(':').next().unwrap());
    scene.expect("base_url", "warn", "start it again").await;
    scene.set("PORT", 0);
    scene.expect("base_url", "warn", "PORT").await;
}

#[tokio::test]
async fn check_waits_for_nobody_for_long_and_takes_no_half_answer() {
    let scene = Scene::new().await;
    let wrong = async || {
        let (_, findings) = check(&scene.env).await;
        let wrong = findings.into_iter().filter(|finding| finding["state"] != "ok");
        wrong.map(|finding| (finding["check"].as_str().unwrap().to_owned(), finding["detail"].to_string())).collect()
    };
    scene.connect.faults().truncate(Times::Always);
    scene.telegram.faults().set("getMe", Fault::Truncated, Times::Always);
    let cut: Vec<(String, String)> = wrong().await;
    let names: Vec<&str> = cut.iter().map(|(check, _)| check.as_str()).collect();
    assert_eq!(names, ["connect", "connect_token", "bot"], "{cut:?}");
    scene.connect.faults().clear();
    scene.telegram.faults().clear();

    scene.connect.faults().hang(Duration::from_secs(60));
    scene.telegram.faults().delay("*", Duration::from_secs(60), 10);
    let began = Instant::now();
    let slow: Vec<(String, String)> = wrong().await;
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    let names: Vec<&str> = slow.iter().map(|(check, _)| check.as_str()).collect();
    assert_eq!(names, ["connect", "bot"], "{slow:?}");
    assert!(slow.iter().all(|(_, detail)| detail.contains("no answer within 10 s")), "{slow:?}");
}

#[tokio::test]
async fn check_compares_the_clock_with_others() {
    let mut scene = Scene::new().await;
    let (late, _serving) = stranger(http("200 OK\r\ndate: Fri, 31 Dec 1999 23:59:59 GMT", "{}")).await;
    scene.set("TELEGRAM_API_URL", late);
    let (_, findings) = check(&scene.env).await;
    let clock = findings.iter().find(|finding| finding["check"] == "clock").unwrap();
    assert_eq!(clock["state"], "warn");
    assert!(clock["detail"].as_str().unwrap().contains("ahead of Telegram"), "{clock}");
}

/// `chats`, running.
struct Chats {
    child: Child,
    out: Lines<BufReader<ChildStdout>>,
}

impl Chats {
    fn start(telegram: &TelegramDouble, args: &[&str]) -> Self {
        let env = [("TELEGRAM_BOT_TOKEN", telegram.token()), ("TELEGRAM_API_URL", telegram.url())];
        let env = env.map(|(name, value)| (name.to_owned(), value)).into();
        let mut child = spawn(&[&["chats"], args].concat(), &env);
        let out = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, out }
    }

    async fn lines<const N: usize>(&mut self) -> [String; N] {
        let mut lines = [const { String::new() }; N];
        for line in &mut lines {
            *line = tokio::time::timeout(PATIENCE, self.out.next_line()).await.unwrap().unwrap().unwrap();
        }
        lines
    }

    async fn ended(self) -> Ended {
        let output = tokio::time::timeout(PATIENCE, self.child.wait_with_output()).await.unwrap().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        Ended { code: output.status.code(), stdout: String::new(), stderr }
    }
}

#[tokio::test]
async fn chats_tells_each_chat_and_person_once() {
    let telegram = TelegramDouble::start().await.unwrap();
    telegram.add_user(User::new(43, "Bob").with_username("bob"));
    telegram.add_chat(ChatKind::Supergroup, GROUP);
    let mut chats = Chats::start(&telegram, &[]);
    telegram.wait_call(|call| call.method == "getUpdates").await.unwrap();
    telegram.add_bot_to(GROUP, 43);
    let lines = chats.lines().await;
    assert_eq!(lines, ["# group Operations", "TELEGRAM_CHAT_ID=-1000042", "# Bob (@bob)", "TELEGRAM_APPROVER_IDS=43"]);
    telegram.say(GROUP, 43, "again");
    telegram.say(ANN, ANN, "hello");
    let lines = chats.lines().await;
    assert_eq!(lines, ["# private chat with Ann", "TELEGRAM_CHAT_ID=42", "# Ann", "TELEGRAM_APPROVER_IDS=42"]);
    let hostile = json!({"id": -9, "type": "channel", "title": "x\nTELEGRAM_CHAT_ID=666\x1b[2J\u{202e}"});
    telegram.push_update(json!({"channel_post": {"message_id": 1, "date": 0, "chat": hostile}}));
    let [title, id] = chats.lines().await;
    assert_eq!(id, "TELEGRAM_CHAT_ID=-9");
    assert!(title.starts_with("# channel x") && !title.contains(['\x1b', '\u{202e}']), "{title:?}");

    // the network goes and comes back
    telegram.faults().drop_answer("getUpdates", 1);
    telegram.say(-5, 44, "from elsewhere");
    assert_eq!(chats.lines::<2>().await[1], "TELEGRAM_CHAT_ID=-5");

    // and a server starts
    telegram.faults().set("getUpdates", Fault::Conflict, Times::Always);
    telegram.say(ANN, ANN, "hello");
    let ended = chats.ended().await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(
        ended.stderr.contains("@gate_double_bot") && ended.stderr.contains("hint: stop the server first"),
        "{ended:?}"
    );
}

#[tokio::test]
async fn chats_can_end_after_the_first() {
    let telegram = TelegramDouble::start().await.unwrap();
    telegram.say(ANN, ANN, "hello");
    let mut chats = Chats::start(&telegram, &["--once"]);
    let [.., person] = chats.lines::<4>().await;
    assert_eq!(person, "TELEGRAM_APPROVER_IDS=42");
    assert_eq!(chats.ended().await.code, Some(0));
}

#[tokio::test]
async fn chats_says_what_keeps_it_from_listening() {
    let telegram = TelegramDouble::start().await.unwrap();
    let env = |token: &str| -> Environment {
        [("TELEGRAM_BOT_TOKEN", token.to_owned()), ("TELEGRAM_API_URL", telegram.url())]
            .map(|(name, value)| (name.to_owned(), value))
            .into()
    };
    assert_failed(&run(&["chats"], &Environment::new()).await, 1, "TELEGRAM_BOT_TOKEN is not set");
    assert_failed(&run(&["chats"], &env("123456:short")).await, 1, "BotFather");
    let wrong = format!("123456:{}", "B".repeat(35));
    let refused = run(&["chats"], &env(&wrong)).await;
    assert_failed(&refused, 1, "does not accept");
    assert!(!refused.stderr.contains("BBBB"), "{refused:?}");
    telegram.faults().set_webhook("https://hooks.example/secret-path");
    assert_failed(&run(&["chats"], &env(&telegram.token())).await, 1, "webhook");
    telegram.faults().down();
    assert_failed(&run(&["chats"], &env(&telegram.token())).await, 1, "can't be reached");
}

#[tokio::test]
async fn a_wrong_command_line_is_told_and_help_teaches() {
    let none = Environment::new();
    for args in [&["serve"][..], &["key"], &["key", "new"], &["check", "--format", "xml"], &["chats", "now"]] {
        let ended = run(args, &none).await;
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""), "{ended:?}");
        assert!(ended.stderr.contains("--help") || ended.stderr.contains("Usage"), "{ended:?}");
    }
    for args in [&[][..], &["key", "new"], &["key", "list"], &["key", "revoke"], &["check"], &["chats"]] {
        let ended = run(&[args, &["--help"]].concat(), &none).await;
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert!(ended.stdout.contains("Example") && ended.stdout.contains("secret-gate-server "), "{ended:?}");
    }
}
