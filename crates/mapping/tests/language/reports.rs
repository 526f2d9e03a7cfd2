//! Section 13 of the reference: what a message's report says, and what it never says.

use crate::fixture::{BASE, admit, compiled, patient_package};
use crate::support::{ADMIT, convert, message};

#[test]
fn what_nothing_took_is_listed_exactly() {
    let package = compiled(&[(
        "segments/PID/Patient.yaml",
        "segment: PID\nmakes: Patient\nkey: PID-3\nignore: [ PID-1, { PID-12: PID-12 same as PID-11.9 } ]\nidentifier: [ { each: PID-3, map: CX/Identifier } ]\nname: [ { family: \"{{PID-5.1.1}}\", given: [ \"{{PID-5.2}}\" ] } ]\n",
    )]);
    let made = convert(
        &package,
        &message(
            ADMIT,
            &[
                "EVN|A01|20240301",
                "PID|1||1^8^M11^A~2^^^B^MR||Roe&van^Ann^X~Doe^Bea|Poe|||||^^^^^^^^county|county",
                "ZZZ|1",
            ],
        ),
    );
    let expected = [
        "MSH-3",
        "MSH-4",
        "MSH-5",
        "MSH-6",
        "MSH-7",
        "MSH-9",
        "MSH-10",
        "MSH-11",
        "MSH-12",
        "EVN",
        "PID-3.2",
        "PID-3.3",
        "PID-3(2).5",
        "PID-5.1",
        "PID-5.3",
        "PID-5(2)",
        "PID-6",
        "PID-11",
        "ZZZ",
    ];
    assert_eq!(made.unmapped(), expected);
    let counts: Vec<(&str, u32)> = made
        .report
        .unmapped_segments
        .iter()
        .map(|(segment, count)| (segment.as_str(), *count))
        .collect();
    assert_eq!(counts, [("EVN", 1), ("MSH", 9), ("PID", 8), ("ZZZ", 1)]);
}

#[test]
fn a_condition_that_let_a_rule_act_has_used_its_field() {
    let rules = "active: { is: \"true\", when: PID-30 = N }";
    let unmapped = |value: &str| {
        let pid = format!("PID|||1^^^A|||||||||||||||||||||||||||{value}");
        admit(rules, &[&pid])
            .unmapped()
            .contains(&"PID-30".to_owned())
    };
    assert!(!unmapped("N"));
    assert!(unmapped("Y"));
}

#[test]
fn a_bad_value_degrades_one_element_only() {
    let rules = "birthDate: \"{{PID-7}}\"\ngender: { from: PID-8, table: Sex }\nname: [ { each: PID-5, map: XPN/HumanName } ]";
    let made = admit(rules, &["PID|||1^^^A||Roe^Ann||19851301|F"]);
    let patient = made.only("Patient");
    assert!(patient.get("birthDate").is_none());
    assert_eq!(patient["gender"], "female");
    assert_eq!(patient["name"][0]["family"], "Roe");
    assert_eq!(made.codes(), ["bad-value PID-7"]);
    // Zeros say that there is no date.
    let made = admit(rules, &["PID|||1^^^A||Roe^Ann||00000000|F"]);
    assert!(made.codes().is_empty(), "{:?}", made.codes());
}

#[test]
fn escapes_that_cannot_be_read_are_kept_and_told() {
    let made = admit(
        "name: [ { text: \"{{PID-5.1}}\" } ]",
        &["PID|||1^^^A||Roe\\Q9\\x"],
    );
    assert_eq!(made.only("Patient")["name"][0]["text"], "Roe\\Q9\\x");
    assert!(
        made.codes().iter().any(|code| code.starts_with("odd-text")),
        "{:?}",
        made.codes()
    );
}

#[test]
fn a_report_is_json_without_content() {
    let rules = "birthDate: \"{{PID-7}}\"\ngender: { from: PID-8, table: Sex }\nname: [ { each: PID-5, map: XPN/HumanName } ]";
    let made = admit(
        rules,
        &["PID|||SECRET1^SECRET2^^SECRET3||SECRET4^^SECRET5^SECRET6|SECRET7|SECRET8|SECRET9|\"\""],
    );
    let json = serde_json::to_value(&made.report).unwrap();
    assert_eq!(json["issues"][0]["code"], "bad-value");
    assert_eq!(json["issues"][0]["place"], "PID-7");
    assert_eq!(json["issues"][0]["element"], "birthDate");
    assert_eq!(json["code_misses"][0]["place"], "PID-8");
    assert!(!json.to_string().contains("SECRET"), "{json}");
    assert!(!format!("{:?}", made.report).contains("SECRET"));
}

