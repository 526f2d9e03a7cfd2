//! `fhirway mapping explain`: both ways round, as text, JSON and a page, with the options of `convert`.

use std::fs;

use tempfile::TempDir;

use crate::{
    NO_MESSAGE,
    support::{Command, frame},
    write,
};

const MESSAGE: &str = "MSH|^~\\&|LAB|NORTH|||20240301101530+0100||ORU^R01^ORU_R01|M1|P|2.5.1\r\
    PID|1||4711^^^NORTH^MR||Vale^Ada||19800102|F|||||5550100^QQ^PH||||||123-45-6789\r\
    OBR|1||7^LAB|CBC^Blood count^L\rOBX|1|NM|HB^Haemoglobin^L||13.50|g/dL^gram^UCUM|||||F\r\
    OBX|2|NM|X^<script>alert(1)</script>^L||1||||||F\rZZZ|local\r";

fn explain(folder: &TempDir, arguments: &[&str]) -> Command {
    Command::new(["mapping", "explain"].iter().chain(arguments)).folder(folder.path())
}

fn with_message() -> TempDir {
    let folder = TempDir::new().unwrap();
    write(folder.path(), "one.hl7", MESSAGE);
    folder
}

#[test]
fn as_text_each_field_has_its_line_within_100_columns() {
    let folder = with_message();
    let ran = explain(&folder, &["one.hl7"]).run().expect(0);
    for says in [
        "ORU_R01 by the message map ORU_R01",
        "PID  Patient Identification",
        "PID-5.1         Vale                  Patient.name[0].family",
        "datatypes/XPN/HumanName.yaml:",
        "OBX-5           13.50                 Observation(1).valueQuantity.value",
        "dropped: table TelecommunicationUseCode does not list it",
        "no line of the message map takes it",
        "ZZZ-1           local",
    ] {
        assert!(ran.stdout.contains(says), "{says}\n{}", ran.stdout);
    }
    let wide: Vec<&str> = ran
        .stdout
        .lines()
        .filter(|line| line.chars().count() > 100)
        .collect();
    assert!(wide.is_empty(), "{wide:#?}");
    assert!(!ran.stdout.contains('\x1b'), "no terminal, no colours");
}

#[test]
fn the_other_way_round_each_element_names_its_field_and_rule() {
    let folder = with_message();
    let ran = explain(&folder, &["--by", "element", "one.hl7"])
        .run()
        .expect(0);
    let line = |start: &str| {
        let found = ran
            .stdout
            .lines()
            .find(|line| line.trim().starts_with(start));
        found
            .unwrap_or_else(|| panic!("{start}\n{}", ran.stdout))
            .to_owned()
    };
    assert!(line("name[0].family").contains("PID-5.1"));
    assert!(line("Patient  ").contains("identified by PID-3.1 PID-3.4"));
    assert!(line("valueQuantity.value").contains("13.50"));
    let dropped = explain(&folder, &["--dropped", "one.hl7"]).run().expect(0);
    assert!(dropped.stdout.contains("ZZZ-1") && !dropped.stdout.contains("PID-5.1"));
}

#[test]
fn as_json_it_is_the_documented_document_with_the_bundle_of_convert() {
    let folder = with_message();
    let document = explain(&folder, &["--format", "json", "one.hl7"])
        .run()
        .expect(0)
        .json();
    assert_eq!(document["explain"], 1);
    let converted = Command::new(["convert", "--ndjson", "one.hl7"])
        .folder(folder.path())
        .run()
        .expect(0);
    let bundle: serde_json::Value = serde_json::from_str(&converted.stdout).unwrap();
    assert_eq!(document["bundle"], bundle);
    for element in document["elements"].as_array().unwrap() {
        let pointer = element["pointer"].as_str().unwrap();
        assert!(document["bundle"].pointer(pointer).is_some(), "{pointer}");
    }
}

