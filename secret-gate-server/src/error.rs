//! Error answers: one mapping from what went wrong to status, code and sentence.

use std::time::Duration;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use secret_gate_core::Error;
use secret_gate_core::wire::ErrorResponse;

use crate::logging::chain;

/// An error answer.
#[derive(Debug, Clone)]
pub(crate) struct ApiError {
    status: StatusCode,
    body: Box<ErrorResponse>,
    retry_after: Option<Duration>,
}

impl ApiError {
    pub(crate) fn new(status: StatusCode, code: &str, message: impl Into<String>) -> Self {
        let body = ErrorResponse { error: code.to_owned(), message: message.into(), ..ErrorResponse::default() };
        Self { status, body: Box::new(body), retry_after: None }
    }

    pub(crate) fn bad_request(code: &str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    pub(crate) fn no_such_path() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", "There is nothing at this path; see /openapi.json.")
    }

    pub(crate) fn method_not_allowed() -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method_not_allowed",
            "This path does not answer this method; see /openapi.json.",
        )
    }

    pub(crate) fn unauthorized() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "unauthorized",
            "This server needs a valid API key: send it as Authorization: Bearer KEY.",
        )
    }

    pub(crate) fn missing_token() -> Self {
        Self::bad_request("missing_token", "The path must end with the token that POST /request gave out.")
    }

    pub(crate) fn broken_body() -> Self {
        Self::bad_request("invalid_json", "The body could not be read whole.")
    }

    pub(crate) fn too_many_requests(message: impl Into<String>, retry_after: Duration) -> Self {
        let error = Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", message);
        Self { retry_after: Some(retry_after), ..error }
    }

    pub(crate) fn internal() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal_error",
            "Something went wrong inside; the server's log tells more.",
        )
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body)).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(wait) = self.retry_after {
            // rounded up: who waits for this long may come again
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        response
    }
}

/// Their fault: tell and don't log. Ours: log and don't tell.
impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        let message = sentence(&error);
        match error {
            Error::MissingQuery => Self::bad_request("missing_query", message),
            Error::MissingName => Self::bad_request("missing_fields", "secret_name is needed: the name of a secret."),
            Error::Reference(source) => Self::bad_request("invalid_reference", sentence(&source)),
            Error::ReferenceWithFields => Self::bad_request("invalid_reference", message),
            Error::Use(_) => Self::bad_request("invalid_use", message),
            Error::TooManySecrets { .. } | Error::TooManyFields { .. } | Error::TooLongToShow { .. } => {
                Self::bad_request("too_long_to_show", message)
            }
            Error::UnknownField { fields, .. } => {
                let mut error = Self::bad_request("unknown_field", message);
                error.body.fields = fields;
                error
            }
            Error::NotFound { suggestions, .. } => {
                let mut error = Self::new(StatusCode::NOT_FOUND, "not_found", message);
                error.body.suggestions = Some(suggestions);
                error
            }
            Error::Ambiguous { candidates, .. } => {
                let mut error = Self::new(StatusCode::CONFLICT, "ambiguous", message);
                error.body.candidates = candidates;
                error
            }
            Error::UnknownToken => Self::new(
                StatusCode::NOT_FOUND,
                "not_found",
                "No request goes by this token: it never did, or it ended some time ago.",
            ),
            Error::NotApproved => Self::new(StatusCode::FORBIDDEN, "not_approved", message),
            Error::AlreadyUsed => Self::new(
                StatusCode::GONE,
                "already_used",
                "The request was redeemed before. If that was not you, somebody else has the secret.",
            ),
            Error::ItemChanged { .. } => {
                Self::new(StatusCode::CONFLICT, "item_changed", format!("{message} Ask again."))
            }
            Error::TooManyRequests { retry_after, .. } => Self::too_many_requests(message, retry_after),
            Error::Backend { source } => {
                tracing::warn!(error = chain(&source), "the secret backend gave no answer");
                Self::new(StatusCode::BAD_GATEWAY, "backend_unavailable", message)
            }
            Error::Unlisted { .. } => Self::new(StatusCode::BAD_GATEWAY, "backend_unavailable", message),
            Error::NotificationFailed { source } => {
                tracing::warn!(error = chain(&source), "a question did not reach a human");
                Self::new(StatusCode::BAD_GATEWAY, "notification_failed", message)
            }
            error => {
                tracing::error!(error = chain(&error), "internal error");
                Self::internal()
            }
        }
    }
}

/// The error as a sentence: with a capital and a full stop.
fn sentence(error: &dyn std::error::Error) -> String {
    let text = error.to_string();
    let mut chars = text.chars();
    chars.next().map(|first| format!("{}{}.", first.to_uppercase(), chars.as_str())).unwrap_or_default()
}
