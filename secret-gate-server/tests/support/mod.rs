//! The real server between the doubles of its two services, and helpers to play a requester and a human.
//!
//! `process` runs the programs, `http` calls the server, this file puts the parts together.
#![allow(dead_code, unused_imports, reason = "each test file uses its part")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "in tests, a failure is a panic"
)]
#![allow(unreachable_pub, reason = "each test file is a crate of its own")]

pub mod exposition;
mod http;
mod process;

use std::time::Duration;

use secret_gate_doubles::telegram::{Message, PressId, RawPress, User};
use secret_gate_doubles::{ConnectDouble, TelegramDouble};
use serde_json::{Value, json};

pub use http::{Answer, Http, wire};
pub use process::{Client, Ended, Environment, Running, SERVER, misconfigured, run_client, spawn_client};

/// The human, who also is the chat that the questions go to.
pub const ANN: i64 = 42;

/// How long anything awaited may take before it counts as not happening.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Both services and the server in front of them.
pub struct World {
    pub connect: ConnectDouble,
    pub telegram: TelegramDouble,
    pub server: Running,
    pub http: Http,
    /// The id of the vault "infra".
    pub vault: String,
    /// The id of the item "db" in it.
    pub db: String,
}

/// A question that was asked.
#[derive(Debug, Clone)]
pub struct Asked {
    pub token: String,
    pub request_id: String,
    /// The message in the chat.
    pub message: Message,
}

/// The password of the item "db".
pub const PASSWORD: &str = "correct-horse-battery";

impl World {
    /// One vault, "infra", with one item, "db", that has one field, "password".
    pub async fn start() -> Self {
        Self::with(|_| {}).await
    }

    /// The same, with changes to the server's environment.
    pub async fn with(change: impl FnOnce(&mut Environment) + Send) -> Self {
        let connect = ConnectDouble::start().await.unwrap();
        let telegram = TelegramDouble::start().await.unwrap();
        let vault = connect.add_vault("", "infra");
        let db = connect.add_item(&vault, login("db", PASSWORD));
        let server = server(&connect, &telegram, change).await;
        let http = Http::new(&server.url);
        let world = Self { connect, telegram, server, http, vault, db };
        // the poll before the first press, so that no test depends on how long the start takes
        world.telegram.wait_call(|call| call.method == "getUpdates").await.unwrap();
        world
    }

    pub fn add_item(&self, title: &str, value: &str) -> String {
        self.connect.add_item(&self.vault, login(title, value))
    }

    /// Asks, expects that a human can see it, and finds the message.
    pub async fn ask(&self, body: Value) -> Asked {
        let answer = self.http.post("/request", &body).await;
        assert_eq!(answer.status, 202, "{answer:?}");
        self.asked(&answer)
    }

    /// The question that this 202 is about. The message must be there already.
    pub fn asked(&self, answer: &Answer) -> Asked {
        let text = |member: &str| answer.body[member].as_str().unwrap().to_owned();
        let request_id = text("request_id");
        let messages = self.telegram.messages();
        let message = messages.into_iter().find(|message| message.plain.contains(&request_id));
        Asked { token: text("token"), message: message.expect("a message at the time of the 202"), request_id }
    }

    pub async fn ask_for_db(&self) -> Asked {
        self.ask(json!({"secret_name": "db"})).await
    }

    /// Presses a button as Ann and returns what she is told.
    pub async fn tap(&self, asked: &Asked, button: &str) -> String {
        let press = self.telegram.press(asked.message.message_id, button, ANN).await.unwrap();
        self.told(&press).await
    }

    /// Sends a press that need not be possible on the phone, and returns what the presser is told.
    pub async fn tap_raw(&self, press: RawPress) -> String {
        let press = self.telegram.press_raw(press);
        self.told(&press).await
    }

    pub async fn told(&self, press: &PressId) -> String {
        self.telegram.wait_answer(press).await.unwrap().text
    }

    pub async fn status(&self, asked: &Asked) -> Value {
        self.http.get(&format!("/status/{}", asked.token)).await.body
    }

