//! Section 8 of the reference: what coverage finds in the rules, and what it takes from `rows:`.

use mapping::{GuideKind, Outcome, Package};

use crate::fixture::with;
use crate::support::File;

const PATIENT: &str = r#"
segment: PID
makes: Patient
guide: PID[Patient]
key: PID-3
rows:
  "PID-23 -> extension[3].valueAddress.text": "as extension{http://hl7.org/fhir/StructureDefinition/patient-birthPlace}.valueAddress.city; R4 has a city"
  "PID-23 -> extension[3].url": by XPN/HumanName
  PID-16: policy extra
  PID-14: phones are not for everyone
  PID-13: by PID/Phone
  "PID-20": by PID/Phone
  PID-11: by engine
identifier: [ { each: PID-3, map: CX/Identifier } ]
name: [ { each: PID-5, map: XPN/HumanName } ]
gender: { from: PID-8, is: "{{PID-8}}" }
birthDate: "{{PID-7.1}}"
multipleBirthBoolean: { when: PID-25 not valued, is: "{{PID-24}}" }
deceasedDateTime: { when: policy colour = green, is: "{{PID-29}}" }
extension:
  - { url: http://hl7.org/fhir/StructureDefinition/patient-birthPlace, valueAddress: { city: "{{PID-23}}" } }
  - { url: http://hl7.org/fhir/StructureDefinition/patient-mothersMaidenName, valueString: { from: PID-6, map: XPN/string } }
"#;

const PHONE: &str = "segment: PID\nmakes: Patient\ntelecom: [ { value: \"{{PID-13.1}}\" } ]\n";
const NAME: &str =
    "datatype: XPN\nmakes: HumanName\nguide: XPN[HumanName]\nfamily: \"{{XPN.1.1}}\"\n";
const SEX: &str = "table: AdministrativeSex\nsource: [HL70001]\ntarget: http://hl7.org/fhir/administrative-gender\ncodes: { F: female, M: { code: male, system: http://x } }\nrows: { A: as female }\n";
const MESSAGE: &str =
    "message: ADT_A01\nrows: { PV1: no visits here }\nmap:\n  - PID: PID/Patient as patient\n";

fn package(files: &[File<'_>]) -> Package {
    let (package, found) = Package::compile(&[with(files)]);
    package.unwrap_or_else(|| panic!("{found:#?}"))
}

/// Outcomes of a source's rows, as `target: outcome`.
#[track_caller]
fn rows(map: &str, source: &str) -> Vec<String> {
    let package = package(&[
        ("segments/PID/Patient.yaml", PATIENT),
        ("segments/PID/Phone.yaml", PHONE),
        ("datatypes/XPN/HumanName.yaml", NAME),
        ("tables/AdministrativeSex.yaml", SEX),
        ("messages/ADT_A01.yaml", MESSAGE),
    ]);
    let coverage = package.coverage();
    let map = coverage.map(map).unwrap();
    let rows = map.rows.iter().filter(|row| row.source == source);
    let told = rows.map(|row| {
        let outcome = match &row.outcome {
            Outcome::Implemented => "implemented".to_owned(),
            Outcome::Corrected { element } => format!("corrected {element}"),
            Outcome::Claimed { by } => format!("claimed {by}"),
            Outcome::Policy { policy } => format!("policy {policy}"),
            Outcome::Deviates { reason } => format!("deviates {reason}"),
            Outcome::Missing { why } => format!("missing {}", why.clone().unwrap_or_default()),
        };
        format!("{}: {}", row.target, outcome.trim())
    });
    let told: Vec<String> = told.collect();
    assert!(!told.is_empty(), "the guide has no row {source}");
    told
}

#[test]
fn a_rule_that_reads_the_source_and_writes_the_element_is_found() {
    assert_eq!(rows("PID[Patient]", "PID-5"), ["name[1]: implemented"]);
    let first = &rows("PID[Patient]", "PID-7")[0];
    assert_eq!(first, "birthDate: implemented");
    // Yes and no are the engine's.
    assert_eq!(
        rows("PID[Patient]", "PID-24"),
        ["multipleBirthBoolean: implemented"]
    );
    // The extension's URL is a row of its own.
    let maiden = rows("PID[Patient]", "PID-6");
    assert!(
        maiden.len() == 2 && maiden.iter().all(|row| row.ends_with("implemented")),
        "{maiden:?}"
    );
}

#[test]
fn what_only_looks_like_it_is_missing() {
    // The element is written, but not by the guide's datatype map,
    assert_eq!(rows("PID[Patient]", "PID-3"), ["identifier[2]: missing"]);
    // not by its table,
    assert_eq!(rows("PID[Patient]", "PID-8"), ["gender: missing"]);
    // or not at all; the part of a name that no rule reads.
    assert_eq!(rows("PID[Patient]", "PID-9"), ["name[2]: missing"]);
    assert_eq!(rows("XPN[HumanName]", "XPN.2"), ["[1].given[1]: missing"]);
}

#[test]
fn rows_are_believed_as_far_as_they_can_be_checked() {
    let birth = rows("PID[Patient]", "PID-23");
    assert!(
        birth[0].ends_with("missing XPN/HumanName does not read PID-23"),
        "{birth:?}"
    );
    assert!(birth[1].contains("corrected extension{"), "{birth:?}");
    assert_eq!(
        rows("PID[Patient]", "PID-16"),
        ["maritalStatus: policy extra"]
    );
    assert!(rows("PID[Patient]", "PID-14")[0].contains("deviates phones"));
    assert!(rows("PID[Patient]", "PID-13")[0].contains("claimed PID/Phone"));
    assert!(rows("PID[Patient]", "PID-20")[0].contains("missing PID/Phone does not read"));
    assert!(rows("PID[Patient]", "PID-11")[0].contains("claimed engine"));
    // A rule that a policy keeps off by default.
    assert_eq!(
        rows("PID[Patient]", "PID-29"),
        ["deceasedDateTime: policy colour"]
    );
}

#[test]
fn codes_and_lines_of_message_maps() {
    let sex = |code| rows("AdministrativeSex", code);
    assert_eq!(sex("F"), ["female: implemented"]);
    assert_eq!(sex("M"), ["male: missing"], "another system");
    assert_eq!(sex("A"), ["other: missing the table does not give female"]);
    assert_eq!(rows("ADT_A01", "ADT_A01.PID")[0], "Patient[1]: implemented");
    assert!(
        rows("ADT_A01", "ADT_A01.PV1")
            .iter()
            .all(|row| row.contains("deviates no visits"))
    );
    assert!(
        rows("ADT_A01", "ADT_A01.AL1")[0]
            .contains("missing no file serves AL1[AllergyIntolerance]")
    );
}

#[test]
fn figures_by_kind_map_and_in_total_agree() {
    let coverage = package(&[
        ("segments/PID/Patient.yaml", PATIENT),
        ("segments/PID/Phone.yaml", PHONE),
    ])
    .coverage();
    let all = coverage.counts(None);
    assert_eq!(all.rows, 4398);
    let kinds = [
        GuideKind::Message,
        GuideKind::Segment,
        GuideKind::DataType,
        GuideKind::Code,
    ];
    let sum: usize = kinds
        .iter()
        .map(|kind| coverage.counts(Some(*kind)).missing)
        .sum();
    assert_eq!(sum, all.missing);
    let maps: usize = coverage
        .maps
        .iter()
        .map(|map| map.counts().implemented)
        .sum();
    assert_eq!(maps, all.implemented);
    assert_eq!(all.accounted() + all.missing, all.rows);
    let markdown = coverage.markdown();
    assert!(
        markdown.contains("| `PID[Patient]` | `PID/Patient` | 53 |"),
        "{markdown}"
    );
    assert!(coverage.missing().contains("ADT_A01"), "nothing serves it");
}

#[test]
fn a_condition_of_the_guide_that_no_rule_asks_is_told() {
    let covered = |patient: &str| {
        let files = [
            ("segments/PID/Patient.yaml", patient),
            ("segments/PID/Phone.yaml", PHONE),
            ("datatypes/XPN/HumanName.yaml", NAME),
        ];
        package(&files).coverage()
    };
    let unasked = |patient: &str| -> Vec<String> {
        let coverage = covered(patient);
        let map = coverage.map("PID[Patient]").unwrap();
        let rows = map.rows.iter().filter(|row| !row.unasked.is_empty());
        rows.map(|row| format!("{} {}", row.source, row.unasked.join(",")))
            .collect()
    };
    assert_eq!(unasked(PATIENT), [""; 0]);
    let without = PATIENT.replace("when: PID-25 not valued, ", "");
    assert_eq!(unasked(&without), ["PID-24 PID-25"]);
    let told = covered(&without).conditions();
    assert!(told.contains("PID-24 -> multipleBirthBoolean"), "{told}");
    assert!(told.contains("the guide asks PID-25"), "{told}");
}
