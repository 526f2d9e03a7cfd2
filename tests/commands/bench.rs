//! `fhirway bench`: short runs, of which only the sums are looked at; how fast it was is the machine's affair.

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{Command, FhirServer, FhirwayTest, Ran};

fn bench(arguments: &[&str]) -> Ran {
    Command::new(["bench"].iter().chain(arguments)).run()
}

fn number(results: &Value, name: &str) -> f64 {
    results[name]
        .as_f64()
        .unwrap_or_else(|| panic!("no {name} in {results}"))
}

#[test]
fn a_gateway_of_its_own_is_measured_and_leaves_nothing_behind() {
    let folder = TempDir::new().unwrap();
    let (disk, page) = (folder.path().join("disk"), folder.path().join("load.html"));
    std::fs::create_dir(&disk).unwrap();
    let ran = bench(&[
        "--connections",
        "4",
        "--messages",
        "200",
        "--bare",
        "100ms",
        "--json",
        "--data",
        disk.to_str().unwrap(),
        "--report",
        page.to_str().unwrap(),
    ])
    .expect(0);
    let results = ran.json();
    for (name, value) in [
        ("acknowledged", 200),
        ("negative_or_missing", 0),
        ("delivered", 200),
        ("connections", 4),
    ] {
        assert_eq!(results[name], value, "{name} in {results}");
    }
    for name in [
        "acknowledged_per_second",
        "bare_appends_per_second",
        "ratio_to_bare",
        "memory_at_most_bytes",
        "bytes",
    ] {
        assert!(number(&results, name) > 0.0, "{name} in {results}");
    }
    let latency = &results["ack_ms"];
    let [p50, p90, p99, max] = ["p50", "p90", "p99", "max"].map(|name| number(latency, name));
    assert!(
        0.0 < p50 && p50 <= p90 && p90 <= p99 && p99 <= max,
        "{latency}"
    );
    let samples = results["samples"].as_array().unwrap();
    assert_eq!(samples.last().unwrap()["backlog"], 0, "{results}");

    let page = std::fs::read_to_string(page).unwrap();
    for part in ["<svg", "<polyline", "200 messages, ", "Resident memory"] {
        assert!(page.contains(part), "{part} in {page}");
    }
    for outside in ["src=", "<link", "url(", "@import"] {
        assert!(!page.contains(outside), "{outside} in {page}");
    }
    assert_eq!(std::fs::read_dir(&disk).unwrap().count(), 0, "not removed");
}

#[test]
fn with_the_destination_down_everything_waits() {
    let ran = bench(&[
        "--down",
        "--connections",
        "2",
        "--messages",
        "150",
        "--bare",
        "0s",
        "--json",
    ])
    .expect(0);
    let results = ran.json();
    assert_eq!(results["acknowledged"], 150, "{results}");
    assert_eq!(results["delivered"], 0, "{results}");
    assert_eq!(results["backlog_at_most"], 150, "{results}");
    assert_eq!(results["ratio_to_bare"], Value::Null, "{results}");
    assert_eq!(results["drain_seconds"], Value::Null, "{results}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_runs_is_sent_to_and_asked() {
    let server = FhirServer::start().await;
    let mut gateway = FhirwayTest::new()
        .destination("fhir", &server)
        .start()
        .await;
    let (target, admin) = (
        gateway.address("lab").to_string(),
        gateway.address("admin").to_string(),
    );
    let arguments = [
        "--target",
        &target,
        "--connections",
        "3",
        "--messages",
        "30",
        "--rate",
        "1000",
        "--bare",
        "0s",
    ];
    let ran = bench(&arguments).expect(0);
    assert!(ran.stdout.contains("30 messages"), "{}", ran.stdout);
    assert!(!ran.stdout.contains("memory"), "{}", ran.stdout);
    let ran = bench(&[&arguments[..], &["--metrics", &admin]].concat()).expect(0);
    assert!(ran.stdout.contains("memory"), "{}", ran.stdout);
    // Two runs invent different messages.
    let acks = gateway
        .metric("fhirway_acks_total{ack_code=\"AA\",listener=\"lab\"}")
        .await;
    assert!((acks - 60.0).abs() < f64::EPSILON, "{acks}");
    gateway.stop().await;
}

#[test]
fn what_cannot_be_measured_is_told_at_once() {
    let ran = bench(&["--rate", "0"]).expect(2);
    assert!(
        ran.stderr.contains("--rate must be greater than 0"),
        "{}",
        ran.stderr
    );
    let ran = bench(&["--report", "/no/such/folder/load.html"]).expect(2);
    assert!(ran.stderr.contains("cannot write"), "{}", ran.stderr);
    let ran = bench(&["--target", "127.0.0.1:1", "--bare", "0s"]).expect(1);
    assert!(
        ran.stderr.contains("cannot connect to 127.0.0.1:1"),
        "{}",
        ran.stderr
    );
    bench(&["--metrics", "127.0.0.1:1"]).expect(2);
}
