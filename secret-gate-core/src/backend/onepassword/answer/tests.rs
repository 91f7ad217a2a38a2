use proptest::prelude::*;
use serde_json::json;

use super::*;

const VAULT: Id<'static> = id("ftz4pm2xxwmwrsd7rjqn7grzfz");
const ITEM: Id<'static> = id("2fcbqwe9ndg175zg2dzwftvkpa");

const fn id(text: &'static str) -> Id<'static> {
    Id::trusted(text)
}

fn read(json: &serde_json::Value) -> Item {
    item(json.to_string().as_bytes(), VAULT, ITEM).unwrap()
}

fn shown(field: &Field) -> (&str, &str, &str, Option<&str>, &str) {
    (&field.id, &field.label, field.kind.as_str(), field.section.as_deref(), field.value.expose())
}

#[test]
fn an_item_of_the_vendors_document() {
    let item = read(&json!({
        "id": ITEM.as_str(), "title": "Secrets Automation Item", "vault": {"id": VAULT.as_str()}, "category": "LOGIN",
        "urls": [{"primary": true, "href": "https://example.com"}], "favorite": false, "tags": ["a"], "version": 3,
        "state": "ARCHIVED", "createdAt": "2020-08-26T12:49:45Z", "updatedAt": "2020-08-26T12:49:45Z",
        "sections": [{"id": "95cdbc3b", "label": "Security Questions"}],
        "fields": [
            {"id": "username", "type": "STRING", "purpose": "USERNAME", "label": "username", "value": "ann"},
            {"id": "a6cvmeqa", "section": {"id": "95cdbc3b"}, "type": "CONCEALED", "label": "Recovery Key",
             "value": "line\nz\u{e4}hl \"7\"", "entropy": 161.2, "generate": true, "recipe": {"length": 55}},
            {"id": "otp", "type": "OTP", "label": "code", "value": "otpauth://totp/x?secret=AB", "totp": "123456"},
        ],
        "files": [{"id": "6r65pjq33banznomn7q22sj44e", "name": "testfile.txt", "size": 35, "content": "VGhl"}],
    }));
    assert_eq!((item.id.as_str(), item.vault_id.as_str()), (ITEM.as_str(), VAULT.as_str()));
    assert_eq!(item.title, "Secrets Automation Item");
    assert_eq!(item.revision, Revision::Version(3));
    let fields: Vec<_> = item.fields.iter().map(shown).collect();
    assert_eq!(
        fields,
        [
            ("username", "username", "STRING", None, "ann"),
            ("a6cvmeqa", "Recovery Key", "CONCEALED", Some("Security Questions"), "line\nz\u{e4}hl \"7\""),
            ("otp", "code", "OTP", None, "otpauth://totp/x?secret=AB"),
        ]
    );
    let codes: Vec<_> = item.fields.iter().map(|field| field.code.as_ref().map(SecretValue::expose)).collect();
    assert_eq!(codes, [None, None, Some("123456")]);
}

#[test]
fn absent_members() {
    let item = read(&json!({}));
    assert_eq!(item.title, ITEM.as_str());
    assert_eq!(item.revision, Revision::Unknown);
    assert!(item.fields.is_empty());
    let item = read(&json!({"title": null, "updatedAt": "2020-08-26", "fields": [{"id": "f"}], "sections": null}));
    assert_eq!(item.title, ITEM.as_str());
    assert_eq!(item.revision, Revision::UpdatedAt("2020-08-26".to_owned()));
    assert_eq!(shown(&item.fields[0]), ("f", "", "STRING", None, ""));
}

#[test]
fn sections_by_label_or_id() {
    let item = read(&json!({
        "sections": [{"id": "s1", "label": "Admin"}, {"id": "s2"}, {"id": "s3", "label": ""}, {"label": "no id"}, 5],
        "fields": [
            {"id": "a", "section": {"id": "s1"}}, {"id": "b", "section": {"id": "s2"}},
            {"id": "c", "section": {"id": "s3"}}, {"id": "d", "section": {"id": "gone"}},
            {"id": "e", "section": {"id": "gone", "label": "Told here"}}, {"id": "f", "section": {}},
            {"id": "g", "section": "s1"}, {"id": "h", "section": null},
        ],
    }));
    let sections: Vec<_> = item.fields.iter().map(|field| field.section.as_deref()).collect();
    let expected = [Some("Admin"), Some("s2"), Some("s3"), Some("gone"), Some("Told here"), None, None, None];
    assert_eq!(sections, expected);
}

#[test]
fn values_that_are_no_strings() {
    let body = br#"{"fields": [
        {"id": "number", "value": 12345678901234567890.10}, {"id": "truth", "value": true}, {"id": "null", "value": null},
        {"id": "object", "value": {"street": "x"}}, {"id": "list", "value": [1, 2]}, {"id": 7, "label": 8, "type": 9}
    ]}"#;
    let item = item(body, VAULT, ITEM).unwrap();
    let values: Vec<_> = item.fields.iter().map(|field| field.value.expose()).collect();
    assert_eq!(values, ["12345678901234567890.10", "true", "", r#"{"street": "x"}"#, "[1, 2]", ""]);
    assert_eq!(shown(&item.fields[5]), ("7", "8", "9", None, ""));
}

#[test]
fn one_odd_field_costs_only_itself() {
    let body = br#"{"fields": [{"id": "a", "value": "1"}, null, 5, "x", [], {}, {"label": "no id", "value": "2"},
        {"id": "twice", "id": "twice"}, {"id": "half a pair", "value": "\ud800"},
        {"id": "b", "label": [], "type": {}, "section": 4, "value": "3", "totp": null}]}"#;
    let item = item(body, VAULT, ITEM).unwrap();
    let fields: Vec<_> = item.fields.iter().map(shown).collect();
    assert_eq!(fields, [("a", "", "STRING", None, "1"), ("b", "", "STRING", None, "3")]);
}

