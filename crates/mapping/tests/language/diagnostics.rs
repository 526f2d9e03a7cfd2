//! Section 13 of the reference: mistakes in a package, as a compiler would say them.

use std::collections::BTreeSet;

use mapping::{Code, Diagnostic, Layer, Package, Severity};

use crate::fixture::with;
use crate::support::{File, layer};

fn found(layers: &[Layer]) -> Vec<Diagnostic> {
    // What a resource must have is another matter, see m014.
    let (_, mut found) = Package::compile(layers);
    found.retain(|found| found.code != Code::MissingElement);
    found
}

/// Findings in one changed file, as `line:column code message | help`.
pub fn lines(path: &str, text: &str) -> Vec<String> {
    found(&[with(&[(path, text)])])
        .iter()
        .filter(|found| found.file == path)
        .map(|found| {
            let help = found.help.clone().unwrap_or_default();
            format!(
                "{}:{} {} {} | {help}",
                found.line(),
                found.column(),
                found.code.as_str(),
                found.message
            )
        })
        .collect()
}

pub const PATIENT: &str = "segments/PID/Patient.yaml";

/// One rule in line 4 of the Patient map.
pub fn rule(text: &str) -> Vec<String> {
    lines(
        PATIENT,
        &format!("segment: PID\nmakes: Patient\nkey: PID-3\n{text}\n"),
    )
}

pub fn message_map(text: &str) -> Vec<String> {
    lines(
        "messages/ORU_R01.yaml",
        &format!("message: ORU_R01\nmap:\n{text}\n"),
    )
}

/// The finding must start and end as said: place, code and message, and what the help holds.
#[track_caller]
pub fn expect(found: &[String], start: &str, help: &str) {
    let [one] = found else {
        panic!("{} findings: {found:#?}", found.len());
    };
    let (told, fix) = one.split_once(" | ").unwrap();
    assert!(told.starts_with(start) && fix.contains(help), "{one}");
}

#[test]
fn m001_what_is_not_one_plain_document() {
    expect(
        &rule("active: [ true"),
        "5:1 M001 this is not YAML",
        "quote a text",
    );
    expect(
        &rule("active: true\nactive: false"),
        "5:1 M001 `active` stands twice",
        "takes a list",
    );
    expect(
        &rule("active: &x true"),
        "4:9 M001 an anchor",
        "map of its own",
    );
    expect(
        &lines(PATIENT, "a: 1\n---\nb: 2\n"),
        "2:1 M001 a second document",
        "remove the `---`",
    );
    expect(
        &lines(PATIENT, ""),
        "1:1 M001 the file is empty",
        "segment: PID",
    );
    expect(
        &rule("active: *x"),
        "4:9 M001 this is not YAML: while parsing node, found unknown anchor",
        "starts with `*`",
    );
}

#[test]
fn m002_files_that_are_not_in_their_place() {
    expect(
        &lines("segments/PID/Other.yaml", "segment: PV1\nmakes: Patient\n"),
        "1:10 M002 this file maps the segment PID",
        "segment: PID",
    );
    expect(
        &lines("segments/PID/Other.yaml", "datatype: PID\nmakes: Patient\n"),
        "1:11 M002 this file is under segments/",
        "move the file",
    );
    expect(
        &lines("segments/PID/Other.yaml", "segment: PID\n"),
        "1:1 M002 the file does not say what it makes",
        "makes: Patient",
    );
    expect(
        &lines("segments/Other.yaml", "segment: PID\n"),
        "1:1 M002 this file is not where a package has files",
        "segments/SEG/Map.yaml",
    );
    expect(
        &lines("tables/Other.yaml", "table: Sex\n"),
        "1:8 M002 this file holds the table `Other`",
        "table: Other",
    );
    expect(
        &lines("messages/ORU_R01.yaml", "message: ORU\nmap: []\n"),
        "1:10 M002 this file maps the structure ORU_R01",
        "message: ORU_R01",
    );
}

