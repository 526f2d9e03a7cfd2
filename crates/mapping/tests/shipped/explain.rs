//! Explanations of the shipped messages: they convert as ever, and nothing of message or Bundle is left without an answer.

use std::collections::HashSet;

use fhir::bundle::{BundleKind, BundleOptions, Ids};
use mapping::Context;
use mapping::explain::{ElementKind, Explanation, Fate, Piece};
use serde_json::Value;

use crate::{pairs, shipped};

fn each(options: &BundleOptions<'_>, check: impl Fn(&str, &Explanation, &[u8], &str)) {
    let package = shipped();
    let mut converter = package.converter();
    for (path, _) in pairs() {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let bytes = std::fs::read(&path).unwrap();
        let (message, _) = hl7v2::parse(&bytes).unwrap();
        let explanation = converter
            .explain(&message, &Context::default(), options)
            .unwrap();
        // The same converter, so that nothing of the explanation is left in it.
        let conversion = converter.convert(&message, &Context::default()).unwrap();
        let mut bundle = Vec::new();
        conversion.write_bundle(options, &mut bundle).unwrap();
        let report = serde_json::to_string(conversion.report()).unwrap();
        let bundle = String::from_utf8(bundle).unwrap();
        assert_eq!(explanation.bundle.get(), bundle, "{name}");
        assert_eq!(
            serde_json::to_string(&explanation.report).unwrap(),
            report,
            "{name}"
        );
        check(&name, &explanation, &bytes, &bundle);
    }
}

fn scalars(value: &Value, pointer: String, found: &mut HashSet<String>) {
    match value {
        Value::Object(members) => members
            .iter()
            .for_each(|(name, value)| scalars(value, format!("{pointer}/{name}"), found)),
        Value::Array(members) => (0..)
            .zip(members)
            .for_each(|(number, value)| scalars(value, format!("{pointer}/{number}"), found)),
        Value::Null => {}
        _ => assert!(found.insert(pointer)),
    }
}

#[test]
fn every_element_of_every_bundle_has_one_answer() {
    for (kind, ids) in [
        (BundleKind::Transaction, Ids::Conditional),
        (BundleKind::Batch, Ids::Client),
        (BundleKind::Collection, Ids::Conditional),
    ] {
        let options = BundleOptions {
            kind,
            ids,
            ..BundleOptions::default()
        };
        each(&options, |name, explanation, _, bundle| {
            let document: Value = serde_json::from_str(bundle).unwrap();
            let mut expected = HashSet::new();
            scalars(&document, String::new(), &mut expected);
            for element in &explanation.elements {
                let path = &element.path;
                assert!(expected.remove(&element.pointer), "{name}: {path}");
                let value = document.pointer(&element.pointer).unwrap();
                let text = value.as_str().map_or(value.to_string(), str::to_owned);
                let same = match value.as_f64() {
                    Some(number) => element.value.parse() == Ok(number),
                    None => text == element.value,
                };
                assert!(same, "{name}: {path} {}", element.value);
                let resource = element
                    .resource
                    .map(|number| &explanation.resources[number]);
                if let Some(resource) = resource {
                    let entry = element.pointer.split('/').nth(2).unwrap();
                    let of = format!("/entry/{entry}/resource/resourceType");
                    assert_eq!(document.pointer(&of).unwrap(), resource.type_name);
                    assert!(!element.rules.is_empty(), "{name}: no rule made {path}");
                }
                match element.kind {
                    ElementKind::Field => assert!(!element.fields.is_empty(), "{name}: {path}"),
                    ElementKind::Bundle => assert!(resource.is_none(), "{name}: {path}"),
                    ElementKind::Constant => assert!(element.fields.is_empty(), "{name}: {path}"),
                    ElementKind::Reference | ElementKind::Generated => {}
                }
            }
            assert_eq!(expected, HashSet::new(), "{name}");
        });
    }
}

#[test]
fn every_field_of_every_message_has_a_fate_and_a_reason() {
    each(&BundleOptions::default(), |name, explanation, bytes, _| {
        let mut text = String::new();
        for segment in &explanation.segments {
            for piece in &segment.pieces {
                match piece {
                    Piece::Text(piece) => text.push_str(piece),
                    Piece::Field(number) => {
                        let field = &explanation.fields[*number];
                        text.push_str(field.raw.as_ref().unwrap_or(&field.value));
                    }
                }
            }
            text.push('\r');
            assert!(!segment.lines.is_empty(), "{name}: {}", segment.place);
        }
        let message = String::from_utf8_lossy(bytes)
            .replace("\r\n", "\r")
            .replace('\n', "\r");
        assert_eq!(text.trim_end(), message.trim_end(), "{name}");
        for field in &explanation.fields {
            let place = format!("{name}: {} {:?}", field.place, field.reasons);
            assert!(
                !field.name.is_empty() || field.place.starts_with('Z'),
                "{place}"
            );
            match field.fate {
                Fate::Mapped => assert!(!field.elements.is_empty(), "{place}"),
                Fate::Used => assert!(field.elements.is_empty(), "{place}"),
                Fate::Ignored | Fate::Deleted | Fate::Dropped => {
                    assert!(!field.reasons.is_empty(), "{place}");
                }
            }
        }
        let left: Vec<String> = explanation
            .report
            .unmapped
            .iter()
            .map(ToString::to_string)
            .collect();
        for place in left {
            let inside = explanation.fields.iter().filter(|field| {
                let rest = field.place.strip_prefix(&place);
                rest.is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_digit()))
            });
            let fates: Vec<Fate> = inside.map(|field| field.fate).collect();
            assert!(fates.contains(&Fate::Dropped), "{name}: {place} {fates:?}");
        }
    });
}

/// Of what becomes nothing in the shipped messages: why.
const DROPPED: &[(&str, &str, &str)] = &[
    ("adt-a01-admit.hl7", "PID-13(2).2", "TableMiss"),
    ("oru-r01-document.hl7", "OBX-3.1", "AlreadyGiven"),
    (
        "oru-r01-document.hl7",
        "OBX-3.3",
        "PolicyOff PolicyOff PolicyOff",
    ),
];

#[test]
fn what_is_dropped_says_why() {
    each(&BundleOptions::default(), |name, explanation, _, _| {
        for (_, place, expected) in DROPPED.iter().filter(|(of, ..)| *of == name) {
            let field = explanation
                .fields
                .iter()
                .find(|field| field.place == *place)
                .unwrap();
            let code = |reason: &mapping::explain::Reason| format!("{:?}", reason.code);
            let codes: Vec<String> = field.reasons.iter().map(code).collect();
            assert_eq!(field.fate, Fate::Dropped, "{name}: {place}");
            assert_eq!(codes.join(" "), *expected, "{name}: {place}");
        }
    });
}
