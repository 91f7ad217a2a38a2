//! A vault of your own: environment variables as items, the program's environment as the vault.
//!
//! `GREETING=hello cargo run -p secret-gate-examples --example custom_backend`

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use secret_gate_core::{
    BackendError, Decision, Field, FieldKind, FnApprover, Gate, Item, ItemSummary, Request, SecretBackend, SecretValue,
    Vault,
};

const VAULT: &str = "environment";

/// Each variable is an item with one field, `value`. A backend only reads by ids; finding names is the gate's work.
struct Environment {
    variables: BTreeMap<String, SecretValue>,
}

impl Environment {
    /// The variables there are now.
    fn of_this_process() -> Self {
        Self::from_iter(std::env::vars())
    }
}

impl FromIterator<(String, String)> for Environment {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(variables: I) -> Self {
        Self { variables: variables.into_iter().map(|(name, value)| (name, value.into())).collect() }
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Environment").field("variables", &self.variables.len()).finish()
    }
}

#[async_trait]
impl SecretBackend for Environment {
    async fn vaults(&self) -> Result<Vec<Vault>, BackendError> {
        Ok(vec![Vault::new(VAULT, VAULT)])
    }

    async fn items(&self, vault_id: &str) -> Result<Vec<ItemSummary>, BackendError> {
        if vault_id != VAULT {
            return Err(BackendError::NotFound);
        }
        Ok(self.variables.keys().map(|name| ItemSummary::new(name, name)).collect())
    }

    async fn item(&self, vault_id: &str, item_id: &str) -> Result<Item, BackendError> {
        let value = self.variables.get(item_id).filter(|_| vault_id == VAULT).ok_or(BackendError::NotFound)?;
        let value = SecretValue::copy_of(value.expose());
        Ok(Item::new(item_id, VAULT, item_id).with_field(Field::new("value", "value", FieldKind::concealed(), value)))
    }

    async fn check(&self) -> Result<(), BackendError> {
        Ok(())
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), secret_gate_core::Error> {
    let approver = FnApprover::new(|_| async { Decision::approve("the example") });
    let gate = Gate::builder(Arc::new(Environment::of_this_process()), Arc::new(approver)).build();

    let release = gate.request(Request::new("GREETING").reason("say hello")).await?;
    println!("{}", release.value("value").map_or("", SecretValue::expose));
    Ok(())
}

#[cfg(test)]
#[tokio::test]
async fn keeps_the_rules_of_backends() {
    let backend =
        Environment::from_iter([("GREETING", "hello"), ("OTHER", "value")].map(|(k, v)| (k.into(), v.into())));
    let item = |name: &str, value: &str| {
        Item::new(name, VAULT, name).with_field(Field::new("value", "value", FieldKind::concealed(), value))
    };
    let (known, second) = (item("GREETING", "hello"), item("OTHER", "value"));
    secret_gate_core::conformance::backend::all(&backend, &known, &second).await;
}
