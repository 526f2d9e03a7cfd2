//! Section 7 of the reference: answers of a terminology server, as a layer under a table.

use mapping::{Context, Question, Translation, Translations};
use serde_json::json;

use crate::fixture::{admit, compiled, patient_map};
use crate::support::{ADMIT, convert, convert_with, message};

const SEX: &str = "table: Sex\nsource: [HL70001]\ntarget: http://hl7.org/fhir/administrative-gender\ncodes: { F: female }\ntranslate: https://e.org/map\n";
const RULES: &str =
    "gender: { from: PID-8, table: Sex }\nmaritalStatus: { from: PID-16, table: Sex }";

fn answers(pairs: &[(&Question, &str)]) -> Translations {
    Translations::new(pairs.iter().map(|(question, code)| {
        let translation = Translation {
            system: question.target.clone(),
            code: (*code).to_owned(),
            display: Some("Told".to_owned()),
        };
        ((*question).clone(), vec![translation])
    }))
}

#[test]
fn what_is_missing_is_asked_for_and_the_answer_counts_as_the_table() {
    let package = compiled(&[
        ("tables/Sex.yaml", SEX),
        ("segments/PID/Patient.yaml", &patient_map(RULES)),
    ]);
    let text = message(ADMIT, &["PID|||1^^^A|||||W||||||||Q^Odd^HL70001~F"]);
    let first = convert(&package, &text);
    let questions = package.questions(&first.report.code_misses);
    let codes: Vec<(&str, &str, &str)> = questions
        .iter()
        .map(|asked| {
            (
                asked.code.as_str(),
                asked.named.as_str(),
                asked.system.as_str(),
            )
        })
        .collect();
    // Without a system in the message that of the table.
    let system = "http://terminology.hl7.org/CodeSystem/v2-0001";
    assert_eq!(codes, [("W", "", system), ("Q", "HL70001", system)]);
    assert!(
        questions
            .iter()
            .all(|asked| asked.map.as_deref() == Some("https://e.org/map"))
    );
    assert!(!format!("{questions:?}").contains('Q') || !format!("{questions:?}").contains("\"Q\""));

    let known = answers(&[(&questions[0], "female"), (&questions[1], "other")]);
    let context = Context {
        translations: known,
        ..Context::default()
    };
    let made = convert_with(&package, &text, &context);
    assert_eq!(made.only("Patient")["gender"], "female");
    let status = &made.only("Patient")["maritalStatus"]["coding"];
    assert_eq!(
        status[0],
        json!({ "system": "http://hl7.org/fhir/administrative-gender", "code": "other", "display": "Told" })
    );
    assert!(
        made.report.code_misses.is_empty(),
        "{:?}",
        made.report.code_misses
    );
    assert!(
        made.unmapped()
            .iter()
            .all(|place| !place.starts_with("PID-8") && !place.starts_with("PID-16.1"))
    );
}

/// Codes that messages repeat are kept by the engine, but never what somebody else may answer otherwise tomorrow.
#[test]
fn an_answer_holds_for_the_messages_it_is_given_with() {
    let package = compiled(&[
        ("tables/Sex.yaml", SEX),
        ("segments/PID/Patient.yaml", &patient_map(RULES)),
    ]);
    let text = message(ADMIT, &["PID|||1^^^A|||||||||||||Q^Odd^HL70001"]);
    let asked = package.questions(&convert(&package, &text).report.code_misses);
    let mut converter = package.converter();
    let (parsed, _) = hl7v2::parse(text.as_bytes()).unwrap();
    let mut code = |translations: Translations| {
        let context = Context {
            translations,
            ..Context::default()
        };
        let conversion = converter.convert(&parsed, &context).unwrap();
        let mut out = Vec::new();
        conversion
            .write_bundle(&fhir::bundle::BundleOptions::default(), &mut out)
            .unwrap();
        let bundle: serde_json::Value = serde_json::from_slice(&out).unwrap();
        bundle["entry"][0]["resource"]["maritalStatus"]["coding"][0]["code"].clone()
    };
    assert_eq!(code(answers(&[(&asked[0], "male")])), "male");
    assert_eq!(code(answers(&[(&asked[0], "other")])), "other");
    assert_eq!(code(Translations::default()), "Q");
}

#[test]
fn only_tables_that_say_so_are_asked_about() {
    let made = admit(RULES, &["PID|||1^^^A|||||W"]);
    assert!(!made.report.code_misses.is_empty());
    let package = compiled(&[("segments/PID/Patient.yaml", &patient_map(RULES))]);
    assert!(!package.asks() && package.questions(&made.report.code_misses).is_empty());
    let any = SEX.replace("https://e.org/map", "any");
    let package = compiled(&[
        ("tables/Sex.yaml", &any),
        ("segments/PID/Patient.yaml", &patient_map(RULES)),
    ]);
    let made = convert(&package, &message(ADMIT, &["PID|||1^^^A|||||W"]));
    let questions = package.questions(&made.report.code_misses);
    assert!(package.asks() && questions[0].map.is_none());
    // Neither a map nor `any`.
    let wrong = SEX.replace("https://e.org/map", "yes");
    let found = crate::diagnostics::lines("tables/Sex.yaml", &wrong);
    crate::diagnostics::expect(&found, "5:12 M004 `yes` is no canonical URL", "`any`");
}
