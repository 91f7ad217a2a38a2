//! How the server answers: the routes of the vendor's OpenAPI document, behind faults and the bearer token.

use std::{collections::HashMap, sync::Arc, time::Instant};

use axum::{
    Json, Router,
    body::to_bytes,
    extract::{ConnectInfo, Path, Query, Request, State},
    http::{HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{Html, IntoResponse, Response},
    routing::{get, post},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Call,
    faults::{ConnectFaults, Scope},
    filter,
    world::World,
};
use crate::{
    fault::{Fault, HTML_PAGE, Times},
    watched::Watched,
    wire::{Line, truncated},
};

type Shared = Arc<Watched<World>>;
type Answer = Result<Json<Value>, Refusal>;
type Parameters = Query<HashMap<String, String>>;

const VERSION: &str = "1.7.1";

/// Categories of the vendor's document; creating an item of another one is refused.
const CATEGORIES: [&str; 22] = [
    "LOGIN",
    "PASSWORD",
    "API_CREDENTIAL",
    "SERVER",
    "DATABASE",
    "CREDIT_CARD",
    "MEMBERSHIP",
    "PASSPORT",
    "SOFTWARE_LICENSE",
    "OUTDOOR_LICENSE",
    "SECURE_NOTE",
    "WIRELESS_ROUTER",
    "BANK_ACCOUNT",
    "DRIVER_LICENSE",
    "IDENTITY",
    "REWARD_PROGRAM",
    "DOCUMENT",
    "EMAIL_ACCOUNT",
    "SOCIAL_SECURITY_NUMBER",
    "MEDICAL_RECORD",
    "SSH_KEY",
    "CUSTOM",
];

pub(super) fn router(world: Shared) -> Router {
    let items = get(list_items).post(create_item);
    let item = get(show_item).put(replace_item).delete(delete_item);
    Router::new()
        .route("/heartbeat", get(async || "."))
        .route("/health", get(health))
        .route("/v1/vaults", get(list_vaults))
        .route("/v1/vaults/", get(list_vaults))
        .route("/v1/vaults/{vault}", get(show_vault))
        .route("/v1/vaults/{vault}/", get(show_vault))
        .route("/v1/vaults/{vault}/items", items.clone())
        .route("/v1/vaults/{vault}/items/", items)
        .route("/v1/vaults/{vault}/items/{item}", item.clone())
        .route("/v1/vaults/{vault}/items/{item}/", item)
        .fallback(async || Refusal::new(404, "endpoint not found"))
        .method_not_allowed_fallback(async || Refusal::new(405, "method not allowed"))
        .layer(middleware::from_fn_with_state(Arc::clone(&world), receive))
        .route("/control/fault", post(set_fault))
        .with_state(world)
}

/// An error in the vendor's `ErrorResponse` form.
#[derive(Debug)]
struct Refusal {
    status: u16,
    message: String,
}

impl Refusal {
    fn new(status: u16, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = json!({"status": status.as_u16(), "message": self.message});
        (status, Json(body)).into_response()
    }
}

/// Every request passes here: it is recorded, struck by the faults that are set, and authenticated.
async fn receive(
    State(world): State<Shared>,
    ConnectInfo(line): ConnectInfo<Line>,
    request: Request,
    next: Next,
) -> Response {
    let path = request.uri().path().to_owned();
    let (authorized, latency, fate) = world.change(|world| {
        let bearer = request.headers().get(header::AUTHORIZATION);
        let authorized = bearer.is_some_and(|value| *value == format!("Bearer {}", world.token));
        world.calls.push(Call {
            method: request.method().clone(),
            path: path.clone(),
            query: request.uri().query().unwrap_or_default().to_owned(),
            authorized,
            at: Instant::now(),
        });
        let fate = world.rules.strike(|scope| scope.fits(&path));
        (authorized, world.latency, fate)
    });
    let wait = latency + fate.delay;
    if !wait.is_zero() {
        tokio::time::sleep(wait).await;
    }
    match fate.fault {
        Some(Fault::Close) => return line.close(),
        Some(Fault::Reset) => return line.reset(),
        Some(Fault::Html(status)) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
            return (status, Html(HTML_PAGE)).into_response();
        }
        Some(Fault::Status(status)) => return stamp(fault_answer(status)),
        Some(Fault::RetryAfter(_)) => return stamp(fault_answer(429)),
        Some(Fault::Conflict) => return stamp(fault_answer(409)),
        Some(Fault::Truncated | Fault::DropAnswer | Fault::SlowAnswer(_) | Fault::Delay(_)) | None => {}
    }
    let answer = if authorized || !Scope::Api.fits(&path) {
        next.run(request).await
    } else {
        Refusal::new(401, "Invalid token signature").into_response()
    };
    match fate.fault {
        Some(Fault::DropAnswer) => line.reset(),
        Some(Fault::SlowAnswer(delay)) => {
            tokio::time::sleep(delay).await;
            stamp(answer)
        }
        Some(Fault::Truncated) => stamp(truncate(answer).await),
        _ => stamp(answer),
    }
}