#[test]
fn m003_unknown_keys() {
    expect(
        &lines("package.yaml", "package: x\npolices: {}\n"),
        "2:1 M003 package.yaml has no key `polices`",
        "policies",
    );
    expect(
        &lines("tables/Sex.yaml", "table: Sex\ncode: { F: female }\n"),
        "2:1 M003 a code table has no key `code`",
        "codes",
    );
    expect(
        &lines(
            "tables/Sex.yaml",
            "table: Sex\ncodes: { F: { kode: x, code: female } }\n",
        ),
        "2:15 M003 a target code has no key `kode`",
        "code, display, system",
    );
    expect(
        &lines("tables/Sex.yaml", "table: Sex\nmiss: ignore\n"),
        "2:7 M003 `ignore` is no answer",
        "keep, drop, park or fail",
    );
    expect(
        &lines("messages/ORU_R01.yaml", "message: ORU_R01\nmaps: []\n"),
        "2:1 M003 a message map has no key `maps`",
        "map",
    );
    expect(
        &message_map(
            "  - PATIENT_RESULT:\n      - PATIENT:\n          - PID: PID/Patient\n            wehn: PID-3 valued",
        ),
        "6:13 M003 a line of a message map has no key `wehn`",
        "when",
    );
    expect(
        &rule("birthDate: { form: PID-7 }"),
        "4:14 M003 a date has no element `form`",
        "did you mean the keyword `from`?",
    );
    expect(
        &rule("name: [ { from: PID-5, each: PID-5, map: XPN/HumanName } ]"),
        "4:30 M003 `from` and `each` stand in one rule",
        "keep one",
    );
    expect(
        &rule("name: [ { from: PID-5, key: PID-3, map: XPN/HumanName } ]"),
        "4:29 M003 `key` and `write` belong to `make:`",
        "name the resource",
    );
    expect(
        &lines(
            "datatypes/CX/Identifier.yaml",
            "datatype: CX\nmakes: Identifier\nkey: CX\nvalue: \"{{CX.1}}\"\n",
        ),
        "3:6 M003 a Identifier has no identity",
        "make a resource",
    );
}

#[test]
fn m004_values_of_the_wrong_kind() {
    expect(
        &rule("birthDate:"),
        "4:10 M004 nothing stands behind the element",
        "leave it out",
    );
    expect(
        &rule("name: []"),
        "4:7 M004 the list is empty",
        "give it rules",
    );
    expect(
        &rule("name: [ [ x ] ]"),
        "4:9 M004 a list stands inside a list",
        "flat list",
    );
    expect(
        &rule("birthDate: { when: PID-7 valued }"),
        "4:12 M004 the rule makes nothing",
        "from:",
    );
    expect(
        &rule("name: [ { each: PID-5, map: XPN/HumanName, set: use } ]"),
        "4:49 M004 `set` is a map of elements, not a text",
        "set: { use: home }",
    );
    expect(
        &rule("name: [ { each: [ PID-5 ], map: XPN/HumanName } ]"),
        "4:17 M004 a path is a text, not a list",
        "one line",
    );
    expect(
        &lines(
            PATIENT,
            "segment: PID\nmakes: Patient\nkey: []\nactive: \"{{PID-30}}\"\n",
        ),
        "3:6 M004 `key` is empty",
        "leave `key` out",
    );
    expect(
        &lines(
            PATIENT,
            "segment: PID\nmakes: Patient\nwrite: always\nactive: \"{{PID-30}}\"\n",
        ),
        "3:8 M004 `write` is `update` or `create`",
        "replaces",
    );
    expect(
        &lines(PATIENT, "- segment: PID\n"),
        "1:1 M004 a segment map is a map of keys",
        "segment: PID",
    );
    expect(
        &lines("tables/Sex.yaml", "table: Sex\ncodes: [ F ]\n"),
        "2:8 M004 `codes` is a map, not a list",
        "F: female",
    );
    expect(
        &lines(
            "tables/Sex.yaml",
            "table: Sex\ncodes: { F: { display: x } }\n",
        ),
        "2:13 M004 a target needs a code",
        "code: female",
    );
    expect(
        &message_map("  - PID"),
        "3:5 M004 a line of a message map is not a text",
        "PID: PID/Patient",
    );
    expect(
        &message_map("  - when: x"),
        "3:5 M004 this line names neither a segment nor a group",
        "group name",
    );
    expect(
        &message_map("  - PATIENT_RESULT: [ { PATIENT: [ { PID: PID/Patient with x } ] } ]"),
        "3:43 M004 this can't be read",
        "as patient",
    );
    expect(
        &lines(
            "messages/ORU_R01.yaml",
            "message: ORU_R01\nmap: []\nlink: [ header ]\n",
        ),
        "3:7 M004 `link` is a map, not a list",
        "header.focus",
    );
}

