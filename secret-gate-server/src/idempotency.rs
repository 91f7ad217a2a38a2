//! One question however often a call is sent: whoever lost the answer sends the call again under the same key.
//!
//! A key counts for one requester only, as long as the gate knows the request. A call that fails leaves nothing behind,
//! so that the next one asks anew.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::OptionalFromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderName, StatusCode};
use secret_gate_core::{Gate, Request, Requester, Submitted};
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{Object, Required};

use crate::App;
use crate::error::ApiError;

/// <https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/>
const HEADER: HeaderName = HeaderName::from_static("idempotency-key");

/// The longest key, in bytes.
const MAX_KEY: usize = 255;

/// How many keys are remembered. The gate bounds the requests behind them; this is for the day when it does not.
const MAX_KEPT: usize = 10_000;

/// When to try again where no more keys can be remembered: by then the gate has forgotten some requests.
const RETRY_AFTER: Duration = Duration::from_secs(60);

/// What the header says: 1 to 255 visible ASCII characters.
pub(crate) struct Key(String);

impl OptionalFromRequestParts<App> for Key {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Option<Self>, ApiError> {
        let mut sent = parts.headers.get_all(HEADER).iter();
        let Some(first) = sent.next() else { return Ok(None) };
        let visible = |text: &&str| text.bytes().all(|byte| byte.is_ascii_graphic());
        let key = first.to_str().ok().filter(visible).filter(|text| (1..=MAX_KEY).contains(&text.len()));
        match (key, sent.next()) {
            (Some(key), None) => Ok(Some(Self(key.to_owned()))),
            _ => {
                let message =
                    format!("Idempotency-Key must be sent once, with 1 to {MAX_KEY} visible ASCII characters.");
                Err(ApiError::bad_request("invalid_idempotency_key", message))
            }
        }
    }
}

impl utoipa::IntoParams for Key {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        // without an example: whoever sent that would share it with others
        let text = ObjectBuilder::from(Object::with_type(Type::String))
            .min_length(Some(1))
            .max_length(Some(MAX_KEY))
            .pattern(Some("^[!-~]+$"));
        let header = ParameterBuilder::new()
            .name("Idempotency-Key")
            .parameter_in(ParameterIn::Header)
            .required(Required::False)
            .description(Some(
                "Chosen by the client, at random, such as a UUID. The same call sent again under the same key gets the \
                 same answer, and nobody is asked again; it holds for as long as the request is known. A call that \
                 failed can be sent again under its key. With a key, the question stays although the client goes away \
                 before the answer.",
            ))
            .schema(Some(text));
        vec![header.build()]
    }
}

/// A call under a key: what it must share with another to be the same.
#[derive(Clone, Copy)]
pub(crate) struct Call {
    /// Of requester and key.
    slot: [u8; 32],
    /// Of the body as it was sent.
    body: [u8; 32],
}

impl Call {
    pub(crate) fn new(requester: &Requester, Key(key): &Key, body: &[u8]) -> Self {
        // a key has no line break, so no two pairs make one text
        let slot = Sha256::new().chain_update(requester.identity()).chain_update("\n").chain_update(key).finalize();
        Self { slot: slot.into(), body: Sha256::digest(body).into() }
    }
}

/// What was asked under a key; nothing while it is being asked.
type Answer = Option<Result<Arc<Submitted>, ApiError>>;

struct Kept {
    body: [u8; 32],
    answer: watch::Receiver<Answer>,
}

impl Kept {
    /// Whether the question is being asked, or its request is known.
    fn counts(&self, gate: &Gate) -> bool {
        match &*self.answer.borrow() {
            None => true,
            Some(Ok(submitted)) => gate.standing(&submitted.token).is_ok(),
            Some(Err(_)) => false,
        }
    }
}

/// The calls that were made under keys, and their answers.
#[derive(Clone, Default)]
pub(crate) struct Idempotency(Arc<Mutex<HashMap<[u8; 32], Kept>>>);

impl fmt::Debug for Idempotency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Idempotency").field("kept", &self.lock().len()).finish_non_exhaustive()
    }
}

impl Idempotency {
    /// Puts the request before a human, or waits for whoever does so under the same key. Goes on in one of `tasks` when
    /// the caller leaves: its client comes back with the key.
    pub(crate) async fn submit(
        &self,
        call: Call,
        request: Request,
        gate: &Gate,
        tasks: &TaskTracker,
    ) -> Result<Arc<Submitted>, ApiError> {
        let mut answer = self.join(call, request, gate, tasks)?;
        // an error means that the task died
        let answer = answer.wait_for(Option::is_some).await.map_err(|_| ApiError::internal())?;
        answer.clone().unwrap_or_else(|| Err(ApiError::internal()))
    }

    fn join(
        &self,
        call: Call,
        request: Request,
        gate: &Gate,
        tasks: &TaskTracker,
    ) -> Result<watch::Receiver<Answer>, ApiError> {
        let mut all = self.lock();
        if let Some(kept) = all.get(&call.slot).filter(|kept| kept.counts(gate)) {
            return if kept.body == call.body { Ok(kept.answer.clone()) } else { Err(conflict()) };
        }
        if all.len() >= MAX_KEPT {
            all.retain(|_, kept| kept.counts(gate));
        }
        if all.len() >= MAX_KEPT {
            return Err(ApiError::too_many_requests(
                "Too many requests with keys are open; nobody was asked.",
                RETRY_AFTER,
            ));
        }
        let (told, answer) = watch::channel(None);
        all.insert(call.slot, Kept { body: call.body, answer: answer.clone() });
        let mut asking = Asking { kept: self.clone(), slot: call.slot, is_answered: false };
        let gate = gate.clone();
        let ask = async move {
            let answer = gate.submit(request).await.map(Arc::new).map_err(ApiError::from);
            asking.is_answered = answer.is_ok();
            // a failure is forgotten before it is told, so that whoever hears of it can try again
            drop(asking);
            told.send_replace(Some(answer));
        };
        tasks.spawn(ask.in_current_span());
        Ok(answer)
    }

