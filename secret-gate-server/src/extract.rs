//! What handlers take in: bounded JSON, path segments, queries, and who asks.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::StatusCode;
use serde::de::DeserializeOwned;

use crate::App;
use crate::error::ApiError;

/// The largest body that is read, in bytes.
pub(crate) const MAX_BODY: usize = 64 * 1024;

/// How long a body may take to arrive.
const BODY_PATIENCE: Duration = Duration::from_secs(30);

/// A body as it was sent, whole, at most [`MAX_BODY`].
pub(crate) struct Raw(pub(crate) Bytes);

impl Raw {
    /// What it says, as JSON whatever the Content-Type says.
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        serde_json::from_slice(&self.0).map_err(|error| {
            ApiError::bad_request("invalid_json", format!("The body is not the JSON expected: {error}."))
        })
    }
}

impl FromRequest<App> for Raw {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &App) -> Result<Self, ApiError> {
        tokio::select! {
            body = Bytes::from_request(request, app) => Ok(Self(body?)),
            () = tokio::time::sleep(BODY_PATIENCE) => Err(ApiError::broken_body()),
            // nobody waits for the rest of a call that has not been made yet
            () = app.stopping.cancelled() => Err(ApiError::broken_body()),
        }
    }
}

/// The JSON in a [`Raw`] body.
#[derive(Debug)]
pub(crate) struct Json<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<App> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &App) -> Result<Self, ApiError> {
        Raw::from_request(request, app).await?.json().map(Self)
    }
}

impl From<BytesRejection> for ApiError {
    fn from(rejection: BytesRejection) -> Self {
        match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => Self::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "too_large",
                format!("A body can have at most {MAX_BODY} bytes."),
            ),
            _ => Self::broken_body(),
        }
    }
}

/// Path segments.
#[derive(Debug, FromRequestParts)]
#[from_request(via(axum::extract::Path), rejection(ApiError))]
pub(crate) struct Path<T>(pub(crate) T);

impl From<PathRejection> for ApiError {
    fn from(_: PathRejection) -> Self {
        Self::no_such_path()
    }
}

/// The query string.
#[derive(Debug, FromRequestParts)]
#[from_request(via(axum::extract::Query), rejection(ApiError))]
pub(crate) struct Query<T>(pub(crate) T);

impl From<QueryRejection> for ApiError {
    fn from(_: QueryRejection) -> Self {
        Self::bad_request("invalid_query", "The query string can't be read.")
    }
}
