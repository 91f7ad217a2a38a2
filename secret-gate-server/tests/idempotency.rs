//! A call that is sent again under its key: one question, one token, one answer, whatever happens on the way.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test that calls them")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use reqwest::Method;
use reqwest::header::HeaderValue;
use secret_gate_core::approver::TelegramApprover;
use secret_gate_core::clock::ManualClock;
use secret_gate_core::{Gate, OnePassword, SecretValue};
use secret_gate_doubles::{ConnectDouble, Fault, TelegramDouble, Times};
use secret_gate_server::Server;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use support::{ANN, Answer, Http, PASSWORD, PATIENCE, World, login};

const BODY: &str = r#"{"secret_name":"db","reason":"migrate"}"#;

/// As long as it must be without an API key.
fn long(key: &str) -> String {
    format!("{key}-7d1f0c52b3a94e68")
}

async fn post(http: &Http, key: &str, body: &str) -> Answer {
    post_raw(http, &long(key), body).await
}

async fn post_raw(http: &Http, key: &str, body: &str) -> Answer {
    let call = http.call(Method::POST, "/request").header("Idempotency-Key", key);
    http.send(call.body(body.to_owned())).await
}

fn assert_accepted_like(answer: &Answer, first: &Answer) {
    assert_eq!(answer.status, 202, "{answer:?}");
    assert_eq!(answer.text, first.text);
}

/// Sends a call and does not wait for its answer.
async fn send(world: &World, key: Option<&str>) -> TcpStream {
    let address = world.server.url.trim_start_matches("http://");
    let mut wire = TcpStream::connect(address).await.unwrap();
    let key = key.map_or(String::new(), |key| format!("Idempotency-Key: {}\r\n", long(key)));
    let length = BODY.len();
    let call = format!("POST /request HTTP/1.1\r\nHost: {address}\r\n{key}Content-Length: {length}\r\n\r\n{BODY}");
    wire.write_all(call.as_bytes()).await.unwrap();
    wire
}

/// The id of the latest message in the chat.
fn last_message(world: &World) -> i64 {
    world.telegram.messages().last().map_or(0, |message| message.message_id)
}

#[tokio::test]
async fn the_same_call_has_the_same_answer_to_its_end_and_beyond() {
    let world = World::with(|env| drop(env.insert("RUST_LOG".into(), "trace".into()))).await;
    let key = "\"8e03978e-40d5-43e8-bc93-6894a57f9324\"";
    let first = post(&world.http, key, BODY).await;
    assert_eq!(first.status, 202, "{first:?}");
    let asked = world.asked(&first);
    assert_accepted_like(&post(&world.http, key, BODY).await, &first);
    assert_eq!(world.tap(&asked, "Approve").await, "Approved");
    assert_accepted_like(&post(&world.http, key, BODY).await, &first);
    assert_eq!(world.redeem(&asked).await["secret"], json!({"password": PASSWORD}));
    assert_accepted_like(&post(&world.http, key, BODY).await, &first);
    assert_eq!(world.status(&asked).await["ended"], "released");
    assert_eq!(world.telegram_calls("sendMessage"), 1);

    // a question that came to nothing is not asked again under its key either
    for (key, ending) in [("denied", "Deny"), ("withdrawn", "")] {
        let first = post(&world.http, key, BODY).await;
        let asked = world.asked(&first);
        match ending {
            "" => assert_eq!(world.withdraw(&asked).await.status, 204),
            button => assert_eq!(world.tap(&asked, button).await, "Denied"),
        }
        assert_accepted_like(&post(&world.http, key, BODY).await, &first);
        assert_ne!(world.status(&asked).await["status"], "pending");
    }
    assert_eq!(world.telegram_calls("sendMessage"), 3);
    let log = world.server.log();
    assert!(log.contains("\"answered\"") && !log.contains(&asked.token) && !log.contains(key), "a secret in the log");
}

