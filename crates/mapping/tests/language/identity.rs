//! Section 10 of the reference: which resource it is, and how it is written.

use std::collections::HashSet;

use fhir::bundle::{BundleOptions, Ids};
use mapping::Context;
use serde_json::Value;

use crate::fixture::{admit, compiled, patient_package};
use crate::support::{ADMIT, Converted, RESULT, convert, convert_with, message, numbered};

fn patient_url(pid: &str, sender: &str) -> String {
    let context = Context {
        sender: sender.to_owned(),
        ..Context::default()
    };
    let package = patient_package("name: [ { each: PID-5, map: XPN/HumanName } ]");
    convert_with(&package, &message(ADMIT, &[pid]), &context)
        .url("Patient")
        .to_owned()
}

#[test]
fn the_same_number_of_the_same_authority_is_the_same_patient() {
    let url = patient_url("PID|||1^^^A&2.999.1.3&ISO||Roe", "LAB1");
    assert_eq!(
        url,
        patient_url("PID|||1^^^B&2.999.1.3&ISO||Doe", "LAB2"),
        "the OID decides"
    );
    assert_ne!(url, patient_url("PID|||2^^^A&2.999.1.3&ISO||Roe", "LAB1"));
    assert_ne!(url, patient_url("PID|||1^^^A&1.2.4&ISO||Roe", "LAB1"));
    // By name only: names of authorities are taken to be the same everywhere, see the reference of `authority`.
    assert_eq!(
        patient_url("PID|||1^^^A", "LAB1"),
        patient_url("PID|||1^^^A", "LAB2")
    );
}

#[test]
fn numbers_without_an_authority_never_meet_across_senders() {
    assert_eq!(
        patient_url("PID|||1", "LAB1"),
        patient_url("PID|||1||Roe", "LAB1")
    );
    assert_ne!(
        patient_url("PID|||1", "LAB1"),
        patient_url("PID|||1", "LAB2")
    );
    assert_ne!(
        patient_url("PID|||1", "LAB1"),
        patient_url("PID|||1^^^LAB1", "LAB1")
    );
}

#[test]
fn a_patient_without_a_number_belongs_to_its_message() {
    let package = patient_package("name: [ { each: PID-5, map: XPN/HumanName } ]");
    let url = |control: &str| {
        let made = convert(&package, &numbered(control, ADMIT, &["PID|||||Roe^Ann"]));
        made.url("Patient").to_owned()
    };
    assert_eq!(url("M1"), url("M1"));
    assert_ne!(url("M1"), url("M2"));
}

#[test]
fn the_condition_is_the_identifier_of_the_key_and_the_resource_has_it() {
    let made = admit("", &["PID|||1^^^A&2.999.1.3&ISO"]);
    let entry = made.entry("Patient");
    assert_eq!(
        entry["request"],
        serde_json::json!({"method": "PUT", "url": "Patient?identifier=urn:oid:2.999.1.3%7C1"}),
    );
    assert_eq!(entry["resource"]["identifier"][0]["value"], "1");
    // A key of several parts: the resource gets an identifier made of its identity.
    let package = compiled(&[(
        "segments/PID/Patient.yaml",
        "segment: PID\nmakes: Patient\nkey: [ PID-3, \"x\" ]\nbirthDate: \"{{PID-7}}\"\nwrite: create\n",
    )]);
    let made = convert(&package, &message(ADMIT, &["PID|||1^^^A||||1985"]));
    let entry = made.entry("Patient");
    let identifier = &entry["resource"]["identifier"][0];
    assert_eq!(identifier["system"], "urn:ietf:rfc:3986");
    assert_eq!(identifier["value"], entry["fullUrl"]);
    assert_eq!(entry["request"]["method"], "POST");
    let exists = entry["request"]["ifNoneExist"].as_str().unwrap();
    assert!(
        exists.starts_with("identifier=urn:ietf:rfc:3986%7Curn:uuid:"),
        "{exists}"
    );
}

