//! The Telegram double, driven with teloxide-core.

use std::time::{Duration, Instant};

use secret_gate_doubles::{
    TelegramDouble,
    telegram::{ChatKind, PressId, RawPress, User},
};
use serde_json::json;
use teloxide_core::{
    ApiError, Bot, RequestError,
    net::default_reqwest_settings,
    payloads::{AnswerCallbackQuerySetters, EditMessageTextSetters, GetUpdatesSetters, SendMessageSetters},
    requests::Requester,
    types::{
        AllowedUpdate, CallbackQuery, CallbackQueryId, ChatAction, ChatId, ChatMemberStatus, InlineKeyboardButton,
        InlineKeyboardMarkup, Message, MessageId, ParseMode, Update, UpdateKind, UserId,
    },
};

type TestResult = Result<(), Box<dyn std::error::Error>>;

const CHAT: ChatId = ChatId(42);

fn bot(telegram: &TelegramDouble) -> Bot {
    bot_with_token(telegram, &telegram.token())
}

#[expect(clippy::expect_used, reason = "a wrong setting here is a mistake in this file")]
fn bot_with_token(telegram: &TelegramDouble, token: &str) -> Bot {
    let client = default_reqwest_settings().no_proxy().timeout(Duration::from_secs(30)).build();
    let url = telegram.url().parse().expect("the double's URL");
    Bot::with_client(token, client.expect("an HTTP client")).set_api_url(url)
}

fn keyboard() -> InlineKeyboardMarkup {
    InlineKeyboardMarkup::new([[
        InlineKeyboardButton::callback("✅ Approve", "approve:1"),
        InlineKeyboardButton::callback("❌ Deny", "deny:1"),
    ]])
}

async fn ask(bot: &Bot) -> Result<Message, RequestError> {
    let request = bot.send_message(CHAT, "<b>db</b> for <code>&lt;deploy&gt;</code>?");
    request.parse_mode(ParseMode::Html).reply_markup(keyboard()).await
}

async fn poll(bot: &Bot, offset: i32, seconds: u32) -> Result<Vec<Update>, RequestError> {
    let request = bot.get_updates().offset(offset).timeout(seconds);
    request.allowed_updates([AllowedUpdate::CallbackQuery]).await
}

fn queries(updates: &[Update]) -> Vec<&CallbackQuery> {
    let updates = updates.iter();
    updates
        .filter_map(|update| match &update.kind {
            UpdateKind::CallbackQuery(query) => Some(query),
            _ => None,
        })
        .collect()
}

fn complaint<T: std::fmt::Debug>(result: Result<T, RequestError>) -> String {
    match result {
        Err(error) => error.to_string(),
        Ok(answer) => format!("accepted: {answer:?}"),
    }
}

#[tokio::test]
async fn a_question_is_asked_pressed_answered_and_edited() -> TestResult {
    let telegram = TelegramDouble::start().await?;
    let bot = bot(&telegram);
    assert_eq!(bot.get_me().await?.user.id.0, 123_456);
    assert!(bot.get_chat(CHAT).await?.is_private());

    let sent = ask(&bot).await?;
    assert_eq!(sent.text(), Some("db for <deploy>?"));
    let seen = telegram.wait_message(|message| message.plain.contains("db")).await?;
    assert_eq!(seen.message_id, i64::from(sent.id.0));
    assert_eq!(seen.keyboard[0][1].data, "deny:1");

    let waiting = tokio::spawn({
        let bot = bot.clone();
        async move { poll(&bot, 0, 25).await }
    });
    telegram.wait_call(|call| call.method == "getUpdates").await?;
    let started = Instant::now();
    let press = telegram.press(seen.message_id, "Approve", 42).await?;
    let updates = waiting.await??;
    assert!(started.elapsed() < Duration::from_secs(5), "a long poll must end with the press");
    assert!(telegram.wait_delivered(&press).await? >= started);
    let query = queries(&updates)[0];
    assert_eq!((query.id.0.as_str(), query.from.id.0), (press.as_str(), 42));
    assert_eq!(query.data.as_deref(), Some("approve:1"));
    assert_eq!(query.regular_message().and_then(|message| message.reply_markup()), Some(&keyboard()));

    bot.answer_callback_query(query.id.clone()).text("approved").await?;
    assert_eq!(telegram.wait_answer(&press).await?.text, "approved");
    let again = complaint(bot.answer_callback_query(query.id.clone()).await);
    assert!(again.contains("query is too old"), "{again}");

    bot.edit_message_text(CHAT, sent.id, "<i>approved</i>").parse_mode(ParseMode::Html).await?;
    let edited = telegram.wait_edit(seen.message_id, |message| message.plain == "approved").await?;
    assert!(edited.keyboard.is_empty(), "an edit without a keyboard removes it");
    let same = bot.edit_message_text(CHAT, sent.id, "<i>approved</i>").parse_mode(ParseMode::Html).await;
    assert!(matches!(same, Err(RequestError::Api(ApiError::MessageNotModified))));
    let unknown = bot.edit_message_text(CHAT, MessageId(999), "x").await;
    assert!(matches!(unknown, Err(RequestError::Api(ApiError::MessageToEditNotFound))));
    Ok(())
}

