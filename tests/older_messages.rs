//! Older messages never overwrite newer data, whatever order they come in: the rule of who may write what, from outside.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod support;

use serde_json::{Value, json};
use support::{FhirServer, FhirwayTest, Gateway, eventually};

fn header(message_type: &str, control_id: &str, time: &str) -> String {
    format!(
        "MSH|^~\\&|ANALYZER|NORTHLAB|FHIRWAY|SITE|{time}+0000||{message_type}|{control_id}|P|2.5.1||||||UNICODE UTF-8\r"
    )
}

/// An ADT^A08 that happened at `time`; it is always sent now.
fn update(control_id: &str, given: &str, time: &str) -> String {
    header("ADT^A08^ADT_A01", control_id, "20260301120000")
        + &format!(
            "EVN|A08|{time}+0000\rPID|1||P1^^^NORTHLAB&2.999.1&ISO^MR||Ashgrove^{given}||19500101|F\r"
        )
}

/// An ORU^R01, sent now, whose report was released at `released`.
fn result(control_id: &str, value: &str, status: &str, released: &str) -> String {
    header("ORU^R01^ORU_R01", control_id, "20260301120000")
        + &format!(
            "PID|1||P1^^^NORTHLAB&2.999.1&ISO^MR||Ashgrove^Thin\r\
             OBR|1|O1|F1|58410-2^CBC^LN|||20260101000000+0000|||||||||||||||{released}+0000||LAB|{status}\r\
             OBX|1|NM|718-7^Hemoglobin^LN||{value}|g/dL^g/dL^UCUM|||||{status}|||20260101000000+0000\r"
        )
}

async fn send(gateway: &Gateway, messages: &[String]) {
    let mut client = gateway.connect().await;
    for message in messages {
        client.send(message).await;
    }
    gateway.drained().await;
}

/// The only resource of a type.
async fn stored(gateway: &Gateway, type_name: &str) -> Value {
    let (status, body) = gateway
        .get("repository", &format!("/fhir/{type_name}"))
        .await;
    assert_eq!(status, 200, "{body}");
    // The connection is closed after the answer, whose length is told: no chunks.
    let bundle: Value = serde_json::from_str(&body).unwrap();
    let entries = bundle["entry"].as_array().expect("something is stored");
    assert_eq!(entries.len(), 1, "{type_name}");
    entries[0]["resource"].clone()
}

async fn given_name(gateway: &Gateway) -> String {
    let patient = stored(gateway, "Patient").await;
    patient["name"][0]["given"][0].as_str().unwrap().to_owned()
}