#[test]
fn a_type_without_identifiers_is_written_by_its_id() {
    let package = compiled(&[
        (
            "messages/ADT_A01.yaml",
            "message: ADT_A01\nmap:\n  - PID: PID/Patient as patient\n  - EVN: EVN/Provenance as event\n",
        ),
        (
            "segments/EVN/Provenance.yaml",
            "segment: EVN\nmakes: Provenance\nkey: [ message, \"event\" ]\ntarget: [ { ref: patient } ]\nrecorded: \"{{EVN-2}}\"\n",
        ),
    ]);
    let text = message(ADMIT, &["EVN||20240301101530+0100", "PID|||1^^^A"]);
    let made = convert(&package, &text);
    let id = made.url("Provenance").trim_start_matches("urn:uuid:");
    assert_eq!(
        made.entry("Provenance")["request"],
        serde_json::json!({"method": "PUT", "url": format!("Provenance/{id}")})
    );
    let (parsed, _) = hl7v2::parse(text.as_bytes()).unwrap();
    let mut converter = package.converter();
    let conversion = converter.convert(&parsed, &Context::default()).unwrap();
    let mut out = Vec::new();
    let options = BundleOptions {
        ids: Ids::Client,
        ..BundleOptions::default()
    };
    conversion.write_bundle(&options, &mut out).unwrap();
    let bundle: Value = serde_json::from_slice(&out).unwrap();
    for entry in bundle["entry"].as_array().unwrap() {
        assert_eq!(entry["request"]["method"], "PUT", "{entry}");
    }
}

// === results ===

fn results(maps: &str) -> std::sync::Arc<mapping::Package> {
    compiled(&[
        (
            "messages/ORU_R01.yaml",
            "message: ORU_R01\nmap:\n  - PATIENT_RESULT:\n      - PATIENT: [ { PID: PID/Patient as patient, write: create } ]\n      - ORDER_OBSERVATION:\n          - OBR: OBR/DiagnosticReport as report\n            set: { subject: patient }\n          - OBSERVATION:\n              - OBX: OBX/Observation as observation\n                set: { subject: patient, report.result: observation }\n",
        ),
        (
            "segments/OBR/DiagnosticReport.yaml",
            "segment: OBR\nmakes: DiagnosticReport\nkey: [ patient, OBR-3 else OBR-2, OBR-4 ]\nstatus: \"{{lower OBR-25}}\"\ncode: { coding: [ { code: \"{{OBR-4.1}}\" } ] }\n",
        ),
        ("segments/OBX/Observation.yaml", maps),
    ])
}

const OBX: &str = "segment: OBX\nmakes: Observation\nkey: [ report, OBX-3, OBX-4, repeat ]\nstatus: \"{{lower OBX-11}}\"\ncode: { coding: [ { code: \"{{OBX-3.1}}\" } ] }\nvalueString: \"{{OBX-5}}\"\n";

fn observations(patient: &str, order: &str, lines: &[&str], control: &str) -> Converted {
    let pid = format!("PID|||{patient}^^^A");
    let obr = format!("OBR|1||{order}|CHEM|||||||||||||||||||||FINAL");
    let mut segments = vec![pid.as_str(), obr.as_str()];
    segments.extend_from_slice(lines);
    convert(&results(OBX), &numbered(control, RESULT, &segments))
}

#[test]
fn a_correction_updates_the_resources_of_the_first_report() {
    let first = observations(
        "1",
        "F1",
        &["OBX|1|ST|NA||140||||||F", "OBX|2|ST|K||4||||||F"],
        "M1",
    );
    let second = observations(
        "1",
        "F1",
        &["OBX|1|ST|NA||141||||||C", "OBX|2|ST|K||4||||||F"],
        "M2",
    );
    for kind in ["Patient", "DiagnosticReport", "Observation"] {
        assert_eq!(first.urls(kind), second.urls(kind), "{kind}");
    }
    assert_eq!(second.all("Observation")[0]["valueString"], "141");
    for entry in second.entries() {
        let patient = entry["resource"]["resourceType"] == "Patient";
        assert_eq!(
            entry["request"]["method"],
            if patient { "POST" } else { "PUT" }
        );
    }
}

