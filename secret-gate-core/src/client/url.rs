//! Where a server is: its base URL, checked once.

use std::fmt;
use std::str::FromStr;

use reqwest::Url;

use crate::http::{AddressError, parse_address};
use crate::net::is_loopback;

/// The base URL of a secret-gate server, with or without a path.
///
/// Two are equal when they name the same server, however they are spelled.
///
/// ```
/// use secret_gate_core::client::ServerUrl;
///
/// let url: ServerUrl = "https://Gate.example.org:443/".parse()?;
/// assert_eq!(url, "https://gate.example.org".parse()?);
/// assert_eq!(url.to_string(), "https://gate.example.org");
/// # Ok::<(), secret_gate_core::client::ServerUrlError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerUrl(Url);

/// Why a text is not the URL of a server. Never quotes the text, which might hold a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(transparent)]
pub struct ServerUrlError(AddressError);

impl ServerUrl {
    /// Whether what is sent there travels unencrypted over a network: plain http to a host that is not loopback.
    #[must_use]
    pub fn is_in_the_clear(&self) -> bool {
        self.0.scheme() == "http" && !self.is_loopback()
    }

    /// Whether the host is this machine: `localhost` or a loopback address.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        is_loopback(self.0.host_str())
    }

    pub(super) const fn as_url(&self) -> &Url {
        &self.0
    }

    /// The URL of a path below the base; each segment is escaped.
    pub(super) fn join(&self, segments: &[&str]) -> Url {
        let mut url = self.0.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        url
    }
}

impl FromStr for ServerUrl {
    type Err = ServerUrlError;

    fn from_str(text: &str) -> Result<Self, ServerUrlError> {
        let mut url = parse_address(text).map_err(ServerUrlError)?;
        let path = url.path().trim_end_matches('/').to_owned();
        url.set_path(&path);
        Ok(Self(url))
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str().trim_end_matches('/'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<ServerUrl, ServerUrlError> {
        text.parse()
    }

    #[test]
    fn the_same_server_however_spelled() {
        for other in ["https://h:443", "https://H/", " https://h// "] {
            assert_eq!(parse(other), parse("https://h"), "{other}");
        }
        for other in ["http://h", "https://h:8443", "https://h/gate", "https://h.org"] {
            assert_ne!(parse(other), parse("https://h"), "{other}");
        }
    }

    #[test]
    fn refuses_what_is_no_server_and_does_not_quote_it() {
        for text in
            ["gate.example.org:8080", "ftp://h", "https://", "https://u:hunter2@h", "https://h/?x", "https://h/#x"]
        {
            let error = parse(text).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("hunter2"));
        }
    }

    #[test]
    fn knows_what_travels_in_the_clear() {
        for text in ["http://gate.internal", "http://10.0.0.1:80", "http://localhost.evil.org", "http://[2001:db8::1]"]
        {
            assert!(parse(text).unwrap().is_in_the_clear(), "{text}");
        }
        for text in ["https://gate.internal", "http://localhost:1", "http://127.9.9.9", "http://[::1]:80"] {
            assert!(!parse(text).unwrap().is_in_the_clear(), "{text}");
        }
    }

    #[test]
    fn joins_below_its_path_and_escapes() {
        let url = parse("https://h/gate/").unwrap();
        assert_eq!(url.join(&["status", "a/b?c"]).as_str(), "https://h/gate/status/a%2Fb%3Fc");
        assert_eq!(parse("https://h").unwrap().join(&["search"]).as_str(), "https://h/search");
    }
}