#[test]
fn the_options_of_convert_change_what_is_explained() {
    let folder = with_message();
    let fate = |arguments: &[&str]| {
        let document = explain(&folder, arguments).run().expect(0).json();
        let fields = document["fields"].as_array().unwrap().clone();
        let field = |place: &str| fields.iter().find(|field| field["place"] == place).cloned();
        (field("PID-19").unwrap(), field("PID-8").unwrap(), document)
    };
    let (ssn, _, _) = fate(&["--format", "json", "one.hl7"]);
    assert_eq!(ssn["fate"], "mapped");
    let (ssn, _, _) = fate(&["--format", "json", "--policy", "ssn=off", "one.hl7"]);
    assert_eq!(ssn["fate"], "dropped");
    assert_eq!(ssn["reasons"][0]["code"], "policy-off", "{ssn}");
    write(
        folder.path(),
        "site/segments/PID/Patient.yaml",
        "extends: below\nremove: [gender]\n",
    );
    let (_, sex, document) = fate(&["--format", "json", "--overlay", "site", "one.hl7"]);
    assert_eq!(
        (&sex["fate"], &sex["reasons"][0]["code"]),
        (&"dropped".into(), &"no-rule".into())
    );
    let rules = document["rules"].as_array().unwrap();
    assert!(
        rules
            .iter()
            .all(|rule| rule.as_str().unwrap().contains(".yaml:"))
    );
}

#[test]
fn a_page_needs_nothing_else_and_escapes_what_a_message_holds() {
    let folder = with_message();
    let ran = explain(&folder, &["one.hl7", "--html", "one.html"])
        .run()
        .expect(0);
    assert_eq!(ran.stdout, "");
    assert!(ran.stderr.contains("wrote one.html"), "{ran:?}");
    let page = fs::read_to_string(folder.path().join("one.html")).unwrap();
    assert!(
        !page.contains("<script>alert"),
        "the message's script is text"
    );
    assert!(page.contains("default-src 'none'") && page.contains("Patient data."));
    assert_eq!(page.matches("</script>").count(), 2);
    for loads in ["src=", "href=", "@import", "url(", "fetch("] {
        assert!(!page.contains(loads), "{loads}");
    }
    let printed = explain(&folder, &["one.hl7", "--format", "html"])
        .run()
        .expect(0);
    assert_eq!(printed.stdout, page);
}

#[test]
fn one_of_many_messages_and_standard_input() {
    let folder = TempDir::new().unwrap();
    let second = MESSAGE.replace("|M1|", "|M2|");
    let both = [frame(MESSAGE.as_bytes()), frame(second.as_bytes())].concat();
    write(folder.path(), "two.hl7", &both);
    let document = explain(&folder, &["--message", "2", "--format", "json", "-"])
        .input(both)
        .run()
        .expect(0)
        .json();
    let fields = document["fields"].as_array().unwrap();
    let control = fields
        .iter()
        .find(|field| field["place"] == "MSH-10")
        .unwrap();
    assert_eq!(control["value"], "M2");
    let ran = explain(&folder, &["--message", "3", "two.hl7"])
        .run()
        .expect(2);
    assert!(
        ran.stderr
            .contains("two.hl7 has 2 messages; there is no --message 3"),
        "{ran:?}"
    );
}

#[test]
fn what_can_not_be_explained_is_told() {
    let folder = with_message();
    write(folder.path(), "bad.hl7", NO_MESSAGE);
    let ran = explain(&folder, &["bad.hl7"]).run().expect(1);
    assert!(
        ran.stderr.contains("bad.hl7 cannot be explained"),
        "{ran:?}"
    );
    assert!(
        !ran.stderr.contains("P1"),
        "nothing of the content: {ran:?}"
    );
    for arguments in [
        &["none.hl7"][..],
        &["."],
        &["--message", "0", "one.hl7"],
        &["--package", "none", "one.hl7"],
    ] {
        explain(&folder, arguments).run().expect(2);
    }
}
