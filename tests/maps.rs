//! The maps of a gateway that runs: new ones under traffic, mistakes in them, and messages that cost too much.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod support;

use std::{fs, path::Path};

use serde_json::json;
use support::{Command, Feed, FhirServer, FhirwayTest, Gateway, Ran, eventually, update};

/// An overlay that puts a title of ours into every Patient.
fn titled(title: &str) -> String {
    format!("extends: below\nphoto: [ {{ title: {title} }} ]\n")
}

fn write(folder: &Path, map: &str) {
    let folder = folder.join("site/segments/PID");
    fs::create_dir_all(&folder).unwrap();
    // As editors save: a new file takes the place of the old one.
    let new = folder.join(".Patient.yaml.new");
    fs::write(&new, map).unwrap();
    fs::rename(&new, folder.join("Patient.yaml")).unwrap();
}

/// A gateway with that overlay.
async fn with_overlay(server: &FhirServer, watch: bool) -> Gateway {
    let test = FhirwayTest::new().destination("fhir", server);
    write(test.folder(), &titled("first"));
    let site = test.folder().join("site");
    test.set("packages", json!({ "site": site }))
        .set("mapping", json!({ "watch": watch }))
        .set("routes.lab.packages", json!(["shipped", "site"]))
        .start()
        .await
}

/// Which title each request has, in their order.
fn titles(server: &FhirServer) -> Vec<&'static str> {
    server
        .requests()
        .iter()
        .map(|request| {
            let body = request.bundle.to_string();
            let has = |title: &str| body.contains(&format!("\"title\":\"{title}\""));
            match (has("first"), has("second")) {
                (true, false) => "first",
                (false, true) => "second",
                other => panic!("{other:?} {body}"),
            }
        })
        .collect()
}

fn reload(gateway: &Gateway) -> Ran {
    Command::new(["mapping", "reload", "--data"])
        .arg(gateway.folder().join("data"))
        .run()
}

const SUCCESSFUL: &str = "fhirway_mapping_last_reload_successful";

fn reloads(outcome: &str) -> String {
    format!("fhirway_mapping_reloads_total{{outcome=\"{outcome}\"}}")
}

#[tokio::test(flavor = "multi_thread")]
async fn new_maps_come_into_force_under_traffic_and_nothing_is_lost() {
    let server = FhirServer::start().await;
    let gateway = with_overlay(&server, true).await;
    let mut feed = Feed::default();
    feed.send(&gateway, 40).await;
    write(gateway.folder(), &titled("second"));
    // Messages go on while the packages are read.
    while gateway.metric(&reloads("reloaded")).await < 1.0 {
        feed.send(&gateway, 5).await;
    }
    feed.send(&gateway, 40).await;
    server.has_stored(feed.len()).await;
    gateway.drained().await;
    feed.arrived(&server);
    assert_eq!(gateway.counts("total")["dead"], 0);
    let titles = titles(&server);
    assert_eq!(titles[..40.min(titles.len())][0], "first");
    assert_eq!(
        titles[titles.len() - 40..],
        ["second"; 40],
        "the new maps are in force"
    );
    assert!(gateway.metric(SUCCESSFUL).await > 0.5);
    let log = gateway.log();
    assert!(
        log.contains("mapping_in_force") && log.contains("shipped+site"),
        "{log}"
    );
    let (_, metrics) = gateway.get("admin", "/metrics").await;
    let infos = metrics
        .lines()
        .filter(|line| line.starts_with("fhirway_mapping_package_info{"));
    assert_eq!(infos.count(), 1, "only what is in force\n{metrics}");
}

