//! The same messages into the embedded repository and into HAPI FHIR's JPA server: the same final state in both.
//!
//! Not a part of `make test`: the server is 280 MB of downloads. `make interop` builds it and runs this.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead, BufReader},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use serde_json::{Value, json};
use support::{FhirwayTest, Gateway};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// HAPI FHIR on loopback, with a database in memory. It ends with this value, and with the test, however that ends.
struct Hapi {
    process: Child,
    base: String,
}

impl Hapi {
    fn start() -> Self {
        let folder = PathBuf::from(std::env::var("FHIRWAY_INTEROP_SERVER").unwrap_or_else(|_| {
            panic!("FHIRWAY_INTEROP_SERVER names no built server: run `make interop`")
        }));
        let class_path = format!("{0}/classes:{0}/lib/*", folder.display());
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .unwrap()
            .port();
        let mut process = Command::new("java")
            .args([
                "-Xmx2g",
                "-cp",
                &class_path,
                "FhirServer",
                &port.to_string(),
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("java runs");
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let ready = lines.any(|line| line.is_ok_and(|line| line == "ready"));
        assert!(ready, "HAPI FHIR has ended before it was ready");
        Self {
            process,
            base: format!("http://127.0.0.1:{port}/fhir"),
        }
    }
}

impl Drop for Hapi {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

async fn get(url: &str) -> Value {
    let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
    let answer = client.get(url.parse().unwrap()).await.unwrap();
    let status = answer.status();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    assert!(
        status.is_success(),
        "{url}: {status}: {}",
        String::from_utf8_lossy(&body)
    );
    serde_json::from_slice(&body).unwrap()
}

/// What a server has: each resource under a name that does not depend on who stores it.
type Contents = BTreeMap<String, Value>;

async fn contents(base: &str, types: &[String]) -> Contents {
    let mut found = Vec::new();
    for name in types {
        let mut next = Some(format!("{base}/{name}?_count=200"));
        while let Some(url) = next {
            let page = get(&url).await;
            let entries = page["entry"].as_array().cloned().unwrap_or_default();
            found.extend(entries.into_iter().map(|entry| entry["resource"].clone()));
            let links = page["link"].as_array().cloned().unwrap_or_default();
            next = links
                .iter()
                .find(|link| link["relation"] == "next")
                .map(|link| link["url"].as_str().unwrap().to_owned());
        }
    }
    let names: BTreeMap<String, String> = found
        .iter()
        .map(|resource| (reference_to(resource), name_of(resource)))
        .collect();
    let mut contents = Contents::new();
    for mut resource in found {
        let name = name_of(&resource);
        let fields = resource.as_object_mut().unwrap();
        fields.remove("id");
        if let Some(meta) = fields.get_mut("meta").and_then(Value::as_object_mut) {
            for made_by_server in ["versionId", "lastUpdated", "source"] {
                meta.remove(made_by_server);
            }
            if meta.is_empty() {
                fields.remove("meta");
            }
        }
        rename(&mut resource, &names);
        let other = contents.insert(name.clone(), resource);
        assert!(other.is_none(), "{base} has {name} twice");
    }
    contents
}

fn reference_to(resource: &Value) -> String {
    format!(
        "{}/{}",
        resource["resourceType"].as_str().unwrap(),
        resource["id"].as_str().unwrap()
    )
}

/// By its identifiers, which we made; what has none was written with an id that we made.
fn name_of(resource: &Value) -> String {
    let identifiers = match &resource["identifier"] {
        Value::Array(many) => many.clone(),
        Value::Null => Vec::new(),
        one => vec![one.clone()],
    };
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut values: Vec<String> = identifiers
        .iter()
        .map(|each| format!("{}|{}", text(&each["system"]), text(&each["value"])))
        .collect();
    values.sort_unstable();
    if values.is_empty() {
        return reference_to(resource);
    }
    format!("{}?{}", text(&resource["resourceType"]), values.join(","))
}

/// References name what they point at, without a version.
fn rename(value: &mut Value, names: &BTreeMap<String, String>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                match value {
                    Value::String(text) if key == "reference" => {
                        let plain = text.split("/_history/").next().unwrap();
                        if let Some(name) = names.get(plain) {
                            *text = name.clone();
                        }
                    }
                    value => rename(value, names),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| rename(item, names)),
        _ => {}
    }
}

/// All golden inputs of the shipped maps, and the examples.
fn messages(into: &Path) -> usize {
    let mut count = 0;
    for folder in ["mappings/tests", "examples/messages"] {
        let mut files: Vec<_> = std::fs::read_dir(Path::new(ROOT).join(folder))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|ending| ending == "hl7"))
            // Acknowledgements are never stored.
            .filter(|path| {
                !path
                    .file_name()
                    .unwrap()
                    .to_string_lossy()
                    .starts_with("ack-")
            })
            .collect();
        files.sort();
        for file in files {
            let name = format!("{count:04}-{}", file.file_name().unwrap().to_string_lossy());
            std::fs::copy(&file, into.join(name)).unwrap();
            count += 1;
        }
    }
    count
}

