//! Which presses count, and what the others are told.

use secret_gate_doubles::telegram::RawPress;

use super::super::super::testing::outcome_of;
use super::*;
use crate::approver::{CastError, Outcome};
use crate::{Decision, Keep};

const BY: &str = "Ann (@ann, 42)";

#[tokio::test]
async fn each_button_says_what_it_says() {
    let scene = Scene::new().await;
    let expected = [
        ("Approve 1 h", Decision::approve(BY)),
        ("Once", Decision::approve_for(BY, Keep::Once)),
        ("8 h", Decision::approve_for(BY, Keep::For(Duration::from_secs(8 * 3600)))),
        ("Deny", Decision::deny(BY)),
    ];
    for (count, (button, decision)) in expected.into_iter().enumerate() {
        let id = format!("id{count}");
        let (posted, message) = scene.ask(&id).await;
        let labels: Vec<_> = message.keyboard.iter().flatten().map(|button| button.text.as_str()).collect();
        assert_eq!(labels, ["✅ Approve 1 h", "Once", "8 h", "❌ Deny"]);
        let press = scene.telegram.press(message.message_id, button, ANN).await.unwrap();
        assert_eq!(scene.ballots.decisions(count + 1).await[count], decision);
        assert_eq!(scene.told(&press).await, if button == "Deny" { "Denied" } else { "Approved" });
        posted.show(&outcome_of(&decision));
        let word = if button == "Deny" { "Denied by Ann (@ann, 42)" } else { "Approved by Ann (@ann, 42)" };
        let edited = scene.telegram.wait_edit(message.message_id, |edit| edit.plain.contains(word)).await.unwrap();
        assert!(edited.plain.starts_with(&message.plain) && edited.keyboard.is_empty());
    }
}

#[tokio::test]
async fn without_an_intended_use_there_is_no_time_to_choose() {
    let scene = Scene::new().await;
    let mut asked = question("plain");
    (asked.intended_use, asked.keep) = (None, None);
    let _posted = scene.approver.ask(Arc::new(asked), scene.ballots.ballot("plain")).await.unwrap();
    let message = scene.message("plain").await;
    let labels: Vec<_> = message.keyboard.iter().flatten().map(|button| button.text.as_str()).collect();
    assert_eq!(labels, ["✅ Approve", "❌ Deny"]);
    let raw = RawPress::new(ANN, message.message_id, "8h:plain", User::new(ANN, "Ann"));
    assert!(scene.told(&scene.telegram.press_raw(raw)).await.contains("no such button"));
    assert_eq!(scene.ballots.count(), 0);
}

#[tokio::test]
async fn other_presses_change_nothing_and_are_told_why() {
    let scene = Scene::with(|builder| builder.approver_ids([42])).await;
    let (_posted, message) = scene.ask("asked").await;
    let (_other, other) = scene.ask("other").await;
    let id = message.message_id;
    let (ann, eve) = (User::new(ANN, "Ann"), User::new(66, "Eve"));
    let mut without_message = RawPress::new(ANN, id, "approve:asked", ann.clone());
    without_message.with_message = false;
    let mut without_data = RawPress::new(ANN, id, "", ann.clone());
    without_data.data = None;
    let cases = [
        (RawPress::new(-5, id, "approve:asked", ann.clone()), "this chat"),
        (without_message, "this chat"),
        (RawPress::new(ANN, id, "approve:asked", eve.clone()), "not among the approvers"),
        (RawPress::new(ANN, id, "approve:gone", eve), "not among the approvers"),
        (RawPress::new(ANN, other.message_id, "approve:asked", ann.clone()), "another message"),
        (RawPress::new(ANN, 999_999, "approve:asked", ann.clone()), "another message"),
        (RawPress::new(ANN, id, "approved:asked", ann.clone()), "means nothing"),
        (RawPress::new(ANN, id, "approve", ann), "means nothing"),
        (without_data, "means nothing"),
    ];
    for (press, words) in cases {
        let told = scene.told(&scene.telegram.press_raw(press.clone())).await;
        assert!(told.contains(words) && told.chars().count() <= 200, "{press:?}: {told}");
    }
    assert_eq!(scene.ballots.count(), 0);
    assert_eq!(scene.calls("editMessageText"), 0);
}

