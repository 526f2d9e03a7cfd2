//! `fhirway convert`: what comes out, in which order, and with which exit code.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    path::Path,
    process::Stdio,
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    NO_MESSAGE, control_ids,
    support::{Command, frame, results, update},
    write,
};

fn ndjson(folder: &Path, arguments: &[&str]) -> Command {
    Command::new(["convert", "--ndjson"].iter().chain(arguments)).folder(folder)
}

#[test]
fn a_policy_that_does_not_exist_is_wrong_usage() {
    let folder = TempDir::new().unwrap();
    write(folder.path(), "one.hl7", results("C1", "P1"));
    for (policy, part) in [
        ("provenence=off", "did you mean `provenance`?"),
        ("provenance=of", "`of` is not one of on, off"),
    ] {
        for command in [
            &["convert"][..],
            &["mapping", "explain"],
            &["mapping", "diff", "shipped", "shipped"],
        ] {
            let ran = Command::new(command.iter().chain(&["one.hl7", "--policy", policy]))
                .folder(folder.path())
                .run()
                .expect(2);
            assert!(ran.stderr.contains(part), "{command:?}: {ran:?}");
        }
    }
}

#[test]
fn one_message_is_a_bundle_to_read() {
    let folder = TempDir::new().unwrap();
    write(folder.path(), "one.hl7", results("C1", "P1"));
    let ran = Command::new(["convert", "one.hl7"])
        .folder(folder.path())
        .run()
        .expect(0);
    assert!(
        ran.stdout
            .starts_with("{\n  \"resourceType\": \"Bundle\",\n")
    );
    assert!(ran.stdout.ends_with("}\n"));
    assert_eq!(ran.stderr, "");
    assert_eq!(control_ids(&[ran.json()]), ["C1"]);
    let value = ran.json()["entry"]
        .as_array()
        .unwrap()
        .iter()
        .find(|entry| entry["resource"]["resourceType"] == "Observation")
        .map(|entry| entry["resource"].to_string())
        .unwrap();
    assert!(value.contains("\"value\":13.5"), "{value}");
    assert!(
        ran.stdout.contains("\"value\": 13.50,"),
        "a decimal keeps its digits"
    );
}

#[test]
fn many_messages_are_lines_in_the_order_of_the_input() {
    let folder = TempDir::new().unwrap();
    let text = |name: &str| update(name, "P1", "Cosima");
    write(folder.path(), "feed/b/2.hl7", text("B2"));
    write(
        folder.path(),
        "feed/b/10.HL7",
        [text("B10a"), results("B10b", "P1")].concat(),
    );
    write(folder.path(), "feed/a.hl7", text("A").replace('\r', "\n"));
    write(
        folder.path(),
        "feed/c/deep/er/z.hl7",
        [frame(text("Z1")), frame(text("Z2"))].concat(),
    );
    write(folder.path(), "feed/readme.txt", "no message");
    write(folder.path(), "other.txt", text("O"));
    let ran = ndjson(folder.path(), &["other.txt", "feed", "-"])
        .input(format!(
            "FHS|^~\\&|A\rBHS|^~\\&|A\r{}BTS|1\rFTS|1\r",
            text("S1")
        ))
        .run()
        .expect(0);
    assert_eq!(
        control_ids(&ran.lines()),
        ["O", "A", "B10a", "B10b", "B2", "Z1", "Z2", "S1"]
    );
}

#[test]
fn order_and_bytes_do_not_depend_on_the_number_of_threads() {
    let folder = TempDir::new().unwrap();
    let mut expected = Vec::new();
    for file in 0..30 {
        let mut text = String::new();
        for n in 0..file % 9 + 1 {
            let name = format!("T{file}-{n}");
            // Large and small ones by turns, so that later ones are done earlier.
            text.push_str(&results(&name, "P1"));
            for set in 0..(file * 7 + n) % 40 {
                text.push_str(&format!(
                    "OBX|{}|NM|789-8^Erythrocytes^LN||4.{set}|10*6/uL|||||F\r",
                    set + 2
                ));
            }
            expected.push(name);
        }
        write(folder.path(), &format!("{file:02}.hl7"), text);
    }
    let one = ndjson(folder.path(), &["--jobs", "1", "."]).run().expect(0);
    let many = ndjson(folder.path(), &["--jobs", "8", "."]).run().expect(0);
    assert_eq!(control_ids(&one.lines()), expected);
    assert!(one.stdout == many.stdout, "other bytes with other threads");
}

#[test]
fn a_message_that_fails_has_its_line_and_the_exit_code_is_1() {
    let folder = TempDir::new().unwrap();
    write(folder.path(), "1.hl7", update("C1", "P1", "Cosima"));
    write(folder.path(), "2.hl7", NO_MESSAGE);
    write(folder.path(), "3.hl7", update("C3", "P1", "Cosima"));
    let ran = ndjson(
        folder.path(),
        &["-o", "out.ndjson", "--report", "report.ndjson", "."],
    )
    .run()
    .expect(1);
    assert_eq!(ran.stdout, "");
    assert_eq!(ran.stderr, "1 of 3 messages could not be converted\n");
    let lines = |name: &str| -> Vec<Value> {
        let text = fs::read_to_string(folder.path().join(name)).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    };
    assert_eq!(control_ids(&lines("out.ndjson")), ["C1", "-", "C3"]);
    let report = lines("report.ndjson");
    assert_eq!(report.len(), 3);
    for (number, line) in report.iter().enumerate() {
        let name = format!("{}.hl7", number + 1);
        assert!(line["input"].as_str().unwrap().ends_with(&name), "{line}");
        assert_eq!(line["message"], 1);
        assert_eq!(line["ok"], number != 1);
    }
    assert!(report[0]["timings_us"]["map"].as_f64().unwrap() > 0.0);
    assert_eq!(report[0]["mapping"]["message_map"], "ADT_A01");
    assert_eq!(report[1]["reason"], "parse");
}

