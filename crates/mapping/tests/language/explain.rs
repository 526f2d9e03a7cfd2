//! `explain`: what each field became, and why it became nothing.

use mapping::Context;
use mapping::explain::{
    ElementKind, ExplainedElement, ExplainedField, Explanation, Fate, ReasonCode,
};

use crate::fixture::{compiled, patient_map, patient_package, with};
use crate::support::{ADMIT, message, package};

fn explained(package: &std::sync::Arc<mapping::Package>, segments: &[&str]) -> Explanation {
    let text = message(ADMIT, segments);
    let (parsed, _) = hl7v2::parse(text.as_bytes()).unwrap();
    package
        .converter()
        .explain(&parsed, &Context::default(), &Default::default())
        .unwrap()
}

fn patient(rules: &str, segments: &[&str]) -> Explanation {
    explained(&patient_package(rules), segments)
}

trait Look {
    fn field(&self, place: &str) -> &ExplainedField;
    fn element(&self, path: &str) -> &ExplainedElement;
    /// Places of the fields an element was made of.
    fn from(&self, path: &str) -> Vec<&str>;
    /// Paths of the elements a field became.
    fn became(&self, place: &str) -> Vec<&str>;
    /// Places of the fields that became nothing, in segments whose place starts so.
    fn dropped(&self, segment: &str) -> Vec<&str>;
    /// The rules of an element, the innermost first.
    fn rules_of(&self, path: &str) -> Vec<&str>;
    /// The first reason of a field, with its text and rule.
    fn why(&self, place: &str) -> (ReasonCode, &str, &str);
}

impl Look for Explanation {
    fn field(&self, place: &str) -> &ExplainedField {
        let found = self.fields.iter().find(|field| field.place == place);
        found.unwrap_or_else(|| panic!("no field {place}"))
    }
    fn element(&self, path: &str) -> &ExplainedElement {
        let found = self.elements.iter().find(|element| element.path == path);
        let paths: Vec<_> = self.elements.iter().map(|one| &one.path).collect();
        found.unwrap_or_else(|| panic!("no element {path} in {paths:?}"))
    }
    fn from(&self, path: &str) -> Vec<&str> {
        let fields = self.element(path).fields.iter();
        fields
            .map(|field| self.fields[*field].place.as_str())
            .collect()
    }
    fn became(&self, place: &str) -> Vec<&str> {
        let elements = self.field(place).elements.iter();
        elements
            .map(|element| self.elements[*element].path.as_str())
            .collect()
    }
    fn dropped(&self, segment: &str) -> Vec<&str> {
        let fields = self.fields.iter();
        let dropped =
            fields.filter(|field| field.fate == Fate::Dropped && field.place.starts_with(segment));
        dropped.map(|field| field.place.as_str()).collect()
    }
    fn rules_of(&self, path: &str) -> Vec<&str> {
        let rules = self.element(path).rules.iter();
        rules.map(|rule| self.rules[*rule].as_str()).collect()
    }
    fn why(&self, place: &str) -> (ReasonCode, &str, &str) {
        let field = self.field(place);
        let reason = field
            .reasons
            .first()
            .unwrap_or_else(|| panic!("no reason for {place}"));
        let rule = reason.rule.map_or("", |rule| self.rules[rule].as_str());
        (reason.code, reason.text.as_str(), rule)
    }
}

#[test]
fn elements_name_their_rules_and_fields() {
    let made = patient(
        "active: true\nname: [ { each: PID-5, map: XPN/HumanName } ]\nbirthDate: \"{{PID-7}}\"",
        &["PID|||7^^^HOSP||Vale^Ada^May~Stone||19800102"],
    );
    assert_eq!(made.from("Patient.name[0].family"), ["PID-5.1"]);
    assert_eq!(made.from("Patient.name[0].given[1]"), ["PID-5.3"]);
    assert_eq!(made.from("Patient.name[1].family"), ["PID-5(2)"]);
    assert_eq!(
        made.rules_of("Patient.name[0].family"),
        [
            "datatypes/XPN/HumanName.yaml:3",
            "segments/PID/Patient.yaml:6",
            "messages/ADT_A01.yaml:3"
        ]
    );
    assert_eq!(made.element("Patient.active").kind, ElementKind::Constant);
    assert_eq!(
        made.rules_of("Patient.active")[0],
        "segments/PID/Patient.yaml:5"
    );
    assert_eq!(made.became("PID-7"), ["Patient.birthDate"]);
    assert_eq!(made.from("Patient.identifier[0].system"), ["PID-3.4"]);
    let url = "Bundle.entry[0].fullUrl";
    assert_eq!(made.element(url).kind, ElementKind::Generated);
    assert_eq!(made.from(url), ["PID-3.1", "PID-3.4"]);
    assert_eq!(made.field("PID-3.1").identifies, vec![0_usize]);
    assert_eq!(made.field("PID-5.1").name, "Patient Name / Family Name");
}

