//! The gate's promises, through its public door.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on fails")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use secret_gate_core::audit::{AuditEvent, MemoryAudit};
use secret_gate_core::clock::{Clock, ManualClock};
use secret_gate_core::{
    Approver, ApproverError, BackendError, Ballot, CastError, Decision, Error, Field, FieldKind, Gate, GateBuilder,
    Item, ItemSummary, Keep, MemoryBackend, MemoryCache, Outcome, Posted, Question, Request, Requester, Revision,
    ScriptedApprover, SecretBackend, Submitted, Token, Use, Vault, Wanted,
};
use tokio::sync::{Semaphore, watch};

const TTL: Duration = Duration::from_secs(15 * 60);

fn item(vault: &str, id: &str, title: &str, version: i64) -> Item {
    Item::new(id, vault, title)
        .with_revision(Revision::Version(version))
        .with_field(Field::new("u", "username", FieldKind::text(), "ann"))
        .with_field(Field::new("p", "password", FieldKind::concealed(), format!("value of {id} v{version}")))
}

fn vaults() -> MemoryBackend {
    MemoryBackend::new()
        .with_vault("v1", "infra")
        .with_vault("v2", "web")
        .with_item(item("v1", "i1", "database", 1))
        .with_item(item("v1", "i2", "deploy-key", 1))
        .with_item(item("v2", "i3", "cookies", 1))
}

/// A gate with everything about it in the test's hands.
struct TestGate {
    gate: Gate,
    human: ScriptedApprover,
    audit: MemoryAudit,
    clock: Arc<ManualClock>,
    vaults: Arc<TestBackend>,
}

impl TestGate {
    fn new(human: ScriptedApprover) -> Self {
        Self::with(human, |builder| builder)
    }

    fn with(human: ScriptedApprover, adjust: impl Fn(GateBuilder) -> GateBuilder) -> Self {
        let vaults = Arc::new(TestBackend::new(vaults()));
        let (audit, clock) = (MemoryAudit::new(), Arc::new(ManualClock::new()));
        let builder = Gate::builder(Arc::clone(&vaults) as Arc<dyn SecretBackend>, Arc::new(human.clone()))
            .audit(Arc::new(audit.clone()))
            .clock(Arc::clone(&clock) as Arc<dyn Clock>);
        Self { gate: adjust(builder).build(), human, audit, clock, vaults }
    }

    async fn submit(&self, name: &str) -> Submitted {
        self.gate.submit(Request::new(name)).await.unwrap()
    }

    async fn decide(&self, submitted: &Submitted, decision: Decision) -> Result<Outcome, CastError> {
        self.gate.decide(&submitted.request_id, decision).await
    }

    async fn approved(&self, name: &str) -> Token {
        let submitted = self.submit(name).await;
        self.decide(&submitted, Decision::approve("Ann")).await.unwrap();
        submitted.token
    }

    fn outcome(&self, token: &Token) -> Option<Outcome> {
        self.gate.standing(token).unwrap().outcome
    }
}

/// A backend that can be held up and made to fail.
#[derive(Debug)]
struct TestBackend {
    inner: MemoryBackend,
    reads: Semaphore,
    reading: watch::Sender<usize>,
    listings: watch::Sender<usize>,
    listings_fail: AtomicBool,
    failing: std::sync::Mutex<Option<&'static str>>,
    failing_vault: std::sync::Mutex<Option<(&'static str, bool)>>,
}

impl TestBackend {
    fn new(inner: MemoryBackend) -> Self {
        Self {
            inner,
            reads: Semaphore::new(Semaphore::MAX_PERMITS),
            reading: watch::Sender::new(0),
            listings: watch::Sender::new(0),
            listings_fail: AtomicBool::new(false),
            failing: std::sync::Mutex::new(None),
            failing_vault: std::sync::Mutex::new(None),
        }
    }

