//! A way in for hands and scripts, on the same port but outside `/bot…`.
//!
//! * `GET /control/messages` lists the messages as they stand.
//! * `GET /control/answers` lists the answers to presses.
//! * `GET /control/calls` lists the calls as `{"method": …, "status": …}`, without a status while they wait.
//! * `POST /control/press {"message_id": 2, "button": "Approve", "user_id": 42}` presses a button.
//! * `POST /control/say {"text": "hello", "chat_id": 42, "user_id": 42}` lets a person write to the bot. Without ids it is
//!   the person of the private chat that the double knows from the start.
//! * `POST /control/fault {"method": "sendMessage", "fault": {"retry_after": 3}, "times": {"next": 1}}` breaks it;
//!   `{"clear": true}` mends it, and `{"webhook": "https://…"}` sets a webhook.

use axum::{
    Json, Router,
    extract::State,
    http::StatusCode,
    routing::{get, post},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{api::Shared, faults::TelegramFaults, world::FIRST_CHAT};
use crate::fault::{Fault, Times};

pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route("/control/messages", get(messages))
        .route("/control/answers", get(answers))
        .route("/control/calls", get(calls))
        .route("/control/press", post(press))
        .route("/control/say", post(say))
        .route("/control/fault", post(fault))
}

async fn messages(State(world): State<Shared>) -> Json<Value> {
    let messages = world.read(|world| {
        let messages = world.messages.iter();
        messages.map(super::world::Stored::public).collect::<Vec<_>>()
    });
    Json(json!(messages))
}

async fn answers(State(world): State<Shared>) -> Json<Value> {
    Json(world.read(|world| json!(world.answers)))
}

async fn calls(State(world): State<Shared>) -> Json<Value> {
    let calls: Vec<_> = world.read(|world| {
        let calls = world.calls.iter();
        calls.map(|call| json!({"method": call.method, "status": call.status})).collect()
    });
    Json(json!(calls))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PressOrder {
    message_id: i64,
    button: String,
    user_id: Option<i64>,
}

async fn press(
    State(world): State<Shared>,
    Json(order): Json<PressOrder>,
) -> Result<Json<Value>, (StatusCode, String)> {
    let press = world.change(|world| {
        let mut messages = world.messages.iter();
        let message = messages.find(|message| message.message_id == order.message_id)?;
        // In a private chat the person has the chat's id.
        let from = order.user_id.unwrap_or(message.chat_id);
        world.press(order.message_id, &order.button, from)
    });
    match press {
        Some(press) => Ok(Json(json!({"callback_query_id": press}))),
        None => Err((StatusCode::NOT_FOUND, "no such message or button\n".to_owned())),
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SayOrder {
    text: String,
    chat_id: Option<i64>,
    user_id: Option<i64>,
}

async fn say(State(world): State<Shared>, Json(order): Json<SayOrder>) -> Result<StatusCode, (StatusCode, String)> {
    let chat = order.chat_id.unwrap_or(FIRST_CHAT);
    // In a private chat the person has the chat's id.
    let from = order.user_id.unwrap_or(if chat < 0 { FIRST_CHAT } else { chat });
    world.change(|world| {
        if world.check_known(chat).is_err() {
            return Err((StatusCode::NOT_FOUND, "no such chat\n".to_owned()));
        }
        world.say(chat, from, &order.text);
        Ok(StatusCode::NO_CONTENT)
    })
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FaultOrder {
    fault: Option<Fault>,
    #[serde(default = "always")]
    times: Times,
    #[serde(default = "any_method")]
    method: String,
    webhook: Option<String>,
    #[serde(default)]
    clear: bool,
}

const fn always() -> Times {
    Times::Always
}

fn any_method() -> String {
    "*".to_owned()
}

async fn fault(State(world): State<Shared>, Json(order): Json<FaultOrder>) -> StatusCode {
    let faults = TelegramFaults::new(world);
    if order.clear {
        faults.clear();
    }
    if let Some(fault) = order.fault {
        faults.set(&order.method, fault, order.times);
    }
    if let Some(url) = order.webhook {
        faults.set_webhook(&url);
    }
    StatusCode::NO_CONTENT
}
