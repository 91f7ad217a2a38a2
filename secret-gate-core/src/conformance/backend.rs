//! What every [`SecretBackend`] must do.
//!
//! Each rule takes the backend and `known`, an item that it holds: with its id, its vault's id, its title, and at least
//! one field with its kind and value. The item may have more fields than `known` says, and the backend more items. The
//! suite only reads. The values of `known` should occur nowhere else, since the suite looks for them in what is printed.
//! `second` is another such item in the same vault, which tells whether listings are complete.
//!
//! Whether the backend notices changes takes somebody to change something. [`a_change_shows`] is not part of [`all`], and
//! is for backends that tell revisions.

#![expect(clippy::panic, clippy::missing_panics_doc, reason = "a suite fails the test that calls it")]

use std::collections::HashSet;

use futures_util::FutureExt as _;
use futures_util::future::join_all;

use crate::{BackendError, Item, Revision, SecretBackend};

/// Reads that run at the same time.
const AT_ONCE: usize = 50;

/// All rules, one after another.
pub async fn all(backend: &dyn SecretBackend, known: &Item, second: &Item) {
    is_healthy(backend).await;
    vaults_are_listed_once(backend, known).await;
    items_are_listed_once(backend, known).await;
    all_items_are_listed(backend, known, second).await;
    the_item_is_read_whole(backend, known).await;
    the_item_is_read_whole(backend, second).await;
    reading_again_gives_the_same(backend, known).await;
    unknown_vaults_are_not_found(backend, known).await;
    unknown_items_are_not_found(backend, known).await;
    names_are_no_ids(backend, known).await;
    an_item_stays_in_its_vault(backend, known).await;
    odd_ids_are_not_found(backend, known).await;
    many_can_read_at_once(backend, known).await;
    an_abandoned_read_does_no_harm(backend, known).await;
    nothing_shows_a_value(backend, known).await;
}

/// [`check`](SecretBackend::check) is content with a backend that works.
pub async fn is_healthy(backend: &dyn SecretBackend) {
    succeeds(backend.check().await, "a backend that works says so when it is checked");
}

/// Each vault is listed once, under an id; the vault of `known` is among them.
pub async fn vaults_are_listed_once(backend: &dyn SecretBackend, known: &Item) {
    let vaults = succeeds(backend.vaults().await, "vaults can be listed");
    let ids: HashSet<_> = vaults.iter().map(|vault| vault.id.as_str()).collect();
    assert!(!ids.contains(""), "each vault has an id: one is empty");
    assert!(ids.len() == vaults.len(), "each vault is listed once: an id occurs again");
    assert!(ids.contains(known.vault_id.as_str()), "the known item's vault is listed: {} is missing", known.vault_id);
}

/// Each item of a vault is listed once, under an id and with the title that it is read with; `known` is among them.
pub async fn items_are_listed_once(backend: &dyn SecretBackend, known: &Item) {
    let items = succeeds(backend.items(&known.vault_id).await, "the items of a listed vault can be listed");
    let ids: HashSet<_> = items.iter().map(|item| item.id.as_str()).collect();
    assert!(!ids.contains(""), "each item has an id: one is empty");
    assert!(ids.len() == items.len(), "each item is listed once: an id occurs again");
    let Some(listed) = items.iter().find(|item| item.id == known.id) else {
        panic!("the known item is listed: {} is missing", known.id);
    };
    let read = read(backend, known).await;
    assert_eq!(listed.title, read.title, "an item is listed with the title that it is read with");
}

/// A listing is whole: what is not listed can't be found, and a title that is not listed can't be told to be ambiguous.
pub async fn all_items_are_listed(backend: &dyn SecretBackend, known: &Item, second: &Item) {
    assert!(
        known.vault_id == second.vault_id && known.id != second.id,
        "the suite needs two known items in the same vault"
    );
    let items = succeeds(backend.items(&known.vault_id).await, "the items of a listed vault can be listed");
    for item in [known, second] {
        let is_listed = items.iter().any(|listed| listed.id == item.id && listed.title == item.title);
        assert!(is_listed, "all items of a vault are listed: {} is missing", item.id);
    }
}

/// The item comes with its ids, its title and its fields, each with its kind and value.
pub async fn the_item_is_read_whole(backend: &dyn SecretBackend, known: &Item) {
    assert!(!known.fields.is_empty(), "the suite needs a known item with at least one field");
    let read = read(backend, known).await;
    assert_eq!(read.title, known.title, "the item is read with its title");
    for (name, field) in known.named_fields() {
        let Some(found) = read.field(&name) else { panic!("the item is read with its fields: {name} is missing") };
        assert_eq!(found.kind, field.kind, "a field is read with its kind: {name} has another one");
        assert!(found.value.expose() == field.value.expose(), "a field is read with its value: {name} has another one");
    }
}