#[test]
fn m010_m011_names_that_fhir_does_not_have() {
    expect(
        &rule("birthdate: \"{{PID-7}}\""),
        "4:1 M010 Patient has no element `birthdate`",
        "did you mean `birthDate`?",
    );
    expect(
        &rule("deceased: \"{{PID-30}}\""),
        "4:1 M010 Patient has no element `deceased`",
        "deceasedBoolean",
    );
    expect(
        &rule("name: [ { familie: \"{{PID-5}}\" } ]"),
        "4:11 M010 HumanName has no element `familie`",
        "did you mean `family`?",
    );
    expect(
        &lines(
            "datatypes/XPN/string.yaml",
            "datatype: XPN\nmakes: string\nfamily: \"{{XPN.1}}\"\n",
        ),
        "3:1 M010 a string has no elements",
        "result:",
    );
    expect(
        &lines("segments/PID/Other.yaml", "segment: PID\nmakes: Patiend\n"),
        "2:8 M011 FHIR R4 has no type `Patiend`",
        "did you mean `Patient`?",
    );
    expect(
        &rule("managingOrganization: { make: Organisation, key: PID-3, name: x }"),
        "4:31 M011 FHIR R4 has no resource `Organisation`",
        "did you mean `Organization`?",
    );
}

#[test]
fn m012_rules_that_make_something_else() {
    expect(
        &rule("maritalStatus: M"),
        "4:16 M012 the element takes a CodeableConcept, not a text",
        "CWE/CodeableConcept",
    );
    expect(
        &rule("managingOrganization: \"{{PID-3}}\""),
        "4:23 M012 the element takes a Reference, not a text",
        "ref: patient",
    );
    expect(
        &rule("name: [ { each: PID-5, map: CX/Identifier } ]"),
        "4:29 M012 `CX/Identifier` makes a Identifier, the element takes a HumanName",
        "makes a HumanName",
    );
    expect(
        &rule("managingOrganization: { from: PID-21, map: XCN/Practitioner }"),
        "4:44 M012 the element can't refer to a Practitioner",
        "it may refer to Organization",
    );
    expect(
        &rule("name: [ { from: PID-5 } ]"),
        "4:9 M012 a HumanName is not one value",
        "map: TYPE/HumanName",
    );
    expect(
        &rule("birthDate: { ref: patient }"),
        "4:19 M012 this makes a reference, the element takes a date",
        "makes a date",
    );
    expect(
        &rule("name: [ { from: PID-5, table: Sex } ]"),
        "4:31 M012 this makes a code, the element takes a HumanName",
        "HumanName",
    );
    expect(
        &message_map("  - PATIENT_RESULT: [ { PATIENT: [ { PID: CX/Identifier } ] } ]"),
        "3:43 M012 `CX/Identifier` does not map the segment PID",
        "segments/PID/",
    );
    let names = "  - PATIENT_RESULT:\n      - PATIENT:\n          - PID: PID/Patient as patient\n      - ORDER_OBSERVATION:\n          - OBR: OBR/DiagnosticReport as report\n            set: { subject: report }";
    let files: &[File<'_>] = &[
        (
            "messages/ORU_R01.yaml",
            &format!("message: ORU_R01\nmap:\n{names}\n"),
        ),
        (
            "segments/OBR/DiagnosticReport.yaml",
            "segment: OBR\nmakes: DiagnosticReport\ncode: { text: \"{{OBR-4}}\" }\n",
        ),
    ];
    let all: Vec<String> = found(&[with(files)])
        .iter()
        .map(Diagnostic::one_line)
        .collect();
    assert_eq!(
        all,
        ["messages/ORU_R01.yaml:8:29: error[M012]: the element can't refer to a DiagnosticReport"]
    );
}