#[tokio::test]
async fn another_body_is_refused_and_changes_nothing() {
    let world = World::start().await;
    let first = post(&world.http, "k", BODY).await;
    let spaced = BODY.replace(',', ", ");
    for other in [r#"{"secret_name":"db"}"#, r#"{"secret_name":"no such thing"}"#, &spaced] {
        let answer = post(&world.http, "k", other).await;
        assert_eq!((answer.status, answer.code()), (409, "idempotency_conflict"), "{answer:?}");
        assert!(answer.body.get("token").is_none() && answer.body.get("request_id").is_none(), "{answer:?}");
    }
    for (broken, status) in [("{".to_owned(), 400), ("x".repeat(70 * 1024), 413)] {
        assert_eq!(post(&world.http, "k", &broken).await.status, status);
    }
    assert_accepted_like(&post(&world.http, "k", BODY).await, &first);
    assert_eq!(world.telegram.messages().len(), 1);
    // while the question is being put, too
    world.telegram.faults().slow_answer("sendMessage", Duration::from_secs(2), 1);
    let before = last_message(&world);
    let call = send(&world, Some("slow")).await;
    world.telegram.wait_message(|message| message.message_id > before).await.unwrap();
    assert_eq!(post(&world.http, "slow", &spaced).await.status, 409);
    drop(call);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_fifty_at_once_one_is_asked_and_all_are_answered() {
    let world = World::start().await;
    world.telegram.faults().slow_answer("sendMessage", Duration::from_millis(500), 1);
    let mut calls = JoinSet::new();
    for _ in 0..50 {
        let http = world.http.clone();
        calls.spawn(async move { post(&http, "k", BODY).await });
    }
    let answers = calls.join_all().await;
    for answer in &answers {
        assert_accepted_like(answer, &answers[0]);
    }
    assert_eq!(world.telegram_calls("sendMessage"), 1);
    let asked = world.asked(&answers[0]);
    world.approve_and_redeem(&asked).await;
    assert_eq!(world.open_requests().await, 0);
}

#[tokio::test]
async fn a_key_belongs_to_one_requester() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys");
    let line = |name: &str| format!("{name} {}\n", hex::encode(Sha256::digest(name)));
    std::fs::write(&path, line("ci") + &line("vm")).unwrap();
    let world = World::with(|env| drop(env.insert("API_KEYS_FILE".into(), path.to_str().unwrap().into()))).await;
    let ask = async |name: &str| {
        let call = world.http.call(Method::POST, "/request").header("idempotency-key", "k");
        world.http.send(call.bearer_auth(name).body(BODY)).await
    };
    let (ci, vm) = (ask("ci").await, ask("vm").await);
    assert_eq!((ci.status, vm.status), (202, 202));
    assert_ne!(world.asked(&ci).token, world.asked(&vm).token);
    assert_accepted_like(&ask("ci").await, &ci);
    assert_accepted_like(&ask("vm").await, &vm);
    let stranger = post(&world.http, "k", BODY).await;
    assert_eq!((stranger.status, stranger.code()), (401, "unauthorized"), "{stranger:?}");
    assert_eq!(world.telegram.messages().len(), 2);
}

#[tokio::test]
async fn a_question_outlives_the_connection_that_it_came_by() {
    let world = World::start().await;
    // cut off at once, in order or with a reset, wherever the server is by then
    for round in 0..20 {
        let key = format!("cut {round}").replace(' ', "-");
        let wire = send(&world, Some(&key)).await;
        if round % 2 == 1 {
            wire.set_zero_linger().unwrap();
        }
        drop(wire);
        assert_eq!(post(&world.http, &key, BODY).await.status, 202);
        assert_eq!(world.telegram_calls("sendMessage"), round + 1, "round {round}");
    }

    // cut off while the question is being put
    let calls = world.telegram_calls("sendMessage");
    world.telegram.faults().slow_answer("sendMessage", Duration::from_secs(1), 1);
    let before = last_message(&world);
    let wire = send(&world, Some("slow")).await;
    world.telegram.wait_message(|message| message.message_id > before).await.unwrap();
    drop(wire);
    let answer = post(&world.http, "slow", BODY).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    assert_eq!(world.telegram_calls("sendMessage"), calls + 1);
    let asked = world.asked(&answer);
    assert_eq!(world.status(&asked).await["status"], "pending");
    world.approve_and_redeem(&asked).await;

    // without a key nobody could come back for it
    world.telegram.faults().slow_answer("sendMessage", Duration::from_millis(300), 1);
    let before = last_message(&world);
    let wire = send(&world, None).await;
    let message = world.telegram.wait_message(|message| message.message_id > before).await.unwrap();
    drop(wire);
    let edited = world.telegram.wait_edit(message.message_id, |message| message.plain.contains("Withdrawn")).await;
    assert!(edited.unwrap().keyboard.is_empty());
}

