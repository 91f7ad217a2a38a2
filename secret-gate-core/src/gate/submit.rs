//! Asking: from names to a question that a human can see.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use futures_util::FutureExt as _;
use tokio::sync::oneshot;
use tracing::Instrument as _;

use crate::approver::{Ballot, Question};
use crate::audit::AuditEvent;
use crate::gate::pin::Pin;
use crate::gate::request::{Record, Request, State, Wanted};
use crate::gate::store::NoRoom;
use crate::gate::token::Token;
use crate::gate::{Gate, Inner, later};
use crate::sync::lock;
use crate::{Error, RequestId};

/// How many secrets one request can ask for; more would not fit into a message.
const MAX_SECRETS: usize = 20;
/// How many fields of a secret a request can name; more would not fit into a message.
const MAX_FIELDS: usize = 200;
/// How long a grant lasts where the requester does not say.
const DEFAULT_KEEP: Duration = Duration::from_secs(60 * 60);
/// How long a grant can last at most.
const MAX_KEEP: Duration = Duration::from_secs(24 * 60 * 60);
/// When to try again at the latest while too many requests are open: any of them may be answered or withdrawn meanwhile.
const RETRY_AFTER: Duration = Duration::from_secs(30);

/// A question that a human can see.
#[derive(Debug)]
#[non_exhaustive]
pub struct Submitted {
    /// Redeems the request once it is approved.
    pub token: Token,
    /// Names the request.
    pub request_id: RequestId,
    /// Until when it can be approved and redeemed.
    pub expires_at: SystemTime,
}

impl Gate {
    /// Puts a request before a human; returns once they can see it. Before that, it [sweeps](Self::sweep).
    ///
    /// If the caller goes away while this runs, the question is withdrawn: nobody would hold its token.
    ///
    /// # Errors
    /// When the request means nothing ([`Error::MissingName`], [`Error::Reference`], [`Error::ReferenceWithFields`],
    /// [`Error::Use`], [`Error::UnknownField`]) or not one thing ([`Error::NotFound`], [`Error::Ambiguous`]), when it is
    /// too much ([`Error::TooManySecrets`], [`Error::TooManyFields`], [`Error::TooLongToShow`]) or too many are open
    /// ([`Error::TooManyRequests`]), when the backend gives no answer ([`Error::Backend`], [`Error::Unlisted`]), the
    /// question does not reach a human ([`Error::NotificationFailed`]), can't be written down ([`Error::Audit`]) or took
    /// all its time to be ([`Error::Expired`]), when there are no random numbers or the approver panics
    /// ([`Error::Internal`]). Nothing is left behind then.
    pub async fn submit(&self, request: Request) -> Result<Submitted, Error> {
        let inner = &self.inner;
        inner.store.check_room(&request.requester, inner.settings.room, inner.clock.now())?;
        let pins = inner.resolve_all(&request).await?;
        self.ask(request, pins).await?.claim()
    }

    /// Puts a request whose names are resolved before a human.
    pub(super) async fn ask(&self, request: Request, pins: Arc<[Pin]>) -> Result<OpenQuestion, Error> {
        self.sweep();
        let question = Arc::new(self.inner.question(request, &pins)?);
        let record = Record { question, pins, state: State::Pending, since: self.inner.clock.now() };

        // In a task of its own, so that it is finished or undone whatever becomes of the caller.
        let (answer, answered) = oneshot::channel();
        let gate = self.clone();
        let asking = async move {
            let posted = gate.inner.post(record).await;
            // dropped, and so withdrawn, if the caller is gone
            answer.send(posted.map(|submitted| OpenQuestion { gate, submitted: Some(submitted) })).ok();
        };
        tokio::spawn(asking.in_current_span());
        answered.await.map_err(|_| Error::Internal("the task that asks died"))?
    }
}

/// A question that is withdrawn when this is dropped, unless it was seen to its end or somebody took its token.
pub(super) struct OpenQuestion {
    gate: Gate,
    submitted: Option<Submitted>,
}

impl OpenQuestion {
    /// The question's token; for as long as nobody claimed it, so always.
    pub(super) fn token(&self) -> Result<&Token, Error> {
        self.submitted.as_ref().map(|submitted| &submitted.token).ok_or(Error::Internal("a token is lost"))
    }

    /// Leaves the question to whoever gets its token.
    pub(super) fn claim(mut self) -> Result<Submitted, Error> {
        self.submitted.take().ok_or(Error::Internal("a token is lost"))
    }

    /// The question was seen to its end.
    pub(super) fn close(mut self) {
        self.submitted = None;
    }
}

impl Drop for OpenQuestion {
    fn drop(&mut self) {
        if let Some(submitted) = self.submitted.take() {
            self.gate.withdraw_later(&submitted.token);
        }
    }
}

