//! One question however often a call is sent: whoever lost the answer sends the call again under the same key.
//!
//! A key counts for one requester only, for a day from the asking, whatever has become of the request: a question that
//! was answered must not be put again. A call that fails leaves nothing behind, so that the next one asks anew.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::OptionalFromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderName, StatusCode};
use secret_gate_core::{Gate, Outcome, Request, Requester, Submitted};
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{Object, Required};

use crate::App;
use crate::error::ApiError;
use crate::limits::Limits;

/// <https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/>
const HEADER: HeaderName = HeaderName::from_static("idempotency-key");

/// The longest key, in bytes.
const MAX_KEY: usize = 255;

/// The shortest key of a requester without an API key: whoever shares its address and guesses the key gets its token.
const MIN_UNAUTHENTICATED: usize = 16;

/// How long a key is remembered, from the asking. Longer where its request is still open then.
const KEPT_FOR: Duration = Duration::from_secs(24 * 60 * 60);

/// How many keys are remembered.
const MAX_KEPT: usize = 10_000;

/// How many of them can be one requester's.
const MAX_SHARE: usize = 1_000;

/// When to try again where no more keys can be remembered: by then some requests have ended.
const RETRY_AFTER: Duration = Duration::from_secs(60);

/// What the header says: 1 to 255 visible ASCII characters; how many there must be depends on who asks.
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
            .min_length(Some(MIN_UNAUTHENTICATED))
            .max_length(Some(MAX_KEY))
            .pattern(Some("^[!-~]+$"));
        let header = ParameterBuilder::new()
            .name("Idempotency-Key")
            .parameter_in(ParameterIn::Header)
            .required(Required::False)
            .description(Some(
                "Chosen by the client, at random, such as a UUID: nobody else may be able to guess it. Who shows an API \
                 key may send a shorter one. The same call sent again under the same key gets the same answer for 24 \
                 hours, and nobody is asked again. A call that failed can be sent again under its key. With a key, the \
                 question stays although the client goes away before the answer.",
            ))
            .schema(Some(text));
        vec![header.build()]
    }
}

/// A call under a key: what it must share with another to be the same.
#[derive(Clone, Copy)]
pub(crate) struct Call {
    requester: [u8; 32],
    /// Of requester and key.
    slot: [u8; 32],
    /// Of the body as it was sent.
    body: [u8; 32],
}

impl Call {
    /// Without an API key the requester is whoever has its address, and the key alone tells one from another: a short
    /// one is refused.
    pub(crate) fn new(requester: &Requester, Key(key): &Key, body: &[u8]) -> Result<Self, ApiError> {
        if requester.key_name.is_none() && key.len() < MIN_UNAUTHENTICATED {
            let message = format!(
                "Without an API key, Idempotency-Key must have at least {MIN_UNAUTHENTICATED} characters: whoever \
                 shares your address and guesses it gets the token. Use a random one, such as a UUID."
            );
            return Err(ApiError::bad_request("invalid_idempotency_key", message));
        }
        let identity = requester.identity();
        // a key has no line break, so no two pairs make one text
        let slot = Sha256::new().chain_update(&identity).chain_update("\n").chain_update(key).finalize();
        Ok(Self { requester: Sha256::digest(identity).into(), slot: slot.into(), body: Sha256::digest(body).into() })
    }
}

/// What was asked under a key; nothing while it is being asked.
type Answer = Option<Result<Arc<Submitted>, ApiError>>;

struct Kept {
    call: Call,
    asked_at: Instant,
    answer: watch::Receiver<Answer>,
}

impl Kept {
    fn counts(&self, gate: &Gate) -> bool {
        self.asked_at.elapsed() < KEPT_FOR || !self.has_ended(gate)
    }

