//! Connect behind TLS with a private authority.

use rustls::crypto::CryptoProvider;
use secret_gate_core::{SecretBackend, Vault};

use super::tls::TlsFront;
use super::{Fixture, builder, unavailable};

#[tokio::test]
async fn a_private_authority() {
    let Fixture { connect, vault, .. } = Fixture::start().await;
    let front = TlsFront::start(&connect.url()).await;
    let trusting = builder(&front.url(), &connect.token()).ca_certificate(front.authority()).build().unwrap();
    assert_eq!(trusting.vaults().await.unwrap(), [Vault::new(vault, "infra")]);
    assert_eq!(connect.calls().len(), 1);
    assert!(CryptoProvider::get_default().is_none(), "the process has chosen no provider and needs none");
}

#[tokio::test]
async fn an_authority_that_nobody_named() {
    let Fixture { connect, .. } = Fixture::start().await;
    let front = TlsFront::start(&connect.url()).await;
    let other = TlsFront::start(&connect.url()).await;
    for builder in [
        builder(&front.url(), &connect.token()),
        builder(&front.url(), &connect.token()).ca_certificate(other.authority()),
        builder(&front.url().replace("localhost", "127.0.0.1"), &connect.token()).ca_certificate(front.authority()),
    ] {
        let message = unavailable(builder.build().unwrap().vaults().await);
        assert!(message.contains("no secure connection") && message.contains("CA's certificate"), "{message}");
        assert!(message.contains("attempts: 1"), "{message}");
    }
    assert_eq!(connect.calls().len(), 0);
}

#[tokio::test]
async fn https_where_plain_http_is_spoken() {
    let Fixture { connect, .. } = Fixture::start().await;
    let url = connect.url().replace("http://", "https://");
    let message = unavailable(builder(&url, &connect.token()).build().unwrap().vaults().await);
    assert!(message.contains("no secure connection"), "{message}");
}
