//! A FHIR server in trouble: it waits, it is sent again, nothing is lost or doubled; and the feed goes on.
//! What a server has against single messages is in `refusals.rs`.
//!
//! The table is 3.4 of the reliability page. Sending (`Feed::send`) demands AA for every message, so every test
//! here also shows that the senders notice nothing.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use jiff::{Timestamp, tz::TimeZone};
use serde_json::json;
use support::{Answer, Feed, FhirServer, FhirwayTest, results};

/// Reliability test 13: away for a while. Another destination gets everything meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_away_holds_up_nobody_else() {
    let (server, other) = (FhirServer::away().await, FhirServer::start().await);
    let gateway = FhirwayTest::new()
        .destination("fhir", &server)
        .destination("other", &other)
        .start()
        .await;
    let mut feed = Feed::default();
    feed.send(&gateway, 30).await;
    gateway.is_in("fhir", "open").await;
    feed.send(&gateway, 30).await;
    other.has_stored(feed.len()).await;
    feed.arrived(&other);
    assert_eq!(gateway.counts("fhir")["delivered"], 0);
    assert_eq!(gateway.counts("fhir")["dead"], 0);

    server.come_back();
    server.has_stored(feed.len()).await;
    gateway.is_in("fhir", "up").await;
    feed.arrived(&server);

    // And away again, in the middle of a feed.
    server.go_away().await;
    feed.send(&gateway, 30).await;
    gateway.is_in("fhir", "open").await;
    server.come_back();
    feed.send(&gateway, 10).await;
    gateway.drained().await;
    feed.arrived(&server);
    feed.arrived(&other);
    assert_eq!(server.effects().len(), feed.len(), "each came once");
    gateway
        .metric_becomes(
            "fhirway_circuit_transitions_total{destination=\"fhir\",state=\"open\"}",
            |count| count >= 2.0,
        )
        .await;
}

/// 500, 502, 503, 504 without Retry-After: the circuit opens, a probe closes it, nothing is given up.
#[tokio::test(flavor = "multi_thread")]
async fn server_errors_open_the_circuit_until_a_probe_succeeds() {
    let server = FhirServer::start().await;
    let gateway = FhirwayTest::new()
        .destination("fhir", &server)
        .start()
        .await;
    let mut feed = Feed::default();
    for status in [500, 502, 503, 504] {
        server.answer(move |_| Answer::status(status));
        feed.send(&gateway, 15).await;
        gateway.is_in("fhir", "open").await;
        server.answer(|_| Answer::Store);
        gateway.has_delivered("fhir", feed.len()).await;
        gateway.is_in("fhir", "up").await;
    }
    feed.arrived(&server);
    assert_eq!(gateway.counts("fhir")["dead"], 0);
    assert_eq!(server.effects().len(), feed.len());
}

/// Reliability test 17: told to wait, it waits, and that counts as no attempt.
#[tokio::test(flavor = "multi_thread")]
async fn throttled_deliveries_wait_as_long_as_they_are_told() {
    for status in [429, 503] {
        let server = FhirServer::start().await;
        let gateway = FhirwayTest::new()
            .destination("fhir", &server)
            // One at a time, so that the next request is one that knows of the answer before.
            .set("destinations.fhir.concurrency", json!(1))
            .start()
            .await;
        let times: Arc<Mutex<Vec<Instant>>> = Arc::default();
        let told = Arc::clone(&times);
        server.answer(move |_| {
            let mut told = told.lock().unwrap();
            told.push(Instant::now());
            match told.len() {
                1 => Answer::with_header(status, "retry-after", "1"),
                // A date that is a bit more than a second away, in whole seconds.
                2 => {
                    let at = Timestamp::now() + Duration::from_millis(2_100);
                    let date = at.to_zoned(TimeZone::UTC);
                    let date = date.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
                    Answer::with_header(status, "retry-after", &date)
                }
                3 => Answer::with_header(status, "retry-after", "when it suits you"),
                _ => Answer::Store,
            }
        });
        let mut feed = Feed::default();
        feed.send(&gateway, 12).await;
        gateway.is_in("fhir", "throttled").await;
        feed.send(&gateway, 12).await;
        gateway.has_delivered("fhir", feed.len()).await;
        feed.arrived(&server);

        let times = times.lock().unwrap();
        let waited = |n: usize| times[n].duration_since(times[n - 1]);
        assert!(waited(1) >= Duration::from_secs(1), "{:?}", waited(1));
        assert!(waited(2) >= Duration::from_secs(1), "{:?}", waited(2));
        assert_eq!(gateway.counts("fhir")["dead"], 0);
        let first = gateway.queue_json(&["show", "1"]);
        let attempts = first["deliveries"][0]["attempts"].as_u64().unwrap();
        // Retry-After that cannot be read is an ordinary failure; the two before it are not.
        assert!(attempts <= 2, "{first}");
    }
}

