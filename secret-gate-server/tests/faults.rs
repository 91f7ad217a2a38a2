//! Each fault of the two services costs what it must and no more: no yes is lost, none is invented, and nobody is
//! hammered.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests fail the test that calls them")]

mod support;

use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use secret_gate_doubles::{Fault, Times};
use serde_json::json;
use tokio::task::JoinSet;

use support::{ANN, Asked, World, button, press, server};

type ConnectFault = (&'static str, fn(&World), RangeInclusive<usize>);

/// How each fault of Connect is set, and how many calls one read may cost while it lasts.
const CONNECT: [ConnectFault; 7] = [
    ("status 500", |world| world.connect.faults().fail_all(500), 2..=3),
    ("status 503", |world| world.connect.faults().fail_all(503), 2..=3),
    ("the token is refused", |world| world.connect.faults().fail_all(401), 2..=2),
    ("a login page", |world| world.connect.faults().garbage(200, Times::Always), 1..=3),
    ("a proxy's page", |world| world.connect.faults().garbage(502, Times::Always), 1..=3),
    ("half a body", |world| world.connect.faults().truncate(Times::Always), 2..=3),
    ("resets", |world| world.connect.faults().reset(Times::Always), 2..=3),
];

#[tokio::test(flavor = "multi_thread")]
async fn while_connect_is_broken_nobody_is_asked_and_nothing_is_spent() {
    // each with a server of its own, all at once, since every fault takes its time
    let mut tries = JoinSet::new();
    for (what, fault, calls) in CONNECT {
        tries.spawn(while_connect_is_broken(what, fault, calls));
    }
    while let Some(ended) = tries.join_next().await {
        ended.unwrap();
    }
}

async fn while_connect_is_broken(what: &str, fault: fn(&World), calls: RangeInclusive<usize>) {
    let world = World::start().await;
    let asked = world.ask_for_db().await;
    assert_eq!(world.tap(&asked, "Approve").await, "Approved");
    world.connect.clear_calls();
    fault(&world);
    let answer = world.secret(&asked).await;
    assert_eq!((answer.status, answer.code()), (502, "backend_unavailable"), "{what}: {answer:?}");
    assert!(calls.contains(&world.connect.calls().len()), "{what}: {} calls", world.connect.calls().len());
    assert!(!answer.text.contains(&world.connect.token()) && !answer.text.contains("<html>"), "{answer:?}");

    for (path, body) in [("/request", json!({"secret_name": "db"})), ("/search", json!({"query": "nothing"}))] {
        world.connect.clear_calls();
        let answer = world.http.post(path, &body).await;
        assert_eq!((answer.status, answer.code()), (502, "backend_unavailable"), "{what}: {answer:?}");
        let read = world.connect.calls().len();
        assert!(calls.contains(&read), "{what}, {path}: {read} calls");
    }
    assert_eq!(world.telegram.messages().len(), 1, "{what}: somebody was asked");

    world.connect.faults().clear();
    assert_eq!(world.status(&asked).await["status"], "approved", "{what}");
    world.redeem(&asked).await;
    let asked = world.ask_for_db().await;
    world.approve_and_redeem(&asked).await;
}

#[tokio::test]
async fn faults_of_connect_that_pass_are_not_noticed() {
    let world = World::start().await;
    for fault in
        [Fault::Status(401), Fault::Status(500), Fault::Html(502), Fault::Truncated, Fault::Reset, Fault::Close]
    {
        let once = || world.connect.faults().set(fault.clone(), Times::Next(1));
        once();
        let asked = world.ask_for_db().await;
        assert_eq!(world.tap(&asked, "Approve").await, "Approved");
        world.connect.clear_calls();
        once();
        world.redeem(&asked).await;
        assert_eq!(world.item_reads(), 2, "{fault:?}");
    }
}

#[tokio::test]
async fn a_connect_that_hangs_is_given_up_and_asked_again() {
    let world = World::start().await;
    let asked = world.ask_for_db().await;
    assert_eq!(world.tap(&asked, "Approve").await, "Approved");
    world.connect.clear_calls();
    world.connect.faults().hang(Duration::from_secs(60));
    let started = Instant::now();
    let hanging = world.redeem(&asked);
    // meanwhile everybody else is served
    let others = async {
        world.connect.wait_call(|call| support::is_item(&call.path)).await.unwrap();
        let other = world.ask_for_db().await;
        world.approve_and_redeem(&other).await;
        started.elapsed()
    };
    let (_, others) = tokio::join!(hanging, others);
    assert!(others < Duration::from_secs(5), "{others:?}");
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    assert_eq!(world.item_reads(), 4);
}

#[tokio::test]
async fn a_question_that_reaches_nobody_is_none() {
    let world = World::start().await;
    let faults = world.telegram.faults();
    let broken: [(&str, &dyn Fn()); 7] = [
        ("down", &|| faults.down()),
        ("status 400", &|| faults.status("sendMessage", 400, 1)),
        ("status 403", &|| faults.status("sendMessage", 403, 1)),
        ("a proxy's page", &|| faults.html("sendMessage", 200, 1)),
        ("half an answer", &|| faults.set("sendMessage", Fault::Truncated, Times::Next(1))),
        ("an answer lost", &|| faults.drop_answer("sendMessage", 1)),
        ("a long pause asked for", &|| faults.too_many_requests("sendMessage", 60, 1)),
    ];
    for (what, fault) in broken {
        world.telegram.clear_calls();
        fault();
        let started = Instant::now();
        let answer = world.http.post("/request", &json!({"secret_name": "db"})).await;
        assert_eq!((answer.status, answer.code()), (502, "notification_failed"), "{what}: {answer:?}");
        assert!(answer.body.get("token").is_none() && !answer.text.contains(&world.telegram.token()), "{answer:?}");
        assert!(started.elapsed() < Duration::from_secs(12), "{what}: {:?}", started.elapsed());
        assert_eq!(world.telegram_calls("sendMessage"), 1, "{what}");
        assert_eq!(world.open_requests().await, 0, "{what}");
        faults.clear();
    }
    // a message whose answer was lost stands in the chat; its buttons give nothing, and the press clears it up
    for message in world.telegram.messages() {
        let told = world.tap_raw(press(&message, &button(&message, "Approve"))).await;
        assert!(told.contains("not known any more"), "{told}");
        let cleared = world.telegram.wait_edit(message.message_id, |message| message.plain.contains("No longer open"));
        assert!(cleared.await.unwrap().keyboard.is_empty());
    }
    assert_eq!(world.item_reads(), 7, "one for each question, none for a press");
    let asked = world.ask_for_db().await;
    world.approve_and_redeem(&asked).await;
}

#[tokio::test]
async fn telegram_silent_for_a_question_ends_in_time() {
    let world = World::start().await;
    world.telegram.faults().delay("sendMessage", Duration::from_secs(40), 1);
    let started = Instant::now();
    let slow = world.http.post("/request", &json!({"secret_name": "db"})).await;
    assert_eq!((slow.status, slow.code()), (502, "notification_failed"), "{slow:?}");
    assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());
    assert_eq!(world.open_requests().await, 0);
}

