//! The MCP front-end of Secret Gate: agents use secrets that they do not see.
//!
//! [`serve`] speaks the Model Context Protocol, revisions 2024-11-05 to 2026-07-28, over a pair of streams, and
//! [`serve_stdio`] over standard input and output. Six tools look for secrets, ask a human for one, and run a command or
//! log in with it. Looking goes to the secret-gate server; everything else goes to this user's daemon, which alone holds
//! values. No result, error or log line of this crate ever has one.
//!
//! | module | holds |
//! |---|---|
//! | `transport` | messages as lines; what can't be understood is answered |
//! | `server` | the protocol: which tool is called, and how its answer looks |
//! | `tools` | what the tools say of themselves |
//! | `arguments`, `results`, `schema` | what they take and answer |
//! | `request`, `run` | what they do |
//! | `questions` | the questions that are open, which outlive the calls that wait for them |
//! | `wanted` | from arguments to secrets, variables and uses |
//! | `daemon`, `refusal` | calls to the daemon, and failures in words |
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use secret_gate_mcp::{Options, serve_stdio};
//!
//! # async fn run() -> Result<(), secret_gate_mcp::ServeError> {
//! serve_stdio(Options::default().with_wait(Duration::from_secs(120))).await
//! # }
//! ```
//!
//! The daemon is started from the running program, with the arguments `daemon serve`; see
//! [`secret_gate_core::daemon::connect_or_start`].

mod arguments;
mod daemon;
mod options;
mod questions;
mod refusal;
mod request;
mod results;
mod run;
mod schema;
mod server;
mod tools;
mod transport;
mod wanted;

pub use options::Options;
pub use server::{ServeError, serve, serve_stdio};
