//! `fhirway mapping test`: golden Bundles and assertions, from the package's own folder.

use std::{fs, path::Path};

use serde_json::Value;
use tempfile::TempDir;

use crate::{
    support::{Command, update},
    write,
};

/// A site's overlay whose tests run on top of the shipped maps.
struct Site(TempDir);

impl Site {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        write(
            folder.path(),
            "package.yaml",
            "package: site\nversion: \"1\"\n",
        );
        Self(folder)
    }

    /// A test with a message about a patient.
    fn with_message(self, name: &str) -> Self {
        self.with(&format!("{name}.hl7"), &update("A1", "P77", "Cosima"))
    }

    /// A file of its tests.
    fn with(self, path: &str, text: &str) -> Self {
        write(self.path(), &format!("tests/{path}"), text);
        self
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path().join("tests").join(path)).unwrap()
    }

    /// The command on this overlay, without the tests of what lies below it.
    fn command(&self, arguments: &[&str]) -> Command {
        let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../mappings");
        let own = self.path().join("tests");
        Command::new(["mapping", "test", "--filter"])
            .arg(own)
            .args(arguments)
            .arg(base)
            .arg(self.path())
    }
}

#[test]
fn a_golden_bundle_is_written_kept_and_compared() {
    let site = Site::new().with_message("update");
    let ran = site.command(&[]).run().expect(1);
    assert!(ran.stdout.contains("--update writes the Bundle"), "{ran:?}");

    let ran = site.command(&["--update"]).run().expect(0);
    assert!(ran.stdout.contains("wrote "), "{ran:?}");
    assert!(
        ran.stdout
            .contains("1 test, 1 passed, 0 failed, 1 written anew"),
        "{ran:?}"
    );
    let golden = site.read("update.bundle.json");
    assert!(golden.contains("\"family\": \"Ashgrove\"") && golden.ends_with("}\n"));
    site.command(&[]).run().expect(0);
    let again = site.command(&["--update"]).run().expect(0);
    assert!(!again.stdout.contains("wrote"), "{again:?}");

    // White space and the order of members are no difference.
    let compact: Value = serde_json::from_str(&golden).unwrap();
    write(site.path(), "tests/update.bundle.json", compact.to_string());
    site.command(&[]).run().expect(0);

    let other = golden.replace("\"Ashgrove\"", "\"Ashgrave\"");
    write(site.path(), "tests/update.bundle.json", other);
    let ran = site.command(&[]).run().expect(1);
    for line in [
        "FAIL ",
        "Patient[0].name[0]  ",
        "    - \"family\": \"Ashgrave\"",
        "    + \"family\": \"Ashgrove\"",
        "1 test, 0 passed, 1 failed",
    ] {
        assert!(ran.stdout.contains(line), "{line}\n{}", ran.stdout);
    }
    assert!(
        ran.stdout.lines().count() < 12,
        "no wall of JSON: {}",
        ran.stdout
    );
    assert!(!ran.stdout.contains('\x1b'), "colours only on a terminal");
}

