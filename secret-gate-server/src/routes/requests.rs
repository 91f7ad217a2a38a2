//! A request's life over HTTP: asked, looked at, redeemed, taken back.

#![expect(unused_qualifications, reason = "the OpenAPI derive writes such paths")]

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json as Answer;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use secret_gate_core::wire::{
    AccessRequest, AccessResponse, Ended, ErrorResponse, FieldInfo, ReleasedInfo, Revealed, SecretResponse, Status,
    StatusResponse, WantedSecret, WatchChange, WatchRequest, WatchResponse,
};
use secret_gate_core::{
    Outcome, Release, ReleasedField, ReleasedItem, Request, Requester, Said, Standing, Submitted, Token, Wanted,
};
use serde::Deserialize;
use utoipa::IntoParams;
use zeroize::Zeroizing;

use super::{Asking, duration, grant_info, rfc3339, wait};
use crate::App;
use crate::error::ApiError;
use crate::extract::{Json, Path, Query, Raw};
use crate::idempotency::{Call, Key};
use crate::logging::concerns;

/// The shortest time that a requester can ask to keep a grant for.
const MIN_KEEP: Duration = Duration::from_secs(1);
/// How many requests can be watched at once.
const MAX_WATCHED: usize = 256;

/// Ask for secrets
///
/// Answers once a human can see the question. Then ask for its status until it is decided.
#[utoipa::path(post, path = "/request", tag = "requests", params(Key), request_body = AccessRequest, security((), ("key" = [])),
    responses((status = 202, description = "a human can see the question", body = AccessResponse,
            links(
                ("look" = (operation_id = "status", parameters(("token" = "$response.body#/token")))),
                ("redeem" = (operation_id = "secret", parameters(("token" = "$response.body#/token")))),
                ("take_back" = (operation_id = "withdraw", parameters(("token" = "$response.body#/token")))))),
        (status = 400, description = "missing_fields, unknown_field, too_long_to_show, invalid_use, invalid_duration, invalid_reference, invalid_json, invalid_idempotency_key", body = ErrorResponse),
        (status = 401, description = "unauthorized", body = ErrorResponse,
            headers(("WWW-Authenticate" = String))),
        (status = 404, description = "not_found", body = ErrorResponse),
        (status = 409, description = "ambiguous, idempotency_conflict", body = ErrorResponse),
        (status = 413, description = "too_large", body = ErrorResponse),
        (status = 429, description = "too_many_requests", body = ErrorResponse,
            headers(("Retry-After" = u32, description = "seconds"))),
        (status = 500, description = "internal_error", body = ErrorResponse),
        (status = 502, description = "backend_unavailable, notification_failed", body = ErrorResponse)))]
pub(super) async fn create(
    State(app): State<App>,
    Asking(requester): Asking,
    key: Option<Key>,
    body: Raw,
) -> Result<(StatusCode, Answer<AccessResponse>), ApiError> {
    let asked = body.json()?;
    let call = key.map(|key| Call::new(&requester, &key, &body.0)).transpose()?;
    let request = request(asked, requester)?;
    let answer = match call {
        None => {
            app.limits.count_request(&request.requester)?;
            accepted(&app, &app.gate.submit(request).await?)
        }
        // counts once it is known whether it asks: whoever uses up the limit keeps nobody from an answer that is there
        Some(call) => {
            let asked = app.idempotency.submit(call, request, &app.gate, &app.limits, &app.under_way);
            accepted(&app, &*asked.await?)
        }
    };
    Ok((StatusCode::ACCEPTED, Answer(answer)))
}

fn accepted(app: &App, submitted: &Submitted) -> AccessResponse {
    concerns(&submitted.request_id);
    let token = submitted.token.expose().to_owned();
    AccessResponse {
        status_url: format!("{}/status/{token}", app.base_url),
        token,
        request_id: submitted.request_id.to_string(),
        expires_at: rfc3339(submitted.expires_at),
        message: "The question is before a human. Ask status_url until they have decided.".to_owned(),
    }
}

fn request(body: AccessRequest, requester: Requester) -> Result<Request, ApiError> {
    let AccessRequest {
        secret_name,
        vault,
        fields,
        secrets,
        machine,
        reason,
        agent,
        working_dir,
        intended_use,
        duration: keep,
    } = body;
    let one = || WantedSecret { secret_name: secret_name.unwrap_or_default(), vault, fields };
    let secrets = secrets.filter(|secrets| !secrets.is_empty()).unwrap_or_else(|| vec![one()]);
    let mut request = Request::of(secrets.into_iter().map(wanted));
    request.intended_use = intended_use;
    // an empty text is one that was not given
    let given = |text: Option<String>| text.filter(|text| !text.is_empty());
    request.keep = given(keep).map(|text| duration("duration", &text)).transpose()?;
    if request.keep.is_some_and(|keep| keep < MIN_KEEP) {
        return Err(ApiError::bad_request("invalid_duration", "duration must be at least one second."));
    }
    let mut said = Said::default();
    said.machine = given(machine);
    said.agent = given(agent);
    said.working_dir = given(working_dir);
    said.reason = given(reason);
    request.said = said;
    request.requester = requester;
    Ok(request)
}

