//! Answers that get lost on their way: one question stays one question.
#![expect(clippy::unwrap_used, reason = "in tests, a failure is a panic")]

mod gated;
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use gated::{Gated, approving};
use secret_gate_core::client::{ClientError, RemoteGate};
use secret_gate_core::wire::{AccessRequest, Status};
use serde_json::json;
use support::{Reply, Server, TOKEN, error};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

/// How an answer gets lost.
#[derive(Debug, Clone, Copy)]
enum Loss {
    /// The connection is closed.
    Closed,
    /// A part comes.
    CutOff,
    /// A proxy reports that it got none.
    BadGateway,
}

/// A way to the server on which the answers to the first so many questions get lost.
async fn losing(server: &str, times: usize, loss: Loss) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (server, left) = (server.trim_start_matches("http://").to_owned(), Arc::new(AtomicUsize::new(times)));
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(relay(client, server.clone(), loss, Arc::clone(&left)));
        }
    });
    url
}

async fn relay(mut client: TcpStream, server: String, loss: Loss, left: Arc<AtomicUsize>) {
    let mut server = TcpStream::connect(server).await.unwrap();
    let mut start = [0; 13];
    client.read_exact(&mut start).await.unwrap();
    server.write_all(&start).await.unwrap();
    let spend = |left: usize| left.checked_sub(1);
    if &start != b"POST /request" || left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, spend).is_err() {
        copy_bidirectional(&mut client, &mut server).await.ok();
        return;
    }
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let passing_on = tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_server).await });
    let mut answer = vec![0; 4096];
    let length = from_server.read(&mut answer).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 202"), "{}", String::from_utf8_lossy(&answer));
    let part: &[u8] = match loss {
        Loss::Closed => b"",
        Loss::CutOff => answer.get(..length - 5).unwrap(),
        Loss::BadGateway => b"HTTP/1.1 502 Bad Gateway\r\nconnection: close\r\ncontent-length: 4\r\n\r\n<h1>",
    };
    to_client.write_all(part).await.unwrap();
    to_client.shutdown().await.unwrap();
    passing_on.abort();
}

fn question() -> AccessRequest {
    AccessRequest { secret_name: Some("db".into()), reason: Some("backup".into()), ..AccessRequest::default() }
}

fn client(url: &str) -> RemoteGate {
    RemoteGate::builder(url.parse().unwrap()).build().unwrap()
}

#[tokio::test]
async fn a_question_whose_answer_was_lost_is_asked_once() {
    for (times, loss) in [(1, Loss::Closed), (2, Loss::CutOff), (1, Loss::BadGateway)] {
        let gated = Gated::start(approving(1)).await;
        let gate = client(&losing(&gated.url, times, loss).await);
        let asked = gate.request(&question()).await.unwrap();
        assert_eq!(gate.decision(&asked.token).await.unwrap().status, Status::Approved, "{loss:?}");
        gate.secret(&asked.token).await.unwrap();
        assert_eq!(gated.asked(), 1, "{loss:?}");
        // another question is another one, though it says the same
        let other = gate.request(&question()).await.unwrap();
        assert!(other.token != asked.token && gated.asked() == 2, "{loss:?}");
    }
}

#[tokio::test]
async fn a_server_that_could_ask_twice_is_asked_once() {
    let older = json!({"paths": {"/request": {"post": {"parameters": [{"name": "Other", "in": "header"}]}}}});
    for description in [Reply::Json(404, json!({"error": "not_found"})), Reply::Json(200, older)] {
        let server = Server::start().await.on("POST /request", Reply::Slow(std::time::Duration::ZERO));
        server.on("GET /openapi.json", description);
        let gate = client(&losing(&server.url, 1, Loss::Closed).await);
        let error = gate.request(&question()).await.unwrap_err();
        assert!(matches!(error, ClientError::Interrupted { .. }) && !format!("{error:?}").contains(TOKEN), "{error:?}");
        assert_eq!(server.count("POST /request"), 1);
    }
}

#[tokio::test]
async fn an_approved_value_is_asked_for_again_where_the_server_failed() {
    let server = Server::start().await.on("GET /secret", error(500, "internal_error", "something went wrong"));
    server.on("GET /secret", Reply::Json(200, json!({"secret": {"password": "x"}})));
    client(&server.url).secret(TOKEN).await.unwrap();
    assert_eq!(server.count("GET /secret"), 2);
    // a no is a no
    for (status, code) in [(403, "not_approved"), (410, "already_used"), (404, "not_found")] {
        let server = Server::start().await.on("GET /secret", error(status, code, "no"));
        client(&server.url).secret(TOKEN).await.unwrap_err();
        assert_eq!(server.count("GET /secret"), 1, "{code}");
    }
}
