//! One HTTP call: sent, sent again where that is safe, and its answer read up to a limit.

use std::time::{Duration, SystemTime};

use reqwest::header::{AGE, DATE, RETRY_AFTER};
use serde::de::DeserializeOwned;
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::error::{self, About};
use super::{ClientError, ServerUrl};
use crate::http;

/// Longest answer that is read, in bytes.
const MAX_ANSWER: usize = 1024 * 1024;

/// Pauses before the second and the third attempt.
const PAUSES: [Duration; 2] = [Duration::from_millis(200), Duration::from_millis(800)];

/// When a call may be sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Repeat {
    /// Only where no connection came about, so the server has seen nothing of it.
    Unsent,
    /// After any passing failure: the call changes nothing.
    Safe,
}

/// An answer, whatever its status.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) retry_after: Option<Duration>,
    /// The server's clock; none of an answer that a cache kept.
    pub(super) date: Option<SystemTime>,
    pub(super) body: Zeroizing<Vec<u8>>,
}

impl Answer {
    pub(super) const fn is_success(&self) -> bool {
        matches!(self.status, 200..300)
    }

    /// The body as what it should be, or the error that it reports.
    pub(super) fn parse<T: DeserializeOwned>(&self, about: About, hidden: Option<&str>) -> Result<T, ClientError> {
        if !self.is_success() {
            return Err(error::from_answer(self, about, hidden));
        }
        // the parser's own message could quote a value
        serde_json::from_slice(&self.body).map_err(|error| ClientError::Protocol {
            problem: format!("not the JSON that it should be, at line {} column {}", error.line(), error.column()),
        })
    }
}

/// Sends what `call` builds until it is answered, `repeat` says that it must not be sent again, or the time is up, which
/// is `within` for all attempts together.
pub(super) async fn exchange(
    server: &ServerUrl,
    repeat: Repeat,
    within: Duration,
    call: impl Fn() -> reqwest::RequestBuilder,
) -> Result<Answer, ClientError> {
    let end = Instant::now() + within;
    let left = || end.saturating_duration_since(Instant::now());
    for pause in PAUSES {
        let outcome = once(server, call().timeout(left())).await;
        let again = match (&outcome, repeat) {
            (Err(error), Repeat::Unsent) => matches!(error, ClientError::Unreachable { .. }),
            (Err(error), Repeat::Safe) => error.is_transient(),
            (Ok(answer), Repeat::Safe) => matches!(answer.status, 502..=504),
            (Ok(_), Repeat::Unsent) => false,
        };
        if !again || left() <= pause {
            return outcome;
        }
        tracing::debug!(?pause, "trying again");
        tokio::time::sleep(pause).await;
    }
    once(server, call().timeout(left())).await
}

async fn once(server: &ServerUrl, call: reqwest::RequestBuilder) -> Result<Answer, ClientError> {
    let mut response = call.send().await.map_err(|error| failed(server, error))?;
    let status = response.status().as_u16();
    let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
    let date = response.headers().get(DATE).filter(|_| !response.headers().contains_key(AGE));
    let date = date.and_then(|value| httpdate::parse_http_date(value.to_str().ok()?).ok());
    let announced = response.content_length().and_then(|length| usize::try_from(length).ok()).unwrap_or(MAX_ANSWER);
    let mut body = Zeroizing::new(Vec::with_capacity(announced.min(MAX_ANSWER)));
    while let Some(chunk) = response.chunk().await.map_err(|error| failed(server, error))? {
        if body.len() + chunk.len() > MAX_ANSWER {
            return Err(ClientError::Protocol { problem: format!("longer than {MAX_ANSWER} bytes") });
        }
        http::move_into(&mut body, chunk);
    }
    Ok(Answer { status, retry_after: retry_after.map(Duration::from_secs), date, body })
}

/// The failure without its URL, which holds the token.
fn failed(server: &ServerUrl, error: reqwest::Error) -> ClientError {
    let server = server.to_string();
    let never_sent = error.is_connect();
    let source = error.without_url().into();
    if never_sent { ClientError::Unreachable { server, source } } else { ClientError::Interrupted { server, source } }
}