#[test]
fn assertions_look_at_elements_and_at_the_report() {
    let site = Site::new()
        .with_message("good")
        .with(
            "good.assert.yaml",
            "about: the patient of an update\n\
             Patient.birthDate: 1950-01-01\n\
             Patient.identifier.where(type.coding.code = 'MR').value: P77\n\
             Patient.name: [ { family: Ashgrove, given: [Cosima], use: absent } ]\n\
             Patient.deceased: absent\n\
             Patient.count(): 1\n\
             Provenance.target.resolve().ofType(Patient).birthDate: present\n\
             Bundle.type: transaction\n\
             unmapped: []\n\
             issues: []\n\
             message-map: ADT_A01\n",
        )
        .with_message("wrong")
        .with(
            "wrong.assert.yaml",
            "Patient.gender: male\n\
             Patient.name[0]: { family: Ash, given: [Cosima] }\n\
             Patient.multipleBirth: present\n\
             Encounter.count(): 1\n\
             unmapped: [PID-99]\n",
        );
    let ran = site.command(&["--format", "json"]).run().expect(1).json();
    assert_eq!(
        (&ran["tests"], &ran["failed"]),
        (&2.into(), &1.into()),
        "{ran:#}"
    );
    let problems = ran["results"][1]["problems"].as_array().unwrap();
    let told: Vec<String> = problems
        .iter()
        .map(|one| {
            let rule = one["rule"].as_str().unwrap();
            let line = rule.rsplit(':').next().unwrap();
            let text = |name: &str| one[name].as_str().unwrap().to_owned();
            format!(
                "{line} {} {} {}",
                text("what"),
                text("expected"),
                text("got")
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            "1 Patient.gender male female",
            "2 Patient.name[0].family Ash Ashgrove",
            "3 Patient.multipleBirth present absent",
            "4 Encounter.count() 1 0",
            "5 unmapped [PID-99] []",
        ]
    );
}

#[test]
fn the_circumstances_are_set_per_test_and_per_folder() {
    let message = update("A1", "P77", "Cosima").replace("19500101", "195001011230");
    let site = Site::new()
        .with("defaults.yaml", "context: { policies: { provenance: \"off\" } }\nProvenance: absent\n")
        .with("one.hl7", &message)
        .with("one.assert.yaml", "Patient.birthDate.extension[0].value: 1950-01-01\n")
        .with("deep/two.hl7", &message)
        .with(
            "deep/two.assert.yaml",
            "context: { zone: Europe/Vienna, ids: client, sender: LAB, policies: { message-header: \"off\" } }\n\
             Patient.birthDate.extension[0].value: 1950-01-01T12:30:00+01:00\n\
             MessageHeader: absent\n\
             Bundle.entry.where(resource.ofType(Patient).exists()).request.url.startsWith('Patient/'): \"true\"\n",
        )
        .with("bad.hl7", &message)
        .with("bad.assert.yaml", "context: { policies: { provenence: \"off\" } }\n");
    let ran = site.command(&[]).run().expect(1);
    assert!(
        ran.stdout.contains(
            "context.policies.provenence: there is no such policy; did you mean `provenance`?"
        ),
        "{}",
        ran.stdout
    );
    assert!(
        ran.stdout.contains("3 tests, 2 passed, 1 failed"),
        "{}",
        ran.stdout
    );
}

#[test]
fn a_message_that_must_not_become_a_bundle() {
    let site = Site::new()
        .with("fails.hl7", "PID|1||P1\r")
        .with("fails.assert.yaml", "error: not a message\n")
        .with("fails-too.hl7", "PID|1||P1\r")
        .with("fails-too.assert.yaml", "Patient.active: absent\n")
        .with_message("passes")
        .with("passes.assert.yaml", "outcome: fail\n");
    let ran = site.command(&[]).run().expect(1);
    assert!(
        ran.stdout.contains("3 tests, 1 passed, 2 failed"),
        "{}",
        ran.stdout
    );
    assert!(
        ran.stdout.contains("+ fail: not a message"),
        "{}",
        ran.stdout
    );
    assert!(
        ran.stdout.contains("- fail\n    + deliver"),
        "{}",
        ran.stdout
    );
}

#[test]
fn a_mistake_in_an_assertion_has_its_place_and_the_likely_fix() {
    let site = Site::new().with_message("update").with(
        "update.assert.yaml",
        "Patient.birthdate: 1950-01-01\n\"Observation.where(status = final)\": absent\nunmaped: []\ncontext: { zone: Europe/Wien }\n",
    );
    let ran = site.command(&[]).run().expect(1);
    for part in [
        "update.assert.yaml:1:9",
        "did you mean `birthDate`?",
        "update.assert.yaml:2:29",
        "a value is 'text', a number, true or false",
        "update.assert.yaml:3:1",
        "did you mean `unmapped`?",
        "update.assert.yaml:4:18",
        "no time zone `Europe/Wien`",
    ] {
        assert!(ran.stdout.contains(part), "{part}\n{}", ran.stdout);
    }
}

#[test]
fn what_belongs_to_no_test_is_told() {
    let two = update("A1", "P1", "Ann") + &update("A2", "P1", "Ann");
    let site = Site::new()
        .with("lost.bundle.json", "{}")
        .with("slip.asert.yaml", "Patient.active: true\n")
        .with("two.hl7", &two)
        .with_message("broken")
        .with("broken.bundle.json", "{ \"resourceType\": ")
        .with("notes.md", "not looked at");
    let ran = site.command(&[]).run().expect(1);
    for part in [
        "lost.hl7",
        "this belongs to no test",
        "holds 2 messages; a test has one",
        "broken.bundle.json: not json",
        "4 tests, 0 passed, 4 failed",
    ] {
        assert!(ran.stdout.contains(part), "{part}\n{}", ran.stdout);
    }
}

#[test]
fn ci_servers_get_junit() {
    let site = Site::new()
        .with_message("good")
        .with("good.assert.yaml", "Patient.count(): 1\n")
        .with_message("wrong")
        .with("wrong.assert.yaml", "Patient.name.family: \"<&\\\">\"\n");
    let file = site.path().join("report.xml");
    let path = file.to_string_lossy().into_owned();
    site.command(&["--junit", &path]).run().expect(1);
    let xml = fs::read_to_string(&file).unwrap();
    assert!(
        xml.starts_with(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites tests=\"2\" failures=\"1\""
        ),
        "{xml}"
    );
    assert!(xml.contains("name=\"good\" time=") && xml.contains("<failure message=\"Patient.name.family: expected &lt;&amp;&quot;&gt;, got Ashgrove\">"), "{xml}");
    assert!(xml.trim_end().ends_with("</testsuites>"));
    let nowhere = site
        .command(&["--junit", "/no/such/folder/x.xml"])
        .run()
        .expect(2);
    assert!(nowhere.stderr.contains("cannot write"), "{nowhere:?}");
}

#[test]
fn an_overlay_is_tested_on_the_shipped_package() {
    let site = Site::new()
        .with_message("update")
        .with("update.assert.yaml", "Patient.gender: other\n");
    write(
        site.path(),
        "segments/PID/Patient.yaml",
        "extends: below\ngender: other\n",
    );
    let ran = Command::new(["mapping", "test", "--overlay"])
        .arg(site.path())
        .run()
        .expect(0);
    assert!(ran.stdout.contains("1 test, 1 passed"), "{ran:?}");
}

#[test]
fn wrong_usage_and_a_package_with_mistakes() {
    let site = Site::new().with_message("update");
    let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../mappings");
    let none = Command::new(["mapping", "test", "--filter", "no such test"])
        .arg(&base)
        .run()
        .expect(2);
    assert!(
        none.stderr.contains("has `no such test` in its path"),
        "{none:?}"
    );
    let empty = TempDir::new().unwrap();
    let ran = Command::new(["mapping", "test"])
        .folder(empty.path())
        .run()
        .expect(2);
    assert!(
        ran.stderr.contains("name the folder of the package"),
        "{ran:?}"
    );
    write(empty.path(), "package.yaml", "package: none\n");
    let ran = Command::new(["mapping", "test"])
        .folder(empty.path())
        .run()
        .expect(2);
    assert!(ran.stderr.contains("there is no test in tests"), "{ran:?}");

    write(
        site.path(),
        "segments/PID/Patient.yaml",
        "extends: below\nbirthdate: \"{{PID-7}}\"\n",
    );
    let ran = site.command(&[]).run().expect(1);
    assert!(ran.stderr.contains("did you mean `birthDate`?"), "{ran:?}");
    assert!(ran.stderr.contains("so no test was run"), "{ran:?}");
    assert_eq!(ran.stdout, "");
}
