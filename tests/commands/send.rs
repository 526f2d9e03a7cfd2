//! `fhirway send`: statistics, errors, TLS.

use std::path::Path;

use serde_json::json;

use crate::{
    support::{Command, FhirServer, FhirwayTest, Gateway, results, update},
    write,
};

async fn gateway(server: &FhirServer) -> Gateway {
    FhirwayTest::new()
        .destination("fhir", server)
        .set("routes.lab.when", json!("MSH-9.1 = ADT"))
        .set("listeners.lab.unrouted", json!("reject"))
        .start()
        .await
}

fn send(gateway: &Gateway, arguments: &[&str]) -> Command {
    let to = gateway.address("lab").to_string();
    Command::new(["send", "--to"])
        .arg(to)
        .args(arguments)
        .folder(gateway.folder())
}

#[tokio::test(flavor = "multi_thread")]
async fn it_counts_what_comes_back() {
    let server = FhirServer::start().await;
    let gateway = gateway(&server).await;
    for n in 0..40 {
        let text = update(&format!("S{n}"), &format!("P{n}"), "Cosima");
        write(gateway.folder(), &format!("feed/{n:02}.hl7"), text);
    }
    let ran = send(&gateway, &["feed"]).run().expect(0);
    assert!(ran.stdout.starts_with("40 messages in "), "{}", ran.stdout);
    assert!(
        ran.stdout.contains(": AA 40\n") && ran.stdout.contains("(p99)"),
        "{}",
        ran.stdout
    );
    server.has_stored(40).await;
    let expected: Vec<String> = (0..40).map(|n| format!("S{n}")).collect();
    assert_eq!(server.stored(), expected.iter().cloned().collect());

    let load = [
        "--connections",
        "4",
        "--repeat",
        "3",
        "--format",
        "json",
        "feed",
    ];
    let found = send(&gateway, &load).run().expect(0).json();
    assert_eq!(
        (&found["messages"], &found["positive"]),
        (&json!(120), &json!(120))
    );
    assert_eq!(found["answers"], json!({ "AA": 120 }));
    assert!(found["ack_ms"]["p50"].as_f64().unwrap() > 0.0);
    assert_eq!(
        gateway.counts("total")["accepted"],
        40,
        "all were sent before"
    );

    // Messages that are refused: counted by code, exit code 1.
    write(
        gateway.folder(),
        "feed/99.hl7",
        [results("R1", "P1"), update("S99", "P1", "Cosima")].concat(),
    );
    let found = send(&gateway, &["--format", "json", "feed"])
        .run()
        .expect(1)
        .json();
    assert_eq!(found["answers"], json!({ "AA": 41, "AR": 1 }));
    assert_eq!(found["negative_or_missing"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_says_what_is_wrong() {
    let server = FhirServer::start().await;
    let mut gateway = gateway(&server).await;
    write(gateway.folder(), "one.hl7", update("S1", "P1", "Cosima"));
    let wrong = send(&gateway, &["--rate", "0", "one.hl7"]).run().expect(2);
    assert!(wrong.stderr.contains("must be greater than 0"), "{wrong:?}");
    let wrong = send(&gateway, &["nowhere"]).run().expect(2);
    assert!(
        wrong.stderr.contains("there is no file or folder nowhere"),
        "{wrong:?}"
    );
    let paced = send(&gateway, &["--rate", "500", "-"])
        .input(update("S2", "P1", "Cosima"))
        .run()
        .expect(0);
    assert!(paced.stdout.contains("AA 1"), "{paced:?}");
    gateway.stop().await;
    let ran = send(&gateway, &["one.hl7"]).run().expect(1);
    assert!(
        ran.stderr.contains("cannot connect to 127.0.0.1:"),
        "{ran:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn mutual_tls_from_end_to_end() {
    let server = FhirServer::start().await;
    let test = FhirwayTest::new().destination("fhir", &server);
    let folder = test.folder().to_owned();
    certificates(&folder);
    let gateway = test
        .set(
            "listeners.lab.tls",
            json!({
                "certificate": folder.join("server.pem"),
                "key": folder.join("server.key"),
                "client_ca": folder.join("ca.pem"),
            }),
        )
        .start()
        .await;
    write(&folder, "one.hl7", update("T1", "P1", "Cosima"));
    let tls = ["--tls", "--ca", "ca.pem", "--server-name", "localhost"];
    let me = ["--cert", "client.pem", "--key", "client.key"];
    let whole = [&tls[..], &me[..], &["one.hl7"]].concat();
    let ran = send(&gateway, &whole).run().expect(0);
    assert!(ran.stdout.contains("AA 1"), "{ran:?}");
    send(&gateway, &[&tls[..], &["one.hl7"]].concat())
        .run()
        .expect(1);
    send(&gateway, &["one.hl7"]).run().expect(1);
    gateway.drained().await;
    assert_eq!(server.effects(), ["T1"]);
}

fn certificates(folder: &Path) {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
    let ca_key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = params.self_signed(&ca_key).unwrap();
    write(folder, "ca.pem", ca.pem());
    let issuer = Issuer::new(params, ca_key);
    for name in ["server", "client"] {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &issuer).unwrap();
        write(folder, &format!("{name}.pem"), certificate.pem());
        write(folder, &format!("{name}.key"), key.serialize_pem());
    }
}
