//! `chats`: what is heard, and what keeps it from listening.

use secret_gate_doubles::telegram::{ChatKind, User};
use secret_gate_doubles::{Fault, TelegramDouble, Times};
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout};

use super::support::{self, ANN, Ended, Environment, PATIENCE, World};
use super::{GROUP, assert_failed, run, spawn};

/// `chats`, running.
struct Chats {
    child: Child,
    out: Lines<BufReader<ChildStdout>>,
}

impl Chats {
    fn start(telegram: &TelegramDouble, args: &[&str]) -> Self {
        let env = [("TELEGRAM_BOT_TOKEN", telegram.token()), ("TELEGRAM_API_URL", telegram.url())];
        let env = env.map(|(name, value)| (name.to_owned(), value)).into();
        let mut child = spawn(&[&["chats"], args].concat(), &env);
        let out = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, out }
    }

    async fn lines<const N: usize>(&mut self) -> [String; N] {
        let mut lines = [const { String::new() }; N];
        for line in &mut lines {
            *line = tokio::time::timeout(PATIENCE, self.out.next_line()).await.unwrap().unwrap().unwrap();
        }
        lines
    }

    async fn ended(self) -> Ended {
        let output = tokio::time::timeout(PATIENCE, self.child.wait_with_output()).await.unwrap().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        Ended { code: output.status.code(), stdout: String::new(), stderr }
    }
}

#[tokio::test]
async fn chats_tells_each_chat_and_person_once() {
    let telegram = TelegramDouble::start().await.unwrap();
    telegram.add_user(User::new(43, "Bob").with_username("bob"));
    telegram.add_chat(ChatKind::Supergroup, GROUP);
    let mut chats = Chats::start(&telegram, &[]);
    telegram.wait_call(|call| call.method == "getUpdates").await.unwrap();
    telegram.add_bot_to(GROUP, 43);
    let lines = chats.lines().await;
    assert_eq!(lines, ["# group Operations", "TELEGRAM_CHAT_ID=-1000042", "# Bob (@bob)", "TELEGRAM_APPROVER_IDS=43"]);
    telegram.say(GROUP, 43, "again");
    telegram.say(ANN, ANN, "hello");
    let lines = chats.lines().await;
    assert_eq!(lines, ["# private chat with Ann", "TELEGRAM_CHAT_ID=42", "# Ann", "TELEGRAM_APPROVER_IDS=42"]);
    let hostile = json!({"id": -9, "type": "channel", "title": "x\nTELEGRAM_CHAT_ID=666\x1b[2J\u{202e}"});
    telegram.push_update(json!({"channel_post": {"message_id": 1, "date": 0, "chat": hostile}}));
    let [title, id] = chats.lines().await;
    assert_eq!(id, "TELEGRAM_CHAT_ID=-9");
    assert!(title.starts_with("# channel x") && !title.contains(['\x1b', '\u{202e}']), "{title:?}");

    // the network goes and comes back
    telegram.faults().drop_answer("getUpdates", 1);
    telegram.say(-5, 44, "from elsewhere");
    assert_eq!(chats.lines::<2>().await[1], "TELEGRAM_CHAT_ID=-5");

    // and a server starts
    telegram.faults().set("getUpdates", Fault::Conflict, Times::Always);
    telegram.say(ANN, ANN, "hello");
    let ended = chats.ended().await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(
        ended.stderr.contains("@gate_double_bot") && ended.stderr.contains("hint: stop the server first"),
        "{ended:?}"
    );
}

#[tokio::test]
async fn a_press_while_chats_listens_reaches_the_server_that_is_started_then() {
    let world = World::start().await;
    let asked = world.ask_for_db().await;
    let World { connect, telegram, server, .. } = world;
    server.kill().await;
    telegram.clear_calls();
    let mut chats = Chats::start(&telegram, &[]);
    telegram.wait_call(|call| call.method == "getUpdates").await.unwrap();
    let press = telegram.press(asked.message.message_id, "Approve", ANN).await.unwrap();
    // who presses is heard, too
    assert_eq!(chats.lines::<4>().await[1..], ["TELEGRAM_CHAT_ID=42", "# Ann", "TELEGRAM_APPROVER_IDS=42"]);
    let ended = chats.ended().await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(
        ended.stderr.contains("error: a button was pressed") && ended.stderr.contains("start the server"),
        "{ended:?}"
    );

    let _server = support::server(&connect, &telegram, |_| {}).await;
    assert!(!telegram.wait_answer(&press).await.unwrap().text.is_empty(), "the server answers it");
}

#[tokio::test]
async fn chats_can_end_after_the_first() {
    let telegram = TelegramDouble::start().await.unwrap();
    telegram.say(ANN, ANN, "hello");
    let mut chats = Chats::start(&telegram, &["--once"]);
    let [.., person] = chats.lines::<4>().await;
    assert_eq!(person, "TELEGRAM_APPROVER_IDS=42");
    assert_eq!(chats.ended().await.code, Some(0));
}

#[tokio::test]
async fn chats_says_what_keeps_it_from_listening() {
    let telegram = TelegramDouble::start().await.unwrap();
    let env = |token: &str| -> Environment {
        [("TELEGRAM_BOT_TOKEN", token.to_owned()), ("TELEGRAM_API_URL", telegram.url())]
            .map(|(name, value)| (name.to_owned(), value))
            .into()
    };
    assert_failed(&run(&["chats"], &Environment::new()).await, 1, "TELEGRAM_BOT_TOKEN is not set");
    assert_failed(&run(&["chats"], &env("123456:short")).await, 1, "BotFather");
    let wrong = format!("123456:{}", "B".repeat(35));
    let refused = run(&["chats"], &env(&wrong)).await;
    assert_failed(&refused, 1, "does not accept");
    assert!(!refused.stderr.contains("BBBB"), "{refused:?}");
    telegram.faults().set_webhook("https://hooks.example/secret-path");
    assert_failed(&run(&["chats"], &env(&telegram.token())).await, 1, "webhook");
    telegram.faults().down();
    assert_failed(&run(&["chats"], &env(&telegram.token())).await, 1, "can't be reached");
}
