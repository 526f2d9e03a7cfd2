//! Section 6 of the reference: texts and helpers, and that what is lowered says the same as Handlebars itself.

use std::fmt::Write as _;

use proptest::prelude::*;
use serde_json::Value;

use crate::fixture::{admit, patient_package};
use crate::support::{ADMIT, convert, convert_with, message};

/// The text that a template gives for a PID; null for nothing.
fn text(template: &str, pid: &str) -> Value {
    let quoted = template.replace('\'', "''");
    let made = admit(&format!("name: [ {{ text: '{quoted}' }} ]"), &[pid]);
    made.only("Patient")["name"][0]["text"].clone()
}

#[test]
fn every_helper() {
    let pid = "PID|||1^^^A~2^^^B||Roe^Ann~Doe^Bea||198504120730+0100|f|||12-34 (5)|||| x ||3.5-5.1|<=5.0|<200|M^Married^LN^&1.2|a&b^c~d|||1015";
    for (template, expected) in [
        ("{{PID-5.1}}", "Roe"),
        ("{{PID-5(2).1}}", "Doe"),
        ("{{PID-5}}", "Roe"),
        ("{{date PID-7}}", "1985-04-12"),
        ("{{dateTime PID-7}}", "1985-04-12T07:30:00+01:00"),
        ("{{instant PID-7}}", "1985-04-12T07:30:00+01:00"),
        ("{{time PID-24}}", "10:15:00"),
        ("{{upper PID-8}}", "F"),
        ("{{lower PID-5.1}}", "roe"),
        ("{{trim PID-15}}", "x"),
        ("{{digits PID-11}}", "12345"),
        ("{{number PID-18}}", "5.0"),
        ("{{comparator PID-18}}", "<="),
        ("{{rangeLow PID-17}}", "3.5"),
        ("{{rangeHigh PID-17}}", "5.1"),
        ("{{rangeHigh PID-19}}", "200"),
        ("{{replace PID-11 \"-\" \"/\"}}", "12/34 (5)"),
        ("{{substring PID-11 4 2}}", "34"),
        ("{{substring PID-11 4}}", "34 (5)"),
        ("{{join PID-5 \", \"}}", "Roe, Doe"),
        ("{{join PID-3.1}}", "1 2"),
        ("{{join PID-3(2).1}}", "2"),
        ("{{default PID-6 PID-9 \"none\"}}", "none"),
        ("{{default PID-6 PID-5.2}}", "Ann"),
        ("{{whole PID-21}}", "a&b^c\nd"),
        ("{{lookup (upper PID-8) \"Sex\"}}", "female"),
        ("{{sender}}", "NORTH"),
        ("{{authority PID-3.4}}", "urn:fhirway:authority:A"),
        (
            "{{authority PID-3(2).4.1 PID-3(2).4.2}}",
            "urn:fhirway:authority:B",
        ),
        ("{{system PID-20.3}}", "urn:fhirway:system:NORTH:LN"),
        ("{{upper (trim PID-15)}}", "X"),
        ("{{later PID-7 \"45\" \"min\"}}", "198504120815+0100"),
        (
            "{{dateTime (later PID-7 PID-3 \"hr\")}}",
            "1985-04-12T08:30:00+01:00",
        ),
        ("{{earlier PID-7 \"2\" \"d\"}}", "198504100730+0100"),
        ("{{minutes \"1.5\" \"hours\"}}", "90"),
        ("{{base64 PID-5.1}}", "Um9l"),
        ("{{list \", \" PID-6 PID-5.2 PID-9 PID-5.1}}", "Ann, Roe"),
        (
            "{{list \"\" PID-5.1 (list \"-\" PID-6 PID-8 PID-5.2)}}",
            "Roef-Ann",
        ),
        ("{{parts PID-21 \"/\"}}", "a/b/c\nd"),
        ("{{before PID-17 \"-\"}}", "3.5"),
        ("{{after PID-17 \"-\"}}", "5.1"),
        ("{{after PID-11 \" \"}}", "(5)"),
        ("{{default (upper PID-6) (upper PID-8)}}", "F"),
        ("{{#if PID-6}}a{{else if PID-8}}b{{else}}c{{/if}}", "b"),
        ("{{#unless PID-6}}a{{/unless}}", "a"),
        ("{{#if (eq PID-8 \"f\")}}same{{/if}}", "same"),
        ("{{#if (ne PID-8 \"f\")}}other{{else}}same{{/if}}", "same"),
        ("{{#if (and PID-5 (not PID-6))}}yes{{/if}}", "yes"),
        ("{{#if (or PID-6 (valued PID-5))}}yes{{/if}}", "yes"),
        ("\\{{PID-5}} is {{PID-5}}", "{{PID-5}} is Roe"),
        ("{{PID-5.1}} <&> \"{{PID-5.2}}\"", "Roe <&> \"Ann\""),
        (
            "{{#each PID-5}}[{{this.1}} {{this.2}}]{{/each}}",
            "[Roe Ann][Doe Bea]",
        ),
    ] {
        assert_eq!(text(template, pid), expected, "{template}");
    }
    for template in [
        "{{PID-6}}",
        "{{PID-5.1}} {{PID-6}}",
        "{{date PID-5}}",
        "{{time PID-5}}",
        "{{number PID-5}}",
        "{{comparator PID-17}}",
        "{{rangeLow PID-19}}",
        "{{lookup PID-5 \"Sex\"}}",
        "{{#if PID-6}}a{{/if}}",
        "{{upper PID-6}}",
        "{{join PID-6 \"x\"}}",
        "{{whole PID-6}}",
        "{{default PID-6 PID-9}}",
        "{{digits PID-5}}",
        "{{list \", \" PID-6 PID-9}}",
        "{{parts PID-6 \" \"}}",
        "{{before PID-17 \"/\"}}",
        "{{after PID-17 \".1\"}}",
        "{{before PID-17 \"3\"}}",
    ] {
        assert_eq!(text(template, pid), Value::Null, "{template}");
    }
}

