//! From a name to exactly what is shown and released.

use super::*;

#[tokio::test]
async fn what_changed_since_it_was_asked_is_not_released() {
    let changes: [fn(&MemoryBackend); 4] = [
        |vaults| vaults.put(item("v1", "i1", "database", 2)),
        |vaults| vaults.put(item("v1", "i1", "renamed", 1)),
        |vaults| vaults.remove("v1", "i1"),
        |vaults| {
            vaults.remove("v1", "i1");
            vaults.put(item("v2", "i1", "database", 1));
        },
    ];
    for change in changes {
        let test = TestGate::new(ScriptedApprover::new());
        let token = test.approved("database").await;
        change(&test.vaults.inner);
        assert!(matches!(test.gate.redeem(&token).await, Err(Error::ItemChanged { .. })));
        // unspent: once it is as it was, it is released
        test.vaults.inner.remove("v2", "i1");
        test.vaults.inner.put(item("v1", "i1", "database", 1));
        assert!(test.gate.redeem(&token).await.is_ok());
    }
}

#[tokio::test]
async fn without_a_revision_fields_are_compared() {
    let test = TestGate::new(ScriptedApprover::new());
    let bare =
        |label: &str| Item::new("i9", "v1", "bare").with_field(Field::new("f", label, FieldKind::concealed(), "x"));
    test.vaults.inner.put(bare("key"));
    let token = test.approved("bare").await;
    test.vaults.inner.put(bare("other"));
    assert!(matches!(test.gate.redeem(&token).await, Err(Error::ItemChanged { .. })));
}

#[tokio::test]
async fn only_the_fields_named_are_shown_and_released() {
    let human = ScriptedApprover::new().then(Decision::approve("Ann"));
    let test = TestGate::new(human);
    let release = test.gate.request(Request::new("database").field("password")).await.unwrap();
    let asked = test.human.asked(0).await;
    assert_eq!(asked.question.items[0].fields.iter().map(|f| f.name.as_str()).collect::<Vec<_>>(), ["password"]);
    assert_eq!(release.items[0].fields.iter().map(|field| field.name.as_str()).collect::<Vec<_>>(), ["password"]);
    let unknown = test.gate.submit(Request::new("database").field("pasword")).await.unwrap_err();
    assert!(matches!(unknown, Error::UnknownField { fields, .. } if fields == ["username", "password"]));
}

#[tokio::test]
async fn names_mean_one_item_or_nobody_is_asked() {
    let test = TestGate::new(ScriptedApprover::new());
    test.vaults.inner.put(item("v2", "i4", "database", 1));
    let ask = |wanted: Wanted| test.gate.submit(Request::of([wanted]));
    assert!(
        matches!(ask(Wanted::new("database")).await, Err(Error::Ambiguous { candidates, .. }) if candidates.len() == 2)
    );
    assert!(matches!(ask(Wanted::new("data")).await, Err(Error::Ambiguous { .. })));
    assert!(
        matches!(ask(Wanted::new("base")).await, Err(Error::NotFound { suggestions, .. }) if suggestions.len() == 2)
    );
    let unknown = ask(Wanted::new("database").in_vault("nowhere")).await.unwrap_err();
    assert_eq!(unknown.to_string(), "no vault goes by the name nowhere");
    let unknown = ask(Wanted::new("nothing").in_vault("Infra")).await.unwrap_err();
    assert_eq!(unknown.to_string(), "no secret goes by the name nothing");
    assert!(matches!(ask(Wanted::new("")).await, Err(Error::MissingName)));
    assert!(matches!(ask(Wanted::new(" \t")).await, Err(Error::MissingName)));
    assert!(matches!(ask(Wanted::new("op://infra/database")).await, Err(Error::Reference(_))));
    assert!(matches!(
        ask(Wanted::new("op://infra/database/password").field("x")).await,
        Err(Error::ReferenceWithFields)
    ));
    assert!(matches!(test.gate.submit(Request::default()).await, Err(Error::MissingName)));
    let many = (0..21).map(|_| Wanted::new("database"));
    assert!(matches!(test.gate.submit(Request::of(many)).await, Err(Error::TooManySecrets { .. })));
    let empty_use = Request::new("deploy-key").for_use(Use::default());
    assert!(matches!(test.gate.submit(empty_use).await, Err(Error::Use(_))));
    assert_eq!(test.human.count(), 0);

    ask(Wanted::new("database").in_vault("web")).await.unwrap();
    ask(Wanted::new("deploy")).await.unwrap();
    ask(Wanted::new("op://infra/database/password")).await.unwrap();
    let titles = |at| async move { test.human.asked(at).await.question.items[0].clone() };
    assert_eq!(titles(0).await.vault, "web");
}

