//! What fails, panics or goes away, and what that leaves behind.

use tokio::sync::Notify;

use super::*;

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
async fn what_stands_unwritten_is_written_before_anything_else() {
    use AuditEvent::{Asked, Denied, Withdrawn};
    let test = TestGate::new(ScriptedApprover::new());
    let (denied, withdrawn) = (test.submit("database").await, test.submit("cookies").await);
    test.audit.fail_on(Some(Denied));
    test.decide(&denied, Decision::deny("Ann")).await.unwrap();
    let at = test.clock.now();
    test.clock.advance(Duration::from_secs(60));
    test.gate.withdraw(&withdrawn.token).await.unwrap();
    // a log that owes a line takes no other
    assert!(matches!(test.gate.submit(Request::new("deploy-key")).await, Err(Error::Audit { .. })));
    assert_eq!(test.human.count(), 2);

    test.audit.fail_on(None);
    test.submit("deploy-key").await;
    assert_eq!(test.audit.events(), [Asked, Asked, Denied, Withdrawn, Asked]);
    assert_eq!(test.audit.entries()[2].at, at, "with the time at which it happened");
}

#[tokio::test]
async fn what_is_owed_is_written_by_itself_and_once() {
    use AuditEvent::{Approved, Asked, Denied, Expired};
    let test = TestGate::new(ScriptedApprover::new());
    let (denied, forgotten) = (test.submit("database").await, test.approved("cookies").await);
    test.audit.fail_on(Some(Denied));
    test.decide(&denied, Decision::deny("Ann")).await.unwrap();
    assert_eq!(test.gate.settle().await, 1);
    // a request that expires while nobody looks, under a caller who leaves
    test.clock.advance(TTL);
    assert!(poll_once(Box::pin(test.gate.redeem(&forgotten))).await.is_none());
    while test.gate.settle().await < 2 {
        tokio::task::yield_now().await;
    }
    test.audit.fail_on(None);
    while test.audit.events().len() < 5 {
        test.clock.advance(Duration::from_secs(1));
        tokio::task::yield_now().await;
    }
    assert_eq!(test.audit.events(), [Asked, Asked, Approved, Denied, Expired]);
    assert_eq!(test.gate.settle().await, 0);
}

#[tokio::test]
async fn a_decision_that_is_written_down_counts_although_its_caller_leaves() {
    let test = TestGate::new(ScriptedApprover::new());
    let submitted = test.submit("database").await;
    assert!(poll_once(Box::pin(test.decide(&submitted, Decision::approve("Ann")))).await.is_none());
    let decided = test.gate.wait(&submitted.token, Duration::from_secs(60)).await.unwrap();
    assert!(matches!(decided.outcome, Some(Outcome::Approved(_))), "{decided:?}");
    assert_eq!(test.audit.events(), [AuditEvent::Asked, AuditEvent::Approved]);
}

#[tokio::test]
async fn a_listener_that_panics_spoils_nothing() {
    let test = TestGate::with(ScriptedApprover::new(), |builder| builder.on_step(|_| panic!("told to")));
    let token = test.approved("database").await;
    assert!(test.gate.redeem(&token).await.is_ok());
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
    test.leave_during_the_release(&token).await;
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

/// Shows a question only when it is let.
#[derive(Debug)]
struct Slow {
    asking: Notify,
    go_on: Notify,
    human: ScriptedApprover,
}

#[async_trait]
impl Approver for Slow {
    async fn ask(&self, question: Arc<Question>, ballot: Ballot) -> Result<Box<dyn Posted>, ApproverError> {
        self.asking.notify_one();
        self.go_on.notified().await;
        self.human.ask(question, ballot).await
    }

    async fn check(&self) -> Result<(), ApproverError> {
        Ok(())
    }
}

#[tokio::test]
async fn a_caller_who_leaves_while_asking_withdraws_the_question() {
    let slow = Arc::new(Slow { asking: Notify::new(), go_on: Notify::new(), human: ScriptedApprover::new() });
    let gate = Gate::builder(Arc::new(vaults()), Arc::clone(&slow) as Arc<dyn Approver>).build();
    let asking = tokio::spawn({
        let gate = gate.clone();
        async move { gate.submit(Request::new("database")).await.is_ok() }
    });
    slow.asking.notified().await;
    asking.abort();
    assert!(asking.await.unwrap_err().is_cancelled());
    slow.go_on.notify_one();
    let mut outcomes = slow.human.asked(0).await.outcomes;
    outcomes.wait_for(|outcomes| outcomes.contains(&Outcome::Withdrawn)).await.unwrap();
    assert_eq!(gate.open_requests(), 0);
}

#[tokio::test]
async fn a_withdrawal_stands_although_its_caller_leaves() {
    let test = TestGate::new(ScriptedApprover::new());
    let token = test.approved("database").await;
    test.leave_during_the_release(&token).await;
    {
        let withdraw = test.gate.withdraw(&token);
        tokio::pin!(withdraw);
        assert!(poll_once(withdraw.as_mut()).await.is_none(), "waits for the release to settle");
    }
    // both callers are gone; the release gives the token back, and the withdrawal takes it
    test.vaults.reads.add_permits(1);
    let mut outcomes = test.human.asked(0).await.outcomes;
    outcomes.wait_for(|outcomes| matches!(outcomes.last(), Some(Outcome::Revoked(_)))).await.unwrap();
    assert!(matches!(test.gate.redeem(&token).await, Err(Error::NotApproved)));
}

#[tokio::test]
async fn endless_times_are_no_panic() {
    let test = TestGate::with(ScriptedApprover::new(), |builder| builder.request_ttl(Duration::MAX));
    let submitted = test.gate.submit(Request::new("database").for_use(Use::reveal())).await.unwrap();
    let forever = Decision::approve_for("Ann", Keep::For(Duration::MAX));
    test.decide(&submitted, forever).await.unwrap();
    assert!(test.gate.wait(&submitted.token, Duration::MAX).await.is_ok());
    assert!(test.gate.redeem(&submitted.token).await.unwrap().grant.is_some());
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
