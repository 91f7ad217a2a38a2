//! A secret behind a question on the terminal: nobody gets it unless you say yes.
//!
//! `cargo run -p secret-gate-examples --example quickstart`

use std::sync::Arc;

use secret_gate_core::{Error, Field, FieldKind, Gate, Item, MemoryBackend, Request, TerminalApprover};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    // where secrets live: here in memory; `OnePassword` reads them from a 1Password Connect server
    let password = Field::new("f1", "password", FieldKind::concealed(), "hunter2");
    let database = Item::new("i1", "v1", "database").with_field(password);
    let vault = MemoryBackend::new().with_vault("v1", "infra").with_item(database);

    // who says yes: whoever sits here; `TelegramApprover` asks on the phone
    let gate = Gate::builder(Arc::new(vault), Arc::new(TerminalApprover::new())).build();

    let request = Request::new("database").field("password").reason("migrate the orders table");
    match gate.request(request).await {
        Ok(release) => println!("released {} bytes", release.value("password").map_or(0, |value| value.len())),
        Err(Error::Denied { by }) => println!("denied by {by}"),
        Err(other) => return Err(other),
    }
    Ok(())
}
