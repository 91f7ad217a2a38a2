//! A script as users of the earlier client have it, against our server and against one that has only the older API.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "in tests, a failure is a panic")]

mod gated;
mod support;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use gated::{Gated, approving};
use serde_json::{Value, json};
use support::{Machine, Run, finish};

/// What the script prints; each line is one thing that the earlier client did.
const SCRIPT: &str = r#"
set -eu
password=$(secret-gate -secret db -reason 'nightly backup' -field password)
user=$(secret-gate --secret=db --reason='nightly backup' --field=user)
echo "1 $user:${#password}"
echo "2 $(secret-gate -secret db -vault infra -format json)"
echo "3 $(secret-gate --secret db --no-cache --reason audit --field password --poll-interval 100ms --timeout 1m | wc -c)"
echo "4 $(secret-gate -search db -search-limit 1)"
echo "5 $(secret-gate --search db --format=json)"
echo "6 $(secret-gate -secret db -fields | tr -s ' ' | paste -sd ';' -)"
echo "7 $(secret-gate --secret db --fields --format json)"
echo "8 $(secret-gate --secret db --fields=false --no-cache=false | paste -sd ';' -)"
secret-gate daemon status | sed -n 's/^Daemon: /9 /p; s/^Cached secrets: /9 /p'
secret-gate daemon flush
secret-gate daemon stop
secret-gate daemon status | sed 's/^/10 /'
"#;

/// What does not depend on there being a daemon.
const PRINTED: [&str; 7] = [
    "1 ann:12",
    r#"2 {"password":"s3cret-value","user":"ann"}"#,
    "3 13",
    "4 db (infra) 1.00 exact",
    r#"5 {"query":"db","results":[{"match_type":"exact","score":1.0,"secret_name":"db","vault_name":"infra"}]}"#,
    "6 password CONCEALED;user STRING",
    "8 password: s3cret-value;user: ann",
];

/// Runs the script on this machine, which has our client on its `PATH`.
async fn run(machine: &Machine, url: &str, script: &str) -> Run {
    let bin = machine.path("bin");
    std::fs::create_dir(&bin).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_secret-gate"), bin.join("secret-gate")).unwrap();
    let mut shell = machine.command("/bin/sh");
    shell.env("PATH", format!("{}:/usr/bin:/bin", bin.display())).env("OP_APPROVAL_PROXY_URL", url);
    finish(shell.args(["-c", script]).spawn().unwrap()).await
}

fn check(run: &Run) {
    assert_eq!(run.code, 0, "{run:?}");
    let lines: Vec<_> = run.out.lines().map(|line| line.replace("  ", " ")).collect();
    for expected in PRINTED {
        assert!(lines.iter().any(|line| line == expected), "no {expected:?} in {}\n{}", run.out, run.err);
    }
    let seventh = run.out.lines().find_map(|line| line.strip_prefix("7 ")).unwrap();
    let fields: Value = serde_json::from_str(seventh).unwrap();
    assert_eq!((&fields["secret_name"], &fields["vault_name"]), (&json!("db"), &json!("infra")), "{seventh}");
    assert_eq!(fields["fields"][0], json!({"label": "password", "type": "CONCEALED"}));
}

#[tokio::test]
async fn against_our_server() {
    let gated = Gated::start(approving(2)).await;
    let machine = gated.machine();
    let run = run(&machine, &gated.url, SCRIPT).await;
    check(&run);
    assert_eq!(gated.asked(), 2, "once for all, and once without the cache: {run:?}");
    assert_eq!(run.out.lines().filter(|line| line.starts_with("9 ")).collect::<Vec<_>>(), ["9 running", "9 1"]);
    assert!(run.out.ends_with("10 Daemon: not running\n"), "{run:?}");
    let question = gated.human.asked(0).await.question;
    assert_eq!(question.said.reason.as_deref(), Some("nightly backup"));
}