    /// Holds until somebody decides.
    pub async fn decision(&self, asked: &Asked) -> Value {
        self.http.get(&format!("/status/{}?wait=30s", asked.token)).await.body
    }

    pub async fn secret(&self, asked: &Asked) -> Answer {
        self.http.get(&format!("/secret/{}", asked.token)).await
    }

    pub async fn withdraw(&self, asked: &Asked) -> Answer {
        self.http.delete(&format!("/request/{}", asked.token)).await
    }

    /// How many requests the server says are open.
    pub async fn open_requests(&self) -> u64 {
        let metrics = self.http.get("/metrics").await.text;
        let line = metrics.lines().find(|line| line.starts_with("secret_gate_open_requests ")).expect("the gauge");
        line.rsplit(' ').next().unwrap().parse().unwrap()
    }

    /// How often a method of the Bot API was called.
    pub fn telegram_calls(&self, method: &str) -> usize {
        self.telegram.calls().iter().filter(|call| call.method == method).count()
    }

    /// Reads of items, which alone bring values.
    pub fn item_reads(&self) -> usize {
        self.connect.calls().iter().filter(|call| is_item(&call.path)).count()
    }

    /// Approves, and expects that the values come, once.
    pub async fn approve_and_redeem(&self, asked: &Asked) -> Value {
        assert_eq!(self.tap(asked, "Approve").await, "Approved");
        self.redeem(asked).await
    }

    /// Expects that the token is unspent, and spends it.
    pub async fn redeem(&self, asked: &Asked) -> Value {
        let answer = self.secret(asked).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let again = self.secret(asked).await;
        assert_eq!((again.status, again.code()), (410, "already_used"), "{again:?}");
        answer.body
    }
}

/// A server between these doubles, with limits that no test meets by accident.
pub async fn server(
    connect: &ConnectDouble,
    telegram: &TelegramDouble,
    change: impl FnOnce(&mut Environment) + Send,
) -> Running {
    server_by(&[SERVER], connect, telegram, change).await
}

/// The same, started through a program that becomes the server.
pub async fn server_by(
    program: &[&str],
    connect: &ConnectDouble,
    telegram: &TelegramDouble,
    change: impl FnOnce(&mut Environment) + Send,
) -> Running {
    Running::start_by(program, |env| {
        for (name, value) in working(connect, telegram) {
            env.insert(name, value);
        }
        for limit in ["MAX_PENDING", "MAX_PENDING_PER_REQUESTER", "MAX_REQUESTS_PER_MINUTE", "MAX_LOOKUPS_PER_MINUTE"] {
            env.insert(limit.to_owned(), "100000".to_owned());
        }
        change(env);
    })
    .await
}

/// What a server needs to be told.
pub fn working(connect: &ConnectDouble, telegram: &TelegramDouble) -> Environment {
    [
        ("OP_CONNECT_HOST", connect.url()),
        ("OP_CONNECT_TOKEN", connect.token()),
        ("TELEGRAM_BOT_TOKEN", telegram.token()),
        ("TELEGRAM_CHAT_ID", ANN.to_string()),
        ("TELEGRAM_API_URL", telegram.url()),
        ("WEBHOOK_BASE_URL", "https://gate.example".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

/// An item with one field, "password".
pub fn login(title: &str, value: &str) -> Value {
    json!({"title": title, "category": "LOGIN",
        "fields": [{"id": "password", "type": "CONCEALED", "label": "password", "value": value}]})
}

/// The data of a button, to be pressed after it is gone.
pub fn button(message: &Message, label: &str) -> String {
    let mut buttons = message.keyboard.iter().flatten();
    buttons.find(|button| button.text.contains(label)).expect("such a button").data.clone()
}

/// A press by Ann on a message of her chat.
pub fn press(message: &Message, data: &str) -> RawPress {
    RawPress::new(message.chat_id, message.message_id, data, User::new(ANN, "Ann"))
}

/// Whether this is the path of one item.
pub fn is_item(path: &str) -> bool {
    path.rsplit_once("/items/").is_some_and(|(_, id)| !id.is_empty())
}