#[test]
fn a_table_says_which_field_it_translated_and_what_it_misses() {
    let rules = "gender: { from: PID-8, table: Sex }\nmaritalStatus: { from: PID-16, table: Sex }";
    let made = patient(rules, &["PID|||7|||||M||||||||F^Fem^HL70001"]);
    assert_eq!(made.from("Patient.gender"), ["PID-8"]);
    assert_eq!(
        made.became("PID-16.1"),
        [
            "Patient.maritalStatus.coding[0].code",
            "Patient.maritalStatus.coding[0].system",
            "Patient.maritalStatus.coding[1].code"
        ]
    );
    assert_eq!(
        made.became("PID-16.3"),
        [
            "Patient.maritalStatus.coding[0].code",
            "Patient.maritalStatus.coding[0].system",
            "Patient.maritalStatus.coding[1].system"
        ]
    );
    let missed = patient(rules, &["PID|||7|||||Q"]);
    assert_eq!(missed.field("PID-8").fate, Fate::Dropped);
    assert_eq!(
        missed.why("PID-8"),
        (
            ReasonCode::TableMiss,
            "table Sex does not list it",
            "segments/PID/Patient.yaml:5"
        )
    );
}

#[test]
fn conditions_that_do_not_hold_are_named_with_their_place() {
    let made = patient(
        "gender: { when: PID-22 = Y and PID-8 valued, is: \"{{PID-8}}\" }\nmultipleBirthBoolean: { when: policy colour = green, is: \"{{PID-24}}\" }",
        &["PID|||7|||||male||||||||||||||N||Y"],
    );
    assert_eq!(
        made.why("PID-8"),
        (
            ReasonCode::ConditionFalse,
            "condition false: PID-22 = Y",
            "segments/PID/Patient.yaml:5"
        )
    );
    assert_eq!(
        made.why("PID-24"),
        (
            ReasonCode::PolicyOff,
            "policy set otherwise: policy colour = green",
            "segments/PID/Patient.yaml:6"
        )
    );
    assert_eq!(made.why("PID-22").0, ReasonCode::NoRule);
}

#[test]
fn what_decided_about_an_element_is_told_with_it() {
    let made = patient("gender: { when: PID-8 = X, is: other }", &["PID|||7|||||X"]);
    assert_eq!(made.element("Patient.gender").kind, ElementKind::Constant);
    assert_eq!(made.field("PID-8").fate, Fate::Used);
    let decided: Vec<usize> = made.element("Patient.gender").decided.clone();
    assert_eq!(made.fields[decided[0]].place, "PID-8");
}

#[test]
fn bad_values_deletions_and_ignored_fields_say_so() {
    let made = patient(
        "ignore: [PID-1]\nbirthDate: \"{{PID-7}}\"\ndeceasedDateTime: \"{{PID-29}}\"\nname: [ { family: \"{{PID-5.1}}\" } ]",
        &["PID|1||7||\"\"||not a date||||||||||||||||||||||20200102101010"],
    );
    assert_eq!(made.field("PID-1").fate, Fate::Ignored);
    assert_eq!(made.field("PID-5").fate, Fate::Deleted);
    assert_eq!(made.why("PID-7").0, ReasonCode::BadValue);
    assert_eq!(made.why("PID-7").2, "segments/PID/Patient.yaml:6");
    assert_eq!(made.field("PID-29").fate, Fate::Mapped);
    assert_eq!(made.why("PID-29").0, ReasonCode::CutToDate);
    assert_eq!(made.field("MSH-2").fate, Fate::Ignored);
}

#[test]
fn the_reason_of_an_ignored_part_is_told() {
    let package = compiled(&[
        (
            "segments/PID/Patient.yaml",
            "segment: PID\nmakes: Patient\nkey: PID-3.1\nignore: { PID-5.3: no middle names }\nidentifier: [ { each: PID-3, map: CX/Identifier } ]\nname: [ { family: \"{{PID-5.1.1}}\" } ]\n",
        ),
        (
            "datatypes/CX/Identifier.yaml",
            "datatype: CX\nmakes: Identifier\nignore: { CX.7: dates of a number }\nvalue: \"{{CX.1}}\"\n",
        ),
    ]);
    let made = explained(&package, &["PID|||7^^^^^^20240101||Roe^Ann^X"]);
    for (place, why, rule) in [
        ("PID-5.3", "no middle names", "segments/PID/Patient.yaml:1"),
        (
            "PID-3.7",
            "dates of a number",
            "datatypes/CX/Identifier.yaml:1",
        ),
    ] {
        assert_eq!(made.field(place).fate, Fate::Ignored);
        assert_eq!(made.why(place).0, ReasonCode::Ignored);
        assert_eq!(made.why(place).1, format!("left out on purpose: {why}"));
        assert_eq!(made.why(place).2, rule);
    }
    assert_eq!(made.field("PID-5.2").fate, Fate::Dropped);
}

