//! How calls come in: the path, the token, the faults, and the envelope around the answer.

use std::{sync::Arc, time::Instant};

use axum::{
    Json, Router,
    extract::{ConnectInfo, Path, Request, State},
    http::StatusCode,
    response::{Html, IntoResponse, Response},
    routing::any,
};
use serde_json::{Value, json};

use super::{control, methods, parameters::Parameters, refusal::Refusal, types::Call, world::World};
use crate::{
    fault::{Fate, Fault, HTML_PAGE},
    watched::Watched,
    wire::{Line, truncated},
};

pub(super) type Shared = Arc<Watched<World>>;

pub(super) fn router(world: Shared) -> Router {
    Router::new()
        .route("/{bot}/{method}", any(call))
        .merge(control::routes())
        .fallback(async || Refusal::not_found())
        .with_state(world)
}

async fn call(
    State(world): State<Shared>,
    ConnectInfo(line): ConnectInfo<Line>,
    Path((bot, method)): Path<(String, String)>,
    request: Request,
) -> Response {
    let Some(token) = bot.strip_prefix("bot") else {
        return Refusal::not_found().into_response();
    };
    let parameters = Parameters::read(request).await;
    let method = methods::canonical(&method).unwrap_or(&method);
    let arrived = Instant::now();
    let fate = world.change(|world| {
        world.calls.push(Call {
            method: method.to_owned(),
            parameters: parameters.as_ref().map_or(Value::Null, Parameters::to_json),
            at: arrived,
            status: None,
        });
        world.rules.strike(|scope| scope == "*" || scope.eq_ignore_ascii_case(method))
    });
    let note = |status: StatusCode| {
        world.change(|world| {
            // The test may have cleared the list in the meantime, so the place in it says nothing.
            let mut calls = world.calls.iter_mut();
            if let Some(call) = calls.find(|call| call.at == arrived) {
                call.status = Some(status.as_u16());
            }
        });
    };
    tokio::select! {
        biased;
        () = world.until(|world| world.down.then_some(())) => line.close(),
        answer = answer(&world, &line, token, method, parameters.as_ref(), fate) => match answer {
            Some(answer) => {
                note(answer.status());
                answer
            }
            None => line.reset(),
        },
    }
}

/// `None` means that the connection is reset instead.
async fn answer(
    world: &Watched<World>,
    line: &Line,
    token: &str,
    method: &str,
    parameters: Option<&Parameters>,
    fate: Fate,
) -> Option<Response> {
    if !fate.delay.is_zero() {
        tokio::time::sleep(fate.delay).await;
    }
    match fate.fault {
        Some(Fault::Close) => return Some(line.close()),
        Some(Fault::Reset) => return None,
        Some(Fault::Html(status)) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
            return Some((status, Html(HTML_PAGE)).into_response());
        }
        Some(Fault::Status(status)) => return Some(Refusal::of_status(status).into_response()),
        Some(Fault::RetryAfter(seconds)) => {
            return Some(Refusal::retry_after(seconds).into_response());
        }
        Some(Fault::Conflict) => return Some(Refusal::other_poller().into_response()),
        Some(Fault::Truncated | Fault::DropAnswer | Fault::SlowAnswer(_) | Fault::Delay(_)) | None => {}
    }
    let result = match (check_token(world, token), parameters) {
        (Err(refusal), _) => Err(refusal),
        (Ok(()), None) => Err(Refusal::bad("can't parse the request's body")),
        (Ok(()), Some(parameters)) => methods::handle(world, method, parameters).await,
    };
    match fate.fault {
        Some(Fault::DropAnswer) => return None,
        Some(Fault::SlowAnswer(delay)) => tokio::time::sleep(delay).await,
        Some(Fault::Truncated) => {
            let body = result.map_or(Value::Null, |result| json!({"ok": true, "result": result}));
            return Some(truncated(200, "application/json", &body.to_string()));
        }
        _ => {}
    }
    Some(match result {
        Ok(result) => {
            if method == "getUpdates" {
                world.change(|world| world.updates.mark_delivered(&result));
            }
            Json(json!({"ok": true, "result": result})).into_response()
        }
        Err(refusal) => refusal.into_response(),
    })
}

fn check_token(world: &Watched<World>, token: &str) -> Result<(), Refusal> {
    if world.read(|world| world.token == token) {
        return Ok(());
    }
    // A token of the right form is "Unauthorized"; anything else is no path that the service knows.
    let has_form = token.split_once(':').is_some_and(|(id, secret)| {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        id.parse::<u64>().is_ok() && secret.len() >= 30 && secret.bytes().all(fits)
    });
    if has_form { Err(Refusal::new(401, "Unauthorized")) } else { Err(Refusal::not_found()) }
}
