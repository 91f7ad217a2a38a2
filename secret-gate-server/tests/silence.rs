//! What the server says of itself: nothing secret in the log at any level, and clear words at a start that can't be.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests fail the test that calls them")]

mod support;

use std::fmt::Write as _;
use std::time::Duration;

use reqwest::Method;
use secret_gate_doubles::telegram::ChatKind;
use secret_gate_doubles::{ConnectDouble, Fault, TelegramDouble, Times};
use serde_json::json;
use tokio::io::AsyncWriteExt as _;

use support::{Environment, World, misconfigured, working};

const SECOND: &str = "second-value-5d1e8c";

/// The text, and what it looks like in the encodings that programs use without being asked.
fn forms(text: &str) -> Vec<String> {
    let hex = text.bytes().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").unwrap();
        hex
    });
    let bytes = format!("{:?}", text.as_bytes());
    let percent = text.replace(':', "%3A");
    let mut forms = vec![text.to_owned(), hex.to_uppercase(), hex, bytes.trim_matches(['[', ']']).to_owned(), percent];
    // base64 at each of the three places where the text can begin in what is encoded
    for shift in 0..3 {
        let padded = format!("{}{text}", "x".repeat(shift));
        let encoded = base64(padded.as_bytes());
        let (from, to) = ([0, 2, 3][shift], padded.len() / 3 * 4);
        forms.push(encoded[from..to].to_owned());
        forms.push(encoded[from..to].replace('+', "-").replace('/', "_"));
    }
    forms
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().chain(&[0, 0]).take(3).fold(0_usize, |bits, byte| bits << 8 | usize::from(*byte));
        text.extend((0..4).map(|at| char::from(ALPHABET[bits >> (18 - 6 * at) & 63])));
    }
    text
}

#[test]
fn the_search_finds_every_form() {
    assert_eq!(base64(b"any carnal pleas"), "YW55IGNhcm5hbCBwbGVhcwAA".to_owned());
    let value = "hunter2-hunter2";
    for prefix in ["", "a", "ab", "Bearer "] {
        let log = base64(format!("{prefix}{value}!!").as_bytes());
        assert!(forms(value).iter().any(|form| log.contains(form.as_str())), "{log}");
    }
    assert!(forms("ab:c").contains(&"61623A63".to_owned()) && forms("ab").contains(&"97, 98".to_owned()));
}

