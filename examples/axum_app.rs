//! A gate inside a web application: a route that needs a secret asks a human first, and answers with what it did with it.
//!
//! `cargo run -p secret-gate-examples --example axum_app`, then `curl -i http://127.0.0.1:3000/orders` in another terminal:
//! the question stands on the first one. A no is 403, silence is 504: 408 would invite
//! clients to ask again by themselves.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Router, routing::get};
use secret_gate_core::{Error, Field, FieldKind, Gate, Item, MemoryBackend, Request, SecretValue, TerminalApprover};

fn app(gate: Gate) -> Router {
    Router::new().route("/orders", get(orders)).with_state(gate)
}

/// Waits for the human as long as the client does: when that one goes away, the question is withdrawn.
async fn orders(State(gate): State<Gate>) -> Result<String, Refusal> {
    let request = Request::new("database").field("password").reason("count the orders");
    let release = gate.request(request).await.map_err(Refusal)?;
    Ok(count_orders(release.value("password")))
}

/// Where a real application would open the database; the value goes no further than this.
fn count_orders(password: Option<&SecretValue>) -> String {
    format!("3 orders, read with a password of {} bytes", password.map_or(0, SecretValue::len))
}

/// Why there is no answer. The client learns who said no and nothing else; the cause is for the log.
struct Refusal(Error);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let Self(error) = self;
        match &error {
            Error::Denied { .. } => (StatusCode::FORBIDDEN, error.to_string()),
            // not 408, which clients may repeat by themselves, and so ask the human again
            Error::Expired => (StatusCode::GATEWAY_TIMEOUT, error.to_string()),
            Error::TooManyRequests { .. } => (StatusCode::TOO_MANY_REQUESTS, error.to_string()),
            _ => {
                eprintln!("no secret for /orders: {error:?}");
                (StatusCode::SERVICE_UNAVAILABLE, "try again later".to_owned())
            }
        }
        .into_response()
    }
}

fn vault() -> MemoryBackend {
    let password = Field::new("f1", "password", FieldKind::concealed(), "hunter2");
    MemoryBackend::new().with_vault("v1", "infra").with_item(Item::new("i1", "v1", "database").with_field(password))
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let gate = Gate::builder(Arc::new(vault()), Arc::new(TerminalApprover::new()))
        .request_ttl(Duration::from_secs(120))
        .build();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, app(gate)).await
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use secret_gate_core::clock::ManualClock;
    use secret_gate_core::{ApproverError, Decision, Outcome, ScriptedApprover};
    use tower::ServiceExt as _;

    use super::*;

    async fn ask(gate: &Gate) -> (StatusCode, String) {
        let request = axum::http::Request::get("/orders").body(Body::empty()).unwrap();
        let response = app(gate.clone()).oneshot(request).await.unwrap();
        let status = response.status();
        let body = axum::body::to_bytes(response.into_body(), 1024).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn a_yes_a_no_and_nobody_there() {
        let human = ScriptedApprover::new()
            .then(Decision::approve("Ann"))
            .then(Decision::deny("Ann"))
            .then_fail(ApproverError::unreachable("no network to chat 4711"));
        let gate = Gate::builder(Arc::new(vault()), Arc::new(human)).build();
        assert_eq!(ask(&gate).await, (StatusCode::OK, "3 orders, read with a password of 7 bytes".to_owned()));
        assert_eq!(ask(&gate).await, (StatusCode::FORBIDDEN, "denied by Ann".to_owned()));
        assert_eq!(ask(&gate).await, (StatusCode::SERVICE_UNAVAILABLE, "try again later".to_owned()));
    }

    #[tokio::test]
    async fn silence() {
        let (human, clock) = (ScriptedApprover::new(), Arc::new(ManualClock::new()));
        let gate = Gate::builder(Arc::new(vault()), Arc::new(human.clone())).clock(Arc::clone(&clock) as _).build();
        let asking = tokio::spawn(async move { ask(&gate).await });
        human.asked(0).await;
        clock.advance(Duration::from_secs(15 * 60));
        assert_eq!(asking.await.unwrap().0, StatusCode::GATEWAY_TIMEOUT);
    }

    #[tokio::test]
    async fn a_client_that_goes_away() {
        let human = ScriptedApprover::new();
        let gate = Gate::builder(Arc::new(vault()), Arc::new(human.clone())).build();
        let asking = tokio::spawn(async move { ask(&gate).await });
        let mut outcomes = human.asked(0).await.outcomes;
        asking.abort();
        outcomes.wait_for(|outcomes| outcomes.contains(&Outcome::Withdrawn)).await.unwrap();
    }
}
