//! Where a message goes, and how fast: what destinations take, mirrors, rates.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod support;

use std::{collections::BTreeSet, time::Instant};

use serde_json::json;
use support::{Answer, FhirServer, FhirwayTest, admit, results, update};

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

/// A share of the patients, whole; their order too. The main server gets everything.
#[tokio::test(flavor = "multi_thread")]
async fn a_share_of_the_patients_is_mirrored_whole() {
    const PATIENTS: usize = 60;
    let (main, test) = (FhirServer::start().await, FhirServer::start().await);
    let gateway = FhirwayTest::new()
        .destination("main", &main)
        .set("destinations.test", json!({ "url": test.base_url() }))
        .set(
            "routes.lab.mirror",
            json!({ "to": "test", "share": "30%", "policies": { "message-header": "off" } }),
        )
        .start()
        .await;
    let mut client = gateway.connect().await;
    for round in 0..3 {
        for n in 0..PATIENTS {
            let (id, patient) = (format!("M{round}-{n}"), format!("P{n}"));
            client
                .send(update(&id, &patient, &format!("G{round}")))
                .await;
        }
    }
    gateway.drained().await;
    assert_eq!(main.stored().len(), 3 * PATIENTS);
    let mirrored = test.effects();
    let patients: BTreeSet<&str> = mirrored
        .iter()
        .map(|id| id.split_once('-').unwrap().1)
        .collect();
    assert!((5..35).contains(&patients.len()), "{patients:?}");
    assert_eq!(mirrored.len(), 3 * patients.len(), "all or nothing");
    assert_eq!(test.overlaps(), Vec::<String>::new());
    for patient in patients {
        let order: Vec<&String> = mirrored
            .iter()
            .filter(|id| id.split_once('-').unwrap().1 == patient)
            .collect();
        assert!(order.is_sorted(), "{order:?}");
    }
    // The mirror has maps of its own; MSH-11 is what the sender wrote.
    let bundle = |server: &FhirServer| server.requests()[0].bundle.to_string();
    assert!(bundle(&main).contains("\"MessageHeader\""));
    assert!(!bundle(&test).contains("\"MessageHeader\""));
}

/// A test server that refuses, or is away, costs the feed nothing: no dead letter, no alarm, no messages that wait for ever.
#[tokio::test(flavor = "multi_thread")]
async fn what_fails_at_a_mirror_concerns_nobody() {
    let (main, test) = (FhirServer::start().await, FhirServer::start().await);
    test.answer(|_| Answer::status(422));
    let gateway = FhirwayTest::new()
        .destination("main", &main)
        .set(
            "destinations.test",
            json!({
                "url": test.base_url(),
                "retry": { "initial": "20ms", "max": "200ms" },
                "breaker": { "failures": 2, "first_pause": "1s", "longest_pause": "60s" },
            }),
        )
        .set(
            "routes.lab.mirror",
            json!({ "to": "test", "max_age": "2s" }),
        )
        .set("routes.lab.on_poison", json!("stop_destination"))
        .start()
        .await;
    let mut client = gateway.connect().await;
    client.send(admit("A1", "A")).await;
    client.send(update("A2", "A", "Cosima")).await;
    gateway.drained().await;
    assert_eq!(main.effects(), ["A1", "A2"]);
    let counts = gateway.counts("test");
    assert_eq!((counts["filtered"], counts["dead"]), (2, 0), "{counts:?}");
    let paused = &gateway.queue_json(&["status"])["destinations"]["test"]["paused"];
    assert!(paused.is_null(), "{paused}");
    let failures = "fhirway_mirror_failures_total{destination=\"test\",reason=\"permanent\"}";
    gateway.metric_becomes(failures, |count| count == 2.0).await;
    assert_eq!(
        gateway
            .metric("fhirway_destination_mirror{destination=\"test\"}")
            .await,
        1.0
    );

    test.go_away().await;
    for n in 0..5 {
        client.send(update(&format!("B{n}"), "B", "Cosima")).await;
    }
    main.has_stored(7).await;
    // Nobody brings it back; what is too old is let go of all the same.
    gateway.drained().await;
    let counts = gateway.counts("test");
    assert_eq!((counts["filtered"], counts["dead"]), (7, 0), "{counts:?}");
}

/// A mirror that is a destination of the feed as well would raise alarms, or hide them.
#[test]
fn a_mirror_has_a_destination_of_its_own() {
    let test = FhirwayTest::embedded().set("routes.lab.mirror", json!({ "to": "repository" }));
    let checked = support::Command::new(["config", "check"])
        .arg(test.write_config())
        .run()
        .expect(1);
    assert!(
        checked
            .stderr
            .contains("is a destination of routes.lab too")
            || checked
                .stdout
                .contains("is a destination of routes.lab too"),
        "{}{}",
        checked.stdout,
        checked.stderr
    );
}

/// No more than the rate, whatever waits.
#[tokio::test(flavor = "multi_thread")]
async fn a_destination_gets_no_more_than_its_rate() {
    let (slow, fast) = (FhirServer::start().await, FhirServer::start().await);
    let gateway = FhirwayTest::new()
        .destination("slow", &slow)
        .destination("fast", &fast)
        .set("destinations.slow.rate", json!("20/s"))
        .start()
        .await;
    let started = Instant::now();
    let mut client = gateway.connect().await;
    for n in 0..60 {
        client
            .send(update(&format!("R{n:02}"), &format!("P{n}"), "Cosima"))
            .await;
    }
    fast.has_stored(60).await;
    gateway.drained().await;
    // 60 messages at 20 a second, of which two are there at the start: never less than 2.9 seconds.
    let took = started.elapsed().as_secs_f64();
    assert!(took >= 2.85, "{took} s");
    assert_eq!(slow.stored().len(), 60);
}
