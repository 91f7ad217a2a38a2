//! Once, and only with a yes: whatever is tried, nothing is released without one, and nothing is spent by trying.
#![expect(clippy::indexing_slicing, reason = "helpers of tests fail the test that calls them")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use reqwest::Method;
use secret_gate_doubles::telegram::{ChatKind, RawPress, User};
use serde_json::json;
use tokio::sync::Barrier;

use support::{ANN, Asked, PASSWORD, World, button, misconfigured, press, wire, working};

/// Expects that the request stands like this, and that nothing was ever read for it.
async fn assert_refused(world: &World, asked: &Asked, status: &str) {
    assert_eq!(world.status(asked).await["status"], status);
    let reads = world.item_reads();
    let answer = world.secret(asked).await;
    assert_eq!((answer.status, answer.code()), (403, "not_approved"), "{answer:?}");
    assert!(!answer.text.contains(PASSWORD));
    assert_eq!(world.item_reads(), reads, "an item was read for a request without a yes");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_200_racing_fetches_exactly_one_gets_the_value() {
    let world = World::start().await;
    let asked = world.ask_for_db().await;
    assert_eq!(world.tap(&asked, "Approve").await, "Approved");
    world.connect.clear_calls();
    // the release takes long enough for all to arrive while it is under way
    world.connect.faults().latency(Duration::from_millis(300));
    let together = Arc::new(Barrier::new(200));
    let races: Vec<_> = (0..200)
        .map(|_| {
            let (http, path, together) =
                (world.http.clone(), format!("/secret/{}", asked.token), Arc::clone(&together));
            tokio::spawn(async move {
                together.wait().await;
                http.get(&path).await
            })
        })
        .collect();
    let mut statuses = Vec::new();
    for race in races {
        let answer = race.await.unwrap();
        assert_eq!(answer.text.contains(PASSWORD), answer.status == 200, "{answer:?}");
        assert_eq!(answer.header("cache-control"), "no-store");
        statuses.push(answer.status);
    }
    let count = |wanted| statuses.iter().filter(|status| **status == wanted).count();
    assert_eq!((count(200), count(410)), (1, 199), "{statuses:?}");
    assert_eq!(world.item_reads(), 1);
    let status = world.status(&asked).await;
    assert_eq!((&status["status"], &status["ended"]), (&json!("approved"), &json!("released")));
    assert!(status.get("secret_url").is_none());
}

#[tokio::test]
async fn nothing_before_the_decision_and_nothing_after_a_no() {
    let world = World::start().await;
    let asked = world.ask_for_db().await;
    assert_refused(&world, &asked, "pending").await;
    let approve = button(&asked.message, "Approve");
    assert_eq!(world.tap(&asked, "Deny").await, "Denied");
    assert_refused(&world, &asked, "denied").await;
    world.telegram.wait_edit(asked.message.message_id, |message| message.plain.contains("Denied by")).await.unwrap();
    let told = world.tap_raw(press(&asked.message, &approve)).await;
    assert!(told.starts_with("Already decided by Ann") && told.ends_with("denied"), "{told}");
    assert_refused(&world, &asked, "denied").await;
}

#[tokio::test]
async fn nothing_after_expiry_whether_or_not_it_was_approved() {
    let world = World::with(|env| drop(env.insert("REQUEST_TTL".into(), "2s".into()))).await;
    let (silent, late) = (world.ask_for_db().await, world.ask_for_db().await);
    assert_eq!(world.tap(&late, "Approve").await, "Approved");
    assert_eq!(world.decision(&silent).await["status"], "expired");
    let edited = world.telegram.wait_edit(silent.message.message_id, |message| message.plain.contains("Expired")).await;
    assert!(edited.unwrap().keyboard.is_empty());
    let unused = |message: &secret_gate_doubles::telegram::Message| message.plain.contains("although approved by");
    world.telegram.wait_edit(late.message.message_id, unused).await.unwrap();
    for (asked, answer) in [(&silent, "expired"), (&late, "not used in time")] {
        assert_refused(&world, asked, "expired").await;
        let told = world.tap_raw(press(&asked.message, &button(&asked.message, "Approve"))).await;
        assert!(told.contains(answer), "{told}");
        assert_refused(&world, asked, "expired").await;
    }
}

#[tokio::test]
async fn nothing_after_withdrawal_and_revocation() {
    let world = World::start().await;
    let (pending, approved) = (world.ask_for_db().await, world.ask_for_db().await);
    assert_eq!(world.tap(&approved, "Approve").await, "Approved");
    for asked in [&pending, &approved] {
        assert_eq!(world.withdraw(asked).await.status, 204);
    }
    assert_eq!(world.status(&pending).await["ended"], "withdrawn");
    assert_eq!(world.status(&approved).await["ended"], "revoked");
    let said = |asked: &Asked, words: &'static str| {
        let (telegram, id) = (&world.telegram, asked.message.message_id);
        async move { telegram.wait_edit(id, |message| message.plain.contains(words)).await.unwrap() }
    };
    said(&pending, "Withdrawn by the requester").await;
    said(&approved, "Revoked, had been approved by").await;
    let told = world.tap_raw(press(&pending.message, &button(&pending.message, "Approve"))).await;
    assert!(told.contains("took this question back"), "{told}");
    let told = world.tap_raw(press(&approved.message, &button(&approved.message, "Approve"))).await;
    assert!(told.contains("revoked since"), "{told}");
    assert_refused(&world, &pending, "expired").await;
    assert_refused(&world, &approved, "denied").await;
}