#[tokio::test]
async fn a_chat_can_be_looked_at_without_writing_to_it() -> TestResult {
    let telegram = TelegramDouble::start().await?;
    let (bot, group) = (bot(&telegram), ChatId(-1_000_042));
    telegram.add_chat(ChatKind::Supergroup, group.0);
    telegram.add_user(User::new(43, "Bob"));
    telegram.add_member(group.0, User::new(44, "Cleo"));
    let status = async |chat, user| Ok::<_, RequestError>(bot.get_chat_member(chat, UserId(user)).await?.status());
    assert_eq!(status(group, 44).await?, ChatMemberStatus::Member);
    assert_eq!(status(group, 43).await?, ChatMemberStatus::Left);
    assert_eq!(status(group, 123_456).await?, ChatMemberStatus::Member, "the bot itself");
    assert_eq!(status(CHAT, 42).await?, ChatMemberStatus::Member);
    assert!(matches!(status(group, 45).await, Err(RequestError::Api(ApiError::UserNotFound))));
    assert!(matches!(status(ChatId(-1), 44).await, Err(RequestError::Api(ApiError::ChatNotFound))));

    let typing = async |chat| bot.send_chat_action(chat, ChatAction::Typing).await;
    typing(group).await?;
    telegram.restrict_bot(group.0);
    assert!(complaint(typing(group).await).contains("not enough rights"));
    assert!(complaint(bot.send_message(group, "x").await).contains("not enough rights"));
    telegram.block_bot(CHAT.0);
    assert!(matches!(typing(CHAT).await, Err(RequestError::Api(ApiError::BotBlocked))));
    bot.get_chat(CHAT).await?;
    assert!(telegram.messages().is_empty());

    assert_eq!(bot.get_webhook_info().await?.url, None);
    telegram.faults().set_webhook("https://example.com/hook");
    let url = bot.get_webhook_info().await?.url;
    assert_eq!(url.map(|url| url.to_string()), Some("https://example.com/hook".to_owned()));
    Ok(())
}

#[tokio::test]
async fn being_added_to_a_group_is_told() -> TestResult {
    let telegram = TelegramDouble::start().await?;
    telegram.add_chat(ChatKind::Group, -7);
    telegram.add_bot_to(-7, 42);
    let updates = bot(&telegram).get_updates().await?;
    let [Update { kind: UpdateKind::MyChatMember(change), .. }] = updates.as_slice() else {
        return Err(format!("{updates:?}").into());
    };
    assert_eq!((change.chat.id, change.from.id), (ChatId(-7), UserId(42)));
    assert!(change.new_chat_member.is_present());
    Ok(())
}

