//! Section 9 of the reference: message maps, groups, names, links.

use std::sync::Arc;

use mapping::Package;
use serde_json::{Value, json};

use crate::fixture::{compiled, with};
use crate::support::{ADMIT, Converted, File, RESULT, convert, message, package};

const ORU: &str = r#"
message: ORU_R01
map:
  - MSH: MSH/MessageHeader as header
  - PATIENT_RESULT:
      - PATIENT:
          - PID: PID/Patient as patient
            write: create
          - NTE after PID: NTE/Patient into patient
          - VISIT:
              - PV1: PV1/Encounter as encounter
                set: { subject: patient }
      - ORDER_OBSERVATION:
          - COMMON_ORDER:
              - ORC: ORC/DiagnosticReport as report
          - OBR: OBR/DiagnosticReport as report
            set: { subject: patient, encounter: encounter }
          - NTE: NTE/DiagnosticReport into report
          - OBSERVATION:
              - OBX: OBX/Observation as observation
                when: OBX-29 not in (QST, SCI)
                set: { subject: patient, encounter: encounter, report.result: observation }
              - NTE: NTE/Observation into observation
link:
  header.focus: [patient, each report]
"#;

const OBSERVATION: &str = r#"
segment: OBX
makes: Observation
key: [ report else patient, OBX-3, OBX-4, repeat ]
status: "{{lower OBX-11}}"
code: { coding: [ { code: "{{OBX-3.1}}" } ] }
valueQuantity: { when: OBX-2 = NM, value: "{{number OBX-5}}", comparator: "{{comparator OBX-5}}" }
valueString: { when: OBX-2 = ST, is: "{{OBX-5}}" }
method: { text: "{{ORC-2.1}}/{{OBR-3.1}}" }
"#;

const MAPS: &[File<'static>] = &[
    ("messages/ORU_R01.yaml", ORU),
    (
        "segments/MSH/MessageHeader.yaml",
        "segment: MSH\nmakes: MessageHeader\nkey: message\nignore: [MSH-3, MSH-5, MSH-6, MSH-7, MSH-9, MSH-10, MSH-11, MSH-12]\neventCoding: { code: \"{{MSH-9.2}}\" }\nsource: { name: \"{{MSH-4}}\", endpoint: \"urn:fhirway:x\" }\n",
    ),
    (
        "segments/NTE/Patient.yaml",
        "segment: NTE\nmakes: Patient\nextension: [ { url: \"http://x.example/note\", valueString: \"{{NTE-3}}\" } ]\n",
    ),
    (
        "segments/NTE/DiagnosticReport.yaml",
        "segment: NTE\nmakes: DiagnosticReport\nconclusion: \"{{NTE-3}}\"\n",
    ),
    (
        "segments/NTE/Observation.yaml",
        "segment: NTE\nmakes: Observation\nnote: [ { text: \"{{NTE-3}}\" } ]\n",
    ),
    (
        "segments/PV1/Encounter.yaml",
        "segment: PV1\nmakes: Encounter\nkey: PV1-19\nstatus: finished\nclass: { code: \"{{PV1-2}}\" }\nidentifier: [ { from: PV1-19, map: CX/Identifier } ]\n",
    ),
    (
        "segments/ORC/DiagnosticReport.yaml",
        "segment: ORC\nmakes: DiagnosticReport\nkey: [ patient, OBR-3 else ORC-3 else ORC-2, OBR-4 ]\nidentifier: [ { value: \"{{ORC-2.1}}\" } ]\n",
    ),
    (
        "segments/OBR/DiagnosticReport.yaml",
        "segment: OBR\nmakes: DiagnosticReport\nkey: [ patient, OBR-3 else ORC-3 else ORC-2, OBR-4 ]\nidentifier: [ { value: \"{{OBR-3.1}}\" } ]\nstatus: \"{{lower OBR-25}}\"\ncode: { coding: [ { code: \"{{OBR-4.1}}\" } ] }\n",
    ),
    ("segments/OBX/Observation.yaml", OBSERVATION),
];

fn results() -> Arc<Package> {
    compiled(MAPS)
}