    /// Forgets the keys of requests that the gate does not know any more.
    pub(crate) fn sweep(&self, gate: &Gate) {
        self.lock().retain(|_, kept| kept.counts(gate));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<[u8; 32], Kept>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Forgets the key when this is dropped without an answer.
struct Asking {
    kept: Idempotency,
    slot: [u8; 32],
    is_answered: bool,
}

impl Drop for Asking {
    fn drop(&mut self) {
        if !self.is_answered {
            self.kept.lock().remove(&self.slot);
        }
    }
}

fn conflict() -> ApiError {
    ApiError::new(
        StatusCode::CONFLICT,
        "idempotency_conflict",
        "This Idempotency-Key was sent with another body before; choose a new key for a new request.",
    )
}

#[cfg(test)]
mod tests {
    use secret_gate_core::clock::ManualClock;
    use secret_gate_core::{Decision, Field, FieldKind, Item, MemoryBackend, ScriptedApprover};

    use super::*;

    fn gate(clock: &Arc<ManualClock>, answers: usize) -> Gate {
        let field = Field::new("f1", "password", FieldKind::concealed(), "hunter2");
        let vault =
            MemoryBackend::new().with_vault("v1", "infra").with_item(Item::new("i1", "v1", "db").with_field(field));
        let deny = |human: ScriptedApprover, _| human.then(Decision::deny("Ann"));
        let human = (0..answers).fold(ScriptedApprover::new(), deny);
        Gate::builder(Arc::new(vault), Arc::new(human)).clock(Arc::clone(clock) as _).build()
    }

    fn call(key: &str) -> Call {
        Call::new(&Requester::unauthenticated(), &Key(key.to_owned()), b"{}")
    }

    #[test]
    fn calls_are_the_same_by_requester_key_and_body() {
        let of = |name: &str, key: &str, body: &[u8]| {
            let call = Call::new(&Requester::with_key(name, false), &Key(key.to_owned()), body);
            (call.slot, call.body)
        };
        let one = of("ci", "k1", b"{}");
        assert_eq!(one, of("ci", "k1", b"{}"));
        assert!(one.0 != of("ci", "k2", b"{}").0 && one.0 != of("vm", "k1", b"{}").0);
        assert!(one.0 == of("ci", "k1", b"{ }").0 && one.1 != of("ci", "k1", b"{ }").1);
    }

    #[tokio::test]
    async fn a_key_is_kept_as_long_as_its_request_and_nothing_is_kept_of_a_failure() {
        let clock = Arc::new(ManualClock::new());
        let (gate, tasks, keys) = (gate(&clock, 2), TaskTracker::new(), Idempotency::default());
        let ask = |name: &'static str| keys.submit(call("k1"), Request::new(name), &gate, &tasks);
        assert!(ask("no such thing").await.is_err());
        assert!(keys.lock().is_empty());
        let first = ask("db").await.unwrap();
        assert_eq!(ask("db").await.unwrap().request_id, first.request_id);
        gate.sweep();
        keys.sweep(&gate);
        assert_eq!(keys.lock().len(), 1);

        clock.advance(Duration::from_secs(61));
        gate.sweep();
        assert_ne!(ask("db").await.unwrap().request_id, first.request_id, "free as soon as the gate has forgotten");
        clock.advance(Duration::from_secs(61));
        gate.sweep();
        keys.sweep(&gate);
        assert!(keys.lock().is_empty());
    }

    #[tokio::test]
    async fn no_more_is_kept_than_there_is_room_for() {
        let clock = Arc::new(ManualClock::new());
        let (gate, tasks, keys) = (gate(&clock, 2), TaskTracker::new(), Idempotency::default());
        let ask = |key: &'static str| keys.submit(call(key), Request::new("db"), &gate, &tasks);
        let ended = ask("ended").await.unwrap();
        let (_never, answer) = watch::channel(None);
        let fill = || {
            let mut all = keys.lock();
            for number in 0_u64.. {
                if all.len() == MAX_KEPT {
                    break;
                }
                let slot = Sha256::digest(number.to_le_bytes()).into();
                all.insert(slot, Kept { body: [0; 32], answer: answer.clone() });
            }
        };
        fill();
        let refused = ask("one more").await.unwrap_err();
        assert!(format!("{refused:?}").contains("too_many_requests"), "{refused:?}");
        assert_eq!(ask("ended").await.unwrap().request_id, ended.request_id, "what is kept is still answered");

        clock.advance(Duration::from_secs(61));
        gate.sweep();
        assert!(ask("one more").await.is_ok(), "what the gate has forgotten makes room");
    }

    #[tokio::test]
    async fn debug_tells_no_token() {
        let clock = Arc::new(ManualClock::new());
        let (gate, tasks, keys) = (gate(&clock, 1), TaskTracker::new(), Idempotency::default());
        let submitted = keys.submit(call("k1"), Request::new("db"), &gate, &tasks).await.unwrap();
        let shown = format!("{keys:?} {keys:#?} {submitted:?}");
        assert!(shown.contains("kept: 1") && !shown.contains(submitted.token.expose()), "{shown}");
    }
}
