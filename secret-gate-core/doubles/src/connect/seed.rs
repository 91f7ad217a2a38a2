//! Vaults and items to try things by hand: a few invented ones, or those of a file.

use serde_json::{Value, json};

use super::world::World;
use crate::error::DoubleError;

pub(super) fn demo(world: &mut World) {
    let servers = world.add_vault("", "Servers");
    let accounts = world.add_vault("", "Accounts");
    for (vault, item) in
        [(&servers, database()), (&servers, deploy_host()), (&accounts, payment_key()), (&accounts, mail_login())]
    {
        world.add_item(vault, item);
    }
}

pub(super) fn load(world: &mut World, document: &Value) -> Result<(), DoubleError> {
    let no_list = || DoubleError::Seed { what: "the items file has no list \"vaults\"".to_owned() };
    let vaults = document.get("vaults").and_then(Value::as_array).ok_or_else(no_list)?;
    for vault in vaults {
        let text = |member| vault.get(member).and_then(Value::as_str);
        let name = text("name")
            .ok_or_else(|| DoubleError::Seed { what: "a vault in the items file has no \"name\"".to_owned() })?;
        let id = world.add_vault(text("id").unwrap_or_default(), name);
        let items = vault.get("items").and_then(Value::as_array);
        for item in items.into_iter().flatten() {
            world.add_item(&id, item.clone());
        }
    }
    Ok(())
}

fn database() -> Value {
    json!({
        "title": "Postgres production",
        "category": "DATABASE",
        "tags": ["production"],
        "sections": [{"id": "replica", "label": "Read replica"}],
        "fields": [
            {"id": "hostname", "type": "STRING", "label": "server", "value": "db.internal.example"},
            {"id": "username", "type": "STRING", "label": "username", "value": "app"},
            {"id": "password", "type": "CONCEALED", "label": "password", "value": "demo-correct-horse"},
            {"id": "replicapassword", "type": "CONCEALED", "label": "password",
             "section": {"id": "replica"}, "value": "demo-battery-staple"},
        ],
    })
}

fn deploy_host() -> Value {
    json!({
        "title": "Deploy host",
        "category": "SERVER",
        "fields": [
            {"id": "url", "type": "STRING", "label": "URL", "value": "ssh://deploy.example"},
            {"id": "password", "type": "CONCEALED", "label": "password", "value": "demo-deploy-password"},
        ],
    })
}

fn payment_key() -> Value {
    json!({
        "title": "Payment provider",
        "category": "API_CREDENTIAL",
        "fields": [
            {"id": "credential", "type": "CONCEALED", "label": "credential", "value": "demo-payment-key-0001"},
        ],
    })
}

fn mail_login() -> Value {
    json!({
        "title": "Mail",
        "category": "LOGIN",
        "urls": [{"primary": true, "href": "https://mail.example"}],
        "fields": [
            {"id": "username", "type": "STRING", "purpose": "USERNAME", "label": "username", "value": "ann@mail.example"},
            {"id": "password", "type": "CONCEALED", "purpose": "PASSWORD", "label": "password", "value": "demo-mail-password"},
            {"id": "notesPlain", "type": "STRING", "purpose": "NOTES", "label": "notesPlain", "value": "Invented for the demo."},
        ],
    })
}
