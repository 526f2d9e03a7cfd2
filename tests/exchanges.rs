//! RabbitMQ as a destination, with a real broker and the built program. See `rabbitmq/README.md`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod support;

#[allow(dead_code)]
#[path = "support/authority.rs"]
mod authority;
#[allow(dead_code)]
#[path = "rabbitmq/broker.rs"]
mod broker;
#[allow(dead_code)]
#[path = "rabbitmq/tools.rs"]
mod tools;

use std::collections::{BTreeMap, BTreeSet};

use broker::{Broker, Bus};
use lapin::message::BasicGetMessage;
use serde_json::{Value, json};
use support::{Answer, FhirServer, FhirwayTest, eventually, message_of, results, update};

/// A gateway that publishes to the exchange `fhir`; `more` are further keys of the destination.
fn publishing(broker: &Broker, more: &Value) -> FhirwayTest {
    let mut destination = json!({
        "type": "rabbitmq",
        "url": broker.url(),
        "exchange": "fhir",
        "retry": { "initial": "20ms", "max": "500ms" },
    });
    for (key, value) in more.as_object().unwrap() {
        destination[key] = value.clone();
    }
    FhirwayTest::new()
        .set("destinations.bus", destination)
        .set("routes.lab.destinations", json!(["bus"]))
}

async fn all(bus: &Bus, queue: &str) -> Vec<BasicGetMessage> {
    let mut found = Vec::new();
    while let Some(message) = bus.take(queue).await {
        found.push(message);
    }
    found
}

fn header(message: &BasicGetMessage, name: &str) -> String {
    let headers = message.properties.headers().as_ref().unwrap();
    match headers.inner().get(name) {
        Some(lapin::types::AMQPValue::LongString(text)) => text.to_string(),
        Some(lapin::types::AMQPValue::LongLongInt(number)) => number.to_string(),
        other => panic!("{name}: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bundles_go_where_their_header_says() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start(folder.path()).await;
    let bus = broker.bus().await;
    bus.exchange("fhir").await;
    for (queue, key) in [("adt", "NORTHLAB.ADT.*"), ("oru", "#.R01")] {
        bus.declare(queue).await;
        bus.bind(queue, "fhir", key).await;
    }
    let gateway = publishing(&broker, &json!({})).start().await;
    let mut client = gateway.connect().await;
    client.send(update("A1", "P1", "Cosima")).await;
    client.send(results("R1", "P1")).await;
    client.send(update("A2", "P1", "Cosima")).await;
    gateway.has_delivered("bus", 3).await;

    let (adt, oru) = (all(&bus, "adt").await, all(&bus, "oru").await);
    let ids = |messages: &[BasicGetMessage]| -> Vec<String> {
        messages
            .iter()
            .map(|each| header(each, "hl7-control-id"))
            .collect()
    };
    assert_eq!(
        (ids(&adt), ids(&oru)),
        (
            vec!["A1".to_owned(), "A2".to_owned()],
            vec!["R1".to_owned()]
        )
    );
    let result = &oru[0];
    let bundle: Value = serde_json::from_slice(&result.data).unwrap();
    assert_eq!(bundle["resourceType"], "Bundle");
    assert!(bundle.to_string().contains("718-7"));
    assert_eq!(header(result, "fhirway-record"), "2");
    assert_eq!(header(result, "fhirway-listener"), "lab");
    assert_eq!(header(result, "fhirway-route"), "lab");
    assert_eq!(header(result, "hl7-message-type"), "ORU_R01");
    let properties = &result.properties;
    assert_eq!(*properties.delivery_mode(), Some(2), "persistent");
    assert_eq!(
        properties.message_id().as_ref().unwrap().as_str(),
        "fhirway-2"
    );
    assert_eq!(
        properties.content_type().as_ref().unwrap().as_str(),
        "application/fhir+json"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_are_published_as_they_came_in() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start(folder.path()).await;
    let bus = broker.bus().await;
    bus.declare("ADT-in").await;
    // The default exchange: the routing key is the name of a queue. What a map would refuse is published all the same.
    let more = json!({ "exchange": "", "routing_key": "{MSH-9.1}-in", "content": "message" });
    let gateway = publishing(&broker, &more).start().await;
    let message = update("A1", "P1", "Cosima") + "ZZZ|anything|\u{e4}\r";
    gateway.connect().await.send(&message).await;
    gateway.has_delivered("bus", 1).await;
    let found = all(&bus, "ADT-in").await;
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].data, message.as_bytes());
    let content = found[0].properties.content_type().as_ref().unwrap();
    assert_eq!(content.as_str(), "x-application/hl7-v2+er7");
}

/// What no queue takes, and an exchange that is not there: nothing is lost, and it is seen.
#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_takes_waits() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start(folder.path()).await;
    let bus = broker.bus().await;
    bus.declare("oru").await;
    let gateway = publishing(&broker, &json!({})).start().await;
    let mut client = gateway.connect().await;
    client.send(update("A1", "P1", "Cosima")).await;
    gateway.is_in("bus", "open").await;
    assert!(!gateway.log().contains("guest:guest"), "the password");

    bus.exchange("fhir").await;
    bus.bind("oru", "fhir", "#.ORU.#").await;
    gateway.is_in("bus", "up").await;
    // Others are not held up by a message that nobody takes.
    client.send(results("R1", "P2")).await;
    gateway.has_delivered("bus", 1).await;
    let retries = "fhirway_delivery_retries_total{destination=\"bus\",reason=\"unroutable\"}";
    gateway.metric_becomes(retries, |count| count > 1.0).await;
    bus.declare("adt").await;
    bus.bind("adt", "fhir", "#.ADT.#").await;
    gateway.has_delivered("bus", 2).await;
    assert_eq!(
        (all(&bus, "oru").await.len(), all(&bus, "adt").await.len()),
        (1, 1)
    );
}

