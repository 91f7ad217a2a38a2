//! The HTTP client that everything here uses which speaks HTTP to one known server.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::{Client, Url};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use zeroize::{Zeroize, Zeroizing};

use crate::net::may_use_proxy;

/// Why the address of a server can't be used. It does not quote the text, which may hold a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AddressError {
    #[error("does not start with http:// or https://")]
    Scheme,
    #[error("is not a URL")]
    Malformed,
    #[error("contains a user name or password")]
    UserInfo,
    #[error("contains a ? or #")]
    Query,
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    #[error("there is no certificate in PEM form in it")]
    NoCertificate,
    #[error("a certificate in it can't be read")]
    BadCertificate,
    #[error("the HTTP client can't be built")]
    Build(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Reads the address of a server, so that its path ends with a slash and further segments can be joined.
pub(crate) fn parse_address(text: &str) -> Result<Url, AddressError> {
    let text = text.trim();
    let mut url = Url::parse(text).map_err(|_| match text.contains("://") {
        true => AddressError::Malformed,
        false => AddressError::Scheme,
    })?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(AddressError::Scheme);
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(AddressError::UserInfo);
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(AddressError::Query);
    }
    if !url.path().ends_with('/') {
        url.set_path(&format!("{}/", url.path()));
    }
    Ok(url)
}

/// Builds a client for the server at `address`, which also trusts the authorities in `authorities` (PEM).
///
/// It needs no TLS provider of the process and no certificate files of the system: it trusts Mozilla's list, as compiled
/// in. It follows no redirect, which could lead to another server with our credentials, and repeats no request. Proxies
/// named by the environment (`HTTPS_PROXY`, `NO_PROXY`) are used for `https` to other machines only: over plain `http`
/// a proxy would read the credentials, and what is on this machine needs none.
pub(crate) fn client(address: &Url, authorities: &[Vec<u8>], connect_timeout: Duration) -> Result<Client, ClientError> {
    let builder = Client::builder()
        .tls_backend_preconfigured(tls(authorities)?)
        .user_agent(concat!("secret-gate/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .connect_timeout(connect_timeout);
    let builder = if may_use_proxy(address.scheme(), address.host_str()) { builder } else { builder.no_proxy() };
    builder.build().map_err(|error| ClientError::Build(error.without_url().into()))
}

fn tls(authorities: &[Vec<u8>]) -> Result<ClientConfig, ClientError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().cloned());
    for pem in authorities {
        let before = roots.len();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|_| ClientError::BadCertificate)?;
            roots.add(certificate).map_err(|_| ClientError::BadCertificate)?;
        }
        if roots.len() == before {
            return Err(ClientError::NoCertificate);
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| ClientError::Build(error.into()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// Moves a piece of an answer into memory that is wiped, and leaves no copy of it behind: not in the piece, nor where the
/// answer stood before it grew. What the HTTP and TLS layers keep in buffers of their own is out of reach.
pub(crate) fn move_into(body: &mut Zeroizing<Vec<u8>>, piece: Bytes) {
    let needed = body.len() + piece.len();
    if needed > body.capacity() {
        let mut larger = Zeroizing::new(Vec::with_capacity(needed.max(body.capacity() * 2)));
        larger.extend_from_slice(body);
        *body = larger;
    }
    body.extend_from_slice(&piece);
    drop(wiped(piece));
}

/// The piece's memory, zeroed; none where somebody else holds on to it.
fn wiped(piece: Bytes) -> Option<BytesMut> {
    let mut memory = piece.try_into_mut().ok()?;
    BytesMut::as_mut(&mut memory).zeroize();
    Some(memory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_grows_whole_and_its_pieces_are_wiped() {
        let mut body = Zeroizing::new(Vec::new());
        let text: Vec<u8> = (0..=255).cycle().take(100_000).collect();
        for piece in text.chunks(777) {
            move_into(&mut body, Bytes::copy_from_slice(piece));
        }
        assert_eq!(*body, text);

        let memory = wiped(Bytes::copy_from_slice(b"s3cret")).unwrap();
        assert_eq!(memory.as_ref(), [0; 6]);
        let piece = Bytes::copy_from_slice(b"s3cret");
        assert!(wiped(piece.clone()).is_none() && piece == b"s3cret"[..]);
    }

    fn address(text: &str) -> Result<String, AddressError> {
        parse_address(text).map(String::from)
    }

    #[test]
    fn addresses() {
        assert_eq!(address("http://localhost:8080").unwrap(), "http://localhost:8080/");
        assert_eq!(address(" https://Example.com/gate\n").unwrap(), "https://example.com/gate/");
        assert_eq!(address("https://example.com/gate/").unwrap(), "https://example.com/gate/");
        for (text, problem) in [
            ("", AddressError::Scheme),
            ("example.com", AddressError::Scheme),
            ("localhost:8080", AddressError::Scheme),
            ("ftp://example.com", AddressError::Scheme),
            ("http://", AddressError::Malformed),
            ("http://exa mple.com", AddressError::Malformed),
            ("http://user@example.com", AddressError::UserInfo),
            ("http://:word@example.com", AddressError::UserInfo),
            ("http://example.com?x=1", AddressError::Query),
            ("http://example.com/#top", AddressError::Query),
        ] {
            assert_eq!(address(text), Err(problem), "{text}");
        }
    }

    #[test]
    fn loopback() {
        for (text, expected) in [
            ("http://localhost:1", true),
            ("http://127.1.2.3", true),
            ("http://[::1]:8080", true),
            ("http://example.com", false),
            ("http://10.0.0.1", false),
        ] {
            assert_eq!(crate::net::is_loopback(parse_address(text).unwrap().host_str()), expected, "{text}");
        }
    }

    #[test]
    fn authorities_that_are_none() {
        let url = parse_address("https://example.com").unwrap();
        let built = |pem: &str| client(&url, &[pem.as_bytes().to_vec()], Duration::from_secs(1)).map(drop);
        assert!(matches!(built("hello"), Err(ClientError::NoCertificate)));
        let not_a_certificate = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(matches!(built(not_a_certificate), Err(ClientError::BadCertificate)));
    }
}
