//! The same patient, visit, order, report and result in messages of several kinds is the same resource, and what two senders
//! number alike never is.

use std::collections::BTreeSet;

use mapping::Context;

use crate::support::{Converted, convert_with, message};

const PATIENT: &str = "PID|1||4711^^^NORTH&2.999.1&ISO^MR||Roe^Ann||19850412|F";
const VISIT: &str = "PV1|1|I|W1^1^1||||||||||||||||V1^^^NORTH&2.999.2&ISO^VN";

fn made(kind: &str, sender: &str, segments: &[&str]) -> Converted {
    let context = Context {
        sender: sender.to_owned(),
        ..Context::default()
    };
    convert_with(&crate::shipped(), &message(kind, segments), &context)
}

fn result(sender: &str, numbers: &[&str]) -> Converted {
    let mut segments = vec![PATIENT, VISIT];
    segments.extend(numbers);
    segments.push("OBX|1|NM|718-7^Hemoglobin^LN||13.5|g/dL^^UCUM||||||F");
    made("ORU^R01^ORU_R01", sender, &segments)
}

/// Ids of all resources of these types.
fn ids(of: &Converted, types: &[&str]) -> BTreeSet<String> {
    let urls = types.iter().flat_map(|name| of.urls(name));
    urls.map(str::to_owned).collect()
}

#[test]
fn messages_of_all_kinds_meet_in_one_patient_visit_and_order() {
    let order = "OBR|1|P1^NORTH^2.999.3^ISO||58410-2^CBC panel^LN";
    let admission = made(
        "ADT^A01^ADT_A01",
        "ADT",
        &["EVN|A01|20240301", PATIENT, VISIT],
    );
    let general = made(
        "ORM^O01^ORM_O01",
        "ORDERS",
        &[PATIENT, VISIT, "ORC|NW|P1^NORTH^2.999.3^ISO", order],
    );
    let laboratory = made(
        "OML^O21^OML_O21",
        "ORDERS",
        &[PATIENT, VISIT, "ORC|NW|P1^NORTH^2.999.3^ISO", order],
    );
    let report = result(
        "LAB",
        &[
            "ORC|RE|P1^NORTH^2.999.3^ISO|F1^LAB^2.999.4^ISO",
            "OBR|1|P1^NORTH^2.999.3^ISO|F1^LAB^2.999.4^ISO|58410-2^CBC panel^LN",
        ],
    );
    for other in [&general, &laboratory, &report] {
        let who = ["Patient", "Encounter"];
        assert_eq!(ids(other, &who), ids(&admission, &who), "{}", other.json);
        let what = ["ServiceRequest"];
        assert_eq!(ids(other, &what), ids(&general, &what), "{}", other.json);
        assert_eq!(ids(other, &what).len(), 1, "{}", other.json);
    }
}

#[test]
fn it_is_one_order_wherever_its_numbers_stand() {
    let types = ["DiagnosticReport", "ServiceRequest", "Observation"];
    let test = "58410-2^CBC panel^LN";
    let both = result(
        "LAB",
        &["ORC|RE|P1^N|F1^L", &format!("OBR|1|P1^N|F1^L|{test}")],
    );
    for (common, observed) in [
        ("ORC|RE|P1^N|F1^L", "OBR|1|||"),
        ("ORC|RE", "OBR|1|P1^N|F1^L|"),
        ("ORC|RE|P1^N", "OBR|1||F1^L|"),
        ("ORC|RE||F1^L", "OBR|1|P1^N||"),
    ] {
        let other = result("LAB", &[common, &format!("{observed}{test}")]);
        assert_eq!(
            ids(&other, &types),
            ids(&both, &types),
            "{common} {observed}"
        );
    }
    let without_orc = result("LAB", &[&format!("OBR|1|P1^N|F1^L|{test}")]);
    assert_eq!(ids(&without_orc, &types), ids(&both, &types));
}

#[test]
fn a_result_stays_the_same_until_it_is_withdrawn() {
    let types = [
        "DiagnosticReport",
        "Observation",
        "Specimen",
        "ServiceRequest",
    ];
    let at = |report: &str, status: &str, value: &str| {
        made(
            "ORU^R01^ORU_R01",
            "LAB",
            &[
                PATIENT,
                "ORC|RE|P1^N|F1^L",
                &format!(
                    "OBR|1|P1^N|F1^L|58410-2^CBC panel^LN|||20240301|||||||||||||||20240302||LAB|{report}"
                ),
                &format!("OBX|1|NM|718-7^Hemoglobin^LN|1|{value}|g/dL^^UCUM|||||{status}"),
                &format!("OBX|2|NM|718-7^Hemoglobin^LN|2|{value}|g/dL^^UCUM|||||{status}"),
                "SPM|1|S1&N^S1&L||BLD^Blood^HL70487",
            ],
        )
    };
    let first = at("P", "P", "13.1");
    assert_eq!(first.all("Observation").len(), 2);
    for (report, status, said) in [
        ("F", "F", "final"),
        ("C", "C", "corrected"),
        ("X", "X", "cancelled"),
        ("C", "W", "entered-in-error"),
        ("C", "D", "entered-in-error"),
    ] {
        let later = at(report, status, "13.2");
        assert_eq!(ids(&later, &types), ids(&first, &types), "{status}");
        for observation in later.all("Observation") {
            assert_eq!(observation["status"], said);
        }
    }
}

#[test]
fn what_two_senders_number_alike_never_meets() {
    // No number says who gave it.
    let types = [
        "Patient",
        "Encounter",
        "ServiceRequest",
        "DiagnosticReport",
        "Observation",
        "Specimen",
        "Practitioner",
    ];
    let of = |sender: &str| {
        made(
            "ORU^R01^ORU_R01",
            sender,
            &[
                "PID|1||4711||Roe^Ann",
                "PV1|1|I|W1||||||||||||||||V1",
                "ORC|RE|P1|F1|||||||||77^Hill^Jo",
                "OBR|1|P1|F1|CBC^Panel^L|||20240301|||||||||77^Hill^Jo|||||||||F",
                "OBX|1|NM|HB^Hemoglobin^L||13.5|g/dL|||||F",
                "SPM|1|S1||BLD",
            ],
        )
    };
    let (north, south) = (of("NORTH"), of("SOUTH"));
    for name in types {
        assert!(!north.all(name).is_empty(), "{name}");
        assert_eq!(north.all(name).len(), south.all(name).len());
    }
    let common: Vec<String> = ids(&north, &types)
        .intersection(&ids(&south, &types))
        .cloned()
        .collect();
    assert!(common.is_empty(), "{common:?}");
    assert_eq!(ids(&of("NORTH"), &types), ids(&north, &types));
    // Nor do two orders, or two patients, of one sender.
    let numbered = |patient: &str, filler: &str| {
        let pid = format!("PID|1||{patient}||Roe^Ann");
        let obr = format!("OBR|1||{filler}|CBC^Panel^L");
        let segments = [&*pid, &obr, "OBX|1|NM|HB^Hemoglobin^L||13.5|g/dL|||||F"];
        ids(
            &made("ORU^R01^ORU_R01", "NORTH", &segments),
            &["DiagnosticReport", "Observation"],
        )
    };
    for other in [numbered("1", "F2"), numbered("2", "F1")] {
        assert!(numbered("1", "F1").is_disjoint(&other));
    }
}
