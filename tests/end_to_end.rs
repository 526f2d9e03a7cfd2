//! From a message to resources that can be read: the configuration that runs when none is named, routes, overlays.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod support;

use std::fs;

use serde_json::{Value, json};
use support::{Command, FhirServer, FhirwayTest, Gateway, admit, results, update};

async fn search(gateway: &Gateway, query: &str) -> Vec<Value> {
    let (status, body) = gateway.get("repository", &format!("/fhir/{query}")).await;
    assert_eq!(status, 200, "{body}");
    let bundle: Value = serde_json::from_str(&body).unwrap();
    let entries = bundle["entry"].as_array().cloned().unwrap_or_default();
    entries
        .into_iter()
        .map(|entry| entry["resource"].clone())
        .collect()
}

/// The embedded configuration, but for ports and folder: MLLP in, the embedded repository out.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_can_be_read_at_the_embedded_repository() {
    let mut gateway = FhirwayTest::embedded().start().await;
    let mut client = gateway.connect().await;
    client.send(admit("E1", "4711")).await;
    client.send(results("E2", "4711")).await;
    client.send(update("E3", "4711", "Guinevere")).await;
    gateway.drained().await;
    assert_eq!(gateway.counts("total")["dead"], 0);

    for _ in 0..2 {
        let found = search(&gateway, "Patient?identifier=urn:oid:2.999.1%7C4711").await;
        assert_eq!(found.len(), 1, "three messages, one patient");
        assert_eq!(found[0]["name"][0]["given"], json!(["Guinevere"]));
        let id = found[0]["id"].as_str().unwrap();
        let observations = search(&gateway, &format!("Observation?subject=Patient/{id}")).await;
        assert_eq!(observations.len(), 1);
        assert_eq!(
            observations[0]["valueQuantity"]["value"].to_string(),
            "13.5"
        );
        assert_eq!(
            search(&gateway, &format!("Encounter?patient={id}"))
                .await
                .len(),
            1
        );
        let (status, body) = gateway
            .get(
                "repository",
                &format!(
                    "/fhir/Observation/{}",
                    observations[0]["id"].as_str().unwrap()
                ),
            )
            .await;
        assert!(
            status == 200 && body.contains("13.50"),
            "a decimal keeps its digits: {body}"
        );
        assert_eq!(gateway.get("repository", "/fhir/metadata").await.0, 200);
        // The repository keeps what it has.
        gateway.kill();
        gateway.start().await;
    }
}

/// What the README of the repository tells a newcomer to do.
#[tokio::test(flavor = "multi_thread")]
async fn the_messages_among_the_examples_arrive() {
    let gateway = FhirwayTest::embedded().start().await;
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/messages");
    let to = gateway.address("lab").to_string();
    let sent = Command::new(["send", "--format", "json", "--to", &to, folder])
        .run()
        .expect(0)
        .json();
    assert!(sent["messages"].as_u64() > Some(0), "{sent}");
    assert_eq!(sent["positive"], sent["messages"]);
    gateway.drained().await;
    let counts = gateway.counts("repository");
    assert_eq!(json!(counts["delivered"]), sent["messages"]);
    assert!(!search(&gateway, "Patient").await.is_empty());
}

/// Ready means that messages are taken; alive means that the process answers.
#[tokio::test(flavor = "multi_thread")]
async fn health_and_metrics_tell_of_the_process() {
    let gateway = FhirwayTest::embedded().start().await;
    assert_eq!(
        gateway.get("admin", "/livez").await,
        (200, "ok\n".to_owned())
    );
    assert_eq!(
        gateway.get("admin", "/readyz").await,
        (200, "ok\n".to_owned())
    );
    let mut client = gateway.connect().await;
    client.send(update("H1", "P1", "Cosima")).await;
    let not_ascii = update("H2", "P1", "Jörg").replace("UNICODE UTF-8", "ASCII");
    client.send(not_ascii).await;
    gateway.drained().await;
    for (name, expected) in [
        (
            "fhirway_messages_received_total{listener=\"lab\",message_type=\"ADT_A08\"}",
            2.0,
        ),
        ("fhirway_acks_total{ack_code=\"AA\",listener=\"lab\"}", 2.0),
        ("fhirway_delivered_total{destination=\"repository\"}", 2.0),
        (
            "fhirway_queue_messages{destination=\"repository\",state=\"queued\"}",
            0.0,
        ),
        ("fhirway_accounting_mismatch", 0.0),
        ("fhirway_mllp_connections{listener=\"lab\"}", 1.0),
        ("fhirway_charset_warnings_total{listener=\"lab\"}", 1.0),
        ("fhirway_queue_parked_keys{destination=\"repository\"}", 0.0),
    ] {
        gateway
            .metric_becomes(name, |value| value == expected)
            .await;
    }
    let free = gateway.metric("fhirway_queue_disk_free_bytes").await;
    assert!(free > 1e6, "{free}");
}