#[test]
fn equal_results_stay_apart_within_a_report_and_across_patients_and_orders() {
    let line = "OBX|1|ST|NA||140||||||F";
    let all = [
        observations("1", "F1", &[line, line, line], "M1"),
        observations("2", "F1", &[line], "M1"),
        observations("1", "F2", &[line], "M1"),
    ];
    let urls: Vec<&str> = all
        .iter()
        .flat_map(|made| made.urls("Observation"))
        .collect();
    assert_eq!(urls.len(), 5);
    assert_eq!(urls.iter().collect::<HashSet<_>>().len(), 5, "{urls:?}");
    assert_eq!(
        all[0].only("DiagnosticReport")["result"]
            .as_array()
            .unwrap()
            .len(),
        3
    );
    // A first of several equal ones is the same as a lone one.
    let lone = observations("1", "F1", &[line], "M9");
    assert_eq!(lone.urls("Observation")[0], urls[0]);
}

#[test]
fn without_repeat_the_same_identity_is_one_entry_and_the_first_value_stays() {
    let map = OBX.replace(", repeat ]", " ]");
    let made = convert(
        &results(&map),
        &message(
            RESULT,
            &[
                "PID|||1^^^A",
                "OBR|1||F1|X",
                "OBX|1|ST|NA||140||||||F",
                "OBX|2|ST|NA||141||||||C",
            ],
        ),
    );
    assert_eq!(
        made.only("Observation")["valueString"],
        "140",
        "{}",
        made.json
    );
    assert_eq!(
        made.only("DiagnosticReport")["result"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[test]
fn people_and_organizations_are_known_by_number_else_by_name_and_sender() {
    let url = |xcn: &str, sender: &str| {
        let context = Context {
            sender: sender.to_owned(),
            ..Context::default()
        };
        let package =
            patient_package("generalPractitioner: [ { each: PID-21, map: XCN/Practitioner } ]");
        let pid = format!("PID|||1^^^A||||||||||||||||||{xcn}");
        convert_with(&package, &message(ADMIT, &[&pid]), &context)
            .url("Practitioner")
            .to_owned()
    };
    // PID-21 is a CX for the checker; inside the map it is an XCN.
    assert_eq!(
        url("7^Grey^Meg^^^^^^NPI", "L1"),
        url("7^Gray^^^^^^^NPI", "L2")
    );
    assert_ne!(
        url("7^Grey^Meg^^^^^^NPI", "L1"),
        url("7^Grey^Meg^^^^^^X", "L1")
    );
    assert_eq!(url("^Grey^Meg", "L1"), url("^GREY^Meg", "L1"));
    assert_ne!(url("^Grey^Meg", "L1"), url("^Grey^Meg", "L2"));
    assert_ne!(url("^Grey^Meg", "L1"), url("^Grey^Max", "L1"));
}

#[test]
fn parts_of_a_key_do_not_run_into_each_other() {
    let url = |pid: &str| {
        let package = compiled(&[(
            "segments/PID/Patient.yaml",
            "segment: PID\nmakes: Patient\nkey: [ PID-23, PID-6, PID-8 ]\nbirthDate: \"{{PID-7}}\"\n",
        )]);
        convert(&package, &message(ADMIT, &[pid]))
            .url("Patient")
            .to_owned()
    };
    let mut seen = HashSet::new();
    for (place, maiden, sex) in [
        ("ab", "c", ""),
        ("a", "bc", ""),
        ("a", "b", "c"),
        ("", "abc", ""),
        ("abc", "", ""),
    ] {
        let pid = format!("PID|||1^^^A|||{maiden}|1985|{sex}|||||||||||||||{place}");
        assert!(seen.insert(url(&pid)), "{pid}");
    }
}

#[test]
fn a_later_identifier_of_a_key_is_used_when_the_first_is_missing() {
    let package = compiled(&[(
        "segments/PID/Patient.yaml",
        "segment: PID\nmakes: Patient\nkey: PID-3 else PID-2\nidentifier: [ { each: PID-3, map: CX/Identifier }, { each: PID-2, map: CX/Identifier } ]\n",
    )]);
    let made = convert(&package, &message(ADMIT, &["PID||7^^^A"]));
    assert_eq!(
        made.entry("Patient")["request"]["url"],
        "Patient?identifier=urn:fhirway:authority:A%7C7"
    );
}

#[test]
fn no_resource_refers_to_itself() {
    // The guardian named by the patient's own number would be the patient again.
    let package = patient_package(
        "name: [ { each: PID-5, map: XPN/HumanName } ]\nlink:\n  - type: seealso\n    other: { make: Patient, key: PID-3, active: \"true\", gender: { is: female, when: PID-8 = F } }",
    );
    let made = convert(
        &package,
        &message(ADMIT, &["PID|||1^^^A&2.999.1.3&ISO||Roe|||F"]),
    );
    assert!(made.only("Patient")["link"][0].get("other").is_none());
}

#[test]
fn a_part_of_a_key_may_be_a_text_made_of_the_message() {
    let map = "segment: PID\nmakes: Patient\nkey: [ '{{before PID-3 \".\"}}', \"x\" ]\nidentifier: [ { each: PID-3, map: CX/Identifier } ]\n";
    let package = compiled(&[("segments/PID/Patient.yaml", map)]);
    let url = |pid: &str| {
        let made = convert(
            &package,
            &numbered(pid.trim_start_matches("PID|||"), ADMIT, &[pid]),
        );
        made.url("Patient").to_owned()
    };
    assert_eq!(url("PID|||7.1"), url("PID|||7.2"));
    assert_ne!(url("PID|||7.1"), url("PID|||8.1"));
    // Without a text it has no identity of its own.
    assert_ne!(url("PID|||7"), url("PID|||8"));
}

#[test]
fn an_address_is_written_as_references_are() {
    let rules = "photo:\n  - contentType: text/plain\n    url: { make: Binary, key: [ PID-3, \"photo\" ], contentType: text/plain, data: \"{{base64 PID-5.1}}\" }";
    let package = patient_package(rules);
    let made = convert(&package, &message(ADMIT, &["PID|||1^^^A||Roe"]));
    assert_eq!(
        made.only("Patient")["photo"][0]["url"],
        made.url("Binary"),
        "{}",
        made.json
    );
    assert_eq!(made.only("Binary")["data"], "Um9l");
    let id = made.only("Binary")["id"].as_str().unwrap().to_owned();
    // It has no identifiers, so it is written by its id, and a message that is sent twice makes nothing twice.
    assert_eq!(
        made.entry("Binary")["request"]["url"],
        format!("Binary/{id}")
    );
    assert_eq!(made.entry("Binary")["request"]["method"], "PUT");
    let text = message(ADMIT, &["PID|||1^^^A||Roe"]);
    let (parsed, _) = hl7v2::parse(text.as_bytes()).unwrap();
    let mut converter = package.converter();
    let conversion = converter.convert(&parsed, &Context::default()).unwrap();
    for (kind, ids) in [
        (fhir::bundle::BundleKind::Transaction, Ids::Client),
        (fhir::bundle::BundleKind::Batch, Ids::Conditional),
    ] {
        let options = BundleOptions {
            kind,
            ids,
            ..BundleOptions::default()
        };
        let mut out = Vec::new();
        conversion.write_bundle(&options, &mut out).unwrap();
        let bundle: Value = serde_json::from_slice(&out).unwrap();
        let entries = bundle["entry"].as_array().unwrap();
        let place = |type_name: &str| {
            let of_type = |entry: &Value| entry["resource"]["resourceType"] == type_name;
            entries.iter().position(of_type).unwrap()
        };
        let patient = &entries[place("Patient")]["resource"];
        assert_eq!(patient["photo"][0]["url"], format!("Binary/{id}"));
        if kind == fhir::bundle::BundleKind::Batch {
            assert!(
                place("Binary") < place("Patient"),
                "what is named comes first"
            );
        }
    }
    let none = convert(&package, &message(ADMIT, &["PID|||1^^^A"]));
    assert!(none.all("Binary").is_empty());
    assert!(none.only("Patient").get("photo").is_none());
}