fn wanted(secret: WantedSecret) -> Wanted {
    let WantedSecret { secret_name, vault, fields } = secret;
    let mut wanted = Wanted::new(secret_name);
    wanted.vault = vault.filter(|vault| !vault.is_empty());
    wanted.fields = fields.unwrap_or_default();
    wanted
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Wait {
    /// Hold the answer until the state changes, such as `30s`; at most 60 s.
    #[param(nullable = false, required = false, pattern = r"^(0|[0-9]{1,4}ms|[1-5]?[0-9](\.[0-9]{1,3})?s|60s|1m)$")]
    wait: Option<String>,
}

/// Ask how a request stands
#[utoipa::path(get, path = "/status/{token}", tag = "requests", params(("token" = String, Path, pattern = "^[0-9a-f]{64}$"), Wait),
    responses((status = 200, description = "how it stands", body = StatusResponse),
        (status = 400, description = "invalid_duration, invalid_query, missing_token", body = ErrorResponse),
        (status = 404, description = "not_found", body = ErrorResponse)))]
pub(super) async fn status(
    State(app): State<App>,
    Path(token): Path<String>,
    Query(query): Query<Wait>,
) -> Result<Answer<StatusResponse>, ApiError> {
    let presented = Token::presented(&token);
    let up_to = wait(query.wait.as_deref())?;
    let standing = if up_to.is_zero() {
        app.gate.standing(&presented)?
    } else {
        tokio::select! {
            standing = app.gate.wait(&presented, up_to) => standing?,
            // who asks again reaches the next server
            () = app.stopping.cancelled() => app.gate.standing(&presented)?,
        }
    };
    Ok(Answer(status_response(&standing, || format!("{}/secret/{token}", app.base_url))))
}

fn status_response(standing: &Standing, secret_url: impl Fn() -> String) -> StatusResponse {
    let plain = |status, message: &str| StatusResponse {
        status,
        message: message.to_owned(),
        secret_url: None,
        grant: None,
        ended: None,
    };
    match &standing.outcome {
        None => plain(Status::Pending, "Nobody has decided yet."),
        Some(Outcome::Approved(approval)) => StatusResponse {
            secret_url: Some(secret_url()),
            grant: approval.grant.as_ref().map(grant_info),
            ..plain(Status::Approved, "Approved; redeem it at secret_url, once.")
        },
        Some(Outcome::Released(approval)) => StatusResponse {
            grant: approval.grant.as_ref().map(grant_info),
            ended: Some(Ended::Released),
            ..plain(Status::Approved, "Approved and redeemed.")
        },
        Some(Outcome::Denied { .. }) => plain(Status::Denied, "Denied."),
        Some(Outcome::Revoked(_)) => {
            StatusResponse { ended: Some(Ended::Revoked), ..plain(Status::Denied, "The approval was taken back.") }
        }
        Some(Outcome::Withdrawn) => {
            StatusResponse { ended: Some(Ended::Withdrawn), ..plain(Status::Expired, "The request was withdrawn.") }
        }
        Some(Outcome::Expired { unused: None }) => plain(Status::Expired, "Nobody decided in time."),
        Some(_) => plain(Status::Expired, "The approval was not used in time."),
    }
}

/// Redeem an approved request
///
/// However many calls race, exactly one gets the values.
#[utoipa::path(get, path = "/secret/{token}", tag = "requests", params(("token" = String, Path, pattern = "^[0-9a-f]{64}$")),
    responses((status = 200, description = "the values, once", body = SecretResponse),
        (status = 400, description = "missing_token", body = ErrorResponse),
        (status = 403, description = "not_approved", body = ErrorResponse),
        (status = 404, description = "not_found", body = ErrorResponse),
        (status = 409, description = "item_changed", body = ErrorResponse),
        (status = 410, description = "already_used", body = ErrorResponse),
        (status = 500, description = "internal_error", body = ErrorResponse),
        (status = 502, description = "backend_unavailable", body = ErrorResponse)))]
pub(super) async fn secret(State(app): State<App>, Path(token): Path<String>) -> Result<Response, ApiError> {
    let release = app.gate.redeem(&Token::presented(&token)).await?;
    let json = to_wiped_json(&secret_response(release)).map_err(|_| ApiError::internal())?;
    Ok(([(header::CONTENT_TYPE, "application/json")], Body::from(json)).into_response())
}