/// Profiles are files of the package as maps are: a broken one keeps what was there, a good one comes into force.
#[tokio::test(flavor = "multi_thread")]
async fn profiles_are_read_again_with_the_maps() {
    let server = FhirServer::start().await;
    let gateway = with_overlay(&server, true).await;
    let hash = async || {
        let (_, metrics) = gateway.get("admin", "/metrics").await;
        let mut lines = metrics.lines();
        let info = lines.find(|line| line.starts_with("fhirway_mapping_package_info{"));
        info.unwrap().to_owned()
    };
    let before = hash().await;
    let folder = gateway.folder().join("site/profiles");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("p.json"), "{ \"resourceType\": \"Patient\" }").unwrap();
    gateway
        .metric_becomes(SUCCESSFUL, |value| value < 0.5)
        .await;
    assert_eq!(hash().await, before);
    assert!(gateway.log().contains("no StructureDefinition"));
    let profile = r#"{"resourceType":"StructureDefinition","url":"https://e.org/p","fhirVersion":"4.0.1","type":"Patient","differential":{"element":[{"path":"Patient.photo","max":"0"}]}}"#;
    fs::write(folder.join("p.json"), profile).unwrap();
    gateway
        .metric_becomes(SUCCESSFUL, |value| value > 0.5)
        .await;
    assert_ne!(hash().await, before, "the profile is part of the package");
    let checked = Command::new(["mapping", "check", "--format", "json"])
        .arg(gateway.folder().join("site"))
        .run();
    assert!(!checked.stdout.contains("M051"), "{checked:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mistake_keeps_the_old_maps_and_is_told() {
    let server = FhirServer::start().await;
    let gateway = with_overlay(&server, true).await;
    assert!(gateway.metric(SUCCESSFUL).await > 0.5);
    write(
        gateway.folder(),
        "extends: below\nphot: [ { title: second } ]\n",
    );
    gateway
        .metric_becomes(SUCCESSFUL, |value| value < 0.5)
        .await;
    let mut client = gateway.connect().await;
    client.send(update("M1", "P1", "Cosima")).await;
    gateway.has_delivered("fhir", 1).await;
    assert_eq!(titles(&server), ["first"]);
    eventually("the log tells where", async || {
        let log = gateway.log();
        let line = log
            .lines()
            .find(|line| line.contains("mapping_reload_failed"))?;
        assert!(
            line.contains("Patient.yaml:2:1") && line.contains("phot"),
            "{line}"
        );
        Some(())
    })
    .await;
    // A folder that is gone for a moment is a mistake as well, and mended by coming back.
    write(gateway.folder(), &titled("second"));
    gateway
        .metric_becomes(SUCCESSFUL, |value| value > 0.5)
        .await;
    client.send(update("M2", "P1", "Cosima")).await;
    gateway.has_delivered("fhir", 2).await;
    assert_eq!(titles(&server), ["first", "second"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_watching_a_person_chooses_the_moment() {
    let server = FhirServer::start().await;
    let mut gateway = with_overlay(&server, false).await;
    let ran = reload(&gateway).expect(0);
    assert!(
        ran.stdout.contains("shipped+site: unchanged, hash "),
        "{ran:?}"
    );

    write(gateway.folder(), &titled("second"));
    let ran = reload(&gateway).expect(0);
    assert!(
        ran.stdout.contains("shipped+site: in force, hash "),
        "{ran:?}"
    );
    let mut client = gateway.connect().await;
    client.send(update("M1", "P1", "Cosima")).await;
    gateway.has_delivered("fhir", 1).await;
    assert_eq!(titles(&server), ["second"]);

    write(
        gateway.folder(),
        "extends: below\nphoto: [ { titel: third } ]\n",
    );
    let ran = reload(&gateway).expect(1);
    for part in [
        "the old maps stay in force",
        "Patient.yaml:2:12",
        "did you mean `title`?",
    ] {
        assert!(ran.stderr.contains(part), "{part}\n{}", ran.stderr);
    }
    assert!(gateway.metric(SUCCESSFUL).await < 0.5);

    write(gateway.folder(), &titled("first"));
    gateway.signal("HUP");
    gateway
        .metric_becomes(SUCCESSFUL, |value| value > 0.5)
        .await;
    client.send(update("M2", "P1", "Cosima")).await;
    gateway.has_delivered("fhir", 2).await;
    assert_eq!(titles(&server), ["second", "first"]);

    gateway.stop().await;
    let ran = reload(&gateway).expect(1);
    assert!(ran.stderr.contains("no gateway runs"), "{ran:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_costs_too_much_is_a_dead_letter_and_the_feed_goes_on() {
    let server = FhirServer::start().await;
    let gateway = FhirwayTest::new()
        .destination("fhir", &server)
        .set("mapping", json!({ "limits": { "steps": 3000 } }))
        .start()
        .await;
    let numbers = vec!["555"; 5000].join("~");
    let endless = update("L1", "P1", "Cosima")
        .replace("||19500101|F", &format!("||19500101|F|||||{numbers}"));
    let mut client = gateway.connect().await;
    client.send(endless).await;
    client.send(update("L2", "P1", "Cosima")).await;
    gateway.drained().await;
    assert_eq!(server.effects(), ["L2"]);
    let dead = gateway.queue_json(&["dead-letters"]).to_string();
    assert!(dead.contains("\"mapping\""), "{dead}");
    let log = gateway.log();
    assert!(
        log.contains("needs more than 3,000 rules (mappings/"),
        "{log}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_no_package_has_stops_the_start() {
    let test = FhirwayTest::embedded().set("routes.lab.policies", json!({ "provenence": "off" }));
    let config = test.write_config();
    let ran = Command::new(["serve", "--config"])
        .arg(config)
        .run()
        .expect(1);
    assert!(
        ran.stderr
            .contains("routes.lab.policies.provenence: there is no such policy"),
        "{ran:?}"
    );
}
