//! A terminology server behind the code tables: asked for what they miss, remembered, and never in the way.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod support;

use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{Json, Router, http::StatusCode, routing::post};
use serde_json::{Value, json};
use support::{Command, FhirwayTest, Gateway};
use tokio::net::TcpListener;

const MAP: &str = "https://north.example/marital";

/// Knows that QQ is D (divorced), and nothing else.
struct Server {
    url: String,
    requests: Arc<AtomicUsize>,
    questions: Arc<AtomicUsize>,
    /// 0: well, 1: 503, 2: hangs.
    mode: Arc<AtomicUsize>,
}

impl Server {
    async fn start() -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Server {
            url: format!("http://{}/r4", listener.local_addr().unwrap()),
            requests: Arc::default(),
            questions: Arc::default(),
            mode: Arc::default(),
        };
        let (requests, questions) = (Arc::clone(&server.requests), Arc::clone(&server.questions));
        let mode = Arc::clone(&server.mode);
        let answer = move |Json(bundle): Json<Value>| {
            requests.fetch_add(1, Ordering::SeqCst);
            let (questions, mode) = (Arc::clone(&questions), mode.load(Ordering::SeqCst));
            async move {
                match mode {
                    0 => {}
                    1 => return Err(StatusCode::SERVICE_UNAVAILABLE),
                    _ => tokio::time::sleep(Duration::from_secs(60)).await,
                }
                let entries = bundle["entry"].as_array().unwrap();
                questions.fetch_add(entries.len(), Ordering::SeqCst);
                let answers: Vec<Value> = entries.iter().map(answer_one).collect();
                Ok(Json(
                    json!({ "resourceType": "Bundle", "type": "batch-response", "entry": answers }),
                ))
            }
        };
        let router = Router::new().route("/r4", post(answer));
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        server
    }

    fn asked(&self) -> (usize, usize) {
        let count = |number: &AtomicUsize| number.load(Ordering::SeqCst);
        (count(&self.requests), count(&self.questions))
    }

    fn becomes(&self, mode: usize) {
        self.mode.store(mode, Ordering::SeqCst);
    }
}

fn answer_one(entry: &Value) -> Value {
    assert_eq!(entry["request"]["method"], "GET");
    let url = entry["request"]["url"].as_str().unwrap();
    let (operation, query) = url.split_once('?').unwrap();
    assert_eq!(operation, "ConceptMap/$translate");
    let decode = |text: &str| {
        percent_encoding::percent_decode_str(text)
            .decode_utf8()
            .unwrap()
            .into_owned()
    };
    let value = |name: &str| {
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs
            .find(|(key, _)| *key == name)
            .map(|(_, value)| decode(value))
            .unwrap_or_default()
    };
    assert_eq!(value("url"), MAP);
    assert_eq!(value("system"), "urn:fhirway:system:NORTH:99L");
    match value("code").as_str() {
        "QQ" => json!({
            "response": { "status": "200 OK" },
            "resource": { "resourceType": "Parameters", "parameter": [
                { "name": "result", "valueBoolean": true },
                { "name": "match", "part": [
                    { "name": "equivalence", "valueCode": "equivalent" },
                    { "name": "concept", "valueCoding": { "system": "http://terminology.hl7.org/CodeSystem/v3-MaritalStatus", "code": "D", "display": "Divorced" } },
                ]},
            ]},
        }),
        "RR" => json!({ "response": { "status": "404 Not Found" } }),
        _ => json!({
            "response": { "status": "200 OK" },
            "resource": { "resourceType": "Parameters", "parameter": [{ "name": "result", "valueBoolean": false }] },
        }),
    }
}

fn registration(control_id: &str, marital: &str) -> String {
    format!(
        "MSH|^~\\&|ADT|NORTH|FHIRWAY|SITE|20260102030405+0000||ADT^A04^ADT_A01|{control_id}|P|2.5.1||||||UNICODE UTF-8\r\
         EVN|A04|20260102030405+0000\r\
         PID|1||{control_id}^^^NORTH&2.999.1&ISO^MR||Ashgrove^Cosima||19500101|F||||||||{marital}\r"
    )
}

fn overlay(folder: &Path, more: &str) {
    fs::create_dir_all(folder.join("tables")).unwrap();
    // It translates whatever system the sender names.
    let table = format!("extends: below\nsource: []\ntranslate: {MAP}\n{more}");
    fs::write(folder.join("tables/MaritalStatus.yaml"), table).unwrap();
}

async fn gateway(terminology: Value, more: &str) -> Gateway {
    let test = FhirwayTest::embedded();
    let site = test.folder().join("site");
    overlay(&site, more);
    test.set("packages", json!({ "site": site }))
        .set("routes.lab.packages", json!(["shipped", "site"]))
        .set("routes.lab.terminology", terminology)
        .start()
        .await
}

async fn codes(gateway: &Gateway, number: &str) -> Vec<String> {
    let query = format!("/fhir/Patient?identifier=urn:oid:2.999.1%7C{number}");
    let (status, body) = gateway.get("repository", &query).await;
    assert_eq!(status, 200, "{body}");
    let bundle: Value = serde_json::from_str(&body).unwrap();
    let status = &bundle["entry"][0]["resource"]["maritalStatus"]["coding"];
    let codings = status.as_array().cloned().unwrap_or_default();
    codings
        .iter()
        .map(|coding| coding["code"].as_str().unwrap().to_owned())
        .collect()
}

const LOOKUPS: &str = "fhirway_terminology_lookups_total";

