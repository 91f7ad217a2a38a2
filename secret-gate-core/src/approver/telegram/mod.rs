//! Approvals over a Telegram bot.
