//! What is read when all goes well, and with which requests.

use secret_gate_core::{BackendError, ItemSummary, Revision, SecretBackend, SecretValue, Vault};
use serde_json::json;

use super::{Fixture, VALUE, builder};

#[tokio::test]
async fn vaults_items_and_one_item() {
    let fixture = Fixture::start().await;
    let Fixture { connect, backend, vault, item } = &fixture;
    assert_eq!(backend.vaults().await.unwrap(), [Vault::new(vault, "infra")]);
    assert_eq!(backend.items(vault).await.unwrap(), [ItemSummary::new(item, "db")]);
    let read = backend.item(vault, item).await.unwrap();
    assert_eq!((&read.id, &read.vault_id, read.title.as_str()), (item, vault, "db"));
    assert_eq!(read.field("password").unwrap().value.expose(), VALUE);

    let calls = connect.calls();
    let paths: Vec<_> = calls.iter().map(|call| call.path.as_str()).collect();
    let expected = ["/v1/vaults", &format!("/v1/vaults/{vault}/items"), &format!("/v1/vaults/{vault}/items/{item}")];
    assert_eq!(paths, expected);
    assert!(calls.iter().all(|call| call.method == "GET" && call.query.is_empty() && call.authorized));
}

#[tokio::test]
async fn one_time_codes_and_sections() {
    let fixture = Fixture::start().await;
    let item = fixture.connect.add_item(
        &fixture.vault,
        json!({
            "title": "mail", "category": "LOGIN", "sections": [{"id": "s1", "label": "Admin"}],
            "fields": [{"id": "o", "type": "OTP", "label": "code", "section": {"id": "s1"},
                        "value": "otpauth://totp/x?secret=GEZDGNBV", "totp": "123456"}],
        }),
    );
    let item = fixture.backend.item(&fixture.vault, &item).await.unwrap();
    let field = item.field("Admin/code").unwrap();
    assert!(field.kind.is_one_time_password());
    assert_eq!(field.value.expose(), "otpauth://totp/x?secret=GEZDGNBV");
    assert_eq!(field.code.as_ref().map(SecretValue::expose), Some("123456"));
}

#[tokio::test]
async fn an_edit_is_another_revision() {
    let Fixture { connect, backend, vault, item } = Fixture::start().await;
    let before = backend.item(&vault, &item).await.unwrap().revision;
    connect.update_item(&item, |json| json["title"] = json!("other"));
    let after = backend.item(&vault, &item).await.unwrap().revision;
    assert_eq!((before, after), (Revision::Version(1), Revision::Version(2)));
}

#[tokio::test]
async fn a_long_item_comes_whole() {
    let Fixture { connect, backend, vault, .. } = Fixture::start().await;
    let long = "0123456789abcdef\n".repeat(60_000);
    let fields = json!([{"id": "f", "type": "STRING", "value": long}]);
    let item = connect.add_item(&vault, json!({"category": "SECURE_NOTE", "fields": fields}));
    let read = backend.item(&vault, &item).await.unwrap();
    assert_eq!(read.title, item);
    assert!(read.field("f").unwrap().value.expose() == long);
}

#[tokio::test]
async fn what_is_not_there() {
    let fixture = Fixture::start().await;
    let Fixture { connect, backend, vault, item } = &fixture;
    let absent = "aaaaaaaaaaaaaaaaaaaaaaaaaa";
    assert!(matches!(backend.item(vault, absent).await, Err(BackendError::NotFound)));
    assert!(matches!(backend.items(absent).await, Err(BackendError::NotFound)));
    connect.remove_item(item);
    assert!(matches!(backend.item(vault, item).await, Err(BackendError::NotFound)));
    assert_eq!(fixture.calls(), 3);
}

#[tokio::test]
async fn ids_that_would_be_another_path_are_not_asked_for() {
    let fixture = Fixture::start().await;
    let Fixture { backend, vault, item, .. } = &fixture;
    let (up, query) = (format!("../{vault}"), format!("{item}?x=1"));
    for id in ["", "..", ".", "a/b", "a%2Fb", &up, &query] {
        assert!(matches!(backend.items(id).await, Err(BackendError::NotFound)), "{id}");
        assert!(matches!(backend.item(vault, id).await, Err(BackendError::NotFound)), "{id}");
        assert!(matches!(backend.item(id, item).await, Err(BackendError::NotFound)), "{id}");
    }
    assert_eq!(fixture.calls(), 0);
}

#[tokio::test]
async fn hosts_as_people_write_them() {
    let Fixture { connect, vault, .. } = Fixture::start().await;
    for suffix in ["", "/", "/v1", "/v1/"] {
        let backend = builder(&format!("{}{suffix}", connect.url()), &connect.token()).build().unwrap();
        assert_eq!(backend.vaults().await.unwrap(), [Vault::new(&vault, "infra")], "{suffix}");
        backend.check().await.unwrap();
    }
}

#[tokio::test]
async fn healthy() {
    let Fixture { connect, backend, .. } = Fixture::start().await;
    backend.check().await.unwrap();
    let calls = connect.calls();
    let paths: Vec<_> = calls.iter().map(|call| (call.path.as_str(), call.authorized)).collect();
    assert_eq!(paths, [("/v1/vaults", true), ("/health", false)]);
}