/// Answers that blame the destination: it is paused with everything kept, and goes on when it is repaired.
#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_destination_is_paused_and_keeps_its_messages() {
    let server = FhirServer::start().await;
    let gateway = FhirwayTest::new()
        .destination("fhir", &server)
        .start()
        .await;
    let mut feed = Feed::default();
    for status in [302, 403, 404, 405, 415] {
        server.answer(move |_| Answer::status(status));
        feed.send(&gateway, 6).await;
        gateway.is_in("fhir", "paused").await;
        assert_eq!(gateway.counts("fhir")["dead"], 0, "status {status}");
        server.answer(|_| Answer::Store);
        gateway.has_delivered("fhir", feed.len()).await;
        gateway.is_in("fhir", "up").await;
    }
    feed.arrived(&server);
}

/// Reliability test 21: a credential that is refused stops the destination and harms no message.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_credential_pauses_the_destination() {
    let server = FhirServer::start().await;
    let test = FhirwayTest::new().destination("fhir", &server);
    let token = test.folder().join("token");
    std::fs::write(&token, "opensesame\n").unwrap();
    let gateway = test
        .set(
            "destinations.fhir.auth",
            json!({ "bearer": { "file": token } }),
        )
        .start()
        .await;
    server.answer(|_| Answer::status(401));
    let mut feed = Feed::default();
    feed.send(&gateway, 20).await;
    gateway.is_in("fhir", "paused").await;
    let counts = gateway.counts("fhir");
    assert_eq!((counts["dead"], counts["delivered"]), (0, 0));
    server.answer(|_| Answer::Store);
    gateway.has_delivered("fhir", feed.len()).await;
    feed.arrived(&server);
    for request in server.requests() {
        assert_eq!(request.authorization.as_deref(), Some("Bearer opensesame"));
    }
    assert!(!gateway.log().contains("opensesame"));
}

/// Reliability test 14: a server that takes requests and never answers.
#[tokio::test(flavor = "multi_thread")]
async fn a_hanging_server_is_given_up_after_the_deadline() {
    let (server, other) = (FhirServer::start().await, FhirServer::start().await);
    let gateway = FhirwayTest::new()
        .destination("fhir", &server)
        .destination("other", &other)
        .set("destinations.fhir.timeout", json!("250ms"))
        .start()
        .await;
    server.answer(|_| Answer::Hang);
    let mut feed = Feed::default();
    feed.send(&gateway, 30).await;
    gateway.is_in("fhir", "open").await;
    feed.send(&gateway, 30).await;
    other.has_stored(feed.len()).await;
    feed.arrived(&other);
    assert_eq!(gateway.counts("fhir")["dead"], 0);

    server.answer(|_| Answer::Store);
    gateway.has_delivered("fhir", feed.len()).await;
    feed.arrived(&server);
}

