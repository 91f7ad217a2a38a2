//! An approver of your own: one function from a question to a decision. This one asks nobody and goes by a rule.
//!
//! `cargo run -p secret-gate-examples --example custom_approver`

use std::sync::Arc;

use secret_gate_core::{Decision, Error, Field, FieldKind, FnApprover, Gate, Item, MemoryBackend, Request};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let approver = FnApprover::new(|question| async move {
        let is_harmless = question.items.iter().all(|item| item.vault == "sandbox");
        let says_why = question.said.reason.is_some();
        match is_harmless && says_why {
            true => Decision::approve("the sandbox rule"),
            false => Decision::deny("the sandbox rule"),
        }
    });

    let item = |id, vault| {
        Item::new(id, vault, id).with_field(Field::new("f1", "password", FieldKind::concealed(), "hunter2"))
    };
    let vaults = MemoryBackend::new()
        .with_vault("v1", "sandbox")
        .with_vault("v2", "production")
        .with_item(item("test-database", "v1"))
        .with_item(item("database", "v2"));
    let gate = Gate::builder(Arc::new(vaults), Arc::new(approver)).build();

    for name in ["test-database", "database"] {
        match gate.request(Request::new(name).reason("try the migration")).await {
            Ok(_) => println!("{name}: released"),
            Err(Error::Denied { by }) => println!("{name}: denied by {by}"),
            Err(other) => return Err(other),
        }
    }
    Ok(())
}
