use fhir::tree::{Limits, read};

use super::*;

fn found(old: &str, new: &str) -> Vec<String> {
    let (one, one_root) = read(old.as_bytes(), &Limits::default()).unwrap();
    let (other, other_root) = read(new.as_bytes(), &Limits::default()).unwrap();
    differences((&one, one_root), (&other, other_root))
        .into_iter()
        .map(|difference| {
            let mut text = difference.path;
            for line in difference.lines {
                let sign = match line.side {
                    Side::Both => ' ',
                    Side::Expected => '-',
                    Side::Got => '+',
                };
                text.push_str(&format!("\n{sign} {}", line.text));
            }
            text
        })
        .collect()
}

fn entry(url: &str, resource: &str) -> String {
    format!("{{\"fullUrl\":\"urn:uuid:{url}\",\"resource\":{resource}}}")
}

fn bundle(entries: &[String]) -> String {
    format!(
        "{{\"resourceType\":\"Bundle\",\"entry\":[{}]}}",
        entries.join(",")
    )
}

const OBSERVATION: &str = r#"{"resourceType":"Observation","status":"final","code":{"text":"HB"},"subject":{"reference":"urn:uuid:p"},"valueQuantity":{"comparator":"<","value":5.4,"unit":"g/dL","system":"s","code":"c"}}"#;

#[test]
fn equal_documents_have_none_whatever_the_order_of_members() {
    let old = bundle(&[entry(
        "1",
        r#"{"resourceType":"Patient","active":true,"id":"1"}"#,
    )]);
    let new = bundle(&[entry(
        "1",
        r#"{"id":"1","resourceType":"Patient","active":true}"#,
    )]);
    assert!(found(&old, &new).is_empty());
}

#[test]
fn a_value_is_shown_with_its_path_and_what_stands_around_it() {
    let old = bundle(&[entry("1", OBSERVATION)]);
    let new = bundle(&[entry("1", &OBSERVATION.replace("5.4", "5.40"))]);
    assert_eq!(
        found(&old, &new),
        [
            "Observation[0].valueQuantity\n  \"comparator\": \"<\"\n- \"value\": 5.4\n+ \"value\": 5.40\n  \"unit\": \"g/dL\"\n  \"system\": \"s\""
        ]
    );
}

#[test]
fn an_id_that_changed_is_told_once() {
    let patient = |id: &str| format!(r#"{{"resourceType":"Patient","id":"{id}"}}"#);
    let old = bundle(&[entry("p", &patient("p")), entry("1", OBSERVATION)]);
    let new = OBSERVATION.replace("urn:uuid:p", "urn:uuid:q");
    let new = bundle(&[entry("q", &patient("q")), entry("1", &new)]);
    let found = found(&old, &new);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].starts_with("Patient[0] has another id"),
        "{found:?}"
    );
}

#[test]
fn entries_that_one_side_lacks_are_named_by_type_and_number() {
    let one = entry("1", OBSERVATION);
    let two = entry("2", &OBSERVATION.replace("HB", "GLU"));
    let three = entry("3", &OBSERVATION.replace("HB", "NA"));
    let more = found(
        &bundle(&[one.clone(), three.clone()]),
        &bundle(&[one.clone(), two.clone(), three.clone()]),
    );
    assert_eq!(more.len(), 1, "{more:?}");
    assert!(
        more[0].starts_with("Observation[1] is not expected\n+ {"),
        "{more:?}"
    );
    assert!(
        more[0].ends_with("more lines"),
        "long resources are cut: {more:?}"
    );
    let fewer = found(
        &bundle(&[one.clone(), two.clone()]),
        &bundle(std::slice::from_ref(&two)),
    );
    assert!(
        fewer[0].starts_with("Observation[0] is missing"),
        "{fewer:?}"
    );
    let moved = found(&bundle(&[one.clone(), two.clone()]), &bundle(&[two, one]));
    assert_eq!(moved.len(), 1);
    assert!(
        moved[0].starts_with("Bundle.entry has another order"),
        "{moved:?}"
    );
}

#[test]
fn a_member_of_a_list_that_was_put_in_does_not_blame_the_others() {
    let patient = |names: &str| {
        let resource = format!(r#"{{"resourceType":"Patient","name":[{names}]}}"#);
        bundle(&[entry("1", &resource)])
    };
    let old = patient(r#"{"family":"A"},{"family":"C"}"#);
    let new = patient(r#"{"family":"A"},{"family":"B"},{"family":"C","use":"old"}"#);
    assert_eq!(
        found(&old, &new),
        [
            "Patient[0].name[1]\n- \"family\": \"C\"\n+ \"family\": \"B\"",
            "Patient[0].name\n+ {\n+   \"family\": \"C\",\n+   \"use\": \"old\"\n+ }",
        ]
    );
    let new = patient(r#"{"family":"A"},{"family":"B"},{"family":"C"}"#);
    assert_eq!(
        found(&old, &new),
        ["Patient[0].name\n+ {\n+   \"family\": \"B\"\n+ }"]
    );
}

#[test]
fn whole_elements_and_other_kinds_are_shown() {
    let old = bundle(&[entry(
        "1",
        r#"{"resourceType":"Patient","name":[{"family":"A"}],"active":true}"#,
    )]);
    let new = bundle(&[entry(
        "1",
        r#"{"resourceType":"Patient","name":"A","gender":"male"}"#,
    )]);
    let found = found(&old, &new);
    assert_eq!(found.len(), 1, "{found:?}");
    for part in [
        "- \"name\": [",
        "+ \"name\": \"A\"",
        "- \"active\": true",
        "+ \"gender\": \"male\"",
    ] {
        assert!(found[0].contains(part), "{part}: {found:?}");
    }
}