/// Routes: the first that takes a message gets it; each destination has its own position.
#[tokio::test(flavor = "multi_thread")]
async fn messages_go_where_their_content_says() {
    let (labs, patients) = (FhirServer::start().await, FhirServer::start().await);
    let gateway = FhirwayTest::new()
        .destination("labs", &labs)
        .destination("patients", &patients)
        .set("listeners.second", json!({ "type": "mllp", "bind": "127.0.0.1:0" }))
        // Names in the order of the alphabet: that is how a JSON object is written here, and the first route counts.
        .set("routes", json!({
            "a-tests": { "when": "MSH-11.1 in (T, D)", "destinations": [] },
            "b-second": { "listeners": ["second"], "destinations": ["labs"] },
            "c-results": { "when": "MSH-9.1 = ORU", "destinations": ["labs"] },
            "d-everybody": { "when": "PID-8 = F and PID-5.1 = Ashgrove", "destinations": ["labs", "patients"] },
        }))
        .start()
        .await;
    let mut client = gateway.connect().await;
    client
        .send(update("T1", "P1", "Cosima").replace("|P|2.5.1", "|T|2.5.1"))
        .await;
    client.send(results("L1", "P1")).await;
    client.send(update("A1", "P1", "Cosima")).await;
    client
        .send(update("N1", "P1", "Cosima").replace("|F|", "|M|"))
        .await;
    gateway
        .connect_to("second")
        .await
        .send(update("S1", "P2", "Cosima"))
        .await;
    gateway.drained().await;
    assert_eq!(labs.stored(), ["A1", "L1", "S1"].map(str::to_owned).into());
    assert_eq!(patients.effects(), ["A1"]);
    // What nobody wants is kept, and counted as filtered.
    assert_eq!(gateway.counts("total")["filtered"], 2);
    gateway
        .metric_becomes(
            "fhirway_messages_unrouted_total{listener=\"lab\"}",
            |count| count == 1.0,
        )
        .await;
    gateway
        .metric_becomes(
            "fhirway_messages_filtered_total{route=\"a-tests\"}",
            |count| count == 1.0,
        )
        .await;
}

/// A site's folder on top of the shipped maps, and a policy: what an analyst changes without us.
#[tokio::test(flavor = "multi_thread")]
async fn an_overlay_and_a_policy_change_the_bundle() {
    let server = FhirServer::start().await;
    let test = FhirwayTest::new().destination("fhir", &server);
    let site = test.folder().join("site");
    fs::create_dir_all(site.join("segments/PID")).unwrap();
    fs::write(
        site.join("segments/PID/Patient.yaml"),
        "extends: below\nremove: [active]\nbirthDate: \"{{ZPI-3}}\"\n",
    )
    .unwrap();
    let gateway = test
        .set("packages.site", json!(site))
        .set("routes.lab.packages", json!(["shipped", "site"]))
        .set("routes.lab.policies.message-header", json!("off"))
        .start()
        .await;
    let message = update("O1", "P1", "Cosima") + "ZPI|1||19700707\r";
    gateway.connect().await.send(message).await;
    server.has_stored(1).await;
    let bundle = server.requests()[0].bundle.to_string();
    assert!(bundle.contains("\"birthDate\":\"1970-07-07\""), "{bundle}");
    assert!(!bundle.contains("\"active\""));
    assert!(!bundle.contains("\"MessageHeader\""));
}

/// A replay goes through today's maps: the raw message is what is kept.
#[tokio::test(flavor = "multi_thread")]
async fn a_replay_uses_the_maps_of_today() {
    let (server, second) = (FhirServer::start().await, FhirServer::start().await);
    let test = FhirwayTest::new()
        .destination("fhir", &server)
        .set("destinations.second", json!({ "url": second.base_url() }));
    let site = test.folder().join("site");
    fs::create_dir_all(site.join("segments/PID")).unwrap();
    let map = site.join("segments/PID/Patient.yaml");
    fs::write(&map, "extends: below\n").unwrap();
    let mut gateway = test
        .set("packages.site", json!(site))
        .set("routes.lab.packages", json!(["shipped", "site"]))
        .start()
        .await;
    gateway
        .connect()
        .await
        .send(update("R1", "P1", "Cosima"))
        .await;
    server.has_stored(1).await;
    assert!(
        server.requests()[0]
            .bundle
            .to_string()
            .contains("\"active\"")
    );
    gateway.stop().await;
    fs::write(&map, "extends: below\nremove: [active]\n").unwrap();
    gateway.start().await;
    gateway.queue(&["replay", "1", "--to", "second"]).expect(0);
    second.has_stored(1).await;
    assert!(
        !second.requests()[0]
            .bundle
            .to_string()
            .contains("\"active\"")
    );
    assert_eq!(server.request_count(), 1, "to the other one alone");
}

