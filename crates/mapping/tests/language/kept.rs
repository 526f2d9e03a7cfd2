//! What a converter keeps from message to message changes nothing of what it makes.

use std::sync::Arc;

use fhir::bundle::BundleOptions;
use mapping::{Context, Converter, Package};

use crate::fixture::{compiled, patient_map};
use crate::support::{ADMIT, message};

const RULES: &str = r#"
maritalStatus: { from: PID-16, map: CWE/CodeableConcept, table: Marital }
gender: { from: PID-8, table: Sex }
contact:
  - relationship: [ { each: PID-17, map: CWE/CodeableConcept } ]
    name: { text: "{{rangeLow PID-6}}", family: "{{rangeHigh PID-6}}" }
"#;

fn package() -> Arc<Package> {
    compiled(&[
        ("segments/PID/Patient.yaml", &patient_map(RULES)),
        (
            "tables/Marital.yaml",
            "table: Marital\nsource: [LOCAL]\ntarget: http://x.example/marital\ncodes: { M: married }\nmiss: keep\n",
        ),
    ])
}

/// Bundle and report.
fn made(converter: &mut Converter, text: &str, context: &Context) -> (String, String) {
    let (message, _) = hl7v2::parse(text.as_bytes()).unwrap();
    let conversion = converter.convert(&message, context).unwrap();
    let mut out = Vec::new();
    conversion
        .write_bundle(&BundleOptions::default(), &mut out)
        .unwrap();
    let report = serde_json::to_string(conversion.report()).unwrap();
    (String::from_utf8(out).unwrap(), report)
}

#[test]
fn a_converter_that_knows_the_codes_makes_what_a_new_one_makes() {
    let package = package();
    let pids = [
        "PID|||1^^^A|||3.5-5.1||F||||||||M^Married^LOCAL|X^Other^99LAB~Y",
        "PID|||2^^^A|||3.5-5.1||F||||||||M^Married^LOCAL|X^Other^99LAB~Y",
        // Of the same bytes, but more is unmapped, missed or asked to be deleted.
        "PID|||3^^^A|||3.5-5.1||Q||||||||M^Married^LOCAL^^^^^x|X^Other^99LAB^^^^^^^9",
        "PID|||4^^^A|||3.5-5.1||Q||||||||M^Married^LOCAL^^^^^x|X^Other^99LAB^^^^^^^9",
        "PID|||5^^^A|||\"\"||F||||||||\"\"|X^Other^99LAB",
        "PID|||6^^^A|||||F||||||||M&Married^LOCAL|X&Other&99LAB",
        "PID|||7^^^A|||<5||||||||||M^\\T\\^LOCAL|X^Other^99LAB",
        "PID|||8^^^A|||<5||f||||||||m^Married^LOCAL|X^Other^99LAB",
    ];
    let contexts = ["north", "south"].map(|sender| Context {
        sender: sender.to_owned(),
        ..Context::default()
    });
    let mut kept = package.converter();
    let mut systems = Vec::new();
    for round in 0..3 {
        for context in &contexts {
            for pid in &pids {
                let bytes = message(ADMIT, &[pid]);
                let known = made(&mut kept, &bytes, context);
                let new = made(&mut package.converter(), &bytes, context);
                assert_eq!(known, new, "round {round}: {pid}");
                systems.push(
                    known
                        .0
                        .contains(&format!("system:{}:99LAB", context.sender)),
                );
            }
        }
    }
    // A local code system is the sender's own.
    assert!(systems.iter().filter(|found| **found).count() >= systems.len() / 2);
}

#[test]
fn other_delimiters_divide_the_same_bytes_otherwise() {
    let package = package();
    let plain = message(
        ADMIT,
        &["PID|||1^^^A|||||F||||||||M^Married^LOCAL|X&Y^Z^99LAB"],
    );
    // `!` divides components, and `&` is a letter.
    let other = plain.replacen("MSH|^~\\&", "MSH|^~\\!", 1);
    let mut kept = package.converter();
    let context = Context::default();
    for bytes in [&plain, &other, &plain, &other] {
        let known = made(&mut kept, bytes, &context);
        assert_eq!(known, made(&mut package.converter(), bytes, &context));
    }
    assert_ne!(
        made(&mut kept, &plain, &context).0,
        made(&mut kept, &other, &context).0
    );
}
