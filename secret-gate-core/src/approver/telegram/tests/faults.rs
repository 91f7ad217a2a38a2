//! Telegram slow, broken, away, or taken by somebody else.

use std::time::Instant;

use secret_gate_doubles::telegram;
use secret_gate_doubles::{Fault, Times};

use super::*;
use crate::Decision;
use crate::approver::Outcome;

async fn asking_fails(scene: &Scene, words: &str) {
    let began = Instant::now();
    let error = scene.try_ask("refused").await.unwrap_err().to_string();
    assert!(error.contains(words), "{error}");
    assert!(!error.contains(&scene.telegram.token()), "{error}");
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
}

#[tokio::test]
async fn what_to_do_when_asking_fails() {
    let scene = Scene::new().await;
    let faults = scene.telegram.faults();
    faults.set("sendMessage", Fault::RetryAfter(30), Times::Next(1));
    asking_fails(&scene, "30 s").await;
    faults.status("sendMessage", 401, 1);
    asking_fails(&scene, "TELEGRAM_BOT_TOKEN").await;
    faults.status("sendMessage", 502, 1);
    asking_fails(&scene, "server error").await;
    faults.html("sendMessage", 200, 1);
    asking_fails(&scene, "proxy").await;
    faults.drop_answer("sendMessage", 1);
    asking_fails(&scene, "can't be reached").await;
    faults.down();
    asking_fails(&scene, "can't be reached").await;
    faults.up();
    scene.telegram.block_bot(ANN);
    asking_fails(&scene, "blocked").await;
    assert_eq!(scene.calls("sendMessage"), 7, "no question is sent twice");

    let lost = Scene::with(|mut builder| {
        builder.chat = -77;
        builder
    })
    .await;
    asking_fails(&lost, "TELEGRAM_CHAT_ID").await;
    assert!(lost.approver.check().await.is_err());
    lost.telegram.add_chat(telegram::ChatKind::Group, -77);
    assert_eq!(lost.approver.chat_kind().await.unwrap(), ChatKind::Group);
    lost.telegram.migrate_chat(-77, -1_000_077);
    asking_fails(&lost, "-1000077").await;

    let strange = builder(&scene.telegram).api_url("http://127.0.0.1:9").start().unwrap();
    let error = strange.ask(Arc::new(question("x")), scene.ballots.ballot("x")).await.unwrap_err().to_string();
    assert!(error.contains("can't be reached") && !error.contains(&scene.telegram.token()), "{error}");
}

#[tokio::test]
async fn every_call_that_failed_is_told_once() {
    let failed = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&failed);
    let scene = Scene::with(|builder| builder.on_failed_call(Arc::new(move |method| lock(&told).push(method)))).await;
    let times = |method: &str| lock(&failed).iter().filter(|failed| **failed == method).count();
    let faults = scene.telegram.faults();
    faults.status("getChat", 400, 1);
    scene.approver.check().await.unwrap_err();
    scene.approver.check().await.unwrap();
    faults.too_many_requests("sendMessage", 1, 1);
    let (posted, message) = scene.ask("asked").await;
    faults.drop_answer("getUpdates", 1);
    faults.html("answerCallbackQuery", 200, 1);
    let press = scene.telegram.press(message.message_id, "Approve", ANN).await.unwrap();
    scene.told(&press).await;
    faults.html("editMessageText", 200, 2);
    posted.show(&Outcome::Denied { by: "x".into() });
    scene.telegram.wait_edit(message.message_id, |_| true).await.unwrap();
    let counts = ["getChat", "sendMessage", "answerCallbackQuery", "editMessageText"].map(times);
    assert_eq!(counts, [1, 1, 1, 2]);
    until(|| times("getUpdates") == 1).await;
    assert_eq!(times("deleteWebhook"), 0);
}

#[tokio::test]
async fn a_short_pause_is_waited_for() {
    let scene = Scene::new().await;
    scene.telegram.faults().too_many_requests("sendMessage", 1, 1);
    let (_posted, _) = scene.ask("asked").await;
    assert_eq!(scene.calls("sendMessage"), 2);
}

