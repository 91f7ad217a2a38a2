//! `check`: all well, and each thing that can be wrong.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use secret_gate_doubles::telegram::{ChatKind, User};
use secret_gate_doubles::{ConnectDouble, Fault, TelegramDouble, Times};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::keys::Keys;
use super::support::{self, Environment, server, working};
use super::{GROUP, run};

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
    let folder = scene.keys.path.parent().unwrap().to_owned();
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o777)).unwrap();
    scene.expect("api_keys", "fail", "others may write its folder").await;
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::write(&scene.keys.path, "").unwrap();
    scene.expect("api_keys", "warn", "nobody may ask").await;
    std::fs::remove_file(&scene.keys.path).unwrap();
    scene.expect("api_keys", "fail", "key new").await;
    scene.env.remove("API_KEYS_FILE");
    assert_eq!(check(&scene.env).await.0, Some(0));
    scene.set("BIND_ADDRESS", "0.0.0.0");
    scene.expect("api_keys", "warn", "anybody").await;
    scene.set("BIND_ADDRESS", "127.0.0.1");

    scene.set("AUDIT_LOG", folder.join("audit").display());
    assert_eq!(check(&scene.env).await.0, Some(0));
    let left: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, [".keys.lock"], "no trace is left but that of `key new`");
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

/// Takes connections and never answers.
async fn silent() -> (String, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let holding = tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            held.push(stream);
        }
    });
    (url, holding)
}

#[tokio::test]
async fn the_port_is_held_for_a_moment_whoever_hangs() {
    let mut scene = Scene::new().await;
    let (url, _holding) = silent().await;
    scene.set("WEBHOOK_BASE_URL", &url);
    let port: u16 = scene.env["PORT"].parse().unwrap();
    let bound = || std::net::TcpListener::bind(("127.0.0.1", port)).map(drop);
    let checking = async { scene.only().await };
    let watching = async {
        while bound().is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let taken = Instant::now();
        while bound().is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        taken.elapsed()
    };
    let ((check, state, text), held) = tokio::join!(checking, watching);
    assert_eq!((check.as_str(), state.as_str()), ("base_url", "fail"), "{text}");
    assert!(text.contains("no answer within 3 s"), "{text}");
    assert!(held < Duration::from_secs(5), "{held:?}");
}

/// A proxy that passes on `/` alone, and answers everything else by itself.
async fn only_the_front_page(port: u16) -> (String, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let passing = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = vec![0; 4096];
            let read = stream.read(&mut head).await.unwrap_or_default();
            if head.starts_with(b"GET / ") {
                let mut behind = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                let text = String::from_utf8(head[..read].to_vec()).unwrap();
                let text = text.replacen("\r\n", "\r\nconnection: close\r\n", 1);
                behind.write_all(text.as_bytes()).await.unwrap();
                tokio::io::copy(&mut behind, &mut stream).await.ok();
            } else {
                let own = http("404 Not Found", r#"{"error":"not_found","message":"nothing here"}"#);
                stream.write_all(own.as_bytes()).await.ok();
            }
        }
    });
    (url, passing)
}

#[tokio::test]
async fn a_proxy_that_passes_on_the_front_page_alone_is_told() {
    let mut scene = Scene::new().await;
    let (url, _passing) = only_the_front_page(scene.env["PORT"].parse().unwrap()).await;
    scene.set("WEBHOOK_BASE_URL", &url);
    scene.expect("base_url", "fail", "every path").await;
    let env = scene.env.clone();
    let _running = server(&scene.connect, &scene.telegram, |serving| serving.extend(env)).await;
    scene.expect("base_url", "fail", "/status/check does not").await;
}