#[tokio::test]
async fn a_press_made_while_telegram_is_away_counts_when_it_is_back() {
    let world = World::start().await;
    let (yes, no) = (world.ask_for_db().await, world.ask_for_db().await);
    world.telegram.faults().down();
    world.telegram.clear_calls();
    world.telegram.press(yes.message.message_id, "Approve", ANN).await.unwrap();
    world.telegram.press(no.message.message_id, "Deny", ANN).await.unwrap();
    let polls = |count: usize| {
        let mut bell = world.telegram.changes();
        let telegram = &world.telegram;
        async move {
            while telegram.calls().iter().filter(|call| call.method == "getUpdates").count() < count {
                bell.changed().await.unwrap();
            }
        }
    };
    let started = Instant::now();
    polls(3).await;
    assert!(started.elapsed() >= Duration::from_millis(500), "three polls in {:?}", started.elapsed());
    assert_eq!(world.status(&yes).await["status"], "pending");
    world.telegram.faults().up();
    assert_eq!(world.decision(&yes).await["status"], "approved");
    assert_eq!(world.decision(&no).await["status"], "denied");
    world.redeem(&yes).await;
    assert!(world.telegram_calls("getUpdates") <= 8, "{}", world.telegram_calls("getUpdates"));
}

async fn decided_in_spite_of(world: &World, what: &str, asked: &Asked) {
    world.telegram.press(asked.message.message_id, "Approve", ANN).await.unwrap();
    assert_eq!(world.decision(asked).await["status"], "approved", "{what}");
    world.redeem(asked).await;
}

