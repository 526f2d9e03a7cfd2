//! `diff`: what another package makes of the same messages.

use std::sync::Arc;

use mapping::diff::{
    Change, DiffBuilder, DiffOptions, DiffReport, Outline, ResourceChange, compare,
};
use mapping::{Context, Package};

use crate::fixture::{compiled, patient_map};
use crate::support::{ADMIT, message};

fn outline(package: &Arc<Package>, text: &str) -> Result<Outline, String> {
    let (parsed, _) = hl7v2::parse(text.as_bytes()).unwrap();
    let mut converter = package.converter();
    let conversion = converter.convert(&parsed, &Context::default());
    conversion
        .map(|made| Outline::of(&made, package))
        .map_err(|error| error.to_string())
}

fn between(
    old: &Arc<Package>,
    new: &Arc<Package>,
    values: bool,
    messages: &[&[&str]],
) -> DiffReport {
    let mut builder = DiffBuilder::new(2, values);
    for (number, segments) in messages.iter().enumerate() {
        let text = message(ADMIT, segments);
        let diff = compare(&outline(old, &text), &outline(new, &text));
        builder.add(&format!("{number}.hl7"), diff);
    }
    builder.finish()
}

fn patients(old: &str, new: &str, messages: &[&[&str]]) -> DiffReport {
    let package = |rules: &str| {
        let map = patient_map(rules);
        compiled(&[("segments/PID/Patient.yaml", &map)])
    };
    between(&package(old), &package(new), true, messages)
}

/// Old rule, new rule, change, path, in how many messages.
fn elements(report: &DiffReport) -> Vec<(&str, &str, Change, &str, usize)> {
    let rules = report.rules.iter();
    let each = rules.flat_map(|rule| {
        rule.elements.iter().map(move |one| {
            let old = rule.old.as_deref().unwrap_or("");
            let new = rule.new.as_deref().unwrap_or("");
            (old, new, one.change, one.path.as_str(), one.messages)
        })
    });
    each.collect()
}

const PID: &[&str] = &["PID|||7^^^HOSP||Vale^Ada||19800102|F"];
const OTHER: &[&str] = &["PID|||8^^^HOSP||Stone^Bo||19700102|M"];

#[test]
fn a_rule_that_only_moved_is_no_difference() {
    let report = patients(
        "birthDate: \"{{PID-7}}\"",
        "# a comment\n\nbirthDate: \"{{PID-7}}\"",
        &[PID, OTHER],
    );
    assert!(report.is_empty(), "{report:?}");
    assert_eq!((report.messages, report.changed), (2, 0));
}

#[test]
fn elements_appear_vanish_and_change_by_rule() {
    let report = patients(
        "birthDate: \"{{PID-7}}\"\ngender: { from: PID-8, table: Sex }",
        "active: true\ngender: { when: PID-8 valued, is: unknown }",
        &[PID, OTHER],
    );
    let file = |line: usize| format!("segments/PID/Patient.yaml:{line}");
    let found = elements(&report);
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(found.contains(&(&file(5), "", Change::Vanishes, "Patient.birthDate", 2)));
    assert!(found.contains(&("", &file(5), Change::Appears, "Patient.active", 2)));
    assert!(found.contains(&(&file(6), &file(6), Change::Changes, "Patient.gender", 2)));
    let gender = report.rules.iter().flat_map(|rule| &rule.elements);
    let example = &gender
        .clone()
        .find(|one| one.path == "Patient.gender")
        .unwrap()
        .examples[0];
    assert_eq!(
        (example.old.as_deref(), example.new.as_deref()),
        (Some("female"), Some("unknown"))
    );
    assert_eq!(example.message, "0.hl7");
    let unmapped: Vec<&str> = report
        .newly_unmapped
        .iter()
        .map(|one| one.field.as_str())
        .collect();
    assert_eq!(unmapped, ["PID-7", "PID-8"]);
    assert!(report.newly_mapped.is_empty());
}

