//! Section 4 of the reference: what may stand behind an element.

use serde_json::json;

use crate::fixture::{admit, patient};

#[test]
fn a_text_is_a_constant_a_field_or_a_mixture() {
    let rules = "gender: female\nbirthDate: \"{{PID-7}}\"\nname: [ { text: \"Ms {{PID-5.2}} {{PID-5.1}}\" } ]";
    assert_eq!(
        patient(rules, "PID|||1^^^A||Roe^Ann||19850412"),
        json!({"gender": "female", "birthDate": "1985-04-12", "name": [{"text": "Ms Ann Roe"}]})
    );
    // A mixture with one hole left, and a field without a value, are nothing.
    assert_eq!(
        patient(rules, "PID|||1^^^A||Roe"),
        json!({"gender": "female"})
    );
}

#[test]
fn texts_become_the_type_of_their_element() {
    let rules = "active: \"{{PID-30}}\"\nbirthDate: \"{{PID-7}}\"\nmultipleBirthInteger: \"{{PID-25}}\"\nphoto: [ { data: \"{{PID-23}}\", size: \"{{PID-25}}\" } ]";
    assert_eq!(
        patient(rules, "PID|||1^^^A||||198504||||||||||||||||aGk=||03|||||Y"),
        json!({"active": true, "birthDate": "1985-04", "multipleBirthInteger": 3, "photo": [{"data": "aGk=", "size": 3}]})
    );
    // What fits no type is left out; the rest stays.
    let made = admit(
        rules,
        &["PID|||1^^^A||||19850230||||||||||||||||%%||two|||||maybe"],
    );
    assert_eq!(
        made.only("Patient").as_object().unwrap().len(),
        2,
        "{}",
        made.json
    );
    assert_eq!(
        made.codes(),
        [
            "bad-value PID-30",
            "bad-value PID-7",
            "bad-value PID-25",
            "bad-value PID-23",
            "bad-value PID-25"
        ]
    );
    let elements: Vec<&str> = made
        .report
        .issues
        .iter()
        .map(|issue| issue.element)
        .collect();
    assert_eq!(
        elements,
        [
            "active",
            "birthDate",
            "multipleBirthInteger",
            "data",
            "size"
        ]
    );
    assert!(
        made.report
            .issues
            .iter()
            .all(|issue| issue.rule.starts_with("segments/PID/Patient.yaml:"))
    );
    assert_eq!(&*made.report.issues[1].rule, "segments/PID/Patient.yaml:6");
}

#[test]
fn decimals_keep_their_digits() {
    let rules = "extension: [ { url: \"http://x.example/n\", valueDecimal: \"{{PID-25}}\" } ]";
    let made = admit(rules, &["PID|||1^^^A||||||||||||||||||||||1.50"]);
    assert!(
        made.json.contains("\"valueDecimal\": 1.50"),
        "{}",
        made.json
    );
}

#[test]
fn an_object_of_constants_needs_no_data_and_any_other_does() {
    let rules = "telecom: [ { system: phone, value: \"{{PID-13.1}}\" } ]\nmaritalStatus: { coding: [ { code: M } ] }";
    assert_eq!(
        patient(rules, "PID|||1^^^A"),
        json!({"maritalStatus": {"coding": [{"code": "M"}]}})
    );
    assert_eq!(
        patient(rules, "PID|||1^^^A||||||||||555-1234")["telecom"],
        json!([{"system": "phone", "value": "555-1234"}])
    );
}

#[test]
fn a_list_adds_for_a_repeating_element_and_chooses_for_a_single_one() {
    let rules = "name: [ { each: PID-5, map: XPN/HumanName }, { text: \"{{PID-9.1}}\" } ]\nbirthDate: [ \"{{PID-7}}\", \"{{PID-29}}\", 1900 ]";
    assert_eq!(
        patient(rules, "PID|||1^^^A||Roe^Ann~Doe^Ann||||Poe")["name"],
        json!([{"family": "Roe", "given": ["Ann"]}, {"family": "Doe", "given": ["Ann"]}, {"text": "Poe"}])
    );
    let date = |pid| patient(rules, pid)["birthDate"].clone();
    assert_eq!(date("PID|||1^^^A||||1985"), "1985");
    assert_eq!(date("PID|||1^^^A||||||||||||||||||||||||||1986"), "1986");
    // A value that does not fit is no result: the next rule has its turn.
    assert_eq!(
        date("PID|||1^^^A||||later||||||||||||||||||||||1986"),
        "1986"
    );
    assert_eq!(date("PID|||1^^^A"), "1900");
}