/// Reliability tests 3 and 16: stored, but nobody heard. The same bytes go again and change nothing.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_lost_has_no_second_effect() {
    for ids in ["conditional", "client"] {
        let server = FhirServer::start().await;
        let gateway = FhirwayTest::new()
            .destination("fhir", &server)
            .set("destinations.fhir.ids", json!(ids))
            .start()
            .await;
        server.answer(|request| match request.earlier {
            0 => Answer::StoreAndCut,
            _ => Answer::Store,
        });
        let mut feed = Feed::default();
        feed.send(&gateway, 30).await;
        gateway.has_delivered("fhir", feed.len()).await;
        feed.arrived(&server);
        let mut bytes: BTreeMap<String, BTreeSet<u64>> = BTreeMap::new();
        for request in server.requests() {
            bytes
                .entry(request.control_id)
                .or_default()
                .insert(request.hash);
        }
        assert!(
            bytes.values().all(|hashes| hashes.len() == 1),
            "a message was not sent again with the same bytes"
        );
        assert!(server.effects().len() > feed.len());
        let mut headers = 0;
        for (name, versions) in server.resources() {
            assert!(!name.contains("/made-"), "{ids}: {name} has no identity");
            // Only the patient is written by several messages.
            assert!(
                name.starts_with("Patient") || versions.len() == 1,
                "{ids}: {name} was changed: {versions:?}"
            );
            headers += usize::from(name.starts_with("MessageHeader"));
        }
        assert_eq!(
            headers,
            feed.len(),
            "{ids}: one MessageHeader of each message"
        );
    }
}

/// A connection that ends without an answer and without an effect.
#[tokio::test(flavor = "multi_thread")]
async fn cut_connections_are_tried_again() {
    let server = FhirServer::start().await;
    let gateway = FhirwayTest::new()
        .destination("fhir", &server)
        .start()
        .await;
    server.answer(|request| match request.earlier {
        0..2 => Answer::Cut,
        _ => Answer::Store,
    });
    let mut feed = Feed::default();
    feed.send(&gateway, 30).await;
    gateway.has_delivered("fhir", feed.len()).await;
    feed.arrived(&server);
    assert_eq!(server.effects().len(), feed.len());
}

/// P5: a queue that is full refuses, and never says AA for what it did not store; with room it takes again.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_refuses_until_there_is_room() {
    let server = FhirServer::away().await;
    let mut gateway = FhirwayTest::new()
        .destination("fhir", &server)
        .set("queue.max_bytes", json!("256KiB"))
        .start()
        .await;
    let mut client = gateway.connect().await;
    let mut accepted = BTreeSet::new();
    let refused = loop {
        let control_id = format!("F{}", accepted.len());
        let ack = client.exchange(results(&control_id, &control_id)).await;
        match ack.code().as_str() {
            "AA" => assert!(accepted.insert(control_id)),
            code => {
                assert_eq!(code, "AE", "{}", ack.text());
                assert!(ack.text().contains("the queue is full"), "{}", ack.text());
                break control_id;
            }
        }
        assert!(accepted.len() < 5_000, "the bound does not hold");
    };
    assert!(accepted.len() > 50, "it is full at once");
    // What was accepted is delivered: a full queue still writes down what became of it.
    server.come_back();
    server.has_stored(accepted.len()).await;
    gateway.drained().await;
    assert_eq!(server.stored(), accepted);

    gateway.stop().await;
    gateway.configure(|config| config["queue"]["max_bytes"] = json!("16MiB"));
    gateway.start().await;
    gateway
        .connect()
        .await
        .send(results(&refused, &refused))
        .await;
    gateway.drained().await;
    assert!(server.stored().contains(&refused));
}

/// Reliability test 24: a certificate that nobody vouches for. No request is sent, nothing is lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_cannot_be_verified_gets_nothing() {
    let server = FhirServer::start().await;
    // A TLS client that talks to a plain port gets no TLS answer, as with any wrong certificate.
    let url = server.base_url().replace("http:", "https:");
    let gateway = FhirwayTest::new()
        .destination("fhir", &server)
        .set("destinations.fhir.url", json!(url))
        .start()
        .await;
    let mut feed = Feed::default();
    feed.send(&gateway, 10).await;
    gateway.is_in("fhir", "paused").await;
    assert_eq!(gateway.counts("fhir")["dead"], 0);
    assert_eq!(server.request_count(), 0);
}