fn fault_answer(status: u16) -> Response {
    let message = match status {
        401 => "Invalid token signature",
        403 => "vault is not in scope",
        404 => "not found",
        429 => "too many requests",
        _ => "internal server error",
    };
    Refusal::new(status, message).into_response()
}

async fn truncate(answer: Response) -> Response {
    let (parts, body) = answer.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap_or_default();
    truncated(parts.status.as_u16(), "application/json", &String::from_utf8_lossy(&body))
}

/// The header that Connect puts on every answer, errors too.
fn stamp(mut answer: Response) -> Response {
    let version = HeaderValue::from_static(VERSION);
    answer.headers_mut().insert("1password-connect-version", version);
    answer
}

async fn health(State(world): State<Shared>) -> Json<Value> {
    let sync = world.read(|world| if world.synced { "ACTIVE" } else { "TOKEN_NEEDED" });
    Json(json!({
        "name": "1Password Connect API",
        "version": VERSION,
        "dependencies": [
            {"service": "sync", "status": sync},
            {"service": "sqlite", "status": "ACTIVE", "message": "Connected to /home/opuser/.op/data/1password.sqlite"},
        ],
    }))
}

async fn list_vaults(State(world): State<Shared>, query: Parameters) -> Answer {
    let vaults = world.read(World::vaults);
    filtered(vaults, &query, "name")
}

async fn show_vault(State(world): State<Shared>, Path(vault): Path<String>) -> Answer {
    world.read(|world| {
        check_vault(world, &vault)?;
        found(world.vault(&vault), "vault", &vault)
    })
}

async fn list_items(State(world): State<Shared>, Path(vault): Path<String>, query: Parameters) -> Answer {
    let summaries = world.read(|world| {
        check_vault(world, &vault)?;
        Ok(world.summaries(&vault))
    })?;
    filtered(summaries, &query, "title")
}

async fn show_item(State(world): State<Shared>, Path((vault, item)): Path<(String, String)>) -> Answer {
    world.read(|world| {
        check_item(world, &vault, &item)?;
        found(world.item(&vault, &item), "item", &item)
    })
}

async fn create_item(State(world): State<Shared>, Path(vault): Path<String>, Json(item): Json<Value>) -> Answer {
    world.change(|world| {
        check_vault(world, &vault)?;
        let mut item = acceptable(item, &vault)?;
        if let Some(members) = item.as_object_mut() {
            // The server names new items, and sets what the document marks as read-only.
            for by_server in ["id", "version", "createdAt", "updatedAt"] {
                members.remove(by_server);
            }
        }
        let id = world.add_item(&vault, item).unwrap_or_default();
        found(world.item(&vault, &id), "item", &id)
    })
}