#[test]
fn from_and_each_set_the_current_value() {
    let rules = "name: [ { from: PID-5, family: \"{{XPN.1}}\", text: \"{{PID-5.2}}\" } ]\ntelecom: [ { each: PID-13, value: \"{{XTN.1}}\", rank: \"{{PID-13.3}}\" } ]";
    let made = patient(rules, "PID|||1^^^A||Roe^Ann~Doe^Bea||||||||1^^1~~2^^2");
    // `from` is the first repetition; `PID-13.3` inside `each` is the same repetition; an empty one is skipped.
    assert_eq!(made["name"], json!([{"family": "Roe", "text": "Ann"}]));
    assert_eq!(
        made["telecom"],
        json!([{"value": "1", "rank": 1}, {"value": "2", "rank": 2}])
    );
    // A repetition that is named stays the one that is named.
    let rules = "telecom: [ { each: PID-13, value: \"{{PID-13(2).1}}\" } ]";
    assert_eq!(
        patient(rules, "PID|||1^^^A||||||||||1~2")["telecom"],
        json!([{"value": "2"}]),
    );
}

#[test]
fn a_single_element_takes_the_first_repetition_that_gives_something() {
    let rules =
        "maritalStatus: { each: PID-16, coding: [ { code: \"{{CWE.1}}\" } ], when: CWE.3 = L }";
    assert_eq!(
        patient(rules, "PID|||1^^^A|||||||||||||A~B^^L~C^^L"),
        json!({"maritalStatus": {"coding": [{"code": "B"}]}})
    );
}

#[test]
fn a_map_makes_a_data_type_and_set_changes_it() {
    let rules = "name: [ { each: PID-5, map: XPN/HumanName, set: { use: { is: official, when: PID-5.7 = L }, family: \"{{upper XPN.1}}\" } } ]";
    assert_eq!(
        patient(rules, "PID|||1^^^A||Roe^Ann^^^^^L~Doe^Bea")["name"],
        json!([
            {"use": "official", "family": "ROE", "given": ["Ann"]},
            {"family": "DOE", "given": ["Bea"]}
        ])
    );
    // Elements beside `map:` mean the same as `set:`.
    let rules = "name: [ { from: PID-5, map: XPN/HumanName, use: usual } ]";
    assert_eq!(
        patient(rules, "PID|||1^^^A||Roe")["name"],
        json!([{"use": "usual", "family": "Roe"}])
    );
    // What `set` writes needs something to be set on.
    assert_eq!(patient(rules, "PID|||1^^^A||^^^^^^L"), json!({}));
}

#[test]
fn a_map_to_a_primitive_has_alternatives() {
    let rules = "extension: [ { url: \"http://x.example/m\", valueString: { from: PID-6, map: XPN/string } } ]";
    let value = |pid| patient(rules, pid)["extension"][0]["valueString"].clone();
    assert_eq!(value("PID|||1^^^A|||Poe^Eva"), "Eva Poe");
    assert_eq!(value("PID|||1^^^A|||Poe"), "Poe");
}

#[test]
fn is_takes_a_text_or_several() {
    let rules = "name: [ { given: { is: [ A, \"{{PID-5.2}}\", C ], when: PID-5.1 valued }, family: { is: \"{{PID-5.1}}\" } } ]";
    assert_eq!(
        patient(rules, "PID|||1^^^A||Roe^B"),
        json!({"name": [{"family": "Roe", "given": ["A", "B", "C"]}]})
    );
    assert_eq!(patient(rules, "PID|||1^^^A||^B"), json!({}));
}

#[test]
fn a_field_makes_a_resource_and_what_it_makes_another() {
    let rules = "generalPractitioner: [ { each: PID-21, map: XCN/Practitioner } ]\nmanagingOrganization: { from: PID-3.4, map: HD/Organization }\nlink: []";
    let rules = rules.replace("\nlink: []", "");
    let made = admit(
        &rules,
        &["PID|||1^^^A||||||||||||||||||7^Grey^Meg~8^Roy^Lee"],
    );
    let patient = made.only("Patient");
    let names: Vec<_> = patient["generalPractitioner"]
        .as_array()
        .unwrap()
        .iter()
        .map(|reference| made.target(reference)["name"][0]["family"].clone())
        .collect();
    assert_eq!(names, ["Grey", "Roy"]);
    assert_eq!(made.target(&patient["managingOrganization"])["name"], "A");
}

