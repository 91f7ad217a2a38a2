//! From a wish to what is held: covered already, or asked for, once however many callers want it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::call::{Event, Failure, FailureKind, Granted, Wish};
use super::caller::Caller;
use super::gates::Gates;
use super::holdings::{CURRENT_CODE, Found, Holding, HoldingItem, Holdings, Name};
use super::released::holding;
use crate::client::{ClientError, RemoteGate};
use crate::sync::lock;
use crate::wire::{AccessRequest, AccessResponse, Ended, Status, StatusResponse, WantedSecret};
use crate::{SecretReference, Use};

/// How long to wait before an approved secret is fetched again that the server could not read.
const RETRY_PAUSE: Duration = Duration::from_secs(2);

/// How long who leaves is kept to be told whether the question could be taken back.
pub(super) const FAREWELL: Duration = Duration::from_secs(5);

/// Asks servers, and puts what they release into the holdings.
#[derive(Debug)]
pub(super) struct Asking {
    holdings: Holdings,
    questions: Mutex<HashMap<String, Weak<Question>>>,
    gates: Gates,
    tasks: TaskTracker,
}

/// A question that is open. When the last caller who waits for it drops it, it is withdrawn.
#[derive(Debug)]
struct Question {
    state: watch::Receiver<State>,
    _withdrawn_when_dropped: DropGuard,
}

#[derive(Debug, Clone)]
enum State {
    Asking,
    Asked { request_id: String, expires_at: String },
    Granted(Arc<Holding>),
    Failed(Failure),
}

/// What covers a wish.
#[derive(Debug)]
pub(super) struct Covered {
    pub(super) found: Vec<Found>,
    pub(super) cached: bool,
    /// What did not go well, in sentences for people.
    pub(super) notes: Vec<String>,
    holdings: Holdings,
}

impl Covered {
    /// Uses up what is for one use; to be called right before the use.
    ///
    /// # Errors
    /// [`FailureKind::NotGranted`], where somebody else has used it meanwhile; then nothing is used up.
    /// [`FailureKind::Denied`], where it was taken back.
    pub(super) fn spend(&self) -> Result<(), Failure> {
        if self.found.iter().any(|found| found.holding.revoked.is_cancelled()) {
            return Err(Failure::new(FailureKind::Denied, "the approval was taken back"));
        }
        let spent = || Failure::new(FailureKind::NotGranted, "the approval was for one use, which is spent");
        if self.holdings.take_all(&self.found) { Ok(()) } else { Err(spent()) }
    }

    pub(super) fn describe(&self) -> Granted {
        let holdings = self.found.iter().map(|found| &found.holding);
        let first_to_end = holdings.min_by_key(|holding| holding.grant.expires_at);
        Granted {
            cached: self.cached,
            items: self.found.iter().filter_map(Found::item).map(HoldingItem::describe).collect(),
            grant: first_to_end.map(|holding| holding.grant_info()),
            notes: self.notes.clone(),
        }
    }
}

impl Asking {
    pub(super) fn new(holdings: Holdings) -> Self {
        Self { holdings, questions: Mutex::default(), gates: Gates::default(), tasks: TaskTracker::new() }
    }

