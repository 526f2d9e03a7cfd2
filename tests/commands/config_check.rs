//! `fhirway config check` and `config default`.

use std::{fs, path::Path};

use serde_json::json;
use tempfile::TempDir;

use crate::{
    support::{Command, FhirwayTest},
    write,
};

const WRONG: &str = "\
listener: {}
listeners:
  lab:
    type: mllp
    bindd: 127.0.0.1:2575
    frame_bytes: lots
routes:
  lab: { destinations: [nowhere], when: \"PID-8 = \" }
destinations:
  fhir: { url: \"htp://fhir.example\", auth: { bearer: { file: /no/such/file } } }
";

#[test]
fn all_mistakes_are_told_in_one_run_with_the_likely_fix() {
    let folder = TempDir::new().unwrap();
    write(folder.path(), "wrong.yaml", WRONG);
    let ran = Command::new(["config", "check", "wrong.yaml"])
        .folder(folder.path())
        .run()
        .expect(1);
    for says in [
        "wrong.yaml:1:1: error[config-unknown-key]: unknown key `listener`",
        "did you mean `listeners`?",
        "wrong.yaml:5:5: error[config-unknown-key]: unknown key `bindd`",
        "did you mean `bind`?",
        "wrong.yaml:6:18: error[config-value]: listeners.lab.frame_bytes: `lots`",
        "wrong.yaml:8:25: error[config-reference]: routes.lab: there is no destination `nowhere`",
        "wrong.yaml:8:41: error[config-condition]: routes.lab.when",
        "wrong.yaml:10:16: error[config-value]: destinations.fhir.url",
        "/no/such/file",
        "7 errors, 0 warnings",
    ] {
        assert!(ran.stderr.contains(says), "{says}\n{}", ran.stderr);
    }
    assert_eq!(ran.stdout, "", "nothing is in force");
    let found = Command::new(["config", "check", "--format", "json", "wrong.yaml"])
        .folder(folder.path())
        .run()
        .expect(1)
        .json();
    assert_eq!(found["usable"], false);
    assert_eq!(found["problems"].as_array().unwrap().len(), 7);
    assert_eq!(found["problems"][1]["place"], "wrong.yaml:5:5");
}

#[test]
fn the_default_is_the_file_in_the_repository_and_can_be_used() {
    let ran = Command::new(["config", "default"]).run().expect(0);
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config/fhirway.yaml");
    assert_eq!(ran.stdout, fs::read_to_string(file).unwrap());
    let folder = TempDir::new().unwrap();
    write(folder.path(), "fhirway.yaml", &ran.stdout);
    let named = Command::new(["config", "check", "fhirway.yaml"])
        .folder(folder.path())
        .run()
        .expect(0);
    let embedded = Command::new(["config", "check"])
        .folder(folder.path())
        .run()
        .expect(0);
    assert!(embedded.stdout.contains("127.0.0.1:2575"), "{embedded:?}");
    assert_eq!(named.stdout, embedded.stdout);
}

#[test]
fn the_environment_overrides_and_its_mistakes_are_told() {
    let check = |name: &str, value: &str| {
        Command::new(["config", "check", "--format", "json"])
            .env(name, value)
            .run()
    };
    let found = check("FHIRWAY__LISTENERS__LAB__BIND", "0.0.0.0:7777")
        .expect(0)
        .json();
    assert!(found["config"].to_string().contains("0.0.0.0:7777"));
    let found = check("FHIRWAY__LISTENERS__LAB__BINDD", "0.0.0.0:7777")
        .expect(1)
        .json();
    assert_eq!(
        found["problems"][0]["place"], "$FHIRWAY__LISTENERS__LAB__BINDD",
        "{found}"
    );
    let ran = Command::new(["config", "check", "/no/such/file"])
        .run()
        .expect(2);
    assert!(ran.stderr.contains("cannot read /no/such/file"), "{ran:?}");
}

#[test]
fn secrets_are_masked() {
    let test = FhirwayTest::new()
        .set("routes.lab.destinations", json!(["fhir"]))
        .set("destinations.fhir", json!({
            "url": "https://fhir.example/r4",
            "auth": { "basic": { "user": "fhirway", "password": { "env": "FHIR_TEST_PASSWORD" } } },
        }));
    for format in ["text", "json"] {
        let ran = Command::new(["config", "check", "--format", format])
            .arg(test.write_config())
            .env("FHIR_TEST_PASSWORD", "opensesame")
            .run()
            .expect(0);
        assert!(ran.stdout.contains("https://fhir.example/r4"), "{ran:?}");
        assert!(!(ran.stdout + &ran.stderr).contains("opensesame"));
    }
}
