//! The 1Password Connect backend over real HTTP: what it reads, and what it makes of every fault on the way.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail the test that calls them")]

mod answers;
mod faults;
mod reads;
mod scripted;
mod secure;
#[path = "../support/tls.rs"]
mod tls;

use std::time::Duration;

use secret_gate_core::backend::onepassword::OnePasswordBuilder;
use secret_gate_core::{BackendError, OnePassword, SecretValue};
use secret_gate_doubles::ConnectDouble;
use serde_json::json;

const VALUE: &str = "planted-value-hunter2";

/// A Connect server with one vault that holds one item, and its backend.
struct Fixture {
    connect: ConnectDouble,
    backend: OnePassword,
    vault: String,
    item: String,
}

impl Fixture {
    async fn start() -> Self {
        Self::with(|builder| builder).await
    }

    async fn with(settings: impl FnOnce(OnePasswordBuilder) -> OnePasswordBuilder) -> Self {
        let connect = ConnectDouble::start().await.unwrap();
        let vault = connect.add_vault("", "infra");
        let fields = json!([{"id": "password", "type": "CONCEALED", "label": "password", "value": VALUE}]);
        let item = connect.add_item(&vault, json!({"title": "db", "category": "LOGIN", "fields": fields}));
        let backend = settings(builder(&connect.url(), &connect.token())).build().unwrap();
        Self { connect, backend, vault, item }
    }

    fn calls(&self) -> usize {
        self.connect.calls().len()
    }

    /// The message of what is unavailable; it must name host and route, and hold neither token nor value nor body.
    fn unavailable<T>(&self, result: Result<T, BackendError>) -> String {
        let message = unavailable(result);
        assert!(message.contains(&self.connect.url()), "{message}");
        assert!(message.contains("GET /"), "{message}");
        for secret in [VALUE, &self.connect.token(), "<html>", "internal server error", &self.vault, &self.item] {
            assert!(!message.contains(secret), "{message}");
        }
        message
    }
}

/// A backend that is as patient as ever, but pauses shortly.
fn builder(url: &str, token: &str) -> OnePasswordBuilder {
    OnePassword::builder(url, SecretValue::from(token)).first_pause(Duration::from_millis(2))
}

fn unavailable<T>(result: Result<T, BackendError>) -> String {
    match result {
        Err(BackendError::Unavailable { message }) => message,
        Err(other) => panic!("expected to be unavailable: {other:?}"),
        Ok(_) => panic!("expected to be unavailable"),
    }
}
