//! Calls to the server.

use std::sync::OnceLock;

use reqwest::header::HeaderMap;
use reqwest::{Client, Method, RequestBuilder};
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::PATIENCE;

/// An HTTP client for one server.
#[derive(Clone)]
pub struct Http {
    client: Client,
    url: String,
}

/// An answer, read whole.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
    /// Null where the text is not JSON.
    pub body: Value,
}

impl Answer {
    /// The `error` member.
    pub fn code(&self) -> &str {
        self.body["error"].as_str().unwrap_or_default()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

impl Http {
    pub fn new(url: &str) -> Self {
        static PROVIDER: OnceLock<()> = OnceLock::new();
        PROVIDER.get_or_init(|| {
            rustls::crypto::ring::default_provider().install_default().ok();
        });
        let client = Client::builder().no_proxy().tls_certs_only([]).timeout(2 * PATIENCE).build().unwrap();
        Self { client, url: url.to_owned() }
    }

    /// A call to be completed. Without a body there is no Content-Type, and a text as body does not add one.
    pub fn call(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.url))
    }

    pub async fn get(&self, path: &str) -> Answer {
        finish(self.call(Method::GET, path)).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        finish(self.call(Method::DELETE, path)).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        finish(self.call(Method::POST, path).body(body.to_string())).await
    }

    pub async fn send(&self, call: RequestBuilder) -> Answer {
        finish(call).await
    }
}

async fn finish(call: RequestBuilder) -> Answer {
    let response = call.send().await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let text = response.text().await.unwrap();
    let body = serde_json::from_str(&text).unwrap_or_default();
    Answer { status, headers, text, body }
}

/// A connection that has sent the head of a GET, and nothing else ever unless told to.
pub async fn wire(url: &str, path: &str) -> TcpStream {
    let address = url.trim_start_matches("http://");
    let mut wire = TcpStream::connect(address).await.unwrap();
    wire.set_nodelay(true).unwrap();
    let head = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n");
    wire.write_all(head.as_bytes()).await.unwrap();
    wire
}
