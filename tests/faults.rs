//! A FHIR server in trouble: what is dead-lettered, what waits, what is sent again; and the feed goes on.
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
use serde_json::{Value, json};
use support::{Answer, Feed, FhirServer, FhirwayTest, Gateway, eventually, results};

fn state(name: &str) -> String {
    format!("fhirway_destination_state{{destination=\"fhir\",state=\"{name}\"}}")
}

/// Waits until the destination `fhir` is in a state.
async fn is_in(gateway: &Gateway, name: &str) {
    gateway
        .metric_becomes(&state(name), |value| value > 0.5)
        .await;
}

/// Waits until so many are delivered to `fhir`.
async fn delivered(gateway: &Gateway, count: usize) {
    eventually(&format!("{count} are delivered"), async || {
        (gateway.counts("fhir")["delivered"] == count as u64).then_some(())
    })
    .await;
}

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
    is_in(&gateway, "open").await;
    feed.send(&gateway, 30).await;
    other.has_stored(feed.len()).await;
    feed.arrived(&other);
    assert_eq!(gateway.counts("fhir")["delivered"], 0);
    assert_eq!(gateway.counts("fhir")["dead"], 0);

    server.come_back();
    server.has_stored(feed.len()).await;
    is_in(&gateway, "up").await;
    feed.arrived(&server);

    // And away again, in the middle of a feed.
    server.go_away().await;
    feed.send(&gateway, 30).await;
    is_in(&gateway, "open").await;
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
        is_in(&gateway, "open").await;
        server.answer(|_| Answer::Store);
        delivered(&gateway, feed.len()).await;
        is_in(&gateway, "up").await;
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
        is_in(&gateway, "throttled").await;
        feed.send(&gateway, 12).await;
        delivered(&gateway, feed.len()).await;
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

