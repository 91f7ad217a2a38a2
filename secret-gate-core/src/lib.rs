//! Put a human in the loop before a program uses a secret: one question, one answer, one release.
//!
//! | part | is | comes as |
//! |---|---|---|
//! | [`Gate`] | the door: resolves a name, asks, releases once | |
//! | [`SecretBackend`] | where secrets live | [`MemoryBackend`]; `OnePassword` with feature `onepassword` |
//! | [`Approver`] | who says yes | [`TerminalApprover`], [`FnApprover`], [`ScriptedApprover`], [`DenyAll`]; `TelegramApprover` with feature `telegram` |
//! | [`Cache`] | how long a yes lasts | [`MemoryCache`], [`NoCache`] |
//! | [`AuditLog`](audit::AuditLog) | what happened, written before it counts | [`FileAudit`](audit::FileAudit), [`TracingAudit`](audit::TracingAudit), [`MemoryAudit`](audit::MemoryAudit) for tests |
//! | [`Clock`](clock::Clock) | what time it is | [`SystemClock`](clock::SystemClock), [`ManualClock`](clock::ManualClock) for tests |
//! | `client::RemoteGate` | a gate on another machine, over HTTP | feature `client` |
//! | `exec` | runs a command with a secret, and keeps it out of what the command prints | feature `exec` |
//! | `ssh` | logs in with a key that lies in no file | feature `ssh` |
//! | `daemon` | holds what was approved, on the requester's machine | feature `daemon`, on Unix |
//! | [`wire`] | the JSON types of the HTTP API | |
//! | `conformance` | the tests that each of these must pass, to run on your own | feature `conformance` |
//!
//! ```
//! use std::sync::Arc;
//! use secret_gate_core::{Decision, Field, FieldKind, Gate, Item, MemoryBackend, Request, ScriptedApprover};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), secret_gate_core::Error> {
//! let vault = MemoryBackend::new().with_vault("v1", "infra").with_item(
//!     Item::new("i1", "v1", "database").with_field(Field::new("f1", "password", FieldKind::concealed(), "hunter2")),
//! );
//! let human = ScriptedApprover::new().then(Decision::approve("Ann")).then(Decision::deny("Ann"));
//! let gate = Gate::builder(Arc::new(vault), Arc::new(human)).build();
//!
//! let release = gate.request(Request::new("database").reason("migrate the orders table")).await?;
//! assert_eq!(release.value("password").unwrap().expose(), "hunter2");
//!
//! let again = gate.request(Request::new("database").reason("just curious")).await;
//! assert_eq!(again.unwrap_err().to_string(), "denied by Ann");
//! # Ok(()) }
//! ```

#![cfg_attr(docsrs, feature(doc_cfg))]

// the page that the registry shows must run as well
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

pub mod approver;
pub mod audit;
pub mod backend;
pub mod cache;
#[cfg(feature = "client")]
pub mod client;
pub mod clock;
#[cfg(feature = "conformance")]
pub mod conformance;
#[cfg(all(feature = "daemon", unix))]
pub mod daemon;
mod duration;
mod error;
#[cfg(feature = "exec")]
pub mod exec;
mod gate;
mod grant;
#[cfg(any(feature = "onepassword", feature = "client"))]
mod http;
mod index;
mod item;
mod loaders;
#[cfg(any(feature = "onepassword", feature = "client", feature = "telegram"))]
mod net;
#[cfg(feature = "otp")]
pub mod otp;
mod reference;
mod requester;
mod resolve;
mod secret;
#[cfg(all(feature = "ssh", unix))]
pub mod ssh;
mod sync;
mod uses;
pub mod wire;

#[cfg(feature = "telegram")]
pub use approver::TelegramApprover;
pub use approver::{
    Approval, Approver, ApproverError, AskedField, AskedItem, Ballot, CastError, DenyAll, FnApprover, Outcome, Posted,
    Question, Said, ScriptedApprover, TerminalApprover,
};
#[cfg(feature = "onepassword")]
pub use backend::onepassword::OnePassword;
pub use backend::{BackendError, MemoryBackend, SecretBackend};
pub use cache::{Cache, MemoryCache, NoCache};
pub use duration::parse_duration;
pub use error::Error;
pub use gate::{
    Fields, Found, Gate, GateBuilder, Match, Release, ReleasedField, ReleasedItem, Request, Standing, Step, Submitted,
    Token, Wanted,
};
pub use grant::{Decision, Grant, Keep, Verdict};
pub use item::{Field, FieldKind, Item, ItemSummary, Revision, Vault};
pub use reference::{ReferenceError, SecretReference};
pub use requester::{RequestId, Requester};
pub use resolve::MatchKind;
pub use secret::SecretValue;
pub use uses::{ExactCommand, ExactHost, Scope, Use, UseError};