#[tokio::test]
async fn faults_of_polling_lose_no_press() {
    let world = World::start().await;
    let faults = world.telegram.faults();
    let broken: [(&str, &dyn Fn()); 6] = [
        ("429", &|| faults.too_many_requests("getUpdates", 1, 1)),
        ("a proxy's page", &|| faults.html("getUpdates", 502, 1)),
        ("half an answer", &|| faults.set("getUpdates", Fault::Truncated, Times::Next(1))),
        ("an answer lost", &|| faults.drop_answer("getUpdates", 1)),
        ("another program polls", &|| faults.conflict(1)),
        ("a webhook is set", &|| faults.set_webhook("https://elsewhere.example/hook")),
    ];
    for (what, fault) in broken {
        let (first, second) = (world.ask_for_db().await, world.ask_for_db().await);
        world.telegram.clear_calls();
        let started = Instant::now();
        fault();
        // the poll under way takes the first press, the next one meets the fault
        decided_in_spite_of(&world, what, &first).await;
        decided_in_spite_of(&world, what, &second).await;
        let (polls, took) = (world.telegram_calls("getUpdates"), started.elapsed());
        assert!(polls <= 8 && took < Duration::from_secs(12), "{what}: {polls} polls in {took:?}");
        faults.clear();
    }
    assert!(world.telegram_calls("deleteWebhook") == 1, "{}", world.telegram_calls("deleteWebhook"));
}

#[tokio::test]
async fn pauses_that_telegram_asks_for_are_kept() {
    let world = World::start().await;
    let faults = world.telegram.faults();
    for method in ["sendMessage", "answerCallbackQuery", "editMessageText"] {
        world.telegram.clear_calls();
        faults.too_many_requests(method, 1, 1);
        let asked = world.ask_for_db().await;
        assert_eq!(world.tap(&asked, "Approve").await, "Approved");
        let shown = world.telegram.wait_edit(asked.message.message_id, |message| message.plain.contains("Approved by"));
        assert!(shown.await.unwrap().keyboard.is_empty());
        let calls: Vec<_> = world.telegram.calls().into_iter().filter(|call| call.method == method).collect();
        assert_eq!(calls.len(), 2, "{method}");
        assert!(calls[1].at - calls[0].at >= Duration::from_millis(990), "{method}");
        world.redeem(&asked).await;
        world.telegram.wait_edit(asked.message.message_id, |message| message.plain.contains("Released")).await.unwrap();
    }
}

#[tokio::test]
async fn one_slow_call_holds_up_nobody_else() {
    let world = World::start().await;
    let faults = world.telegram.faults();
    let slow = Duration::from_secs(4);
    for method in ["sendMessage", "answerCallbackQuery", "editMessageText"] {
        let (first, second) = (world.ask_for_db().await, world.ask_for_db().await);
        world.telegram.clear_calls();
        faults.delay(method, slow, 1);
        let started = Instant::now();
        let held = async {
            match method {
                "sendMessage" => drop(world.ask_for_db().await),
                _ => world.redeem(&first).await["secret"]["password"].as_str().map(drop).unwrap(),
            }
        };
        if method != "sendMessage" {
            world.telegram.press(first.message.message_id, "Approve", ANN).await.unwrap();
            assert_eq!(world.decision(&first).await["status"], "approved");
        }
        let others = async {
            world.telegram.wait_call(|call| call.method == method).await.unwrap();
            decided_in_spite_of(&world, method, &second).await;
            let third = world.ask_for_db().await;
            assert_eq!(world.tap(&third, "Deny").await, "Denied");
            started.elapsed()
        };
        let ((), others) = tokio::join!(held, others);
        assert!(others < Duration::from_secs(2), "{method}: {others:?}");
    }
}

#[tokio::test]
async fn after_a_restart_an_old_button_decides_nothing_and_says_so() {
    let world = World::start().await;
    let asked = world.ask_for_db().await;
    let World { connect, telegram, server: first, .. } = world;
    first.terminate();
    assert_eq!(first.ended().await.code, Some(0));
    // pressed while no server runs
    let press = telegram.press(asked.message.message_id, "Approve", ANN).await.unwrap();
    let second = server(&connect, &telegram, |_| {}).await;
    let told = telegram.wait_answer(&press).await.unwrap();
    assert!(told.text.contains("not known any more"), "{told:?}");
    let edited = telegram.wait_edit(asked.message.message_id, |message| message.plain.contains("No longer open")).await;
    let edited = edited.unwrap();
    assert!(edited.keyboard.is_empty() && edited.plain.contains("Secret: db"), "{edited:?}");
    let http = support::Http::new(&second.url);
    for path in ["status", "secret"] {
        let answer = http.get(&format!("/{path}/{}", asked.token)).await;
        assert_eq!((answer.status, answer.code()), (404, "not_found"));
    }
    let watched = http.post("/watch", &json!({"tokens": [asked.token], "wait": "30s"})).await;
    assert_eq!(watched.body["changed"][0]["status"], "revoked");
}
