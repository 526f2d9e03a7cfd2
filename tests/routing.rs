//! Where a message goes: what destinations take, by MSH-11 and by the mapped Bundle.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod support;

use serde_json::json;
use support::{FhirServer, FhirwayTest, results, update};

/// The same message with another MSH-11.
fn processing(message: &str, id: &str) -> String {
    message.replacen("|P|2.5.1", &format!("|{id}|2.5.1"), 1)
}

/// What is for training or debugging gets where somebody said so, and nowhere else; also when it is replayed.
#[tokio::test(flavor = "multi_thread")]
async fn test_messages_never_reach_production() {
    let (production, test) = (FhirServer::start().await, FhirServer::start().await);
    let gateway = FhirwayTest::new()
        .destination("production", &production)
        .destination("test", &test)
        .set("destinations.test.processing", json!(["T", "D"]))
        .start()
        .await;
    let mut client = gateway.connect().await;
    client.send(update("P1", "A", "Cosima")).await;
    client
        .send(processing(&update("T1", "A", "Cosima"), "T"))
        .await;
    client
        .send(processing(&update("D1", "A", "Cosima"), "D^T"))
        .await;
    client
        .send(processing(&update("E1", "A", "Cosima"), ""))
        .await;
    gateway.drained().await;
    assert_eq!(production.effects(), ["P1", "E1"]);
    assert_eq!(test.effects(), ["T1", "D1"]);

    // Kept out is not lost: it is counted, it says why, and it can be asked for.
    assert_eq!(gateway.counts("production")["filtered"], 2);
    assert_eq!(gateway.counts("test")["filtered"], 2);
    let kept_out =
        gateway.queue_json(&["list", "--state", "filtered", "--destination", "production"]);
    assert!(
        kept_out.to_string().contains("\"reason\":\"processing\""),
        "{kept_out}"
    );
    gateway
        .metric_becomes(
            "fhirway_not_taken_total{destination=\"production\",reason=\"processing\"}",
            |count| count == 2.0,
        )
        .await;

    // A replay is no way around it.
    gateway
        .queue(&["replay", "2", "--to", "production"])
        .expect(0);
    gateway.drained().await;
    assert_eq!(gateway.counts("production")["filtered"], 3);
    assert_eq!(production.effects(), ["P1", "E1"]);
}

/// The repository for trying out takes what is for trying out.
#[tokio::test(flavor = "multi_thread")]
async fn the_embedded_repository_takes_test_messages() {
    let gateway = FhirwayTest::embedded().start().await;
    let message = processing(&update("T1", "A", "Cosima"), "T");
    gateway.connect().await.send(message).await;
    gateway.has_delivered("repository", 1).await;
}

/// A condition on what was mapped: names and codes of FHIR, not of the sender.
#[tokio::test(flavor = "multi_thread")]
async fn a_destination_asks_the_bundle() {
    let (all, blood) = (FhirServer::start().await, FhirServer::start().await);
    let gateway = FhirwayTest::new()
        .destination("all", &all)
        .destination("blood", &blood)
        .set(
            "destinations.blood.when",
            json!("Observation.exists(code.coding.exists(system = 'http://loinc.org' and code = '718-7') and value.value > 13)"),
        )
        .start()
        .await;
    let mut client = gateway.connect().await;
    client.send(results("R1", "A")).await;
    client
        .send(results("R2", "A").replace("|13.50|", "|9.50|"))
        .await;
    client.send(update("U1", "A", "Cosima")).await;
    gateway.drained().await;
    assert_eq!(all.effects(), ["R1", "R2", "U1"]);
    assert_eq!(blood.effects(), ["R1"]);
    let counts = gateway.counts("blood");
    assert_eq!((counts["filtered"], counts["delivered"]), (2, 1));
    gateway
        .metric_becomes(
            "fhirway_not_taken_total{destination=\"blood\",reason=\"condition\"}",
            |count| count == 2.0,
        )
        .await;
}