    /// Whether the question has been put and nothing can come of it any more.
    fn has_ended(&self, gate: &Gate) -> bool {
        match &*self.answer.borrow() {
            None => false,
            Some(Ok(submitted)) => match gate.standing(&submitted.token) {
                Ok(standing) => !matches!(standing.outcome, None | Some(Outcome::Approved(_))),
                Err(_) => true,
            },
            Some(Err(_)) => true,
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
    /// Puts the request before a human, or waits for whoever does so under the same key; only the former counts against
    /// the limits. Goes on in one of `tasks` when the caller leaves: its client comes back with the key.
    pub(crate) async fn submit(
        &self,
        call: Call,
        request: Request,
        gate: &Gate,
        limits: &Limits,
        tasks: &TaskTracker,
    ) -> Result<Arc<Submitted>, ApiError> {
        let mut answer = self.join(call, request, gate, limits, tasks)?;
        // an error means that the task died
        let answer = answer.wait_for(Option::is_some).await.map_err(|_| ApiError::internal())?;
        answer.clone().unwrap_or_else(|| Err(ApiError::internal()))
    }

    fn join(
        &self,
        call: Call,
        request: Request,
        gate: &Gate,
        limits: &Limits,
        tasks: &TaskTracker,
    ) -> Result<watch::Receiver<Answer>, ApiError> {
        let mut all = self.lock();
        if let Some(kept) = all.get(&call.slot).filter(|kept| kept.counts(gate)) {
            return if kept.call.body == call.body { Ok(kept.answer.clone()) } else { Err(conflict()) };
        }
        limits.count_request(&request.requester)?;
        make_room(&mut all, &call, gate)?;
        let (told, answer) = watch::channel(None);
        all.insert(call.slot, Kept { call, asked_at: Instant::now(), answer: answer.clone() });
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

    /// Forgets the keys whose day is over.
    pub(crate) fn sweep(&self, gate: &Gate) {
        self.lock().retain(|_, kept| kept.counts(gate));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<[u8; 32], Kept>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where the requester has its share, the oldest of its own that has ended is given up; where all are taken, the oldest
/// of all that has.
fn make_room(all: &mut HashMap<[u8; 32], Kept>, call: &Call, gate: &Gate) -> Result<(), ApiError> {
    let mut given_up: Vec<_> = all.values().filter(|kept| kept.call.requester == call.requester).collect();
    if given_up.len() < MAX_SHARE {
        if all.len() < MAX_KEPT {
            return Ok(());
        }
        given_up = all.values().collect();
    }
    given_up.sort_unstable_by_key(|kept| kept.asked_at);
    let Some(oldest) = given_up.into_iter().find(|kept| kept.has_ended(gate)).map(|kept| kept.call.slot) else {
        let message = "Too many requests with keys are open; nobody was asked.";
        return Err(ApiError::too_many_requests(message, RETRY_AFTER));
    };
    all.remove(&oldest);
    Ok(())
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
    use std::num::NonZeroU32;

    use secret_gate_core::clock::ManualClock;
    use secret_gate_core::{Decision, Field, FieldKind, Item, MemoryBackend, ScriptedApprover};

    use super::*;

    struct Scene {
        clock: Arc<ManualClock>,
        gate: Gate,
        limits: Limits,
        tasks: TaskTracker,
        keys: Idempotency,
    }

    impl Scene {
        /// A human who denies so often.
        fn new(answers: usize) -> Self {
            let field = Field::new("f1", "password", FieldKind::concealed(), "hunter2");
            let vault =
                MemoryBackend::new().with_vault("v1", "infra").with_item(Item::new("i1", "v1", "db").with_field(field));
            let deny = |human: ScriptedApprover, _| human.then(Decision::deny("Ann"));
            let human = (0..answers).fold(ScriptedApprover::new(), deny);
            let clock = Arc::new(ManualClock::new());
            let gate = Gate::builder(Arc::new(vault), Arc::new(human)).clock(Arc::clone(&clock) as _).build();
            let limits = Limits::per_minute(NonZeroU32::MAX, NonZeroU32::MAX);
            Self { clock, gate, limits, tasks: TaskTracker::new(), keys: Idempotency::default() }
        }

        async fn ask(&self, requester: &str, key: &str, secret: &str) -> Result<Arc<Submitted>, ApiError> {
            let Self { gate, limits, tasks, keys, .. } = self;
            let mut request = Request::new(secret);
            request.requester = Requester::with_key(requester, false);
            keys.submit(call(&request.requester, key)?, request, gate, limits, tasks).await
        }

        /// Hours in which the gate forgets all that has ended.
        async fn hours_pass(&self, hours: u64) {
            let passed = Duration::from_secs(hours * 60 * 60);
            self.clock.advance(passed);
            tokio::time::advance(passed).await;
            self.gate.sweep();
            self.keys.sweep(&self.gate);
        }

        /// Keys whose question is being put, until there are so many.
        fn fill(&self, requester: &str, up_to: usize, answer: &watch::Receiver<Answer>) {
            let requester = Requester::with_key(requester, false);
            for number in 0.. {
                if self.keys.lock().len() >= up_to {
                    return;
                }
                let call = call(&requester, &format!("fill-{number}")).unwrap();
                let kept = Kept { call, asked_at: Instant::now(), answer: answer.clone() };
                self.keys.lock().insert(call.slot, kept);
            }
        }
    }

    fn call(requester: &Requester, key: &str) -> Result<Call, ApiError> {
        Call::new(requester, &Key(key.to_owned()), b"{}")
    }

    #[test]
    fn calls_are_the_same_by_requester_key_and_body() {
        let of = |name: &str, key: &str, body: &[u8]| {
            let call = Call::new(&Requester::with_key(name, false), &Key(key.to_owned()), body).unwrap();
            (call.slot, call.body)
        };
        let one = of("ci", "k1", b"{}");
        assert_eq!(one, of("ci", "k1", b"{}"));
        assert!(one.0 != of("ci", "k2", b"{}").0 && one.0 != of("vm", "k1", b"{}").0);
        assert!(one.0 == of("ci", "k1", b"{ }").0 && one.1 != of("ci", "k1", b"{ }").1);
    }

    #[test]
    fn only_who_has_an_api_key_can_use_a_short_one() {
        let neighbour = Requester::unauthenticated().at("10.0.0.7");
        let keyed = Requester::with_key("ci", false);
        for (key, is_long) in
            [("k", false), ("deploy-42", false), ("123456789-12345", false), ("123456789-123456", true)]
        {
            assert!(call(&keyed, key).is_ok(), "{key}");
            assert_eq!(call(&neighbour, key).is_ok(), is_long, "{key}");
            assert_eq!(call(&Requester::unauthenticated(), key).is_ok(), is_long, "{key}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_is_kept_for_a_day_whatever_the_gate_knows() {
        let scene = Scene::new(2);
        assert!(scene.ask("ci", "k1", "no such thing").await.is_err());
        assert!(scene.keys.lock().is_empty(), "nothing is kept of a failure");
        let first = scene.ask("ci", "k1", "db").await.unwrap();
        for _ in 0..23 {
            scene.hours_pass(1).await;
            assert!(scene.gate.standing(&first.token).is_err(), "the gate has forgotten it");
            assert_eq!(scene.ask("ci", "k1", "db").await.unwrap().request_id, first.request_id);
        }
        scene.hours_pass(1).await;
        assert!(scene.keys.lock().is_empty());
        assert_ne!(scene.ask("ci", "k1", "db").await.unwrap().request_id, first.request_id);
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_outlives_its_day_while_its_request_is_open() {
        let scene = Scene::new(0);
        let first = scene.ask("ci", "k1", "db").await.unwrap();
        // the gate's clock stands still
        tokio::time::advance(KEPT_FOR * 2).await;
        scene.keys.sweep(&scene.gate);
        assert_eq!(scene.ask("ci", "k1", "db").await.unwrap().request_id, first.request_id);
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_that_has_ended_makes_room_and_only_within_the_share() {
        let scene = Scene::new(4);
        let old = scene.ask("ci", "old", "db").await.unwrap();
        scene.hours_pass(1).await;
        let other = scene.ask("vm", "other", "db").await.unwrap();
        let newer = scene.ask("ci", "newer", "db").await.unwrap();
        scene.hours_pass(1).await;
        let (_never, answer) = watch::channel(None);
        scene.fill("ci", MAX_SHARE + 1, &answer);
        assert!(scene.ask("ci", "one more", "db").await.is_ok());
        assert_eq!(scene.keys.lock().len(), MAX_SHARE + 1);
        assert!(!scene.keys.lock().contains_key(&call(&Requester::with_key("ci", false), "old").unwrap().slot));
        assert_eq!(scene.ask("ci", "newer", "db").await.unwrap().request_id, newer.request_id);
        assert_eq!(scene.ask("vm", "other", "db").await.unwrap().request_id, other.request_id);
        assert_ne!(old.request_id, newer.request_id);
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_its_share_open_is_refused_and_others_are_not() {
        let scene = Scene::new(2);
        let (_never, answer) = watch::channel(None);
        let other = scene.ask("vm", "other", "db").await.unwrap();
        scene.hours_pass(1).await;
        scene.fill("ci", MAX_SHARE + 1, &answer);
        let refused = scene.ask("ci", "one more", "db").await.unwrap_err();
        assert!(format!("{refused:?}").contains("too_many_requests"), "{refused:?}");
        assert_eq!(scene.ask("vm", "other", "db").await.unwrap().request_id, other.request_id);
        assert!(scene.ask("vm", "another", "db").await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_is_kept_than_there_is_room_for() {
        let scene = Scene::new(3);
        scene.ask("vm", "ended", "db").await.unwrap();
        scene.hours_pass(1).await;
        let (_never, answer) = watch::channel(None);
        for number in 0..MAX_KEPT / MAX_SHARE {
            scene.fill(&number.to_string(), (number + 1) * MAX_SHARE, &answer);
        }
        assert!(scene.ask("vm", "one more", "db").await.is_ok(), "what has ended makes room");
        assert_eq!(scene.keys.lock().len(), MAX_KEPT);
        scene.keys.lock().retain(|_, kept| !kept.has_ended(&scene.gate));
        scene.fill("last", MAX_KEPT, &answer);
        let refused = scene.ask("vm", "and one", "db").await.unwrap_err();
        assert!(format!("{refused:?}").contains("too_many_requests"), "{refused:?}");
    }

    #[tokio::test]
    async fn only_what_asks_counts() {
        let scene = Scene { limits: Limits::per_minute(NonZeroU32::MIN, NonZeroU32::MIN), ..Scene::new(2) };
        let first = scene.ask("ci", "k1", "db").await.unwrap();
        for _ in 0..10 {
            assert_eq!(scene.ask("ci", "k1", "db").await.unwrap().request_id, first.request_id);
        }
        assert!(scene.ask("ci", "k2", "db").await.is_err());
        assert_eq!(scene.ask("ci", "k1", "db").await.unwrap().request_id, first.request_id);
        assert_eq!(scene.keys.lock().len(), 1, "what was refused is not kept");
    }

    #[tokio::test]
    async fn debug_tells_no_token() {
        let scene = Scene::new(1);
        let submitted = scene.ask("ci", "k1", "db").await.unwrap();
        let keys = &scene.keys;
        let shown = format!("{keys:?} {keys:#?} {submitted:?}");
        assert!(shown.contains("kept: 1") && !shown.contains(submitted.token.expose()), "{shown}");
    }
}
