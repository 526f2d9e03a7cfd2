//! Section 7 of the reference: code tables.

use mapping::{ConvertError, Disposition};
use serde_json::{Value, json};

use crate::fixture::{compiled, patient_map};
use crate::support::{ADMIT, Converted, convert, message};

const MARITAL: &str = r#"
table: Marital
source: [HL70002, LOCAL]
target: http://x.example/marital
codes:
  M: { code: married, display: Married }
  S: [ single, { code: 125681006, display: Single, system: http://snomed.info/sct } ]
  P: { code: P, system: http://terminology.hl7.org/CodeSystem/v2-0002 }
same: { D: Divorced, W: ~ }
"#;

fn converted(rules: &str, table: &str, pid: &str) -> Converted {
    let map = patient_map(rules);
    let package = compiled(&[
        ("segments/PID/Patient.yaml", &map),
        ("tables/Marital.yaml", table),
    ]);
    convert(&package, &message(ADMIT, &[pid]))
}

fn marital(table: &str, value: &str) -> Value {
    let pid = format!("PID|||1^^^A|||||||||||||{value}");
    let made = converted(
        "maritalStatus: { from: PID-16, table: Marital }",
        table,
        &pid,
    );
    made.only("Patient")["maritalStatus"].clone()
}

#[test]
fn a_code_becomes_the_target_of_the_element() {
    let rules =
        "gender: { from: PID-8, table: Sex }\nmeta: { tag: [ { from: PID-8, table: Sex } ] }";
    let made = converted(rules, MARITAL, "PID|||1^^^A|||||A");
    let patient = made.only("Patient");
    assert_eq!(patient["gender"], "other");
    assert_eq!(
        patient["meta"]["tag"],
        json!([{"system": "http://hl7.org/fhir/administrative-gender", "code": "other", "display": "Other"}])
    );
    // A code in lower case is found in upper case too.
    let made = converted(rules, MARITAL, "PID|||1^^^A|||||f");
    assert_eq!(made.only("Patient")["gender"], "female");
    assert!(made.report.code_misses.is_empty());
}

#[test]
fn a_concept_has_the_targets_first_and_the_source_if_it_named_its_system() {
    let married =
        json!({"system": "http://x.example/marital", "code": "married", "display": "Married"});
    assert_eq!(marital(MARITAL, "M"), json!({"coding": [married]}));
    assert_eq!(
        marital(MARITAL, "M^Maried^HL70002^^^^^^lives with spouse"),
        json!({
            "coding": [married, {"system": "http://terminology.hl7.org/CodeSystem/v2-0002", "code": "M", "display": "Maried"}],
            "text": "lives with spouse"
        })
    );
    // Several targets.
    assert_eq!(
        marital(MARITAL, "S"),
        json!({"coding": [
            {"system": "http://x.example/marital", "code": "single"},
            {"system": "http://snomed.info/sct", "code": "125681006", "display": "Single"}
        ]})
    );
    // A v2 code that stays what it is is not said twice.
    assert_eq!(
        marital(MARITAL, "P^Partner^HL70002"),
        json!({"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0002", "code": "P"}]})
    );
    assert_eq!(
        marital(MARITAL, "D"),
        json!({"coding": [{"system": "http://x.example/marital", "code": "D", "display": "Divorced"}]})
    );
    assert_eq!(
        marital(MARITAL, "W"),
        json!({"coding": [{"system": "http://x.example/marital", "code": "W"}]})
    );
}

#[test]
fn every_triplet_of_a_cwe_is_looked_up_in_its_own_system() {
    assert_eq!(
        marital(MARITAL, "x^Other^99X^M^Married^LOCAL^^^^D^Divorced^HL70002"),
        json!({"coding": [
            {"system": "urn:fhirway:system:NORTH:99X", "code": "x", "display": "Other"},
            {"system": "http://x.example/marital", "code": "married", "display": "Married"},
            {"system": "urn:fhirway:system:NORTH:LOCAL", "code": "M", "display": "Married"},
            {"system": "http://x.example/marital", "code": "D", "display": "Divorced"},
            {"system": "http://terminology.hl7.org/CodeSystem/v2-0002", "code": "D", "display": "Divorced"}
        ]})
    );
    // The same code of another system is another code.
    assert_eq!(
        marital(MARITAL, "M^Male^99X"),
        json!({"coding": [{"system": "urn:fhirway:system:NORTH:99X", "code": "M", "display": "Male"}]})
    );
}

#[test]
fn the_plain_copy_of_a_miss_can_be_a_map() {
    let rules = "maritalStatus: { from: PID-16, table: Marital, map: CWE/CodeableConcept }";
    let made = converted(rules, MARITAL, "PID|||1^^^A|||||||||||||Q^Odd^99X");
    assert_eq!(
        made.only("Patient")["maritalStatus"],
        json!({"coding": [{"system": "urn:fhirway:system:NORTH:99X", "code": "Q", "display": "Odd"}], "text": "Odd"})
    );
}

#[test]
fn each_answer_to_a_missing_code() {
    let pid = "PID|||1^^^A|||||||||||||Q^Odd";
    let with = |miss: &str| {
        let table = format!("{MARITAL}miss: {miss}\n");
        converted(
            "maritalStatus: { from: PID-16, table: Marital }",
            &table,
            pid,
        )
    };
    let kept = json!({"coding": [{"code": "Q", "display": "Odd"}]});
    let keep = with("keep");
    assert_eq!(keep.only("Patient")["maritalStatus"], kept);
    assert_eq!(keep.disposition, Disposition::Deliver);
    assert_eq!(keep.report.code_misses.len(), 1);
    assert_eq!(keep.report.code_misses[0].table, "Marital");
    assert_eq!(keep.report.code_misses[0].place.to_string(), "PID-16");

    let dropped = with("drop");
    assert!(dropped.only("Patient").get("maritalStatus").is_none());
    assert_eq!(dropped.codes(), ["code-dropped PID-16"]);
    assert_eq!(dropped.report.code_misses.len(), 1);

    let parked = with("park");
    assert_eq!(parked.only("Patient")["maritalStatus"], kept);
    assert_eq!(parked.disposition, Disposition::Park);
}

#[test]
fn a_strict_table_refuses_the_message_and_the_next_one_is_fine() {
    let map = patient_map("maritalStatus:\n  from: PID-16\n  table: Marital");
    let table = format!("{MARITAL}miss: fail\n");
    let package = compiled(&[
        ("segments/PID/Patient.yaml", &map),
        ("tables/Marital.yaml", &table),
    ]);
    let mut converter = package.converter();
    let text = message(ADMIT, &["PID|||1^^^A|||||||||||||SECRET"]);
    let (parsed, _) = hl7v2::parse(text.as_bytes()).unwrap();
    let Err(error) = converter.convert(&parsed, &mapping::Context::default()) else {
        panic!("it must fail");
    };
    let ConvertError::CodeMiss { table, place, rule } = &error else {
        panic!("{error}");
    };
    assert_eq!(
        (table.as_str(), place.as_str(), rule.as_str()),
        ("Marital", "PID-16", "segments/PID/Patient.yaml:6")
    );
    assert!(!error.to_string().contains("SECRET"));
    let text = message(ADMIT, &["PID|||1^^^A|||||||||||||M"]);
    let (parsed, _) = hl7v2::parse(text.as_bytes()).unwrap();
    assert!(
        converter
            .convert(&parsed, &mapping::Context::default())
            .is_ok()
    );
}

#[test]
fn a_rule_overrides_the_answer_of_its_table() {
    let table = format!("{MARITAL}miss: fail\n");
    let rules = "maritalStatus: { from: PID-16, table: Marital, miss: drop }";
    let made = converted(rules, &table, "PID|||1^^^A|||||||||||||Q");
    assert!(made.only("Patient").get("maritalStatus").is_none());
}

#[test]
fn a_default_serves_codes_that_are_not_listed() {
    let table = format!("{MARITAL}default: {{ code: unknown, display: Unknown }}\n");
    let unknown =
        json!({"system": "http://x.example/marital", "code": "unknown", "display": "Unknown"});
    assert_eq!(
        marital(&table, "Q"),
        json!({"coding": [unknown, {"code": "Q"}]}),
        "the source code stays beside it"
    );
    assert_eq!(marital(&table, "^^"), Value::Null);
    let sex = "table: Sex\nsource: [HL70001]\ntarget: http://hl7.org/fhir/administrative-gender\ncodes: { F: female }\ndefault: unknown\n";
    let map = patient_map("gender: { from: PID-8, table: Sex }");
    let package = compiled(&[
        ("segments/PID/Patient.yaml", &map),
        ("tables/Sex.yaml", sex),
    ]);
    let gender =
        |pid: &str| convert(&package, &message(ADMIT, &[pid])).only("Patient")["gender"].clone();
    assert_eq!(gender("PID|||1^^^A|||||Z"), "unknown");
    assert_eq!(
        gender("PID|||1^^^A"),
        Value::Null,
        "a field without a value has no default"
    );
    assert_eq!(gender("PID|||1^^^A|||||\"\""), Value::Null);
}

#[test]
fn a_code_without_a_place_is_left_out_of_a_required_code() {
    let rules = "gender: { from: PID-8, table: Sex }";
    let made = converted(rules, MARITAL, "PID|||1^^^A|||||Z");
    assert!(made.only("Patient").get("gender").is_none());
    assert_eq!(made.report.code_misses[0].place.to_string(), "PID-8");
}

#[test]
fn coding_systems_and_authorities_are_tables_of_the_site() {
    let map = patient_map("maritalStatus: { from: PID-16, map: CWE/CodeableConcept }");
    let package = compiled(&[
        ("segments/PID/Patient.yaml", &map),
        (
            "tables/CodingSystem.yaml",
            "table: CodingSystem\ncodes: { LN: http://loinc.org }\n",
        ),
        (
            "tables/AssigningAuthority.yaml",
            "table: AssigningAuthority\ncodes: { NORTH: http://north.example/id }\n",
        ),
    ]);
    let system = |name: &str| {
        let pid = format!("PID|||1^^^A|||||||||||||M^Married^{name}");
        convert(&package, &message(ADMIT, &[&pid])).only("Patient")["maritalStatus"]["coding"][0]["system"].clone()
    };
    for (name, uri) in [
        ("LN", "http://loinc.org"),
        ("HL70002", "http://terminology.hl7.org/CodeSystem/v2-0002"),
        ("0002", "http://terminology.hl7.org/CodeSystem/v2-0002"),
        ("2.16.840.1.113883.6.1", "urn:oid:2.16.840.1.113883.6.1"),
        ("http://a.example/s", "http://a.example/s"),
        ("99 LOCAL", "urn:fhirway:system:NORTH:99%20LOCAL"),
    ] {
        assert_eq!(system(name), uri, "{name}");
    }
    let authority = |cx: &str| {
        let pid = format!("PID|||1^^^{cx}");
        convert(&package, &message(ADMIT, &[&pid])).only("Patient")["identifier"][0]["system"]
            .clone()
    };
    for (cx, uri) in [
        ("NORTH", "http://north.example/id"),
        ("OTHER", "urn:fhirway:authority:OTHER"),
        ("OTHER&2.999.1.3&ISO", "urn:oid:2.999.1.3"),
        ("&urn:oid:2.999.1.3&ISO", "urn:oid:2.999.1.3"),
        ("X&http://x.example/i&URI", "http://x.example/i"),
        (
            "X&6F0D5B1E-2C5A-5D0B-9A53-1F4E8C27A901&UUID",
            "urn:uuid:6f0d5b1e-2c5a-5d0b-9a53-1f4e8c27a901",
        ),
        (
            "X&6F0D5B1E2C5A5D0B9A531F4E8C27A901&GUID",
            "urn:uuid:6f0d5b1e-2c5a-5d0b-9a53-1f4e8c27a901",
        ),
        ("", "urn:fhirway:sender:NORTH"),
    ] {
        assert_eq!(authority(cx), uri, "{cx}");
    }
}

#[test]
fn a_code_that_its_published_system_does_not_have_has_one_of_the_senders_own() {
    let known = "code,source\nH,HL70189\nN,HL70189\n";
    let map = patient_map(
        "maritalStatus: { coding: [ { system: \"{{system PID-22.3 PID-22.1}}\", code: \"{{PID-22.1}}\" } ] }",
    );
    let package = compiled(&[
        ("segments/PID/Patient.yaml", &map),
        ("tables/KnownCodes.csv", known),
    ]);
    let system = |field: &str| {
        let pid = format!("PID|||1^^^A|||||||||||||||||||{field}");
        let made = convert(&package, &message(ADMIT, &[&pid]));
        let coding = &made.only("Patient")["maritalStatus"]["coding"][0];
        coding["system"].as_str().unwrap_or_default().to_owned()
    };
    let published = "http://terminology.hl7.org/CodeSystem/v2-";
    assert_eq!(system("H^^HL70189"), format!("{published}0189"));
    assert_eq!(
        system("2186-5^^HL70189"),
        "urn:fhirway:system:NORTH:HL70189"
    );
    // A table that nobody listed may have any code.
    assert_eq!(system("Q^^HL70001"), format!("{published}0001"));
    assert_eq!(system("Q^^LOCAL"), "urn:fhirway:system:NORTH:LOCAL");
}
