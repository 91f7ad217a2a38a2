//! What an operator does with the program beside letting it serve.
//!
//! One file a command; `failure` says what went wrong and what to do, `print` alone prints.

mod audit;
mod chats;
mod check;
mod failure;
mod health;
mod key;
mod print;

use std::process::ExitCode;

use clap::Subcommand;

use self::failure::{Exit, Failure};

/// What there is beside serving.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make, list and revoke the API keys that requesters show
    #[command(subcommand)]
    Key(key::Key),
    /// Verify the audit log, and begin new files of it
    #[command(subcommand)]
    Audit(audit::Audit),
    /// See whether all that the server needs is there and works
    Check(check::Check),
    /// Find the ids for TELEGRAM_CHAT_ID and TELEGRAM_APPROVER_IDS
    Chats(chats::Chats),
    /// See whether the server on this machine serves
    Health(health::Health),
}

impl Command {
    /// Does it, and says how it went.
    pub(crate) fn run(self) -> ExitCode {
        let done = match self {
            Self::Key(key) => key.run().map(|()| Exit::Done),
            Self::Audit(audit) => audit.run().map(|()| Exit::Done),
            Self::Check(check) => on_a_runtime(check.run()),
            Self::Chats(chats) => on_a_runtime(chats.run()).map(|()| Exit::Done),
            Self::Health(health) => on_a_runtime(health.run()).map(|()| Exit::Done),
        };
        match done {
            Ok(exit) => print::exit(exit),
            Err(failure) => print::failure(&failure),
        }
    }
}

fn on_a_runtime<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| {
        Failure::new(format!("the program can't start: {error}"), "see how many processes and open files it may have")
    })?;
    let done = runtime.block_on(work);
    // a name look-up that hangs must not hold up the end
    runtime.shutdown_background();
    done
}
