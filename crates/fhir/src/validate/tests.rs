use super::*;
use crate::definitions::r4;
use crate::tree::{Limits, read};

mod bundles;
mod invariants;

/// The issues as `code expression: message`.
fn issues(json: &str) -> Vec<String> {
    let (tree, root) = read(json.as_bytes(), &Limits::default()).unwrap();
    resource(&tree, root, r4())
        .iter()
        .map(|i| format!("{} {}: {}", i.code.as_str(), i.expression, i.message))
        .collect()
}

#[track_caller]
fn accepts(json: &str) {
    assert_eq!(issues(json), [""; 0], "{json}");
}

/// Exactly these issues, each given by its beginning.
#[track_caller]
fn refuses(json: &str, expected: &[&str]) {
    let found = issues(json);
    let same = found.len() == expected.len()
        && found
            .iter()
            .zip(expected)
            .all(|(found, start)| found.starts_with(start));
    assert!(same, "{json}\n{found:#?}\n{expected:#?}");
}

/// A Patient with these further members.
fn patient(members: &str) -> String {
    format!(r#"{{"resourceType":"Patient",{members}}}"#)
}

/// An Observation with these further members.
fn observation(members: &str) -> String {
    format!(r#"{{"resourceType":"Observation","status":"final","code":{{"text":"t"}}{members}}}"#)
}

#[test]
fn elements_must_be_known() {
    accepts(&patient(
        r#""active":true,"name":[{"family":"Berg","given":["Ada"]}]"#,
    ));
    refuses(
        &patient(r#""colour":1"#),
        &["structure Patient.colour: no such element"],
    );
    refuses(
        &patient(r#""name":[{"family":"Berg","nickname":"A"}]"#),
        &["structure Patient.name[0].nickname: no such"],
    );
    refuses(
        &patient(r#""Mrs Secret":1"#),
        &["structure Patient.?: no such element"],
    );
    refuses(
        r#"{"resourceType":"Pat"}"#,
        &["structure : not an object with the name of a resource"],
    );
    refuses(
        r#"{"resourceType":"HumanName"}"#,
        &["structure : not an object with"],
    );
    refuses(
        r#"{"resourceType":"DomainResource"}"#,
        &["structure : not an object with"],
    );
    refuses(r#"{"active":true}"#, &["structure : not an object with"]);
    refuses(
        &patient(r#""contained":[{"resourceType":"Nope"}]"#),
        &["structure Patient.contained[0]: not an", "invariant"],
    );
}

#[test]
fn cardinality_holds() {
    refuses(
        r#"{"resourceType":"Observation"}"#,
        &[
            "required Observation.status: ",
            "required Observation.code: ",
        ],
    );
    refuses(
        &patient(r#""name":{"family":"Berg"}"#),
        &["structure Patient.name: one value where an array"],
    );
    refuses(
        &patient(r#""gender":["male"]"#),
        &["structure Patient.gender: an array where one value"],
    );
    refuses(
        &patient(r#""link":[{"type":"seealso"}]"#),
        &["required Patient.link[0].other: required"],
    );
    // A required element may have only extensions.
    accepts(
        r#"{"resourceType":"Observation","_status":{"extension":[{"url":"http://x","valueCode":"y"}]},"code":{"text":"t"}}"#,
    );
    // ParameterDefinition and so on aside, only few elements have a maximum other than 1 and *.
    let names = r#"{"url":"http://x","valueString":"a"}"#;
    accepts(&patient(&format!(r#""extension":[{names}]"#)));
}

#[test]
fn nothing_is_empty() {
    refuses(
        &patient(r#""name":[]"#),
        &["invalid Patient.name: empty array"],
    );
    refuses(
        &patient(r#""name":[{}]"#),
        &["invalid Patient.name[0]: empty object"],
    );
    refuses(
        &patient(r#""gender":"""#),
        &["invalid Patient.gender: not valid as code"],
    );
    refuses(
        &patient(r#""gender":null"#),
        &["structure Patient.gender: not a JSON string"],
    );
    refuses(
        &patient(r#""name":[null]"#),
        &["structure Patient.name[0]: not an object"],
    );
    accepts(&patient(
        r#""name":[{"given":[null,"Ada"],"_given":[{"id":"a"},null]}]"#,
    ));
    for holes in [
        r#""given":[null,"Ada"]"#,
        r#""given":[null,"Ada"],"_given":[null,{"id":"a"}]"#,
        r#""given":["Ada",null],"_given":[{"id":"a"}]"#,
    ] {
        refuses(
            &patient(&format!(r#""name":[{{{holes}}}]"#)),
            &["invalid Patient.name[0].given: a null without extensions"],
        );
    }
    refuses(
        &patient(r#""name":[{"given":[null]}]"#),
        &["invalid Patient.name[0].given: empty array"],
    );
}

#[test]
fn primitives_have_form_and_format() {
    accepts(&patient(
        r#""birthDate":"1980-02-29","multipleBirthInteger":2"#,
    ));
    refuses(
        &patient(r#""birthDate":"1981-02-29""#),
        &["value Patient.birthDate: not valid as date (YYYY, YYYY-MM or YYYY-MM-DD): no such day"],
    );
    refuses(
        &patient(r#""birthDate":1980"#),
        &["structure Patient.birthDate: not a JSON string"],
    );
    refuses(
        &patient(r#""active":"true""#),
        &["structure Patient.active: not a JSON boolean"],
    );
    refuses(
        &patient(r#""multipleBirthInteger":"2""#),
        &["structure Patient.multipleBirth.ofType(integer): not a JSON number"],
    );
    refuses(
        &patient(r#""multipleBirthInteger":1.5"#),
        &["value Patient.multipleBirth.ofType(integer): not valid as integer"],
    );
    refuses(
        &patient(&format!(r#""id":"{}""#, "a".repeat(65))),
        &["too-long Patient.id: not valid as id"],
    );
    refuses(
        &patient(r#""name":["Berg"]"#),
        &["structure Patient.name[0]: not an object"],
    );
    accepts(&observation(r#","valueQuantity":{"value":1.50}"#));
    refuses(
        &observation(r#","issued":"2024-01-01""#),
        &["value Observation.issued: not valid as instant"],
    );
    // No issue repeats what the message said.
    assert!(
        !issues(&patient(r#""birthDate":"Secret","gender":"Secret""#))
            .join("")
            .contains("Secret")
    );
}

#[test]
fn siblings_of_primitives() {
    let extension = r#"{"extension":[{"url":"http://x","valueString":"y"}]}"#;
    accepts(&patient(&format!(
        r#""birthDate":"1980","_birthDate":{extension}"#
    )));
    refuses(
        &patient(&format!(r#""_name":{extension}"#)),
        &["structure Patient.name: only a primitive"],
    );
    refuses(
        &patient(&format!(r#""_birthDate":[{extension}]"#)),
        &["structure Patient.birthDate: not an object, or"],
    );
    refuses(
        &patient(r#""_birthDate":{"value":1}"#),
        &["structure Patient.birthDate.value: no such element"],
    );
    refuses(
        &patient(r#""name":[{"given":["A"],"_given":["x"]}]"#),
        &["structure Patient.name[0].given[0]: not an object"],
    );
}

#[test]
fn one_type_of_a_choice() {
    accepts(&observation(
        r#","valueString":"a","effectiveDateTime":"2024""#,
    ));
    refuses(
        &observation(r#","valueString":"a","valueInteger":1"#),
        &["structure Observation.value.ofType(integer): more than one type of value"],
    );
    refuses(
        &observation(r#","valueAddress":{"city":"B"}"#),
        &["structure Observation.valueAddress: no such element"],
    );
    refuses(
        &observation(r#","value":"a""#),
        &["structure Observation.value: no such element"],
    );
    refuses(
        &patient(r#""extension":[{"url":"http://x","valueString":"a","valueCode":"b"}]"#),
        &["structure Patient.extension[0].value.ofType(code): more"],
    );
}

#[test]
fn required_codes() {
    accepts(&patient(r#""gender":"female""#));
    refuses(
        &patient(r#""gender":"F""#),
        &[
            "code-invalid Patient.gender: no code of the required value set http://hl7.org/fhir/ValueSet/administrative-gender",
        ],
    );
    // Extensible and unlisted sets are not held against.
    accepts(&observation(
        r#","interpretation":[{"coding":[{"system":"http://x","code":"y"}]}]"#,
    ));
    accepts(&patient(
        r#""photo":[{"contentType":"image/odd","data":"QUJD"}]"#,
    ));
    let condition = |status: &str| {
        format!(
            r#"{{"resourceType":"Condition","subject":{{"display":"s"}},"clinicalStatus":{{{status}}}}}"#
        )
    };
    let system = "http://terminology.hl7.org/CodeSystem/condition-clinical";
    accepts(&condition(&format!(
        r#""coding":[{{"system":"http://x","code":"y"}},{{"system":"{system}","code":"active"}}]"#
    )));
    refuses(
        &condition(r#""coding":[{"system":"http://x","code":"active"}]"#),
        &["code-invalid Condition.clinicalStatus: "],
    );
    refuses(
        &condition(r#""text":"active""#),
        &["code-invalid Condition.clinicalStatus: "],
    );
}

#[test]
fn references_fit_their_element() {
    for right in [
        "Patient/1",
        "http://x.org/fhir/Patient/1/_history/2",
        "urn:uuid:7b1c",
        "Patient?identifier=a|b",
        "http://x.org/other",
    ] {
        accepts(&observation(&format!(
            r#","subject":{{"reference":"{right}"}}"#
        )));
    }
    accepts(&observation(r#","focus":[{"reference":"Encounter/1"}]"#));
    accepts(&observation(r#","subject":{"display":"someone"}"#));
    refuses(
        &observation(r#","subject":{"reference":"Encounter/1"}"#),
        &["structure Observation.subject: reference to a resource of type Encounter"],
    );
    refuses(
        &observation(r#","subject":{"reference":"https://x.org/Encounter/1"}"#),
        &["structure Observation.subject: "],
    );
    for wrong in [
        "1",
        "Pat/1",
        "Patient/",
        "a/Patient/1",
        "Patient/a_b",
        "Pat?identifier=x",
    ] {
        refuses(
            &observation(&format!(r#","subject":{{"reference":"{wrong}"}}"#)),
            &["value Observation.subject.reference: not the address"],
        );
    }
}

#[test]
fn contained_resources() {
    let with = |contained: &str, subject: &str| {
        observation(&format!(
            r##","contained":[{contained}],"subject":{{"reference":"{subject}"}}"##
        ))
    };
    accepts(&with(r#"{"resourceType":"Patient","id":"p"}"#, "#p"));
    refuses(
        &with(r#"{"resourceType":"Patient","id":"p"}"#, "Patient/1"),
        &["invariant Observation.contained[0]: dom-3"],
    );
    refuses(
        &with(r#"{"resourceType":"Encounter","id":"p"}"#, "#p"),
        &[
            "required Observation.contained[0].status",
            "required Observation.contained[0].class",
            "structure Observation.subject: reference to a resource of type Encounter",
        ],
    );
    refuses(
        &with(
            r#"{"resourceType":"Patient","id":"p"},{"resourceType":"Patient","id":"q"}"#,
            "#q",
        ),
        &["invariant Observation.contained[0]: dom-3"],
    );
    refuses(
        &observation(r##","subject":{"reference":"#p"}"##),
        &["invariant Observation.subject.reference: ref-1"],
    );
    // What contains may be referred to from inside.
    accepts(&observation(
        r##","contained":[{"resourceType":"Provenance","id":"p","target":[{"reference":"#"}],"recorded":"2024-01-01T00:00:00Z","agent":[{"who":{"display":"x"}}]}]"##,
    ));
    refuses(
        &with(
            r##"{"resourceType":"Patient","id":"p","contained":[{"resourceType":"Patient","id":"z"}],"link":[{"type":"seealso","other":{"reference":"#p"}}]}"##,
            "#p",
        ),
        &["invariant Observation.contained[0]: dom-2"],
    );
    refuses(
        &with(
            r#"{"resourceType":"Patient","id":"p","meta":{"versionId":"1"}}"#,
            "#p",
        ),
        &["invariant Observation.contained[0]: dom-4"],
    );
    refuses(
        &with(
            r#"{"resourceType":"Patient","id":"p","meta":{"security":[{"code":"R"}]}}"#,
            "#p",
        ),
        &["invariant Observation.contained[0]: dom-5"],
    );
}
