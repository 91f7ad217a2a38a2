//! The main job: asked, seen, approved, released, once; with our own client, and as older clients put it.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests fail the test that calls them"
)]

mod support;

use std::path::Path;

use reqwest::Method;
use serde_json::{Value, json};

use support::{ANN, Http, PASSWORD, World, run_client, spawn_client};

#[tokio::test]
async fn the_client_prints_the_value_and_nothing_else() {
    let world = World::start().await;
    let url = world.server.url.as_str();
    let client = spawn_client(&["--server", url, "--secret", "db", "--reason", "migrate the orders table"]);
    let message = world.telegram.wait_message(|message| message.plain.contains("db")).await.unwrap();
    for part in [
        "Secret: db · vault infra · password",
        "Use: receives the value",
        "Asked by: unauthenticated · 127.0.0.1",
        "Reason: migrate the orders table",
    ] {
        assert!(message.plain.lines().any(|line| line.starts_with(part)), "no line \"{part}\" in:\n{}", message.plain);
    }
    let labels: Vec<_> = message.keyboard.iter().flatten().map(|button| button.text.as_str()).collect();
    assert_eq!(labels, ["✅ Approve", "❌ Deny"]);

    let press = world.telegram.press(message.message_id, "Approve", ANN).await.unwrap();
    assert_eq!(world.told(&press).await, "Approved");
    let ended = client.ended().await;
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), format!("{PASSWORD}\n").as_str()), "{ended:?}");
    assert!(!ended.stderr.contains(PASSWORD), "{}", ended.stderr);
    let edited = world.telegram.wait_edit(message.message_id, |message| message.plain.contains("Released")).await;
    let edited = edited.unwrap();
    assert!(edited.plain.contains("Released, approved by Ann (42)") && edited.keyboard.is_empty(), "{edited:?}");
    assert!(
        edited.plain.starts_with(message.plain.trim_end()),
        "what was asked is still to be read:\n{}",
        edited.plain
    );
}

#[tokio::test]
async fn a_no_is_exit_code_3_with_nothing_on_stdout() {
    let world = World::start().await;
    let client = spawn_client(&["--server", &world.server.url, "--secret", "db", "--reason", "because"]);
    let message = world.telegram.wait_message(|message| message.plain.contains("db")).await.unwrap();
    world.telegram.press(message.message_id, "Deny", ANN).await.unwrap();
    let ended = client.ended().await;
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(3), ""), "{ended:?}");
    assert_eq!(world.item_reads(), 1, "read when it was asked for, and not again");
}

#[tokio::test]
async fn the_client_tells_its_ends_apart() {
    let world = World::with(|env| drop(env.insert("REQUEST_TTL".into(), "1s".into()))).await;
    let url = world.server.url.as_str();
    world.add_item("db-two", "x-x-x-x");
    world.add_item("db-three", "x-x-x-x");
    for (args, code) in [
        (vec!["--server", url, "--secret", "db"], 4),
        (vec!["--server", url, "--secret", "nothing like it"], 5),
        (vec!["--server", url, "--secret", "db-t"], 5),
        (vec!["--server", "http://127.0.0.1:1", "--secret", "db"], 6),
    ] {
        let ended = run_client(&args).await;
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(code), ""), "{args:?}: {ended:?}");
    }
    let found = run_client(&["--server", url, "--search", "db", "--format", "json"]).await;
    let found: Value = serde_json::from_str(&found.stdout).unwrap();
    assert_eq!(found["results"][0]["secret_name"], "db");
    let fields = run_client(&["--server", url, "--secret", "db", "--fields"]).await;
    assert_eq!((fields.code, fields.stdout.as_str()), (Some(0), "password  CONCEALED\n"));
}

/// What the payloads are about.
fn furnish(world: &World) {
    let infrastructure = world.connect.add_vault("", "Infrastructure");
    let accounts = world.connect.add_vault("", "Accounts");
    let field = |id: &str, kind: &str, value: &str| json!({"id": id, "type": kind, "label": id, "value": value});
    let fields = json!([field("username", "STRING", "orders"), field("password", "CONCEALED", "hunter2-hunter2")]);
    let database = json!({"title": "database-credentials", "category": "DATABASE", "fields": fields});
    let fields = json!([field("credential", "CONCEALED", "key-0123456789")]);
    let key = json!({"title": "api key", "category": "API_CREDENTIAL", "fields": fields});
    world.connect.add_item(&infrastructure, database);
    world.connect.add_item(&infrastructure, key);
    world.connect.add_item(
        &accounts,
        json!({"title": "mail", "category": "LOGIN", "sections": [{"id": "s1", "label": "Old"}], "fields": [
            field("password", "CONCEALED", "first"),
            {"id": "p2", "type": "CONCEALED", "label": "password", "section": {"id": "s1"}, "value": "second"},
            {"id": "notesPlain", "type": "STRING", "value": "a note"},
            {"id": "otp", "type": "OTP", "label": "one-time password", "totp": "492039",
             "value": "otpauth://totp/x?secret=JBSWY3DPEHPK3PXP"},
        ]}),
    );
}