    /// Waits until the questions that nobody waits for are withdrawn.
    pub(super) async fn finish(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// What covers the wish; asks for what does not, once a human can see that it tells the caller. What is for one use
    /// is still good for it: [`Covered::spend`] uses it up.
    pub(super) async fn obtain(self: &Arc<Self>, wish: &Wish, caller: &dyn Caller) -> Result<Covered, Failure> {
        if wish.secrets.is_empty() {
            return Err(Failure::new(FailureKind::Invalid, "no secret is named"));
        }
        let names = names(wish);
        let scope = scope(wish);
        let mut found: Vec<Option<Found>> =
            names.iter().map(|name| self.holdings.find(&scope, name, &wish.intended_use)).collect();
        let cached = found.iter().all(Option::is_some);
        if !cached {
            if wish.only_held {
                let message = "no approval that is held covers this; ask for one first";
                return Err(Failure::new(FailureKind::NotGranted, message));
            }
            let missing = wish.secrets.iter().zip(&found).filter(|(_, found)| found.is_none());
            let secrets = missing.map(|(secret, _)| secret.clone()).collect();
            let holding = self.ask(Wish { secrets, ..wish.clone() }, caller).await?;
            if !holding.grant.allowed.covers(&wish.intended_use) {
                return Err(Failure::new(FailureKind::NotGranted, "the server allows less than was asked for"));
            }
            for (place, name) in found.iter_mut().zip(&names).filter(|(place, _)| place.is_none()) {
                *place = Found::named(&holding, name);
            }
        }
        // one for each that was named, in this order: values go to commands by their number
        let found: Option<Vec<Found>> = found.into_iter().collect();
        let missing = || Failure::new(FailureKind::Failed, "the server released something else than was asked for");
        Ok(Covered { found: found.ok_or_else(missing)?, cached, notes: Vec::new(), holdings: self.holdings.clone() })
    }

    async fn ask(self: &Arc<Self>, wish: Wish, caller: &dyn Caller) -> Result<Arc<Holding>, Failure> {
        let question = self.question(wish)?;
        let mut state = question.state.clone();
        loop {
            let now = state.borrow_and_update().clone();
            match now {
                State::Asking => {}
                State::Asked { request_id, expires_at } => caller.hear(&Event::Asked { request_id, expires_at }).await,
                State::Granted(holding) => return Ok(holding),
                State::Failed(failure) => return Err(failure),
            }
            let changed = tokio::select! {
                biased;
                () = caller.left().cancelled() => return Err(leave(question, state).await),
                changed = state.changed() => changed,
            };
            if changed.is_err() {
                return Err(Failure::new(FailureKind::Failed, "the question was dropped"));
            }
        }
    }

    /// The question that asks for this: one that is open, or a new one.
    fn question(self: &Arc<Self>, wish: Wish) -> Result<Arc<Question>, Failure> {
        let gate = self.gates.of(&wish)?;
        let key = serde_json::to_string(&(scope(&wish), &wish.secrets, &wish.intended_use, &wish.duration))
            .map_err(|error| Failure::new(FailureKind::Invalid, error.to_string()))?;
        let mut questions = lock(&self.questions);
        questions.retain(|_, question| question.strong_count() > 0);
        if let Some(question) = questions.get(&key).and_then(Weak::upgrade) {
            return Ok(question);
        }
        let (sender, state) = watch::channel(State::Asking);
        let withdrawn = CancellationToken::new();
        let question = Arc::new(Question { state, _withdrawn_when_dropped: withdrawn.clone().drop_guard() });
        let this = Arc::downgrade(&question);
        questions.insert(key.clone(), Weak::clone(&this));
        drop(questions);
        let asking = Arc::clone(self);
        self.tasks.spawn(async move {
            let ended = asking.run(&gate, &wish, &sender, &withdrawn).await;
            // nobody joins a question that has ended; another one may have its place by now
            lock(&asking.questions).retain(|other, question| *other != key || !Weak::ptr_eq(question, &this));
            sender.send_replace(ended.map_or_else(State::Failed, State::Granted));
        });
        Ok(question)
    }

    async fn run(
        &self,
        gate: &Arc<RemoteGate>,
        wish: &Wish,
        state: &watch::Sender<State>,
        withdrawn: &CancellationToken,
    ) -> Result<Arc<Holding>, Failure> {
        // to its end, whoever leaves meanwhile: only its token can withdraw it
        let asked = match gate.request(&question_of(wish)).await {
            Err(ClientError::Interrupted { .. } | ClientError::Protocol { .. }) if withdrawn.is_cancelled() => {
                return Err(not_withdrawn(""));
            }
            asked => asked.map_err(failure)?,
        };
        let outcome = tokio::select! {
            outcome = self.redeem(gate, wish, &asked, state) => outcome,
            () = withdrawn.cancelled() => return Err(match gate.withdraw(&asked.token).await {
                Ok(true) => Failure::new(FailureKind::Withdrawn, "the question was withdrawn"),
                _ => not_withdrawn(&asked.request_id),
            }),
        };
        if outcome.is_err() {
            // beside the answer: a server that is away does not hold it up
            let (gate, token) = (Arc::clone(gate), asked.token);
            self.tasks.spawn(async move { gate.withdraw(&token).await });
        }
        outcome
    }

    async fn redeem(
        &self,
        gate: &Arc<RemoteGate>,
        wish: &Wish,
        asked: &AccessResponse,
        state: &watch::Sender<State>,
    ) -> Result<Arc<Holding>, Failure> {
        let AccessResponse { request_id, expires_at, token, .. } = asked;
        state.send_replace(State::Asked { request_id: request_id.clone(), expires_at: expires_at.clone() });
        let status = gate.decision(token).await.map_err(failure)?;
        if let Some(refusal) = refusal(&status) {
            return Err(refusal);
        }
        let answer = loop {
            match gate.secret(token).await {
                // the token is unspent
                Err(error) if error.leaves_approval() => tokio::time::sleep(RETRY_PAUSE).await,
                answer => break answer.map_err(failure)?,
            }
        };
        Ok(self.holdings.put(holding(wish, gate, asked, answer)?))
    }
}

/// Goes away from a question, and says whether it is taken back by that.
async fn leave(question: Arc<Question>, mut state: watch::Receiver<State>) -> Failure {
    if Arc::into_inner(question).is_none() {
        return Failure::new(FailureKind::Withdrawn, "others wait for the question, so it stays open");
    }
    let mut request_id = String::new();
    let ended = async {
        loop {
            match state.borrow_and_update().clone() {
                State::Failed(failure) => return Some(failure),
                State::Granted(_) => return None,
                State::Asked { request_id: id, .. } => request_id = id,
                State::Asking => {}
            }
            state.changed().await.ok()?;
        }
    };
    match tokio::time::timeout(FAREWELL, ended).await {
        Err(_) => not_withdrawn(&request_id),
        Ok(Some(failure)) if failure.kind == FailureKind::NotWithdrawn => failure,
        Ok(_) => Failure::new(FailureKind::Withdrawn, "no question is open"),
    }
}

fn not_withdrawn(request_id: &str) -> Failure {
    let message = if request_id.is_empty() {
        "a question may be open on the phone until it expires; deny it there".to_owned()
    } else {
        format!("the question {request_id} could not be withdrawn; deny it on the phone, or let it expire")
    };
    Failure::new(FailureKind::NotWithdrawn, message)
}

/// What an approval counts for: this server, and whoever asked it.
pub(super) fn scope(wish: &Wish) -> String {
    let key = wish.api_key.as_ref().map(|key| hex::encode(Sha256::digest(key.0.0.expose_bytes()))).unwrap_or_default();
    format!("{} {key}", wish.server)
}

/// What the items of a wish are called, with the labels that the server knows.
pub(super) fn names(wish: &Wish) -> Vec<Name> {
    wish.secrets.iter().map(|wanted| name_of(&asked_for(wanted, &wish.intended_use))).collect()
}

pub(super) fn name_of(wanted: &WantedSecret) -> Name {
    Name::new(&wanted.secret_name, wanted.vault.as_deref(), wanted.fields.as_deref().unwrap_or_default())
}

/// What the server is asked for. Codes that are not revealed are computed here at each use, from their seed; who gets to
/// see them is given the one that the server computes, and no seed.
fn asked_for(wanted: &WantedSecret, intended_use: &Use) -> WantedSecret {
    let mut wanted = wanted.clone();
    if intended_use.reveal {
        return wanted;
    }
    let is_reference = wanted.secret_name.starts_with(SecretReference::SCHEME);
    if let Some(seed) = wanted.secret_name.strip_suffix(CURRENT_CODE).filter(|_| is_reference) {
        wanted.secret_name = seed.to_owned();
    }
    if let Some(labels) = &mut wanted.fields {
        let mut seeds: Vec<String> = Vec::with_capacity(labels.len());
        for label in labels.drain(..) {
            let seed = label.strip_suffix(CURRENT_CODE).map(str::to_owned).unwrap_or(label);
            if !seeds.contains(&seed) {
                seeds.push(seed);
            }
        }
        *labels = seeds;
    }
    wanted
}

/// Whether the current code of this field is wanted, and not its value.
pub(super) fn is_wanted_as_code(wish: &Wish, label: &str) -> bool {
    let code = format!("{label}{CURRENT_CODE}");
    wish.secrets.iter().any(|wanted| name_of(wanted).fields.contains(&code))
}

fn question_of(wish: &Wish) -> AccessRequest {
    let mut question = AccessRequest {
        machine: wish.machine.clone(),
        reason: wish.reason.clone(),
        agent: wish.agent.clone(),
        working_dir: wish.working_dir.clone(),
        intended_use: Some(wish.intended_use.clone()),
        duration: wish.duration.clone(),
        ..AccessRequest::default()
    };
    let mut secrets: Vec<_> = wish.secrets.iter().map(|wanted| asked_for(wanted, &wish.intended_use)).collect();
    match secrets.pop() {
        Some(WantedSecret { secret_name, vault, fields }) if secrets.is_empty() => {
            question.secret_name = Some(secret_name);
            (question.vault, question.fields) = (vault, fields);
        }
        last => question.secrets = Some(secrets.into_iter().chain(last).collect()),
    }
    question
}

/// Why there is nothing to redeem; none where there is.
fn refusal(status: &StatusResponse) -> Option<Failure> {
    let (kind, message) = match (status.status, status.ended) {
        (Status::Approved, Some(Ended::Released)) => {
            (FailureKind::AlreadyUsed, "the request was redeemed by someone else")
        }
        (Status::Approved, _) => return None,
        (Status::Denied, Some(Ended::Revoked)) => (FailureKind::Denied, "the approval was taken back"),
        (Status::Denied, _) => (FailureKind::Denied, "the request was denied"),
        (Status::Expired, Some(Ended::Withdrawn)) => (FailureKind::Expired, "the request was withdrawn"),
        (Status::Expired, _) => (FailureKind::Expired, "nobody approved before the request expired"),
        (Status::Pending, _) => (FailureKind::Failed, "the request is still pending"),
    };
    Some(Failure::new(kind, message))
}

/// The client's error in the daemon's terms.
pub(super) fn failure(error: ClientError) -> Failure {
    let causes = std::iter::successors(std::error::Error::source(&error), |cause| cause.source());
    let message = causes.last().map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"));
    let (kind, candidates, fields) = match error {
        ClientError::Unreachable { .. } | ClientError::Interrupted { .. } => (FailureKind::Unreachable, vec![], vec![]),
        ClientError::Unauthorized { .. } | ClientError::KeyInTheClear { .. } | ClientError::MalformedKey => {
            (FailureKind::Unauthorized, vec![], vec![])
        }
        ClientError::NotFound { suggestions, .. } => (FailureKind::NotFound, suggestions, vec![]),
        ClientError::Ambiguous { candidates, .. } => (FailureKind::Ambiguous, candidates, vec![]),
        ClientError::UnknownField { fields, .. } => (FailureKind::UnknownField, vec![], fields),
        ClientError::UnknownRequest => (FailureKind::Expired, vec![], vec![]),
        ClientError::NotApproved { .. } => (FailureKind::Denied, vec![], vec![]),
        ClientError::AlreadyUsed => (FailureKind::AlreadyUsed, vec![], vec![]),
        _ => (FailureKind::Failed, vec![], vec![]),
    };
    Failure { kind, message, candidates, fields }
}
