//! The whole way in one call, and several secrets at once.

use super::*;

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

#[tokio::test]
async fn what_is_not_in_the_cache_is_looked_up_once_before_it_is_asked_for() {
    let human = ScriptedApprover::new().then(Decision::approve("Ann")).then(Decision::approve("Ann"));
    let test = TestGate::with(human, |builder| builder.cache(Arc::new(MemoryCache::new())));
    let request = |name: &str| Request::new(name).for_use(Use::reveal());
    test.gate.request(request("database")).await.unwrap();
    let before = *test.vaults.reading.borrow();
    test.gate.request(request("deploy-key")).await.unwrap();
    assert_eq!(*test.vaults.reading.borrow() - before, 2, "once to ask, once to release");
}