#[test]
fn m014_a_required_element_without_a_rule_is_a_warning() {
    let text = "segment: PID\nmakes: Observation\nkey: PID-3\ncode: { text: \"{{PID-8}}\" }\n";
    let layers = [with(&[
        (
            "messages/ADT_A01.yaml",
            "message: ADT_A01\nmap:\n  - PID: PID/Observation as o\n",
        ),
        ("segments/PID/Observation.yaml", text),
    ])];
    let (package, found) = Package::compile(&layers);
    assert!(package.is_some(), "{found:?}");
    let told: Vec<_> = found
        .iter()
        .filter(|found| found.code == Code::MissingElement)
        .map(|found| (found.severity, found.message.as_str()))
        .collect();
    assert_eq!(
        told,
        [(
            Severity::Warning,
            "no rule gives status, which an Observation must have"
        )]
    );
}

#[test]
fn m015_constants_that_are_no_values() {
    expect(
        &rule("birthDate: yesterday"),
        "4:12 M015 `yesterday` is not a date",
        "write ",
    );
    expect(
        &rule("gender: femal"),
        "4:9 M015 `femal` is not in the required value set http://hl7.org/fhir/ValueSet/administrative-gender",
        "did you mean `female`?",
    );
    expect(
        &rule("active: { is: maybe, when: PID-8 valued }"),
        "4:15 M015 `maybe` is not a boolean",
        "true",
    );
    let files: &[File<'_>] = &[
        (
            "tables/Sex.yaml",
            "table: Sex\ncodes: { F: femail, M: male }\ndefault: none\n",
        ),
        (
            PATIENT,
            "segment: PID\nmakes: Patient\ngender: { from: PID-8, table: Sex }\n",
        ),
    ];
    let all = found(&[with(files)]);
    assert_eq!(all.len(), 1, "{all:?}");
    assert_eq!(
        (all[0].file.as_str(), all[0].line(), all[0].column()),
        (PATIENT, 3, 31)
    );
    assert!(
        all[0]
            .message
            .contains("table `Sex` gives femail, none which the required value set"),
        "{}",
        all[0].message
    );
}

#[test]
fn m020_m021_paths() {
    expect(
        &rule("active: \"{{PID-99}}\""),
        "4:12 M020 PID has no field 99",
        "fields",
    );
    expect(
        &rule("active: \"{{PIX-1}}\""),
        "4:12 M020 there is no segment `PIX` in HL7 v2",
        "did you mean",
    );
    expect(
        &rule("active: \"{{PID-1.2}}\""),
        "4:12 M020 SI has no component 2",
        "SI has no components",
    );
    expect(
        &rule("active: \"{{PID-3.4.9}}\""),
        "4:12 M020 HD has no component 9",
        "HD has 3 components",
    );
    expect(
        &rule("active: \"{{CX.1}}\""),
        "4:12 M020 `CX` is a component of a value, and no value is being mapped here",
        "PID-3.1",
    );
    expect(
        &rule("name: [ { each: PID-5, text: \"{{XPM.1}}\" } ]"),
        "4:33 M020 `XPM` is no v2 data type",
        "did you mean `XPN`?",
    );
    expect(
        &rule("name: [ { each: PID-x, map: XPN/HumanName } ]"),
        "4:21 M021 `PID-x` is not a path",
        "PID-5.1",
    );
    expect(
        &rule("active: \"{{pid-8}}\""),
        "4:12 M021 `pid-8` is not a path",
        "PID-5.1",
    );
    expect(
        &lines(
            PATIENT,
            "segment: PID\nmakes: Patient\nignore: [ MSH-3 ]\nactive: \"{{PID-30}}\"\n",
        ),
        "3:11 M021 `ignore` names fields of the segment that is mapped",
        "PID-1",
    );
    let identifier = |ignore: &str| {
        let map =
            format!("datatype: CX\nmakes: Identifier\nignore: {ignore}\nvalue: \"{{{{CX.1}}}}\"\n");
        lines("datatypes/CX/Identifier.yaml", &map)
    };
    expect(
        &identifier("[ CX ]"),
        "3:11 M021 `ignore` names parts of the value that is mapped",
        "CX.7",
    );
    expect(
        &identifier("{ CX.7: CX.8 valed }"),
        "3:22 M022 `valed` is no test",
        "valued",
    );
    expect(
        &identifier("{ CX.7: { because: no use } }"),
        "3:19 M003 an ignored field has no `because`",
        "`why`",
    );
    assert!(identifier("{ CX.7: of no use, CX.8: CX.7 valued }").is_empty());
    let all = message_map("  - PATIENT_RESULT: [ { PATIENT: [ { PIX: PID/Patient } ] } ]");
    assert!(
        all[0].starts_with("3:38 M020 there is no segment `PIX`"),
        "{all:?}"
    );
    assert!(all[0].contains("three characters"), "{all:?}");
}

