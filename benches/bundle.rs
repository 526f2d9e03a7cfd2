//! Bundles: building and writing one of 15 resources from a tree beside `serde_json::Value`, and validating it.
//!
//! Asked of it: written in 3 to 5 us (10 kB), and a Bundle of 21 resources validated in 100 us.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use benches::Race;
use fhir::bundle::{BundleOptions, Entry, Write};
use fhir::definitions::{Definitions, r4};
use fhir::tree::{Key, Limits, NodeId, Tree, read, read_into};
use fhir::{NameId, bundle, validate};
use serde_json::{Value, json};
use uuid::Uuid;

/// What a 2 kB ORU becomes: a Patient, an Encounter, an Organization, a ServiceRequest, a DiagnosticReport and ten
/// Observations. A number stands for a reference to the resource of that number.
fn resources() -> Vec<Value> {
    let coded = |system: &str, code: &str, display: &str| json!({"coding": [{"system": system, "code": code, "display": display}], "text": display});
    let identifier =
        |value: &str| json!([{"system": "urn:oid:2.16.840.1.113883.19.5", "value": value}]);
    let reference = |number: u32, display: &str| json!({"reference": number, "display": display});
    let mut all = vec![
        json!({"resourceType": "Patient", "identifier": [
                {"use": "usual", "type": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": "MR"}]},
                 "system": "urn:oid:2.16.840.1.113883.19.5", "value": "PATID1234", "assigner": {"display": "Example Hospital"}},
                {"system": "urn:ietf:rfc:3986", "value": "urn:uuid:0f8fad5b-d9cb-469f-a165-70867728950e"}],
            "name": [{"use": "official", "family": "Beispiel", "given": ["Erika", "Maria"], "prefix": ["Dr."]}],
            "telecom": [{"system": "phone", "value": "+49 30 1234567", "use": "home"}], "gender": "female", "birthDate": "1961-06-15",
            "address": [{"line": ["Musterstrasse 1"], "city": "Berlin", "postalCode": "10115", "country": "DEU"}],
            "maritalStatus": coded("http://terminology.hl7.org/CodeSystem/v3-MaritalStatus", "M", "Married")}),
        json!({"resourceType": "Organization", "identifier": identifier("LAB1"), "name": "Example Laboratory"}),
        json!({"resourceType": "Encounter", "identifier": identifier("V0001"), "status": "in-progress",
            "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "IMP", "display": "inpatient encounter"},
            "subject": reference(0, "Erika Beispiel"), "period": {"start": "2024-03-01T08:30:00+01:00"}}),
        json!({"resourceType": "ServiceRequest", "identifier": identifier("845439"), "status": "active", "intent": "order",
            "code": coded("http://loinc.org", "24323-8", "Comprehensive metabolic panel"),
            "subject": reference(0, "Erika Beispiel"), "encounter": reference(2, "V0001"), "authoredOn": "2024-03-01T08:45:00+01:00"}),
        json!({"resourceType": "DiagnosticReport", "identifier": identifier("1045813"), "basedOn": [reference(3, "845439")],
            "status": "final", "code": coded("http://loinc.org", "24323-8", "Comprehensive metabolic panel"),
            "subject": reference(0, "Erika Beispiel"), "encounter": reference(2, "V0001"),
            "effectiveDateTime": "2024-03-01T09:10:00+01:00", "issued": "2024-03-01T11:02:00+01:00",
            "performer": [reference(1, "Example Laboratory")],
            "result": (5..15).map(|number| reference(number, "result")).collect::<Vec<_>>()}),
    ];
    for (number, name) in [
        "Glucose",
        "Urea",
        "Creatinine",
        "Calcium",
        "Sodium",
        "Potassium",
        "Chloride",
        "Protein",
        "Albumin",
        "Bilirubin",
    ]
    .iter()
    .enumerate()
    {
        all.push(json!({"resourceType": "Observation", "identifier": identifier(&format!("1045813-{number}")),
            "basedOn": [reference(3, "845439")], "status": "final",
            "category": [coded("http://terminology.hl7.org/CodeSystem/observation-category", "laboratory", "Laboratory")],
            "code": coded("http://loinc.org", &format!("{}-{number}", 2340 + number), name),
            "subject": reference(0, "Erika Beispiel"), "effectiveDateTime": "2024-03-01T09:10:00+01:00",
            "performer": [reference(1, "Example Laboratory")],
            "valueQuantity": {"value": 182, "unit": "mg/dL", "system": "http://unitsofmeasure.org", "code": "mg/dL"},
            "interpretation": [coded("http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation", "H", "High")],
            "referenceRange": [{"low": {"value": 70}, "high": {"value": 105}, "text": "70-105"}]}));
    }
    all
}

/// A resource with its element orders and names looked up, as a compiled map has them: what building costs without the
/// looking up.
enum Plan {
    Object(Vec<(Key, Plan)>),
    Array(Vec<Plan>),
    Text(String),
    Number(String),
    Reference(u32),
}