fn changed(changes: &[File<'_>]) -> Arc<Package> {
    let mut files = MAPS.to_vec();
    files.extend_from_slice(changes);
    compiled(&files)
}

fn codes(made: &Converted, references: &Value) -> Vec<String> {
    let references = references.as_array().unwrap();
    let code = |reference| {
        made.target(reference)["code"]["coding"][0]["code"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    references.iter().map(code).collect()
}

const TWO_ORDERS: &[&str] = &[
    "PID|||1^^^A||Roe",
    "NTE|1||about the patient",
    "PV1||I|||||||||||||||||V1^^^A",
    "ORC|RE|P1",
    "OBR|1|P1|F1|CHEM|||||||||||||||||||||FINAL",
    "NTE|1||about the report",
    "OBX|1|NM|NA||140||||||FINAL",
    "NTE|1||about sodium",
    "OBX|2|NM|K||<4.0||||||FINAL",
    "OBX|3|ST|Q||asked||||||FINAL||||||||||||||||||QST",
    "ORC|RE|P2",
    "OBR|2|P2|F2|HAEM|||||||||||||||||||||FINAL",
    "OBX|1|ST|HB||low||||||FINAL",
];

#[test]
fn two_orders_have_two_reports_each_with_its_own_results() {
    let made = convert(&results(), &message(RESULT, TWO_ORDERS));
    let reports = made.all("DiagnosticReport");
    assert_eq!(reports.len(), 2, "{}", made.json);
    assert_eq!(codes(&made, &reports[0]["result"]), ["NA", "K"]);
    assert_eq!(codes(&made, &reports[1]["result"]), ["HB"]);
    // ORC and OBR of one order made one report.
    let values = |report: &Value| {
        let mut values: Vec<String> = report["identifier"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|identifier| identifier.get("system").is_none())
            .map(|identifier| identifier["value"].as_str().unwrap().to_owned())
            .collect();
        values.sort();
        values
    };
    assert_eq!(values(reports[0]), ["F1", "P1"]);
    assert_eq!(values(reports[1]), ["F2", "P2"]);
    // A path to another segment means the one of the same order.
    let methods: Vec<&Value> = made
        .all("Observation")
        .iter()
        .map(|o| &o["method"]["text"])
        .collect();
    assert_eq!(methods, ["P1/F1", "P1/F1", "P2/F2"]);
    // Names of outer groups are seen inside; `link` gathers them all.
    let (patient, encounter) = (made.url("Patient"), made.url("Encounter"));
    for resource in reports.iter().copied().chain(made.all("Observation")) {
        assert_eq!(resource["subject"]["reference"], patient);
        assert_eq!(resource["encounter"]["reference"], encounter);
    }
    let focus: Vec<&Value> = made.only("MessageHeader")["focus"]
        .as_array()
        .unwrap()
        .iter()
        .map(|reference| &reference["reference"])
        .collect();
    let urls = made.urls("DiagnosticReport");
    assert_eq!(focus, [patient, urls[0], urls[1]]);
    assert_eq!(made.report.message_map, "ORU_R01");
    assert!(!made.report.fallback);
}

#[test]
fn a_comment_belongs_to_what_it_follows() {
    let made = convert(&results(), &message(RESULT, TWO_ORDERS));
    assert_eq!(
        made.only("Patient")["extension"][0]["valueString"],
        "about the patient"
    );
    let reports = made.all("DiagnosticReport");
    assert_eq!(reports[0]["conclusion"], "about the report");
    assert!(reports[1].get("conclusion").is_none());
    let notes: Vec<&Value> = made.all("Observation").iter().map(|o| &o["note"]).collect();
    assert_eq!(
        notes,
        [
            &json!([{"text": "about sodium"}]),
            &Value::Null,
            &Value::Null
        ]
    );
}

#[test]
fn a_line_with_after_takes_what_follows_its_anchor() {
    let package = changed(&[
        (
            "messages/ADT_A01.yaml",
            "message: ADT_A01\nmap:\n  - PID: PID/Patient as patient\n  - PV1: PV1/Encounter as encounter\n  - ROL after PID: ROL/Patient into patient\n  - ROL after PV1: ROL/Encounter into encounter\n",
        ),
        (
            "segments/ROL/Patient.yaml",
            "segment: ROL\nmakes: Patient\nname: [ { text: \"{{ROL-4.2}}\" } ]\n",
        ),
        (
            "segments/ROL/Encounter.yaml",
            "segment: ROL\nmakes: Encounter\nreasonCode: [ { text: \"{{ROL-4.2}}\" } ]\n",
        ),
    ]);
    let made = convert(
        &package,
        &message(
            ADMIT,
            &[
                "PID|||1^^^A",
                "ROL|||PP|^one",
                "ROL|||PP|^two",
                "PV1||I|||||||||||||||||V1",
                "ROL|||AT|^three",
            ],
        ),
    );
    assert_eq!(
        made.only("Patient")["name"],
        json!([{"text": "one"}, {"text": "two"}])
    );
    assert_eq!(
        made.only("Encounter")["reasonCode"],
        json!([{"text": "three"}])
    );
}

#[test]
fn a_new_occurrence_of_a_group_starts_without_its_names() {
    // The second patient has no visit: the first one's is not his.
    let made = convert(
        &results(),
        &message(
            RESULT,
            &[
                "PID|||1^^^A",
                "PV1||I|||||||||||||||||V1^^^A",
                "OBR|1||F1|X",
                "OBX|1|ST|A||a",
                "PID|||2^^^A",
                "OBR|1||F2|X",
                "OBX|1|ST|B||b",
            ],
        ),
    );
    let patients = made.urls("Patient");
    let second = made.all("DiagnosticReport")[1];
    assert_eq!(second["subject"]["reference"], patients[1]);
    assert!(second.get("encounter").is_none(), "{second}");
    let observations = made.all("Observation");
    assert!(observations[0].get("encounter").is_some());
    assert!(observations[1].get("encounter").is_none());
}

#[test]
fn into_a_name_that_is_not_bound_is_told_and_does_nothing() {
    let made = convert(
        &results(),
        &message(
            RESULT,
            &[
                "PID|||1^^^A",
                "OBR|1||F1|X",
                "OBX|1|ST|A||a||||||||||||||||||||||||QST",
                "NTE|1||lost",
            ],
        ),
    );
    assert!(made.all("Observation").is_empty(), "{}", made.json);
    assert_eq!(made.codes(), ["no-target NTE"]);
    assert_eq!(&*made.report.issues[0].rule, "messages/ORU_R01.yaml:23");
    assert!(
        made.unmapped().contains(&"NTE".to_owned()),
        "{:?}",
        made.unmapped()
    );
}

#[test]
fn a_segment_out_of_place_is_mapped_and_told() {
    // The visit stands before the patient: it is mapped in the group that it belongs to.
    let made = convert(
        &results(),
        &message(
            RESULT,
            &[
                "PV1||O|||||||||||||||||V9^^^A",
                "PID|||1^^^A",
                "OBR|1||F1|X",
            ],
        ),
    );
    assert_eq!(made.only("Encounter")["class"]["code"], "O");
    let report = made.only("DiagnosticReport");
    assert_eq!(report["encounter"]["reference"], made.url("Encounter"));
    // A local segment has no place in any structure: the nearest enclosing group that names it serves.
    let oru = ORU.replace(
        "      - ORDER_OBSERVATION:\n",
        "      - ZPI: ZPI/Patient into patient\n      - ORDER_OBSERVATION:\n",
    );
    let package = changed(&[
        ("messages/ORU_R01.yaml", &oru),
        (
            "segments/ZPI/Patient.yaml",
            "segment: ZPI\nmakes: Patient\nphoto: [ { title: \"{{ZPI-1}}\" } ]\n",
        ),
    ]);
    let made = convert(
        &package,
        &message(
            RESULT,
            &[
                "PID|||1^^^A",
                "OBR|1||F1|X",
                "OBX|1|ST|A||a||||||F",
                "ZPI|z",
            ],
        ),
    );
    assert_eq!(made.only("Patient")["photo"][0]["title"], "z");
    assert_eq!(made.codes(), ["misplaced-segment ZPI"]);
}

#[test]
fn set_adds_constants_templates_and_objects() {
    let oru = ORU.replace(
        "set: { subject: patient, encounter: encounter }\n          - NTE",
        "set: { subject: patient, issued: \"{{MSH-7}}\", meta.tag: [ { code: \"{{OBR-4.1}}\" } ], conclusion: { is: none, when: OBR-22 not valued } }\n          - NTE",
    );
    let made = convert(
        &changed(&[("messages/ORU_R01.yaml", &oru)]),
        &message(RESULT, &["PID|||1^^^A", "OBR|1||F1|X"]),
    );
    let report = made.only("DiagnosticReport");
    assert_eq!(
        report["issued"], "2024-03-01T10:15:30+01:00",
        "{}",
        made.json
    );
    assert_eq!(report["meta"]["tag"], json!([{"code": "X"}]));
    assert_eq!(report["conclusion"], "none");
}

#[test]
fn one_segment_to_several_resources_and_several_into_one() {
    let package = changed(&[
        (
            "messages/ADT_A01.yaml",
            "message: ADT_A01\nmap:\n  - PID: PID/Patient as patient\n  - PID: PID/RelatedPerson as mother\n  - PD1: PD1/Patient into patient\n",
        ),
        (
            "segments/PID/RelatedPerson.yaml",
            "segment: PID\nmakes: RelatedPerson\nwhen: PID-6 valued\nkey: [ patient, \"mother\" , PID-6 ]\npatient: { ref: patient }\nname: [ { from: PID-6, map: XPN/HumanName } ]\n",
        ),
        (
            "segments/PD1/Patient.yaml",
            "segment: PD1\nmakes: Patient\ngeneralPractitioner: [ { each: PD1-4, map: XCN/Practitioner } ]\nidentifier: [ { value: \"{{PD1-10}}\" } ]\n",
        ),
    ]);
    let made = convert(
        &package,
        &message(ADMIT, &["PID|||1^^^A||Roe|Poe", "PD1||||7^Grey||||||X"]),
    );
    assert_eq!(
        made.only("RelatedPerson")["patient"]["reference"],
        made.url("Patient")
    );
    assert_eq!(
        made.only("Patient")["generalPractitioner"][0]["reference"],
        made.url("Practitioner")
    );
    assert_eq!(
        made.only("Patient")["identifier"].as_array().unwrap().len(),
        2
    );
}

#[test]
fn a_structure_without_a_map_goes_by_any() {
    let any = (
        "messages/any.yaml",
        "message: any\nmap:\n  - PID: PID/Patient as patient\n  - OBX: OBX/Observation as observation\n    set: { subject: patient }\n",
    );
    let package = changed(&[any]);
    let made = convert(
        &package,
        &message(
            "MDM^T02^MDM_T02",
            &["PID|||1^^^A", "TXA|1|CN", "OBX|1|ST|A||a||||||F"],
        ),
    );
    assert!(made.report.fallback);
    assert_eq!(made.report.message_map, "any");
    assert_eq!(
        made.only("Observation")["subject"]["reference"],
        made.url("Patient")
    );
    assert!(made.unmapped().contains(&"TXA".to_owned()));
    // A segment of which only the number is there says nothing.
    let made = convert(
        &package,
        &message(
            "MDM^T02^MDM_T02",
            &["PID|||1^^^A", "TXA|1", "OBX|1|ST|A||a||||||F"],
        ),
    );
    assert!(!made.unmapped().contains(&"TXA".to_owned()));
    // The structure is found from the event when MSH-9.3 does not say it.
    let made = convert(
        &package,
        &message("ORU^R01", &["PID|||1^^^A", "OBR|1||F1|X"]),
    );
    assert_eq!(made.report.message_map, "ORU_R01");

    let package = results();
    let text = message("MDM^T02^MDM_T02", &["PID|||1^^^A"]);
    let (parsed, _) = hl7v2::parse(text.as_bytes()).unwrap();
    let mut converter = package.converter();
    let Err(error) = converter.convert(&parsed, &mapping::Context::default()) else {
        panic!("there is no map for it");
    };
    assert_eq!(
        error.to_string(),
        "no message map for structure MDM_T02, and the package has no messages/any.yaml"
    );
}

#[test]
fn each_star_links_every_other_type() {
    let oru = ORU.replace(
        "  header.focus: [patient, each report]",
        "  header.focus: each *",
    );
    let made = convert(
        &changed(&[("messages/ORU_R01.yaml", &oru)]),
        &message(RESULT, TWO_ORDERS),
    );
    let focus = made.only("MessageHeader")["focus"]
        .as_array()
        .unwrap()
        .len();
    assert_eq!(focus, made.entries().len() - 1, "{}", made.json);
}

#[test]
fn z_segments_need_no_definitions() {
    let package = changed(&[
        (
            "messages/ADT_A01.yaml",
            "message: ADT_A01\nmap:\n  - PID: PID/Patient as patient\n  - ZPI: ZPI/Patient into patient\n",
        ),
        (
            "segments/ZPI/Patient.yaml",
            "segment: ZPI\nmakes: Patient\nphoto: [ { each: ZPI-3, title: \"{{ST.1}}\" } ]\n",
        ),
    ]);
    let made = convert(&package, &message(ADMIT, &["PID|||1^^^A", "ZPI|||one~two"]));
    assert_eq!(
        made.only("Patient")["photo"],
        json!([{"title": "one"}, {"title": "two"}])
    );
}

#[test]
fn a_resource_is_found_again_by_what_it_is_called() {
    // The second order names an observation of the first one: by the number of its order, its code and its sub-id.
    let files = [
        (
            "messages/ORU_R01.yaml",
            "message: ORU_R01\nmap:\n  - PATIENT_RESULT:\n      - ORDER_OBSERVATION:\n          - OBSERVATION:\n              - OBX: OBX/Observation as observation\n                called: [OBR-3 else OBR-2, OBX-3, OBX-4]\n",
        ),
        (
            "segments/OBX/Observation.yaml",
            "segment: OBX\nmakes: Observation\nkey: [OBR-3, OBX-3, OBX-4, repeat]\nstatus: final\ncode: { text: \"{{OBX-5}}\" }\nderivedFrom: [ { ref: observation, key: [OBR-29.2, OBR-26.1, OBR-26.2] } ]\n",
        ),
    ];
    let package = package(&[with(&files)]);
    let child =
        |parent: &str| format!("OBR|2||2^LAB|X^Panel^L||||||||||||||||||||||{parent}|||^1&LAB");
    for (parent, found) in [
        ("A&Culture&L^2", true),
        ("A&Culture&L^3", false),
        ("B&Culture&L^2", false),
    ] {
        let made = convert(
            &package,
            &message(
                RESULT,
                &[
                    "PID|||1",
                    "OBR|1||1^LAB|A^Culture^L",
                    "OBX|1|ST|A^Culture^L|1|first",
                    "OBX|2|ST|A^Culture^L|2|second",
                    &child(parent),
                    "OBX|1|ST|B^Penicillin^L|1|S",
                ],
            ),
        );
        let observations = made.all("Observation");
        assert_eq!(observations.len(), 3);
        let from = &observations[2]["derivedFrom"][0]["reference"];
        let of = made.urls("Observation");
        assert_eq!(from.as_str() == Some(of[1]), found, "{parent}");
        assert_eq!(from.is_null(), !found, "{parent}");
    }
}

#[test]
fn a_resource_may_have_several_names() {
    let files = [
        (
            "messages/ORU_R01.yaml",
            "message: ORU_R01\nmap:\n  - PATIENT_RESULT:\n      - ORDER_OBSERVATION:\n          - OBSERVATION:\n              - OBX: OBX/Observation as observation\n                called: [ [OBR-3, OBX-3], [OBR-3, \"sub-id\", OBX-4] ]\n",
        ),
        (
            "segments/OBX/Observation.yaml",
            "segment: OBX\nmakes: Observation\nkey: [OBR-3, OBX-3, OBX-4, repeat]\nstatus: final\ncode: { text: \"{{OBX-5}}\" }\nderivedFrom: [ { ref: observation, key: [OBR-3, OBX-17] } ]\nhasMember: [ { when: OBX-4 contains \".\", ref: observation, key: [OBR-3, \"sub-id\", '{{before OBX-4 \".\"}}'] } ]\n",
        ),
    ];
    let package = package(&[with(&files)]);
    let segments = [
        "PID|||1",
        "OBR|1||1^LAB|A^Culture^L",
        "OBX|1|ST|A^Culture^L|1|first",
        "OBX|2|ST|B^Penicillin^L|1.1|S||||||||||||A^Culture^L",
        "OBX|3|ST|C^Ampicillin^L|2.1|R||||||||||||D^None^L",
    ];
    let made = convert(&package, &message(RESULT, &segments));
    let (observations, urls) = (made.all("Observation"), made.urls("Observation"));
    assert_eq!(observations[1]["derivedFrom"][0]["reference"], urls[0]);
    assert_eq!(observations[1]["hasMember"][0]["reference"], urls[0]);
    assert!(observations[2].get("derivedFrom").is_none());
    assert!(observations[2].get("hasMember").is_none());
}
