//! Each fault of the server or the network: the right outcome, after the right number of calls.

use std::time::{Duration, Instant};

use secret_gate_core::{BackendError, SecretBackend};
use secret_gate_doubles::{Fault, Times};

use super::{Fixture, VALUE, builder};

async fn read(fixture: &Fixture) -> Result<String, BackendError> {
    let item = fixture.backend.item(&fixture.vault, &fixture.item).await?;
    Ok(item.field("password").unwrap().value.expose().to_owned())
}

#[tokio::test]
async fn a_first_false_refusal_is_not_believed() {
    let fixture = Fixture::start().await;
    fixture.connect.faults().deny_next_with_401(1);
    assert_eq!(read(&fixture).await.unwrap(), VALUE);
    assert_eq!(fixture.calls(), 2);
}

#[tokio::test]
async fn a_second_refusal_is() {
    let fixture = Fixture::start().await;
    fixture.connect.faults().deny_next_with_401(2);
    assert!(matches!(read(&fixture).await, Err(BackendError::Unauthorized)));
    assert_eq!(fixture.calls(), 2);
}

#[tokio::test]
async fn a_token_that_was_replaced() {
    let fixture = Fixture::start().await;
    fixture.connect.set_token("another");
    assert!(matches!(read(&fixture).await, Err(BackendError::Unauthorized)));
    assert!(matches!(fixture.backend.check().await, Err(BackendError::Unauthorized)));
    assert_eq!(fixture.calls(), 4);
}

#[tokio::test]
async fn a_vault_out_of_reach() {
    let fixture = Fixture::start().await;
    fixture.connect.faults().forbid_vault(&fixture.vault);
    assert!(matches!(read(&fixture).await, Err(BackendError::Forbidden)));
    assert!(matches!(fixture.backend.items(&fixture.vault).await, Err(BackendError::Forbidden)));
    assert_eq!(fixture.calls(), 2);
    assert_eq!(fixture.backend.vaults().await.unwrap(), []);
}

#[tokio::test]
async fn one_vault_fails_alone() {
    let fixture = Fixture::start().await;
    let other = fixture.connect.add_vault("", "other");
    fixture.connect.faults().fail_vault(&fixture.vault, 500);
    let message = fixture.unavailable(fixture.backend.items(&fixture.vault).await);
    assert!(message.contains("status 500") && message.contains("/v1/vaults/{vault}/items"), "{message}");
    assert_eq!(fixture.calls(), 3);
    assert_eq!(fixture.backend.items(&other).await.unwrap(), []);
}

/// A fault that may pass: overcome when it strikes twice, given up after the third time.
async fn passes_or_not(fault: Fault, says: &str) {
    let fixture = Fixture::start().await;
    fixture.connect.faults().set(fault.clone(), Times::Next(2));
    assert_eq!(read(&fixture).await.unwrap(), VALUE, "{fault:?}");
    assert_eq!(fixture.calls(), 3, "{fault:?}");

    fixture.connect.clear_calls();
    fixture.connect.faults().set(fault.clone(), Times::Always);
    let message = fixture.unavailable(read(&fixture).await);
    assert!(message.contains(says) && message.contains("attempts: 3"), "{message}");
    assert_eq!(fixture.calls(), 3, "{fault:?}");
}

#[tokio::test]
async fn statuses_that_may_pass() {
    for status in [408, 429, 500, 502, 503, 504] {
        passes_or_not(Fault::Status(status), &format!("status {status}")).await;
    }
}

#[tokio::test]
async fn pages_in_place_of_answers() {
    for status in [200, 502, 503] {
        passes_or_not(Fault::Html(status), "something else answers there").await;
    }
}

#[tokio::test]
async fn connections_that_end_early() {
    passes_or_not(Fault::Truncated, "broke off").await;
    passes_or_not(Fault::Close, "broke off").await;
    passes_or_not(Fault::Reset, "broke off").await;
    passes_or_not(Fault::DropAnswer, "broke off").await;
}

#[tokio::test]
async fn statuses_that_stand() {
    for status in [400, 405, 418] {
        let fixture = Fixture::start().await;
        fixture.connect.faults().fail_all(status);
        let message = fixture.unavailable(read(&fixture).await);
        assert!(message.contains(&format!("status {status}")), "{message}");
        assert_eq!(fixture.calls(), 1);
    }
}

#[tokio::test]
async fn a_page_says_nothing_about_an_item() {
    for status in [401, 403, 404] {
        let fixture = Fixture::start().await;
        fixture.connect.faults().garbage(status, Times::Always);
        fixture.unavailable(read(&fixture).await);
        assert_eq!(fixture.calls(), 1);
    }
}

#[tokio::test]
async fn one_slow_answer() {
    let fixture = Fixture::with(|builder| builder.timeout(Duration::from_millis(300))).await;
    fixture.connect.faults().hang(Duration::from_secs(60));
    assert_eq!(read(&fixture).await.unwrap(), VALUE);
    assert_eq!(fixture.calls(), 2);
}

#[tokio::test]
async fn only_slow_answers() {
    let fixture = Fixture::with(|builder| builder.timeout(Duration::from_millis(100))).await;
    fixture.connect.faults().latency(Duration::from_secs(60));
    let message = fixture.unavailable(read(&fixture).await);
    assert!(message.contains("no answer within 100ms"), "{message}");
    assert_eq!(fixture.calls(), 3);
}

#[tokio::test]
async fn the_whole_call_is_bounded() {
    let fixture = Fixture::with(|builder| builder.total_timeout(Duration::from_millis(200))).await;
    fixture.connect.faults().latency(Duration::from_secs(60));
    let started = Instant::now();
    fixture.unavailable(read(&fixture).await);
    assert!(started.elapsed() < Duration::from_secs(5));
    assert_eq!(fixture.calls(), 1);
}

#[tokio::test]
async fn as_many_attempts_as_told() {
    for (told, made) in [(0, 1), (1, 1), (5, 5)] {
        let fixture = Fixture::with(|builder| builder.max_attempts(told)).await;
        fixture.connect.faults().fail_all(503);
        fixture.unavailable(read(&fixture).await);
        assert_eq!(fixture.calls(), made);
    }
}

#[tokio::test]
async fn nobody_there() {
    let Fixture { connect, vault, .. } = Fixture::start().await;
    let url = connect.url();
    drop(connect);
    // a port that nobody can listen on stays refused, whatever else runs on this machine
    for url in [url, "http://127.0.0.1:1".to_owned()] {
        let backend = builder(&url, "token").build().unwrap();
        let message = super::unavailable(backend.items(&vault).await);
        assert!(message.contains("no connection") && message.contains(&url), "{message}");
        assert!(message.contains("attempts: 3"), "{message}");
    }
}

#[tokio::test]
async fn vaults_not_fetched_yet() {
    let fixture = Fixture::start().await;
    fixture.connect.faults().sync_active(false);
    let message = fixture.unavailable(fixture.backend.check().await);
    assert!(message.contains("TOKEN_NEEDED") && message.contains("connect-sync"), "{message}");
    assert_eq!(fixture.calls(), 2);
    fixture.connect.faults().sync_active(true);
    fixture.backend.check().await.unwrap();
}

#[tokio::test]
async fn a_failing_server_is_not_healthy() {
    let fixture = Fixture::start().await;
    fixture.connect.faults().fail_all(500);
    fixture.unavailable(fixture.backend.check().await);
    assert_eq!(fixture.calls(), 3);
}