#[test]
fn a_member_at_the_front_of_a_list_changes_nothing_behind_it() {
    let names = "name: [ { each: PID-5, map: XPN/HumanName } ]";
    let report = patients(
        names,
        "name: [ { text: \"first {{PID-7}}\" }, { each: PID-5, map: XPN/HumanName } ]",
        &[PID],
    );
    let found = elements(&report);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(
        (found[0].2, found[0].3),
        (Change::Appears, "Patient.name[].text")
    );
}

#[test]
fn another_id_and_another_way_to_write_are_told() {
    let map = patient_map("gender: male");
    let old = compiled(&[("segments/PID/Patient.yaml", &map)]);
    let other_key = map.replace("key: PID-3", "key: [ PID-3, PID-5 ]\nwrite: create");
    let new = compiled(&[("segments/PID/Patient.yaml", &other_key)]);
    let report = between(&old, &new, false, &[PID]);
    let found: Vec<_> = report
        .resources
        .iter()
        .map(|one| (one.change, one.what.as_str()))
        .collect();
    assert!(
        found.contains(&(ResourceChange::Identity, "Patient")),
        "{found:?}"
    );
    assert!(
        found.contains(&(ResourceChange::Write, "Patient: update, now create")),
        "{found:?}"
    );
}

#[test]
fn references_are_compared_by_what_they_refer_to() {
    let rules = "generalPractitioner: [ { from: PID-9, map: XCN/Practitioner } ]";
    let segments: &[&str] = &["PID|||7||||||D1^Reed^Jo"];
    let old = compiled(&[("segments/PID/Patient.yaml", &patient_map(rules))]);
    let practitioner = "datatype: XCN\nmakes: Practitioner\nkey: [ XCN, \"again\" ]\nname: [ { family: \"{{XCN.2.1}}\", given: [ \"{{XCN.3}}\" ] } ]\n";
    let new = compiled(&[
        ("segments/PID/Patient.yaml", &patient_map(rules)),
        ("datatypes/XCN/Practitioner.yaml", practitioner),
    ]);
    let report = between(&old, &new, false, &[segments]);
    assert_eq!(report.resources[0].change, ResourceChange::Identity);
    // The same Practitioner under another id: only what is made of the id differs.
    let paths: Vec<&str> = elements(&report).iter().map(|one| one.3).collect();
    assert_eq!(paths, ["Practitioner.identifier[].value"], "{paths:?}");
}

#[test]
fn a_message_that_fails_is_a_difference() {
    let table = "table: Sex\nsource: [HL70001]\ntarget: http://hl7.org/fhir/administrative-gender\ncodes: { M: male }\nmiss: fail\n";
    let map = patient_map("gender: { from: PID-8, table: Sex }");
    let old = compiled(&[("segments/PID/Patient.yaml", &map)]);
    let new = compiled(&[
        ("segments/PID/Patient.yaml", &map),
        ("tables/Sex.yaml", table),
    ]);
    let report = between(&old, &new, false, &[PID, OTHER]);
    assert_eq!(report.changed, 1);
    assert_eq!(report.resources[0].change, ResourceChange::Fails);
    assert!(report.resources[0].what.contains("table Sex"));
    let back = between(&new, &old, false, &[PID]);
    assert_eq!(back.resources[0].change, ResourceChange::Converts);
}

#[test]
fn values_are_shown_only_when_asked_for() {
    let old = compiled(&[(
        "segments/PID/Patient.yaml",
        &patient_map("name: [ { text: \"{{PID-5.1}}\" } ]"),
    )]);
    let new = compiled(&[(
        "segments/PID/Patient.yaml",
        &patient_map("name: [ { text: \"{{PID-5.2}}\" } ]"),
    )]);
    for values in [false, true] {
        let report = between(&old, &new, values, &[PID]);
        let outputs = [
            serde_json::to_string(&report).unwrap(),
            mapping::diff::text(&report, &DiffOptions::default()),
            mapping::diff::markdown(&report),
            format!("{report:?}"),
        ];
        for (number, output) in outputs.iter().enumerate() {
            assert!(output.contains("Patient.name[0].text"), "{output}");
            let shown = output.contains("Vale") && output.contains("Ada");
            assert_eq!(shown, values && number < 3, "{output}");
        }
    }
}
