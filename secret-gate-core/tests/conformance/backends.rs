use std::time::Duration;

use secret_gate_core::{Field, FieldKind, Item, MemoryBackend, OnePassword, Revision, SecretValue, conformance};
use secret_gate_doubles::ConnectDouble;
use serde_json::json;

pub(crate) fn database() -> Item {
    let item = Item::new("i1", "v1", "database");
    item.with_field(Field::new("f1", "username", FieldKind::text(), "orders-admin"))
        .with_field(Field::new("f2", "password", FieldKind::concealed(), "hunter2-planted"))
        .with_field(Field::new("f3", "password", FieldKind::concealed(), "hunter3-planted").in_section("staging"))
}

/// Another in the same vault.
pub(crate) fn second() -> Item {
    let field = Field::new("f1", "password", FieldKind::concealed(), "another-value");
    Item::new("i2", "v1", "database").with_field(field)
}

/// The known item, others beside it, and one of the same id in another vault.
pub(crate) fn memory() -> MemoryBackend {
    let other = |id: &str, vault: &str, title: &str| {
        Item::new(id, vault, title).with_field(Field::new("f1", "password", FieldKind::concealed(), "another-value"))
    };
    MemoryBackend::new()
        .with_vault("v1", "infra")
        .with_vault("v2", "infra too")
        .with_item(database())
        .with_item(second())
        .with_item(other("i1", "v2", "database"))
        .with_item(other("i3", "v2", ""))
}

#[tokio::test]
async fn memory_backend() {
    let backend = memory();
    conformance::backend::all(&backend, &database(), &second()).await;
    backend.put(database().with_revision(Revision::Version(1)));
    let change = async { backend.put(database().with_revision(Revision::Version(2))) };
    conformance::backend::a_change_shows(&backend, &database(), change).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn onepassword() {
    let connect = ConnectDouble::start().await.unwrap();
    let (vault, other) = (connect.add_vault("", "infra"), connect.add_vault("", "other"));
    let fields = json!([
        {"id": "f1", "type": "STRING", "label": "username", "value": "orders-admin"},
        {"id": "f2", "type": "CONCEALED", "label": "password", "value": "hunter2-planted"},
    ]);
    let id = connect.add_item(&vault, json!({"title": "database", "category": "LOGIN", "fields": fields}));
    let [second, _] = [&vault, &other].map(|vault| {
        let fields = json!([{"id": "f2", "type": "CONCEALED", "label": "password", "value": "another-value"}]);
        connect.add_item(vault, json!({"title": "database", "category": "LOGIN", "fields": fields}))
    });
    let second = Item::new(second, &vault, "database").with_field(Field::new(
        "f2",
        "password",
        FieldKind::concealed(),
        "another-value",
    ));
    let known = Item::new(&id, vault, "database")
        .with_field(Field::new("f1", "username", FieldKind::text(), "orders-admin"))
        .with_field(Field::new("f2", "password", FieldKind::concealed(), "hunter2-planted"));
    let backend = OnePassword::builder(connect.url(), SecretValue::new(connect.token()))
        .first_pause(Duration::from_millis(2))
        .build()
        .unwrap();
    conformance::backend::all(&backend, &known, &second).await;
    let change = async { connect.update_item(&id, |item| item["fields"][1]["value"] = "hunter4-planted".into()) };
    conformance::backend::a_change_shows(&backend, &known, change).await;
}