#[tokio::test]
async fn stored_payloads_of_older_clients_still_work() {
    let world = World::start().await;
    furnish(&world);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/payloads");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let payload: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        for content_type in [None, Some("application/json"), Some("application/x-www-form-urlencoded")] {
            play(&world, &payload, content_type, &path.display().to_string()).await;
        }
        count += 1;
    }
    assert!(count >= 6, "only {count} payloads");
}

async fn play(world: &World, payload: &Value, content_type: Option<&str>, name: &str) {
    let text = |member: &str| payload[member].as_str().unwrap().to_owned();
    let mut call = world.http.call(Method::POST, &text("ask")).body(text("body"));
    if let Some(content_type) = content_type {
        call = call.header("content-type", content_type);
    }
    let answer = world.http.send(call).await;
    assert_eq!(u64::from(answer.status), payload["status"].as_u64().unwrap(), "{name}: {answer:?}");
    assert_eq!(answer.header("content-type"), "application/json", "{name}");
    assert_like(&payload["answer"], &answer.body, name);
    let Some(released) = payload.get("released") else { return };

    let asked = world.asked(&answer);
    assert_eq!(answer.body["status_url"], json!(format!("https://gate.example/status/{}", asked.token)), "{name}");
    assert_like(&payload["pending"], &world.status(&asked).await, name);
    assert_eq!(world.secret(&asked).await.status, 403, "{name}");
    assert_eq!(world.tap(&asked, "Approve").await, "Approved", "{name}");
    let approved = world.decision(&asked).await;
    assert_like(&payload["approved"], &approved, name);
    assert_eq!(approved["secret_url"], json!(format!("https://gate.example/secret/{}", asked.token)), "{name}");
    // here nothing may be added: every value was approved
    assert_eq!(world.redeem(&asked).await, *released, "{name}");
}

/// Every member expected is there, and means the same; others may have come since.
#[track_caller]
fn assert_like(expected: &Value, found: &Value, name: &str) {
    match (expected, found) {
        (Value::Object(expected), Value::Object(found)) => {
            for (member, value) in expected {
                let of = found.get(member).unwrap_or_else(|| panic!("{name}: no {member} in {found:?}"));
                assert_like(value, of, &format!("{name}: {member}"));
            }
        }
        (Value::Array(expected), Value::Array(found)) => {
            assert_eq!(expected.len(), found.len(), "{name}: {found:?}");
            expected.iter().zip(found).for_each(|(expected, found)| assert_like(expected, found, name));
        }
        (Value::String(form), Value::String(text)) if form.starts_with('<') => {
            let fits = match form.as_str() {
                "<text>" => !text.is_empty(),
                "<url>" => text.starts_with("https://gate.example/"),
                "<time>" => text.len() == "2026-01-01T00:00:00Z".len() && text.ends_with('Z') && &text[10..11] == "T",
                other => panic!("{name}: what is {other}?"),
            };
            assert!(fits, "{name}: {text:?} is no {form}");
        }
        (expected, found) => assert_eq!(expected, found, "{name}"),
    }
}

#[tokio::test]
async fn the_members_of_old_answers_have_their_old_types() {
    let world = World::start().await;
    let answer = world.http.post("/request", &json!({"secret_name": "db"})).await;
    let members = answer.body.as_object().unwrap();
    for member in ["token", "request_id", "status_url", "expires_at", "message"] {
        assert!(members[member].is_string(), "{member}: {members:?}");
    }
    let token = members["token"].as_str().unwrap();
    assert!(token.len() == 64 && token.bytes().all(|byte| byte.is_ascii_hexdigit()), "256 bits: {token}");
    let search = Http::new(&world.server.url).post("/search", &json!({"query": "d", "limit": -5})).await;
    assert!(search.body["results"][0]["score"].is_f64(), "{search:?}");
    for (path, body, status, code) in [
        ("/search", json!({"query": ""}), 400, "missing_query"),
        ("/search", json!({}), 400, "missing_query"),
        ("/request", json!({}), 400, "missing_fields"),
        ("/fields", json!({}), 400, "missing_fields"),
        ("/fields", json!({"secret_name": "nope"}), 404, "not_found"),
        ("/request", json!({"secret_name": "nope"}), 404, "not_found"),
        ("/request", json!({"secret_name": "db", "fields": ["user"]}), 400, "unknown_field"),
    ] {
        let answer = world.http.post(path, &body).await;
        assert_eq!((answer.status, answer.code()), (status, code), "{path} {body}: {answer:?}");
        assert!(answer.body["message"].is_string(), "{answer:?}");
    }
}