#[tokio::test]
async fn a_press_counts_only_where_and_by_whom_it_should() {
    let world = World::with(|env| drop(env.insert("TELEGRAM_APPROVER_IDS".into(), "42, 44".into()))).await;
    let group = -100_777;
    world.telegram.add_chat(ChatKind::Supergroup, group);
    let (asked, other) = (world.ask_for_db().await, world.ask_for_db().await);
    let yes = button(&asked.message, "Approve");
    let (chat, id, ann) = (asked.message.chat_id, asked.message.message_id, User::new(ANN, "Ann"));

    let mut no_message = press(&asked.message, &yes);
    no_message.with_message = false;
    let mut no_data = press(&asked.message, &yes);
    no_data.data = None;
    let stranger = User::new(43, "Ann").with_username("ann");
    let tries = [
        ("another chat", RawPress::new(group, id, &yes, ann.clone()), "not decided in this chat"),
        ("no message", no_message, "not decided in this chat"),
        ("another user", RawPress::new(chat, id, &yes, stranger), "not among the approvers"),
        ("a user in another chat", RawPress::new(43, id, &yes, User::new(43, "Bob")), "not decided in this chat"),
        ("another message", RawPress::new(chat, other.message.message_id, &yes, ann.clone()), "another message"),
        ("no such message", RawPress::new(chat, 999_999, &yes, ann.clone()), "another message"),
        ("no data", no_data, "means nothing"),
        ("a button that is not there", press(&asked.message, &yes.replace("approve", "8h")), "no such button"),
        ("a button that is not there", press(&asked.message, &yes.replace("approve", "once")), "no such button"),
        ("a made-up action", press(&asked.message, &yes.replace("approve", "Approve")), "means nothing"),
        ("a made-up request", press(&asked.message, "approve:ffffffffffffffff"), "no such button"),
        ("the token", press(&asked.message, &format!("approve:{}", asked.token)), "no such button"),
        ("nothing named", press(&asked.message, "approve:"), "no such button"),
    ];
    for (what, raw, reply) in tries {
        let told = world.tap_raw(raw).await;
        assert!(told.contains(reply), "{what}: {told}");
        assert_refused(&world, &asked, "pending").await;
        assert_refused(&world, &other, "pending").await;
    }
    assert!(!asked.message.keyboard.iter().flatten().any(|button| button.data.contains(&asked.token)));
    // what was tried has harmed nothing: the message still has its buttons, and the right press still counts
    let body = world.approve_and_redeem(&asked).await;
    assert_eq!(body, json!({"secret": {"password": PASSWORD}}));
    assert_refused(&world, &other, "pending").await;
}

#[tokio::test]
async fn the_second_press_changes_nothing() {
    let world = World::start().await;
    let asked = world.ask_for_db().await;
    let (yes, no) = (button(&asked.message, "Approve"), button(&asked.message, "Deny"));
    assert_eq!(world.tap(&asked, "Approve").await, "Approved");
    for data in [&no, &yes] {
        let told = world.tap_raw(press(&asked.message, data)).await;
        assert!(told.starts_with("Already decided by Ann (42): approved"), "{told}");
    }
    assert_eq!(world.status(&asked).await["status"], "approved");
    world.redeem(&asked).await;
    assert!(world.tap_raw(press(&asked.message, &yes)).await.starts_with("Already decided"));
    let again = world.secret(&asked).await;
    assert_eq!((again.status, again.code()), (410, "already_used"));
}

