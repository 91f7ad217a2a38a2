//! The gate: the one door between a request and a secret.

mod builder;
mod decide;
mod journal;
mod once;
mod pin;
mod release;
mod request;
mod step;
mod store;
mod submit;
mod take_back;
mod token;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tracing::Instrument as _;

use crate::approver::{Approver, Outcome, Posted};
use crate::audit::AuditEvent;
use crate::cache::Cache;
use crate::clock::Clock;
use crate::index::TitleIndex;
use crate::resolve::{MatchKind, rank};
use crate::sync::lock;
use crate::{Error, FieldKind, RequestId, SecretBackend};

use builder::Settings;
use journal::Journal;
use pin::{FoundItem, Target};
use request::{Phase, Record, State};
use step::Listener;
use store::RequestStore;

pub use builder::GateBuilder;
pub use release::{Release, ReleasedField, ReleasedItem};
pub use request::{Request, Wanted};
pub use step::Step;
pub use submit::Submitted;
pub use token::Token;

/// The furthest that anything here looks ahead; beyond it times could not be written down.
const HORIZON: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// This much later, whatever an embedder may have asked for.
fn later(time: SystemTime, by: Duration) -> SystemTime {
    time + by.min(HORIZON)
}

/// Decides whether a program may use a secret, now, for this.
///
/// A gate is a handle: clones are the same gate.
///
/// # Panics
/// It needs a Tokio runtime with its timer enabled, as `#[tokio::main]` has it: outside of one, the functions that ask,
/// wait, decide, release, take back or write down panic.
///
/// ```
/// use std::sync::Arc;
/// use secret_gate_core::{Decision, Field, FieldKind, Gate, Item, MemoryBackend, Request, ScriptedApprover};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), secret_gate_core::Error> {
/// let vault = MemoryBackend::new().with_vault("v1", "infra").with_item(
///     Item::new("i1", "v1", "database").with_field(Field::new("f1", "password", FieldKind::concealed(), "hunter2")),
/// );
/// let human = ScriptedApprover::new().then(Decision::approve("Ann"));
/// let gate = Gate::builder(Arc::new(vault), Arc::new(human)).build();
///
/// let release = gate.request(Request::new("database").reason("migrate the orders table")).await?;
/// assert_eq!(release.value("password").unwrap().expose(), "hunter2");
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct Gate {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    backend: Arc<dyn SecretBackend>,
    approver: Arc<dyn Approver>,
    cache: Arc<dyn Cache>,
    journal: Arc<Journal>,
    clock: Arc<dyn Clock>,
    index: TitleIndex,
    store: RequestStore,
    posted: Mutex<HashMap<RequestId, Box<dyn Posted>>>,
    // one end of waiting at a time, be it a decision, a withdrawal or expiry, with its line in the audit log: of two at
    // once only the one that counts is written down
    deciding: tokio::sync::Mutex<()>,
    listener: Listener,
    settings: Settings,
}

/// What a search found.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Found {
    /// The matches, best first.
    pub matches: Vec<Match>,
    /// Names of vaults that could not be listed.
    pub incomplete: Vec<String>,
}

/// A title that matches a query.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Match {
    /// The item's title.
    pub title: String,
    /// The vault's name.
    pub vault: String,
    /// How good the match is, from 0 to 1.
    pub score: f64,
    /// How it matches.
    pub kind: MatchKind,
}

/// An item's fields, without values.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fields {
    /// The item's title.
    pub title: String,
    /// The vault's name.
    pub vault: String,
    /// Names and kinds of the fields.
    pub fields: Vec<(String, FieldKind)>,
}

/// How a request stands.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Standing {
    /// The request.
    pub request_id: RequestId,
    /// How it stands; `None` while nobody has decided.
    pub outcome: Option<Outcome>,
    /// Until when it can be approved and redeemed.
    pub expires_at: SystemTime,
}

impl Standing {
    fn of(record: &Record) -> Self {
        Self {
            request_id: record.question.id.clone(),
            outcome: record.state.outcome(),
            expires_at: record.question.expires_at,
        }
    }
}

impl Gate {
    /// Looks for titles. Asks nobody, and reads no values. Returns at most `limit` matches, best first, ties by title and
    /// then by vault, out of titles as old as [`GateBuilder::index_ttl`] allows; where none matches, out of fresh ones.
    /// A vault that can't be listed is named and passed over.
    ///
    /// # Errors
    /// [`Error::MissingQuery`], or [`Error::Backend`] when the vaults can't be listed.
    pub async fn search(&self, query: &str, limit: usize) -> Result<Found, Error> {
        if query.trim().is_empty() {
            return Err(Error::MissingQuery);
        }
        let index = &self.inner.index;
        let mark = index.mark();
        let mut titles = index.at_most(self.inner.settings.index_ttl).await?;
        let mut ranked = rank(&titles.listings, query, limit);
        if ranked.is_empty() {
            titles = index.newer_than(mark).await?;
            ranked = rank(&titles.listings, query, limit);
        }
        let matches = ranked.into_iter().map(|found| Match {
            title: found.entry.item.title,
            vault: found.entry.vault.name,
            score: found.score,
            kind: found.kind,
        });
        let unlisted = titles.listings.iter().filter(|listing| listing.items.is_err());
        Ok(Found {
            matches: matches.collect(),
            incomplete: unlisted.map(|listing| listing.vault.name.clone()).collect(),
        })
    }

