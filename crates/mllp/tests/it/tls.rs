//! TLS and mutual TLS, from files, with reload.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use mllp::{
    Client, ClientAuth, ClientError, ClientOptions, ClientTls, ClientTlsFiles, CloseReason,
    ServerTls, ServerTlsFiles, TlsError, TlsFailure,
};

use crate::{
    certificates::{Ca, Pair},
    support::*,
};

fn files(server: &Pair) -> ServerTlsFiles {
    ServerTlsFiles {
        certificate: server.certificate.clone(),
        key: server.key.clone(),
        ..ServerTlsFiles::default()
    }
}

async fn start(files: ServerTlsFiles) -> (Running, Arc<ServerTls>) {
    let tls = ServerTls::load(files).unwrap();
    let limits =
        limits(|l| (l.handshake_time, l.connections_per_peer) = (Duration::from_secs(3), 64));
    (
        Running::start(server().limits(limits).tls(Arc::clone(&tls))).await,
        tls,
    )
}

/// Connects by TLS, trusting `ca`, and exchanges one message.
async fn exchange(running: &Running, ca: &Ca, own: Option<&Pair>) -> Result<(), ClientError> {
    let tls = ClientTls::load(&ClientTlsFiles {
        ca: Some(ca.file()),
        certificate: own.map(|pair| (pair.certificate.clone(), pair.key.clone())),
        server_name: Some("lab.example.org".to_owned()),
    })?;
    let options = ClientOptions {
        tls: Some(tls),
        ..ClientOptions::default()
    };
    let mut client = Client::connect(running.addr.to_string(), options).await?;
    let answer = client.exchange(b"MSH|1\r", PATIENCE).await?;
    assert_eq!(answer, "ok:MSH|1\r");
    client.close().await;
    Ok(())
}

#[tokio::test]
async fn server_certificate_is_shown_and_verified() {
    let (ca, other) = (Ca::new("one"), Ca::new("other"));
    let (running, tls) = start(files(&ca.sign("lab.example.org", 1, 2090))).await;
    exchange(&running, &ca, None).await.unwrap();
    running.seen.wait_closed(CloseReason::PeerClosed).await;
    {
        let frames = running.frames.lock().unwrap();
        assert!(frames[0].peer.encrypted && frames[0].peer.tls.is_none());
    }
    let refused = exchange(&running, &other, None).await;
    assert!(
        matches!(refused, Err(ClientError::Handshake(_))),
        "{refused:?}"
    );
    running
        .seen
        .wait_for(1, |e| *e == Event::TlsFailure(TlsFailure::RefusedByPeer))
        .await;
    let year_2090 = SystemTime::UNIX_EPOCH + Duration::from_secs(3_786_912_000);
    assert_eq!(tls.not_after(), Some(year_2090));
    running.stop().await;
}

#[tokio::test]
async fn client_certificate_is_needed() {
    let (ca, other) = (Ca::new("one"), Ca::new("other"));
    let (running, _) = start(ServerTlsFiles {
        client_auth: ClientAuth::Need,
        client_ca: Some(ca.file()),
        ..files(&ca.sign("lab.example.org", 1, 2090))
    })
    .await;
    exchange(&running, &ca, None).await.unwrap_err();
    running
        .seen
        .wait_for(1, |e| {
            *e == Event::TlsFailure(TlsFailure::NoClientCertificate)
        })
        .await;
    exchange(
        &running,
        &ca,
        Some(&other.sign("ward.example.org", 2, 2090)),
    )
    .await
    .unwrap_err();
    running
        .seen
        .wait_for(1, |e| {
            *e == Event::TlsFailure(TlsFailure::BadClientCertificate)
        })
        .await;
    exchange(&running, &ca, Some(&ca.sign("ward.example.org", 3, 2021)))
        .await
        .unwrap_err();
    running
        .seen
        .wait_for(2, |e| {
            *e == Event::TlsFailure(TlsFailure::BadClientCertificate)
        })
        .await;
    assert!(running.payloads().is_empty());

    let ward = ca.sign("ward.example.org", 4, 2090);
    exchange(&running, &ca, Some(&ward)).await.unwrap();
    let facts = running.frames.lock().unwrap()[0]
        .peer
        .tls
        .clone()
        .expect("a certificate");
    assert_eq!(facts.common_name.as_deref(), Some("ward.example.org"));
    assert_eq!(facts.dns_names, ["ward.example.org"]);
    assert!(facts.not_after.is_some());
    assert_eq!(facts.fingerprint_sha256, sha256sum(&ward));
    running.stop().await;
}