    /// From now on each read waits for a permit.
    fn hold_reads(&self) {
        self.reads.forget_permits(Semaphore::MAX_PERMITS);
    }

    fn fail(&self, message: Option<&'static str>) {
        *self.failing.lock().unwrap() = message;
    }

    fn fail_listings(&self, fail: bool) {
        self.listings_fail.store(fail, Ordering::SeqCst);
    }

    fn fail_vault(&self, vault: &'static str, forbidden: bool) {
        *self.failing_vault.lock().unwrap() = Some((vault, forbidden));
    }
}

#[async_trait]
impl SecretBackend for TestBackend {
    async fn vaults(&self) -> Result<Vec<Vault>, BackendError> {
        self.listings.send_modify(|count| *count += 1);
        // lets whoever else wants the listing queue up for it
        tokio::task::yield_now().await;
        if self.listings_fail.load(Ordering::SeqCst) {
            return Err(BackendError::unavailable("down"));
        }
        self.inner.vaults().await
    }

    async fn items(&self, vault_id: &str) -> Result<Vec<ItemSummary>, BackendError> {
        match *self.failing_vault.lock().unwrap() {
            Some((vault, true)) if vault == vault_id => return Err(BackendError::Forbidden),
            Some((vault, false)) if vault == vault_id => return Err(BackendError::unavailable("down")),
            _ => {}
        }
        self.inner.items(vault_id).await
    }

    async fn item(&self, vault_id: &str, item_id: &str) -> Result<Item, BackendError> {
        self.reading.send_modify(|count| *count += 1);
        let permit = self.reads.acquire().await.map_err(|_| BackendError::unavailable("closed"))?;
        permit.forget();
        self.reads.add_permits(1);
        let failing = *self.failing.lock().unwrap();
        if let Some(message) = failing {
            assert_ne!(message, "panic", "told to");
            return Err(BackendError::unavailable(message));
        }
        self.inner.item(vault_id, item_id).await
    }