/// The same practitioner in every segment is made once; what was odd about it is told at each place.
#[test]
fn what_is_made_once_is_told_of_everywhere() {
    let package = compiled(&[
        (
            "messages/ORU_R01.yaml",
            "message: ORU_R01\nmap:\n  - PATIENT_RESULT:\n      - ORDER_OBSERVATION:\n          - OBSERVATION:\n              - OBX: OBX/Observation as observation\n",
        ),
        (
            "segments/OBX/Observation.yaml",
            "segment: OBX\nmakes: Observation\nkey: [ message, OBX-1 ]\nstatus: final\ncode: { text: x }\nperformer: [ { each: OBX-16, map: XCN/Practitioner } ]\n",
        ),
        (
            "datatypes/XCN/Practitioner.yaml",
            "datatype: XCN\nmakes: Practitioner\nkey: XCN\nbirthDate: \"{{XCN.19}}\"\ngender: { from: XCN.6, table: Sex }\nname: [ { family: \"{{XCN.2.1}}\", suffix: [ \"{{XCN.5}}\" ] } ]\n",
        ),
    ]);
    let odd = "7^Roe^Ann^^\"\"^Q^^^A^^^^^^^^^^never";
    let good = "8^Doe^Bea^^^F^^^A";
    let observation = |number: usize, performer: &str| {
        format!("OBX|{number}|NM|X||1{}{performer}", "|".repeat(11))
    };
    let segments = [
        "OBR|1".to_owned(),
        observation(1, odd),
        observation(2, &format!("{good}~{odd}")),
        observation(3, odd),
    ];
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let made = convert(&package, &message("ORU^R01^ORU_R01", &segments));
    assert_eq!(made.all("Practitioner").len(), 2);
    let places = ["OBX-16", "OBX(2)-16(2)", "OBX(3)-16"];
    let at = |part: &str| places.map(|place| format!("{place}{part}")).to_vec();
    let bad: Vec<String> = made.codes();
    let expected: Vec<String> = at(".19")
        .iter()
        .map(|place| format!("bad-value {place}"))
        .collect();
    assert_eq!(bad, expected);
    let misses = &made.report.code_misses;
    let missed: Vec<String> = misses.iter().map(|miss| miss.place.to_string()).collect();
    assert_eq!(missed, at(".6"));
    assert!(misses.iter().all(|miss| miss.code.code() == Some("Q")));
    let deleted: Vec<String> = made
        .report
        .deleted
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(deleted, at(".5"));
}

#[test]
fn a_message_leaves_no_trace_in_the_next() {
    let package = patient_package(
        "birthDate: \"{{PID-7}}\"\ngender: { from: PID-8, table: Sex }\nname: [ { each: PID-5, map: XPN/HumanName } ]\ngeneralPractitioner: [ { each: PID-21, map: XCN/Practitioner } ]",
    );
    let texts = [
        message(
            ADMIT,
            &[
                "PID|||1^^^A~2^^^B||Roe^Ann~Roe^Bea||1985|Q|||||||||||||7^Grey~7^Grey",
                "ZZZ|x",
            ],
        ),
        message(ADMIT, &["PID|||2^^^A||Doe||bad|\"\""]),
        message("ADT^A99^NONE", &["PID|||9^^^A"]),
        message(ADMIT, &["PID|||||"]),
        message(ADMIT, &[]),
    ];
    let run = |converter: &mut mapping::Converter, text: &str| -> String {
        let (parsed, _) = hl7v2::parse(text.as_bytes()).unwrap();
        match converter.convert(&parsed, &mapping::Context::default()) {
            Ok(conversion) => {
                let mut out = Vec::new();
                conversion
                    .write_bundle(&fhir::bundle::BundleOptions::default(), &mut out)
                    .unwrap();
                format!(
                    "{} {}",
                    String::from_utf8(out).unwrap(),
                    serde_json::to_string(conversion.report()).unwrap()
                )
            }
            Err(error) => error.to_string(),
        }
    };
    let fresh: Vec<String> = texts
        .iter()
        .map(|text| run(&mut package.converter(), text))
        .collect();
    let mut used = package.converter();
    for first in &texts {
        for (text, expected) in texts.iter().zip(&fresh) {
            run(&mut used, first);
            assert_eq!(&run(&mut used, text), expected, "after {first}");
            assert_eq!(&run(&mut used, text), expected, "again");
        }
    }
}

