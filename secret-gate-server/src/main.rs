//! The server program: serves, unless a subcommand says otherwise.

mod commands;
mod serve;

use std::process::ExitCode;

use clap::Parser;
use secret_gate_server::logging;

use crate::commands::Command;

const EXAMPLES: &str = "\
Examples:
  secret-gate-server                 serve, until SIGINT or SIGTERM
  secret-gate-server check           see whether all that it needs is there and works
  secret-gate-server chats           find the ids for TELEGRAM_CHAT_ID and TELEGRAM_APPROVER_IDS
  secret-gate-server key new ci      make an API key
  secret-gate-server audit verify    see whether the audit log is whole

Exit codes: 0 done, 1 failed, 2 usage.";

/// Releases secrets from 1Password Connect, once, after a human approved on Telegram.
///
/// Configured by environment variables. Needed: OP_CONNECT_HOST, OP_CONNECT_TOKEN, TELEGRAM_BOT_TOKEN,
/// TELEGRAM_CHAT_ID, WEBHOOK_BASE_URL. The tokens and the chat id can also come from a file: OP_CONNECT_TOKEN_FILE and
/// so on. With defaults: BIND_ADDRESS (0.0.0.0), PORT (8080), REQUEST_TTL (15m), CLEANUP_INTERVAL (5m), INDEX_TTL
/// (60s), TELEGRAM_API_URL, TELEGRAM_APPROVER_IDS, TRUSTED_PROXIES, CLIENT_DIR (/app/clients), API_KEYS_FILE,
/// AUDIT_LOG, MAX_PENDING (100), MAX_PENDING_PER_REQUESTER (10), MAX_REQUESTS_PER_MINUTE (30), MAX_LOOKUPS_PER_MINUTE
/// (120), LOG_FORMAT (text on a terminal, else json), RUST_LOG (info).
#[derive(Debug, Parser)]
#[command(version, after_help = EXAMPLES, max_term_width = 120)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
}

fn main() -> ExitCode {
    if let Some(command) = Arguments::parse().command {
        return command.run();
    }
    match serve::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            report(failure.as_ref());
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stderr, reason = "says why there is no log, or nothing to log about")]
fn report(failure: &dyn std::error::Error) {
    let text = logging::chain(failure);
    for line in text.lines() {
        eprintln!("secret-gate-server: {line}");
    }
}