#[test]
fn escapes_of_the_message_are_undone_and_nothing_is_html() {
    assert_eq!(
        text("{{PID-5.1}}", "PID|||1^^^A||O\\T\\Neil \\F\\ <b>"),
        "O&Neil | <b>"
    );
}

#[test]
fn times_take_the_zone_of_the_sender_or_are_cut_to_the_date() {
    let package = patient_package("deceasedDateTime: \"{{PID-29}}\"");
    let segment = |time: &str| format!("PID|||1^^^A||||||||||||||||||||||||||{time}");
    let berlin = mapping::Context {
        zone: jiff_zone("Europe/Berlin"),
        ..mapping::Context::default()
    };
    let with = |time: &str| {
        let made = convert_with(&package, &message(ADMIT, &[&segment(time)]), &berlin);
        assert!(made.codes().is_empty());
        made.only("Patient")["deceasedDateTime"].clone()
    };
    assert_eq!(with("20240301101530"), "2024-03-01T10:15:30+01:00");
    assert_eq!(with("20240701101530"), "2024-07-01T10:15:30+02:00");
    assert_eq!(with("202407011015-0500"), "2024-07-01T10:15:00-05:00");
    assert_eq!(
        with("20240701101530.1230"),
        "2024-07-01T10:15:30.1230+02:00"
    );
    assert_eq!(with("202407"), "2024-07");
    let cut = convert(&package, &message(ADMIT, &[&segment("20240301101530")]));
    assert_eq!(cut.only("Patient")["deceasedDateTime"], "2024-03-01");
    assert_eq!(cut.codes(), ["cut-to-date PID-29"]);
}

fn jiff_zone(name: &str) -> Option<jiff::tz::TimeZone> {
    Some(jiff::tz::TimeZone::get(name).unwrap())
}

// === the plan and Handlebars say the same ===

/// A template in both notations: ours, and Handlebars' with `f1` for PID-5 and so on.
#[derive(Clone, Debug)]
enum Part {
    Literal(String),
    Field(usize),
    Upper(usize),
    If(usize, Vec<Part>, Vec<Part>),
    Equal(usize, String, Vec<Part>, Vec<Part>),
    Unless(usize, Vec<Part>),
}

