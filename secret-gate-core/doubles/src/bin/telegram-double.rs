//! A Telegram Bot API to try things by hand: shows what the bot writes, and presses its buttons on request.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "this program talks to the person who started it")]

use std::{collections::BTreeMap, error::Error, iter, net::SocketAddr, process::ExitCode};

use clap::{Parser, ValueEnum};
use secret_gate_doubles::{
    DoubleError, TelegramDouble,
    telegram::{ChatKind, Message, User},
};

/// Plays the Telegram Bot API until Ctrl-C, and prints every message as it comes.
///
/// Press a button with
///   curl URL/control/press -H content-type:application/json \
///     -d '{"message_id":2,"button":"Approve"}'
/// and write to the bot, as `secret-gate-server chats` waits for, with
///   curl URL/control/say -H content-type:application/json -d '{"text":"hello"}'
#[derive(Debug, Parser)]
#[command(name = "telegram-double", verbatim_doc_comment)]
struct Options {
    /// The address to listen on; port 0 picks a free one.
    #[arg(long, default_value = "127.0.0.1:8082")]
    listen: SocketAddr,
    /// The bot token to accept.
    #[arg(long, default_value = "123456:TEST-double-token-0000000000000000")]
    token: String,
    /// The chat that the bot may write to; negative for a group.
    #[arg(long, default_value_t = 42, allow_negative_numbers = true)]
    chat: i64,
    /// The person who presses.
    #[arg(long, default_value_t = 42)]
    user: i64,
    /// Presses by itself the button whose text or data has this word in it.
    #[arg(long, value_enum)]
    auto: Option<Auto>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Auto {
    Approve,
    Deny,
}

impl Auto {
    const fn word(self) -> &'static str {
        match self {
            Self::Approve => "approve",
            Self::Deny => "deny",
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match play(Options::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", told(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

async fn play(options: Options) -> Result<(), Box<dyn Error>> {
    let telegram = TelegramDouble::start_on(options.listen).await?.with_token(&options.token);
    let user = User::new(options.user, "Ann");
    let kind = if options.chat < 0 { ChatKind::Group } else { ChatKind::Private { user: user.clone() } };
    telegram.add_user(user);
    telegram.add_chat(kind, options.chat);
    println!("This plays the Telegram Bot API until Ctrl-C. In the terminal of the server:\n");
    println!("export TELEGRAM_API_URL={}", telegram.url());
    println!("export TELEGRAM_BOT_TOKEN={}", telegram.token());
    println!("export TELEGRAM_CHAT_ID={}\n", options.chat);
    println!("Questions appear here. {}", how_to_answer(options.auto, &telegram.url()));
    println!(
        "\nTo write to the bot, as `secret-gate-server chats` waits for:\n\n{}",
        how_to_write(&options, &telegram.url())
    );
    tokio::select! {
        shown = show(&telegram, options.auto, options.user) => shown?,
        stop = tokio::signal::ctrl_c() => stop?,
    }
    Ok(())
}

/// The error with what caused it, and what to do where the address is taken.
fn told(error: &(dyn Error + 'static)) -> String {
    let causes = iter::successors(Some(error), |&error| error.source()).map(ToString::to_string);
    let text = causes.collect::<Vec<_>>().join(": ");
    match error.downcast_ref() {
        Some(DoubleError::Listen { .. }) => format!("{text}\nhint: choose another address with --listen"),
        _ => text,
    }
}

fn how_to_answer(auto: Option<Auto>, url: &str) -> String {
    match auto {
        Some(auto) => format!("The answer to each is {}.", auto.word()),
        None => format!(
            "To answer the one with number 2:\n\ncurl {url}/control/press -H content-type:application/json \\\n  \
             -d '{{\"message_id\":2,\"button\":\"Approve\"}}'"
        ),
    }
}

fn how_to_write(options: &Options, url: &str) -> String {
    let (chat, user) = (options.chat, options.user);
    format!(
        "curl {url}/control/say -H content-type:application/json \\\n  \
         -d '{{\"text\":\"hello\",\"chat_id\":{chat},\"user_id\":{user}}}'"
    )
}

/// Prints what happens for ever, pressing where asked to.
async fn show(telegram: &TelegramDouble, auto: Option<Auto>, user: i64) -> Result<(), DoubleError> {
    let mut changes = telegram.changes();
    let mut edits_shown = BTreeMap::new();
    let mut answers_shown = 0;
    loop {
        for message in telegram.messages() {
            let edits = message.edits.len();
            match edits_shown.insert(message.message_id, edits) {
                None => {
                    print("message", &message);
                    press(telegram, auto, user, &message).await?;
                }
                Some(before) if before < edits => print("edit of message", &message),
                Some(_) => {}
            }
        }
        for answer in telegram.answers().iter().skip(answers_shown) {
            println!("\n[answer to press {}] {}", answer.callback_query_id, answer.text);
            answers_shown += 1;
        }
        if changes.changed().await.is_err() {
            return Ok(());
        }
    }
}

fn print(what: &str, message: &Message) {
    println!("\n[{what} {} in chat {}]\n{}", message.message_id, message.chat_id, message.plain);
    for row in &message.keyboard {
        let row: Vec<_> = row.iter().map(|button| format!("[ {} ]", button.text)).collect();
        println!("{}", row.join(" "));
    }
}

async fn press(telegram: &TelegramDouble, auto: Option<Auto>, user: i64, message: &Message) -> Result<(), DoubleError> {
    let Some(word) = auto.map(Auto::word) else {
        return Ok(());
    };
    let has_word = |text: &str| text.to_lowercase().contains(word);
    let mut buttons = message.keyboard.iter().flatten();
    let meant = buttons.find(|button| has_word(&button.text) || has_word(&button.data));
    match meant {
        Some(button) => {
            println!("(pressing {})", button.text);
            telegram.press(message.message_id, &button.data, user).await.map(drop)
        }
        None => {
            println!("(no button says {word})");
            Ok(())
        }
    }
}
