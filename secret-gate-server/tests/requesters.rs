//! Who asks: keys, what a broker's word is worth, and limits that no header evades.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test that calls them")]

mod support;

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use support::{Answer, PASSWORD, World};

async fn post(world: &World, path: &str, key: Option<&str>, body: &Value) -> Answer {
    let mut call = world.http.call(Method::POST, path).body(body.to_string());
    if let Some(key) = key {
        call = call.header("authorization", format!("Bearer {key}"));
    }
    world.http.send(call).await
}

fn line(name: &str, key: &str, rest: &str) -> String {
    format!("{name} {}{rest}\n", hex::encode(Sha256::digest(key)))
}

#[tokio::test]
async fn with_a_keys_file_only_its_keys_may_ask_and_the_message_names_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys");
    std::fs::write(&path, line("ci-runner", "key-one", "") + &line("build-vm-3", "key-two", " broker")).unwrap();
    let world = World::with(|env| drop(env.insert("API_KEYS_FILE".into(), path.to_str().unwrap().into()))).await;
    let db = json!({"secret_name": "db", "query": "db", "tokens": ["00"]});
    for path in ["/request", "/search", "/fields"] {
        for key in [None, Some("key-three"), Some(""), Some("ci-runner")] {
            let answer = post(&world, path, key, &db).await;
            assert_eq!((answer.status, answer.code()), (401, "unauthorized"), "{path}: {answer:?}");
        }
    }
    // what goes by the token needs no key
    assert_eq!(post(&world, "/watch", None, &db).await.status, 200);

    let any = json!({"secret_name": "db", "use": {"exec": "any"}, "duration": "2h"});
    let asked = world.asked(&post(&world, "/request", Some("key-one"), &any).await);
    let says = "Use: receives the value (says: run any command)";
    assert!(asked.message.plain.contains(says), "{}", asked.message.plain);
    assert!(asked.message.plain.contains("Asked by: ci-runner · 127.0.0.1"), "{}", asked.message.plain);
    let labels: Vec<_> = asked.message.keyboard.iter().flatten().map(|button| button.text.as_str()).collect();
    assert_eq!(labels, ["✅ Approve 2 h", "Once", "8 h", "❌ Deny"]);
    assert_eq!(world.tap(&asked, "Once").await, "Approved");
    let released = world.redeem(&asked).await;
    assert_eq!(released["secret"], json!({"password": PASSWORD}));
    let ids = [&released["items"][0]["vault_id"], &released["items"][0]["item_id"]];
    assert_eq!(ids, [&json!(world.vault), &json!(world.db)], "whoever holds it is told what it is");
    assert_eq!(released["items"][0]["fields"], json!([{"label": "password", "type": "CONCEALED"}]));
    assert_eq!((&released["grant"]["once"], &released["grant"]["use"]["exec"]), (&json!(true), &json!("any")));

    let asked = world.asked(&post(&world, "/request", Some("key-two"), &any).await);
    assert!(asked.message.plain.contains("Use: run any command\n"), "{}", asked.message.plain);
    assert!(asked.message.plain.contains("Asked by: build-vm-3 (broker)"), "{}", asked.message.plain);
    assert!(!asked.message.plain.contains("receives the value"), "{}", asked.message.plain);

    // revoked by editing the file, without a restart
    std::fs::write(&path, line("build-vm-3", "key-two", " broker")).unwrap();
    assert_eq!(post(&world, "/search", Some("key-one"), &db).await.status, 401);
    assert_eq!(post(&world, "/search", Some("key-two"), &db).await.status, 200);
}

#[tokio::test]
async fn what_was_asked_with_a_revoked_key_is_taken_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys");
    std::fs::write(&path, line("ci", "key-one", "") + &line("vm", "key-two", "")).unwrap();
    let world = World::with(|env| drop(env.insert("API_KEYS_FILE".into(), path.to_str().unwrap().into()))).await;
    let db = json!({"secret_name": "db"});
    let ask = async |key| world.asked(&post(&world, "/request", Some(key), &db).await);
    let (pending, approved, other) = (ask("key-one").await, ask("key-one").await, ask("key-two").await);
    assert_eq!(world.tap(&approved, "Approve").await, "Approved");

    // nobody calls; a slip of the pen takes nothing back, and hides nothing once it is mended
    std::fs::write(&path, "vm half a li").unwrap();
    world.server.line(|line| line.contains("nobody is let in")).await;
    assert_eq!(world.status(&pending).await["status"], "pending");
    std::fs::write(&path, line("vm", "key-two", "")).unwrap();
    assert_eq!(world.decision(&pending).await["ended"], "withdrawn");
    world.server.line(|line| line.contains("took back")).await;
    assert_eq!(world.status(&approved).await["ended"], "revoked");
    assert_eq!(world.secret(&approved).await.status, 403);
    assert_eq!(world.status(&other).await["status"], "pending");

    // another key under the same name
    std::fs::write(&path, line("vm", "key-three", "")).unwrap();
    assert_eq!(world.decision(&other).await["ended"], "withdrawn");
}