#[test]
fn m022_conditions_with_the_column_inside_the_text() {
    expect(
        &rule("active: { is: \"true\", when: PID-8 is femal }"),
        "4:38 M022 `is femal` is not known",
        "write `= X`",
    );
    expect(
        &rule("active: { is: \"true\", when: \"PID-8 = F an PID-7 valued\" }"),
        "4:40 M022 `an` was not expected here",
        "`and` or `or`",
    );
    expect(
        &rule("active: { is: \"true\", when: PID-8 }"),
        "4:34 M022 the condition ends",
        "in quotes",
    );
    expect(
        &rule("active: { is: \"true\", when: PID-8 valeud }"),
        "4:35 M022 `valeud` is no test",
        "`valued`",
    );
    expect(
        &rule("active: { is: \"true\", when: PID-99 valued }"),
        "4:29 M020 PID has no field 99",
        "fields",
    );
    expect(
        &rule("active: { is: \"true\", when: PID-8 valued and (PID-7 valued }"),
        "4:59 M022 the condition ends where `)` is expected",
        "in quotes",
    );
}

#[test]
fn m023_templates() {
    expect(
        &rule("birthDate: \"{{dat PID-7}}\""),
        "4:15 M023 there is no helper `dat`",
        "did you mean `date`?",
    );
    expect(
        &rule("birthDate: \"{{PID-7\""),
        "4:20 M023 this template can't be read",
        "braces are closed",
    );
    expect(
        &rule("birthDate: \"{{#nope PID-7}}x{{/nope}}\""),
        "4:16 M023 there is no block helper `nope`",
        "`each` and `with`",
    );
    expect(
        &rule("birthDate: \"{{> part}}\""),
        "4:12 M023 partials and decorators can't be used",
        "datatype map",
    );
}