async fn replace_item(
    State(world): State<Shared>,
    Path((vault, id)): Path<(String, String)>,
    Json(item): Json<Value>,
) -> Answer {
    world.change(|world| {
        check_item(world, &vault, &id)?;
        let mut item = acceptable(item, &vault)?;
        if item.get("id").and_then(Value::as_str) != Some(&id) {
            return Err(Refusal::new(400, "The item's id does not match the path"));
        }
        world.edit(&id, true, |stored| {
            for kept in ["version", "createdAt"] {
                if let (Some(members), Some(value)) = (item.as_object_mut(), stored.get(kept)) {
                    members.insert(kept.to_owned(), value.clone());
                }
            }
            *stored = item;
        });
        found(world.item(&vault, &id), "item", &id)
    })
}

async fn delete_item(
    State(world): State<Shared>,
    Path((vault, item)): Path<(String, String)>,
) -> Result<StatusCode, Refusal> {
    world.change(|world| {
        check_item(world, &vault, &item)?;
        world.remove_item(&item);
        Ok(StatusCode::NO_CONTENT)
    })
}

fn check_vault(world: &World, vault: &str) -> Result<(), Refusal> {
    if !is_id(vault) {
        return Err(Refusal::new(400, "Invalid Vault UUID"));
    }
    if world.forbidden.contains(vault) {
        return Err(Refusal::new(403, format!("vault {vault} is not in scope")));
    }
    if !world.has_vault(vault) {
        return Err(Refusal::new(404, format!("vault {vault} not found")));
    }
    Ok(())
}

fn check_item(world: &World, vault: &str, item: &str) -> Result<(), Refusal> {
    check_vault(world, vault)?;
    if !is_id(item) {
        return Err(Refusal::new(400, "Invalid Item UUID"));
    }
    found(world.item(vault, item), "item", item).map(drop)
}

fn found(value: Option<Value>, kind: &str, id: &str) -> Answer {
    value.map(Json).ok_or_else(|| Refusal::new(404, format!("{kind} {id} not found")))
}

/// The pattern `^[\da-z]{26}$` of the vendor's document.
fn is_id(text: &str) -> bool {
    text.len() == 26 && text.bytes().all(|byte| byte.is_ascii_digit() || byte.is_ascii_lowercase())
}

fn filtered(all: Vec<Value>, query: &Parameters, attribute: &str) -> Answer {
    let Some(filter) = query.get("filter") else {
        return Ok(Json(Value::Array(all)));
    };
    let wanted = filter::value_of(filter, attribute).ok_or_else(|| Refusal::new(400, "Invalid filter parameter"))?;
    let is_wanted = |value: &Value| value.get(attribute).and_then(Value::as_str) == Some(&wanted);
    Ok(Json(all.into_iter().filter(is_wanted).collect()))
}

/// Checks an item that a client sends, and gives its fields the ids and types that they lack.
fn acceptable(mut item: Value, vault: &str) -> Result<Value, Refusal> {
    let category = item.get("category").and_then(Value::as_str);
    if !category.is_some_and(|category| CATEGORIES.contains(&category)) {
        return Err(Refusal::new(400, "Invalid item category"));
    }
    if item.pointer("/vault/id").and_then(Value::as_str) != Some(vault) {
        return Err(Refusal::new(400, "The item's vault does not match the path"));
    }
    let fields = item.get_mut("fields").and_then(Value::as_array_mut);
    for field in fields.into_iter().flatten().filter_map(Value::as_object_mut) {
        field.entry("id").or_insert_with(|| json!(super::world::new_id()));
        field.entry("type").or_insert(json!("STRING"));
    }
    Ok(item)
}

/// `{"fault": …, "times": …, "vault": …}`, or `{"clear": true}`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FaultOrder {
    fault: Option<Fault>,
    #[serde(default = "always")]
    times: Times,
    vault: Option<String>,
    #[serde(default)]
    clear: bool,
}

const fn always() -> Times {
    Times::Always
}

async fn set_fault(State(world): State<Shared>, Json(order): Json<FaultOrder>) -> StatusCode {
    if order.clear {
        ConnectFaults::new(Arc::clone(&world)).clear();
    }
    if let Some(fault) = order.fault {
        let scope = order.vault.map_or(Scope::Everything, Scope::Vault);
        world.change(|world| world.rules.set(scope, fault, order.times));
    }
    StatusCode::NO_CONTENT
}
