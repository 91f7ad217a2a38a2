//! Releasing: once, for exactly what was approved.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt as _;
use tokio::sync::oneshot;
use tracing::Instrument as _;

use crate::approver::Approval;
use crate::gate::pin::Pin;
use crate::gate::request::{Phase, Record, State};
use crate::gate::token::Token;
use crate::gate::{Gate, Inner};
use crate::{Error, FieldKind, Grant, Revision, SecretValue};

/// What a request released.
#[derive(Debug)]
#[non_exhaustive]
pub struct Release {
    /// The items, each with the fields that were approved.
    pub items: Vec<ReleasedItem>,
    /// What the approval allows, for requests with an intended use.
    pub grant: Option<Grant>,
    /// Whether fields were named; otherwise the request was for whole items.
    pub fields_named: bool,
}

/// An item with the fields that were approved.
#[derive(Debug)]
#[non_exhaustive]
pub struct ReleasedItem {
    /// Names the item within its release: the title, or `vault/title` where two would collide.
    pub name: String,
    /// The title.
    pub title: String,
    /// The vault's id.
    pub vault_id: String,
    /// The vault's name.
    pub vault: String,
    /// The item's id.
    pub item_id: String,
    /// The revision that was approved and read.
    pub revision: Revision,
    /// The fields.
    pub fields: Vec<ReleasedField>,
}

/// A field that was approved.
#[derive(Debug)]
#[non_exhaustive]
pub struct ReleasedField {
    /// The name that it was shown under.
    pub name: String,
    /// Its kind.
    pub kind: FieldKind,
    /// Its value.
    pub value: SecretValue,
}

impl ReleasedField {
    /// A field of this name and kind.
    pub fn new(name: impl Into<String>, kind: FieldKind, value: impl Into<SecretValue>) -> Self {
        Self { name: name.into(), kind, value: value.into() }
    }

    // not `Clone`, so that copies of values are made on purpose
    pub(super) fn copy(&self) -> Self {
        let Self { name, kind, value } = self;
        Self::new(name.clone(), kind.clone(), SecretValue::copy_of(value.expose()))
    }
}

impl Release {
    /// The value of the field of this name in the first item that has one.
    #[must_use]
    pub fn value(&self, field: &str) -> Option<&SecretValue> {
        self.items.iter().find_map(|item| item.value(field))
    }
}

impl ReleasedItem {
    /// The value of the field of this name.
    #[must_use]
    pub fn value(&self, field: &str) -> Option<&SecretValue> {
        self.field(field).map(|field| &field.value)
    }

    /// The field of this name.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&ReleasedField> {
        self.fields.iter().find(|field| field.name == name)
    }

    // as for fields
    pub(super) fn copy(&self) -> Self {
        let Self { name, title, vault_id, vault, item_id, revision, fields } = self;
        let fields = fields.iter().map(ReleasedField::copy).collect();
        Self {
            name: name.clone(),
            title: title.clone(),
            vault_id: vault_id.clone(),
            vault: vault.clone(),
            item_id: item_id.clone(),
            revision: revision.clone(),
            fields,
        }
    }
}

impl Gate {
    /// Releases an approved request. However many calls race, exactly one gets the values.
    ///
    /// If the caller goes away before the values are on their way, the token stays unspent.
    ///
    /// # Errors
    /// [`Error::NotApproved`] before approval and after denial, expiry, withdrawal and revocation;
    /// [`Error::AlreadyUsed`] after the release; [`Error::UnknownToken`] for a token that no request has, or whose request
    /// was forgotten. [`Error::ItemChanged`], [`Error::Backend`], [`Error::Audit`] and [`Error::Internal`], which says that
    /// the backend or the audit log panicked, leave the token unspent.
    pub async fn redeem(&self, token: &Token) -> Result<Release, Error> {
        let inner = &self.inner;
        loop {
            let record = inner.record(token)?;
            let id = &record.question.id;
            match &record.state {
                State::Approved(_) if record.has_expired(inner.clock.now()) => inner.expire(&record).await,
                State::Approved(approval) => {
                    let releasing = State::Releasing(Arc::clone(approval));
                    if inner.store.compare_and_set(id, Phase::Approved, releasing, inner.clock.now()) {
                        let approval = Arc::clone(approval);
                        return Arc::clone(inner).release_in_task(record, approval).await;
                    }
                }
                // another call is at it: it releases, or gives the token back
                State::Releasing(_) => drop(inner.store.changed(id, Phase::Releasing).await),
                State::Released(_) => return Err(Error::AlreadyUsed),
                State::Pending
                | State::Denied { .. }
                | State::Expired { .. }
                | State::Withdrawn
                | State::Revoked(_) => return Err(Error::NotApproved),
            }
        }
    }
}

impl Inner {
    // In a task of its own, so that a caller who goes away never leaves the request half-released.
    async fn release_in_task(self: Arc<Self>, record: Record, approval: Arc<Approval>) -> Result<Release, Error> {
        let (answer, answered) = oneshot::channel();
        let releasing = async move {
            let releasing = self.release(&record, &approval, || !answer.is_closed());
            // a backend or audit log that panics gives the token back like one that fails
            let released = AssertUnwindSafe(releasing).catch_unwind().await;
            let released = released.unwrap_or(Err(Error::Internal("the release panicked")));
            if released.is_err() {
                self.give_back(&record, approval).await;
            }
            // The values are dropped, and wiped, if the caller went away in this very moment.
            answer.send(released).ok();
        };
        tokio::spawn(releasing.in_current_span());
        answered.await.map_err(|_| Error::Internal("the task that releases died"))?
    }

    async fn release(
        &self,
        record: &Record,
        approval: &Arc<Approval>,
        is_wanted: impl Fn() -> bool + Send + Sync,
    ) -> Result<Release, Error> {
        let names = Pin::release_names(&record.pins);
        let mut items = Vec::with_capacity(record.pins.len());
        for (pin, name) in record.pins.iter().zip(names) {
            items.push(pin.read(self.backend.as_ref(), name).await?);
        }
        if record.has_expired(self.clock.now()) || !is_wanted() {
            return Err(Error::NotApproved);
        }
        let released = State::Released(Arc::clone(approval));
        let entry = record.audit_entry(&released, self.clock.now());
        let anchor = self.journal.write(&entry).await?;
        if !self.step(record, Phase::Releasing, released.recorded(anchor)) {
            return Err(Error::Internal("the request changed under its release"));
        }
        let fields_named = record.pins.iter().any(|pin| pin.fields_named);
        Ok(Release { items, grant: approval.grant.clone(), fields_named })
    }

    async fn give_back(&self, record: &Record, approval: Arc<Approval>) {
        let id = &record.question.id;
        self.store.compare_and_set(id, Phase::Releasing, State::Approved(approval), self.clock.now());
        // its time may have run out meanwhile
        if let Some(record) = self.store.get(id) {
            self.expire(&record).await;
        }
    }
}