#[tokio::test]
async fn head_is_refused_and_spends_nothing() {
    let world = World::start().await;
    let asked = world.ask_for_db().await;
    assert_eq!(world.tap(&asked, "Approve").await, "Approved");
    for path in [format!("/secret/{}", asked.token), format!("/status/{}", asked.token)] {
        for method in [Method::HEAD, Method::OPTIONS, Method::POST, Method::PUT] {
            let answer = world.http.send(world.http.call(method.clone(), &path)).await;
            assert_eq!(answer.status, 405, "{method}: {answer:?}");
            if method != Method::HEAD {
                assert_eq!(answer.code(), "method_not_allowed", "{method}");
            }
        }
    }
    world.redeem(&asked).await;
}

#[tokio::test]
async fn a_client_that_goes_away_during_the_release_leaves_the_token_unspent() {
    let world = World::start().await;
    let asked = world.ask_for_db().await;
    assert_eq!(world.tap(&asked, "Approve").await, "Approved");
    world.connect.clear_calls();
    world.connect.faults().hang(Duration::from_millis(1500));
    let gone = wire(&world.server.url, &format!("/secret/{}", asked.token)).await;
    world.connect.wait_call(|call| support::is_item(&call.path)).await.unwrap();
    drop(gone);
    // this one waits for the first to settle, and then gets what the first has left
    world.redeem(&asked).await;
    assert_eq!(world.item_reads(), 2);
}

#[tokio::test]
async fn a_fetch_that_waits_for_a_release_can_go_away_too() {
    let world = World::start().await;
    let asked = world.ask_for_db().await;
    assert_eq!(world.tap(&asked, "Approve").await, "Approved");
    world.connect.faults().hang(Duration::from_secs(1));
    world.connect.clear_calls();
    let path = format!("/secret/{}", asked.token);
    let first = world.http.get(&path);
    let waits = async {
        world.connect.wait_call(|call| support::is_item(&call.path)).await.unwrap();
        drop(wire(&world.server.url, &path).await);
        // a withdrawal waits as well, and then takes back what was released
        world.withdraw(&asked).await
    };
    let (first, withdrawn) = tokio::join!(first, waits);
    assert_eq!((first.status, withdrawn.status), (200, 204));
    assert_eq!(world.status(&asked).await["ended"], "revoked");
    assert_refused(&world, &asked, "denied").await;
}

#[tokio::test]
async fn a_caller_who_goes_away_while_asking_leaves_no_open_question() {
    let world = World::start().await;
    world.telegram.faults().slow_answer("sendMessage", Duration::from_secs(1), 1);
    let body = json!({"secret_name": "db"});
    let mut call = Box::pin(world.http.post("/request", &body));
    let message = tokio::select! {
        answer = &mut call => panic!("answered before Telegram did: {answer:?}"),
        message = world.telegram.wait_message(|_| true) => message.expect("the message"),
    };
    drop(call);
    let withdrawn = world.telegram.wait_edit(message.message_id, |message| message.plain.contains("Withdrawn")).await;
    assert!(withdrawn.unwrap().keyboard.is_empty());
    assert_eq!(world.open_requests().await, 0);
}

#[tokio::test]
async fn what_happens_is_written_down_and_what_can_not_be_is_not_even_asked() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let world = World::with(|env| drop(env.insert("AUDIT_LOG".into(), path.to_str().unwrap().into()))).await;
    let asked = world.ask_for_db().await;
    world.approve_and_redeem(&asked).await;
    let lines = std::fs::read_to_string(&path).unwrap();
    let events: Vec<_> = lines
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["event"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(events, ["asked", "approved", "released"]);
    assert!(lines.contains(&asked.request_id) && !lines.contains(&asked.token) && !lines.contains(PASSWORD));

    // what can't keep a line is refused from the start
    let mut env = working(&world.connect, &world.telegram);
    env.extend([("AUDIT_LOG".into(), "/dev/full".into()), ("PORT".into(), "0".into())]);
    let ended = misconfigured(&env).await;
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("AUDIT_LOG (/dev/full) can't be opened for writing: it is not a regular file"));
}

#[tokio::test]
async fn a_press_that_overtakes_telegrams_answer_counts() {
    let world = World::start().await;
    world.telegram.faults().slow_answer("sendMessage", Duration::from_secs(1), 1);
    let body = json!({"secret_name": "db"});
    let quick = async {
        let message = world.telegram.wait_message(|_| true).await.unwrap();
        world.telegram.press(message.message_id, "Approve", ANN).await.unwrap()
    };
    let (answer, press) = tokio::join!(world.http.post("/request", &body), quick);
    assert_eq!(world.told(&press).await, "Approved");
    let asked = world.asked(&answer);
    assert_eq!(world.decision(&asked).await["status"], "approved");
    world.redeem(&asked).await;
}
