//! Looking at a bot and its chat.

use secret_gate_doubles::telegram;
use secret_gate_doubles::{Fault, Times};
use serde_json::json;

use super::*;

const GROUP: i64 = -1_000_042;

fn probe(telegram: &TelegramDouble) -> TelegramProbe {
    TelegramProbe::new(SecretValue::new(telegram.token()), &telegram.url()).unwrap()
}

async fn double() -> TelegramDouble {
    let telegram = TelegramDouble::start().await.unwrap();
    telegram.add_chat(telegram::ChatKind::Supergroup, GROUP);
    telegram.add_member(GROUP, User::new(43, "Bob"));
    telegram.add_user(User::new(44, "Cleo"));
    telegram
}

#[tokio::test]
async fn bot_chat_and_members_are_seen_and_nothing_is_written_or_polled() {
    let telegram = double().await;
    let probe = probe(&telegram);
    let bot = probe.bot().await.unwrap();
    assert_eq!((bot.id, bot.username.as_str()), (123_456, "gate_double_bot"));
    let chat = probe.chat(ANN).await.unwrap();
    assert_eq!((chat.id, chat.kind, chat.title.as_str()), (ANN, ChatKind::Private, "Ann"));
    assert_eq!(probe.chat(GROUP).await.unwrap().kind, ChatKind::Group);
    assert_eq!(probe.chat(-1).await, Err(ProbeError::UnknownChat));
    assert_eq!(probe.is_member(GROUP, 43).await, Ok(true));
    assert_eq!(probe.is_member(GROUP, 44).await, Ok(false));
    assert_eq!(probe.is_member(GROUP, 45).await, Ok(false));
    assert_eq!(probe.webhook().await, Ok(None));
    telegram.faults().set_webhook("https://example.com/hook");
    assert_eq!(probe.webhook().await, Ok(Some("https://example.com/hook".to_owned())));
    probe.may_write(GROUP).await.unwrap();
    telegram.restrict_bot(GROUP);
    assert!(matches!(probe.may_write(GROUP).await, Err(ProbeError::Refused(text)) if text.contains("rights")));
    telegram.block_bot(ANN);
    assert!(matches!(probe.may_write(ANN).await, Err(ProbeError::Refused(text)) if text.contains("blocked")));
    telegram.migrate_chat(GROUP, -1_000_043);
    assert_eq!(probe.chat(GROUP).await, Err(ProbeError::Migrated(-1_000_043)));
    let quiet = |call: &telegram::Call| !["getUpdates", "sendMessage", "deleteWebhook"].contains(&call.method.as_str());
    assert!(telegram.messages().is_empty() && telegram.calls().iter().all(quiet));
}

#[tokio::test]
async fn who_writes_is_heard_once_and_names_hide_nothing() {
    let telegram = double().await;
    let probe = probe(&telegram);
    telegram.say(ANN, ANN, "hello");
    telegram.add_bot_to(GROUP, 43);
    let hostile = "ops\u{202e}\n\x1b[2J";
    let chat = json!({"id": -9, "type": "channel", "title": hostile});
    telegram.push_update(json!({"channel_post": {"message_id": 1, "date": 0, "chat": chat}}));
    let gone = json!({"chat": {"id": -8, "type": "group", "title": "x"}, "new_chat_member": {"status": "kicked"}});
    telegram.push_update(json!({"my_chat_member": gone}));
    for odd in [json!({"message": 7}), json!({"message": {"chat": {"id": "x", "type": "group"}}}), json!({})] {
        telegram.push_update(odd);
    }
    let Heard { contacts: heard, next, pressed } = probe.listen(0).await.unwrap();
    assert!(!pressed);
    let seen: Vec<_> = heard.iter().map(|contact| (contact.chat.id, contact.by.as_ref().map(|by| by.id))).collect();
    assert_eq!(seen, [(ANN, Some(42)), (GROUP, Some(43)), (-9, None)]);
    let title = &heard[2].chat.title;
    assert!(title.starts_with("ops") && !title.contains(['\u{202e}', '\n', '\x1b']), "{title:?}");

    let (again, waiting) = (probe.listen(next), telegram.wait_call(|call| call.parameters["offset"] == next));
    let (again, ()) = tokio::join!(again, async {
        waiting.await.unwrap();
        telegram.say(GROUP, 43, "again");
    });
    assert_eq!(again.unwrap().contacts.len(), 1, "what was heard is not heard again");
}

#[tokio::test]
async fn a_press_is_seen_and_left_to_the_server() {
    let telegram = double().await;
    let probe = probe(&telegram);
    telegram.say(ANN, ANN, "before");
    let chat = json!({"id": GROUP, "type": "supergroup", "title": "Operations"});
    let bob = json!({"id": 43, "is_bot": false, "first_name": "Bob"});
    let message = json!({"message_id": 1, "date": 0, "chat": chat});
    // asks for presses as well: the last one to listen says what Telegram keeps
    probe.listen(0).await.unwrap();
    let press =
        json!({"callback_query": {"id": "7", "from": bob, "message": message, "chat_instance": "1", "data": "x"}});
    telegram.push_update(press.clone());
    telegram.say(ANN, ANN, "after");
    telegram.push_update(press);
    let first = probe.listen(0).await.unwrap();
    let chats: Vec<_> = first.contacts.iter().map(|contact| contact.chat.id).collect();
    assert_eq!((chats, first.pressed), (vec![ANN, GROUP, ANN, GROUP], true));
    assert_eq!(first.contacts[1].by.as_ref().unwrap().id, 43);
    for _ in 0..2 {
        // what came before is forgotten, nothing else ever is
        let again = probe.listen(first.next).await.unwrap();
        assert_eq!((again.contacts.len(), again.next, again.pressed), (3, first.next, true));
    }
}

#[tokio::test]
async fn why_it_can_not_tell_and_never_the_token() {
    let telegram = double().await;
    let probe = probe(&telegram);
    let faults = telegram.faults();
    let told = async |fault, words: &str| {
        faults.set("*", fault, Times::Always);
        let (call, poll) = (probe.bot().await.unwrap_err(), probe.listen(0).await.unwrap_err());
        for error in [call, poll] {
            let text = format!("{error} {error:?} {probe:?}");
            assert!(text.contains(words), "{text}");
            assert!(!text.contains(&telegram.token()) && !text.contains("double-token"), "{text}");
        }
        faults.clear();
    };
    told(Fault::Status(401), "does not accept the bot token").await;
    told(Fault::RetryAfter(7), "7 s").await;
    told(Fault::Html(200), "proxy").await;
    told(Fault::Reset, "can't be reached").await;
    faults.conflict(1);
    assert_eq!(probe.listen(0).await, Err(ProbeError::OtherPoller));
    faults.set_webhook("https://example.com/hook");
    assert_eq!(probe.listen(0).await, Err(ProbeError::Webhook));
    faults.down();
    assert!(matches!(probe.bot().await, Err(ProbeError::Unreachable(_))));
    let start = |token: &str, url: &str| TelegramProbe::new(SecretValue::copy_of(token), url).unwrap_err();
    assert_eq!(start("123456:short", &telegram.url()), TelegramError::Token);
    assert_eq!(start(&telegram.token(), "ftp://x"), TelegramError::ApiUrl);
}
