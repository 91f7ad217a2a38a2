//! Test doubles of the two services that Secret Gate talks to, over real HTTP on loopback.
//!
//! * [`ConnectDouble`] answers like a 1Password Connect server (its OpenAPI document, version 1.7.1).
//! * [`TelegramDouble`] answers like the Telegram Bot API and plays the person who presses the buttons.
//!
//! Both are strict where the real services are strict, both can be broken on purpose with [`Fault`]s while they run, and
//! both are also programs to try things by hand (`connect-double`, `telegram-double`). They were written from the
//! vendors' documents and are checked with clients that others wrote (`third-party/run.sh`).
//!
//! They run on the test's own tokio runtime and wait on sockets, so a test must not pause tokio's clock.
//!
//! ```
//! use secret_gate_doubles::{ConnectDouble, TelegramDouble};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let connect = ConnectDouble::start().await?;
//! let vault = connect.add_vault("", "Servers");
//! connect.add_item(&vault, serde_json::json!({"title": "db", "category": "LOGIN"}));
//!
//! let telegram = TelegramDouble::start().await?;
//! println!("export OP_CONNECT_HOST={} TELEGRAM_API_URL={}", connect.url(), telegram.url());
//! # Ok(())
//! # }
//! ```

mod error;
mod fault;
mod watched;
mod wire;

pub mod connect;
pub mod telegram;

pub use connect::ConnectDouble;
pub use error::DoubleError;
pub use fault::{Fault, Times};
pub use telegram::TelegramDouble;