#[tokio::test]
async fn an_outcome_is_shown_in_the_end_and_only_the_latest() {
    let scene = Scene::new().await;
    let (posted, message) = scene.ask("asked").await;
    let faults = scene.telegram.faults();
    faults.too_many_requests("editMessageText", 1, 1);
    faults.html("editMessageText", 200, 1);
    faults.drop_answer("editMessageText", 1);
    posted.show(&Outcome::Denied { by: "first".into() });
    scene.telegram.wait_call(|call| call.method == "editMessageText").await.unwrap();
    posted.show(&Outcome::Denied { by: "second".into() });
    posted.show(&Outcome::Denied { by: "third".into() });
    drop(posted);
    let edited = scene.telegram.wait_edit(message.message_id, |edit| edit.plain.contains("third")).await.unwrap();
    assert!(!edited.edits.iter().any(|edit| edit.plain.contains("first") || edit.plain.contains("second")));
    scene.approver.stop().await;
    assert!(scene.calls("editMessageText") <= 4);
}

#[tokio::test]
async fn a_message_that_is_gone_is_given_up() {
    let scene = Scene::new().await;
    let (posted, _) = scene.ask("asked").await;
    scene.telegram.faults().status("editMessageText", 400, 10);
    posted.show(&Outcome::Withdrawn);
    drop(posted);
    // the task that writes outcomes ends, and the loop that polls is left
    until(|| scene.approver.tasks.len() <= 1).await;
    assert_eq!(scene.calls("editMessageText"), 1);
}

/// Breaks polling, lets Ann press meanwhile, mends it, and expects the press to count and the calls to stay few.
async fn press_survives(break_it: impl FnOnce(&Scene), mend: impl FnOnce(&Scene)) {
    let scene = Scene::new().await;
    let (_posted, message) = scene.ask("asked").await;
    scene.telegram.wait_call(|call| call.method == "getUpdates").await.unwrap();
    scene.telegram.clear_calls();
    break_it(&scene);
    // the poll that was under way before must not be the one that hears it
    scene.telegram.wait_call(|call| call.method == "getUpdates").await.unwrap();
    let press = scene.telegram.press(message.message_id, "Approve", ANN).await.unwrap();
    // long enough for a busy loop to show
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let calls = scene.calls("getUpdates") + scene.calls("deleteWebhook");
    assert!(calls <= 20, "{calls} calls in 1.5 s");
    mend(&scene);
    assert_eq!(scene.ballots.decisions(1).await, [Decision::approve("Ann (@ann, 42)")]);
    assert_eq!(scene.told(&press).await, "Approved");
    let mut health = scene.approver.health.clone();
    health.wait_for(|health| *health == Health::Good).await.unwrap();
    scene.approver.check().await.unwrap();
}

#[tokio::test]
async fn presses_survive_a_lost_network() {
    press_survives(|scene| scene.telegram.faults().down(), |scene| scene.telegram.faults().up()).await;
}

#[tokio::test]
async fn presses_survive_nonsense_answers() {
    press_survives(
        |scene| scene.telegram.faults().set("getUpdates", Fault::Html(200), Times::Always),
        |scene| scene.telegram.faults().clear(),
    )
    .await;
}

#[tokio::test]
async fn presses_survive_lost_answers() {
    press_survives(|scene| scene.telegram.faults().drop_answer("getUpdates", 2), |_| ()).await;
}

#[tokio::test]
async fn presses_survive_another_poller() {
    press_survives(
        |scene| scene.telegram.faults().set("getUpdates", Fault::Conflict, Times::Always),
        |scene| scene.telegram.faults().clear(),
    )
    .await;
}

#[tokio::test]
async fn presses_survive_flood_control() {
    press_survives(|scene| scene.telegram.faults().too_many_requests("getUpdates", 1, 2), |_| ()).await;
}

#[tokio::test]
async fn presses_survive_a_webhook() {
    press_survives(|scene| scene.telegram.faults().set_webhook("https://example.com/hook"), |_| ()).await;
}

#[tokio::test]
async fn a_webhook_left_behind_is_removed_at_the_start() {
    let double = TelegramDouble::start().await.unwrap();
    double.faults().set_webhook("https://example.com/hook");
    let _approver = builder(&double).start().unwrap();
    let deleted = double.wait_call(|call| call.method == "deleteWebhook").await.unwrap();
    assert_ne!(deleted.parameters["drop_pending_updates"], true);
    double.wait_call(|call| call.method == "getUpdates").await.unwrap();
}

