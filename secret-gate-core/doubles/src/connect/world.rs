//! What the server knows: vaults, items, and how it is broken at the moment.

use std::{
    collections::BTreeSet,
    time::{Duration, SystemTime},
};

use serde_json::{Map, Value, json};

use super::{Call, faults::Scope};
use crate::fault::Rules;

#[derive(Debug)]
pub(super) struct World {
    pub(super) token: String,
    pub(super) calls: Vec<Call>,
    pub(super) rules: Rules<Scope>,
    pub(super) forbidden: BTreeSet<String>,
    pub(super) latency: Duration,
    pub(super) synced: bool,
    vaults: Vec<Vault>,
    items: Vec<Item>,
}

#[derive(Debug)]
struct Vault {
    id: String,
    name: String,
    created: String,
    updated: String,
    content_version: u64,
}

#[derive(Debug)]
struct Item {
    id: String,
    vault: String,
    json: Value,
}

impl World {
    pub(super) fn new() -> Self {
        Self {
            token: "connect-double-token".to_owned(),
            calls: Vec::new(),
            rules: Rules::new(),
            forbidden: BTreeSet::new(),
            latency: Duration::ZERO,
            synced: true,
            vaults: Vec::new(),
            items: Vec::new(),
        }
    }

    pub(super) fn add_vault(&mut self, id: &str, name: &str) -> String {
        let id = match id {
            "" | "auto" => new_id(),
            given => given.to_owned(),
        };
        self.vaults.push(Vault {
            id: id.clone(),
            name: name.to_owned(),
            created: now(),
            updated: now(),
            content_version: 1,
        });
        id
    }

    pub(super) fn add_item(&mut self, vault: &str, mut json: Value) -> Option<String> {
        if !self.has_vault(vault) {
            return None;
        }
        let members = object(&mut json);
        let id = match members.get("id").and_then(Value::as_str) {
            Some(id) => id.to_owned(),
            None => new_id(),
        };
        members.insert("id".to_owned(), json!(id));
        members.entry("vault").or_insert_with(|| json!({"id": vault}));
        members.entry("version").or_insert(json!(1));
        members.entry("createdAt").or_insert_with(|| json!(now()));
        members.entry("updatedAt").or_insert_with(|| json!(now()));
        self.items.push(Item { id: id.clone(), vault: vault.to_owned(), json });
        self.touch_vault(vault);
        Some(id)
    }

    /// Applies `edit`; `None` when there is no such item.
    pub(super) fn edit(&mut self, id: &str, bump: bool, edit: impl FnOnce(&mut Value)) -> Option<()> {
        let item = self.items.iter_mut().find(|item| item.id == id)?;
        edit(&mut item.json);
        if bump {
            let members = object(&mut item.json);
            let version = members.get("version").and_then(Value::as_u64).unwrap_or(0);
            members.insert("version".to_owned(), json!(version + 1));
            members.insert("updatedAt".to_owned(), json!(now()));
            let vault = item.vault.clone();
            self.touch_vault(&vault);
        }
        Some(())
    }

    pub(super) fn remove_item(&mut self, id: &str) -> Option<Value> {
        let index = self.items.iter().position(|item| item.id == id)?;
        let item = self.items.remove(index);
        self.touch_vault(&item.vault);
        Some(item.json)
    }

    pub(super) fn move_item(&mut self, id: &str, other_vault: &str) -> Option<String> {
        if !self.has_vault(other_vault) {
            return None;
        }
        let mut json = self.remove_item(id)?;
        let members = object(&mut json);
        for filled_in_anew in ["id", "vault", "version", "updatedAt"] {
            members.remove(filled_in_anew);
        }
        self.add_item(other_vault, json)
    }

    pub(super) fn has_vault(&self, id: &str) -> bool {
        self.vaults.iter().any(|vault| vault.id == id)
    }

    /// The vaults that the token sees, as the API shows them.
    pub(super) fn vaults(&self) -> Vec<Value> {
        let seen = self.vaults.iter().filter(|vault| !self.forbidden.contains(&vault.id));
        seen.map(|vault| self.show_vault(vault)).collect()
    }

    pub(super) fn vault(&self, id: &str) -> Option<Value> {
        let vault = self.vaults.iter().find(|vault| vault.id == id)?;
        Some(self.show_vault(vault))
    }

    /// The summaries of a vault's items: all but the values.
    pub(super) fn summaries(&self, vault: &str) -> Vec<Value> {
        let items = self.items.iter().filter(|item| item.vault == vault);
        items
            .map(|item| {
                let mut summary = item.json.clone();
                for only_in_full in ["fields", "sections", "files"] {
                    object(&mut summary).remove(only_in_full);
                }
                summary
            })
            .collect()
    }

    pub(super) fn item(&self, vault: &str, id: &str) -> Option<Value> {
        let mut items = self.items.iter();
        let item = items.find(|item| item.vault == vault && item.id == id)?;
        Some(item.json.clone())
    }

    fn show_vault(&self, vault: &Vault) -> Value {
        json!({
            "id": vault.id,
            "name": vault.name,
            "description": "",
            "attributeVersion": 1,
            "contentVersion": vault.content_version,
            "items": self.items.iter().filter(|item| item.vault == vault.id).count(),
            "type": "USER_CREATED",
            "createdAt": vault.created,
            "updatedAt": vault.updated,
        })
    }

    fn touch_vault(&mut self, id: &str) {
        if let Some(vault) = self.vaults.iter_mut().find(|vault| vault.id == id) {
            vault.content_version += 1;
            vault.updated = now();
        }
    }
}

/// The members of a JSON object; anything else becomes an empty object first.
fn object(json: &mut Value) -> &mut Map<String, Value> {
    if !json.is_object() {
        *json = Value::Object(Map::new());
    }
    match json {
        Value::Object(members) => members,
        _ => unreachable!("made an object above"),
    }
}

/// 128 random bits in the base 32 that 1Password's ids use: 26 characters of `[a-z2-7]`.
pub(super) fn new_id() -> String {
    const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    // Without entropy ids would repeat, but a machine that far gone runs no tests.
    let mut bits = u128::from(getrandom::u64().unwrap_or(0)) << 64 | u128::from(getrandom::u64().unwrap_or(0));
    let mut id = String::with_capacity(26);
    for _ in 0..26 {
        let index = (bits % 32) as usize;
        id.push(ALPHABET.get(index).copied().map_or('a', char::from));
        bits /= 32;
    }
    id
}

fn now() -> String {
    humantime::format_rfc3339_seconds(SystemTime::now()).to_string()
}