/// Reliability test 18: what the server refuses is given up at once, with the reason; the rest goes on in order.
#[tokio::test(flavor = "multi_thread")]
async fn refused_messages_become_dead_letters_and_the_others_arrive() {
    const TEXT: &str = "Cosima Ashgrove is not welcome";
    let server = FhirServer::start().await;
    let gateway = FhirwayTest::new()
        .destination("fhir", &server)
        .start()
        .await;
    let refused = |control_id: &str| control_id[1..].parse::<usize>().unwrap().is_multiple_of(10);
    server.answer(move |request| {
        if refused(&request.control_id) {
            Answer::Refuse {
                status: 400,
                headers: Vec::new(),
                code: "invariant",
                diagnostics: TEXT.to_owned(),
            }
        } else {
            Answer::Store
        }
    });
    let mut feed = Feed::default();
    feed.send(&gateway, 60).await;
    gateway.drained().await;
    let missing: BTreeSet<String> = feed
        .sent()
        .iter()
        .filter(|control_id| refused(control_id))
        .cloned()
        .collect();
    assert_eq!(missing.len(), 6);
    feed.arrived_except(&server, &missing);
    assert_eq!(
        server.request_count(),
        feed.len(),
        "no retries of a refusal"
    );

    let dead = gateway.queue_json(&["dead-letters"]);
    let dead = dead.as_array().unwrap();
    let ids: BTreeSet<String> = dead
        .iter()
        .map(|each| {
            each["attributes"]["control_id"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    assert_eq!(ids, missing);
    for each in dead {
        assert_eq!(each["reason"], "permanent");
        let record = each["record"].to_string();
        let shown = gateway.queue(&["show", &record]).expect(0).stdout;
        assert!(
            shown.contains("status 400") && shown.contains("invariant"),
            "{shown}"
        );
        assert!(
            !shown.contains(TEXT),
            "the server's text may quote the message"
        );
    }
    gateway
        .metric_becomes(
            "fhirway_dead_lettered_total{destination=\"fhir\",reason=\"permanent\"}",
            |count| count == 6.0,
        )
        .await;

    // The server was repaired: replay, first to see, then once, however often it is asked for.
    server.answer(|_| Answer::Store);
    let replay = [
        "replay",
        "--state",
        "dead",
        "--reason",
        "permanent",
        "--token",
        "again",
    ];
    let dry: Vec<&str> = replay.iter().copied().chain(["--dry-run"]).collect();
    assert_eq!(gateway.queue_json(&dry)["matched"], 6);
    assert_eq!(server.stored().len(), 54);
    assert_eq!(gateway.queue_json(&replay)["matched"], 6);
    server.has_stored(60).await;
    gateway.queue_json(&replay);
    gateway.drained().await;
    assert_eq!(server.effects().len(), 60, "a replay of a replay");
}

/// Every status that blames the message, each with its own reason and without a second try.
#[tokio::test(flavor = "multi_thread")]
async fn each_final_answer_has_its_reason() {
    let reasons = BTreeMap::from([
        ("S400", "permanent"),
        ("S410", "gone"),
        ("S412", "precondition"),
        ("S413", "too-large"),
        ("S422", "permanent"),
    ]);
    let server = FhirServer::start().await;
    server.answer(|request| Answer::status(request.control_id[1..].parse().unwrap()));
    let gateway = FhirwayTest::new()
        .destination("fhir", &server)
        .start()
        .await;
    let mut client = gateway.connect().await;
    for control_id in reasons.keys() {
        client.send(results(control_id, control_id)).await;
    }
    gateway.drained().await;
    let dead = gateway.queue_json(&["dead-letters"]);
    let found: BTreeMap<&str, &str> = dead
        .as_array()
        .unwrap()
        .iter()
        .map(|each| {
            let control_id = each["attributes"]["control_id"].as_str().unwrap();
            (control_id, each["reason"].as_str().unwrap())
        })
        .collect();
    assert_eq!(found, reasons);
    assert_eq!(server.request_count(), reasons.len());
    is_in(&gateway, "up").await;
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
        is_in(&gateway, "paused").await;
        assert_eq!(gateway.counts("fhir")["dead"], 0, "status {status}");
        server.answer(|_| Answer::Store);
        delivered(&gateway, feed.len()).await;
        is_in(&gateway, "up").await;
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
    is_in(&gateway, "paused").await;
    let counts = gateway.counts("fhir");
    assert_eq!((counts["dead"], counts["delivered"]), (0, 0));
    server.answer(|_| Answer::Store);
    delivered(&gateway, feed.len()).await;
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
    is_in(&gateway, "open").await;
    feed.send(&gateway, 30).await;
    other.has_stored(feed.len()).await;
    feed.arrived(&other);
    assert_eq!(gateway.counts("fhir")["dead"], 0);

    server.answer(|_| Answer::Store);
    delivered(&gateway, feed.len()).await;
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
        delivered(&gateway, feed.len()).await;
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
    delivered(&gateway, feed.len()).await;
    feed.arrived(&server);
    assert_eq!(server.effects().len(), feed.len());
}

/// Reliability test 23: 500 for ever about one patient holds up that patient alone.
#[tokio::test(flavor = "multi_thread")]
async fn an_error_about_one_patient_holds_up_only_that_patient() {
    let server = FhirServer::start().await;
    let gateway = FhirwayTest::new()
        .destination("fhir", &server)
        // The errors of one patient come in a row when nobody else has messages; that is not what is shown here.
        .set("destinations.fhir.breaker.failures", json!(100_000))
        .start()
        .await;
    server.answer(|request| match request.patient.as_str() {
        "P002" => Answer::status(500),
        _ => Answer::Store,
    });
    let mut feed = Feed::default();
    feed.send(&gateway, 60).await;
    delivered(&gateway, 50).await;
    let held: BTreeSet<String> = feed
        .sent()
        .iter()
        .filter(|control_id| feed.patient(control_id) == "P002")
        .cloned()
        .collect();
    feed.arrived_except(&server, &held);
    let asked: BTreeSet<String> = server
        .requests()
        .into_iter()
        .filter(|request| request.patient == "P002")
        .map(|request| request.control_id)
        .collect();
    assert_eq!(
        asked.into_iter().collect::<Vec<_>>(),
        ["M00002"],
        "its first message alone"
    );
    server.answer(|_| Answer::Store);
    delivered(&gateway, 60).await;
    feed.arrived(&server);
}

/// Reliability test 19: a conflict is tried a few times, then waits for a person, and its patient with it.
#[tokio::test(flavor = "multi_thread")]
async fn a_conflict_that_stays_is_parked_until_a_person_releases_it() {
    let server = FhirServer::start().await;
    let gateway = FhirwayTest::new()
        .destination("fhir", &server)
        .set("destinations.fhir.retry.conflicts", json!(3))
        .start()
        .await;
    server.answer(|request| match request.control_id.as_str() {
        "M00001" => Answer::status(409),
        _ => Answer::Store,
    });
    let mut feed = Feed::default();
    feed.send(&gateway, 30).await;
    delivered(&gateway, 25).await;
    let parked = eventually("it is parked", async || {
        let parked = gateway.queue_json(&["list", "--state", "parked"]);
        parked.get(0).cloned()
    })
    .await;
    assert_eq!(parked["reason"], "conflict");
    assert_eq!(gateway.counts("fhir")["waiting"], 4, "what is behind it");
    let record = parked["record"].to_string();

    server.answer(|_| Answer::Store);
    let released = gateway.queue_json(&["release", &record]);
    assert_eq!(released["released"], 1);
    delivered(&gateway, 30).await;
    feed.arrived(&server);
}

/// `on_poison`: what a message that can never be delivered means for what is behind it.
#[tokio::test(flavor = "multi_thread")]
async fn poison_parks_its_patient_or_stops_the_destination_where_that_is_wished() {
    let refuse = |request: &support::Request| match request.control_id.as_str() {
        "M00001" => Answer::status(422),
        _ => Answer::Store,
    };
    let missing = BTreeSet::from(["M00001".to_owned()]);

    let server = FhirServer::start().await;
    server.answer(refuse);
    let gateway = FhirwayTest::new()
        .destination("fhir", &server)
        .set("routes.lab.on_poison", json!("park_key"))
        .start()
        .await;
    let mut feed = Feed::default();
    feed.send(&gateway, 30).await;
    delivered(&gateway, 25).await;
    let counts = gateway.counts("fhir");
    assert_eq!(
        (counts["parked"], counts["waiting"], counts["dead"]),
        (1, 4, 0)
    );
    gateway
        .queue(&["release", "--state", "parked", "--give-up", "ticket 4711"])
        .expect(0);
    delivered(&gateway, 29).await;
    feed.arrived_except(&server, &missing);
    assert_eq!(
        gateway.queue_json(&["dead-letters"])[0]["reason"],
        "ticket 4711"
    );

    let server = FhirServer::start().await;
    server.answer(refuse);
    let gateway = FhirwayTest::new()
        .destination("fhir", &server)
        .set("routes.lab.on_poison", json!("stop_destination"))
        .start()
        .await;
    let mut feed = Feed::default();
    feed.send(&gateway, 2).await;
    let why = eventually("the destination is paused", async || {
        let status = gateway.queue_json(&["status"]);
        let paused = status["destinations"]["fhir"]["paused"].as_str();
        paused.map(str::to_owned)
    })
    .await;
    assert!(why.contains("record 2"), "{why}");
    feed.send(&gateway, 10).await;
    gateway
        .queue(&["release", "--state", "parked", "--give-up", "ticket"])
        .expect(0);
    assert_eq!(server.stored().len(), 1, "nothing while it is stopped");
    gateway.queue(&["resume", "fhir"]).expect(0);
    delivered(&gateway, 11).await;
    feed.arrived_except(&server, &missing);
}

/// `max_age`: what is too old is given up instead of tried for ever.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_old_is_given_up_where_that_is_wished() {
    let server = FhirServer::start().await;
    server.answer(|_| Answer::status(500));
    let gateway = FhirwayTest::new()
        .destination("fhir", &server)
        .set("destinations.fhir.retry.max_age", json!("300ms"))
        .start()
        .await;
    let mut feed = Feed::default();
    feed.send(&gateway, 3).await;
    gateway.drained().await;
    let dead: Value = gateway.queue_json(&["dead-letters"]);
    assert_eq!(dead.as_array().unwrap().len(), 3);
    assert_eq!(dead[0]["reason"], "max-age");
}

/// Reliability test 22: of a batch, what was stored is not sent again.
#[tokio::test(flavor = "multi_thread")]
async fn only_the_failed_entries_of_a_batch_go_again() {
    let server = FhirServer::start().await;
    let gateway = FhirwayTest::new()
        .destination("fhir", &server)
        .set("destinations.fhir.bundle", json!("batch"))
        .start()
        .await;
    server.answer(|request| match request.control_id.as_str() {
        "B1" => Answer::StoreExcept {
            entries: vec![1, 3],
            status: 429,
        },
        _ => Answer::Store,
    });
    let mut client = gateway.connect().await;
    client.send(results("B1", "P1")).await;
    delivered(&gateway, 1).await;
    let urls = |request: &support::Request| -> Vec<String> {
        let entries = request.bundle["entry"].as_array().unwrap();
        entries
            .iter()
            .map(|entry| entry["request"]["url"].to_string())
            .collect()
    };
    let requests = server.requests();
    assert_eq!(requests.len(), 2);
    let (all, again) = (urls(&requests[0]), urls(&requests[1]));
    assert_eq!(again, [all[1].clone(), all[3].clone()]);

    // What will never be stored makes a dead letter; the rest of that message is stored all the same.
    server.answer(|_| Answer::StoreExcept {
        entries: vec![0],
        status: 422,
    });
    client.send(results("B2", "P1")).await;
    gateway.drained().await;
    assert_eq!(gateway.queue_json(&["dead-letters"])[0]["reason"], "mixed");
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
    is_in(&gateway, "paused").await;
    assert_eq!(gateway.counts("fhir")["dead"], 0);
    assert_eq!(server.request_count(), 0);
}
