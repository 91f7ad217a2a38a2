//! A request's life, from question to end.

use super::*;

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
async fn whoever_listens_hears_of_each_step_once() {
    let heard = Arc::new(std::sync::Mutex::new(Vec::new()));
    let clock = Arc::new(ManualClock::new());
    let test = TestGate::with(ScriptedApprover::new(), |builder| {
        let heard = Arc::clone(&heard);
        let builder = builder.clock(Arc::clone(&clock) as Arc<dyn Clock>);
        builder.on_step(move |step| heard.lock().unwrap().push(step.clone()))
    });
    let submitted = test.submit("database").await;
    clock.advance(Duration::from_secs(20));
    test.decide(&submitted, Decision::approve("Ann")).await.unwrap();
    test.decide(&submitted, Decision::approve("Ann")).await.unwrap_err();
    clock.advance(Duration::from_secs(3));
    // a read that fails is no step
    test.vaults.fail(Some("502"));
    test.gate.redeem(&submitted.token).await.unwrap_err();
    test.vaults.fail(None);
    test.gate.redeem(&submitted.token).await.unwrap();
    test.gate.withdraw(&submitted.token).await.unwrap();
    test.gate.withdraw(&submitted.token).await.unwrap();

    let heard = heard.lock().unwrap();
    let after = |time: std::time::SystemTime| time.duration_since(heard[0].asked_at).unwrap().as_secs();
    let steps: Vec<_> = heard.iter().map(|step| (step.event, step.approved_at.map(after), after(step.at))).collect();
    use AuditEvent::{Approved, Asked, Released, Revoked};
    let expected = [(Asked, None, 0), (Approved, Some(20), 20), (Released, Some(20), 23), (Revoked, Some(20), 23)];
    assert_eq!(steps, expected);
    assert!(heard.iter().all(|step| step.request_id == submitted.request_id));
}

#[tokio::test]
async fn people_see_where_the_audit_log_says_what_they_see() {
    let test = TestGate::new(ScriptedApprover::new());
    let submitted = test.submit("database").await;
    let mut asked = test.human.asked(0).await;
    test.decide(&submitted, Decision::approve("Ann")).await.unwrap();
    test.gate.redeem(&submitted.token).await.unwrap();
    test.gate.withdraw(&submitted.token).await.unwrap();

    let mut shown = vec![asked.question.audit.clone().unwrap()];
    let outcomes = asked.outcomes.wait_for(|outcomes| outcomes.len() == 3).await.unwrap().clone();
    for outcome in outcomes {
        match outcome {
            Outcome::Approved(approval) | Outcome::Released(approval) => shown.push(approval.audit.unwrap()),
            Outcome::Revoked(approval) => assert_eq!(approval.audit.as_ref(), shown.last()),
            other => panic!("{other:?}"),
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    std::fs::write(&path, test.audit.lines().join("\n")).unwrap();
    assert_eq!(shown.iter().map(|anchor| anchor.position).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(secret_gate_core::audit::verify(&[path], &shown).unwrap().lines, 4);
}
