use std::sync::Mutex;

use async_trait::async_trait;
use secret_gate_core::{
    BackendError, Field, FieldKind, Item, ItemSummary, MemoryBackend, Revision, SecretBackend, Vault, conformance,
};

use super::super::backends::{database, memory, second};
use super::caught;

#[derive(Debug, Clone, Copy, PartialEq)]
enum BackendFault {
    AnyItemForAnUnknownId,
    IgnoresTheVault,
    FindsTitles,
    FindsTheBeginningOfAnId,
    TrimsIds,
    ListsTwice,
    OtherTitleInTheList,
    LosesAField,
    AnotherRevisionEachTime,
    QuotesTheValueInErrors,
    UnknownVaultsAreEmpty,
    CutsIdsAtTheFirstNul,
    UnknownIdsAreUnavailable,
    FailsTheCheck,
    OneReadAtATime,
    ListsOneItem,
    TellsOneKind,
    TellsOneRevision,
}

#[derive(Debug)]
struct BrokenBackend {
    fault: BackendFault,
    inner: MemoryBackend,
    reads: Mutex<i64>,
    busy: Mutex<bool>,
}

#[async_trait]
impl SecretBackend for BrokenBackend {
    async fn vaults(&self) -> Result<Vec<Vault>, BackendError> {
        self.inner.vaults().await
    }

    async fn items(&self, vault_id: &str) -> Result<Vec<ItemSummary>, BackendError> {
        let items = self.inner.items(vault_id).await;
        match self.fault {
            BackendFault::UnknownVaultsAreEmpty => Ok(items.unwrap_or_default()),
            BackendFault::ListsTwice => items.map(|items| [items.clone(), items].concat()),
            BackendFault::ListsOneItem => items.map(|items| items.into_iter().take(1).collect()),
            BackendFault::OtherTitleInTheList => {
                items.map(|items| items.into_iter().map(|item| ItemSummary::new(item.id, "other")).collect())
            }
            _ => items,
        }
    }

    async fn item(&self, vault_id: &str, item_id: &str) -> Result<Item, BackendError> {
        *self.reads.lock().unwrap() += 1;
        let reads = *self.reads.lock().unwrap();
        let read = |vault: &str, item: &str| {
            let (vault, item) = (vault.to_owned(), item.to_owned());
            async move { self.inner.item(&vault, &item).await }
        };
        let exact = read(vault_id, item_id).await;
        match self.fault {
            BackendFault::AnyItemForAnUnknownId if exact.is_err() => read("v1", "i1").await,
            BackendFault::IgnoresTheVault if exact.is_err() => read("v1", item_id).await,
            BackendFault::FindsTitles if item_id == "database" => read(vault_id, "i1").await,
            BackendFault::FindsTheBeginningOfAnId if item_id == "i" => read(vault_id, "i1").await,
            BackendFault::CutsIdsAtTheFirstNul => read(vault_id, item_id.split('\0').next().unwrap()).await,
            BackendFault::TrimsIds => read(vault_id, item_id.trim()).await,
            BackendFault::LosesAField => exact.map(|mut item| {
                item.fields.pop();
                item
            }),
            BackendFault::TellsOneKind => exact.map(|mut item| {
                item.fields.iter_mut().for_each(|field| field.kind = FieldKind::text());
                item
            }),
            BackendFault::TellsOneRevision => exact.map(|item| item.with_revision(Revision::Version(1))),
            BackendFault::AnotherRevisionEachTime => exact.map(|item| item.with_revision(Revision::Version(reads))),
            BackendFault::QuotesTheValueInErrors if exact.is_err() && item_id.is_empty() => {
                Err(BackendError::unavailable("can't tell hunter2-planted from nothing"))
            }
            BackendFault::UnknownIdsAreUnavailable if exact.is_err() => Err(BackendError::unavailable("status 500")),
            BackendFault::OneReadAtATime => {
                if std::mem::replace(&mut *self.busy.lock().unwrap(), true) {
                    return Err(BackendError::unavailable("busy"));
                }
                tokio::task::yield_now().await;
                *self.busy.lock().unwrap() = false;
                exact
            }
            _ => exact,
        }
    }