#[tokio::test]
async fn at_the_most_talkative_level_no_secret_is_said() {
    let world = World::with(|env| {
        env.insert("RUST_LOG".into(), "trace".into());
        env.insert("REQUEST_TTL".into(), "6s".into());
    })
    .await;
    world.add_item("item-with-two", SECOND);
    let mut tokens = Vec::new();
    let both = json!({"secrets": [{"secret_name": "db"}, {"secret_name": "item-with-two", "fields": ["password"]}],
        "machine": "m", "reason": "flow", "use": {"exec": "any"}, "duration": "1h"});

    // released
    let asked = world.ask(both.clone()).await;
    world.approve_and_redeem(&asked).await;
    let control = asked.request_id.clone();
    tokens.push(asked.token.clone());
    world.withdraw(&asked).await;
    world.http.post("/watch", &json!({"tokens": [asked.token, "made-up-token"], "wait": "1s"})).await;
    // denied
    let denied = world.ask_for_db().await;
    assert_eq!(world.tap(&denied, "Deny").await, "Denied");
    world.secret(&denied).await;
    tokens.push(denied.token.clone());
    // withdrawn, expired, wrong presses
    let withdrawn = world.ask_for_db().await;
    world.withdraw(&withdrawn).await;
    world.tap_raw(support::press(&withdrawn.message, &format!("approve:{}", withdrawn.token))).await;
    tokens.push(withdrawn.token.clone());
    let expired = world.ask_for_db().await;
    tokens.push(expired.token.clone());

    // tokens in paths that nobody serves, wrong methods, queries, bodies that are no JSON
    let token = &denied.token;
    for path in [
        format!("/{token}"),
        format!("/secret/{token}/more"),
        format!("/secret/{token}/"),
        format!("//secret/{token}"),
        format!("/status/{token}?wait={token}"),
        format!("/status/{token}?wait=30s&wait=1s&token={token}"),
        format!("/secret/%ff{token}"),
        format!("/client/{token}/amd64"),
        format!("/client/{token}"),
    ] {
        for method in [Method::GET, Method::POST, Method::DELETE, Method::HEAD] {
            let answer = world.http.send(world.http.call(method, &path)).await;
            assert!(answer.status >= 400 || path.contains("/status/"), "{path}: {answer:?}");
        }
    }
    for body in [format!("{{\"secret_name\": {token}"), format!("\"{token}\""), format!("{{\"query\": [\"{token}\"]}}")]
    {
        for path in ["/request", "/search", "/watch"] {
            let call = world.http.call(Method::POST, path).header("authorization", format!("Bearer {token}"));
            world.http.send(call.body(body.clone())).await;
        }
    }

    // both services broken in every way, while asking and while releasing
    let broken = world.ask_for_db().await;
    assert_eq!(world.tap(&broken, "Approve").await, "Approved");
    tokens.push(broken.token.clone());
    for fault in [Fault::Truncated, Fault::Status(401), Fault::Reset, Fault::Html(200), Fault::Status(500)] {
        world.connect.faults().set(fault.clone(), Times::Always);
        assert_eq!(world.secret(&broken).await.status, 502);
        world.connect.faults().clear();
        world.telegram.faults().set("sendMessage", fault.clone(), Times::Next(1));
        if matches!(fault, Fault::Truncated | Fault::Reset | Fault::Html(200)) {
            assert_eq!(world.http.post("/request", &json!({"secret_name": "db"})).await.status, 502);
        }
        world.telegram.faults().clear();
    }
    world.telegram.faults().down();
    assert_eq!(world.http.post("/request", &json!({"secret_name": "db"})).await.code(), "notification_failed");
    world.http.get("/ready").await;
    world.server.line(|line| line.contains("presses on Telegram are not heard")).await;
    world.telegram.faults().up();
    world.decision(&expired).await;
    world.http.get("/metrics").await;

    let (connect, telegram) = (world.connect.token(), world.telegram.token());
    world.server.terminate();
    let ended = world.server.ended().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let log = ended.stderr;
    for planted in [control.as_str(), "item-with-two", "/secret/{token}", "\"level\":\"DEBUG\""] {
        assert!(log.contains(planted), "the search must find {planted} in:\n{log}");
    }
    assert!(log.len() > 5_000, "a log worth searching: {} bytes", log.len());
    let (_, bot_secret) = telegram.split_once(':').unwrap();
    let values = [support::PASSWORD, SECOND, &connect, &telegram, bot_secret];
    for secret in values.into_iter().chain(tokens.iter().map(String::as_str)) {
        for form in forms(secret) {
            let line = log.lines().find(|line| line.contains(&form));
            assert!(line.is_none(), "{form} is in the log: {line:?}");
        }
    }
}

async fn start_fails(env: &Environment) -> String {
    let ended = misconfigured(env).await;
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""), "{ended:?}");
    ended.stderr
}

