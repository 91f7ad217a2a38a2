//! One read of the Connect API: attempts, answers, pauses.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Client, Response, StatusCode, Url};
use zeroize::Zeroizing;

use super::error::{CallError, Fault};
use super::patience::{Course, Patience};
use super::route::Route;
use crate::{SecretValue, http};

/// The longest answer that is read, in bytes.
const LONGEST_ANSWER: usize = 32 * 1024 * 1024;

/// How much room an answer of unannounced length gets first, in bytes.
const FIRST_ROOM: usize = 64 * 1024;

/// A Connect server and what is needed to talk to it.
pub(super) struct Connection {
    pub(super) http: Client,
    pub(super) base: Url,
    pub(super) authorization: HeaderValue,
    pub(super) patience: Patience,
}

impl Connection {
    /// Reads the resource and has `parse` make sense of it, several times if need be.
    pub(super) async fn read<T: Send>(
        &self,
        route: Route<'_>,
        parse: impl Fn(&[u8]) -> Result<T, &'static str> + Send + Sync,
    ) -> Result<T, CallError> {
        let mut course = Course::start(&self.patience);
        loop {
            let within = course.begin();
            let outcome = match tokio::time::timeout(within, self.attempt(route)).await {
                Ok(Ok(body)) => parse(&body).map_err(|what| Fault::Odd { what }),
                Ok(Err(fault)) => Err(fault),
                Err(_elapsed) => Err(Fault::TimedOut { within }),
            };
            let fault = match outcome {
                Ok(answer) => return Ok(answer),
                Err(fault) => fault,
            };
            let attempts = course.attempts();
            let Some(pause) = course.pause(&fault) else {
                return Err(self.error(route, attempts, fault));
            };
            tracing::debug!(server = %self, route = route.template(), attempts, %fault, "trying again");
            tokio::time::sleep(pause).await;
        }
    }

    pub(super) fn error(&self, route: Route<'_>, attempts: u32, fault: Fault) -> CallError {
        CallError { server: self.to_string(), route: route.template(), attempts, fault }
    }

    async fn attempt(&self, route: Route<'_>) -> Result<Zeroizing<Vec<u8>>, Fault> {
        let mut request = self.http.get(route.url(&self.base));
        if route.needs_token() {
            request = request.header(AUTHORIZATION, self.authorization.clone());
        }
        let response = request.send().await?;
        match refusal(response.status(), response.headers()) {
            Some(fault) => Err(fault),
            None => body(response).await,
        }
    }
}

impl fmt::Display for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.base.as_str().trim_end_matches('/'))
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { http: _, base, authorization: _, patience } = self;
        f.debug_struct("Connection").field("base", &base.as_str()).field("patience", patience).finish_non_exhaustive()
    }
}

/// Makes the header that carries the token. It lives in the pages of a [`SecretValue`], which are wiped when the last
/// copy of the header is gone. `None` if the token can't stand in a header.
pub(super) fn authorization(token: &SecretValue) -> Option<HeaderValue> {
    struct Held(SecretValue);
    impl AsRef<[u8]> for Held {
        fn as_ref(&self) -> &[u8] {
            self.0.expose().as_bytes()
        }
    }
    // with the room it needs, so that it leaves no copy behind by growing
    let mut text = String::with_capacity("Bearer ".len() + token.len());
    text.push_str("Bearer ");
    text.push_str(token.expose());
    let mut header = HeaderValue::from_maybe_shared(Bytes::from_owner(Held(SecretValue::new(text)))).ok()?;
    header.set_sensitive(true);
    Some(header)
}

/// What the head of an answer says is wrong.
fn refusal(status: StatusCode, headers: &HeaderMap) -> Option<Fault> {
    let code = status.as_u16();
    // Connect answers in JSON and text only: a page comes from a proxy or portal, whose 404 says nothing about an item
    if is_page(headers) {
        return Some(Fault::Foreign { status: code });
    }
    match status {
        StatusCode::OK => None,
        StatusCode::UNAUTHORIZED => Some(Fault::Unauthorized),
        StatusCode::FORBIDDEN => Some(Fault::Forbidden),
        StatusCode::NOT_FOUND => Some(Fault::NotFound),
        _ if status.is_redirection() => Some(Fault::Redirect { status: code }),
        _ => Some(Fault::Status { status: code, retry_after: retry_after(headers) }),
    }
}

fn is_page(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.trim_start().get(..9).is_some_and(|start| start.eq_ignore_ascii_case("text/html"))
}

/// The seconds in `Retry-After`; its other form, a date, is ignored.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// Reads the body into memory that is wiped. What the HTTP and TLS layers keep in buffers of their own is out of reach.
async fn body(mut response: Response) -> Result<Zeroizing<Vec<u8>>, Fault> {
    let announced =
        response.content_length().map_or(FIRST_ROOM, |length| usize::try_from(length).unwrap_or(usize::MAX));
    if announced > LONGEST_ANSWER {
        return Err(Fault::TooLong { limit: LONGEST_ANSWER });
    }
    let mut body = Zeroizing::new(Vec::with_capacity(announced));
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > LONGEST_ANSWER {
            return Err(Fault::TooLong { limit: LONGEST_ANSWER });
        }
        http::move_into(&mut body, chunk);
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &'static str, value: &'static str) -> HeaderMap {
        [(name.parse().unwrap(), HeaderValue::from_static(value))].into_iter().collect()
    }

    #[test]
    fn the_token_in_its_header() {
        let header = authorization(&SecretValue::from("abc.def")).unwrap();
        assert_eq!(header.as_bytes(), b"Bearer abc.def");
        assert_eq!(format!("{header:?}"), "Sensitive");
        assert!(authorization(&SecretValue::from("abc\ndef")).is_none());
    }

    #[test]
    fn heads_of_answers() {
        let json = headers("content-type", "application/json");
        assert!(refusal(StatusCode::OK, &json).is_none());
        assert!(matches!(refusal(StatusCode::NOT_FOUND, &json), Some(Fault::NotFound)));
        assert!(matches!(refusal(StatusCode::NO_CONTENT, &json), Some(Fault::Status { status: 204, .. })));
        assert!(matches!(refusal(StatusCode::FOUND, &json), Some(Fault::Redirect { status: 302 })));
        let page = headers("content-type", "Text/HTML; charset=utf-8");
        for status in [StatusCode::OK, StatusCode::NOT_FOUND, StatusCode::BAD_GATEWAY] {
            assert!(matches!(refusal(status, &page), Some(Fault::Foreign { .. })));
        }
    }

    #[test]
    fn seconds_to_wait() {
        assert_eq!(retry_after(&headers("retry-after", " 7 ")), Some(Duration::from_secs(7)));
        for other in ["Fri, 31 Dec 1999 23:59:59 GMT", "-1", ""] {
            assert_eq!(retry_after(&headers("retry-after", other)), None);
        }
    }
}
