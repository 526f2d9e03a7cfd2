//! `fhirway upstream check`, and what the gateway makes of the same at its start.

use serde_json::{Value, json};

use crate::support::{Command, Feed, FhirServer, FhirwayTest, eventually, statement};

/// A statement that lacks transactions, and says nothing of a type that every message needs.
fn lacking() -> Value {
    let mut statement = statement();
    let rest = &mut statement["rest"][0];
    rest["interaction"] = json!([{ "code": "batch" }]);
    let resources = rest["resource"].as_array_mut().unwrap();
    resources.retain(|resource| resource["type"] != "Provenance");
    for resource in resources {
        if resource["type"] == "Patient" {
            resource["conditionalUpdate"] = json!(false);
        }
    }
    statement
}

fn check(test: &FhirwayTest, arguments: &[&str]) -> Command {
    Command::new(["upstream", "check"])
        .args(arguments)
        .arg("--config")
        .arg(test.write_config())
}

#[tokio::test(flavor = "multi_thread")]
async fn it_prints_what_is_needed_and_what_is_missing() {
    let server = FhirServer::start().await;
    let test = FhirwayTest::new().destination("fhir", &server);
    let all = check(&test, &[]).run().expect(0).stdout;
    for expected in [
        "VERDICT",
        "transaction",
        "lab",
        "everything that is needed is offered",
    ] {
        assert!(all.contains(expected), "{expected}: {all}");
    }
    assert!(!all.contains('\x1b'), "no colours without a terminal");

    server.says(lacking());
    let some = check(&test, &["fhir"]).run().expect(1).stdout;
    let line = |start: &str| {
        let line = some
            .lines()
            .find(|line| line.trim_start().starts_with(start));
        line.unwrap_or_else(|| panic!("{start}: {some}")).to_owned()
    };
    assert!(line("Provenance").ends_with("missing"));
    assert!(
        line("Patient ").contains("conditionalUpdate") && line("Patient ").ends_with("missing")
    );
    assert!(line("Observation ").ends_with("ok"));

    let json: Value =
        serde_json::from_str(&check(&test, &["--json"]).run().expect(1).stdout).unwrap();
    assert_eq!(
        (&json[0]["destination"], &json[0]["sufficient"]),
        (&json!("fhir"), &json!(false))
    );
    let missing: Vec<&str> = json[0]["findings"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|finding| finding["verdict"] == "missing")
        .map(|finding| finding["of"].as_str().unwrap())
        .collect();
    assert_eq!(missing, ["server", "Patient", "Provenance"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_away_and_a_wrong_name_are_told() {
    let server = FhirServer::away().await;
    let test = FhirwayTest::new().destination("fhir", &server);
    let told = check(&test, &[]).run().expect(1).stdout;
    assert!(
        told.contains("/metadata cannot be read") && told.contains("refused"),
        "{told}"
    );
    let told = check(&test, &["nowhere"]).run().expect(2).stderr;
    assert!(
        told.contains("there is no destination `nowhere`; there are: fhir"),
        "{told}"
    );
}

/// The embedded repository offers all that the shipped maps need.
#[test]
fn the_embedded_repository_is_enough() {
    let test = FhirwayTest::embedded();
    check(&test, &[]).run().expect(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn strict_does_not_start_and_warn_does() {
    let server = FhirServer::start().await;
    server.says(lacking());
    let strict = FhirwayTest::new()
        .destination("fhir", &server)
        .set("destinations.fhir.capability", json!({ "check": "strict" }));
    let refused = Command::new(["serve", "--config"])
        .arg(strict.write_config())
        .run()
        .expect(1);
    for expected in [
        "destination `fhir`",
        "Provenance",
        "fhirway upstream check fhir",
    ] {
        assert!(
            refused.stderr.contains(expected),
            "{expected}: {}",
            refused.stderr
        );
    }

    let gateway = FhirwayTest::new()
        .destination("fhir", &server)
        .start()
        .await;
    let log = || {
        let log = gateway.log();
        let told = log
            .lines()
            .filter(|line| line.contains("capabilities_missing"));
        told.count()
    };
    eventually("it is told", async || (log() == 1).then_some(())).await;
    gateway
        .metric_becomes(
            "fhirway_capability_missing{destination=\"fhir\"}",
            |count| count == 3.0,
        )
        .await;
    // It is a warning: what can be delivered is.
    let mut feed = Feed::default();
    feed.send(&gateway, 3).await;
    server.has_stored(3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_away_at_the_start_stops_only_the_strict() {
    let server = FhirServer::away().await;
    let strict = FhirwayTest::new()
        .destination("fhir", &server)
        .set("destinations.fhir.capability", json!({ "check": "strict" }));
    let refused = Command::new(["serve", "--config"])
        .arg(strict.write_config())
        .run()
        .expect(1);
    assert!(
        refused.stderr.contains("/metadata cannot be read"),
        "{}",
        refused.stderr
    );

    let gateway = FhirwayTest::new()
        .destination("fhir", &server)
        .start()
        .await;
    gateway
        .metric_becomes(
            "fhirway_capability_checks_total{destination=\"fhir\",result=\"failed\"}",
            |count| count == 1.0,
        )
        .await;
}