#[tokio::test]
async fn against_an_older_server() {
    let (older, url) = Older::start().await;
    let machine = Machine::new().with_daemon();
    let run = run(&machine, &url, SCRIPT).await;
    check(&run);
    let questions = older.questions.lock().unwrap().clone();
    // such a server does not tell in which vault it found what was asked for by its name alone
    let expected = [("", "nightly backup"), ("infra", ""), ("", "audit")];
    assert_eq!(questions.len(), expected.len(), "once for each name, and once without the cache: {run:?}");
    for (question, (vault, reason)) in questions.iter().zip(expected) {
        let OlderQuestion { secret_name, vault: of, machine, reason: why } = question;
        assert_eq!((secret_name.as_str(), of.as_str(), why.as_str()), ("db", vault, reason));
        assert!(!machine.is_empty());
    }
    assert_eq!(run.out.lines().filter(|line| line.starts_with("9 ")).collect::<Vec<_>>(), ["9 running", "9 2"]);
    assert!(run.out.ends_with("10 Daemon: not running\n"), "{run:?}");
}

#[tokio::test]
async fn where_there_can_be_no_daemon() {
    // each use asks, and each warns
    let check_warned = |run: &Run| {
        check(run);
        assert_eq!(run.err.matches("warning: nothing is kept, since there is no daemon").count(), 4, "{run:?}");
    };
    let without_daemon = SCRIPT.split("secret-gate daemon status").next().unwrap();
    let machine = || Machine::new().with("XDG_RUNTIME_DIR", "/nonexistent/runtime");
    let gated = Gated::start(approving(5)).await;
    check_warned(&run(&machine(), &gated.url, without_daemon).await);
    assert_eq!(gated.asked(), 5);
    let (older, url) = Older::start().await;
    check_warned(&run(&machine(), &url, without_daemon).await);
    assert_eq!(older.questions.lock().unwrap().len(), 5);
}

/// A server that has only the older API: it knows no uses and no durations, holds no answer, takes nothing back, and
/// names neither requests nor grants. Each question is approved when it is looked at for the second time.
#[derive(Clone, Default)]
struct Older {
    questions: Arc<Mutex<Vec<OlderQuestion>>>,
    looked: Arc<Mutex<HashMap<String, usize>>>,
}

/// What it reads of a question.
#[derive(Debug, Clone, Default, serde::Deserialize)]
#[serde(default)]
struct OlderQuestion {
    secret_name: String,
    vault: String,
    machine: String,
    reason: String,
}

impl Older {
    async fn start() -> (Self, String) {
        let older = Self::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let found = json!({"secret_name": "db", "vault_name": "infra", "score": 1.0, "match_type": "exact"});
        let fields = json!([{"label": "password", "type": "CONCEALED"}, {"label": "user", "type": "STRING"}]);
        let search = post(move || async move { Json(json!({"query": "db", "results": [found]})) });
        let known = json!({"secret_name": "db", "vault_name": "infra", "fields": fields});
        let app = Router::new()
            .route("/search", search)
            .route("/fields", post(move || async move { Json(known) }))
            .route("/request", post(Self::request))
            .route("/status/{token}", get(Self::status))
            .route("/secret/{token}", get(Self::secret))
            .fallback(|| async { (StatusCode::NOT_FOUND, "404 page not found\n") })
            .with_state(older.clone());
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        (older, url)
    }

    async fn request(State(older): State<Self>, Json(question): Json<OlderQuestion>) -> (StatusCode, Json<Value>) {
        let mut questions = older.questions.lock().unwrap();
        questions.push(question);
        let token = format!("older-token-{}", questions.len());
        older.looked.lock().unwrap().insert(token.clone(), 0);
        let status_url = format!("http://elsewhere.invalid/status/{token}");
        let answer = json!({"token": token, "status_url": status_url, "expires_at": "2026-01-01T00:00:00Z",
            "message": "Access request submitted."});
        (StatusCode::ACCEPTED, Json(answer))
    }

    async fn status(State(older): State<Self>, Path(token): Path<String>) -> (StatusCode, Json<Value>) {
        let mut looked = older.looked.lock().unwrap();
        let Some(times) = looked.get_mut(&token) else { return gone() };
        *times += 1;
        let status = if *times > 1 { "approved" } else { "pending" };
        (StatusCode::OK, Json(json!({"status": status, "message": "so it is"})))
    }

    async fn secret(State(older): State<Self>, Path(token): Path<String>) -> (StatusCode, Json<Value>) {
        match older.looked.lock().unwrap().remove(&token) {
            Some(2..) => (StatusCode::OK, Json(json!({"secret": {"password": "s3cret-value", "user": "ann"}}))),
            _ => gone(),
        }
    }
}

fn gone() -> (StatusCode, Json<Value>) {
    (StatusCode::NOT_FOUND, Json(json!({"error": "not_found", "message": "Request not found or expired"})))
}