#[tokio::test]
async fn updates_come_again_until_confirmed() -> TestResult {
    let telegram = TelegramDouble::start().await?;
    let bot = bot(&telegram);
    let message = i64::from(ask(&bot).await?.id.0);
    for button in ["Approve", "deny:1"] {
        telegram.press(message, button, 42).await?;
    }
    let first = poll(&bot, 0, 0).await?;
    assert_eq!(poll(&bot, 0, 0).await?.len(), 2);
    let rest = poll(&bot, first[0].id.as_offset(), 0).await?;
    assert_eq!(queries(&rest)[0].data.as_deref(), Some("deny:1"));
    assert_eq!(poll(&bot, -1, 0).await?.len(), 1);
    assert!(poll(&bot, first[1].id.as_offset(), 0).await?.is_empty());
    assert!(poll(&bot, 0, 0).await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn unwanted_and_unknown_updates() -> TestResult {
    let telegram = TelegramDouble::start().await?;
    let bot = bot(&telegram);
    telegram.say(42, 42, "/start");
    telegram.push_update(json!({"brand_new_thing": {"x": 1}}));
    let updates = bot.get_updates().await?;
    assert!(matches!(updates[0].kind, UpdateKind::Message(_)));
    assert!(matches!(updates[1].kind, UpdateKind::Error(_)));
    let next = updates[1].id.as_offset();
    assert!(poll(&bot, next, 0).await?.is_empty());
    telegram.say(42, 42, "not wanted any more");
    assert!(poll(&bot, next, 0).await?.is_empty());

    let mallory = User::new(666, "Mallory").with_username("ann");
    let press = telegram.press_raw(RawPress::new(-5, 77, "approve:1", mallory));
    let updates = poll(&bot, next, 5).await?;
    let query = queries(&updates)[0];
    assert_eq!((query.id.0.as_str(), query.from.id.0), (press.as_str(), 666));
    assert!(query.regular_message().is_none() && query.message.is_some());
    telegram.expire_press(&press);
    assert!(bot.answer_callback_query(query.id.clone()).await.is_err());
    Ok(())
}

#[tokio::test]
async fn only_one_may_poll() -> TestResult {
    let telegram = TelegramDouble::start().await?;
    let bot = bot(&telegram);
    let first = tokio::spawn({
        let bot = bot.clone();
        async move { poll(&bot, 0, 25).await }
    });
    telegram.wait_call(|call| call.method == "getUpdates").await?;
    poll(&bot, 0, 0).await?;
    let ended = first.await?;
    assert!(matches!(ended, Err(RequestError::Api(ApiError::TerminatedByOtherGetUpdates))), "{ended:?}");

    telegram.faults().set_webhook("https://hook.example");
    assert!(complaint(poll(&bot, 0, 0).await).contains("webhook is active"));
    assert!(bot.get_webhook_info().await?.url.is_some());
    bot.delete_webhook().await?;
    assert!(poll(&bot, 0, 0).await?.is_empty());
    telegram.faults().conflict(1);
    assert!(poll(&bot, 0, 0).await.is_err());
    assert_eq!(telegram.calls().last().and_then(|call| call.status), Some(409));
    Ok(())
}

#[tokio::test]
async fn the_service_is_strict() -> TestResult {
    let telegram = TelegramDouble::start().await?;
    let bot = bot(&telegram);
    let html = |text: String| bot.send_message(CHAT, text).parse_mode(ParseMode::Html);
    let with_data = |data: String| {
        let button = InlineKeyboardButton::callback("x", data);
        bot.send_message(CHAT, "x").reply_markup(InlineKeyboardMarkup::new([[button]]))
    };
    bot.send_message(CHAT, "x".repeat(4096)).await?;
    html(format!("<b>{}</b>", "x".repeat(4096))).await?;
    with_data("x".repeat(64)).await?;
    for (reason, answer) in [
        ("can't parse entities", html("<b>x".to_owned()).await),
        ("can't parse entities", html("a < b".to_owned()).await),
        ("text is empty", bot.send_message(CHAT, " \n ").await),
        ("text is empty", html("<b> </b>".to_owned()).await),
        ("too long", bot.send_message(CHAT, "x".repeat(4097)).await),
        ("chat not found", bot.send_message(ChatId(43), "x").await),
        ("BUTTON_DATA_INVALID", with_data("é".repeat(33)).await),
        ("BUTTON_DATA_INVALID", with_data(String::new()).await),
    ] {
        let reason = reason.to_lowercase();
        let actual = complaint(answer);
        assert!(actual.to_lowercase().contains(&reason), "{reason}: {actual}");
    }
    let other = bot_with_token(&telegram, "123456:WRONG-token-000000000000000000000000");
    assert!(matches!(other.get_me().await, Err(RequestError::Api(ApiError::InvalidToken))));
    let unknown = bot.answer_callback_query(CallbackQueryId("1".to_owned())).await;
    assert!(complaint(unknown).contains("query is too old"));
    Ok(())
}

#[tokio::test]
async fn chats_have_a_life_of_their_own() -> TestResult {
    let telegram = TelegramDouble::start().await?;
    let bot = bot(&telegram);
    telegram.add_chat(ChatKind::Group, -7);
    bot.send_message(ChatId(-7), "x").await?;
    telegram.migrate_chat(-7, -1_000_000_000_007);
    let moved = bot.send_message(ChatId(-7), "x").await;
    assert!(matches!(moved, Err(RequestError::MigrateToChatId(ChatId(-1_000_000_000_007)))));
    bot.send_message(ChatId(-1_000_000_000_007), "x").await?;
    telegram.block_bot(42);
    let blocked = bot.send_message(CHAT, "x").await;
    assert!(matches!(blocked, Err(RequestError::Api(ApiError::BotBlocked))));
    Ok(())
}

#[tokio::test]
async fn faults_strike_as_often_as_told() -> TestResult {
    let telegram = TelegramDouble::start().await?;
    let bot = bot(&telegram);
    let faults = telegram.faults();
    faults.too_many_requests("sendMessage", 7, 1);
    let flood = ask(&bot).await;
    assert!(matches!(flood, Err(RequestError::RetryAfter(after)) if after.seconds() == 7));

    faults.drop_answer("sendMessage", 1);
    assert!(matches!(ask(&bot).await, Err(RequestError::Network(_))));
    let message = telegram.wait_message(|_| true).await?;

    faults.html("sendMessage", 200, 1);
    assert!(matches!(ask(&bot).await, Err(RequestError::InvalidJson { .. })));

    let pause = Duration::from_millis(60);
    faults.delay("sendMessage", pause, 1);
    let started = Instant::now();
    ask(&bot).await?;
    assert!(started.elapsed() >= pause);

    let waiting = tokio::spawn({
        let bot = bot.clone();
        async move { poll(&bot, 0, 25).await }
    });
    telegram.wait_call(|call| call.method == "getUpdates").await?;
    faults.down();
    assert!(matches!(waiting.await?, Err(RequestError::Network(_))), "a waiting poll ends too");
    assert!(matches!(bot.get_me().await, Err(RequestError::Network(_))));
    faults.up();

    faults.drop_answer("getUpdates", 1);
    let press: PressId = telegram.press(message.message_id, "Deny", 42).await?;
    assert!(poll(&bot, 0, 5).await.is_err());
    assert_eq!(telegram.delivered(&press), None, "a dropped answer delivers nothing");
    assert_eq!(poll(&bot, 0, 5).await?.len(), 1);
    assert!(telegram.delivered(&press).is_some());
    Ok(())
}

/// A request as text, for clients that send what teloxide does not.
async fn raw(telegram: &TelegramDouble, head: &str, body: &str) -> std::io::Result<String> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let address = telegram.url().replace("http://", "");
    let mut stream = tokio::net::TcpStream::connect(&address).await?;
    let length = body.len();
    let request = format!("{head}Host: {address}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

#[tokio::test]
async fn people_write_by_hand() -> TestResult {
    let telegram = TelegramDouble::start().await?;
    telegram.add_chat(ChatKind::Group, -7);
    let say = async |body: &str| {
        raw(&telegram, "POST /control/say HTTP/1.1\r\nContent-Type: application/json\r\n", body).await
    };
    for body in [r#"{"text": "hé 👋"}"#, r#"{"text": "", "chat_id": -7, "user_id": 43}"#] {
        assert!(say(body).await?.starts_with("HTTP/1.1 204"), "{body}");
    }
    let refused =
        [(404, r#"{"text": "x", "chat_id": 5}"#), (422, "{}"), (422, r#"{"text": "x", "chat": 42}"#), (400, "{\"te")];
    for (status, body) in refused {
        assert!(say(body).await?.starts_with(&format!("HTTP/1.1 {status}")), "{body}");
    }

    let heard = poll(&bot(&telegram), 0, 5).await?;
    let heard: Vec<_> = heard
        .iter()
        .map(|update| match &update.kind {
            UpdateKind::Message(message) => {
                let from = message.from.as_ref().map(|user| user.first_name.as_str());
                (message.chat.id.0, from, message.text())
            }
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(heard, [(42, Some("Ann"), Some("hé 👋")), (-7, Some("User 43"), Some(""))]);
    Ok(())
}

#[tokio::test]
async fn a_port_in_use_is_named() -> TestResult {
    let telegram = TelegramDouble::start().await?;
    let address = telegram.url().replace("http://", "");
    let refused = TelegramDouble::start_on(address.parse()?).await.unwrap_err();
    assert_eq!(refused.to_string(), format!("cannot listen on {address}"));
    Ok(())
}

#[tokio::test]
async fn parameters_come_in_every_form() -> TestResult {
    let telegram = TelegramDouble::start().await?;
    let path = format!("/bot{}/SENDmessage", telegram.token());
    let part =
        |name: &str, value: &str| format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
    let multipart = part("chat_id", "42") + &part("text", "many") + "--b--\r\n";
    for (head, body) in [
        (format!("GET {path}?chat_id=42&text=query HTTP/1.1\r\n"), String::new()),
        (
            format!("POST {path} HTTP/1.1\r\nContent-Type: application/x-www-form-urlencoded\r\n"),
            "chat_id=42&text=a+form".to_owned(),
        ),
        (format!("POST {path} HTTP/1.1\r\nContent-Type: multipart/form-data; boundary=b\r\n"), multipart),
        (
            format!("POST {path} HTTP/1.1\r\nContent-Type: application/json\r\n"),
            json!({"chat_id": "42", "text": "json"}).to_string(),
        ),
    ] {
        let answer = raw(&telegram, &head, &body).await?;
        assert!(answer.starts_with("HTTP/1.1 200"), "{head}{body}\n{answer}");
    }
    let texts: Vec<_> = telegram.messages().into_iter().map(|message| message.plain).collect();
    assert_eq!(texts, ["query", "a form", "many", "json"]);

    let unknown = format!("POST /bot{}/makeTea HTTP/1.1\r\n", telegram.token());
    let malformed = "POST /botabc/getMe HTTP/1.1\r\n".to_owned();
    for head in [unknown, malformed] {
        let answer = raw(&telegram, &head, "").await?;
        assert!(answer.contains(r#""error_code":404"#), "{answer}");
    }
    Ok(())
}