async fn value(gateway: &Gateway) -> Value {
    let observation = stored(gateway, "Observation").await;
    observation["valueQuantity"]["value"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_admission_changes_nothing_not_even_after_a_restart() {
    let mut gateway = FhirwayTest::embedded().start().await;
    send(
        &gateway,
        &[
            update("1", "Newest", "20260301100000"),
            update("2", "Older", "20260301095959"),
        ],
    )
    .await;
    assert_eq!(given_name(&gateway).await, "Newest");
    gateway.kill();
    gateway.start().await;
    send(&gateway, &[update("3", "Older", "20260301095958")]).await;
    assert_eq!(given_name(&gateway).await, "Newest");
    // It is told, in the history and as a number.
    let shown = gateway.queue(&["show", "3"]).expect(0).stdout;
    assert!(
        shown.contains("older than what is there and left as they are: Patient"),
        "{shown}"
    );
    assert!(
        gateway
            .metric("fhirway_stale_resources_total{destination=\"repository\"}")
            .await
            >= 1.0
    );
    // The same time again, and a later one, are not older.
    send(&gateway, &[update("4", "Same", "20260301100000")]).await;
    assert_eq!(given_name(&gateway).await, "Same");
    send(&gateway, &[update("5", "Later", "20260301100001")]).await;
    assert_eq!(given_name(&gateway).await, "Later");
}

/// The thin Patient of a result never erases the Patient of an admission, however late it is.
#[tokio::test(flavor = "multi_thread")]
async fn a_thin_patient_erases_nothing() {
    let gateway = FhirwayTest::embedded().start().await;
    send(
        &gateway,
        &[
            update("1", "Rich", "20260101000000"),
            result("2", "13.50", "F", "20260301000000"),
        ],
    )
    .await;
    let patient = stored(&gateway, "Patient").await;
    assert_eq!(
        (&patient["name"][0]["given"][0], &patient["birthDate"]),
        (&json!("Rich"), &json!("1950-01-01"))
    );
    // And the admission that comes after the result completes what the result began.
    let gateway = FhirwayTest::embedded().start().await;
    send(
        &gateway,
        &[
            result("1", "13.50", "F", "20260301000000"),
            update("2", "Rich", "20260101000000"),
        ],
    )
    .await;
    assert_eq!(given_name(&gateway).await, "Rich");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_results_the_release_counts() {
    let gateway = FhirwayTest::embedded().start().await;
    send(
        &gateway,
        &[
            result("1", "14.50", "C", "20260301090000"),
            result("2", "13.50", "F", "20260301080000"),
        ],
    )
    .await;
    assert_eq!(value(&gateway).await, json!(14.5));
    assert_eq!(
        stored(&gateway, "DiagnosticReport").await["status"],
        "corrected"
    );
    // What the older message has and nobody else is still made: its Provenance refers to what is there.
    let (_, body) = gateway
        .get("repository", "/fhir/Provenance?_count=50")
        .await;
    let provenances: Value = serde_json::from_str(&body).unwrap();
    assert!(provenances["entry"].as_array().unwrap().len() >= 2);
    send(&gateway, &[result("3", "15.50", "C", "20260301100000")]).await;
    assert_eq!(value(&gateway).await, json!(15.5));
}

/// A replay of all messages ends as it was; with `--overwrite` the older one is written, because a person says so.
#[tokio::test(flavor = "multi_thread")]
async fn a_replay_keeps_what_is_newer_unless_it_is_forced() {
    let gateway = FhirwayTest::embedded().start().await;
    send(
        &gateway,
        &[
            update("1", "Older", "20260301090000"),
            update("2", "Newest", "20260301100000"),
        ],
    )
    .await;
    gateway.queue(&["replay", "--state", "delivered"]).expect(0);
    gateway.drained().await;
    assert_eq!(given_name(&gateway).await, "Newest");
    gateway.queue(&["replay", "1"]).expect(0);
    gateway.drained().await;
    assert_eq!(given_name(&gateway).await, "Newest");
    gateway.queue(&["replay", "1", "--overwrite"]).expect(0);
    eventually("the older one is there", async || {
        (given_name(&gateway).await == "Older").then_some(())
    })
    .await;
    // Once is once: the next replay is an ordinary one.
    gateway.queue(&["replay", "2"]).expect(0);
    gateway.drained().await;
    assert_eq!(given_name(&gateway).await, "Newest");
    gateway.queue(&["replay", "1"]).expect(0);
    gateway.drained().await;
    assert_eq!(given_name(&gateway).await, "Newest");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_one_wins_where_that_is_wanted() {
    let server = FhirServer::start().await;
    let gateway = FhirwayTest::new()
        .destination("fhir", &server)
        .set("destinations.fhir.stale", json!("overwrite"))
        .start()
        .await;
    send(
        &gateway,
        &[
            update("1", "Newest", "20260301100000"),
            update("2", "Older", "20260301090000"),
        ],
    )
    .await;
    let methods: Vec<Value> = server
        .requests()
        .iter()
        .map(|request| {
            let entries = request.bundle["entry"].as_array().unwrap();
            let patient = entries
                .iter()
                .find(|entry| entry["resource"]["resourceType"] == "Patient");
            patient.unwrap()["request"]["method"].clone()
        })
        .collect();
    assert_eq!(methods, ["PUT", "PUT"]);
}