/// Single texts, so that a field and its first component are the same.
const FIELDS: [usize; 4] = [6, 9, 23, 27];

fn part() -> impl Strategy<Value = Part> {
    let field = 0..FIELDS.len();
    let leaf = prop_oneof![
        "[a-z .,;:/<>&'-]{1,6}".prop_map(Part::Literal),
        field.clone().prop_map(Part::Field),
        field.clone().prop_map(Part::Upper),
    ];
    leaf.prop_recursive(3, 24, 3, move |inner| {
        let parts = prop::collection::vec(inner, 0..3);
        prop_oneof![
            (0..FIELDS.len(), parts.clone(), parts.clone()).prop_map(|(f, a, b)| Part::If(f, a, b)),
            (0..FIELDS.len(), "[a-c]{1,2}", parts.clone(), parts.clone())
                .prop_map(|(f, x, a, b)| Part::Equal(f, x, a, b)),
            (0..FIELDS.len(), parts).prop_map(|(f, a)| Part::Unless(f, a)),
        ]
    })
}

fn written(parts: &[Part], name: &dyn Fn(usize) -> String) -> String {
    let mut out = String::new();
    for part in parts {
        match part {
            Part::Literal(text) => out.push_str(text),
            Part::Field(f) => write!(out, "{{{{{}}}}}", name(*f)).unwrap(),
            Part::Upper(f) => write!(out, "{{{{upper {}}}}}", name(*f)).unwrap(),
            Part::If(f, a, b) => write!(
                out,
                "{{{{#if {}}}}}{}{{{{else}}}}{}{{{{/if}}}}",
                name(*f),
                written(a, name),
                written(b, name)
            )
            .unwrap(),
            Part::Equal(f, x, a, b) => write!(
                out,
                "{{{{#if (eq {} \"{x}\")}}}}{}{{{{else}}}}{}{{{{/if}}}}",
                name(*f),
                written(a, name),
                written(b, name)
            )
            .unwrap(),
            Part::Unless(f, a) => write!(
                out,
                "{{{{#unless {}}}}}{}{{{{/unless}}}}",
                name(*f),
                written(a, name)
            )
            .unwrap(),
        }
    }
    out
}

/// Whether a branch that is taken has a hole left: then all of the text is nothing.
fn has_hole(parts: &[Part], values: &[String]) -> bool {
    let valued = |f: usize| !values[f].is_empty();
    parts.iter().any(|part| match part {
        Part::Literal(_) => false,
        Part::Field(f) | Part::Upper(f) => !valued(*f),
        Part::If(f, a, b) => has_hole(if valued(*f) { a } else { b }, values),
        Part::Equal(f, x, a, b) => has_hole(if values[*f] == *x { a } else { b }, values),
        Part::Unless(f, a) => !valued(*f) && has_hole(a, values),
    })
}

handlebars::handlebars_helper!(upper: |text: String| text.to_uppercase());

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn lowered_templates_give_what_handlebars_gives(
        parts in prop::collection::vec(part(), 1..5),
        values in prop::collection::vec("[a-cA-Cäß<&']{0,2}", FIELDS.len()),
    ) {
        // A data type that is one text: what our plan reads is what Handlebars is given.
        let ours = written(&parts, &|f| format!("PID-{}", FIELDS[f]));
        let theirs = written(&parts, &|f| format!("f{f}"));
        let mut registry = handlebars::Handlebars::new();
        registry.register_escape_fn(handlebars::no_escape);
        registry.register_helper("upper", Box::new(upper));
        let context: serde_json::Map<String, Value> = values
            .iter()
            .enumerate()
            .map(|(f, value)| (format!("f{f}"), Value::String(value.clone())))
            .collect();
        let rendered = registry.render_template(&theirs, &context).unwrap();

        let mut pid: Vec<String> = vec![String::new(); 28];
        pid[0] = "PID".to_owned();
        pid[3] = "1^^^A".to_owned();
        for (f, value) in values.iter().enumerate() {
            pid[FIELDS[f]] = value.replace('&', "\\T\\");
        }
        let yaml = ours.replace('\'', "''");
        let package = patient_package(&format!("photo: [ {{ title: '{yaml}' }} ]"));
        let mut text = message(ADMIT, &[&pid.join("|")]);
        text = text.replace("|2.5.1\r", "|2.5.1||||||UNICODE UTF-8\r");
        let made = convert(&package, &text);
        let got = made.only("Patient")["photo"][0]["title"].as_str().map(str::to_owned);
        let expected = (!has_hole(&parts, &values) && !rendered.is_empty()).then_some(rendered);
        prop_assert_eq!(got, expected, "{}", ours);
    }
}

