//! `fhirway mapping diff`: packages side by side over a folder of messages.

use tempfile::TempDir;

use crate::{
    NO_MESSAGE, repository,
    support::{Command, results},
    write,
};

fn diff(folder: &TempDir, arguments: &[&str]) -> Command {
    Command::new(["mapping", "diff"].iter().chain(arguments)).folder(folder.path())
}

/// A folder with messages, and an overlay that takes the name away and adds a constant.
fn setting() -> TempDir {
    let folder = TempDir::new().unwrap();
    for number in 0..20 {
        let name = format!("feed/{number:02}.hl7");
        write(folder.path(), &name, results(&format!("C{number}"), "P1"));
    }
    write(
        folder.path(),
        "site/segments/PID/Patient.yaml",
        "extends: below\nremove: [name]\nmaritalStatus: { text: married }\n",
    );
    folder
}

#[test]
fn nothing_changes_between_equal_packages() {
    let folder = setting();
    let mappings = repository().join("mappings");
    let ran = diff(&folder, &["shipped", mappings.to_str().unwrap(), "feed"])
        .run()
        .expect(0);
    assert_eq!(ran.stdout, "20 messages: no differences\n");
}

#[test]
fn an_overlay_is_shown_by_rule_without_values() {
    let folder = setting();
    let ran = diff(&folder, &["shipped", "shipped+site", "feed"])
        .run()
        .expect(1);
    for says in [
        "20 of 20 messages differ",
        "site/segments/PID/Patient.yaml:3 (new)\n  + Patient.maritalStatus.text  20 messages\n      feed/00.hl7 Patient.maritalStatus.text\n",
        "- Patient.name[].family  20 messages",
        "Fields that are no longer mapped",
    ] {
        assert!(ran.stdout.contains(says), "{says}\n{}", ran.stdout);
    }
    assert!(!ran.stdout.contains("Cosima"), "values only on demand");
    let shown = diff(
        &folder,
        &["--show-values", "shipped", "shipped+site", "feed"],
    )
    .run()
    .expect(1);
    assert!(
        shown
            .stdout
            .contains("feed/00.hl7 Patient.maritalStatus.text \"married\""),
        "{}",
        shown.stdout
    );
}

#[test]
fn as_json_and_as_markdown() {
    let folder = setting();
    let report = diff(
        &folder,
        &[
            "--format",
            "json",
            "--jobs",
            "3",
            "shipped",
            "shipped+site",
            "feed",
        ],
    )
    .run()
    .expect(1)
    .json();
    assert_eq!(
        (&report["messages"], &report["changed"]),
        (&20.into(), &20.into())
    );
    let rules = report["rules"].as_array().unwrap();
    let married = rules
        .iter()
        .find(|rule| rule["new"] == "site/segments/PID/Patient.yaml:3")
        .unwrap();
    assert_eq!(married["elements"][0]["change"], "appears");
    assert_eq!(
        married["elements"][0]["examples"].as_array().unwrap().len(),
        3
    );
    assert_eq!(
        married["elements"][0]["examples"][0]["message"],
        "feed/00.hl7"
    );
    let page = diff(
        &folder,
        &["--format", "markdown", "shipped", "shipped+site", "feed"],
    )
    .run()
    .expect(1);
    assert!(
        page.stdout
            .contains("| `Patient.maritalStatus.text` | appears | 20 | 20 |"),
        "{}",
        page.stdout
    );
}

#[test]
fn what_is_no_message_is_compared_too_and_wrong_usage_is_told() {
    let folder = setting();
    write(folder.path(), "bad.hl7", NO_MESSAGE);
    diff(&folder, &["shipped", "shipped", "bad.hl7"])
        .run()
        .expect(0);
    write(folder.path(), "empty/readme.txt", "");
    write(
        folder.path(),
        "broken/segments/PID/Patient.yaml",
        "segment: [",
    );
    for (arguments, says) in [
        (["shipped", "none", "feed"], "none"),
        (["shipped", "shipped+none", "feed"], "none"),
        (
            ["shipped", "shipped+broken", "feed"],
            "broken/segments/PID/Patient.yaml",
        ),
        (["shipped", "shipped", "empty"], "there is no *.hl7 file"),
        (["shipped", "shipped", "no-such"], "no-such"),
    ] {
        let ran = diff(&folder, &arguments).run().expect(2);
        assert!(ran.stderr.contains(says), "{says} {ran:?}");
    }
}
