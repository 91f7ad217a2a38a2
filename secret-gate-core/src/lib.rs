//! Put a human in the loop before a program uses a secret.

#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod approver;
pub mod audit;
pub mod backend;
#[cfg(feature = "client")]
pub mod client;
pub mod clock;
mod grant;
#[cfg(any(feature = "onepassword", feature = "client"))]
mod http;
mod item;
#[cfg(feature = "otp")]
pub mod otp;
mod reference;
mod requester;
mod secret;
mod sync;
pub mod wire;

pub use approver::{
    Approval, Approver, ApproverError, AskedField, AskedItem, Ballot, CastError, DenyAll, Outcome, Posted, Question,
    Said,
};
pub use backend::{BackendError, MemoryBackend, SecretBackend};
pub use grant::{Decision, ExactCommand, ExactHost, Grant, Keep, Scope, Use, UseError, Verdict};
pub use item::{Field, FieldKind, Item, ItemSummary, Revision, Vault};
pub use reference::{ReferenceError, SecretReference};
pub use requester::{RequestId, Requester};
pub use secret::SecretValue;