fn check(request: &Request) -> Result<(), Error> {
    if request.secrets.is_empty() {
        return Err(Error::MissingName);
    }
    if request.secrets.len() > MAX_SECRETS {
        return Err(Error::TooManySecrets { limit: MAX_SECRETS });
    }
    if request.secrets.iter().any(|Wanted { fields, .. }| fields.len() > MAX_FIELDS) {
        return Err(Error::TooManyFields { limit: MAX_FIELDS });
    }
    if let Some(intended_use) = &request.intended_use {
        intended_use.check()?;
    }
    Ok(())
}

impl Inner {
    /// Pins everything that the request names, each item once.
    pub(super) async fn resolve_all(&self, request: &Request) -> Result<Arc<[Pin]>, Error> {
        check(request)?;
        let mark = self.index.mark();
        let mut pins = Vec::with_capacity(request.secrets.len());
        for wanted in &request.secrets {
            pins.push(Pin::resolve(&self.index, self.backend.as_ref(), mark, wanted).await?);
        }
        Ok(Pin::merge(pins).into())
    }

    fn question(&self, request: Request, pins: &[Pin]) -> Result<Question, Error> {
        let Request { secrets: _, intended_use, keep, said, requester } = request;
        let asked_at = self.clock.now();
        Ok(Question {
            id: RequestId::random().map_err(|_| Error::Internal("no random numbers"))?,
            items: pins.iter().map(Pin::asked).collect(),
            requester,
            keep: intended_use.is_some().then(|| keep.unwrap_or(DEFAULT_KEEP).min(MAX_KEEP)),
            intended_use,
            said,
            asked_at,
            expires_at: later(asked_at, self.settings.request_ttl),
            audit: None,
        })
    }

    async fn post(self: &Arc<Self>, record: Record) -> Result<Submitted, Error> {
        let token = Token::random().map_err(|_| Error::Internal("no random numbers"))?;
        let question = Arc::clone(&record.question);
        let id = question.id.clone();
        self.store.insert(record.clone(), token.digest(), self.settings.room)?;
        // before anything that may hang: whatever happens, the request ends in time
        tokio::spawn(expire_in_time(Arc::downgrade(self), id.clone(), question.expires_at));
        let posting = async {
            let entry = record.audit_entry(&State::Pending, question.asked_at);
            let audit = self.journal.write(&entry).await?;
            if record.has_expired(self.clock.now()) {
                // nobody could answer it any more
                return Err(Error::Expired);
            }
            // thousands may be kept at once, so no second one without need
            let shown = match audit {
                None => Arc::clone(&question),
                audit => Arc::new(Question { audit, ..(*question).clone() }),
            };
            let ballot = Ballot::new(id.clone(), Arc::clone(self) as _);
            Ok::<_, Error>(self.approver.ask(shown, ballot).await?)
        };
        // an approver that panics reaches nobody, like one that fails
        let posted = AssertUnwindSafe(posting).catch_unwind().await;
        let posted = match posted.unwrap_or(Err(Error::Internal("the approver panicked"))) {
            Ok(posted) => posted,
            Err(error) => {
                self.store.remove(&id);
                if !matches!(error, Error::Audit { .. }) {
                    let mut entry = record.audit_entry(&State::Pending, self.clock.now());
                    entry.event = AuditEvent::Undelivered;
                    self.journal.note(entry).await;
                }
                self.tell(&record, &State::Pending, AuditEvent::Undelivered);
                return Err(error);
            }
        };
        self.tell(&record, &State::Pending, AuditEvent::Asked);
        {
            // A quick human may have decided before there was anything to show it on.
            let mut all = lock(&self.posted);
            self.show(&id, posted.as_ref());
            all.insert(id.clone(), posted);
        }
        Ok(Submitted { token, request_id: id, expires_at: question.expires_at })
    }
}

async fn expire_in_time(gate: Weak<Inner>, id: RequestId, at: SystemTime) {
    let Some(clock) = gate.upgrade().map(|gate| Arc::clone(&gate.clock)) else { return };
    clock.sleep_until(at).await;
    if let Some(gate) = gate.upgrade() {
        // thousands may sleep here at once, so what comes after has its room only then
        Box::pin(expire_now(gate, id)).await;
    }
}

async fn expire_now(gate: Arc<Inner>, id: RequestId) {
    if let Some(record) = gate.store.get(&id) {
        gate.expire(&record).await;
    }
}

impl From<NoRoom> for Error {
    fn from(full: NoRoom) -> Self {
        let (message, first_end) = match full {
            NoRoom::InAll(first_end) => ("too many requests are open; wait until some are answered", first_end),
            NoRoom::ForRequester(first_end) => {
                ("too many of your requests are open; wait until some are answered or withdraw them", first_end)
            }
        };
        Self::TooManyRequests { message, retry_after: first_end.min(RETRY_AFTER) }
    }
}
