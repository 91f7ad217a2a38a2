//! What can go wrong with a Connect server, in words for the person who runs it.

use std::io;
use std::time::Duration;

use crate::BackendError;
use crate::http::{AddressError, ClientError};

/// Why an [`OnePassword`](super::OnePassword) can't be built. No message quotes the host or the token.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OnePasswordError {
    /// The host is not an `http` or `https` URL, or says more than where the server is.
    #[error(
        "the host of 1Password Connect {problem}; write it as in http://localhost:8080 or https://connect.example.com"
    )]
    #[non_exhaustive]
    Host {
        /// What is wrong with it.
        problem: String,
    },
    /// The token can't be sent in a header.
    #[error("the token of 1Password Connect {problem}; write it on one line, as 1Password showed it")]
    #[non_exhaustive]
    Token {
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A private authority's certificate can't be used.
    #[error("the CA certificate for 1Password Connect can't be used: {problem}")]
    #[non_exhaustive]
    Certificate {
        /// What is wrong with it.
        problem: String,
    },
    /// The HTTP client can't be built.
    #[error("the HTTP client for 1Password Connect can't be built")]
    #[non_exhaustive]
    Client {
        /// What the client said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl From<AddressError> for OnePasswordError {
    fn from(error: AddressError) -> Self {
        Self::Host { problem: error.to_string() }
    }
}

impl From<ClientError> for OnePasswordError {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Build(source) => Self::Client { source },
            ClientError::NoCertificate | ClientError::BadCertificate => {
                Self::Certificate { problem: error.to_string() }
            }
        }
    }
}

/// A call that failed, after all its attempts.
#[derive(Debug, thiserror::Error)]
#[error("1Password Connect at {server}: {fault} (GET {route}, attempts: {attempts})")]
pub(super) struct CallError {
    pub(super) server: String,
    /// The route's template, without ids.
    pub(super) route: &'static str,
    pub(super) attempts: u32,
    pub(super) fault: Fault,
}

/// What went wrong with one attempt. Nothing here holds anything of an answer's body.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error("the token was refused")]
    Unauthorized,
    #[error("the token does not reach that far")]
    Forbidden,
    #[error("there is no such thing")]
    NotFound,
    #[error("it answered with status {status}")]
    Status { status: u16, retry_after: Option<Duration> },
    #[error("it redirects elsewhere (status {status}); give the address that it redirects to as the host")]
    Redirect { status: u16 },
    #[error("something else answers there, with status {status} and a page for people; check the host and its path")]
    Foreign { status: u16 },
    #[error("no answer within {}", humantime::format_duration(*within))]
    TimedOut { within: Duration },
    #[error("no connection ({reason})")]
    Unreachable { reason: String },
    #[error("no secure connection ({reason}); if it uses a private CA, give that CA's certificate")]
    Tls { reason: String },
    #[error("the connection broke off ({reason})")]
    Broken { reason: String },
    #[error("its answer is longer than {limit} bytes")]
    TooLong { limit: usize },
    #[error("its answer makes no sense: {what}")]
    Odd { what: &'static str },
    #[error("its part that fetches the vaults is not ready ({status}); see the log of the connect-sync container")]
    NotInSync { status: String },
}

impl Fault {
    /// Whether another attempt may go better.
    pub(super) const fn may_pass(&self) -> bool {
        match self {
            Self::Status { status, .. } | Self::Foreign { status } => matches!(*status, 200..=299 | 408 | 429 | 500..),
            Self::TimedOut { .. } | Self::Unreachable { .. } | Self::Broken { .. } | Self::Odd { .. } => true,
            Self::Unauthorized
            | Self::Forbidden
            | Self::NotFound
            | Self::Redirect { .. }
            | Self::Tls { .. }
            | Self::TooLong { .. }
            | Self::NotInSync { .. } => false,
        }
    }

    /// Whether the server, or what stands before it, declined to answer the question at all.
    pub(super) const fn is_refusal(&self) -> bool {
        match self {
            Self::Unauthorized | Self::Forbidden | Self::NotFound | Self::Redirect { .. } => true,
            Self::Status { status, .. } | Self::Foreign { status } => matches!(*status, 400..=499),
            _ => false,
        }
    }

    /// How long the server asked to be left alone.
    pub(super) const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

impl From<reqwest::Error> for Fault {
    fn from(error: reqwest::Error) -> Self {
        if let Some(tls) = find::<rustls::Error>(&error) {
            return Self::Tls { reason: tls.to_string() };
        }
        let reason = find::<io::Error>(&error).map_or_else(|| "protocol error".to_owned(), |io| io.kind().to_string());
        if error.is_connect() {
            // reqwest's own limit has no kind of its own
            let reason = if error.is_timeout() { "timed out".to_owned() } else { reason };
            return Self::Unreachable { reason };
        }
        Self::Broken { reason }
    }
}

impl From<CallError> for BackendError {
    fn from(error: CallError) -> Self {
        match error.fault {
            Fault::Unauthorized => Self::Unauthorized,
            Fault::Forbidden => Self::Forbidden,
            Fault::NotFound => Self::NotFound,
            _ => Self::unavailable(error.to_string()),
        }
    }
}

/// Looks for the deepest `E` among the causes of `error`, also inside of `io::Error`, which hides what it wraps.
fn find<'a, E: std::error::Error + 'static>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a E> {
    let mut found = None;
    let mut next = Some(error);
    while let Some(cause) = next {
        found = cause.downcast_ref::<E>().or(found);
        let wrapped = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = match wrapped {
            Some(wrapped) => Some(wrapped),
            None => cause.source(),
        };
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_inside_of_io_errors() {
        let tls = rustls::Error::DecryptError;
        let wrapped = io::Error::other(io::Error::other(tls));
        assert_eq!(find::<rustls::Error>(&wrapped), Some(&rustls::Error::DecryptError));
        assert!(find::<std::fmt::Error>(&wrapped).is_none());
    }

    #[test]
    fn a_call_names_server_and_route() {
        let fault = Fault::Unreachable { reason: "connection refused".to_owned() };
        let error = CallError { server: "http://op:8080".to_owned(), route: "/v1/vaults", attempts: 3, fault };
        assert_eq!(
            BackendError::from(error).to_string(),
            "1Password Connect at http://op:8080: no connection (connection refused) (GET /v1/vaults, attempts: 3)"
        );
    }
}
