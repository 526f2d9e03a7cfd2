//! A FHIR server that will not have single messages: what is given up, what waits for a person, and what goes on.
//!
//! The table is 3.4 of the reliability page; what is wrong with the server as a whole is in `faults.rs`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod support;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use support::{Answer, Feed, FhirServer, FhirwayTest, Request, eventually, results};

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
    // A part of a Bundle that was too large says no more whose it is.
    server.answer(|request| {
        let status = request.control_id.get(1..).unwrap_or("413");
        Answer::status(status.parse().unwrap())
    });
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
    // One request each; but what is too large was tried in smaller and smaller parts.
    let requests = server.requests();
    let size = |request: &Request| request.bundle["entry"].as_array().unwrap().len();
    let (halved, once): (Vec<_>, Vec<_>) = requests
        .iter()
        .partition(|request| matches!(&*request.control_id, "" | "S413"));
    assert_eq!(once.len(), reasons.len() - 1);
    let sizes: Vec<usize> = halved.into_iter().map(size).collect();
    assert!(
        sizes.len() > 2 && sizes.is_sorted_by(|a, b| a > b),
        "{sizes:?}"
    );
    assert_eq!(sizes.last(), Some(&1));
    gateway.is_in("fhir", "up").await;
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
    gateway.has_delivered("fhir", 50).await;
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
    gateway.has_delivered("fhir", 60).await;
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
    gateway.has_delivered("fhir", 25).await;
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
    gateway.has_delivered("fhir", 30).await;
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
    gateway.has_delivered("fhir", 25).await;
    let counts = gateway.counts("fhir");
    assert_eq!(
        (counts["parked"], counts["waiting"], counts["dead"]),
        (1, 4, 0)
    );
    gateway
        .queue(&["release", "--state", "parked", "--give-up", "ticket 4711"])
        .expect(0);
    gateway.has_delivered("fhir", 29).await;
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
    gateway.has_delivered("fhir", 11).await;
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
    gateway.has_delivered("fhir", 1).await;
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
