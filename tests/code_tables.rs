//! Code tables of several senders on one feed: each sender has its own, and what happens to a code that none lists is what its
//! table says, from the message to the FHIR server.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod support;

use std::{fs, path::Path};

use serde_json::{Value, json};
use support::{Command, FhirwayTest, Gateway};

/// A registration with this marital status (PID-16), sent by an application of a facility.
fn registration(application: &str, facility: &str, control_id: &str, marital: &str) -> String {
    format!(
        "MSH|^~\\&|{application}|{facility}|FHIRWAY|SITE|20260102030405+0000||ADT^A04^ADT_A01|{control_id}|P|2.5.1||||||UNICODE UTF-8\r\
         EVN|A04|20260102030405+0000\r\
         PID|1||{control_id}^^^NORTH&2.999.1&ISO^MR||Ashgrove^Cosima||19500101|F||||||||{marital}\r"
    )
}

fn write(folder: &Path, path: &str, text: &str) {
    let path = folder.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// A route with an overlay per policy: sender KEEP, DROP, PARK and FAIL.
fn four_senders() -> FhirwayTest {
    let mut test = FhirwayTest::embedded();
    let (mut packages, mut overlays) = (json!({}), json!({}));
    for miss in ["keep", "drop", "park", "fail"] {
        let folder = test.folder().join(miss);
        let table = format!(
            "extends: below\ncodes: {{ OWN: {{ code: M, display: of {miss} }} }}\nmiss: {miss}\n"
        );
        write(&folder, "tables/MaritalStatus.yaml", &table);
        packages[miss] = json!(folder);
        overlays[miss] = json!({ "sender": miss.to_uppercase(), "packages": [miss] });
    }
    test = test.set("packages", packages);
    test.set("routes.lab.overlays", overlays)
}

async fn marital(gateway: &Gateway, number: &str) -> Option<Value> {
    let query = format!("/fhir/Patient?identifier=urn:oid:2.999.1%7C{number}");
    let (status, body) = gateway.get("repository", &query).await;
    assert_eq!(status, 200, "{body}");
    let bundle: Value = serde_json::from_str(&body).unwrap();
    let patient = bundle["entry"].as_array()?.first()?["resource"].clone();
    Some(patient["maritalStatus"].clone())
}

fn misses(gateway: &Gateway, arguments: &[&str]) -> support::Ran {
    Command::new(["mapping", "misses"].iter().chain(arguments))
        .arg("--data")
        .arg(gateway.folder().join("data"))
        .run()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_answer_to_a_missing_code_is_given_from_end_to_end() {
    let mut gateway = four_senders().start().await;
    let mut client = gateway.connect().await;
    for sender in ["KEEP", "DROP", "PARK", "FAIL", "OTHER"] {
        client
            .send(registration("ADT", sender, &format!("{sender}1"), "OWN"))
            .await;
        client
            .send(registration(
                "ADT",
                sender,
                &format!("{sender}2"),
                "QQ^Odd^99L",
            ))
            .await;
    }
    gateway.has_delivered("repository", 8).await;
    support::eventually("one is parked and one dead", async || {
        let counts = gateway.counts("repository");
        (counts["parked"] == 1 && counts["dead"] == 1).then_some(())
    })
    .await;

    // Each sender has its own table; others have the package's.
    for sender in ["KEEP", "DROP", "PARK", "FAIL"] {
        let found = marital(&gateway, &format!("{sender}1")).await.unwrap();
        let display = format!("of {}", sender.to_lowercase());
        assert_eq!(found["coding"][0]["display"], display, "{sender}: {found}");
    }
    assert_eq!(
        marital(&gateway, "OTHER1").await.unwrap()["coding"][0]["code"],
        "OWN"
    );
    // And its own answer to what it does not list.
    let kept = json!([{ "system": "urn:fhirway:system:KEEP:99L", "code": "QQ", "display": "Odd" }]);
    assert_eq!(marital(&gateway, "KEEP2").await.unwrap()["coding"], kept);
    assert_eq!(marital(&gateway, "DROP2").await.unwrap(), Value::Null);
    assert_eq!(marital(&gateway, "PARK2").await, None);
    assert_eq!(marital(&gateway, "FAIL2").await, None);
    for state in ["dead", "parked"] {
        let listed = gateway.queue_json(&["list", "--state", state]);
        let record = listed[0]["record"].to_string();
        let text = gateway.queue_json(&["show", &record]).to_string();
        for told in ["code-miss", "MaritalStatus", "PID-16"] {
            assert!(text.contains(told), "{told}: {text}");
        }
        assert!(!text.contains("QQ"), "{text}");
    }

    // What was missed is told by the running gateway, and by what it leaves behind.
    let told = misses(&gateway, &["--format", "json"]).expect(0).json();
    let mut counted: Vec<(String, String, u64)> = told["misses"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|miss| miss["table"] == "MaritalStatus")
        .map(|miss| {
            assert_eq!(miss["field"], "PID-16");
            let text = |key: &str| miss[key].as_str().unwrap().to_owned();
            (
                text("sender"),
                text("code"),
                miss["count"].as_u64().unwrap(),
            )
        })
        .collect();
    counted.sort();
    let expected = [
        ("DROP", "QQ"),
        ("FAIL", "QQ"),
        ("KEEP", "QQ"),
        ("OTHER", "OWN"),
        ("OTHER", "QQ"),
        ("PARK", "QQ"),
    ];
    assert_eq!(
        counted,
        expected.map(|(sender, code)| (sender.to_owned(), code.to_owned(), 1))
    );
    assert!(gateway.stop().await.success());
    let left = misses(&gateway, &[]).expect(0).stdout;
    assert!(
        left.contains("# tables/MaritalStatus.yaml of an overlay"),
        "{left}"
    );
    assert!(
        left.contains("  QQ: \"\"")
            && left.contains("5 x in PID-16, from DROP, FAIL, KEEP, OTHER, PARK"),
        "{left}"
    );

    // A person adds the code: what was parked goes on.
    let table = "extends: below\ncodes: { QQ: { code: D, display: Divorced } }\nadd: { source: 99L }\nmiss: park\n";
    write(
        &gateway.folder().join("park"),
        "tables/MaritalStatus.yaml",
        table,
    );
    gateway.start().await;
    gateway.queue(&["release", "--state", "parked"]).expect(0);
    gateway.has_delivered("repository", 9).await;
    assert_eq!(
        marital(&gateway, "PARK2").await.unwrap()["coding"][0]["code"],
        "D"
    );
    // And counting starts anew.
    let before = misses(&gateway, &["--clear", "--format", "json"])
        .expect(0)
        .json();
    assert!(!before["misses"].as_array().unwrap().is_empty());
    let after = misses(&gateway, &[]).expect(0).stdout;
    assert_eq!(after, "# no code was missed\n");
}

/// The first overlay that is for a message is used: by content, by sender, by both.
#[tokio::test(flavor = "multi_thread")]
async fn an_overlay_is_chosen_by_sender_and_content() {
    let test = FhirwayTest::embedded();
    let mut packages = json!({});
    for name in ["a", "b"] {
        let folder = test.folder().join(name);
        let table =
            format!("extends: below\ncodes: {{ OWN: {{ code: M, display: of {name} }} }}\n");
        write(&folder, "tables/MaritalStatus.yaml", &table);
        packages[name] = json!(folder);
    }
    let test = test.set("packages", packages).set(
        "routes.lab.overlays",
        json!({
            "a-wards": { "when": "MSH-3 = WARD", "sender": ["NORTH", "SOUTH"], "packages": ["a"] },
            "b-north": { "sender": "NORTH", "packages": ["a", "b"] },
            "c-clinic": { "when": "MSH-3 = CLINIC", "policies": { "mother-identifier": "off" } },
        }),
    );
    let gateway = test.start().await;
    let mut client = gateway.connect().await;
    let cases = [
        ("WARD", "NORTH", "of a"),
        ("WARD", "SOUTH", "of a"),
        ("WARD", "WEST", ""),
        ("DESK", "NORTH", "of b"),
        ("DESK", "WEST", ""),
    ];
    for (number, (application, facility, _)) in cases.iter().enumerate() {
        client
            .send(registration(
                application,
                facility,
                &format!("N{number}"),
                "OWN",
            ))
            .await;
    }
    gateway.has_delivered("repository", cases.len()).await;
    for (number, (application, facility, display)) in cases.iter().enumerate() {
        let found = marital(&gateway, &format!("N{number}")).await.unwrap();
        let shown = found["coding"][0]["display"].as_str().unwrap_or_default();
        assert_eq!(shown, *display, "{application} {facility}: {found}");
    }
}

#[test]
fn mistakes_in_overlays_of_a_route_are_told_with_their_place() {
    let test = FhirwayTest::embedded().set(
        "routes.lab.overlays",
        json!({
            "one": { "packages": ["shiped"], "sender": "A" },
            "two": { "packages": ["shipped"] },
            "three": { "when": "MSH-3 == A", "policies": { "ssn": "off" } },
            "four": { "sender": "A" },
        }),
    );
    let ran = Command::new(["config", "check"])
        .arg(test.write_config())
        .run()
        .expect(1);
    let told = format!("{}{}", ran.stdout, ran.stderr);
    for wanted in [
        "there is no package `shiped`",
        "did you mean `shipped`?",
        "routes.lab.overlays.two.sender is missing",
        "routes.lab.overlays.three.when: at column",
        "routes.lab.overlays.four.packages is missing",
    ] {
        assert!(told.contains(wanted), "{wanted}\n{told}");
    }
}
