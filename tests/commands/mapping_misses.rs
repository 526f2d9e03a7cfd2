//! `fhirway mapping misses` over messages: ready to paste, and what pastes is a table.

use tempfile::TempDir;

use crate::{support::Command, write};

fn message(control_id: &str, sender: &str, marital: &str) -> String {
    format!(
        "MSH|^~\\&|ADT|{sender}|F|S|20260102030405+0000||ADT^A04^ADT_A01|{control_id}|P|2.5.1\rEVN|A04\rPID|1||1^^^A||Roe||1950|F||||||||{marital}\r"
    )
}

fn feed() -> TempDir {
    let folder = TempDir::new().unwrap();
    let both = message("1", "NORTH", "Q^Odd^HL70002") + &message("2", "SOUTH", "Q^Odd^HL70002");
    write(folder.path(), "a/both.hl7", both);
    write(folder.path(), "b.hl7", message("3", "NORTH", "Z9"));
    write(
        folder.path(),
        "c.hl7",
        message("4", "NORTH", "with her sister"),
    );
    folder
}

#[test]
fn misses_of_a_folder_are_pasted_into_a_table() {
    let feed = feed();
    let ran = Command::new(["mapping", "misses"])
        .arg(feed.path())
        .run()
        .expect(0);
    assert_eq!(ran.stderr, "");
    assert_eq!(
        ran.stdout,
        "# tables/MaritalStatus.yaml of an overlay: add a target to each code, or ~ where there is none\n\
         extends: below\n\
         codes:\n  Z9: \"\"   # 1 x in PID-16, from NORTH\n  # 1 x in PID-16, from NORTH: texts that do not look like a code\n  # coding system HL70002; if the table does not have it: `add: { source: HL70002 }`\n  Q: \"\"   # 2 x in PID-16, from NORTH, SOUTH\n"
    );
    // Pasted as it is, every code without a target is told; filled, nothing is missed any more but what is no code.
    let site = TempDir::new().unwrap();
    write(site.path(), "tables/MaritalStatus.yaml", &ran.stdout);
    let checked = Command::new(["mapping", "check", "mappings"])
        .folder(&super::repository())
        .arg(site.path())
        .run()
        .expect(1);
    assert!(
        checked.stderr.contains("a target needs a code"),
        "{}",
        checked.stderr
    );
    let filled = ran.stdout.replace("\"\"", "M");
    write(site.path(), "tables/MaritalStatus.yaml", &filled);
    let again = Command::new(["mapping", "misses", "--overlay"])
        .arg(site.path())
        .arg(feed.path())
        .args(["--format", "json"])
        .run()
        .expect(0)
        .json();
    let left = again["misses"].as_array().unwrap();
    assert_eq!(left.len(), 1, "{again}");
    assert_eq!(
        (&left[0]["code"], &left[0]["count"]),
        (&serde_json::Value::Null, &1.into())
    );
}

#[test]
fn a_spreadsheet_gets_a_row_per_sender() {
    let feed = feed();
    let csv = Command::new(["mapping", "misses", "--format", "csv"])
        .arg(feed.path())
        .run()
        .expect(0)
        .stdout;
    let lines: Vec<&str> = csv.lines().collect();
    assert_eq!(lines[0], "table,source,code,target,field,sender,count");
    assert!(
        lines.contains(&"MaritalStatus,HL70002,Q,,PID-16,SOUTH,1"),
        "{csv}"
    );
    assert!(!csv.contains("sister"), "{csv}");
}

#[test]
fn what_cannot_be_counted_is_told() {
    let folder = TempDir::new().unwrap();
    let ran = Command::new(["mapping", "misses", "--data"])
        .arg(folder.path())
        .run()
        .expect(1);
    assert!(ran.stderr.contains("no gateway runs on"), "{}", ran.stderr);
    let ran = Command::new(["mapping", "misses"])
        .arg(folder.path())
        .run()
        .expect(2);
    assert!(ran.stderr.contains("no *.hl7 file"), "{}", ran.stderr);
    write(folder.path(), "x.hl7", super::NO_MESSAGE);
    let ran = Command::new(["mapping", "misses"])
        .arg(folder.path())
        .run()
        .expect(1);
    assert!(
        ran.stderr.contains("1 messages could not be converted"),
        "{}",
        ran.stderr
    );
}