/// What openssl and browsers show as the fingerprint, by the tool that every system has.
fn sha256sum(pair: &Pair) -> String {
    use rustls::pki_types::{CertificateDer, pem::PemObject};
    let der = CertificateDer::from_pem_file(&pair.certificate).unwrap();
    let path = pair.certificate.with_extension("der");
    std::fs::write(&path, &der).unwrap();
    let output = std::process::Command::new("sha256sum")
        .arg(&path)
        .output()
        .unwrap();
    String::from_utf8(output.stdout)
        .unwrap()
        .split(' ')
        .next()
        .unwrap()
        .to_owned()
}

#[tokio::test]
async fn client_certificate_is_wanted() {
    let (ca, other) = (Ca::new("one"), Ca::new("other"));
    let (running, _) = start(ServerTlsFiles {
        client_auth: ClientAuth::Want,
        client_ca: Some(ca.file()),
        ..files(&ca.sign("lab.example.org", 1, 2090))
    })
    .await;
    exchange(&running, &ca, None).await.unwrap();
    exchange(&running, &ca, Some(&ca.sign("ward.example.org", 2, 2090)))
        .await
        .unwrap();
    let shown: Vec<bool> = running
        .frames
        .lock()
        .unwrap()
        .iter()
        .map(|f| f.peer.tls.is_some())
        .collect();
    assert_eq!(shown, [false, true]);
    exchange(
        &running,
        &ca,
        Some(&other.sign("ward.example.org", 3, 2090)),
    )
    .await
    .unwrap_err();
    running.stop().await;
}

#[tokio::test]
async fn revoked_client_certificate_is_refused_after_reload() {
    let ca = Ca::new("one");
    let list = ca.revoke(99);
    let (running, tls) = start(ServerTlsFiles {
        client_auth: ClientAuth::Need,
        client_ca: Some(ca.file()),
        client_crls: vec![list],
        ..files(&ca.sign("lab.example.org", 1, 2090))
    })
    .await;
    let ward = ca.sign("ward.example.org", 2, 2090);
    exchange(&running, &ca, Some(&ward)).await.unwrap();
    ca.revoke(2);
    tls.reload().unwrap();
    exchange(&running, &ca, Some(&ward)).await.unwrap_err();
    running
        .seen
        .wait_for(1, |e| {
            *e == Event::TlsFailure(TlsFailure::BadClientCertificate)
        })
        .await;
    running.stop().await;
}

#[tokio::test]
async fn certificate_is_reloaded_while_connections_stay_and_a_bad_one_changes_nothing() {
    let ca = Ca::new("one");
    let pair = ca.sign("lab.example.org", 1, 2080);
    let (running, tls) = start(files(&pair)).await;
    let client_tls = ClientTls::load(&ClientTlsFiles {
        ca: Some(ca.file()),
        server_name: Some("lab.example.org".to_owned()),
        ..ClientTlsFiles::default()
    });
    let options = ClientOptions {
        tls: Some(client_tls.unwrap()),
        ..ClientOptions::default()
    };
    let mut open = Client::connect(running.addr.to_string(), options)
        .await
        .unwrap();
    open.exchange(b"one", PATIENCE).await.unwrap();
    let before = tls.not_after();

    std::fs::write(&pair.certificate, "-----BEGIN CERTIFICATE-----\nhalf").unwrap();
    assert!(matches!(tls.reload(), Err(TlsError::Pem { path, .. }) if path == pair.certificate));
    assert_eq!(tls.not_after(), before);
    exchange(&running, &ca, None).await.unwrap();

    let new = ca.sign("lab.example.org", 2, 2090);
    std::fs::copy(&new.certificate, &pair.certificate).unwrap();
    std::fs::copy(&new.key, &pair.key).unwrap();
    tls.reload().unwrap();
    assert!(tls.not_after() > before);
    exchange(&running, &ca, None).await.unwrap();
    open.exchange(b"two", PATIENCE).await.unwrap();
    running.stop().await;
}