    /// The names and kinds of an item's fields. Asks nobody, and gives no values. Of a secret reference the field does
    /// not matter here.
    ///
    /// # Errors
    /// [`Error::MissingName`] and [`Error::Reference`] for what is no name, [`Error::NotFound`], [`Error::Ambiguous`] and
    /// [`Error::Unlisted`] where it does not stand for one item, [`Error::Backend`] when there is no answer.
    pub async fn fields(&self, name: &str, vault: Option<&str>) -> Result<Fields, Error> {
        let (index, backend) = (&self.inner.index, self.inner.backend.as_ref());
        let target = Target::parse(name, vault)?;
        let FoundItem { vault, item, .. } = pin::find(index, backend, index.mark(), &target).await?;
        let fields = item.named_fields().into_iter().map(|(name, field)| (name, field.kind.clone())).collect();
        Ok(Fields { title: item.title, vault: vault.name, fields })
    }

    /// How a request stands now. Waits for nothing.
    ///
    /// # Errors
    /// [`Error::UnknownToken`] for a token that no request has, or whose request was forgotten.
    pub fn standing(&self, token: &Token) -> Result<Standing, Error> {
        Ok(Standing::of(&self.inner.record(token)?))
    }

    /// How a request stands once somebody has decided or it has ended otherwise, or after `up_to` with nothing decided.
    ///
    /// # Errors
    /// [`Error::UnknownToken`] for a token that no request has, or whose request is forgotten meanwhile.
    pub async fn wait(&self, token: &Token, up_to: Duration) -> Result<Standing, Error> {
        let inner = &self.inner;
        let record = inner.record(token)?;
        let decided = inner.store.changed(&record.question.id, Phase::Pending);
        tokio::select! {
            record = decided => record.as_ref().map(Standing::of).ok_or(Error::UnknownToken),
            () = inner.sleep(up_to) => self.standing(token),
        }
    }

    /// Takes a request back: a pending one is withdrawn, an approved or released one revoked. One that has ended
    /// already stays as it is. What was begun is finished even if the caller goes away: a release under way settles
    /// first, and is revoked then.
    ///
    /// # Errors
    /// [`Error::UnknownToken`]; [`Error::Internal`] when the task that does it died.
    pub async fn withdraw(&self, token: &Token) -> Result<(), Error> {
        self.take_back(self.inner.record(token)?).await
    }

    /// Takes a request back by its id, as [`withdraw`](Self::withdraw) does by its token: for whoever operates the gate and
    /// wants something to end that they see in a message or in the audit log.
    ///
    /// # Errors
    /// [`Error::UnknownToken`] when no request goes by this id; [`Error::Internal`] when the task that does it died.
    pub async fn revoke(&self, id: &RequestId) -> Result<(), Error> {
        self.take_back(self.inner.store.get(id).ok_or(Error::UnknownToken)?).await
    }

    async fn take_back(&self, record: Record) -> Result<(), Error> {
        let inner = Arc::clone(&self.inner);
        let withdrawing = tokio::spawn(async move { inner.withdraw(record).await }.in_current_span());
        withdrawing.await.map_err(|_| Error::Internal("the task that withdraws died"))?
    }

    /// Takes a request back for a caller who does not wait for it; without a runtime it is left to expire.
    fn withdraw_later(&self, token: &Token) {
        let inner = Arc::clone(&self.inner);
        if let (Ok(runtime), Ok(record)) = (tokio::runtime::Handle::try_current(), inner.record(token)) {
            runtime.spawn(async move { inner.withdraw(record).await }.in_current_span());
        }
    }

    /// Waits until one of the requests is revoked or unknown, at most `up_to`; returns the positions of those that are.
    pub async fn watch(&self, tokens: &[Token], up_to: Duration) -> Vec<usize> {
        let gone =
            |token: &Token| !matches!(self.inner.record(token), Ok(record) if record.state.phase() != Phase::Revoked);
        let mut waits: FuturesUnordered<_> = tokens.iter().map(|token| self.inner.revoked(token)).collect();
        tokio::select! {
            Some(()) = waits.next() => {}
            () = self.inner.sleep(up_to) => {}
        }
        drop(waits);
        tokens.iter().enumerate().filter(|(_, token)| gone(token)).map(|(at, _)| at).collect()
    }

    /// Forgets requests that ended at least a minute ago and left no living grant behind; what is forgotten answers
    /// [`Error::UnknownToken`]. Each new question does this by itself, so that a gate which is asked often needs no call;
    /// where it lives long and is asked rarely, call this every few minutes, or the last requests stay in memory.
    pub fn sweep(&self) {
        let inner = &self.inner;
        let ids = inner.store.forget(inner.clock.now());
        let mut posted = lock(&inner.posted);
        for id in ids {
            posted.remove(&id);
        }
    }

