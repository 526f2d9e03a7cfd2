//! However a destination is written to, the same is stored there in the end, and a second delivery changes nothing.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod support;

use std::collections::BTreeMap;

use serde_json::{Value, json};
use support::{Feed, FhirwayTest, Gateway};

const TYPES: [&str; 5] = [
    "Patient",
    "Observation",
    "DiagnosticReport",
    "ServiceRequest",
    "Provenance",
];

/// All resources of the types above, by what they are apart from their ids: how often, and with how many versions.
async fn stored(gateway: &Gateway) -> BTreeMap<String, Vec<u64>> {
    let mut all = BTreeMap::<String, Vec<u64>>::new();
    for type_name in TYPES {
        let path = format!("/fhir/{type_name}?_count=200");
        let (status, body) = gateway.get("repository", &path).await;
        assert_eq!(status, 200, "{body}");
        let page: Value = serde_json::from_str(&body).unwrap();
        let entries = page["entry"].as_array().map_or(&[][..], Vec::as_slice);
        assert_eq!(page["total"], entries.len(), "all on one page");
        for entry in entries {
            let mut resource = entry["resource"].clone();
            let version = resource["meta"]["versionId"]
                .as_str()
                .unwrap()
                .parse()
                .unwrap();
            let map = resource.as_object_mut().unwrap();
            map.remove("id");
            map.remove("meta");
            let mut text = String::new();
            without_ids(&resource, &mut text);
            all.entry(text).or_default().push(version);
        }
    }
    all
}

/// The text of a resource; of a reference only the type, and that it is resolved.
fn without_ids(value: &Value, out: &mut String) {
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                out.push_str(name);
                match (name.as_str(), value.as_str()) {
                    ("reference", Some(reference)) => {
                        let (type_name, id) =
                            reference.split_once('/').expect("a resolved reference");
                        assert!(!id.is_empty() && !reference.contains('?'), "{reference}");
                        out.push_str(type_name);
                    }
                    _ => without_ids(value, out),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| without_ids(item, out)),
        other => out.push_str(&other.to_string()),
    }
    out.push(';');
}

#[tokio::test(flavor = "multi_thread")]
async fn every_mode_ends_the_same() {
    let modes = [
        ("transaction", json!({})),
        ("batch", json!({ "bundle": "batch" })),
        ("single", json!({ "bundle": "single" })),
        (
            "single by our ids",
            json!({ "bundle": "single", "ids": "client" }),
        ),
        ("in parts", json!({ "split": { "max_entries": 2 } })),
        (
            "in parts by size",
            json!({ "split": { "max_bytes": "2KiB" } }),
        ),
        (
            "compressed",
            json!({ "compression": "gzip", "prefer": "representation" }),
        ),
        (
            "with versions",
            json!({ "versions": "if_match", "split": { "max_entries": 3 } }),
        ),
    ];
    let mut first: Option<BTreeMap<String, Vec<u64>>> = None;
    for (name, mode) in modes {
        let mut destination = mode.as_object().unwrap().clone();
        destination.insert("url".to_owned(), json!("embedded"));
        let gateway = FhirwayTest::embedded()
            .set("destinations.repository", Value::Object(destination))
            .start()
            .await;
        let mut feed = Feed::default();
        // Each patient once: the times of the feed are all the same, so the order of arrival decides.
        feed.send(&gateway, 6).await;
        gateway.drained().await;
        let counts = gateway.counts("repository");
        assert_eq!((counts["delivered"], counts["dead"]), (6, 0), "{name}");
        let found = stored(&gateway).await;
        assert!(found.len() > 10, "{name}");
        match &first {
            Some(first) => {
                let contents = |all: &BTreeMap<String, Vec<u64>>| -> Vec<(String, usize)> {
                    all.iter()
                        .map(|(text, versions)| (text.clone(), versions.len()))
                        .collect()
                };
                assert_eq!(contents(&found), contents(first), "{name}");
            }
            None => first = Some(found.clone()),
        }
        // Nothing changes, so nothing gets a new version.
        gateway.queue(&["replay", "--state", "delivered"]).expect(0);
        gateway.drained().await;
        assert_eq!(stored(&gateway).await, found, "{name}: delivered again");
    }
}
