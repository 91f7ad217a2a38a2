//! What every implementation of a joint must do, as tests to run on yours.
//!
//! Each module is a suite: `all`, and the single rules that it goes through. They are async functions that return when the
//! implementation keeps the rule and panic with the rule that it breaks, so a test is a call. What an implementation may
//! do differently is told in the suite's `Differences`.
//!
//! | joint | suite | what it needs |
//! |---|---|---|
//! | [`SecretBackend`](crate::SecretBackend) | [`backend`] | two items that the backend holds |
//! | [`Approver`](crate::Approver) | [`approver`] | a [`Hand`](approver::Hand) that answers like a human |
//! | [`Cache`](crate::Cache) | [`cache`] | a function that makes one on a given clock |
//! | [`AuditLog`](crate::audit::AuditLog) | [`audit`] | a function that reads the log back |
//!
//! A test for a backend, in a crate with `secret-gate-core = { version = "…", features = ["conformance"] }` among its
//! dev-dependencies:
//!
//! ```
//! use secret_gate_core::{Field, FieldKind, Item, MemoryBackend, conformance};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! let item = |id: &str| {
//!     let password = Field::new("f1", "password", FieldKind::concealed(), format!("hunter2 of {id}"));
//!     Item::new(id, "v1", format!("database {id}")).with_field(password)
//! };
//! let backend = MemoryBackend::new().with_vault("v1", "infra").with_item(item("i1")).with_item(item("i2"));
//! conformance::backend::all(&backend, &item("i1"), &item("i2")).await;
//! # }
//! ```
//!
//! All suites need a Tokio runtime with its timer enabled, and a clock of it that is not paused.

pub mod approver;
pub mod audit;
pub mod backend;
pub mod cache;
mod wait;