/// Two reads of an item that nobody changed give the same title, revision and fields: else nothing could be released,
/// since the gate compares what it reads with what the human saw.
pub async fn reading_again_gives_the_same(backend: &dyn SecretBackend, known: &Item) {
    let (first, second) = (read(backend, known).await, read(backend, known).await);
    same(&first, &second, "an item that nobody changed reads the same again");
}

/// An item that was changed has another revision: else the gate would release what no human saw. `change` changes the known
/// item, in whatever way, when it is awaited. Not for backends that tell no revision.
pub async fn a_change_shows(backend: &dyn SecretBackend, known: &Item, change: impl Future<Output = ()>) {
    let before = read(backend, known).await;
    assert!(before.revision != Revision::Unknown, "a backend that notices changes tells revisions: it tells none");
    change.await;
    let after = read(backend, known).await;
    let (before, after) = (&before.revision, &after.revision);
    assert!(after != before, "an item that was changed has another revision: it is {after} as before");
}

/// A vault that does not exist can't be listed or read.
pub async fn unknown_vaults_are_not_found(backend: &dyn SecretBackend, known: &Item) {
    let vaults = succeeds(backend.vaults().await, "vaults can be listed");
    for id in strangers(&known.vault_id) {
        if vaults.iter().all(|vault| vault.id != id) {
            refused(backend.items(&id).await, "a vault that does not exist can't be listed", &id);
            refused(backend.item(&id, &known.id).await, "a vault that does not exist has no items", &id);
        }
    }
}

/// An item that does not exist is not found, and no other comes in its place; nor for the beginning of an id, or for more
/// than an id, which a backend may refuse for their length in whatever way.
pub async fn unknown_items_are_not_found(backend: &dyn SecretBackend, known: &Item) {
    let items = succeeds(backend.items(&known.vault_id).await, "the items of a listed vault can be listed");
    for id in strangers(&known.id) {
        if items.iter().all(|item| item.id != id) {
            refused(backend.item(&known.vault_id, &id).await, "an item that does not exist is not found", &id);
        }
    }
    for id in near(&known.id) {
        if items.iter().all(|item| item.id != id) {
            let answer = backend.item(&known.vault_id, &id).await;
            assert!(answer.is_err(), "an item is found by its whole id: {id:?} was answered");
        }
    }
}

/// A title or a vault's name is no id: finding what a name means is the gate's work. How a backend refuses one is not
/// ruled, since it may not have the form of an id.
pub async fn names_are_no_ids(backend: &dyn SecretBackend, known: &Item) {
    let vaults = succeeds(backend.vaults().await, "vaults can be listed");
    let items = succeeds(backend.items(&known.vault_id).await, "the items of a listed vault can be listed");
    if items.iter().all(|item| item.id != known.title) {
        let read = backend.item(&known.vault_id, &known.title).await;
        assert!(read.is_err(), "an item is read by its id, not by its title");
    }
    for vault in vaults.iter().filter(|vault| vault.id == known.vault_id) {
        if vaults.iter().all(|other| other.id != vault.name) {
            assert!(backend.items(&vault.name).await.is_err(), "a vault is listed by its id, not by its name");
            let read = backend.item(&vault.name, &known.id).await;
            assert!(read.is_err(), "a vault is read by its id, not by its name");
        }
    }
}

/// An item that is asked for in another vault is not found there, unless that vault has one of the same id.
pub async fn an_item_stays_in_its_vault(backend: &dyn SecretBackend, known: &Item) {
    let vaults = succeeds(backend.vaults().await, "vaults can be listed");
    for other in vaults.iter().filter(|vault| vault.id != known.vault_id) {
        match backend.item(&other.id, &known.id).await {
            Ok(item) => assert!(
                item.vault_id == other.id && item.id == known.id,
                "an item is found in its own vault only: vault {} gave one of vault {}",
                other.id,
                item.vault_id,
            ),
            answer @ Err(_) => refused(answer, "an item is found in its own vault only", &other.id),
        }
    }
}

/// Ids that could be mistaken for a path, an address, the end of a text or a pattern name nothing.
pub async fn odd_ids_are_not_found(backend: &dyn SecretBackend, known: &Item) {
    for id in odd(&known.id, &known.vault_id) {
        refused(backend.item(&known.vault_id, &id).await, "an odd id names no item", &id);
    }
    for id in odd(&known.vault_id, &known.id) {
        refused(backend.items(&id).await, "an odd id names no vault", &id);
        refused(backend.item(&id, &known.id).await, "an odd id names no vault", &id);
    }
}

/// Fifty reads at the same time all give the item.
pub async fn many_can_read_at_once(backend: &dyn SecretBackend, known: &Item) {
    let expected = read(backend, known).await;
    let reads = (0..AT_ONCE).map(|_| backend.item(&known.vault_id, &known.id));
    for item in join_all(reads).await {
        let item = succeeds(item, "an item can be read many times at once");
        same(&expected, &item, "an item reads the same many times at once");
    }
}

