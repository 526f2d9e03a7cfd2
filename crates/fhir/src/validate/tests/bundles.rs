//! Bundles, read and built.

use super::*;
use crate::tree::Key;

fn bundle_of(kind: &str, members: &str, entries: &str) -> String {
    format!(r#"{{"resourceType":"Bundle","type":"{kind}"{members},"entry":[{entries}]}}"#)
}

const UUID_1: &str = "urn:uuid:00000000-0000-0000-0000-000000000001";

/// A Patient, and an Observation about `subject`, in a transaction.
fn transaction(subject: &str) -> String {
    let patient = format!(
        r#"{{"fullUrl":"{UUID_1}","resource":{{"resourceType":"Patient"}},"request":{{"method":"PUT","url":"Patient?identifier=a%7Cb"}}}}"#
    );
    let about = observation(&format!(r#","subject":{{"reference":"{subject}"}}"#));
    let entry = format!(
        r#"{{"fullUrl":"urn:uuid:2","resource":{about},"request":{{"method":"POST","url":"Observation"}}}}"#
    );
    bundle_of("transaction", "", &format!("{patient},{entry}"))
}

#[test]
fn references_inside_a_bundle_resolve_and_fit() {
    accepts(&transaction(UUID_1));
    accepts(&transaction("Patient/elsewhere"));
    refuses(
        &transaction("urn:uuid:00000000-0000-0000-0000-000000000009"),
        &[
            "not-found Bundle.entry[1].resource.subject.reference: no entry of the Bundle has this fullUrl",
        ],
    );
    refuses(
        &transaction("urn:uuid:2"),
        &[
            "structure Bundle.entry[1].resource.subject: reference to a resource of type Observation",
        ],
    );
}

#[test]
fn bundle_invariants() {
    let entry = |resource: &str, more: &str| {
        format!(r#"{{"fullUrl":"urn:uuid:1","resource":{resource}{more}}}"#)
    };
    let person = patient(r#""active":true"#);
    accepts(&bundle_of("collection", "", &entry(&person, "")));
    accepts(&bundle_of(
        "searchset",
        r#","total":1"#,
        &entry(&person, r#","search":{"mode":"match"}"#),
    ));
    refuses(
        &bundle_of("collection", r#","total":1"#, &entry(&person, "")),
        &["invariant Bundle: bdl-1"],
    );
    refuses(
        &bundle_of(
            "collection",
            "",
            &entry(&person, r#","search":{"mode":"match"}"#),
        ),
        &["invariant Bundle.entry[0]: bdl-2"],
    );
    refuses(
        &bundle_of("transaction", "", &entry(&person, "")),
        &["invariant Bundle.entry[0]: bdl-3"],
    );
    refuses(
        &bundle_of(
            "collection",
            "",
            &entry(&person, r#","request":{"method":"GET","url":"x"}"#),
        ),
        &["invariant Bundle.entry[0]: bdl-3"],
    );
    refuses(
        &bundle_of("transaction-response", "", &entry(&person, "")),
        &["invariant Bundle.entry[0]: bdl-4"],
    );
    accepts(&bundle_of(
        "transaction-response",
        "",
        &entry(&person, r#","response":{"status":"201"}"#),
    ));
    refuses(
        &bundle_of("collection", "", r#"{"fullUrl":"urn:uuid:1"}"#),
        &["invariant Bundle.entry[0]: bdl-5"],
    );
    refuses(
        &bundle_of(
            "collection",
            "",
            &format!("{},{}", entry(&person, ""), entry(&person, "")),
        ),
        &["invariant Bundle.entry[1]: bdl-7"],
    );
    refuses(
        &bundle_of(
            "collection",
            "",
            &entry(&person, "").replace("urn:uuid:1", "http://x/Patient/1/_history/1"),
        ),
        &["invariant Bundle.entry[0]: bdl-8"],
    );
    refuses(
        &bundle_of("document", "", &entry(&person, "")),
        &[
            "invariant Bundle: bdl-9",
            "invariant Bundle: bdl-10",
            "invariant Bundle: bdl-11",
        ],
    );
    refuses(
        &bundle_of("message", "", &entry(&person, "")),
        &["invariant Bundle: bdl-12"],
    );
    refuses(
        &bundle_of("odd", "", &entry(&person, "")),
        &["code-invalid Bundle.type"],
    );
}

#[test]
fn transaction_requests() {
    let entry = |url: &str, id: &str, request: &str| {
        format!(
            r#"{{"fullUrl":"urn:uuid:{url}","resource":{{"resourceType":"Patient","id":"{id}"}},"request":{{{request}}}}}"#
        )
    };
    let one = |request: &str| bundle_of("transaction", "", &entry("1", "a", request));
    for right in [
        r#""method":"PUT","url":"Patient/a""#,
        r#""method":"PUT","url":"http://x.org/fhir/Patient/a""#,
        r#""method":"PUT","url":"Patient?identifier=x""#,
        r#""method":"POST","url":"Patient","ifNoneExist":"identifier=x""#,
        r#""method":"POST","url":"Patient/$match""#,
    ] {
        accepts(&one(right));
    }
    for wrong in [
        r#""method":"PUT","url":"Patient/b""#,
        r#""method":"PUT","url":"Patient""#,
        r#""method":"PUT","url":"fhir/Patient/a""#,
        r#""method":"PUT","url":"Person/a""#,
        r#""method":"PUT","url":"Person?identifier=x""#,
        r#""method":"POST","url":"Person""#,
        r#""method":"POST","url":"Patient/a""#,
    ] {
        refuses(&one(wrong), &["value Bundle.entry[0].request.url: "]);
    }
    refuses(
        &bundle_of(
            "transaction",
            "",
            r#"{"request":{"method":"PUT","url":"Patient/a"}}"#,
        ),
        &["required Bundle.entry[0]: a write without a resource"],
    );
    accepts(&bundle_of(
        "transaction",
        "",
        r#"{"request":{"method":"DELETE","url":"Patient/a"}}"#,
    ));

    let two = |kind, request: &str| {
        bundle_of(
            kind,
            "",
            &format!("{},{}", entry("1", "a", request), entry("2", "a", request)),
        )
    };
    for request in [
        r#""method":"PUT","url":"Patient?identifier=x""#,
        r#""method":"POST","url":"Patient","ifNoneExist":"identifier=x""#,
    ] {
        refuses(
            &two("transaction", request),
            &["duplicate Bundle.entry[1]: another entry"],
        );
        accepts(&two("batch", request));
    }
    accepts(&two("transaction", r#""method":"POST","url":"Patient""#));
    // An update and a create under the same condition, too.
    let update = entry("1", "a", r#""method":"PUT","url":"Patient?identifier=x""#);
    let create = entry(
        "2",
        "a",
        r#""method":"POST","url":"Patient","ifNoneExist":"identifier=x""#,
    );
    refuses(
        &bundle_of("transaction", "", &format!("{update},{create}")),
        &["duplicate Bundle.entry[1]: another entry"],
    );
}

#[test]
fn only_a_bundle_is_a_bundle() {
    let (tree, root) = read(transaction(UUID_1).as_bytes(), &Limits::default()).unwrap();
    assert_eq!(bundle(&tree, root, r4()), []);
    let (tree, root) = read(patient(r#""active":true"#).as_bytes(), &Limits::default()).unwrap();
    assert_eq!(bundle(&tree, root, r4())[0].message, "not a Bundle");
}

#[test]
fn issues_are_limited() {
    let names = vec!["{}"; 2000].join(",");
    let found = issues(&patient(&format!(r#""name":[{names}]"#)));
    assert_eq!(found.len(), ISSUES_MAX + 1);
    assert!(found[ISSUES_MAX].starts_with("incomplete : "));
}

/// A Patient and an Observation as the mapping engine makes them, with empties left behind.
fn built() -> (Tree, Vec<Entry<'static>>) {
    let mut tree = Tree::new();
    let key = |tree: &mut Tree, type_name: &str, name: &str| {
        let element = r4().element(r4().type_(type_name).unwrap(), name).unwrap();
        Key {
            name: tree.name(name),
            order: element.order,
        }
    };
    let patient = tree.object();
    tree.add_string(
        patient,
        Key {
            name: NameId::RESOURCE_TYPE,
            order: 0,
        },
        "Patient",
    );
    let names = key(&mut tree, "Patient", "name");
    let names = tree.add_array(patient, names);
    tree.push_object(names);
    let observation = tree.object();
    tree.add_string(
        observation,
        Key {
            name: NameId::RESOURCE_TYPE,
            order: 0,
        },
        "Observation",
    );
    for (name, text) in [("status", "final"), ("valueString", "")] {
        let key = key(&mut tree, "Observation", name);
        tree.add_string(observation, key, text);
    }
    let code = key(&mut tree, "Observation", "code");
    let code = tree.add_object(observation, code);
    let text = key(&mut tree, "CodeableConcept", "text");
    tree.add_string(code, text, "t");
    let reason = key(&mut tree, "Observation", "dataAbsentReason");
    let reason = tree.add_object(observation, reason);
    tree.add_string(reason, text, "unknown");
    let subject = key(&mut tree, "Observation", "subject");
    tree.add_reference(observation, subject, 0);
    let entry = |number: u128, resource, type_name| Entry {
        resource,
        type_name,
        uuid: uuid::Uuid::from_u128(number),
        write: crate::bundle::Write::Update,
        condition: None,
    };
    (
        tree,
        vec![
            entry(0, patient, "Patient"),
            entry(1, observation, "Observation"),
        ],
    )
}

fn tree_name(name: &str) -> NameId {
    NameId::of(name).unwrap()
}

#[test]
fn what_was_built_is_valid_without_its_empties() {
    let (mut tree, mut all) = built();
    assert_eq!(entries(&tree, &all, r4()), []);
    // And the same once it is written.
    let mut out = Vec::new();
    let options = crate::bundle::BundleOptions {
        kind: crate::bundle::BundleKind::Collection,
        ..Default::default()
    };
    crate::bundle::write(&tree, &all, &options, &mut out).unwrap();
    accepts(&String::from_utf8(out).unwrap());

    // A null among objects would be written.
    let names = tree.get(all[0].resource, tree_name("name")).unwrap();
    let null = tree.push_null(names);
    assert_eq!(entries(&tree, &all, r4()), [], "alone it is not");
    let name = tree.push_object(names);
    let family = Key {
        name: tree_name("family"),
        order: 1,
    };
    tree.add_string(name, family, "Berg");
    assert_eq!(
        entries(&tree, &all, r4())[0].expression,
        "Bundle.entry[0].resource.name[0]"
    );
    tree.remove(names, null);
    assert_eq!(entries(&tree, &all, r4()), []);

    let key = Key {
        name: tree.name("encounter"),
        order: 17,
    };
    let reference = tree.add_reference(all[1].resource, key, 0);
    let found = entries(&tree, &all, r4());
    assert_eq!(found[0].expression, "Bundle.entry[1].resource.encounter");
    assert!(found[0].message.contains("type Patient"), "{found:?}");
    tree.remove(all[1].resource, reference);
    // Number 0 is now the Observation itself, and there is no number 1.
    all.remove(0);
    assert!(
        entries(&tree, &all, r4())[0]
            .message
            .contains("type Observation")
    );
    tree.add_reference(all[0].resource, key, 1);
    assert_eq!(entries(&tree, &all, r4())[1].code, IssueType::NotFound);
}