#[tokio::test]
async fn an_answer_that_nobody_read_is_there_for_who_comes_back() {
    let world = World::start().await;
    let mut wire = send(&world, Some("k")).await;
    let mut start = [0; 12];
    wire.read_exact(&mut start).await.unwrap();
    assert_eq!(&start, b"HTTP/1.1 202");
    drop(wire);
    let answer = post(&world.http, "k", BODY).await;
    assert_eq!(world.telegram.messages().len(), 1);
    world.approve_and_redeem(&world.asked(&answer)).await;
}

/// A key, a body, the status of the answer while it fails, how to break it and how to mend it.
type Failure<'a> = (&'a str, &'a str, u16, &'a dyn Fn(), &'a dyn Fn());

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_is_not_remembered() {
    let world = World::start().await;
    let late = r#"{"secret_name":"late"}"#;
    let failures: [Failure<'_>; 4] = [
        ("no-item", late, 404, &|| {}, &|| drop(world.add_item("late", "value"))),
        ("connect", BODY, 502, &|| world.connect.faults().fail_all(500), &|| world.connect.faults().clear()),
        ("refused", BODY, 502, &|| world.telegram.faults().status("sendMessage", 400, 1), &|| {}),
        ("lost", BODY, 502, &|| world.telegram.faults().drop_answer("sendMessage", 1), &|| {}),
    ];
    for (key, body, status, fail, mend) in failures {
        fail();
        assert_eq!(post(&world.http, key, body).await.status, status, "{key}");
        mend();
        let first = post(&world.http, key, body).await;
        assert_eq!(first.status, 202, "{key}: {first:?}");
        assert_accepted_like(&post(&world.http, key, body).await, &first);
        world.approve_and_redeem(&world.asked(&first)).await;
    }

    // who waits for a call that fails hears of it, and does not try on their own
    world.telegram.clear_calls();
    world.telegram.faults().set("sendMessage", Fault::Delay(Duration::from_secs(2)), Times::Next(1));
    world.telegram.faults().status("sendMessage", 400, 1);
    let mut calls = JoinSet::new();
    for _ in 0..20 {
        let http = world.http.clone();
        calls.spawn(async move { post(&http, "together", BODY).await });
    }
    for answer in calls.join_all().await {
        assert_eq!((answer.status, answer.code()), (502, "notification_failed"), "{answer:?}");
    }
    assert_eq!(world.telegram_calls("sendMessage"), 1);
    // with another body, too: nothing is left
    assert_eq!(post(&world.http, "together", r#"{"secret_name":"db"}"#).await.status, 202);
}

#[tokio::test]
async fn keys_have_a_form() {
    let world = World::start().await;
    let bytes = |length: usize| "k".repeat(length).into_bytes();
    for bad in [
        Vec::new(),
        b"a b and fifteen more".to_vec(),
        b"a\tb and fifteen more".to_vec(),
        "ein langer schlüssel".into(),
        b"\xff and fifteen more".to_vec(),
        bytes(256),
        bytes(9000),
    ] {
        let value = HeaderValue::from_bytes(&bad).unwrap();
        let call = world.http.call(Method::POST, "/request").header("Idempotency-Key", value);
        let answer = world.http.send(call.body(BODY)).await;
        assert_eq!((answer.status, answer.code()), (400, "invalid_idempotency_key"), "{bad:?}: {answer:?}");
    }
    let key = long("k");
    let twice =
        world.http.call(Method::POST, "/request").header("Idempotency-Key", &key).header("idempotency-key", &key);
    let answer = world.http.send(twice.body(BODY)).await;
    assert_eq!((answer.status, answer.code()), (400, "invalid_idempotency_key"), "{answer:?}");
    assert!(world.telegram.messages().is_empty());

    let good =
        ["!".repeat(16), "~".repeat(16), "k".repeat(255), format!("\"{key}\""), "a,b;c=d,e;f=g,h;i=j".to_owned()];
    for (number, good) in good.iter().enumerate() {
        let first = post_raw(&world.http, good, BODY).await;
        assert_accepted_like(&post_raw(&world.http, good, BODY).await, &first);
        assert_eq!(world.telegram.messages().len(), number + 1, "{good}");
    }
    let header = &Server::openapi()["paths"]["/request"]["post"]["parameters"][0];
    assert_eq!((&header["name"], &header["in"]), (&json!("Idempotency-Key"), &json!("header")));
    assert_eq!((&header["schema"]["minLength"], &header["schema"]["maxLength"]), (&json!(16), &json!(255)));
    assert_eq!(header["required"], json!(false));
}

/// Whoever has the same address could otherwise try the names that people give to such calls.
#[tokio::test]
async fn without_an_api_key_a_key_that_is_easily_guessed_is_refused() {
    let world = World::start().await;
    for short in ["k", "deploy-42", &"k".repeat(15)] {
        for _ in 0..2 {
            let answer = post_raw(&world.http, short, BODY).await;
            assert_eq!((answer.status, answer.code()), (400, "invalid_idempotency_key"), "{short}: {answer:?}");
            let why = answer.body["message"].as_str().unwrap();
            assert!(why.contains("16 characters") && why.contains("guesses"), "{why}");
        }
    }
    assert!(world.telegram.messages().is_empty());
}

#[tokio::test]
async fn a_call_sent_again_counts_neither_as_a_call_nor_as_a_question() {
    let world = World::with(|env| {
        env.insert("MAX_REQUESTS_PER_MINUTE".into(), "3".into());
        env.insert("MAX_PENDING_PER_REQUESTER".into(), "1".into());
    })
    .await;
    let first = post(&world.http, "k1", BODY).await;
    for _ in 0..10 {
        assert_accepted_like(&post(&world.http, "k1", BODY).await, &first);
    }
    assert_eq!(post(&world.http, "k2", BODY).await.status, 429);
    assert_eq!(world.withdraw(&world.asked(&first)).await.status, 204);
    // what was refused is asked when there is room
    let second = post(&world.http, "k2", BODY).await;
    assert_eq!(second.status, 202, "{second:?}");
    // the three are used up, by whoever is at this address: with a key, without, with another body
    for key in [Some("k3"), None] {
        let call = world.http.call(Method::POST, "/request");
        let call = key.into_iter().fold(call, |call, key| call.header("Idempotency-Key", long(key)));
        let refused = world.http.send(call.body(BODY)).await;
        assert_eq!((refused.status, refused.code()), (429, "too_many_requests"), "{refused:?}");
    }
    assert_accepted_like(&post(&world.http, "k1", BODY).await, &first);
    assert_accepted_like(&post(&world.http, "k2", BODY).await, &second);
    assert_eq!(post(&world.http, "k1", r#"{"secret_name":"db"}"#).await.status, 409);
    assert_eq!(world.telegram.messages().len(), 2);
}

#[tokio::test]
async fn a_key_outlives_what_the_gate_knows_of_its_request() {
    let (connect, telegram) = (ConnectDouble::start().await.unwrap(), TelegramDouble::start().await.unwrap());
    let vault = connect.add_vault("", "infra");
    connect.add_item(&vault, login("db", PASSWORD));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let http = Http::new(&format!("http://{}", listener.local_addr().unwrap()));
    let backend = OnePassword::builder(connect.url(), SecretValue::new(connect.token())).build().unwrap();
    let human = TelegramApprover::builder(SecretValue::new(telegram.token()), ANN).api_url(telegram.url());
    let clock = Arc::new(ManualClock::new());
    let gate =
        Gate::builder(Arc::new(backend), Arc::new(human.start().unwrap())).clock(Arc::clone(&clock) as _).build();
    let server = Server::new(gate, "https://gate.example").cleanup_interval(Duration::from_millis(20));
    let serving = tokio::spawn(server.serve(listener, std::future::pending()));

    let first = post(&http, "k", BODY).await;
    assert_eq!(first.status, 202, "{first:?}");
    let status = format!("/status/{}", first.body["token"].as_str().unwrap());
    telegram.press(telegram.messages()[0].message_id, "Deny", ANN).await.unwrap();
    assert_eq!(http.get(&format!("{status}?wait=30s")).await.body["status"], "denied");
    assert_accepted_like(&post(&http, "k", BODY).await, &first);

    clock.advance(Duration::from_secs(61));
    let forgotten = async {
        while http.get(&status).await.status != 404 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, forgotten).await.unwrap();
    assert_accepted_like(&post(&http, "k", BODY).await, &first);
    assert_eq!(post(&http, "k", r#"{"secret_name":"db"}"#).await.status, 409);
    assert_eq!(telegram.messages().len(), 1);
    serving.abort();
}
