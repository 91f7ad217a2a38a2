//! What can go wrong between client and server, by what the caller can do next.

use std::time::Duration;

use serde::Deserialize;

use super::exchange::Answer;
use super::url::ServerUrlError;
use crate::wire::Candidate;

/// Why a call to a server failed.
///
/// Neither the text nor the debug form ever holds a token, an API key or a URL with one of them.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The server's URL can't be used.
    #[error("the server's URL can't be used")]
    ServerUrl(#[from] ServerUrlError),
    /// An API key would go over plain http to a host that is not loopback.
    #[error("the API key would travel unencrypted to {server}")]
    KeyInTheClear {
        /// The server's base URL.
        server: String,
    },
    /// The API key can't be sent in a header.
    #[error("the API key holds characters that it can't have")]
    MalformedKey,
    /// The private CA can't be used.
    #[error("the private CA can't be used")]
    PrivateCa(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// TLS can't be set up, whatever the CA.
    #[error("TLS can't be set up")]
    Tls(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// No connection came about; the server has seen nothing.
    #[error("can't reach the server at {server}")]
    Unreachable {
        /// The server's base URL.
        server: String,
        /// What failed.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The connection broke or the answer took too long; the server may have done what it was asked.
    #[error("the server at {server} gave no whole answer")]
    Interrupted {
        /// The server's base URL.
        server: String,
        /// What failed.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The server wants an API key, or another one.
    #[error("{message}")]
    Unauthorized {
        /// The server's words.
        message: String,
    },
    /// No item has that name.
    #[error("{message}")]
    NotFound {
        /// The server's words.
        message: String,
        /// Titles that come close, best first.
        suggestions: Vec<Candidate>,
    },
    /// Several items could be meant.
    #[error("{message}")]
    Ambiguous {
        /// The server's words.
        message: String,
        /// What could be meant.
        candidates: Vec<Candidate>,
    },
    /// The item has no such field.
    #[error("{message}")]
    UnknownField {
        /// The server's words.
        message: String,
        /// The labels there are.
        fields: Vec<String>,
    },
    /// The requester asks too often, or has too many questions open.
    #[error("{message}")]
    TooManyRequests {
        /// The server's words.
        message: String,
        /// When to try again, where the server says so.
        retry_after: Option<Duration>,
    },
    /// The server does not know the token: it was restarted since, or has forgotten the request (an older server
    /// also says so when the token was used).
    #[error("the server does not know this request")]
    UnknownRequest,
    /// The request is not approved, or not any more.
    #[error("{message}")]
    NotApproved {
        /// The server's words.
        message: String,
    },
    /// Someone has redeemed this request already.
    #[error("this request was redeemed already")]
    AlreadyUsed,
    /// The server answered with a redirect, which is never followed.
    #[error("the server answered with a redirect ({status}), which is not followed")]
    Redirect {
        /// The HTTP status.
        status: u16,
    },
    /// The server reports another error.
    #[error("{message}")]
    Server {
        /// The HTTP status.
        status: u16,
        /// The server's code for programs; empty where it gave none.
        code: String,
        /// The server's words.
        message: String,
    },
    /// The answer is not what the protocol says.
    #[error("the server's answer can't be understood: {problem}")]
    Protocol {
        /// What is wrong with it; quotes nothing of it.
        problem: String,
    },
}

impl ClientError {
    /// Whether the server said that it could not read an approved secret, so that its token is unspent and the same
    /// call may succeed until the approval lapses.
    #[must_use]
    pub fn leaves_approval(&self) -> bool {
        matches!(self, Self::Server { code, .. } if code == "backend_unavailable")
    }

    /// Whether the same call may succeed in a moment.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Interrupted { .. } | Self::TooManyRequests { .. } => true,
            Self::Server { status, .. } => matches!(status, 502..=504),
            _ => false,
        }
    }
}

/// What a call is about, which decides what a 404 means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum About {
    /// Names of items.
    Names,
    /// One request, named by its token.
    Request,
}

/// Longest text of a server that is passed on, in characters.
const MAX_MESSAGE: usize = 500;

/// The error that an answer means. Reads what older servers and proxies send, too; `hidden` is blotted out of the text.
pub(super) fn from_answer(answer: &Answer, about: About, hidden: Option<&str>) -> ClientError {
    let status = answer.status;
    let report: Report = serde_json::from_slice(&answer.body).unwrap_or_default();
    let (code, sentence) = report.code_and_sentence();
    let message = sentence.or_else(|| plain_text(&answer.body)).map(|text| presentable(&text, hidden));
    let says = |otherwise: &str| message.clone().unwrap_or_else(|| otherwise.to_owned());

    match (status, code.as_str(), about) {
        (300..=399, ..) => ClientError::Redirect { status },
        (401, ..) => ClientError::Unauthorized { message: says("the server wants an API key") },
        (404, _, About::Request) => ClientError::UnknownRequest,
        // without suggestions, be there any or none, the path is what does not exist: the URL is wrong
        (404, "not_found", About::Names) if report.suggestions.is_some() => ClientError::NotFound {
            message: says("no such secret"),
            suggestions: report.suggestions.unwrap_or_default(),
        },
        (500, "search_failed" | "fields_failed" | "secret_fetch_failed", _) if is_not_found(message.as_deref()) => {
            ClientError::NotFound { message: says("no such secret"), suggestions: Vec::new() }
        }
        (_, "ambiguous", _) => {
            ClientError::Ambiguous { message: says("several secrets have that name"), candidates: report.candidates }
        }
        (_, "unknown_field", _) => {
            ClientError::UnknownField { message: says("the secret has no such field"), fields: report.fields }
        }
        (429, ..) => {
            ClientError::TooManyRequests { message: says("too many requests"), retry_after: answer.retry_after }
        }
        (403, _, About::Request) => ClientError::NotApproved { message: says("the request is not approved") },
        (410, _, About::Request) => ClientError::AlreadyUsed,
        _ => ClientError::Server {
            status,
            code: presentable(&code, hidden),
            message: says(&format!("the server answered with status {status}")),
        },
    }
}

/// An error answer, read with patience.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Report {
    error: Option<String>,
    message: Option<String>,
    suggestions: Option<Vec<Candidate>>,
    candidates: Vec<Candidate>,
    fields: Vec<String>,
}

