//! Neither the token nor a value reaches a log, not even with every library at its most talkative.
//!
//! Alone in its process, since what captures the libraries' lines is global.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test that calls them")]

#[path = "support/tls.rs"]
mod tls;

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use secret_gate_core::{OnePassword, SecretBackend, SecretValue};
use secret_gate_doubles::{ConnectDouble, Fault, Times};
use serde_json::json;
use tracing_subscriber::EnvFilter;

use tls::TlsFront;

const TOKEN: &str = "planted-token-3f1c";
const VALUE: &str = "planted-value-9ab2";
const CODE: &str = "731946";

#[tokio::test]
async fn no_secret_in_any_log_line() {
    let log = Capture::default();
    let writer = log.clone();
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new("trace"))
        .with_writer(move || writer.clone())
        .with_ansi(false)
        .init();

    let connect = ConnectDouble::start().await.unwrap().with_token(TOKEN);
    let front = TlsFront::start(&connect.url()).await;
    let builder = |url: &str| {
        OnePassword::builder(url, SecretValue::from(TOKEN))
            .first_pause(Duration::from_millis(1))
            .timeout(Duration::from_millis(500))
    };
    let plain = builder(&connect.url()).build().unwrap();
    let secure = builder(&front.url()).ca_certificate(front.authority()).build().unwrap();
    let untrusting = builder(&front.url()).build().unwrap();
    let vault = connect.add_vault("", "infra");
    let item = connect.add_item(
        &vault,
        json!({"title": "db", "category": "LOGIN", "fields": [
            {"id": "password", "type": "CONCEALED", "value": VALUE},
            {"label": "no id", "value": VALUE},
            {"id": "code", "type": "OTP", "value": VALUE, "totp": CODE},
        ]}),
    );
    for backend in [&plain, &secure] {
        let read = backend.item(&vault, &item).await.unwrap();
        assert_eq!(read.field("password").unwrap().value.expose(), VALUE);
        backend.check().await.unwrap();
        for fault in [Fault::Truncated, Fault::Html(200), Fault::Reset, Fault::Status(401), Fault::Status(500)] {
            connect.faults().set(fault, Times::Always);
            backend.item(&vault, &item).await.unwrap_err();
            connect.faults().clear();
        }
        connect.faults().hang(Duration::from_secs(60));
        backend.item(&vault, &item).await.unwrap();
    }
    untrusting.vaults().await.unwrap_err();
    OnePassword::builder(connect.url(), SecretValue::new(format!("{TOKEN}\n"))).build().unwrap_err();

    // the libraries were heard, so that their silence means something
    for library in ["reqwest", "hyper_util", "rustls", "secret_gate_core"] {
        assert!(log.contains(&format!(" {library}::")), "nothing heard of {library}");
    }
    for secret in [TOKEN, VALUE, CODE] {
        assert!(!log.contains(secret), "{}", log.line_with(secret));
        assert!(!log.contains(&format!("{:?}", secret.as_bytes())), "{secret} as a list of numbers");
    }
    // and the search finds what is there
    tracing::trace!(token = TOKEN, "control");
    assert!(log.contains(TOKEN));
}

#[derive(Clone, Default)]
struct Capture(Arc<Mutex<Vec<u8>>>);

impl Capture {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }

    fn contains(&self, needle: &str) -> bool {
        self.text().contains(needle)
    }

    fn line_with(&self, needle: &str) -> String {
        self.text().lines().find(|line| line.contains(needle)).unwrap_or_default().to_owned()
    }
}

impl io::Write for Capture {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
