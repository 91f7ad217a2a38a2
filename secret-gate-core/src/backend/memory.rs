use std::sync::Mutex;

use async_trait::async_trait;

use super::{BackendError, SecretBackend};
use crate::sync::lock;
use crate::{Field, Item, ItemSummary, SecretValue, Vault};

/// Vaults in memory, for tests, demonstrations and examples.
///
/// ```
/// use secret_gate_core::{Field, FieldKind, Item, MemoryBackend};
///
/// let backend = MemoryBackend::new()
///     .with_vault("v1", "infra")
///     .with_item(Item::new("i1", "v1", "database")
///         .with_field(Field::new("f1", "password", FieldKind::concealed(), "hunter2")));
/// ```
#[derive(Debug, Default)]
pub struct MemoryBackend {
    contents: Mutex<Contents>,
}

#[derive(Debug, Default)]
struct Contents {
    vaults: Vec<Vault>,
    items: Vec<Item>,
}

impl MemoryBackend {
    /// No vaults, no items.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The same with one more vault.
    #[must_use]
    pub fn with_vault(self, id: impl Into<String>, name: impl Into<String>) -> Self {
        lock(&self.contents).vaults.push(Vault::new(id, name));
        self
    }

    /// The same with one more item, in the vault that the item names.
    #[must_use]
    pub fn with_item(self, item: Item) -> Self {
        self.put(item);
        self
    }

    /// Puts an item into its vault, in place of an earlier one of the same id there.
    pub fn put(&self, item: Item) {
        let mut contents = lock(&self.contents);
        contents.items.retain(|known| (&known.vault_id, &known.id) != (&item.vault_id, &item.id));
        contents.items.push(item);
    }

    /// Takes an item away.
    pub fn remove(&self, vault_id: &str, item_id: &str) {
        lock(&self.contents).items.retain(|item| (item.vault_id.as_str(), item.id.as_str()) != (vault_id, item_id));
    }
}

#[async_trait]
impl SecretBackend for MemoryBackend {
    async fn vaults(&self) -> Result<Vec<Vault>, BackendError> {
        Ok(lock(&self.contents).vaults.clone())
    }

    async fn items(&self, vault_id: &str) -> Result<Vec<ItemSummary>, BackendError> {
        let contents = lock(&self.contents);
        if !contents.vaults.iter().any(|vault| vault.id == vault_id) {
            return Err(BackendError::NotFound);
        }
        let items = contents.items.iter().filter(|item| item.vault_id == vault_id);
        Ok(items.map(|item| ItemSummary::new(&item.id, &item.title)).collect())
    }

    async fn item(&self, vault_id: &str, item_id: &str) -> Result<Item, BackendError> {
        let contents = lock(&self.contents);
        let found = contents.items.iter().find(|item| item.vault_id == vault_id && item.id == item_id);
        found.map(copy).ok_or(BackendError::NotFound)
    }

    async fn check(&self) -> Result<(), BackendError> {
        Ok(())
    }
}

// `SecretValue` is not `Clone`, so that copies are made in few places and on purpose.
fn copy(item: &Item) -> Item {
    let Item { id, vault_id, title, revision, fields } = item;
    Item {
        id: id.clone(),
        vault_id: vault_id.clone(),
        title: title.clone(),
        revision: revision.clone(),
        fields: fields.iter().map(copy_field).collect(),
    }
}

fn copy_field(field: &Field) -> Field {
    let Field { id, label, kind, section, value, code } = field;
    Field {
        id: id.clone(),
        label: label.clone(),
        kind: kind.clone(),
        section: section.clone(),
        value: SecretValue::copy_of(value.expose()),
        code: current_code(field).or_else(|| code.as_ref().map(|code| SecretValue::copy_of(code.expose()))),
    }
}

#[cfg(feature = "otp")]
fn current_code(field: &Field) -> Option<SecretValue> {
    field.kind.is_one_time_password().then(|| crate::otp::current_code(&field.value)).flatten()
}

#[cfg(not(feature = "otp"))]
const fn current_code(_field: &Field) -> Option<SecretValue> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FieldKind;

    #[tokio::test]
    async fn reads_by_ids() {
        let item =
            || Item::new("i", "v", "db").with_field(Field::new("f", "password", FieldKind::concealed(), "hunter2"));
        let backend = MemoryBackend::new().with_vault("v", "infra").with_item(item());
        backend.put(item());
        assert_eq!(backend.items("v").await.unwrap(), [ItemSummary::new("i", "db")]);
        assert_eq!(backend.item("v", "i").await.unwrap().field("password").unwrap().value.expose(), "hunter2");
        assert!(matches!(backend.item("v", "db").await, Err(BackendError::NotFound)));
        assert!(matches!(backend.items("infra").await, Err(BackendError::NotFound)));
        backend.remove("v", "i");
        assert!(matches!(backend.item("v", "i").await, Err(BackendError::NotFound)));
    }
}