#[test]
fn m030_m031_m032_m033_names_of_the_package() {
    expect(
        &rule("name: [ { each: PID-5, map: XPN/HumanNam } ]"),
        "4:29 M030 there is no map `XPN/HumanNam`",
        "did you mean `XPN/HumanName`?",
    );
    expect(
        &message_map("  - PATIENT_RESULT: [ { PATIENT: [ { PID: PID/Person } ] } ]"),
        "3:43 M030 there is no map `PID/Person`",
        "PID/",
    );
    expect(
        &rule("gender: { from: PID-8, table: Sexx }"),
        "4:31 M031 there is no table `Sexx`",
        "did you mean `Sex`?",
    );
    expect(
        &rule("gender: \"{{lookup PID-8 \\\"Sexes\\\"}}\""),
        "4:27 M031 there is no table `Sexes`",
        "did you mean `Sex`?",
    );
    expect(
        &rule("active: { is: \"true\", when: policy color = red }"),
        "4:36 M032 package.yaml declares no policy `color`",
        "did you mean `colour`?",
    );
    expect(
        &rule("active: { is: \"true\", when: policy colour = blue }"),
        "4:36 M032 policy `colour` is never `blue`",
        "red, green",
    );
    expect(
        &lines(
            "package.yaml",
            "package: x\npolicies:\n  colour: { default: blue, values: [red, green] }\n  extra: { default: \"on\" }\n",
        ),
        "3:11 M032 the default of policy `colour` is not one of its values",
        "default",
    );
    expect(
        &rule("link: [ { other: { ref: patiend } , type: refer } ]"),
        "4:25 M033 no message map binds a resource to the name `patiend`",
        "did you mean `patient`?",
    );
    expect(
        &rule("active: { is: \"true\", when: bound visit }"),
        "4:35 M033 no message map binds a resource to the name `visit`",
        "",
    );
    expect(
        &message_map("  - PATIENT_RESULT: [ { PATIENT: [ { PID: PID/Patient into person } ] } ]"),
        "3:43 M033 no message map binds a resource to the name `person`",
        "as patient",
    );
}

#[test]
fn m034_groups_and_segments_of_the_structure() {
    expect(
        &message_map("  - PATIENT_RESULTS: [ { PATIENT: [ { PID: PID/Patient } ] } ]"),
        "3:5 M034 the structure has no group `PATIENT_RESULTS` here",
        "did you mean `PATIENT_RESULT`?",
    );
    expect(
        &message_map("  - PID: PID/Patient"),
        "3:5 M034 the structure has no segment PID here",
        "PATIENT_RESULT",
    );
    let all = found(&[with(&[(
        "messages/ORU_R99.yaml",
        "message: ORU_R99\nmap:\n  - PID: PID/Patient\n",
    )])]);
    assert_eq!(all.len(), 1, "{all:?}");
    assert_eq!(
        (all[0].code, all[0].severity),
        (Code::UnknownGroup, Severity::Warning)
    );
    assert!(
        all[0]
            .help
            .as_deref()
            .unwrap()
            .starts_with("did you mean `OR"),
        "{:?}",
        all[0].help
    );
}

#[test]
fn m040_m041_circles_and_codes_that_stand_twice() {
    let files: &[File<'_>] = &[
        (
            "datatypes/XON/Organization.yaml",
            "datatype: XON\nmakes: Organization\npartOf: { from: XON.6, map: HD/Organization }\n",
        ),
        (
            "datatypes/HD/Organization.yaml",
            "datatype: HD\nmakes: Organization\npartOf: { from: HD, map: XON/Organization }\n",
        ),
    ];
    let mut all = found(&[with(files)]);
    // An organization made of an HD by a map for XON is another matter.
    all.retain(|found| found.code != Code::WrongDataType);
    assert_eq!(all.len(), 1, "{all:?}");
    assert_eq!(all[0].code, Code::Circle);
    assert!(
        all[0].message.contains("leads back to"),
        "{}",
        all[0].message
    );
    let own = "datatype: HD\nmakes: Organization\npartOf: { from: HD, map: HD/Organization }\n";
    expect(
        &lines("datatypes/HD/Organization.yaml", own),
        "3:26 M040 `HD/Organization` uses `HD/Organization`",
        "break the circle",
    );
    expect(
        &lines(
            "tables/Sex.yaml",
            "table: Sex\ncodes: { F: female }\nsame: { F: Female }\n",
        ),
        "3:7 M041 the code `F` stands twice",
        "keep it in",
    );
}