/// Reliability test 44: results before, after and beside the admission, on two listeners: one patient.
#[tokio::test(flavor = "multi_thread")]
async fn two_feeds_about_one_patient_meet_in_one_resource() {
    let gateway = FhirwayTest::embedded()
        .set(
            "listeners.adt",
            json!({ "type": "mllp", "bind": "127.0.0.1:0" }),
        )
        .start()
        .await;
    let (mut lab, mut adt) = (gateway.connect().await, gateway.connect_to("adt").await);
    for n in 0..20 {
        let patient = format!("{n}");
        let (result, admission) = (
            results(&format!("L{n}"), &patient),
            admit(&format!("A{n}"), &patient),
        );
        match n % 3 {
            0 => {
                lab.send(result).await;
                adt.send(admission).await;
            }
            1 => {
                adt.send(admission).await;
                lab.send(result).await;
            }
            _ => {
                tokio::join!(lab.send(result), adt.send(admission));
            }
        }
    }
    gateway.drained().await;
    assert_eq!(gateway.counts("total")["delivered"], 40);
    assert_eq!(search(&gateway, "Patient?_count=1000").await.len(), 20);
    assert_eq!(
        search(&gateway, "DiagnosticReport?_count=1000").await.len(),
        20
    );
}

/// Reliability test 49, in small: a document of some megabytes goes through whole, among ordinary messages.
#[tokio::test(flavor = "multi_thread")]
async fn large_documents_come_through_whole() {
    const SIZE: usize = 8 << 20;
    let server = FhirServer::start().await;
    let gateway = FhirwayTest::new()
        .destination("fhir", &server)
        .start()
        .await;
    // Base64 of zeros and then of a mark that only the whole has at its end.
    let document = "AAAA".repeat(SIZE / 4) + "Zmlu";
    let message = results("D1", "P1")
        + &format!("OBX|2|ED|18842-5^Discharge summary^LN||^AP^PDF^Base64^{document}||||||F\r");
    let mut client = gateway.connect().await;
    client.send(message).await;
    client.send(results("D2", "P2")).await;
    gateway.drained().await;
    assert_eq!(server.stored().len(), 2, "{:?}", gateway.counts("fhir"));
    let bundles: Vec<String> = server
        .requests()
        .iter()
        .map(|request| request.bundle.to_string())
        .collect();
    assert!(bundles.iter().any(|bundle| bundle.contains(&document)));
}

/// A result from preliminary to withdrawn, with its document: each message updates what the one before made.
#[tokio::test(flavor = "multi_thread")]
async fn a_corrected_result_updates_what_was_sent() {
    let gateway = FhirwayTest::embedded()
        .set("routes.lab.policies.embedded-document", json!("binary"))
        .start()
        .await;
    let mut client = gateway.connect().await;
    let report = |control_id: &str, report: &str, status: &str, value: &str, data: &str| {
        results(control_id, "4711")
            .replace(&format!("{control_id}-"), "R1-")
            .replace("|LAB|F", &format!("|LAB|{report}"))
            .replace("||13.50|", &format!("||{value}|"))
            .replace("|||F|||2026", &format!("|||{status}|||2026"))
            + &format!("OBX|2|ED|11502-2^Report^LN||^application^pdf^Base64^{data}||||||{status}\r")
    };
    for (control_id, of_report, status, value, data, said) in [
        (
            "C1",
            "P",
            "P",
            "13.1",
            "MQ==",
            ["preliminary", "preliminary"],
        ),
        ("C2", "F", "F", "13.2", "Mg==", ["final", "final"]),
        ("C3", "C", "C", "13.3", "Mw==", ["corrected", "corrected"]),
        ("C4", "C", "C", "13.3", "Mw==", ["corrected", "corrected"]),
        (
            "C5",
            "C",
            "W",
            "13.3",
            "Mw==",
            ["corrected", "entered-in-error"],
        ),
    ] {
        client
            .send(report(control_id, of_report, status, value, data))
            .await;
        gateway.drained().await;
        let reports = search(&gateway, "DiagnosticReport").await;
        let observations = search(&gateway, "Observation").await;
        let documents = search(&gateway, "DocumentReference").await;
        let made = [&reports, &observations, &documents].map(Vec::len);
        assert_eq!(made, [1, 1, 1], "{control_id}");
        assert_eq!(
            [&reports[0]["status"], &observations[0]["status"]],
            said,
            "{control_id}"
        );
        assert_eq!(observations[0]["valueQuantity"]["value"].to_string(), value);
        // The document's data are where it says, and there is one of them.
        let url = documents[0]["content"][0]["attachment"]["url"]
            .as_str()
            .unwrap();
        assert!(url.starts_with("Binary/"), "{url}");
        let (found, body) = gateway.get("repository", &format!("/fhir/{url}")).await;
        assert_eq!(found, 200, "{body}");
        assert!(body.contains(data), "{control_id}: {body}");
        assert_eq!(search(&gateway, "Binary").await.len(), 1);
    }
    assert_eq!(gateway.counts("total")["dead"], 0);
}
