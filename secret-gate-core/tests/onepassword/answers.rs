//! Answers that a well-behaved Connect server does not give.

use std::time::Duration;

use secret_gate_core::SecretBackend;

use super::scripted::{Scripted, answer};
use super::{VALUE, builder, unavailable};

#[tokio::test]
async fn what_a_request_carries() {
    let server = Scripted::start(&[&answer("200 OK", "", "[]"), &answer("200 OK", "", "{}")]).await;
    builder(server.url(), "the-token").build().unwrap().check().await.unwrap();
    let requests: Vec<_> = server.requests().iter().map(|head| head.to_ascii_lowercase()).collect();
    assert_eq!(requests.len(), 2);
    assert!(requests[0].starts_with("get /v1/vaults http/1.1\r\n"));
    assert!(requests[0].contains("authorization: bearer the-token\r\n"));
    assert!(requests[1].starts_with("get /health http/1.1\r\n"));
    assert!(!requests[1].contains("authorization"));
    let agent = format!("user-agent: secret-gate/{}\r\n", env!("CARGO_PKG_VERSION"));
    assert!(requests.iter().all(|head| head.contains(&agent)));
}

#[tokio::test]
async fn retry_after_goes_before_our_own_pause() {
    let busy = |seconds: &str| answer("429 Too Many Requests", &format!("Retry-After: {seconds}\r\n"), "{}");
    let server = Scripted::start(&[&busy("0"), &answer("200 OK", "", "[]")]).await;
    let backend = builder(server.url(), "token").first_pause(Duration::from_secs(20)).build().unwrap();
    assert_eq!(backend.vaults().await.unwrap(), []);
    assert_eq!(server.requests().len(), 2);

    let server = Scripted::start(&[&busy("3600")]).await;
    let backend = builder(server.url(), "token").build().unwrap();
    assert!(unavailable(backend.vaults().await).contains("status 429"));
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let other = Scripted::start(&[&answer("200 OK", "", "[]")]).await;
    let moved = answer("301 Moved Permanently", &format!("Location: {}/v1/vaults\r\n", other.url()), "");
    let server = Scripted::start(&[&moved]).await;
    let message = unavailable(builder(server.url(), "token").build().unwrap().vaults().await);
    assert!(message.contains("redirects elsewhere (status 301)"), "{message}");
    assert_eq!((server.requests().len(), other.requests().len()), (1, 0));
}

#[tokio::test]
async fn no_api_at_that_path() {
    let server = Scripted::start(&[&answer("404 Not Found", "", "no such page")]).await;
    let message = unavailable(builder(server.url(), "token").build().unwrap().vaults().await);
    assert!(message.contains("check the host and its path"), "{message}");
}

#[tokio::test]
async fn answers_that_are_too_long() {
    let announced = "HTTP/1.1 200 OK\r\nContent-Length: 40000000\r\n\r\n[";
    let chunk = format!("100000\r\n{}\r\n", " ".repeat(0x10_0000));
    let endless = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{}", chunk.repeat(33));
    for long in [announced, &endless] {
        let server = Scripted::start(&[long]).await;
        let message = unavailable(builder(server.url(), "token").build().unwrap().vaults().await);
        assert!(message.contains("longer than 33554432 bytes"), "{message}");
        assert_eq!(server.requests().len(), 1);
    }
}

#[tokio::test]
async fn an_answer_of_unannounced_length() {
    let name = "n".repeat(300_000);
    let body = format!(r#"[{{"id":"v","name":"{name}"}}]"#);
    let chunks: String = body.as_bytes().chunks(7_000).map(chunk).collect();
    let whole = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n{chunks}0\r\n\r\n");
    let server = Scripted::start(&[&whole]).await;
    let vaults = builder(server.url(), "token").build().unwrap().vaults().await.unwrap();
    assert!(vaults[0].name == name);
}

fn chunk(bytes: &[u8]) -> String {
    format!("{:x}\r\n{}\r\n", bytes.len(), String::from_utf8_lossy(bytes))
}

#[tokio::test]
async fn answers_that_make_no_sense() {
    let quoted = format!(r#"{{"id": "i", "fields": [{{"id": "f", "value": "{VALUE}"#);
    let other = format!(r#"{{"id": "other", "fields": [{{"id": "f", "value": "{VALUE}"}}]}}"#);
    let no_list = format!(r#"{{"id": "i", "fields": "{VALUE}"}}"#);
    for body in ["", "OK", "null", &format!("[\"{VALUE}\"]"), &quoted, &other, &no_list] {
        let server = Scripted::start(&[&answer("200 OK", "Content-Type: application/json\r\n", body)]).await;
        let backend = builder(server.url(), "planted-token").build().unwrap();
        let message = unavailable(backend.item("v", "i").await);
        assert!(message.contains("makes no sense"), "{message}");
        assert!(!message.contains("planted"), "{message}");
        assert_eq!(server.requests().len(), 3);
    }
}

#[tokio::test]
async fn a_hidden_health_report_is_none() {
    for hidden in ["401 Unauthorized", "403 Forbidden", "404 Not Found"] {
        let server = Scripted::start(&[&answer("200 OK", "", "[]"), &answer(hidden, "", "")]).await;
        builder(server.url(), "token").build().unwrap().check().await.unwrap();
    }
    let server = Scripted::start(&[&answer("200 OK", "", "[]"), &answer("500 Oops", "", "")]).await;
    let message = unavailable(builder(server.url(), "token").build().unwrap().check().await);
    assert!(message.contains("GET /health"), "{message}");
}
