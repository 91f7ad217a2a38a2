//! Where a server is: its base URL, checked once.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use reqwest::Url;

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
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ServerUrlError {
    /// It is no URL at all, or one without a host.
    #[error("it is not a URL; write it like https://gate.example.org")]
    Malformed,
    /// It starts with something else than `http://` or `https://`.
    #[error("it must start with https:// or http://")]
    Scheme,
    /// It holds a user name or password.
    #[error("it must not hold a user name or password; use an API key")]
    Credentials,
    /// It holds a query or a fragment.
    #[error("it must end with the host or a path, without ? and #")]
    Query,
}

impl ServerUrl {
    /// Whether what is sent there travels unencrypted over a network: plain http to a host that is not loopback.
    #[must_use]
    pub fn is_in_the_clear(&self) -> bool {
        self.0.scheme() == "http" && !self.is_loopback()
    }

    /// Whether the host is this machine: `localhost` or a loopback address.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        let host = self.0.host_str().unwrap_or_default();
        let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        address.map_or(host == "localhost" || host.ends_with(".localhost"), |address| address.is_loopback())
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
        let text = text.trim();
        if !text.contains("://") {
            return Err(ServerUrlError::Scheme);
        }
        let mut url = Url::parse(text).map_err(|_| ServerUrlError::Malformed)?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(ServerUrlError::Scheme);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(ServerUrlError::Credentials);
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(ServerUrlError::Query);
        }
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
    fn refuses_what_is_no_server() {
        assert_eq!(parse("gate.example.org:8080"), Err(ServerUrlError::Scheme));
        assert_eq!(parse("ftp://h"), Err(ServerUrlError::Scheme));
        assert_eq!(parse("https://"), Err(ServerUrlError::Malformed));
        assert_eq!(parse("https://u:p@h"), Err(ServerUrlError::Credentials));
        assert_eq!(parse("https://h/?x=1"), Err(ServerUrlError::Query));
        assert_eq!(parse("https://h/#x"), Err(ServerUrlError::Query));
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