#[tokio::test(flavor = "multi_thread")]
async fn what_no_table_lists_is_asked_once_and_remembered() {
    let server = Server::start().await;
    let gateway = gateway(json!({ "url": server.url }), "").await;
    let mut client = gateway.connect().await;
    for (number, code) in [
        ("1", "QQ^Odd^99L"),
        ("2", "QQ^Odd^99L"),
        ("3", "ZZ^Odder^99L"),
        ("4", "ZZ^Odder^99L"),
        ("5", "RR^None^99L"),
        ("6", "M"),
    ] {
        client.send(registration(&format!("A{number}"), code)).await;
        gateway
            .has_delivered("repository", number.parse().unwrap())
            .await;
    }
    // Translated, with the code of the sender beside it; the same in the message behind it.
    assert_eq!(codes(&gateway, "A1").await, ["D", "QQ"]);
    assert_eq!(codes(&gateway, "A2").await, ["D", "QQ"]);
    // What the server does not know stays as the table says.
    assert_eq!(codes(&gateway, "A3").await, ["ZZ"]);
    assert_eq!(codes(&gateway, "A5").await, ["RR"]);
    assert_eq!(codes(&gateway, "A6").await, ["M"]);
    assert_eq!(server.asked(), (3, 3), "each code once");
    let lookups = async |outcome: &str| {
        gateway
            .metric(&format!("{LOOKUPS}{{outcome=\"{outcome}\",route=\"lab\"}}"))
            .await
    };
    assert!((lookups("translated").await - 1.0).abs() < 0.1);
    assert!((lookups("unknown").await - 2.0).abs() < 0.1);
    // A translated code is no miss.
    let misses = Command::new(["mapping", "misses", "--format", "json", "--data"])
        .arg(gateway.folder().join("data"))
        .run()
        .expect(0)
        .json();
    assert!(!misses.to_string().contains("\"QQ\""), "{misses}");
    assert!(misses.to_string().contains("\"ZZ\""), "{misses}");
    assert!(!gateway.log().contains("QQ"), "no code in a log");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_does_not_stop_a_feed() {
    let server = Server::start().await;
    server.becomes(2);
    let gateway = gateway(json!({ "url": server.url, "deadline": "200ms" }), "").await;
    let mut client = gateway.connect().await;
    let count = 30;
    for number in 0..count {
        client
            .send(registration(&format!("B{number}"), "QQ^Odd^99L"))
            .await;
    }
    gateway.has_delivered("repository", count).await;
    assert_eq!(codes(&gateway, "B0").await, ["QQ"]);
    // The circuit opened: not every message has waited.
    let (requests, _) = server.asked();
    assert!((1..20).contains(&requests), "{requests}");
    assert_eq!(gateway.counts("repository")["dead"], 0);
    assert!(gateway.log().contains("terminology_unavailable"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_may_wait_for_its_server() {
    let server = Server::start().await;
    server.becomes(1);
    let terminology = json!({ "url": server.url, "on_failure": "park" });
    let gateway = gateway(terminology, "miss: fail\n").await;
    let mut client = gateway.connect().await;
    client.send(registration("C1", "QQ^Odd^99L")).await;
    support::eventually("it is parked", async || {
        (gateway.counts("repository")["parked"] == 1).then_some(())
    })
    .await;
    let parked = gateway.queue_json(&["list", "--state", "parked"]);
    assert_eq!(parked[0]["reason"], "terminology", "{parked}");
    assert!(!parked.to_string().contains("QQ"));
    server.becomes(0);
    let record = parked[0]["record"].to_string();
    // A failing server is asked again after a pause.
    tokio::time::sleep(Duration::from_millis(500)).await;
    gateway.queue(&["release", &record]).expect(0);
    gateway.has_delivered("repository", 1).await;
    // Although the table fails what it does not list.
    assert_eq!(codes(&gateway, "C1").await, ["D", "QQ"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn convert_asks_as_well_and_goes_on_without() {
    let server = Server::start().await;
    let folder = tempfile::TempDir::new().unwrap();
    overlay(&folder.path().join("site"), "");
    let messages: String = ["QQ^Odd^99L", "ZZ^Odder^99L", "QQ^Odd^99L"]
        .iter()
        .enumerate()
        .map(|(number, code)| registration(&format!("D{number}"), code))
        .collect();
    fs::write(folder.path().join("all.hl7"), messages).unwrap();
    let url = server.url.clone();
    let path = folder.path().to_owned();
    let convert = move |url: String| {
        let path = path.clone();
        tokio::task::spawn_blocking(move || {
            Command::new([
                "convert",
                "--ndjson",
                "--jobs",
                "1",
                "--overlay",
                "site",
                "--terminology",
                &url,
                "all.hl7",
            ])
            .folder(&path)
            .run()
            .expect(0)
        })
    };
    let codes = |ran: &support::Ran| -> Vec<String> {
        let patients = ran.lines().into_iter().flat_map(|bundle| {
            let entries = bundle["entry"].as_array().unwrap().clone();
            entries.into_iter().map(|entry| entry["resource"].clone())
        });
        patients
            .filter(|resource| resource["resourceType"] == "Patient")
            .map(|patient| {
                patient["maritalStatus"]["coding"][0]["code"]
                    .as_str()
                    .unwrap()
                    .to_owned()
            })
            .collect()
    };
    let ran = convert(url.clone()).await.unwrap();
    assert_eq!(codes(&ran), ["D", "ZZ", "D"]);
    assert_eq!(server.asked(), (2, 2));
    server.becomes(1);
    let ran = convert(url).await.unwrap();
    assert_eq!(codes(&ran), ["QQ", "ZZ", "QQ"]);
    assert!(
        ran.stderr
            .contains("the terminology server does not answer"),
        "{}",
        ran.stderr
    );
}
