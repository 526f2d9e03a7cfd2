//! `fhirway mapping show`: the merged result of all layers, and where each line comes from.

use std::fs;

use tempfile::TempDir;

use crate::{support::Command, write};

const OVER: &str = "\
extends: below
remove: [active]
\"telecom[PID-14].set.use\": home
add: { identifier: { from: ZPI-2, map: CX/Identifier } }
";

fn site() -> TempDir {
    let folder = TempDir::new().unwrap();
    write(folder.path(), "segments/PID/Patient.yaml", OVER);
    folder
}

#[test]
fn the_merged_map_is_yaml_that_a_package_may_hold() {
    let site = site();
    let path = site.path().display();
    let ran = Command::new(["mapping", "show", "PID/Patient", "--overlay"])
        .arg(site.path())
        .run()
        .expect(0);
    assert_eq!(ran.stderr, "");
    let line = |text: &str| {
        let found = ran.stdout.lines().find(|line| line.contains(text));
        found.unwrap_or_else(|| panic!("{text}: {}", ran.stdout))
    };
    assert!(line("from: ZPI-2").ends_with(&format!("# {path}/segments/PID/Patient.yaml:4")));
    assert!(line("gender:").contains("# mappings/segments/PID/Patient.yaml:"));
    assert!(!ran.stdout.contains("active:"), "{}", ran.stdout);
    // In the place of the overlay it makes the same package.
    let whole = TempDir::new().unwrap();
    write(whole.path(), "segments/PID/Patient.yaml", &ran.stdout);
    Command::new(["mapping", "check", "mappings"])
        .folder(&super::repository())
        .arg(whole.path())
        .run()
        .expect(0);
}

#[test]
fn every_shipped_file_can_be_shown_and_read_again() {
    let mappings = super::repository().join("mappings");
    let whole = TempDir::new().unwrap();
    let mut shown = 0;
    for (folder, name) in [
        ("segments", "OBX/Observation"),
        ("segments", "PID/Patient"),
        ("datatypes", "CWE/CodeableConcept"),
        ("messages", "ORU_R01"),
        ("messages", "any"),
        ("tables", "PatientClass/EncounterClass"),
        ("tables", "MaritalStatus"),
    ] {
        assert!(mappings.join(folder).join(format!("{name}.yaml")).exists());
        let ran = Command::new(["mapping", "show", &format!("{folder}/{name}")])
            .run()
            .expect(0);
        write(whole.path(), &format!("{folder}/{name}.yaml"), &ran.stdout);
        shown += 1;
    }
    assert_eq!(shown, 7);
    let checked = Command::new(["mapping", "check", "mappings"])
        .folder(&super::repository())
        .arg(whole.path())
        .run()
        .expect(0);
    assert!(checked.stdout.contains(" 0 errors"), "{}", checked.stdout);
    let message = mappings.join("tests/oru-r01-chemistry.hl7");
    let golden = fs::read_to_string(mappings.join("tests/oru-r01-chemistry.bundle.json")).unwrap();
    let made = Command::new(["convert", "--package", "mappings", "--package"])
        .folder(&super::repository())
        .arg(whole.path())
        .arg(message)
        .run()
        .expect(0);
    assert_eq!(made.stdout.trim_end(), golden.trim_end());
}

#[test]
fn machines_get_lines_with_their_layer_and_the_content() {
    let site = site();
    let shown = Command::new([
        "mapping",
        "show",
        "PID/Patient",
        "--format",
        "json",
        "--overlay",
    ])
    .arg(site.path())
    .run()
    .expect(0)
    .json();
    assert_eq!(shown["place"], "segments/PID/Patient");
    assert_eq!(shown["document"]["segment"], "PID");
    let mine: Vec<u64> = shown["lines"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|line| line["layer"] == site.path().display().to_string())
        .map(|line| line["line"].as_u64().unwrap())
        .collect();
    assert_eq!(mine, [4, 3]);
}

#[test]
fn mistakes_say_what_was_meant_or_where_they_are() {
    let ran = Command::new(["mapping", "show", "PID/Patent"])
        .run()
        .expect(2);
    assert!(
        ran.stderr.contains("did you mean `PID/Patient`?"),
        "{}",
        ran.stderr
    );
    let ran = Command::new(["mapping", "show", "PID/Patient", "--overlay", "/no/such"])
        .run()
        .expect(2);
    assert!(ran.stderr.contains("/no/such"), "{}", ran.stderr);
    let folder = TempDir::new().unwrap();
    write(
        folder.path(),
        "segments/PID/Patient.yaml",
        "extends: below\nremove: [gendr]\n",
    );
    let ran = Command::new(["mapping", "show", "PID/Patient", "--overlay"])
        .arg(folder.path())
        .run()
        .expect(1);
    assert!(
        ran.stderr.contains("Patient.yaml:2:10") && ran.stderr.contains("did you mean `gender`?"),
        "{}",
        ran.stderr
    );
}
