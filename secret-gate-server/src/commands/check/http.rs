//! Plain looks at HTTP servers: no credentials, no redirects, no long answers.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use reqwest::{Client, Response, StatusCode, header};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use secret_gate_server::logging;
use serde_json::Value;
use url::{Host, Url};

use super::LIMIT;

/// The longest answer that is read, in bytes.
const LONGEST_ANSWER: usize = 64 * 1024;

/// How a server's clock stands to ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::commands) struct Time {
    pub(in crate::commands) theirs: SystemTime,
    pub(in crate::commands) ours: SystemTime,
}

/// An answer, as far as it matters.
#[derive(Debug)]
pub(in crate::commands) struct Answer {
    pub(in crate::commands) status: StatusCode,
    pub(in crate::commands) time: Option<Time>,
    /// Null where it is not JSON.
    pub(in crate::commands) body: Value,
}

/// Whose certificates count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::commands) enum Trust {
    /// Those that browsers trust.
    Usual,
    /// Also those in `SSL_CERT_FILE`, as the clients do.
    Clients,
}

/// Gets what is at a URL.
///
/// # Errors
/// Why there is no answer, in words for people.
pub(in crate::commands) async fn get(url: &str, trust: Trust) -> Result<Answer, String> {
    get_within(LIMIT, url, trust).await
}

/// The same, in less time.
pub(in crate::commands) async fn get_within(limit: Duration, url: &str, trust: Trust) -> Result<Answer, String> {
    let client = client(url, trust)?;
    let looking = async {
        let response = client.get(url).send().await.map_err(|error| in_words(error, limit))?;
        let (status, time) = (response.status(), time(&response));
        Ok(Answer { status, time, body: body(response).await })
    };
    tokio::time::timeout(limit, looking).await.unwrap_or_else(|_| Err(no_answer(limit)))
}

fn client(url: &str, trust: Trust) -> Result<Client, String> {
    let builder = Client::builder()
        .tls_backend_preconfigured(tls(trust)?)
        .user_agent(concat!("secret-gate-server/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .connect_timeout(Duration::from_secs(5));
    let may_use_proxy = url.starts_with("https://") && !is_loopback(url);
    let builder = if may_use_proxy { builder } else { builder.no_proxy() };
    builder.build().map_err(|error| logging::chain(&error.without_url()))
}

fn tls(trust: Trust) -> Result<rustls::ClientConfig, String> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().cloned());
    if let (Trust::Clients, Some(path)) = (trust, std::env::var_os("SSL_CERT_FILE")) {
        let certificates = CertificateDer::pem_file_iter(path).into_iter().flatten().flatten();
        roots.add_parsable_certificates(certificates);
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    Ok(config.map_err(|error| logging::chain(&error))?.with_root_certificates(roots).with_no_client_auth())
}

/// Whether a URL's host is this machine.
pub(in crate::commands) fn is_loopback(url: &str) -> bool {
    match Url::parse(url).ok().as_ref().and_then(Url::host) {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

fn time(response: &Response) -> Option<Time> {
    let date = response.headers().get(header::DATE)?.to_str().ok()?;
    Some(Time { theirs: httpdate::parse_http_date(date).ok()?, ours: SystemTime::now() })
}

async fn body(mut response: Response) -> Value {
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        body.extend_from_slice(&chunk);
        if body.len() > LONGEST_ANSWER {
            return Value::Null;
        }
    }
    serde_json::from_slice(&body).unwrap_or_default()
}

fn in_words(error: reqwest::Error, limit: Duration) -> String {
    if error.is_timeout() { no_answer(limit) } else { logging::chain(&error.without_url()) }
}

fn no_answer(limit: Duration) -> String {
    format!("no answer within {} s", limit.as_secs())
}
