//! Section 12 of the reference: what loaded profiles ask of the maps that claim them.

use mapping::{Package, Severity};

use crate::fixture::with;
use crate::support::{File, layer};

const PATIENT: &str = "segments/PID/Patient.yaml";

fn profile(url: &str, type_name: &str, more: &str, elements: &str) -> String {
    format!(
        r#"{{"resourceType":"StructureDefinition","url":"https://e.org/{url}","fhirVersion":"4.0.1","type":"{type_name}"{more},"differential":{{"element":[{elements}]}}}}"#
    )
}

/// `file:line code message`, those of profiles only.
fn found(files: &[File<'_>]) -> Vec<String> {
    let (_, found) = Package::compile(&[with(files)]);
    let of_profiles = |code: &str| code > "M050" && code < "M060";
    found
        .iter()
        .filter(|found| of_profiles(found.code.as_str()) || found.severity == Severity::Error)
        .map(|found| {
            format!(
                "{}:{} {} {}",
                found.file,
                found.line(),
                found.code.as_str(),
                found.message
            )
        })
        .collect()
}

/// A Patient that claims the profile `p`, with rules from line 5 on.
fn patient(elements: &str, rules: &str) -> Vec<String> {
    let text = format!(
        "segment: PID\nmakes: Patient\nkey: PID-3\nmeta: {{ profile: [ \"https://e.org/p|1.0\" ] }}\n{rules}\n"
    );
    let profile = profile("p", "Patient", "", elements);
    found(&[(PATIENT, &text), ("profiles/p.json", &profile)])
}

#[track_caller]
fn one(found: Vec<String>, start: &str) {
    assert!(
        matches!(found.as_slice(), [one] if one.starts_with(start)),
        "{found:#?}"
    );
}

#[test]
fn required_elements_at_the_top_and_inside() {
    let system = r#"{"path":"Patient.identifier.system","min":1}"#;
    one(
        patient(system, "identifier:\n  - { value: \"{{PID-3.1}}\" }"),
        "segments/PID/Patient.yaml:6 M052 no rule gives identifier.system, which https://e.org/p requires",
    );
    // A map of a data type is looked into, and what stands beside it counts.
    one(
        patient(
            r#"{"path":"Patient.identifier.use","min":1}"#,
            "identifier:\n  - { each: PID-3, map: CX/Identifier }",
        ),
        "segments/PID/Patient.yaml:6 M052 no rule gives identifier.use",
    );
    for fine in [
        "identifier: [ { each: PID-3, map: CX/Identifier } ]",
        "identifier: [ { each: PID-3, map: CX/Identifier, set: { use: usual } } ]",
        "active: true",
    ] {
        assert_eq!(patient(system, fine), Vec::<String>::new(), "{fine}");
    }
    one(
        patient(r#"{"path":"Patient.birthDate","min":1}"#, "active: true"),
        "segments/PID/Patient.yaml:4 M052 no rule gives birthDate",
    );
}

#[test]
fn what_a_message_map_sets_counts() {
    let map = "segment: PID\nmakes: Patient\nkey: PID-3\nmeta: { profile: [ https://e.org/p ] }\n";
    let required = profile("p", "Patient", "", r#"{"path":"Patient.active","min":1}"#);
    let message =
        "message: ADT_A01\nmap:\n  - PID: PID/Patient as patient\n    set: { active: true }\n";
    let files = |message| {
        vec![
            (PATIENT, map),
            ("profiles/p.json", required.as_str()),
            ("messages/ADT_A01.yaml", message),
        ]
    };
    assert_eq!(found(&files(message)), Vec::<String>::new());
    let none = "message: ADT_A01\nmap:\n  - PID: PID/Patient as patient\n";
    one(found(&files(none)), "segments/PID/Patient.yaml:4 M052");
}

#[test]
fn forbidden_elements_and_several_values() {
    let elements = r#"{"path":"Patient.photo","max":"0"},{"path":"Patient.name","max":"1"}"#;
    one(
        patient(elements, "photo: [ { title: x } ]"),
        "segments/PID/Patient.yaml:5 M053 this gives `photo`",
    );
    one(
        patient(elements, "name: [ { family: a }, { family: b } ]"),
        "segments/PID/Patient.yaml:5 M053 this may give several `name`",
    );
    let fine = "name: [ { when: PID-5 valued, family: a }, { family: b } ]";
    assert_eq!(patient(elements, fine), Vec::<String>::new());
}

#[test]
fn constants_against_fixed_values_and_patterns() {
    let pattern = r#"{"path":"Patient.maritalStatus","patternCodeableConcept":{"coding":[{"system":"urn:a","code":"M"}]}}"#;
    one(
        patient(
            pattern,
            "maritalStatus: { coding: [ { system: urn:a, code: S } ] }",
        ),
        "segments/PID/Patient.yaml:5 M054",
    );
    for fine in [
        "maritalStatus: { coding: [ { system: urn:a, code: M } ] }",
        "maritalStatus: { coding: [ { system: urn:b, code: S }, { system: urn:a, code: M } ] }",
        "maritalStatus: { coding: [ { system: urn:a, code: \"{{PID-16.1}}\" } ] }",
        "maritalStatus: { from: PID-16, map: CWE/CodeableConcept }",
    ] {
        assert_eq!(patient(pattern, fine), Vec::<String>::new(), "{fine}");
    }
}

#[test]
fn types_of_choices_and_what_slices_say() {
    let only = r#"{"path":"Patient.deceased[x]","type":[{"code":"dateTime"}]}"#;
    one(
        patient(only, "deceasedBoolean: true"),
        "segments/PID/Patient.yaml:5 M055",
    );
    // What is said of a slice is not said of the others.
    let slice = r#"{"id":"Patient.identifier:mrn","path":"Patient.identifier","sliceName":"mrn","max":"0"}"#;
    let rules = "identifier: [ { each: PID-3, map: CX/Identifier } ]";
    assert_eq!(patient(slice, rules), Vec::<String>::new());
    let extension = r#"{"id":"Patient.extension:w","path":"Patient.extension","sliceName":"w","min":1,"type":[{"code":"Extension","profile":["https://e.org/w"]}]}"#;
    one(
        patient(extension, rules),
        "segments/PID/Patient.yaml:4 M052 no rule gives https://e.org/w",
    );
    let given = "extension: [ { url: https://e.org/w, valueString: x } ]";
    assert_eq!(patient(extension, given), Vec::<String>::new());
}

#[test]
fn extensions_in_their_place_with_their_value() {
    let definition = profile(
        "w",
        "Extension",
        r#","context":[{"type":"element","expression":"Patient"}]"#,
        r#"{"path":"Extension.value[x]","min":1,"type":[{"code":"string"}]}"#,
    );
    let with = |rules: &str| {
        let text = format!("segment: PID\nmakes: Patient\nkey: PID-3\n{rules}\n");
        found(&[(PATIENT, &text), ("profiles/w.json", &definition)])
    };
    let fine = "extension: [ { url: https://e.org/w, valueString: x } ]";
    assert_eq!(with(fine), Vec::<String>::new());
    one(
        with("extension: [ { url: https://e.org/w, valueCode: x } ]"),
        "segments/PID/Patient.yaml:4 M055",
    );
    one(
        with("name: [ { family: x, extension: [ { url: https://e.org/w, valueString: x } ] } ]"),
        "segments/PID/Patient.yaml:4 M056 the extension https://e.org/w does not belong in Patient.name",
    );
}

#[test]
fn profiles_that_are_not_here_are_told_only_beside_others_of_the_guide() {
    let map =
        "segment: PID\nmakes: Patient\nkey: PID-3\nmeta: { profile: [ https://other.org/p ] }\n";
    let p = profile("p", "Patient", "", "");
    assert_eq!(
        found(&[(PATIENT, map), ("profiles/p.json", &p)]),
        Vec::<String>::new()
    );
    let map = map.replace("other.org/p", "e.org/q");
    one(
        found(&[(PATIENT, &map), ("profiles/p.json", &p)]),
        "segments/PID/Patient.yaml:4 M057",
    );
}

#[test]
fn files_that_are_no_profiles_are_one_finding_each() {
    let r5 = profile("p", "Patient", "", "").replace("4.0.1", "5.0.0");
    let bare = r#"{"resourceType":"StructureDefinition","url":"https://e.org/p","type":"Patient"}"#;
    let large = format!("\"{}\"", "x".repeat(10 << 20));
    let deep = "[".repeat(100_000);
    let logical = profile("p", "Thing", "", "");
    for (text, start) in [
        (
            "{\n  \"a\": ,\n}",
            "profiles/p.json:2 M051 this is not JSON",
        ),
        ("", "profiles/p.json:1 M051 this is not JSON"),
        (&deep, "profiles/p.json:1 M051 this is not JSON"),
        (
            "{}",
            "profiles/p.json:1 M051 this is no StructureDefinition",
        ),
        (
            "[1]",
            "profiles/p.json:1 M051 this is no StructureDefinition",
        ),
        (&r5, "profiles/p.json:1 M051 the profile is for FHIR 5.0.0"),
        (bare, "profiles/p.json:1 M051 the profile has neither"),
        (
            &large,
            "profiles/p.json:1 M051 the profile is larger than 4 MiB",
        ),
        (
            &logical,
            "profiles/p.json:1 M051 FHIR R4 has no type `Thing`",
        ),
    ] {
        one(found(&[("profiles/p.json", text)]), start);
    }
    let p = profile("p", "Patient", "", "");
    one(
        found(&[("profiles/a.json", &p), ("profiles/b.json", &p)]),
        "profiles/b.json:1 M051 profiles/a.json defines https://e.org/p too",
    );
    // An overlay may say it anew.
    let (package, _) = Package::compile(&[
        with(&[("profiles/a.json", &p)]),
        layer("site", &[("profiles/b.json", &p)]),
    ]);
    assert!(package.is_some());
}

const SLICES: &str = r#"{"id":"Patient.identifier","path":"Patient.identifier","slicing":{"discriminator":[{"type":"value","path":"system"}],"rules":"RULES"}},
    {"id":"Patient.identifier:ssn","path":"Patient.identifier","sliceName":"ssn","min":1,"max":"1"},
    {"id":"Patient.identifier:ssn.system","path":"Patient.identifier.system","fixedUri":"urn:ssn"},
    {"id":"Patient.identifier:mrn","path":"Patient.identifier","sliceName":"mrn","min":0,"max":"*"},
    {"id":"Patient.identifier:mrn.system","path":"Patient.identifier.system","patternUri":"urn:mrn"}"#;

#[test]
fn slices_that_a_value_tells_apart() {
    let open = SLICES.replace("RULES", "open");
    one(
        patient(
            &open,
            "identifier:\n  - { system: urn:mrn, value: \"{{PID-3.1}}\" }",
        ),
        "segments/PID/Patient.yaml:6 M052 no rule gives the slice `ssn` of `identifier`, which https://e.org/p requires",
    );
    // A system that the message decides may be the one.
    for rule in [
        "{ system: urn:ssn, value: \"{{PID-3.1}}\" }",
        "{ system: \"{{PID-3.4.2}}\", value: \"{{PID-3.1}}\" }",
        "{ each: PID-3, map: CX/Identifier }",
    ] {
        let found = patient(&open, &format!("identifier:\n  - {rule}"));
        assert!(found.is_empty(), "{rule}: {found:#?}");
    }
    let other = "identifier:\n  - { system: urn:ssn, value: \"{{PID-3.1}}\" }\n  - { system: urn:other, value: \"{{PID-3.1}}\" }";
    assert!(patient(&open, other).is_empty());
    one(
        patient(&SLICES.replace("RULES", "closed"), other),
        "segments/PID/Patient.yaml:7 M053 this gives a `identifier` that is none of the slices",
    );
}

#[test]
fn slices_by_a_pattern_of_the_value_itself() {
    let elements = r#"{"id":"Patient.communication.language.coding","path":"Patient.communication.language.coding"},
        {"id":"Patient.maritalStatus.coding","path":"Patient.maritalStatus.coding","slicing":{"discriminator":[{"type":"pattern","path":"$this"}],"rules":"open"}},
        {"id":"Patient.maritalStatus.coding:v3","path":"Patient.maritalStatus.coding","sliceName":"v3","min":1,"patternCoding":{"system":"urn:v3"}}"#;
    let rules = |system: &str| {
        format!(
            "maritalStatus: {{ coding: [ {{ system: {system}, code: \"{{{{PID-16.1}}}}\" }} ] }}"
        )
    };
    one(
        patient(elements, &rules("urn:local")),
        "segments/PID/Patient.yaml:5 M052 no rule gives the slice `v3` of `maritalStatus.coding`",
    );
    assert!(patient(elements, &rules("urn:v3")).is_empty());
}

#[test]
fn codes_of_a_required_value_set() {
    let elements = r#"{"path":"Patient.contact.gender"},{"path":"Patient.language","binding":{"strength":"required","valueSet":"http://hl7.org/fhir/ValueSet/administrative-gender|4.0.1"}}"#;
    one(
        patient(elements, "language: de"),
        "segments/PID/Patient.yaml:5 M054 this gives `de` for `language`, which the value set http://hl7.org/fhir/ValueSet/administrative-gender does not have",
    );
    assert!(patient(elements, "language: other").is_empty());
    let extensible = elements.replace("required", "extensible");
    assert!(patient(&extensible, "language: de").is_empty());
    // What a table gives counts too.
    one(
        patient(
            &elements.replace("administrative-gender", "link-type"),
            "language: { from: PID-15, table: Sex }",
        ),
        "segments/PID/Patient.yaml:5 M054 this gives `female`, `male`, `other` for `language`",
    );
}

#[test]
fn a_resource_that_a_single_rule_makes_may_claim_a_profile() {
    let named = profile(
        "o",
        "Organization",
        "",
        r#"{"path":"Organization.name","min":1}"#,
    );
    let map = |rule: &str| {
        format!("segment: PID\nmakes: Patient\nkey: PID-3\nmanagingOrganization:\n  {rule}\n")
    };
    let check = |rule: &str| found(&[(PATIENT, &map(rule)), ("profiles/o.json", &named)]);
    one(
        check(
            "{ make: Organization, key: PID-33, meta: { profile: [ \"https://e.org/o\" ] }, active: \"true\" }",
        ),
        "segments/PID/Patient.yaml:5 M052 no rule gives name, which https://e.org/o requires",
    );
    let named_by =
        "{ make: Organization, key: PID-33, meta: { profile: [ \"https://e.org/o\" ] }, name: x }";
    assert!(check(named_by).is_empty());
    let patients = profile("o", "Patient", "", r#"{"path":"Patient.name","min":1}"#);
    let files = [(PATIENT, map(named_by)), ("profiles/o.json", patients)];
    let files: Vec<File<'_>> = files
        .iter()
        .map(|(path, text)| (*path, text.as_str()))
        .collect();
    one(
        found(&files),
        "segments/PID/Patient.yaml:5 M055 https://e.org/o is a profile of Patient, not of Organization",
    );
}
