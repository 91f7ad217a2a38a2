//! How the Bot API says no.

#![expect(clippy::indexing_slicing, reason = "assigning to a member of a JSON object that was made here cannot fail")]

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::{Map, Value, json};

/// `{"ok": false, "error_code": …, "description": …, "parameters": …}` with the HTTP status of the same number.
#[derive(Debug)]
pub(super) struct Refusal {
    status: u16,
    description: String,
    parameters: Map<String, Value>,
}

impl Refusal {
    pub(super) fn new(status: u16, description: impl Into<String>) -> Self {
        Self { status, description: description.into(), parameters: Map::new() }
    }

    /// A 400 with this reason after `Bad Request: `.
    pub(super) fn bad(reason: &str) -> Self {
        Self::new(400, format!("Bad Request: {reason}"))
    }

    pub(super) fn not_found() -> Self {
        Self::new(404, "Not Found")
    }

    pub(super) fn other_poller() -> Self {
        Self::new(
            409,
            "Conflict: terminated by other getUpdates request; make sure that only one bot instance is running",
        )
    }

    pub(super) fn webhook_active() -> Self {
        Self::new(
            409,
            "Conflict: can't use getUpdates method while webhook is active; use deleteWebhook to delete the webhook \
             first",
        )
    }

    pub(super) fn retry_after(seconds: u64) -> Self {
        Self::new(429, format!("Too Many Requests: retry after {seconds}")).with("retry_after", seconds)
    }

    pub(super) fn of_status(status: u16) -> Self {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self::new(status.as_u16(), status.canonical_reason().unwrap_or("Error"))
    }

    pub(super) fn with(mut self, parameter: &str, value: impl Into<Value>) -> Self {
        self.parameters.insert(parameter.to_owned(), value.into());
        self
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut body = json!({"ok": false, "error_code": self.status, "description": self.description});
        if !self.parameters.is_empty() {
            body["parameters"] = Value::Object(self.parameters);
        }
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, Json(body)).into_response()
    }
}