    async fn check(&self) -> Result<(), BackendError> {
        match self.fault {
            BackendFault::FailsTheCheck => Err(BackendError::Unauthorized),
            _ => Ok(()),
        }
    }
}

fn broken_backend(fault: BackendFault) -> BrokenBackend {
    BrokenBackend { fault, inner: memory(), reads: Mutex::default(), busy: Mutex::default() }
}

#[tokio::test]
async fn backends() {
    use BackendFault::*;
    let faults = [
        (AnyItemForAnUnknownId, "a vault that does not exist has no items"),
        (IgnoresTheVault, "a vault that does not exist has no items"),
        (FindsTitles, "an item is read by its id, not by its title"),
        (FindsTheBeginningOfAnId, "an item is found by its whole id"),
        (TrimsIds, "an odd id names no item"),
        (CutsIdsAtTheFirstNul, "an odd id names no item"),
        (ListsTwice, "each item is listed once"),
        (OtherTitleInTheList, "an item is listed with the title that it is read with"),
        (LosesAField, "the item is read with its fields"),
        (AnotherRevisionEachTime, "an item that nobody changed reads the same again"),
        (UnknownVaultsAreEmpty, "a vault that does not exist can't be listed"),
        (UnknownIdsAreUnavailable, "neither not found nor forbidden"),
        (FailsTheCheck, "a backend that works says so"),
        (ListsOneItem, "all items of a vault are listed: i2 is missing"),
        (TellsOneKind, "a field is read with its kind: password has another one"),
        (OneReadAtATime, "an item can be read many times at once"),
    ];
    for (fault, rule) in faults {
        caught(rule, conformance::backend::all(&broken_backend(fault), &database(), &second())).await;
    }
    let backend = broken_backend(TellsOneRevision);
    conformance::backend::all(&backend, &database(), &second()).await;
    let change = async { backend.inner.put(database().with_revision(Revision::Version(2))) };
    let rule = "an item that was changed has another revision: it is version 1 as before";
    caught(rule, conformance::backend::a_change_shows(&backend, &database(), change)).await;
    let rule = "a backend that notices changes tells revisions";
    caught(rule, conformance::backend::a_change_shows(&memory(), &database(), async {})).await;
    let backend = broken_backend(QuotesTheValueInErrors);
    let rule = "nothing that is printed holds a value";
    caught(rule, conformance::backend::nothing_shows_a_value(&backend, &database())).await;
    let backend = broken_backend(OneReadAtATime);
    let rule = "busy";
    caught(rule, conformance::backend::an_abandoned_read_does_no_harm(&backend, &database())).await;
}

/// A backend that a hurried embedder may write: its derived `Debug` prints what it holds.
#[derive(Debug)]
struct Chatty {
    inner: MemoryBackend,
    #[expect(dead_code, reason = "printed by the derived Debug, which is the fault")]
    password: String,
}

#[async_trait]
impl SecretBackend for Chatty {
    async fn vaults(&self) -> Result<Vec<Vault>, BackendError> {
        self.inner.vaults().await
    }

    async fn items(&self, vault_id: &str) -> Result<Vec<ItemSummary>, BackendError> {
        self.inner.items(vault_id).await
    }

    async fn item(&self, vault_id: &str, item_id: &str) -> Result<Item, BackendError> {
        self.inner.item(vault_id, item_id).await
    }

    async fn check(&self) -> Result<(), BackendError> {
        Ok(())
    }
}

#[tokio::test]
async fn a_backend_that_prints_its_values() {
    let backend = Chatty { inner: memory(), password: "hunter2-planted".to_owned() };
    caught("nothing that is printed holds a value", conformance::backend::all(&backend, &database(), &second())).await;
}

#[tokio::test]
async fn a_backend_without_the_known_item() {
    let other = Item::new("i9", "v1", "elsewhere").with_field(Field::new(
        "f1",
        "password",
        FieldKind::concealed(),
        "some-other-value",
    ));
    caught("the known item is listed", conformance::backend::all(&memory(), &other, &second())).await;
}