#[test]
fn all_mistakes_of_all_files_are_told_in_one_run_in_order() {
    let layers = [with(&[
        (
            PATIENT,
            "segment: PID\nmakes: Patient\nkey: PID-99\nbirthdate: \"{{PID-7}}\"\ngender: femal\nname: [ { each: PID-5, map: XPN/Nam } ]\nactive: { is: \"true\", when: PID-8 ~ F }\n",
        ),
        ("tables/Sex.yaml", "table: Sex\nmis: keep\n"),
        (
            "messages/ADT_A01.yaml",
            "message: ADT_A01\nmap:\n  - PIX: PID/Patient\n  - PID: PID/Patient into nobody\n",
        ),
        (
            "datatypes/CX/Identifier.yaml",
            "datatype: CX\nmakes: Identifier\nvalue: [ 1\n",
        ),
    ])];
    let (package, all) = Package::compile(&layers);
    assert!(package.is_none());
    let lines: Vec<String> = all.iter().map(Diagnostic::one_line).collect();
    let codes: BTreeSet<&str> = all.iter().map(|found| found.code.as_str()).collect();
    for code in [
        "M001", "M003", "M010", "M015", "M020", "M022", "M030", "M033",
    ] {
        assert!(codes.contains(code), "{code}: {lines:#?}");
    }
    let mut sorted: Vec<_> = all
        .iter()
        .map(|found| (found.file.clone(), found.line(), found.column()))
        .collect();
    let told = sorted.clone();
    sorted.sort();
    assert_eq!(told, sorted, "by file, line and column");
    // The same mistakes, however the files come.
    let mut turned = layers.to_vec();
    turned[0].files.reverse();
    assert_eq!(
        found(&turned)
            .iter()
            .map(Diagnostic::one_line)
            .collect::<Vec<_>>(),
        lines
    );
}

#[test]
fn findings_are_shown_with_their_line_and_as_json() {
    let layers = [layer(
        "maps",
        &[(
            PATIENT,
            "segment: PID\nmakes: Patient\n# é\nbirthdate: \"{{PID-7}}\"\n",
        )],
    )];
    let all = found(&layers);
    let source = Package::source(&layers, &all[0].file).unwrap();
    let text = all[0].render(source, false);
    for part in [
        "M010",
        "maps/segments/PID/Patient.yaml:4:1",
        "birthdate: \"{{PID-7}}\"",
        "^^^^^^^^^",
        "help: did you mean `birthDate`?",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(all[0].render(source, true).contains('\u{1b}'));
    assert_eq!(
        serde_json::to_value(&all[0]).unwrap(),
        serde_json::json!({
            "code": "M010", "severity": "error", "file": "maps/segments/PID/Patient.yaml", "line": 4, "column": 1, "length": 9,
            "message": "Patient has no element `birthdate`", "help": "did you mean `birthDate`?"
        })
    );
    // A source that is not the file's must not break the display.
    all[0].render("", false);
    all[0].render("é\né", false);
}

#[test]
fn rows_name_fields_maps_and_policies_that_exist() {
    let rows = |text: &str| rule(&format!("rows: {{ {text} }}"));
    let fine = [
        "PID-10: by PID/Patient",
        "PID-10: by CX/Identifier; it has the value",
        "\"PID-23 -> birthPlace\": no such element in R4",
        "\"PID[Patient] PID-23\": said elsewhere",
        "PID: by engine",
        "PID-3.4: policy colour = red",
    ];
    for text in fine {
        assert_eq!(rows(text), Vec::<String>::new(), "{text}");
    }
    expect(&rows("PID-99: no"), "4:9 M020", "fields");
    expect(&rows("PID-10: by PID/Patent"), "4:17 M030", "`PID/Patient`");
    expect(&rows("PID-10: policy color"), "4:17 M032", "`colour`");
    expect(&rows("PID-10: \"\""), "4:17 M004", "`by MAP`");
    expect(
        &rows("\"PID-10 ->\": no"),
        "4:9 M004",
        "`PID-23 -> birthPlace`",
    );
    expect(&rule("rows: PID-10"), "4:7 M004", "rows: {");
    let table = "table: Sex\ncodes: { F: female }\nrows: { X: by Sax }\n";
    expect(&lines("tables/Sex.yaml", table), "3:12 M030", "`Sex`");
    let map = "- PATIENT_RESULT: [ { PATIENT: [ { PID: PID/Patient } ] } ]\nrows: { PROCEDURE.ROL: not here, \"PID -> PID[Patient]\": nor this, pid: no }";
    expect(&message_map(map), "4:", "`PROCEDURE.ROL`");
}