#[test]
fn lines_join_the_segments_of_a_group_in_order() {
    let rules = r#"name: [ { text: "{{lines OBX-5 OBX-2 \"TX\" \"FT\"}}" } ]"#;
    let made = admit(
        rules,
        &[
            "PID|||1^^^A||Roe",
            "OBX|1|TX|A||First line",
            "OBX|2|NM|B||5",
            "OBX|3|FT|A||second & third\\.br\\fourth~fifth",
            "OBX|4|TX|A||",
            "OBX|5|TX|A||last",
        ],
    );
    assert_eq!(
        made.only("Patient")["name"][0]["text"],
        "First line\nsecond & third\nfourth\nfifth\n\nlast"
    );
    // What was joined is taken, and nothing else.
    assert!(
        made.unmapped().contains(&"OBX(2)".to_owned()),
        "{:?}",
        made.unmapped()
    );
    assert!(
        !made
            .unmapped()
            .iter()
            .any(|place| place.ends_with("-5") && place.starts_with("OBX")),
        "{:?}",
        made.unmapped()
    );

    let none = admit(rules, &["PID|||1^^^A||Roe", "OBX|2|NM|B||5"]);
    assert!(none.only("Patient").get("name").is_none());
}

#[test]
fn beside_finds_the_partner_of_a_segment() {
    let map = (
        "segments/OBX/Observation.yaml",
        "segment: OBX\nmakes: Observation\nstatus: final\ncode: { text: \"{{OBX-3}}\" }\nvalueString: \"{{beside OBX-5 OBX-3 \\\"UNIT\\\" OBX-4}}\"\n",
    );
    let message_map = (
        "messages/ADT_A01.yaml",
        "message: ADT_A01\nmap:\n  - OBSERVATION:\n      - OBX: OBX/Observation\n        when: OBX-3 = A\n",
    );
    let made = convert(
        &crate::fixture::compiled(&[map, message_map]),
        &message(
            ADMIT,
            &[
                "PID|||1^^^A||Roe",
                "OBX|1|ST|A|1|x",
                "OBX|2|ST|UNIT|2|second",
                "OBX|3|ST|UNIT|1|first",
                "OBX|4|ST|A|2|y",
                "OBX|5|ST|A|3|z",
            ],
        ),
    );
    let found: Vec<&Value> = made
        .all("Observation")
        .into_iter()
        .map(|observation| &observation["valueString"])
        .collect();
    let expected = [Value::from("first"), Value::from("second"), Value::Null];
    assert_eq!(found, expected.iter().collect::<Vec<_>>());
}

#[test]
fn sections_have_their_headings() {
    let rules = r#"name: [ { text: "{{sections OBX-5 OBX-3.2 OBX-2 \"TX\"}}" } ]"#;
    let text = |segments: &[&str]| {
        let mut all = vec!["PID|||1^^^A||Roe"];
        all.extend_from_slice(segments);
        admit(rules, &all).only("Patient")["name"][0]["text"].clone()
    };
    assert_eq!(
        text(&[
            "OBX|1|TX|F^Findings||Clear.",
            "OBX|2|TX|F^Findings||No fluid.",
            "OBX|3|NM|X||1",
            "OBX|4|TX|I^Impression||Well."
        ]),
        "Findings:\nClear.\nNo fluid.\nImpression:\nWell."
    );
    assert_eq!(
        text(&["OBX|1|TX|F^Findings||Clear.", "OBX|2|TX|F^Findings||Dry."]),
        "Clear.\nDry."
    );
}