#[tokio::test]
async fn a_start_that_cannot_be_says_in_one_line_what_to_write() {
    let connect = ConnectDouble::start().await.unwrap();
    let telegram = TelegramDouble::start().await.unwrap();
    let good = working(&connect, &telegram);
    for name in ["OP_CONNECT_HOST", "OP_CONNECT_TOKEN", "TELEGRAM_BOT_TOKEN", "TELEGRAM_CHAT_ID", "WEBHOOK_BASE_URL"] {
        for value in [None, Some(""), Some("  ")] {
            let mut env = good.clone();
            env.remove(name);
            env.extend(value.map(|value| (name.to_owned(), value.to_owned())));
            let said = start_fails(&env).await;
            assert!(said.contains(&format!("{name} is not set; write {name}=")), "{said}");
            assert_eq!(said.lines().count(), 1, "{said}");
        }
    }
    let cases = [
        ("OP_CONNECT_HOST", "localhost:8080"),
        ("OP_CONNECT_HOST", "https://user:hunter2@op.example"),
        ("OP_CONNECT_TOKEN", "hunter2 hunter2"),
        ("TELEGRAM_BOT_TOKEN", "hunter2"),
        ("TELEGRAM_BOT_TOKEN", "123456:hunter2 hunter2 hunter2 hunter2"),
        ("TELEGRAM_CHAT_ID", "@hunter2"),
        ("TELEGRAM_CHAT_ID", "0"),
        ("TELEGRAM_API_URL", "https://user:hunter2@api.example"),
        ("TELEGRAM_APPROVER_IDS", "42,Ann"),
        ("WEBHOOK_BASE_URL", "gate.example"),
        ("WEBHOOK_BASE_URL", "https://gate.example/?key=hunter2"),
        ("PORT", "eighty"),
        ("PORT", "70000"),
        ("BIND_ADDRESS", "localhost"),
        ("REQUEST_TTL", "15"),
        ("REQUEST_TTL", "-15m"),
        ("CLEANUP_INTERVAL", "0s"),
        ("INDEX_TTL", "soon"),
        ("TRUSTED_PROXIES", "10.0.0.0/33"),
        ("MAX_PENDING", "0"),
        ("MAX_PENDING_PER_REQUESTER", "ten"),
        ("MAX_REQUESTS_PER_MINUTE", "-1"),
        ("MAX_LOOKUPS_PER_MINUTE", "0"),
        ("LOG_FORMAT", "xml"),
        ("RUST_LOG", "secret_gate=loud"),
        ("API_KEYS_FILE", "/nowhere/keys"),
        ("AUDIT_LOG", "/nowhere/audit"),
        ("OP_CONNECT_TOKEN_FILE", "/nowhere/token"),
    ];
    for (name, value) in cases {
        let mut env = good.clone();
        if name == "OP_CONNECT_TOKEN_FILE" {
            env.remove("OP_CONNECT_TOKEN");
        }
        env.insert(name.to_owned(), value.to_owned());
        env.insert("PORT".to_owned(), if name == "PORT" { value.to_owned() } else { "0".to_owned() });
        let said = start_fails(&env).await;
        let line = said.lines().last().unwrap_or_default();
        assert!(line.contains(name) && !line.starts_with('{'), "{name}={value}: {said}");
        assert!(said.lines().filter(|line| !line.starts_with('{')).count() == 1, "{name}={value}: {said}");
        assert!(!said.contains("hunter2"), "{name}={value}: {said}");
    }
    // one that is in use
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut env = good.clone();
    env.insert("PORT".to_owned(), taken.local_addr().unwrap().port().to_string());
    env.insert("BIND_ADDRESS".to_owned(), "127.0.0.1".to_owned());
    assert!(start_fails(&env).await.contains("PORT"));
}

#[tokio::test]
async fn secrets_come_from_files() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::with(|env| {
        for name in ["OP_CONNECT_TOKEN", "TELEGRAM_BOT_TOKEN", "TELEGRAM_CHAT_ID"] {
            let path = folder.path().join(name);
            std::fs::write(&path, env.remove(name).unwrap() + "\n").unwrap();
            env.insert(format!("{name}_FILE"), path.to_str().unwrap().to_owned());
        }
    })
    .await;
    let asked = world.ask_for_db().await;
    world.approve_and_redeem(&asked).await;
}

#[tokio::test]
async fn told_to_stop_during_a_release_the_server_finishes_it() {
    let world = World::start().await;
    let asked = world.ask_for_db().await;
    assert_eq!(world.tap(&asked, "Approve").await, "Approved");
    world.connect.clear_calls();
    world.connect.faults().hang(Duration::from_secs(2));
    let stop = async {
        world.connect.wait_call(|call| support::is_item(&call.path)).await.unwrap();
        world.server.terminate();
    };
    let (answer, ()) = tokio::join!(world.secret(&asked), stop);
    assert_eq!(answer.body, json!({"secret": {"password": support::PASSWORD}}), "{answer:?}");
    let World { telegram, server, .. } = world;
    let ended = server.ended().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stderr.contains("stopped"));
    drop(telegram);
}

