//! Logging in with a secret key, with the real programs.
#![cfg(unix)]
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test that can't go on fails")]
#![expect(clippy::print_stderr, reason = "says what was not tried")]

mod keys;
mod logins;
mod private_agent;
mod support;
mod targets;
mod user_agent;