impl Report {
    /// The code and the sentence; where `error` holds a sentence, as some proxies write it, there is no code.
    fn code_and_sentence(&self) -> (String, Option<String>) {
        let error = self.error.clone().unwrap_or_default();
        let message = self.message.clone().filter(|text| !text.trim().is_empty());
        if error.contains(' ') { (String::new(), message.or(Some(error))) } else { (error, message) }
    }
}

fn is_not_found(message: Option<&str>) -> bool {
    message.is_some_and(|text| text.to_lowercase().contains("not found"))
}

/// The first line of a text answer; nothing of HTML, JSON or binary data.
fn plain_text(body: &[u8]) -> Option<String> {
    let line = std::str::from_utf8(body).ok()?.trim().lines().next()?.trim();
    let is_prose = !line.starts_with(['<', '{', '[', '"']) && !line.contains(|c: char| c.is_control() && c != '\t');
    (is_prose && !line.is_empty()).then(|| line.to_owned())
}

fn presentable(text: &str, hidden: Option<&str>) -> String {
    let text = match hidden {
        Some(hidden) if !hidden.is_empty() => text.replace(hidden, "[hidden]"),
        _ => text.to_owned(),
    };
    match text.char_indices().nth(MAX_MESSAGE) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(status: u16, body: &str, about: About) -> ClientError {
        let answer = Answer { status, retry_after: None, date: None, body: body.as_bytes().to_vec().into() };
        from_answer(&answer, about, Some("t0ken"))
    }

    #[test]
    fn says_what_the_caller_can_do_next() {
        use ClientError as E;
        let json = |code: &str| format!(r#"{{"error":"{code}","message":"why","new_member":1}}"#);
        let names = |status, code| error(status, &json(code), About::Names);
        let request = |status, code| error(status, &json(code), About::Request);
        assert!(matches!(names(401, "unauthorized"), E::Unauthorized { message } if message == "why"));
        // the path was not found, not the name
        assert!(matches!(names(404, "not_found"), E::Server { status: 404, .. }));
        assert!(matches!(names(409, "ambiguous"), E::Ambiguous { .. }));
        assert!(matches!(names(400, "unknown_field"), E::UnknownField { .. }));
        assert!(matches!(names(429, "too_many_requests"), E::TooManyRequests { .. }));
        assert!(
            matches!(names(500, "internal_error"), E::Server { status: 500, code, .. } if code == "internal_error")
        );
        assert!(matches!(request(403, "not_approved"), E::NotApproved { .. }));
        assert!(matches!(request(404, "not_found"), E::UnknownRequest));
        assert!(matches!(request(410, "already_used"), E::AlreadyUsed));
        assert!(matches!(request(409, "item_changed"), E::Server { status: 409, code, .. } if code == "item_changed"));
        assert!(names(502, "backend_unavailable").is_transient() && !names(500, "internal_error").is_transient());
    }

    #[test]
    fn keeps_what_helps_to_correct_the_name() {
        let body = r#"{"error":"not_found","message":"no secret db","suggestions":[{"secret_name":"db-1","vault_name":"v","id":"i"}]}"#;
        assert!(
            matches!(error(404, body, About::Names), ClientError::NotFound { suggestions, .. } if suggestions[0].secret_name == "db-1")
        );
        let body = r#"{"error":"not_found","message":"no secret db","suggestions":[]}"#;
        assert!(
            matches!(error(404, body, About::Names), ClientError::NotFound { suggestions, .. } if suggestions.is_empty())
        );
        let body = r#"{"error":"unknown_field","message":"m","fields":["a","b"]}"#;
        assert!(
            matches!(error(400, body, About::Names), ClientError::UnknownField { fields, .. } if fields == ["a", "b"])
        );
    }

    #[test]
    fn reads_older_servers_and_proxies() {
        use ClientError as E;
        for code in ["search_failed", "fields_failed", "secret_fetch_failed"] {
            let body = |message: &str| format!(r#"{{"error":"{code}","message":"{message}"}}"#);
            assert!(matches!(error(500, &body("secret 'x' Not Found"), About::Request), E::NotFound { .. }));
            assert!(matches!(error(500, &body("connect: timeout"), About::Names), E::Server { status: 500, .. }));
        }
        assert_eq!(error(400, "bad request\nmore", About::Names).to_string(), "bad request");
        assert_eq!(error(400, r#"{"error":"bad request"}"#, About::Names).to_string(), "bad request");
        for odd in ["<html><body>gateway</body></html>", "\u{1}\u{2}", "", "[1]", "\"x\"", r#"{"error":5}"#] {
            assert_eq!(error(502, odd, About::Names).to_string(), "the server answered with status 502", "{odd:?}");
        }
        // somebody else's 404 page says nothing about names
        assert!(matches!(error(404, "404 page not found", About::Names), E::Server { status: 404, .. }));
        assert!(matches!(error(302, "", About::Names), E::Redirect { status: 302 }));
    }

    #[test]
    fn hides_tokens_and_cuts_long_texts() {
        let echoed = error(500, r#"{"error":"t0ken","message":"GET /status/t0ken failed"}"#, About::Request);
        assert!(!format!("{echoed} {echoed:?}").contains("t0ken"), "{echoed:?}");
        let long = error(500, &"x".repeat(100_000), About::Names).to_string();
        assert_eq!(long.chars().count(), MAX_MESSAGE + 1);
    }
}
