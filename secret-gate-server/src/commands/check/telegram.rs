//! Telegram: the bot, its chat, and whether those who are to decide are in it.

use secret_gate_core::SecretValue;
use secret_gate_core::approver::telegram::{ChatKind, ProbeError, SeenChat, TelegramProbe};
use secret_gate_server::config::Config;
use url::Url;

use super::super::chats;
use super::Finding;
use super::http::{self, Time, Trust};

const BOT: &str = "bot";
const WEBHOOK: &str = "webhook";
const CHAT: &str = "chat";
const WRITABLE: &str = "chat_writable";
const APPROVERS: &str = "approvers";

/// What Telegram's clock says, asked of its front page: that URL has no token in it.
pub(super) async fn time(config: &Config) -> Option<Time> {
    http::get(&config.telegram_api_url, Trust::Usual).await.ok()?.time
}

pub(super) async fn look(config: &Config) -> Vec<Finding> {
    let token = SecretValue::copy_of(config.bot_token.expose());
    let probe = match TelegramProbe::new(token, &config.telegram_api_url) {
        Ok(probe) => probe,
        Err(error) => return vec![Finding::failure(BOT, error)],
    };
    let bot = match probe.bot().await {
        Ok(bot) => bot,
        Err(error) => return vec![Finding::failure(BOT, error)],
    };
    let (webhook, chat) = tokio::join!(webhook(&probe), probe.chat(config.chat_id));
    let mut findings = vec![Finding::ok(BOT, format!("@{} (id {})", bot.username, bot.id)), webhook];
    match chat {
        Ok(chat) => {
            let title = format!("{} {} (id {})", chats::kind(chat.kind), chat.title, chat.id);
            findings.push(Finding::ok(CHAT, title));
            let (writable, approvers) = tokio::join!(writable(&probe, &chat), approvers(&probe, config, &chat));
            findings.extend([writable, approvers]);
        }
        Err(error) => findings.push(Finding::failure(CHAT, error)),
    }
    findings
}

async fn webhook(probe: &TelegramProbe) -> Finding {
    match probe.webhook().await {
        Ok(None) => Finding::ok(WEBHOOK, "none is set"),
        Ok(Some(url)) => {
            // its path may be a secret
            let host = Url::parse(&url).ok().and_then(|url| url.host_str().map(str::to_owned));
            Finding::warn(
                WEBHOOK,
                format!("one is set, at {}, and takes the presses away", host.as_deref().unwrap_or("an odd URL")),
                "the server removes it when it starts; stop whatever set it, or take another bot",
            )
        }
        Err(error) => Finding::failure(WEBHOOK, error),
    }
}

async fn writable(probe: &TelegramProbe, chat: &SeenChat) -> Finding {
    match probe.may_write(chat.id).await {
        Ok(()) => Finding::ok(WRITABLE, "the bot may write there"),
        Err(error) => Finding::failure(WRITABLE, error),
    }
}

async fn approvers(probe: &TelegramProbe, config: &Config, chat: &SeenChat) -> Finding {
    let listed = config.approver_ids.as_slice();
    match (chat.kind, listed) {
        (ChatKind::Private, []) => Finding::ok(APPROVERS, "the person of the private chat"),
        (ChatKind::Private, listed) => person_of(chat, listed),
        (_, []) => Finding::warn(
            APPROVERS,
            "whoever is in the chat may decide",
            "set TELEGRAM_APPROVER_IDS to the ids of those who should; `secret-gate-server chats` finds them",
        ),
        (_, listed) => members(probe, chat, listed).await,
    }
}

/// In a private chat nobody else can press.
fn person_of(chat: &SeenChat, listed: &[u64]) -> Finding {
    let person = u64::try_from(chat.id).unwrap_or_default();
    let others: Vec<u64> = listed.iter().copied().filter(|id| *id != person).collect();
    if others.len() == listed.len() {
        let detail = format!("{} can't press in the private chat with {person}, so nobody can", ids(&others));
        return Finding::fail(APPROVERS, detail, format!("set TELEGRAM_APPROVER_IDS={person}, or leave it out"));
    }
    if others.is_empty() {
        return Finding::ok(APPROVERS, "the person of the private chat");
    }
    let hint = "take them out of TELEGRAM_APPROVER_IDS, or set TELEGRAM_CHAT_ID to a group of all of them";
    Finding::warn(APPROVERS, format!("{} can't press in the private chat with {person}", ids(&others)), hint)
}

async fn members(probe: &TelegramProbe, chat: &SeenChat, listed: &[u64]) -> Finding {
    let looking = listed.iter().map(async |id| (*id, probe.is_member(chat.id, *id).await));
    let looked = futures_util::future::join_all(looking).await;
    let absent: Vec<u64> = looked.iter().filter(|(_, is)| *is == Ok(false)).map(|(id, _)| *id).collect();
    if !absent.is_empty() {
        let detail = format!("not in the chat: {}", ids(&absent));
        let hint = "add them to the group, or correct TELEGRAM_APPROVER_IDS; `secret-gate-server chats` finds ids";
        return Finding::fail(APPROVERS, detail, hint);
    }
    match looked.iter().find_map(|(_, is)| is.as_ref().err()) {
        None => Finding::ok(APPROVERS, format!("in the chat: {}", ids(listed))),
        Some(ProbeError::Refused(text)) => Finding::warn(
            APPROVERS,
            format!("Telegram does not tell who is in the chat: {text}"),
            "make the bot an administrator of it, or see for yourself",
        ),
        Some(error) => Finding::failure(APPROVERS, error.clone()),
    }
}

fn ids(ids: &[u64]) -> String {
    ids.iter().map(u64::to_string).collect::<Vec<_>>().join(", ")
}