    async fn check(&self) -> Result<(), BackendError> {
        Ok(())
    }
}

#[tokio::test]
async fn approved_is_released_once_and_written_down_before() {
    let test = TestGate::new(ScriptedApprover::new());
    let token = test.approved("database").await;
    let release = test.gate.redeem(&token).await.unwrap();
    assert_eq!(release.value("password").unwrap().expose(), "value of i1 v1");
    assert_eq!(release.value("username").unwrap().expose(), "ann");
    assert!(matches!(test.gate.redeem(&token).await, Err(Error::AlreadyUsed)));
    assert_eq!(test.audit.events(), [AuditEvent::Asked, AuditEvent::Approved, AuditEvent::Released]);
    assert!(matches!(test.outcome(&token), Some(Outcome::Released(approval)) if approval.by == "Ann"));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_hundred_racing_redemptions_one_gets_the_value() {
    let test = TestGate::new(ScriptedApprover::new());
    let token = Arc::new(test.approved("database").await);
    let racing = (0..200).map(|_| {
        let (gate, token) = (test.gate.clone(), Arc::clone(&token));
        tokio::spawn(async move { gate.redeem(&token).await })
    });
    let (mut released, mut used) = (0, 0);
    for task in racing.collect::<Vec<_>>() {
        match task.await.unwrap() {
            Ok(_) => released += 1,
            Err(Error::AlreadyUsed) => used += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!((released, used), (1, 199));
    assert_eq!(test.audit.events().iter().filter(|event| **event == AuditEvent::Released).count(), 1);
}

#[tokio::test]
async fn nothing_but_an_approval_releases() {
    let test = TestGate::new(ScriptedApprover::new());
    let pending = test.submit("database").await;
    assert!(matches!(test.gate.redeem(&pending.token).await, Err(Error::NotApproved)));
    test.decide(&pending, Decision::deny("Ann")).await.unwrap();
    assert!(matches!(test.gate.redeem(&pending.token).await, Err(Error::NotApproved)));

    let withdrawn = test.submit("database").await;
    test.gate.withdraw(&withdrawn.token).await.unwrap();
    assert!(matches!(test.decide(&withdrawn, Decision::approve("Ann")).await, Err(CastError::Ended(_))));
    assert!(matches!(test.gate.redeem(&withdrawn.token).await, Err(Error::NotApproved)));

    let revoked = test.approved("database").await;
    test.gate.withdraw(&revoked).await.unwrap();
    assert!(matches!(test.gate.redeem(&revoked).await, Err(Error::NotApproved)));

    assert!(matches!(test.gate.redeem(&Token::presented("guess")).await, Err(Error::UnknownToken)));
    assert!(!test.audit.events().contains(&AuditEvent::Released));
}

#[tokio::test]
async fn a_decision_counts_once_and_in_time() {
    let test = TestGate::new(ScriptedApprover::new());
    let decided = test.submit("database").await;
    test.decide(&decided, Decision::deny("Ann")).await.unwrap();
    let second = test.decide(&decided, Decision::approve("Bob")).await;
    assert!(matches!(second, Err(CastError::Ended(outcome)) if *outcome == Outcome::Denied { by: "Ann".into() }));

    let late = test.submit("database").await;
    test.clock.advance(TTL);
    let outcome = test.decide(&late, Decision::approve("Ann")).await;
    assert!(matches!(outcome, Err(CastError::Ended(outcome)) if *outcome == Outcome::Expired { unused: None }));
    assert!(matches!(test.gate.redeem(&late.token).await, Err(Error::NotApproved)));
    assert_eq!(
        test.audit.events(),
        [AuditEvent::Asked, AuditEvent::Denied, AuditEvent::Asked, AuditEvent::Expired],
        "what did not count is not written down as if it had"
    );
}

#[tokio::test]
async fn an_approval_lapses_with_its_request() {
    let test = TestGate::new(ScriptedApprover::new());
    let token = test.approved("database").await;
    test.clock.advance(TTL);
    assert!(matches!(test.gate.redeem(&token).await, Err(Error::NotApproved)));
    assert!(matches!(test.outcome(&token), Some(Outcome::Expired { unused: Some(_) })));
}

#[tokio::test]
async fn waiting_ends_with_the_decision_and_with_the_time() {
    let test = TestGate::new(ScriptedApprover::new());
    let submitted = test.submit("database").await;
    let token = Token::presented(submitted.token.expose());
    let waiting = tokio::spawn({
        let gate = test.gate.clone();
        async move { gate.wait(&token, Duration::from_secs(60)).await.unwrap().outcome }
    });
    tokio::task::yield_now().await;
    test.decide(&submitted, Decision::approve("Ann")).await.unwrap();
    assert!(matches!(waiting.await.unwrap(), Some(Outcome::Approved(_))));

    let submitted = test.submit("database").await;
    let expiring = test.gate.wait(&submitted.token, 2 * TTL);
    tokio::pin!(expiring);
    assert!(poll_once(expiring.as_mut()).await.is_none());
    test.clock.advance(TTL);
    assert!(matches!(expiring.await.unwrap().outcome, Some(Outcome::Expired { unused: None })), "expired by its timer");

    let submitted = test.submit("database").await;
    let quiet = test.gate.wait(&submitted.token, Duration::from_secs(5));
    tokio::pin!(quiet);
    assert!(poll_once(quiet.as_mut()).await.is_none());
    test.clock.advance(Duration::from_secs(5));
    assert!(quiet.await.unwrap().outcome.is_none());
}

/// Polls once.
async fn poll_once<F: Future + Unpin>(mut future: F) -> Option<F::Output> {
    std::future::poll_fn(|context| {
        std::task::Poll::Ready(match std::pin::Pin::new(&mut future).poll(context) {
            std::task::Poll::Ready(output) => Some(output),
            std::task::Poll::Pending => None,
        })
    })
    .await
}

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
    assert_eq!(release.items[0].fields.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["password"]);
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
async fn a_question_nobody_saw_leaves_nothing_behind() {
    let human = ScriptedApprover::new()
        .then_fail(ApproverError::unreachable("no network"))
        .then_fail(ApproverError::TooLongToShow { length: 5000, limit: 4096 });
    let test = TestGate::new(human);
    assert!(matches!(test.gate.submit(Request::new("database")).await, Err(Error::NotificationFailed { .. })));
    assert!(matches!(test.gate.submit(Request::new("database")).await, Err(Error::TooLongToShow { .. })));
    assert_eq!(test.gate.open_requests(), 0);
    let events = test.audit.events();
    assert_eq!(events, [AuditEvent::Asked, AuditEvent::Undelivered, AuditEvent::Asked, AuditEvent::Undelivered]);
}

#[tokio::test]
async fn what_can_not_be_written_down_does_not_happen() {
    let test = TestGate::new(ScriptedApprover::new());
    test.audit.fail_on(Some(AuditEvent::Asked));
    assert!(matches!(test.gate.submit(Request::new("database")).await, Err(Error::Audit { .. })));
    assert_eq!((test.human.count(), test.gate.open_requests()), (0, 0));

    test.audit.fail_on(Some(AuditEvent::Approved));
    let submitted = test.submit("database").await;
    assert!(matches!(test.decide(&submitted, Decision::approve("Ann")).await, Err(CastError::NotRecorded)));
    assert!(test.outcome(&submitted.token).is_none());

    test.audit.fail_on(Some(AuditEvent::Released));
    test.decide(&submitted, Decision::approve("Ann")).await.unwrap();
    assert!(matches!(test.gate.redeem(&submitted.token).await, Err(Error::Audit { .. })));
    test.audit.fail_on(None);
    assert!(test.gate.redeem(&submitted.token).await.is_ok(), "the token was not spent");

    test.audit.fail_on(Some(AuditEvent::Denied));
    let submitted = test.submit("database").await;
    test.decide(&submitted, Decision::deny("Ann")).await.unwrap();
    assert!(matches!(test.gate.redeem(&submitted.token).await, Err(Error::NotApproved)), "a no stands unwritten");
}

#[tokio::test]
async fn a_failed_read_leaves_the_token_unspent() {
    let test = TestGate::new(ScriptedApprover::new());
    let token = test.approved("database").await;
    test.vaults.fail(Some("502"));
    assert!(matches!(test.gate.redeem(&token).await, Err(Error::Backend { .. })));
    test.vaults.fail(None);
    assert!(test.gate.redeem(&token).await.is_ok());
}

#[tokio::test]
async fn a_caller_who_leaves_during_the_release_spends_nothing() {
    let test = TestGate::new(ScriptedApprover::new());
    let token = test.approved("database").await;
    let mut reading = test.vaults.reading.subscribe();
    reading.mark_unchanged();
    test.vaults.hold_reads();
    {
        let redeem = test.gate.redeem(&token);
        tokio::pin!(redeem);
        tokio::select! {
            _ = &mut redeem => panic!("must wait for the backend"),
            _ = reading.changed() => {}
        }
    }
    test.vaults.reads.add_permits(1);
    let release = test.gate.redeem(&token).await.unwrap();
    assert_eq!(release.value("password").unwrap().expose(), "value of i1 v1");
    assert_eq!(test.audit.events().iter().filter(|event| **event == AuditEvent::Released).count(), 1);
}

#[tokio::test]
async fn revoking_during_the_release_waits_for_it_and_then_revokes() {
    let test = TestGate::new(ScriptedApprover::new());
    let token = Arc::new(test.approved("database").await);
    let mut reading = test.vaults.reading.subscribe();
    reading.mark_unchanged();
    test.vaults.hold_reads();
    let spawn_redeem = || {
        let (gate, token) = (test.gate.clone(), Arc::clone(&token));
        tokio::spawn(async move { gate.redeem(&token).await.is_ok() })
    };
    let redeem = spawn_redeem();
    reading.changed().await.unwrap();
    let (gate, revoked) = (test.gate.clone(), Arc::clone(&token));
    let revoke = tokio::spawn(async move { gate.withdraw(&revoked).await });
    tokio::task::yield_now().await;
    assert!(!revoke.is_finished());
    test.vaults.reads.add_permits(1);
    assert!(redeem.await.unwrap());
    revoke.await.unwrap().unwrap();
    assert!(matches!(test.outcome(&token), Some(Outcome::Revoked(_))));
}

#[tokio::test]
async fn a_caller_who_leaves_while_asking_withdraws_the_question() {
    let test = TestGate::new(ScriptedApprover::new());
    {
        let submit = test.gate.submit(Request::new("database"));
        tokio::pin!(submit);
        // polled until the question is out, and dropped before it answers
        let asked = test.human.asked(0);
        tokio::pin!(asked);
        loop {
            if poll_once(submit.as_mut()).await.is_some() {
                return; // it was quicker: nothing to see here
            }
            if poll_once(asked.as_mut()).await.is_some() {
                break;
            }
            tokio::task::yield_now().await;
        }
    }
    let mut outcomes = test.human.asked(0).await.outcomes;
    outcomes.wait_for(|outcomes| outcomes.contains(&Outcome::Withdrawn)).await.unwrap();
    assert_eq!(test.gate.open_requests(), 0);
}

#[tokio::test]
async fn an_embedder_who_stops_waiting_withdraws_the_question() {
    let test = TestGate::new(ScriptedApprover::new());
    let waiting = tokio::spawn({
        let gate = test.gate.clone();
        async move { gate.request(Request::new("database")).await.is_ok() }
    });
    let mut outcomes = test.human.asked(0).await.outcomes;
    tokio::task::yield_now().await;
    waiting.abort();
    outcomes.wait_for(|outcomes| outcomes.contains(&Outcome::Withdrawn)).await.unwrap();
}

#[tokio::test]
async fn grants_say_what_was_approved_and_how_long() {
    let test = TestGate::new(ScriptedApprover::new());
    let now = test.clock.now();
    let hour = Duration::from_secs(3600);
    let cases = [
        (None, Keep::AsAsked, hour, false),
        (Some(2 * hour), Keep::AsAsked, 2 * hour, false),
        (Some(100 * hour), Keep::AsAsked, 24 * hour, false),
        (Some(2 * hour), Keep::Once, 2 * hour, true),
        (Some(2 * hour), Keep::For(8 * hour), 8 * hour, false),
    ];
    for (asked, keep, lasts, once) in cases {
        let mut request = Request::new("database").for_use(Use::any_command());
        request.keep = asked;
        let submitted = test.gate.submit(request).await.unwrap();
        test.decide(&submitted, Decision::approve_for("Ann", keep)).await.unwrap();
        let grant = test.gate.redeem(&submitted.token).await.unwrap().grant.unwrap();
        assert_eq!((grant.expires_at, grant.once), (now + lasts, once));
        assert!(grant.covers(&Use::any_command(), now) && !grant.covers(&Use::reveal(), now));
    }
    let token = test.approved("database").await;
    assert!(test.gate.redeem(&token).await.unwrap().grant.is_none(), "nothing is kept where nothing was said of it");
}

#[tokio::test]
async fn watching_tells_of_revocations_and_of_nothing_else() {
    let test = TestGate::new(ScriptedApprover::new());
    let (a, b) = (test.approved("database").await, test.approved("deploy-key").await);
    test.gate.redeem(&a).await.unwrap();
    test.gate.redeem(&b).await.unwrap();
    let again = |token: &Token| Token::presented(token.expose());
    let tokens = [again(&a), again(&b)];
    {
        let watching = test.gate.watch(&tokens, Duration::from_secs(30));
        tokio::pin!(watching);
        assert!(poll_once(watching.as_mut()).await.is_none());
        test.gate.withdraw(&b).await.unwrap();
        assert_eq!(watching.await, [1]);
    }
    assert_eq!(test.gate.watch(&[again(&a), Token::presented("unknown")], Duration::from_secs(30)).await, [1]);
    let alone = [again(&a)];
    let quiet = test.gate.watch(&alone, Duration::from_secs(30));
    tokio::pin!(quiet);
    assert!(poll_once(quiet.as_mut()).await.is_none());
    test.clock.advance(Duration::from_secs(30));
    assert!(quiet.await.is_empty());
}

#[tokio::test]
async fn open_questions_are_bounded_in_all_and_per_requester() {
    let test = TestGate::with(ScriptedApprover::new(), |builder| builder.max_pending(3, 2));
    let ask = |who: &str| test.gate.submit(Request::new("database").by(Requester::with_key(who, false).at("10.0.0.1")));
    let first = ask("a").await.unwrap();
    ask("a").await.unwrap();
    assert!(matches!(ask("a").await, Err(Error::TooManyRequests { .. })));
    ask("b").await.unwrap();
    assert!(matches!(ask("c").await, Err(Error::TooManyRequests { .. })));
    assert_eq!(test.human.count(), 3, "nobody is asked for what there is no room for");
    test.gate.withdraw(&first.token).await.unwrap();
    ask("c").await.unwrap();
}

#[tokio::test]
async fn ended_requests_are_forgotten_after_a_while_and_grants_when_they_end() {
    let test = TestGate::new(ScriptedApprover::new());
    let denied = test.submit("database").await;
    test.decide(&denied, Decision::deny("Ann")).await.unwrap();
    let granted = test.gate.submit(Request::new("database").for_use(Use::any_command())).await.unwrap();
    test.decide(&granted, Decision::approve("Ann")).await.unwrap();
    test.gate.redeem(&granted.token).await.unwrap();
    let pending = test.submit("database").await;

    test.gate.sweep();
    assert!(test.gate.standing(&denied.token).is_ok(), "its requester may not have looked yet");
    test.clock.advance(Duration::from_secs(60));
    test.gate.sweep();
    assert!(matches!(test.gate.standing(&denied.token), Err(Error::UnknownToken)));
    assert!(test.gate.standing(&granted.token).is_ok() && test.gate.standing(&pending.token).is_ok());
    test.clock.advance(Duration::from_secs(3600));
    test.gate.sweep();
    assert!(matches!(test.gate.standing(&granted.token), Err(Error::UnknownToken)));
}

#[tokio::test]
async fn several_secrets_come_under_one_approval() {
    let human = ScriptedApprover::new().then(Decision::approve("Ann"));
    let test = TestGate::new(human);
    test.vaults.inner.put(item("v2", "i4", "database", 1));
    let request = Request::of([
        Wanted::new("database").in_vault("infra").field("password"),
        Wanted::new("op://infra/database/username"),
        Wanted::new("database").in_vault("web"),
    ]);
    let release = test.gate.request(request).await.unwrap();
    let names: Vec<_> = release.items.iter().map(|item| item.name.as_str()).collect();
    assert_eq!(names, ["infra/database", "web/database"]);
    assert_eq!(release.items[0].fields.len(), 2, "one item stands once, with all that was asked of it");
    assert_eq!(test.human.asked(0).await.question.items.len(), 2);
}

#[tokio::test]
async fn a_cache_answers_what_its_grant_covers_for_the_same_requester() {
    let human = ScriptedApprover::new().then(Decision::approve("Ann"));
    let clock = Arc::new(ManualClock::new());
    let test = TestGate::with(human.clone(), |builder| {
        let clock = Arc::clone(&clock) as Arc<dyn Clock>;
        builder.cache(Arc::new(MemoryCache::with_clock(Arc::clone(&clock)))).clock(clock)
    });
    let request = || Request::new("database").field("password").for_use(Use::reveal());
    test.gate.request(request()).await.unwrap();

    let before = human.count();
    let kept = test.gate.request(request()).await.unwrap();
    assert_eq!(kept.value("password").unwrap().expose(), "value of i1 v1");
    assert_eq!(human.count(), before, "answered from the cache");

    let expect_question = async |request: Request| {
        let (gate, count) = (test.gate.clone(), human.count());
        let waiting = tokio::spawn(async move { gate.request(request).await.is_ok() });
        human.asked(count).await.ballot.cast(Decision::deny("Ann")).await.unwrap();
        assert!(!waiting.await.unwrap());
    };
    expect_question(request().for_use(Use::any_command())).await;
    expect_question(request().field("username")).await;
    expect_question(request().by(Requester::with_key("other", false))).await;
    test.vaults.inner.put(item("v1", "i1", "database", 2));
    expect_question(request()).await;
    test.vaults.inner.put(item("v1", "i1", "database", 1));
    clock.advance(Duration::from_secs(3600));
    expect_question(request()).await;
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

#[tokio::test(flavor = "multi_thread")]
async fn of_two_steps_at_once_the_later_is_shown_last() {
    for _ in 0..200 {
        let test = TestGate::new(ScriptedApprover::new());
        let submitted = test.submit("database").await;
        let mut outcomes = test.human.asked(0).await.outcomes;
        let (gate, token) = (test.gate.clone(), submitted.token);
        let withdrawing = tokio::spawn(async move { gate.withdraw(&token).await });
        test.gate.decide(&submitted.request_id, Decision::approve("Ann")).await.ok();
        withdrawing.await.unwrap().unwrap();
        let last = outcomes.borrow_and_update().last().cloned();
        assert!(matches!(last, Some(Outcome::Withdrawn | Outcome::Revoked(_))), "{last:?}");
    }
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

/// Panics where it can.
#[derive(Debug)]
struct Panicking;

#[async_trait]
impl Approver for Panicking {
    async fn ask(&self, _: Arc<Question>, _: Ballot) -> Result<Box<dyn Posted>, ApproverError> {
        panic!("told to panic")
    }

    async fn check(&self) -> Result<(), ApproverError> {
        Ok(())
    }
}

#[tokio::test]
async fn parts_that_panic_fail_and_leave_nothing_half_done() {
    let gate = Gate::builder(Arc::new(vaults()), Arc::new(Panicking)).build();
    assert!(matches!(gate.submit(Request::new("database")).await, Err(Error::Internal(_))));
    assert_eq!(gate.open_requests(), 0);

    let test = TestGate::new(ScriptedApprover::new());
    let token = test.approved("database").await;
    test.vaults.fail(Some("panic"));
    assert!(matches!(test.gate.redeem(&token).await, Err(Error::Internal(_))));
    test.vaults.fail(None);
    assert!(test.gate.redeem(&token).await.is_ok());
}

#[tokio::test]
async fn an_embedder_gets_what_was_approved_although_the_backend_stumbles() {
    let test = TestGate::new(ScriptedApprover::new());
    let waiting = tokio::spawn({
        let gate = test.gate.clone();
        async move { gate.request(Request::new("database")).await.is_ok() }
    });
    let asked = test.human.asked(0).await;
    let mut reading = test.vaults.reading.subscribe();
    reading.mark_unchanged();
    test.vaults.fail(Some("502"));
    asked.ballot.cast(Decision::approve("Ann")).await.unwrap();
    reading.changed().await.unwrap();
    test.vaults.fail(None);
    while !waiting.is_finished() {
        test.clock.advance(Duration::from_secs(1));
        tokio::task::yield_now().await;
    }
    assert!(waiting.await.unwrap());
}
