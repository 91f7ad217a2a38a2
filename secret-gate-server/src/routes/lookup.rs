//! Looking for secrets, without values and without asking anybody.

use axum::Json as Answer;
use axum::extract::State;
use secret_gate_core::Found;
use secret_gate_core::wire::{
    ErrorResponse, FieldInfo, FieldsRequest, FieldsResponse, SearchRequest, SearchResponse, SearchResult,
};

use super::Asking;
use crate::App;
use crate::error::ApiError;
use crate::extract::Json;

const DEFAULT_LIMIT: usize = 10;
const MAX_LIMIT: i64 = 100;

/// Search titles
///
/// Case-insensitive: equal, then prefix, then contained, then fuzzy matches. No approval is needed.
#[utoipa::path(post, path = "/search", tag = "look-ups", request_body = SearchRequest, security((), ("key" = [])),
    responses((status = 200, description = "the matches, best first", body = SearchResponse),
        (status = 400, description = "missing_query, invalid_json", body = ErrorResponse),
        (status = 401, description = "unauthorized", body = ErrorResponse,
            headers(("WWW-Authenticate" = String))),
        (status = 413, description = "too_large", body = ErrorResponse),
        (status = 429, description = "too_many_requests", body = ErrorResponse,
            headers(("Retry-After" = u32, description = "seconds"))),
        (status = 502, description = "backend_unavailable", body = ErrorResponse)))]
pub(super) async fn search(
    State(app): State<App>,
    Asking(requester): Asking,
    Json(SearchRequest { query, limit }): Json<SearchRequest>,
) -> Result<Answer<SearchResponse>, ApiError> {
    app.limits.count_lookup(&requester)?;
    let limit = usize::try_from(limit.min(MAX_LIMIT)).ok().filter(|limit| *limit > 0).unwrap_or(DEFAULT_LIMIT);
    let Found { matches, incomplete, .. } = app.gate.search(&query, limit).await?;
    let results = matches.into_iter().map(|found| SearchResult {
        secret_name: found.title,
        vault_name: found.vault,
        score: found.score,
        match_type: found.kind.as_str().to_owned(),
    });
    Ok(Answer(SearchResponse { query, results: results.collect(), incomplete }))
}

/// List an item's fields
///
/// Labels and types, never values. No approval is needed.
#[utoipa::path(post, path = "/fields", tag = "look-ups", request_body = FieldsRequest, security((), ("key" = [])),
    responses((status = 200, description = "the fields", body = FieldsResponse),
        (status = 400, description = "missing_fields, invalid_json", body = ErrorResponse),
        (status = 401, description = "unauthorized", body = ErrorResponse,
            headers(("WWW-Authenticate" = String))),
        (status = 404, description = "not_found", body = ErrorResponse),
        (status = 409, description = "ambiguous", body = ErrorResponse),
        (status = 413, description = "too_large", body = ErrorResponse),
        (status = 429, description = "too_many_requests", body = ErrorResponse,
            headers(("Retry-After" = u32, description = "seconds"))),
        (status = 502, description = "backend_unavailable", body = ErrorResponse)))]
pub(super) async fn fields(
    State(app): State<App>,
    Asking(requester): Asking,
    Json(FieldsRequest { secret_name, vault }): Json<FieldsRequest>,
) -> Result<Answer<FieldsResponse>, ApiError> {
    app.limits.count_lookup(&requester)?;
    let fields = app.gate.fields(&secret_name, vault.as_deref().filter(|vault| !vault.is_empty())).await?;
    let infos = fields.fields.into_iter().map(|(label, kind)| FieldInfo { label, kind: kind.as_str().to_owned() });
    Ok(Answer(FieldsResponse { secret_name: fields.title, vault_name: fields.vault, fields: infos.collect() }))
}
