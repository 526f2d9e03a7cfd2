//! Who may connect, and who may speak for whom (2.1, item 6): addresses, client certificates, revocation, renewal.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

#[path = "support/authority.rs"]
mod authority;
mod support;

use std::{path::Path, time::Duration};

use authority::Authority;
use bytes::Bytes;
use mllp::{Client, ClientOptions, ClientTls, ClientTlsFiles};
use serde_json::json;
use support::{Ack, FhirServer, FhirwayTest, Gateway, eventually, results};

const TIME: Duration = Duration::from_secs(10);

/// A message of this application and facility.
fn from(application: &str, facility: &str, control_id: &str) -> String {
    format!(
        "MSH|^~\\&|{application}|{facility}|FHIRWAY|SITE|20260102030405+0000||ADT^A08^ADT_A01|{control_id}|P|2.5.1\r\
         EVN|A08|20260102030405+0000\rPID|1||P1^^^NORTHLAB||Ashgrove^Cosima\r"
    )
}

/// Sends over TLS with a certificate of `folder`; the ACK code and ERR-3.
async fn exchange(
    gateway: &Gateway,
    folder: &Path,
    certificate: &str,
    message: String,
) -> Result<(String, String), String> {
    let files = ClientTlsFiles {
        ca: Some(folder.join("ca.pem")),
        certificate: Some((
            folder.join(format!("{certificate}.pem")),
            folder.join(format!("{certificate}.key")),
        )),
        server_name: Some("gateway.example".to_owned()),
    };
    let tls = ClientTls::load(&files).map_err(|error| error.to_string())?;
    let address = gateway.address("lab").to_string();
    let options = ClientOptions {
        tls: Some(tls),
        ..ClientOptions::default()
    };
    let mut client = Client::connect(address, options)
        .await
        .map_err(|error| error.to_string())?;
    let answer = client
        .exchange(&Bytes::from(message), TIME)
        .await
        .map_err(|error| error.to_string())?;
    let ack = Ack(answer.to_vec());
    let error = ack.field("ERR", 3);
    let error = error.split('^').next().unwrap_or_default().to_owned();
    Ok((ack.code(), error))
}

async fn gateway(server: &FhirServer, folder: &Path, ca: &Authority) -> Gateway {
    ca.write(&folder.join("ca.pem"));
    ca.issue_numbered("gateway.example", folder, "server", 1);
    ca.issue_numbered("analyzer.example", folder, "analyzer", 7);
    ca.issue_numbered("other.example", folder, "other", 8);
    ca.revoke(99, &folder.join("crl.pem"));
    let file = |name: &str| folder.join(name).display().to_string();
    FhirwayTest::new()
        .destination("fhir", server)
        .set(
            "listeners.lab.tls",
            json!({
                "certificate": file("server.pem"),
                "key": file("server.key"),
                "client_ca": file("ca.pem"),
                "client_crls": [file("crl.pem")],
                "reload": "100ms",
            }),
        )
        .set(
            "listeners.lab.senders",
            json!({
                "analyzer": {"certificate": "analyzer.example", "applications": ["ANALYZER"], "facilities": ["NORTHLAB"]},
                "other": {"certificate": "other.example", "facilities": ["SOUTHLAB"]},
            }),
        )
        .start()
        .await
}

/// A certificate proves who somebody is; that says nothing yet about for whom they may speak.
#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_speaks_only_for_its_own_senders() {
    let (server, folder, ca) = (
        FhirServer::start().await,
        tempfile::tempdir().unwrap(),
        Authority::new(),
    );
    let folder = folder.path();
    let gateway = gateway(&server, folder, &ca).await;
    for (row, (certificate, application, facility, expected)) in [
        ("analyzer", "ANALYZER", "NORTHLAB", ("AA", "")),
        (
            "analyzer",
            "ANALYZER^2.999^ISO",
            "NORTHLAB^2.999^ISO",
            ("AA", ""),
        ),
        ("analyzer", "OTHER", "NORTHLAB", ("AR", "204")),
        ("analyzer", "ANALYZER", "SOUTHLAB", ("AR", "204")),
        ("analyzer", "", "", ("AR", "204")),
        ("other", "ANYTHING", "SOUTHLAB", ("AA", "")),
        ("other", "ANALYZER", "NORTHLAB", ("AR", "204")),
    ]
    .into_iter()
    .enumerate()
    {
        let message = from(application, facility, &format!("S{row}"));
        let (code, error) = exchange(&gateway, folder, certificate, message)
            .await
            .unwrap();
        assert_eq!((code.as_str(), error.as_str()), expected, "row {row}");
    }
    gateway.drained().await;
    assert_eq!(gateway.counts("total")["accepted"], 3);
    assert_eq!(
        gateway
            .metric("fhirway_parse_errors_total{listener=\"lab\",reason=\"foreign_sender\"}")
            .await,
        4.0
    );
}

/// Files that change are read again; files that cannot be used change nothing.
#[tokio::test(flavor = "multi_thread")]
async fn renewed_and_revoked_certificates_count_without_a_restart() {
    let (server, folder, ca) = (
        FhirServer::start().await,
        tempfile::tempdir().unwrap(),
        Authority::new(),
    );
    let folder = folder.path();
    let gateway = gateway(&server, folder, &ca).await;
    let send = async |id: &str| {
        let message = from("ANALYZER", "NORTHLAB", id);
        exchange(&gateway, folder, "analyzer", message).await
    };
    assert_eq!(send("R1").await.unwrap().0, "AA");

    std::fs::write(folder.join("crl.pem"), "no list").unwrap();
    eventually("the mistake is told", async || {
        gateway.log().contains("certificate_unusable").then_some(())
    })
    .await;
    assert_eq!(send("R2").await.unwrap().0, "AA");

    ca.revoke(7, &folder.join("crl.pem"));
    eventually("the revoked certificate is refused", async || {
        send("R3").await.is_err().then_some(())
    })
    .await;

    ca.issue_numbered("analyzer.example", folder, "analyzer", 9);
    assert_eq!(send("R4").await.unwrap().0, "AA");

    // A new server certificate, of an authority that the clients do not know: the old one is gone at once.
    Authority::new().issue("gateway.example", folder, "server");
    eventually("the new certificate is shown", async || {
        send("R5").await.is_err().then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_listed_addresses_connect() {
    let server = FhirServer::start().await;
    for (allow, lets_in) in [
        (json!(["127.0.0.0/8"]), true),
        (json!(["::1", "127.0.0.1"]), true),
        (json!(["10.0.0.0/8", "192.168.7.1"]), false),
    ] {
        let gateway = FhirwayTest::new()
            .destination("fhir", &server)
            .set("listeners.lab.allow", allow)
            .start()
            .await;
        let mut client = gateway.connect().await;
        let sent = client.try_exchange(results("A1", "P1")).await;
        assert_eq!(sent.is_ok(), lets_in);
        let rejected =
            "fhirway_mllp_connections_rejected_total{listener=\"lab\",reason=\"not_allowed\"}";
        let count = gateway.metric(rejected).await;
        assert_eq!(count, if lets_in { 0.0 } else { 1.0 });
    }
}