/// A read that is given up half-way changes nothing for those that follow.
pub async fn an_abandoned_read_does_no_harm(backend: &dyn SecretBackend, known: &Item) {
    let expected = read(backend, known).await;
    for _ in 0..3 {
        // polled once, and dropped
        drop(backend.item(&known.vault_id, &known.id).now_or_never());
        drop(backend.vaults().now_or_never());
        drop(backend.items(&known.vault_id).now_or_never());
    }
    same(&expected, &read(backend, known).await, "a read that was given up changes nothing");
    succeeds(backend.check().await, "a read that was given up changes nothing");
}

/// Neither `Debug` of the backend nor an error holds a value.
pub async fn nothing_shows_a_value(backend: &dyn SecretBackend, known: &Item) {
    let item = read(backend, known).await;
    let mut shown = vec![format!("{backend:?} {backend:#?} {item:?}")];
    for id in strangers(&known.id).into_iter().chain(odd(&known.id, &known.vault_id)) {
        if let Err(error) = backend.item(&known.vault_id, &id).await {
            shown.push(format!("{error} {error:?}"));
        }
        if let Err(error) = backend.items(&id).await {
            shown.push(format!("{error} {error:?}"));
        }
    }
    for (name, field) in known.named_fields() {
        let value = field.value.expose();
        assert!(value.len() >= 5, "the suite needs a longer value of {name}, to tell it from other text");
        assert!(
            !shown.iter().any(|text| text.contains(value)),
            "nothing that is printed holds a value: {name} is there"
        );
    }
}

async fn read(backend: &dyn SecretBackend, known: &Item) -> Item {
    let item = succeeds(backend.item(&known.vault_id, &known.id).await, "the known item can be read");
    assert_eq!(item.id, known.id, "an item is read with the id that it was asked for by");
    assert_eq!(item.vault_id, known.vault_id, "an item is read with the id of the vault that it was asked for in");
    item
}

// no message holds a value
fn same(first: &Item, second: &Item, rule: &str) {
    assert_eq!((&first.id, &first.vault_id, &first.title), (&second.id, &second.vault_id, &second.title), "{rule}");
    assert_eq!(first.revision, second.revision, "{rule}, its revision too");
    let (first, second) = (first.named_fields(), second.named_fields());
    assert_eq!(first.len(), second.len(), "{rule}, all fields");
    for ((name, one), (other_name, other)) in first.iter().zip(&second) {
        assert_eq!(name, other_name, "{rule}, its fields in their order");
        assert!(one.value.expose() == other.value.expose(), "{rule}: {name} has another value");
    }
}

fn succeeds<T>(answer: Result<T, BackendError>, rule: &str) -> T {
    match answer {
        Ok(answer) => answer,
        Err(error) => panic!("{rule}: {error}"),
    }
}

fn refused<T>(answer: Result<T, BackendError>, rule: &str, id: &str) {
    let start: String = id.chars().take(60).collect();
    match answer {
        Err(BackendError::NotFound | BackendError::Forbidden) => {}
        Err(error) => panic!("{rule}: {start:?} is neither not found nor forbidden, but {error:?}"),
        Ok(_) => panic!("{rule}: {start:?} was answered"),
    }
}

/// Ids of the same length, which look as if they could be right.
fn strangers(id: &str) -> Vec<String> {
    let turned: String = id.chars().rev().collect();
    let length = id.chars().count();
    let mut others = vec![turned, "a".repeat(length), "7".repeat(length)];
    others.retain(|other| other != id);
    others
}

/// Ids that lack a piece or have one too many.
fn near(id: &str) -> Vec<String> {
    let (mut cut, mut headless) = (id.to_owned(), id.chars());
    cut.pop();
    headless.next();
    let near = [cut, headless.collect(), format!("{id}a"), format!("{id}{id}"), format!("a{id}"), id.to_uppercase()];
    near.into_iter().filter(|other| other != id && !other.is_empty()).collect()
}

fn odd(id: &str, other: &str) -> Vec<String> {
    let mut odd: Vec<String> =
        ["", ".", "..", "../x", "a/b", "a\\b", "%", "%2e%2e", "%2F", "%00", "\0", "*", "?", "#", "ключ-🔑", "\u{202e}"]
            .map(str::to_owned)
            .into();
    odd.extend([
        format!("../{id}"),
        format!("{other}/../{id}"),
        format!("./{id}"),
        format!("{id}/"),
        format!("{id}/."),
        format!("{id}\0"),
        format!("{id}%00"),
        format!("{id}?x=1"),
        format!("{id}#x"),
        format!("{id}\r\nx: y"),
        format!(" {id}"),
        format!("{id} "),
        format!("{id}\n"),
        format!("{id}' or 'a'='a"),
        "x".repeat(5000),
        id.repeat(5000_usize.div_ceil(id.len().max(1))),
        "🔑".repeat(1250),
    ]);
    odd
}