#[test]
fn a_package_names_its_parts() {
    let package = crate::support::package(&[crate::support::layer("", BASE)]);
    assert_eq!(package.structures().collect::<Vec<_>>(), ["ADT_A01"]);
    assert_eq!(package.counts(), (8, 1, 1));
    let policies: Vec<_> = package
        .policies()
        .map(|(name, default, values, _)| (name, default, values.join(" ")))
        .collect();
    assert_eq!(
        policies,
        [
            ("colour", "red", "red green".to_owned()),
            ("extra", "on", "on off".to_owned())
        ]
    );
    // The fingerprint depends on the content, not on the order of the files.
    let mut turned: Vec<_> = BASE.to_vec();
    turned.reverse();
    assert_eq!(
        crate::support::package(&[crate::support::layer("", &turned)]).hash(),
        package.hash()
    );
    assert_ne!(patient_package("gender: female").hash(), package.hash());
    assert!(!format!("{package:?}").is_empty());
}

fn ignored(made: &crate::support::Converted) -> Vec<(String, u32)> {
    let counts = made.report.ignored.iter();
    counts.map(|one| (one.why.to_string(), one.count)).collect()
}

#[test]
fn parts_of_fields_and_of_values_are_ignored_for_a_reason() {
    let package = compiled(&[
        (
            "segments/PID/Patient.yaml",
            "segment: PID\nmakes: Patient\nkey: PID-3\nignore:\n  - PID-1\n  - PID-2: superseded\n  - { PID-5.3: no middle names, PID-5.7: no middle names }\n  - PID-12: PID-12 same as PID-11.9\n  - PID-11: { when: PID-12 valued, why: the county is known }\nidentifier: [ { each: PID-3, map: CX/Identifier } ]\nname: [ { family: \"{{PID-5.1.1}}\", given: [ \"{{PID-5.2}}\" ] } ]\ngeneralPractitioner: [ { each: PID-21, map: CX/Organization } ]\n",
        ),
        (
            "datatypes/CX/Identifier.yaml",
            "datatype: CX\nmakes: Identifier\nwhen: CX.1 valued\nignore: { CX.7: dates of a number, CX.6.2: the name is enough }\nvalue: \"{{CX.1}}\"\nassigner: { display: \"{{CX.4.1}}\" }\n",
        ),
        (
            "datatypes/CX/Organization.yaml",
            "datatype: CX\nmakes: Organization\nkey: CX\nignore: { CX.8: a date of the sender's }\nname: \"{{CX.1}}\"\n",
        ),
    ]);
    // The second PID-21 is the same as the first, and only found again.
    let pid = "PID|1|9|1^^^A^^B&2^20240101~2^^^A^X||Roe^Ann^X~Doe^Bea||||||^^^^^^^^county|county|||||||||8^^^^^^^20250101~8^^^^^^^20250101";
    let made = convert(&package, &message(ADMIT, &[pid]));
    let pid: Vec<String> = made
        .unmapped()
        .into_iter()
        .filter(|place| place.starts_with("PID"))
        .collect();
    assert_eq!(pid, ["PID-3.6", "PID-3(2).5", "PID-5(2)"]);
    let expected = [
        ("dates of a number", 1),
        ("the name is enough", 1),
        ("a date of the sender's", 2),
        ("PID-1", 1),
        ("superseded", 1),
        ("no middle names", 1),
        ("PID-12", 1),
        ("the county is known", 1),
    ];
    let expected = expected.map(|(why, count)| (why.to_owned(), count));
    assert_eq!(ignored(&made), expected);
    let json = serde_json::to_value(&made.report).unwrap();
    assert_eq!(json["ignored"]["a date of the sender's"], 2);
}

#[test]
fn what_a_map_takes_another_one_does_not_leave_out() {
    let made = admit(
        "ignore: [ PID-7 ]\nbirthDate: \"{{PID-7}}\"",
        &["PID|||1^^^A||Roe^Ann||19800502"],
    );
    assert_eq!(made.only("Patient")["birthDate"], "1980-05-02");
    assert!(ignored(&made).is_empty(), "{:?}", ignored(&made));
}
