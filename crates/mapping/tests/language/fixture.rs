//! A small package that the tests of the language change.

use std::sync::Arc;

use mapping::{Layer, Package};
use serde_json::Value;

use crate::support::{ADMIT, Converted, File, convert, layer, message, package};

pub const PACKAGE: &str = r#"
package: tests
version: "1"
policies:
  colour: { default: red, values: [red, green], about: for conditions }
  extra: { default: "on", about: on and off when no values are listed }
"#;

pub const BASE: &[File<'static>] = &[
    ("package.yaml", PACKAGE),
    (
        "messages/ADT_A01.yaml",
        "message: ADT_A01\nmap:\n  - PID: PID/Patient as patient\n",
    ),
    (
        "segments/PID/Patient.yaml",
        "segment: PID\nmakes: Patient\nkey: PID-3\nidentifier: [ { each: PID-3, map: CX/Identifier } ]\n",
    ),
    (
        "datatypes/CX/Identifier.yaml",
        "datatype: CX\nmakes: Identifier\nwhen: CX.1 valued\nsystem: \"{{authority CX.4}}\"\nvalue: \"{{CX.1}}\"\n",
    ),
    (
        "datatypes/XPN/HumanName.yaml",
        "datatype: XPN\nmakes: HumanName\nfamily: \"{{XPN.1.1}}\"\ngiven: [ \"{{XPN.2}}\", \"{{XPN.3}}\" ]\n",
    ),
    (
        "datatypes/XPN/string.yaml",
        "datatype: XPN\nmakes: string\nresult: [ \"{{XPN.2}} {{XPN.1}}\", \"{{XPN.1}}\" ]\n",
    ),
    (
        "datatypes/CWE/CodeableConcept.yaml",
        "datatype: CWE\nmakes: CodeableConcept\ncoding: [ { code: \"{{CWE.1}}\", display: \"{{CWE.2}}\", system: \"{{system CWE.3}}\" } ]\ntext: [ \"{{CWE.9}}\", \"{{CWE.2}}\" ]\n",
    ),
    (
        "datatypes/XCN/Practitioner.yaml",
        "datatype: XCN\nmakes: Practitioner\nkey: XCN\nname: [ { family: \"{{XCN.2.1}}\", given: [ \"{{XCN.3}}\" ] } ]\n",
    ),
    (
        "datatypes/XON/Organization.yaml",
        "datatype: XON\nmakes: Organization\nkey: XON\nname: \"{{XON.1}}\"\npartOf: { from: XON.6, map: HD/Organization }\n",
    ),
    (
        "datatypes/HD/Organization.yaml",
        "datatype: HD\nmakes: Organization\nkey: HD\nname: \"{{HD.1}}\"\n",
    ),
    (
        "tables/Sex.yaml",
        "table: Sex\nsource: [HL70001]\ntarget: http://hl7.org/fhir/administrative-gender\ncodes: { F: female, M: male, A: { code: other, display: Other } }\nmiss: keep\n",
    ),
];

/// The base with some files replaced or added.
pub fn with(changes: &[File<'_>]) -> Layer {
    let mut base = layer("", BASE);
    for file in layer("", changes).files {
        base.files.retain(|known| known.path != file.path);
        base.files.push(file);
    }
    base
}

pub fn compiled(changes: &[File<'_>]) -> Arc<Package> {
    package(&[with(changes)])
}

/// A package whose Patient has these rules beside its identifiers.
pub fn patient_package(rules: &str) -> Arc<Package> {
    let map = patient_map(rules);
    compiled(&[("segments/PID/Patient.yaml", &map)])
}

pub fn patient_map(rules: &str) -> String {
    format!(
        "segment: PID\nmakes: Patient\nkey: PID-3\nidentifier: [ {{ each: PID-3, map: CX/Identifier }} ]\n{rules}\n"
    )
}

/// An admission with these rules for its Patient.
pub fn admit(rules: &str, segments: &[&str]) -> Converted {
    convert(&patient_package(rules), &message(ADMIT, segments))
}

/// What the rules make of one PID, which always has a PID-3; the identifiers are left out.
pub fn patient(rules: &str, pid: &str) -> Value {
    let mut made = admit(rules, &[pid]).only("Patient").clone();
    let object = made.as_object_mut().unwrap();
    object.remove("identifier");
    object.remove("resourceType");
    object.remove("id");
    made
}
