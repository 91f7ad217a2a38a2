//! Using a secret: in a command whose output shows nothing of it.
//!
//! [`run`](run()) starts a [`Command`] with the values that its [`Injection`]s name, and passes what it writes on to an
//! [`Output`], with every concealed value and its usual encodings replaced by `[redacted:item/field]`. Values never stand
//! in an argument vector, a file or a log line. [`resolve`](resolve()) says exactly which program a command is, so that a
//! human can approve this one and no other.
//!
//! A command can do with a value what it likes, sending it away included. Redaction keeps it from being seen by accident;
//! `LEAKS.md` beside this module lists what common tools print and what of that is caught.

mod command;
mod error;
mod exact;
mod group;
mod injection;
mod item_names;
mod output;
mod pump;
mod redact;
mod run;
mod shebang;
mod start;
mod system;

pub use command::Command;
pub use error::ExecError;
pub use exact::resolve;
pub use injection::{Delivery, Injection};
pub use item_names::item_names;
pub use output::{Collected, Ended, Exit, Output, StreamName};
pub use redact::{MIN_REDACTED, RedactedStream, Redactor, TooShort};
pub use run::run;
