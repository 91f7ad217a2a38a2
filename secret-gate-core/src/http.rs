//! HTTP clients whose TLS needs nothing from outside: no process-wide provider, no CA files of the machine.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

/// Why TLS can't be set up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    /// The private CA's text holds no certificate that can be read.
    #[error("no PEM certificate found in it")]
    NoCertificate,
    /// The parts don't go together.
    #[error("TLS can't be set up")]
    Setup(#[from] rustls::Error),
}

/// A client builder that trusts the well-known roots and the PEM certificates of `private_ca`, and follows no redirect.
pub(crate) fn client_builder(private_ca: Option<&[u8]>) -> Result<reqwest::ClientBuilder, TlsError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().cloned());
    if let Some(pem) = private_ca {
        let certificates = CertificateDer::pem_slice_iter(pem).flatten();
        let (added, _) = roots.add_parsable_certificates(certificates);
        if added == 0 {
            return Err(TlsError::NoCertificate);
        }
    }
    let mut tls = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .redirect(reqwest::redirect::Policy::none())
        .referer(false))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn builds_without_a_process_wide_provider() {
        assert!(client_builder(None).unwrap().build().is_ok());
    }

    #[test]
    fn refuses_a_private_ca_without_certificates() {
        for pem in ["", "not PEM", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            assert!(matches!(client_builder(Some(pem.as_bytes())), Err(TlsError::NoCertificate)), "{pem}");
        }
    }
}