fn secret_response(release: Release) -> SecretResponse {
    let grant = release.grant.as_ref().map(grant_info);
    // for those who hold what they get; older clients never asked
    let holds = release.grant.is_some();
    let infos = release.items.iter().filter(|_| holds).map(released_info).collect();
    let labels = |item: ReleasedItem| -> BTreeMap<String, Revealed> {
        item.fields.into_iter().map(|field| (field.name, Revealed(field.value))).collect()
    };
    let (secret, secrets) = match <[ReleasedItem; 1]>::try_from(release.items) {
        Ok([item]) if !release.fields_named => (Some(labels(item)), None),
        items => {
            let items = items.map_or_else(|items| items, Vec::from);
            (None, Some(items.into_iter().map(|item| (item.name.clone(), labels(item))).collect()))
        }
    };
    SecretResponse { secret, secrets, grant, items: infos }
}

fn released_info(item: &ReleasedItem) -> ReleasedInfo {
    let field = |field: &ReleasedField| FieldInfo { label: field.name.clone(), kind: field.kind.as_str().to_owned() };
    ReleasedInfo {
        name: item.name.clone(),
        secret_name: item.title.clone(),
        vault_name: item.vault.clone(),
        vault_id: item.vault_id.clone(),
        item_id: item.item_id.clone(),
        fields: item.fields.iter().map(field).collect(),
    }
}

/// JSON in a buffer that is wiped once it is sent, and never moved while it grows.
fn to_wiped_json(response: &SecretResponse) -> serde_json::Result<Bytes> {
    struct Count(usize);
    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut length = Count(0);
    serde_json::to_writer(&mut length, response)?;
    let mut json = Zeroizing::new(Vec::with_capacity(length.0));
    serde_json::to_writer(&mut *json, response)?;
    Ok(Bytes::from_owner(json))
}

/// Take a request back
///
/// A pending request is withdrawn, an approved or released one revoked. The token is enough, no key is needed.
#[utoipa::path(delete, path = "/request/{token}", tag = "requests", params(("token" = String, Path, pattern = "^[0-9a-f]{64}$")),
    responses((status = 204, description = "taken back, or ended before"),
        (status = 400, description = "missing_token", body = ErrorResponse),
        (status = 404, description = "not_found", body = ErrorResponse)))]
pub(super) async fn withdraw(State(app): State<App>, Path(token): Path<String>) -> Result<StatusCode, ApiError> {
    app.gate.withdraw(&Token::presented(&token)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Watch for revocations
///
/// Answers as soon as one of the requests is revoked, or when the wait is over. The tokens are enough, no key is needed.
#[utoipa::path(post, path = "/watch", tag = "requests", request_body = WatchRequest,
    responses((status = 200, description = "the requests that are revoked or unknown", body = WatchResponse),
        (status = 400, description = "missing_token, too_many_tokens, invalid_duration, invalid_json", body = ErrorResponse),
        (status = 413, description = "too_large", body = ErrorResponse)))]
pub(super) async fn watch(
    State(app): State<App>,
    Json(WatchRequest { tokens, wait: up_to }): Json<WatchRequest>,
) -> Result<Answer<WatchResponse>, ApiError> {
    if tokens.is_empty() {
        return Err(ApiError::bad_request("missing_token", "tokens must hold at least one token."));
    }
    if tokens.len() > MAX_WATCHED {
        let message = format!("At most {MAX_WATCHED} requests can be watched at once.");
        return Err(ApiError::bad_request("too_many_tokens", message));
    }
    let up_to = wait(up_to.as_deref())?;
    let presented: Vec<Token> = tokens.iter().map(|token| Token::presented(token)).collect();
    let revoked = tokio::select! {
        revoked = app.gate.watch(&presented, up_to) => revoked,
        // a server that stops has revoked nothing; the next one will not know the tokens
        () = app.stopping.cancelled() => Vec::new(),
    };
    let changed = revoked.into_iter().filter_map(|at| tokens.get(at));
    let changed = changed.map(|token| WatchChange { token: token.clone(), status: "revoked".to_owned() });
    Ok(Answer(WatchResponse { changed: changed.collect() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_with_values_is_written_in_one_piece() {
        let value = |text: &str| Revealed(text.into());
        let response = SecretResponse {
            secret: Some([("password".to_owned(), value("a\"b\n"))].into()),
            secrets: None,
            grant: None,
            items: Vec::new(),
        };
        let json = to_wiped_json(&response).unwrap();
        assert_eq!(json, r#"{"secret":{"password":"a\"b\n"}}"#);
    }
}