#[tokio::test]
async fn the_human_sees_the_resolved_title() {
    let test = TestGate::new(ScriptedApprover::new());
    test.submit("DEPLOY").await;
    let question = test.human.asked(0).await.question;
    assert_eq!((question.items[0].title.as_str(), question.items[0].vault.as_str()), ("deploy-key", "infra"));
}

#[tokio::test]
async fn a_vault_that_cannot_be_listed_is_no_vault_without_the_item() {
    let test = TestGate::new(ScriptedApprover::new());
    test.vaults.fail_vault("v2", false);
    assert!(
        matches!(test.gate.submit(Request::new("deploy")).await, Err(Error::Unlisted { vaults }) if vaults == ["web"])
    );
    assert!(matches!(test.gate.submit(Request::new("cookies")).await, Err(Error::Unlisted { .. })));
    test.gate.submit(Request::new("deploy-key")).await.unwrap();
    assert_eq!(test.gate.search("deploy", 10).await.unwrap().incomplete, ["web"]);

    let test = TestGate::new(ScriptedApprover::new());
    test.vaults.fail_vault("v2", true);
    test.gate.submit(Request::new("deploy")).await.unwrap();
    assert!(matches!(test.gate.submit(Request::new("cookies")).await, Err(Error::NotFound { .. })));
    assert!(test.gate.search("deploy", 10).await.unwrap().incomplete.is_empty());
}

#[tokio::test]
async fn a_new_item_is_found_at_once_and_searches_share_an_index() {
    let test = TestGate::new(ScriptedApprover::new());
    for _ in 0..10 {
        assert_eq!(test.gate.search("database", 10).await.unwrap().matches.len(), 1);
    }
    assert_eq!(*test.vaults.listings.borrow(), 1);
    test.vaults.inner.put(item("v1", "i9", "brand-new", 1));
    assert_eq!(test.gate.search("brand", 10).await.unwrap().matches.len(), 1);
    assert_eq!(*test.vaults.listings.borrow(), 2);
    test.vaults.inner.put(item("v1", "i10", "newer", 1));
    test.submit("newer").await;
    assert_eq!(*test.vaults.listings.borrow(), 3);
    // renamed since it was listed: the name does not mean it any more
    test.vaults.inner.put(item("v1", "i10", "older", 2));
    assert!(matches!(test.gate.submit(Request::new("newer")).await, Err(Error::NotFound { .. })));
}

#[tokio::test]
async fn items_that_look_alike_are_shown_with_their_ids() {
    let test = TestGate::new(ScriptedApprover::new());
    test.submit("database").await;
    assert_eq!(test.human.asked(0).await.question.items[0].ids, None);
    test.vaults.inner.put(item("v1", "i9", "database", 1));
    test.clock.advance(Duration::from_secs(6));
    test.submit("i9").await;
    assert_eq!(test.human.asked(1).await.question.items[0].ids.as_deref(), Some("ids v1/i9"));
}

#[tokio::test]
async fn a_field_goes_by_its_label_and_not_by_an_id_that_says_something_else() {
    let test = TestGate::new(ScriptedApprover::new());
    let field = Field::new("password", "root signing key", FieldKind::concealed(), "x");
    test.vaults.inner.put(Item::new("i9", "v1", "keys").with_field(field));
    let unknown = test.gate.submit(Request::new("keys").field("password")).await;
    assert!(matches!(unknown, Err(Error::UnknownField { fields, .. }) if fields == ["root signing key"]));
}

#[tokio::test]
async fn a_failed_look_at_the_titles_is_shared_by_those_who_waited_for_it() {
    let test = TestGate::new(ScriptedApprover::new());
    test.vaults.fail_listings(true);
    let searches = (0..10).map(|_| test.gate.search("database", 10));
    let results = futures_util::future::join_all(searches).await;
    assert!(results.iter().all(|result| matches!(result, Err(Error::Backend { .. }))));
    assert_eq!(*test.vaults.listings.borrow(), 1);
    test.vaults.fail_listings(false);
    assert_eq!(test.gate.search("database", 10).await.unwrap().matches.len(), 1);
}