#[tokio::test]
async fn only_the_first_decision_counts() {
    let scene = Scene::new().await;
    let (posted, message) = scene.ask("asked").await;
    let first = scene.telegram.press(message.message_id, "Approve", ANN).await.unwrap();
    scene.told(&first).await;
    let second = scene.telegram.press(message.message_id, "Deny", ANN).await.unwrap();
    assert_eq!(scene.told(&second).await, "Already decided by Ann (@ann, 42): approved");
    posted.show(&Outcome::Withdrawn);
    let late = RawPress::new(ANN, message.message_id, "approve:asked", User::new(ANN, "Ann"));
    let told = scene.told(&scene.telegram.press_raw(late)).await;
    assert!(told.contains("took this question back"), "{told}");
    assert_eq!(scene.ballots.count(), 1);
}

#[tokio::test]
async fn what_the_gate_refuses_does_not_count() {
    let scene = Scene::new().await;
    let (_posted, message) = scene.ask("asked").await;
    let press = || scene.telegram.press(message.message_id, "Approve", ANN);
    scene.ballots.fail_next(CastError::Ended(Box::new(Outcome::Expired { unused: None })));
    assert!(scene.told(&press().await.unwrap()).await.contains("expired"));
    scene.ballots.fail_next(CastError::NotRecorded);
    let answer = scene.telegram.wait_answer(&press().await.unwrap()).await.unwrap();
    assert!(answer.text.contains("press again") && answer.show_alert);
    assert_eq!(scene.told(&press().await.unwrap()).await, "Approved");
    scene.ballots.decisions(1).await;
}

#[tokio::test]
async fn a_message_of_another_life_is_retired() {
    let scene = Scene::new().await;
    let (posted, message) = scene.ask("asked").await;
    scene.approver.stop().await;
    drop(posted);
    let _next_life = builder(&scene.telegram).start().unwrap();
    let press = scene.telegram.press(message.message_id, "Approve", ANN).await.unwrap();
    assert!(scene.told(&press).await.contains("restarted"));
    let edited = scene.telegram.wait_edit(message.message_id, |edit| edit.keyboard.is_empty()).await.unwrap();
    assert!(edited.plain.starts_with(&message.plain) && edited.plain.contains("No longer open"), "{}", edited.plain);
    assert_eq!(edited.entities, message.entities);
    assert_eq!(scene.ballots.count(), 0);
}

#[tokio::test]
async fn a_press_can_overtake_the_answer_to_sending() {
    let scene = Scene::new().await;
    scene.telegram.faults().slow_answer("sendMessage", Duration::from_secs(1), 1);
    let asking = scene.try_ask("asked");
    let pressing = async {
        let message = scene.message("asked").await;
        scene.telegram.press(message.message_id, "Approve", ANN).await.unwrap()
    };
    let (posted, press) = tokio::join!(asking, pressing);
    let _posted = posted.unwrap();
    assert_eq!(scene.told(&press).await, "Approved");
    assert_eq!(scene.ballots.decisions(1).await, [Decision::approve(BY)]);
}

#[tokio::test]
async fn a_press_on_a_question_that_nobody_waits_for_does_not_count() {
    let scene = Scene::new().await;
    scene.telegram.faults().slow_answer("sendMessage", Duration::from_secs(4), 1);
    let asking = scene.try_ask("asked");
    let pressing = async {
        let message = scene.message("asked").await;
        scene.telegram.press(message.message_id, "Approve", ANN).await.unwrap()
    };
    let (posted, press) = tokio::join!(asking, pressing);
    posted.unwrap_err();
    assert!(scene.told(&press).await.contains("not known any more"));
    assert_eq!((scene.ballots.count(), scene.calls("sendMessage")), (0, 1));
}
