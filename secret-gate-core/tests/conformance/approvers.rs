use std::io::BufReader;

use secret_gate_core::approver::{FnApprover, TelegramApprover};
use secret_gate_core::conformance::approver::{self, Differences};
use secret_gate_core::{Decision, DenyAll, ScriptedApprover, SecretValue, TerminalApprover};
use secret_gate_doubles::TelegramDouble;
use secret_gate_doubles::telegram::User;

use super::hands::{ANN, Chat, Keyboard, Mouth, Nobody, Script};

#[tokio::test]
async fn deny_all() {
    let differences = Differences::none().decides_alone().never_approves().shows_any_length().shows_nothing();
    approver::all(&DenyAll, &Nobody, &differences).await;
}

#[tokio::test]
async fn scripted() {
    let approver = ScriptedApprover::new();
    let differences = Differences::none().shows_any_length().shows_nothing();
    approver::all(&approver, &Script(approver.clone()), &differences).await;
}

/// A function that waits for somebody to say something.
#[tokio::test]
async fn function() {
    let mouth = Mouth::default();
    let ear = mouth.clone();
    let approver = FnApprover::new(move |question| {
        let ear = ear.clone();
        async move { ear.hear(&question.id).await }
    });
    approver::all(&approver, &mouth, &Differences::none().decides_once().shows_any_length().shows_nothing()).await;
}

/// A function that goes by what was agreed before.
#[tokio::test]
async fn function_by_a_rule() {
    let mouth = Mouth::default();
    let ear = mouth.clone();
    let approver = FnApprover::new(move |_| {
        let decision = ear.agreed();
        async move { decision }
    });
    approver::all(&approver, &mouth, &Differences::none().decides_alone().shows_any_length().shows_nothing()).await;
}

#[tokio::test]
async fn a_function_that_always_denies() {
    let approver = FnApprover::new(|_| async { Decision::deny("policy") });
    let differences = Differences::none().decides_alone().never_approves().shows_any_length().shows_nothing();
    approver::all(&approver, &Nobody, &differences).await;
}

#[tokio::test]
async fn terminal() {
    let (keyboard, keys) = Keyboard::new();
    let approver = TerminalApprover::with_io(BufReader::new(keys), keyboard.screen());
    approver::all(&approver, &keyboard, &Differences::none().asks_in_turn()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn telegram() {
    let telegram = TelegramDouble::start().await.unwrap();
    telegram.add_user(User::new(ANN, "Ann").with_username("ann"));
    let approver = TelegramApprover::builder(SecretValue::new(telegram.token()), ANN)
        .api_url(telegram.url())
        .approver_ids([u64::try_from(ANN).unwrap()])
        .start()
        .unwrap();
    approver::all(&approver, &Chat(telegram), &Differences::none()).await;
    approver.stop().await;
}
