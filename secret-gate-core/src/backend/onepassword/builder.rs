//! How a connection to 1Password Connect is set up.

use std::fmt;
use std::time::Duration;

use super::OnePassword;
use super::call::{Connection, authorization};
use super::error::OnePasswordError;
use super::patience::Patience;
use super::route::without_version;
use crate::{SecretValue, http};

/// Settings of an [`OnePassword`] that is to be built; from [`OnePassword::builder`].
pub struct OnePasswordBuilder {
    host: String,
    token: SecretValue,
    authorities: Vec<Vec<u8>>,
    connect_timeout: Duration,
    patience: Patience,
}

impl OnePasswordBuilder {
    pub(super) fn new(host: String, token: SecretValue) -> Self {
        let connect_timeout = Duration::from_secs(5);
        Self { host, token, authorities: Vec::new(), connect_timeout, patience: Patience::default() }
    }

    /// Also trusts the certificate authorities in `pem`, beside those that browsers trust. May be called several times.
    #[must_use]
    pub fn ca_certificate(mut self, pem: Vec<u8>) -> Self {
        self.authorities.push(pem);
        self
    }

    /// How long one attempt may take, with connecting and reading the whole answer; 10 seconds unless told.
    #[must_use]
    pub const fn timeout(mut self, per_attempt: Duration) -> Self {
        self.patience.per_attempt = per_attempt;
        self
    }

    /// How long connecting may take within an attempt; 5 seconds unless told.
    #[must_use]
    pub const fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How long a call may take in all, with every attempt and the pauses between; 30 seconds unless told.
    #[must_use]
    pub const fn total_timeout(mut self, in_all: Duration) -> Self {
        self.patience.in_all = in_all;
        self
    }

    /// How often a call is tried when something fails that may pass; 3 times unless told, and at least once. One more
    /// attempt is made after a first refusal of the token.
    #[must_use]
    pub const fn max_attempts(mut self, attempts: u32) -> Self {
        self.patience.attempts = attempts;
        self
    }

    /// The longest pause before the second attempt; 250 milliseconds unless told. It doubles with every attempt, up to
    /// 5 seconds, and each pause is shortened at random by up to a half. A server's `Retry-After` (seconds) goes first.
    #[must_use]
    pub const fn first_pause(mut self, pause: Duration) -> Self {
        self.patience.first_pause = pause;
        self
    }

    /// Checks the settings and makes the client; talks to nobody yet.
    ///
    /// # Errors
    /// When the host is no plain `http` or `https` URL, the token is not one line of printable ASCII, or a certificate
    /// can't be used. No message quotes host or token.
    pub fn build(self) -> Result<OnePassword, OnePasswordError> {
        let Self { host, token, authorities, connect_timeout, patience } = self;
        let base = without_version(http::parse_address(&host)?);
        check_token(token.expose()).map_err(|problem| OnePasswordError::Token { problem })?;
        let authorization =
            authorization(&token).ok_or(OnePasswordError::Token { problem: "can't stand in an HTTP header" })?;
        let http = http::client(&base, &authorities, connect_timeout)?;
        Ok(OnePassword { connection: Connection { http, base, authorization, patience } })
    }
}

impl fmt::Debug for OnePasswordBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // the host was not checked yet and may hold a password
        let Self { host: _, token: _, authorities, connect_timeout, patience } = self;
        f.debug_struct("OnePasswordBuilder")
            .field("authorities", &authorities.len())
            .field("connect_timeout", connect_timeout)
            .field("patience", patience)
            .finish_non_exhaustive()
    }
}

fn check_token(token: &str) -> Result<(), &'static str> {
    if token.is_empty() {
        return Err("is empty");
    }
    if token.contains(['\n', '\r']) {
        return Err("contains a line break");
    }
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("contains a space or a character outside of ASCII");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build(host: &str, token: &str) -> Result<OnePassword, OnePasswordError> {
        OnePassword::builder(host, SecretValue::from(token)).build()
    }

    #[test]
    fn tokens_that_no_header_carries() {
        for (token, problem) in [
            ("", "is empty"),
            ("eyJ.planted-token\n", "a line break"),
            ("eyJ\r\nX-Evil: planted-token", "a line break"),
            ("eyJ planted-token", "a space"),
            ("planted-tokän", "outside of ASCII"),
            ("planted-token\0", "outside of ASCII"),
        ] {
            let error = build("http://op:8080", token).unwrap_err();
            let shown = format!("{error} {error:?}");
            assert!(shown.contains(problem) && shown.contains("on one line"), "{shown}");
            assert!(!shown.contains("planted"), "{shown}");
        }
    }

    #[test]
    fn hosts_that_are_none() {
        for host in
            ["connect.example.com", "localhost:8080", "ftp://x", "http://planted:secret@x", "http://x?planted=1"]
        {
            let error = build(host, "token").unwrap_err();
            let shown = format!("{error} {error:?}");
            assert!(matches!(error, OnePasswordError::Host { .. }), "{shown}");
            assert!(shown.contains("https://connect.example.com") && !shown.contains("planted"), "{shown}");
        }
    }

    #[test]
    fn shows_the_host_and_never_the_token() {
        let builder = OnePassword::builder("http://op:8080/v1/", SecretValue::from("planted-token"));
        let before = format!("{builder:?} {builder:#?}");
        let backend = builder.build().unwrap();
        assert_eq!(backend.to_string(), "1Password Connect at http://op:8080");
        for shown in [before, format!("{backend:?} {backend:#?}")] {
            assert!(!shown.contains("planted"), "{shown}");
        }
    }

    #[test]
    fn certificates_that_are_none() {
        let builder = OnePassword::builder("https://op", SecretValue::from("token"));
        let error = builder.ca_certificate(b"not a certificate".to_vec()).build().unwrap_err();
        assert!(matches!(error, OnePasswordError::Certificate { .. }));
    }
}