#[test]
fn segments_without_a_line_or_a_target_say_so() {
    let map = "message: ADT_A01\nmap:\n  - PID: PID/Patient as patient\n    when: MSH-11 = T\n  - PD1: PD1/Patient into patient\n";
    let package = compiled(&[
        ("messages/ADT_A01.yaml", map),
        (
            "segments/PD1/Patient.yaml",
            "segment: PD1\nmakes: Patient\nactive: \"{{PD1-1}}\"\n",
        ),
    ]);
    let made = explained(&package, &["PID|||7", "PD1|Y", "PV1|1"]);
    assert_eq!(made.why("PID-3").0, ReasonCode::ConditionFalse);
    assert_eq!(made.why("PID-3").1, "condition false: MSH-11 = T");
    assert_eq!(made.why("PD1-1").0, ReasonCode::NoTarget);
    assert_eq!(made.why("PV1-1").0, ReasonCode::NoLine);
}

#[test]
fn the_first_of_several_rules_wins_and_the_others_say_so() {
    let made = patient(
        "birthDate: [ \"{{PID-7}}\", \"{{PID-29}}\" ]",
        &["PID|||7||||19800101||||||||||||||||||||||20200101"],
    );
    assert_eq!(made.why("PID-29").0, ReasonCode::AlreadyGiven);
    assert_eq!(made.became("PID-7"), ["Patient.birthDate"]);
}

#[test]
fn a_resource_made_once_of_two_places_is_of_both() {
    let made = patient(
        "generalPractitioner:\n  - { from: PID-9, map: XCN/Practitioner }\n  - { each: PID-10, map: XCN/Practitioner }",
        &["PID|||7||||||D1^Reed^Jo|D1^Reed^Jo~D2^Moss~D2^Moss"],
    );
    assert_eq!(
        made.from("Practitioner.name[0].family"),
        ["PID-9.2", "PID-10.2"]
    );
    assert_eq!(
        made.became("PID-10(3).2").len(),
        1,
        "{:?}",
        made.became("PID-10(3).2")
    );
    assert_eq!(made.dropped("PID"), Vec::<&str>::new());
}

#[test]
fn an_overlay_is_named_with_its_own_file() {
    let site = crate::support::layer(
        "site",
        &[(
            "segments/PID/Patient.yaml",
            "extends: below\nactive: \"true\"\n",
        )],
    );
    let base = with(&[("segments/PID/Patient.yaml", &patient_map("gender: male"))]);
    let made = explained(&package(&[base, site]), &["PID|||7"]);
    assert_eq!(
        made.rules_of("Patient.active")[0],
        "site/segments/PID/Patient.yaml:2"
    );
}

#[test]
fn the_document_has_the_documented_shape() {
    let made = patient("gender: \"{{PID-8}}\"", &["PID|||7\\F\\1|||||male|x"]);
    let document = serde_json::to_value(&made).unwrap();
    assert_eq!(document["explain"], 1);
    assert_eq!(document["structure"], "ADT_A01");
    let field = |place: &str| {
        let fields = document["fields"].as_array().unwrap();
        fields
            .iter()
            .find(|field| field["place"] == place)
            .unwrap()
            .clone()
    };
    assert_eq!(field("PID-3")["raw"], "7\\F\\1");
    assert_eq!(field("PID-3")["value"], "7|1");
    assert_eq!(field("PID-9")["fate"], "dropped");
    assert_eq!(field("PID-9")["reasons"][0]["code"], "no-rule");
    assert_eq!(document["segments"][1]["pieces"][0], "PID|||");
    let element = field("PID-8")["elements"][0].as_u64().unwrap() as usize;
    let element = &document["elements"][element];
    assert_eq!(element["kind"], "field");
    let pointer = element["pointer"].as_str().unwrap();
    assert_eq!(document["bundle"].pointer(pointer).unwrap(), "male");
    assert_eq!(made.dropped("PID"), ["PID-9"]);
    assert_eq!(document["counts"]["dropped"], made.dropped("").len());
    assert_eq!(document["resources"][0]["type"], "Patient");
}