/// Everything that came to an end at a destination: state and reason of each record.
fn ends(gateway: &Gateway, destination: &str) -> BTreeMap<u64, (String, String)> {
    let lines = gateway.queue_json(&["list", "--destination", destination, "--limit", "10000"]);
    let lines = lines
        .as_array()
        .cloned()
        .unwrap_or_else(|| lines["records"].as_array().unwrap().clone());
    lines
        .iter()
        .map(|line| {
            let text = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
            let mut reason = text("reason");
            if text("state") == "dead" {
                let shown = gateway.queue_json(&["show", &line["record"].to_string()]);
                let deliveries = shown["deliveries"].as_array().unwrap();
                let here = deliveries
                    .iter()
                    .find(|each| each["destination"] == destination);
                reason = format!("{reason}: {}", here.unwrap()["detail"]);
            }
            (line["record"].as_u64().unwrap(), (text("state"), reason))
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn hapi_fhir_and_the_embedded_repository_end_up_the_same() {
    let hapi = Hapi::start();
    let everything = json!(["P", "T", "D"]);
    let gateway = FhirwayTest::embedded()
        .set(
            "destinations.hapi",
            json!({ "url": hapi.base, "processing": everything, "concurrency": 1, "timeout": "120s" }),
        )
        .set("destinations.repository.concurrency", json!(1))
        .set("routes.lab.destinations", json!(["repository", "hapi"]))
        // What two messages say of one thing depends on which comes last, so there is one order for all.
        .set("routes.lab.ordering", json!("listener"))
        .start()
        .await;
    let folder = gateway.folder().join("messages");
    std::fs::create_dir(&folder).unwrap();
    let count = messages(&folder);
    let send = || {
        support::Command::new(["send", "--format", "json", "--to"])
            .arg(gateway.address("lab").to_string())
            .arg(&folder)
            .run()
    };

    // Once, and once again: the same ACKs, and no second effect.
    let first = send().json();
    gateway.drained().await;
    let second = send().json();
    gateway.drained().await;
    assert_eq!(first["positive"], second["positive"]);
    println!("{count} files: {first}");

    let repository = format!("http://{}/fhir", gateway.address("repository"));
    let types: Vec<String> = get(&format!("{repository}/metadata")).await["rest"][0]["resource"]
        .as_array()
        .unwrap()
        .iter()
        .map(|each| each["type"].as_str().unwrap().to_owned())
        .collect();
    same_ends(&gateway);
    let once = same_contents(&repository, &hapi.base, &types).await;

    // And really delivered again, in the order of the first time.
    let delivered = gateway.counts("hapi")["delivered"];
    let dead = gateway.counts("hapi")["dead"];
    assert!(delivered > 150, "{delivered} messages say little");
    for destination in ["repository", "hapi"] {
        gateway
            .queue(&[
                "replay",
                "--state",
                "delivered",
                "--destination",
                destination,
                "--limit",
                "10000",
            ])
            .expect(0);
        gateway.drained().await;
    }
    for destination in ["repository", "hapi"] {
        let counts = gateway.counts(destination);
        assert_eq!(
            counts["delivered"],
            2 * delivered,
            "{destination}: {counts:?}"
        );
    }
    let again = same_contents(&repository, &hapi.base, &types).await;
    let (once, again): (BTreeSet<_>, BTreeSet<_>) = (once.keys().collect(), again.keys().collect());
    assert_eq!(once, again, "a second delivery makes nothing");
    println!(
        "{} resources of {} types, the same in both",
        once.len(),
        types.len()
    );
}

fn same_ends(gateway: &Gateway) {
    let (ours, theirs) = (ends(gateway, "repository"), ends(gateway, "hapi"));
    let differ: Vec<_> = ours
        .iter()
        .filter(|(record, end)| theirs.get(record).map(|other| &other.0) != Some(&end.0))
        .map(|(record, end)| {
            format!(
                "record {record}: here {end:?}, at HAPI {:?}",
                theirs.get(record)
            )
        })
        .collect();
    assert!(
        differ.is_empty(),
        "{} messages end differently:\n{}",
        differ.len(),
        differ.join("\n")
    );
}

async fn same_contents(ours: &str, theirs: &str, types: &[String]) -> Contents {
    let (ours, theirs) = (contents(ours, types).await, contents(theirs, types).await);
    let only = |these: &Contents, those: &Contents| -> Vec<String> {
        these
            .keys()
            .filter(|name| !those.contains_key(*name))
            .cloned()
            .collect()
    };
    let (here, there) = (only(&ours, &theirs), only(&theirs, &ours));
    assert!(
        here.is_empty() && there.is_empty(),
        "only in the embedded repository:\n{}\nonly in HAPI:\n{}",
        here.join("\n"),
        there.join("\n")
    );
    let differ: Vec<String> = ours
        .iter()
        .filter(|(name, resource)| theirs[*name] != **resource)
        .map(|(name, resource)| format!("{name}\n  here: {resource}\n  HAPI: {}", theirs[name]))
        .collect();
    assert!(
        differ.is_empty(),
        "{} of {} resources differ:\n{}",
        differ.len(),
        ours.len(),
        differ.join("\n")
    );
    ours
}