#[test]
fn answers_that_make_no_sense() {
    for body in ["", "null", "[]", "<html>", "{\"id\":", "{\"fields\": {}}", "{\"fields\": 4}", "{} {}"] {
        assert!(item(body.as_bytes(), VAULT, ITEM).is_err(), "{body}");
    }
    for body in ["", "null", "{}", "<html>", "[{\"id\": \"a\"}", "{\"vaults\": []}", "[\"\u{fffd}"] {
        assert!(vaults(body.as_bytes()).is_err(), "{body}");
        assert!(items(body.as_bytes()).is_err(), "{body}");
    }
    assert!(vaults(b"[\"\xff\"]").is_err());
}

#[test]
fn another_item_than_the_one_asked_for() {
    let other = id("other");
    for body in [json!({"id": "other"}), json!({"id": ITEM.as_str(), "vault": {"id": "other"}})] {
        assert!(item(body.to_string().as_bytes(), VAULT, ITEM).is_err());
    }
    assert!(item(br#"{"id": "other"}"#, VAULT, other).is_ok());
}

#[test]
fn listings() {
    let body =
        br#"[{"id": "v1", "name": "infra", "items": 3}, {"id": "v2"}, {"id": "v3", "name": ""}, {"name": "no id"}, 4]"#;
    assert_eq!(vaults(body).unwrap(), [Vault::new("v1", "infra"), Vault::new("v2", "v2"), Vault::new("v3", "v3")]);
    let body = br#"[{"id": "i1", "title": "db", "vault": 4}, {"id": "i2"}, {"id": "i3", "title": null}, null]"#;
    let expected = [ItemSummary::new("i1", "db"), ItemSummary::new("i2", ""), ItemSummary::new("i3", "i3")];
    assert_eq!(items(body).unwrap(), expected);
    assert_eq!(vaults(b"[]").unwrap(), []);
}

#[test]
fn health() {
    let report = |text: &str| sync_status(text.as_bytes()).map(|status| status.unwrap_or_default());
    let sync = |status: &str| {
        report(&format!(
            r#"{{"dependencies":[{{"service":"sqlite","status":"ACTIVE"}},{{"service":"sync",{status}}}]}}"#
        ))
    };
    assert_eq!(sync(r#""status":"ACTIVE""#), Ok("ACTIVE".to_owned()));
    assert_eq!(sync(r#""status":"TOKEN_NEEDED""#), Ok("TOKEN_NEEDED".to_owned()));
    assert_eq!(sync(r#""status":"<b>anything</b>""#), Ok("state unknown".to_owned()));
    assert_eq!(sync(r#""message":"x""#), Ok("state unknown".to_owned()));
    for silent in ["{}", r#"{"dependencies":null}"#, r#"{"dependencies":[4]}"#] {
        assert_eq!(report(silent), Ok(String::new()));
    }
    assert!(report("OK").is_err());
}

/// Members as Connect knows them, of any shape.
fn odd() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(|value| json!(value)),
        any::<i64>().prop_map(|value| json!(value)),
        any::<String>().prop_map(|value| json!(value)),
        Just(json!(ITEM.as_str())),
        Just(json!(VAULT.as_str())),
    ];
    let name =
        "id|title|name|vault|fields|sections|section|label|type|value|version|updatedAt|dependencies|service|status";
    leaf.prop_recursive(4, 40, 8, move |inner| {
        let list = proptest::collection::vec(inner.clone(), 0..4).prop_map(|values| json!(values));
        list.boxed()
            .prop_union(proptest::collection::btree_map(name, inner, 0..8).prop_map(|members| json!(members)).boxed())
    })
}

proptest! {
    #[test]
    fn any_answer_is_read_or_refused(answer in odd(), cut in any::<proptest::sample::Index>(), bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
        let text = answer.to_string();
        for body in [text.as_bytes(), &text.as_bytes()[..cut.index(text.len() + 1)], &bytes] {
            vaults(body).ok();
            items(body).ok();
            if let Ok(item) = item(body, VAULT, ITEM) {
                prop_assert!(item.id == ITEM.as_str() && item.vault_id == VAULT.as_str());
            }
            if let Ok(Some(status)) = sync_status(body) {
                prop_assert!(status.len() <= 32);
            }
        }
    }

    #[test]
    fn an_item_of_other_ids_is_never_taken(id in "[a-z0-9]{26}", vault in "[a-z0-9]{26}", mut answer in odd()) {
        prop_assume!(id != ITEM.as_str() && vault != VAULT.as_str());
        let read = |answer: &serde_json::Value| item(answer.to_string().as_bytes(), VAULT, ITEM);
        if let Some(members) = answer.as_object_mut() {
            members.insert("id".to_owned(), json!(id));
            prop_assert!(read(&answer).is_err());
        }
        if let Some(members) = answer.as_object_mut() {
            members.insert("id".to_owned(), json!(ITEM.as_str()));
            members.insert("vault".to_owned(), json!({"id": vault}));
            prop_assert!(read(&answer).is_err());
        }
    }
}