/// A broker that goes and comes, and a gateway that is killed: everything is there, each patient in order.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_restarts_gets_everything_in_order() {
    const MESSAGES: usize = 240;
    let folder = tempfile::tempdir().unwrap();
    let mut broker = Broker::start(folder.path()).await;
    let bus = broker.bus().await;
    bus.exchange("fhir").await;
    bus.declare("all").await;
    bus.bind("all", "fhir", "#").await;
    let mut gateway = publishing(&broker, &json!({ "rate": "200/s" }))
        .start()
        .await;
    let mut patient_of = BTreeMap::new();
    let mut sent = Vec::new();
    for n in 0..MESSAGES {
        let (id, patient, text) = message_of(n, 7);
        gateway.connect().await.send(text).await;
        patient_of.insert(id.clone(), patient);
        sent.push(id);
        match n {
            80 => broker.stop(),
            120 => broker.go_on().await,
            180 => {
                gateway.kill();
                gateway.start().await;
            }
            _ => {}
        }
    }
    gateway.has_delivered("bus", MESSAGES).await;
    let bus = eventually("the broker is back", async || Some(broker.bus().await)).await;
    let mut seen = BTreeSet::new();
    let arrived: Vec<String> = all(&bus, "all")
        .await
        .iter()
        .map(|message| header(message, "hl7-control-id"))
        // A message whose confirmation was lost comes twice, with the same message id.
        .filter(|id| seen.insert(id.clone()))
        .collect();
    let by_patient = |ids: &[String]| {
        let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for id in ids {
            found
                .entry(patient_of[id].clone())
                .or_default()
                .push(id.clone());
        }
        found
    };
    assert_eq!(by_patient(&arrived), by_patient(&sent));
    assert_eq!(gateway.counts("bus")["dead"], 0);
}

/// What is about FHIR servers alone has no meaning here, and is told.
#[test]
fn keys_of_fhir_servers_are_refused() {
    let test = FhirwayTest::new()
        .set(
            "destinations.bus",
            json!({ "type": "rabbitmq", "url": "amqp://x", "exchange": "fhir", "auth": { "bearer": "x" }, "routing_key": "{MSH-4" }),
        )
        .set("routes.lab.destinations", json!(["bus"]));
    let checked = support::Command::new(["config", "check"])
        .arg(test.write_config())
        .run()
        .expect(1);
    let told = checked.stdout + &checked.stderr;
    assert!(told.contains("has no such key"), "{told}");
    assert!(told.contains("a brace is not closed"), "{told}");
}

/// Those who watch hear what became of each record, and nothing of what is in it.
#[tokio::test(flavor = "multi_thread")]
async fn events_tell_what_becomes_of_records() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start(folder.path()).await;
    let bus = broker.bus().await;
    bus.exchange("watch").await;
    bus.declare("events").await;
    bus.bind("events", "watch", "fhirway.*").await;
    let server = FhirServer::start().await;
    server.answer(|request| match request.control_id.as_str() {
        "E2" => Answer::status(422),
        _ => Answer::Store,
    });
    let gateway = FhirwayTest::new()
        .destination("fhir", &server)
        .set(
            "events",
            json!({ "url": broker.url(), "exchange": "watch" }),
        )
        .start()
        .await;
    let mut client = gateway.connect().await;
    client.send(update("E1", "P1", "Cosima")).await;
    client.send(update("E2", "P2", "Cosima")).await;
    client
        .send(update("E3", "P3", "Cosima").replacen("|P|2.5.1", "|T|2.5.1", 1))
        .await;
    let mut told = Vec::new();
    while told.len() < 6 {
        let message = eventually("there is an event", async || bus.take("events").await).await;
        assert!(!String::from_utf8_lossy(&message.data).contains("Cosima"));
        let event: Value = serde_json::from_slice(&message.data).unwrap();
        let key = message.delivery.routing_key.to_string();
        assert_eq!(key, format!("fhirway.{}", event["event"].as_str().unwrap()));
        assert!(event["at_ms"].as_i64() > Some(1_600_000_000_000), "{event}");
        let text = |name: &str| event[name].as_str().unwrap_or("-").to_owned();
        told.push(format!(
            "{} {} {} {}",
            event["record"],
            text("event"),
            text("destination"),
            text("reason")
        ));
    }
    told.sort_unstable();
    assert_eq!(
        told,
        [
            "1 delivered fhir -",
            "1 stored - -",
            "2 dead-lettered fhir permanent",
            "2 stored - -",
            "3 not-taken fhir processing",
            "3 stored - -",
        ]
    );
}