#[test]
fn a_report_to_standard_output_is_refused() {
    let folder = TempDir::new().unwrap();
    let ran = ndjson(folder.path(), &["--report", "-", "-"])
        .input(results("C1", "P1"))
        .run()
        .expect(2);
    assert!(
        ran.stderr.contains("--report needs a file"),
        "{}",
        ran.stderr
    );
    assert!(!folder.path().join("-").exists());
}

#[test]
fn what_no_rule_took_is_in_the_report() {
    let folder = TempDir::new().unwrap();
    let text = results("C1", "P1") + "ZLB|1|kept by nobody\r";
    let ran = ndjson(folder.path(), &["--report", "report.ndjson", "-"])
        .input(text)
        .run()
        .expect(0);
    assert_eq!(ran.lines().len(), 1);
    let report = fs::read_to_string(folder.path().join("report.ndjson")).unwrap();
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["mapping"]["unmapped_segments"]["ZLB"], 1, "{report}");
    assert_eq!(report["mapping"]["unmapped"], json!(["ZLB"]), "{report}");
}

#[test]
fn a_summary_counts_what_all_messages_leave_over() {
    let folder = TempDir::new().unwrap();
    write(folder.path(), "1.hl7", results("C1", "P1") + "ZLB|1\r");
    write(
        folder.path(),
        "2.hl7",
        results("C2", "P1") + "ZLB|1\rZLB|2\r",
    );
    write(folder.path(), "3.hl7", NO_MESSAGE);
    let convert = |arguments: &[&str]| {
        Command::new(["convert"].iter().chain(arguments))
            .folder(folder.path())
            .run()
    };
    let ran = convert(&["--summary=json", "."]).expect(1);
    let summary: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(summary["messages"], 3, "{summary}");
    assert_eq!(summary["failed"], 1);
    assert_eq!(summary["with_unmapped"], 2);
    let group = json!({ "what": "ZLB", "messages": 2, "times": 3, "message_maps": ["ORU_R01"] });
    assert_eq!(summary["unmapped"], json!([group]));
    // For people; Bundles only where they have a file.
    let ran = convert(&["--summary", "-o", "bundles.json", "."]).expect(1);
    assert!(
        ran.stdout.starts_with("3 messages; 1 could not"),
        "{}",
        ran.stdout
    );
    assert!(ran.stdout.contains("ZLB  (ORU_R01)"), "{}", ran.stdout);
    assert!(folder.path().join("bundles.json").exists());
}

#[test]
fn wrong_usage_is_exit_code_2() {
    let folder = TempDir::new().unwrap();
    write(folder.path(), "one.hl7", update("C1", "P1", "Cosima"));
    write(folder.path(), "empty/readme.txt", "");
    write(
        folder.path(),
        "broken/segments/PID/Patient.yaml",
        "segment: PID\nmakes: Patent\n",
    );
    let cases: [(&[&str], &str); 8] = [
        (&[], "required"),
        (&["nowhere.hl7"], "there is no file or folder nowhere.hl7"),
        (&["empty"], "there is no *.hl7 file"),
        (
            &["--zone", "Europe/Nowhere", "one.hl7"],
            "no such time zone",
        ),
        (&["--policy", "ssn", "one.hl7"], "NAME=VALUE"),
        (&["--package", "nowhere", "one.hl7"], "nowhere"),
        (
            &["--package", "broken", "one.hl7"],
            "broken/segments/PID/Patient.yaml:2:8",
        ),
        (
            &["-o", "no/such/folder", "one.hl7"],
            "cannot write no/such/folder",
        ),
    ];
    for (arguments, expected) in cases {
        let ran = ndjson(folder.path(), arguments).run().expect(2);
        assert!(
            ran.stderr.contains(expected),
            "{arguments:?}: {}",
            ran.stderr
        );
        assert_eq!(ran.stdout, "");
    }
}

#[test]
fn options_change_the_bundle() {
    let convert = |arguments: &[&str]| {
        let message = update("C1", "P1", "Cosima").replace("20260102030405+0000", "20260702030405");
        let ran = Command::new(["convert", "-"].iter().chain(arguments))
            .input(message)
            .run();
        ran.expect(0).stdout
    };
    assert!(convert(&[]).contains("\"type\": \"transaction\""));
    assert!(convert(&[]).contains("\"url\": \"Patient?identifier="));
    assert!(convert(&["--ids", "client"]).contains("\"url\": \"Patient/"));
    assert!(convert(&["--bundle", "batch"]).contains("\"type\": \"batch\""));
    assert!(!convert(&["--bundle", "collection"]).contains("\"request\""));
    // A time without an offset: cut to the date, unless the zone is known.
    assert!(convert(&[]).contains("\"occurredDateTime\": \"2026-07-02\""));
    assert!(convert(&["--zone", "Europe/Vienna"]).contains("\"2026-07-02T03:04:05+02:00\""));
}

/// `fhirway convert ... | head -1`
#[test]
fn a_closed_output_is_no_error() {
    let text = results("C1", "P1").repeat(3000);
    let folder = TempDir::new().unwrap();
    write(folder.path(), "many.hl7", text);
    let mut child = ndjson(folder.path(), &["many.hl7"])
        .into_process()
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = String::new();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    stdout.read_line(&mut first).unwrap();
    drop(stdout);
    let mut stderr = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut stderr)
        .unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(stderr, "");
    assert!(first.ends_with("}\n"));
}