/// With an Idempotency-Key a question goes on without its caller, so the server owes it an ending.
#[tokio::test]
async fn told_to_stop_the_server_waits_for_a_question_whose_caller_has_left() {
    const SLOW: Duration = Duration::from_secs(2);
    let world = World::start().await;
    world.telegram.faults().set("sendMessage", Fault::Delay(SLOW), Times::Next(1));
    world.telegram.faults().status("sendMessage", 400, 1);
    let mut caller = tokio::net::TcpStream::connect(world.server.url.trim_start_matches("http://")).await.unwrap();
    let call = "POST /request HTTP/1.1\r\nHost: x\r\nIdempotency-Key: 0123456789abcdef0123\r\nContent-Length: 20\r\n\r\n\
        {\"secret_name\":\"db\"}";
    caller.write_all(call.as_bytes()).await.unwrap();
    world.server.line(|line| line.contains("\\\"event\\\":\\\"asked\\\"")).await;
    let asked = std::time::Instant::now();
    drop(caller);
    world.server.line(|line| line.contains("the client left before the answer")).await;
    world.server.terminate();
    let ended = world.server.ended().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(asked.elapsed() >= SLOW - Duration::from_millis(100), "ended after {:?}", asked.elapsed());
    assert!(ended.stderr.contains("\\\"event\\\":\\\"undelivered\\\""), "{}", ended.stderr);
}

#[tokio::test]
async fn told_to_stop_the_server_answers_who_waits_and_ends_within_a_second() {
    let world = World::start().await;
    let asked = world.ask_for_db().await;
    let idle = support::wire(&world.server.url, "/health").await;
    let (status, tokens) =
        (format!("/status/{}?wait=30s", asked.token), json!({"tokens": [asked.token], "wait": "30s"}));
    let stop = async {
        // by the time this is answered the other two have been taken in
        world.http.get("/health").await;
        world.http.get("/health").await;
        world.server.terminate();
        std::time::Instant::now()
    };
    let (status, watched, told) = tokio::join!(world.http.get(&status), world.http.post("/watch", &tokens), stop);
    assert_eq!((status.status, &status.body["status"]), (200, &json!("pending")));
    assert_eq!((watched.status, &watched.body["changed"]), (200, &json!([])));
    assert!(told.elapsed() < Duration::from_millis(500), "answered after {:?}", told.elapsed());
    let ended = world.server.ended().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(told.elapsed() < Duration::from_secs(1), "ended after {:?}", told.elapsed());
    drop(idle);
}

#[tokio::test]
async fn a_caller_who_never_finishes_does_not_keep_the_server_from_stopping() {
    let world = World::start().await;
    let address = world.server.url.trim_start_matches("http://").to_owned();
    let mut half = tokio::net::TcpStream::connect(&address).await.unwrap();
    half.write_all(b"POST /request HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{").await.unwrap();
    let mut head = tokio::net::TcpStream::connect(&address).await.unwrap();
    head.write_all(b"GET /hea").await.unwrap();
    world.http.get("/health").await;
    world.http.get("/health").await;
    world.server.terminate();
    assert_eq!(world.server.ended().await.code, Some(0));
    drop((half, head));
}

#[tokio::test]
async fn what_leaves_the_door_wide_is_warned_of_at_the_start() {
    let warning = |log: &str| log.lines().any(|line| line.contains("\"WARN\""));
    let world = World::start().await;
    world.telegram.wait_call(|call| call.method == "getChat").await.unwrap();
    let asked = world.ask_for_db().await;
    assert_eq!(world.tap(&asked, "Deny").await, "Denied");
    assert!(!warning(&world.server.log()), "{}", world.server.log());

    let group = -100_777;
    world.telegram.add_chat(ChatKind::Supergroup, group);
    let World { connect, telegram, .. } = &world;
    let in_group = |env: &mut Environment| {
        env.insert("TELEGRAM_CHAT_ID".into(), group.to_string());
        env.insert("BIND_ADDRESS".into(), "0.0.0.0".into());
    };
    let server = support::server(connect, telegram, in_group).await;
    server.line(|line| line.contains("TELEGRAM_APPROVER_IDS")).await;
    server.line(|line| line.contains("API_KEYS_FILE")).await;
    let both = |env: &mut Environment| {
        env.insert("TELEGRAM_CHAT_ID".into(), group.to_string());
        env.insert("TELEGRAM_APPROVER_IDS".into(), "42".into());
    };
    telegram.clear_calls();
    let server = support::server(connect, telegram, both).await;
    telegram.wait_call(|call| call.method == "getUpdates").await.unwrap();
    assert!(!server.log().contains("TELEGRAM_APPROVER_IDS"), "{}", server.log());
}