#[test]
fn make_builds_three_deep_and_equal_resources_are_one_entry() {
    let rules = r#"
generalPractitioner:
  - each: PID-21
    make: PractitionerRole
    key: [ XCN, "family" ]
    practitioner: { from: XCN, map: XCN/Practitioner }
    organization: { from: PV1-39, make: Organization, key: PV1-39, name: "{{PV1-39}}", partOf: { from: MSH-4, map: HD/Organization } }
managingOrganization: { from: MSH-4, map: HD/Organization }
"#;
    let made = admit(
        rules,
        &[
            "PID|||1^^^A||||||||||||||||||7^Grey^Meg~8^Roy^Lee",
            "PV1||I|||||||||||||||||||||||||||||||||||||WARD",
        ],
    );
    assert_eq!(made.all("PractitionerRole").len(), 2, "{}", made.json);
    assert_eq!(made.all("Practitioner").len(), 2);
    assert_eq!(
        made.all("Organization").len(),
        2,
        "WARD and NORTH, each once"
    );
    for role in made.all("PractitionerRole") {
        let ward = made.target(&role["organization"]);
        assert_eq!(ward["name"], "WARD");
        assert_eq!(made.target(&ward["partOf"])["name"], "NORTH");
        assert!(made.target(&role["practitioner"])["name"].is_array());
    }
    assert_eq!(
        made.target(&made.only("Patient")["managingOrganization"])["name"],
        "NORTH"
    );
    // What fields make leaves what exists alone; the Patient is replaced.
    for entry in made.entries() {
        let create = entry["request"]["ifNoneExist"].is_string();
        assert_eq!(
            create,
            entry["resource"]["resourceType"] != "Patient",
            "{entry}"
        );
    }
}

#[test]
fn a_resource_of_nothing_is_not_made() {
    let rules = "generalPractitioner: [ { each: PID-21, map: XCN/Practitioner } ]";
    let made = admit(rules, &["PID|||1^^^A||||||||||||||||||7"]);
    assert!(
        made.all("Practitioner").is_empty(),
        "an id that no rule uses makes no Practitioner"
    );
    assert!(made.only("Patient").get("generalPractitioner").is_none());
}

#[test]
fn the_first_variant_of_a_choice_stays_and_a_second_is_told() {
    let rules = "deceasedDateTime: \"{{PID-29}}\"\ndeceasedBoolean: { from: PID-30 }";
    let made = admit(rules, &["PID|||1^^^A||||||||||||||||||||||||||20240101|Y"]);
    let both = made.only("Patient");
    assert_eq!(both["deceasedDateTime"], "2024-01-01", "{}", made.json);
    assert!(both.get("deceasedBoolean").is_none());
    assert_eq!(made.codes(), ["second-choice "]);
    assert_eq!(
        patient(rules, "PID|||1^^^A||||||||||||||||||||||||||20240101"),
        json!({"deceasedDateTime": "2024-01-01"})
    );
    let rules = "multipleBirthBoolean: { from: PID-24 }\nmultipleBirthInteger: { from: PID-25 }";
    let made = admit(rules, &["PID|||1^^^A|||||||||||||||||||||Y|2"]);
    assert_eq!(made.only("Patient")["multipleBirthBoolean"], true);
    assert_eq!(made.codes(), ["second-choice "]);
    assert_eq!(made.report.issues[0].element, "multipleBirthInteger");
}