#[tokio::test]
async fn health_tells_of_another_poller_and_of_a_wrong_token() {
    let scene = Scene::new().await;
    scene.approver.check().await.unwrap();
    let words = [(Fault::Conflict, "another program"), (Fault::Status(401), "TELEGRAM_BOT_TOKEN")];
    for (fault, word) in words {
        scene.telegram.faults().set("getUpdates", fault, Times::Always);
        let mut health = scene.approver.health.clone();
        health.wait_for(|health| matches!(health, Health::Bad(text) if text.contains(word))).await.unwrap();
        assert!(scene.approver.check().await.unwrap_err().to_string().contains(word));
        scene.telegram.faults().clear();
    }
    let mut health = scene.approver.health.clone();
    health.wait_for(|health| *health == Health::Good).await.unwrap();
}

#[tokio::test]
async fn unknown_updates_are_passed_over() {
    let scene = Scene::new().await;
    let (_posted, message) = scene.ask("asked").await;
    scene.telegram.push_update(serde_json::json!({"brand_new_thing": {"x": 1}}));
    scene.telegram.say(ANN, ANN, "hello");
    let press = scene.telegram.press(message.message_id, "Deny", ANN).await.unwrap();
    assert_eq!(scene.told(&press).await, "Denied");
}

#[tokio::test]
async fn one_slow_answer_holds_up_nothing_else() {
    let scene = Scene::with(|builder| builder.call_timeout(Duration::from_secs(30))).await;
    let (first, slow) = scene.ask("slow").await;
    let faults = scene.telegram.faults();
    faults.delay("answerCallbackQuery", Duration::from_secs(20), 1);
    faults.delay("editMessageText", Duration::from_secs(20), 1);
    first.show(&Outcome::Withdrawn);
    scene.telegram.wait_call(|call| call.method == "editMessageText").await.unwrap();
    scene.telegram.press(slow.message_id, "Approve", ANN).await.unwrap();
    scene.telegram.wait_call(|call| call.method == "answerCallbackQuery").await.unwrap();

    let began = Instant::now();
    let (second, message) = scene.ask("quick").await;
    let press = scene.telegram.press(message.message_id, "Approve", ANN).await.unwrap();
    scene.told(&press).await;
    second.show(&Outcome::Denied { by: "x".into() });
    scene.telegram.wait_edit(message.message_id, |_| true).await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_stopped_approver_listens_no_more_and_hands_nothing_on() {
    let scene = Scene::new().await;
    let (_posted, message) = scene.ask("asked").await;
    let press = scene.telegram.press(message.message_id, "Approve", ANN).await.unwrap();
    scene.ballots.decisions(1).await;
    scene.approver.stop().await;
    scene.told(&press).await;
    assert!(scene.approver.check().await.is_err());
    scene.try_ask("late").await.unwrap_err();
    scene.telegram.clear_calls();
    let _next = builder(&scene.telegram).start().unwrap();
    scene.telegram.wait_call(|call| call.method == "getUpdates").await.unwrap();
    let other = scene.telegram.press(message.message_id, "Deny", ANN).await.unwrap();
    scene.told(&other).await;
    assert_eq!(scene.telegram.answers().len(), 2, "the first press is not heard again");
}

#[tokio::test]
async fn what_can_not_be_right_does_not_start() {
    let token = || SecretValue::new(format!("123456:{}", "A".repeat(35)));
    let start = |token, chat| TelegramApprover::builder(token, chat).start().unwrap_err();
    for bad in
        ["", "123456", "123456:short", "x:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", ":AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"]
    {
        let error = start(SecretValue::copy_of(bad), ANN);
        assert_eq!(error, TelegramError::Token);
        assert!(!error.to_string().contains("short"));
    }
    assert_eq!(start(token(), 0), TelegramError::Chat);
    for url in ["api.telegram.org", "ftp://x", "http://", ""] {
        let error = TelegramApprover::builder(token(), ANN).api_url(url).start().unwrap_err();
        assert_eq!(error, TelegramError::ApiUrl, "{url}");
    }
    let outside = std::thread::spawn(move || TelegramApprover::builder(token(), ANN).start().unwrap_err());
    assert_eq!(outside.join().unwrap(), TelegramError::NoRuntime);
}
