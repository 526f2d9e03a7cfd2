//! Row 24: with a certificate that does not verify no request is sent and the destination pauses.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

// The scripted server has more steps than these tests use.
mod support;

use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use support::Server;
use tempfile::TempDir;
use tokio::net::TcpListener;
use upstream::{
    Action, Class, ClientCertificate, Config, Failure, Reason, Request, Stack, Tls, stack,
};

const BUNDLE: &str = r#"{"resourceType":"Bundle","type":"transaction"}"#;

/// A certificate authority of the test's own.
struct Authority {
    certificate: rcgen::Certificate,
    issuer: Issuer<'static, KeyPair>,
}

struct Leaf {
    certificate: rcgen::Certificate,
    key: KeyPair,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Self {
            certificate,
            issuer: Issuer::new(params, key),
        }
    }

    fn issue(&self, name: &str, days: i64) -> Leaf {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let now = std::time::SystemTime::now();
        let day = std::time::Duration::from_secs(24 * 3600);
        params.not_before = (now - 30 * day).into();
        let end = if days < 0 { now - day } else { now + day };
        params.not_after = end.into();
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Leaf { certificate, key }
    }

    fn file(&self, folder: &TempDir, name: &str) -> PathBuf {
        let path = folder.path().join(name);
        std::fs::write(&path, self.certificate.pem()).unwrap();
        path
    }
}

/// A server with this certificate; with `clients`, it wants a client certificate of that authority.
async fn serve(leaf: &Leaf, clients: Option<&Authority>) -> Server {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = match clients {
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(authority.certificate.der().clone()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .build()
                .unwrap();
            builder.with_client_cert_verifier(verifier)
        }
        None => builder.with_no_client_auth(),
    };
    let key = PrivateKeyDer::Pkcs8(leaf.key.serialize_der().into());
    let config = builder
        .with_single_cert(vec![leaf.certificate.der().clone()], key)
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    Server::on(listener, Some(Arc::new(config).into()), [])
}

fn to(server: &Server, tls: Tls) -> Stack {
    let config = Config {
        tls,
        ..Config::new(format!("https://localhost:{}/fhir", server.address.port()))
    };
    stack(&config, Arc::new(())).unwrap()
}

async fn refused(stack: &Stack, server: &Server) -> Failure {
    let failure = stack
        .deliver(Request::transaction(BUNDLE))
        .await
        .unwrap_err();
    assert_eq!(failure.class, Class::Config, "{failure}");
    assert!(matches!(failure.action(), Action::PauseDestination { .. }));
    assert_eq!(stack.state().borrow().reason(), Some(Reason::Config));
    assert_eq!(server.count(), 0, "no request was sent");
    failure
}

#[tokio::test]
async fn trusted_by_a_ca_file() {
    let folder = TempDir::new().unwrap();
    let authority = Authority::new("one");
    let server = serve(&authority.issue("localhost", 1), None).await;
    let tls = Tls {
        ca_file: Some(authority.file(&folder, "ca.pem")),
        ..Tls::default()
    };
    to(&server, tls)
        .deliver(Request::transaction(BUNDLE))
        .await
        .unwrap();
    assert_eq!(server.count(), 1);
}

#[tokio::test]
async fn a_certificate_that_does_not_verify() {
    let folder = TempDir::new().unwrap();
    let (authority, other) = (Authority::new("one"), Authority::new("other"));
    for (leaf, trusted, what) in [
        (authority.issue("localhost", 1), &other, "UnknownIssuer"),
        (
            authority.issue("elsewhere.example", 1),
            &authority,
            "not valid for name",
        ),
        (authority.issue("localhost", -1), &authority, "expired"),
    ] {
        let server = serve(&leaf, None).await;
        let tls = Tls {
            ca_file: Some(trusted.file(&folder, "ca.pem")),
            ..Tls::default()
        };
        let failure = refused(&to(&server, tls), &server).await;
        assert!(failure.detail.contains(what), "{}", failure.detail);
    }
}

#[tokio::test]
async fn the_platform_does_not_trust_our_authority() {
    let server = serve(&Authority::new("one").issue("localhost", 1), None).await;
    // A machine without any roots refuses already when the stack is built, which is as good.
    let config = Config::new(format!("https://localhost:{}/fhir", server.address.port()));
    if let Ok(stack) = stack(&config, Arc::new(())) {
        refused(&stack, &server).await;
    }
    assert_eq!(server.count(), 0);
}

#[tokio::test]
async fn a_client_certificate_is_shown_when_there_is_one() {
    let folder = TempDir::new().unwrap();
    let authority = Authority::new("one");
    let server = serve(&authority.issue("localhost", 1), Some(&authority)).await;
    let ca_file = Some(authority.file(&folder, "ca.pem"));
    let without = Tls {
        ca_file: ca_file.clone(),
        client_certificate: None,
    };
    refused(&to(&server, without), &server).await;

    let leaf = authority.issue("gateway.example", 1);
    let (chain_file, key_file) = (
        folder.path().join("chain.pem"),
        folder.path().join("key.pem"),
    );
    std::fs::write(&chain_file, leaf.certificate.pem()).unwrap();
    std::fs::write(&key_file, leaf.key.serialize_pem()).unwrap();
    let with = Tls {
        ca_file,
        client_certificate: Some(ClientCertificate {
            chain_file,
            key_file,
        }),
    };
    to(&server, with)
        .deliver(Request::transaction(BUNDLE))
        .await
        .unwrap();
}

#[tokio::test]
async fn plain_http_on_the_other_side() {
    let folder = TempDir::new().unwrap();
    let server = Server::start([]).await;
    let tls = Tls {
        ca_file: Some(Authority::new("one").file(&folder, "ca.pem")),
        ..Tls::default()
    };
    refused(&to(&server, tls), &server).await;
}

#[test]
fn files_that_are_no_good() {
    let folder = TempDir::new().unwrap();
    let empty = folder.path().join("empty.pem");
    std::fs::write(&empty, "").unwrap();
    for ca_file in [empty, folder.path().join("missing.pem")] {
        let config = Config {
            tls: Tls {
                ca_file: Some(ca_file),
                ..Tls::default()
            },
            ..Config::new("https://fhir.example")
        };
        assert!(stack(&config, Arc::new(())).is_err());
    }
}
