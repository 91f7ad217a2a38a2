//! A small daemon on the requester's machine that holds what was approved, in memory, until it ends.
//!
//! It offers verbs, not values ([`Verb`]). Its clients are processes of the same user in the same namespaces; each side
//! checks the other. See `serve` for its life, `ask` for how it gets approvals, `holdings` for what it keeps, `revoke` for
//! how they end early, `user_agent` for keys in the callers' own ssh-agents, and `frame` and `call` for the protocol.

mod ask;
mod call;
mod caller;
mod client;
mod config;
mod frame;
mod gates;
mod harden;
mod holdings;
mod item;
mod paths;
mod peer;
mod program;
mod released;
mod revoke;
mod run;
mod serve;
mod settings;
mod ssh;
mod user_agent;

pub use call::{
    Call, Event, Exec, Failure, FailureKind, Granted, Held, HeldItem, Inject, Key, OsText, PROTOCOL, Ssh, Status, Verb,
    Way, Wish,
};
pub use client::{Answer, Answers, ConnectError, ask, call, call_or_start, call_with};
pub use config::Config;
pub use harden::harden_process;
pub use paths::{PlaceError, SocketPath};
pub use peer::PeerError;
pub use program::{connect_or_start, serve_here};
pub use serve::{Daemon, DaemonError, DaemonOptions};
pub use settings::{Settings, SettingsError, machine_name};
