//! `chats`: which chats the bot is in, and who writes there.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use clap::Args;
use secret_gate_core::approver::telegram::{ChatKind, Contact, Heard, ProbeError, TelegramProbe};
use secret_gate_server::config::BotConfig;

use super::failure::Failure;
use super::print;

const EXAMPLES: &str = "\
Examples:
  TELEGRAM_BOT_TOKEN_FILE=/run/secrets/bot-token secret-gate-server chats
  secret-gate-server chats --once >> .env

Needs TELEGRAM_BOT_TOKEN or TELEGRAM_BOT_TOKEN_FILE alone (and TELEGRAM_API_URL where that is set).
Stop the server first: only one program can listen to a bot. Ends when somebody presses a button
under a question: the press is left to the server, which hears it once it is started.";

/// Between attempts while Telegram is away, and after answers that come at once.
const PAUSE: Duration = Duration::from_secs(2);

/// An empty answer that comes sooner than this was not waited for.
const SHORT_POLL: Duration = Duration::from_millis(250);

/// Find the ids for TELEGRAM_CHAT_ID and TELEGRAM_APPROVER_IDS.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Chats {
    /// End after the first chat
    #[arg(long)]
    once: bool,
}

impl Chats {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let BotConfig { token, api_url, .. } = BotConfig::from_env()?;
        let probe = TelegramProbe::new(token, &api_url)?;
        let bot = probe.bot().await?;
        if probe.webhook().await?.is_some() {
            return Err(ProbeError::Webhook.into());
        }
        print::note(&format!("write anything to @{}, or add it to the group; waiting, Ctrl-C ends", bot.username));
        let mut seen = Seen::default();
        let mut offset = 0;
        loop {
            let began = Instant::now();
            match probe.listen(offset).await {
                Ok(Heard { contacts, next, pressed, .. }) => {
                    offset = next;
                    for contact in &contacts {
                        if seen.tell(contact)? && self.once {
                            return Ok(());
                        }
                    }
                    if pressed {
                        return Err(Failure::new(
                            "a button was pressed, which only the server can hear",
                            "start the server, which hears it; Telegram keeps the press for a day",
                        ));
                    }
                    if contacts.is_empty() && began.elapsed() < SHORT_POLL {
                        tokio::time::sleep(PAUSE).await;
                    }
                }
                Err(ProbeError::Busy(wait)) => tokio::time::sleep(wait).await,
                Err(ProbeError::Unreachable(why)) => {
                    print::note(&format!("Telegram can't be reached: {why}; trying again"));
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// What was told before.
#[derive(Default)]
struct Seen {
    chats: HashSet<i64>,
    people: HashSet<(i64, u64)>,
}

impl Seen {
    /// Prints what is new; comments stand on lines of their own, since not all that reads such lines knows others.
    /// Returns whether the chat was.
    fn tell(&mut self, contact: &Contact) -> Result<bool, Failure> {
        let Contact { chat, by, .. } = contact;
        let is_new = self.chats.insert(chat.id);
        if is_new {
            print::data(&format!("# {} {}\nTELEGRAM_CHAT_ID={}", kind(chat.kind), chat.title, chat.id))?;
        }
        if let Some(by) = by.as_ref().filter(|by| self.people.insert((chat.id, by.id))) {
            print::data(&format!("# {}\nTELEGRAM_APPROVER_IDS={}", by.name, by.id))?;
        }
        Ok(is_new)
    }
}

/// What to call a chat, before its title.
pub(super) const fn kind(kind: ChatKind) -> &'static str {
    match kind {
        ChatKind::Private => "private chat with",
        ChatKind::Group => "group",
        ChatKind::Channel => "channel",
        _ => "chat",
    }
}