#[tokio::test]
async fn what_is_not_tls_is_closed_and_counted() {
    let ca = Ca::new("one");
    let (running, _) = start(files(&ca.sign("lab.example.org", 1, 2090))).await;
    let mut plain = running.connect().await;
    plain.send(&framed("MSH|1\r")).await;
    // An alert, and no word of MLLP.
    assert!(!plain.rest().await.contains(&0x0b));
    running
        .seen
        .wait_for(1, |e| *e == Event::TlsFailure(TlsFailure::NotTls))
        .await;
    drop(running.connect().await);
    running
        .seen
        .wait_for(1, |e| *e == Event::TlsFailure(TlsFailure::Disconnected))
        .await;
    let mut silent = running.connect().await;
    silent.rest().await;
    running
        .seen
        .wait_for(1, |e| *e == Event::TlsFailure(TlsFailure::Timeout))
        .await;
    exchange(&running, &ca, None).await.unwrap();
    running.stop().await;
}

#[tokio::test]
async fn half_a_frame_over_tls_is_never_processed() {
    let ca = Ca::new("one");
    let (running, _) = start(files(&ca.sign("lab.example.org", 1, 2090))).await;
    let mut roots = rustls::RootCertStore::empty();
    let ca_der = rustls::pki_types::pem::PemObject::from_pem_file(ca.file()).unwrap();
    roots.add(ca_der).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        // The floor: TLS 1.2 is still spoken.
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let tcp = running.connect().await.0;
    let mut stream = connector
        .connect("lab.example.org".try_into().unwrap(), tcp)
        .await
        .unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut stream, b"\x0bhalf")
        .await
        .unwrap();
    tokio::io::AsyncWriteExt::flush(&mut stream).await.unwrap();
    // Cut without close_notify.
    drop(stream);
    running.seen.wait_closed(CloseReason::FrameError).await;
    assert!(
        running
            .seen
            .events()
            .contains(&Event::Error("truncated", 4)),
        "{:?}",
        running.seen.events()
    );
    assert!(running.payloads().is_empty());
    running.stop().await;
}

#[test]
fn errors_name_the_file_and_what_is_wrong() {
    let ca = Ca::new("one");
    let good = ca.sign("lab.example.org", 1, 2090);
    let other = ca.sign("other.example.org", 2, 2090);
    let empty = ca.write("empty.pem", String::new());
    let broken = ca.write(
        "broken.pem",
        "-----BEGIN PRIVATE KEY-----\nCANARY*\n-----END PRIVATE KEY-----\n".to_owned(),
    );
    let junk = ca.write(
        "junk.pem",
        "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n".to_owned(),
    );
    let error = |change: &dyn Fn(&mut ServerTlsFiles)| {
        let mut files = files(&good);
        change(&mut files);
        ServerTls::load(files).unwrap_err()
    };

    let missing = error(&|f| f.certificate = ca.path().join("nowhere.pem"));
    assert!(
        matches!(&missing, TlsError::Read { .. }) && missing.to_string().contains("nowhere.pem")
    );
    let no_certificate = error(&|f| f.certificate = empty.clone());
    assert!(
        no_certificate
            .to_string()
            .ends_with("empty.pem holds no certificate"),
        "{no_certificate}"
    );
    let no_key = error(&|f| f.key = good.certificate.clone());
    assert!(
        no_key.to_string().contains("holds no private key"),
        "{no_key}"
    );
    let not_base64 = error(&|f| f.key = broken.clone());
    assert!(
        not_base64
            .to_string()
            .contains("broken.pem is not valid pem"),
        "{not_base64}"
    );
    assert!(!format!("{not_base64:?}").contains("CANARY"));
    let bad_key = error(&|f| f.key = junk.clone());
    assert!(matches!(&bad_key, TlsError::Key { .. }), "{bad_key:?}");
    let mismatch = error(&|f| f.key = other.key.clone());
    assert!(
        matches!(&mismatch, TlsError::Mismatch { .. }),
        "{mismatch:?}"
    );
    let no_ca = error(&|f| f.client_auth = ClientAuth::Need);
    assert!(matches!(&no_ca, TlsError::NoClientCa), "{no_ca:?}");
    let no_crl = error(&|f| {
        f.client_auth = ClientAuth::Need;
        f.client_ca = Some(ca.file());
        f.client_crls = vec![empty.clone()];
    });
    assert!(
        no_crl
            .to_string()
            .ends_with("empty.pem holds no revocation list"),
        "{no_crl}"
    );

    let name = ClientTls::load(&ClientTlsFiles {
        ca: Some(ca.file()),
        server_name: Some("not a name".to_owned()),
        ..ClientTlsFiles::default()
    });
    assert!(matches!(name, Err(TlsError::ServerName { .. })));
}