fn plan(r4: &Definitions, type_name: &str, value: &Value) -> Plan {
    match value {
        Value::Object(members) => Plan::Object(
            members
                .iter()
                .map(|(name, value)| {
                    let element = r4.type_(type_name).and_then(|id| r4.element(id, name));
                    let order = element.map_or(0, |element| element.order);
                    let child_type =
                        element.map_or("", |element| r4.type_name(element.types[0].type_));
                    let planned = match value.as_u64().filter(|_| name == "reference") {
                        Some(number) => Plan::Reference(u32::try_from(number).unwrap()),
                        None => plan(r4, child_type, value),
                    };
                    (
                        Key {
                            name: NameId::of(name).unwrap(),
                            order,
                        },
                        planned,
                    )
                })
                .collect(),
        ),
        Value::Array(items) => {
            Plan::Array(items.iter().map(|item| plan(r4, type_name, item)).collect())
        }
        Value::String(text) => Plan::Text(text.clone()),
        Value::Number(number) => Plan::Number(number.to_string()),
        _ => panic!("not in the sample"),
    }
}

fn sorted(plan: &mut Plan) {
    match plan {
        Plan::Object(members) => {
            members.sort_by_key(|(key, _)| key.order);
            members.iter_mut().for_each(|(_, member)| sorted(member));
        }
        Plan::Array(items) => items.iter_mut().for_each(sorted),
        _ => {}
    }
}

fn build(tree: &mut Tree, node: NodeId, members: &[(Key, Plan)]) {
    for (key, member) in members {
        match member {
            Plan::Object(members) => {
                let object = tree.add_object(node, *key);
                build(tree, object, members);
            }
            Plan::Array(items) => {
                let array = tree.add_array(node, *key);
                for item in items {
                    match item {
                        Plan::Object(members) => {
                            let object = tree.push_object(array);
                            build(tree, object, members);
                        }
                        Plan::Text(text) => _ = tree.push_string(array, text),
                        _ => panic!("not in the sample"),
                    }
                }
            }
            Plan::Text(text) => _ = tree.add_string(node, *key, text),
            Plan::Number(digits) => _ = tree.add_number(node, *key, digits).unwrap(),
            Plan::Reference(number) => _ = tree.add_reference(node, *key, *number),
        }
    }
}

struct Sample {
    type_name: &'static str,
    plan: Plan,
}

fn build_all(tree: &mut Tree, samples: &[Sample]) -> Vec<NodeId> {
    tree.clear();
    samples
        .iter()
        .map(|sample| {
            let root = tree.object();
            if let Plan::Object(members) = &sample.plan {
                build(tree, root, members);
            }
            root
        })
        .collect()
}

fn main() {
    let r4 = r4();
    let samples: Vec<Sample> = resources()
        .iter()
        .map(|value| {
            let type_name = r4.type_name(
                r4.resource(value["resourceType"].as_str().unwrap())
                    .unwrap(),
            );
            let mut plan = plan(r4, type_name, value);
            sorted(&mut plan);
            Sample { type_name, plan }
        })
        .collect();
    let mut tree = Tree::new();
    let roots = build_all(&mut tree, &samples);
    let conditions: Vec<String> = (0..samples.len())
        .map(|number| format!("V-{number}"))
        .collect();
    let entries: Vec<Entry<'_>> = roots
        .iter()
        .zip(&samples)
        .enumerate()
        .map(|(number, (root, sample))| Entry {
            resource: *root,
            type_name: sample.type_name,
            uuid: Uuid::from_u128(0x1234_5678_9abc_def0_1234_5678_0000_0000 + number as u128),
            write: Write::Update,
            condition: conditions
                .get(number)
                .map(|value| ("urn:oid:2.999.19.5", value.as_str())),
        })
        .collect();
    let options = BundleOptions::default();
    let mut json = Vec::new();
    bundle::write(&tree, &entries, &options, &mut json).unwrap();
    let value: Value = serde_json::from_slice(&json).unwrap();
    let (document, root) = read(&json, &Limits::default()).unwrap();
    assert_eq!(validate::bundle(&document, root, r4), []);
    assert_eq!(validate::entries(&tree, &entries, r4), []);

    let mut out = Vec::with_capacity(2 * json.len());
    Race::new("write a Bundle of 15 resources", 1, json.len())
        .candidate("from a tree", || {
            out.clear();
            bundle::write(&tree, &entries, &options, &mut out).unwrap();
            out.len()
        })
        .candidate("serde_json::to_vec of a Value", || {
            serde_json::to_vec(&value).unwrap().len()
        })
        .run();

    let mut again = Tree::new();
    Race::new("build it", 1, json.len())
        .candidate("tree", || build_all(&mut again, &samples).len())
        .candidate("serde_json::Value (clone)", || {
            value.clone().as_object().unwrap().len()
        })
        .run();

    let mut reader = Tree::new();
    Race::new("read it", 1, json.len())
        .candidate("into a tree", || {
            reader.clear();
            read_into(&mut reader, &json, &Limits::default()).unwrap();
            reader.node_count()
        })
        .candidate("serde_json::from_slice to a Value", || {
            serde_json::from_slice::<Value>(&json)
                .unwrap()
                .as_object()
                .unwrap()
                .len()
        })
        .run();

    Race::new("validate it", 1, json.len())
        .candidate("as read", || validate::bundle(&document, root, r4).len())
        .candidate("as built", || validate::entries(&tree, &entries, r4).len())
        .candidate("serde_json::from_slice to a Value", || {
            serde_json::from_slice::<Value>(&json)
                .unwrap()
                .as_object()
                .unwrap()
                .len()
        })
        .run();
}
