//! `fhirway mapping check`: every mistake with its place and the likely fix.

use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;

use crate::{support::Command, write};

const PATIENT: &str = "\
segment: PID
makes: Patient
key: PID-3
identifier: [ { each: PID-3, map: CX/Identifier } ]
gendr: { from: PID-8, table: AdministrativeSex }
birthDate: \"{{PID-77}}\"
maritalStatus: { from: PID-16, table: NoSuchTable }
";

fn broken() -> TempDir {
    let folder = TempDir::new().unwrap();
    write(folder.path(), "segments/PID/Patient.yaml", PATIENT);
    folder
}

/// The shipped maps with a folder on top of them.
fn check(overlay: &Path, arguments: &[&str]) -> Command {
    let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../mappings");
    Command::new(["mapping", "check"].iter().chain(arguments))
        .arg(base)
        .arg(overlay)
}

#[test]
fn the_shipped_maps_are_right() {
    let ran = Command::new(["mapping", "check"]).run().expect(0);
    assert!(ran.stdout.contains(" 0 errors, 0 warnings"), "{ran:?}");
    assert_eq!(ran.stderr, "");
}

#[test]
fn every_mistake_is_told_with_its_place_and_the_likely_fix() {
    let folder = broken();
    let ran = check(folder.path(), &[]).run().expect(1);
    let place = |line_and_column: &str| {
        format!(
            "{}:{line_and_column}",
            folder.path().join("segments/PID/Patient.yaml").display()
        )
    };
    for (line_and_column, says) in [
        ("5:1", "did you mean `gender`"),
        ("6:", "PID-77"),
        ("7:", "NoSuchTable"),
    ] {
        assert!(
            ran.stderr.contains(&place(line_and_column)),
            "{line_and_column}\n{}",
            ran.stderr
        );
        assert!(ran.stderr.contains(says), "{says}\n{}", ran.stderr);
    }
    assert!(ran.stdout.contains(" 3 errors"), "{}", ran.stdout);
}

#[test]
fn machines_get_json() {
    let folder = broken();
    let found = check(folder.path(), &["--format", "json"])
        .run()
        .expect(1)
        .json();
    assert_eq!(found["errors"], 3, "{found}");
    assert_eq!(found["hash"], Value::Null);
    let lines: Vec<u64> = found["diagnostics"]
        .as_array()
        .unwrap()
        .iter()
        .map(|each| {
            assert!(
                each["file"]
                    .as_str()
                    .unwrap()
                    .ends_with("segments/PID/Patient.yaml")
            );
            assert!(each["code"].as_str().unwrap().starts_with('M'));
            assert!(each["column"].as_u64().unwrap() > 0);
            each["line"].as_u64().unwrap()
        })
        .collect();
    assert_eq!(lines, [5, 6, 7]);
}

#[test]
fn files_that_are_no_yaml_are_told_too() {
    let folder = TempDir::new().unwrap();
    write(
        folder.path(),
        "segments/PID/Patient.yaml",
        "segment: PID\n  makes: [\n",
    );
    let ran = check(folder.path(), &[]).run().expect(1);
    assert!(
        ran.stderr.contains("segments/PID/Patient.yaml:2:"),
        "{}",
        ran.stderr
    );
    let ran = Command::new(["mapping", "check", "/no/such/folder"])
        .run()
        .expect(2);
    assert!(ran.stderr.contains("/no/such/folder"), "{ran:?}");
}

#[test]
fn code_hosts_get_sarif() {
    let folder = broken();
    let log = check(folder.path(), &["--format", "sarif"])
        .run()
        .expect(1)
        .json();
    assert_eq!(log["version"], "2.1.0");
    let run = &log["runs"][0];
    let rules = run["tool"]["driver"]["rules"].as_array().unwrap();
    let results = run["results"].as_array().unwrap();
    assert_eq!(results.len(), 3, "{results:#?}");
    for result in results {
        let rule = result["ruleIndex"].as_u64().unwrap() as usize;
        assert_eq!(rules[rule]["id"], result["ruleId"]);
        assert_eq!(result["level"], "error");
        let place = &result["locations"][0]["physicalLocation"];
        let uri = place["artifactLocation"]["uri"].as_str().unwrap();
        assert!(
            uri.starts_with("file:///") && uri.ends_with("segments/PID/Patient.yaml"),
            "{uri}"
        );
        let column = |name: &str| place["region"][name].as_u64().unwrap();
        assert!(column("endColumn") > column("startColumn"), "{place}");
    }
    // `birthDate: "{{PID-77}}"`: the path, not the text around it.
    let region = &results[1]["locations"][0]["physicalLocation"]["region"];
    assert_eq!(
        (&region["startColumn"], &region["endColumn"]),
        (&15.into(), &21.into()),
        "{region}"
    );
}

#[test]
fn warnings_fail_only_a_strict_check() {
    let folder = TempDir::new().unwrap();
    write(
        folder.path(),
        "segments/PID/Patient.yaml",
        "extends: below\nactive: { is: \"true\", when: PID-8 = F and PID-8 = M }\n",
    );
    let ran = check(folder.path(), &[]).run().expect(0);
    assert!(ran.stderr.contains("warning[M042]"), "{ran:?}");
    assert!(ran.stdout.contains("fhirway explain M042"), "{ran:?}");
    check(folder.path(), &["--strict"]).run().expect(1);
}

/// Whatever is named or stands in a folder: one clear sentence each, and soon.
#[test]
fn folders_that_are_no_package_are_told_as_what_they_are() {
    use std::os::unix::fs::symlink;

    let refused = |prepare: &dyn Fn(&Path), code: i32, says: &str| {
        let folder = TempDir::new().unwrap();
        prepare(folder.path());
        let ran = check(folder.path(), &[]).run().expect(code);
        assert!(ran.stderr.contains(says), "{says}\n{}", ran.stderr);
        assert!(ran.stderr.lines().count() < 15, "{}", ran.stderr);
    };
    let map = "segments/PID/Patient.yaml";
    refused(
        &|path| write(path, "notes.txt", "x"),
        2,
        "is not a mapping package",
    );
    refused(
        &|path| write(path, map, b"segment: P\xeeD\n"),
        2,
        "Patient.yaml:1: byte 10 is not UTF-8",
    );
    refused(
        &|path| {
            write(path, map, "");
            symlink(path, path.join("segments/again")).unwrap();
        },
        2,
        "again leads back to a folder around it",
    );
    refused(
        &|path| {
            write(path, map, "");
            let file = std::fs::File::options().write(true).open(path.join(map));
            file.unwrap().set_len(1 << 30).unwrap();
        },
        2,
        "has 1073741824 bytes",
    );
    let rows = "  AAAAAAAAAAAAAAAAAAAA: BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB\n";
    let table = format!(
        "table: Huge\ncodes:\n{}",
        rows.repeat((10 << 20) / rows.len())
    );
    refused(&|path| write(path, "tables/Huge.yaml", &table), 1, "4 MiB");
    refused(
        &|path| write(path, map, format!("a: {}", "[".repeat(100_000))),
        1,
        "Patient.yaml:1:",
    );
    refused(
        &|path| {
            let organization = "datatype: XON\nmakes: Organization\npartOf: { from: XON, map: XON/Organization }\n";
            write(path, "datatypes/XON/Organization.yaml", organization);
        },
        1,
        "M040",
    );
}
