//! The gate with the parts it is mostly used with: the vault is a 1Password Connect server, and the human sits behind a
//! Telegram bot. Asks once, says what came of it, and ends.
//!
//! `cargo run -p secret-gate-examples --example onepassword_telegram -- database password`, with `OP_CONNECT_HOST`,
//! `OP_CONNECT_TOKEN`, `TELEGRAM_BOT_TOKEN` and `TELEGRAM_CHAT_ID` in the environment. Without accounts, the two doubles
//! print what to export.

use std::env;
use std::error::Error;
use std::sync::Arc;

use secret_gate_core::approver::telegram::TelegramBuilder;
use secret_gate_core::{Approver as _, Gate, OnePassword, Request, SecretBackend, TelegramApprover};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let (Some(secret), Some(field)) = (arguments.next(), arguments.next()) else {
        return Err("give the name of a secret and of a field".into());
    };
    // a token is a `SecretValue`, which a text becomes by `into`
    let vault = OnePassword::builder(env::var("OP_CONNECT_HOST")?, env::var("OP_CONNECT_TOKEN")?.into()).build()?;
    let mut human =
        TelegramApprover::builder(env::var("TELEGRAM_BOT_TOKEN")?.into(), env::var("TELEGRAM_CHAT_ID")?.parse()?);
    if let Ok(url) = env::var("TELEGRAM_API_URL") {
        human = human.api_url(url);
    }
    println!("{}", ask_once(Arc::new(vault), human, &secret, &field).await?);
    Ok(())
}

async fn ask_once(
    vault: Arc<dyn SecretBackend>,
    human: TelegramBuilder,
    secret: &str,
    field: &str,
) -> Result<String, Box<dyn Error>> {
    let human = Arc::new(human.start()?);
    // says what is wrong with a token or a chat before anybody waits for an answer
    human.check().await?;
    vault.check().await?;
    let gate = Gate::builder(vault, Arc::clone(&human) as _).build();

    let asked = gate.request(Request::new(secret).field(field).reason("try the example")).await;

    // before the program ends, however the request did: else the phone may go on saying "Approved"
    gate.settle().await;
    human.stop().await;

    let release = asked?;
    Ok(format!("released {} bytes", release.value(field).map_or(0, |value| value.len())))
}

#[cfg(test)]
mod tests {
    use secret_gate_doubles::{ConnectDouble, TelegramDouble};

    use super::*;

    async fn ask(button: &str) -> (Result<String, String>, String) {
        let (connect, telegram) = (ConnectDouble::start().await.unwrap(), TelegramDouble::start().await.unwrap());
        connect.seed_demo();
        let vault = OnePassword::builder(connect.url(), connect.token().into()).build().unwrap();
        let human = TelegramApprover::builder(telegram.token().into(), 42).api_url(telegram.url());
        let press = async {
            let message = telegram.wait_message(|message| message.plain.contains("try the example")).await.unwrap();
            telegram.press(message.message_id, button, 42).await.unwrap();
        };
        let (asked, ()) = tokio::join!(ask_once(Arc::new(vault), human, "Mail", "password"), press);
        let last = telegram.messages().pop().unwrap().plain;
        (asked.map_err(|error| error.to_string()), last)
    }

    #[tokio::test]
    async fn when_it_ends_the_phone_says_how() {
        let (asked, message) = ask("Approve").await;
        assert!(asked.unwrap().starts_with("released "));
        assert!(message.contains("Released"), "{message}");

        let (asked, message) = ask("Deny").await;
        assert!(asked.unwrap_err().starts_with("denied by Ann"));
        assert!(message.contains("Denied"), "{message}");
    }
}
