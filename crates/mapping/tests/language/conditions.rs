//! Section 5 of the reference: every form of a condition, true and false.

use crate::fixture::{admit, compiled, patient_package};
use crate::support::{ADMIT, Converted, convert, convert_with, message};
use mapping::Context;

/// Whether the condition holds for the message.
fn holds(condition: &str, segments: &[&str]) -> bool {
    let quoted = condition.replace('\'', "''");
    let made = admit(
        &format!("active: {{ is: \"true\", when: '{quoted}' }}"),
        segments,
    );
    applied(&made)
}

fn applied(made: &Converted) -> bool {
    made.only("Patient")["active"] == true
}

const PID: &str = "PID|||1^^^A~2^^^B||Roe^Ann||19850412|F||||Oslo|||\"\"||M^Married^HL70002||9.50|<5|17|x|http://a.example/b|2.16.840.1|12:30|1015";

#[test]
fn every_form_holds_and_fails() {
    let cases = [
        ("PID-5 valued", true),
        ("PID-6 valued", false),
        ("PID-15 valued", false),
        ("PID-6 not valued", true),
        ("PID-5.2 not valued", false),
        ("PID-15 is null", true),
        ("PID-6 is null", false),
        ("PID-15 is not null", false),
        ("PID-8 = F", true),
        ("PID-8 = f", false),
        ("PID-8 != M", true),
        ("PID-8 != F", false),
        ("PID-6 != F", true),
        ("PID-8 in (M, F)", true),
        ("PID-8 in (M)", false),
        ("PID-8 not in (M, X)", true),
        ("PID-8 not in (M, F)", false),
        ("PID-6 not in (M)", true),
        ("PID-5.1 starts with Ro", true),
        ("PID-5.1 starts with oe", false),
        ("PID-5.1 contains oe", true),
        ("PID-5.1 contains ann", false),
        ("PID-5.1 not contains ann", true),
        ("PID-3(2).1 = 2", true),
        ("PID-3(3) valued", false),
        ("count(PID-3) = 2", true),
        ("count(PID-3) != 2", false),
        ("count(PID-3) < 3", true),
        ("count(PID-3) <= 2", true),
        ("count(PID-3) > 2", false),
        ("count(PID-3) >= 2", true),
        ("count(PID-6) = 0", true),
        ("PID-19 is number", true),
        ("PID-20 is number", false),
        ("PID-20 is quantity", true),
        ("PID-20 is not quantity", false),
        ("PID-22 is quantity", false),
        ("PID-21 is integer", true),
        ("PID-19 is integer", false),
        ("PID-7 is date", true),
        ("PID-22 is date", false),
        ("PID-26 is time", true),
        ("PID-22 is time", false),
        ("PID-24 is oid", true),
        ("PID-23 is oid", false),
        ("PID-23 is uri", true),
        ("PID-24 is uri", false),
        ("PID-5.1 same as PID-5.1", true),
        ("PID-5.1 same as PID-5.2", false),
        ("PID-5.1 not same as PID-5.2", true),
        ("policy extra", true),
        ("policy colour = red", true),
        ("policy colour = green", false),
        ("bound patient", false),
        ("not PID-6 valued", true),
        ("not (PID-5 valued and PID-8 = F)", false),
        // `and` binds tighter than `or`.
        ("PID-5 valued or PID-5 valued and PID-6 valued", true),
        ("(PID-5 valued or PID-5 valued) and PID-6 valued", false),
        // Literals in quotes may hold blanks and keywords.
        ("PID-17.2 = \"Married\"", true),
        ("PID-17.2 in (\"and\", \"Married\")", true),
    ];
    for (condition, expected) in cases {
        assert_eq!(holds(condition, &[PID]), expected, "{condition}");
    }
}

#[test]
fn a_condition_sees_the_segments_around_and_the_header() {
    let segments = &[PID, "PV1||I|WARD"][..];
    assert!(holds(
        "PV1-2 = I and PV1-3 same as PV1-3 and MSH-9.2 = A01",
        segments
    ));
    assert!(!holds("PV1-2 valued", &[PID]));
    assert!(holds("PV1-2 not valued", &[PID]));
}

#[test]
fn under_each_a_condition_is_asked_per_repetition() {
    let rules = "telecom: [ { each: PID-13, value: \"{{XTN.1}}\", when: PID-13.2 = PRN and PID-13(2) valued } ]";
    let made = admit(rules, &["PID|||1^^^A||||||||||1^PRN~2^WPN~3^PRN"]);
    let numbers: Vec<_> = made.only("Patient")["telecom"]
        .as_array()
        .unwrap()
        .iter()
        .map(|found| found["value"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(numbers, ["1", "3"]);
}

#[test]
fn a_context_sets_policies_for_its_messages_only() {
    let package = patient_package("active: { is: \"true\", when: policy colour = green }");
    let text = message(ADMIT, &["PID|||1^^^A"]);
    let green = Context {
        policies: [("colour".to_owned(), "green".to_owned())].into(),
        ..Context::default()
    };
    assert!(applied(&convert_with(&package, &text, &green)));
    assert!(!applied(&convert(&package, &text)));
}

#[test]
fn a_map_and_a_line_of_a_message_map_have_conditions() {
    let package = compiled(&[
        (
            "messages/ADT_A01.yaml",
            "message: ADT_A01\nmap:\n  - PID: PID/Patient as patient\n  - PV1: PV1/Encounter as encounter\n    when: PV1-2 != N and bound patient\n",
        ),
        (
            "segments/PV1/Encounter.yaml",
            "segment: PV1\nmakes: Encounter\nwhen: PV1-19 valued\nkey: PV1-19\nstatus: \"{{PV1-45}}\"\nidentifier: [ { from: PV1-19, map: CX/Identifier } ]\nclass: { code: \"{{PV1-2}}\" }\n",
        ),
    ]);
    let visits = |pv1: &str| {
        let made = convert(&package, &message(ADMIT, &["PID|||1^^^A", pv1]));
        made.all("Encounter").len()
    };
    assert_eq!(visits("PV1||I|||||||||||||||||V1"), 1);
    assert_eq!(visits("PV1||N|||||||||||||||||V1"), 0);
    assert_eq!(visits("PV1||I"), 0);
}
