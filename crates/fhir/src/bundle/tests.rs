use super::*;
use crate::tree::Key;
use serde_json::{Value, json};

/// A Patient, an Observation about it, and an Organization; the Observation comes first.
struct Sample {
    tree: Tree,
    entries: Vec<Entry<'static>>,
}

fn uuid_of(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

fn sample() -> Sample {
    let mut tree = Tree::new();
    let mut entries = Vec::new();
    for (number, type_name, write) in [
        (0, "Observation", Write::Update),
        (1, "Patient", Write::Create),
        (2, "Organization", Write::Update),
    ] {
        let node = tree.object();
        tree.add_string(
            node,
            Key {
                name: NameId::RESOURCE_TYPE,
                order: 0,
            },
            type_name,
        );
        // The server's business, unless the client gives ids.
        tree.add_string(
            node,
            Key {
                name: NameId::ID,
                order: 1,
            },
            "leftover",
        );
        let condition = [
            ("urn:sys:0", "v|0"),
            ("urn:sys:1", "v|1"),
            ("urn:sys:2", "v|2"),
        ]
        .get(usize::try_from(number).unwrap())
        .copied();
        entries.push(Entry {
            resource: node,
            type_name,
            uuid: uuid_of(number),
            write,
            condition,
        });
    }
    let subject = Key {
        name: tree.name("subject"),
        order: 9,
    };
    tree.add_reference(entries[0].resource, subject, 1);
    entries[2].condition = None;
    Sample { tree, entries }
}

fn bundle(sample: &Sample, options: &BundleOptions<'_>) -> Result<Value, BundleError> {
    let mut out = Vec::new();
    write(&sample.tree, &sample.entries, options, &mut out)?;
    let mut pretty = Vec::new();
    write(
        &sample.tree,
        &sample.entries,
        &BundleOptions {
            pretty: true,
            ..*options
        },
        &mut pretty,
    )?;
    let value: Value = serde_json::from_slice(&out).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&pretty).unwrap(), value);
    assert_eq!(out, compacted(&pretty));
    Ok(value)
}

/// No string of the sample has a space or a new line.
fn compacted(pretty: &[u8]) -> Vec<u8> {
    pretty
        .iter()
        .copied()
        .filter(|byte| !byte.is_ascii_whitespace())
        .collect()
}

#[test]
fn conditional_transaction() {
    let value = bundle(&sample(), &BundleOptions::default()).unwrap();
    assert_eq!(
        value,
        json!({"resourceType": "Bundle", "type": "transaction", "entry": [
            {
                "fullUrl": "urn:uuid:00000000-0000-0000-0000-000000000000",
                "resource": {"resourceType": "Observation", "subject": {"reference": "urn:uuid:00000000-0000-0000-0000-000000000001"}},
                "request": {"method": "PUT", "url": "Observation?identifier=urn:sys:0%7Cv%5C%7C0"}
            },
            {
                "fullUrl": "urn:uuid:00000000-0000-0000-0000-000000000001",
                "resource": {"resourceType": "Patient"},
                "request": {"method": "POST", "url": "Patient", "ifNoneExist": "identifier=urn:sys:1%7Cv%5C%7C1"}
            },
            {
                "fullUrl": "urn:uuid:00000000-0000-0000-0000-000000000002",
                "resource": {"resourceType": "Organization", "id": "00000000-0000-0000-0000-000000000002"},
                "request": {"method": "PUT", "url": "Organization/00000000-0000-0000-0000-000000000002"}
            }
        ]})
    );
}

#[test]
fn client_ids() {
    let options = BundleOptions {
        ids: Ids::Client,
        base_url: Some("https://fhir.example/r4/"),
        ..Default::default()
    };
    let value = bundle(&sample(), &options).unwrap();
    let id = "00000000-0000-0000-0000-000000000001";
    assert_eq!(
        value["entry"][0]["resource"]["subject"]["reference"],
        format!("Patient/{id}")
    );
    assert_eq!(
        value["entry"][1],
        json!({
            "fullUrl": format!("https://fhir.example/r4/Patient/{id}"),
            "resource": {"resourceType": "Patient", "id": id},
            "request": {"method": "PUT", "url": format!("Patient/{id}"), "ifNoneMatch": "*"}
        })
    );
    assert!(value["entry"][0]["request"].get("ifNoneMatch").is_none());
    let value = bundle(
        &sample(),
        &BundleOptions {
            ids: Ids::Client,
            ..Default::default()
        },
    )
    .unwrap();
    assert_eq!(value["entry"][1]["fullUrl"], format!("urn:uuid:{id}"));
}

#[test]
fn collection_has_no_requests() {
    let value = bundle(
        &sample(),
        &BundleOptions {
            kind: BundleKind::Collection,
            ..Default::default()
        },
    )
    .unwrap();
    assert_eq!(value["type"], "collection");
    assert!(
        value["entry"]
            .as_array()
            .unwrap()
            .iter()
            .all(|entry| entry.get("request").is_none())
    );
}