    /// How many requests wait for a decision.
    #[must_use]
    pub fn pending_requests(&self) -> usize {
        self.inner.store.pending()
    }

    /// Writes down what the audit log could not take so far; returns how many entries it is still owed. They are tried
    /// again by themselves; who ends the program calls this to have tried at the last moment, and then stops the approver
    /// where it has something to stop, such as `TelegramApprover::stop`.
    pub async fn settle(&self) -> usize {
        if let Err(error) = self.inner.journal.pay().await {
            tracing::error!(?error, owed = self.inner.journal.owed(), "the audit log can't be written");
        }
        self.inner.journal.owed()
    }

    /// How many requests are open: pending, or approved and not yet redeemed.
    #[must_use]
    pub fn open_requests(&self) -> usize {
        self.inner.store.open()
    }

    /// Asks whether the backend could do its part now.
    ///
    /// # Errors
    /// [`Error::Backend`] says why it couldn't.
    pub async fn check_backend(&self) -> Result<(), Error> {
        Ok(self.inner.backend.check().await?)
    }

    /// Asks whether a question would reach a human now.
    ///
    /// # Errors
    /// [`Error::NotificationFailed`] says why it wouldn't.
    pub async fn check_approver(&self) -> Result<(), Error> {
        Ok(self.inner.approver.check().await?)
    }
}

impl Inner {
    async fn sleep(&self, time: Duration) {
        self.clock.sleep_until(later(self.clock.now(), time)).await;
    }

    fn record(&self, token: &Token) -> Result<Record, Error> {
        self.store.by_token(&token.digest()).ok_or(Error::UnknownToken)
    }

    /// One step of a request's life: compare-and-set, and show people how it stands.
    fn step(&self, record: &Record, from: Phase, next: State) -> bool {
        let id = &record.question.id;
        if !self.store.compare_and_set(id, from, next.clone(), self.clock.now()) {
            return false;
        }
        if let Some(posted) = lock(&self.posted).get(id) {
            self.show(id, posted.as_ref());
        }
        self.tell(record, &next, next.audit_event());
        true
    }

    /// Tells whoever listens that a step was taken.
    fn tell(&self, record: &Record, state: &State, event: AuditEvent) {
        self.listener.hear(&Step::new(record, state, event, self.clock.now()));
    }

    /// Waits for the turn to end a request that waits for a decision.
    async fn turn(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.deciding.lock().await
    }

    /// Shows how the request stands now. Called under the lock of `posted`, so that of two steps at once the later one
    /// is shown last.
    fn show(&self, id: &RequestId, posted: &dyn Posted) {
        if let Some(outcome) = self.store.get(id).and_then(|record| record.state.outcome()) {
            posted.show(&outcome);
        }
    }

    /// Writes down a step that stands whether or not it can be written: one that allows nothing.
    async fn note(&self, record: &Record, state: &State) {
        self.journal.note(record.audit_entry(state, self.clock.now())).await;
    }

    /// Lets a request expire whose time has come.
    async fn expire(&self, record: &Record) {
        let _turn = self.turn().await;
        self.expire_in_turn(record).await;
    }

    /// The same for whoever has the turn.
    async fn expire_in_turn(&self, record: &Record) {
        let (from, unused) = match &record.state {
            State::Pending => (Phase::Pending, None),
            State::Approved(approval) => (Phase::Approved, Some(Arc::clone(approval))),
            _ => return,
        };
        let next = State::Expired { unused };
        if record.has_expired(self.clock.now()) && self.step(record, from, next.clone()) {
            self.note(record, &next).await;
        }
    }

    /// Takes a request back, from wherever it stands.
    async fn withdraw(&self, mut record: Record) -> Result<(), Error> {
        loop {
            let (id, from) = (&record.question.id, record.state.phase());
            let next = match &record.state {
                State::Pending => State::Withdrawn,
                State::Approved(approval) | State::Released(approval) => State::Revoked(Arc::clone(approval)),
                State::Releasing(_) => {
                    // settles by itself, one way or the other
                    record = self.store.changed(id, Phase::Releasing).await.ok_or(Error::UnknownToken)?;
                    continue;
                }
                State::Denied { .. } | State::Expired { .. } | State::Withdrawn | State::Revoked(_) => return Ok(()),
            };
            let _turn = self.turn().await;
            if self.step(&record, from, next.clone()) {
                self.note(&record, &next).await;
                return Ok(());
            }
            record = self.store.get(id).ok_or(Error::UnknownToken)?;
        }
    }

    /// Returns once the request is revoked or unknown.
    async fn revoked(&self, token: &Token) {
        let mut known = self.record(token).ok();
        while let Some(record) = known {
            let phase = record.state.phase();
            if phase == Phase::Revoked {
                return;
            }
            known = self.store.changed(&record.question.id, phase).await;
        }
    }
}
