//! Who asks: keys, what a broker's word is worth, and limits that no header evades.

mod support;

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