#[test]
fn batch_is_ordered_and_refers_by_identifier() {
    let mut sample = sample();
    // A circle between Observation and Patient, and a chain to the Organization.
    let link = Key {
        name: sample.tree.name("link"),
        order: 9,
    };
    let links = sample.tree.add_array(sample.entries[1].resource, link);
    sample.tree.push_reference(links, 0);
    sample.tree.push_reference(links, 2);
    let value = bundle(
        &sample,
        &BundleOptions {
            kind: BundleKind::Batch,
            ..Default::default()
        },
    )
    .unwrap();
    let types: Vec<_> = value["entry"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["resource"]["resourceType"].clone())
        .collect();
    assert_eq!(types, ["Organization", "Patient", "Observation"]);
    assert_eq!(
        value["entry"][2]["resource"]["subject"]["reference"],
        "Patient?identifier=urn:sys:1%7Cv%5C%7C1"
    );
    // Nothing to search for: it is written by its id, and referred to by it.
    assert_eq!(
        value["entry"][1]["resource"]["link"][1]["reference"],
        "Organization/00000000-0000-0000-0000-000000000002"
    );
}

#[test]
fn no_entries_no_entry() {
    let none = Sample {
        tree: Tree::new(),
        entries: Vec::new(),
    };
    assert_eq!(
        bundle(&none, &BundleOptions::default()).unwrap(),
        json!({"resourceType": "Bundle", "type": "transaction"})
    );
}

#[test]
fn an_identity_twice_is_refused() {
    let mut twice = sample();
    twice.entries[2].uuid = uuid_of(0);
    assert_eq!(
        bundle(&twice, &BundleOptions::default()),
        Err(BundleError::SameIdentity {
            first: 0,
            second: 2
        })
    );

    let mut twice = sample();
    let mut again = twice.entries[0].clone();
    again.uuid = uuid_of(9);
    twice.entries.push(again);
    assert_eq!(
        bundle(&twice, &BundleOptions::default()),
        Err(BundleError::SameIdentity {
            first: 0,
            second: 3
        })
    );
    // The same identifier on another type is another resource.
    twice.entries[3].resource = twice.entries[1].resource;
    twice.entries[3].type_name = "Patient";
    assert!(bundle(&twice, &BundleOptions::default()).is_ok());
}

#[test]
fn errors_leave_nothing_behind() {
    let mut wrong = sample();
    let focus = Key {
        name: wrong.tree.name("focus"),
        order: 10,
    };
    wrong
        .tree
        .add_reference(wrong.entries[1].resource, focus, 7);
    let mut out = b"before".to_vec();
    let result = write(
        &wrong.tree,
        &wrong.entries,
        &BundleOptions::default(),
        &mut out,
    );
    assert_eq!(
        (result, out.as_slice()),
        (
            Err(BundleError::UnknownReference { entry: 1 }),
            b"before".as_slice()
        )
    );

    let mut wrong = sample();
    wrong.entries[1].type_name = "Person";
    assert_eq!(
        bundle(&wrong, &BundleOptions::default()),
        Err(BundleError::NotAResource { entry: 1 })
    );
    wrong.entries[1].type_name = "Pat\"ient";
    assert_eq!(
        bundle(&wrong, &BundleOptions::default()),
        Err(BundleError::NotAResource { entry: 1 })
    );
}

#[test]
fn what_is_left_alone_is_not_sent_and_can_be_referred_to() {
    let mut sample = sample();
    let link = Key {
        name: sample.tree.name("focus"),
        order: 10,
    };
    sample
        .tree
        .add_reference(sample.entries[0].resource, link, 2);
    sample.entries[1].write = Write::Leave;
    sample.entries[2].write = Write::Leave;
    let value = bundle(&sample, &BundleOptions::default()).unwrap();
    let entries = value["entry"].as_array().unwrap();
    assert_eq!(entries.len(), 1);
    let reference = |name: &str| entries[0]["resource"][name]["reference"].clone();
    assert_eq!(
        reference("subject"),
        "Patient?identifier=urn:sys:1%7Cv%5C%7C1"
    );
    assert_eq!(
        reference("focus"),
        "Organization/00000000-0000-0000-0000-000000000002"
    );
    sample.entries[0].write = Write::Leave;
    let value = bundle(&sample, &BundleOptions::default()).unwrap();
    assert_eq!(
        value,
        json!({"resourceType": "Bundle", "type": "transaction"})
    );
}

#[test]
fn what_is_only_made_leaves_what_is_there_by_id_too() {
    let mut sample = sample();
    sample.entries[2].write = Write::Create;
    let value = bundle(&sample, &BundleOptions::default()).unwrap();
    assert_eq!(value["entry"][2]["request"]["ifNoneMatch"], "*");
    assert!(value["entry"][0]["request"].get("ifNoneMatch").is_none());
}