#[test]
fn extensions_need_a_value_and_stand_on_primitives_too() {
    let rules = r#"
birthDate: "{{date PID-7}}"
_birthDate: { extension: [ { url: http://hl7.org/fhir/StructureDefinition/patient-birthTime, valueDateTime: "{{dateTime PID-7}}" } ] }
extension:
  - { url: "http://x.example/a", valueString: "{{PID-23}}" }
  - { url: "http://x.example/b", extension: [ { url: c, valueCode: "{{PID-8}}" } ] }
_gender: { extension: [ { url: http://hl7.org/fhir/StructureDefinition/data-absent-reason, valueCode: unknown } ] }
"#;
    let absent = json!({"extension": [{"url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason", "valueCode": "unknown"}]});
    assert_eq!(patient(rules, "PID|||1^^^A"), json!({"_gender": absent}));
    assert_eq!(
        patient(
            rules,
            "PID|||1^^^A||||198504120730+0100|F|||||||||||||||Oslo"
        ),
        json!({
            "extension": [
                {"url": "http://x.example/a", "valueString": "Oslo"},
                {"url": "http://x.example/b", "extension": [{"url": "c", "valueCode": "F"}]}
            ],
            "_gender": absent,
            "birthDate": "1985-04-12",
            "_birthDate": {"extension": [{"url": "http://hl7.org/fhir/StructureDefinition/patient-birthTime", "valueDateTime": "1985-04-12T07:30:00+01:00"}]}
        })
    );
}

#[test]
fn a_dot_writes_an_element_that_is_named_like_a_keyword() {
    let rules = "contact: [ { organization: { make: Organization, key: PID-3, name: \"{{PID-5.1}}\", .is: x } } ]";
    // `Organization` has no element `is`; the point is that it is looked for among the elements.
    let map = crate::fixture::patient_map(rules);
    let layers = [crate::fixture::with(&[("segments/PID/Patient.yaml", &map)])];
    let (_, found) = mapping::Package::compile(&layers);
    assert!(
        found[0]
            .message
            .contains("Organization has no element `is`"),
        "{found:?}"
    );
    // ImplementationGuide has elements that are keywords: `Timing.repeat.when`.
    let files = [
        (
            "messages/ADT_A01.yaml",
            "message: ADT_A01\nmap:\n  - PID: PID/ServiceRequest as request\n",
        ),
        (
            "segments/PID/ServiceRequest.yaml",
            "segment: PID\nmakes: ServiceRequest\nkey: PID-3\nstatus: active\nintent: order\noccurrenceTiming: { repeat: { .when: [ \"{{PID-8}}\" ], when: PID-8 valued } }\n",
        ),
    ];
    let made = crate::support::convert(
        &crate::fixture::compiled(&files),
        &crate::support::message(crate::support::ADMIT, &["PID|||1^^^A|||||MORN"]),
    );
    assert_eq!(
        made.only("ServiceRequest")["occurrenceTiming"],
        json!({"repeat": {"when": ["MORN"]}})
    );
}

#[test]
fn equal_codes_and_identifiers_appear_once() {
    let rules = "address: [ { each: PID-11, city: \"{{XAD.3}}\" } ]\nphoto: [ { each: PID-23, title: \"{{ST}}\" } ]";
    let made = admit(
        rules,
        &["PID|||1^^^A~1^^^A~2^^^A||||||||^^Oslo~^^Oslo||||||||||||a~a"],
    );
    let patient = made.only("Patient");
    assert_eq!(patient["identifier"].as_array().unwrap().len(), 2);
    assert_eq!(patient["address"], json!([{"city": "Oslo"}]));
    assert_eq!(
        patient["photo"].as_array().unwrap().len(),
        2,
        "attachments may be equal"
    );
}

#[test]
fn deletion_is_told_and_never_written() {
    let rules = "birthDate: \"{{PID-7}}\"\ngender: { from: PID-8, table: Sex }\nname: [ { each: PID-5, map: XPN/HumanName } ]\ntelecom: [ { value: \"{{PID-13.1}}\", when: PID-13 is null, rank: 1 } ]";
    let made = admit(rules, &["PID|||1^^^A||Roe^\"\"||\"\"|\"\"|||||\"\""]);
    assert_eq!(made.only("Patient")["name"], json!([{"family": "Roe"}]));
    assert_eq!(
        made.only("Patient").as_object().unwrap().len(),
        3,
        "{}",
        made.json
    );
    let deleted: Vec<String> = made
        .report
        .deleted
        .iter()
        .map(ToString::to_string)
        .collect();
    let mut sorted = deleted.clone();
    sorted.sort();
    assert_eq!(
        sorted,
        ["PID-13.1", "PID-5.2", "PID-7", "PID-8"],
        "{deleted:?}"
    );
    assert!(
        made.unmapped()
            .iter()
            .all(|place| !place.starts_with("PID")),
        "{:?}",
        made.unmapped()
    );
}

#[test]
fn a_period_that_ends_before_it_starts_has_no_end_and_a_reversed_range_is_none() {
    let period = "name: [ { each: PID-5, text: \"{{XPN.1}}\", period: { start: \"{{XPN.12}}\", end: \"{{XPN.13}}\" } } ]";
    let made = admit(period, &["PID|||1^^^A||Roe^^^^^^^^^^^20240102^20230102"]);
    assert_eq!(
        made.only("Patient")["name"],
        json!([{"text": "Roe", "period": {"start": "2024-01-02"}}])
    );
    assert_eq!(made.codes(), ["reversed PID-5"]);

    let range = r#"
extension:
  - url: http://x.example/range
    valueRange: { low: { value: "{{PID-25}}", unit: "{{PID-23}}" }, high: { value: "{{PID-2}}", unit: "{{PID-28}}" } }
"#;
    let pid =
        |high: &str, unit: &str| format!("PID||{high}|1^^^A||||||||||||||||||||g||10|||{unit}");
    for (high, unit, kept) in [("2", "g", false), ("20", "g", true), ("2", "kg", true)] {
        let made = admit(range, &[&pid(high, unit)]);
        let patient = made.only("Patient");
        assert_eq!(patient.get("extension").is_some(), kept, "{high} {unit}");
        let told: &[&str] = if kept { &[] } else { &["reversed PID"] };
        assert_eq!(made.codes(), told, "{high} {unit}");
    }
}