#[tokio::test]
async fn limits_hold_whatever_a_requester_says_of_itself() {
    let world = World::with(|env| {
        env.insert("MAX_REQUESTS_PER_MINUTE".into(), "3".into());
        env.insert("MAX_LOOKUPS_PER_MINUTE".into(), "3".into());
    })
    .await;
    for path in ["/request", "/search"] {
        let mut refused = 0;
        for number in 0..6 {
            let body = json!({"secret_name": "db", "query": "db", "machine": format!("m{number}"), "agent": number.to_string()});
            let call = world.http.call(Method::POST, path).header("x-forwarded-for", format!("10.0.0.{number}"));
            let answer = world.http.send(call.body(body.to_string())).await;
            if answer.status == 429 {
                refused += 1;
                assert_eq!(answer.code(), "too_many_requests");
                let wait: u64 = answer.header("retry-after").parse().unwrap();
                assert!((1..=60).contains(&wait), "{wait}");
            }
        }
        assert_eq!(refused, 3, "{path}");
    }
    assert_eq!(world.telegram.messages().len(), 3);
}

#[tokio::test]
async fn a_phone_is_not_flooded_with_questions() {
    let world = World::with(|env| drop(env.insert("MAX_PENDING_PER_REQUESTER".into(), "2".into()))).await;
    let (first, second) = (world.ask_for_db().await, world.ask_for_db().await);
    let one_more = || async { world.http.post("/request", &json!({"secret_name": "db"})).await };
    let refused = one_more().await;
    assert_eq!((refused.status, refused.code()), (429, "too_many_requests"), "{refused:?}");
    assert_eq!(refused.header("retry-after"), "30");
    // what is answered does not count, whether it was fetched or not
    assert_eq!(world.tap(&first, "Approve").await, "Approved");
    assert_eq!(one_more().await.status, 202);
    assert_eq!(one_more().await.status, 429);
    world.redeem(&first).await;
    assert_eq!(world.withdraw(&second).await.status, 204);
    assert_eq!(one_more().await.status, 202);
    assert_eq!(one_more().await.status, 429);
    assert_eq!(world.open_requests().await, 2);
}

/// The seconds after which a refused call may come again.
fn retry_after(refused: &Answer) -> u64 {
    assert_eq!((refused.status, refused.code()), (429, "too_many_requests"), "{refused:?}");
    refused.header("retry-after").parse().unwrap()
}

#[tokio::test]
async fn who_comes_again_after_the_time_told_is_let_in_and_who_comes_sooner_is_not() {
    let world = World::with(|env| {
        env.insert("MAX_REQUESTS_PER_MINUTE".into(), "60".into());
        env.insert("MAX_LOOKUPS_PER_MINUTE".into(), "60".into());
    })
    .await;
    for path in ["/request", "/fields"] {
        let unknown = json!({"secret_name": "no such thing"});
        let ask = || world.http.post(path, &unknown);
        // one that was refused may be let in at once when a second has gone by since the first; two in a row tell
        let mut in_a_row = Vec::new();
        let mut let_in = 0;
        while in_a_row.len() < 2 {
            let answer = ask().await;
            if answer.status == 429 {
                in_a_row.push(retry_after(&answer));
            } else {
                assert_eq!(answer.status, 404, "{answer:?}");
                let_in += 1;
                in_a_row.clear();
            }
        }
        assert!(let_in >= 60, "{path}: {let_in}");
        assert_eq!(in_a_row, [1, 1], "{path}");
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(ask().await.status, 404, "{path}");
    }
    assert!(world.telegram.messages().is_empty());
}

#[tokio::test]
async fn who_has_too_many_questions_open_is_told_when_the_first_of_them_ends() {
    let world = World::with(|env| {
        env.insert("MAX_PENDING_PER_REQUESTER".into(), "2".into());
        env.insert("REQUEST_TTL".into(), "5s".into());
    })
    .await;
    let first = world.ask_for_db().await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    world.ask_for_db().await;
    let one_more = || async { world.http.post("/request", &json!({"secret_name": "db"})).await };
    let wait = retry_after(&one_more().await);
    assert!((1..=3).contains(&wait), "{wait}: the first has at most 3 s left");
    assert_eq!(world.telegram.messages().len(), 2, "a refusal pings nobody");

    tokio::time::sleep(Duration::from_secs(wait)).await;
    let asked = world.asked(&one_more().await);
    assert_eq!(world.status(&first).await["status"], "expired");
    // the next to end is the second, and not the one that was just asked
    let wait = retry_after(&one_more().await);
    assert!((1..=2).contains(&wait), "{wait}");
    assert_eq!(world.telegram.messages().len(), 3);
    assert_eq!(world.status(&asked).await["status"], "pending");
}
